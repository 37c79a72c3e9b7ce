"""Taking a message's parts in: each stored sealed, each looked into once.

This runs before anything is filed, in the worker that opened the message (or in the request that
took a partner's parcel), so that the claim itself, in a web process, needs no parsing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from healthvault.store.blobs import store_blob
from healthvault.store.models import HolderKey
from records.clinical import archive, detect, reader
from records.clinical.errors import ClinicalError, UnsupportedDocument


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A clinical document found in a part: its blob (the part's own, or that of a member of a zip).

    `package` is what an XDM package said about it, as plain JSON.
    """

    blob: str
    kind: str
    item_type: str
    sha256: str
    filename: str
    content_type: str
    patient: str = ""
    package: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One attachment as stored: blob id, name, declared type, size, digest, and the documents in it.

    `code` says why something that looked like a document is kept as a plain file; `unpacked`, that the parts
    which follow are all that is in it.
    """

    blob: str
    filename: str
    content_type: str
    size: int
    sha256: str
    documents: tuple[StoredDocument, ...] = ()
    code: str = ""
    unpacked: bool = False


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message ready to be filed: everything a `Message` row needs, blobs already stored."""

    from_address: str
    subject: str
    text: str
    to: tuple[str, ...] = ()
    from_name: str = ""
    organization_name: str = ""
    message_id: str = ""
    html: str | None = None
    sent: datetime | None = None
    size: int = 0
    source: str = "direct"
    signers: tuple[dict[str, Any], ...] = ()
    raw: str | None = None
    parts: tuple[StoredPart, ...] = field(default=())
    about: dict[str, Any] | None = None

    @property
    def blobs(self) -> list[str]:
        """Ids of every blob the message consists of."""
        ids = [self.raw] if self.raw else []
        for part in self.parts:
            ids += [part.blob, *(document.blob for document in part.documents)]
        return list(dict.fromkeys(ids))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        value = asdict(self)
        value["sent"] = self.sent.isoformat() if self.sent else None
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> IncomingMessage:
        """The inverse of `to_json`."""
        parts = tuple(
            StoredPart(**{**part, "documents": tuple(StoredDocument(**d) for d in part["documents"])})
            for part in value["parts"]
        )
        sent = datetime.fromisoformat(value["sent"]) if value["sent"] else None
        fields = {**value, "parts": parts, "sent": sent}
        return cls(**{**fields, "to": tuple(value["to"]), "signers": tuple(value["signers"])})


def store_parts(holder: HolderKey, parts: Iterable[tuple[str, str, bytes]]) -> tuple[StoredPart, ...]:
    """Store (filename, content type, bytes) parts under `holder`, looking into each for documents.

    What an XDM package holds besides clinical documents (a letter in PDF) follows it as parts of their own.
    """
    return tuple(stored for part in parts for stored in _store_part(holder, *part))


def _store_part(holder: HolderKey, filename: str, content_type: str, data: bytes) -> list[StoredPart]:
    blob = str(store_blob(holder, data).pk)
    digest = hashlib.sha256(data).hexdigest()
    documents: Sequence[StoredDocument] = ()
    others: list[StoredPart] = []
    code = ""
    if data and detect.may_be_document(content_type, filename):
        found = detect.detect(data, content_type, filename)
        if found.kind:
            documents = [_describe(found, blob, digest, filename, content_type, data)]
        elif found.code != UnsupportedDocument.code:
            code = found.code
    elif archive.may_be_archive(content_type, filename, data):
        documents, others, code = _unpacked(holder, data)
    alone = bool(others) and not documents
    whole = StoredPart(blob, filename, content_type, len(data), digest, tuple(documents), code, alone)
    return [whole, *others]


def _unpacked(holder: HolderKey, data: bytes) -> tuple[list[StoredDocument], list[StoredPart], str]:
    """The clinical documents of an archive, each stored on its own, and what else a package names."""
    try:
        package = archive.read_package(data)
    except ClinicalError as error:
        return [], [], error.code
    documents: list[StoredDocument] = []
    others: list[StoredPart] = []
    for member in package.documents:
        found = detect.detect(member.data, member.content_type, member.filename)
        if not found.kind and package.submission is None:
            continue
        blob = str(store_blob(holder, member.data).pk)
        digest = hashlib.sha256(member.data).hexdigest()
        if found.kind:
            stored = _describe(found, blob, digest, member.filename, member.content_type, member.data)
            documents.append(replace(stored, package=package.told(member)))
        else:
            name = archive.shown_name(member)
            others.append(StoredPart(blob, name, member.content_type, len(member.data), digest))
    return documents, others, ""


def _describe(
    found: detect.Detected, blob: str, digest: str, filename: str, content_type: str, data: bytes
) -> StoredDocument:
    """A found document; whom it names is noted, since the claim shows that before anything is read."""
    assert found.kind is not None
    try:
        patient = reader.read(data, content_type).patient
    except ClinicalError:
        patient = None
    return StoredDocument(
        blob, found.kind, found.item_type, digest, filename, content_type, patient.name if patient else ""
    )
