"""Files from a person's own disk."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from healthvault.store.models import Blob
from records import editing, filing, undo
from records.models import (
    Account,
    Attachment,
    Document,
    Entry,
    Grant,
    Import,
    Message,
    Record,
    Right,
)
from records.uploading import clean_name, take_upload
from tests import factories
from tests.directmsg.test_pickup import run_parallel
from tests.documents import VISIT
from tests.records.charts import chart, problem, problems
from tests.records.test_looking import PNG, zipped

pytestmark = pytest.mark.django_db

GOUT = ("90560007", "Gout")


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account(), "Wren Harrowgate")


@pytest.fixture
def owner(record):
    return record.grants.get().account


def test_a_document_goes_the_way_of_an_attachment(record, owner):
    done = take_upload(record, owner, "chart", chart("A", "20230101", problems(problem(*GOUT))))
    assert done.new
    document = Document.objects.get(attachment__message=done.message)
    assert filing.read_document(str(document.pk)) in ("read", "held")
    assert done.message.direction == "own"
    assert done.message.from_name == owner.get_full_name()


def test_a_document_of_somebody_else_is_held_refused_and_taken_after_all(record, owner):
    done = take_upload(record, owner, "visit.xml", VISIT)
    document = Document.objects.get(attachment__message=done.message)
    assert filing.read_document(str(document.pk)) == "held"
    filing.refuse_document(document)
    document.refresh_from_db()
    assert document.state == "refused"
    assert not Entry.objects.exists()
    filing.confirm_patient(document)
    assert filing.read_document(str(document.pk)) == "read"
    assert Entry.objects.filter(state="active").exists()
    filing.refuse_document(document)
    document.refresh_from_db()
    assert document.state == "read", "only what is held is refused; an import is undone"


def test_the_review_preference_holds_for_uploads(record, owner):
    record.integration_preference = "review"
    record.birth_date = None
    record.save()
    done = take_upload(record, owner, "a.xml", chart("A", "20230101", problems(problem(*GOUT))))
    document = Document.objects.get(attachment__message=done.message)
    filing.read_document(str(document.pk))
    filing.confirm_patient(document)
    filing.read_document(str(document.pk))
    assert Import.objects.get(document=document).state == "proposed"


@pytest.mark.parametrize("preference", ["always", "ask", "never"])
def test_a_file_that_a_person_puts_here_is_a_file_of_the_record(record, owner, preference):
    record.files_preference = preference
    record.save()
    take_upload(record, owner, "C:\\pictures\\knee\u202e.png", PNG)
    entry = Entry.objects.get(kind="file")
    assert entry.content["name"] == "knee.png"
    assert entry.content["content_type"] == "image/png"


def test_the_same_bytes_are_taken_once_while_they_are_here(record, owner):
    first = take_upload(record, owner, "knee.png", PNG)
    again = take_upload(record, owner, "copy.png", PNG)
    assert (again.new, again.message.pk) == (False, first.message.pk)
    assert take_upload(record, owner, "other.png", PNG + b"1").new
    editing.delete_item(Entry.objects.get(attachment__message=first.message), owner)
    assert take_upload(record, owner, "knee.png", PNG).new, "what was deleted may come again"
    other = factories.record(owner, "Ida")
    assert take_upload(other, owner, "knee.png", PNG).new


def helper_of(record: Record) -> Account:
    helper = factories.account("helper@patient.example")
    Grant.objects.create(account=helper, record=record, right=Right.MODIFY)
    return helper


def test_a_file_that_is_hidden_is_not_told_of_when_it_comes_again(record, owner, client):
    first = take_upload(record, owner, "knee.png", PNG)
    helper = helper_of(record)
    assert not take_upload(record, helper, "knee.png", PNG).new
    file = Entry.objects.select_related("record__holder").get(kind="file")
    editing.set_personal(file, owner, personal=True)
    client.force_login(helper)
    again = SimpleUploadedFile("knee.png", PNG)
    answer = client.post(f"/records/{record.pk}/upload/", {"file": again}, follow=True)
    assert answer.status_code == 200
    assert "already" not in answer.content.decode()
    second = Message.objects.exclude(pk=first.message.pk).get()
    assert answer.redirect_chain == [(f"/records/{record.pk}/upload/{second.pk}/", 302)]
    assert not take_upload(record, helper, "knee.png", PNG).new, "their own is theirs to see"


def test_a_document_whose_twin_is_hidden_is_taken_in_without_a_word_of_it(record, owner, client):
    done = take_upload(record, owner, "visit.xml", VISIT)
    document = Document.objects.get(attachment__message=done.message)
    filing.read_document(str(document.pk))
    filing.confirm_patient(document)
    filing.read_document(str(document.pk))
    entry = Entry.objects.select_related("record__holder").filter(filing__document=document)[0]
    editing.set_personal(entry, owner, personal=True)
    client.force_login(helper_of(record))
    again = SimpleUploadedFile("visit.xml", VISIT)
    answer = client.post(f"/records/{record.pk}/upload/", {"file": again}, follow=True)
    assert answer.status_code == 200
    assert answer.redirect_chain == [(f"/records/{record.pk}/", 302)]
    words = answer.content.decode()
    assert "The file was taken in" in words
    assert "already" not in words
    assert Document.objects.filter(record=record).count() == 2


@pytest.mark.django_db(transaction=True)
def test_parallel_uploads_of_one_file_are_filed_once(record, owner):
    done = []
    data = PNG + b"0" * 100_000
    run_parallel(lambda _: done.append(take_upload(record, owner, "knee.png", data)), 6)
    assert [each.new for each in done].count(True) == 1
    assert len({each.message.pk for each in done}) == Message.objects.count() == 1
    assert Entry.objects.filter(kind="file").count() == 1
    assert Blob.objects.count() == 1, "what lost the race leaves nothing behind"


def test_an_archive_without_documents_is_a_file(record, owner):
    done = take_upload(record, owner, "scans.zip", zipped("a.txt"))
    assert Attachment.objects.get(message=done.message).outcome == "file"


def test_an_upload_is_undone_like_any_import(record, owner):
    done = take_upload(record, owner, "visit.xml", VISIT)
    document = Document.objects.get(attachment__message=done.message)
    filing.read_document(str(document.pk))
    filing.confirm_patient(document)
    filing.read_document(str(document.pk))
    filing_row = Import.objects.select_related("record__holder", "document").get(document=document)
    undo.undo_import(filing_row, owner)
    assert not Entry.objects.filter(state="active").exists()


def test_an_upload_is_in_no_mailbox(record, owner):
    done = take_upload(record, owner, "knee.png", PNG)
    assert not Message.objects.filter(direction__in=["in", "out"]).exists()
    found = Message.objects.get(pk=done.message.pk)
    assert found.opened is not None
    assert found.opened <= timezone.now()


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../etc/passwd", "passwd"), ("", "file"), ("...", "file"), ("x" * 300 + ".pdf", "x" * 196 + ".pdf")],
)
def test_names_are_cleaned(name, kept):
    assert clean_name(name) == kept
