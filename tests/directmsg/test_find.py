""" "Find my waiting messages", and mails that are wrong before they went out."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from directmsg import amend, find, parcels, pickup
from directmsg.models import FindRequest, MailEvent, Parcel
from healthvault.outbox import delivery
from healthvault.outbox.models import Notification
from tests import factories
from tests.directmsg.test_pickup import run_parallel

pytestmark = pytest.mark.django_db
NORA = "nora@patient.example"


def an_hour_later(*, relay_works: bool = True) -> None:
    """All that was mailed was mailed an hour ago."""
    hour = timedelta(hours=1)
    if relay_works:
        Notification.objects.filter(state="queued").update(state="sent")
    for row in Notification.objects.all():
        Notification.objects.filter(pk=row.pk).update(created=row.created - hour, lease_until=None)
    for row in FindRequest.objects.filter(answered__isnull=False):
        FindRequest.objects.filter(pk=row.pk).update(answered=row.answered - hour)


def asked(email: str = NORA) -> int:
    """Ask, and have the worker answer everything; returns how many mails go out."""
    find.ask(email)
    return sum([find.answer(pk) for pk in find.unanswered()])


def found_mails() -> list[Notification]:
    return list(Notification.objects.filter(kind="pickup_find").order_by("created"))


def links_in(mail: Notification) -> list[str]:
    return re.findall(r"/pickup/([\w-]{43})/", mail.text)


def test_one_mail_has_a_link_for_each_parcel():
    made = [factories.parcel(subject=f"Number {n}") for n in range(3)]
    factories.parcel("other@patient.example")
    an_hour_later()
    assert asked("Nora@Patient.example") == 1
    (mail,) = found_mails()
    assert (mail.to_address, mail.lease_until) == (NORA, None)
    led_to = [pickup.by_token(token).pk for token in links_in(mail)]
    assert sorted(led_to) == sorted(parcel.pk for parcel in made)
    assert re.findall(r"/pickup/([\w-]{43})/", mail.html)[::2] == links_in(mail)
    assert mail.text.count("Larkspur Community Hospital") == 3
    for word in ("Number", "First pet", "Biscuit"):
        assert word not in mail.subject + mail.text + mail.html


def test_what_finds_nothing_leaves_nothing():
    assert asked("nobody@patient.example") == 0
    assert not FindRequest.objects.exists()
    assert not Notification.objects.exists()


def test_it_mails_once_in_15_minutes_and_five_times_a_day():
    factories.parcel()
    assert asked() == 0, "the announcement went a moment ago"
    for _ in range(5):
        an_hour_later()
        assert (asked(), asked()) == (1, 0)
    an_hour_later()
    assert asked() == 0
    FindRequest.objects.update(answered=timezone.now() - timedelta(days=1))
    assert asked() == 1
    FindRequest.objects.update(answered=timezone.now() - timedelta(days=5))
    assert find.forget() > 0
    assert not FindRequest.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_asking_in_parallel_mails_once():
    factories.parcel()
    an_hour_later()
    for _ in range(8):
        find.ask(NORA)
    waiting = find.unanswered()
    run_parallel(lambda number: find.answer(waiting[number]), 8)
    assert len(found_mails()) == 1


def test_a_new_parcel_is_announced_a_quarter_of_an_hour_after_found_links():
    factories.parcel()
    an_hour_later()
    asked()
    later = Notification.objects.get(related_id=str(factories.parcel().pk))
    assert later.lease_until > timezone.now() + timedelta(minutes=10)


def test_found_links_that_the_relay_took_announce_their_parcels():
    parcel = factories.parcel()
    an_hour_later(relay_works=False)
    asked()
    assert [mail.state for mail in Notification.objects.order_by("created")] == ["dropped", "queued"]
    assert delivery.deliver(found_mails()[0].pk) == "sent"
    assert Parcel.objects.get().notified is not None
    assert MailEvent.objects.filter(parcel=parcel, name="notified").exists()


# --- mails that are wrong before they went out --------------------------------------------------------------
@pytest.mark.parametrize("how", ["withdrawn", "declined", "expired", "claimed"])
def test_no_mail_goes_out_about_what_is_over(how):
    parcel = factories.parcel(question=None, answer=None)
    if how == "claimed":
        person = factories.account()
        loaded = Parcel.objects.select_related("holder", "content").get()
        pickup.claim(loaded, person, factories.record(person), loaded.holder.unwrap())
    else:
        parcels.close(parcel, how)
    mail = Notification.objects.get()
    assert (mail.state, mail.text) == ("dropped", None)
    assert delivery.deliver(mail.pk) == ""


def test_only_the_newest_link_and_address_are_mailed():
    parcel = factories.parcel()
    parcels.new_link(parcel)
    amend.change(Parcel.objects.get(), email="norah@patient.example")
    states = Notification.objects.order_by("created").values_list("state", flat=True)
    assert list(states) == ["dropped", "dropped", "queued"]
    last = Notification.objects.get(state="queued")
    assert last.to_address == "norah@patient.example"
    assert pickup.by_token(links_in(last)[0]) == parcel


def test_found_links_are_written_anew_without_what_was_taken_back():
    kept, taken = factories.parcel(), factories.parcel()
    an_hour_later()
    asked()
    parcels.close(taken, "withdrawn")
    assert [find.answer(pk) for pk in find.unanswered()] == [True]
    before, now = found_mails()
    assert (before.state, now.state) == ("dropped", "queued")
    assert [pickup.by_token(token) for token in links_in(now)] == [kept]


def test_the_custodians_are_not_told_of_what_was_taken_back():
    record = factories.record(factories.account("ada@patient.example", "Ada"))
    parcel = factories.parcel("box@direct.portal.example", for_record_id=str(record.pk))
    assert Notification.objects.get().kind == "message"
    parcels.close(parcel, "withdrawn")
    assert Notification.objects.get().state == "dropped"
