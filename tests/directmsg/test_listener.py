"""The SMTP and LMTP door over real sockets: smtplib for ordinary clients, a raw one for the others."""

import json
import logging
import select
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from directmsg.datastream import SpooledData
from directmsg.listener import Limits, Listener, Reply, _source, space_check, tls_context
from directmsg.smtp_words import BadCommand, one_reply, parse_path
from healthvault.logging import JsonFormatter

HOSTED = "direct.portal.example"
ANNA = f"anna@{HOSTED}"
BORIS = f"boris@{HOSTED}"
SENDER = "office@clinic.example"
MESSAGE = b"From: office@clinic.example\r\nSubject: none\r\n\r\nGood morning.\r\n"
QUICK = Limits(linger_s=0.3, sessions_per_address=100)
STORED = Reply(250, "2.0.0 OK")
LATER = Reply(451, "4.3.0 later")
NEVER = Reply(550, "5.7.1 never")


class Store:
    """What stands behind the door: keeps messages, answers as told."""

    def __init__(self):
        self.kept = []
        self.replies = None
        self.points = []
        self.entered = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def accept(self, envelope):
        self.entered.set()
        assert self.may_end.wait(20)
        self.kept.append((envelope, envelope.data.read_all()))
        return self.replies or [STORED] * len(envelope.rcpt_tos)

    def check_recipient(self, address):
        if address.rpartition("@")[2].lower() != HOSTED:
            return Reply(550, "5.7.1 This domain is not hosted here")
        return None

    def check_sender(self, address, protocol):
        return NEVER if protocol == "smtp" and address.endswith(f"@{HOSTED}") else None

    @property
    def bodies(self):
        return [data for _, data in self.kept]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def door(store):
    """Opens listeners and closes them again."""
    opened = []

    def open_door(protocol="smtp", limits=QUICK, **options):
        options = {
            "accept": store.accept,
            "check_recipient": store.check_recipient,
            "check_sender": store.check_sender,
            "fault": store.points.append,
            "hostname": "mx.portal.example",
            **options,
        }
        listener = Listener("127.0.0.1", 0, protocol, limits=limits, **options)
        listener.start()
        opened.append(listener)
        return listener

    yield open_door
    store.may_end.set()
    for listener in opened:
        assert listener.stop(grace_s=5)


class Raw:
    """A client that sends what it is told and reads replies."""

    def __init__(self, listener, *, greet=True):
        self.sock = socket.create_connection(("127.0.0.1", listener.port), timeout=10)
        self.file = self.sock.makefile("rb")
        if greet:
            assert self.reply().startswith("220 ")
            assert self.ask("LHLO me" if listener.protocol == "lmtp" else "EHLO me").startswith("250")

    def reply(self):
        lines = []
        while line := self.file.readline():
            lines.append(line.decode().rstrip("\r\n"))
            if line[3:4] != b"-":
                break
        return "\n".join(lines)

    def send(self, data):
        self.sock.sendall(data)

    def ask(self, command):
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def begin(self, *recipients, sender=SENDER):
        assert self.ask(f"MAIL FROM:<{sender}>").startswith("250 2.1.0")
        for recipient in recipients or (ANNA,):
            assert self.ask(f"RCPT TO:<{recipient}>").startswith("250 2.1.5")
        assert self.ask("DATA").startswith("354")

    def closed(self):
        """Whether the other side has nothing more to say and hangs up."""
        return self.file.read() == b""

    def close(self):
        self.file.close()
        self.sock.close()


@contextmanager
def raw(listener, **options):
    client = Raw(listener, **options)
    try:
        yield client
    finally:
        client.close()


# --- ordinary mail ------------------------------------------------------------------------------------


def test_smtplib_delivers_to_several_and_every_fact_reaches_the_store(door, store):
    with smtplib.SMTP("127.0.0.1", door().port) as client:
        client.ehlo("gateway.clinic.example")
        assert client.esmtp_features == {"size": "39845888", "8bitmime": "", "enhancedstatuscodes": ""}
        assert client.sendmail(SENDER, [ANNA, BORIS], MESSAGE + b".dot\r\n..\r\n") == {}
        eight_bit = MESSAGE.replace(b"Good", b"G\xc3\xb6d")
        assert client.sendmail(SENDER, [ANNA], eight_bit, ["BODY=8BITMIME"]) == {}
    (envelope, data), (_, second) = store.kept
    assert (envelope.mail_from, envelope.rcpt_tos, envelope.peer) == (SENDER, (ANNA, BORIS), "127.0.0.1")
    assert (envelope.protocol, envelope.tls, envelope.data.size) == ("smtp", False, len(data))
    assert data == MESSAGE + b".dot\r\n..\r\n"
    assert second == eight_bit
    assert store.points == ["smtp.data", "smtp.replied"] * 2


