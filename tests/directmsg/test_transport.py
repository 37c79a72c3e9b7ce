"""Handing mail over, against real mail servers on this machine that do what mail servers do."""

import re
import time

import pytest

from directmsg import transport
from directmsg.transport import Accepted, Host, deliver
from tests import dns_server, smtp_peers

SENDER = "ada@direct.portal.example"
TO = "office@clinic.example"
DATA = b"From: ada@direct.portal.example\r\n\r\n.one\r\n..two\r\nlast\r\n"


@pytest.fixture
def dns(settings):
    with dns_server.running() as (server, listening):
        settings.DNS_SERVERS = [listening]
        yield server


@pytest.fixture
def peer(dns, settings):
    """The mail server of clinic.example."""
    with smtp_peers.running() as server:
        settings.DIRECT_MX_PORT = server.port
        dns.add("clinic.example", "MX", "10 mx.clinic.example.")
        dns.add("mx.clinic.example", "A", "127.0.0.1")
        yield server


def send(*recipients, data=DATA):
    results = deliver(data, mail_from=SENDER, recipients=recipients or [TO])
    return results if len(recipients) > 1 else next(iter(results.values()))


def test_the_bytes_arrive_as_they_are(peer):
    result = send()
    assert isinstance(result, Accepted)
    assert result.host == "mx.clinic.example"
    assert not result.tls
    (taken,) = peer.taken
    assert (taken.mail_from, taken.recipients, taken.data) == (SENDER, [TO], DATA)
    assert f"MAIL FROM:<{SENDER}> SIZE={len(DATA)}".lower() in [each.lower() for each in peer.commands]


def test_one_transaction_for_all_recipients_of_a_domain(peer):
    peer.replies["RCPT"] = lambda who: {
        "gone@clinic.example": "550 5.1.1 no such mailbox",
        "full@clinic.example": "452 4.2.2 full",
    }.get(who)
    results = send("gone@clinic.example", TO, "full@clinic.example")
    assert isinstance(results[TO], Accepted)
    assert (results["gone@clinic.example"].code, results["gone@clinic.example"].temporary) == (
        "recipient_rejected",
        False,
    )
    assert (results["full@clinic.example"].code, results["full@clinic.example"].temporary) == (
        "deferred",
        True,
    )
    assert transport.status_of(results["gone@clinic.example"].detail, "5.0.0") == "5.1.1"
    assert [each.recipients for each in peer.taken] == [[TO]]


@pytest.mark.parametrize(
    ("verb", "reply", "code", "temporary"),
    [
        ("GREETING", "421 4.3.2 busy", "deferred", True),
        ("GREETING", "554 5.7.1 not you", "host_refused", True),
        ("GREETING", "drop", "host_unreachable", True),
        ("EHLO", "421 4.3.2 busy", "deferred", True),
        ("MAIL", "451 4.3.0 later", "deferred", True),
        ("MAIL", "550 5.7.1 not from there", "sender_rejected", False),
        ("MAIL", "552 5.3.4 too large", "message_rejected", False),
        ("RCPT", "450 4.2.0 greylisted", "deferred", True),
        ("RCPT", "550 5.1.1 unknown", "recipient_rejected", False),
        ("DATA", "451 4.3.0 later", "deferred", True),
        ("DATA", "554 5.6.0 no", "message_rejected", False),
        ("DATA.", "451 4.3.0 later", "deferred", True),
        ("DATA.", "554 5.6.0 no", "message_rejected", False),
        ("DATA.", "drop", "host_unreachable", True),
        ("DATA", "250 2.0.0 what?", "deferred", True),
        ("DATA.", "gibberish", "deferred", True),
        ("RCPT", "drop", "host_unreachable", True),
        ("EHLO", "flood", "host_unreachable", True),
    ],
)
def test_what_a_server_says_decides(peer, verb, reply, code, temporary):
    peer.replies[verb] = reply
    result = send()
    assert (result.code, result.temporary) == (code, temporary)
    assert not peer.taken


@pytest.mark.parametrize("verb", ["GREETING", "EHLO", "RCPT", "DATA", "DATA."])
@pytest.mark.parametrize("deed", ["hang", "drip"])
def test_no_server_holds_us_longer_than_an_attempt(peer, settings, verb, deed):
    settings.LEASE_SECONDS = 1
    peer.replies[verb] = deed
    started = time.monotonic()
    result = send()
    assert (result.code, result.temporary) == ("host_timed_out", True)
    assert time.monotonic() - started < 2.5


def test_tls_is_taken_where_it_is_offered_whoever_it_names(peer):
    peer.tls = smtp_peers.server_tls()
    result = send()
    assert isinstance(result, Accepted)
    assert result.tls
    assert peer.taken[0].tls
    assert peer.taken[0].data == DATA


@pytest.mark.parametrize("how", ["broken", "refused"])
def test_tls_that_fails_does_not_stop_the_mail(peer, how):
    if how == "broken":
        peer.broken_tls = True
    else:
        peer.tls = smtp_peers.server_tls()
        peer.replies["STARTTLS"] = "454 4.7.0 not now"
    result = send()
    assert isinstance(result, Accepted)
    assert not result.tls
    assert len(peer.taken) == 1


