"""The items of a record in the shapes other programs read: FHIR R4 and tables."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from healthvault.store.fields import open_values
from records.clinical.types import PatientFacts

from . import portable
from .clinical import fhir
from .models import Document, Entry, EntrySource, Message, Record

PATIENT = "Patient/patient"
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_FHIR_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NAMES = UUID("3d0b5a52-0c3f-4f6d-9a53-1f0f7a5c2f1e")
_PERSONAL = {
    "security": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"},
    ]
}
#: What a table says of an item.
COLUMNS = (
    "name",
    "start",
    "end",
    "value",
    "unit",
    "status",
    "negated",
    "codes",
    "note",
    "own",
    "document",
    "id",
)


@dataclass(frozen=True, slots=True)
class ExportedItem:
    """One item of the record, opened."""

    id: UUID
    kind: str
    content: dict[str, Any]
    document: UUID | None
    own: bool
    personal: bool
    updated: datetime
    path: str


def items(record: Record) -> list[ExportedItem]:
    """The items that are in the record, by kind and in the order they came."""
    fields = ("pk", "content", "kind", "filing__document", "own", "personal", "updated")
    place = ("blob", "attachment__message", "attachment__position")
    rows = Entry.objects.filter(record=record, state=Entry.State.ACTIVE).order_by("kind", "pk")
    found = list(rows.values_list(*fields, *place))
    contents = open_values(Entry, "content", [row[:2] for row in found], record.holder.unwrap())
    return [
        ExportedItem(
            pk, kind, content, document, own, personal, updated, _path(pk, content, blob, message, position)
        )
        for (pk, _, kind, document, own, personal, updated, blob, message, position), content in zip(
            found, contents, strict=True
        )
    ]


def _path(
    entry: UUID, content: dict[str, Any], blob: UUID | None, message: UUID | None, position: int | None
) -> str:
    """Where in the archive the bytes of an item stand; empty for an item that has none."""
    if blob is None:
        return ""
    name = content.get("name", "")
    if message is None or position is None:
        return portable.file_path(entry, name)
    return portable.attachment_path(message, position, name)


# --- FHIR -----------------------------------------------------------------------------------------------


def resources(record: Record, found: list[ExportedItem]) -> Iterator[dict[str, Any]]:
    """Every resource of the record, with its id; references are `Type/id`."""
    patient = f"Patient/{record.pk}"
    yield {**_patient(record), "id": str(record.pk)}
    for item in found:
        resource = _resource(item, patient)
        meta = {"lastUpdated": item.updated.astimezone(UTC).isoformat(timespec="milliseconds")}
        yield {**resource, "id": str(item.id), "meta": {**meta, **(_PERSONAL if item.personal else {})}}
    yield from _documents(record, patient)
    yield from _messages(record, patient)
    yield from _provenances(found, record)


def bundle(record: Record, found: list[dict[str, Any]]) -> Iterator[bytes]:
    """A Bundle (`collection`) of all resources, in pieces; its references are the entries' full URLs."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    head = {"resourceType": "Bundle", "id": str(record.pk), "type": "collection", "timestamp": now}
    urls = {f"{r['resourceType']}/{r['id']}": f"urn:uuid:{r['id']}" for r in found}
    yield _dumped(head)[:-1] + b',"entry":['
    for number, resource in enumerate(found):
        entry = {"fullUrl": f"urn:uuid:{resource['id']}", "resource": _referring(resource, urls)}
        yield (b"," if number else b"") + b"\n" + _dumped(entry)
    yield b"\n]}"


def ndjson(found: list[dict[str, Any]]) -> Iterator[tuple[str, Iterable[bytes]]]:
    """One file a type, one resource a line (FHIR Bulk Data Access)."""
    by_type: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for resource in found:
        by_type[resource["resourceType"]].append(resource)
    for name, several in sorted(by_type.items()):
        yield f"fhir/{name}.ndjson", (_dumped(resource) + b"\n" for resource in several)


def _patient(record: Record) -> dict[str, Any]:
    facts = PatientFacts(name=record.name, birth_date=record.birth_date or "", gender=record.gender or "")
    return fhir.patient_resource(facts)


def _resource(item: ExportedItem, patient: str) -> dict[str, Any]:
    resource = item.content.get("resource")
    if resource is None:
        return _file(item, patient)
    made: dict[str, Any] = _referring(resource, {PATIENT: patient})
    if item.content.get("note") and "note" not in made and made["resourceType"] in _WITH_NOTE:
        made["note"] = [{"text": item.content["note"]}]
    return made


#: The types that have an element for a note.
_WITH_NOTE = frozenset(
    {
        "AllergyIntolerance",
        "CareTeam",
        "Condition",
        "DeviceUseStatement",
        "FamilyMemberHistory",
        "Goal",
        "Immunization",
        "List",
        "MedicationAdministration",
        "MedicationRequest",
        "MedicationStatement",
        "Observation",
        "Procedure",
        "ServiceRequest",
    }
)


def _file(item: ExportedItem, patient: str) -> dict[str, Any]:
    content = item.content
    attachment = {
        "contentType": content.get("content_type") or "application/octet-stream",
        "title": content.get("name") or "File",
        "size": content.get("size", 0),
        "url": item.path,
    }
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        "subject": {"reference": patient},
        "content": [{"attachment": attachment}],
    }