def test_lmtp_gives_one_reply_per_recipient_in_their_order(door, store):
    store.replies = [STORED, LATER, NEVER]
    with raw(door("lmtp")) as client:
        assert client.ask("EHLO me").startswith("500")
        client.begin(ANNA, BORIS, ANNA)
        client.send(MESSAGE + b".\r\n")
        assert [client.reply() for _ in range(3)] == [str(reply) for reply in store.replies]
        assert client.ask("QUIT").startswith("221")
        assert client.closed()


def test_python_lmtp_client_delivers(door, store):
    with smtplib.LMTP("127.0.0.1", door("lmtp").port) as client:
        assert client.sendmail(SENDER, [ANNA], MESSAGE) == {}
    assert store.kept[0][0].protocol == "lmtp"


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        ([STORED, STORED], STORED),
        ([STORED, LATER], LATER),
        ([NEVER, LATER], LATER),
        ([NEVER, NEVER], NEVER),
        ([STORED, NEVER], Reply(451, "4.3.0 Cannot do this now, try again later")),
    ],
)
def test_smtp_says_250_only_when_every_copy_is_stored(door, store, replies, told):
    store.replies = replies
    assert one_reply(replies) == told
    with raw(door()) as client:
        client.begin(ANNA, BORIS)
        client.send(MESSAGE + b".\r\n")
        assert client.reply() == str(told)
        assert client.ask("NOOP").startswith("250")
    assert store.points == (["smtp.data", "smtp.replied"] if told is STORED else ["smtp.data"])


def test_null_sender_is_taken_and_several_messages_in_one_session(door, store):
    with raw(door()) as client:
        for sender in ("", SENDER):
            client.begin(sender=sender)
            client.send(MESSAGE + b".\r\n")
            assert client.reply().startswith("250")
    assert [envelope.mail_from for envelope, _ in store.kept] == ["", SENDER]


def test_twenty_sessions_at_once_keep_their_messages_apart(door, store):
    listener = door()

    def deliver(number):
        body = MESSAGE + b"number %d\r\n" % number + b"x" * 70 * number + b"\r\n"
        with smtplib.SMTP("127.0.0.1", listener.port) as client:
            for _ in range(5):
                client.sendmail(f"s{number}@clinic.example", [ANNA], body)
        return body

    with ThreadPoolExecutor(20) as pool:
        sent = list(pool.map(deliver, [n % 14 for n in range(20)]))
    assert sorted(store.bodies) == sorted(sent * 5)
    assert all(b"number %s\r\n" % e.mail_from[1:-15].encode() in data for e, data in store.kept)


# --- smuggling ----------------------------------------------------------------------------------------

SMUGGLED = b"MAIL FROM:<admin@clinic.example>\r\nRCPT TO:<%s>\r\nDATA\r\nhidden\r\n" % BORIS.encode()


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n"]
)
@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_a_false_end_of_data_ends_nothing_and_nothing_is_stored(door, store, end, protocol):
    with raw(door(protocol)) as client:
        client.begin(ANNA, BORIS)
        client.send(MESSAGE + b"text" + end + SMUGGLED + b"\r\n.\r\n")
        for _ in range(2 if protocol == "lmtp" else 1):
            assert client.reply().startswith("550 5.6.0")
        assert client.ask("NOOP").startswith("250")
    assert store.kept == []


def test_commands_glued_behind_the_end_of_data_close_the_session(door, store):
    with raw(door()) as client:
        client.begin()
        client.send(MESSAGE + b".\r\n" + SMUGGLED + b".\r\n")
        assert client.reply().startswith("554 5.5.0")
        assert client.closed()
    with raw(door("lmtp")) as client:
        client.begin(ANNA, BORIS)
        client.send(MESSAGE + b".\r\nQUIT\r\n")
        assert [client.reply()[:3], client.reply()[:3]] == ["554", "554"]
        assert client.closed()
    assert store.kept == []


