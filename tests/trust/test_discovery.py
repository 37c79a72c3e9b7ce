"""Finding certificates by address: the order of places, when to stop, and what others cannot do to us.

`test_d01` to `test_d18` are the cases of the certification tool for discovery.
"""

import random
import socket

import pytest

from tests import ldap_server, pki_factory
from tests.dns_server import IPKIX, closed_port
from trust import context, discovery, memory, nameservice, revocation_lists
from trust.models import Anchor, Domain
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
SENDER = f"otter.fern.204@{OURS}"
DOMAIN = "direct.clinic.example"
ADDRESS = f"ines.moreau@{DOMAIN}"
OWNER = f"ines.moreau.{DOMAIN}"
SRV = f"_ldap._tcp.{DOMAIN}"


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Mallow Clinic CA")


@pytest.fixture(autouse=True)
def trusted(ca):
    revocation_lists._noted.clear()
    return Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))


@pytest.fixture
def zone(name_server, settings):
    """Names of hosts that lead to this machine; LDAP servers are allowed one by one."""
    settings.FETCH_ALLOW = []
    return name_server


@pytest.fixture
def directory(zone, settings):
    """Makes LDAP servers, each under a name and an SRV record."""
    running = []

    def start(host="ldap1.clinic.example", priority=0, weight=0, *, domain=DOMAIN):
        manager = ldap_server.running()
        server = manager.__enter__()
        running.append(manager)
        publish(zone, settings, host, server.port, priority, weight, domain)
        return server

    yield start
    for each in running:
        each.__exit__(None, None, None)


def publish(zone, settings, host, port, priority=0, weight=0, domain=DOMAIN):
    zone.add(host, "A", "127.0.0.1")
    zone.add(f"_ldap._tcp.{domain}", "SRV", f"{priority} {weight} {port} {host}.")
    settings.FETCH_ALLOW = [*settings.FETCH_ALLOW, (host, port)]


def of_address(ca, **options):
    return pki_factory.issue(ca, emails=[ADDRESS], **options)


def of_domain(ca, **options):
    return pki_factory.issue(ca, domains=[DOMAIN], **options)


def expired(ca, make=of_address):
    return make(ca, not_before=pki_factory.days(-30), not_after=pki_factory.days(-1))


def look(address=ADDRESS, **options):
    return discovery.find(address, at=pki_factory.utc_now(), sender=SENDER, **options)


def found(result):
    return [(each.certificate.sha256, each.place) for each in result.found]


def only(result, issued, place):
    assert found(result) == [(issued.sha256, place)], result.steps
    assert (result.code, result.temporary) == ("", False)


def codes(result):
    return [step.code for step in result.steps]


def nothing(result, code):
    assert (result.found, result.code, result.temporary) == ((), code, False), result.steps
    assert result.detail


# --- the cases of the certification tool ----------------------------------------------------------------


def test_d01_valid_certificate_of_the_address_in_dns(ca, zone):
    leaf = of_address(ca)
    zone.add_certificate(OWNER, leaf.der)
    only(look(), leaf, "dns_address")


def test_d02_valid_certificate_of_the_domain_in_dns(ca, zone):
    leaf = of_domain(ca)
    zone.add_certificate(DOMAIN, leaf.der)
    only(look(), leaf, "dns_domain")


def test_d03_valid_certificate_of_the_address_in_ldap(ca, directory):
    leaf = of_address(ca)
    server = directory()
    server.add(ADDRESS, leaf.der)
    server.add(DOMAIN, of_domain(ca).der)
    only(look(), leaf, "ldap_address")


def test_d04_valid_certificate_of_the_domain_in_ldap(ca, directory):
    leaf = of_domain(ca)
    directory().add(DOMAIN, leaf.der)
    only(look(), leaf, "ldap_domain")


def test_d05_invalid_certificate_of_the_address_in_dns(ca, zone, directory):
    zone.add_certificate(OWNER, expired(ca).der)
    zone.add_certificate(DOMAIN, of_domain(ca).der)
    server = directory()
    server.add(ADDRESS, of_address(ca).der)
    nothing(look(), "expired")
    assert not server.connections


