"""From what a person typed to rows: who may, to whom, how much, and only once."""

from datetime import UTC, datetime

import pytest
from django.http import Http404
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from directmsg import compose, confirmations
from directmsg.agent.address import Mailbox
from directmsg.agent.errors import UnsafeField
from directmsg.agent.message import NewAttachment, build_message, parse, read_content
from directmsg.models import DirectAddress, OutboundMail
from healthvault.store.blobs import open_blob
from healthvault.store.models import new_id
from records.models import Grant, Message, Right
from tests import factories
from tests.directmsg.world import DOMAIN

pytestmark = pytest.mark.django_db
OFFICE = "office@direct.clinic.example"


@pytest.fixture
def account():
    return factories.account()


@pytest.fixture
def record(account):
    return factories.record(account)


def write(account, record, to=OFFICE, subject="About my visit", text="Hello", files=(), **extra):
    return compose.queue_message(account, record, to, subject, text, files, **extra)


def test_one_row_per_recipient_and_one_identifier(account, record):
    files = [NewAttachment("a.txt", "text/plain", b"inside")]
    message = write(account, record, f"{OFFICE}, Lab <lab@Direct.Clinic.example>", files=files)
    address = record.direct_addresses.get().address
    rows = list(message.outbound.order_by("pk"))
    assert [row.recipient for row in rows] == [OFFICE, "lab@direct.clinic.example"]
    assert {row.identifier for row in rows} == {f"{message.pk.hex}@{DOMAIN}"}
    assert (message.direction, message.from_address, message.subject) == ("out", address, "About my visit")
    assert message.message_id == f"<{message.pk.hex}@{DOMAIN}>"
    assert message.opened is not None
    (part,) = message.attachments.all()
    assert (part.filename, open_blob(part.blob)) == ("a.txt", b"inside")
    assert rows[0].expires - rows[0].queued == rows[1].expires - rows[1].queued
    assert record.direct_addresses.get().first_used is not None


def test_the_clock_starts_when_it_is_queued(account, record, settings):
    settings.DIRECT_CONFIRMATION_TIMEOUT = 90
    (row,) = write(account, record).outbound.all()
    assert (row.expires - row.queued).total_seconds() == 90


def test_the_same_form_again_sends_nothing_more(account, record):
    pk = new_id()
    first = write(account, record, message_pk=pk)
    again = write(account, record, subject="changed", message_pk=pk)
    assert first.pk == again.pk
    assert OutboundMail.objects.count() == 1


@pytest.mark.parametrize("right", [Right.VIEW, None])
def test_who_may_not_change_a_record_may_not_write_for_it(account, record, right):
    stranger = factories.account("tomas@patient.example", "Tomas Bergland")
    if right:
        Grant.objects.create(account=stranger, record=record, right=right)
    with pytest.raises(Http404):
        write(stranger, record)
    assert not Message.objects.exists()


def test_who_may_change_it_may(account, record):
    helper = factories.account("tomas@patient.example", "Tomas Bergland")
    Grant.objects.create(account=helper, record=record, right=Right.MODIFY)
    assert write(helper, record).pk


@pytest.mark.parametrize(
    "to",
    ["", " , ", "no address", "two words@clinic.example", "a@b", "list: a@b.example;", f"newuser@{DOMAIN}",
     "größe@clinic.example", "a@clinic.example\r\nBcc: x@y.example"],
)  # fmt: skip
def test_whom_nobody_can_write_to(account, record, to):
    with pytest.raises(compose.BadRecipient):
        write(account, record, to)
    assert not Message.objects.exists()


def test_everybody_once(account, record):
    message = write(account, record, [OFFICE, OFFICE.upper(), f"<{OFFICE}>"])
    assert message.outbound.count() == 1


def test_too_many_and_too_much(account, record):
    with pytest.raises(compose.TooMuch):
        write(account, record, [f"a{n}@clinic.example" for n in range(compose.MOST_RECIPIENTS + 1)])
    part = NewAttachment("a.bin", "application/octet-stream", bytes(compose.most_octets()))
    with pytest.raises(compose.TooMuch):
        write(account, record, text="one more", files=[part])
    small = NewAttachment("a.bin", "application/octet-stream", b"")
    with pytest.raises(compose.TooMuch):
        write(account, record, files=[small] * (compose.MOST_ATTACHMENTS + 1))
    assert not Message.objects.exists()


def test_the_largest_that_may_be_sent_passes_a_mail_server(world, settings):
    part = NewAttachment("big.bin", "application/octet-stream", bytes(compose.most_octets() - 100))
    world.write(files=[part])
    world.send_all()
    (taken,) = world.smtp.taken
    assert 0.97 * settings.MAX_MESSAGE_SIZE < len(taken.data) <= settings.MAX_MESSAGE_SIZE


def test_without_an_active_address_nothing_is_sent(account, record):
    DirectAddress.objects.update(state=DirectAddress.State.DISABLED)
    with pytest.raises(compose.NoSenderAddress):
        write(account, record)


@pytest.mark.parametrize("bad", ["a\r\nBcc: x@y.example", "a\nb", "nul\x00", "\x1b[2J"])
def test_nothing_breaks_out_of_its_field(account, record, bad):
    with pytest.raises(UnsafeField):
        write(account, record, subject=bad)
    with pytest.raises(UnsafeField):
        write(account, record, files=[NewAttachment(bad, "text/plain", b"x")])
    with pytest.raises(UnsafeField):
        write(account, record, files=[NewAttachment("a", f"text/plain{bad}", b"x")])
    assert not Message.objects.exists()


_TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=120)


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(subject=_TEXT, filename=_TEXT)
def test_subject_and_file_name_come_back_as_they_were(subject, filename):
    raw = build_message(
        sender=Mailbox("", "a@b.example"),
        to=[Mailbox("", "c@d.example")],
        subject=subject,
        date=datetime.now(UTC),
        message_id="x@b.example",
        text="t",
        attachments=[NewAttachment(filename, "text/plain", b"x")],
    )
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    root = parse(raw).root
    assert root.fields.text("subject").split() == subject.split()
    assert read_content(root).attachments


# --- again --------------------------------------------------------------------------------------------------


def test_try_again_is_a_new_message_to_the_one_who_missed_it(account, record):
    files = [NewAttachment("a.txt", "text/plain", b"inside")]
    message = write(account, record, f"{OFFICE}, lab@direct.clinic.example", files=files)
    lost, other = message.outbound.order_by("pk")
    confirmations.lose([(lost, "no_certificate", "")])
    again = compose.try_again(account, OutboundMail.objects.get(pk=lost.pk))
    assert again.pk != message.pk
    assert again.message_id != message.message_id
    assert [row.recipient for row in again.outbound.all()] == [OFFICE]
    assert [(part.filename, open_blob(part.blob)) for part in again.attachments.all()] == [
        ("a.txt", b"inside")
    ]
    lost.refresh_from_db()
    assert (lost.state, lost.again) == ("failed", again.outbound.get())
    with pytest.raises(compose.NothingToRetry):
        compose.try_again(account, lost)
    with pytest.raises(compose.NothingToRetry):
        compose.try_again(account, other)
    assert Message.objects.filter(direction="out").count() == 2


def test_a_stranger_cannot_try_again(account, record):
    message = write(account, record)
    (lost,) = message.outbound.all()
    confirmations.lose([(lost, "no_certificate", "")])
    with pytest.raises(Http404):
        compose.try_again(factories.account("tomas@patient.example", "Tomas Bergland"), lost)