def test_commands_that_come_while_a_message_is_stored_are_not_obeyed(door, store):
    store.may_end.clear()
    with raw(door()) as client:
        client.begin()
        client.send(MESSAGE + b".\r\n")
        assert store.entered.wait(5)
        client.send(SMUGGLED)
        time.sleep(0.1)
        store.may_end.set()
        assert client.reply().startswith("250")
        assert client.reply().startswith("503")
        assert client.closed()
    assert store.bodies == [MESSAGE]


@pytest.mark.parametrize(
    "glued",
    [
        b"MAIL FROM:<a@clinic.example>\r\nRCPT TO:<anna@direct.portal.example>\r\n",
        b"NOOP\r\nNOOP\r\n",
        b"RSET\r\nD",
    ],
)
def test_commands_sent_before_our_reply_close_the_session(door, glued):
    with raw(door()) as client:
        client.send(glued)
        assert client.reply().startswith("503 5.5.0")
        assert client.closed()


def test_data_glued_to_its_command_is_not_read_as_a_message(door, store):
    with raw(door()) as client:
        client.ask(f"MAIL FROM:<{SENDER}>")
        client.ask(f"RCPT TO:<{ANNA}>")
        client.send(b"DATA\r\n" + MESSAGE + b".\r\n")
        assert client.reply().startswith("503")
        assert client.closed()
    assert store.kept == []


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\rOP\r\n", b"NOOP\0\r\n", b"NOOP \x01\r\n"])
def test_a_command_line_ends_with_cr_lf_and_holds_no_other(door, line):
    with raw(door()) as client:
        client.send(line)
        assert client.reply().startswith("500 5.5.2")
        assert client.ask("NOOP").startswith("250")


def test_line_ends_are_repaired_only_for_whom_it_is_switched_on(door, store):
    asked = []

    def normalise(peer, mail_from, rcpt_tos):
        asked.append((peer, mail_from, rcpt_tos))
        return mail_from == SENDER

    with raw(door(normalise_bare_newlines=normalise)) as client:
        client.begin()
        client.send(b"Subject: none\n\na\n.\nb\r.\rc\r\n.\r\n")
        assert client.reply().startswith("250")
        client.begin(sender="other@clinic.example")
        client.send(b"a\nb\r\n.\r\n")
        assert client.reply().startswith("550 5.6.0")
    assert store.bodies == [b"Subject: none\r\n\r\na\r\n.\r\nb\r\n.\r\nc\r\n"]
    assert asked[0] == ("127.0.0.1", SENDER, (ANNA,))


# --- limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_too_large_is_answered_after_the_last_octet_once_per_recipient(door, store, protocol):
    with raw(door(protocol, limits=replace(QUICK, size=100_000))) as client:
        client.begin(ANNA, BORIS)
        client.send(MESSAGE + b"x" * 98 + b"\r\n")
        for _ in range(2000):
            client.send(b"x" * 98 + b"\r\n")
        client.send(b".\r\n")
        for _ in range(2 if protocol == "lmtp" else 1):
            assert client.reply().startswith("552 5.3.4")
        assert client.ask("NOOP").startswith("250")
        assert client.ask(f"MAIL FROM:<{SENDER}> SIZE=100001").startswith("552 5.3.4")
        assert client.ask(f"MAIL FROM:<{SENDER}> SIZE=100000").startswith("250")
    assert store.kept == []


def test_long_lines_and_long_headers_are_refused(door, store):
    with raw(door(limits=replace(QUICK, header=2000))) as client:
        for body, reply in [
            (b"x" * 998 + b"\r\n", "250"),
            (b"." + b"." * 998 + b"\r\n", "250"),
            (b"x" * 999 + b"\r\n", "550 5.6.0"),
            (b"x" * 200_000 + b"\r\n", "550 5.6.0"),
            (b"A: b\r\n" * 333 + b"\r\ntext\r\n", "250"),
            (b"A: b\r\n" * 334 + b"\r\ntext\r\n", "552 5.3.4"),
        ]:
            client.begin()
            client.send(body + b".\r\n")
            assert client.reply().startswith(reply)
    assert len(store.kept) == 3


def test_a_long_command_is_refused_and_an_endless_one_ends_the_session(door):
    with raw(door()) as client:
        assert client.ask("NOOP " + "x" * 505).startswith("250")
        assert client.ask("NOOP " + "x" * 506).startswith("500 5.5.2")
        client.send(b"x" * 70_000)
        assert client.reply().startswith("500 5.5.2")
        assert client.closed()


