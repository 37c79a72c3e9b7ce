"""Putting the statements of some items into groups again, after one of them came, went or was moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from healthvault.store.fields import open_values

from . import standing
from .matching import Filed, Group, OwnKey, regroup
from .models import Entry, EntryKey, EntrySource, Record

_GONE = EntrySource.State.WITHDRAWN


def lock(record: Record) -> None:
    """Let nobody else file, undo or edit in `record` until this transaction ends.

    SQLite has one writer, so there it costs nothing.
    """
    if connection.features.has_select_for_update:
        list(Record.objects.select_for_update().filter(pk=record.pk).values_list("pk"))


def connected(record: Record, entries: Iterable[UUID]) -> set[UUID]:
    """These items and all that share a key with one of them, or with one that does."""
    found: set[UUID] = set()
    fresh = set(entries)
    while fresh:
        found |= fresh
        hashes = EntryKey.objects.filter(entry__in=fresh).values_list("hash", flat=True).distinct()
        sharing = EntryKey.objects.filter(record=record, hash__in=list(hashes))
        fresh = set(sharing.values_list("entry", flat=True).distinct()) - found
    return found


def rearrange(record: Record, entries: Iterable[UUID]) -> list[UUID]:
    """Group the statements of these items anew and make the items from them.

    `entries` must be closed under `connected`. Returns the items whose facts changed.
    """
    ids = set(entries)
    for group in regroup(_events(ids)):
        moved = [member.id for member in group.members if member.entry != group.entry]
        if group.entry is None:
            group.entry = _split_off(record, group)
            ids.add(group.entry)
        if moved:
            EntrySource.objects.filter(pk__in=moved).update(entry=group.entry)
            EntryKey.objects.filter(source__in=moved).update(entry=group.entry)
    return standing.settle(record, ids)


def _events(entries: set[UUID]) -> list[Filed | OwnKey]:
    keys: dict[UUID, list[str]] = defaultdict(list)
    events: list[Filed | OwnKey] = []
    rows = EntryKey.objects.filter(entry__in=entries).filter(Q(source=None) | ~Q(source__state=_GONE))
    for pk, entry, source, key in rows.order_by("pk").values_list("pk", "entry", "source", "hash"):
        if source is not None:
            keys[source].append(key)
        else:
            events.append(OwnKey(pk, entry, (key,)))
    sources = EntrySource.objects.filter(entry__in=entries).exclude(state=_GONE)
    for pk, entry, filing, pinned in sources.values_list("pk", "entry", "filing", "pinned"):
        events.append(Filed(pk, entry, filing, tuple(keys[pk]), pinned))
    return events


def _split_off(record: Record, group: Group) -> UUID:
    """An item for statements that stood with others until now; what was decided about those goes along."""
    first = group.members[0]
    beside = Entry.objects.get(pk=first.entry)
    content: dict[str, Any] = _content_of(record, first.id)
    entry = Entry.objects.create(
        record=record,
        filing_id=first.filing,
        kind=content.get("kind", beside.kind),
        content=content,
        blob_id=beside.blob_id,
        decision=beside.decision,
        personal=beside.personal,
    )
    return entry.pk


def _content_of(record: Record, source: UUID) -> dict[str, Any]:
    rows = EntrySource.objects.filter(pk=source).values_list("pk", "content")
    content: dict[str, Any] = open_values(EntrySource, "content", rows, record.holder.unwrap())[0]
    return content
