"""The keyrings of this process, as the settings give them."""

from functools import lru_cache

from django.conf import settings

from healthvault.vault.errors import KeyringUnavailable
from healthvault.vault.keyring import Keyring, parse_keys

VAULT = "vault"
IDENTITY = "identity"

_parse = lru_cache(maxsize=8)(parse_keys)


def keyring() -> Keyring:
    """The keyring that content is wrapped under; raises KeyringUnavailable when there is none."""
    if not settings.VAULT_KEYS:
        raise KeyringUnavailable("VAULT_KEYS is not set")
    return _parse(settings.VAULT_KEYS)


def identity_keyring() -> Keyring:
    """The keyring of our own private keys.

    Only workers and operators' commands have it; elsewhere this raises KeyringUnavailable.
    """
    if not settings.IDENTITY_KEYS:
        raise KeyringUnavailable("IDENTITY_KEYS is not set in this process")
    return _parse(settings.IDENTITY_KEYS)


def named_keyring(name: str) -> Keyring:
    """`keyring()` for "vault", `identity_keyring()` for "identity"."""
    return identity_keyring() if name == IDENTITY else keyring()
