"""The fetcher against servers that mean harm: nothing forbidden is reached, nothing takes longer or more."""

import gzip
import ipaddress
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509

from tests import pki_factory
from tests import web_server as servers
from trust import fetcher, nameservice, targets

SMALL = fetcher.Kind("small", 1000, total_s=2.0)


@pytest.fixture
def hurried(monkeypatch):
    """The same rules with shorter times."""
    monkeypatch.setattr(fetcher, "FIRST_BYTE_S", 0.4)
    monkeypatch.setattr(fetcher, "CONNECT_S", 0.4)
    monkeypatch.setattr(nameservice, "TRY_S", 0.2)
    monkeypatch.setattr(nameservice, "PAUSE_S", 0.0)


def elapsed(action, error):
    began = time.monotonic()
    with pytest.raises(error) as caught:
        action()
    return time.monotonic() - began, caught.value


# --- what is fetched ------------------------------------------------------------------------------------


def test_the_bytes_come_as_they_were_sent(web):
    web.files["/ca.crl?x=1"] = bytes(range(256)) * 3
    got = fetcher.fetch(web.url("/ca.crl?x=1"), SMALL)
    assert (got.status, got.body) == (200, bytes(range(256)) * 3)
    sent = web.requests[0].headers
    assert sent["accept-encoding"] == "identity"
    assert sent["host"] == f"127.0.0.1:{web.port}"
    assert not {"cookie", "authorization", "referer"} & set(sent)


def test_a_chunked_answer_is_put_together(web):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    web.plays["/"] = lambda request: request.sock.sendall(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert fetcher.fetch(web.url("/"), SMALL).body == b"abcde"


def test_a_body_is_posted_and_any_status_is_handed_back(web):
    web.plays["/hook"] = lambda request: servers.send(request, "503 Busy", b"later")
    kind = fetcher.Kind("hook", 1000, any_status=True)
    got = fetcher.fetch(web.url("/hook"), kind, method="POST", body=b"{}", headers={"X-Id": "7"})
    assert (got.status, got.body) == (503, b"later")
    assert web.requests[0].body == b"{}"
    assert web.requests[0].headers["x-id"] == "7"


# --- what is not asked at all ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://files.example/ca.crl",
        "ldap://ldap.example/cn=ca",
        "gopher://127.0.0.1:70/",
        "http://user@crl.example/ca.crl",
        "http://user:pass@crl.example/",
        "http:///nothing",
        "http://crl.example/a b",
        "http://crl.example/a\r\nX: y",
        "http://crl.example\\@127.0.0.1/",
        "http://crl.example:99999/",
        "http://crl.example:0/",
        "http://[fe80::1%25eth0]/",
        "http://crl.example/" + "x" * 2000,
        "",
    ],
)
def test_other_urls_are_not_followed(url):
    with pytest.raises(fetcher.BadUrl) as caught:
        fetcher.fetch(url, SMALL)
    assert caught.value.code == "bad_url"


PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.7",
    "198.18.0.1",
    "192.88.99.1",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "::ffff:8.8.8.8",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2001:0:1::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_but_a_public_one_is_reached(name_server, address):
    literal = f"[{address}]" if ":" in address else address
    name_server.add("inside.example", "AAAA" if ":" in address else "A", address)
    for url in (f"http://{literal}/", "http://inside.example/", "https://inside.example:443/"):
        with pytest.raises(fetcher.Forbidden) as caught:
            fetcher.fetch(url, SMALL)
        assert caught.value.code == "forbidden_address"


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "2002:808:808::1"])
def test_public_addresses_pass(address):
    assert targets.is_public(address)


def test_our_own_addresses_are_refused_though_public(monkeypatch, name_server, settings):
    settings.PUBLIC_URL = "https://portal.clinic.example"
    name_server.add("portal.clinic.example", "A", "8.8.4.4")
    name_server.add("other.example", "A", "8.8.4.4")
    with pytest.raises(fetcher.Forbidden):
        fetcher.fetch("http://other.example/", SMALL)


