"""Messages between OpenSSL and us, over every algorithm, key size and encoding.

The whole table of signatures is 192 signed entities: signer x scheme x digest x detached or opaque x DER or
BER x wrapped or bare. The whole table of envelopes is 230: recipient x key transport or agreement x cipher x
DER or BER. Every one of the 192 is verified by itself, and every one of the 230 is a whole message around one
of the 192, opened from the outermost byte to the trusted sender. The full product of the two would show
nothing more: opening an envelope gives octets and nothing else to the step that verifies them, and
`open_message` has no other way from one to the other. All the same the entities are dealt out so that every
value of a factor of the one table meets every value of a factor of the other.
"""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import NamedTuple

import pytest

from directmsg.agent import cms
from directmsg.agent.errors import AgentError
from directmsg.agent.incoming import OpenedMessage, Recipient, open_message
from tests import cms_peers
from tests.pki_factory import DUAL_USE, Issued, issue, make_ca, utc_now
from trust.pki.certs import Certificate
from trust.pki.policy import TrustContext

pytestmark = pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command")

KINDS = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")
DIGESTS = ("sha256", "sha384", "sha512")
TRANSPORTS = ("pkcs1v15", "oaep-sha1", "oaep-sha256", "oaep-sha384", "oaep-sha512")
AGREEMENTS = ("ecdh-sha1", "ecdh-sha256", "ecdh-sha384", "ecdh-sha512")
CIPHERS = ("aes128-cbc", "aes192-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm")


class Signed(NamedTuple):
    signer: str
    scheme: str
    digest: str
    form: str
    encoding: str
    content: str


class Sealed(NamedTuple):
    recipient: str
    transport: str
    cipher: str
    encoding: str


def schemes(kind: str) -> tuple[str, ...]:
    return ("rsa-pkcs1v15", "rsa-pss") if kind.startswith("rsa") else ("ecdsa",)


SIGNED = [
    Signed(kind, scheme, *rest)
    for kind in KINDS
    for scheme in schemes(kind)
    for rest in itertools.product(DIGESTS, ("detached", "opaque"), ("der", "ber"), ("wrapped", "bare"))
]
SEALED = [
    Sealed(kind, transport, *rest)
    for kind in KINDS
    for transport in (TRANSPORTS if kind.startswith("rsa") else AGREEMENTS)
    for rest in itertools.product(CIPHERS, ("der", "ber"))
]


def dealt_out() -> list[Signed]:
    """One signed entity for each envelope, all of them in the same order at every run."""
    order = list(SIGNED)
    random.Random(8552).shuffle(order)
    return [order[number % len(order)] for number in range(len(SEALED))]


DEALT = dict(zip(SEALED, dealt_out(), strict=True))


def test_the_tables_are_whole_and_every_value_meets_every_other():
    assert (len(SIGNED), len(set(SIGNED))) == (192, 192)
    assert (len(SEALED), len(set(SEALED))) == (230, 230)
    assert set(DEALT.values()) == set(SIGNED)
    met = {pair for around, inside in DEALT.items() for pair in pairs(around, inside)}
    every = {pair for around in SEALED for inside in SIGNED for pair in pairs(around, inside)}
    assert met == every


def pairs(around: Sealed, inside: Signed) -> set[tuple[str, str, str, str]]:
    return {
        (name, value, other, said)
        for name, value in around._asdict().items()
        for other, said in inside._asdict().items()
    }


@pytest.fixture(scope="module")
def ca() -> Issued:
    return make_ca("Matrix CA")


@pytest.fixture(scope="module")
def people(ca) -> dict[str, Issued]:
    return {
        kind: issue(ca, domains=[f"{kind}.example.org"], key=kind, key_usage=(*DUAL_USE, "key_agreement"))
        for kind in KINDS
    }


@pytest.fixture(scope="module")
def openssl(tmp_path_factory) -> cms_peers.OpenSsl:
    return cms_peers.OpenSsl(tmp_path_factory.mktemp("openssl"))


def identity(who: Issued) -> cms.Identity:
    return cms.Identity(who.certificate, who.private_key)


CONTENT = b"Content-Type: text/plain\r\n\r\nThe kettle is on the blue shelf.\r\n" * 70


def entity_of(said: Signed) -> bytes:
    """What is signed: a whole message, or its content alone, from the signer to everybody."""
    body = b"Content-Type: text/plain\r\n\r\n" + b"The kettle is on the blue shelf.\r\n" * 70
    return (
        b"Content-Type: message/rfc822\r\n\r\n" + head_of(said) + body if said.content == "wrapped" else body
    )


def head_of(said: Signed) -> bytes:
    everybody = ", ".join(f"ann@{kind}.example.org" for kind in KINDS)
    head = (
        f"From: joe@{said.signer}.example.org\r\nTo: {everybody}\r\nSubject: Kettle\r\n"
        "Date: Mon, 04 May 2026 12:00:00 +0000\r\nMessage-ID: <k@example.org>\r\nMIME-Version: 1.0\r\n"
    )
    return head.encode()


