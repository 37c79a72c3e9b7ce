"""What goes along with a message that a person writes: documents and files of the record, and their context.

Choosing happens in the web process, which parses nothing; what has to be read to be described is read by the
worker that seals.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db.models import QuerySet

from healthvault.store.blobs import open_blob
from records.access import Access
from records.clinical import reader
from records.clinical.detect import may_be_document
from records.clinical.errors import ClinicalError
from records.clinical.types import ClinicalSummary, PatientFacts
from records.clinical.xdm import CONTENT_TYPE, packaged, write_xdm
from records.models import Attachment, Document, Entry, Message

from .agent.context import DirectContext, PatientId, write_context
from .agent.errors import AgentError
from .agent.message import NewAttachment

log = logging.getLogger(__name__)

#: So many of each kind are offered, the newest; older ones can be downloaded and attached.
MOST_OFFERED = 50
#: The mark (`Attachment.code`) of what goes into a package.
PACKAGED = "xdm"
_MOST_IDS = 10
#: As the context writes them.
_GENDERS = {"male": "M", "female": "F"}


class NotYours(ValueError):
    """Something that was chosen is not (any more) among what this person may send from this record."""


# --- choosing -------------------------------------------------------------------------------------------


def choices(access: Access) -> list[tuple[str, str]]:
    """What of a record a person may attach: (value, words for people), documents before files."""
    documents = _documents(access).order_by("-pk")[:MOST_OFFERED]
    files = _files(access).order_by("-pk")[:MOST_OFFERED]
    return [(f"d{one.pk.hex}", _words(one)) for one in documents] + [
        (f"f{one.pk.hex}", str(one.content.get("name") or "file")) for one in files
    ]


def chosen(access: Access, values: Iterable[str]) -> list[NewAttachment]:
    """The bytes of what was chosen, in its order. Raises NotYours."""
    wanted = list(dict.fromkeys(values))
    documents = {f"d{one.pk.hex}": one for one in _documents(access)}
    files = {f"f{one.pk.hex}": one for one in _files(access)}
    found: list[NewAttachment] = []
    for value in wanted:
        if value in documents:
            found.append(_of_document(documents[value]))
        elif value in files:
            found.append(_of_file(files[value]))
        else:
            raise NotYours(value)
    return found


def _documents(access: Access) -> QuerySet[Document]:
    # One about somebody else is not this record's to send: neither while that is to be cleared up, nor
    # once a person has said so.
    shown = access.documents.exclude(state__in=[Document.State.HELD, Document.State.REFUSED])
    return shown.select_related("record__holder", "blob__holder", "attachment__message__record__holder")


def _files(access: Access) -> QuerySet[Entry]:
    files = access.entries.filter(kind="file", blob__isnull=False, state=Entry.State.ACTIVE)
    return files.select_related("record__holder", "blob__holder")


def _words(document: Document) -> str:
    facts = document.facts or {}
    words = [str(facts.get("title") or document.get_kind_display())]
    words += [
        str(facts[name])[:10] if name == "date" else str(facts[name]) for name in _TOLD if facts.get(name)
    ]
    return ", ".join(words)


_TOLD = ("date", "author")


def _of_document(document: Document) -> NewAttachment:
    name = document.attachment.filename if document.attachment is not None else ""
    return NewAttachment(name or f"{document.kind}.xml", document.content_type, open_blob(document.blob))


def _of_file(entry: Entry) -> NewAttachment:
    assert entry.blob is not None
    kind = str(entry.content.get("content_type") or "application/octet-stream")
    return NewAttachment(str(entry.content.get("name") or "file"), kind, open_blob(entry.blob))


# --- sealing --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Enclosed:
    """What a message is built with besides its text, as `build_message` takes it."""

    attachments: tuple[NewAttachment, ...] = ()
    extra_fields: tuple[tuple[str, str], ...] = ()
    extra_parts: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class _Part:
    attachment: NewAttachment
    packaged: bool
    summary: ClinicalSummary | None = field(repr=False)


def enclosed(message: Message, recipients: Sequence[str]) -> Enclosed:
    """The attachments of a sent message, packaged where that was asked for, and with clinical documents the
    context that says whom they are about (Direct Context 1.1).

    `recipients` are those the message is sealed for: nobody else is named in a package.
    """
    rows = message.attachments.select_related("blob__holder", "message__record__holder")
    parts = [_read(row) for row in rows]
    together = [part for part in parts if part.packaged]
    attachments = [part.attachment for part in parts if not part.packaged]
    if together:
        attachments.append(_package(message, together, recipients))
    context = _context(message, [part.summary for part in parts if part.summary is not None])
    if context is None:
        return Enclosed(tuple(attachments))
    named, entity = context
    return Enclosed(tuple(attachments), (named,), (entity,))


def _read(row: Attachment) -> _Part:
    data = open_blob(row.blob)
    attachment = NewAttachment(row.filename, row.content_type, data)
    summary = None
    if may_be_document(row.content_type, row.filename):
        try:
            summary = reader.read(data, row.content_type, row.filename)
        except ClinicalError:
            # It goes along as it is: what it says of itself is not known, that is all.
            log.info("an attachment that goes out cannot be read", extra={"attachment": row.pk})
    return _Part(attachment, row.code == PACKAGED, summary)


def _package(message: Message, parts: Sequence[_Part], recipients: Sequence[str]) -> NewAttachment:
    assert message.sent is not None
    documents = [
        packaged(part.attachment.data, part.attachment.content_type, part.attachment.filename, part.summary)
        for part in parts
    ]
    data = write_xdm(
        documents,
        sender=message.from_address,
        recipients=recipients,
        at=message.sent,
        package_id=message.pk,
        author=message.record.name,
        title=message.subject,
    )
    return NewAttachment("documents.zip", CONTENT_TYPE, data)


def _context(message: Message, summaries: Sequence[ClinicalSummary]) -> tuple[tuple[str, str], bytes] | None:
    """Field and part of the context; None where there is nothing to say, or it cannot be said safely."""
    patient = next((each.patient for each in summaries if each.patient is not None), None)
    if patient is None:
        return None
    domain = message.from_address.rpartition("@")[2]
    context = DirectContext(
        version="1.1",
        id=message.message_id,
        patient_ids=_ids(patient),
        category="general",
        action="report",
        purpose="",
        patient={**_about(patient), "directAddress": message.from_address},
    )
    try:
        return write_context(context, f"context.{message.pk.hex}@{domain}")
    except (AgentError, ValueError):
        log.warning("a context cannot be written", extra={"mail": message.pk})
        return None


def _ids(patient: PatientFacts) -> tuple[PatientId, ...]:
    """The identifiers that the document gives, as far as they can be written: authority and identifier."""
    usable = [each for each in patient.ids if each.root and each.extension]
    safe = [each for each in usable if not set("; \r\n\t") & set(each.root + each.extension)]
    return tuple(PatientId(each.root, each.extension) for each in safe[:_MOST_IDS])


def _about(patient: PatientFacts) -> dict[str, str]:
    name = next((each for each in patient.names if each.family or each.given), None)
    found = {"gender": _GENDERS.get(patient.gender, "")}
    if name is not None:
        found.update(givenName=" ".join(name.given[:1]), middleName=" ".join(name.given[1:]))
        found["surname"] = name.family
    # The context knows whole days only.
    if len(patient.birth_date) == len("2000-01-01"):
        found["dateOfBirth"] = patient.birth_date
    return {key: value for key, value in found.items() if value}
