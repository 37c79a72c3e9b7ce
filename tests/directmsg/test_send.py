"""Sending one copy: sealing once, handing over, trying again, giving up."""

from datetime import timedelta

import pytest
from django.utils import timezone

from directmsg import confirmations, receive, send
from directmsg.agent.message import NewAttachment
from directmsg.models import InboundMail, MailEvent, OutboundMail
from healthvault.store.blobs import open_blob
from healthvault.store.models import Blob
from records.models import Message
from tests import factories
from tests.directmsg.world import DOMAIN, at_once, clinic, import_identity
from trust.models import Anchor, Identity

pytestmark = pytest.mark.django_db
State = OutboundMail.State


def events(mail):
    return [str(event) for event in MailEvent.objects.filter(outbound=mail)]


def test_a_message_goes_out_sealed_and_is_opened_by_its_recipient(world):
    message = world.write(
        subject="Über meinen Besuch",
        text="Grüße\n",
        files=[NewAttachment("brief äöü.txt", "text/plain", b"inside")],
    )
    world.send_all()
    mail = world.copy()
    assert (mail.state, mail.attempts, events(mail)) == (State.SENT, 1, ["queued", "sent"])
    (taken,) = world.smtp.taken
    assert (taken.mail_from, taken.recipients) == (world.address, [world.peer.office])
    assert b"Besuch" not in taken.data
    assert b"Subject" not in taken.data
    opened = world.opened()
    assert (opened.subject, opened.text.strip()) == ("Über meinen Besuch", "Grüße")
    assert [(part.filename, part.data()) for part in opened.parts] == [("brief äöü.txt", b"inside")]
    assert opened.message_id == message.message_id
    assert opened.fields.unfolded("disposition-notification-to") == world.address
    assert "X-DIRECT-FINAL-DESTINATION-DELIVERY=optional,true" in opened.fields.unfolded(
        "disposition-notification-options"
    )
    assert "bcc" not in opened.fields


def test_one_envelope_and_one_transaction_for_two_at_one_domain(world):
    world.write(world.peer.office, f"lab@{world.peer.domain}")
    world.send_all()
    (taken,) = world.smtp.taken
    assert taken.recipients == [world.peer.office, f"lab@{world.peer.domain}"]
    assert set(world.opened().to) == set(taken.recipients)
    assert {mail.state for mail in OutboundMail.objects.all()} == {State.SENT}
    assert len({mail.sha256 for mail in OutboundMail.objects.all()}) == 1


def test_who_cannot_be_trusted_is_left_out_and_marks_no_other(world):
    world.dns.add("stranger.example", "TXT", '"no certificate"')
    message = world.write(world.peer.office, "someone@stranger.example")
    world.send_all()
    good = world.copy(message, world.peer.office)
    bad = world.copy(message, "someone@stranger.example")
    assert (good.state, bad.state, bad.code) == (State.SENT, State.FAILED, "no_certificate")
    opened = world.opened()
    assert opened.to == (world.peer.office,)
    (notice,) = Message.objects.filter(direction="in")
    assert notice.subject == "Not Delivered: About my visit"
    assert "someone@stranger.example" in notice.text
    assert world.peer.office not in notice.text


def test_nobody_trusted_sends_nothing_and_tells_once(world):
    message = world.write("a@stranger.example", "b@stranger.example")
    world.send_all()
    assert not world.smtp.taken
    assert {mail.code for mail in message.outbound.all()} == {"no_certificate"}
    (notice,) = Message.objects.filter(direction="in")
    assert "a@stranger.example" in notice.text
    assert "b@stranger.example" in notice.text


def test_an_anchor_for_incoming_mail_alone_is_no_permission_to_write(world):
    anchor = Anchor.objects.get(sha256=clinic().ca.sha256)
    anchor.outgoing = False
    anchor.save()
    world.write()
    world.send_all()
    assert not world.smtp.taken
    assert world.copy().code == "untrusted_chain"


def test_a_name_service_that_fails_puts_off_that_recipient_only(world, monkeypatch):
    monkeypatch.setattr("trust.nameservice.PAUSE_S", 0.01)
    world.dns.misbehave("slow.example", "CERT", "servfail")
    message = world.write(world.peer.office, "x@slow.example")
    for pk in message.outbound.values_list("pk", flat=True):
        send.send_mail(str(pk))
    good, slow = world.copy(message, world.peer.office), world.copy(message, "x@slow.example")
    assert (good.state, slow.state, slow.code) == (State.SENT, State.QUEUED, "dns_failure")
    assert slow.lease_until > timezone.now()