def test_d06_invalid_certificate_of_the_domain_in_dns(ca, zone, directory):
    zone.add_certificate(DOMAIN, expired(ca, of_domain).der)
    server = directory()
    server.add(ADDRESS, of_address(ca).der)
    nothing(look(), "expired")
    assert not server.connections


def test_d07_invalid_certificate_of_the_address_in_ldap(ca, directory):
    server = directory()
    server.add(ADDRESS, expired(ca).der)
    server.add(DOMAIN, of_domain(ca).der)
    nothing(look(), "expired")


def test_d08_invalid_certificate_of_the_domain_in_ldap(ca, directory):
    directory().add(DOMAIN, expired(ca, of_domain).der)
    nothing(look(), "expired")


def test_d09_the_valid_one_of_several_in_dns(ca, zone):
    good = of_address(ca)
    zone.add_certificate(OWNER, expired(ca).der, good.der)
    only(look(), good, "dns_address")


def test_d10_the_first_ldap_server_is_dead(ca, zone, directory, settings):
    leaf = of_address(ca)
    publish(zone, settings, "dead.clinic.example", closed_port(), priority=0)
    directory("alive.clinic.example", priority=1).add(ADDRESS, leaf.der)
    result = look()
    only(result, leaf, "ldap_address")
    assert "ldap_failed" in codes(result)


def test_d11_no_certificate_in_dns_and_no_srv_record(zone):
    result = look()
    nothing(result, "no_certificate")
    assert codes(result) == ["nxdomain", "nxdomain", "no_srv", "no_certificate"]


def test_d12_no_certificate_in_dns_and_only_dead_ldap_servers(zone, settings):
    publish(zone, settings, "dead.clinic.example", closed_port())
    nothing(look(), "no_certificate")


def test_d13_no_certificate_anywhere(directory):
    server = directory()
    server.add(ADDRESS)
    nothing(look(), "no_certificate")
    assert [wanted for _, _, wanted in server.searches] == [ADDRESS, DOMAIN]


def test_d14_a_certificate_too_large_for_a_datagram_comes_over_tcp(ca, zone):
    leaf = of_address(ca, key="rsa4096", fresh_key=True)
    zone.udp_limit = 512
    zone.add_certificate(OWNER, leaf.der)
    only(look(), leaf, "dns_address")
    assert (zone.asked[OWNER, "CERT", "udp"], zone.asked[OWNER, "CERT", "tcp"]) == (1, 1)


def test_d15_the_ldap_server_of_lowest_priority_number_goes_first(ca, directory):
    leaf = of_address(ca)
    later = directory("later.clinic.example", priority=20)
    later.add(ADDRESS, of_address(ca).der)
    directory("first.clinic.example", priority=10).add(ADDRESS, leaf.der)
    only(look(), leaf, "ldap_address")
    assert not later.connections


def test_d16_within_one_priority_the_weight_decides(ca, directory, monkeypatch):
    # The lot falls on weight 0 once in 65,536 times: a lot that is the same every day.
    monkeypatch.setattr(discovery.random, "SystemRandom", lambda: random.Random(7))
    leaf = of_address(ca)
    light = directory("light.clinic.example", priority=0, weight=0)
    light.add(ADDRESS, of_address(ca).der)
    directory("heavy.clinic.example", priority=0, weight=65_535).add(ADDRESS, leaf.der)
    only(look(), leaf, "ldap_address")
    assert not light.connections


def test_d17_a_revoked_certificate_is_never_used(ca, zone, web):
    leaf = of_address(ca, cdp=[web.url("/ca.crl")])
    web.files["/ca.crl"] = pki_factory.make_crl(ca, [leaf])
    zone.add_certificate(OWNER, leaf.der)
    zone.add_certificate(DOMAIN, of_domain(ca).der)
    nothing(look(), "revoked")


def test_d17_a_good_certificate_beside_a_revoked_one_is_used(ca, zone, web):
    revoked, good = (of_address(ca, cdp=[web.url("/ca.crl")]) for _ in range(2))
    web.files["/ca.crl"] = pki_factory.make_crl(ca, [revoked])
    zone.add_certificate(OWNER, revoked.der, good.der)
    result = look()
    only(result, good, "dns_address")
    assert "revoked" in codes(result)


