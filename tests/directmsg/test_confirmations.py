"""News about what we sent: who is believed, how it is matched, and that one outcome stands."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.conf import settings
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from directmsg import confirmations, send
from directmsg.agent.address import Mailbox
from directmsg.agent.message import entity, envelope_fields, multipart
from directmsg.agent.notifications import Failure, Original, build_dsn
from directmsg.confirmations import News
from directmsg.event_words import words_of
from directmsg.models import MailEvent, OutboundMail
from healthvault.store import jobs
from healthvault.store.blobs import open_blob
from records.models import Message
from tests import factories, pki_factory
from tests.directmsg.world import at_once, clinic

pytestmark = pytest.mark.django_db
State = OutboundMail.State


def events(mail):
    return [event.name for event in MailEvent.objects.filter(outbound=mail)]


def notices():
    return Message.objects.filter(direction="in").count()


@pytest.fixture
def sent(world):
    """A message that the clinic's mail server took."""
    message = world.write()
    world.send_all()
    return message


def report(sender, to, fields, head="disposition", **kwargs):
    """A notification written by hand: `fields` is the machine-readable part as it stands."""
    kind = {"disposition": "disposition-notification", "delivery": "delivery-status"}[head]
    parts = [
        entity("text/plain; charset=us-ascii", "7bit", b"for people\r\n"),
        entity(f"message/{kind}", "7bit", fields.replace("\n", "\r\n").encode()),
    ]
    start = envelope_fields(
        sender=Mailbox("", sender),
        to=[Mailbox("", to)],
        subject="Notification",
        date=datetime.now(UTC),
        message_id=f"by-hand-{datetime.now(UTC).timestamp()}@elsewhere.example",
        **kwargs,
    )
    return start + multipart("report", parts, [f"report-type={kind}"])


# --- the usual course ---------------------------------------------------------------------------------------


def test_processed_then_dispatched(world, sent):
    mail = world.told("processed", sent)
    assert (mail.state, world.copy().state) == ("notified", State.PROCESSED)
    world.told("dispatched", sent)
    assert world.copy().state == State.DISPATCHED
    assert events(world.copy()) == ["queued", "sent", "processed", "dispatched"]
    assert world.copy().finished is not None
    assert notices() == 0


def test_a_notification_is_never_answered(world, sent):
    world.told("processed", sent)
    world.told("dispatched", sent)
    assert OutboundMail.objects.exclude(kind="message").count() == 0


def test_displayed_is_news_on_a_final_row(world, sent):
    for disposition in ("processed", "dispatched"):
        world.told(disposition, sent)
    finished = world.copy().finished
    fields = f"Final-Recipient: rfc822; {world.peer.office}\nOriginal-Message-ID: {sent.message_id}\n"
    raw = report(
        world.peer.office, world.address, fields + "Disposition: manual-action/MDN-sent-manually; displayed\n"
    )
    world.arrives(world.peer.seal(raw, world.leaf.der))
    assert world.copy().state == State.DISPLAYED
    assert finished is not None


def test_failed_ends_it_with_one_notice(world, sent):
    world.told("processed", sent)
    world.told("failed", sent, error="unknown_recipient")
    mail = world.copy()
    assert (mail.state, mail.code, mail.detail) == (State.FAILED, "reported_failed", "unknown_recipient")
    assert notices() == 1
    world.told("failed", sent)
    world.told("dispatched", sent)
    assert world.copy().state == State.FAILED
    assert events(mail)[-2:] == ["late_failed", "late_dispatched"]
    assert notices() == 1


def test_dispatched_without_the_field_that_answers_our_request_is_not_delivery(world, sent):
    world.told("dispatched", sent, answers_request=False)
    assert world.copy().state == State.PROCESSED
    assert events(world.copy())[-1] == "dispatched_unasked"