def test_the_same_bytes_go_out_at_every_try(world, monkeypatch):
    digests = []
    world.smtp.replies["DATA."] = lambda taken: digests.append(taken.data) or "451 4.3.0 later"
    world.write()
    world.send_all()
    mail = world.copy()
    assert (mail.state, mail.code, mail.attempts) == (State.QUEUED, "deferred", 1)
    assert events(mail) == ["queued", "deferred deferred"]
    # Not before its time.
    world.send_all()
    assert len(digests) == 1
    OutboundMail.objects.update(lease_until=timezone.now())
    del world.smtp.replies["DATA."]
    world.send_all()
    assert world.copy().state == State.SENT
    assert world.smtp.taken[0].data == digests[0]


@pytest.mark.parametrize(
    ("elapsed_min", "next_min"),
    [(0, 1), (0.9, 1), (1, 5), (3, 5), (6, 15), (15.5, 30), (31, 60), (61, 120), (125, 180), (4319, 4320)],
)
def test_the_timetable_of_tries(elapsed_min, next_min):
    queued = timezone.now()
    mail = OutboundMail(queued=queued, expires=queued + timedelta(hours=72))
    at = send.next_try(mail, queued + timedelta(minutes=elapsed_min))
    assert at == queued + timedelta(minutes=next_min)


def test_no_try_is_planned_after_the_end():
    queued = timezone.now()
    mail = OutboundMail(queued=queued, expires=queued + timedelta(minutes=2))
    assert send.next_try(mail, queued + timedelta(minutes=1.5)) == mail.expires


@pytest.mark.parametrize(
    ("verb", "reply", "code"),
    [("RCPT", "550 5.1.1 nobody", "recipient_rejected"), ("DATA.", "554 5.7.1 no", "message_rejected")],
)
def test_a_final_no_ends_it_and_is_told(world, verb, reply, code):
    world.smtp.replies[verb] = reply
    world.write()
    world.send_all()
    mail = world.copy()
    assert (mail.state, mail.code) == (State.FAILED, code)
    (notice,) = Message.objects.filter(direction="in")
    raw = open_blob(notice.raw)
    assert b"Action: failed" in raw
    assert reply[4:9].encode() in raw
    world.send_all()
    assert Message.objects.filter(direction="in").count() == 1


def test_one_recipient_refused_by_their_server_does_not_stop_the_other(world):
    lab = f"lab@{world.peer.domain}"
    world.smtp.replies["RCPT"] = lambda who: "550 5.1.1 nobody" if who == lab else None
    message = world.write(world.peer.office, lab)
    world.send_all()
    assert world.copy(message, world.peer.office).state == State.SENT
    assert world.copy(message, lab).state == State.FAILED


def test_without_a_key_of_ours_it_waits(world):
    Identity.objects.all().delete()
    world.write()
    world.send_all()
    mail = world.copy()
    assert (mail.state, mail.code) == (State.QUEUED, "no_identity")
    import_identity()
    OutboundMail.objects.update(lease_until=None)
    world.send_all()
    assert world.copy().state == State.SENT


def test_a_worker_killed_after_the_servers_yes_sends_the_same_again(world):
    world.write()
    world.send_all()
    first = world.smtp.taken[0].data
    # As SIGKILL leaves it: taken by the server, never written down by us, the lease run out.
    OutboundMail.objects.update(state=State.SENDING, lease_until=timezone.now(), attempts=0, sent=None)
    send.send_mail(str(world.copy().pk))
    assert world.copy().state == State.SENT
    assert [taken.data for taken in world.smtp.taken] == [first, first]


def test_a_mail_that_kills_its_worker_is_set_aside(world):
    world.write()
    OutboundMail.objects.update(tries=3)
    world.send_all()
    mail = world.copy()
    assert (mail.state, mail.code) == (State.FAILED, "worker_killed")
    assert not world.smtp.taken


