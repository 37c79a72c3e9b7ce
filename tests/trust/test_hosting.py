"""What we publish, published by the servers that others run, and found again as a partner finds it.

`test_h1` to `test_h4` are the cases of the certification tool for hosting: address-bound and domain-bound, by
DNS (BIND 9) and by LDAP (OpenLDAP, named by an SRV record). Our records and entries go there as the command
prints them.
"""

import contextlib
import io
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
from django.core.management import call_command

from tests import pki_factory, public_servers
from trust import authorities, discovery, keyimport, nameservice

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
BASE = "dc=direct,dc=portal,dc=example"
ADDRESS = f"otter.fern.204@{OURS}"
OWNER = f"otter.fern.204.{OURS}"
LDAP_HOST = f"ldap.{OURS}"
#: What a zone needs beside our records, which are included in it as their first lines say.
ZONE = """$ORIGIN {name}.
$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 300
@ IN NS ns1
@ IN MX 10 ns1
ns1 IN A 127.0.0.1
{more}
"""


@pytest.fixture(autouse=True)
def shorter_keys(monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)


def printed(kind):
    output = io.StringIO()
    call_command("publish_certificates", format=kind, stdout=output)
    return output.getvalue()


@contextlib.contextmanager
def dns_at(tmp_path, settings, more=""):
    with public_servers.bind9(tmp_path, {OURS: ZONE.format(name=OURS, more=more)}) as where:
        settings.DNS_SERVERS = [where]
        yield where


@pytest.fixture
def published_by_dns(tmp_path, settings):
    """Puts what the command prints into the zone that BIND 9 serves."""

    @contextlib.contextmanager
    def publish():
        records = Path(tmp_path) / "direct-certificates.zone"
        records.write_text(printed("zone"))
        with dns_at(tmp_path, settings, f'$INCLUDE "{records}"') as where:
            yield where

    return publish


@pytest.fixture
def published_by_ldap(tmp_path, settings):
    """Puts what the command prints into an OpenLDAP server, which an SRV record in BIND 9's zone names."""

    @contextlib.contextmanager
    def publish():
        with public_servers.openldap(tmp_path, BASE, printed("ldif")) as port:
            settings.FETCH_ALLOW = [(LDAP_HOST, port)]
            more = f"_ldap._tcp IN SRV 0 0 {port} ldap\nldap IN A 127.0.0.1"
            with dns_at(tmp_path, settings, more):
                yield

    return publish


def found(address):
    """What a partner who trusts our anchor finds for `address`."""
    result = discovery.find(address, at=pki_factory.utc_now(), sender=OURS)
    assert result.code == "", result.steps
    return [(each.certificate.der, each.place) for each in result.found]


def asked(where, name, transport):
    query = dns.message.make_query(name, "CERT", use_edns=0, payload=nameservice.UDP_PAYLOAD)
    return transport(query, where[0], port=where[1], timeout=10)


# --- the cases of the certification tool ----------------------------------------------------------------


def test_h1_certificate_of_the_address_by_dns(published_by_dns):
    row = authorities.issue_identity(ADDRESS)
    with published_by_dns() as where:
        assert found(ADDRESS) == [(bytes(row.der), "dns_address")]
        (rrset,) = asked(where, OWNER, dns.query.udp).answer
    (record,) = rrset
    assert (record.certificate_type, record.key_tag, record.algorithm) == (1, 0, 0)
    assert record.certificate == bytes(row.der)


def test_h2_certificate_of_the_domain_by_dns(published_by_dns):
    row = authorities.issue_identity(OURS)
    with published_by_dns() as where:
        assert found(ADDRESS) == [(bytes(row.der), "dns_domain")]
        assert asked(where, OWNER, dns.query.udp).rcode() == dns.rcode.NXDOMAIN


def test_h3_certificate_of_the_address_by_ldap(published_by_ldap):
    row, _ = authorities.issue_identity(ADDRESS), authorities.issue_identity(OURS)
    with published_by_ldap():
        assert found(ADDRESS) == [(bytes(row.der), "ldap_address")]


def test_h4_certificate_of_the_domain_by_ldap(published_by_ldap):
    row = authorities.issue_identity(OURS)
    with published_by_ldap():
        assert found(ADDRESS) == [(bytes(row.der), "ldap_domain")]


# --- what else a real server brings up ------------------------------------------------------------------


def test_what_does_not_fit_into_a_datagram_is_cut_and_comes_over_tcp(published_by_dns):
    """A key of 4096 bits, issued by an authority with such a key."""
    root = pki_factory.make_ca("Example Accredited Root", key="rsa4096")
    leaf = pki_factory.issue(root, domains=[OURS], key="rsa4096", fresh_key=True)
    assert len(leaf.der) > nameservice.UDP_PAYLOAD
    keyimport.import_p12(leaf.p12(chain=[root]))
    authorities.Anchor.objects.create(
        **authorities.Anchor.fields_of(authorities.Certificate(root.der)), incoming=True, outgoing=True
    )
    with published_by_dns() as where:
        cut = asked(where, OURS, dns.query.udp)
        assert cut.flags & dns.flags.TC
        assert not cut.answer
        whole = nameservice.look_up(nameservice.absolute(OURS), "CERT")
        assert whole.over_tcp
        assert [each.certificate for each in whole.records] == [leaf.der]
        assert found(ADDRESS) == [(leaf.der, "dns_domain")]


def test_old_and_new_are_both_found(published_by_dns):
    rows = [authorities.issue_identity(OURS) for _ in range(2)]
    with published_by_dns():
        assert {der for der, _ in found(ADDRESS)} == {bytes(row.der) for row in rows}


@pytest.mark.parametrize("local", ["o'neil", "a+b", "under_score", "x" * 63, "1.2.3"])
def test_bind_takes_any_local_part(published_by_dns, local):
    row = authorities.issue_identity(f"{local}@{OURS}")
    with published_by_dns():
        answer = nameservice.look_up(nameservice.owner_of(f"{local}@{OURS}"), "CERT")
    assert [each.certificate for each in answer.records] == [bytes(row.der)]


def test_a_name_that_dns_cannot_hold_does_not_spoil_the_zone(published_by_dns):
    """A label has 63 octets at most (RFC 1035 section 2.3.4), a local part 64 (RFC 5321 section 4.5.3.1)."""
    long = f"{'x' * 64}@{OURS}"
    row, _ = authorities.issue_identity(OURS), authorities.issue_identity(long)
    assert f"; {long} cannot stand in DNS" in printed("zone")
    with published_by_dns():
        assert found(ADDRESS) == [(bytes(row.der), "dns_domain")]


def test_openldap_takes_domains_below_each_other_and_odd_names(tmp_path, settings):
    names = [OURS, f"annex.{OURS}", f"a+b@annex.{OURS}", f"#1@{OURS}", f"o'neil@{OURS}"]
    rows = {name: authorities.issue_identity(name) for name in names}
    with public_servers.openldap(tmp_path, BASE, printed("ldif")) as port:
        settings.FETCH_ALLOW = [("127.0.0.1", port)]
        with discovery.directory.Directory("127.0.0.1", port) as opened:
            for name, row in rows.items():
                assert opened.certificates(name) == [bytes(row.der)], name
