"""What senders are told: once, sealed, and nothing of what only the patient may know."""

from datetime import timedelta

import pytest
from django.utils import timezone

from directmsg import parcels, receive, recipients, send
from directmsg.agent.notifications import EXTENSION, TIMELY_DELIVERY
from directmsg.models import DirectAddress, InboundMail, MailEvent, OutboundMail, Parcel
from healthvault.outbox.models import Notification
from healthvault.store.models import HolderKey
from tests.directmsg.world import DOMAIN, at_once, authority
from trust import context as trust_context
from trust import revocation_lists
from trust.models import Anchor, PeerCertificate
from trust.pki.certs import Certificate
from trust.pki.path import verify_path

pytestmark = pytest.mark.django_db

NEWUSER = f"newuser@{DOMAIN}"
ASKED = [("Disposition-Notification-Options", TIMELY_DELIVERY)]
WITH_QUESTION = "nora@elsewhere.example;First pet?;Biscuit;Your lab results"


def queued(mail=None):
    rows = OutboundMail.objects.exclude(kind="message").order_by("pk")
    rows = rows.filter(inbound=mail) if mail else rows
    return [(row.kind, row.disposition) for row in rows]


def taken(world):
    """What the clinic's mail server took, opened by the clinic."""
    return [
        world.peer.open(each.data, each.recipients[0], each.mail_from, authority().der)
        for each in world.smtp.taken
    ]


def announce(parcel):
    """The relay takes the mail that announces a parcel."""
    parcels.on_notification(str(parcel.pk), "sent", "")


# --- to a known address ---------------------------------------------------------------------------------


def test_processed_without_being_asked(world):
    mail = world.letter_arrives(subject="Your results")
    assert queued() == [("mdn", "processed")]
    world.send_all()
    (opened,) = taken(world)
    assert (opened.kind, opened.subject) == ("mdn", "Processed: Your results")
    assert opened.from_address == world.address
    assert opened.to == (world.peer.office,)
    assert opened.in_reply_to == mail.original_message_id
    assert opened.mdn.final_recipient == world.address
    assert opened.mdn.original_message_id == mail.original_message_id
    assert (opened.mdn.outcome, opened.mdn.has_extension) == ("processed", False)
    assert world.smtp.taken[0].mail_from == world.address
    assert "disposition-notification-to" not in opened.fields


def test_dispatched_when_asked_for_in_the_form_that_counts(world):
    mail = world.letter_arrives(extra_fields=ASKED)
    assert queued(mail) == [("mdn", "processed"), ("mdn", "dispatched")]
    world.send_all()
    opened = taken(world)[1]
    assert opened.subject == "Dispatched: Your results"
    assert (opened.mdn.outcome, opened.mdn.has_extension) == ("dispatched", True)


@pytest.mark.parametrize(
    "value",
    [
        f"{EXTENSION.lower()}= Optional , TRUE",
        f"other=optional,x; {TIMELY_DELIVERY}",
    ],
)
def test_ways_to_ask(world, value):
    world.letter_arrives(extra_fields=[("Disposition-Notification-Options", value)])
    assert ("mdn", "dispatched") in queued()


@pytest.mark.parametrize(
    "value",
    [
        f"{EXTENSION}=required,true",
        f"{EXTENSION}=optional,false",
        f"{EXTENSION}=true",
        "X-DIRECT-FINAL=optional,true",
        f"{EXTENSION}",
    ],
)
def test_ways_to_ask_for_nothing(world, value):
    world.letter_arrives(extra_fields=[("Disposition-Notification-Options", value)])
    assert queued() == [("mdn", "processed")]


def test_they_go_where_the_sender_wants_them(world):
    desk = f"desk@{world.peer.domain}"
    world.letter_arrives(extra_fields=[("Disposition-Notification-To", f"Desk <{desk}>")])
    world.send_all()
    assert world.smtp.taken[0].recipients == [desk]
    assert taken(world)[0].to == (desk,)


def test_once_however_often_the_worker_runs(world):
    mail = world.letter_arrives(extra_fields=ASKED)
    InboundMail.objects.filter(pk=mail.pk).update(state="received", lease_until=None)
    # What is filed has given its bytes to the record: the worker ends stuck, and says nothing.
    receive.receive_mail(str(mail.pk))
    assert len(queued()) == 2


