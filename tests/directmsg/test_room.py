"""The size limit of a record: mail, pickup, uploads, moving, sending and restoring; deleting always works."""

from __future__ import annotations

import html
import io
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from directmsg import compose, mail_steps, moving, pickup
from directmsg.agent.message import NewAttachment
from directmsg.models import OutboundMail, Parcel
from healthvault.audit.models import AuditEvent
from healthvault.store.blobs import store_blob
from healthvault.store.models import Blob, HolderKey
from records import editing, export, quota, restore, uploading
from records.models import Attachment, Entry, Message, Record
from tests import factories
from tests.directmsg.world import at_once, authority

pytestmark = pytest.mark.django_db

NO_ROOM = "There is not enough room: the record holds"


@pytest.fixture
def owner():
    return factories.account()


@pytest.fixture
def record(owner) -> Record:
    return factories.record(owner)


def browser(account) -> Client:
    client = Client()
    client.force_login(account)
    return client


def text(answer) -> str:
    body = answer.content.decode().split("<main", 1)[1]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def held_by(record: Record) -> int:
    return sum(Blob.without_data.filter(holder=record.holder_id).values_list("size", flat=True))


# --- mail to a known address ----------------------------------------------------------------------------


def test_mail_that_does_not_fit_fails_and_what_fits_flows(world, settings):
    files = [NewAttachment("scan.bin", "application/octet-stream", bytes(200_000))]
    assert world.letter_arrives(attachments=files).state == "filed"
    used = quota.room_of(world.record).used
    assert used == held_by(world.record) > 400_000, "the attachment, and the message as it came"
    settings.RECORD_SIZE_LIMIT = used + 100_000
    mail = world.letter_arrives(attachments=files)
    assert (mail.state, mail.code) == ("refused", "mailbox_full")
    assert "RECORD_SIZE_LIMIT" in mail.detail
    last = mail_steps.steps_of(mail)[-1]
    assert (last.outcome, "no room" in last.todo) == ("failed", True)
    rows = OutboundMail.objects.filter(inbound=mail).order_by("pk")
    assert [one.disposition for one in rows] == ["processed", "failed"]
    assert quota.room_of(world.record).used == used
    assert list(Blob.without_data.filter(holder=mail.holder)) == [mail.raw], (
        "its bytes are kept, and no parts"
    )
    event = AuditEvent.objects.get(action="mail.refused")
    assert (event.record, event.outcome) == (world.record.pk, "mailbox_full")
    assert world.letter_arrives().state == "filed", "a small one still fits"
    world.send_all()
    opened = [
        world.peer.open(each.data, each.recipients[0], each.mail_from, authority().der)
        for each in world.smtp.taken
    ]
    (failed,) = [each for each in opened if each.mdn.outcome == "failed"]
    assert "This mailbox does not accept this message." in failed.root.children[0].text
    assert failed.in_reply_to == mail.original_message_id


def test_parts_that_unpack_to_more_than_the_message_count(world, settings):
    """The first look is at the bytes that came; what counts is what is stored."""
    files = [NewAttachment("scan.bin", "application/octet-stream", bytes(200_000))]
    mail = world.letter_arrives(attachments=files)
    raw = mail.message.raw.size
    Message.objects.all().delete()
    Entry.objects.all().delete()
    Blob.without_data.filter(holder=world.record.holder).delete()
    settings.RECORD_SIZE_LIMIT = raw + 100_000
    mail = world.letter_arrives(attachments=files)
    assert (mail.state, mail.code) == ("refused", "mailbox_full")
    assert list(Blob.without_data.filter(holder=mail.holder)) == [mail.raw]
    assert quota.room_of(world.record).used == 0


def test_exactly_full_is_not_too_full(record, settings):
    store_blob(record.holder, bytes(1000))
    settings.RECORD_SIZE_LIMIT = 1500
    quota.require_room(record, 500)
    with pytest.raises(
        quota.RecordFull, match=r"holds 1000 bytes of the 1\.5 KB it may hold.* add 501 bytes"
    ):
        quota.require_room(record, 501)


# --- pickup ---------------------------------------------------------------------------------------------


def test_a_claim_that_does_not_fit_leaves_the_parcel_waiting(owner, record, settings):
    made = factories.parcel(files=(("map.bin", "application/octet-stream", bytes(50_000)),))
    settings.RECORD_SIZE_LIMIT = 40_000
    client = browser(owner)
    assert client.post(f"/messages/waiting/{made.pk}/").status_code == 302
    client.post("/pickup/answer/", {"answer": "Biscuit", "parcel": str(made.pk)})
    for choice in ({"record": str(record.pk)}, {"record": "new", "name": "Ida", "relationship": "child"}):
        words = text(client.post("/pickup/claim/", {"parcel": str(made.pk), **choice}))
        assert NO_ROOM in words
        assert "of the 39.1 KB it may hold" in words
        assert "Nothing is lost: your message keeps waiting here." in words
    assert Record.objects.count() == 1
    parcel = Parcel.objects.get()
    assert (parcel.state, parcel.tries_left) == ("waiting", made.tries_left)
    assert quota.room_of(record).used == 0
    settings.RECORD_SIZE_LIMIT = 100_000
    done = client.post("/pickup/claim/", {"parcel": str(made.pk), "record": str(record.pk)})
    assert done.headers["Location"] == f"/messages/{Message.objects.get().pk}/?claimed=1"