def test_an_address_of_this_machine_is_noticed():
    assert targets._is_this_machine("127.0.0.1")
    assert not targets._is_this_machine("8.8.8.8")


def test_only_web_ports_are_used(name_server):
    name_server.add("public.example", "A", "8.8.8.8")
    with pytest.raises(fetcher.Forbidden):
        fetcher.fetch("http://public.example:25/", SMALL)


def test_one_private_answer_among_public_ones_refuses_all(name_server, forbidden):
    name_server.add("mixed.example", "A", "8.8.8.8", "127.0.0.1")
    with pytest.raises(fetcher.Forbidden):
        fetcher.fetch("http://mixed.example/", SMALL)
    assert forbidden.connections == 0


def test_a_public_name_for_this_machine_reaches_nothing(name_server, forbidden):
    name_server.add("public.example", "A", "127.0.0.1")
    with pytest.raises(fetcher.Forbidden):
        fetcher.fetch(forbidden.url("/", "public.example"), SMALL)
    assert forbidden.connections == 0


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
def test_odd_ways_to_write_an_address_reach_nothing(name_server, forbidden, host):
    with pytest.raises(fetcher.FetchError):
        fetcher.fetch(forbidden.url("/", host), SMALL)
    assert forbidden.connections == 0


def test_a_name_that_changes_its_mind_is_asked_once(name_server, web, forbidden):
    name_server.in_turn["rebind.example", "A"] = [["127.0.0.1"], ["127.0.0.2"]]
    name_server.add("rebind.example", "A", "127.0.0.2")
    web.files["/ca.crl"] = b"list"
    assert fetcher.fetch(web.url("/ca.crl", "rebind.example"), SMALL).body == b"list"
    assert name_server.count("rebind.example", "A") == 1


def test_proxies_of_the_environment_are_not_asked(web, forbidden, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, forbidden.url(""))
    web.files["/"] = b"direct"
    assert fetcher.fetch(web.url("/"), SMALL).body == b"direct"
    assert forbidden.connections == 0


# --- redirects ------------------------------------------------------------------------------------------


def test_a_list_is_not_fetched_through_a_redirect(web):
    web.plays["/ca.crl"] = servers.redirect(web.url("/real.crl"))
    web.files["/real.crl"] = b"list"
    for kind in (fetcher.AIA, fetcher.CRL):
        with pytest.raises(fetcher.Redirected):
            fetcher.fetch(web.url("/ca.crl"), kind)
    assert web.paths() == ["/ca.crl", "/ca.crl"]


def test_three_redirects_are_followed_for_a_bundle_and_no_more(web):
    for number in range(4):
        web.plays[f"/{number}"] = servers.redirect(f"/{number + 1}")
    web.files["/4"] = b"bundle"
    assert fetcher.fetch(web.url("/1"), fetcher.BUNDLE).body == b"bundle"
    with pytest.raises(fetcher.Redirected):
        fetcher.fetch(web.url("/0"), fetcher.BUNDLE)


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://metadata.example/"]
)
def test_a_redirect_to_a_forbidden_place_is_not_followed(web, name_server, target):
    name_server.add("metadata.example", "A", "169.254.169.254")
    web.plays["/bundle"] = servers.redirect(target)
    with pytest.raises(fetcher.Forbidden):
        fetcher.fetch(web.url("/bundle"), fetcher.BUNDLE)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://a:b@crl.example/", "http:// x/"])
def test_a_redirect_to_another_kind_of_url_is_not_followed(web, target):
    web.plays["/bundle"] = servers.redirect(target)
    with pytest.raises(fetcher.BadUrl):
        fetcher.fetch(web.url("/bundle"), fetcher.BUNDLE)


def test_a_redirect_to_this_machine_reaches_nothing(web, forbidden):
    web.plays["/bundle"] = servers.redirect(forbidden.url("/"))
    with pytest.raises(fetcher.Forbidden):
        fetcher.fetch(web.url("/bundle"), fetcher.BUNDLE)
    assert forbidden.connections == 0


