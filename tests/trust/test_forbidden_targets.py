"""No door of ours leads to inner addresses, whoever names the host and however it is written.

`FETCH_ALLOW` names the one good server of each test and nothing else. Every connection this process tries to
make is written down: to the good server and the name server it is let through, elsewhere it is refused on the
spot, so that not even a fault of ours could reach a neighbour of the machine that runs the tests. A trap
listens on every address of this machine besides.
"""

import socket
import sys
from functools import cache
from itertools import count

import pytest
from cryptography import x509

from tests import pki_factory
from tests import web_server as servers
from tests.dns_server import IPKIX
from trust import bundles, discovery, fetcher
from trust.models import Anchor, Bundle, Domain
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
DOMAIN = "direct.clinic.example"
PUBLIC = "8.8.8.8"

#: Written as they are: IPv4, IPv4 in odd ways, IPv6, and IPv6 that ends at an IPv4 address.
LITERALS = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254",
    "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1",
    "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "localhost",
    "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]",
    "[2002:7f00:1::1]", "[2002:a9fe:a9fe::]", "[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a00:1]", "[2001:0:1::1]",
]  # fmt: skip
#: Public names that lead inside: directly, by IPv6, among public answers, and through an alias.
NAMES = {
    "loopback.example": [("A", "127.0.0.1")],
    "metadata.example": [("A", "169.254.169.254")],
    "neighbour.example": [("A", "10.0.0.7")],
    "six.example": [("AAAA", "::1")],
    "mapped.example": [("AAAA", "::ffff:127.0.0.1")],
    "nat64.example": [("AAAA", "64:ff9b::7f00:1")],
    "mixed.example": [("A", PUBLIC), ("A", "127.0.0.1")],
    "families.example": [("A", PUBLIC), ("AAAA", "fd00::1")],
    "alias.example": [("CNAME", "loopback.example.")],
}
HOSTS = [*LITERALS, *NAMES]


class Connections(list):
    """Where streams were opened to. Only the addresses in `open_to` are really connected."""

    def __init__(self):
        super().__init__()
        self.open_to = set()

    def beyond(self):
        return [each for each in self if each not in self.open_to]


@pytest.fixture
def connections(monkeypatch):
    tried, connect = Connections(), socket.socket.connect

    def watched(sock, address):
        if sock.type == socket.SOCK_STREAM and sock.family != socket.AF_UNIX:
            where = tuple(address[:2])
            # The database and the cache of the tests are none of the doors.
            if _is_door():
                tried.append(where)
                if where not in tried.open_to:
                    raise ConnectionRefusedError("not from here")
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    return tried


def _is_door():
    frame, depth = sys._getframe(2), 0
    while frame is not None and depth < 12:
        if frame.f_globals.get("__name__", "").startswith(("trust.fetcher", "trust.directory")):
            return True
        frame, depth = frame.f_back, depth + 1
    return False


@pytest.fixture
def trap():
    """A listener on every address of this machine, IPv4 and IPv6: it counts who comes."""
    with servers.running(host="::") as server:
        yield server


@pytest.fixture
def good(web, settings, connections, name_server):
    """The good server, the only one allowed."""
    settings.FETCH_ALLOW = [("127.0.0.1", web.port)]
    connections.open_to.add(("127.0.0.1", web.port))
    for name, records in NAMES.items():
        for kind, text in records:
            name_server.add(name, kind, text)
    return web


@pytest.fixture
def any_port(monkeypatch, trap):
    """As if the trap's port were one of the web's: the rule on ports is not what keeps us out."""
    monkeypatch.setattr(fetcher, "PORTS", fetcher.PORTS | {trap.port})
    return trap.port


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Mallow Clinic CA")


@pytest.fixture(autouse=True)
def trusted(ca):
    Domain.objects.update_or_create(name=OURS, defaults={"revocation": "require"})
    return Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))


# --- the doors: each leads a URL to where we fetch it ---------------------------------------------------

_turn = count()


def looked_up(name_server, *ders, kind=None):
    """Look up an address whose CERT records these are."""
    local = f"somebody{next(_turn)}"
    options = {} if kind is None else {"kind": kind}
    name_server.add_certificate(f"{local}.{DOMAIN}", *ders, **options)
    return discovery.find(f"{local}@{DOMAIN}", at=pki_factory.utc_now(), sender=OURS)


@cache
def _between(ca):
    return pki_factory.make_ca("Mallow Issuing CA", issuer=ca)


def by_issuer_url(url, name_server, ca):
    leaf = pki_factory.issue(_between(ca), domains=[DOMAIN], aia=[url])
    looked_up(name_server, leaf.der)


def by_list_url(url, name_server, ca):
    looked_up(name_server, pki_factory.issue(ca, domains=[DOMAIN], cdp=[url]).der)


def by_responder_url(url, name_server, ca):
    access = x509.AccessDescription(
        x509.oid.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url)
    )
    named = x509.AuthorityInformationAccess([access])
    looked_up(name_server, pki_factory.issue(ca, domains=[DOMAIN], extra=[(named, False)]).der)


