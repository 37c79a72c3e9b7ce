"""What has to be right about keys and storage before the portal works."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.files.storage import storages
from django.core.files.storage.handler import InvalidStorageError

from healthvault.store.blob_files import STORAGE
from healthvault.vault.errors import BadKeyText
from healthvault.vault.keyring import parse_keys


@register
def check_keyrings(**kwargs: Any) -> list[CheckMessage]:
    """VAULT_KEYS is there, both keyrings are readable, and they share no key."""
    if not settings.VAULT_KEYS:
        return [Error("VAULT_KEYS is not set: nothing can be stored or read.", id="store.E010")]
    found: list[CheckMessage] = []
    secrets: list[set[bytes]] = []
    for name, text in (("VAULT_KEYS", settings.VAULT_KEYS), ("IDENTITY_KEYS", settings.IDENTITY_KEYS)):
        try:
            secrets.append(set(parse_keys(text).secrets.values()) if text else set())
        except BadKeyText as error:
            found.append(Error(f"{name}: {error}", id="store.E011"))
    if len(secrets) == 2 and secrets[0] & secrets[1]:
        hint = "Whoever opens records must not thereby hold our certificates' private keys."
        found.append(Error("VAULT_KEYS and IDENTITY_KEYS share a key.", hint=hint, id="store.E012"))
    return found


@register
def check_blob_storage(**kwargs: Any) -> list[CheckMessage]:
    """There is a storage for large content."""
    try:
        storages[STORAGE]
    except InvalidStorageError as error:
        return [Error(f"No storage for large content: {error}", id="store.E013")]
    return []
