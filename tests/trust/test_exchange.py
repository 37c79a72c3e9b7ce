""" "Can we exchange with this address?": what is told of each place, each certificate and each way."""

import pytest
from django.test import Client

from tests import factories, ldap_server, pki_factory
from trust import context, discovery, exchange, nameservice
from trust.models import Anchor
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
DOMAIN = "direct.clinic.example"
ADDRESS = f"ines.moreau@{DOMAIN}"
OWNER = f"ines.moreau.{DOMAIN}"


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Mallow Clinic CA", key="p256")


@pytest.fixture
def zone(name_server, settings):
    settings.FETCH_ALLOW = []
    return name_server


@pytest.fixture
def browser():
    context.ensure_domains()
    client = Client()
    client.force_login(factories.account("ida@portal.example", "Ida", is_staff=True))
    return client


def trusted(ca, **options):
    return Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)), **options)


def search(address=ADDRESS):
    return discovery.find(address, at=pki_factory.utc_now(), sender=OURS)


def told(found):
    return [(each.outcome, each.word) for each in exchange.places(found)]


def seen(found):
    return [each for place in exchange.places(found) for each in place.seen]


def shown(browser, address=ADDRESS):
    answer = browser.post("/trust/exchange/", {"address": address, "domain": OURS})
    return " ".join(answer.content.decode().split())


NOTHING = ("open", "Nothing for this address")


# --- the steps carry what they judged -------------------------------------------------------------------


def test_a_step_carries_the_certificate_and_its_chain(ca, zone):
    trusted(ca)
    leaf = pki_factory.issue(ca, domains=[DOMAIN])
    zone.add_certificate(DOMAIN, leaf.der)
    (step,) = [each for each in search().steps if each.certificate]
    assert (step.code, step.certificate.sha256) == ("usable", leaf.sha256)
    assert [each.sha256 for each in step.chain] == [leaf.sha256, ca.sha256]


def test_a_chain_that_breaks_is_followed_as_far_as_it_led(ca, zone, web):
    between = pki_factory.make_ca("Mallow Issuing CA", issuer=ca, key="p256")
    leaf = pki_factory.issue(between, domains=[DOMAIN], aia=[web.url("/issuing.cer")])
    # Beside the true issuer one of its name, with another key.
    web.files["/issuing.cer"] = pki_factory.make_p7b(
        [pki_factory.make_ca("Mallow Issuing CA", key="p256"), between]
    )
    zone.add_certificate(DOMAIN, leaf.der)
    found = search()
    (step,) = [each for each in found.steps if each.certificate]
    assert step.code == "untrusted_chain"
    assert [each.sha256 for each in step.chain] == [leaf.sha256, between.sha256]
    (one,) = seen(found)
    assert one.broken == "CN=Mallow Clinic CA"
    assert "import its anchor" in one.todo


def test_what_is_no_certificate_has_a_step_without_one(zone):
    zone.add_certificate(DOMAIN, b"\x30\x03\x02\x01\x01")
    (one,) = seen(search())
    assert (one.code, one.chain) == ("malformed_certificate", ())
    assert "cannot be read" in one.todo


# --- the places -----------------------------------------------------------------------------------------


def test_found_at_the_second_place_the_others_are_not_needed(ca, zone):
    trusted(ca)
    zone.add_certificate(DOMAIN, pki_factory.issue(ca, domains=[DOMAIN]).der)
    assert told(search()) == [NOTHING, ("passed", "Found"), ("open", "Not needed"), ("open", "Not needed")]


def test_nothing_anywhere(zone):
    assert told(search()) == [NOTHING] * 4


def test_an_unusable_certificate_ends_the_search(ca, zone):
    trusted(ca)
    times = {"not_before": pki_factory.days(-9), "not_after": pki_factory.days(-1)}
    zone.add_certificate(OWNER, pki_factory.issue(ca, emails=[ADDRESS], **times).der)
    first, *others = told(search())
    assert first == ("failed", "Not usable")
    assert others == [("open", "Not asked")] * 3
    (one,) = seen(search())
    assert "publish a new certificate" in one.todo