@pytest.mark.parametrize("first", ["dispatched", "failed"])
def test_a_hundred_times_and_out_of_order(world, sent, first):
    news = {
        "processed": News("processed", State.PROCESSED, ()),
        "dispatched": News("dispatched", State.DISPATCHED, ()),
        "failed": News("failed", State.FAILED, ()),
    }
    confirmations.apply(world.copy(), news[first])
    for _ in range(33):
        for each in ("processed", "dispatched", "failed"):
            confirmations.apply(world.copy(), news[each])
    assert world.copy().state == first
    assert len(events(world.copy())) == 2 + 1 + 99
    assert notices() == (first == "failed")


# --- who is believed --------------------------------------------------------------------------------------


def test_another_of_the_same_domain_may_speak_with_the_domains_certificate(world, sent):
    fields = (
        f"Final-Recipient: rfc822; {world.peer.office}\nOriginal-Message-ID: {sent.message_id}\n"
        "Disposition: automatic-action/MDN-sent-automatically; processed\n"
    )
    other = f"gateway@{world.peer.domain}"
    world.arrives(
        world.peer.seal(report(other, world.address, fields), world.leaf.der),
        mail_from=other,
    )
    assert world.copy().state == State.PROCESSED


def test_another_with_a_certificate_of_its_own_address_may_not(world, sent):
    other = f"lab@{world.peer.domain}"
    own = pki_factory.issue(clinic().ca, emails=[other])
    mdn = world.peer.mdn("failed", to=world.address, original=sent.message_id, recipient=other)
    mdn = mdn.replace(f"rfc822; {other}".encode(), f"rfc822; {world.peer.office}".encode())
    mail = world.arrives(world.peer.seal(mdn, world.leaf.der, signer=own), mail_from=other)
    assert mail.state == "notified"
    assert world.copy().state == State.SENT
    assert MailEvent.objects.filter(inbound=mail, code="not_believed").exists()


def test_a_trusted_stranger_moves_nothing(world, sent):
    leaf = pki_factory.issue(clinic().ca, domains=["stranger.example"])
    who = "mallory@stranger.example"
    mdn = world.peer.mdn("failed", to=world.address, original=sent.message_id, recipient=who)
    for lie in (mdn, mdn.replace(f"rfc822; {who}".encode(), f"rfc822; {world.peer.office}".encode())):
        mail = world.arrives(world.peer.seal(lie, world.leaf.der, signer=leaf), mail_from=who)
        assert mail.state == "notified"
    assert world.copy().state == State.SENT
    assert notices() == 0


def test_one_recipient_cannot_fail_another(world):
    lab = f"lab@{world.peer.domain}"
    ours = pki_factory.issue(clinic().ca, emails=[lab])
    message = world.write(world.peer.office, lab)
    world.send_all()
    mdn = world.peer.mdn("failed", to=world.address, original=message.message_id, recipient=lab)
    forged = mdn.replace(f"rfc822; {lab}".encode(), f"rfc822; {world.peer.office}".encode())
    world.arrives(world.peer.seal(forged, world.leaf.der, signer=ours), mail_from=lab)
    assert {copy.state for copy in message.outbound.all()} == {State.SENT}
    world.arrives(world.peer.seal(mdn, world.leaf.der, signer=ours), mail_from=lab)
    assert world.copy(message, lab).state == State.FAILED
    assert world.copy(message, world.peer.office).state == State.SENT


def test_a_notification_to_somebody_else_of_ours_moves_nothing(world, sent):
    other = factories.record(factories.account("tomas@patient.example", "Tomas Bergland"))
    to = other.direct_addresses.get().address
    mdn = world.peer.mdn("failed", to=to, original=sent.message_id)
    mail = world.arrives(world.peer.seal(mdn, world.leaf.der), to=to)
    assert mail.state == "notified"
    assert world.copy().state == State.SENT


def test_a_notification_about_nothing_is_taken_and_noted(world):
    mdn = world.peer.mdn("processed", to=world.address, original="<never-sent@nowhere.example>")
    mail = world.arrives(world.peer.seal(mdn, world.leaf.der))
    assert mail.state == "notified"
    assert MailEvent.objects.filter(inbound=mail, name="notification_ignored", code="unmatched").exists()


