"""Putting an exported record back: messages, documents and items with all their proofs and history.

Doing it twice adds nothing. In the record it came from everything keeps its id; in another one ids are
derived from the old ones, in the same order, so that the same statements make the same items.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any
from uuid import UUID

from django.db import DatabaseError, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from healthvault.audit import trail
from healthvault.store import jobs
from healthvault.store.blobs import seal_blob
from healthvault.store.fields import seal_value
from healthvault.store.ids import new_id
from healthvault.store.lookup import lookup_hash
from healthvault.store.models import Blob
from records.clinical import reader
from records.clinical.errors import ClinicalError

from . import quota, rows, superseding
from .arranging import connected, lock, rearrange
from .editing import item_from
from .imports import FILE_KIND, key_hasher
from .matching import Hasher, keys_of, statements
from .models import (
    Account,
    Attachment,
    Document,
    Entry,
    EntryKey,
    EntrySource,
    EntryVersion,
    Grant,
    Import,
    Message,
    Record,
)
from .record_archive import FORMAT, VERSION
from .shapes import proper_about, proper_facts, proper_package

MOST_MEMBERS = 200_000
MOST_BYTES = 20 * 1024**3
MOST_TABLE_BYTES = 512 * 1024**2
#: A member is held in memory: larger ones come in by no door (mail, and what an archive in it unpacks to).
MOST_MEMBER_BYTES = 256 * 1024**2
MOST_MANIFEST_BYTES = 64 * 1024**2
#: What is smaller unpacked is no bomb, however well it packs; else no more than so many times its size.
SURELY_NO_BOMB, MOST_RATIO = 64 * 1024**2, 100


class NotRestorable(Exception):
    """The file is no export of a record, is damaged, or does not fit this record."""

    code = "not_restorable"


@dataclass(slots=True)
class Restored:
    """What was added: rows that were there already are not counted.

    `left_out` counts what rows that were added say in a form that no record has: it was not taken along.
    """

    messages: int = 0
    documents: int = 0
    items: int = 0
    left_out: int = 0


def restore_record(record: Record, file: IO[bytes], account: Account | None) -> Restored:
    """Add everything of an exported record (`records.record_archive`) to `record`.

    What is there already stays as it is. Who signed a restored message is marked as told by the file:
    nobody checked that signature here. Changes are put down to people whom the record is shared with; those
    of others are nobody's. Raises `NotRestorable`; then nothing is added.
    """
    try:
        packed = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            return _Restoring(record, _Archive(archive, packed)).run(account)
    except _UNREADABLE as error:
        raise NotRestorable("this file is no export of a record, or it is damaged") from error


#: What a file that is not what it says ends in: RuntimeError where it is encrypted, or nested too deep.
_UNREADABLE = (
    *(AttributeError, LookupError, TypeError, ValueError, ArithmeticError, AssertionError, EOFError),
    RuntimeError,
    *(zipfile.BadZipFile, zlib.error, DatabaseError),
)


class _Archive:
    """The members of an export, each held to size and digest of the manifest.

    `packed` is the size of the file in octets, which bounds what it may unpack to.
    """

    def __init__(self, archive: zipfile.ZipFile, packed: int) -> None:
        self.archive = archive
        if len(archive.infolist()) > MOST_MEMBERS:
            raise NotRestorable("the file has too many members")
        head = json.loads(self._bounded("manifest.json", MOST_MANIFEST_BYTES))
        if head.get("format") != FORMAT or head.get("version") != VERSION:
            raise NotRestorable("the file is no export of a record, or of another version")
        self.record = UUID(head["record"])
        self.listed = {member["path"]: member for member in head["members"]}
        most = min(MOST_BYTES, max(SURELY_NO_BOMB, MOST_RATIO * packed))
        if sum(max(0, int(member["size"])) for member in self.listed.values()) > most:
            raise NotRestorable("the file unpacks to too much")

    def digest(self, path: str) -> str:
        """The digest the manifest gives a member."""
        return str(self.listed[path]["sha256"])

    def data(self, path: str, most: int = MOST_MEMBER_BYTES) -> bytes:
        """A whole member."""
        member = self.listed[path]
        if int(member["size"]) > most:
            raise NotRestorable("the file unpacks to too much")
        data = self._bounded(path, int(member["size"]))
        if hashlib.sha256(data).hexdigest() != member["sha256"] or len(data) != member["size"]:
            raise NotRestorable("a member of the file is not what its manifest says")
        return data

    def lines(self, path: str) -> list[dict[str, Any]]:
        """The lines of a table of JSON; raises ValueError for one that is none, or no text in it."""
        return [_line(line.decode()) for line in self.data(path, MOST_TABLE_BYTES).splitlines()]

    def _bounded(self, path: str, most: int) -> bytes:
        with self.archive.open(path) as member:
            data = member.read(most + 1)
        if len(data) > most:
            raise NotRestorable("a member of the file is larger than its manifest says")
        return data


def _line(text: str) -> Any:
    value = json.loads(text)
    if "\\ud" in text.lower():
        # Half a pair of surrogates is no character: no page could be written with it.
        json.dumps(value, ensure_ascii=False).encode()
    return value


@dataclass(slots=True)
class _Restoring:
    record: Record
    archive: _Archive
    blobs: dict[str, Blob] = field(default_factory=dict)
    done: Restored = field(default_factory=Restored)

    def run(self, account: Account | None) -> Restored:
        messages = self.archive.lines("portal/messages.ndjson")
        documents = self.archive.lines("portal/documents.ndjson")
        entries = self.archive.lines("portal/items.ndjson")
        # Sealing, and files on disk, come before the transaction; blobs of rows that exist are not made.
        fresh = self._fresh(messages, documents, entries)
        keys = self._keys(documents, entries)
        for path in dict.fromkeys(_paths(messages, documents, entries, fresh)):
            digest = self.archive.digest(path)
            if digest not in self.blobs:
                self.blobs[digest] = seal_blob(self.record.holder, self.archive.data(path))
        with transaction.atomic():
            lock(self.record)
            self._require_room()
            for blob in self.blobs.values():
                blob.save(force_insert=True)
            self._messages([m for m in messages if m["id"] in fresh])
            self._documents([d for d in documents if d["id"] in fresh])
            self._entries(entries, fresh, keys)
            trail.record("record.restored", actor=account, record=self.record, items=self.done.items)
        return self.done

    def _require_room(self) -> None:
        try:
            quota.require_room(self.record, sum(blob.size for blob in self.blobs.values()))
        except quota.RecordFull as full:
            raise NotRestorable(str(full)) from full

    # --- ids ------------------------------------------------------------------------------------------

    def id(self, old: str | None) -> UUID | None:
        """The id here of a row that had the id `old` where it was exported."""
        if old is None:
            return None
        was = UUID(old)
        if self.archive.record == self.record.pk:
            return was
        mixed = bytearray(was.bytes[:8] + hashlib.sha256(self.record.pk.bytes + was.bytes).digest()[:8])
        mixed[8] = mixed[8] & 0x3F | 0x80
        return UUID(bytes=bytes(mixed))

    def must(self, old: str) -> UUID:
        """`id` of something that has to be there."""
        found = self.id(old)
        assert found is not None
        return found

    def _fresh(self, *tables: list[dict[str, Any]]) -> set[str]:
        """Which rows are not in the record yet, by their old ids; raises NotRestorable when elsewhere."""
        fresh: set[str] = set()
        for model, table in zip((Message, Document, Entry), tables, strict=True):
            ids = {self.must(row["id"]): row["id"] for row in table}
            present = model._default_manager.filter(pk__in=ids).values_list("pk", "record")
            if any(record != self.record.pk for _, record in present):
                raise NotRestorable("a part of this record is in another record")
            fresh |= {old for new, old in ids.items()} - {ids[pk] for pk, _ in present}
        return fresh

    # --- rows -----------------------------------------------------------------------------------------

    def _blob(self, path: str) -> Blob:
        return self.blobs[self.archive.digest(path)]

    def _proper(self, check: Callable[[Any], bool], value: Any) -> Any:
        """`value` where it has its form; else None, and counted."""
        if check(value):
            return value
        self.done.left_out += 1
        return None

    def _messages(self, table: list[dict[str, Any]]) -> None:
        for row in table:
            message = Message.objects.create(
                pk=self.must(row["id"]),
                record=self.record,
                direction=Message.Direction(row["direction"]),
                source=Message.Source(row["source"]),
                signers=[{**signer, "restored": True} for signer in row["signers"]],
                raw=self._blob(row["raw"]) if row["raw"] else None,
                about=self._proper(proper_about, row.get("about")),  # archives of before have none
                **{name: row[name] for name in _MESSAGE},
                **_times(row, "sent", "received", "opened", "deleted"),
            )
            for one in row["attachments"]:
                outcome = Attachment.Outcome(one["outcome"])
                Attachment.objects.create(
                    pk=self.must(one["id"]),
                    message=message,
                    blob=self._blob(one["path"]),
                    outcome=Attachment.Outcome.DOCUMENT if outcome == Attachment.Outcome.READING else outcome,
                    **{name: one[name] for name in _ATTACHMENT},
                )
            self.done.messages += 1

    def _documents(self, table: list[dict[str, Any]]) -> None:
        from .tasks import read_document as task

        attached = self._present(Attachment, (row["attachment"] for row in table))
        for row in table:
            state = Document.State(row["state"])
            if state == Document.State.READING:
                state = Document.State.WAITING
            digest = self.archive.digest(row["path"])
            document = Document.objects.create(
                pk=self.must(row["id"]),
                record=self.record,
                attachment_id=self.id(row["attachment"]) if row["attachment"] in attached else None,
                blob=self._blob(row["path"]),
                kind=Document.Kind(row["kind"]),
                item_type=Document.ItemType(row["item_type"]),
                digest=lookup_hash("document", f"{self.record.pk}:{digest}"),
                state=state,
                package=self._proper(proper_package, row.get("package")),
                facts=self._proper(proper_facts, row["facts"]),
                **{name: row[name] for name in ("content_type", "code", "patient_confirmed")},
                **_times(row, "created"),
            )
            if row["import"]:
                self._import(document, row["import"])
            if state == Document.State.WAITING:
                jobs.ring(task, str(document.pk))
            self.done.documents += 1

    def _import(self, document: Document, row: dict[str, Any]) -> None:
        counts = ("extractor", "items", "matched", "updated", "not_understood")
        Import.objects.create(
            pk=self.must(row["id"]),
            record=self.record,
            document=document,
            state=Import.State(row["state"]),
            **{name: row[name] for name in counts},
            **_times(row, "created", "decided"),
        )

    def _entries(self, table: list[dict[str, Any]], fresh: set[str], keys: dict[str, list[str]]) -> None:
        """Items that are not there; then all are made anew from what documents say and people did."""
        here = [row for row in table if row["id"] in fresh]
        self._write(here, keys)
        rearrange(self.record, connected(self.record, [self.must(row["id"]) for row in here]))
        for document in Document.objects.filter(record=self.record).select_related("record__holder")[:1]:
            superseding.forget(document)
        self.done.items = len(here)

    def _write(self, table: list[dict[str, Any]], keys: dict[str, list[str]]) -> None:
        """The rows of items that are not there: a statement a table, whatever their number."""
        filings = self._present(Import, (s["filing"] for row in table for s in row["sources"]))
        parts = self._present(Attachment, (row["attachment"] for row in table))
        blobs = dict(Attachment.objects.filter(message__record=self.record).values_list("pk", "blob"))
        # The file says who changed what: believed of the people of this record, and of nobody else.
        people = set(Grant.objects.filter(record=self.record).values_list("account", flat=True))
        holder_key = self.record.holder.unwrap()
        entries: list[tuple[Any, ...]] = []
        sources: list[tuple[Any, ...]] = []
        versions: list[tuple[Any, ...]] = []
        of_keys: list[tuple[Any, ...]] = []
        for row in table:
            pk = self.must(row["id"])
            part = self.id(row["attachment"]) if row["attachment"] in parts else None
            blob = blobs[part] if part else self._blob(row["path"]).pk if row["path"] else None
            filing = self.id(row["filing"]) if row["filing"] in filings else None
            entries.append((pk, *_entry(row, pk, holder_key), self.record.pk, filing, blob, part))
            for one in row["sources"]:
                if one["filing"] in filings:
                    source, of = self.must(one["id"]), self.must(one["filing"])
                    sources.append((source, *_source(one, source, holder_key), pk, of))
                    of_keys += self._keys_for(pk, source, keys.get(one["id"], []))
            for one in row["versions"]:
                version = self.must(one["id"])
                who = UUID(one["account"]) if one["account"] else None
                known = who if who in people else None
                versions.append((version, *_version(one, version, holder_key), pk, known))
            if row["own"]:
                said = [key for source in row["sources"] for key in keys.get(source["id"], [])]
                of_keys += self._keys_for(pk, None, [*said, *keys.get(row["id"], [])])
        rows.insert(Entry, ("id", *_ENTRY, "record", "filing", "blob", "attachment"), entries)
        rows.insert(EntrySource, ("id", *_SOURCE, "entry", "filing"), sources)
        rows.insert(EntryVersion, ("id", *_VERSION, "entry", "account"), versions)
        rows.insert(EntryKey, ("id", "record", "entry", "source", "hash"), of_keys)

    def _keys_for(self, entry: UUID, source: UUID | None, hashes: Iterable[str]) -> Iterable[tuple[Any, ...]]:
        return [(new_id(), self.record.pk, entry, source, key) for key in dict.fromkeys(hashes)]

    def _present(self, model: Any, old: Iterable[str | None]) -> set[str]:
        """Which of these rows are in this record, by their old ids."""
        ids = {self.id(one): one for one in old if one}
        field_name = "message__record" if model is Attachment else "record"
        present = model.objects.filter(pk__in=ids, **{field_name: self.record})
        return {ids[pk] for pk in present.values_list("pk", flat=True)}

    # --- keys -----------------------------------------------------------------------------------------

    def _keys(self, documents: list[dict[str, Any]], entries: list[dict[str, Any]]) -> dict[str, list[str]]:
        """The keys of every statement, by its old id: read from the documents again, as they were once."""
        hashed = key_hasher(self.record)
        said: dict[tuple[str, str, str], list[str]] = {}
        for row in documents:
            if row["import"]:
                for (section, path), keys in self._said(row, hashed).items():
                    said[(row["import"]["id"], section, path)] = keys
        found: dict[str, list[str]] = {}
        for entry in entries:
            for source in entry["sources"]:
                place = (source["filing"], source["place"]["section"], source["place"]["path"])
                found[source["id"]] = said.get(place) or _keys_of(source["content"] or {}, hashed)
            if entry["own"]:
                found[entry["id"]] = _keys_of(entry["content"], hashed)
        return found

    def _said(self, row: dict[str, Any], hashed: Hasher) -> dict[tuple[str, str], list[str]]:
        try:
            summary = reader.read(self.archive.data(row["path"]), row["content_type"])
        except ClinicalError:
            return {}
        return {(one.section, one.path): one.keys for one in statements(summary, hashed)}


_MESSAGE = (
    *("from_address", "from_name", "to_addresses", "organization_name", "message_id"),
    *("subject", "text", "html", "size"),
)
_ATTACHMENT = ("position", "filename", "content_type", "size", "sha256", "code")


_ENTRY = ("content", "kind", "state", "decision", "own", "personal", "created", "updated")
_SOURCE = ("place", "content", "state", "state_before", "pinned", "chosen")
_VERSION = ("content", "action", "at")


def _entry(row: dict[str, Any], pk: UUID, holder_key: bytes) -> tuple[Any, ...]:
    """What an item's row says by itself: the values of `_ENTRY`."""
    content = seal_value(Entry, "content", pk, row["content"], holder_key)
    state, decision = Entry.State(row["state"]), Entry.Decision(row["decision"])
    flags = (bool(row["own"]), bool(row["personal"]))
    return (content, str(row["kind"]), state, decision, *flags, _time(row, "created"), timezone.now())