def test_recipients_over_the_limit_are_put_off(door, store):
    with raw(door(limits=replace(QUICK, recipients=2))) as client:
        client.ask(f"MAIL FROM:<{SENDER}>")
        replies = [client.ask(f"RCPT TO:<r{n}@{HOSTED}>")[:9] for n in range(3)]
        assert replies == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]


def test_failed_commands_end_the_session_and_a_stored_message_forgives_them(door):
    listener = door(limits=replace(QUICK, failed_commands=3))
    with raw(listener) as client:
        assert client.ask("WHAT").startswith("500 5.5.1")
        assert client.ask("WHAT").startswith("500 5.5.1")
        client.begin()
        client.send(MESSAGE + b".\r\n")
        assert client.reply().startswith("250")
        assert [client.ask("VRFY anna")[:3] for _ in range(3)] == ["502"] * 3
        assert client.reply().startswith("421 4.7.0")
        assert client.closed()


def test_the_default_limits_are_the_published_ones():
    assert Limits() == Limits(
        size=39_845_888, header=262_144, line=1_000, command=512, recipients=100, failed_commands=20,
        sessions=100, sessions_per_address=10, idle_s=300, data_s=600,
    )  # fmt: skip


def test_one_session_too_many_is_told_so_and_room_comes_back(door):
    listener = door(limits=replace(QUICK, sessions=100, sessions_per_address=101))
    clients = [Raw(listener, greet=False) for _ in range(100)]
    assert all(client.reply().startswith("220") for client in clients)
    with raw(listener, greet=False) as late:
        assert late.reply().startswith("421 4.3.2")
        assert late.closed()
    assert clients[0].ask("QUIT").startswith("221")
    assert clients[0].closed()
    with raw(listener) as next_one:
        assert next_one.ask("NOOP").startswith("250")
    for client in clients:
        client.close()


def test_one_address_may_hold_ten_sessions(door):
    listener = door(limits=replace(Limits(), linger_s=0.3))
    clients = [Raw(listener) for _ in range(10)]
    with raw(listener, greet=False) as late:
        assert late.reply().startswith("421 4.7.0")
        assert late.closed()
    for client in clients:
        client.close()


def test_of_ipv6_a_whole_subnet_counts_as_one_address():
    assert len({_source("2001:db8:1:2::1"), _source("2001:db8:1:2:ffff::9")}) == 1
    assert len({_source("2001:db8:1:2::1"), _source("2001:db8:1:3::1"), _source("fe80::1%eth0")}) == 3
    assert _source("192.0.2.1") == "192.0.2.1"
    assert _source("") == ""


def test_silence_between_commands_and_within_data_is_told_and_ended(door, store):
    listener = door(limits=replace(QUICK, idle_s=0.3))
    with raw(listener) as client:
        assert client.reply().startswith("421 4.4.2")
        assert client.closed()
    with raw(listener) as client:
        client.begin()
        client.send(b"Subject: half")
        assert client.reply().startswith("421 4.4.2")
        assert client.closed()
    assert store.kept == []


def test_a_message_that_drips_in_is_ended_though_never_silent(door, store):
    with raw(door(limits=replace(QUICK, data_s=0.5))) as client:
        client.begin()
        started = time.monotonic()
        while not select.select([client.sock], [], [], 0.05)[0]:
            assert time.monotonic() - started < 5
            client.send(b"x\r\n")
        assert client.reply().startswith("421 4.4.2")
        assert client.closed()
    assert store.kept == []


def test_the_time_our_own_work_takes_is_not_the_clients_silence(door, store):
    store.may_end.clear()
    with raw(door(limits=replace(QUICK, idle_s=0.3))) as client:
        client.begin()
        client.send(MESSAGE + b".\r\n")
        assert store.entered.wait(5)
        time.sleep(0.5)
        store.may_end.set()
        assert client.reply().startswith("250")