def test_an_unsealed_notification_is_never_believed(world, sent):
    mail = world.arrives(world.peer.mdn("processed", to=world.address, original=sent.message_id))
    assert (mail.state, mail.code) == ("refused", "not_encrypted")
    assert world.copy().state == State.SENT


# --- as systems in use write them -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        "FINAL-RECIPIENT : RFC822 ;  {office}\noriginal-message-id: {bare}\nDISPOSITION:x;PROCESSED\n",
        '\n\nFinal-Recipient: rfc822; "Office" <{office}>\nOriginal-Message-ID:\n {id}\n'
        "Disposition: automatic-action/MDN-sent-automatically;\n processed\n",
        "Final-Recipient: {office}\nOriginal-Message-ID: {id}\nDisposition: processed\nX-Vendor: yes\n",
        # The other way round, as a certification tool writes it: we are the final recipient.
        "Final-Recipient: rfc822; {ours}\nOriginal-Recipient: rfc822; {office}\nOriginal-Message-ID: {id}\n"
        "Disposition: automatic-action/MDN-sent-automatically; processed\n",
        "Final-Recipient: rfc822; {ours}\nOriginal-Message-ID: {id}\nDisposition: a; processed\n",
        "Original-Message-ID: {id}\nDisposition: a; processed\n",
        "Final-Recipient: rfc822; {office}\nOriginal-Message-ID: {id}\nDisposition: a; processed\n"
        "X-DIRECT-FINAL-DESTINATION-DELIVERY:\n",
    ],
)
def test_many_ways_to_say_processed(world, sent, fields):
    text = fields.format(
        office=world.peer.office, id=sent.message_id, bare=sent.message_id.strip("<>"), ours=world.address
    )
    world.arrives(world.peer.seal(report(world.peer.office, world.address, text), world.leaf.der))
    assert world.copy().state == State.PROCESSED


def test_in_reply_to_names_the_message_where_the_notification_does_not(world, sent):
    fields = f"Final-Recipient: rfc822; {world.peer.office}\nDisposition: a; processed\n"
    raw = report(world.peer.office, world.address, fields, in_reply_to=sent.message_id)
    world.arrives(world.peer.seal(raw, world.leaf.der))
    assert world.copy().state == State.PROCESSED


@pytest.mark.parametrize("disposition", ["denied", "error", "failed", "deleted/error", "processed/error"])
def test_many_ways_to_say_failed(world, sent, disposition):
    fields = f"Final-Recipient: rfc822; {world.peer.office}\nOriginal-Message-ID: {sent.message_id}\n"
    raw = report(world.peer.office, world.address, f"{fields}Disposition: a; {disposition}\n")
    world.arrives(world.peer.seal(raw, world.leaf.der))
    assert world.copy().state == State.FAILED


@pytest.mark.parametrize("disposition", ["", "Disposition: a; deleted\n", "Disposition: a; wondered\n"])
def test_what_says_nothing_of_use_moves_nothing(world, sent, disposition):
    fields = f"Final-Recipient: rfc822; {world.peer.office}\nOriginal-Message-ID: {sent.message_id}\n"
    raw = report(world.peer.office, world.address, fields + disposition)
    world.arrives(world.peer.seal(raw, world.leaf.der))
    assert world.copy().state == State.SENT


