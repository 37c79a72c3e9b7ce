"""What a certificate says, whom it speaks for, and which ones are refused for Direct."""

from __future__ import annotations

from typing import Any

import pytest
from asn1crypto import core, keys
from cryptography import x509

from tests.pki_factory import SERVER_AUTH, days, forge, issue, make_ca, make_crl, name_of
from trust.pki import certs, errors
from trust.pki.certs import Certificate
from trust.pki.policy import LEGACY_NAMES, Policy, TrustContext

STRICT = Policy()


@pytest.fixture(scope="module")
def ca() -> Any:
    return make_ca("Leaf Test CA")


def leaf(ca: Any, **options: Any) -> Certificate:
    options.setdefault("domains", ["direct.clinic.example.org"])
    return Certificate(issue(ca, **options).der)


# --- reading ---------------------------------------------------------------------------------------------


def test_says_what_it_was_issued_for(ca: Any) -> None:
    made = issue(
        ca,
        emails=["ann@direct.clinic.example.org"],
        domains=["direct.clinic.example.org"],
        cdp=["http://crl.example.org/1.crl", "ldap://crl.example.org/"],
        aia=["http://ca.example.org/ca.cer", "file:///etc/passwd"],
    )
    read = Certificate(made.der)
    assert read.der == made.der
    assert read.sha256 == made.sha256
    assert read.emails == ("ann@direct.clinic.example.org",)
    assert read.domains == ("direct.clinic.example.org",)
    assert read.crl_urls == ("http://crl.example.org/1.crl",)
    assert read.issuer_urls == ("http://ca.example.org/ca.cer",)
    assert read.serial_number == made.certificate.serial_number
    assert read.version == 3
    assert not read.is_ca
    assert read.subject == "CN=ann@direct.clinic.example.org"
    assert read.issuer == "CN=Leaf Test CA"
    assert read.authority_key_id == Certificate(ca.der).key_id
    assert certs.signed_by(read, Certificate(ca.der))
    assert not certs.signed_by(Certificate(ca.der), read)


@pytest.mark.parametrize("data", [b"", b"\x30", b"hello", b"\x30\x80\x00\x00", b"\x30\x03\x02\x01\x01"])
def test_garbage_is_malformed(data: bytes) -> None:
    with pytest.raises(errors.MalformedCertificate):
        Certificate(data)


def test_bytes_after_the_certificate_are_malformed(ca: Any) -> None:
    with pytest.raises(errors.MalformedCertificate):
        Certificate(ca.der + b"\x00")


def test_every_single_flipped_byte_is_refused_or_breaks_the_signature(ca: Any) -> None:
    good = issue(ca, domains=["direct.clinic.example.org"]).der
    issuer = Certificate(ca.der)
    for at in range(0, len(good), 7):
        changed = good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :]
        try:
            certificate = Certificate(changed)
            certs.require_direct_leaf(certificate, STRICT)
        except errors.PkiError:
            continue
        assert not certs.signed_by(certificate, issuer), at


# --- whom it speaks for ----------------------------------------------------------------------------------

