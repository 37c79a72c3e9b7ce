"""Asking LDAP servers, honest and other: a real OpenLDAP, and one that plays tricks."""

import base64
import socket
import time

import pytest

from tests import ldap_server, pki_factory, public_servers
from trust import directory
from trust.directory import Directory, DirectoryFailed

ADDRESS = "ines.moreau@direct.clinic.example"


@pytest.fixture
def ldap(settings):
    with ldap_server.running() as server:
        settings.FETCH_ALLOW = [("127.0.0.1", server.port)]
        yield server


@pytest.fixture(scope="module")
def leaf():
    return pki_factory.issue(pki_factory.make_ca("Mallow CA"), emails=[ADDRESS]).der


def ask(ldap, mail=ADDRESS, **options):
    with Directory("127.0.0.1", ldap.port, **options) as opened:
        return opened.certificates(mail)


@pytest.mark.parametrize("name", ["userCertificate", "userCertificate;binary", "USERCERTIFICATE;BINARY"])
def test_both_attributes_are_read(ldap, leaf, name):
    ldap.add(ADDRESS, leaf, name=name)
    assert ask(ldap) == [leaf]
    assert ldap.binds == [("", b"")]


def test_other_attributes_are_none_of_ours(ldap, leaf):
    ldap.add(ADDRESS, leaf, name="userSMIMECertificate")
    assert ask(ldap) == []


def test_every_tree_of_the_server_is_searched(ldap, leaf):
    ldap.naming_contexts = ["o=empty", "dc=clinic,dc=example", "o=more"]
    ldap.add(ADDRESS)
    ldap.add(ADDRESS, leaf, base="o=more")
    assert ask(ldap) == [leaf]
    assert [base for base, _, _ in ldap.searches] == ["o=empty", "dc=clinic,dc=example", "o=more"]


def test_a_server_that_tells_no_trees_is_searched_from_the_top(ldap, leaf):
    ldap.naming_contexts = []
    ldap.add(ADDRESS, leaf, base="")
    assert ask(ldap) == [leaf]


@pytest.mark.parametrize(
    "mail", ["*", "a*b@x.example", "x)(mail=*", "a\\2a@x.example", "\x00", "jö@x.example"]
)
def test_an_address_is_a_value_and_never_a_filter(ldap, leaf, mail):
    ldap.add(ADDRESS, leaf)
    assert ask(ldap, mail) == []
    assert ldap.searches == [("dc=clinic,dc=example", "mail", mail)]


def test_a_referral_is_not_followed(ldap):
    ldap.how = "referral"
    assert ask(ldap) == []


@pytest.mark.parametrize("how", ["silent", "drip", "garbage", "huge", "close", "bind_refused", "endless"])
def test_a_server_that_misbehaves_is_given_up_in_time(ldap, how):
    ldap.how = how
    began = time.monotonic()
    with pytest.raises(DirectoryFailed):
        ask(ldap, total_s=0.5)
    assert time.monotonic() - began < 1.5


def test_more_values_than_anybody_needs_are_cut_off(ldap):
    ldap.add(ADDRESS, *(bytes([each]) * 10 for each in range(40)))
    assert len(ask(ldap)) == directory.MAX_VALUES


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 389), ("10.0.0.1", 10389), ("8.8.8.8", 25)])
def test_only_public_servers_and_likely_ports_are_asked(settings, host, port):
    settings.FETCH_ALLOW = []
    with pytest.raises(DirectoryFailed) as caught:
        Directory(host, port).open()
    assert "not to be reached" in caught.value.detail or "port 25" in caught.value.detail


def test_a_dead_server_fails_at_once(ldap):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(DirectoryFailed):
            Directory("127.0.0.1", sock.getsockname()[1]).open()


# --- OpenLDAP -------------------------------------------------------------------------------------------

LDIF = """dn: dc=clinic,dc=example
objectClass: dcObject
objectClass: organization
dc: clinic
o: Mallow Clinic

dn: cn=ines,dc=clinic,dc=example
objectClass: inetOrgPerson
cn: ines
sn: Moreau
mail: {mail}
userCertificate;binary:: {der}

dn: cn=bare,dc=clinic,dc=example
objectClass: inetOrgPerson
cn: bare
sn: Bare
mail: bare@direct.clinic.example
"""


@pytest.fixture
def openldap(tmp_path, settings, leaf):
    ldif = LDIF.format(mail=ADDRESS, der=base64.b64encode(leaf).decode())
    with public_servers.openldap(tmp_path, "dc=clinic,dc=example", ldif) as port:
        settings.FETCH_ALLOW = [("127.0.0.1", port)]
        yield port


def test_openldap_is_understood(openldap, leaf):
    with Directory("127.0.0.1", openldap) as opened:
        assert opened.certificates(ADDRESS) == [leaf]
        assert opened.certificates(ADDRESS.upper()) == [leaf]
        assert opened.certificates("bare@direct.clinic.example") == []
        assert opened.certificates("*") == []
