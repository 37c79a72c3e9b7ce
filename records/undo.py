"""Taking a whole import back, at any time, and applying it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from healthvault.audit import trail

from . import superseding
from .arranging import connected, lock, rearrange
from .comparing import changes
from .models import Account, Entry, EntrySource, Import


class NotUndoable(Exception):
    """The import was taken back already."""

    code = "already_undone"


class NotUndone(Exception):
    """The import was not taken back, so it cannot be applied again."""

    code = "not_undone"


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did: items `taken` out, items that have other documents too (`stayed`), and items
    that stay because a person corrected them (`own`)."""

    taken: int
    stayed: int
    own: int


@dataclass(frozen=True, slots=True)
class Change:
    """What an undo does to one item.

    It `goes`, or `comes` back under a name of its own; it `changes`, or `stays` because another document
    says the same, or is `own`: a person's words; it is `out` of the record already, since a person took it
    out. `content` is what it says, `after` what it says then.
    """

    entry: UUID
    what: Literal["goes", "changes", "comes", "stays", "own", "out"]
    kind: str
    content: dict[str, Any]
    after: dict[str, Any] | None


@transaction.atomic
def undo_import(filing: Import, account: Account | None) -> Undone:
    """Take the import back: the record is as if its document had never been filed.

    Also when other documents came or people edited since: items that other documents speak of stay and
    say what those say; what a person typed stays as it is. Raises `NotUndoable`.
    """
    touched = _take_back(filing)
    trail.record("import.undone", actor=account, record=filing.record_id, subject=filing.pk)
    after = Entry.objects.filter(pk__in=touched)
    taken = after.filter(state=Entry.State.UNDONE, decision=Entry.Decision.NONE).count()
    own = after.filter(own=True).count()
    stayed = after.filter(own=False).exclude(state=Entry.State.UNDONE).count()
    return Undone(taken, stayed, own)


def _take_back(filing: Import) -> set[UUID]:
    """Let nothing of the import count any more; returns the items it spoke of."""
    lock(filing.record)
    undoable = Import.objects.filter(pk=filing.pk).exclude(state=Import.State.UNDONE)
    if undoable.update(state=Import.State.UNDONE, decided=timezone.now()) != 1:
        raise NotUndoable("this import was taken back already")
    touched = set(EntrySource.objects.filter(filing=filing).values_list("entry", flat=True))
    around = connected(filing.record, touched)
    EntrySource.objects.filter(filing=filing).update(
        state_before=F("state"), state=EntrySource.State.WITHDRAWN
    )
    rearrange(filing.record, around)
    filing.refresh_from_db(fields=["state", "decided"])
    superseding.forget(filing.document)
    return touched


def foresee_undo(filing: Import) -> list[Change]:
    """What taking the import back would do, item by item: found by doing it, and not keeping it.

    Raises `NotUndoable`.
    """
    state, decided = filing.state, filing.decided
    with transaction.atomic():
        touched = set(EntrySource.objects.filter(filing=filing).values_list("entry", flat=True))
        before = _contents(filing, connected(filing.record, touched))
        standing = set(_in_record(filing))
        _take_back(filing)
        new = set(_in_record(filing)) - standing
        after = _contents(filing, before.keys() | new)
        transaction.set_rollback(True)
    filing.state, filing.decided = state, decided
    told = [pk for pk in after if pk in touched or _moves(pk, before, after)]
    return [_change(pk, before, after) for pk in told]


def _in_record(filing: Import) -> Iterable[UUID]:
    shown = (Entry.State.ACTIVE, Entry.State.PROPOSED)
    return Entry.objects.filter(record=filing.record, state__in=shown).values_list("pk", flat=True)


def _contents(filing: Import, entries: Iterable[UUID]) -> dict[UUID, Entry]:
    found = Entry.objects.filter(pk__in=list(entries)).select_related("record__holder").order_by("kind", "pk")
    return {entry.pk: entry for entry in found}


def _moves(pk: UUID, before: dict[UUID, Entry], after: dict[UUID, Entry]) -> bool:
    return pk not in before or before[pk].content != after[pk].content


def _change(pk: UUID, before: dict[UUID, Entry], after: dict[UUID, Entry]) -> Change:
    was, now = before.get(pk), after[pk]
    if was is None or (was.state == Entry.State.UNDONE and now.state != was.state):
        return Change(pk, "comes", now.kind, now.content, now.content)
    if was.decision:
        gone = now.state == Entry.State.UNDONE
        return Change(pk, "out", was.kind, was.content, None if gone else now.content)
    if now.state == Entry.State.UNDONE:
        return Change(pk, "goes", was.kind, was.content, None)
    if changes(now.kind, was.content, now.content):
        return Change(pk, "changes", was.kind, was.content, now.content)
    return Change(pk, "own" if now.own else "stays", now.kind, was.content, now.content)


@transaction.atomic
def redo_import(filing: Import, account: Account | None) -> None:
    """Apply an import again that was taken back: as if that had never been done. Raises `NotUndone`."""
    lock(filing.record)
    withdrawn = EntrySource.objects.filter(filing=filing, state=EntrySource.State.WITHDRAWN)
    waits = withdrawn.filter(state_before=EntrySource.State.PROPOSED).exists()
    state = Import.State.PROPOSED if waits else Import.State.APPLIED
    undone = Import.objects.filter(pk=filing.pk, state=Import.State.UNDONE)
    if undone.update(state=state, decided=None if waits else timezone.now()) != 1:
        raise NotUndone("this import was not taken back")
    entries = set(withdrawn.values_list("entry", flat=True))
    withdrawn.update(state=F("state_before"), state_before="")
    rearrange(filing.record, connected(filing.record, entries))
    filing.refresh_from_db(fields=["state", "decided"])
    superseding.note(filing.document, filing.document.facts or {})
    trail.record("import.redone", actor=account, record=filing.record_id, subject=filing.pk)
