"""A key that opens only with an answer *and* the keyring.

Inside, the key is sealed under Argon2id (RFC 9106) of the answer; around that it is wrapped by the
keyring. A thief without the keyring cannot start guessing; an operator with it pays Argon2id for every
guess; and rotating the keyring needs no answer, because only the outer layer changes. No verifier of
the answer is stored: a wrong answer is a layer that does not open.
"""

import os

from argon2.low_level import ARGON2_VERSION, Type, hash_secret_raw

from healthvault.vault.errors import Tampered, WrongAnswer
from healthvault.vault.keyring import Wrapper, derive
from healthvault.vault.sealing import KEY_BYTES, cipher, open_sealed, seal

SALT_BYTES = 16
MEMORY_KIB = 64 * 1024
PASSES = 3
LANES = 1


def new_salt() -> bytes:
    """A random salt, one for each key that is put under an answer."""
    return os.urandom(SALT_BYTES)


def answer_key(answer: str, salt: bytes) -> bytes:
    """The 32-byte key of a normalised answer: Argon2id, 64 MiB, three passes, one lane.

    Takes 0.1 to 0.5 s and 64 MiB: bound how many run at once, and never call it in a transaction.
    """
    raw = hash_secret_raw(
        answer.encode(),
        salt,
        time_cost=PASSES,
        memory_cost=MEMORY_KIB,
        parallelism=LANES,
        hash_len=KEY_BYTES,
        type=Type.ID,
        version=ARGON2_VERSION,
    )
    return derive(raw, "answer", salt)


def wrap_under_answer(holder_key: bytes, answer: str, salt: bytes, keyring: Wrapper, aad: bytes) -> bytes:
    """Wrap `holder_key` so that `answer` and `keyring` are both needed; bound to `aad`.

    `answer` is compared as it stands: hand in its normalised form. `salt` comes from `new_salt` and is
    stored beside the result.
    """
    inner = seal(cipher(answer_key(answer, salt)), holder_key, _inner_aad(aad))
    return keyring.wrap(inner, _outer_aad(aad))


def unwrap_under_answer(wrapped: bytes, answer: str, salt: bytes, keyring: Wrapper, aad: bytes) -> bytes:
    """The key that `wrap_under_answer` wrapped.

    Raises WrongAnswer when only the answer differs, UnknownKey or Tampered as `Keyring.unwrap` does;
    those two are found before any Argon2id work is done.
    """
    inner = keyring.unwrap(wrapped, _outer_aad(aad))
    try:
        return open_sealed(cipher(answer_key(answer, salt)), inner, _inner_aad(aad))
    except Tampered as error:
        raise WrongAnswer("the answer does not open the key") from error


def rewrap_under_answer(wrapped: bytes, keyring: Wrapper, aad: bytes) -> bytes:
    """The same value under the keyring's first key; the answer is neither needed nor learned."""
    return keyring.wrap(keyring.unwrap(wrapped, _outer_aad(aad)), _outer_aad(aad))


def _outer_aad(aad: bytes) -> bytes:
    return b"answered\x00" + aad


def _inner_aad(aad: bytes) -> bytes:
    return b"answer\x00" + aad
