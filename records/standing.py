"""How an item stands: made from what documents say about it and what people did with it.

The newest document speaks for an item, unless a person typed or corrected it; what a person decided
(rejected, deleted) holds whatever comes in. Because nothing else ever writes an item's content, taking a
document back needs no memory of what was there before: its statements stop counting, and the item is
made anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from healthvault.store.fields import SealedBytes, open_values, seal_value

from . import rows
from .models import Entry, EntrySource, EntryVersion, Record

#: What two documents may word differently while the fact is the same.
_BESIDE = frozenset(
    {
        "identifier",
        "recorder",
        "asserter",
        "performer",
        "participant",
        "contained",
        "extension",
        "category",
        "code",
        "text",
        "note",
        "recordedDate",
        "authoredOn",
        "issued",
        "meta",
    }
)
_TYPED = (EntryVersion.Action.ADDED, EntryVersion.Action.CORRECTED)


@dataclass(frozen=True, slots=True)
class Said:
    """One statement about an item, opened."""

    id: UUID
    filing: UUID
    filed: datetime
    state: str
    date: str
    content: dict[str, Any]
    chosen: datetime | None


@dataclass(frozen=True, slots=True)
class Typed:
    """The last words of a person about an item: None when they went back to the document's."""

    at: datetime
    content: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What an item says now, who says it, and its state."""

    content: dict[str, Any]
    filing: UUID | None
    own: bool
    state: str


def facts_of(content: dict[str, Any]) -> dict[str, Any]:
    """The part of an item by which two versions of it are the same or differ."""
    flat = {name: content.get(name) for name in ("start", "end", "value", "unit", "status", "negated")}
    resource = {k: v for k, v in content.get("resource", {}).items() if k not in _BESIDE}
    return {**flat, "resource": resource}


def moment(text: str) -> str:
    """A date or time by which documents are ordered, comparable as text; a given offset is taken off."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    if len(text) <= 10:
        return text
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if at.tzinfo else text


def settle(record: Record, entries: Iterable[UUID]) -> list[UUID]:
    """Make these items of `record` anew; returns those whose facts changed. To be called in a transaction."""
    ids = list(entries)
    if not ids:
        return []
    key = record.holder.unwrap()
    said, typed = _said(ids, key), _typed(ids, key)
    fields = ("pk", "kind", "content", "filing", "own", "state", "decision")
    found = list(Entry.objects.filter(pk__in=ids).values_list(*fields))
    contents = open_values(Entry, "content", [(row[0], row[2]) for row in found], key)
    now, changed, updates = timezone.now(), [], []
    for (pk, kind, sealed, filing, own, state, decision), content in zip(found, contents, strict=True):
        before = Standing(content, filing, own, state)
        after = _stand(before, decision, said[pk], typed.get(pk))
        if after == before:
            continue
        kept: SealedBytes | bytes = sealed
        if after.content != content:
            kept = seal_value(Entry, "content", pk, after.content, key)
            if facts_of(after.content) != facts_of(content):
                changed.append(pk)
        kind = after.content.get("kind", kind)
        updates.append((pk, kind, SealedBytes(kept), after.filing, after.own, after.state, now))
    rows.update(Entry, ("kind", "content", "filing", "own", "state", "updated"), updates)
    return changed


def _said(ids: Sequence[UUID], key: bytes) -> dict[UUID, list[Said]]:
    counting = (EntrySource.State.STANDING, EntrySource.State.PROPOSED)
    fields = ("pk", "entry", "filing", "filing__created", "state", "place", "content", "chosen")
    found = list(
        EntrySource.objects.filter(entry__in=ids, state__in=counting).order_by("pk").values_list(*fields)
    )
    places = open_values(EntrySource, "place", [(row[0], row[5]) for row in found], key)
    contents = open_values(EntrySource, "content", [(row[0], row[6]) for row in found], key)
    said: dict[UUID, list[Said]] = defaultdict(list)
    for row, place, content in zip(found, places, contents, strict=True):
        one = Said(row[0], row[2], row[3], row[4], place.get("date", ""), content, row[7])
        said[row[1]].append(one)
    return said


def _typed(ids: Sequence[UUID], key: bytes) -> dict[UUID, Typed]:
    actions = (*_TYPED, EntryVersion.Action.REVERTED)
    found = list(
        EntryVersion.objects.filter(entry__in=ids, action__in=actions)
        .order_by("pk")
        .values_list("pk", "entry", "content", "at")
    )
    contents = open_values(EntryVersion, "content", [(row[0], row[2]) for row in found], key)
    return {row[1]: Typed(row[3], content) for row, content in zip(found, contents, strict=True)}


def _stand(before: Standing, decision: str, said: list[Said], typed: Typed | None) -> Standing:
    if decision == Entry.Decision.REMOVED:
        return Standing({}, before.filing, False, Entry.State.REMOVED)
    standing = [one for one in said if one.state == EntrySource.State.STANDING]
    chosen = max(
        (one for one in standing if one.chosen), key=lambda one: one.chosen or one.filed, default=None
    )
    if typed is not None and typed.content is not None and _outlives(typed, chosen):
        filing = _newest(standing).filing if standing else None
        return Standing(typed.content, filing, True, decision or Entry.State.ACTIVE)
    if standing:
        speaker = _speaker(standing, chosen)
        return Standing(speaker.content, speaker.filing, False, decision or Entry.State.ACTIVE)
    if said:
        speaker = _newest(said)
        return Standing(speaker.content, speaker.filing, False, decision or Entry.State.PROPOSED)
    if before.filing is not None:
        # It came from documents, and none of them counts any more.
        return Standing(before.content, before.filing, False, Entry.State.UNDONE)
    return Standing(before.content, None, before.own, decision or Entry.State.ACTIVE)


def _outlives(typed: Typed, chosen: Said | None) -> bool:
    """Whether a person's words still hold, or gave way to a document they chose afterwards."""
    return chosen is None or chosen.chosen is None or chosen.chosen < typed.at


def _speaker(standing: list[Said], chosen: Said | None) -> Said:
    """The newest document; one that a person chose gives way only to what was filed after that."""
    if chosen is None or chosen.chosen is None:
        return _newest(standing)
    at = chosen.chosen
    return _newest([one for one in standing if one is chosen or one.filed > at])


def _newest(said: list[Said]) -> Said:
    return max(said, key=lambda one: (one.date, one.id))
