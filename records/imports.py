"""One import: the statements of a document, put to the items of its record."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from healthvault.store.blobs import seal_blob
from healthvault.store.faults import fault
from healthvault.store.fields import seal_value
from healthvault.store.ids import new_id
from healthvault.store.models import Blob
from healthvault.vault.keyring import derive
from records.clinical import embedded
from records.clinical.errors import ClinicalError
from records.clinical.types import ClinicalSummary

from . import arranging, rows, standing
from .matching import Index, Statement, statements
from .models import Document, Entry, EntryKey, EntrySource, Import, Record

#: Written into every import, so that items can be told apart by the code that took them out.
EXTRACTOR = "3"
FILE_KIND = "file"
_EXTENSIONS = {
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/html": "html",
    "text/rtf": "rtf",
    "application/rtf": "rtf",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/tiff": "tif",
}


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a document that is no XML, sealed (its row is not saved yet)."""

    statement: Statement
    blob: Blob


def key_hasher(record: Record) -> Callable[[str], str]:
    """Makes the hashes of item keys: under a key of this record's own, which goes when the record goes."""
    key = derive(record.holder.unwrap(), "item keys")

    def hash_key(text: str) -> str:
        return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    return hash_key


def embedded_body(document: Document, data: bytes, summary: ClinicalSummary) -> Body | None:
    """The body that is no XML as a File in the making; None where there is none that can be decoded.

    A large one is written to disk here, before any transaction.
    """
    body = summary.body
    if body is None or body.reference or not body.path:
        return None
    try:
        found = embedded.embedded_file(data, body.path)
    except ClinicalError:
        return None
    if not found.data:
        return None
    digest = hashlib.sha256(found.data).hexdigest()
    content = {
        "kind": FILE_KIND,
        "name": _file_name(summary.title, found.media_type),
        "content_type": found.media_type[:127],
        "size": len(found.data),
        "sha256": digest,
        "start": summary.date.iso if summary.date else None,
        "section": "",
        "path": body.path,
    }
    key = key_hasher(document.record)(f"{FILE_KIND}|{digest}")
    statement = Statement(FILE_KIND, [key], content, "", body.path)
    return Body(statement, seal_blob(document.record.holder, found.data))


def _file_name(title: str, media_type: str) -> str:
    extension = _EXTENSIONS.get(media_type.partition(";")[0].strip().lower(), "bin")
    return f"{(title or 'Document').strip()[:200]}.{extension}"


def file_items(
    document: Document, summary: ClinicalSummary, *, review: bool, body: Body | None = None
) -> Import:
    """File what a document says: new items, and sources of items that are there already.

    With `review` everything waits for a person. To be called in the transaction that moves the document
    on; about as many database statements for a thousand items as for one.
    """
    record = document.record
    arranging.lock(record)
    said = statements(summary, key_hasher(record))
    if body is not None:
        said.append(body.statement)
    matched = _match(record, said)
    filing = Import.objects.create(
        record=record,
        document=document,
        state=Import.State.PROPOSED if review else Import.State.APPLIED,
        extractor=EXTRACTOR,
        items=len(said) - len(matched),
        matched=len(matched),
        not_understood=summary.not_understood,
    )
    blobs = {}
    if body is not None and len(said) - 1 not in matched:
        body.blob.save(force_insert=True)
        blobs[len(said) - 1] = body.blob.pk
    _write(filing, said, matched, blobs, _order_of(document, summary))
    fault("doc.item")
    changed = standing.settle(record, set(matched.values()))
    if changed and not review:
        filing.updated = len(changed)
        filing.save(update_fields=["updated"])
    return filing


def _order_of(document: Document, summary: ClinicalSummary) -> str:
    """The date by which the document is newer or older than another one."""
    if summary.date is not None:
        return standing.moment(summary.date.iso)
    message = document.attachment.message if document.attachment else None
    return standing.moment((message.received if message else document.created).isoformat())


def _match(record: Record, said: list[Statement]) -> dict[int, UUID]:
    """Which statements are about items that are there, by their number."""
    index = known(record, {key for one in said for key in one.keys})
    taken: set[UUID] = set()
    matched = {}
    for number, one in enumerate(said):
        entry = index.find(one.keys, taken.__contains__)
        if entry is not None:
            taken.add(entry)
            matched[number] = entry
    return matched


def known(record: Record, hashes: set[str]) -> Index:
    """The items of `record` that have any of these keys, in the order they had them."""
    found = (
        EntryKey.objects.filter(record=record, hash__in=list(hashes))
        .filter(Q(source=None) | ~Q(source__state=EntrySource.State.WITHDRAWN))
        .values_list("pk", "source", "hash", "entry")
    )
    index = Index()
    for _, key, entry in sorted((source or pk, key, entry) for pk, source, key, entry in found):
        index.add(key, entry)
    return index


def _write(
    filing: Import,
    said: list[Statement],
    matched: dict[int, UUID],
    blobs: dict[int, UUID],
    date: str,
) -> None:
    """The rows of an import, a statement a table."""
    record = filing.record
    holder_key, now = record.holder.unwrap(), timezone.now()
    proposed = filing.state == Import.State.PROPOSED
    entry_state = Entry.State.PROPOSED if proposed else Entry.State.ACTIVE
    source_state = EntrySource.State.PROPOSED if proposed else EntrySource.State.STANDING
    entries: list[tuple[Any, ...]] = []
    sources: list[tuple[Any, ...]] = []
    keys: list[tuple[Any, ...]] = []
    for number, one in enumerate(said):
        entry = matched.get(number)
        if entry is None:
            entry = new_id()
            content = seal_value(Entry, "content", entry, one.content, holder_key)
            blob = blobs.get(number)
            entries.append(
                (
                    entry,
                    record.pk,
                    filing.pk,
                    one.kind,
                    content,
                    blob,
                    entry_state,
                    "",
                    False,
                    False,
                    now,
                    now,
                )
            )
        source = new_id()
        place = seal_value(EntrySource, "place", source, one.place(date), holder_key)
        content = seal_value(EntrySource, "content", source, one.content, holder_key)
        sources.append((source, entry, filing.pk, place, content, source_state, "", False))
        keys += [(new_id(), record.pk, entry, source, key) for key in one.keys]
    rows.insert(Entry, _ENTRY, entries)
    rows.insert(EntrySource, _SOURCE, sources)
    rows.insert(EntryKey, ("id", "record", "entry", "source", "hash"), keys)


_ENTRY = (
    "id",
    "record",
    "filing",
    "kind",
    "content",
    "blob",
    "state",
    "decision",
    "own",
    "personal",
    "created",
    "updated",
)
_SOURCE = ("id", "entry", "filing", "place", "content", "state", "state_before", "pinned")
