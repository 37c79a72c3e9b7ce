"""Holder keys: wrapped by the keyring, under an answer if asked, gone when their row is gone."""

import pickle
import threading
import time

import pytest

from healthvault.store import models
from healthvault.store.errors import AnswerNeeded, Busy, NoAnswerAsked
from healthvault.store.ids import new_id
from healthvault.store.models import HolderKey, spend_answer_time
from healthvault.vault.errors import KeyringUnavailable, Tampered, UnknownKey, WrongAnswer
from healthvault.vault.keyring import generate_key

pytestmark = pytest.mark.django_db


def fresh(holder):
    return HolderKey.objects.get(pk=holder.pk)


def test_a_key_comes_back_from_its_row():
    holder = HolderKey.create("record")
    assert len(holder.unwrap()) == 32
    assert fresh(holder).unwrap() == holder.unwrap()
    assert holder.unwrap() not in bytes(holder.wrapped)
    assert HolderKey.create("record").unwrap() != holder.unwrap()


def test_a_wrapped_key_is_bound_to_its_row_and_kind():
    one, two = HolderKey.create("record"), HolderKey.create("record")
    HolderKey.objects.filter(pk=two.pk).update(wrapped=one.wrapped)
    with pytest.raises(Tampered):
        fresh(two).unwrap()
    HolderKey.objects.filter(pk=one.pk).update(kind="mail")
    with pytest.raises(Tampered):
        fresh(one).unwrap()


def test_an_answer_is_needed_and_has_to_be_right():
    holder = HolderKey.prepare("parcel", answer="blue heron")
    key = holder.unwrap()  # still at hand: content is sealed while the parcel is made
    holder.save()
    with pytest.raises(AnswerNeeded):
        fresh(holder).unwrap()
    with pytest.raises(WrongAnswer):
        fresh(holder).unwrap("grey heron")
    opened = fresh(holder)
    assert opened.unwrap("blue heron") == key
    assert opened.unwrap() == key
    opened.forget()
    with pytest.raises(AnswerNeeded):
        opened.unwrap()


def test_a_key_can_be_put_under_an_answer_later():
    holder = HolderKey.create("parcel")
    key = holder.unwrap()
    holder.seal_under_answer("blue heron")
    with pytest.raises(AnswerNeeded):
        fresh(holder).unwrap()
    assert fresh(holder).unwrap("blue heron") == key


def test_no_answer_and_no_verifier_stands_in_the_row():
    holder = HolderKey.prepare("parcel", answer="blue heron")
    stored = bytes(holder.wrapped) + bytes(holder.answer_salt)
    assert b"heron" not in stored
    assert {field.name for field in HolderKey._meta.fields} == {
        "id",
        "kind",
        "wrapped",
        "answer_salt",
        "created",
    }


def test_dropping_the_salt_does_not_drop_the_answer():
    """Whoever can write the row cannot turn an answered key into a plain one."""
    holder = HolderKey.prepare("parcel", answer="blue heron")
    holder.save()
    HolderKey.objects.filter(pk=holder.pk).update(answer_salt=None)
    with pytest.raises(Tampered):
        fresh(holder).unwrap()


def test_an_unwrapped_key_does_not_travel():
    holder = HolderKey.create("record")
    assert holder.unwrap() not in pickle.dumps(holder)
    assert pickle.loads(pickle.dumps(holder)).unwrap() == holder.unwrap()


def test_without_the_keyring_nothing_opens_and_nothing_is_made(settings):
    holder = HolderKey.create("record")
    settings.VAULT_KEYS = generate_key()
    with pytest.raises(UnknownKey):
        fresh(holder).unwrap()
    settings.VAULT_KEYS = ""
    with pytest.raises(KeyringUnavailable):
        fresh(holder).unwrap()
    with pytest.raises(KeyringUnavailable):
        HolderKey.create("record")


def test_no_more_than_four_answers_are_tried_at_once(monkeypatch):
    running, most, lock = 0, 0, threading.Lock()

    def slow(answer, salt):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    monkeypatch.setattr(models, "answer_key", slow)
    threads = [threading.Thread(target=spend_answer_time, args=["guess"]) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 4


def test_who_waits_too_long_for_a_slot_is_told_so(monkeypatch):
    monkeypatch.setattr(models, "ANSWER_WAIT_S", 0.01)
    for _ in range(models.ANSWERS_AT_ONCE):
        assert models._answer_slots.acquire(timeout=1)
    try:
        with pytest.raises(Busy) as caught:
            spend_answer_time("guess")
    finally:
        for _ in range(models.ANSWERS_AT_ONCE):
            models._answer_slots.release()
    assert caught.value.temporary


def test_ids_are_version_7_and_sort_by_time():
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {i.version for i in ids} == {7}
    assert {i.variant for i in ids} == {ids[0].variant}
    assert abs((ids[0].int >> 80) - time.time() * 1000) < 5000
    assert sorted(ids[::50]) == ids[::50]


def test_an_answer_is_never_ignored():
    holder = HolderKey.create("parcel")
    with pytest.raises(NoAnswerAsked):
        fresh(holder).unwrap("blue heron")
    with pytest.raises(NoAnswerAsked):
        holder.unwrap("blue heron")
    sealed = HolderKey.prepare("parcel", answer="blue heron")
    with pytest.raises(WrongAnswer):
        sealed.unwrap("grey heron")