@pytest.mark.parametrize("how", ["unknown", "disabled", "reserved"])
def test_nobody_there_is_processed_then_failed(world, how):
    to = {"unknown": f"nobody.here.1@{DOMAIN}", "reserved": f"info@{DOMAIN}"}.get(how, world.address)
    if how == "disabled":
        DirectAddress.objects.update(state=DirectAddress.State.DISABLED)
    mail = world.letter_arrives(to, extra_fields=ASKED)
    assert (mail.state, mail.code) == ("refused", "unknown_recipient")
    assert queued(mail) == [("mdn", "processed"), ("mdn", "failed")]
    world.send_all()
    processed, failed = taken(world)
    assert (processed.mdn.outcome, failed.mdn.outcome) == ("processed", "failed")
    assert failed.subject == "Failed: Your results"
    assert failed.mdn.error == "unknown_recipient"
    assert failed.mdn.final_recipient == to
    assert "There is no mailbox" in failed.root.children[0].text


def test_the_untrusted_hear_nothing(world):
    anchor = Anchor.objects.get(organization__name="Clinic")
    anchor.incoming = False
    anchor.save()
    for to in (world.address, f"nobody.here.1@{DOMAIN}", NEWUSER):
        assert world.letter_arrives(to, extra_fields=ASKED).state == "refused"
    assert queued() == []


def test_a_notification_gets_none(world):
    mdn = world.peer.mdn("processed", to=world.address, original="<x@y.example>")
    world.arrives(world.peer.seal(mdn, world.leaf.der))
    assert queued() == []


def test_a_key_service_that_is_down_says_nothing_yet(world, settings):
    raw = world.peer.seal(world.letter(), world.leaf.der)
    keys, settings.IDENTITY_KEYS = settings.IDENTITY_KEYS, ""
    mail = world.arrives(raw)
    assert (mail.state, mail.code, queued()) == ("received", "keys_unavailable", [])
    settings.IDENTITY_KEYS = keys
    InboundMail.objects.update(lease_until=None)
    receive.receive_mail(str(mail.pk))
    assert queued() == [("mdn", "processed")]


def test_what_is_sent_leaves_nothing_readable_behind(world):
    world.letter_arrives(extra_fields=ASKED)
    holders = set(OutboundMail.objects.values_list("holder", flat=True))
    assert None not in holders
    world.send_all()
    for row in OutboundMail.objects.all():
        assert (row.state, row.content, row.sealed, row.holder) == ("sent", None, None, None)
        assert row.finished is not None
    assert not HolderKey.objects.filter(pk__in=holders).exists()


# --- to newuser -----------------------------------------------------------------------------------------


def test_a_held_parcel_is_dispatched_when_its_announcement_was_accepted(world):
    mail = world.letter_arrives(NEWUSER, WITH_QUESTION, extra_fields=ASKED)
    assert mail.state == "parcelled"
    assert queued(mail) == [("mdn", "processed")]
    announce(mail.parcel)
    assert queued(mail) == [("mdn", "processed"), ("mdn", "dispatched")]
    announce(mail.parcel)
    assert len(queued(mail)) == 2
    mail.refresh_from_db()
    assert mail.reply is None
    world.send_all()
    for opened in taken(world):
        whole = str(opened.fields.unfolded("subject")) + opened.signed_bytes.decode()
        for secret in ("nora", "elsewhere", "pet", "Biscuit", "lab results"):
            assert secret.lower() not in whole.lower()
        assert opened.subject.endswith(": message")


def test_without_a_question_the_real_subject_is_told(world):
    mail = world.letter_arrives(NEWUSER, "nora@elsewhere.example;Your lab results", extra_fields=ASKED)
    announce(mail.parcel)
    world.send_all()
    assert [opened.subject for opened in taken(world)] == [
        "Processed: Your lab results",
        "Dispatched: Your lab results",
    ]
    assert not any(b"nora" in opened.signed_bytes for opened in taken(world))


def test_without_a_request_a_parcel_is_never_dispatched(world):
    mail = world.letter_arrives(NEWUSER, WITH_QUESTION)
    assert mail.reply is None
    announce(mail.parcel)
    assert queued(mail) == [("mdn", "processed")]


def test_the_relay_refuses_the_announcement(world):
    mail = world.letter_arrives(NEWUSER, WITH_QUESTION, extra_fields=ASKED)
    parcels.on_notification(str(mail.parcel.pk), "failed", "recipient_refused")
    assert queued(mail) == [("mdn", "processed"), ("notice", "contact_bounced")]


