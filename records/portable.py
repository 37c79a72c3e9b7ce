"""A record in the portal's own words: everything that `records.restore` needs to put it back.

Ids are kept as they are; hashes and keys are not in it, they are made anew where the record is restored.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from healthvault.store.fields import open_values

from .models import Attachment, Document, Entry, EntrySource, EntryVersion, Import, Message, Record

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_CHUNK = 500


def document_path(document: UUID) -> str:
    """Where in the archive a document stands."""
    return f"documents/{document}.xml"


def message_path(message: UUID) -> str:
    """Where the message stands as it came."""
    return f"messages/{message}/message.eml"


def attachment_path(message: UUID, position: int, filename: str) -> str:
    """Where an attachment stands; its name, as far as every file system takes it."""
    return f"messages/{message}/{position:02}-{_safe(filename)}"


def file_path(entry: UUID, filename: str) -> str:
    """Where the bytes of a File item stand that is no attachment."""
    return f"files/{entry}-{_safe(filename)}"


def _safe(filename: str) -> str:
    stem = _UNSAFE.sub("_", filename).strip("._") or "file"
    return stem[:40] + (stem[-40:] if len(stem) > 80 else stem[40:])


def members(record: Record) -> Iterator[tuple[str, Iterable[bytes]]]:
    """The members under `portal/`: name, and content in pieces."""
    yield "portal/record.json", [_line(_record(record))]
    yield "portal/messages.ndjson", map(_line, _messages(record))
    yield "portal/documents.ndjson", map(_line, _documents(record))
    yield "portal/items.ndjson", map(_line, _entries(record))


def originals(record: Record) -> Iterator[tuple[str, UUID]]:
    """Path and blob of everything that is kept byte for byte."""
    for pk, blob in Document.objects.filter(record=record).order_by("pk").values_list("pk", "blob"):
        yield document_path(pk), blob
    raw = Message.objects.filter(record=record, raw__isnull=False).order_by("pk")
    for pk, blob in raw.values_list("pk", "raw"):
        assert blob is not None
        yield message_path(pk), blob
    rows = Attachment.objects.filter(message__record=record).select_related("message__record__holder")
    for attachment in rows.order_by("message", "position").iterator(chunk_size=_CHUNK):
        path = attachment_path(attachment.message_id, attachment.position, attachment.filename)
        yield path, attachment.blob_id
    files = Entry.objects.filter(record=record, blob__isnull=False, attachment=None).order_by("pk")
    for entry in files.select_related("record__holder"):
        assert entry.blob_id is not None
        yield file_path(entry.pk, entry.content.get("name", "")), entry.blob_id


def _record(record: Record) -> dict[str, Any]:
    return {
        "id": str(record.pk),
        "name": record.name,
        "birth_date": record.birth_date,
        "gender": record.gender,
        "created": record.created.isoformat(),
    }


def _messages(record: Record) -> Iterator[dict[str, Any]]:
    rows = Message.objects.filter(record=record).select_related("record__holder").order_by("pk")
    for message in rows.prefetch_related("attachments").iterator(chunk_size=_CHUNK):
        yield {
            "id": message.pk,
            "direction": message.direction,
            "source": message.source,
            "from_address": message.from_address,
            "from_name": message.from_name,
            "to_addresses": message.to_addresses,
            "organization_name": message.organization_name,
            "message_id": message.message_id,
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
            "sent": message.sent,
            "received": message.received,
            "size": message.size,
            "signers": message.signers,
            "about": message.about,
            "opened": message.opened,
            "deleted": message.deleted,
            "raw": message_path(message.pk) if message.raw_id else None,
            "attachments": [_attachment(attachment) for attachment in message.attachments.all()],
        }


def _attachment(attachment: Attachment) -> dict[str, Any]:
    return {
        "id": attachment.pk,
        "position": attachment.position,
        "filename": attachment.filename,
        "content_type": attachment.content_type,
        "size": attachment.size,
        "sha256": attachment.sha256,
        "outcome": attachment.outcome,
        "code": attachment.code,
        "path": attachment_path(attachment.message_id, attachment.position, attachment.filename),
    }


def _documents(record: Record) -> Iterator[dict[str, Any]]:
    imports = {filing.document_id: filing for filing in Import.objects.filter(record=record)}
    rows = Document.objects.filter(record=record).select_related("record__holder").order_by("pk")
    for document in rows.iterator(chunk_size=_CHUNK):
        filing = imports.get(document.pk)
        yield {
            "id": document.pk,
            "attachment": document.attachment_id,
            "path": document_path(document.pk),
            "kind": document.kind,
            "item_type": document.item_type,
            "content_type": document.content_type,
            "facts": document.facts,
            "package": document.package,
            "state": document.state,
            "code": document.code,
            "patient_confirmed": document.patient_confirmed,
            "created": document.created,
            "import": _import(filing) if filing else None,
        }


def _import(filing: Import) -> dict[str, Any]:
    names = ("state", "extractor", "items", "matched", "updated", "not_understood", "created", "decided")
    return {"id": filing.pk, **{name: getattr(filing, name) for name in names}}


def _entries(record: Record) -> Iterator[dict[str, Any]]:
    """Items with what documents said and people did, some hundred at a time."""
    ids = list(Entry.objects.filter(record=record).order_by("pk").values_list("pk", flat=True))
    key = record.holder.unwrap()
    for start in range(0, len(ids), _CHUNK):
        yield from _some_entries(ids[start : start + _CHUNK], key)


_ENTRY = (
    "kind",
    "state",
    "decision",
    "own",
    "personal",
    "created",
    "updated",
    "attachment",
    "filing",
    "blob",
)
_SOURCE = ("filing", "state", "state_before", "pinned", "chosen")


def _some_entries(ids: list[UUID], key: bytes) -> Iterator[dict[str, Any]]:
    rows = list(Entry.objects.filter(pk__in=ids).order_by("pk").values("pk", "content", *_ENTRY))
    contents = open_values(Entry, "content", [(row["pk"], row["content"]) for row in rows], key)
    sources, versions = _sources(ids, key), _versions(ids, key)
    for row, content in zip(rows, contents, strict=True):
        own_file = row["blob"] is not None and row["attachment"] is None
        yield {
            "id": row["pk"],
            **{name: row[name] for name in _ENTRY if name != "blob"},
            "content": content,
            "path": file_path(row["pk"], content.get("name", "")) if own_file else None,
            "sources": sources[row["pk"]],
            "versions": versions[row["pk"]],
        }


def _sources(ids: list[UUID], key: bytes) -> dict[UUID, list[dict[str, Any]]]:
    rows = list(
        EntrySource.objects.filter(entry__in=ids)
        .order_by("pk")
        .values("pk", "entry", "place", "content", *_SOURCE)
    )
    places = open_values(EntrySource, "place", [(row["pk"], row["place"]) for row in rows], key)
    contents = open_values(EntrySource, "content", [(row["pk"], row["content"]) for row in rows], key)
    found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for row, place, content in zip(rows, places, contents, strict=True):
        flat = {name: row[name] for name in _SOURCE}
        found[row["entry"]].append({"id": row["pk"], **flat, "place": place, "content": content})
    return found


def _versions(ids: list[UUID], key: bytes) -> dict[UUID, list[dict[str, Any]]]:
    rows = list(
        EntryVersion.objects.filter(entry__in=ids)
        .order_by("pk")
        .values("pk", "entry", "account", "action", "content", "at")
    )
    contents = open_values(EntryVersion, "content", [(row["pk"], row["content"]) for row in rows], key)
    found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for row, content in zip(rows, contents, strict=True):
        flat = {"account": row["account"], "action": row["action"], "at": row["at"]}
        found[row["entry"]].append({"id": row["pk"], **flat, "content": content})
    return found


def _line(value: dict[str, Any]) -> bytes:
    """One line of JSON; what is no JSON value (an id, a time) as its text."""
    return json.dumps(value, ensure_ascii=True, default=_text, separators=(",", ":")).encode() + b"\n"


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