def test_a_delivery_status_notification_fails_only_those_it_names(world):
    lab = f"lab@{world.peer.domain}"
    message = world.write(world.peer.office, lab)
    world.send_all()
    dsn = build_dsn(
        [Failure(lab, "5.1.1", "no such mailbox")],
        reporting_domain=world.peer.domain,
        to=Mailbox("", world.address),
        original=Original(message.message_id, "word"),
        date=datetime.now(UTC),
        message_id=f"dsn-1@{world.peer.domain}",
    )
    world.arrives(world.peer.seal(dsn, world.leaf.der), mail_from=f"postmaster@{world.peer.domain}")
    failed = world.copy(message, lab)
    assert (failed.state, failed.code) == (State.FAILED, "reported_failed")
    assert failed.detail.startswith("5.1.1")
    assert world.copy(message, world.peer.office).state == State.SENT


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ("Final-Recipient: rfc822; {office}\n", State.FAILED),
        ("Final-Recipient: rfc822; {office}\nStatus: 5.0.0\n", State.FAILED),
        ("Final-Recipient: rfc822; {office}\nStatus: 4.4.7\n", State.SENT),
        ("Final-Recipient: rfc822; {office}\nAction: delayed\nStatus: 4.4.1\n", State.SENT),
        ("Final-Recipient: rfc822; {office}\nAction: delivered\nStatus: 2.0.0\n", State.SENT),
    ],
)
def test_what_a_delivery_status_says(world, sent, lines, state):
    fields = f"Reporting-MTA: dns; {world.peer.domain}\nX-Original-Message-ID: {sent.message_id}\n\n"
    text = fields + lines.format(office=world.peer.office)
    raw = report(world.peer.office, world.address, text, head="delivery")
    world.arrives(world.peer.seal(raw, world.leaf.der))
    assert world.copy().state == state


# --- silence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "code"),
    [
        (State.QUEUED, "not_sent"),
        (State.SENDING, "not_sent"),
        (State.SENT, "not_processed"),
        (State.PROCESSED, "not_dispatched"),
    ],
)
def test_silence_is_an_outcome_told_once(world, before, code):
    message = world.write()
    OutboundMail.objects.update(state=before)
    soon = timezone.now() + timedelta(seconds=settings.DIRECT_CONFIRMATION_TIMEOUT)
    assert confirmations.expire(soon - timedelta(seconds=10)) == 0
    assert confirmations.expire(soon) == 1
    assert confirmations.expire(soon) == 0
    mail = world.copy(message)
    assert (mail.state, mail.code) == (State.TIMED_OUT, code)
    assert notices() == 1
    world.told("dispatched", message)
    assert world.copy(message).state == State.TIMED_OUT
    assert events(mail)[-1] == "late_dispatched"
    assert notices() == 1


@pytest.mark.parametrize("taken_after_min", [0, 50])
def test_the_hour_is_counted_from_the_queue_whenever_it_was_taken(world, taken_after_min):
    """One clock for all: neither the time of the handing over nor that of a later word moves the end."""
    message = world.write()
    queued = world.copy(message).queued
    with time_machine.travel(queued + timedelta(minutes=taken_after_min), tick=False):
        world.send_all()
        assert world.copy(message).state == State.SENT
    with time_machine.travel(queued + timedelta(minutes=58), tick=False):
        world.told("processed", message)
    with time_machine.travel(queued + timedelta(minutes=59, seconds=59), tick=False):
        assert confirmations.expire() == 0
    with time_machine.travel(queued + timedelta(minutes=60), tick=False):
        assert confirmations.expire() == 1
        world.told("dispatched", message)
    mail = world.copy(message)
    assert (mail.state, mail.code, mail.finished) == (
        State.TIMED_OUT,
        "not_dispatched",
        queued + timedelta(minutes=60),
    )
    assert notices() == 1
    assert MailEvent.objects.filter(outbound=mail, name="timed_out").get().at == mail.finished


@pytest.mark.parametrize("final", [State.DISPATCHED, State.DISPLAYED, State.FAILED])
def test_what_is_over_does_not_time_out(world, final):
    world.write()
    OutboundMail.objects.update(state=final)
    assert confirmations.expire(timezone.now() + timedelta(days=1)) == 0


