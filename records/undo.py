"""Taking a whole import back, at any time, and applying it again."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from healthvault.audit import trail

from . import superseding
from .arranging import connected, lock, rearrange
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


@transaction.atomic
def undo_import(filing: Import, account: Account | None) -> Undone:
    """Take the import back: the record is as if its document had never been filed.

    Also when other documents came or people edited since: items that other documents speak of stay and
    say what those say; what a person typed stays as it is. Raises `NotUndoable`.
    """
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
    trail.record("import.undone", actor=account, record=filing.record_id, subject=filing.pk)
    after = Entry.objects.filter(pk__in=touched)
    taken = after.filter(state=Entry.State.UNDONE).count()
    own = after.filter(own=True).count()
    return Undone(taken, len(touched) - taken - own, own)


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