@pytest.fixture(scope="module")
def signed(people, openssl) -> Callable[[Signed], bytes]:
    """The signed entity of each kind, its signature made by OpenSSL, each once."""

    @cache
    def make(said: Signed) -> bytes:
        options = ["-md", said.digest]
        if said.scheme == "rsa-pss":
            options += ["-keyopt", "rsa_padding_mode:pss"]
        if said.form == "opaque":
            options.append("-nodetach")
        # OpenSSL 3.0 writes the parameters of PSS too late to stream them, and nothing is streamed into a
        # detached signature: those are written anew as streaming agents do.
        streams = said.encoding == "ber" and said.form == "opaque" and said.scheme != "rsa-pss"
        entity = entity_of(said)
        signature = openssl.sign(entity, [people[said.signer]], *options, *(["-stream"] if streams else []))
        if said.encoding == "ber" and not streams:
            signature = cms_peers.stream_signature(signature)
        assert (signature[1] == 0x80) == (said.encoding == "ber")
        return opaque(signature) if said.form == "opaque" else detached(entity, signature)

    return make


def opaque(signature: bytes) -> bytes:
    return b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n" + in_base64(signature)


def detached(entity: bytes, signature: bytes) -> bytes:
    part = b"Content-Type: application/pkcs7-signature; name=smime.p7s\r\n" + in_base64(signature)
    head = b'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=bb\r\n\r\n'
    return head + b"--bb\r\n" + entity + b"\r\n--bb\r\n" + part + b"\r\n--bb--\r\n"


def in_base64(octets: bytes) -> bytes:
    lines = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return b"Content-Transfer-Encoding: base64\r\n\r\n" + lines


def opened(raw: bytes, said: Signed, recipient: Recipient, *, clear: bool = False) -> OpenedMessage:
    mail_from = f"joe@{said.signer}.example.org"
    found = open_message(raw, mail_from=mail_from, recipients=[recipient], at=utc_now(), clear=clear)
    assert found.signed_bytes == entity_of(said)
    assert found.wrapped == (said.content == "wrapped")
    assert (found.algorithms.digest, found.algorithms.signature) == (said.digest, said.scheme)
    (signer,) = found.signers
    assert signer.signing_time is not None
    assert abs(utc_now() - signer.signing_time) < timedelta(minutes=30)
    return found


@pytest.fixture(scope="module")
def recipients(ca, people) -> dict[str, Recipient]:
    trust = TrustContext((Certificate(ca.der),))
    return {
        kind: Recipient(f"ann@{kind}.example.org", (identity(who),), trust) for kind, who in people.items()
    }


@pytest.mark.parametrize("said", SIGNED, ids="-".join)
def test_what_openssl_signs_we_verify(said, signed, recipients):
    whole = signed(said)
    # Of content that is not wrapped the fields stand outside, as old senders have it.
    raw = head_of(said) + whole
    opened(raw, said, recipients["rsa2048"], clear=True)
    if said.form == "detached":
        altered = raw.replace(b"blue shelf", b"red  shelf", 1)
        with pytest.raises(AgentError) as caught:
            opened(altered, said, recipients["rsa2048"], clear=True)
        assert caught.value.code == "bad_signature"


@pytest.mark.parametrize("said", SEALED, ids="-".join)
def test_what_openssl_seals_we_open(said, signed, people, recipients, openssl):
    inside = DEALT[said]
    kind, _, digest = said.transport.partition("-")
    each = []
    if kind == "oaep":
        each = ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", f"rsa_oaep_md:{digest}"]
    elif kind == "ecdh":
        each = ["-keyopt", f"ecdh_kdf_md:{digest}"]
    stream = ["-stream"] if said.encoding == "ber" else []
    cipher = f"-aes-{said.cipher[3:6]}-{said.cipher[7:]}"
    content = signed(inside)
    envelope = openssl.encrypt(content, [people[said.recipient]], *stream, cipher, "--", *each)
    assert (envelope[1] == 0x80) == (said.encoding == "ber")
    for written in (envelope, cms_peers.stream_envelope(envelope)):
        got = cms.decrypt(written, [identity(people[said.recipient])])
        assert got.content == content
        assert (got.cipher, got.key_transport) == (said.cipher, said.transport)
    raw = head_of(inside) + b"Content-Type: application/pkcs7-mime\r\n" + in_base64(envelope)
    found = opened(raw, inside, recipients[said.recipient])
    assert (found.algorithms.cipher, found.algorithms.key_transport) == (said.cipher, said.transport)
    others = tuple(identity(people[each]) for each in KINDS if each != said.recipient)
    with pytest.raises(AgentError) as caught:
        opened(raw, inside, replace(recipients[said.recipient], identities=others))
    assert caught.value.code == "cannot_decrypt"


@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm"])
@pytest.mark.parametrize("transport", ["oaep-sha256", "oaep-sha1", "pkcs1v15"])
@pytest.mark.parametrize("size", [0, 15, 16, 3000])
def test_what_we_encrypt_openssl_reads(cipher, transport, size, people, openssl):
    content = bytes(range(251)) * 12
    everybody = [who.certificate for who in people.values()]
    envelope = cms.encrypt(content[:size], everybody, cipher=cipher, key_transport=transport)
    for who in people.values():
        assert cms.decrypt(envelope, [identity(who)]).content == content[:size]
    chosen = random.Random(f"{cipher}{transport}{size}").choice(list(people.values()))
    assert openssl.decrypt(envelope, chosen) == content[:size]


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_we_sign_openssl_verifies(kind, digest, people, ca, openssl):
    at = utc_now()
    signature = cms.sign(CONTENT, identity(people[kind]), at=at, digest=digest)
    assert openssl.verify(signature, ca, CONTENT) == CONTENT
    (signer,) = cms.verify(cms.read_signed(signature), CONTENT)
    assert isinstance(signer, cms.VerifiedSigner)
    assert (signer.digest, signer.signing_time) == (digest, at)
