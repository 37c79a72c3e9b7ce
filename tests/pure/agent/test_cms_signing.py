"""The rules of SignedData, with messages made to break them."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from asn1crypto import cms as asn1_cms
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from directmsg.agent import algorithms, cms, der, identity, signing
from directmsg.agent.content import DATA
from directmsg.agent.errors import (
    AgentError,
    BadSignature,
    CertificateTooLarge,
    Malformed,
    MissingSigner,
    NotSigned,
    TooLarge,
    TooManyCertificates,
    TooManySigners,
    UnsupportedAlgorithm,
    WeakDigest,
    WeakKey,
)
from tests import cms_peers
from tests.pki_factory import Issued, issue, make_ca, utc_now

CONTENT = b"Content-Type: text/plain\r\n\r\nTwo drops in the morning.\r\n"
HASHES = {**algorithms.HASHES, "md5": hashes.MD5()}
DIGEST_OIDS = {
    **algorithms.DIGEST_OIDS,
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
}
EVENING = datetime.datetime(2026, 2, 3, 19, 30, tzinfo=datetime.UTC)
CA = make_ca("Signing CA")
ALICE = issue(CA, emails=["alice@direct.example.org"])
BOB = issue(CA, emails=["bob@direct.example.org"], key="p256")


def attribute(kind: str, *values: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of(values))


def digest_of(content: bytes, name: str = "sha256") -> bytes:
    running = hashes.Hash(HASHES[name])
    running.update(content)
    return running.finalize()


def usual_attributes(content: bytes = CONTENT, digest: str = "sha256") -> list[bytes]:
    return [
        attribute(signing.CONTENT_TYPE, der.oid(DATA)),
        attribute(signing.MESSAGE_DIGEST, der.octet_string(digest_of(content, digest))),
        attribute(signing.SIGNING_TIME, der.time(EVENING)),
    ]


RSA_NAME = der.sequence(der.oid(algorithms.RSA_ENCRYPTION), der.NULL)


@dataclass
class Recipe:
    """One SignerInfo, right in everything that is not said otherwise."""

    who: Issued = ALICE
    digest: str = "sha256"
    attributes: Sequence[bytes] | None = field(default_factory=usual_attributes)
    order: Callable[[Sequence[bytes]], Sequence[bytes]] = sorted
    sent: bytes | None = None  # the attributes as they are sent, when not as they are signed
    algorithm: bytes = RSA_NAME
    rsa_padding: padding.PKCS1v15 | padding.PSS = field(default_factory=padding.PKCS1v15)
    sid: bytes | None = None
    version: int = 1

    def build(self, content: bytes = CONTENT) -> bytes:
        signed, sent = content, b""
        if self.attributes is not None:
            signed = der.element(0x31, *self.order(self.attributes))
            sent = self.sent if self.sent is not None else b"\xa0" + signed[1:]
        key = self.who.private_key
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(signed, self.rsa_padding, HASHES[self.digest])
        else:
            signature = key.sign(signed, ec.ECDSA(HASHES[self.digest]))
        return der.sequence(
            der.integer(self.version),
            self.sid or identity.issuer_and_serial(self.who.certificate),
            der.sequence(der.oid(DIGEST_OIDS[self.digest])),
            sent,
            self.algorithm,
            der.octet_string(signature),
        )


def signed_data(
    *signers: bytes,
    certificates: Sequence[bytes] = (ALICE.der, BOB.der),
    econtent: bytes | None = None,
    econtent_type: str = DATA,
    crls: bytes = b"",
) -> bytes:
    inside = der.element(0xA0, der.octet_string(econtent)) if econtent is not None else b""
    body = der.sequence(
        der.integer(1),
        der.set_of([]),
        der.sequence(der.oid(econtent_type), inside),
        der.element(0xA0, *certificates) if certificates else b"",
        crls,
        der.element(0x31, *signers),
    )
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.element(0xA0, body))


def verify(*signers: bytes, legacy: Sequence[str] = (), content: bytes | None = CONTENT, **more):
    signed = cms.read_signed(signed_data(*signers, **more))
    return cms.verify(signed, content, legacy=frozenset(legacy))


def codes(results: Sequence[cms.VerifiedSigner | cms.FailedSigner]) -> list[str]:
    return [result.code if isinstance(result, cms.FailedSigner) else "ok" for result in results]


# --- who signed -----------------------------------------------------------------------------------------


def test_a_right_signature_says_who_how_and_when():
    (signer,) = verify(Recipe().build())
    assert signer == cms.VerifiedSigner(ALICE.certificate, ALICE.der, "sha256", "rsa-pkcs1v15", EVENING)


def test_the_signer_may_be_named_by_key_identifier():
    key_id = identity.read_names(ALICE.der).key_id
    assert key_id is not None
    recipe = Recipe(sid=der.element(0x80, key_id), version=3)
    assert codes(verify(recipe.build())) == ["ok"]
    assert codes(verify(replace(recipe, sid=der.element(0x80, key_id[:-1])).build())) == ["bad_signature"]


def test_every_signer_is_looked_at_and_a_bad_first_one_costs_no_other():
    wrong = Recipe(attributes=usual_attributes(b"something else"))
    unreadable = der.sequence(der.integer(9))
    elliptic = Recipe(who=BOB, algorithm=der.sequence(der.oid(algorithms.ECDSA_OIDS["sha256"])))
    results = verify(wrong.build(), unreadable, Recipe().build(), b"\x04\x00", elliptic.build())
    assert codes(results) == ["bad_signature", "malformed", "ok", "malformed", "ok"]
    assert results[0].certificate_der == ALICE.der
    assert results[1].certificate_der is None
    assert results[4].signature_algorithm == "ecdsa"


def test_only_certificates_of_the_message_count():
    (failed,) = verify(Recipe().build(), certificates=[BOB.der])
    assert isinstance(failed.error, MissingSigner)
    assert codes(verify(Recipe().build(), certificates=[])) == ["bad_signature"]


def test_two_certificates_of_one_name_and_number_are_both_tried():
    twin = issue(
        CA, emails=["mallory@direct.example.org"], serial=ALICE.certificate.serial_number, fresh_key=True
    )
    for certificates in ([twin.der, ALICE.der], [ALICE.der, twin.der], [ALICE.der, ALICE.der]):
        (signer,) = verify(Recipe().build(), certificates=certificates)
        assert signer.certificate == ALICE.certificate
    assert codes(verify(Recipe().build(), certificates=[twin.der])) == ["bad_signature"]


def test_a_certificate_that_cannot_be_read_lends_nothing():
    broken = ALICE.der.replace(b"alice", b"al\xffce")[:-300]
    assert codes(verify(Recipe().build(), certificates=[der.sequence(broken[4:]), b"\x30\x00"])) == [
        "bad_signature"
    ]


def test_nobody_signed():
    with pytest.raises(NotSigned):
        verify()
    with pytest.raises(NotSigned):
        cms.read_signed(der.sequence(der.oid(DATA), der.element(0xA0, der.octet_string(b"x"))))


# --- what was signed ------------------------------------------------------------------------------------


def test_content_inside_or_beside_but_not_both():
    assert codes(verify(Recipe().build(), econtent=CONTENT, content=None)) == ["ok"]
    assert codes(verify(Recipe().build(), econtent=b"other", content=None)) == ["bad_signature"]
    with pytest.raises(BadSignature):
        verify(Recipe().build(), econtent=CONTENT)
    with pytest.raises(BadSignature):
        verify(Recipe().build(), content=None)


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"\n", CONTENT.replace(b"\r\n", b"\n"), b""])
def test_other_content_does_not_stand(content):
    assert codes(verify(Recipe().build(), content=content)) == ["bad_signature"]


def test_content_is_hashed_once_for_each_digest(monkeypatch):
    hashed = []

    real = hashes.Hash

    class Counted:
        def __init__(self, algorithm):
            self._running = real(algorithm)
            self.finalize = self._running.finalize

        def update(self, data):
            hashed.append(len(data))
            self._running.update(data)

    sha512 = Recipe(digest="sha512", attributes=usual_attributes(digest="sha512"))
    signers = [*[Recipe().build()] * 5, *[sha512.build()] * 5]
    monkeypatch.setattr(signing.hashes, "Hash", Counted)
    assert codes(verify(*signers)) == ["ok"] * 10
    assert hashed == [len(CONTENT)] * 2


def test_attributes_may_come_unsorted_and_in_ber():
    backwards = sorted(usual_attributes(), reverse=True)
    kept = Recipe(order=lambda attributes: backwards)  # signed as it is sent
    resorted = Recipe(sent=der.element(0xA0, *backwards))  # sent unsorted, signed in DER
    stream = Recipe(sent=cms_peers.indefinite(0xA0, *(b"\x30\x81" + one[1:] for one in backwards)))
    assert codes(verify(kept.build(), resorted.build(), stream.build())) == ["ok"] * 3
    assert codes(verify(replace(kept, sent=der.element(0xA0, *backwards[:2])).build())) == ["bad_signature"]


@pytest.mark.parametrize(
    "attributes",
    [
        [],
        usual_attributes()[:1],
        usual_attributes()[1:],
        [*usual_attributes(), usual_attributes()[0]],
        [*usual_attributes(), usual_attributes()[2]],
        [*usual_attributes(), attribute("1.2.3.4", der.NULL), attribute("1.2.3.4", der.integer(1))],
        [*usual_attributes(b"other"), usual_attributes()[1]],
        [attribute(signing.CONTENT_TYPE, der.oid("1.2.840.113549.1.7.5")), *usual_attributes()[1:]],
    ],
    ids=[
        "none",
        "digest-missing",
        "type-missing",
        "type-twice",
        "time-twice",
        "any-twice",
        "digest-twice",
        "other-type",
    ],
)
def test_attributes_that_break_a_rule(attributes):
    assert codes(verify(Recipe(attributes=attributes).build())) == ["bad_signature"]


@pytest.mark.parametrize(
    "values",
    [[], [der.octet_string(digest_of(CONTENT)), der.octet_string(b"x")], [der.integer(5)]],
    ids=["no-value", "two-values", "no-string"],
)
def test_an_attribute_has_one_value_of_its_type(values):
    attributes = [usual_attributes()[0], attribute(signing.MESSAGE_DIGEST, *values)]
    assert codes(verify(Recipe(attributes=attributes).build())) == ["malformed"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x17\x0d490101000000Z", datetime.datetime(2049, 1, 1, tzinfo=datetime.UTC)),
        (b"\x17\x0d500101000000Z", datetime.datetime(1950, 1, 1, tzinfo=datetime.UTC)),
        (b"\x18\x0f20510203040506Z", datetime.datetime(2051, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)),
        (b"\x17\x0d491301000000Z", None),
        (b"\x17\x0b4901010000Z", None),
        (b"\x17\x11490101000000+0000", None),
        (b"\x0c\x04noon", None),
    ],
)
def test_signing_times(value, expected):
    attributes = [*usual_attributes()[:2], attribute(signing.SIGNING_TIME, value)]
    (signer,) = verify(Recipe(attributes=attributes).build())
    assert signer.signing_time == expected


def test_attributes_may_be_absent_over_plain_data_only():
    plain = Recipe(attributes=None)
    assert codes(verify(plain.build())) == ["ok"]
    assert codes(verify(plain.build(), content=b"other")) == ["bad_signature"]
    assert codes(verify(plain.build(), econtent_type="1.2.840.113549.1.7.5")) == ["bad_signature"]


def test_somebodys_attributes_are_no_content():
    """A signature over attributes, its attributes taken away, must not stand over content that looks so."""
    attributes = der.set_of(usual_attributes())
    assert codes(verify(Recipe(attributes=None).build(attributes), content=attributes)) == ["bad_signature"]


# --- algorithms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digest", "legacy", "code"),
    [
        ("md5", [], "weak_digest"),
        ("md5", ["sha1_digest"], "weak_digest"),
        ("sha1", [], "weak_digest"),
        ("sha1", ["tripledes", "rsa1024"], "weak_digest"),
        ("sha1", ["sha1_digest"], "ok"),
        ("sha224", ["sha1_digest"], "weak_digest"),
        ("sha384", [], "ok"),
    ],
)
def test_weak_digests(digest, legacy, code):
    recipe = Recipe(digest=digest, attributes=usual_attributes(digest=digest))
    assert codes(verify(recipe.build(), legacy=legacy)) == [code]


@pytest.mark.parametrize(
    ("key", "legacy", "code"),
    [
        ("rsa1024", [], "weak_key"),
        ("rsa1024", ["rsa1024"], "ok"),
        ("secp256k1", [], "weak_key"),
        ("p521", [], "weak_key"),
        ("p384", [], "ok"),
    ],
)
def test_weak_keys(key, legacy, code):
    who = issue(CA, emails=["carol@direct.example.org"], key=key)
    name = RSA_NAME if key.startswith("rsa") else der.sequence(der.oid(algorithms.ECDSA_OIDS["sha256"]))
    recipe = Recipe(who=who, algorithm=name)
    assert codes(verify(recipe.build(), certificates=[who.der], legacy=legacy)) == [code]


def named(oid: str, *parameters: bytes) -> bytes:
    return der.sequence(der.oid(oid), *parameters)


@pytest.mark.parametrize(
    ("algorithm", "code"),
    [
        (named("1.2.840.113549.1.1.11", der.NULL), "ok"),
        (named("1.2.840.113549.1.1.11"), "ok"),
        (named(algorithms.RSA_ENCRYPTION), "ok"),
        (named("1.2.840.113549.1.1.13", der.NULL), "bad_signature"),
        (named("1.2.840.113549.1.1.5", der.NULL), "weak_digest"),
        (named("1.2.840.113549.1.1.4", der.NULL), "weak_digest"),
        (named("1.2.840.113549.1.1.11", der.integer(1)), "unsupported_algorithm"),
        (named(algorithms.ECDSA_OIDS["sha256"]), "bad_signature"),
        (named("1.2.840.10040.4.3"), "unsupported_algorithm"),
        (named("1.3.6.1.4.1.99999.1"), "unsupported_algorithm"),
        (der.octet_string(b""), "malformed"),
    ],
)
def test_how_signatures_are_named(algorithm, code):
    assert codes(verify(Recipe(algorithm=algorithm).build())) == [code]


def pss(hash_name: str | None, mask: str | None, salt: int | None, trailer: int | None = None) -> bytes:
    parts = []
    if hash_name:
        parts.append(der.element(0xA0, named(DIGEST_OIDS[hash_name])))
    if mask:
        parts.append(der.element(0xA1, named(algorithms.MGF1, named(DIGEST_OIDS[mask], der.NULL))))
    if salt is not None:
        parts.append(der.element(0xA2, der.integer(salt)))
    if trailer is not None:
        parts.append(der.element(0xA3, der.integer(trailer)))
    return named(algorithms.RSASSA_PSS, der.sequence(*parts))


@pytest.mark.parametrize(
    ("algorithm", "mask", "salt", "code"),
    [
        (pss("sha256", "sha256", 32), "sha256", 32, "ok"),
        (pss("sha256", "sha256", 32, 1), "sha256", 32, "ok"),
        (pss("sha256", "sha512", 11), "sha512", 11, "ok"),
        (pss("sha256", "sha256", None), "sha256", 20, "ok"),
        (pss("sha256", "sha256", 31), "sha256", 32, "bad_signature"),
        (pss("sha256", "sha256", 32), "sha384", 32, "bad_signature"),
        (pss("sha512", "sha256", 32), "sha256", 32, "bad_signature"),
        (pss("sha256", None, 32), "sha1", 32, "weak_digest"),
        (pss(None, "sha256", 32), "sha256", 32, "weak_digest"),
        (pss("sha256", "sha256", 32, 2), "sha256", 32, "unsupported_algorithm"),
        (pss("sha256", "sha256", 5000), "sha256", 32, "unsupported_algorithm"),
        (named(algorithms.RSASSA_PSS), "sha256", 32, "malformed"),
        (named(algorithms.RSASSA_PSS, der.sequence(der.integer(1))), "sha256", 32, "malformed"),
    ],
)
def test_the_parameters_of_pss_are_read(algorithm, mask, salt, code):
    made = padding.PSS(padding.MGF1(HASHES[mask]), salt)
    assert codes(verify(Recipe(algorithm=algorithm, rsa_padding=made).build())) == [code]


# --- bounds ---------------------------------------------------------------------------------------------


def test_bounds_have_codes_of_their_own():
    others = [issue(CA, domains=[f"d{number}.example.org"]).der for number in range(10)]
    one = Recipe().build()
    assert codes(verify(one, certificates=[ALICE.der, *others[:9], ALICE.der])) == ["ok"]
    with pytest.raises(TooManyCertificates):
        verify(one, certificates=[ALICE.der, *others])
    with pytest.raises(CertificateTooLarge):
        verify(one, certificates=[der.sequence(bytes(64 * 1024))])
    assert codes(verify(*[one] * 20)) == ["ok"] * 20
    with pytest.raises(TooManySigners):
        verify(*[one] * 21)
    with pytest.raises(TooLarge):
        verify(der.sequence(bytes(64 * 1024)))


def test_other_kinds_of_certificates_and_revocation_lists_are_stepped_over():
    attribute_certificate = der.element(0xA2, der.octet_string(b"role"))
    lists = der.element(0xA1, der.sequence(der.octet_string(b"no list at all")))
    assert codes(verify(Recipe().build(), certificates=[attribute_certificate, ALICE.der], crls=lists)) == [
        "ok"
    ]


# --- signing --------------------------------------------------------------------------------------------


def test_what_we_sign_by_an_independent_reader():
    made = cms.sign(
        CONTENT,
        cms.Identity(ALICE.certificate, ALICE.private_key),
        at=EVENING,
        extra_certificates=[CA.certificate],
    )
    body = asn1_cms.ContentInfo.load(made, strict=True)["content"]
    assert body.dump(force=True) == body.dump()
    assert body["encap_content_info"]["content"].native is None
    assert {one.chosen.dump() for one in body["certificates"]} == {ALICE.der, CA.der}
    (info,) = body["signer_infos"]
    assert info["digest_algorithm"]["algorithm"].native == "sha256"
    attributes = {one["type"].native: one["values"].native for one in info["signed_attrs"]}
    assert attributes == {
        "content_type": ["data"],
        "message_digest": [digest_of(CONTENT)],
        "signing_time": [EVENING],
    }


def test_nothing_weak_is_signed():
    small = issue(CA, emails=["dave@direct.example.org"], key="rsa1024")
    with pytest.raises(WeakKey):
        cms.sign(CONTENT, cms.Identity(small.certificate, small.private_key), at=EVENING)
    with pytest.raises(WeakDigest):
        cms.sign(CONTENT, cms.Identity(ALICE.certificate, ALICE.private_key), at=EVENING, digest="sha1")


def test_certificates_alone():
    made = cms.certificates_only([ALICE.certificate, CA.certificate, ALICE.certificate])
    assert set(cms.read_certificates(made)) == {ALICE.der, CA.der}
    assert len(asn1_cms.ContentInfo.load(made, strict=True)["content"]["certificates"]) == 2
    with pytest.raises(NotSigned):
        cms.verify(cms.read_signed(made), CONTENT)
    with pytest.raises(TooManyCertificates):
        cms.read_certificates(made, limit=1)
    assert cms.read_certificates(cms.certificates_only([])) == ()


# --- hostile octets -------------------------------------------------------------------------------------

WHOLE = signed_data(Recipe().build(), econtent=CONTENT)
ELLIPTIC = cms_peers.stream_signature(
    cms.sign(CONTENT, cms.Identity(BOB.certificate, BOB.private_key), at=utc_now())
)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_one_altered_octet_of_content_is_noticed(at, change):
    altered = bytearray(CONTENT)
    altered[at] ^= change
    assert codes(cms.verify(cms.read_signed(ELLIPTIC), altered)) == ["bad_signature"]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([WHOLE, ELLIPTIC]), st.data())
def test_an_altered_message_is_refused_or_says_the_same(message, data):
    """Octets outside the signature may change; what is vouched for, and by which key, may not."""
    keys = [who.certificate.public_key() for who in (ALICE, BOB)]
    at = data.draw(st.integers(0, len(message) - 1))
    altered = bytearray(message)
    altered[at] ^= data.draw(st.integers(1, 255))
    try:
        signed = cms.read_signed(altered)
        results = cms.verify(signed, CONTENT if signed.econtent is None else None)
    except AgentError:
        return
    for result in results:
        if isinstance(result, cms.VerifiedSigner):
            assert signed.econtent in (None, CONTENT)
            assert result.certificate.public_key() in keys


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(lambda cut: WHOLE[:cut], st.integers(0, len(WHOLE))),
        st.builds(
            lambda at, inserted: WHOLE[:at] + inserted + WHOLE[at:],
            st.integers(0, len(WHOLE)),
            st.binary(min_size=1, max_size=5),
        ),
    )
)
def test_any_octets_give_a_result_or_an_agent_error(data):
    for use in (
        cms.content_type,
        cms.read_certificates,
        lambda octets: cms.verify(cms.read_signed(octets), CONTENT),
    ):
        with contextlib.suppress(AgentError):
            use(data)


def test_malformed_is_what_broken_structure_is_called():
    for data in (b"", b"\x30\x80", WHOLE[:-1], WHOLE + b"\x00", b"MIIB", bytes(100)):
        with pytest.raises(Malformed):
            cms.read_signed(data)


def test_keys_that_cost_too_much_are_not_used():
    largest = rsa.RSAPublicNumbers(65537, (1 << 8191) + 1).public_key()
    assert algorithms.require_strong_key(largest) is largest
    with pytest.raises(UnsupportedAlgorithm):
        algorithms.require_strong_key(rsa.RSAPublicNumbers(65537, (1 << 8192) + 1).public_key())
