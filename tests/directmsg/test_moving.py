"""A message picked up into the wrong record is moved with everything that came out of it."""

import io
import zipfile
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from directmsg import moving, pickup
from directmsg.models import MailEvent, Parcel
from healthvault.audit.models import AuditEvent
from healthvault.store import jobs
from healthvault.store.blobs import open_blob
from healthvault.store.models import Blob
from records import editing, export, filing
from records.models import (
    Attachment,
    Document,
    Entry,
    EntryKey,
    EntrySource,
    Export,
    Grant,
    Import,
    Message,
    Right,
)
from tests import factories
from tests.directmsg.test_statements import of_letters
from tests.documents import CDA_TYPE, VISIT

pytestmark = pytest.mark.django_db
FILES = (("visit.xml", CDA_TYPE, VISIT), ("map.pdf", "application/pdf", b"%PDF-1.4 test"))


@pytest.fixture
def account():
    return factories.account()


@pytest.fixture
def wrong(account):
    return factories.record(account)


@pytest.fixture
def right(account):
    return factories.record(account, "Ida Whitlock")


def read_all():
    for pk in Document.objects.filter(state="waiting").values_list("pk", flat=True):
        filing.read_document(str(pk))


def picked_up(account, record, contact="nora@patient.example", files=FILES):
    """A message with a document and a file, picked up into `record` and read."""
    parcel = factories.parcel(contact, files=files)
    key = pickup.answer(parcel, account, "Biscuit", "10.0.0.0/24")
    message = pickup.claim(Parcel.objects.get(pk=parcel.pk), account, record, key)
    read_all()
    return message


def contents(record):
    """What is in a record, as people see it."""
    rows = Entry.objects.filter(record=record, state="active").select_related("record__holder")
    return sorted(
        (row.kind, str(row.content.get("name", "")), str(row.content.get("start", ""))) for row in rows
    )


def move(message, record, account):
    message.refresh_from_db()
    return moving.move(message, str(record.pk), account)


def test_everything_goes_along_and_nothing_stays(account, wrong, right):
    message = picked_up(account, wrong)
    before = contents(wrong)
    assert len(before) > 5
    move(message, right, account)
    for model in (Message, Document, Import, Entry, EntryKey):
        assert not model.objects.filter(record=wrong).exists(), model
    read_all()
    assert contents(right) == before
    moved = Message.objects.select_related("record__holder").get()
    assert (moved.record, moved.subject, moved.text) == (right, "Your summary", "Please see the attachment.")
    parts = moved.attachments.select_related("message__record__holder").order_by("position")
    assert [part.filename for part in parts] == ["visit.xml", "map.pdf"]
    assert [open_blob(part.blob) for part in parts] == [VISIT, b"%PDF-1.4 test"]
    assert [part.outcome for part in parts] == ["document", "file"]
    assert Document.objects.get().facts["patient"]["name"] == "Nora Whitlock"


def test_a_package_of_files_stays_a_package_and_its_files_are_files(account, wrong, right):
    message = picked_up(account, wrong, files=[("care.zip", "application/zip", of_letters())])
    before = contents(wrong)
    assert len(before) == 2
    move(message, right, account)
    assert contents(right) == before
    outcomes = Message.objects.get().attachments.values_list("outcome", flat=True)
    assert list(outcomes) == ["unpacked", "file", "file"]


def test_no_key_of_the_wrong_record_opens_anything_of_it(account, wrong, right):
    message = picked_up(account, wrong)
    move(message, right, account)
    read_all()
    assert not Blob.objects.filter(holder=wrong.holder).exists()
    # All of it can be read when the other record is deleted with its key.
    holder = wrong.holder
    wrong.delete()
    holder.delete()
    message.refresh_from_db()
    assert Message.objects.select_related("record__holder").get().subject == "Your summary"
    assert [open_blob(part.blob) for part in Attachment.objects.all()] == [VISIT, b"%PDF-1.4 test"]


def test_items_that_other_documents_brought_stay(account, wrong, right):
    """The same document twice, by two messages: one moves, and the record is as after the other alone."""
    first = picked_up(account, wrong)
    alone = contents(wrong)
    second = picked_up(account, wrong, "second@patient.example")
    move(second, right, account)
    assert contents(wrong) == alone
    assert {source.filing.document.attachment.message for source in EntrySource.objects.all()} == {first}
    read_all()
    # And the other way round: the first goes, what the third says stands.
    picked_up(account, wrong, "third@patient.example")
    move(first, right, account)
    assert [kind for kind, *_ in contents(wrong)] == [kind for kind, *_ in alone]


def test_no_copy_of_the_wrong_record_keeps_it(account, wrong, right):
    """A copy that is ready is deleted; one that is being made is made anew, without the message."""
    message = picked_up(account, wrong)
    ready = export.request_export(wrong, account)
    assert export.make_export(str(ready.pk)) == "ready"
    half = export.request_export(wrong, account)
    making = jobs.claim(Export, str(half.pk), waiting="waiting", working="making")
    move(message, right, account)
    ready.refresh_from_db()
    assert (ready.state, ready.blob) == ("expired", None)
    with pytest.raises(jobs.LeaseLost):
        jobs.finish(making, "ready")
    assert export.make_export(str(half.pk)) == "ready"
    half.refresh_from_db()
    with zipfile.ZipFile(io.BytesIO(b"".join(export.open_export(half)))) as copy:
        assert copy.read("portal/messages.ndjson") == b""