# --- size -----------------------------------------------------------------------------------------------


def test_a_body_of_ten_gigabytes_is_refused_by_its_announcement(web):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
    web.plays["/"] = lambda request: request.sock.sendall(head + b"x" * 2000)
    with pytest.raises(fetcher.TooLarge):
        fetcher.fetch(web.url("/"), SMALL)


def test_a_body_without_end_is_cut_off(web):
    web.plays["/"] = servers.endless
    took, _ = elapsed(lambda: fetcher.fetch(web.url("/"), fetcher.AIA), fetcher.TooLarge)
    assert took < 2


def test_exactly_the_bound_passes_and_one_octet_more_does_not(web):
    web.files["/ok"], web.files["/more"] = b"x" * 1000, b"x" * 1001
    assert len(fetcher.fetch(web.url("/ok"), SMALL).body) == 1000
    with pytest.raises(fetcher.TooLarge):
        fetcher.fetch(web.url("/more"), SMALL)


def test_the_bounds_are_those_of_the_kind():
    assert fetcher.AIA.max_bytes == 256 * 1024
    assert fetcher.CRL.max_bytes == 16 * 1024 * 1024
    assert fetcher.BUNDLE.max_bytes == 8 * 1024 * 1024
    assert fetcher.WEBHOOK.max_bytes == 64 * 1024
    assert (fetcher.AIA.total_s, fetcher.CRL.total_s, fetcher.BUNDLE.total_s) == (10, 30, 30)
    assert (fetcher.CONNECT_S, fetcher.FIRST_BYTE_S) == (3, 5)


def test_nothing_is_decompressed(web):
    bomb = gzip.compress(b"0" * 500_000)
    web.plays["/"] = lambda request: servers.send(request, "200 OK", bomb, "Content-Encoding: gzip")
    with pytest.raises(fetcher.Encoded):
        fetcher.fetch(web.url("/"), SMALL)


def test_headers_without_end_are_cut_off(web):
    def flood(request):
        request.sock.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-Fill: y\r\n" * 100_000)

    web.plays["/"] = flood
    with pytest.raises(fetcher.FetchError):
        fetcher.fetch(web.url("/"), SMALL)


def test_half_an_answer_is_no_answer(web):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
    web.plays["/"] = lambda request: request.sock.sendall(head)
    web.plays["/chunks"] = lambda request: request.sock.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
    )
    for path in ("/", "/chunks"):
        with pytest.raises(fetcher.Truncated):
            fetcher.fetch(web.url(path), SMALL)


@pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH\r\n", b"\x00" * 100, b"HTTP/9.9 banana\r\n\r\n"])
def test_what_is_not_http_is_told_apart(web, noise):
    web.plays["/"] = lambda request: request.sock.sendall(noise)
    with pytest.raises(fetcher.FetchError) as caught:
        fetcher.fetch(web.url("/"), SMALL)
    assert caught.value.code in ("bad_answer", "unreachable")


# --- time -----------------------------------------------------------------------------------------------


def test_a_server_that_never_answers_is_given_up(web, hurried):
    web.plays["/"] = servers.silent(3)
    took, error = elapsed(lambda: fetcher.fetch(web.url("/"), SMALL), fetcher.TimedOut)
    assert took < 1
    assert error.temporary


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTT"]
)
def test_a_server_that_drips_is_given_up_at_the_total_time(web, hurried, head):
    web.plays["/"] = servers.drip(head, 0.05, 900)
    took, _ = elapsed(lambda: fetcher.fetch(web.url("/"), SMALL, total_s=0.8), fetcher.TimedOut)
    assert 0.7 < took < 1.3


def test_a_tls_handshake_that_drips_is_given_up(forbidden, settings, hurried):
    settings.FETCH_ALLOW = [("127.0.0.1", forbidden.port)]
    url = forbidden.url("/", scheme="https")
    took, error = elapsed(lambda: fetcher.fetch(url, SMALL), fetcher.FetchError)
    assert took < 1.5
    assert error.code in ("timeout", "tls_failed")


