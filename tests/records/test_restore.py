"""Putting an exported record back: the same record again, once, and nothing from a file that is no export."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from directmsg.agent.request import read_request
from records import editing, restore, undo
from records.models import (
    Attachment,
    Document,
    Entry,
    EntryKey,
    EntrySource,
    EntryVersion,
    Import,
    Message,
    Record,
)
from records.record_archive import RecordArchive
from tests import factories
from tests.pure.agent.test_context import CONTEXT, REQUEST
from tests.pure.clinical.documents import everything as sample
from tests.records.charts import bring, chart, problem, problems, scanned, shown
from tests.records.snapshots import documents, everything

pytestmark = pytest.mark.django_db

#: All that a sender can say of a message, as it is kept.
_REQUEST = read_request(REQUEST.encode())
assert _REQUEST is not None
SAID = {"context": CONTEXT.to_json(), "request": _REQUEST.to_json()}
GOUT, ASTHMA = ("90560007", "Gout"), ("195967001", "Asthma")


@pytest.fixture
def record() -> Record:
    """A record in which a lot happened."""
    record = factories.record(factories.account(), "Wren Harrowgate")
    bring(record, sample())
    bring(record, scanned("S", "20230101", b"%PDF-1.7 letter"))
    bring(record, chart("A", "20230101", problems(problem(*GOUT, identity="p"), problem(*ASTHMA))))
    newer = chart("B", "20240101", problems(problem(*GOUT, identity="p", end="20231101")), replaces="A")
    bring(record, newer)
    undone = bring(record, chart("C", "20240102", problems(problem("43116000", "Eczema"))))
    undo.undo_import(undone, None)
    asthma = named(record, "Asthma")
    editing.correct_item(asthma, record.grants.get().account, editing.Words("Asthma, mild", start="1990"))
    editing.delete_item(editing.add_item(record, None, "allergies", editing.Words("Latex")), None)
    return record


def named(record: Record, name: str) -> Entry:
    rows = Entry.objects.filter(record=record).select_related("record__holder")
    return next(entry for entry in rows if entry.content.get("name") == name)


def exported(record: Record) -> bytes:
    source, data = RecordArchive(Record.objects.select_related("holder").get(pk=record.pk)), b""
    while piece := source.read(1 << 20):
        data += piece
    return data


def restored(record: Record, data: bytes) -> restore.Restored:
    return restore.restore_record(record, io.BytesIO(data), None)


def emptied(record: Record) -> Record:
    Entry.objects.filter(record=record).delete()
    Document.objects.filter(record=record).delete()
    Message.objects.filter(record=record).delete()
    return Record.objects.select_related("holder").get(pk=record.pk)


def test_a_record_comes_back_as_it_was(record):
    before, superseded = everything(record), documents(record)
    keys = EntryKey.objects.filter(record=record).count()
    data = exported(record)
    done = restored(emptied(record), data)
    assert (done.messages, done.documents, done.left_out) == (5, 5, 0)
    assert everything(record) == before
    assert documents(record) == superseded
    assert EntryKey.objects.filter(record=record).count() == keys
    assert Attachment.objects.filter(message__record=record).count() == 5


def test_twice_adds_nothing(record):
    data = exported(record)
    counts = [model.objects.count() for model in (Entry, EntrySource, Document, Message, EntryKey)]
    assert restored(record, data) == restore.Restored(0, 0, 0)
    assert [model.objects.count() for model in (Entry, EntrySource, Document, Message, EntryKey)] == counts


def test_into_another_record_and_twice(record):
    other = factories.record(factories.account("tomas@people.example"), "Wren Harrowgate")
    data = exported(record)
    first = restored(other, data)
    assert everything(other, names=True) == everything(record, names=True)
    assert restored(other, data) == restore.Restored(0, 0, 0)
    assert first.items > 20
    assert not set(Entry.objects.filter(record=other)) & set(Entry.objects.filter(record=record))


def test_what_comes_in_later_knows_what_was_restored(record):
    data = exported(record)
    emptied_ = emptied(record)
    restored(emptied_, data)
    again = bring(emptied_, sample())
    assert again.items == 0
    gout = bring(emptied_, chart("D", "20240601", problems(problem(*GOUT, identity="p"), problem(*ASTHMA))))
    assert gout.items == 0
    assert "Asthma, mild" in [content["name"] for content in shown(emptied_, "problems")]
    undone = Import.objects.get(record=record, state="undone")
    undo.redo_import(undone, None)
    assert "Eczema" in [content["name"] for content in shown(emptied_, "problems")]


def statements_for(record: Record, items: int) -> int:
    """How many database statements it takes to put back a record with one document of so many items."""
    named = (problem(f"{900_000 + n}", f"Problem {n}", identity=f"i{n}") for n in range(items))
    bring(record, chart("M", "20240101", problems(*named)))
    data = exported(record)
    other = factories.record(factories.account(f"of-{items}@people.example"), "Wren Harrowgate")
    with CaptureQueriesContext(connection) as asked:
        assert restored(other, data).items == items
    return len(asked)


def test_many_items_take_as_many_statements_as_few():
    records = [factories.record(factories.account(f"{n}@people.example"), "Wren Harrowgate") for n in (0, 1)]
    assert statements_for(records[0], 3) == statements_for(records[1], 300)


def test_signatures_of_restored_messages_are_hearsay(record):
    Message.objects.filter(record=record).update(signers=[{"subject": "Clinic", "accepted": True}])
    data = exported(record)
    restored(emptied(record), data)
    assert all(message.signers[0]["restored"] for message in Message.objects.filter(record=record))


def test_changes_are_put_down_to_people_of_the_record_only(record):
    """Whoever writes a file could have anybody in the history of an item."""
    stranger = factories.account("tomas@people.example", "Tomas Bergland")
    owner = record.grants.get().account
    named_ = {version.account for version in EntryVersion.objects.filter(entry__record=record)}
    assert named_ == {owner, None}
    entry = editing.add_item(record, stranger, "allergies", editing.Words("Wool"))
    assert EntryVersion.objects.filter(entry=entry, account=stranger).exists()
    data = exported(record)
    restored(emptied(record), data)
    versions = EntryVersion.objects.filter(entry__record=record)
    assert {version.account for version in versions} == {owner, None}
    assert [version.account for version in versions.filter(entry=entry.pk)] == [None]


def test_what_senders_said_comes_back(record):
    for message in Message.objects.filter(record=record).select_related("record__holder"):
        message.about = SAID
        message.save()
    for document in Document.objects.filter(record=record).select_related("record__holder"):
        document.package = {"title": "Visit"}
        document.save()
    data = exported(record)
    restored(emptied(record), data)
    assert all(message.about == SAID for message in Message.objects.filter(record=record))
    assert {str(document.package) for document in Document.objects.filter(record=record)} == {
        "{'title': 'Visit'}"
    }


def changed(data: bytes, **members: bytes) -> bytes:
    """The same file with members replaced; the manifest stays."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        for name in source.namelist():
            made.writestr(name, members.get(name.replace("/", "_").replace(".", "_"), source.read(name)))
    return target.getvalue()