def test_d18_the_intermediate_is_found_by_aia_only(ca, zone, web):
    between = pki_factory.make_ca("Mallow Issuing CA", issuer=ca)
    leaf = of_address(between, aia=[web.url("/issuing.cer")])
    zone.add_certificate(OWNER, leaf.der)
    nothing(look(), "untrusted_chain")
    web.files["/issuing.cer"] = between.der
    nothing(look(), "untrusted_chain")
    discovery.forget(ADDRESS)
    result = look()
    only(result, leaf, "dns_address")
    assert [each.sha256 for each in result.found[0].chain.certificates] == [
        leaf.sha256,
        between.sha256,
        ca.sha256,
    ]


# --- several certificates -------------------------------------------------------------------------------


def test_all_that_pass_are_used(ca, zone):
    first, second = of_address(ca), of_address(ca)
    zone.add_certificate(OWNER, first.der, expired(ca).der, second.der)
    assert {sha256 for sha256, _ in found(look())} == {first.sha256, second.sha256}


def test_a_poisoned_answer_costs_nothing_beside_a_good_one(ca, zone):
    good = of_address(ca)
    zone.add_certificate(
        OWNER,
        pki_factory.issue(None, emails=[ADDRESS]).der,
        pki_factory.issue(ca, emails=[f"somebody.else@{DOMAIN}"]).der,
        expired(ca).der,
        b"\x30\x03\x02\x01\x01",
        good.der,
    )
    result = look()
    only(result, good, "dns_address")
    assert {"untrusted_chain", "address_not_covered", "expired", "malformed_certificate"} <= set(
        codes(result)
    )


def test_a_certificate_for_signing_only_is_not_encrypted_to(ca, zone):
    encrypts = of_address(ca, key_usage=("key_encipherment",))
    zone.add_certificate(OWNER, of_address(ca, key_usage=("digital_signature",)).der, encrypts.der)
    only(look(), encrypts, "dns_address")


@pytest.mark.parametrize("place", ["dns_address", "dns_domain", "ldap_address", "ldap_domain"])
@pytest.mark.parametrize("fault", ["expired", "not_yet_valid", "untrusted_chain", "weak_key", "revoked"])
def test_a_place_with_unusable_certificates_only_ends_the_search(ca, zone, directory, web, place, fault):
    make = of_address if place.endswith("address") else of_domain
    leaf = {
        "expired": lambda: expired(ca, make),
        "not_yet_valid": lambda: make(ca, not_before=pki_factory.days(1)),
        "untrusted_chain": lambda: make(None),
        "weak_key": lambda: make(ca, key="rsa1024"),
        "revoked": lambda: make(ca, cdp=[web.url("/ca.crl")]),
    }[fault]()
    if fault == "revoked":
        web.files["/ca.crl"] = pki_factory.make_crl(ca, [leaf])
    server = directory()
    order = ["dns_address", "dns_domain", "ldap_address", "ldap_domain"]
    put(zone, server, place, leaf)
    for later in order[order.index(place) + 1 :]:
        put(zone, server, later, of_address(ca) if later.endswith("address") else of_domain(ca))
    nothing(look(), fault)


def put(zone, server, place, leaf):
    name = ADDRESS if place.endswith("address") else DOMAIN
    if place.startswith("ldap"):
        server.add(name, leaf.der)
    else:
        zone.add_certificate(OWNER if name == ADDRESS else DOMAIN, leaf.der)


@pytest.mark.parametrize("place", ["dns_address", "dns_domain", "ldap_address"])
def test_a_certificate_of_somebody_else_counts_as_none(ca, zone, directory, place):
    good = of_domain(ca)
    server = directory()
    put(zone, server, place, pki_factory.issue(ca, emails=[f"somebody.else@{DOMAIN}"]))
    server.add(DOMAIN, good.der)
    result = look()
    only(result, good, "ldap_domain")
    assert "address_not_covered" in codes(result)


def test_only_the_senders_outgoing_anchors_decide(ca, zone, trusted):
    zone.add_certificate(OWNER, of_address(ca).der)
    Anchor.objects.filter(pk=trusted.pk).update(outgoing=False)
    nothing(look(), "untrusted_chain")