def test_a_silent_name_service_is_a_temporary_matter(name_server, hurried):
    name_server.misbehave("crl.example", "A", "silent")
    name_server.misbehave("crl.example", "AAAA", "silent")
    with pytest.raises(fetcher.NameServiceSilent) as caught:
        fetcher.fetch("http://crl.example/", SMALL)
    assert caught.value.temporary


def test_a_name_that_does_not_exist_is_a_final_matter(name_server):
    with pytest.raises(fetcher.NoSuchHost) as caught:
        fetcher.fetch("http://nowhere.example/", SMALL)
    assert not caught.value.temporary


# --- statuses and hosts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("404 Not Found", fetcher.NotFound),
        ("410 Gone", fetcher.NotFound),
        ("204 No Content", fetcher.BadStatus),
        ("206 Partial Content", fetcher.BadStatus),
        ("403 Forbidden", fetcher.BadStatus),
        ("500 Oops", fetcher.ServerError),
    ],
)
def test_only_200_will_do(web, status, error):
    web.plays["/"] = lambda request: servers.send(request, status, b"x" * 5000)
    with pytest.raises(error):
        fetcher.fetch(web.url("/"), SMALL)


def test_a_host_that_fails_five_times_is_left_alone_for_ten_minutes(web, monkeypatch):
    web.plays["/"] = lambda request: servers.send(request, "500 Oops")
    for _ in range(5):
        with pytest.raises(fetcher.ServerError):
            fetcher.fetch(web.url("/"), SMALL)
    with pytest.raises(fetcher.HostPaused):
        fetcher.fetch(web.url("/"), SMALL)
    assert len(web.requests) == 5
    web.files["/"] = web.plays.pop("/") and b"well again"
    clock = time.monotonic()
    monkeypatch.setattr(fetcher.time, "monotonic", lambda: clock + 601)
    monkeypatch.setattr(fetcher._TimedSocket, "_left", lambda self, ends: 2.0)
    assert fetcher.fetch(web.url("/"), SMALL).body == b"well again"


def test_an_answer_in_between_wipes_the_failures_out(web):
    web.plays["/"] = lambda request: servers.send(request, "500 Oops")
    web.files["/good"] = b"x"
    for _ in range(4):
        for _ in range(4):
            with pytest.raises(fetcher.ServerError):
                fetcher.fetch(web.url("/"), SMALL)
        assert fetcher.fetch(web.url("/good"), SMALL).body == b"x"


def in_threads(count, action):
    threads = [threading.Thread(target=action) for _ in range(count)]
    for each in threads:
        each.start()
    return threads


def wait_for(state):
    ends = time.monotonic() + 30
    while not state():
        assert time.monotonic() < ends, "it did not come to this within 30 s"
        time.sleep(0.01)


@pytest.fixture
def held(web):
    """`/` is answered when the event is set."""
    let_go = threading.Event()

    def hold(request):
        let_go.wait(60)
        servers.send(request, "200 OK", b"x")

    web.plays["/"] = hold
    yield let_go
    let_go.set()


PATIENT = fetcher.Kind("patient", 1000, total_s=60.0)


def test_a_host_sees_no_fifth_fetch_while_four_are_under_way(web, held, monkeypatch):
    monkeypatch.setattr(fetcher, "FIRST_BYTE_S", 60.0)
    results = []
    threads = in_threads(4, lambda: results.append(fetcher.fetch(web.url("/"), PATIENT).body))
    wait_for(lambda: len(web.requests) == 4)
    with pytest.raises(fetcher.HostBusy) as caught:
        fetcher.fetch(web.url("/"), SMALL, total_s=0.2)
    assert caught.value.temporary
    assert web.connections == 4
    held.set()
    for each in threads:
        each.join()
    assert results == [b"x"] * 4
    assert fetcher.fetch(web.url("/"), SMALL).body == b"x"


