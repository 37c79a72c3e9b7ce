"""Putting things into a record: a message with its attachments, then the items of its documents.

`file_message` is part of the transaction that accepts or claims a message. `read_document` is the
work that follows, one job a document: it may run twice, but only one run can file.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store import jobs
from healthvault.store.blobs import open_blob
from healthvault.store.faults import fault
from healthvault.store.fields import seal_value
from healthvault.store.lookup import lookup_hash
from healthvault.vault.errors import KeyringUnavailable
from records.clinical import reader
from records.clinical.errors import ClinicalError
from records.clinical.identity import same_patient
from records.clinical.types import ClinicalSummary, Identifier, PatientFacts

from . import imports, superseding
from .imports import FILE_KIND
from .intake import IncomingMessage, StoredDocument, StoredPart
from .models import (
    Attachment,
    Document,
    Entry,
    FilePreference,
    IntegrationPreference,
    Message,
    Record,
)
from .preferences import integration_for

log = logging.getLogger(__name__)


# --- a message ------------------------------------------------------------------------------------------


def file_message(
    record: Record,
    incoming: IncomingMessage,
    *,
    patient_confirmed: bool = False,
    direction: str = Message.Direction.IN,
    files: str = "",
) -> Message:
    """Write the message, its attachments, files and documents; to be called inside a transaction.

    The blobs must stand under the record's holder key already. `patient_confirmed` says that a
    person has seen whom the documents name and wants them here; `files`, a FilePreference, what becomes of
    parts that are no documents, else the record's preference says that. Rings for the reading of each
    document after commit.
    """
    message = Message.objects.create(
        record=record,
        direction=direction,
        source=incoming.source,
        from_address=incoming.from_address,
        from_name=incoming.from_name or None,
        to_addresses=list(incoming.to),
        organization_name=incoming.organization_name,
        message_id=incoming.message_id,
        subject=incoming.subject,
        text=incoming.text,
        html=incoming.html,
        sent=incoming.sent,
        size=incoming.size,
        signers=list(incoming.signers),
        about=incoming.about,
        raw_id=incoming.raw,
    )
    for position, part in enumerate(incoming.parts):
        _file_part(message, position, part, files, patient_confirmed=patient_confirmed)
    return message


def _file_part(
    message: Message, position: int, part: StoredPart, files: str, *, patient_confirmed: bool
) -> None:
    attachment = Attachment(
        message=message,
        position=position,
        blob_id=part.blob,
        filename=part.filename,
        content_type=part.content_type[:127],
        size=part.size,
        sha256=part.sha256,
        code=part.code,
    )
    attachment.outcome = _first_outcome(part, files or message.record.files_preference)
    attachment.save(force_insert=True)
    if attachment.outcome == Attachment.Outcome.FILE:
        add_file(attachment)
    for document in part.documents:
        _file_document(attachment, document, patient_confirmed=patient_confirmed)


def _first_outcome(part: StoredPart, files: str) -> str:
    if part.size == 0:
        return Attachment.Outcome.EMPTY
    if part.documents:
        return Attachment.Outcome.READING
    if part.unpacked:
        # A File of the whole would show what a person hides of its parts.
        return Attachment.Outcome.UNPACKED
    return {
        FilePreference.ALWAYS: Attachment.Outcome.FILE,
        FilePreference.ASK: Attachment.Outcome.ASK,
        FilePreference.NEVER: Attachment.Outcome.NOT_ADDED,
    }[FilePreference(files)]


def add_file(attachment: Attachment) -> Entry:
    """Make an attachment a File item of its record (both share one blob)."""
    content = {
        "name": attachment.filename,
        "content_type": attachment.content_type,
        "size": attachment.size,
        "start": timezone.now().date().isoformat(),
        "message": str(attachment.message_id),
    }
    return Entry.objects.create(
        record=attachment.message.record,
        kind=FILE_KIND,
        content=content,
        blob=attachment.blob,
        attachment=attachment,
    )


def decide_file(attachment: Attachment, *, add: bool) -> None:
    """Carry out a person's answer for an attachment that waits for it."""
    outcome = Attachment.Outcome.FILE if add else Attachment.Outcome.NOT_ADDED
    with transaction.atomic():
        waiting = Attachment.objects.filter(pk=attachment.pk, outcome=Attachment.Outcome.ASK)
        if waiting.update(outcome=outcome) and add:
            add_file(attachment)


def _file_document(attachment: Attachment, stored: StoredDocument, *, patient_confirmed: bool) -> None:
    from .tasks import read_document as task

    record = attachment.message.record
    document = Document.objects.create(
        record=record,
        attachment=attachment,
        blob_id=stored.blob,
        kind=stored.kind,
        item_type=stored.item_type,
        content_type=stored.content_type[:127],
        digest=lookup_hash("document", f"{record.pk}:{stored.sha256}"),
        package=stored.package,
        patient_confirmed=patient_confirmed,
    )
    jobs.ring(task, str(document.pk))


# --- a document -----------------------------------------------------------------------------------------