def test_where_revocation_must_be_known_and_is_not_it_may_be_later(ca, zone, web):
    Domain.objects.update_or_create(name=OURS, defaults={"revocation": "require"})
    zone.add_certificate(OWNER, of_address(ca, cdp=[web.url("/none.crl")]).der)
    result = look()
    assert (result.code, result.temporary) == ("revocation_unknown", True)


@pytest.mark.parametrize("policy", ["soft", "require"])
@pytest.mark.parametrize("revoked", [True, False])
def test_a_leaf_that_is_its_own_anchor_is_asked_about_at_its_issuer(ca, zone, web, policy, revoked):
    """Its issuer is fetched for that alone: without it the list would be nobody's word."""
    Domain.objects.update_or_create(name=OURS, defaults={"revocation": policy})
    issuer = pki_factory.make_ca("Somebody's CA")
    leaf = of_address(issuer, cdp=[web.url("/ca.crl")], aia=[web.url("/ca.cer")])
    web.files["/ca.cer"] = issuer.der
    web.files["/ca.crl"] = pki_factory.make_crl(issuer, [leaf] if revoked else [])
    Anchor.objects.create(**Anchor.fields_of(Certificate(leaf.der)))
    zone.add_certificate(OWNER, leaf.der)
    if revoked:
        nothing(look(), "revoked")
    else:
        result = look()
        only(result, leaf, "dns_address")
        assert result.found[0].chain.revocation == "good"


# --- DNS ------------------------------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(nameservice, "TRY_S", 0.1)
    monkeypatch.setattr(nameservice, "TOTAL_S", 1.0)
    monkeypatch.setattr(nameservice, "PAUSE_S", 0.0)


@pytest.mark.parametrize("how", ["servfail", "refused", "silent", "garbage"])
@pytest.mark.parametrize(("name", "kind"), [(OWNER, "CERT"), (DOMAIN, "CERT"), (SRV, "SRV")])
def test_a_server_that_fails_is_a_temporary_matter(ca, zone, hurried, how, name, kind):
    zone.misbehave(name, kind, how)
    if kind == "CERT" and name == OWNER:
        zone.add_certificate(DOMAIN, of_domain(ca).der)
    result = look()
    assert (result.found, result.code, result.temporary) == ((), "dns_failure", True)
    assert zone.count(name, kind) >= 3


@pytest.mark.parametrize("how", ["servfail", "silent"])
def test_a_server_that_fails_twice_is_asked_a_third_time(ca, zone, hurried, how):
    leaf = of_address(ca)
    zone.add_certificate(OWNER, leaf.der)
    zone.misbehave(OWNER, "CERT", how, times=2)
    only(look(), leaf, "dns_address")


def test_another_server_is_asked_when_the_first_is_dead(ca, zone, settings, hurried):
    settings.DNS_SERVERS = [("127.0.0.1", closed_port()), *settings.DNS_SERVERS]
    leaf = of_address(ca)
    zone.add_certificate(OWNER, leaf.der)
    only(look(), leaf, "dns_address")


def test_no_records_of_the_kind_is_none_like_no_such_name(ca, zone):
    zone.add(OWNER, "A", "8.8.8.8")
    leaf = of_domain(ca)
    zone.add_certificate(DOMAIN, leaf.der)
    result = look()
    only(result, leaf, "dns_domain")
    assert codes(result)[0] == "nodata"


def test_an_alias_is_followed(ca, zone):
    leaf = of_address(ca)
    zone.add(OWNER, "CNAME", "certs.host.example.")
    zone.add("certs.host.example", "CNAME", "more.host.example.")
    zone.add_certificate("more.host.example", leaf.der)
    only(look(), leaf, "dns_address")


def test_aliases_in_a_ring_end(zone):
    zone.add(OWNER, "CNAME", "a.host.example.")
    zone.add("a.host.example", "CNAME", f"{OWNER}.")
    result = look()
    assert (result.code, result.temporary) == ("dns_failure", True)


def test_tcp_that_is_refused_after_truncation_is_a_temporary_matter(ca, zone, hurried):
    zone.udp_limit, zone.refuses_tcp = 200, True
    zone.add_certificate(OWNER, of_address(ca).der)
    assert look().code == "dns_failure"


