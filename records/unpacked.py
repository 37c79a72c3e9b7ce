"""What became of a message's attachments: the documents in each, and the items they brought."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.utils import timezone

from . import overview, wording
from .models import Attachment, Document, Entry, Import, Message

#: So long a page asks by itself whether a document has been read; later the person asks.
ASKING = timedelta(minutes=2)
UNREAD = (Document.State.WAITING, Document.State.READING)


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document in an attachment, its import if there was one, and its items counted by kind."""

    document: Document
    filing: Import | None
    kinds: tuple[tuple[str, int], ...]

    @property
    def unread(self) -> bool:
        return self.document.state in UNREAD

    @property
    def items(self) -> int:
        return sum(number for _, number in self.kinds)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One attachment; `file` is the id of the File item made of it, or empty."""

    part: Attachment
    documents: tuple[FoundDocument, ...]
    file: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that came with one message."""

    parts: tuple[Unpacked, ...]

    @property
    def unread(self) -> int:
        """How many documents are still to be read."""
        return sum(found.unread for part in self.parts for found in part.documents)

    @property
    def worth_asking(self) -> bool:
        """Whether a page should ask again by itself: something is unread, and has not been for long."""
        newest = [f.document.created for part in self.parts for f in part.documents if f.unread]
        return bool(newest) and max(newest) > timezone.now() - ASKING


_NAMES = ("givenName", "middleName", "surname")
_PATIENT = {
    "dateOfBirth": "Born",
    "gender": "Gender",
    "telephoneNumber": "Telephone",
    "streetAddress": "Street",
    "postalCode": "Postal code",
    "localityName": "Town",
    "stateOrProvinceName": "State or province",
    "country": "Country",
    "directAddress": "Direct address",
}
_GENDERS = {"f": "female", "m": "male", "o": "other", "u": "unknown"}


@dataclass(frozen=True, slots=True)
class About:
    """What the sender says a message is about, as terms and values for people, in two lists."""

    context: tuple[tuple[str, str], ...] = ()
    request: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.context or self.request)


def about_of(message: Message) -> About:
    """The context of a message and its Blue Button+ request, where it came with them."""
    said = message.about or {}
    return About(_context_rows(said.get("context") or {}), _request_rows(said.get("request") or {}))


def _context_rows(said: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    patient = said.get("patient", {})
    rows = [("Kind", said.get("type", "").replace("/", " ")), ("Purpose", said.get("purpose", ""))]
    rows.append(("Patient", " ".join(patient[key] for key in _NAMES if patient.get(key))))
    for key, label in _PATIENT.items():
        value = patient.get(key, "")
        if key == "gender":
            value = _GENDERS.get(value.lower(), value)
        elif key == "dateOfBirth":
            value = wording.date_in_words(value)
        rows.append((label, value))
    ids = [each.rpartition(":")[2] for each in said.get("patient_ids", [])]
    rows.append(("Identifier at the sender", ", ".join(ids)))
    return tuple((label, value) for label, value in rows if value)


def _request_rows(said: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    recurring = said.get("recurring")
    again = "" if recurring is None else "Yes" if recurring else "No"
    rows = [
        ("Sent to", said.get("destination", "")),
        ("Patient", said.get("patient", "")),
        ("Data holder", said.get("data_holder", "")),
        ("Will be sent again", again),
        *((f"Source of {each['filename']}", each["source"].lower()) for each in said.get("sources", [])),
    ]
    return tuple((label, value) for label, value in rows if value)


def contents_of(message: Message) -> Contents:
    """The attachments of `message` in their order, in five statements whatever their number."""
    # Documents before attachments: a worker moves both in one transaction, and a page that shows all
    # documents as read asks no more, so it must not show an older state of an attachment.
    rows = Document.objects.filter(attachment__message=message).select_related("record__holder")
    documents: dict[UUID | None, list[Document]] = defaultdict(list)
    for document in rows.order_by("pk"):
        documents[document.attachment_id].append(document)
    attachments = list(message.attachments.select_related("message__record__holder", "blob"))
    every = [document for found in documents.values() for document in found]
    filings = {filing.document_id: filing for filing in Import.objects.filter(document__in=every)}
    kinds = _kinds(filings.values())
    files = dict(
        Entry.objects.filter(
            attachment__in=attachments, kind="file", state=Entry.State.ACTIVE, filing__isnull=True
        ).values_list("attachment", "pk")
    )
    return Contents(
        tuple(
            Unpacked(
                part,
                tuple(_found(document, filings, kinds) for document in documents[part.pk]),
                str(files.get(part.pk, "")),
            )
            for part in attachments
        )
    )


def _found(document: Document, filings: dict[UUID, Import], kinds: dict[UUID, Counter[str]]) -> FoundDocument:
    filing = filings.get(document.pk)
    counted = kinds[filing.pk] if filing else Counter()
    order = list(overview.KIND_NAMES)
    ordered = sorted(counted.items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order))
    named = tuple((overview.KIND_NAMES.get(kind, kind), number) for kind, number in ordered)
    return FoundDocument(document, filing, named)


def _kinds(filings: Iterable[Import]) -> dict[UUID, Counter[str]]:
    """How many items of each kind the document of each import speaks for and leads."""
    counted: dict[UUID, Counter[str]] = defaultdict(Counter)
    shown = (Entry.State.ACTIVE, Entry.State.PROPOSED)
    rows = Entry.objects.filter(filing__in=list(filings), state__in=shown).values("filing", "kind")
    for row in rows.annotate(number=Count("pk")).order_by():
        counted[row["filing"]][row["kind"]] = row["number"]
    return counted
