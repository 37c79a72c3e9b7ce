"""Mistakes with keys are named at the start."""

import pytest

from healthvault.store.checks import check_blob_storage, check_keyrings
from healthvault.store.keyrings import identity_keyring, keyring, named_keyring
from healthvault.vault.errors import KeyringUnavailable
from healthvault.vault.keyring import generate_key


@pytest.mark.parametrize(
    ("vault", "identity", "codes"),
    [
        ("a:" + "A" * 43, "", []),
        ("a:" + "A" * 43, "b:" + "B" * 43, []),
        ("", "b:" + "B" * 43, ["store.E010"]),
        ("nonsense", "b:" + "B" * 43, ["store.E011"]),
        ("a:" + "A" * 43, "b:short", ["store.E011"]),
        ("a:" + "A" * 43, "b:" + "B" * 43 + ",c:" + "A" * 43, ["store.E012"]),
    ],
)
def test_keyrings(settings, vault, identity, codes):
    settings.VAULT_KEYS, settings.IDENTITY_KEYS = vault, identity
    found = check_keyrings()
    assert [message.id for message in found] == codes
    assert "AAAA" not in "".join(message.msg for message in found)


def test_a_missing_storage_is_named(settings):
    assert check_blob_storage() == []
    settings.STORAGES = {name: value for name, value in settings.STORAGES.items() if name != "blobs"}
    assert [message.id for message in check_blob_storage()] == ["store.E013"]


def test_keyrings_follow_the_settings(settings):
    settings.VAULT_KEYS = generate_key()
    one = keyring()
    assert keyring() is one
    settings.VAULT_KEYS = f"{generate_key()},{settings.VAULT_KEYS}"
    assert len(keyring().ids) == 2
    settings.IDENTITY_KEYS = generate_key()
    assert named_keyring("identity").ids == identity_keyring().ids != keyring().ids
    settings.IDENTITY_KEYS = ""
    with pytest.raises(KeyringUnavailable):
        identity_keyring()
