"""A whole record as one ZIP, made as it is read: nothing of it ever lies unsealed on a disk.

`fhir/` has the items as a FHIR R4 Bundle and as one NDJSON file a type, `csv/` a table a kind,
`documents/`, `messages/` and `files/` the originals byte for byte, `summary.html` what people print,
`audit.csv` who did what, `portal/` what a portal needs to put it all back (`records.restore`).
`manifest.json`, the last member, has size and SHA-256 of every other one.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from healthvault.audit import trail
from healthvault.store.blobs import open_blob_stream
from healthvault.store.models import Blob

from . import exported, portable, printing
from .models import Attachment, Document, Entry, Message, Record

FORMAT = "healthvault-direct-record"
VERSION = 1
_PIECE = 1024 * 1024
#: ZIP keeps years from 1980 on; every member has this time, so that equal records make equal members.
_TIME = (1980, 1, 1, 0, 0, 0)

#: Told how many members are done.
Progress = Callable[[int], None]


class RecordArchive:
    """The ZIP of one record as a readable stream: `read(size)` makes as much of it as is asked for."""

    def __init__(self, record: Record, progress: Progress | None = None) -> None:
        self._pieces = _archive(record, progress or (lambda done: None))
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        given, self._rest = self._rest[:size], self._rest[size:]
        return given


def members(record: Record) -> int:
    """About how many members the archive of `record` has, for a bar of progress."""
    attachments = Attachment.objects.filter(message__record=record).count()
    messages = Message.objects.filter(record=record, raw__isnull=False).count()
    files = Entry.objects.filter(record=record, blob__isnull=False, attachment=None).count()
    return attachments + messages + files + Document.objects.filter(record=record).count() + 12


class _Output(io.RawIOBase):
    """What the ZIP writer writes to: it is handed on piece by piece, and cannot be sought in."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """All that was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _archive(record: Record, progress: Progress) -> Iterator[bytes]:
    output = _Output()
    manifest: list[dict[str, Any]] = []
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for name, content in _members(record):
            yield from _member(archive, output, name, content, manifest)
            progress(len(manifest))
        head = {
            "format": FORMAT,
            "version": VERSION,
            "record": str(record.pk),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "members": list(manifest),
        }
        yield from _member(archive, output, "manifest.json", [_json(head)], manifest)
    yield output.taken()


def _member(
    archive: zipfile.ZipFile,
    output: _Output,
    name: str,
    content: Iterable[bytes],
    manifest: list[dict[str, Any]],
) -> Iterator[bytes]:
    """Write one member, handing out what the ZIP writer made of it."""
    info = zipfile.ZipInfo(name, _TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    digest, size = hashlib.sha256(), 0
    with archive.open(info, "w", force_zip64=True) as member:
        for piece in content:
            digest.update(piece)
            size += len(piece)
            member.write(piece)
            if taken := output.taken():
                yield taken
    yield output.taken()
    manifest.append({"path": name, "size": size, "sha256": digest.hexdigest()})


def _members(record: Record) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Every member but the manifest: its name, and its content in pieces."""
    items = exported.items(record)
    resources = list(exported.resources(record, items))
    yield "fhir/bundle.json", exported.bundle(record, resources)
    yield from exported.ndjson(resources)
    yield from exported.tables(items)
    yield "summary.html", [printing.summary(record, items).encode()]
    yield "audit.csv", _audit(record)
    yield from portable.members(record)
    yield from _originals(record)


def _originals(record: Record) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Documents, messages and files as they came, each opened when its turn has come."""
    key = record.holder.unwrap()
    for path, blob in portable.originals(record):
        yield path, _opened(blob, key)


def _opened(blob: UUID, key: bytes) -> Iterator[bytes]:
    for piece in open_blob_stream(Blob.objects.get(pk=blob), key):
        for start in range(0, len(piece), _PIECE):
            yield piece[start : start + _PIECE]


def _audit(record: Record) -> Iterator[bytes]:
    """What happened to the record, oldest first: ids and codes, as the trail has them."""
    yield exported.csv_line(["at", "action", "actor", "subject", "outcome", "address", "ids"])
    events = trail.history(record).order_by("at", "id")
    for event in events.iterator(chunk_size=1000):
        ids = json.dumps(event.ids, sort_keys=True)
        at = timezone.localtime(event.at, UTC).isoformat()
        yield exported.csv_line(
            [at, event.action, event.actor, event.subject, event.outcome, event.address or "", ids]
        )


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