def read_document(pk: str) -> str | None:
    """Read the document `pk` and file its items by the record's preference.

    Returns its new state, or None when there was nothing to do. A document that cannot be read
    stays as it is, with the reason as its code; trouble of the database, the disk or the key service
    puts it back for a while.
    """
    claimed = jobs.claim(Document, pk, waiting=Document.State.WAITING, working=Document.State.READING)
    if claimed is None:
        return None
    fault("job.leased")
    if claimed.tries > jobs.MOST_KILLS:
        return _set_aside(claimed, "worker_killed")
    try:
        state = _read(_with_everything(claimed))
    except jobs.LeaseLost:
        return None
    except ClinicalError as error:
        return _set_aside(claimed, error.code)
    except (OperationalError, InterfaceError, OSError, KeyringUnavailable):
        log.exception("document waits", extra={"document": claimed.pk})
        return _wait(claimed)
    except Exception:
        log.exception("document set aside", extra={"document": claimed.pk})
        return _set_aside(claimed, "unforeseen")
    fault("job.done")
    return state


def _read(document: Document) -> str:
    data = open_blob(document.blob, document.record.holder.unwrap())
    summary = reader.read(data, document.content_type)
    body = imports.embedded_body(document, data, summary)
    with transaction.atomic():
        state = _file_summary(document, summary, body)
    log.info("document read", extra={"document": document.pk, "state": state, "size": len(summary.items)})
    return state


def _wait(document: Document) -> str | None:
    try:
        jobs.postpone(document, Document.State.WAITING, document.created)
    except (jobs.LeaseLost, OperationalError, InterfaceError):
        # Its lease ends by itself, and the sweep offers it again.
        return None
    return Document.State.WAITING


def _with_everything(claimed: Document) -> Document:
    """The row with all that its reading needs, in one statement, under the fence of its claim."""
    related = ("record__holder", "blob", "attachment__message")
    document = Document.objects.select_related(*related).get(pk=claimed.pk)
    document.state, document.tries = claimed.state, claimed.tries
    return document


def _set_aside(document: Document, code: str) -> str:
    with transaction.atomic():
        jobs.finish(document, Document.State.UNREADABLE, code=code)
        Attachment.objects.filter(documents=document).update(outcome=Attachment.Outcome.DOCUMENT, code=code)
    log.warning("document unreadable", extra={"document": document.pk, "code": code})
    return Document.State.UNREADABLE


def _file_summary(document: Document, summary: ClinicalSummary, body: imports.Body | None) -> str:
    record = document.record
    state = _state_for(document, summary)
    facts = document_facts(summary)
    holder_key = record.holder.unwrap()
    sealed = seal_value(Document, "facts", document.pk, facts, holder_key)
    # Moved to another record while it was read: a move counts tries anew, so that the fence alone could let
    # this pass, and what it says would stand in the record it was taken out of.
    jobs.finish(document, state, {"record": record}, facts=sealed)
    Attachment.objects.filter(documents=document).update(outcome=Attachment.Outcome.DOCUMENT)
    if state == Document.State.READ:
        superseding.note(document, facts)
        wanted = integration_for(record, _sender_of(document))
        if wanted != IntegrationPreference.NEVER:
            review = wanted == IntegrationPreference.REVIEW
            imports.file_items(document, summary, review=review, body=body)
    trail.record("document.read", record=record, subject=document.pk)
    return state


def _sender_of(document: Document) -> str:
    return document.attachment.message.from_address if document.attachment else ""


def _state_for(document: Document, summary: ClinicalSummary) -> str:
    if document.patient_confirmed:
        return Document.State.READ
    somebody_else = same_patient(record_patient(document.record), summary.patient) == "different"
    return Document.State.HELD if somebody_else or summary.patients > 1 else Document.State.READ


def record_patient(record: Record) -> PatientFacts:
    """The record's own profile, to be compared with the patient a document names."""
    return PatientFacts(name=record.name, birth_date=record.birth_date or "", gender=record.gender or "")


def confirm_patient(document: Document) -> None:
    """A person says that a held document belongs into this record: read it (again).

    Also after they said before that it does not.
    """
    from .tasks import read_document as task

    asked = (Document.State.HELD, Document.State.REFUSED)
    held = Document.objects.filter(pk=document.pk, state__in=asked)
    with transaction.atomic():
        if held.update(state=Document.State.WAITING, patient_confirmed=True, tries=0):
            jobs.ring(task, str(document.pk))


def refuse_document(document: Document) -> None:
    """A person says that a held document is about somebody else: it is kept, and nobody is asked again."""
    held = Document.objects.filter(pk=document.pk, state=Document.State.HELD)
    held.update(state=Document.State.REFUSED)


def document_facts(summary: ClinicalSummary) -> dict[str, Any]:
    """What the record's pages show of a document without reading it again, and what it replaces."""
    replaced = [related.id for related in summary.related if related.relation == "RPLC"]
    return {
        "title": summary.title,
        "date": summary.date.iso if summary.date else "",
        "patient": _patient_facts(summary.patient),
        "patients": summary.patients,
        "author": summary.author_name,
        "items": len(summary.items),
        "not_understood": summary.not_understood,
        "counts": {kind: dict(counts) for kind, counts in summary.counts.items()},
        "id": _id_text(summary.document_id),
        "set_id": _id_text(summary.set_id),
        "version": summary.version,
        "replaces": [_id_text(found) for found in replaced],
    }


def _id_text(found: Identifier | None) -> str:
    return f"{found.root}^{found.extension}" if found else ""


def _patient_facts(patient: PatientFacts | None) -> dict[str, str] | None:
    if patient is None:
        return None
    return {"name": patient.name, "birth_date": patient.birth_date, "gender": patient.gender}
