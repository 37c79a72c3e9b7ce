"""Keys of the service itself: look-up hashes over sealed values, and secrets of libraries' own rows.

Each purpose has a random key of its own, kept as a holder key. It is re-wrapped with all others when
the keyring rotates, so hashes stay comparable for good, and a thief of the database has none of them.
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from uuid import UUID, uuid5

from healthvault.store.models import HolderKey
from healthvault.vault.sealing import cipher, open_sealed, seal

_NAMES = UUID("6f1c2b1e-6f0e-4d0c-8f6b-5d1f3a0f7c11")
KIND = "service"


def service_key(purpose: str) -> bytes:
    """The 32-byte key of `purpose`, made when it is first asked for. One query.

    Not kept between calls: a restored database may hold another one.
    """
    pk = _service_key_id(purpose)
    holder = HolderKey.objects.filter(pk=pk).first()
    if holder is None:
        made = HolderKey.prepare(KIND, pk=pk)
        holder, _ = HolderKey.objects.get_or_create(pk=pk, defaults={"kind": KIND, "wrapped": made.wrapped})
    return holder.unwrap()


def has_service_key(purpose: str) -> bool:
    """Whether the key of `purpose` was ever asked for; makes none."""
    return HolderKey.objects.filter(pk=_service_key_id(purpose)).exists()


def _service_key_id(purpose: str) -> UUID:
    return uuid5(_NAMES, purpose)


def lookup_hash(purpose: str, value: str) -> str:
    """64 hex digits that are equal for equal values of one purpose (HMAC-SHA-256).

    Normalise first: "A@example.org" and "a@example.org" differ.
    """
    return hasher(purpose)(value)


def hasher(purpose: str) -> Callable[[str], str]:
    """`lookup_hash` for many values of one purpose: the key is asked for once."""
    key = service_key(f"lookup {purpose}")

    def hash_value(value: str) -> str:
        return hmac.new(key, value.encode("utf-8", "surrogatepass"), sha256).hexdigest()

    return hash_value


def seal_text(purpose: str, place: str, text: str) -> str:
    """`text` sealed for one place (a row's id, say), as hex: for text columns of other people's models."""
    sealed = seal(cipher(service_key(f"seal {purpose}")), text.encode(), _aad(purpose, place))
    return sealed.hex()


def open_text(purpose: str, place: str, sealed: str) -> str:
    """What `seal_text` sealed; raises Tampered, ValueError when it is no hex."""
    key = cipher(service_key(f"seal {purpose}"))
    return open_sealed(key, bytes.fromhex(sealed), _aad(purpose, place)).decode()


def _aad(purpose: str, place: str) -> bytes:
    return f"text\x00{purpose}\x00{place}".encode()