def test_a_reading_begun_before_the_move_files_nothing(account, wrong, right):
    """Two workers read the same document, each in its first try: one for either record."""
    parcel = factories.parcel("nora@patient.example", files=FILES)
    key = pickup.answer(parcel, account, "Biscuit", "10.0.0.0/24")
    message = pickup.claim(Parcel.objects.get(pk=parcel.pk), account, wrong, key)
    pk = str(Document.objects.get().pk)
    begun = filing._with_everything(jobs.claim(Document, pk, waiting="waiting", working="reading"))
    move(message, right, account)
    assert jobs.claim(Document, pk, waiting="waiting", working="reading").tries == begun.tries
    with pytest.raises(jobs.LeaseLost):
        filing._read(begun)
    assert not Entry.objects.filter(record=wrong).exists()
    assert not Import.objects.filter(record=wrong).exists()
    assert Document.objects.get().state == "reading"


def test_what_a_person_typed_stays_as_their_own(account, wrong, right):
    message = picked_up(account, wrong)
    entry = Entry.objects.filter(record=wrong, kind="allergies").first()
    editing.correct_item(entry, account, editing.Words("Only in spring"))
    move(message, right, account)
    kept = Entry.objects.select_related("record__holder").get(record=wrong)
    assert (kept.pk, kept.filing, kept.state) == (entry.pk, None, "active")
    assert kept.content["name"] == "Only in spring"
    read_all()
    # The document says in the other record what it said here.
    assert any(kind == "allergies" for kind, *_ in contents(right))
    client = Client()
    client.force_login(account)
    for path in (f"/records/{wrong.pk}/", f"/records/{wrong.pk}/items/{entry.pk}/"):
        assert client.get(path).status_code == 200


def test_both_histories_and_the_ledger_tell_of_it(account, wrong, right):
    message = picked_up(account, wrong)
    move(message, right, account)
    told = AuditEvent.objects.filter(action__startswith="message.moved").values_list("record", "action")
    assert set(told) == {(wrong.pk, "message.moved_away"), (right.pk, "message.moved_here")}
    assert MailEvent.objects.filter(name="moved").count() == 1


# --- who, where to, how long ------------------------------------------------------------------------------


def test_thirty_days(account, wrong, right):
    message = picked_up(account, wrong)
    Parcel.objects.update(decided=timezone.now() - timedelta(days=29, hours=23))
    assert moving.targets(message, account) == [right]
    Parcel.objects.update(decided=timezone.now() - timedelta(days=30))
    assert moving.targets(message, account) == []
    with pytest.raises(moving.CannotMove):
        move(message, right, account)
    assert Message.objects.get().record == wrong


@pytest.mark.parametrize("where", ["a stranger's", "one to look at only", "the same", "nonsense"])
def test_only_to_another_record_one_may_add_to(account, wrong, right, where):
    message = picked_up(account, wrong)
    stranger = factories.account("tomas@patient.example", "Tomas Bergland")
    theirs = factories.record(stranger)
    if where == "one to look at only":
        Grant.objects.create(account=account, record=theirs, right=Right.VIEW)
    target = {"the same": str(wrong.pk), "nonsense": "x"}.get(where, str(theirs.pk))
    with pytest.raises(moving.CannotMove):
        moving.move(message, target, account)
    assert Message.objects.get().record == wrong


def test_others_who_may_change_the_record_do_not_move_it(account, wrong, right):
    message = picked_up(account, wrong)
    helper = factories.account("helper@patient.example", "Vera")
    factories.record(helper)
    grant = Grant.objects.create(account=helper, record=wrong, right=Right.MODIFY)
    assert moving.targets(message, helper) == []
    grant.right = Right.CUSTODIAN
    grant.save()
    assert len(moving.targets(message, helper)) == 1


def test_what_was_sent_to_an_address_of_the_record_is_where_it_belongs(account, wrong, right):
    message = picked_up(account, wrong)
    Parcel.objects.update(for_record=wrong)
    assert moving.targets(message, account) == []
    Parcel.objects.update(for_record=None, message=None)
    assert moving.targets(message, account) == []


def test_in_the_browser(account, wrong, right):
    message = picked_up(account, wrong)
    client = Client()
    client.force_login(account)
    page = client.get(f"/messages/{message.pk}/").content.decode()
    assert "Is this in the wrong record?" in page
    answer = client.post(f"/messages/{message.pk}/move/", {"record": str(right.pk)}, follow=True)
    assert "It is in the record of Ida Whitlock now." in answer.content.decode()
    assert Message.objects.get().record == right
    answer = client.post(f"/messages/{message.pk}/move/", {"record": "x"}, follow=True)
    assert "Nothing was moved" in answer.content.decode()


def test_a_person_with_one_record_is_not_asked(account, wrong):
    message = picked_up(account, wrong)
    client = Client()
    client.force_login(account)
    assert "wrong record" not in client.get(f"/messages/{message.pk}/").content.decode()