def test_an_unforeseen_error_is_tried_again(world, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError("no")

    monkeypatch.setattr(send, "seal_message", broken)
    world.write()
    world.send_all()
    mail = world.copy()
    assert (mail.state, mail.code) == (State.QUEUED, "unforeseen")
    assert "sending failed unforeseen" in caplog.text


def test_what_is_over_before_it_was_sent_times_out(world):
    message = world.write()
    OutboundMail.objects.update(expires=timezone.now())
    world.send_all()
    mail = world.copy(message)
    assert (mail.state, mail.code) == (State.TIMED_OUT, "not_sent")
    assert not world.smtp.taken


def test_no_more_than_so_many_workers_talk_to_one_domain(world, settings):
    settings.EMBEDDED = False
    for _ in range(send.MOST_SESSIONS + 1):
        world.write()
    rows = list(OutboundMail.objects.order_by("pk"))
    busy = [row.pk for row in rows[: send.MOST_SESSIONS]]
    OutboundMail.objects.filter(pk__in=busy).update(
        state=State.SENDING, lease_until=timezone.now() + timedelta(minutes=5)
    )
    assert send.send_mail(str(rows[-1].pk)) is None
    assert OutboundMail.objects.get(pk=rows[-1].pk).state == State.QUEUED
    # A lease that ran out is nobody's connection.
    OutboundMail.objects.filter(pk=busy[0]).update(lease_until=timezone.now())
    assert send.send_mail(str(rows[-1].pk)) == State.SENT


def test_sealed_bytes_go_when_nobody_needs_them(world):
    lab = f"lab@{world.peer.domain}"
    world.smtp.replies["RCPT"] = lambda who: "450 4.2.0 later" if who == lab else None
    message = world.write(world.peer.office, lab)
    world.send_all()
    sealed = world.copy(message, lab).sealed_id
    assert send.drop_sealed() == 0
    del world.smtp.replies["RCPT"]
    OutboundMail.objects.update(lease_until=None)
    world.send_all()
    assert send.drop_sealed() == 1
    assert not Blob.objects.filter(pk=sealed).exists()
    assert world.copy(message, lab).sha256


# --- several workers ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_make_one_envelope_and_send_each_copy_once(world, settings):
    """Both take a copy of one message before it is sealed; a third takes what another has."""
    settings.EMBEDDED = False
    world.smtp.pause_s = 0.2
    recipients = [f"{name}@{world.peer.domain}" for name in ("a", "b", "c")]
    message = world.write(*recipients)
    pks = [str(pk) for pk in message.outbound.order_by("pk").values_list("pk", flat=True)]
    at_once(lambda pk: send.send_mail(pk), [*pks, pks[0]])
    assert {copy.state for copy in message.outbound.all()} == {State.SENT}
    assert len({copy.sha256 for copy in message.outbound.all()}) == 1
    assert sorted(who for taken in world.smtp.taken for who in taken.recipients) == recipients


@pytest.mark.django_db(transaction=True)
def test_a_partner_that_is_written_to_much_is_not_stormed(world, settings):
    settings.EMBEDDED = False
    world.smtp.pause_s = 0.3
    for _ in range(10):
        world.write()
    pks = [str(pk) for pk in OutboundMail.objects.order_by("pk").values_list("pk", flat=True)]
    at_once(send.send_mail, pks)
    assert 1 <= world.smtp.most_at_once <= send.MOST_SESSIONS
    # Those that were turned away wait without having failed.
    assert set(OutboundMail.objects.values_list("state", "code")) <= {(State.SENT, ""), (State.QUEUED, "")}


# --- our own domains ----------------------------------------------------------------------------------------


def test_mail_between_our_own_people_runs_through_the_whole_agent(world):
    other = factories.account("tomas@patient.example", "Tomas Bergland")
    record = factories.record(other)
    to = record.direct_addresses.get().address
    message = world.write(to, subject="Between us")
    world.send_all()
    mail = world.copy(message)
    assert (mail.state, events(mail)) == (State.SENT, ["queued", "local"])
    assert not world.smtp.commands
    (inbound,) = InboundMail.objects.all()
    assert (inbound.protocol, inbound.recipient) == ("local", to)
    assert receive.receive_mail(str(inbound.pk)) == "filed"
    assert Message.objects.get(record=record).subject == "Between us"
    # The notifications come back the same way and settle it.
    world.send_all()
    for each in InboundMail.objects.filter(state="received").order_by("pk"):
        assert receive.receive_mail(str(each.pk)) == "notified"
    assert world.copy(message).state == State.DISPATCHED


def test_our_own_domain_needs_trust_like_any_other(world):
    Anchor.objects.exclude(sha256=clinic().ca.sha256).delete()
    message = world.write(f"nobody.here.1@{DOMAIN}")
    world.send_all()
    assert world.copy(message).code == "untrusted_chain"
    assert not InboundMail.objects.exists()


def test_late_word_of_sending_changes_nothing(world, monkeypatch):
    """News of the delivery comes before we wrote down that the server took the mail."""
    message = world.write()
    real = send.transport.deliver

    def deliver(*args, **kwargs):
        results = real(*args, **kwargs)
        world.told("dispatched", message)
        return results

    monkeypatch.setattr(send.transport, "deliver", deliver)
    world.send_all()
    mail = world.copy(message)
    assert mail.state == State.DISPATCHED
    assert mail.sent is not None
    assert events(mail) == ["queued", "dispatched", "late_sent"]
    assert confirmations.expire(timezone.now() + timedelta(hours=2)) == 0