def test_one_notice_for_all_who_were_silent(world):
    lab = f"lab@{world.peer.domain}"
    message = world.write(world.peer.office, lab, f"ward@{world.peer.domain}")
    world.send_all()
    confirmations.apply(world.copy(message, lab), News("dispatched", State.DISPATCHED, ()))
    assert confirmations.expire(timezone.now() + timedelta(hours=2)) == 2
    (notice,) = Message.objects.filter(direction="in")
    assert world.peer.office in notice.text
    assert f"ward@{world.peer.domain}" in notice.text
    assert lab not in notice.text


def test_notifications_of_ours_are_tried_for_three_days_only(world):
    world.letter_arrives()
    (mdn,) = OutboundMail.objects.filter(kind="mdn", disposition="processed")
    assert confirmations.expire(mdn.queued + timedelta(hours=71)) == 0
    assert confirmations.expire(mdn.queued + timedelta(hours=72)) == 1
    mdn.refresh_from_db()
    assert (mdn.state, mdn.code, mdn.holder, mdn.content) == (State.FAILED, "too_long_queued", None, None)
    assert notices() == 1  # the letter itself


# --- any order ----------------------------------------------------------------------------------------------

_NEWS = {
    "processed": News("processed", State.PROCESSED, ()),
    "dispatched": News("dispatched", State.DISPATCHED, ()),
    "displayed": News("displayed", State.DISPLAYED, ()),
    "failed": News("failed", State.FAILED, ()),
    "delayed": News("delayed", None, ()),
}
_ACTIONS = [*_NEWS, "send", "send_fails", "send_refused", "time_out", "crash", "restart", "late_worker"]


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=st.lists(st.sampled_from(_ACTIONS), min_size=1, max_size=12))
def test_any_order_of_events_has_one_outcome_that_stands(world, actions):
    """Sending, refusals, silence, crashes and news from the other side in any order, with repetitions."""
    before = notices()
    message = world.write()
    course = _Course(world, message)
    outcome = None
    for action in actions:
        course.do(action)
        state = world.copy(message).state
        delivered, lost = state in OutboundMail.DELIVERED, state in OutboundMail.LOST
        if outcome is not None:
            assert (outcome == "delivered" and delivered) or outcome == state
        elif delivered or lost:
            outcome = "delivered" if delivered else state
    assert notices() - before == (outcome in OutboundMail.LOST)
    confirmations.expire(timezone.now() + timedelta(days=2))
    assert world.copy(message).state in OutboundMail.DELIVERED | OutboundMail.LOST
    assert notices() - before == (world.copy(message).state in OutboundMail.LOST)
    finals = [name for name in events(world.copy(message)) if name in ("failed", "timed_out", "dispatched")]
    assert len(finals) <= 1


def test_a_worker_that_comes_back_twice_changes_nothing(world):
    message = world.write()
    course = _Course(world, message)
    for action in ("crash", "time_out", "late_worker", "late_worker"):
        course.do(action)
    assert world.copy(message).state == State.TIMED_OUT


