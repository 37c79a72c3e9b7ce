"""Sealing bytes: AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D), bound to its place.

The associated data (`aad`) says where a value belongs; it is not stored, so a value moved to another
place does not open. Small values are one piece: nonce, ciphertext, tag. Large content is a sequence of
pieces of 1 MiB whose number and being the last are bound in, so that pieces can be neither swapped,
dropped, repeated nor cut off.
"""

import os
from collections.abc import Iterator
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from healthvault.vault.errors import Tampered

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES
CHUNK_BYTES = 1024 * 1024


class Readable(Protocol):
    """Anything with `read(size)`; it may return less than asked, and empty at the end."""

    def read(self, size: int, /) -> bytes: ...


def new_key() -> bytes:
    """A random 256-bit key."""
    return os.urandom(KEY_BYTES)


def cipher(key: bytes) -> AESGCM:
    """The cipher of a 256-bit key; raises ValueError for another length."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return AESGCM(key)


def seal(key: AESGCM, content: bytes, aad: bytes) -> bytes:
    """Nonce, ciphertext and tag of `content`, bound to `aad`."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + key.encrypt(nonce, content, aad)


def open_sealed(key: AESGCM, sealed: bytes, aad: bytes) -> bytes:
    """The content of what `seal` made; raises Tampered when key, value or `aad` differ."""
    if len(sealed) < OVERHEAD:
        raise Tampered("too short to be a sealed value")
    try:
        return key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except InvalidTag as error:
        raise Tampered("the value is not what was sealed here") from error


def seal_chunks(key: AESGCM, source: Readable, aad: bytes) -> Iterator[bytes]:
    """Seal all of `source` as pieces; an empty source is one empty last piece."""
    number, chunk = 0, read_fully(source, CHUNK_BYTES)
    while True:
        following = read_fully(source, CHUNK_BYTES) if len(chunk) == CHUNK_BYTES else b""
        yield seal(key, chunk, _chunk_aad(aad, number, last=not following))
        if not following:
            return
        number, chunk = number + 1, following


def open_chunks(key: AESGCM, source: Readable, aad: bytes) -> Iterator[bytes]:
    """The content of what `seal_chunks` made, piece by piece, each verified before it is given.

    Raises Tampered at the first piece that is not the one sealed at this place, or when the end is
    missing: a caller must not act on what it has until the iterator is exhausted.
    """
    size = CHUNK_BYTES + OVERHEAD
    number, piece = 0, read_fully(source, size)
    while True:
        following = read_fully(source, size) if len(piece) == size else b""
        yield open_sealed(key, piece, _chunk_aad(aad, number, last=not following))
        if not following:
            return
        number, piece = number + 1, following


def sealed_size(content_size: int) -> int:
    """How many bytes `seal_chunks` makes of `content_size` bytes."""
    pieces = max(1, -(-content_size // CHUNK_BYTES))
    return content_size + pieces * OVERHEAD


def read_fully(source: Readable, size: int) -> bytes:
    """`size` bytes, or less at the end only: files over a network may return short reads."""
    first = source.read(size)
    if len(first) == size or not first:
        return first
    parts, missing = [first], size - len(first)
    while missing and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _chunk_aad(aad: bytes, number: int, *, last: bool) -> bytes:
    return aad + number.to_bytes(8, "big") + (b"\x01" if last else b"\x00")
