"""A parcel whose sender is no longer trusted is not offered until an administrator decides."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from directmsg import find, parcels, pickup, standing
from directmsg.models import FindRequest, MailEvent, Parcel
from healthvault.outbox.models import Notification
from records import proofs
from records.models import Account
from tests import factories
from tests.directmsg.world import DOMAIN, clinic
from trust.models import Anchor

pytestmark = pytest.mark.django_db

SUBJECT = "nora@elsewhere.example;First pet?;Biscuit;Your lab results"


@pytest.fixture
def parcel(world):
    mail = world.letter_arrives(to=f"newuser@{DOMAIN}", subject=SUBJECT)
    assert mail.state == "parcelled"
    return Parcel.objects.select_related("inbound", "organization").get()


@pytest.fixture
def client(world, parcel):
    """The browser of somebody who came by the link and is signed in."""
    mail = Notification.objects.get(related_id=str(parcel.pk))
    browser = Client()
    browser.force_login(world.account)
    browser.get(re.search(r"/pickup/[\w-]{43}/", mail.text)[0])
    return browser


def revoke(state=Anchor.State.REVOKED):
    anchor = Anchor.objects.get(sha256=clinic().ca.sha256)
    anchor.state = state
    anchor.save()
    return anchor


def test_what_was_sent_in_trust_is_offered(parcel, client):
    assert not standing.is_suspended(parcel)
    assert client.get("/pickup/").status_code == 200
    assert client.get("/pickup/answer/").status_code == 200


@pytest.mark.parametrize("state", [Anchor.State.REVOKED, Anchor.State.PAUSED])
def test_it_is_told_as_temporarily_unavailable_and_costs_no_try(parcel, client, state):
    revoke(state)
    page = client.get("/pickup/")
    text = page.content.decode()
    assert (page.status_code, "Temporarily unavailable" in text) == (503, True)
    for told in ("First pet", "lab results", "nora@", "anchor", "revoked"):
        assert told not in text
    answered = client.post("/pickup/answer/", {"parcel": str(parcel.pk), "answer": "Biscuit"})
    assert answered.headers["Location"] == "/pickup/"
    parcel.refresh_from_db()
    assert (parcel.state, parcel.tries_left) == ("waiting", 3)


def test_an_answer_given_before_does_not_take_it_either(world, parcel):
    key = pickup.answer(parcel, world.account, "Biscuit", "10.0.0.0/24")
    revoke()
    with pytest.raises(pickup.NotWaiting):
        pickup.claim(parcel, world.account, world.record, key)
    parcel.refresh_from_db()
    assert parcel.state == "waiting"


def test_nobody_is_reminded_of_it_or_mailed_a_link_to_it(world, parcel):
    revoke()
    Parcel.objects.update(created=timezone.now() - timedelta(days=3, hours=1))
    before = Notification.objects.count()
    assert parcels.remind() == 0
    request = FindRequest.objects.create(contact_hash=parcel.contact_hash)
    assert find.answer(str(request.pk)) is False
    assert Notification.objects.count() == before


def test_the_list_of_what_waits_says_so(world, parcel, client):
    proofs.add(world.account, parcel.contact)
    assert "Pick it up" in client.get("/messages/waiting/").content.decode()
    revoke()
    page = client.get("/messages/waiting/").content.decode()
    assert ("Temporarily unavailable" in page, "Pick it up" in page) == (True, False)
    assert client.post(f"/messages/waiting/{parcel.pk}/").status_code == 404


def test_taking_the_anchor_back_in_is_a_decision(parcel, client):
    anchor = revoke(Anchor.State.PAUSED)
    assert client.get("/pickup/").status_code == 503
    anchor.state = Anchor.State.ACTIVE
    anchor.save()
    assert client.get("/pickup/").status_code == 200


def test_an_administrator_offers_it_all_the_same(parcel, client):
    revoke()
    staff = Client()
    staff.force_login(Account.objects.create_superuser("staff@portal.example", factories.PASSWORD))
    page = f"/trust/mail/parcels/{parcel.pk}/"
    assert "no longer trusted" in staff.get(page).content.decode()
    assert staff.post(f"{page}offer/").status_code == 302
    assert "Offer it all the same" not in staff.get(page).content.decode()
    assert client.get("/pickup/").status_code == 200
    assert MailEvent.objects.filter(parcel=parcel, name="cleared").count() == 1
    staff.post(f"{page}offer/")
    assert MailEvent.objects.filter(parcel=parcel, name="cleared").count() == 1


def test_an_organisation_that_is_switched_off_is_the_same_for_a_parcel_by_rest(world, parcel):
    Parcel.objects.filter(pk=parcel.pk).update(inbound=None)
    parcel.refresh_from_db()
    organization = parcel.organization
    organization.is_active = False
    organization.save()
    parcel = Parcel.objects.select_related("organization").get()
    assert standing.is_suspended(parcel)
