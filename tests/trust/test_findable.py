"""Is what we published findable? What the console says of our own names, by what partners would see."""

import dns.rdatatype
import dns.zone
import pytest
from django.test import Client
from django.utils import timezone

from healthvault.audit.models import AuditEvent
from tests import factories, ldap_server, pki_factory
from tests.dns_server import closed_port
from trust import authorities, findable, identity_views, nameservice, publication
from trust.models import Identity

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"
OWNER = f"otter.fern.204.{OURS}"
PAGE = "/trust/certificates/findable/"


@pytest.fixture(autouse=True)
def shorter_keys(monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)


@pytest.fixture
def zone(name_server, settings):
    settings.FETCH_ALLOW = []
    return name_server


@pytest.fixture
def ldap(zone, settings):
    with ldap_server.running() as server:
        zone.add("ldap.portal.example", "A", "127.0.0.1")
        zone.add(f"_ldap._tcp.{OURS}", "SRV", f"0 0 {server.port} ldap.portal.example.")
        settings.FETCH_ALLOW = [("ldap.portal.example", server.port)]
        yield server


@pytest.fixture
def browser():
    client = Client()
    client.force_login(factories.account("ida@portal.example", "Ida", is_staff=True))
    return client


def look(name=OURS):
    return findable.look(name, publication.published(timezone.now()).get(name, []), timezone.now())


def only(finding):
    (verdict,) = finding.verdicts
    return verdict


def text(answer):
    return " ".join(answer.content.decode().split())


# --- what is said of a certificate that should be there -------------------------------------------------


@pytest.mark.parametrize(("name", "owner"), [(OURS, OURS), (ADDRESS, OWNER)])
def test_found_in_dns(zone, name, owner):
    zone.add_certificate(owner, bytes(authorities.issue_identity(name).der))
    finding = look(name)
    assert finding.is_good
    assert only(finding).words == "Found as published, by DNS."
    assert not only(finding).records


@pytest.mark.parametrize("name", [OURS, ADDRESS])
def test_found_in_ldap_or_in_both(zone, ldap, name):
    row = authorities.issue_identity(name)
    ldap.add(name, bytes(row.der))
    assert only(look(name)).words == "Found as published, by LDAP."
    zone.add_certificate(OURS if name == OURS else OWNER, bytes(row.der))
    assert only(look(name)).words == "Found as published, by DNS and by LDAP."


def test_nothing_there_and_the_record_to_add(zone):
    row = authorities.issue_identity(OURS)
    verdict = only(look())
    assert verdict.state == "missing"
    assert verdict.records == "\n".join(publication.record(row))
    assert verdict.records in publication.zone(timezone.now())


def test_the_record_to_add_mends_it(zone):
    authorities.issue_identity(ADDRESS)
    read = dns.zone.from_text(f"{only(look(ADDRESS)).records}\n", OURS, relativize=False, check_origin=False)
    for owner, _, record in read.iterate_rdatas(dns.rdatatype.CERT):
        zone.add_certificate(owner, record.certificate)
    assert look(ADDRESS).is_good


def test_an_old_one_of_ours_in_its_place(zone):
    old = authorities.issue_identity(OURS)
    zone.add_certificate(OURS, bytes(old.der))
    Identity.objects.filter(pk=old.pk).update(state=Identity.State.RETIRED)
    authorities.issue_identity(OURS)
    finding = look()
    assert only(finding).state == "other"
    assert only(finding).records
    (stranger,) = finding.strangers
    assert (stranger.way, stranger.sha256) == ("DNS", old.sha256)
    assert "retired" in stranger.words


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"revoked": pki_factory.days(-1)}, "revoked"),
        ({"not_after": pki_factory.days(-1)}, "has ended"),
        ({"use": Identity.Use.SIGNING}, "signing only"),
    ],
)
def test_what_should_go_is_named_with_its_reason(zone, change, word):
    old, new = authorities.issue_identity(OURS), authorities.issue_identity(OURS)
    zone.add_certificate(OURS, bytes(old.der), bytes(new.der))
    Identity.objects.filter(pk=old.pk).update(**change)
    finding = look()
    assert only(finding).state == "found"
    assert not finding.is_good
    assert [word in each.words for each in finding.strangers] == [True]