def test_nothing_comes_out_of_a_file_that_is_not_whole(record):
    data = exported(record)
    empty = emptied(record)
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(data)).read("manifest.json"))
    document = next(m["path"] for m in manifest["members"] if m["path"].startswith("documents/"))
    bad = [
        b"",
        b"PK\x05\x06" + b"\x00" * 18,
        data[: len(data) // 2],
        changed(data, portal_items_ndjson=b"[]\n"),
        changed(data, portal_messages_ndjson=b'{"id": 1}\n'),
        changed(data, manifest_json=b"[]"),
        changed(data, manifest_json=json.dumps({**manifest, "version": 99}).encode()),
        changed(data, **{document.replace("/", "_").replace(".", "_"): b"<other/>"}),
    ]
    for file in bad:
        with pytest.raises(restore.NotRestorable):
            restored(empty, file)
    assert not Entry.objects.filter(record=record).exists()
    assert not Message.objects.filter(record=record).exists()


def test_a_file_is_not_unpacked_beyond_measure(record):
    """Neither in one member, nor in many that each would pass."""
    data = exported(record)
    empty = emptied(record)
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(data)).read("manifest.json"))
    for sizes in ([restore.MOST_RATIO * len(data) * 2 + restore.SURELY_NO_BOMB], [2**20] * 70):
        more = [{"path": f"more/{n}", "size": size, "sha256": ""} for n, size in enumerate(sizes)]
        listed = json.dumps({**manifest, "members": [*manifest["members"], *more]}).encode()
        with pytest.raises(restore.NotRestorable, match="too much"):
            restored(empty, changed(data, manifest_json=listed))
    one = next(member for member in manifest["members"] if member["path"].startswith("documents/"))
    one["size"] = restore.MOST_MEMBER_BYTES + 1
    padded = changed(data, manifest_json=json.dumps(manifest).encode())
    # So large a file that the whole of it may unpack to that much.
    padded = b"\0" * (restore.MOST_MEMBER_BYTES // 20) + padded
    with pytest.raises(restore.NotRestorable, match="too much"):
        restored(empty, padded)


_ENDLESS = (
    b'{"format": "%s", "version": %d, "record": "0192f0c4-7d1b-7c51-9be0-4f3f0a7c1a55",'
    b' "members": [{"path": "a", "size": Infinity}]}'
) % (restore.FORMAT.encode(), restore.VERSION)


@pytest.mark.parametrize("manifest", [b"[" * 100_000, _ENDLESS])
def test_a_manifest_that_is_none_is_told_as_that(record, manifest):
    data = changed(exported(record), manifest_json=manifest)
    with pytest.raises(restore.NotRestorable):
        restored(record, data)


def test_a_crafted_file_takes_nothing_of_another_record(record):
    """A file that claims to be an export of this record, with ids of another one's rows."""
    other = factories.record(factories.account("tomas@people.example"), "Tomas Bergland")
    data = exported(record)
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(data)).read("manifest.json"))
    crafted = changed(data, manifest_json=json.dumps({**manifest, "record": str(other.pk)}).encode())
    before = everything(record)
    with pytest.raises(restore.NotRestorable):
        restored(other, crafted)
    assert everything(record) == before
    assert everything(other) == []


