"""Which paths stand: every kind of anchor with every kind of fault, and the bounds on what is read."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography import x509

from tests.pki_factory import Issued, days, forge, issue, make_ca, make_crl, name_of
from trust.pki import errors
from trust.pki.certs import Certificate, require_covers, require_direct_leaf
from trust.pki.path import Chain, verdict_key, verify_path
from trust.pki.policy import Policy, TrustContext

DOMAIN = "direct.clinic.example.org"
ADDRESS = f"ann@{DOMAIN}"
NOW = days(0)
REQUIRE = Policy(revocation="require")


@dataclass(frozen=True)
class Pki:
    root: Issued
    middle: Issued
    leaf: Issued

    def crls(self, *, revoked_leaf: bool = False, revoked_middle: bool = False) -> tuple[bytes, ...]:
        return (
            make_crl(self.root, [self.middle] if revoked_middle else []),
            make_crl(self.middle, [self.leaf] if revoked_leaf else []),
        )

    def anchor(self, kind: str) -> Issued:
        return {"root": self.root, "intermediate": self.middle, "leaf": self.leaf}[kind]


@pytest.fixture(scope="module")
def pki() -> Pki:
    root = make_ca("Path Test Root")
    middle = make_ca("Path Test Issuing CA", issuer=root, path_length=0)
    return Pki(root, middle, issue(middle, domains=[DOMAIN]))


def read(made: Issued) -> Certificate:
    return Certificate(made.der)


def judge(
    leaf: Issued,
    between: list[Issued],
    anchors: list[Issued],
    crls: tuple[bytes, ...] = (),
    policy: Policy | None = None,
    at: datetime.datetime = NOW,
) -> Chain:
    context = TrustContext(tuple(read(each) for each in anchors), crls, policy or Policy())
    return verify_path(read(leaf), [read(each) for each in between], context, at)


def code_of(*arguments: Any, **named: Any) -> str | None:
    try:
        judge(*arguments, **named)
    except errors.PkiError as error:
        return error.code
    return None


# --- anchors x faults -----------------------------------------------------------------------------------

KINDS = ("root", "intermediate", "leaf")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("revocation", ["soft", "require"])
def test_good_paths_stand(pki: Pki, kind: str, revocation: Any) -> None:
    chain = judge(pki.leaf, [pki.middle], [pki.anchor(kind)], pki.crls(), Policy(revocation=revocation))
    assert chain.anchor == read(pki.anchor(kind))
    assert chain.leaf == read(pki.leaf)
    assert len(chain.certificates) == {"root": 3, "intermediate": 2, "leaf": 1}[kind]
    assert chain.revocation == "good"
    assert chain.warnings == ()
    require_covers(chain.leaf, ADDRESS, Policy())
    require_direct_leaf(chain.leaf, Policy())


@pytest.mark.parametrize("kind", KINDS)
def test_without_lists_soft_warns_and_require_refuses(pki: Pki, kind: str) -> None:
    chain = judge(pki.leaf, [pki.middle], [pki.anchor(kind)])
    assert (chain.revocation, chain.warnings) == ("unknown", ("revocation_unknown",))
    assert code_of(pki.leaf, [pki.middle], [pki.anchor(kind)], policy=REQUIRE) == "revocation_unknown"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("revocation", ["soft", "require"])
def test_known_revoked_is_refused_always(pki: Pki, kind: str, revocation: Any) -> None:
    policy = Policy(revocation=revocation)
    lists = pki.crls(revoked_leaf=True)
    assert code_of(pki.leaf, [pki.middle], [pki.anchor(kind)], lists, policy) == "revoked"


@pytest.mark.parametrize("kind", ["root", "intermediate"])
def test_a_revoked_intermediate_is_refused_even_as_anchor(pki: Pki, kind: str) -> None:
    lists = pki.crls(revoked_middle=True)
    assert code_of(pki.leaf, [pki.middle, pki.root], [pki.anchor(kind)], lists) == "revoked"


def test_the_error_says_when_and_why(pki: Pki) -> None:
    when = days(-3)
    crl = make_crl(pki.middle, [pki.leaf], revoked_at=when, reason=x509.ReasonFlags.key_compromise)
    with pytest.raises(errors.Revoked) as caught:
        judge(pki.leaf, [pki.middle], [pki.root], (crl,))
    assert (caught.value.when, caught.value.reason) == (when, "keyCompromise")
    assert caught.value.sha256 == pki.leaf.sha256
    assert not caught.value.temporary


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("not_before", "not_after", "code"), [(-20, -1, "expired"), (1, 20, "not_yet_valid")]
)
def test_leaf_outside_its_time(pki: Pki, kind: str, not_before: int, not_after: int, code: str) -> None:
    leaf = issue(pki.middle, domains=[DOMAIN], not_before=days(not_before), not_after=days(not_after))
    anchors = {"root": pki.root, "intermediate": pki.middle, "leaf": leaf}
    assert code_of(leaf, [pki.middle], [anchors[kind]]) == code


def test_expired_intermediate_and_expired_anchor() -> None:
    root = make_ca("Old Root", key="p256", not_before=days(-30), not_after=days(-1))
    middle = make_ca("Old Middle", key="p256", issuer=root, not_before=days(-30), not_after=days(-1))
    fresh = make_ca("Fresh Root", key="p256")
    stale = make_ca("Stale Middle", key="p256", issuer=fresh, not_before=days(-30), not_after=days(-1))
    assert code_of(issue(root, domains=[DOMAIN]), [], [root]) == "expired"
    assert code_of(issue(middle, domains=[DOMAIN]), [middle], [root]) == "expired"
    assert code_of(issue(stale, domains=[DOMAIN]), [stale], [fresh]) == "expired"


def test_time_is_strict_to_the_second(pki: Pki) -> None:
    leaf = issue(pki.middle, domains=[DOMAIN], not_before=days(-2), not_after=days(2))
    second = datetime.timedelta(seconds=1)
    for at, code in [
        (days(-2), None),
        (days(-2) - second, "not_yet_valid"),
        (leaf.certificate.not_valid_after_utc, None),
        (leaf.certificate.not_valid_after_utc + datetime.timedelta(milliseconds=1), "expired"),
    ]:
        wide = make_ca("Wide Root", key=pki.root.private_key, not_before=days(-9))
        middle = make_ca("Path Test Issuing CA", key=pki.middle.private_key, issuer=wide, not_before=days(-9))
        assert code_of(leaf, [middle], [wide], at=at) == code


def test_the_offset_of_the_time_does_not_matter(pki: Pki) -> None:
    leaf = issue(pki.middle, domains=[DOMAIN], not_after=days(0.25))
    east = datetime.timezone(datetime.timedelta(hours=14))
    judge(leaf, [pki.middle], [pki.root], pki.crls(), REQUIRE, NOW.astimezone(east))
    with pytest.raises(ValueError, match="aware"):
        judge(leaf, [pki.middle], [pki.root], at=NOW.replace(tzinfo=None))


# --- who issues -----------------------------------------------------------------------------------------


def test_no_anchor_trusts_nobody(pki: Pki) -> None:
    assert code_of(pki.leaf, [pki.middle, pki.root], []) == "untrusted_chain"


def test_certificates_that_come_along_are_never_anchors(pki: Pki) -> None:
    stranger = make_ca("Stranger Root", key="p256")
    leaf = issue(stranger, domains=[DOMAIN])
    assert code_of(leaf, [stranger], [pki.root]) == "untrusted_chain"


@pytest.mark.parametrize("kind", KINDS)
def test_a_copied_key_identifier_trusts_nobody(pki: Pki, kind: str) -> None:
    anchor = pki.anchor(kind)
    copied = read(anchor).key_id
    self_made = issue(None, domains=[DOMAIN], ski=copied, subject=anchor.certificate.subject)
    assert code_of(self_made, [], [anchor]) == "untrusted_chain"
    impostor = make_ca("Path Test Root", key="p256", ski=copied)
    below = issue(impostor, domains=[DOMAIN])
    assert code_of(below, [impostor], [anchor]) == "untrusted_chain"


def test_same_name_other_key_is_no_anchor(pki: Pki) -> None:
    twin = make_ca("Path Test Root", key="p256")
    assert code_of(issue(twin, domains=[DOMAIN]), [twin], [pki.root]) == "untrusted_chain"


def test_anchors_are_equal_by_every_byte(pki: Pki) -> None:
    again = issue(pki.middle, domains=[DOMAIN], key=pki.leaf.private_key)
    assert code_of(again, [], [pki.leaf]) == "untrusted_chain"


def test_an_issuer_must_be_a_ca(pki: Pki) -> None:
    for options in [{"basic_constraints": False}, {"basic_constraints": None}, {"key_usage": ["crl_sign"]}]:
        no_ca = make_ca("No CA", key="p256", issuer=pki.root, **options)
        leaf = issue(no_ca, domains=[DOMAIN])
        assert code_of(leaf, [no_ca], [pki.root]) == "untrusted_chain", options
        assert code_of(leaf, [], [no_ca]) == "untrusted_chain", options


def test_a_leaf_issues_nothing_even_where_it_is_an_anchor(pki: Pki) -> None:
    below = issue(pki.leaf, domains=[DOMAIN])
    assert code_of(below, [pki.leaf, pki.middle], [pki.root]) == "untrusted_chain"
    assert code_of(below, [], [pki.leaf]) == "untrusted_chain"


def test_an_old_root_without_basic_constraints_passes_under_the_tolerance() -> None:
    old = Policy(legacy=frozenset({"no_basic_constraints"}))
    for options in [{"key_usage": None}, {"key_usage": ["key_cert_sign", "crl_sign"]}]:
        root = make_ca("Silent Root", key="p256", basic_constraints=None, **options)
        leaf = issue(root, domains=[DOMAIN])
        assert code_of(leaf, [], [root]) == "untrusted_chain"
        chain = judge(leaf, [], [root], (make_crl(root),), Policy(old.legacy, "require"))
        assert chain.certificates == (read(leaf), read(root))
        assert code_of(leaf, [], [root], (make_crl(root, [leaf]),), old) == "revoked"
    no_ca = make_ca("Silent Root", key="p256", basic_constraints=False)
    assert code_of(issue(no_ca, domains=[DOMAIN]), [], [no_ca], policy=old) == "untrusted_chain"
    root = make_ca("Speaking Root", key="p256")
    silent = make_ca("Silent Middle", key="p256", issuer=root, basic_constraints=None)
    assert code_of(issue(silent, domains=[DOMAIN]), [silent], [root], policy=old) == "untrusted_chain"


def test_path_length_is_respected(pki: Pki) -> None:
    deeper = make_ca("One Too Deep", key="p256", issuer=pki.middle)
    leaf = issue(deeper, domains=[DOMAIN])
    assert code_of(leaf, [deeper, pki.middle], [pki.root]) == "untrusted_chain"
    assert code_of(leaf, [deeper, pki.middle], [pki.middle]) == "untrusted_chain"
    assert code_of(leaf, [deeper], [deeper]) is None


def test_building_stops_at_the_first_anchor(pki: Pki) -> None:
    chain = judge(pki.leaf, [pki.middle, pki.root], [pki.root, pki.middle])
    assert chain.anchor == read(pki.middle)


def test_the_right_one_of_two_cas_of_one_name_is_found_in_any_order(pki: Pki) -> None:
    wrong = make_ca("Path Test Issuing CA", key="p256", issuer=pki.root)
    for between in ([wrong, pki.middle], [pki.middle, wrong]):
        chain = judge(pki.leaf, between, [pki.root], pki.crls(), REQUIRE)
        assert chain.certificates[1] == read(pki.middle)


def test_another_path_is_tried_where_the_first_falls(pki: Pki) -> None:
    """The issuing CA was certified twice; the first certificate has run out."""
    key = pki.middle.private_key
    stale = make_ca("Path Test Issuing CA", key=key, issuer=pki.root, not_before=days(-9), not_after=days(-1))
    leaf = issue(pki.middle, domains=[DOMAIN])
    chain = judge(leaf, [stale, pki.middle], [pki.root])
    assert chain.certificates[1] == read(pki.middle)


def test_missing_issuer_names_where_to_ask(pki: Pki) -> None:
    leaf = issue(pki.middle, domains=[DOMAIN], aia=["https://a.example.org/x", "http://ca.example.org/i.cer"])
    with pytest.raises(errors.MissingIssuer) as caught:
        judge(leaf, [], [pki.root])
    assert caught.value.urls == ("http://ca.example.org/i.cer",)
    assert caught.value.code == "untrusted_chain"
    judge(leaf, [pki.middle], [pki.root])


def test_missing_list_names_where_to_ask(pki: Pki) -> None:
    leaf = issue(pki.middle, domains=[DOMAIN], cdp=["http://crl.example.org/i.crl"])
    with pytest.raises(errors.MissingCrl) as caught:
        judge(leaf, [pki.middle], [pki.root], (make_crl(pki.root),), REQUIRE)
    assert caught.value.urls == ("http://crl.example.org/i.crl",)
    assert (caught.value.code, caught.value.temporary) == ("revocation_unknown", True)


# --- weak, broken, odd ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "code"), [("rsa1024", "weak_key"), ("p521", "weak_key"), ("p384", None)])
def test_weak_keys_anywhere_on_the_path(pki: Pki, key: str, code: str | None) -> None:
    assert code_of(issue(pki.middle, domains=[DOMAIN], key=key), [pki.middle], [pki.root]) == code
    middle = make_ca("Weak Middle", key=key, issuer=pki.root)
    assert code_of(issue(middle, domains=[DOMAIN]), [middle], [pki.root]) == code
    root = make_ca("Weak Root", key=key)
    assert code_of(issue(root, domains=[DOMAIN]), [], [root]) == code


def test_weak_digests_on_the_path(pki: Pki) -> None:
    old = Policy(legacy=frozenset({"sha1_chain", "rsa1024"}))
    leaf = issue(pki.middle, domains=[DOMAIN], digest="sha1", key="rsa1024")
    middle = make_ca("SHA-1 Middle", issuer=pki.root, digest="sha1")
    below = issue(middle, domains=[DOMAIN])
    assert (
        code_of(issue(pki.middle, domains=[DOMAIN], digest="sha1"), [pki.middle], [pki.root]) == "weak_digest"
    )
    assert code_of(below, [middle], [pki.root]) == "weak_digest"
    assert code_of(leaf, [pki.middle], [pki.root], policy=old) is None
    assert code_of(below, [middle], [pki.root], policy=old) is None


def test_the_digest_of_an_anchor_carries_nothing() -> None:
    root = make_ca("SHA-1 Root", digest="sha1")
    assert code_of(issue(root, domains=[DOMAIN]), [], [root]) is None


def double_extension(tbs: Any) -> None:
    tbs["extensions"].append(tbs["extensions"][0].copy())


EDITS = [
    (lambda tbs: tbs.__setitem__("serial_number", 0), "bad_serial"),
    (lambda tbs: tbs.__setitem__("serial_number", -1), "bad_serial"),
    (lambda tbs: tbs.__setitem__("serial_number", 1 << 170), "bad_serial"),
    (double_extension, "duplicate_extension"),
    (lambda tbs: tbs.__setitem__("version", "v1"), "not_version_3"),
]


@pytest.mark.parametrize(("edit", "code"), EDITS)
def test_what_libraries_let_pass(pki: Pki, edit: Any, code: str) -> None:
    leaf = forge(issue(pki.middle, domains=[DOMAIN]), edit)
    assert code_of(leaf, [pki.middle], [pki.root]) == code
    middle = make_ca("Odd Middle", issuer=pki.root)
    odd = forge(middle, edit)
    assert code_of(issue(middle, domains=[DOMAIN]), [odd], [pki.root]) == code


def test_a_broken_hint_denies_no_good_path(pki: Pki) -> None:
    broken = forge(make_ca("Path Test Issuing CA", key="p256", issuer=pki.root), double_extension)
    for between in ([broken, pki.middle], [pki.middle, broken]):
        assert code_of(pki.leaf, between, [pki.root], pki.crls(), REQUIRE) is None
    assert code_of(pki.leaf, [broken], [pki.root]) == "duplicate_extension"
    assert code_of(pki.leaf, [pki.middle], [forge(pki.root, double_extension), pki.root]) is None


def test_an_unknown_critical_extension_is_refused(pki: Pki) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    assert code_of(issue(pki.middle, domains=[DOMAIN], extra=[(unknown, True)]), [pki.middle], [pki.root])
    assert not code_of(
        issue(pki.middle, domains=[DOMAIN], extra=[(unknown, False)]), [pki.middle], [pki.root]
    )


def test_a_changed_byte_breaks_the_path(pki: Pki) -> None:
    der = bytearray(pki.leaf.der)
    at = bytes(der).index(DOMAIN.encode())
    der[at] ^= 1
    context = TrustContext((read(pki.root),))
    with pytest.raises(errors.PkiError):
        verify_path(Certificate(bytes(der)), [read(pki.middle)], context, NOW)


# --- constraints and policies ---------------------------------------------------------------------------


@pytest.mark.parametrize("constrain", ["root", "middle"])
def test_name_constraints_bind_anchors_too(constrain: str) -> None:
    limit = {"permitted": [x509.DNSName("clinic.example.org"), x509.RFC822Name(".clinic.example.org")]}
    root = make_ca("Bound Root", key="p256", **(limit if constrain == "root" else {}))
    middle = make_ca("Bound CA", key="p256", issuer=root, **(limit if constrain == "middle" else {}))
    inside = issue(middle, domains=[DOMAIN], emails=[ADDRESS])
    assert code_of(inside, [middle], [root]) is None
    for outside in [{"domains": ["direct.other.example"]}, {"emails": ["ann@direct.other.example"]}]:
        assert code_of(issue(middle, **outside), [middle], [root]) == "name_constraint_violated"


def test_excluded_names_are_refused() -> None:
    root = make_ca("Excluding Root", key="p256", excluded=[x509.DNSName("evil.test")])
    assert code_of(issue(root, domains=[DOMAIN]), [], [root]) is None
    assert code_of(issue(root, domains=["direct.evil.test"]), [], [root]) == "name_constraint_violated"


def test_required_policies() -> None:
    wanted, other = "1.3.6.1.4.1.55555.2.1", "1.3.6.1.4.1.55555.2.9"
    root = make_ca("Policy Root", key="p256")
    middle = make_ca("Policy CA", key="p256", issuer=root, policies=[wanted, other])
    policy = Policy(required_policies=frozenset({wanted}))
    assert (
        code_of(issue(middle, domains=[DOMAIN], policies=[wanted]), [middle], [root], policy=policy) is None
    )
    for policies in ([other], []):
        leaf = issue(middle, domains=[DOMAIN], policies=policies)
        assert code_of(leaf, [middle], [root], policy=policy) == "policy_not_met"
        assert code_of(leaf, [middle], [root]) is None


def test_a_demanded_policy_of_the_path_is_judged() -> None:
    root = make_ca("Demanding Root", key="p256")
    middle = make_ca("Demanding CA", key="p256", issuer=root, require_explicit_policy=0, policies=["1.2.3.4"])
    assert code_of(issue(middle, domains=[DOMAIN], policies=["1.2.3.4"]), [middle], [root]) is None
    assert code_of(issue(middle, domains=[DOMAIN]), [middle], [root]) == "policy_not_met"


# --- bounds ---------------------------------------------------------------------------------------------


def test_too_many_certificates(pki: Pki) -> None:
    others = [make_ca(f"Other {number}", key="p256") for number in range(10)]
    assert code_of(pki.leaf, [pki.middle, *others[:9]], [pki.root]) is None
    assert code_of(pki.leaf, [pki.middle, *others], [pki.root]) == "too_many_certificates"


def test_a_hundred_of_one_name_cost_nothing(pki: Pki) -> None:
    """A path builder that tries them all needs more than 40 s for nine."""
    shared = pki.middle.private_key
    flood = [make_ca("Same Name", key=shared, issuer=pki.middle, serial=1000 + each) for each in range(100)]
    certificates = [read(each) for each in flood]
    leaf = read(issue(flood[0], domains=[DOMAIN]))
    context = TrustContext((read(pki.root),))
    started = time.process_time()
    with pytest.raises(errors.TooManyCertificates):
        verify_path(leaf, certificates, context, NOW)
    with pytest.raises(errors.TooManySameSubject):
        verify_path(leaf, certificates[:10], context, NOW)
    assert time.process_time() - started < 0.5


def test_candidate_paths_are_bounded() -> None:
    """Five names, two cross-signed certificates each: 32 paths, none of which stands."""
    root = make_ca("Maze Root", key="p256")
    above, pool = [root, root], []
    shared = [make_ca(f"Maze {level}", key="p256").private_key for level in range(5)]
    for level, key in enumerate(shared):
        pair = [
            make_ca(f"Maze {level}", key=key, issuer=above[0], not_before=days(-9), not_after=days(-1))
            for _ in range(2)
        ]
        pool += pair
        above = pair
    leaf = issue(above[0], domains=[DOMAIN])
    started = time.process_time()
    assert code_of(leaf, pool, [root]) == "too_many_paths"
    assert time.process_time() - started < 0.5


def test_depth_is_bounded() -> None:
    tower = [make_ca("Tower 0", key="p256")]
    for level in range(1, 8):
        tower.append(make_ca(f"Tower {level}", key="p256", issuer=tower[-1]))
    assert code_of(issue(tower[5], domains=[DOMAIN]), tower[1:], [tower[0]]) is None
    assert code_of(issue(tower[6], domains=[DOMAIN]), tower[1:], [tower[0]]) == "path_too_long"


def test_a_flood_of_name_constraints_is_counted_not_read(pki: Pki) -> None:
    names = [x509.DNSName(f"d{number}.example.org") for number in range(2048)]
    flood = make_ca("Flood CA", issuer=pki.root, permitted=names)
    assert code_of(issue(flood, domains=[DOMAIN]), [flood], [pki.root]) == "too_many_name_constraints"
    root = make_ca("Flood Root", key="p256", excluded=names)
    assert code_of(issue(root, domains=[DOMAIN]), [], [root]) == "too_many_name_constraints"


def test_large_certificates_and_many_names(pki: Pki) -> None:
    bulk = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.3"), b"\x04" * 66_000)
    huge = issue(pki.middle, domains=[DOMAIN], extra=[(bulk, False)])
    assert code_of(huge, [pki.middle], [pki.root]) == "certificate_too_large"
    many = issue(pki.middle, domains=[f"d{number}.example.org" for number in range(101)])
    assert code_of(many, [pki.middle], [pki.root]) == "too_many_names"


def test_loops_of_cross_certificates_end() -> None:
    one, two = make_ca("Loop One", key="p256"), make_ca("Loop Two", key="p256")
    one_by_two = make_ca("Loop One", key=one.private_key, issuer=two)
    two_by_one = make_ca("Loop Two", key=two.private_key, issuer=one)
    leaf = issue(one, domains=[DOMAIN])
    stranger = make_ca("Elsewhere", key="p256")
    assert code_of(leaf, [one_by_two, two_by_one], [stranger]) == "untrusted_chain"
    assert code_of(leaf, [one_by_two, two_by_one], [two]) is None


# --- keeping verdicts -----------------------------------------------------------------------------------


def test_verdicts_expire_with_the_shortest_life(pki: Pki) -> None:
    lists = (make_crl(pki.root, next_update=days(9)), make_crl(pki.middle, next_update=days(2)))
    assert judge(pki.leaf, [pki.middle], [pki.root], lists, REQUIRE).expires == days_of(lists[1])
    assert judge(pki.leaf, [pki.middle], [pki.root]).expires == pki.leaf.certificate.not_valid_after_utc


def days_of(crl: bytes) -> datetime.datetime:
    found = x509.load_der_x509_crl(crl).next_update_utc
    assert found is not None
    return found


def test_verdict_keys_depend_on_all_that_decides(pki: Pki) -> None:
    leaf, middle, root = read(pki.leaf), read(pki.middle), read(pki.root)
    base = TrustContext((root,))
    keys = {
        verdict_key(leaf, [middle], base),
        verdict_key(leaf, [], base),
        verdict_key(middle, [leaf], base),
        verdict_key(leaf, [middle], TrustContext((root, middle))),
        verdict_key(leaf, [middle], TrustContext((root,), pki.crls())),
        verdict_key(leaf, [middle], TrustContext((root,), (), REQUIRE)),
    }
    assert len(keys) == 6
    assert verdict_key(leaf, [middle, root], base) == verdict_key(leaf, [root, middle, root], base)


def test_names_are_matched_as_issuers_write_them() -> None:
    root = make_ca("Spelling  Root", key="p256")
    other = make_ca("spelling root", key=root.private_key)
    leaf = issue(root, domains=[DOMAIN], issuer_name=name_of("SPELLING Root"))
    assert code_of(leaf, [], [root]) is None
    assert code_of(leaf, [], [other]) is None