def test_a_server_that_knows_no_extensions_is_asked_without(ca, zone):
    zone.ignorant_of_edns = True
    leaf = of_address(ca)
    zone.add_certificate(OWNER, leaf.der)
    only(look(), leaf, "dns_address")


def test_names_are_absolute(zone, monkeypatch):
    zone.add_certificate(f"{OWNER}.corp.example", b"\x30\x00")
    look()
    assert all(name in (OWNER, DOMAIN, SRV) for name, _, _ in zone.asked)


@pytest.mark.parametrize(
    ("address", "labels"),
    [
        ("a.b@d.example", (b"a", b"b", b"d", b"example", b"")),
        ("a\\046b@d.example", (b"a\\046b", b"d", b"example", b"")),
        ('"x y"@d.example', (b'"x y"', b"d", b"example", b"")),
        ("jö@d.example", ("jö".encode(), b"d", b"example", b"")),
        ("a@bücher.example", (b"a", b"xn--bcher-kva", b"example", b"")),
    ],
)
def test_the_owner_name_is_the_address_with_a_dot(address, labels):
    assert nameservice.owner_of(address).labels == labels


@pytest.mark.parametrize(
    "address", ["a..b@d.example", f"{'x' * 64}@d.example", ".a@d.example", "a@", "@", "a@b..c"]
)
def test_an_address_that_is_no_name_is_told(zone, address):
    nothing(look(address), "bad_address")


def test_a_tag_is_no_part_of_what_is_looked_up(ca, zone):
    leaf = of_address(ca)
    zone.add_certificate(OWNER, leaf.der)
    only(look(f"Ines.Moreau+referrals@{DOMAIN.upper()}"), leaf, "dns_address")


def test_no_more_than_ten_records_are_read(ca, zone):
    zone.add_certificate(OWNER, *(expired(ca).der for _ in range(14)))
    assert codes(look()).count("expired") == 10


# --- certificates by URL --------------------------------------------------------------------------------


def test_a_record_may_point_at_a_url(ca, zone, web):
    leaf = of_address(ca)
    web.files["/ines.cer"] = leaf.der
    zone.add_certificate(OWNER, web.url("/ines.cer").encode(), kind=IPKIX)
    only(look(), leaf, "dns_address")


def test_a_url_into_our_own_network_is_not_followed(zone, forbidden):
    zone.add_certificate(OWNER, forbidden.url("/x").encode(), b"file:///etc/passwd", b"\xff", kind=IPKIX)
    result = look()
    nothing(result, "no_certificate")
    assert {"forbidden_address", "bad_url"} <= set(codes(result))
    assert not forbidden.connections


def test_records_of_other_kinds_are_passed_over(ca, zone):
    leaf = of_address(ca)
    zone.add_certificate(OWNER, b"pgp", kind=3)
    zone.add_certificate(OWNER, leaf.der)
    only(look(), leaf, "dns_address")


# --- LDAP -----------------------------------------------------------------------------------------------


def test_the_next_server_is_asked_when_one_has_no_such_entry(ca, directory):
    leaf = of_address(ca)
    directory("one.clinic.example", priority=1).add(ADDRESS)
    directory("two.clinic.example", priority=2).add(ADDRESS, leaf.der)
    only(look(), leaf, "ldap_address")


def test_a_dead_server_is_not_tried_for_every_place(ca, zone, directory, settings):
    dead = directory("dead.clinic.example", priority=0)
    dead.how = "close"
    directory("alive.clinic.example", priority=1).add(DOMAIN, of_domain(ca).der)
    assert found(look())
    assert dead.connections == 1


def test_a_directory_in_our_own_network_is_not_asked(zone, directory, settings):
    server = directory()
    settings.FETCH_ALLOW = []
    nothing(look(), "no_certificate")
    assert not server.connections


def test_a_lone_dot_says_that_there_is_no_directory(zone):
    zone.add(SRV, "SRV", "0 0 0 .")
    result = look()
    nothing(result, "no_certificate")
    assert "no_srv" in codes(result)


