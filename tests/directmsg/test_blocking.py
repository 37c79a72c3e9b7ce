"""Blocked senders: what becomes of their mail, what they are told, and the page that lists them."""

from __future__ import annotations

import html
import re

import pytest
from django.test import Client

from directmsg import blocking, mail_steps
from directmsg.agent.address import Mailbox
from directmsg.blocking import CannotBlock
from directmsg.models import BlockedSender, OutboundMail
from healthvault.audit.models import AuditEvent
from records.models import Grant, Message, Record, Right
from tests import factories
from tests.directmsg.world import DOMAIN, authority

pytestmark = pytest.mark.django_db


def told(world):
    """Everything the clinic's mail server took, opened by the clinic."""
    world.send_all()
    return [
        world.peer.open(each.data, each.recipients[0], each.mail_from, authority().der)
        for each in world.smtp.taken
    ]


def arrives_from(world, local: str):
    """Mail to the record from another person at the clinic."""
    sender = f"{local}@{world.peer.domain}"
    raw = world.peer.seal(world.letter(sender=Mailbox("", sender)), world.leaf.der)
    return world.arrives(raw, mail_from=sender)


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("office@clinic.example", "office@clinic.example"),
        (" Office@CLINIC.example ", "office@clinic.example"),
        ("Front desk <Office@clinic.example>", "office@clinic.example"),
        ("clinic.example", "clinic.example"),
        ("@Clinic.example", "clinic.example"),
        ("klinik-süd.example", "xn--klinik-sd-x9a.example"),
    ],
)
def test_names_are_kept_as_they_are_compared(typed, kept):
    assert blocking.read_name(typed) == kept


@pytest.mark.parametrize(
    "typed", ["", "@", "clinic", "a@", "a b@clinic.example", "a@clinic", "x" * 300, "a@b@c"]
)
def test_what_is_neither_address_nor_domain_is_refused(typed):
    with pytest.raises(CannotBlock, match="Type a Direct address"):
        blocking.read_name(typed)


# --- what becomes of mail -------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_mail_from_a_blocked_sender_fails_and_the_next_one_flows(world, whole):
    name = world.peer.domain if whole else world.peer.office.upper()
    row = blocking.block(world.record, name, account=world.account)
    mail = world.letter_arrives()
    assert (mail.state, mail.code) == ("refused", "sender_blocked")
    assert "blocked this sender" in mail.detail, "the operator sees why"
    assert mail_steps.steps_of(mail)[-1].outcome == "failed"
    rows = OutboundMail.objects.filter(inbound=mail).order_by("pk")
    assert [one.disposition for one in rows] == ["processed", "failed"]
    assert not Message.objects.exists()
    event = AuditEvent.objects.get(action="mail.refused")
    assert (event.record, event.outcome) == (world.record.pk, "sender_blocked")
    other = arrives_from(world, "desk")
    assert other.state == ("refused" if whole else "filed")
    blocking.unblock(row, account=world.account)
    assert world.letter_arrives().state == "filed"


def test_the_notification_does_not_say_that_anybody_blocked(world, settings):
    """It is word for word that of a mailbox which is full."""
    row = blocking.block(world.record, world.peer.office, account=world.account)
    world.letter_arrives()
    blocking.unblock(row, account=world.account)
    settings.RECORD_SIZE_LIMIT = 1
    assert world.letter_arrives().code == "mailbox_full"
    failed = [each for each in told(world) if each.mdn.outcome == "failed"]
    texts = {each.root.children[0].text for each in failed}
    assert (len(failed), len(texts)) == (2, 1)
    assert "This mailbox does not accept this message." in texts.pop()
    assert {each.mdn.error for each in failed} == {"not_accepted"}
    for each in failed:
        assert each.subject == "Failed: Your results"
        assert each.mdn.final_recipient == world.address
    raw = b"".join(part.data() for each in failed for part in each.parts)
    assert b"block" not in raw.lower()


@pytest.mark.parametrize(
    ("blocked", "sender", "hit"),
    [
        ("office@clinic.example", "Office@Clinic.Example", True),
        ("office@clinic.example", "office+news@clinic.example", True),
        ("office+news@clinic.example", "office@clinic.example", False),
        ("office@clinic.example", "desk@clinic.example", False),
        ("clinic.example", "desk@clinic.example", True),
        ("clinic.example", "desk@direct.clinic.example", False),
        ("clinic.example", "desk@notclinic.example", False),
    ],
)
def test_whom_a_name_covers(blocked, sender, hit):
    owner = factories.account()
    record, other = factories.record(owner), factories.record(owner, "Ida")
    blocking.block(record, blocked, account=owner)
    assert blocking.is_blocked(record, sender) is hit
    assert not blocking.is_blocked(other, sender), "each record has its own list"