def test_somebody_elses_certificate_counts_as_none(ca, zone):
    trusted(ca)
    zone.add_certificate(OWNER, pki_factory.issue(ca, emails=[f"else@{DOMAIN}"]).der)
    found = search()
    assert told(found)[0] == NOTHING
    (one,) = seen(found)
    assert one.is_passed_over
    assert exchange.receiving(found, OURS, pki_factory.utc_now()) is None


def test_a_server_that_fails_is_no_answer(zone, monkeypatch):
    monkeypatch.setattr(nameservice, "PAUSE_S", 0.0)
    zone.misbehave(OWNER, "CERT", "servfail")
    assert told(search())[0] == ("failed", "No answer")


def test_a_directory_that_holds_it(ca, zone, settings):
    trusted(ca)
    with ldap_server.running() as server:
        zone.add("ldap.clinic.example", "A", "127.0.0.1")
        zone.add(f"_ldap._tcp.{DOMAIN}", "SRV", f"0 0 {server.port} ldap.clinic.example.")
        settings.FETCH_ALLOW = [("ldap.clinic.example", server.port)]
        server.add(DOMAIN, pki_factory.issue(ca, domains=[DOMAIN]).der)
        assert told(search()) == [NOTHING] * 3 + [("passed", "Found")]


# --- why an anchor does not count -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": "paused"}, "is here but paused"),
        ({"state": "revoked"}, "is here but revoked"),
        ({"outgoing": False}, "does not count for outgoing mail"),
    ],
)
def test_an_anchor_that_is_here_and_does_not_count_is_named(ca, zone, change, words):
    anchor = trusted(ca, **change)
    zone.add_certificate(DOMAIN, pki_factory.issue(ca, domains=[DOMAIN]).der)
    (one,) = seen(search())
    assert one.anchor == anchor
    assert words in one.todo


def test_an_anchor_of_that_name_with_another_key_is_told_apart(ca, zone):
    trusted(pki_factory.make_ca("Mallow Clinic CA", key="p256"))
    zone.add_certificate(DOMAIN, pki_factory.issue(ca, domains=[DOMAIN]).der)
    (one,) = seen(search())
    assert "another key" in one.todo


def test_they_may_write_to_us_though_we_may_not_write_to_them(ca, zone):
    """What was refused for sending is still judged for receiving."""
    trusted(ca, outgoing=False)
    zone.add_certificate(DOMAIN, pki_factory.issue(ca, domains=[DOMAIN]).der)
    found = search()
    assert not exchange.sending(found).works
    assert exchange.receiving(found, OURS, pki_factory.utc_now()).works


# --- the page -------------------------------------------------------------------------------------------


def test_the_page_draws_a_chain_that_stands(ca, zone, browser):
    trusted(ca)
    leaf = pki_factory.issue(ca, domains=[DOMAIN])
    zone.add_certificate(DOMAIN, leaf.der)
    page = shown(browser)
    assert "We to them: yes" in page
    assert "They to us: yes" in page
    assert "A good certificate." in page
    assert "here it ends" not in page
    assert page.count(leaf.sha256) == 2


def test_the_page_draws_where_a_chain_breaks(ca, zone, browser):
    zone.add_certificate(DOMAIN, pki_factory.issue(ca, domains=[DOMAIN]).der)
    page = shown(browser)
    assert "We to them: no" in page
    assert "They to us: no" in page
    assert "here it ends: no anchor that counts" in page
    assert "/trust/anchors/import/" in page


def test_the_page_of_an_address_that_is_nowhere(zone, browser):
    page = shown(browser)
    assert "We to them: no" in page
    assert "They to us: not known" in page
    assert page.count("Nothing for this address") == 4
