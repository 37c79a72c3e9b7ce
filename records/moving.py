"""Moving a message, with all that came in it, from one record to another: it was put into the wrong one.

Nothing of it stays behind but what a person typed themselves, and the line in the history of both records.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import QuerySet

from healthvault.audit import trail
from healthvault.store import jobs
from healthvault.store.blobs import rewrap_all
from healthvault.store.fields import reseal
from healthvault.store.models import Blob

from . import quota, superseding
from .arranging import lock
from .export import forget_exports
from .filing import add_file
from .models import Account, Attachment, Document, Entry, FilePreference, Import, Message, Record
from .undo import undo_import

_BY_PREFERENCE = {
    FilePreference.ALWAYS: Attachment.Outcome.FILE,
    FilePreference.ASK: Attachment.Outcome.ASK,
    FilePreference.NEVER: Attachment.Outcome.NOT_ADDED,
}


def move_message(message: Message, target: Record, account: Account) -> None:
    """Take `message` out of its record and put it into `target`; call it in a transaction.

    Imports of its documents are taken back first, so that the record is as if they had never been filed. The
    blobs stay where they are and change their holder; documents are read anew for `target` after commit.
    Raises `quota.RecordFull`.
    """
    source = message.record
    for record in sorted((source, target), key=lambda one: one.pk):
        lock(record)
    attachments = list(message.attachments.select_related("message__record__holder").order_by("position"))
    documents = list(
        Document.objects.filter(attachment__in=attachments).select_related("record__holder").order_by("pk")
    )
    _take_out(attachments, documents, account)
    blobs = _blobs_in(attachments, documents)
    if message.raw_id is not None:
        blobs.add(message.raw_id)
    quota.claim_room(target, blobs)
    rewrap_all(Blob.objects.filter(pk__in=blobs), source.holder, target.holder)
    _hand_over(message, attachments, documents, target)
    forget_exports(source, account)
    for record, word in ((source, "message.moved_away"), (target, "message.moved_here")):
        trail.record(word, actor=account, record=record, subject=message.pk)


def _take_out(attachments: Sequence[Attachment], documents: Sequence[Document], account: Account) -> None:
    """Leave nothing in the record that only these documents and files brought."""
    imports = list(Import.objects.filter(document__in=documents).select_related("record__holder", "document"))
    for filing in imports:
        if filing.state != Import.State.UNDONE:
            undo_import(filing, account)
    theirs = Entry.objects.filter(filing__in=imports)
    # What a person typed over an item is theirs, and stays as an item of their own.
    theirs.filter(own=True).update(filing=None, attachment=None)
    files = Entry.objects.filter(attachment__in=attachments, filing__isnull=True, own=False)
    kept = _blobs_in(attachments, documents)
    own_blobs = _blobs_of(theirs) | _blobs_of(files)
    theirs.filter(own=False).delete()
    files.delete()
    Import.objects.filter(pk__in=[each.pk for each in imports]).delete()
    for blob in Blob.objects.filter(pk__in=own_blobs - kept):
        blob.delete()


def _blobs_in(attachments: Sequence[Attachment], documents: Sequence[Document]) -> set[UUID]:
    return {each.blob_id for each in attachments} | {each.blob_id for each in documents}


def _blobs_of(entries: QuerySet[Entry]) -> set[UUID]:
    return set(entries.filter(blob__isnull=False, own=False).values_list("blob", flat=True))


def _hand_over(
    message: Message, attachments: Sequence[Attachment], documents: Sequence[Document], target: Record
) -> None:
    from .tasks import read_document as task

    # All is opened under the old key before anything is sealed under the new one.
    for attachment in attachments:
        reseal(attachment)
    source = message.record
    reseal(message, record=target)
    message.save()
    holding = {each.attachment_id for each in documents}
    for attachment in attachments:
        attachment.message = message
        if attachment.pk in holding:
            attachment.outcome, attachment.code = Attachment.Outcome.READING, ""
        elif attachment.size and attachment.outcome != Attachment.Outcome.UNPACKED:
            attachment.outcome = _BY_PREFERENCE[FilePreference(target.files_preference)]
        attachment.save()
        if attachment.outcome == Attachment.Outcome.FILE:
            add_file(attachment)
    for document in documents:
        reseal(document, record=target, facts=None, superseded_by=None)
        # Whoever moves it has seen whom it names, and says that it belongs here.
        document.patient_confirmed = True
        document.state, document.code = Document.State.WAITING, ""
        document.tries, document.lease_until = 0, None
        document.save()
        jobs.ring(task, str(document.pk))
    Document.objects.filter(record=source, superseded_by__in=documents).update(superseded_by=None)
    superseding.settle(source)
