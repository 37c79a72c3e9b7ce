"""Direct addresses: what a name may be, where mail to it goes, and what keepers of a record may change."""

import contextlib
from datetime import timedelta

import pytest
import time_machine
from django.conf import settings
from django.test import Client
from django.utils import timezone

from directmsg import addresses, compose
from directmsg.addresses import AddressNotAllowed, AddressTaken, TooManyAddresses, TooManyChanges
from directmsg.models import DirectAddress, OutboundMail
from healthvault.audit.models import AuditEvent
from healthvault.outbox.models import Notification
from records.models import Account, Grant, Message, Right
from tests import factories
from tests.directmsg.world import DOMAIN, at_once

pytestmark = pytest.mark.django_db

#: newuser, the mailboxes of RFC 2142, and names of roles.
ROLES = """newuser postmaster abuse hostmaster webmaster noc security info support sales marketing admin
administrator root mailer-daemon noreply no-reply bounce bounces daemon nobody help privacy test direct
healthvault""".split()  # noqa: SIM905


@pytest.fixture
def account():
    return factories.account()


@pytest.fixture
def record(account):
    return factories.record(account)


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("nora", "nora"),
        ("Nora.Whitlock-77", "nora.whitlock-77"),
        ("  nora_w  ", "nora_w"),
        ("a1b", "a1b"),
        ("7up", "7up"),
        ("a" * 64, "a" * 64),
        # A word of that kind inside another word is none.
        ("scunthorpe.cockburn", "scunthorpe.cockburn"),
        ("information", "information"),
    ],
)
def test_names_that_may_be_given(typed, kept):
    assert addresses.check_local_part(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        *("", "ab", "a" * 65, ".nora", "nora.", "-nora", "nora_", "no..ra", "no.-ra", "no__ra"),
        *("no ra", "nora+tag", "nora@x", "nör", "n\u043era", "n\x00ora", "nora\n.b", '"nora"', "no/ra"),
        *ROLES,
        *(name.upper() for name in ROLES),
        *("nora.shit", "Fuck-you", "big_arse_99"),
    ],
)
def test_names_that_may_not(typed):
    with pytest.raises(AddressNotAllowed):
        addresses.check_local_part(typed)


def test_suggestions_are_neutral_and_allowed():
    for _ in range(200):
        name = addresses.suggest()
        assert addresses.check_local_part(name) == name


# --- what becomes of mail -------------------------------------------------------------------------------


@pytest.fixture
def mailboxes(world):
    """The present address, an earlier one, one that is off, and one of a record that is gone."""
    DirectAddress.objects.filter(record=world.record).update(address=f"nora.now@{DOMAIN}", primary=True)
    made = {"earlier": ("nora.before", "active"), "off": ("nora.off", "disabled")}
    for name, state in made.values():
        DirectAddress.objects.create(
            address=f"{name}@{DOMAIN}", record=world.record, primary=False, state=state
        )
    DirectAddress.objects.create(address=f"gone.one@{DOMAIN}", record=None, primary=False)
    Account.objects.create_superuser("staff@portal.example", factories.PASSWORD)
    return world