def rewritten(data: bytes, path: str, **values: object) -> bytes:
    """The same file with `values` in every row of a table, and a manifest that fits."""
    source = zipfile.ZipFile(io.BytesIO(data))
    rows = [{**json.loads(line), **values} for line in source.read(path).splitlines()]
    table = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    manifest = json.loads(source.read("manifest.json"))
    (listed,) = (member for member in manifest["members"] if member["path"] == path)
    listed.update(size=len(table), sha256=hashlib.sha256(table).hexdigest())
    made = {path: table, "manifest.json": json.dumps(manifest).encode()}
    return changed(data, **{name.replace("/", "_").replace(".", "_"): value for name, value in made.items()})


@pytest.mark.parametrize(
    "about",
    [
        "nothing",
        ["context"],
        {"context": "general"},
        {"context": {"patient": "Wren"}},
        {"context": {"patient": {"gender": 1}}},
        {"context": {"patient_ids": [1]}},
        {"context": {"type": None}},
        {"request": {"sources": ["visit.xml"]}},
        {"request": {"sources": [{"filename": "visit.xml"}]}},
        {"request": {"patient": ["Wren"], "recurring": "yes"}},
    ],
)
def test_what_senders_said_is_left_out_where_it_has_no_form(record, client, about):
    data = rewritten(exported(record), "portal/messages.ndjson", about=about)
    done = restored(emptied(record), data)
    assert (done.messages, done.left_out) == (5, 5)
    client.force_login(record.grants.get().account)
    for message in Message.objects.filter(record=record).select_related("record__holder"):
        assert message.about is None
        assert client.get(f"/messages/{message.pk}/").status_code == 200


@pytest.mark.parametrize(
    "values",
    [
        {"facts": {"patients": "many"}},
        {"facts": {"patient": ["Wren"]}},
        {"facts": {"replaces": 7}},
        {"facts": "Visit"},
        {"package": ["Visit"]},
        {"package": {"title": {"en": "Visit"}}},
    ],
)
def test_what_is_told_of_documents_is_left_out_where_it_has_no_form(record, client, values):
    data = rewritten(exported(record), "portal/documents.ndjson", state="held", **values)
    done = restored(emptied(record), data)
    assert (done.documents, done.left_out) == (5, 5)
    client.force_login(record.grants.get().account)
    for page in ("", "imports/", "documents/"):
        assert client.get(f"/records/{record.pk}/{page}").status_code == 200
    for document in Document.objects.filter(record=record):
        assert client.get(f"/records/{record.pk}/documents/{document.pk}/whose/").status_code == 200


def test_halves_of_characters_are_not_taken_in(record):
    data, empty = exported(record), emptied(record)
    half, whole = (
        rewritten(data, "portal/messages.ndjson", about={"context": {"purpose": word}})
        for word in ("\ud800", "\U0001f600")
    )
    with pytest.raises(restore.NotRestorable):
        restored(empty, half)
    done = restored(empty, whole)
    assert (done.messages, done.left_out) == (5, 0)
