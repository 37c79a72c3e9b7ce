"""A key under an answer: needs the answer and the keyring, and tells nothing without both."""

import subprocess
import sys

import pytest
from argon2.low_level import Type, hash_secret_raw

from healthvault.vault import answers
from healthvault.vault.answers import (
    answer_key,
    new_salt,
    rewrap_under_answer,
    unwrap_under_answer,
    wrap_under_answer,
)
from healthvault.vault.errors import Tampered, UnknownKey, WrongAnswer
from healthvault.vault.keyring import derive, generate_key, parse_keys
from healthvault.vault.sealing import new_key

OLD, NEW = generate_key(), generate_key()
KEYRING = parse_keys(OLD)
AAD = b"holder\x00parcel"
SALT = bytes(range(16))
HOLDER_KEY = new_key()
WRAPPED = wrap_under_answer(HOLDER_KEY, "blue heron", SALT, KEYRING, AAD)


def test_the_right_answer_opens():
    assert unwrap_under_answer(WRAPPED, "blue heron", SALT, KEYRING, AAD) == HOLDER_KEY


@pytest.mark.parametrize("answer", ["", "Blue heron", "blue  heron", "blue heron "])
def test_another_answer_does_not(answer):
    with pytest.raises(WrongAnswer):
        unwrap_under_answer(WRAPPED, answer, SALT, KEYRING, AAD)


def test_the_keyring_alone_does_not_open():
    """An operator has the outer layer only; it is not the key, and no plain unwrap gives the key."""
    with pytest.raises(Tampered):
        KEYRING.unwrap(WRAPPED, AAD)
    inner = KEYRING.unwrap(WRAPPED, b"answered\x00" + AAD)
    assert HOLDER_KEY not in inner


def test_the_answer_alone_does_not_open_and_costs_no_argon2(monkeypatch):
    monkeypatch.setattr(answers, "hash_secret_raw", lambda *a, **k: pytest.fail("work for a stranger"))
    with pytest.raises(UnknownKey):
        unwrap_under_answer(WRAPPED, "blue heron", SALT, parse_keys(NEW), AAD)
    with pytest.raises(Tampered):
        unwrap_under_answer(WRAPPED[:-1] + b"\x00", "blue heron", SALT, KEYRING, AAD)
    with pytest.raises(Tampered):
        unwrap_under_answer(WRAPPED, "blue heron", SALT, KEYRING, AAD + b"2")


def test_another_salt_does_not_open():
    with pytest.raises(WrongAnswer):
        unwrap_under_answer(WRAPPED, "blue heron", new_salt(), KEYRING, AAD)


def test_rotation_needs_no_answer():
    rotated = parse_keys(f"{NEW},{OLD}")
    moved = rewrap_under_answer(WRAPPED, rotated, AAD)
    assert moved.startswith(rotated.prefix)
    assert unwrap_under_answer(moved, "blue heron", SALT, parse_keys(NEW), AAD) == HOLDER_KEY


def test_the_cost_is_argon2id_of_64_mib_and_three_passes():
    raw = hash_secret_raw(b"blue heron", SALT, 3, 65536, 1, 32, Type.ID)
    assert answer_key("blue heron", SALT) == derive(raw, "answer", SALT)


def test_the_vault_knows_no_django():
    code = (
        "import sys, healthvault.vault.answers, healthvault.vault.keyring, healthvault.vault.errors\n"
        "sys.exit(any(name.split('.')[0] in ('django', 'celery') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