def test_parcels_are_not_concerned(world):
    blocking.block(world.record, world.peer.office, account=world.account)
    mail = world.letter_arrives(f"newuser@{DOMAIN}", "nora@patient.example;First pet?;Biscuit;Your results")
    assert mail.state == "parcelled"


def test_notifications_of_a_blocked_sender_still_count(world):
    sent = world.write()
    world.send_all()
    blocking.block(world.record, world.peer.office, account=world.account)
    assert world.told("dispatched", sent).state == "notified"
    assert world.copy(sent).state == "dispatched"


# --- the page -------------------------------------------------------------------------------------------


def text(answer) -> str:
    body = answer.content.decode().split("<main", 1)[1]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def browser(account) -> Client:
    client = Client()
    client.force_login(account)
    return client


def page(record: Record) -> str:
    return f"/messages/blocked/{record.pk}/"


def test_from_the_message_to_the_list_and_back(world):
    message = world.letter_arrives().message
    client = browser(world.account)
    shown = client.get(f"/messages/{message.pk}/").content.decode()
    assert f'name="sender" value="{world.peer.office}">Block this sender' in shown
    assert f'name="sender" value="{world.peer.domain}">Block everybody' in shown
    answer = client.post(page(world.record), {"sender": world.peer.office}, follow=True)
    assert f"{world.peer.office} is blocked." in answer.content.decode()
    row = BlockedSender.objects.get()
    assert re.search(
        rf"{re.escape(world.peer.office)} Blocked since \d+ \w+ \d{{4}} by Nora Whitlock", text(answer)
    )
    shown = client.get(f"/messages/{message.pk}/").content.decode()
    assert "Block this sender" not in shown
    assert f'<a href="{page(world.record)}">See who is blocked</a>' in shown
    client.post(page(world.record), {"sender": world.peer.office})
    assert BlockedSender.objects.get() == row, "twice is once"
    answer = client.post(f"{page(world.record)}{row.pk}/", follow=True)
    assert "Nobody is blocked." in text(answer)
    assert not BlockedSender.objects.exists()
    assert client.post(f"{page(world.record)}{row.pk}/").status_code == 404
    events = AuditEvent.objects.filter(action__startswith="sender.").order_by("pk")
    expected = [("sender.blocked", world.record.pk), ("sender.unblocked", world.record.pk)]
    assert [(event.action, event.record) for event in events] == expected


def test_by_hand():
    owner = factories.account()
    record = factories.record(owner)
    client = browser(owner)
    assert "Everybody at this domain." in text(
        client.post(page(record), {"sender": "@Spam.example"}, follow=True)
    )
    assert BlockedSender.objects.get().name == "spam.example"
    assert "Type the address or domain to block." in text(client.post(page(record), {"sender": " "}))
    assert "Type a Direct address" in text(client.post(page(record), {"sender": "<script>"}))
    assert BlockedSender.objects.count() == 1


def test_a_list_has_an_end(monkeypatch):
    monkeypatch.setattr(blocking, "MOST_BLOCKED", 2)
    owner = factories.account()
    record = factories.record(owner)
    for name in ("a.example", "b.example"):
        blocking.block(record, name, account=owner)
    answer = browser(owner).post(page(record), {"sender": "c.example"})
    assert "A record can block 2 senders." in text(answer)
    assert blocking.block(record, "b.example", account=owner).name == "b.example"


@pytest.mark.parametrize(
    ("right", "kinds", "status"),
    [(Right.VIEW, None, 404), (Right.MODIFY, None, 200), (Right.MODIFY, ["results"], 404)],
)
def test_who_may_block(world, right, kinds, status):
    message = world.letter_arrives().message
    person = factories.account("sam@family.example", "Sam")
    Grant.objects.create(account=person, record=world.record, right=right, kinds=kinds)
    client = browser(person)
    assert client.get(page(world.record)).status_code == status
    client.post(page(world.record), {"sender": "a.example"})
    assert BlockedSender.objects.exists() is (status == 200)
    offered = "Block this sender" in client.get(f"/messages/{message.pk}/").content.decode()
    assert offered is (status == 200)


def test_another_record_unblocks_nothing():
    owner, stranger = factories.account(), factories.account("eve@patient.example", "Eve")
    record, theirs = factories.record(owner), factories.record(stranger)
    row = blocking.block(record, "spam.example", account=owner)
    assert browser(stranger).post(f"{page(theirs)}{row.pk}/").status_code == 404
    assert browser(stranger).post(f"{page(record)}{row.pk}/").status_code == 404
    assert BlockedSender.objects.get() == row
