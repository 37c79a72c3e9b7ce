"""The people of a record in the browser: inviting, accepting, changing, leaving, and who did what."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from healthvault.audit import trail
from healthvault.outbox.models import Notification
from records import editing, sharing
from records.models import Account, Entry, Grant, Invitation, Record, Right
from tests import factories

pytestmark = pytest.mark.django_db

FRIEND = "tomas@people.example"
OFFER = {"email": FRIEND, "relationship": "parent", "right": "1", "scope": "all", "passcode": "Kite42"}


@pytest.fixture
def owner() -> Account:
    return factories.account()


@pytest.fixture
def record(owner) -> Record:
    record = factories.record(owner, "Nora Whitlock")
    editing.add_item(record, owner, "allergies", editing.Words(name="Latex"))
    editing.add_item(record, owner, "problems", editing.Words(name="Gout"))
    return record


@pytest.fixture
def client(owner) -> Client:
    """The owner's browser, who has just typed the password."""
    return signed_in(owner)


def signed_in(account: Account) -> Client:
    client = Client()
    client.force_login(account)
    client.post("/accounts/reauthenticate/", {"password": factories.PASSWORD})
    return client


@pytest.fixture
def friend() -> Account:
    return factories.account(FRIEND, "Tomas Bergland")


def words(answer) -> str:
    text = re.sub(r"<[^>]+>", " ", answer.content.decode())
    return " ".join(text.split())


def invite(client: Client, record: Record, **more: object) -> str:
    """Invite by the page; the link of the mail."""
    answer = client.post(f"/records/{record.pk}/people/invite/", {**OFFER, **more})
    assert answer.status_code == 302, words(answer)
    return link_of(Notification.objects.filter(kind="invitation").latest("created"))


def link_of(mail: Notification) -> str:
    found = re.search(r"https?://[^/\s]+(/records/invited/\S+/)", mail.text or "")
    assert found
    return found[1]


def test_an_invitation_is_mailed_without_a_word_of_the_record(client, record):
    invite(client, record, text="You asked about my gout")
    mail = Notification.objects.get(kind="invitation")
    assert mail.to_address == FRIEND
    everything = f"{mail.subject} {mail.text} {mail.html}"
    for word in ("Whitlock", "Gout", "gout", "Kite42", "Latex", str(record.pk)):
        assert word not in everything
    assert "nora@patient.example" in everything
    invitation = Invitation.objects.get()
    assert (invitation.right, invitation.text) == (Right.VIEW, "You asked about my gout")


def test_it_is_accepted_with_the_passcode_and_withdrawn(client, record, friend):
    link = invite(client, record, scope="some", kinds=["allergies"])
    theirs = signed_in(friend)
    page = theirs.get(link, follow=True)
    assert page.redirect_chain == [("/records/invited/", 302)]
    assert "Whitlock" not in words(page)
    assert "nora@patient.example" in words(page)
    wrong = theirs.post("/records/invited/", {"accept": "1", "passcode": "Kite43"})
    assert "4 tries are left" in words(wrong)
    assert theirs.get(f"/records/{record.pk}/").status_code == 404
    shown = theirs.post("/records/invited/", {"accept": "1", "passcode": "Kite42"}, follow=True)
    assert "Latex" in words(shown)
    assert "Gout" not in words(shown)
    grant = Grant.objects.get(account=friend, record=record)
    assert (grant.right, grant.kinds, grant.relationship) == (Right.VIEW, ["allergies"], "parent")
    asked = client.get(f"/records/{record.pk}/people/{grant.pk}/remove/")
    assert Grant.objects.filter(pk=grant.pk).exists()
    assert "Take access away from Tomas Bergland?" in words(asked)
    client.post(f"/records/{record.pk}/people/{grant.pk}/remove/")
    assert theirs.get(f"/records/{record.pk}/").status_code == 404


def test_a_new_person_signs_up_on_the_way(client, record, settings):
    settings.EMAIL_BACKEND = "healthvault.outbox.backend.OutboxBackend"
    link = invite(client, record, passcode="")
    theirs = Client()
    page = theirs.get(link, follow=True)
    assert "Create an account" in words(page)
    asked = theirs.post("/records/invited/", {"accept": "1"})
    assert asked.headers["Location"] == "/accounts/login/?next=/records/invited/"
    theirs.post(
        "/accounts/signup/?next=/records/invited/",
        {"name": "Tomas", "email": FRIEND, "password1": factories.PASSWORD, "next": "/records/invited/"},
    )
    mails = Notification.objects.exclude(kind="invitation")
    code = re.search(r"^(\d{4}-\d{4})$", mails.latest("created").text or "", re.M)
    assert code
    theirs.post("/accounts/confirm-email/", {"code": code[1]})
    assert theirs.session.get("_auth_user_id")
    shown = theirs.post("/records/invited/", {"accept": "1"}, follow=True)
    assert "Gout" in words(shown)


def test_another_account_needs_the_passcode(client, record):
    link = invite(client, record, passcode="")
    theirs = signed_in(factories.account("ida@people.example", "Ida"))
    theirs.get(link)
    answer = theirs.post("/records/invited/", {"accept": "1"})
    assert "went to another e-mail address" in words(answer)
    assert not Grant.objects.filter(account__email="ida@people.example").exists()


