"""Things that went wrong between Direct systems before, each as the message or certificate that shows it.

Most are in `test_incoming`; here stand those that need certificates of a special make, and the tolerances.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from asn1crypto import x509 as asn1_x509

from directmsg.agent.incoming import examine
from tests import cms_peers
from tests.mail_peers import (
    MESSAGE,
    OUTER,
    SENDER,
    World,
    code_of,
    signed_entity,
    wrapped,
)
from tests.pki_factory import Issued, days, forge, issue, make_ca, name_of, utc_now
from trust.pki.policy import LEGACY_NAMES, Policy

pytestmark = pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command")


def signed_by(world: World, who: Issued, *options: str) -> bytes:
    entity = wrapped(MESSAGE)
    return world.sealed(signed_entity(entity, world.openssl.sign(entity, [who], *options)))


# --- certificates ---------------------------------------------------------------------------------------


def swapped(world: World) -> Issued:
    """notAfter before notBefore."""

    def edit(tbs: Any) -> None:
        validity = tbs["validity"]
        start, end = validity["not_before"].native, validity["not_after"].native
        validity["not_before"] = asn1_x509.Time({"utc_time": end})
        validity["not_after"] = asn1_x509.Time({"utc_time": start})

    return forge(issue(world.ca, domains=["clinic.example"]), edit, signer=world.ca)


def test_a_certificate_that_ends_before_it_begins_is_never_valid(world: World) -> None:
    who = swapped(world)
    for at in (days(-400), utc_now(), days(400)):
        report = examine(signed_by(world, who), mail_from=SENDER, recipients=[world.recipient_for()], at=at)
        assert report.error is not None
        assert report.error.code in ("expired", "not_yet_valid", "malformed_certificate")


def test_old_certificates_are_judged_by_the_time_that_is_given(world: World) -> None:
    """Vectors of the past are tested with the clock of their time."""
    ca = make_ca("Old CA", not_before=days(-900), not_after=days(-100))
    who = issue(ca, domains=["clinic.example"], not_before=days(-800), not_after=days(-400))
    recipient = world.recipient_for(anchors=(ca,))
    raw = signed_by(world, who)
    then = examine(raw, mail_from=SENDER, recipients=[recipient], at=days(-600))
    now = examine(raw, mail_from=SENDER, recipients=[recipient], at=utc_now())
    assert then.error is None
    assert now.error is not None
    assert now.error.code == "expired"


@pytest.mark.parametrize(
    "oid", ["\ufeff2.16.840.1.113883", "2.16.840.1.113883\u200b", " 2.5.29", "1", "a.b", ""]
)
def test_an_identifier_with_invisible_letters_is_refused_where_it_is_set(oid: str) -> None:
    with pytest.raises(ValueError, match="object identifier"):
        Policy(required_policies=frozenset({oid}))


@pytest.mark.parametrize("micalg", ["sha256", "sha-256", "SHA256", "sha1", "SHA1", "sha-1", "md5", "?", ""])
def test_micalg_is_a_hint_at_most(world: World, micalg: str) -> None:
    """What counts is the digest that the signer's entry names."""
    head = f'Content-Type: multipart/signed; boundary=signed; micalg="{micalg}"\r\n'.encode()
    assert code_of(world, world.sealed(world.signed(wrapped(MESSAGE), head=head))) is None


# --- named tolerances -----------------------------------------------------------------------------------

Case = Callable[[World], tuple[bytes, dict[str, Any], str]]


def sha1_digest(world: World) -> tuple[bytes, dict[str, Any], str]:
    return signed_by(world, world.sender, "-md", "sha1"), {}, "weak_digest"


def sha1_chain(world: World) -> tuple[bytes, dict[str, Any], str]:
    who = issue(world.ca, domains=["clinic.example"], digest="sha1")
    return signed_by(world, who), {}, "weak_digest"


def tripledes(world: World) -> tuple[bytes, dict[str, Any], str]:
    envelope = world.openssl.encrypt(world.signed(wrapped(MESSAGE)), [world.recipient], "-des3")
    head = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    return OUTER + head + envelope, {}, "weak_cipher"


def rsa1024(world: World) -> tuple[bytes, dict[str, Any], str]:
    who = issue(world.ca, domains=["clinic.example"], key="rsa1024")
    return signed_by(world, who), {}, "weak_key"


def names_in_dn(world: World) -> tuple[bytes, dict[str, Any], str]:
    who = issue(world.ca, subject=name_of("Nurse", email=SENDER))
    return signed_by(world, who), {}, "address_not_covered"


def no_key_usage(world: World) -> tuple[bytes, dict[str, Any], str]:
    who = issue(world.ca, domains=["clinic.example"], key_usage=None)
    return signed_by(world, who), {}, "no_key_usage"


def no_basic_constraints(world: World) -> tuple[bytes, dict[str, Any], str]:
    root = make_ca("Old Root", basic_constraints=None)
    between = make_ca("Between", issuer=root)
    who = issue(between, domains=["clinic.example"])
    entity = wrapped(MESSAGE)
    chain = ("-certfile", str(world.openssl.identity(between)))
    raw = world.sealed(signed_entity(entity, world.openssl.sign(entity, [who], *chain)))
    return raw, {"anchors": (root,)}, "untrusted_chain"


TOLERANCES: dict[str, Case] = {
    "sha1_digest": sha1_digest,
    "sha1_chain": sha1_chain,
    "tripledes": tripledes,
    "rsa1024": rsa1024,
    "names_in_dn": names_in_dn,
    "no_key_usage": no_key_usage,
    "no_basic_constraints": no_basic_constraints,
}


def test_every_tolerance_is_named_and_off() -> None:
    assert Policy().legacy == frozenset()
    # Bare line ends are let in or not at the door, before there is a message.
    assert {*TOLERANCES, "bare_newline"} == LEGACY_NAMES
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in LEGACY_NAMES)


@pytest.mark.parametrize("name", TOLERANCES)
def test_a_tolerance_lets_pass_what_it_names_and_no_other_does(world: World, name: str) -> None:
    raw, options, code = TOLERANCES[name](world)
    others = tuple(LEGACY_NAMES - {name})
    assert code_of(world, raw, **options) == code
    assert code_of(world, raw, legacy=others, **options) == code
    assert code_of(world, raw, legacy=(name,), **options) is None


def test_no_tolerance_lets_somebody_else_in(world: World) -> None:
    """All of them together change nothing about signature, routing, binding and trust."""
    every = tuple(LEGACY_NAMES)
    stranger = make_ca("Stranger CA")
    assert code_of(world, signed_by(world, issue(stranger, domains=["clinic.example"])), legacy=every) == (
        "untrusted_chain"
    )
    elsewhere = issue(world.ca, domains=["other.example"])
    assert code_of(world, signed_by(world, elsewhere), legacy=every) == "address_not_covered"
    assert code_of(world, world.message(), legacy=every, mail_from="x@clinic.example") == "routing_mismatch"
    altered = world.sealed(world.signed(wrapped(MESSAGE)).replace(b"All is well", b"All is lost"))
    assert code_of(world, altered, legacy=every) == "bad_signature"
