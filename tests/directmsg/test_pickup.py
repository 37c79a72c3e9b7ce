"""The question, its tries, and the claim."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from directmsg import amend, parcels, pickup
from directmsg.models import AnswerAttempt, MailEvent, Parcel
from directmsg.newuser import normalise_answer
from healthvault.store.models import Blob, HolderKey
from healthvault.vault.errors import KeyringUnavailable
from healthvault.vault.errors import WrongAnswer as DoesNotOpen
from records.models import Attachment, Document, Entry, Message
from tests import factories
from tests.documents import CDA_TYPE, VISIT

pytestmark = pytest.mark.django_db
NETWORK = "192.0.2.0/24"
FILES = (("visit.xml", CDA_TYPE, VISIT), ("map.pdf", "application/pdf", b"%PDF-1.4 test"))


@pytest.fixture
def account():
    return factories.account()


def reload(parcel: Parcel) -> Parcel:
    return Parcel.objects.select_related("holder", "content").get(pk=parcel.pk)


def test_the_right_answer_opens_and_costs_no_try(account):
    parcel = factories.parcel(answer="Biscuit")
    key = pickup.answer(reload(parcel), account, " bis-cuit ", NETWORK)
    assert pickup.preview(reload(parcel), key).content.subject == "Your summary"
    assert reload(parcel).tries_left == 3
    assert not AnswerAttempt.objects.exists()


def test_wrong_answers_count_once_each_and_three_lock(account):
    parcel = factories.parcel()
    with pytest.raises(pickup.NothingEntered):
        pickup.answer(reload(parcel), account, "  ", NETWORK)
    with pytest.raises(pickup.WrongAnswer) as first:
        pickup.answer(reload(parcel), account, "Rex", NETWORK)
    assert first.value.tries_left == 2
    with pytest.raises(pickup.WrongAnswer) as repeated:
        pickup.answer(reload(parcel), account, "rex!", NETWORK)
    assert (repeated.value.tries_left, repeated.value.repeated) == (2, True)
    with pytest.raises(pickup.WrongAnswer):
        pickup.answer(reload(parcel), account, "Bella", NETWORK)
    with pytest.raises(pickup.Locked):
        pickup.answer(reload(parcel), account, "Max", NETWORK)
    with pytest.raises(pickup.Locked):
        pickup.answer(reload(parcel), account, "Biscuit", NETWORK)
    assert reload(parcel).state == Parcel.State.LOCKED
    assert list(MailEvent.objects.values_list("name", flat=True)) == ["parcelled", "locked"]


def test_without_the_answer_the_keyring_opens_nothing():
    parcel = reload(factories.parcel())
    with pytest.raises(Exception, match="answer"):
        parcel.holder.unwrap()


def test_a_try_whose_process_died_counts_as_wrong(account):
    parcel = reload(factories.parcel())
    parcel.wrong_answers = {"a": "2020-01-01T00:00:00+00:00", "b": "wrong", "c": "wrong"}
    parcel.tries_left = 0
    parcel.save()
    with pytest.raises(pickup.Locked):
        pickup.answer(reload(parcel), account, "Biscuit", NETWORK)
    assert reload(parcel).state == Parcel.State.LOCKED


def interrupted(parcel: Parcel, account, text: str, *, ago: timedelta = timedelta(minutes=2)) -> None:
    """A try whose process died between the count and the comparison, some time ago."""

    def die() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pickup._attempt(parcel, pickup.Trier(account, NETWORK), normalise_answer(text), die)
    row = reload(parcel)
    mark = next(name for name, value in row.wrong_answers.items() if value != "wrong")
    row.wrong_answers = {**row.wrong_answers, mark: (timezone.now() - ago).isoformat()}
    row.save()


def test_the_right_answer_opens_though_its_first_try_died(account):
    parcel = factories.parcel()
    interrupted(reload(parcel), account, "Biscuit")
    assert reload(parcel).tries_left == 2
    with pytest.raises(pickup.WrongAnswer):
        pickup.answer(reload(parcel), account, "Rex", NETWORK)
    assert pickup.answer(reload(parcel), account, "biscuit", NETWORK)
    assert reload(parcel).tries_left == 2, "given back"


def test_a_wrong_answer_whose_first_try_died_is_compared_for_free_and_then_known(account):
    parcel = factories.parcel()
    interrupted(reload(parcel), account, "Rex")
    with pytest.raises(pickup.WrongAnswer) as first:
        pickup.answer(reload(parcel), account, "Rex", NETWORK)
    with pytest.raises(pickup.WrongAnswer) as again:
        pickup.answer(reload(parcel), account, "rex", NETWORK)
    assert (first.value.repeated, again.value.repeated) == (False, True)
    assert reload(parcel).tries_left == 2


def test_the_last_try_that_died_opens_and_does_not_keep_the_parcel_from_locking(account):
    parcel = factories.parcel()
    for word in ("Rex", "Max"):
        with pytest.raises(pickup.WrongAnswer):
            pickup.answer(reload(parcel), account, word, NETWORK)
    interrupted(reload(parcel), account, "Biscuit", ago=timedelta(0))
    with pytest.raises(pickup.TooManyTries):
        pickup.answer(reload(parcel), account, "Bo", NETWORK)
    assert pickup.answer(reload(parcel), account, "Biscuit", NETWORK)
    interrupted(reload(parcel), account, "Pip")
    with pytest.raises(pickup.Locked):
        pickup.answer(reload(parcel), account, "Bo", NETWORK)


def test_a_try_that_was_not_compared_is_given_back(account):
    parcel = factories.parcel()

    def down(*args: object) -> bytes:
        raise KeyringUnavailable("the key service does not answer")

    with pytest.raises(KeyringUnavailable):
        pickup._attempt(reload(parcel), pickup.Trier(account, NETWORK), "biscuit", down)
    assert (reload(parcel).tries_left, reload(parcel).wrong_answers) == (3, {})
    assert not AnswerAttempt.objects.exists()


def test_an_answer_to_the_question_before_is_not_held_against_the_new_one(account):
    parcel = factories.parcel()

    def compare() -> bytes:
        # The sender asks another question, to which this is the answer, just now.
        question = amend.prepare_question(reload(parcel), "Street?", "Juniper Lane", "Biscuit")
        amend.change(reload(parcel), question=question)
        raise DoesNotOpen("not the answer to the first question")

    given = normalise_answer("Juniper Lane")
    with pytest.raises(pickup.NotWaiting):
        pickup._attempt(reload(parcel), pickup.Trier(account, NETWORK), given, compare)
    assert pickup.answer(reload(parcel), account, "Juniper Lane", NETWORK)
    assert reload(parcel).tries_left == 3


def test_an_account_may_be_wrong_only_so_often_a_day(account):
    parcel = factories.parcel()
    AnswerAttempt.objects.bulk_create(
        AnswerAttempt(parcel=parcel, contact_hash=f"{n}", account=account, network=f"{n}") for n in range(20)
    )
    with pytest.raises(pickup.TooManyTries):
        pickup.answer(reload(parcel), account, "Rex", NETWORK)


def test_without_a_question_the_address_is_typed_and_the_code_asked(account):
    parcel = factories.parcel(contact="other@patient.example", question=None, answer=None)
    with pytest.raises(pickup.WrongAnswer):
        pickup.contact(reload(parcel), account, "nora@patient.example", NETWORK)
    key = pickup.contact(reload(parcel), account, " Other@Patient.example", NETWORK)
    assert pickup.preview(reload(parcel), key).content.text == "Please see the attachment."
    assert pickup.needs_code(parcel, account)
    assert not pickup.needs_code(factories.parcel(question=None, answer=None), account)


def test_the_mailed_code_proves_the_mailbox(account, mailed_code):
    parcel = factories.parcel(contact="other@patient.example", question=None, answer=None)
    pickup.send_code(parcel, account)
    code = mailed_code("other@patient.example")
    for _ in range(2):
        with pytest.raises(pickup.WrongCode):
            pickup.check_code(parcel, account, "00000000" if code != "00000000" else "11111111")
    pickup.check_code(parcel, account, code[:4] + " " + code[4:])
    assert not pickup.needs_code(parcel, account)
    with pytest.raises(pickup.WrongCode):
        pickup.check_code(parcel, account, code)
    assert [row.pk for row in pickup.waiting_for(account)] == [parcel.pk]


def test_codes_run_out(account):
    parcel = factories.parcel(contact="other@patient.example", question=None, answer=None)
    for _ in range(5):
        pickup.send_code(parcel, account)
    with pytest.raises(pickup.TooManyCodes):
        pickup.send_code(parcel, account)


def test_codes_run_out_for_an_address_over_all_accounts():
    parcel = factories.parcel(question=None, answer=None)
    for number in range(10):
        pickup.send_code(parcel, factories.account(f"p{number}@stranger.example"))
    with pytest.raises(pickup.TooManyCodes):
        pickup.send_code(parcel, factories.account("last@stranger.example"))


def test_a_claim_moves_everything_and_shreds_the_parcel(account):
    parcel = factories.parcel(files=FILES)
    record = factories.record(account)
    key = pickup.answer(reload(parcel), account, "Biscuit", NETWORK)
    message = pickup.claim(reload(parcel), account, record, key)

    fresh = Message.objects.get(pk=message.pk)
    assert (fresh.subject, fresh.text) == ("Your summary", "Please see the attachment.")
    outcomes = list(Attachment.objects.values_list("outcome", flat=True))
    assert outcomes == [Attachment.Outcome.READING, Attachment.Outcome.FILE]
    assert Document.objects.get().state == Document.State.WAITING
    assert Entry.objects.get().content["name"] == "map.pdf"
    claimed = reload(parcel)
    assert (claimed.state, claimed.holder, claimed.content, claimed.question) == ("claimed", None, None, None)
    assert not HolderKey.objects.filter(kind="parcel").exists()
    assert {blob.holder_id for blob in Blob.objects.all()} == {record.holder_id}


def test_a_second_claim_gets_nothing(account):
    parcel = factories.parcel()
    record = factories.record(account)
    key = pickup.answer(reload(parcel), account, "Biscuit", NETWORK)
    stale = reload(parcel)
    pickup.claim(reload(parcel), account, record, key)
    with pytest.raises(pickup.NotWaiting):
        pickup.claim(stale, account, record, key)
    assert Message.objects.count() == 1


def test_nobody_claims_into_a_record_of_others(account):
    stranger = factories.account("eve@stranger.example", "Eve")
    parcel = factories.parcel()
    key = pickup.answer(reload(parcel), stranger, "Biscuit", NETWORK)
    with pytest.raises(pickup.NotYourRecord):
        pickup.claim(reload(parcel), stranger, factories.record(account), key)


def test_an_expired_parcel_is_over_before_the_clean_up(account):
    parcel = factories.parcel()
    Parcel.objects.filter(pk=parcel.pk).update(expires=timezone.now() - timedelta(seconds=1))
    with pytest.raises(pickup.NotWaiting):
        pickup.answer(reload(parcel), account, "Biscuit", NETWORK)
    assert parcels.expire() == 1
    assert reload(parcel).state == Parcel.State.EXPIRED
    assert not Blob.objects.exists()


def test_declining_erases_the_content():
    parcel = factories.parcel(files=FILES)
    assert pickup.decline(parcel, None)
    assert not Blob.objects.exists()
    assert not pickup.decline(parcel, None)


def test_a_newer_link_ends_the_older_one():
    parcel = factories.parcel()
    old = parcel.token_hash
    parcels.new_link(parcel)
    assert reload(parcel).token_hash != old


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_win_no_extra_tries(account):
    parcel = factories.parcel()
    refused: list[str] = []

    def guess(number: int) -> None:
        try:
            pickup.answer(reload(parcel), account, f"guess {number}", NETWORK)
        except pickup.PickupError as error:
            refused.append(error.code)

    run_parallel(guess, 12)
    assert len(refused) == 12
    assert refused.count("wrong_answer") + refused.count("locked") >= 3
    assert refused.count("wrong_answer") <= 3
    assert AnswerAttempt.objects.count() == 3
    assert reload(parcel).state == Parcel.State.LOCKED


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_at_many_parcels_stay_within_the_limits(account, monkeypatch):
    monkeypatch.setattr(pickup, "ANSWERS_PER_ACCOUNT_A_DAY", 3)
    made = [factories.parcel(f"p{n}@patient.example", None, None) for n in range(12)]
    refused: list[str] = []

    def guess(number: int) -> None:
        try:
            pickup.contact(reload(made[number]), account, "wrong@patient.example", NETWORK)
        except pickup.PickupError as error:
            refused.append(error.code)

    run_parallel(guess, 12)
    assert sorted(refused) == ["too_many_tries"] * 9 + ["wrong_answer"] * 3
    assert AnswerAttempt.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_parallel_senders_leave_no_more_than_an_address_may_have(monkeypatch):
    monkeypatch.setattr(parcels, "MOST_OPEN_PER_CONTACT", 2)
    refused: list[int] = []

    def hold(number: int) -> None:
        try:
            factories.parcel(question=None, answer=None)
        except parcels.TooManyParcels:
            refused.append(number)

    run_parallel(hold, 8)
    assert (Parcel.objects.count(), len(refused)) == (2, 6)
    assert HolderKey.objects.filter(kind="parcel").count() == 2


@pytest.mark.django_db(transaction=True)
def test_parallel_claims_have_one_winner(account):
    other = factories.account("eve@stranger.example", "Eve")
    parcel = factories.parcel(files=FILES)
    key = pickup.answer(reload(parcel), account, "Biscuit", NETWORK)
    people = [(account, factories.record(account)), (other, factories.record(other))]
    won: list[Message] = []
    lost: list[str] = []

    def claim(number: int) -> None:
        person, record = people[number % 2]
        try:
            won.append(pickup.claim(reload(parcel), person, record, key))
        except pickup.PickupError as error:
            lost.append(error.code)

    run_parallel(claim, 8)
    assert (len(won), lost) == (1, ["not_waiting"] * 7)
    assert Message.objects.count() == 1


def run_parallel(work: Callable[[int], None], number: int) -> None:
    """`work(0)` to `work(number - 1)` in threads that start together."""
    start = threading.Barrier(number)

    def inner(index: int) -> None:
        start.wait()
        try:
            work(index)
        finally:
            connection.close()

    threads = [threading.Thread(target=inner, args=[index]) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
