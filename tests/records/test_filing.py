"""Messages and documents in a record: preferences, reading, identity, and whose document it is."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from healthvault.store import jobs
from healthvault.store.models import HolderKey
from records import filing, overview
from records.intake import IncomingMessage, store_parts
from records.models import Attachment, Document, Entry, EntrySource, Import, Record
from tests import factories
from tests.documents import CCR, CDA_TYPE, VISIT

pytestmark = pytest.mark.django_db


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account(), "Nora Whitlock", birth_date="1979-03-05", gender="female")


def deliver(record: Record, *files: tuple[str, str, bytes], **extra: bool) -> list[Document]:
    """File a message with these attachments; returns its documents."""
    parts = store_parts(record.holder, files)
    incoming = IncomingMessage(from_address="a@b.example", subject="s", text="t", parts=parts)
    message = filing.file_message(record, incoming, **extra)
    return list(Document.objects.filter(attachment__message=message).order_by("pk"))


def names(record: Record, kind: str) -> list[str]:
    groups = overview.groups(record, record.entries.filter(state="active"))
    return [fact.name for group in groups if group.kind == kind for fact in group.facts]


def test_a_document_is_read_and_its_items_filed(record):
    (document,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    assert (document.kind, document.item_type, document.state) == ("ccda", "CCD", "waiting")
    assert filing.read_document(document.pk) == Document.State.READ
    assert names(record, "allergies") == ["Penicillin V"]
    assert set(names(record, "problems")) == {"Essential hypertension", "Pneumonia"}
    entry = Entry.objects.filter(kind="allergies").get()
    assert entry.content["section"] == "48765-2"
    assert entry.content["path"].startswith("/")
    assert entry.content["resource"]["resourceType"] == "AllergyIntolerance"
    assert Attachment.objects.get().outcome == Attachment.Outcome.DOCUMENT
    done = Import.objects.get()
    assert (done.state, done.items) == ("applied", Entry.objects.count())


def test_the_declared_type_decides_the_item_type_where_it_is_true(record):
    (cda,) = deliver(record, ("visit.xml", "application/cda+xml", VISIT))
    (ccr,) = deliver(record, ("r.xml", "application/cda+xml", CCR))
    assert (cda.item_type, ccr.item_type) == ("CDA", "CCR")


def test_the_same_items_again_add_sources_and_no_items(record):
    (first,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    filing.read_document(first.pk)
    before = Entry.objects.count()
    (second,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    filing.read_document(second.pk)
    assert Entry.objects.count() == before
    assert EntrySource.objects.count() == 2 * before
    assert first.digest == second.digest


def test_reading_twice_files_once(record):
    (document,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    assert filing.read_document(document.pk) == Document.State.READ
    assert filing.read_document(document.pk) is None
    assert Import.objects.count() == 1


def test_a_late_worker_cannot_file(record):
    (document,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    late = jobs.claim(Document, document.pk, waiting="waiting", working="reading")
    assert late is not None
    Document.objects.filter(pk=document.pk).update(lease_until=None)
    assert filing.read_document(document.pk) == Document.State.READ
    with pytest.raises(jobs.LeaseLost):
        jobs.finish(late, Document.State.READ)


def test_somebody_elses_document_is_held_until_the_person_says_so(record):
    record.name, record.birth_date = "Tomas Bergland", "1988-11-23"
    record.save()
    (document,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    assert filing.read_document(document.pk) == Document.State.HELD
    assert not Entry.objects.exists()
    filing.confirm_patient(document)
    assert filing.read_document(document.pk) == Document.State.READ
    assert Entry.objects.exists()


@pytest.mark.parametrize(
    ("preference", "imports", "entries"),
    [("automatic", ["applied"], "active"), ("review", ["proposed"], "proposed"), ("never", [], None)],
)
def test_integration_follows_the_preference(record, preference, imports, entries):
    record.integration_preference = preference
    record.save()
    (document,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    filing.read_document(document.pk)
    assert list(Import.objects.values_list("state", flat=True)) == imports
    assert set(Entry.objects.values_list("state", flat=True)) == ({entries} if entries else set())
    assert Document.objects.get().facts["title"] == "Summary of your visit"


@pytest.mark.parametrize(
    ("preference", "outcome", "files"), [("always", "file", 1), ("ask", "ask", 0), ("never", "not_added", 0)]
)
def test_attachments_follow_the_preference(record, preference, outcome, files):
    record.files_preference = preference
    record.save()
    deliver(record, ("map.pdf", "application/pdf", b"%PDF"))
    attachment = Attachment.objects.get()
    assert (attachment.outcome, Entry.objects.count()) == (outcome, files)
    if outcome == "ask":
        filing.decide_file(attachment, add=True)
        filing.decide_file(attachment, add=True)
        assert Entry.objects.get().content["name"] == "map.pdf"


def test_an_empty_attachment_says_so(record):
    deliver(record, ("nothing.xml", "text/xml", b""))
    assert Attachment.objects.get().outcome == Attachment.Outcome.EMPTY


def test_a_document_with_a_doctype_is_kept_as_a_file_with_the_reason(record):
    trap = VISIT.replace(b"<ClinicalDocument", b'<!DOCTYPE x [<!ENTITY e "y">]><ClinicalDocument', 1)
    assert deliver(record, ("trap.xml", CDA_TYPE, trap)) == []
    attachment = Attachment.objects.get()
    assert (attachment.outcome, attachment.code) == ("file", "has_doctype")


def test_a_poisoned_document_is_set_aside_after_three_kills(record):
    (document,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    Document.objects.filter(pk=document.pk).update(state="reading", tries=3)
    assert filing.read_document(document.pk) == Document.State.UNREADABLE
    assert Document.objects.get().code == "worker_killed"


def test_filing_takes_few_statements(record):
    (document,) = deliver(record, ("visit.xml", CDA_TYPE, VISIT))
    with CaptureQueriesContext(connection) as queries:
        filing.read_document(document.pk)
    assert len(queries) <= 30, [query["sql"][:90] for query in queries]


def test_a_message_round_trips_as_json(record):
    parts = store_parts(HolderKey.create("parcel"), [("visit.xml", CDA_TYPE, VISIT)])
    message = IncomingMessage(from_address="a@b.example", subject="s", text="t", to=("x",), parts=parts)
    assert IncomingMessage.from_json(message.to_json()) == message
    assert parts[0].documents[0].patient == "Nora Whitlock"