COVERED = [
    ({"emails": ["ann@direct.example.org"]}, "ann@direct.example.org"),
    ({"emails": ["Ann@Direct.Example.org"]}, "aNN@dIRECT.example.ORG"),
    ({"domains": ["direct.example.org"]}, "anyone@direct.example.org"),
    ({"domains": ["DIRECT.example.org"]}, "anyone@Direct.Example.Org"),
    ({"domains": ["a.example.org", "direct.example.org"]}, "x@direct.example.org"),
    ({"emails": ["x@a.example.org"], "domains": ["direct.example.org"]}, "y@direct.example.org"),
    ({"emails": ["x@a.example.org", "y@direct.example.org"]}, "y@direct.example.org"),
]
NOT_COVERED = [
    ({"domains": ["example.org"]}, "ann@direct.example.org"),
    ({"domains": ["direct.example.org"]}, "ann@example.org"),
    ({"domains": ["sibling.example.org"]}, "ann@direct.example.org"),
    ({"domains": ["*.example.org"]}, "ann@direct.example.org"),
    ({"emails": ["direct.example.org"]}, "ann@direct.example.org"),
    ({"emails": ["bob@direct.example.org"]}, "ann@direct.example.org"),
    ({"names": [x509.RFC822Name("@direct.example.org")]}, "ann@direct.example.org"),
    ({"domains": ["ann@direct.example.org"]}, "ann@direct.example.org"),
    ({"names": [x509.UniformResourceIdentifier("mailto:ann@direct.example.org")]}, "ann@direct.example.org"),
    ({"common_name": "direct.example.org"}, "ann@direct.example.org"),
    ({"common_name": "ann@direct.example.org"}, "ann@direct.example.org"),
    ({"subject": name_of("Ann", email="ann@direct.example.org")}, "ann@direct.example.org"),
    ({"domains": ["direct.example.org"]}, "direct.example.org"),
    ({"domains": ["direct.example.org"]}, "@direct.example.org"),
    ({"domains": ["direct.example.org"]}, "ann@direct.example.org."),
    ({"domains": ["direct.example.org"]}, ""),
    # KELVIN SIGN and DOTLESS I fold into ASCII letters by Unicode rules, and must not here.
    ({"domains": ["kim.example.org"]}, "ann@\u212aim.example.org"),
    ({"emails": ["kim@direct.example.org"]}, "\u212aim@direct.example.org"),
]


@pytest.mark.parametrize(("options", "address"), COVERED)
def test_covers(ca: Any, options: dict[str, Any], address: str) -> None:
    certs.require_covers(Certificate(issue(ca, **options).der), address, STRICT)


@pytest.mark.parametrize(("options", "address"), NOT_COVERED)
def test_does_not_cover(ca: Any, options: dict[str, Any], address: str) -> None:
    with pytest.raises(errors.AddressNotCovered) as caught:
        certs.require_covers(Certificate(issue(ca, **options).der), address, STRICT)
    assert caught.value.address == address


def test_distinguished_names_bind_only_under_the_tolerance(ca: Any) -> None:
    old = Policy(legacy=frozenset({"names_in_dn"}))
    by_name = Certificate(issue(ca, common_name="direct.example.org").der)
    by_email = Certificate(issue(ca, subject=name_of("Ann", email="ann@direct.example.org")).der)
    certs.require_covers(by_name, "ann@direct.example.org", old)
    certs.require_covers(by_email, "ann@direct.example.org", old)
    with pytest.raises(errors.AddressNotCovered):
        certs.require_covers(by_email, "bob@direct.example.org", old)
    both = Certificate(issue(ca, common_name="direct.example.org", domains=["other.example.org"]).der)
    with pytest.raises(errors.AddressNotCovered):
        certs.require_covers(both, "ann@direct.example.org", old)


@pytest.mark.parametrize("name", ["ann@direct.example.org", "o'neil+x@d.example", '"a b"@d.example'])
def test_mailboxes(name: str) -> None:
    assert certs.is_mailbox(name)


@pytest.mark.parametrize(
    "name", ["", "ann", "ann@", "@d.example", "a b@d.example", "a@b", "a..b@d.example", "a@*.example.org",
             "a@d.example\x00.evil.test", "a@-d.example", "a" * 65 + "@d.example"],
)  # fmt: skip
def test_no_mailboxes(name: str) -> None:
    assert not certs.is_mailbox(name)


# --- whether it may be used ------------------------------------------------------------------------------


def refusal(certificate: Certificate, policy: Policy = STRICT, use: Any = "signing") -> str | None:
    try:
        certs.require_direct_leaf(certificate, policy, use)
    except errors.PkiError as error:
        return error.code
    return None


@pytest.mark.parametrize("key", ["rsa2048", "rsa3072", "p256", "p384"])
def test_keys_we_take(ca: Any, key: str) -> None:
    assert refusal(leaf(ca, key=key)) is None


@pytest.mark.parametrize("key", ["rsa1024", "p224", "p521", "secp256k1"])
def test_keys_we_refuse(ca: Any, key: str) -> None:
    assert refusal(leaf(ca, key=key)) == "weak_key"


