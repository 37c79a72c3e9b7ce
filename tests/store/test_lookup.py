"""Look-up hashes, sealed texts, and sessions."""

import re
from importlib import import_module

import pytest
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session

from healthvault.store.lookup import hasher, lookup_hash, open_text, seal_text, service_key
from healthvault.store.models import HolderKey
from healthvault.store.sessions import SessionStore
from healthvault.vault.errors import Tampered
from healthvault.vault.keyring import generate_key

pytestmark = pytest.mark.django_db


def test_equal_values_have_equal_hashes():
    one = lookup_hash("mailbox", "rosa@example.org")
    assert re.fullmatch(r"[0-9a-f]{64}", one)
    assert lookup_hash("mailbox", "rosa@example.org") == one
    assert lookup_hash("mailbox", "Rosa@example.org") != one
    assert lookup_hash("other", "rosa@example.org") != one


def test_many_values_cost_one_query(django_assert_num_queries):
    lookup_hash("mailbox", "made the key")
    with django_assert_num_queries(1):
        hash_value = hasher("mailbox")
        hashes = [hash_value(str(number)) for number in range(20)]
    assert hashes[7] == lookup_hash("mailbox", "7")


def test_hashes_hang_on_a_key_that_is_not_in_the_database_in_clear():
    one = lookup_hash("mailbox", "rosa@example.org")
    key = service_key("lookup mailbox")
    assert all(key not in bytes(row.wrapped) for row in HolderKey.objects.all())
    HolderKey.objects.all().delete()
    assert lookup_hash("mailbox", "rosa@example.org") != one


def test_hashes_outlive_a_new_first_key(settings):
    one = lookup_hash("mailbox", "rosa@example.org")
    settings.VAULT_KEYS = f"{generate_key()},{settings.VAULT_KEYS}"
    assert lookup_hash("mailbox", "rosa@example.org") == one


def test_a_key_is_made_once():
    assert service_key("a") == service_key("a")
    assert service_key("a") != service_key("b")
    assert HolderKey.objects.filter(kind="service").count() == 2


def test_a_sealed_text_is_bound_to_purpose_and_place():
    sealed = seal_text("totp", "7", "JBSWY3DP")
    assert "JBSW" not in sealed
    assert open_text("totp", "7", sealed) == "JBSWY3DP"
    for purpose, place in [("totp", "8"), ("other", "7"), ("totp7", "")]:
        with pytest.raises(Tampered):
            open_text(purpose, place, sealed)


# --- sessions -------------------------------------------------------------------------------------


def session(**values):
    store = SessionStore()
    for name, value in values.items():
        store[name] = value
    store.save()
    return store


def test_a_session_comes_back_and_is_sealed():
    store = session(parcel="Wintergreen")
    assert SessionStore(store.session_key)["parcel"] == "Wintergreen"
    row = Session.objects.get(pk=store.session_key)
    assert "Wintergreen" not in row.session_data
    assert "parcel" not in row.session_data


def test_a_session_moved_to_another_key_is_empty():
    one, two = session(parcel="one"), session(parcel="two")
    Session.objects.filter(pk=two.session_key).update(
        session_data=Session.objects.get(pk=one.session_key).session_data
    )
    assert "parcel" not in SessionStore(two.session_key)


@pytest.mark.parametrize("junk", ["", "x", "####", "AQFh", "e30="])
def test_junk_is_an_empty_session(junk):
    store = session(parcel="one")
    Session.objects.filter(pk=store.session_key).update(session_data=junk)
    assert "parcel" not in SessionStore(store.session_key)


def test_a_session_under_a_dropped_key_is_empty(settings):
    store = session(parcel="one")
    settings.VAULT_KEYS = generate_key()
    assert "parcel" not in SessionStore(store.session_key)


def test_a_cycled_key_keeps_the_content():
    store = session(parcel="one")
    old = store.session_key
    store.cycle_key()
    store.save()
    assert store.session_key != old
    assert SessionStore(store.session_key)["parcel"] == "one"
    assert not store.exists(old)


def test_the_portal_uses_sealed_sessions():
    from tests import settings as portal

    assert import_module(portal.SESSION_ENGINE).SessionStore is SessionStore
    assert django_settings.SESSION_ENGINE