def test_a_large_message_does_not_stand_in_memory(door, tmp_path):
    seen = {}

    def accept(envelope):
        seen["size"], seen["on_disk"] = envelope.data.size, envelope.data.on_disk
        seen["same"] = all(set(chunk) <= set(b"xyz\r\n") for chunk in envelope.data.chunks())
        return [STORED]

    block = (b"xyz" * 25 + b"\r\n") * 13_000
    with raw(door(accept=accept, spool_dir=tmp_path)) as client:
        client.begin()
        tracemalloc.start()
        try:
            client.send(b"\r\n")
            for _ in range(25):
                client.send(block)
            client.send(b".\r\n")
            assert client.reply().startswith("250")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert seen == {"size": 2 + 25 * len(block), "on_disk": True, "same": True}
    assert seen["size"] > 25_000_000
    assert peak < 4_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_at_mail_and_when_it_fills_under_way(door, store, tmp_path):
    with raw(door(check_space=space_check(tmp_path, 1 << 60))) as client:
        assert client.ask(f"MAIL FROM:<{SENDER}>").startswith("452 4.3.1")
    with raw(door(check_space=space_check(tmp_path, 1), spool_dir=tmp_path / "gone")) as client:
        client.begin()
        client.send(MESSAGE + (b"x" * 98 + b"\r\n") * 11_000 + b".\r\n")
        assert client.reply().startswith("452 4.3.1")
        client.begin()
        client.send(MESSAGE + b".\r\n")
        assert client.reply().startswith("250")
    assert store.bodies == [MESSAGE]


# --- who may send to whom -----------------------------------------------------------------------------


def test_known_and_unknown_mailboxes_get_the_same_reply_and_foreign_domains_none(door):
    with raw(door()) as client:
        client.ask(f"MAIL FROM:<{SENDER}>")
        replies = {client.ask(f"RCPT TO:<{name}@{HOSTED}>") for name in ("anna", "newuser", "nobody", "Anna")}
        assert replies == {"250 2.1.5 OK"}
        assert client.ask("RCPT TO:<anna@elsewhere.example>").startswith("550 5.7.1")


def test_our_own_domain_as_sender_is_refused_by_smtp_and_taken_from_the_front_server(door):
    with raw(door()) as client:
        assert client.ask(f"MAIL FROM:<{ANNA}>") == str(NEVER)
        assert client.ask(f"RCPT TO:<{ANNA}>").startswith("503")
    with raw(door("lmtp")) as client:
        assert client.ask(f"MAIL FROM:<{ANNA}>").startswith("250")


def test_a_check_that_fails_or_hangs_puts_off_and_never_refuses(door, caplog):
    def broken(address):
        raise ConnectionError("database is away")

    def slow(address):
        time.sleep(0.4)

    for check in (broken, slow):
        with raw(door(check_recipient=check, limits=replace(QUICK, check_s=0.1))) as client:
            client.ask(f"MAIL FROM:<{SENDER}>")
            assert client.ask(f"RCPT TO:<{ANNA}>").startswith("451 4.3.0")


def test_what_accept_raises_or_answers_wrongly_is_451_and_logs_no_content(door, caplog):
    def broken(envelope):
        raise ValueError(envelope.data.read_all().decode())

    marked = MESSAGE + b"MARKER-7431\r\n"
    caplog.set_level(logging.DEBUG)
    for accept in (broken, lambda envelope: [STORED], lambda envelope: None):
        with raw(door("lmtp", accept=accept)) as client:
            client.begin(ANNA, BORIS)
            client.send(marked + b".\r\n")
            assert [client.reply()[:9], client.reply()[:9]] == ["451 4.3.0"] * 2
            assert client.ask("NOOP").startswith("250")
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert any(json.loads(line).get("error") == "ValueError" for line in lines)
    assert not any(word in line for line in lines for word in ("MARKER-7431", "anna@", SENDER))


def test_an_accept_that_hangs_is_answered_in_time_and_keeps_its_data(door, store):
    store.may_end.clear()
    with raw(door(limits=replace(QUICK, accept_s=0.2))) as client:
        client.begin()
        client.send(MESSAGE + b".\r\n")
        assert client.reply().startswith("451 4.3.0")
        store.may_end.set()
        assert client.ask("NOOP").startswith("250")
    deadline = time.monotonic() + 5
    while not store.kept and time.monotonic() < deadline:
        time.sleep(0.01)
    assert store.bodies == [MESSAGE]


# --- commands -----------------------------------------------------------------------------------------