def _source(row: dict[str, Any], pk: UUID, holder_key: bytes) -> tuple[Any, ...]:
    """The values of `_SOURCE`."""
    place = seal_value(EntrySource, "place", pk, row["place"], holder_key)
    content = _sealed(EntrySource, pk, row["content"], holder_key)
    state, before = EntrySource.State(row["state"]), row["state_before"]
    return (place, content, state, before and EntrySource.State(before), bool(row["pinned"]), _chosen(row))


def _version(row: dict[str, Any], pk: UUID, holder_key: bytes) -> tuple[Any, ...]:
    """The values of `_VERSION`."""
    content = _sealed(EntryVersion, pk, row["content"], holder_key)
    return (content, EntryVersion.Action(row["action"]), _time(row, "at"))


def _sealed(model: type[EntrySource | EntryVersion], pk: UUID, content: Any, holder_key: bytes) -> Any:
    return None if content is None else seal_value(model, "content", pk, content, holder_key)


def _time(row: dict[str, Any], name: str) -> datetime:
    """A time that has to be there."""
    found = _times(row, name)[name]
    if found is None:
        raise ValueError("a time is missing")
    return found


def _chosen(row: dict[str, Any]) -> datetime | None:
    return _times(row, "chosen")["chosen"]


def _keys_of(content: dict[str, Any], hashed: Callable[[str], str]) -> list[str]:
    """The keys of an item by its facts alone; none for one that was removed for good."""
    if not content.get("kind"):
        return []
    if content["kind"] == FILE_KIND:
        return [hashed(f"{FILE_KIND}|{content['sha256']}")] if content.get("sha256") else []
    return keys_of(item_from(content), hashed)


def _paths(
    messages: list[dict[str, Any]],
    documents: list[dict[str, Any]],
    entries: list[dict[str, Any]],
    fresh: set[str],
) -> Iterable[str]:
    """The members whose bytes are needed for rows that are not there yet."""
    for row in messages:
        if row["id"] in fresh:
            yield from (path for path in (row["raw"], *(a["path"] for a in row["attachments"])) if path)
    for row in (*documents, *entries):
        if row["id"] in fresh and row["path"]:
            yield row["path"]


def _times(row: dict[str, Any], *names: str) -> dict[str, datetime | None]:
    """Times as they were written; raises ValueError for what is none."""
    times = {name: parse_datetime(row[name]) if row[name] else None for name in names}
    if any(row[name] and times[name] is None for name in names):
        raise ValueError("not a time")
    return times
