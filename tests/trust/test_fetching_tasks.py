"""What the worker does on its timer, and what the checks tell of it."""

import pytest

from tests import pki_factory
from trust import bundles, checks, context, resolvers, revocation_lists, tasks
from trust.models import Anchor, Crl
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Tamarisk Clinics CA")


@pytest.fixture(autouse=True)
def nobody_noted():
    revocation_lists._noted.clear()


def told(found):
    return [message.id for message in found]


def test_due_bundles_are_refreshed(ca, web):
    web.files["/b"] = pki_factory.make_p7b([ca])
    bundle = bundles.add("Members", web.url("/b"))
    tasks.refresh_bundles()
    assert [anchor.sha256 for anchor in bundle.anchors.all()] == [ca.sha256]
    assert told(checks.failing_bundles()) == []


def test_a_bundle_that_fails_is_told_by_the_checks(web):
    bundles.add("Members", web.url("/none"))
    tasks.refresh_bundles()
    (message,) = checks.failing_bundles()
    assert (message.id, message.hint) == ("trust.W007", bundles.WORDS["NOT_FOUND"])


def test_due_lists_are_refreshed_and_missing_ones_told(ca, web):
    Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))
    leaf = pki_factory.issue(ca, emails=["a@direct.tamarisk.example"], cdp=[web.url("/ca.crl")])
    resolvers.verify(
        Certificate(leaf.der), [], lambda: context.for_address(f"a@{OURS}").trust, pki_factory.utc_now()
    )
    tasks.refresh_crls()
    (message,) = checks.missing_lists()
    assert message.id == "trust.W008"
    assert web.url("/ca.crl") in message.msg
    web.files["/ca.crl"] = pki_factory.make_crl(ca)
    revocation_lists.memory.forget("crl_failed", web.url("/ca.crl"))
    tasks.refresh_crls()
    assert Crl.objects.get().url == web.url("/ca.crl")
    assert told(checks.missing_lists()) == []
