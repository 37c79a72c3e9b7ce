"""Keyrings: the key-encryption keys of an installation.

A keyring is written as `id:key` entries separated by commas or newlines, the key being 32 bytes in
base64url without padding. The first entry wraps; every entry unwraps. To rotate, put a new entry in
front, re-wrap what the old ones hold, then drop them.
"""

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from healthvault.vault.errors import BadKeyText, Tampered, UnknownKey
from healthvault.vault.sealing import KEY_BYTES, open_sealed, seal

_WRAPPED = b"\x01"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


class Wrapper(Protocol):
    """The two calls a key service has to offer; `Keyring` is the one that keeps its keys itself."""

    def wrap(self, key: bytes, aad: bytes) -> bytes: ...
    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes: ...


def derive(secret: bytes, purpose: str, salt: bytes | None = None) -> bytes:
    """A 32-byte key for one purpose (HKDF with SHA-256, RFC 5869)."""
    info = b"healthvault/1 " + purpose.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Keyring:
    """Keys by id, first to last. Holds secrets: it has no readable `repr`, and is never logged."""

    secrets: Mapping[str, bytes]
    _ciphers: Mapping[str, AESGCM]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys; the first one wraps."""
        return tuple(self.secrets)

    @property
    def prefix(self) -> bytes:
        """What everything begins with that `wrap` makes now; other beginnings want re-wrapping."""
        return _header(self.ids[0])

    def wrap(self, key: bytes, aad: bytes) -> bytes:
        """Seal a key or another small value under the first key, bound to `aad`.

        The id of the key stands in front and is bound too.
        """
        key_id = self.ids[0]
        header = _header(key_id)
        return header + seal(self._ciphers[key_id], key, header + aad)

    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes:
        """Open what `wrap` made with the same `aad`.

        Raises UnknownKey when its key is not here, Tampered when the value or `aad` differ.
        """
        key_id = key_id_of(wrapped)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnknownKey(key_id)
        header = _header(key_id)
        return open_sealed(cipher, wrapped[len(header) :], header + aad)

    def subkey(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, derived from the *last* key (HKDF, RFC 5869).

        The last key is the oldest, so the result stays the same while new keys are put in front, and
        changes when the oldest is dropped. What must outlive that (look-up hashes, audit chain) is a
        random key of its own, wrapped by the keyring.
        """
        return derive(self.secrets[self.ids[-1]], f"subkey {purpose}")


def key_id_of(wrapped: bytes) -> str:
    """The id of the key that wrapped a value; raises Tampered when it is no wrapped value."""
    if len(wrapped) < 2 or wrapped[:1] != _WRAPPED or len(wrapped) < 2 + wrapped[1]:
        raise Tampered("not a wrapped value")
    try:
        return wrapped[2 : 2 + wrapped[1]].decode("ascii")
    except UnicodeDecodeError as error:
        raise Tampered("not a wrapped value") from error


def parse_keys(text: str) -> Keyring:
    """Read a keyring; raises BadKeyText (a ValueError) that names the entry by number or id."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(text.replace(",", "\n").split(), start=1):
        key_id, colon, encoded = entry.partition(":")
        if not colon or not _KEY_ID.fullmatch(key_id):
            raise BadKeyText(f"entry {number} is not written as id:key")
        if key_id in keys:
            raise BadKeyText(f"the id {key_id!r} is there twice")
        keys[key_id] = _decode(key_id, encoded)
    if not keys:
        raise BadKeyText("there is no key")
    if len(set(keys.values())) < len(keys):
        raise BadKeyText("one key is there under two ids")
    return Keyring(keys, {key_id: AESGCM(derive(key, "wrap")) for key_id, key in keys.items()})


def generate_key() -> str:
    """A new random entry for a keyring, with a random id."""
    key = base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=").decode("ascii")
    return f"{secrets.token_hex(4)}:{key}"


def _decode(key_id: str, encoded: str) -> bytes:
    stripped = encoded.rstrip("=")
    if not _BASE64URL.fullmatch(stripped) or len(stripped) % 4 == 1:
        raise BadKeyText(f"the key {key_id!r} is not base64url")
    key = base64.urlsafe_b64decode(stripped + "=" * (-len(stripped) % 4))
    if len(key) != KEY_BYTES:
        raise BadKeyText(f"the key {key_id!r} has {len(key)} bytes, not {KEY_BYTES}")
    return key


def _header(key_id: str) -> bytes:
    raw = key_id.encode("ascii")
    return _WRAPPED + bytes([len(raw)]) + raw
