"""Which document takes the place of which (HL7 CDA R2 section 4.2.3.1).

A document replaces an earlier one that has the same id, or the same set id and a lower version, or that
it names in a `RPLC` relation. The earlier one stays, with its items, and is shown as superseded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from healthvault.store.fields import open_values

from .models import Document, Import, Record


@dataclass(frozen=True, slots=True)
class _Header:
    pk: UUID
    digest: str
    id: str
    set_id: str
    version: int
    replaces: tuple[str, ...]
    superseded_by: UUID | None = None


def note(document: Document, facts: dict[str, Any]) -> None:
    """Set who supersedes whom among the documents of a record, now that `document` is read."""
    if facts.get("id") or facts.get("set_id") or facts.get("replaces"):
        _apply(document.record)


def forget(document: Document) -> None:
    """The same after the import of `document` was taken back: it replaces nothing any more."""
    _apply(document.record)


def settle(record: Record) -> None:
    """Decide anew which documents of `record` replace which: one of them left."""
    _apply(record)


def _apply(record: Record) -> None:
    headers = _headers(record)
    for header in headers:
        by = next((other.pk for other in reversed(headers) if _replaces(other, header)), None)
        if by != header.superseded_by:
            Document.objects.filter(pk=header.pk).update(superseded_by=by)


def _headers(record: Record) -> list[_Header]:
    """The documents that count, oldest first."""
    found = list(
        Document.objects.filter(record=record, state=Document.State.READ)
        .order_by("pk")
        .values_list("pk", "digest", "superseded_by", "facts", "filing__state")
    )
    opened = open_values(Document, "facts", [(row[0], row[3]) for row in found], record.holder.unwrap())
    headers = []
    for (pk, digest, by, _, state), facts in zip(found, opened, strict=True):
        if state == Import.State.UNDONE or facts is None:
            facts = {}
        version = _version(facts.get("version", ""))
        replaces = tuple(facts.get("replaces", ()))
        headers.append(
            _Header(pk, digest, facts.get("id", ""), facts.get("set_id", ""), version, replaces, by)
        )
    return headers


def _replaces(newer: _Header, older: _Header) -> bool:
    if newer.pk == older.pk or newer.digest == older.digest:
        return False
    if older.id and older.id in newer.replaces:
        return True
    if newer.id and newer.id == older.id:
        return (newer.version, newer.pk) > (older.version, older.pk)
    return bool(newer.set_id) and newer.set_id == older.set_id and newer.version > older.version


def _version(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