def test_a_place_is_free_only_when_its_connection_is_closed(web, held, monkeypatch):
    """Asked at the very moment: a server learns late that its client is gone, and cannot tell."""
    monkeypatch.setattr(fetcher, "FIRST_BYTE_S", 60.0)
    web.files["/quick"] = b"y"
    threads = in_threads(3, lambda: fetcher.fetch(web.url("/"), PATIENT))
    wait_for(lambda: len(web.requests) == 3)
    told = []

    def about_to_close():
        with pytest.raises(fetcher.HostBusy):
            fetcher.fetch(web.url("/quick"), SMALL, total_s=0.2)
        told.append(web.connections)

    before_closing(monkeypatch, about_to_close)
    assert fetcher.fetch(web.url("/quick"), SMALL).body == b"y"
    assert told == [4]
    held.set()
    for each in threads:
        each.join()


def before_closing(monkeypatch, act):
    """Do something when a connection that is made from now on is about to be closed."""
    connect = socket.create_connection

    class Watched(socket.socket):
        def close(self):
            if self.fileno() >= 0:
                act()
            super().close()

    def create_connection(*args, **options):
        made = connect(*args, **options)
        watched = Watched(made.family, made.type, made.proto, fileno=made.detach())
        watched.settimeout(options.get("timeout"))
        return watched

    monkeypatch.setattr(fetcher.socket, "create_connection", create_connection)


# --- TLS ------------------------------------------------------------------------------------------------


def tls_server(tmp_path, monkeypatch, name, *, known=True):
    ca = pki_factory.make_ca("Quince Test Web CA")
    names = [x509.IPAddress(ipaddress.ip_address(name))] if name[0].isdigit() else [x509.DNSName(name)]
    leaf = pki_factory.issue(
        ca,
        names=names,
        eku=(pki_factory.SERVER_AUTH,),
    )
    chain, roots = tmp_path / "chain.pem", tmp_path / "roots.pem"
    chain.write_bytes(leaf.pem + leaf.key_pem)
    roots.write_bytes(ca.pem if known else pki_factory.make_ca("Another CA").pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


@pytest.mark.parametrize(
    ("name", "known", "good"),
    [("127.0.0.1", True, True), ("other.example", True, False), ("127.0.0.1", False, False)],
)
def test_tls_needs_a_certificate_of_that_very_host(tmp_path, monkeypatch, settings, name, known, good):
    with servers.running(tls_server(tmp_path, monkeypatch, name, known=known)) as server:
        settings.FETCH_ALLOW = [("127.0.0.1", server.port)]
        server.files["/b.p7b"] = b"bundle"
        url = server.url("/b.p7b", scheme="https")
        if good:
            assert fetcher.fetch(url, fetcher.BUNDLE).body == b"bundle"
        else:
            with pytest.raises(fetcher.TlsFailed):
                fetcher.fetch(url, fetcher.BUNDLE)
            assert not server.requests


def test_https_does_not_lead_to_http(tmp_path, monkeypatch, settings, web):
    with servers.running(tls_server(tmp_path, monkeypatch, "127.0.0.1")) as server:
        settings.FETCH_ALLOW = [*settings.FETCH_ALLOW, ("127.0.0.1", server.port)]
        server.plays["/b.p7b"] = servers.redirect(web.url("/b.p7b"))
        with pytest.raises(fetcher.Redirected):
            fetcher.fetch(server.url("/b.p7b", scheme="https"), fetcher.BUNDLE)
        assert web.connections == 0


def test_a_silent_name_service_has_no_more_time_than_the_fetch(settings):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        settings.DNS_SERVERS = [silent.getsockname()]
        with pytest.raises(fetcher.NameServiceSilent):
            fetcher.fetch("http://ocsp.catkin.example/", fetcher.OCSP, total_s=1.5)
        silent.setblocking(False)
        silent.recv(4096)
        # Not again, and not for addresses of the other kind.
        with pytest.raises(BlockingIOError):
            silent.recv(4096)
