"""Keyrings: their text, what they wrap, and what they refuse to unwrap."""

import base64
import os

import pytest

from healthvault.vault.errors import BadKeyText, Tampered, UnknownKey, VaultError
from healthvault.vault.keyring import generate_key, key_id_of, parse_keys

KEY_A = "a:" + base64.urlsafe_b64encode(b"A" * 32).decode().rstrip("=")
KEY_B = "b-2026.1:" + base64.urlsafe_b64encode(b"B" * 32).decode()


@pytest.mark.parametrize("separator", [",", "\n", ", ", "\r\n\n"])
def test_keys_are_read_in_order_whatever_separates_them(separator):
    assert parse_keys(KEY_A + separator + KEY_B + separator).ids == ("a", "b-2026.1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no key"),
        (" \n,", "no key"),
        ("abc", "entry 1"),
        (KEY_A + ",:" + "A" * 43, "entry 2"),
        ("an id!:" + "A" * 43, "entry 1"),
        ("x" * 33 + ":" + "A" * 43, "entry 1"),
        (KEY_A + "," + KEY_A, "'a' is there twice"),
        (KEY_A + ",c" + KEY_A[1:], "two ids"),
        ("a:" + "A" * 42, "31 bytes"),
        ("a:" + "A" * 44, "33 bytes"),
        ("a:" + "A" * 42 + "+A", "not base64url"),
        ("a:" + "A" * 41, "not base64url"),
        ("a:é" + "A" * 42, "not base64url"),
    ],
)
def test_a_bad_text_is_refused_by_name_without_its_key(text, said):
    with pytest.raises(BadKeyText) as caught:
        parse_keys(text)
    assert said in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "A" * 20 not in str(caught.value)


def test_generated_keys_are_readable_and_never_the_same():
    texts = {generate_key() for _ in range(50)}
    assert len(parse_keys(",".join(texts)).ids) == 50


def test_the_first_key_wraps_and_every_key_unwraps():
    before = parse_keys(KEY_A)
    rotated = parse_keys(f"{KEY_B},{KEY_A}")
    old, new = before.wrap(b"secret", b"place"), rotated.wrap(b"secret", b"place")
    assert (key_id_of(old), key_id_of(new)) == ("a", "b-2026.1")
    assert old.startswith(before.prefix)
    assert new.startswith(rotated.prefix)
    assert rotated.unwrap(old, b"place") == rotated.unwrap(new, b"place") == b"secret"
    with pytest.raises(UnknownKey) as caught:
        before.unwrap(new, b"place")
    assert caught.value.key_id == "b-2026.1"
    assert caught.value.temporary


def test_a_wrapped_value_does_not_open_at_another_place():
    keyring = parse_keys(KEY_A)
    with pytest.raises(Tampered):
        keyring.unwrap(keyring.wrap(b"secret", b"here"), b"there")


def test_the_id_in_front_is_bound():
    """The same secret under two ids of two keyrings: renaming the id does not pass."""
    wrapped = parse_keys(KEY_A).wrap(b"secret", b"")
    renamed = b"\x01\x01c" + wrapped[3:]
    with pytest.raises(Tampered):
        parse_keys("c" + KEY_A[1:]).unwrap(renamed, b"")


def test_every_changed_byte_is_found():
    keyring = parse_keys(KEY_A)
    wrapped = keyring.wrap(os.urandom(32), b"place")
    for index in range(len(wrapped)):
        for mask in (0x01, 0x80, 0xFF):
            changed = bytearray(wrapped)
            changed[index] ^= mask
            with pytest.raises((Tampered, UnknownKey)):
                keyring.unwrap(bytes(changed), b"place")


@pytest.mark.parametrize(
    "junk", [b"", b"\x01", b"\x02\x01a" + b"x" * 40, b"\x01\xffab", b"\x01\x01\xff" + b"x" * 40]
)
def test_junk_is_no_wrapped_value(junk):
    with pytest.raises(Tampered):
        parse_keys(KEY_A).unwrap(junk, b"")


def test_every_cut_is_found():
    keyring = parse_keys(KEY_A)
    wrapped = keyring.wrap(b"secret", b"")
    for length in range(len(wrapped)):
        with pytest.raises((Tampered, UnknownKey)):
            keyring.unwrap(wrapped[:length], b"")


def test_subkeys_differ_by_purpose_and_outlive_a_new_first_key():
    keyring = parse_keys(KEY_A)
    assert len(keyring.subkey("one")) == 32
    assert keyring.subkey("one") != keyring.subkey("two")
    assert parse_keys(f"{KEY_B},{KEY_A}").subkey("one") == keyring.subkey("one")
    assert parse_keys(KEY_B).subkey("one") != keyring.subkey("one")


def test_a_keyring_does_not_show_its_keys():
    keyring = parse_keys(KEY_A)
    assert "AAAA" not in repr(keyring) + str(keyring)
    assert "QUFB" not in repr(keyring) + str(keyring)


def test_every_failure_has_a_code_of_its_own():
    leaves = [VaultError, *VaultError.__subclasses__()]
    assert len({leaf.code for leaf in leaves}) == len(leaves)