def test_too_many_wrong_passcodes_lock_until_it_is_sent_anew(client, record, friend):
    link = invite(client, record)
    theirs = signed_in(friend)
    theirs.get(link)
    for _ in range(sharing.MOST_PASSCODE_TRIES):
        answer = theirs.post("/records/invited/", {"accept": "1", "passcode": "Heron1"}, follow=True)
    assert answer.status_code == 410
    assert "locked" in words(answer)
    assert "Locked" in words(client.get(f"/records/{record.pk}/people/"))
    invitation = Invitation.objects.get()
    client.post(f"/records/{record.pk}/invitations/{invitation.pk}/resend/", {"passcode": "Heron77"})
    assert theirs.get(link, follow=True).status_code == 410
    theirs.get(link_of(Notification.objects.filter(kind="invitation").latest("created")))
    theirs.post("/records/invited/", {"accept": "1", "passcode": "Heron77"})
    assert theirs.get(f"/records/{record.pk}/").status_code == 200


def test_a_link_is_declined_without_an_account_and_withdrawn_links_are_dead(client, record):
    somebody = Client()
    somebody.get(invite(client, record))
    somebody.post("/records/invited/", {"decline": "1"})
    assert Invitation.objects.get().state == "rejected"
    link = invite(client, record)
    pending = Invitation.objects.get(state="pending")
    client.post(f"/records/{record.pk}/invitations/{pending.pk}/withdraw/")
    assert Notification.objects.filter(related_id=str(pending.pk), state="dropped").exists()
    assert somebody.get(link, follow=True).status_code == 410


def test_sharing_asks_for_the_password_again(owner, record):
    client = Client()
    client.force_login(owner)
    for path in ("people/invite/", f"people/{Grant.objects.get().pk}/"):
        answer = client.get(f"/records/{record.pk}/{path}")
        assert answer.headers["Location"].startswith("/accounts/reauthenticate/")
    client.post(f"/records/{record.pk}/people/invite/", OFFER)
    assert not Invitation.objects.exists()


def test_taking_access_away_asks_for_the_password_again(owner, record, friend):
    client = Client()
    client.force_login(owner)
    grant = Grant.objects.create(account=friend, record=record, right=Right.VIEW)
    path = f"/records/{record.pk}/people/{grant.pk}/remove/"
    for answer in (client.get(path), client.post(path), client.post(path, {"sure": "1"})):
        assert answer.headers["Location"].startswith("/accounts/reauthenticate/")
    assert Grant.objects.filter(pk=grant.pk).exists()


def test_what_somebody_may_do_is_changed(client, record, friend):
    grant = Grant.objects.create(account=friend, record=record, right=Right.VIEW)
    path = f"/records/{record.pk}/people/{grant.pk}/"
    day = (timezone.localdate() + timedelta(days=9)).isoformat()
    client.post(path, {"right": "2", "scope": "some", "kinds": ["problems"], "until": day})
    grant.refresh_from_db()
    assert (grant.right, grant.kinds) == (Right.MODIFY, ["problems"])
    assert grant.expires is not None
    assert grant.expires.date().isoformat() == day
    for wrong, told in (
        ({"right": "1", "scope": "some"}, "Tick at least one kind"),
        ({"right": "1", "scope": "all", "until": "2020-01-01"}, "is past"),
    ):
        assert told in words(client.post(path, wrong))
    grant.refresh_from_db()
    assert grant.right == Right.MODIFY
    client.post(path, {"right": "3", "scope": "some", "until": day})
    grant.refresh_from_db()
    assert (grant.right, grant.kinds, grant.expires) == (Right.CUSTODIAN, None, None)


def test_the_last_custodian_stays_and_others_leave(client, owner, record, friend):
    path = f"/records/{record.pk}/leave/"
    assert "only custodian" in words(client.post(path))
    own = Grant.objects.get(account=owner)
    client.post(f"/records/{record.pk}/people/{own.pk}/", {"right": "1", "scope": "all"})
    client.post(f"/records/{record.pk}/people/{own.pk}/remove/")
    own.refresh_from_db()
    assert own.right == Right.CUSTODIAN
    Grant.objects.create(account=friend, record=record, right=Right.VIEW)
    theirs = signed_in(friend)
    assert theirs.post(path).status_code == 302
    assert theirs.get(f"/records/{record.pk}/").status_code == 404
    assert trail.history(record).filter(action="grant.removed", actor=str(friend.pk)).exists()


def test_a_custodian_makes_an_item_personal_and_nobody_else_does(client, owner, record, friend):
    Grant.objects.create(account=friend, record=record, right=Right.MODIFY)
    theirs = signed_in(friend)
    entry = Entry.objects.get(kind="problems")
    path = f"/records/{record.pk}/items/{entry.pk}/"
    assert "Make it personal" in words(client.get(path))
    assert "Make it personal" not in words(theirs.get(path))
    assert theirs.post(f"{path}personal/", {"personal": "yes"}).status_code == 404
    client.post(f"{path}personal/", {"personal": "yes"})
    assert theirs.get(path).status_code == 404
    assert "Show it to others again" in words(client.get(path))
    client.post(f"{path}personal/", {"personal": "no"})
    assert theirs.get(path).status_code == 200


def test_the_history_says_who_looked_and_who_changed(client, record, friend):
    Grant.objects.create(account=friend, record=record, right=Right.VIEW)
    signed_in(friend).get(f"/records/{record.pk}/")
    path = f"/records/{record.pk}/history/"
    everything = words(client.get(path))
    assert re.search(r"Looked at the record\s+Tomas Bergland", everything)
    assert "Added an item" in everything
    assert "Added an item" not in words(client.get(path, {"show": "looked"}))
    assert "Looked at the record" not in words(client.get(path, {"show": "changed"}))
    for _ in range(60):
        trail.record("record.viewed", actor=friend, record=record)
    assert "Page 1 of 2" in words(client.get(path, {"show": "looked"}))
    assert client.get(path, {"show": "looked", "page": "2"}).status_code == 200
