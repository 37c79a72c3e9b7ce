"""Messages between OpenSSL and us, over every pair of algorithms, key sizes and encodings."""

from __future__ import annotations

import datetime
import itertools
import random

import pytest

from directmsg.agent import cms
from tests import cms_peers
from tests.pki_factory import DUAL_USE, Issued, issue, make_ca, utc_now

pytestmark = pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command")

KINDS = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")
FACTORS = {
    "signer": KINDS,
    "scheme": ("rsa-pkcs1v15", "rsa-pss", "ecdsa"),
    "digest": ("sha256", "sha384", "sha512"),
    "form": ("detached", "opaque"),
    "recipient": KINDS,
    "transport": (
        *("pkcs1v15", "oaep-sha1", "oaep-sha256", "oaep-sha384", "oaep-sha512"),
        *("ecdh-sha1", "ecdh-sha256", "ecdh-sha384", "ecdh-sha512"),
    ),
    "cipher": ("aes128-cbc", "aes192-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm"),
    "encoding": ("der", "stream", "pieces"),
}
NAMES = tuple(FACTORS)
Case = tuple[str, ...]


def possible(case: Case) -> bool:
    said = dict(zip(NAMES, case, strict=True))
    return said["signer"].startswith("p") == (said["scheme"] == "ecdsa") and said["recipient"].startswith(
        "p"
    ) == said["transport"].startswith("ecdh")


def pairs_of(case: Case) -> set[tuple[str, str]]:
    return set(
        itertools.combinations([f"{name}={value}" for name, value in zip(NAMES, case, strict=True)], 2)
    )


def covering_set() -> list[Case]:
    """Cases in which each possible pair of choices stands at least once, found greedily, always the same."""
    every = [case for case in itertools.product(*FACTORS.values()) if possible(case)]
    shuffled = random.Random(8551)
    shuffled.shuffle(every)
    missing: dict[tuple[str, str], Case] = {}
    for case in every:
        for pair in pairs_of(case):
            missing.setdefault(pair, case)
    chosen = []
    while missing:
        candidates = [next(iter(missing.values())), *shuffled.sample(every, 40)]
        best = max(candidates, key=lambda case: len(pairs_of(case) & missing.keys()))
        chosen.append(best)
        for pair in pairs_of(best):
            missing.pop(pair, None)
    return chosen


CASES = covering_set()


def test_the_set_covers_every_possible_pair():
    every = {
        pair for case in itertools.product(*FACTORS.values()) if possible(case) for pair in pairs_of(case)
    }
    assert set().union(*map(pairs_of, CASES)) == every
    assert len(CASES) < 120


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


def sign_options(said: dict[str, str]) -> list[str]:
    options = ["-md", said["digest"]]
    if said["scheme"] == "rsa-pss":
        options += ["-keyopt", "rsa_padding_mode:pss"]
    return options


def encrypt_options(said: dict[str, str]) -> list[str]:
    kind, _, digest = said["transport"].partition("-")
    each = []
    if kind == "oaep":
        each = ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", f"rsa_oaep_md:{digest}"]
    elif kind == "ecdh":
        each = ["-keyopt", f"ecdh_kdf_md:{digest}"]
    bits, mode = said["cipher"][3:6], said["cipher"][7:]
    return [f"-aes-{bits}-{mode}", "--", *each]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_openssl_makes_we_read(case, people, openssl):
    said = dict(zip(NAMES, case, strict=True))
    stream = ["-stream"] if said["encoding"] == "stream" else []
    # OpenSSL 3.0 writes the parameters of PSS too late to stream it, and streams content that is detached.
    sign_stream = [] if said["scheme"] == "rsa-pss" or said["form"] == "detached" else stream
    form = ["-nodetach"] if said["form"] == "opaque" else []
    signature = openssl.sign(CONTENT, [people[said["signer"]]], *sign_options(said), *form, *sign_stream)
    envelope = openssl.encrypt(signature, [people[said["recipient"]]], *stream, *encrypt_options(said))
    if said["encoding"] == "pieces":
        envelope = cms_peers.stream_envelope(envelope)

    opened = cms.decrypt(envelope, [identity(people[said["recipient"]])])
    assert opened.content == signature
    assert (opened.cipher, opened.key_transport) == (said["cipher"], said["transport"])

    if said["encoding"] != "der" and not sign_stream:
        signature = cms_peers.stream_signature(signature)
    signed = cms.read_signed(signature)
    assert signed.econtent == (CONTENT if said["form"] == "opaque" else None)
    (signer,) = cms.verify(signed, None if said["form"] == "opaque" else CONTENT)
    assert isinstance(signer, cms.VerifiedSigner), signer
    assert (signer.digest, signer.signature_algorithm) == (said["digest"], said["scheme"])
    assert signer.certificate == people[said["signer"]].certificate
    assert signer.signing_time is not None
    assert abs(utc_now() - signer.signing_time) < datetime.timedelta(minutes=5)

    (altered,) = cms.verify(
        signed if said["form"] == "detached" else _detached(signed), CONTENT[:-1] + b"\x00"
    )
    assert altered.code == "bad_signature"


def _detached(signed: cms.SignedData) -> cms.SignedData:
    return cms.SignedData(signed.econtent_type, None, signed.certificates, signed.signers)


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
