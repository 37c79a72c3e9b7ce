"""Review first: what a document would add, and a person's word on each of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from healthvault.audit import trail

from .arranging import connected, lock, rearrange
from .models import Account, Entry, EntryKey, EntrySource, EntryVersion, Import
from .standing import facts_of

Answer = Literal["add", "replace", "ignore"]


class NotWaiting(Exception):
    """The import, or a proposal of it, does not wait for a decision (any more)."""

    code = "not_waiting"


class NoSuchItem(Exception):
    """The item that was to be replaced is not in this record."""

    code = "no_such_item"


@dataclass(frozen=True, slots=True)
class Proposal:
    """One statement that waits: `new`, the `same` as an item that is there, or it `differs` from it.

    `id` is the source's; `entry` the item it is about; `present` what that says now (None when new).
    """

    id: UUID
    entry: UUID
    standing: Literal["new", "same", "differs"]
    kind: str
    content: dict[str, Any]
    present: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person wants of a proposal.

    `add` it, `ignore` it, or let it `replace` an item: `target`, or the one it is about.
    """

    answer: Answer
    target: UUID | None = None


def proposals(filing: Import) -> list[Proposal]:
    """What of an import waits for a decision, in the order of its document."""
    waiting = EntrySource.objects.filter(filing=filing, state=EntrySource.State.PROPOSED)
    waiting = waiting.select_related("filing__record__holder", "entry__record__holder").order_by("pk")
    return [_proposal(source) for source in waiting]


def _proposal(source: EntrySource) -> Proposal:
    entry = source.entry
    content = source.content or {}
    if entry.state in (Entry.State.PROPOSED, Entry.State.UNDONE):
        return Proposal(source.pk, entry.pk, "new", content.get("kind", entry.kind), content, None)
    same = facts_of(entry.content) == facts_of(content)
    standing: Literal["same", "differs"] = "same" if same else "differs"
    return Proposal(source.pk, entry.pk, standing, content.get("kind", entry.kind), content, entry.content)


def take_all(filing: Import, account: Account | None) -> int:
    """Take everything that waits, as if the record did so by itself; what people typed stays."""
    with transaction.atomic():
        lock(filing.record)
        waiting = EntrySource.objects.filter(filing=filing, state=EntrySource.State.PROPOSED)
        entries = set(waiting.values_list("entry", flat=True))
        taken = waiting.update(state=EntrySource.State.STANDING)
        _finish(filing, account, entries)
    return taken


def decide(filing: Import, account: Account | None, choices: Mapping[UUID, Choice]) -> None:
    """Carry out a person's choices, by the id of the proposal; what is not named goes on waiting.

    Raises `NotWaiting` when one of them was decided meanwhile, `NoSuchItem` for a wrong target;
    then nothing is done.
    """
    with transaction.atomic():
        lock(filing.record)
        waiting = {source.pk: source for source in _waiting(filing)}
        entries: set[UUID] = set()
        for key, choice in choices.items():
            if key not in waiting:
                raise NotWaiting("this was decided already")
            source = waiting[key]
            entries.add(source.entry_id)
            entries |= _carry_out(source, choice, account)
        _finish(filing, account, entries)


def _waiting(filing: Import) -> list[EntrySource]:
    rows = EntrySource.objects.filter(filing=filing, state=EntrySource.State.PROPOSED)
    return list(rows.select_related("entry__record__holder", "filing__record__holder"))


def _carry_out(source: EntrySource, choice: Choice, account: Account | None) -> set[UUID]:
    """Write one choice; returns the items it touched."""
    new = source.entry.state == Entry.State.PROPOSED
    if choice.answer == "ignore":
        if new:
            _reject(source.entry, account)
            return _set(source, EntrySource.State.STANDING)
        return _set(source, EntrySource.State.IGNORED)
    if choice.answer == "replace":
        target = _target(source, choice.target)
        return _set(source, EntrySource.State.STANDING, entry=target, chosen=timezone.now())
    if new or facts_of(source.entry.content) == facts_of(source.content or {}):
        return _set(source, EntrySource.State.STANDING)
    return _set(source, EntrySource.State.STANDING, entry=_apart(source))


def _target(source: EntrySource, target: UUID | None) -> UUID:
    if target is None or target == source.entry_id:
        return source.entry_id
    if not Entry.objects.filter(pk=target, record=source.filing.record_id).exists():
        raise NoSuchItem("this item is not in the record")
    return target


def _apart(source: EntrySource) -> UUID:
    """A new item for a statement that shares a key with one that is there."""
    content = source.content or {}
    kind = content.get("kind", source.entry.kind)
    made = Entry.objects.create(
        record=source.entry.record, filing_id=source.filing_id, kind=kind, content=content
    )
    return made.pk


def _set(source: EntrySource, state: str, *, entry: UUID | None = None, chosen: Any = None) -> set[UUID]:
    values: dict[str, Any] = {"state": state, "chosen": chosen}
    if entry is not None and entry != source.entry_id:
        values |= {"entry_id": entry, "pinned": True}
        EntryKey.objects.filter(source=source).update(entry=entry)
    EntrySource.objects.filter(pk=source.pk).update(**values)
    return {entry or source.entry_id}


def _reject(entry: Entry, account: Account | None) -> None:
    Entry.objects.filter(pk=entry.pk).update(decision=Entry.Decision.REJECTED)
    EntryVersion.objects.create(entry=entry, account=account, action=EntryVersion.Action.REJECTED)


def _finish(filing: Import, account: Account | None, entries: set[UUID]) -> None:
    if not Import.objects.filter(pk=filing.pk, state=Import.State.PROPOSED).exists():
        raise NotWaiting("this import does not wait for a decision")
    rearrange(filing.record, connected(filing.record, entries))
    left = EntrySource.objects.filter(filing=filing, state=EntrySource.State.PROPOSED).exists()
    if not left:
        Import.objects.filter(pk=filing.pk).update(state=Import.State.APPLIED, decided=timezone.now())
    filing.refresh_from_db(fields=["state", "decided"])
    trail.record("import.reviewed", actor=account, record=filing.record_id, subject=filing.pk)
