"""From an accepted copy to its place: filed, held, refused, and every kind of contact for newuser."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import OperationalError, connection
from django.utils import timezone

from directmsg import addresses, inbox, notify, parcels, pickup, receive
from directmsg.models import DirectAddress, InboundMail, MailEvent, OutboundMail, Parcel
from healthvault.audit.models import AuditEvent
from healthvault.outbox.models import Notification
from healthvault.store import jobs
from healthvault.store.blobs import open_blob, store_blob
from healthvault.store.models import Blob, HolderKey
from records import intake
from records.models import Account, Attachment, Document, Message, Record
from tests import factories
from tests.documents import CDA_TYPE, VISIT
from tests.partner import Partner
from trust import admission, authorities
from trust.models import Organization

pytestmark = pytest.mark.django_db
DOMAIN = "direct.portal.example"
NEWUSER = f"newuser@{DOMAIN}"


@dataclass
class World:
    """Our domain with its certificate, and a partner we trust."""

    partner: Partner
    identity: bytes

    def send(self, to: str, subject: str, **how: object) -> InboundMail:
        """Compose, seal, accept and process one message to one recipient."""
        inner = self.partner.compose(to, subject, **how)  # type: ignore[arg-type]
        return self.process(self.partner.seal(inner, self.identity), to)

    def process(self, data: bytes, to: str) -> InboundMail:
        (mail,) = inbox.accept(data, self.partner.address, [to], protocol="test").values()
        receive.receive_mail(str(mail.pk))
        mail.refresh_from_db()
        return mail


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory) -> Partner:
    directory: Path = tmp_path_factory.mktemp("partner")
    return Partner(directory)


@pytest.fixture
def world(partner: Partner) -> World:
    identity = authorities.issue_identity(DOMAIN)
    anchor = admission.read_files([("ca.pem", partner.ca.pem)], timezone.now())
    admission.admit(anchor.candidates, partner.name)
    return World(partner, identity.certificate.parsed.public_bytes(Encoding.PEM))


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account("ada@patient.example", "Ada Larch"))


@pytest.fixture
def address(record: Record) -> str:
    found = addresses.primary_address(record)
    assert found is not None
    return found.address


def test_a_known_address_gets_the_message_and_its_custodians_a_mail(world, record, address):
    mail = world.send(address.upper(), "Your X-ray", attachments=(("v.xml", CDA_TYPE, VISIT),))
    assert (mail.state, mail.code, mail.raw) == ("filed", "", None)
    message = Message.objects.get()
    assert (message.subject, message.record, message.organization_name) == (
        "Your X-ray",
        record,
        world.partner.name,
    )
    assert b"pkcs7-mime" in open_blob(message.raw)
    assert message.raw.holder_id == record.holder_id
    (notification,) = Notification.objects.all()
    assert notification.to_address == "ada@patient.example"
    assert "X-ray" not in notification.subject + notification.text + notification.html
    assert DirectAddress.objects.get().first_used is not None
    assert [event.name for event in mail.events.all()] == ["received", "filed"]


def test_a_tag_delivers_to_the_plain_name(world, address):
    local, _, domain = address.partition("@")
    assert world.send(f"{local}+lab@{domain}", "Hello").state == "filed"


@pytest.mark.parametrize("local", ["nobody.here", "postmaster.x", "security"])
def test_mailboxes_that_are_not_there(world, local):
    mail = world.send(f"{local}@{DOMAIN}", "Hello")
    assert (mail.state, mail.code) == ("refused", "unknown_recipient")
    assert mail.raw is not None
    assert not Message.objects.exists()


def test_a_disabled_address_is_an_unknown_one(world, address):
    DirectAddress.objects.update(state=DirectAddress.State.DISABLED)
    assert world.send(address, "Hello").code == "unknown_recipient"


def test_the_same_bytes_are_one_mail_and_refused_ones_are_judged_again(world, record, address):
    sealed = world.partner.seal(world.partner.compose(address, "Hello"), world.identity)
    DirectAddress.objects.update(state=DirectAddress.State.DISABLED)
    first = world.process(sealed, address)
    assert first.state == "refused"
    DirectAddress.objects.update(state=DirectAddress.State.ACTIVE)
    again = world.process(sealed, address)
    assert (again.pk, again.state) == (first.pk, "filed")
    assert "resent" in [event.name for event in again.events.all()]
    assert world.process(sealed, address).pk == first.pk
    assert Message.objects.count() == 1


def test_without_a_key_the_mail_waits_for_one(world, address, settings):
    sealed = world.partner.seal(world.partner.compose(address, "Hello"), world.identity)
    keys, settings.IDENTITY_KEYS = settings.IDENTITY_KEYS, ""
    mail = world.process(sealed, address)
    assert (mail.state, mail.code, mail.tries) == ("received", "keys_unavailable", 0)
    assert jobs.offered(InboundMail, waiting="received", working="processing") == []
    settings.IDENTITY_KEYS = keys
    InboundMail.objects.update(lease_until=None)
    receive.receive_mail(str(mail.pk))
    mail.refresh_from_db()
    assert mail.state == "filed"


@pytest.mark.parametrize("trouble", [OperationalError("database is locked"), OSError(28, "no space")])
def test_trouble_around_a_mail_does_not_make_it_stuck(world, address, monkeypatch, trouble):
    sealed = world.partner.seal(world.partner.compose(address, "Hello"), world.identity)
    filing = receive.file_in_record

    def fail(*args: object, **kwargs: object) -> str:
        raise trouble

    monkeypatch.setattr(receive, "file_in_record", fail)
    for _ in range(5):
        mail = world.process(sealed, address)
        assert (mail.state, mail.code, mail.tries) == ("received", "waits_for_storage", 0)
        InboundMail.objects.update(lease_until=None)
    monkeypatch.setattr(receive, "file_in_record", filing)
    assert world.process(sealed, address).state == "filed"


def test_mail_to_newuser_is_held_under_the_answer(world):
    mail = world.send(NEWUSER, "kim@patient.example;First pet?;Biscuit;Your results; part 2")
    assert (mail.state, mail.raw, mail.holder) == ("parcelled", None, None)
    parcel = Parcel.objects.select_related("holder", "content").get()
    assert (parcel.contact, parcel.question, parcel.organization_name) == (
        "kim@patient.example",
        "First pet?",
        world.partner.name,
    )
    key = pickup.answer(parcel, factories.account("kim@patient.example", "Kim"), "biscuit", "")
    shown = pickup.preview(Parcel.objects.select_related("content").get(), key)
    assert shown.content.subject == "Your results; part 2"
    (notification,) = Notification.objects.all()
    for word in ("First pet", "Biscuit", "Your results"):
        assert word not in notification.text + notification.html + notification.subject


def test_the_report_for_the_operator_holds_nothing_of_the_content(world):
    mail = world.send(NEWUSER, "kim@patient.example;First pet?;Biscuit;Your results")
    text = str(mail.report) + mail.detail
    for word in ("kim@patient", "First pet", "Biscuit", "Your results"):
        assert word not in text
    assert mail.report["signers"][0]["names"] == [world.partner.domain]


def test_a_contact_that_is_an_address_of_ours_gets_it_at_once(world, record, address):
    mail = world.send(NEWUSER, f"{address};Your results")
    assert mail.state == "filed"
    assert Message.objects.get().subject == "Your results"
    assert not Parcel.objects.exists()


def test_with_a_question_it_waits_in_that_record(world, record, address):
    owner = Account.objects.get()
    assert world.send(NEWUSER, f"{address};Pet?;Biscuit;Your results").state == "parcelled"
    parcel = Parcel.objects.get()
    assert parcel.for_record == record
    assert [waiting.pk for waiting in pickup.waiting_for(owner)] == [parcel.pk]
    assert Notification.objects.get().to_address == "ada@patient.example"


@pytest.mark.parametrize(
    ("contact", "code"),
    [
        (f"unknown.person@{DOMAIN}", "unknown_recipient"),
        (NEWUSER, "bad_subject"),
        (f"postmaster@{DOMAIN}", "bad_subject"),
        ("someone@direct.other-hospital.example", "bad_subject"),
    ],
)
def test_contacts_that_cannot_be_told(world, contact, code):
    Organization.objects.create(name="Other", domains=["direct.other-hospital.example"])
    mail = world.send(NEWUSER, f"{contact};Pet?;Biscuit;Hello")
    assert (mail.state, mail.code) == ("refused", code)
    assert not Notification.objects.exists()


def test_the_same_message_sealed_anew_is_one_parcel(world):
    first = world.send(NEWUSER, "kim@patient.example;Hello", message_id="<one@direct.larkspur.example>")
    second = world.send(NEWUSER, "kim@patient.example;Hello", message_id="<one@direct.larkspur.example>")
    third = world.send(NEWUSER, "kim@patient.example;Hello", message_id="<two@direct.larkspur.example>")
    assert {first.state, second.state, third.state} == {"parcelled"}
    assert Parcel.objects.count() == 2
    assert MailEvent.objects.filter(code="same_parcel").count() == 1


def test_the_second_copy_of_a_message_that_waits_is_not_kept(world):
    inner = world.partner.compose(
        NEWUSER, "kim@patient.example;First pet?;Biscuit;S", message_id="<one@partner.example>"
    )
    for _ in range(2):
        mail = world.process(world.partner.seal(inner, world.identity), NEWUSER)
        assert (mail.state, mail.raw, mail.holder) == ("parcelled", None, None)
    parcels.close(Parcel.objects.get(), "declined")
    assert not Blob.objects.filter(holder__kind="mail").exclude(holder__in=notices_keys()).exists()


def notices_keys():
    return OutboundMail.objects.values("holder")


def test_two_copies_worked_on_at_once_are_one_parcel(world, monkeypatch):
    inner = world.partner.compose(
        NEWUSER, "kim@patient.example;First pet?;Biscuit;S", message_id="<one@partner.example>"
    )
    world.process(world.partner.seal(inner, world.identity), NEWUSER)
    # The second worker looked before the first one was done.
    real, looks = parcels._already_waiting, []

    def looked_early(*args):
        looks.append(args)
        return len(looks) > 1 and real(*args)

    monkeypatch.setattr(parcels, "_already_waiting", looked_early)
    mail = world.process(world.partner.seal(inner, world.identity), NEWUSER)
    assert (mail.state, mail.raw) == ("parcelled", None)
    assert mail.events.last().code == "same_parcel"
    assert Parcel.objects.count() == HolderKey.objects.filter(kind="parcel").count() == 1
    assert Notification.objects.count() == 1


def test_a_reminder_and_its_line_in_the_ledger_come_together(monkeypatch):
    parcel = factories.parcel()
    Parcel.objects.update(created=timezone.now() - timedelta(days=3, hours=1))
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(notify, "parcel_waiting", raising(RuntimeError))
        parcels.remind()
    assert not parcel.events.filter(name="reminded_3").exists()
    assert (parcels.remind(), parcels.remind()) == (1, 0)
    assert Notification.objects.filter(state="queued").count() == 1


def test_refused_mail_to_newuser_keeps_its_bytes_as_long_as_a_parcel(world, settings):
    sealed = world.partner.seal(world.partner.compose(NEWUSER, "kim@patient.example;Pet?;;S"), world.identity)
    mail = world.process(sealed, NEWUSER)
    other = world.send(f"nobody.here@{DOMAIN}", "Hello")
    assert (mail.code, other.code) == ("bad_subject", "unknown_recipient")
    assert parcels.shred_refused() == 0
    InboundMail.objects.update(finished=timezone.now() - timedelta(days=settings.PARCEL_DAYS, minutes=1))
    holder = mail.holder_id
    assert parcels.shred_refused() == 1
    mail.refresh_from_db()
    other.refresh_from_db()
    assert (mail.state, mail.raw, mail.holder, other.raw is None) == ("refused", None, None, False)
    assert not HolderKey.objects.filter(pk=holder).exists()
    assert AuditEvent.objects.filter(action="mail.shredded", subject=str(mail.pk)).exists()
    again = world.process(sealed, NEWUSER)
    assert (again.pk, again.code, again.raw is None) == (mail.pk, "bad_subject", False)


def test_a_second_parcel_for_an_address_is_announced_a_quarter_of_an_hour_later(world):
    for number in range(2):
        world.send(NEWUSER, f"kim@patient.example;Message {number}")
    at_once, later = Notification.objects.order_by("created")
    assert at_once.lease_until is None
    assert later.lease_until > timezone.now() + timedelta(minutes=10)


def test_one_bad_recipient_does_not_lose_the_others(world, address):
    both = f"{address}, nobody.here@{DOMAIN}"
    sealed = world.partner.seal(world.partner.compose(both, "To two"), world.identity)
    good, bad = (world.process(sealed, to) for to in (address, f"nobody.here@{DOMAIN}"))
    assert (good.state, bad.state, bad.code) == ("filed", "refused", "unknown_recipient")


def test_a_mail_that_took_its_worker_down_three_times_is_set_aside(world, address):
    sealed = world.partner.seal(world.partner.compose(address, "Hello"), world.identity)
    (mail,) = inbox.accept(sealed, world.partner.address, [address], protocol="test").values()
    InboundMail.objects.filter(pk=mail.pk).update(state="processing", tries=3)
    assert receive.receive_mail(str(mail.pk)) == "stuck"
    mail.refresh_from_db()
    assert (mail.code, mail.raw is not None) == ("worker_killed", True)


def test_a_worker_that_lost_its_lease_changes_nothing(world, address, monkeypatch):
    sealed = world.partner.seal(world.partner.compose(address, "Hello"), world.identity)
    (mail,) = inbox.accept(sealed, world.partner.address, [address], protocol="test").values()
    filing = receive.file_in_record

    def slow(*args: object, **kwargs: object) -> str:
        InboundMail.objects.filter(pk=mail.pk).update(tries=2)
        return filing(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(receive, "file_in_record", slow)
    assert receive.receive_mail(str(mail.pk)) is None
    assert not Message.objects.exists()


# --- storing before the transaction ---------------------------------------------------------------------
class Died(BaseException):
    """The process of a test ends here."""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("to_newuser", [False, True])
def test_sealing_and_unpacking_hold_no_lock_on_the_database(world, address, monkeypatch, to_newuser):
    """SQLite has one writer: what takes its time must not be inside a transaction."""
    real, inside = intake.store_parts, []

    def watched(*args):
        inside.append(connection.in_atomic_block)
        return real(*args)

    monkeypatch.setattr(intake, "store_parts", watched)
    files = (("v.xml", CDA_TYPE, VISIT),)
    if to_newuser:
        mail = world.send(NEWUSER, "kim@patient.example;First pet?;Biscuit;Results", attachments=files)
    else:
        mail = world.send(address, "Results", attachments=files)
    assert mail.state == ("parcelled" if to_newuser else "filed")
    assert inside == [False]


def test_a_mail_whose_first_tries_died_leaves_nothing_in_the_record_twice(
    world, record, address, monkeypatch
):
    inner = world.partner.compose(address, "Results", attachments=(("v.xml", CDA_TYPE, VISIT),))
    sealed = world.partner.seal(inner, world.identity)
    (mail,) = inbox.accept(sealed, world.partner.address, [address], protocol="test").values()
    for _ in range(2):
        with monkeypatch.context() as patched, pytest.raises(Died):
            patched.setattr(receive, "take_over_raw", raising(Died))
            receive.receive_mail(str(mail.pk))
        InboundMail.objects.update(lease_until=None)
    assert receive.receive_mail(str(mail.pk)) == "filed"
    message = Message.objects.get()
    named = {message.raw_id, *Attachment.objects.values_list("blob_id", flat=True)}
    named |= set(Document.objects.values_list("blob_id", flat=True))
    assert {blob.pk for blob in Blob.objects.all()} == named
    assert {blob.holder_id for blob in Blob.objects.all()} == {record.holder_id}
    assert open_blob(Attachment.objects.get().blob) == VISIT


def raising(error: type[BaseException]):
    def raise_it(*args: object, **kwargs: object) -> None:
        raise error

    return raise_it


def test_what_was_stored_for_a_parcel_that_was_not_made_is_shredded(world, monkeypatch):
    monkeypatch.setattr(receive, "take_over_raw", raising(RuntimeError))
    mail = world.send(
        NEWUSER, "kim@patient.example;First pet?;Biscuit;S", attachments=(("a", "text/plain", b"x"),)
    )
    assert mail.state == "stuck"
    assert not HolderKey.objects.filter(kind="parcel").exists()
    assert [blob.pk for blob in Blob.objects.all()] == [mail.raw_id]


def test_what_a_killed_process_stored_for_a_parcel_is_shredded_a_day_later():
    held = factories.parcel(files=(("a.txt", "text/plain", b"kept"),))
    draft = HolderKey.create("parcel")
    store_blob(draft, b"left behind")
    assert parcels.shred_drafts() == 0
    HolderKey.objects.update(created=timezone.now() - timedelta(hours=25))
    assert parcels.shred_drafts() == 1
    assert list(HolderKey.objects.filter(kind="parcel")) == [held.holder]
    assert Blob.objects.count() == 2