def test_a_strangers_certificate_under_our_name_is_told(zone):
    row = authorities.issue_identity(OURS)
    strange = pki_factory.issue(pki_factory.make_ca("Nobody's CA", key="p256"), domains=[OURS])
    zone.add_certificate(OURS, bytes(row.der), strange.der, b"\x30\x00")
    unreadable, strange = look().strangers
    assert "no readable certificate" in unreadable.words
    assert "none of ours" in strange.words
    assert "Nobody's CA" in strange.words


def test_ldap_is_hidden_behind_what_dns_holds(zone, ldap):
    """Partners stop at the first place that holds anything for the name."""
    row = authorities.issue_identity(OURS)
    ldap.add(OURS, bytes(row.der))
    zone.add_certificate(OURS, pki_factory.issue(None, domains=[OURS]).der)
    assert only(look()).state == "hidden"


def test_two_certificates_are_told_apart(zone):
    rows = [authorities.issue_identity(OURS) for _ in range(2)]
    zone.add_certificate(OURS, bytes(rows[0].der))
    states = {each.identity.pk: each.state for each in look().verdicts}
    assert states == {rows[0].pk: "found", rows[1].pk: "other"}


# --- what could not be found out ------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(nameservice, "TRY_S", 0.1)
    monkeypatch.setattr(nameservice, "PAUSE_S", 0.0)


def test_a_name_service_that_fails_is_not_none(zone, hurried):
    authorities.issue_identity(OURS)
    zone.misbehave(OURS, "CERT", "servfail")
    verdict = only(look())
    assert verdict.state == "unknown"
    assert "Look again" in verdict.words
    assert not verdict.records


def test_a_directory_that_is_down_is_not_none(zone, settings):
    authorities.issue_identity(OURS)
    port = closed_port()
    zone.add("ldap.portal.example", "A", "127.0.0.1")
    zone.add(f"_ldap._tcp.{OURS}", "SRV", f"0 0 {port} ldap.portal.example.")
    settings.FETCH_ALLOW = [("ldap.portal.example", port)]
    assert only(look()).state == "unknown"


def test_it_is_asked_anew_each_time(zone):
    row = authorities.issue_identity(OURS)
    assert only(look()).state == "missing"
    zone.add_certificate(OURS, bytes(row.der))
    assert only(look()).state == "found"


# --- the page -------------------------------------------------------------------------------------------


def test_looking_at_the_page_asks_nobody(zone, browser):
    authorities.issue_identity(OURS)
    assert "Look our names up" in text(browser.get(PAGE))
    assert not zone.asked


def test_an_empty_installation_is_told_what_to_do_first(zone, browser):
    assert "Nothing is published yet" in text(browser.get(PAGE))
    assert "Nothing is published yet" in text(browser.post(PAGE))


def test_the_page_looks_all_names_up_and_says_what_to_add(zone, browser):
    domain, address = authorities.issue_identity(OURS), authorities.issue_identity(ADDRESS)
    zone.add_certificate(OURS, bytes(domain.der))
    shown = text(browser.post(PAGE))
    assert "Found as published, by DNS." in shown
    assert "Not found: there is no certificate under this name" in shown
    assert publication.record(address)[1] in shown
    assert AuditEvent.objects.filter(action="trust.publication_checked").count() == 1


def test_one_name_alone_from_the_page_of_its_certificate(zone, browser):
    authorities.issue_identity(OURS)
    row = authorities.issue_identity(ADDRESS)
    assert f'value="{ADDRESS}"' in text(browser.get(f"/trust/certificates/{row.pk}/"))
    browser.post(PAGE, {"name": ADDRESS})
    assert zone.count(OWNER, "CERT") == 1
    assert zone.count(OURS, "CERT") == 0


def test_names_of_others_are_not_looked_up(zone, browser):
    authorities.issue_identity(OURS)
    assert browser.post(PAGE, {"name": "somebody.else.example"}).status_code == 200
    assert not zone.asked


def test_a_slow_name_service_leaves_some_for_later(zone, browser, monkeypatch):
    names = [OURS, ADDRESS]
    for name in names:
        authorities.issue_identity(name)
    monkeypatch.setattr(identity_views, "LOOK_UP_S", 0.0)
    shown = text(browser.post(PAGE))
    assert "Not looked up" in shown
    assert all(f'name="name" value="{name}"' in shown for name in names)