def _documents(record: Record, patient: str) -> Iterator[dict[str, Any]]:
    rows = Document.objects.filter(record=record).order_by("pk").select_related("record__holder")
    for document in rows:
        facts = document.facts or {}
        made: dict[str, Any] = {
            "resourceType": "DocumentReference",
            "id": str(document.pk),
            "status": "superseded" if document.superseded_by_id else "current",
            "subject": {"reference": patient},
            "date": document.created.astimezone(UTC).isoformat(timespec="milliseconds"),
            "content": [
                {
                    "attachment": {
                        "contentType": document.content_type or "text/xml",
                        "title": facts.get("title") or document.get_kind_display(),
                        "url": portable.document_path(document.pk),
                    }
                }
            ],
        }
        if facts.get("author"):
            made["author"] = [{"display": facts["author"]}]
        yield made


def _messages(record: Record, patient: str) -> Iterator[dict[str, Any]]:
    rows = Message.objects.filter(record=record, deleted=None).order_by("pk")
    for message in rows.select_related("record__holder").prefetch_related("attachments"):
        payload: list[dict[str, Any]] = [{"contentString": message.text}] if message.text.strip() else []
        for attachment in message.attachments.all():
            url = portable.attachment_path(message.pk, attachment.position, attachment.filename)
            payload.append({"contentAttachment": {"contentType": attachment.content_type, "url": url}})
        yield {
            "resourceType": "Communication",
            "id": str(message.pk),
            "status": "completed",
            "subject": {"reference": patient},
            "received": message.received.astimezone(UTC).isoformat(timespec="milliseconds"),
            "sender": {"display": message.organization_name or message.from_address or "unknown"},
            **({"topic": {"text": message.subject}} if message.subject.strip() else {}),
            **({"payload": payload} if payload else {}),
        }


def _provenances(found: list[ExportedItem], record: Record) -> Iterator[dict[str, Any]]:
    """For every document: which items it speaks of, who wrote it, and in which message it came."""
    types = {item.id: _type_of(item) for item in found}
    of_document: dict[UUID, list[UUID]] = defaultdict(list)
    said = EntrySource.objects.filter(filing__record=record, state=EntrySource.State.STANDING).order_by("pk")
    for document_id, entry in said.values_list("filing__document", "entry"):
        if entry in types:
            of_document[document_id].append(entry)
    documents = Document.objects.filter(pk__in=of_document).order_by("pk")
    for document in documents.select_related("record__holder", "attachment__message"):
        message = document.attachment.message if document.attachment else None
        sender = message.organization_name if message else ""
        who = (document.facts or {}).get("author") or sender or "unknown"
        yield {
            "resourceType": "Provenance",
            "id": str(uuid5(_NAMES, str(document.pk))),
            "target": [{"reference": f"{types[entry]}/{entry}"} for entry in of_document[document.pk]],
            "recorded": document.created.astimezone(UTC).isoformat(timespec="milliseconds"),
            "agent": [{"type": {"text": "author"}, "who": {"display": who}}],
            "entity": [{"role": "source", "what": {"reference": f"DocumentReference/{document.pk}"}}],
        }


def _type_of(item: ExportedItem) -> str:
    return str((item.content.get("resource") or {}).get("resourceType", "DocumentReference"))


def _referring(value: Any, urls: dict[str, str]) -> Any:
    """`value` with its references changed by `urls`, and without characters that FHIR text cannot have."""
    if isinstance(value, dict):
        return {
            key: urls.get(part, part)
            if key == "reference" and isinstance(part, str)
            else _referring(part, urls)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_referring(part, urls) for part in value]
    return _NOT_FHIR_TEXT.sub(" ", value) if isinstance(value, str) else value


def _dumped(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _SURROGATES.sub("\ufffd", text).encode()


# --- tables ---------------------------------------------------------------------------------------------


def tables(found: list[ExportedItem]) -> Iterator[tuple[str, Iterable[bytes]]]:
    """One table a kind."""
    by_kind: dict[str, list[ExportedItem]] = defaultdict(list)
    for item in found:
        by_kind[item.kind].append(item)
    for kind, several in sorted(by_kind.items()):
        yield f"csv/{kind}.csv", _table(several)


def _table(several: list[ExportedItem]) -> Iterator[bytes]:
    yield csv_line(COLUMNS)
    for item in several:
        content = item.content
        codes = "; ".join(f"{code['system']}|{code['code']}" for code in content.get("codes", ()))
        start = content.get("start") or content.get("start_text")
        flat = [start, *(content.get(name) for name in ("end", "value", "unit", "status"))]
        negated = "not" if content.get("negated") and not content.get("none_known") else ""
        beside = [negated, codes, content.get("note"), "own" if item.own else "", item.document, item.id]
        yield csv_line([content.get("name"), *flat, *beside])


def csv_line(values: Iterable[Any]) -> bytes:
    """One line of a table (RFC 4180); text that a spreadsheet would run as a formula begins with a quote."""
    line = io.StringIO()
    csv.writer(line).writerow([_cell(value) for value in values])
    return _SURROGATES.sub("\ufffd", line.getvalue()).encode()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