def test_small_rsa_passes_under_the_tolerance(ca: Any) -> None:
    assert refusal(leaf(ca, key="rsa1024"), Policy(legacy=frozenset({"rsa1024"}))) is None


def test_a_curve_in_numbers_is_refused(ca: Any) -> None:
    made = issue(ca, domains=["direct.clinic.example.org"], key="p256")
    assert refusal(Certificate(forge(made, spell_out_curve).der)) == "weak_key"


@pytest.mark.parametrize("exponent", [1, 2, 65536])
def test_exponents_that_hide_nothing_are_refused(ca: Any, exponent: int) -> None:
    made = issue(ca, domains=["direct.clinic.example.org"])
    numbers = made.private_key.public_key().public_numbers()

    def edit(tbs: Any) -> None:
        key = keys.RSAPublicKey({"modulus": numbers.n, "public_exponent": exponent})
        tbs["subject_public_key_info"]["public_key"] = key

    assert refusal(Certificate(forge(made, edit).der)) == "weak_key"


def spell_out_curve(tbs: Any) -> None:
    """Put the numbers of P-256 where its name stood (SEC 1 section C.2)."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    base = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" \
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"  # fmt: skip
    domain = keys.SpecifiedECDomain(
        {
            "version": 1,
            "field_id": {"field_type": "prime_field", "parameters": core.Integer(prime)},
            "curve": {"a": (prime - 3).to_bytes(32, "big"), "b": b.to_bytes(32, "big")},
            "base": bytes.fromhex(base),
            "order": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
            "cofactor": 1,
        }
    )
    tbs["subject_public_key_info"]["algorithm"]["parameters"] = keys.ECDomainParameters("specified", domain)


DIGESTS = [
    ("sha1", "weak_digest"),
    ("sha224", "weak_digest"),
    ("sha256", None),
    ("sha384", None),
    ("sha512", None),
]


@pytest.mark.parametrize(("digest", "code"), DIGESTS)
def test_digests(ca: Any, digest: str, code: str | None) -> None:
    assert refusal(leaf(ca, digest=digest)) == code


def test_sha1_passes_under_the_tolerance_only(ca: Any) -> None:
    old = Policy(legacy=frozenset({"sha1_chain"}))
    assert refusal(leaf(ca, digest="sha1"), old) is None
    assert refusal(leaf(ca, digest="sha224"), old) == "weak_digest"


USAGES = [
    (("digital_signature",), "signing", None),
    (("digital_signature",), "encryption", "wrong_key_usage"),
    (("key_encipherment",), "signing", "wrong_key_usage"),
    (("key_encipherment",), "encryption", None),
    (("digital_signature", "key_encipherment"), "encryption", None),
    (("content_commitment",), "signing", "wrong_key_usage"),
    (("data_encipherment",), "encryption", "wrong_key_usage"),
    (("key_agreement",), "encryption", "wrong_key_usage"),
    (("digital_signature", "key_cert_sign"), "signing", "wrong_key_usage"),
    (None, "signing", "no_key_usage"),
]


@pytest.mark.parametrize(("usage", "use", "code"), USAGES)
def test_key_usage(ca: Any, usage: Any, use: str, code: str | None) -> None:
    assert refusal(leaf(ca, key_usage=usage), use=use) == code


def test_elliptic_keys_agree_to_be_encrypted_to(ca: Any) -> None:
    assert refusal(leaf(ca, key="p256", key_usage=["key_agreement"]), use="encryption") is None
    assert (
        refusal(leaf(ca, key="p256", key_usage=["key_encipherment"]), use="encryption") == "wrong_key_usage"
    )


def test_absent_key_usage_passes_under_the_tolerance(ca: Any) -> None:
    assert refusal(leaf(ca, key_usage=None), Policy(legacy=frozenset({"no_key_usage"}))) is None


def test_extended_key_usage(ca: Any) -> None:
    assert refusal(leaf(ca, eku=None)) is None
    assert refusal(leaf(ca, eku=[SERVER_AUTH])) == "wrong_key_usage"
    assert refusal(leaf(ca, eku=[SERVER_AUTH, x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])) is None
    assert refusal(leaf(ca, eku=[x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])) == "wrong_key_usage"


def test_no_ca_as_end_entity(ca: Any) -> None:
    assert refusal(Certificate(ca.der)) == "wrong_key_usage"
    assert refusal(leaf(ca, ca_flag=True)) == "wrong_key_usage"
    assert refusal(leaf(ca, ca_flag=None)) is None


@pytest.mark.parametrize("options", [{"domains": ["*.example.org"]}, {"domains": ["localhost"]},
                                     {"domains": ["a.example.org."]}, {"emails": ["nobody"]}])  # fmt: skip
def test_names_must_be_well_formed(ca: Any, options: dict[str, Any]) -> None:
    assert refusal(leaf(ca, **options)) == "malformed_name"


def double_extension(tbs: Any) -> None:
    tbs["extensions"].append(tbs["extensions"][0].copy())


def drop_to_version_1(tbs: Any) -> None:
    tbs["version"] = "v1"


FORGERIES = [
    (lambda tbs: tbs.__setitem__("serial_number", 0), "bad_serial"),
    (lambda tbs: tbs.__setitem__("serial_number", -5), "bad_serial"),
    (lambda tbs: tbs.__setitem__("serial_number", 1 << 170), "bad_serial"),
    (lambda tbs: tbs.__setitem__("serial_number", (1 << 160) - 1), None),
    (double_extension, "duplicate_extension"),
    (drop_to_version_1, "not_version_3"),
]


@pytest.mark.parametrize(("edit", "code"), FORGERIES)
def test_what_no_library_would_issue(ca: Any, edit: Any, code: str | None) -> None:
    made = issue(ca, domains=["direct.clinic.example.org"])
    assert refusal(Certificate(forge(made, edit).der)) == code


# --- bounds ----------------------------------------------------------------------------------------------


def test_bounds_are_counted_before_anything_is_parsed(ca: Any) -> None:
    many = leaf(ca, domains=[f"d{number}.example.org" for number in range(101)])
    with pytest.raises(errors.TooManyNames):
        certs.require_bounds(many, STRICT)
    assert "parsed" not in vars(many)
    certs.require_bounds(leaf(ca, domains=[f"d{number}.example.org" for number in range(100)]), STRICT)


def test_flood_of_name_constraints_is_refused() -> None:
    names = [x509.DNSName(f"d{number}.example.org") for number in range(51)]
    flood = Certificate(make_ca("Flood CA", permitted=names, excluded=names).der)
    with pytest.raises(errors.TooManyNameConstraints) as caught:
        certs.require_bounds(flood, STRICT)
    assert (caught.value.limit, caught.value.found) == (100, 102)


def test_large_certificates_are_refused(ca: Any) -> None:
    with pytest.raises(errors.CertificateTooLarge):
        certs.require_bounds(leaf(ca), Policy(max_certificate_bytes=500))


# --- policy ----------------------------------------------------------------------------------------------


def test_policy_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="unknown tolerance"):
        Policy(legacy=frozenset({"everything"}))
    with pytest.raises(ValueError, match="revocation"):
        Policy(revocation="hard")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown tolerance"):
        STRICT.tolerates("sha1")
    assert not any(STRICT.tolerates(each) for each in LEGACY_NAMES)


def test_context_digest_depends_on_content_and_not_on_order(ca: Any) -> None:
    one, two = Certificate(ca.der), Certificate(make_ca("Other CA", key="p256").der)
    crl = make_crl(ca, next_update=days(1))
    base = TrustContext((one, two), (crl,))
    assert base.digest == TrustContext((two, one, one), (crl,)).digest
    others = [
        TrustContext((one,), (crl,)),
        TrustContext((one, two)),
        TrustContext((one, two), (crl,), Policy(revocation="require")),
        TrustContext((one, two), (crl,), Policy(legacy=frozenset({"sha1_chain"}))),
    ]
    assert len({base.digest, *(each.digest for each in others)}) == 5