def test_a_server_without_extensions(peer):
    peer.replies["EHLO"] = "502 5.5.1 what"
    assert isinstance(send(), Accepted)
    assert not any("SIZE" in command for command in peer.commands)


# --- where the mail goes ----------------------------------------------------------------------------------


def test_servers_are_tried_by_preference(dns, settings):
    dns.add("clinic.example", "MX", "20 second.clinic.example.", "10 first.clinic.example.")
    dns.add("first.clinic.example", "A", "127.0.0.2")
    dns.add("second.clinic.example", "A", "127.0.0.1")
    assert [(host.name, host.address) for host in transport._hosts("clinic.example")] == [
        ("first.clinic.example", "127.0.0.2"),
        ("second.clinic.example", "127.0.0.1"),
    ]
    with smtp_peers.running() as peer:
        settings.DIRECT_MX_PORT = peer.port
        # Nobody listens on 127.0.0.2: the second one takes the mail.
        result = send()
    assert isinstance(result, Accepted)
    assert result.host == "second.clinic.example"


def test_every_address_of_a_server_is_tried(dns, settings):
    dns.add("clinic.example", "MX", "10 mx.clinic.example.")
    dns.add("mx.clinic.example", "A", "127.0.0.3", "127.0.0.1")
    with smtp_peers.running() as peer:
        settings.DIRECT_MX_PORT = peer.port
        assert isinstance(send(), Accepted)


def test_a_server_that_defers_is_passed_over(dns, settings, monkeypatch):
    with smtp_peers.running(replies={"RCPT": "450 4.2.0 later"}) as busy, smtp_peers.running() as free:
        hosts = [Host("busy", "127.0.0.1", busy.port), Host("free", "127.0.0.1", free.port)]
        monkeypatch.setattr(transport, "_hosts", lambda domain: iter(hosts))
        result = send()
    assert isinstance(result, Accepted)
    assert result.host == "free"


def test_a_final_no_is_not_carried_to_the_next_server(monkeypatch):
    with smtp_peers.running(replies={"DATA.": "554 5.6.0 no"}) as first, smtp_peers.running() as second:
        hosts = [Host("first", "127.0.0.1", first.port), Host("second", "127.0.0.1", second.port)]
        monkeypatch.setattr(transport, "_hosts", lambda domain: iter(hosts))
        assert send().code == "message_rejected"
        assert not second.taken


def test_without_mx_the_domain_itself_is_the_server(dns, settings):
    dns.add("clinic.example", "A", "127.0.0.1")
    with smtp_peers.running() as peer:
        settings.DIRECT_MX_PORT = peer.port
        assert isinstance(send(), Accepted)


@pytest.mark.parametrize(
    ("records", "code", "temporary"),
    [
        ([("clinic.example", "MX", "0 .")], "null_mx", False),
        ([], "no_such_domain", False),
        ([("clinic.example", "TXT", '"here"')], "no_such_domain", False),
        ([("clinic.example", "MX", "10 nowhere.example.")], "no_such_domain", False),
    ],
)
def test_a_domain_that_takes_no_mail_is_final(dns, records, code, temporary):
    for record in records:
        dns.add(*record)
    result = send()
    assert (result.code, result.temporary) == (code, temporary)


@pytest.mark.parametrize("name", ["clinic.example", "mx.clinic.example"])
def test_a_name_service_that_fails_is_asked_again_later(dns, name, monkeypatch):
    monkeypatch.setattr("trust.nameservice.PAUSE_S", 0.01)
    dns.add("clinic.example", "MX", "10 mx.clinic.example.")
    for kind in ("MX", "A", "AAAA"):
        dns.misbehave(name, kind, "servfail")
    result = send()
    assert (result.code, result.temporary) == ("dns_failure", True)


def test_nobody_listening_is_temporary(dns, settings):
    settings.DIRECT_MX_PORT = dns_server.closed_port()
    dns.add("clinic.example", "A", "127.0.0.1")
    result = send()
    assert (result.code, result.temporary) == ("host_unreachable", True)


def test_our_own_door_is_refused(peer, settings):
    settings.SMTP_LISTEN = ("127.0.0.1", peer.port)
    result = send()
    assert (result.code, result.temporary) == ("mail_loop", False)
    assert not peer.taken


def test_a_relay_takes_everything_and_nothing_is_looked_up(dns, settings):
    with smtp_peers.running() as relay:
        settings.DIRECT_RELAY = f"smtp://127.0.0.1:{relay.port}"
        result = deliver(DATA, mail_from=SENDER, recipients=["someone@nowhere.example"])
    assert isinstance(result["someone@nowhere.example"], Accepted)
    assert not dns.asked


def test_every_error_has_a_code_of_its_own():
    leaves = transport.TransportError.__subclasses__()
    codes = [leaf.code for leaf in leaves]
    assert len(set(codes)) == len(codes) >= 11
    assert all(re.fullmatch(r"[a-z_]{4,30}", code) for code in codes)
