"""Verdicts are kept as long as they hold, and no longer."""

import datetime

import pytest

from tests import pki_factory
from trust.pki import path
from trust.pki.certs import Certificate
from trust.pki.errors import Expired, Revoked, UntrustedChain
from trust.pki.policy import Policy, TrustContext
from trust.verdicts import LONGEST_LIFE, Verdicts, verdicts, verify


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Larkspur Community Hospital CA")


@pytest.fixture(autouse=True)
def empty():
    verdicts.clear()
    yield
    verdicts.clear()


@pytest.fixture
def built(monkeypatch):
    """Counts how often a path is built."""
    calls = []

    def counted(leaf, intermediates, context, at):
        calls.append(leaf)
        return path.verify_path(leaf, intermediates, context, at)

    monkeypatch.setattr("trust.verdicts.verify_path", counted)
    return calls


def leaf_of(ca, **options):
    return Certificate(pki_factory.issue(ca, domains=["direct.larkspur.example"], **options).der)


def trust(ca, **options):
    return TrustContext((Certificate(ca.der),), **options)


def test_the_same_question_is_answered_once(ca, built):
    leaf, now = leaf_of(ca), pki_factory.utc_now()
    first = verify(leaf, (), trust(ca), now)
    assert verify(Certificate(leaf.der), (), trust(ca), now + datetime.timedelta(minutes=5)) is first
    assert len(built) == 1


def test_anything_that_matters_makes_it_another_question(ca, built):
    other = pki_factory.make_ca("Tamarisk Clinics CA")
    leaf, now = leaf_of(ca), pki_factory.utc_now()
    verify(leaf, (), trust(ca), now)
    verify(leaf, (Certificate(ca.der),), trust(ca), now)
    verify(leaf, (), trust(ca, policy=Policy(max_depth=3)), now)
    verify(leaf, (), trust(ca, crls=(pki_factory.make_crl(ca),)), now)
    assert len(built) == 4
    with pytest.raises(UntrustedChain):
        verify(leaf, (), trust(other), now)
    with pytest.raises(Revoked):
        verify(leaf, (), trust(ca, crls=(pki_factory.make_crl(ca, [leaf.serial_number]),)), now)


def test_a_verdict_does_not_outlive_its_certificate(ca, built):
    now = pki_factory.utc_now()
    end = now + datetime.timedelta(minutes=2)
    leaf = leaf_of(ca, not_after=end)
    verify(leaf, (), trust(ca), now)
    verify(leaf, (), trust(ca), end)
    assert len(built) == 1
    with pytest.raises(Expired):
        verify(leaf, (), trust(ca), end + datetime.timedelta(seconds=1))


def test_a_verdict_does_not_outlive_its_revocation_list(ca, built):
    now = pki_factory.utc_now()
    end = now + datetime.timedelta(minutes=2)
    context = trust(ca, crls=(pki_factory.make_crl(ca, next_update=end),))
    leaf = leaf_of(ca)
    assert verify(leaf, (), context, now).revocation == "good"
    assert verify(leaf, (), context, end + datetime.timedelta(seconds=1)).revocation == "unknown"
    assert len(built) == 2


def test_a_verdict_is_asked_again_after_a_while_and_never_for_the_past(ca, built):
    leaf, now = leaf_of(ca), pki_factory.utc_now()
    verify(leaf, (), trust(ca), now)
    verify(leaf, (), trust(ca), now + LONGEST_LIFE + datetime.timedelta(seconds=1))
    verify(leaf, (), trust(ca), now - datetime.timedelta(hours=2))
    assert len(built) == 3


def test_a_refusal_is_not_kept(ca, built):
    leaf, now = leaf_of(ca), pki_factory.utc_now()
    for _ in range(2):
        with pytest.raises(UntrustedChain):
            verify(leaf, (), TrustContext(()), now)
    assert len(built) == 2


def test_memory_is_bounded_and_the_least_used_goes_first(ca):
    now = pki_factory.utc_now()
    chain = path.verify_path(leaf_of(ca), (), trust(ca), now)
    kept = Verdicts(most=2)
    kept.put(b"a", chain, now)
    kept.put(b"b", chain, now)
    assert kept.get(b"a", now) is chain
    kept.put(b"c", chain, now)
    assert len(kept) == 2
    assert kept.get(b"b", now) is None
    assert kept.get(b"a", now) is chain