def test_moving_needs_room_in_the_other_record(owner, record, settings):
    made = factories.parcel(files=(("map.bin", "application/octet-stream", bytes(50_000)),))
    parcel = Parcel.objects.select_related("holder", "content").get(pk=made.pk)
    message = pickup.claim(parcel, owner, record, pickup.answer(parcel, owner, "Biscuit", "192.0.2.0/24"))
    other = factories.record(owner, "Ida")
    settings.RECORD_SIZE_LIMIT = 49_999
    answer = browser(owner).post(f"/messages/{message.pk}/move/", {"record": str(other.pk)}, follow=True)
    assert f"Nothing was moved. {NO_ROOM}" in answer.content.decode()
    message.refresh_from_db()
    assert message.record_id == record.pk
    assert (quota.room_of(record).used, quota.room_of(other).used) == (50_000, 0)
    settings.RECORD_SIZE_LIMIT = 50_000
    moving.move(message, str(other.pk), owner)
    assert (quota.room_of(record).used, quota.room_of(other).used) == (0, 50_000)


# --- what a person adds, and takes away -----------------------------------------------------------------


def test_an_upload_that_does_not_fit_is_told_the_limit(owner, record, settings):
    settings.RECORD_SIZE_LIMIT = 10_000
    client = browser(owner)
    address = f"/records/{record.pk}/upload/"
    words = text(client.post(address, {"file": SimpleUploadedFile("scan.bin", bytes(10_001))}))
    assert NO_ROOM in words
    assert "of the 9.8 KB it may hold" in words
    assert "Ask the people who run this portal for more room." in words
    assert not Message.objects.exists()
    assert not HolderKey.objects.filter(kind="upload").exists()
    assert client.post(address, {"file": SimpleUploadedFile("a.bin", bytes(10_000))}).status_code == 302
    assert quota.room_of(record).used == 10_000
    assert not HolderKey.objects.filter(kind="upload").exists()


def test_deleting_never_fails_on_it(owner, record, settings):
    done = uploading.take_upload(record, owner, "scan.bin", bytes(5000))
    settings.RECORD_SIZE_LIMIT = 1
    entry = Entry.objects.get()
    editing.delete_item(entry, owner)
    entry.refresh_from_db()
    editing.remove_for_good(entry, owner)
    assert Entry.objects.get().blob_id is None
    assert done.message.pk


def test_attachments_of_sent_mail_count_and_words_alone_always_go(owner, record, settings):
    settings.RECORD_SIZE_LIMIT = 1000
    files = [NewAttachment("scan.bin", "application/octet-stream", bytes(1001))]
    with pytest.raises(compose.TooMuch, match=NO_ROOM):
        compose.queue_message(owner, record, "office@clinic.example", "Scan", "Here", files)
    assert not Message.objects.exists()
    store_blob(record.holder, bytes(1000))
    assert compose.queue_message(owner, record, "office@clinic.example", "Hello", "Hello").pk
    assert not Attachment.objects.exists()


def test_a_copy_to_take_out_does_not_count_and_putting_it_back_does(owner, record, settings):
    uploading.take_upload(record, owner, "scan.bin", bytes(5000))
    made = export.request_export(record, owner)
    export.make_export(str(made.pk))
    made.refresh_from_db()
    assert held_by(record) > 5000
    assert quota.room_of(record).used == 5000
    data = b"".join(export.open_export(made))
    other = factories.record(owner, "Ida")
    settings.RECORD_SIZE_LIMIT = 4999
    with pytest.raises(restore.NotRestorable, match=NO_ROOM):
        restore.restore_record(other, io.BytesIO(data), owner)
    assert quota.room_of(other).used == 0
    settings.RECORD_SIZE_LIMIT = 5000
    restore.restore_record(other, io.BytesIO(data), owner)
    assert quota.room_of(other).used == 5000


@pytest.mark.parametrize(("size", "words"), [(100, "100 bytes"), (9_500, "It is nearly full.")])
def test_the_settings_tell_what_is_used(owner, record, settings, size, words):
    settings.RECORD_SIZE_LIMIT = 10_000
    store_blob(record.holder, bytes(size))
    shown = text(browser(owner).get(f"/records/{record.pk}/settings/"))
    assert words in shown.replace("\xa0", " ")
    assert "of the 9.8 KB it may hold" in shown.replace("\xa0", " ")
    assert ("nearly full" in shown) is (size > 9_000)


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_not_pass_the_limit_together(settings):
    owner = factories.account()
    record = factories.record(owner)
    settings.RECORD_SIZE_LIMIT = 1000
    full: list[quota.RecordFull] = []

    def put(letter: str) -> None:
        try:
            uploading.take_upload(Record.objects.get(pk=record.pk), owner, letter, letter.encode() * 600)
        except quota.RecordFull as error:
            full.append(error)

    at_once(put, ["a", "b", "c"])
    assert len(full) == 2
    assert quota.room_of(record).used == 600
    assert not HolderKey.objects.filter(kind="upload").exists()
