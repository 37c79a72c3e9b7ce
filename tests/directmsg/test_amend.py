"""What a partner may change of a parcel that was not picked up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from directmsg import pickup
from directmsg.models import MailEvent, Parcel
from healthvault.audit.models import AuditEvent
from healthvault.outbox.models import Notification
from healthvault.store.models import Blob, HolderKey
from tests import factories
from tests.directmsg.partners import (
    PARCELS,
    fresh,
    parcel_body,
    problem,
)

pytestmark = pytest.mark.django_db
NETWORK = "192.0.2.0/24"


def test_withdrawing_shreds_the_content_and_ends_the_link(partner):
    told = partner.post(parcel_body()).json()
    answer = partner.post(path=f"{PARCELS}{told['id']}/withdraw/")
    assert (answer.status_code, answer.json()["state"]) == (200, "withdrawn")
    assert not Blob.objects.exists()
    assert not HolderKey.objects.filter(kind="parcel").exists()
    assert Parcel.objects.get().token_hash is None
    assert partner.post(path=f"{PARCELS}{told['id']}/withdraw/").status_code == 200
    assert MailEvent.objects.filter(name="withdrawn").count() == 1
    problem(partner.post(path=f"{PARCELS}{told['id']}/resend/"), 409, "not_waiting")


def test_what_was_picked_up_is_not_taken_back(partner):
    told = partner.post(parcel_body()).json()
    Parcel.objects.update(state=Parcel.State.CLAIMED)
    problem(partner.post(path=f"{PARCELS}{told['id']}/withdraw/"), 409, "not_waiting")


def test_sending_again_mails_a_new_link_now_and_then(partner):
    told = partner.post(parcel_body()).json()
    old = Parcel.objects.get().token_hash
    again = f"{PARCELS}{told['id']}/resend/"
    early = partner.post(path=again)
    problem(early, 429, "too_soon")
    assert early.headers["Retry-After"] == "900"
    for sent in range(2, 6):
        Notification.objects.update(created=timezone.now() - timedelta(minutes=16))
        assert partner.post(path=again).status_code == 200
        assert Notification.objects.count() == sent
    Notification.objects.update(created=timezone.now() - timedelta(minutes=16))
    problem(partner.post(path=again), 429, "too_soon")
    assert Parcel.objects.get().token_hash != old


def test_sending_again_twice_with_one_key_sends_once(partner):
    told = partner.post(parcel_body()).json()
    Notification.objects.update(created=timezone.now() - timedelta(minutes=16))
    for _ in range(2):
        assert partner.post(path=f"{PARCELS}{told['id']}/resend/", Idempotency_Key="r").status_code == 200
    assert Notification.objects.count() == 2
    problem(
        partner.post(path=f"{PARCELS}{told['id']}/withdraw/", Idempotency_Key="r"),
        422,
        "idempotency_key_reused",
    )


def test_a_locked_parcel_is_reset_once(partner):
    told = partner.post(parcel_body()).json()
    person = factories.account()
    again = f"{PARCELS}{told['id']}/resend/"
    for state_after, words in (("waiting", ("Rex", "Max", "Bo")), ("locked", ("Kit", "Pip", "Tim"))):
        for word in words:
            with pytest.raises(pickup.PickupError):
                pickup.answer(fresh(told), person, word, NETWORK)
        assert fresh(told).state == "locked"
        Notification.objects.update(created=timezone.now() - timedelta(minutes=16))
        answer = partner.post(path=again)
        assert fresh(told).state == state_after
    problem(answer, 409, "locked")


def test_the_reset_parcel_still_opens_and_knows_the_wrong_answers(partner):
    told = partner.post(parcel_body()).json()
    person = factories.account()
    for word in ("Rex", "Max", "Bo"):
        with pytest.raises(pickup.PickupError):
            pickup.answer(fresh(told), person, word, NETWORK)
    Notification.objects.update(created=timezone.now() - timedelta(minutes=16))
    partner.post(path=f"{PARCELS}{told['id']}/resend/")
    with pytest.raises(pickup.WrongAnswer) as repeated:
        pickup.answer(fresh(told), person, "rex", NETWORK)
    assert (repeated.value.repeated, repeated.value.tries_left) == (True, 3)
    assert pickup.answer(fresh(told), person, "Biscuit", NETWORK)


def test_a_corrected_address_gets_the_mail_and_old_links_die(partner):
    told = partner.post(parcel_body()).json()
    old = Parcel.objects.get().token_hash
    answer = partner.request("PATCH", f"{PARCELS}{told['id']}/", {"contact_email": "norah@patient.example"})
    assert answer.json()["contact_email"] == "n***@patient.example"
    assert fresh(told).contact_email == "norah@patient.example"
    assert fresh(told).token_hash != old
    assert Notification.objects.order_by("created").last().to_address == "norah@patient.example"
    assert pickup.others_for_same_contact(fresh(told)) == []
    assert [event["name"] for event in answer.json()["events"]] == ["parcelled", "contact_corrected"]


def test_another_question_needs_the_answer_of_the_first(partner):
    told = partner.post(parcel_body()).json()
    person = factories.account()
    with pytest.raises(pickup.WrongAnswer):
        pickup.answer(fresh(told), person, "Rex", NETWORK)
    where = f"{PARCELS}{told['id']}/"
    change = {"question": "Street you grew up in?", "answer": "Juniper Lane"}
    problem(partner.request("PATCH", where, change), 409, "sealed_under_answer")
    problem(partner.request("PATCH", where, {**change, "current_answer": "Rex"}), 409, "sealed_under_answer")
    problem(partner.request("PATCH", where, {"question": "Only this?"}), 400, "invalid")
    problem(partner.request("PATCH", where, {}), 400, "invalid")
    assert (fresh(told).question, fresh(told).tries_left) == ("First pet?", 2)

    assert partner.request("PATCH", where, {**change, "current_answer": " BISCUIT"}).status_code == 200
    assert (fresh(told).question, fresh(told).tries_left) == ("Street you grew up in?", 3)
    with pytest.raises(pickup.WrongAnswer):
        pickup.answer(fresh(told), person, "Biscuit", NETWORK)
    key = pickup.answer(fresh(told), person, "juniper lane", NETWORK)
    assert pickup.preview(fresh(told), key).content.subject == "Your summary"


def test_a_change_happens_as_a_whole_or_not_at_all(partner, monkeypatch):
    from directmsg import parcels

    told = partner.post(parcel_body()).json()
    other = partner.post(parcel_body(contact_email="full@patient.example")).json()
    monkeypatch.setattr(parcels, "MOST_OPEN_PER_CONTACT", 1)
    change = {"question": "Street?", "answer": "Juniper Lane", "current_answer": "Biscuit"}
    both = {**change, "contact_email": "full@patient.example"}
    problem(partner.request("PATCH", f"{PARCELS}{told['id']}/", both), 429, "too_many_parcels")
    assert (fresh(told).question, fresh(told).contact_email) == ("First pet?", "nora@patient.example")
    assert pickup.answer(fresh(told), factories.account(), "Biscuit", NETWORK)
    partner.post(path=f"{PARCELS}{other['id']}/withdraw/")
    assert partner.request("PATCH", f"{PARCELS}{told['id']}/", both).status_code == 200
    assert (fresh(told).question, fresh(told).contact_email) == ("Street?", "full@patient.example")


def test_a_question_may_be_put_before_what_had_none(partner):
    told = partner.post(parcel_body(question=None, answer=None)).json()
    change = {"question": "First pet?", "answer": "Biscuit"}
    assert partner.request("PATCH", f"{PARCELS}{told['id']}/", change).json()["has_question"] is True
    with pytest.raises(Exception, match="answer"):
        fresh(told).holder.unwrap()
    assert pickup.answer(fresh(told), factories.account(), "Biscuit", NETWORK)


def test_guesses_at_the_present_answer_count_like_tries(partner):
    told = partner.post(parcel_body()).json()
    where = f"{PARCELS}{told['id']}/"
    change = {"question": "Street you grew up in?", "answer": "Juniper Lane"}
    for guess in ("Rex", "rex", "Max"):
        problem(
            partner.request("PATCH", where, {**change, "current_answer": guess}), 409, "sealed_under_answer"
        )
    assert fresh(told).tries_left == 1
    problem(partner.request("PATCH", where, {**change, "current_answer": "Bo"}), 409, "locked")
    assert fresh(told).state == "locked"
    problem(partner.request("PATCH", where, {**change, "current_answer": "Biscuit"}), 409, "locked")
    names = list(MailEvent.objects.filter(parcel=fresh(told)).values_list("name", flat=True))
    assert names == ["parcelled", *["current_answer_wrong"] * 3, "locked"]
    tries = AuditEvent.objects.filter(action="parcel.try").order_by("id")
    outcomes = ["wrong", "repeated", "wrong", "locked", "locked"]
    assert list(tries.values_list("outcome", flat=True)) == outcomes
    assert set(tries.values_list("actor", "address")) == {
        (f"organization {fresh(told).organization_id}", "127.0.0.1")
    }

    Notification.objects.update(created=timezone.now() - timedelta(minutes=16))
    assert partner.post(path=f"{where}resend/").status_code == 200
    assert partner.request("PATCH", where, {**change, "current_answer": "Biscuit"}).status_code == 200


def test_guesses_at_the_present_answers_of_many_parcels_run_into_the_limit(partner, monkeypatch):
    monkeypatch.setattr(pickup, "ANSWERS_PER_NETWORK_A_DAY", 2)
    change = {"question": "Street?", "answer": "Juniper Lane", "current_answer": "Rex"}
    for number in range(3):
        told = partner.post(parcel_body(contact_email=f"p{number}@patient.example")).json()
        answer = partner.request("PATCH", f"{PARCELS}{told['id']}/", change)
        problem(answer, *((409, "sealed_under_answer") if number < 2 else (429, "too_many_tries")))
    assert answer.headers["Retry-After"] == "30"