def test_commands_in_the_wrong_order_or_form(door):
    with raw(door(), greet=False) as client:
        client.reply()
        for command, reply in [
            ("MAIL FROM:<a@b.example>", "503 5.5.1"),
            ("EHLO", "501 5.5.4"),
            ("HELO me", "250 mx.portal.example"),
            ("MAIL FROM:<a@b.example> SIZE=5", "555 5.5.4"),
            ("EHLO me", "250"),
            ("RCPT TO:<a@b.example>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("MAIL TO:<a@b.example>", "501 5.5.4"),
            ("MAIL FROM:<a@b.example> SIZE=x", "501 5.5.4"),
            ("MAIL FROM:<a@b.example> BODY=BINARYMIME", "555 5.5.4"),
            ("MAIL FROM:<a@b.example> AUTH=<>", "555 5.5.4"),
            ("MAIL FROM:<a@b.example> SMTPUTF8", "550 5.6.7"),
            ("MAIL FROM:<änne@b.example>", "550 5.6.7"),
            ("mail from:<a@b.example> body=8bitmime size=100", "250 2.1.0"),
            ("MAIL FROM:<a@b.example>", "503 5.5.1"),
            ("RCPT TO:<>", "553 5.1.3"),
            (f"RCPT TO:<änne@{HOSTED}>", "550 5.6.7"),
            (f"RCPT TO:<{ANNA}> NOTIFY=NEVER", "555 5.5.4"),
            ("DATA", "503 5.5.1"),
        ]:
            assert client.ask(command).startswith(reply), command
    with raw(door()) as client:
        for command, reply in [
            ("VRFY anna", "502"),
            ("EXPN all", "502"),
            ("AUTH PLAIN AGEAYg==", "502"),
            ("STARTTLS", "502"),
            ("BDAT 5 LAST", "502"),
            ("LHLO me", "500"),
            ("RSET x", "501"),
            (f"MAIL FROM:<{SENDER}>", "250"),
            ("RSET", "250"),
            (f"RCPT TO:<{ANNA}>", "503"),
            ("NOOP whatever", "250"),
        ]:
            assert client.ask(command).startswith(reply), command


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        ("FROM:<>", ""),
        ("FROM:<a@b.example>", "a@b.example"),
        ("from: <a.b+c@B-1.example>", "a.b+c@B-1.example"),
        ('FROM:<"a b\\" c"@b.example>', '"a b\\" c"@b.example'),
        ("FROM:<@x.example,@y.example:a@b.example>", "a@b.example"),
        ("FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        (f"FROM:<{'a' * 64}@b.example>", f"{'a' * 64}@b.example"),
    ],
)
def test_addresses_that_are_well_formed(argument, address):
    assert parse_path("FROM:", argument) == (address, {})


@pytest.mark.parametrize(
    "path",
    [
        "a@b.example",
        "<a>",
        "<a@>",
        "<@b.example>",
        "<a..b@c.example>",
        "<.a@c.example>",
        "<a@-b.example>",
        "<a@b..example>",
        "<a b@c.example>",
        "<a@b.example",
        "<a@b.example>x",
        "<<a@b.example>>",
        "<a@b@c.example>",
        "<@x.example:>",
        '<"a@b.example>',
        f"<{'a' * 65}@b.example>",
        f"<a@{'b' * 252}.example>",
        "",
    ],
)
def test_addresses_that_are_not(path):
    with pytest.raises(BadCommand) as caught:
        parse_path("TO:", f"TO:{path}")
    assert str(caught.value.reply).startswith("553 5.1.3")


def test_a_reply_is_one_line():
    for code, text in [(250, "a\r\nb"), (199, "a"), (600, "a"), (250, "ä")]:
        with pytest.raises(ValueError, match="reply"):
            Reply(code, text)


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    client = ssl.create_default_context(cafile=certificate)
    return tls_context(certificate, key), client


def test_starttls_protects_mail_and_forgets_what_was_said_before(door, store, tls):
    server, context = tls
    with smtplib.SMTP("localhost", door(tls=server).port) as client:
        client.ehlo()
        client.mail("before@clinic.example")
        client.starttls(context=context)
        assert client.docmd(f"RCPT TO:<{ANNA}>")[0] == 503
        assert client.docmd(f"MAIL FROM:<{SENDER}>")[0] == 503
        client.ehlo()
        assert "starttls" not in client.esmtp_features
        assert client.docmd("STARTTLS")[0] == 503
        client.sendmail(SENDER, [ANNA], MESSAGE)
        large = MESSAGE + (b"x" * 98 + b"\r\n") * 20_000
        client.sendmail(SENDER, [ANNA], large)
    assert [envelope.tls for envelope, _ in store.kept] == [True, True]
    assert store.bodies == [MESSAGE, large]


