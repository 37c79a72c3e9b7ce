"""Sealing: nothing opens but what was sealed, where it was sealed."""

import io
import os

import pytest

from healthvault.vault.errors import Tampered
from healthvault.vault.sealing import (
    CHUNK_BYTES,
    NONCE_BYTES,
    OVERHEAD,
    cipher,
    new_key,
    open_chunks,
    open_sealed,
    seal,
    seal_chunks,
    sealed_size,
)

KEY = cipher(bytes(range(32)))
AAD = b"blob\x00" + b"\x07" * 16


def sealed_pieces(content, aad=AAD, key=KEY):
    return list(seal_chunks(key, io.BytesIO(content), aad))


def opened(pieces, aad=AAD, key=KEY):
    return b"".join(open_chunks(key, io.BytesIO(b"".join(pieces)), aad))


class Trickle(io.BytesIO):
    """A network file: never gives as much as it was asked for."""

    def read(self, size=-1):
        return super().read(min(size, 70_001))


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(1000)])
def test_a_small_value_comes_back(content):
    sealed = seal(KEY, content, AAD)
    assert open_sealed(KEY, sealed, AAD) == content
    assert len(sealed) == len(content) + OVERHEAD
    assert len(content) < 8 or content not in sealed


def test_two_hundred_samples_do_not_survive_any_changed_byte():
    for sample in range(200):
        sealed = seal(KEY, os.urandom(sample % 40), AAD)
        for index in range(len(sealed)):
            changed = bytearray(sealed)
            changed[index] ^= 1 + (sample + index) % 255
            with pytest.raises(Tampered):
                open_sealed(KEY, bytes(changed), AAD)


def test_another_place_or_key_does_not_open():
    sealed = seal(KEY, b"content", AAD)
    with pytest.raises(Tampered):
        open_sealed(KEY, sealed, AAD + b"\x00")
    with pytest.raises(Tampered):
        open_sealed(cipher(new_key()), sealed, AAD)


def test_no_nonce_is_used_twice():
    nonces = {seal(KEY, b"", AAD)[:NONCE_BYTES] for _ in range(200_000)}
    assert len(nonces) == 200_000


@pytest.mark.parametrize("size", [0, 16, 31])
def test_a_key_of_another_length_is_refused(size):
    with pytest.raises(ValueError):
        cipher(b"k" * size)


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5]
)
def test_large_content_comes_back(size):
    content = os.urandom(size)
    pieces = sealed_pieces(content)
    assert len(pieces) == max(1, -(-size // CHUNK_BYTES))
    assert sum(map(len, pieces)) == sealed_size(size)
    assert opened(pieces) == content


def test_short_reads_change_nothing():
    content = os.urandom(2 * CHUNK_BYTES + 17)
    sealed = b"".join(seal_chunks(KEY, Trickle(content), AAD))
    assert b"".join(open_chunks(KEY, Trickle(sealed), AAD)) == content


def test_large_content_is_sealed_as_it_comes():
    """One piece is given out before more than one further piece was read."""
    source = io.BytesIO(bytes(5 * CHUNK_BYTES))
    next(seal_chunks(KEY, source, AAD))
    assert source.tell() == 2 * CHUNK_BYTES


A, B, C = 0, 1, 2


@pytest.mark.parametrize(
    "order",
    [
        pytest.param([A, B], id="last piece cut off"),
        pytest.param([A], id="all but the first cut off"),
        pytest.param([], id="nothing left"),
        pytest.param([B, A, C], id="swapped"),
        pytest.param([A, A, C], id="one in the place of another"),
        pytest.param([A, B, B, C], id="one twice"),
        pytest.param([A, C], id="one dropped"),
        pytest.param([C], id="the last alone"),
        pytest.param([A, B, C, C], id="something after the last"),
    ],
)
def test_pieces_are_bound_to_their_order_and_end(order):
    pieces = sealed_pieces(os.urandom(2 * CHUNK_BYTES + 100))
    with pytest.raises(Tampered):
        opened([pieces[index] for index in order])


def test_a_piece_of_another_content_does_not_fit():
    one, two = sealed_pieces(bytes(CHUNK_BYTES + 1)), sealed_pieces(bytes(CHUNK_BYTES + 1), aad=AAD + b"2")
    with pytest.raises(Tampered):
        opened([one[0], two[1]])


def test_a_cut_inside_a_piece_is_found():
    sealed = b"".join(sealed_pieces(os.urandom(CHUNK_BYTES + 50)))
    for length in (len(sealed) - 1, len(sealed) - 50, CHUNK_BYTES, 10, 0):
        with pytest.raises(Tampered):
            opened([sealed[:length]])


def test_changed_bytes_of_large_content_are_found():
    sealed = b"".join(sealed_pieces(os.urandom(CHUNK_BYTES + 50)))
    for index in (0, 11, 12, 500_000, CHUNK_BYTES + OVERHEAD - 1, CHUNK_BYTES + OVERHEAD, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[index] ^= 0x10
        with pytest.raises(Tampered):
            opened([bytes(changed)])


def test_a_small_sealed_value_is_no_sealed_sequence():
    with pytest.raises(Tampered):
        opened([seal(KEY, b"content", AAD)])