@pytest.mark.parametrize(
    ("to", "state", "code", "told"),
    [
        ("nora.now", "filed", "", ["processed"]),
        ("Nora.NOW", "filed", "", ["processed"]),
        ("nora.now+gym", "filed", "", ["processed"]),
        ("nora.now+a+b", "filed", "", ["processed"]),
        ("nora.before", "filed", "", ["processed"]),
        ("nora.off", "refused", "unknown_recipient", ["processed", "failed"]),
        ("nora.off+tag", "refused", "unknown_recipient", ["processed", "failed"]),
        ("gone.one", "refused", "unknown_recipient", ["processed", "failed"]),
        ("nobody.here", "refused", "unknown_recipient", ["processed", "failed"]),
        ("postmaster", "filed", "", ["processed"]),
        ("Abuse", "filed", "", ["processed"]),
        ("postmaster+x", "filed", "", ["processed"]),
        *((name, "refused", "unknown_recipient", ["processed", "failed"]) for name in ROLES[3:]),
        ("newuser", "refused", "bad_subject", ["processed", "failed"]),
        ("NewUser", "refused", "bad_subject", ["processed", "failed"]),
    ],
)
def test_where_mail_goes(mailboxes, to, state, code, told):
    """Every row of the rules for addresses: letter case, tags, earlier, switched off, gone, reserved."""
    mail = mailboxes.letter_arrives(to=f"{to}@{DOMAIN}", subject="Your results; part 2;")
    assert (mail.state, mail.code) == (state, code)
    rows = OutboundMail.objects.filter(inbound=mail).order_by("pk")
    assert [row.disposition for row in rows] == told
    for_people = to.lower().partition("+")[0] not in ("postmaster", "abuse")
    assert Message.objects.filter(direction="in").count() == (state == "filed" and for_people)
    if to == "nora.now+gym":
        # The tag is kept: it is how the person tells where an address came from.
        assert Message.objects.get().to_addresses == [f"nora.now+gym@{DOMAIN}"]
    if to.lower().startswith(("postmaster", "abuse")):
        assert Notification.objects.filter(kind="administrators").count() == 1


def test_off_and_unknown_are_told_alike(mailboxes):
    """Who asks learns nothing of whose address that was."""
    seen = set()
    for name in ("nora.off", "nobody.here"):
        mail = mailboxes.letter_arrives(to=f"{name}@{DOMAIN}")
        mailboxes.send_all()
        opened = mailboxes.opened()
        seen.add((mail.code, opened.mdn.error, opened.text.strip(), opened.mdn.outcome))
    assert len(seen) == 1


def test_nothing_is_sent_from_an_address_that_is_off(mailboxes):
    address = DirectAddress.objects.get(record=mailboxes.record, primary=True)
    assert addresses.switch(address, on=False, account=mailboxes.account)
    with pytest.raises(compose.NoSenderAddress):
        mailboxes.write()
    assert addresses.switch(address, on=True, account=mailboxes.account)
    mailboxes.write()


# --- changing -------------------------------------------------------------------------------------------


def used(record):
    DirectAddress.objects.filter(record=record, primary=True).update(first_used=timezone.now())


def primary(record):
    return DirectAddress.objects.get(record=record, primary=True).address


def test_an_address_that_was_used_stays_and_delivers(account, record):
    used(record)
    before = primary(record)
    made = addresses.change(record, "Linden.Gate", account=account)
    assert primary(record) == made.address == f"linden.gate@{settings.DIRECT_DOMAINS[0]}"
    old = DirectAddress.objects.get(address=before)
    assert (old.record, old.state, old.primary) == (record, "active", False)


def test_one_that_was_never_used_is_simply_exchanged(account, record):
    for name in ("first.try", "second.try", "third.try"):
        addresses.change(record, name, account=account)
    states = dict(DirectAddress.objects.filter(record=record).values_list("address", "state"))
    assert sorted(states.values()) == ["active", "disabled", "disabled", "disabled"]


def test_two_changes_a_month(account, record):
    used(record)
    addresses.change(record, "first.change", account=account)
    used(record)
    addresses.change(record, "second.change", account=account)
    used(record)
    with pytest.raises(TooManyChanges):
        addresses.change(record, "third.change", account=account)
    assert primary(record).startswith("second.change@")
    with time_machine.travel(timezone.now() + timedelta(days=31), tick=False):
        addresses.change(record, "third.change", account=account)


def test_five_addresses_for_a_record_and_never_more(account, record):
    for number in range(4):
        addresses.change(record, f"name.{number}", account=account)
    with pytest.raises(TooManyAddresses):
        addresses.change(record, "name.5", account=account)
    # Its own ones it may take again.
    addresses.change(record, "name.1", account=account)
    assert primary(record).startswith("name.1@")
    assert DirectAddress.objects.filter(record=record).count() == 5