def test_weights_are_a_lottery_of_the_given_odds():
    import dns.rdata

    records = [
        dns.rdata.from_text("IN", "SRV", text)
        for text in ("1 10 389 ten.", "1 30 389 thirty.", "1 0 389 zero.", "0 0 389 before.")
    ]
    chance = random.Random(7)
    orders = [[host for host, _ in discovery.in_order(records, chance=chance)] for _ in range(4000)]
    assert all(order[0] == "before" and len(order) == 4 for order in orders)
    seconds = [order[1] for order in orders]
    assert 0.70 < seconds.count("thirty") / 4000 < 0.78
    assert 0.20 < seconds.count("ten") / 4000 < 0.28
    assert 0 < seconds.count("zero") / 4000 < 0.05


# --- what is kept ---------------------------------------------------------------------------------------


def test_what_was_found_is_kept_as_long_as_the_name_service_says(ca, zone):
    import time_machine

    zone.ttl_s = 120
    zone.add_certificate(OWNER, of_address(ca).der)
    assert found(look()) == found(look())
    assert zone.count(OWNER, "CERT") == 1
    with time_machine.travel(pki_factory.days(121 / 86_400), tick=True):
        look()
    assert zone.count(OWNER, "CERT") == 2


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(10_000_000, 3600), (0, 0)])
def test_nothing_is_kept_for_more_than_an_hour(ca, zone, monkeypatch, ttl_s, kept_s):
    zone.ttl_s = ttl_s
    zone.add_certificate(OWNER, of_address(ca).der)
    seen = []
    monkeypatch.setattr(memory, "keep", lambda kind, name, parts, seconds: seen.append(seconds))
    look()
    assert seen == [kept_s]


def test_none_is_kept_for_five_minutes(zone, monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "keep", lambda kind, name, parts, seconds: seen.append((kind, name, seconds)))
    look()
    assert seen == [("dns", ADDRESS, 300), ("dns", DOMAIN, 300)]


def test_a_failure_is_never_kept(ca, zone, hurried):
    zone.misbehave(OWNER, "CERT", "servfail", times=3)
    assert look().temporary
    zone.add_certificate(OWNER, of_address(ca).der)
    assert found(look())


def test_what_is_kept_is_judged_anew(ca, zone, trusted):
    zone.add_certificate(OWNER, of_address(ca).der)
    assert found(look())
    Anchor.objects.filter(pk=trusted.pk).update(state="revoked")
    nothing(look(), "untrusted_chain")
    assert zone.count(OWNER, "CERT") == 1


def test_forget_asks_anew(ca, zone):
    assert not found(look())
    zone.add_certificate(OWNER, of_address(ca).der)
    assert not found(look())
    discovery.forget(ADDRESS.upper())
    assert found(look())


def test_a_cache_that_is_down_or_full_of_other_things_stops_nobody(ca, zone, monkeypatch):
    zone.add_certificate(OWNER, of_address(ca).der)
    memory.cache.set(memory._key("dns", ADDRESS), "{not json")
    assert found(look())
    for name in ("get", "set"):
        monkeypatch.setattr(memory.cache, name, lambda *args: (_ for _ in ()).throw(ConnectionError()))
    assert found(look())


def test_every_step_is_told_in_words(ca, zone, directory):
    directory().add(ADDRESS, of_address(ca).der)
    steps = look().steps
    assert [step.place for step in steps] == ["dns_address", "dns_domain", "ldap_address", "ldap_address"]
    assert all(len(step.detail) > 10 for step in steps)


def test_a_bare_sender_is_the_first_of_our_domains(ca, zone):
    zone.add_certificate(OWNER, of_address(ca).der)
    assert discovery.find(ADDRESS, at=pki_factory.utc_now()).found
    assert context.is_hosted(OURS)


def test_no_socket_is_opened_to_a_name_of_the_answer_itself(zone, monkeypatch):
    """What a stranger's zone names is connected to by the checked address alone."""
    zone.add(SRV, "SRV", "0 0 389 internal.clinic.example.")
    zone.add("internal.clinic.example", "A", "10.0.0.7")
    opened = []
    monkeypatch.setattr(socket, "create_connection", lambda *args, **more: opened.append(args))
    nothing(look(), "no_certificate")
    assert not opened