def test_input_before_the_reply_to_starttls_closes_the_session(door, tls):
    with raw(door(tls=tls[0])) as client:
        client.send(b"STARTTLS\r\nMAIL FROM:<admin@clinic.example>\r\n")
        assert client.reply().startswith("503")
        assert client.closed()


def test_old_tls_and_nonsense_in_place_of_tls_end_the_session(door, tls):
    listener = door(tls=tls[0])
    with raw(listener) as client:
        assert client.ask("STARTTLS").startswith("220")
        client.send(b"EHLO me\r\nMAIL FROM:<admin@clinic.example>\r\n")
        client.file.read()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with raw(listener) as client:
        assert client.ask("STARTTLS").startswith("220")
        with pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(client.sock)
    with raw(listener) as client:
        assert client.ask("NOOP").startswith("250")
    deadline = time.monotonic() + 5
    while listener.sessions and time.monotonic() < deadline:
        time.sleep(0.01)
    assert listener.sessions == 0


def test_silence_within_tls_is_told_and_ended(door, tls):
    server, context = tls
    with smtplib.SMTP("localhost", door(tls=server, limits=replace(QUICK, idle_s=0.3)).port) as client:
        client.starttls(context=context)
        assert client.getreply()[0] == 421


# --- stopping -----------------------------------------------------------------------------------------


def test_stopping_ends_idle_sessions_and_finishes_messages_under_way(door, store):
    listener = door()
    store.may_end.clear()
    with raw(listener) as idle, raw(listener) as half, raw(listener) as storing, ThreadPoolExecutor() as pool:
        half.begin()
        half.send(MESSAGE)
        storing.begin()
        storing.send(MESSAGE + b".\r\n")
        assert store.entered.wait(5)
        stopped = pool.submit(listener.stop, 10)
        assert idle.reply().startswith("421 4.3.2")
        assert idle.closed()
        store.may_end.set()
        assert storing.reply().startswith("250")
        assert storing.reply().startswith("421 4.3.2")
        half.send(b"the rest\r\n.\r\n")
        assert half.reply().startswith("250")
        assert half.reply().startswith("421 4.3.2")
        half.close()
        storing.close()
        assert stopped.result(10) is True
    assert sorted(store.bodies) == [MESSAGE, MESSAGE + b"the rest\r\n"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port), timeout=1)


def test_stopping_does_not_wait_for_ever(door, store):
    listener = door()
    store.may_end.clear()
    with raw(listener) as half, raw(listener) as storing:
        half.begin()
        half.send(MESSAGE)
        storing.begin()
        storing.send(MESSAGE + b".\r\n")
        assert store.entered.wait(5)
        started = time.monotonic()
        assert listener.stop(grace_s=0.3) is False
        assert time.monotonic() - started < 3
        assert half.file.read() == b""


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(door, store):
    listener = door()
    client = Raw(listener)
    client.begin()
    client.send(MESSAGE + b"half a li")
    client.close()
    with raw(listener) as other:
        other.begin()
        other.send(MESSAGE + b".\r\n")
        assert other.reply().startswith("250")
    assert store.bodies == [MESSAGE]


def test_a_port_that_is_taken_is_an_error_at_start(door):
    taken = door()
    with pytest.raises(OSError, match="in use"):
        Listener("127.0.0.1", taken.port, "smtp", accept=None, check_recipient=None).start()


def test_nothing_of_mail_is_logged_by_the_library(door, store, caplog):
    caplog.set_level(logging.DEBUG)
    with smtplib.SMTP("127.0.0.1", door().port) as client:
        client.sendmail(SENDER, [ANNA], MESSAGE + b"MARKER-7432\r\n")
    assert store.kept
    assert logging.getLogger("mail.log").level == logging.WARNING
    assert "MARKER-7432" not in caplog.text
    assert "anna" not in caplog.text
    assert "clinic.example" not in caplog.text


def test_the_door_needs_no_django():
    code = "import sys, directmsg.listener; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_data_is_forgotten_after_accept(door):
    kept: list[SpooledData] = []

    def accept(envelope):
        kept.append(envelope.data)
        return [STORED]

    with raw(door(accept=accept)) as client:
        client.begin()
        client.send(MESSAGE + b".\r\n")
        assert client.reply().startswith("250")
    with pytest.raises(ValueError, match="closed"):
        kept[0].read_all()
