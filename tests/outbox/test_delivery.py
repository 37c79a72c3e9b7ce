"""From row to relay: sent once, tried again when that may help, and told to whoever asked."""

import smtplib
from datetime import timedelta

import pytest
import time_machine
from django.core.mail import EmailMultiAlternatives, mail_admins, send_mail
from django.db import connection, transaction
from django.utils import timezone

from healthvault.outbox import delivery, outcomes, transport
from healthvault.outbox.backend import OutboxBackend
from healthvault.outbox.mail import cancel, queue_mail
from healthvault.outbox.models import Notification
from healthvault.outbox.tasks import sweep_in_process, sweep_notifications
from healthvault.outbox.transport import SendFailure
from healthvault.store import jobs
from healthvault.vault.keyring import generate_key

pytestmark = pytest.mark.django_db

KIND = "test"


@pytest.fixture
def sent(monkeypatch):
    """What the relay was given; put exceptions into `failures` to make it refuse."""

    class Relay:
        def __init__(self):
            self.mails, self.failures = [], []

        def __call__(self, mail, name):
            if self.failures:
                raise self.failures.pop(0)
            self.mails.append(mail)

    relay = Relay()
    monkeypatch.setattr(transport, "send", relay)
    return relay


@pytest.fixture
def told():
    calls = []
    outcomes.register(KIND, lambda *call: calls.append(call))
    yield calls
    outcomes.unregister(KIND)


def queue(**values):
    return queue_mail("rosa@example.org", KIND, "A message waits", "text body", "<p>html body</p>", **values)


def fresh(mail):
    return Notification.objects.get(pk=mail.pk)


def test_a_mail_is_sent_and_its_words_erased(sent, told):
    mail = queue(related=("parcel", "42"))
    assert fresh(mail).text == "text body"
    assert delivery.deliver(str(mail.pk)) == "sent"
    row = fresh(mail)
    assert (row.state, row.subject, row.text, row.html, row.error_code) == ("sent", None, None, None, "")
    assert row.sent_at is not None
    assert row.lease_until is None
    assert told == [("42", "sent", "")]
    (message,) = sent.mails
    assert message.to == ["rosa@example.org"]
    assert message.subject == "A message waits"
    assert message.body == "text body"
    assert message.alternatives[0].content == "<p>html body</p>"
    headers = message.message()
    assert headers["Message-ID"].startswith(f"<{mail.pk}@")
    assert headers["Auto-Submitted"] == "auto-generated"


def test_a_sent_mail_is_not_sent_again(sent, told):
    mail = queue()
    assert delivery.deliver(mail.pk) == "sent"
    assert delivery.deliver(mail.pk) == ""
    assert len(sent.mails) == len(told) == 1