def test_the_same_message_sent_twice_is_dispatched_twice_with_one_parcel(world):
    letter = {"extra_fields": ASKED, "message_id": "twice@clinic.example"}
    first = world.letter_arrives(NEWUSER, WITH_QUESTION, **letter)
    second = world.letter_arrives(NEWUSER, WITH_QUESTION, **letter)
    assert Parcel.objects.count() == 1
    announce(first.parcel)
    for mail in (first, second):
        assert queued(mail) == [("mdn", "processed"), ("mdn", "dispatched")]


def test_a_bad_subject_is_processed_then_failed_with_the_rule(world):
    mail = world.letter_arrives(NEWUSER, "nora@elsewhere.example;First pet?;", extra_fields=ASKED)
    assert (mail.state, mail.code) == ("refused", "bad_subject")
    assert queued(mail) == [("mdn", "processed"), ("mdn", "failed")]
    world.send_all()
    failed = taken(world)[1]
    assert failed.subject == "Failed: message"
    assert failed.mdn.error == "bad_subject"
    assert "question" in failed.root.children[0].text
    assert b"nora" not in failed.signed_bytes
    assert b"pet" not in failed.signed_bytes


def test_a_contact_that_is_a_record_of_ours(world):
    mail = world.letter_arrives(NEWUSER, f"{world.address};Your results", extra_fields=ASKED)
    assert mail.state == "filed"
    assert queued(mail) == [("mdn", "processed"), ("mdn", "dispatched")]
    asked = world.letter_arrives(NEWUSER, f"{world.address};Pet?;Biscuit;Results", extra_fields=ASKED)
    assert asked.state == "parcelled"
    assert queued(asked) == [("mdn", "processed"), ("mdn", "dispatched")]


@pytest.mark.parametrize("state", ["declined", "expired"])
def test_the_end_of_a_parcel_is_told_by_signed_mail(world, state):
    mail = world.letter_arrives(NEWUSER, WITH_QUESTION)
    parcels.close(mail.parcel, state)
    assert queued(mail)[-1] == ("notice", state)
    world.send_all()
    opened = taken(world)[-1]
    assert (opened.kind, opened.from_address) == ("message", NEWUSER)
    assert opened.in_reply_to == mail.original_message_id
    for secret in (b"nora", b"Biscuit", b"lab results"):
        assert secret not in opened.signed_bytes


def test_a_withdrawal_is_not_told_to_who_withdrew(world):
    mail = world.letter_arrives(NEWUSER, WITH_QUESTION)
    parcels.close(mail.parcel, "withdrawn")
    assert queued(mail) == [("mdn", "processed")]


def test_seven_days_before_the_end_the_sender_is_told_once(world):
    mail = world.letter_arrives(NEWUSER, WITH_QUESTION)
    Parcel.objects.update(expires=timezone.now() + timedelta(days=8))
    parcels.remind()
    assert ("notice", "week_left") not in queued(mail)
    Parcel.objects.update(expires=timezone.now() + timedelta(days=6))
    parcels.remind()
    parcels.remind()
    assert queued(mail).count(("notice", "week_left")) == 1


def test_an_answer_may_go_to_who_signed_where_nothing_is_published(world):
    """A partner that publishes no certificate has shown one: the key that signed is theirs."""
    for node in world.dns.zone.values():
        node.pop("CERT", None)
    world.letter_arrives()
    (mdn,) = OutboundMail.objects.all()
    PeerCertificate.objects.all().delete()
    with pytest.raises(recipients.Unreachable, match="no_certificate"):
        recipients.certificates_for(mdn, timezone.now())
    trust = trust_context.for_address(world.address, incoming=False).trust
    chain = verify_path(Certificate(world.peer.leaf.der), (), trust, timezone.now())
    revocation_lists._noted.clear()
    revocation_lists.note_met(chain)
    world.send_all()
    (mdn,) = OutboundMail.objects.all()
    assert mdn.state == "sent"
    assert taken(world)[0].mdn.outcome == "processed"
    # A message of a person goes to what the recipient published, and to nothing else.
    world.write()
    world.send_all()
    assert world.copy().code == "no_certificate"


def test_our_own_person_hears_by_ordinary_mail_that_something_came_back(world):
    before = Notification.objects.count()
    world.dns.zone.clear()
    world.write("someone@stranger.example", subject="Private words")
    world.send_all()
    mail = Notification.objects.order_by("-created").first()
    assert Notification.objects.count() == before + 1
    assert "Private words" not in mail.text + mail.subject
    assert "stranger" not in mail.text