def by_record_url(url, name_server, ca):
    looked_up(name_server, url.encode(), kind=IPKIX)


def by_bundle_url(url, name_server, ca):
    row = Bundle.objects.create(name=f"Bundle {next(_turn)}", url=url, signer_der=ca.der)
    bundles.refresh(row)


DOORS = {
    "aia": by_issuer_url,
    "crl": by_list_url,
    "ocsp": by_responder_url,
    "ipkix": by_record_url,
    "bundle": by_bundle_url,
}
KINDS = [each for each in vars(fetcher).values() if isinstance(each, fetcher.Kind)]


def urls(port):
    for host in HOSTS:
        yield f"http://{host}/latest/meta-data/{next(_turn)}"
        yield f"http://{host}:{port}/latest/meta-data/{next(_turn)}"
        yield f"https://{host}:{port}/{next(_turn)}"


#: What is said of a URL that leads inside.
INSIDE = ("forbidden_address", "bad_url", "no_such_host")


def outcome(url, kind):
    """The code of a fetch; its status where a caller takes any, the redirect itself among them."""
    try:
        return str(fetcher.fetch(url, kind).status)
    except fetcher.FetchError as error:
        return error.code


# --- the tests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_the_door_is_one(good, name_server, ca, door):
    """Without this the next test would pass for doors that lead nowhere at all."""
    DOORS[door](good.url(f"/{door}"), name_server, ca)
    assert good.requests
    assert all(path.startswith(f"/{door}") for path in good.paths())


@pytest.mark.parametrize("door", DOORS)
def test_no_door_leads_inside(good, trap, any_port, connections, name_server, ca, door):
    for url in urls(any_port):
        DOORS[door](url, name_server, ca)
        assert connections.beyond() == [], url
    assert (trap.connections, good.connections) == (0, 0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.name)
def test_nothing_of_any_kind_is_fetched_from_inside(good, trap, any_port, connections, kind):
    for url in urls(any_port):
        assert outcome(url, kind) in INSIDE, url
    assert connections == []
    assert trap.connections == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.name)
def test_a_redirect_leads_nowhere_else(good, trap, any_port, connections, kind):
    fetched = 0
    for url in urls(any_port):
        path = f"/{next(_turn)}"
        good.plays[path] = servers.redirect(url)
        assert outcome(good.url(path), kind) in ("302", "redirected", *INSIDE), url
        fetched += 1
        assert connections.beyond() == [], url
    assert (trap.connections, good.connections) == (0, fetched)


def test_a_bundle_that_is_redirected_keeps_to_the_rules(good, trap, any_port, connections, name_server, ca):
    for url in urls(any_port):
        good.plays["/bundle"] = servers.redirect(url)
        by_bundle_url(good.url("/bundle"), name_server, ca)
        assert connections.beyond() == [], url
    assert trap.connections == 0


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("second", ["127.0.0.1", "169.254.169.254"])
def test_a_name_that_changes_its_mind_is_connected_to_as_it_was_checked(
    good, trap, any_port, connections, name_server, ca, door, second
):
    """First public, then inside: what was checked is what is connected to, and it is asked once."""
    name_server.in_turn["rebind.example", "A"] = [[PUBLIC], [second]]
    name_server.add("rebind.example", "A", second)
    DOORS[door](f"http://rebind.example:{any_port}/{next(_turn)}", name_server, ca)
    assert connections == [(PUBLIC, any_port)]
    assert name_server.count("rebind.example", "A") == 1
    assert trap.connections == 0


@pytest.mark.parametrize("host", [each for each in HOSTS if not each.startswith("[")])
def test_no_directory_inside_is_asked(good, trap, connections, name_server, host, monkeypatch):
    monkeypatch.setattr(discovery.directory, "PORTS", frozenset({389, 636, trap.port}))
    target = host.rstrip(".")
    for port in (389, 636, trap.port):
        name_server.add(f"_ldap._tcp.{DOMAIN}", "SRV", f"0 0 {port} {target}.")
    result = discovery.find(f"ines.moreau@{DOMAIN}", at=pki_factory.utc_now(), sender=OURS)
    assert result.code == "no_certificate"
    assert connections == []
    assert trap.connections == 0


def test_the_good_server_is_reached_by_its_own_name_only(good, connections, name_server):
    """Being allowed is a matter of address and port together."""
    good.files["/"] = b"x"
    assert fetcher.fetch(good.url("/"), fetcher.AIA).body == b"x"
    other = good.port + 1 if good.port < 65_535 else good.port - 1
    for url in (f"http://127.0.0.1:{other}/", f"http://127.0.0.2:{good.port}/", f"http://[::1]:{good.port}/"):
        with pytest.raises(fetcher.Forbidden):
            fetcher.fetch(url, fetcher.AIA)
    assert connections == [("127.0.0.1", good.port)]
