"""Which revocation lists are believed. A list that is not can neither clear nor condemn a certificate."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from cryptography import x509

from tests.pki_factory import CA_USE, Issued, days, forge_crl, issue, make_ca, make_crl, to_pem
from trust.pki import errors
from trust.pki.certs import Certificate
from trust.pki.path import Chain, verify_path
from trust.pki.policy import Policy, TrustContext
from trust.pki.revocation import Crl

DOMAIN = "direct.clinic.example.org"
NOW = days(0)
HOUR = datetime.timedelta(hours=1)


class Authority:
    """A root, an issuing CA, its sibling, and a leaf."""

    def __init__(self) -> None:
        self.root = make_ca("Lists Root")
        self.middle = make_ca("Lists Issuing CA", issuer=self.root)
        self.sibling = make_ca("Lists Sibling CA", issuer=self.root)
        self.leaf = issue(self.middle, domains=[DOMAIN])
        self.root_list = make_crl(self.root)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def judge(
    authority: Authority,
    *crls: bytes | Crl,
    revocation: Any = "soft",
    leaf: Issued | None = None,
    extra: tuple[Issued, ...] = (),
    at: datetime.datetime = NOW,
    legacy: frozenset[str] = frozenset(),
    grace: datetime.timedelta = datetime.timedelta(0),
) -> Chain:
    pool = [Certificate(each.der) for each in (authority.middle, *extra)]
    context = TrustContext(
        (Certificate(authority.root.der),),
        (authority.root_list, *crls),
        Policy(legacy=legacy, revocation=revocation, crl_grace=grace),
    )
    return verify_path(Certificate((leaf or authority.leaf).der), pool, context, at)


def outcome(authority: Authority, *crls: bytes | Crl, **named: Any) -> str:
    """`good`, `unknown` or `revoked`; and a require policy must accept exactly what is good."""
    try:
        state: str = judge(authority, *crls, **named).revocation
    except errors.Revoked:
        state = "revoked"
    try:
        judge(authority, *crls, revocation="require", **named)
        required = "good"
    except (errors.RevocationUnknown, errors.Revoked) as error:
        required = {"revocation_unknown": "unknown"}.get(error.code, error.code)
    assert required == state
    return state


def test_a_true_list_speaks(authority: Authority) -> None:
    assert outcome(authority) == "unknown"
    assert outcome(authority, make_crl(authority.middle)) == "good"
    assert outcome(authority, make_crl(authority.middle, [authority.leaf])) == "revoked"
    assert outcome(authority, make_crl(authority.middle, [4711])) == "good"


def test_pem_is_read_and_garbage_says_nothing(authority: Authority) -> None:
    crl = make_crl(authority.middle)
    assert outcome(authority, to_pem(crl, "X509 CRL")) == "good"
    assert outcome(authority, b"garbage", b"", crl[:-5], b"-----BEGIN X509 CRL-----") == "unknown"
    assert outcome(authority, b"garbage", crl) == "good"
    both = to_pem(crl, "X509 CRL") + to_pem(authority.root_list, "X509 CRL")
    assert [each.sha256 for each in Crl.load_all(both)] == [Crl(crl).sha256, Crl(authority.root_list).sha256]
    for data in (b"-----BEGIN X509 CRL-----", to_pem(b"x", "X509 CRL"), to_pem(crl), crl + b"x"):
        with pytest.raises(errors.MalformedCrl):
            Crl.load_all(data)


def forged(authority: Authority) -> dict[str, bytes]:
    """Lists that must not be believed, each clearing the leaf."""
    middle = authority.middle
    stranger = make_ca("Lists Issuing CA", key="p256")
    name = middle.certificate.subject
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.7"), b"\x05\x00")
    return {
        "wrong key": make_crl(stranger),
        "wrong key, marked indirect": make_crl(stranger, indirect=True),
        "indirect by the right key": make_crl(middle, indirect=True),
        "sibling": make_crl(authority.sibling),
        "sibling under the name of the CA": make_crl(authority.sibling, issuer_name=name),
        "parent under the name of the CA": make_crl(authority.root, issuer_name=name),
        "wrong name": make_crl(middle, issuer_name=authority.root.certificate.subject),
        "leaf signs": make_crl(authority.leaf, issuer_name=name),
        "future": make_crl(middle, this_update=days(1), next_update=days(9)),
        "weak digest": make_crl(middle, digest="sha224"),
        "unknown critical extension": make_crl(middle, extra=[(unknown, True)]),
        "delta only": make_crl(middle, number=5, delta_of=4),
        "some reasons only": make_crl(middle, only_some_reasons=REASONS),
        "delta of some reasons": make_crl(middle, number=5, delta_of=4, only_some_reasons=REASONS),
        "another distribution point": make_crl(middle, distribution_point="http://crl.example.org/other.crl"),
    }


POINTS = ("http://crl.example.org/some.crl", "http://crl.example.org/rest.crl")
REASONS = frozenset({x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise})


def test_no_forged_list_clears_a_certificate(authority: Authority) -> None:
    for name, crl in forged(authority).items():
        assert outcome(authority, crl) == "unknown", name


def test_no_forged_list_hides_the_true_one(authority: Authority) -> None:
    for name, crl in forged(authority).items():
        for order in (0, 1):
            revoked = [make_crl(authority.middle, [authority.leaf], number=2), crl]
            good = [make_crl(authority.middle, number=2), crl]
            if order:
                revoked.reverse()
                good.reverse()
            assert outcome(authority, *revoked) == "revoked", name
            assert outcome(authority, *good) == "good", name


def test_no_forged_list_condemns_a_certificate(authority: Authority) -> None:
    stranger = make_ca("Lists Issuing CA", key="p256")
    name = authority.middle.certificate.subject
    for crl in [
        make_crl(stranger, [authority.leaf]),
        make_crl(stranger, [authority.leaf], indirect=True),
        make_crl(authority.sibling, [authority.leaf], issuer_name=name),
        make_crl(authority.middle, [authority.leaf], this_update=days(1)),
    ]:
        assert outcome(authority, crl) == "unknown"
        assert outcome(authority, crl, make_crl(authority.middle)) == "good"


def test_a_list_past_its_time_clears_nothing_but_still_condemns(authority: Authority) -> None:
    old = {"this_update": days(-9), "next_update": days(-2)}
    assert outcome(authority, make_crl(authority.middle, **old)) == "unknown"
    assert outcome(authority, make_crl(authority.middle, [authority.leaf], **old)) == "revoked"


def test_next_update_is_strict(authority: Authority) -> None:
    crl = make_crl(authority.middle, this_update=days(-1), next_update=days(0.125))
    end = x509.load_der_x509_crl(crl).next_update_utc
    assert end is not None
    assert outcome(authority, crl, at=end - datetime.timedelta(seconds=1)) == "good"
    assert outcome(authority, crl, at=end + datetime.timedelta(seconds=1)) == "unknown"


def test_a_stale_list_serves_for_its_grace(authority: Authority) -> None:
    end = days(-0.5)
    crl = make_crl(authority.middle, [4711], this_update=days(-5), next_update=end)
    listed = make_crl(authority.middle, [authority.leaf], this_update=days(-5), next_update=end)
    day = datetime.timedelta(days=1)
    assert outcome(authority, crl, grace=day) == "good"
    assert judge(authority, crl, grace=day).warnings == ("crl_stale",)
    assert judge(authority, crl, grace=day).expires == end + day
    assert outcome(authority, crl, grace=HOUR) == "unknown"
    assert outcome(authority, listed, grace=day) == "revoked"
    assert judge(authority, make_crl(authority.middle), grace=day).warnings == ()


def test_a_list_without_next_update_clears_nothing_but_condemns(authority: Authority) -> None:
    """The field is demanded by RFC 5280 section 5.1.2.5; without it a list would never run out."""

    def drop(tbs: Any) -> None:
        tbs["next_update"] = None

    assert outcome(authority, forge_crl(make_crl(authority.middle), authority.middle, drop)) == "unknown"
    listed = make_crl(authority.middle, [authority.leaf])
    assert outcome(authority, forge_crl(listed, authority.middle, drop)) == "revoked"


def test_an_older_list_never_takes_the_newer_ones_word_back(authority: Authority) -> None:
    older = make_crl(authority.middle, number=1, this_update=days(-3))
    newer = make_crl(authority.middle, [authority.leaf], number=2, this_update=days(-2))
    assert outcome(authority, older, newer) == "revoked"
    assert outcome(authority, newer, older) == "revoked"


def test_a_hold_that_was_lifted_is_lifted(authority: Authority) -> None:
    hold = x509.ReasonFlags.certificate_hold
    held = make_crl(authority.middle, [authority.leaf], number=1, this_update=days(-3), reason=hold)
    lifted = make_crl(authority.middle, number=2, this_update=days(-2))
    assert outcome(authority, held) == "revoked"
    assert outcome(authority, held, lifted) == "good"


def test_deltas_amend_their_base_only(authority: Authority) -> None:
    """OpenSSL looks at deltas only where the certificate or the base names them; we always do."""
    middle = authority.middle
    where = [x509.UniformResourceIdentifier("http://crl.example.org/delta.crl")]
    freshest = x509.FreshestCRL([x509.DistributionPoint(where, None, None, None)])
    leaf = issue(middle, domains=[DOMAIN], extra=[(freshest, False)])
    base = make_crl(middle, number=10, this_update=days(-2))
    held = make_crl(middle, [leaf], number=10, reason=x509.ReasonFlags.certificate_hold)
    newly = make_crl(middle, [leaf], number=11, delta_of=10)
    removed = make_crl(middle, [leaf], number=11, delta_of=10, reason=x509.ReasonFlags.remove_from_crl)
    too_new = make_crl(middle, [leaf], number=13, delta_of=12, reason=x509.ReasonFlags.remove_from_crl)
    assert outcome(authority, base, newly, leaf=leaf) == "revoked"
    assert outcome(authority, held, removed, leaf=leaf) == "good"
    assert outcome(authority, held, too_new, leaf=leaf) == "revoked"
    assert outcome(authority, newly, leaf=leaf) == "unknown"
    unnamed = make_crl(middle, [authority.leaf], number=11, delta_of=10)
    assert outcome(authority, base, unnamed) == "revoked"


def test_lists_of_some_reasons_together_cover_all(authority: Authority) -> None:
    some = frozenset(x509.ReasonFlags) - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
    rest = some - REASONS
    leaf = issue(
        authority.middle,
        domains=[DOMAIN],
        extra=[
            (
                x509.CRLDistributionPoints(
                    [
                        x509.DistributionPoint([x509.UniformResourceIdentifier(point)], None, each, None)
                        for point, each in zip(POINTS, (REASONS, rest), strict=True)
                    ]
                ),
                False,
            )
        ],
    )
    first = make_crl(authority.middle, only_some_reasons=REASONS, distribution_point=POINTS[0])
    second = make_crl(authority.middle, only_some_reasons=rest, distribution_point=POINTS[1])
    assert outcome(authority, first, leaf=leaf) == "unknown"
    assert outcome(authority, second, leaf=leaf) == "unknown"
    assert outcome(authority, first, second, leaf=leaf) == "good"


def test_a_list_for_the_certificates_own_point_is_believed(authority: Authority) -> None:
    point = "http://crl.example.org/own.crl"
    leaf = issue(authority.middle, domains=[DOMAIN], cdp=[point])
    assert outcome(authority, make_crl(authority.middle, distribution_point=point), leaf=leaf) == "good"
    other = make_crl(authority.middle, distribution_point="http://crl.example.org/other.crl")
    assert outcome(authority, other, leaf=leaf) == "unknown"


def test_a_ca_that_may_not_sign_lists_signs_none(authority: Authority) -> None:
    mute = make_ca("Mute CA", issuer=authority.root, key_usage=["key_cert_sign"])
    leaf = issue(mute, domains=[DOMAIN])
    assert outcome(authority, make_crl(mute), leaf=leaf, extra=(mute,)) == "unknown"


class SeparateSigner:
    """A CA that leaves signing lists to a certificate of its own name, issued by the root."""

    def __init__(self, authority: Authority, **signer: Any) -> None:
        self.ca = make_ca("Divided CA", issuer=authority.root, key_usage=["key_cert_sign"])
        signer.setdefault("issuer", authority.root)
        signer.setdefault("key_usage", ["crl_sign"])
        self.signer = make_ca("Divided CA", basic_constraints=None, **signer)
        self.leaf = issue(self.ca, domains=[DOMAIN])

    def outcome(self, authority: Authority, *crls: bytes) -> str:
        return outcome(authority, *crls, leaf=self.leaf, extra=(self.ca, self.signer))


def test_a_separate_list_signer_is_believed(authority: Authority) -> None:
    divided = SeparateSigner(authority)
    assert divided.outcome(authority, make_crl(divided.signer)) == "good"
    assert divided.outcome(authority, make_crl(divided.signer, [divided.leaf])) == "revoked"


def test_a_list_signer_of_ones_own_making_is_not(authority: Authority) -> None:
    stranger = make_ca("Lists Root", key="p256")
    for options in [
        {"issuer": None},
        {"issuer": stranger},
        {"issuer": authority.sibling},
        {"key_usage": ["digital_signature"]},
        {"key_usage": None},
        {"not_before": days(-9), "not_after": days(-1)},
        {"key": "rsa1024"},
        {"digest": "sha1"},
    ]:
        divided = SeparateSigner(authority, **options)
        assert divided.outcome(authority, make_crl(divided.signer)) == "unknown", options


def test_a_revoked_list_signer_is_not(authority: Authority) -> None:
    divided = SeparateSigner(authority)
    root_list = make_crl(authority.root, [divided.signer], number=2, this_update=days(-0.25))
    assert divided.outcome(authority, root_list, make_crl(divided.signer)) == "unknown"


def test_a_key_roll_over_keeps_both_keys_lists(authority: Authority) -> None:
    """The CA's new key is certified by the root under the same name; leaves of the old key stay good."""
    new = make_ca("Lists Issuing CA", issuer=authority.root, key_usage=CA_USE)
    by_new = make_crl(new, [authority.leaf])
    assert outcome(authority, by_new, extra=(new,)) == "revoked"
    assert outcome(authority, make_crl(new), extra=(new,)) == "good"


def test_sha1_lists_need_the_tolerance(authority: Authority) -> None:
    old = frozenset({"sha1_chain"})
    crl = make_crl(authority.middle, digest="sha1")
    assert outcome(authority, crl) == "unknown"
    assert outcome(authority, crl, legacy=old) == "good"
    assert outcome(authority, make_crl(authority.middle, digest="sha224"), legacy=old) == "unknown"


def test_one_list_object_serves_many_verdicts(authority: Authority) -> None:
    crl = Crl(make_crl(authority.middle))
    assert outcome(authority, crl) == "good"
    stranger = make_ca("Lists Issuing CA", key="p256")
    other = issue(stranger, domains=[DOMAIN])
    context = TrustContext((Certificate(stranger.der),), (crl,), Policy(revocation="require"))
    with pytest.raises(errors.RevocationUnknown):
        verify_path(Certificate(other.der), [], context, NOW)
    assert outcome(authority, crl) == "good"