def test_every_step_is_in_the_ledger(world):
    mail = world.letter_arrives(NEWUSER, WITH_QUESTION, extra_fields=ASKED)
    announce(mail.parcel)
    world.send_all()
    for row in OutboundMail.objects.filter(inbound=mail):
        assert [event.name for event in MailEvent.objects.filter(outbound=row)] == ["queued", "sent"]


# --- in their order -------------------------------------------------------------------------------------


def pks(*dispositions):
    """Ids of the notifications, in the order asked for."""
    rows = dict(OutboundMail.objects.filter(kind="mdn").values_list("disposition", "pk"))
    return [str(rows[each]) for each in dispositions]


def told_in_order(world):
    return [opened.mdn.outcome for opened in taken(world)]


def due_now():
    OutboundMail.objects.filter(state="queued").update(lease_until=None)


@pytest.mark.parametrize("last", ["dispatched", "failed"])
def test_the_later_one_waits_for_the_end_of_the_earlier_one(world, last):
    to = world.address if last == "dispatched" else f"nobody.here.1@{DOMAIN}"
    world.letter_arrives(to=to, extra_fields=ASKED)
    first, later = pks("processed", last)
    assert send.send_mail(later) is None
    assert not world.smtp.commands
    # A mail server that asks to come again puts both off, and the order stays.
    world.smtp.replies["DATA."] = "451 4.3.0 later"
    assert send.send_mail(first) == "queued"
    due_now()
    assert send.send_mail(later) is None
    waiting = OutboundMail.objects.get(pk=later)
    assert (waiting.state, waiting.tries) == ("queued", 0)
    assert waiting.lease_until > timezone.now()
    del world.smtp.replies["DATA."]
    due_now()
    assert send.send_mail(first) == "sent"
    # Set free at once: it does not wait for its time.
    assert OutboundMail.objects.get(pk=later).lease_until is None
    assert send.send_mail(later) == "sent"
    assert told_in_order(world) == ["processed", last]


def test_the_later_one_goes_when_the_earlier_one_was_given_up(world):
    world.letter_arrives(extra_fields=ASKED)
    first, later = pks("processed", "dispatched")
    world.smtp.replies["DATA."] = "554 5.0.0 no"
    assert send.send_mail(first) == "failed"
    del world.smtp.replies["DATA."]
    assert OutboundMail.objects.get(pk=later).lease_until is None
    assert send.send_mail(later) == "sent"
    assert told_in_order(world) == ["dispatched"]


def test_a_killed_worker_does_not_turn_the_order_round(world, settings):
    """It holds the earlier one until its lease runs out; then that goes first all the same."""
    settings.EMBEDDED = False
    world.letter_arrives(extra_fields=ASKED)
    first, later = pks("processed", "dispatched")
    until = timezone.now() + timedelta(minutes=5)
    OutboundMail.objects.filter(pk=first).update(state="sending", lease_until=until, tries=1)
    assert send.send_mail(later) is None
    assert OutboundMail.objects.get(pk=later).lease_until == until
    OutboundMail.objects.filter(pk=first).update(lease_until=timezone.now())
    assert send.send_mail(first) == "sent"
    assert send.send_mail(later) == "sent"
    assert told_in_order(world) == ["processed", "dispatched"]


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_keep_the_order(world, settings):
    """Each notification of several letters is offered to several workers at once, again and again."""
    settings.EMBEDDED = False
    world.smtp.pause_s = 0.05
    for number in range(3):
        world.letter_arrives(extra_fields=ASKED, message_id=f"letter-{number}@{world.peer.domain}")
    rows = OutboundMail.objects.filter(kind="mdn")
    for _ in range(40):
        waiting = [str(pk) for pk in rows.filter(state="queued").order_by("-pk").values_list("pk", flat=True)]
        if not waiting:
            break
        at_once(send.send_mail, waiting)
        # Time goes by for those that were turned away.
        due_now()
    assert set(rows.values_list("state", flat=True)) == {"sent"}
    seen = [(each.mdn.original_message_id, each.mdn.outcome) for each in taken(world)]
    assert len(seen) == 6
    for message in {message for message, _ in seen}:
        assert [outcome for about, outcome in seen if about == message] == ["processed", "dispatched"]