@pytest.mark.parametrize("owner", ["another record", "the same when it is off", "a record that is gone"])
def test_a_name_that_was_given_is_nobody_elses_ever(account, record, owner):
    other = factories.record(factories.account("tomas@patient.example", "Tomas Bergland"))
    taken = DirectAddress.objects.get(record=other)
    if owner == "the same when it is off":
        addresses.switch(taken, on=False, account=account)
    elif owner == "a record that is gone":
        other.delete()
    before = primary(record)
    with pytest.raises(AddressTaken):
        addresses.change(record, taken.address.partition("@")[0].upper(), account=account)
    with pytest.raises(AddressTaken):
        addresses.assign(factories.record(account, "Ida"), taken.address.partition("@")[0])
    assert primary(record) == before
    assert DirectAddress.objects.filter(address=taken.address).count() == 1


def test_every_change_is_written_down_and_mailed_to_all_who_keep_the_record(account, record):
    other = factories.account("tomas@patient.example", "Tomas Bergland")
    Grant.objects.create(account=other, record=record, right=Right.CUSTODIAN, notify=False)
    viewer = factories.account("viewer@patient.example", "Vera")
    Grant.objects.create(account=viewer, record=record, right=Right.VIEW)
    used(record)
    made = addresses.change(record, "linden.gate", account=account)
    addresses.switch(made, on=False, account=account)
    addresses.switch(made, on=False, account=account)
    addresses.switch(made, on=True, account=account)
    actions = AuditEvent.objects.filter(record=record.pk, action__startswith="address.").order_by("pk")
    assert [event.action for event in actions] == [
        "address.changed",
        "address.switched_off",
        "address.switched_on",
    ]
    mails = Notification.objects.filter(kind="address_changed")
    assert sorted({mail.to_address for mail in mails}) == [account.email, other.email]
    assert mails.count() == 6
    for mail in mails:
        assert "linden" not in mail.text + mail.subject
        assert record.name not in mail.text + mail.subject


@pytest.mark.django_db(transaction=True)
def test_two_who_want_one_name_at_once():
    records = [factories.record(factories.account(f"p{n}@patient.example", "P")) for n in range(4)]

    def take(record):
        with contextlib.suppress(AddressTaken):
            addresses.change(record, "linden.gate", account=record.grants.get().account)

    at_once(take, records)
    assert DirectAddress.objects.filter(address__startswith="linden.gate@").count() == 1
    assert DirectAddress.objects.filter(primary=True).count() == 4


# --- the page -------------------------------------------------------------------------------------------


def test_a_custodian_changes_and_switches_in_the_browser(account, record):
    client = Client()
    client.force_login(account)
    used(record)
    old = DirectAddress.objects.get(record=record)
    page = f"/messages/addresses/{record.pk}/"
    assert page in client.get(f"/records/{record.pk}/settings/").content.decode()
    answer = client.post(page, {"local": "linden.gate"}, follow=True)
    assert "linden.gate@" in answer.content.decode()
    assert "Also arrives" in answer.content.decode()
    answer = client.post(f"{page}{old.pk}/", {"off": "1"}, follow=True)
    assert "Switched off" in answer.content.decode()
    client.post(f"{page}{old.pk}/")
    old.refresh_from_db()
    assert old.state == "disabled"
    client.post(f"{page}{old.pk}/", {"on": "1"})
    old.refresh_from_db()
    assert old.state == "active"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "Type the name you want"),
        ("no", "Use 3 to 64 letters"),
        ("postmaster", "kept for the people who run the service"),
        ("taken.name", "given before"),
    ],
)
def test_a_name_that_cannot_be_had_is_told(account, record, typed, words):
    other = factories.record(factories.account("tomas@patient.example", "Tomas Bergland"))
    DirectAddress.objects.filter(record=other).update(address=f"taken.name@{settings.DIRECT_DOMAINS[0]}")
    client = Client()
    client.force_login(account)
    before = primary(record)
    answer = client.post(f"/messages/addresses/{record.pk}/", {"local": typed})
    assert words in answer.content.decode()
    assert primary(record) == before


def test_an_address_of_another_record_is_not_switched(account, record):
    other = factories.record(factories.account("tomas@patient.example", "Tomas Bergland"))
    theirs = DirectAddress.objects.get(record=other)
    client = Client()
    client.force_login(account)
    assert client.post(f"/messages/addresses/{record.pk}/{theirs.pk}/", {"off": "1"}).status_code == 404
    theirs.refresh_from_db()
    assert theirs.state == "active"