class _Course:
    """What may happen to one copy."""

    def __init__(self, world, message, recipient=""):
        self.world = world
        self.recipient = recipient
        self.message = message
        self.claimed = None

    def do(self, action):
        copy = self.world.copy(self.message, self.recipient)
        if action in _NEWS:
            confirmations.apply(copy, _NEWS[action])
        elif action == "time_out":
            confirmations.expire(timezone.now() + timedelta(days=2))
        elif action == "crash":
            # A worker takes the row and is killed; its lease runs out.
            claimed = jobs.claim(OutboundMail, str(copy.pk), waiting=State.QUEUED, working=State.SENDING)
            self.claimed = claimed or self.claimed
            OutboundMail.objects.filter(pk=copy.pk, state=State.SENDING).update(lease_until=timezone.now())
        elif action == "restart":
            jobs.release(OutboundMail, waiting=State.QUEUED, working=State.SENDING)
        elif action == "late_worker":
            # One that slept through its lease comes back with an answer.
            if self.claimed is not None:
                send._accepted(self.claimed, send.Accepted("mx", "250 ok", False))
        else:
            self._send(copy, {"send_fails": "451 4.3.0 later", "send_refused": "554 5.0.0 no"}.get(action))

    def _send(self, copy, answer):
        self.world.smtp.replies.clear()
        if answer:
            self.world.smtp.replies["DATA."] = answer
        OutboundMail.objects.filter(pk=copy.pk, state=State.QUEUED).update(lease_until=None)
        send.send_mail(str(copy.pk))


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["office", "lab"]), st.sampled_from(_ACTIONS)), min_size=2, max_size=12
    )
)
def test_the_copies_of_one_message_have_outcomes_of_their_own(world, actions):
    """What happens to one recipient's copy in any order marks no other."""
    message = world.write(world.peer.office, f"lab@{world.peer.domain}")
    courses = {
        name: _Course(world, message, recipient=f"{name}@{world.peer.domain}") for name in ("office", "lab")
    }
    for name, action in actions:
        other = world.copy(message, courses["lab" if name == "office" else "office"].recipient)
        before = (other.state, other.code, other.finished)
        courses[name].do(action)
        other.refresh_from_db()
        if action == "time_out" or (other.state, other.code) == before[:2]:
            continue
        # A copy to the same domain may go along in the same transaction, and a restart gives all back to the
        # queue; nothing else may befall it.
        assert action.startswith("send") or (action, other.state) == ("restart", State.QUEUED)
        assert before[0] in (State.QUEUED, State.SENDING)
    confirmations.expire(timezone.now() + timedelta(days=2))
    for course in courses.values():
        copy = world.copy(message, course.recipient)
        assert copy.state in OutboundMail.DELIVERED | OutboundMail.LOST
        finals = [name for name in events(copy) if name in ("failed", "timed_out", "dispatched")]
        assert len(finals) <= 1
        told = [
            notice for notice in Message.objects.filter(direction="in") if course.recipient in notice.text
        ]
        of_this = [notice for notice in told if message.message_id.encode() in open_blob(notice.raw)]
        assert len(of_this) == (copy.state in OutboundMail.LOST)


@pytest.mark.django_db(transaction=True)
def test_everything_at_once_has_one_outcome(world, settings):
    """Workers that send, time out and hear of delivery and failure of one copy, all in the same moment."""
    settings.EMBEDDED = False
    for _ in range(6):
        before = notices()
        message = world.write()
        copy = world.copy(message)

        def act(action, message=message, copy=copy):
            if action == "send":
                send.send_mail(str(copy.pk))
            elif action == "time_out":
                confirmations.expire(timezone.now() + timedelta(days=2))
            else:
                confirmations.apply(world.copy(message), _NEWS[action])

        at_once(act, ["send", "time_out", "dispatched", "failed", "processed", "time_out"])
        copy = world.copy(message)
        assert copy.state in OutboundMail.DELIVERED | OutboundMail.LOST
        names = events(copy)
        finals = [name for name in names if name in ("failed", "timed_out", "dispatched")]
        assert finals == [copy.state]
        assert notices() - before == (copy.state in OutboundMail.LOST)


def test_the_walk_reaches_every_state(world):
    """So that the test above is known to test something."""
    seen = set()
    for actions in (["send"], ["send", "processed"], ["dispatched"], ["displayed"], ["failed"], ["time_out"]):
        message = world.write()
        course = _Course(world, message)
        for action in actions:
            course.do(action)
        seen.add(world.copy(message).state)
    assert seen == {"sent", "processed", "dispatched", "displayed", "failed", "timed_out"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("late_dispatched", "Heard after the outcome, which stands: delivered to the recipient"),
        ("late_sent", "Heard after the outcome, which stands: handed to the recipient's system"),
        ("dispatched_unasked", "Their system speaks of delivery, without the field that would confirm it"),
    ],
)
def test_news_that_moves_nothing_is_told_in_words(world, name, words):
    message = world.write()
    event = MailEvent.objects.create(outbound=world.copy(message), name=name)
    assert words_of(event) == words