def test_a_mail_somebody_is_sending_is_left_alone_until_the_lease_ends(sent):
    mail = queue()
    assert Notification.claim(mail.pk) is not None
    assert delivery.deliver(mail.pk) == ""
    Notification.objects.filter(pk=mail.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert delivery.deliver(mail.pk) == "sent"


def test_a_worker_that_overslept_changes_nothing(monkeypatch, told):
    """Its successor has taken the row and failed for good; the late yes does not overwrite that."""
    mail = queue()

    def oversleep(message, name):
        Notification.objects.filter(pk=mail.pk).update(
            tries=2, state="failed", error_code="recipient_refused"
        )

    monkeypatch.setattr(transport, "send", oversleep)
    assert delivery.deliver(mail.pk) == ""
    assert fresh(mail).state == "failed"
    assert told == []


def test_a_mail_that_was_taken_back_does_not_go_out(sent, told):
    mails = [queue(related=("parcel", "one")), queue(related=("parcel", "two"))]
    assert cancel(mails[0].kind, "one") == 1
    assert [delivery.deliver(mail.pk) for mail in mails] == ["", "sent"]
    assert len(sent.mails) == 1
    row = fresh(mails[0])
    assert (row.state, row.subject, row.text, row.html) == ("dropped", None, None, None)
    assert str(row.pk) not in Notification.due()
    assert cancel(mails[1].kind, "two") == 0
    assert fresh(mails[1]).state == "sent"


def test_a_mail_taken_back_in_the_hands_of_a_worker_does_not_go_back_into_the_queue(monkeypatch, told):
    mail = queue(related=("parcel", "one"))

    def fail(message, name):
        cancel(mail.kind, "one")
        raise SendFailure("relay_down", temporary=True)

    monkeypatch.setattr(transport, "send", fail)
    assert delivery.deliver(mail.pk) == ""
    assert fresh(mail).state == "dropped"
    assert told == []


def test_a_mail_taken_back_while_it_is_claimed_is_not_sent_empty(sent, monkeypatch):
    mail = queue(related=("parcel", "one"))
    real = Notification.claim

    def slow(pk):
        real(pk)
        cancel(mail.kind, "one")
        return fresh(mail)

    monkeypatch.setattr(Notification, "claim", slow)
    assert delivery.deliver(mail.pk) == ""
    assert sent.mails == []


def test_a_failed_mail_that_was_taken_back_cannot_be_sent_again():
    mail = queue(related=("parcel", "one"))
    Notification.objects.filter(pk=mail.pk).update(state="failed")
    assert cancel(mail.kind, "one") == 0
    assert (fresh(mail).state, delivery.send_again(fresh(mail))) == ("failed", False)


def test_the_same_mail_has_the_same_id_and_date_at_every_try(sent):
    mail = queue()
    one, two = (delivery.compose(mail).message() for _ in range(2))
    assert one["Message-ID"] == two["Message-ID"]
    assert one["Date"] == two["Date"]


def test_tries_are_spaced_and_end_after_three_days(sent, told):
    started = timezone.now()
    waits = []
    with time_machine.travel(started, tick=False) as clock:
        mail = queue()
        while True:
            sent.failures = [SendFailure("relay_unreachable", temporary=True)]
            if delivery.deliver(mail.pk) == "failed":
                break
            row = fresh(mail)
            assert (row.state, row.error_code) == ("queued", "relay_unreachable")
            assert delivery.deliver(mail.pk) == ""  # not before it is due
            waits.append((row.lease_until - timezone.now()) / timedelta(minutes=1))
            clock.move_to(row.lease_until)
        ended = timezone.now()
    assert waits[:6] == [1, 5, 15, 30, 60, 60]
    assert set(waits[4:]) == {60}
    assert timedelta(hours=71) <= ended - started <= timedelta(hours=72)
    assert fresh(mail).error_code == "relay_unreachable"
    assert told == [("", "failed", "relay_unreachable")]
    assert sent.mails == []


def test_a_refused_recipient_is_final_at_once(sent, told):
    mail = queue(related=("parcel", "7"))
    sent.failures = [SendFailure("recipient_refused", temporary=False)]
    assert delivery.deliver(mail.pk) == "failed"
    assert told == [("7", "failed", "recipient_refused")]
    assert delivery.deliver(mail.pk) == ""


def test_a_failed_mail_can_be_sent_again(sent):
    mail = queue()
    assert not delivery.send_again(mail)
    sent.failures = [SendFailure("recipient_refused", temporary=False)]
    delivery.deliver(mail.pk)
    assert delivery.send_again(mail)
    assert delivery.deliver(mail.pk) == "sent"
    assert not delivery.send_again(mail)


def test_an_unforeseen_error_is_tried_again(sent, caplog):
    mail = queue()
    sent.failures = [ZeroDivisionError()]
    assert delivery.deliver(mail.pk) == "queued"
    assert fresh(mail).error_code == "unforeseen"
    assert "text body" not in caplog.text


def test_an_address_with_a_line_end_is_refused_for_good(monkeypatch):
    mail = queue_mail("a@example.org\nBcc: b@example.org", KIND, "s", "t", None)
    monkeypatch.setattr(transport, "send", lambda message, name: message.message())
    assert delivery.deliver(mail.pk) == "failed"
    assert fresh(mail).error_code == "bad_message"


def test_a_missing_key_waits_for_the_key(sent, settings):
    mail = queue()
    keys, settings.VAULT_KEYS = settings.VAULT_KEYS, generate_key()
    assert delivery.deliver(mail.pk) == "queued"
    assert fresh(mail).error_code == "unknown_key"
    settings.VAULT_KEYS = keys
    Notification.objects.update(lease_until=None)
    assert delivery.deliver(mail.pk) == "sent"


# --- listeners ------------------------------------------------------------------------------------


def test_a_listener_works_in_the_transaction_of_the_change(sent):
    seen = []

    def listener(related_id, state, code):
        seen.append((connection.in_atomic_block, fresh(mail).state))

    outcomes.register(KIND, listener)
    try:
        mail = queue()
        delivery.deliver(mail.pk)
    finally:
        outcomes.unregister(KIND)
    assert seen == [(True, "sent")]


def test_a_failing_listener_sends_no_mail_twice_and_is_told_later(sent, told):
    def broken(*call):
        queue(dedupe_key="written by the listener")
        raise RuntimeError("no")

    outcomes.register(KIND, broken)
    mail = queue(related=("parcel", "9"))
    assert delivery.deliver(mail.pk) == "sent"
    row = fresh(mail)
    assert (row.state, row.outcome_due, row.text) == ("sent", True, None)
    assert not Notification.objects.filter(dedupe_key__isnull=False).exists()
    delivery.tell_due()
    assert fresh(mail).outcome_due
    outcomes.register(KIND, lambda *call: told.append(call))
    delivery.tell_due()
    delivery.tell_due()
    assert told == [("9", "sent", "")]
    assert not fresh(mail).outcome_due
    assert len(sent.mails) == 1


# --- queueing -------------------------------------------------------------------------------------


def test_a_dedupe_key_makes_one_row(sent):
    one, two = queue(dedupe_key="parcel:1"), queue(dedupe_key="parcel:1")
    assert one.pk == two.pk
    assert queue(dedupe_key="parcel:2").pk != one.pk
    assert queue().pk != queue().pk


def test_a_mail_can_be_held_back(sent):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        mail = queue(not_before=timezone.now() + timedelta(minutes=15))
        assert delivery.deliver(mail.pk) == ""
        assert Notification.due() == []
        clock.shift(timedelta(minutes=15))
        assert Notification.due() == [str(mail.pk)]
        assert delivery.deliver(mail.pk) == "sent"


def test_the_bell_rings_after_commit_only(monkeypatch, django_capture_on_commit_callbacks):
    from healthvault.outbox.tasks import deliver_notification

    rung = []
    monkeypatch.setattr(deliver_notification, "delay", rung.append)
    with django_capture_on_commit_callbacks(execute=True):
        mail = queue()
        queue(dedupe_key="x")
        queue(dedupe_key="x")
        assert rung == []
    assert rung == [str(mail.pk), str(Notification.objects.get(dedupe_key="x").pk)]


def test_a_broker_that_is_down_loses_nothing(sent, monkeypatch, django_capture_on_commit_callbacks):
    from healthvault.outbox.tasks import deliver_notification

    def down(pk):
        raise ConnectionError

    monkeypatch.setattr(deliver_notification, "delay", down)
    monkeypatch.setattr(jobs, "_bell", jobs._Bell())
    with transaction.atomic(), django_capture_on_commit_callbacks(execute=True):
        mail = queue()
    sweep_in_process()
    assert fresh(mail).state == "sent"


def test_the_sweep_offers_what_is_due(sent, monkeypatch):
    from healthvault.outbox.tasks import deliver_notification

    offered = []
    monkeypatch.setattr(deliver_notification, "delay", offered.append)
    waiting, done, held = queue(), queue(), queue(not_before=timezone.now() + timedelta(hours=1))
    delivery.deliver(done.pk)
    stuck = queue()
    Notification.claim(stuck.pk)
    sweep_notifications()
    assert offered == [str(waiting.pk)]
    assert Notification.release_all() == 1
    sweep_notifications()
    assert offered[1:] == [str(waiting.pk), str(stuck.pk)]
    assert fresh(held).state == "queued"


def test_words_and_address_are_sealed_in_the_row():
    mail = queue()
    row = Notification.objects.filter(pk=mail.pk).values().get()
    for name in ("to_address", "subject", "text", "html"):
        for word in (b"rosa", b"waits", b"body"):
            assert word not in row[name]


# --- the mail of libraries ------------------------------------------------------------------------


def test_djangos_mail_becomes_rows():
    backend = OutboxBackend()
    message = EmailMultiAlternatives("Subject", "text", None, ["a@example.org", "b@example.org"])
    message.attach_alternative("<p>hi</p>", "text/html")
    assert backend.send_messages([message]) == 1
    rows = list(Notification.objects.order_by("pk"))
    assert [row.to_address for row in rows] == ["a@example.org", "b@example.org"]
    assert {(row.kind, row.subject, row.text, row.html) for row in rows} == {
        ("account", "Subject", "text", "<p>hi</p>")
    }


def test_send_mail_goes_through_the_outbox(settings):
    settings.EMAIL_BACKEND = "healthvault.outbox.backend.OutboxBackend"
    settings.ADMINS = [("Ops", "ops@example.org")]
    assert send_mail("s", "t", None, ["a@example.org"]) == 1
    mail_admins("alert", "t", html_message="<p>")
    assert Notification.objects.count() == 2


def test_attachments_are_refused():
    message = EmailMultiAlternatives("s", "t", None, ["a@example.org"])
    message.attach("a.txt", "content", "text/plain")
    with pytest.raises(ValueError):
        OutboxBackend().send_messages([message])
    assert not Notification.objects.exists()


# --- what an SMTP error means ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "temporary"),
    [
        (smtplib.SMTPRecipientsRefused({"a": (550, b"no")}), "recipient_refused", False),
        (smtplib.SMTPRecipientsRefused({"a": (450, b"later")}), "recipient_refused", True),
        (smtplib.SMTPDataError(554, b"no"), "message_refused", False),
        (smtplib.SMTPDataError(452, b"full"), "message_refused", True),
        (smtplib.SMTPSenderRefused(550, b"no", "a"), "sender_refused", True),
        (smtplib.SMTPAuthenticationError(535, b"no"), "relay_password", True),
        (smtplib.SMTPNotSupportedError("no starttls"), "relay_lacks_support", True),
        (smtplib.SMTPServerDisconnected("gone"), "relay_refused", True),
        (ConnectionRefusedError(), "relay_unreachable", True),
        (TimeoutError(), "relay_unreachable", True),
    ],
)
def test_smtp_errors(error, code, temporary):
    failure = transport._failure(error)
    assert (failure.code, failure.temporary) == (code, temporary)
