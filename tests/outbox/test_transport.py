"""The relay: a real SMTP server on this machine, a directory, the console."""

import email
import socket
import threading
from email import policy
from urllib.parse import urlsplit

import pytest
from aiosmtpd.controller import Controller
from django.core.mail import EmailMultiAlternatives

from healthvault.outbox import transport
from healthvault.outbox.transport import SendFailure, smtp_backend


class Relay:
    """Keeps what it takes; refuses by the local part of the recipient."""

    def __init__(self):
        self.taken = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("full"):
            return "452 4.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        if b"virus" in envelope.content:
            return "554 5.6.0 no"
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 taken"


@pytest.fixture(scope="module")
def relay():
    handler = Relay()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    handler.port = port
    yield handler
    controller.stop()


@pytest.fixture(autouse=True)
def sender(settings):
    settings.DEFAULT_FROM_EMAIL = "Portal <no-reply@portal.example>"
    settings.EMAIL_TIMEOUT = 5


def mail(to="rosa@example.org", text="Grüße, ein Wort"):
    message = EmailMultiAlternatives("Größe", text, "Portal <no-reply@portal.example>", [to])
    message.attach_alternative(f"<p>{text}</p>", "text/html")
    return message


def test_smtp(relay, settings):
    settings.EMAIL_URL = f"smtp://127.0.0.1:{relay.port}"
    transport.send(mail(), "name")
    mail_from, rcpt_tos, content = relay.taken.pop()
    assert mail_from == "no-reply@portal.example"
    assert rcpt_tos == ["rosa@example.org"]
    parsed = email.message_from_bytes(content, policy=policy.default)
    assert parsed["Subject"] == "Größe"
    assert parsed.get_body(("plain",)).get_content().strip() == "Grüße, ein Wort"
    assert "<p>" in parsed.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    ("to", "text", "code", "temporary"),
    [
        ("nobody@example.org", "x", "recipient_refused", False),
        ("full@example.org", "x", "recipient_refused", True),
        ("rosa@example.org", "virus", "message_refused", False),
    ],
)
def test_what_the_relay_refuses(relay, settings, to, text, code, temporary):
    settings.EMAIL_URL = f"smtp://127.0.0.1:{relay.port}"
    with pytest.raises(SendFailure) as caught:
        transport.send(mail(to, text), "name")
    assert (caught.value.code, caught.value.temporary) == (code, temporary)
    assert relay.taken == []


def test_a_relay_that_is_not_there(settings):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings.EMAIL_URL = f"smtp://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(SendFailure) as caught:
            transport.send(mail(), "name")
    assert (caught.value.code, caught.value.temporary) == ("relay_unreachable", True)


def test_a_relay_without_the_starttls_that_was_asked_for(relay, settings):
    settings.EMAIL_URL = f"smtp://127.0.0.1:{relay.port}?starttls=1"
    with pytest.raises(SendFailure) as caught:
        transport.send(mail(), "name")
    assert (caught.value.code, caught.value.temporary) == ("relay_lacks_support", True)


def test_a_relay_that_hangs_up_after_taking_the_mail(settings):
    """No answer to QUIT: the mail is taken all the same, and sent once."""
    server = socket.create_server(("127.0.0.1", 0))
    taken = []

    def serve():
        connection, _ = server.accept()
        with connection, connection.makefile("rwb", buffering=0) as line:
            line.write(b"220 relay\r\n")
            for reply in (b"250 hello", b"250 ok", b"250 ok", b"354 go on"):
                line.readline()
                line.write(reply + b"\r\n")
            while (text := line.readline()) != b".\r\n":
                taken.append(text)
            line.write(b"250 taken\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    settings.EMAIL_URL = f"smtp://127.0.0.1:{server.getsockname()[1]}"
    transport.send(mail(), "name")
    thread.join(5)
    server.close()
    assert taken


@pytest.mark.parametrize(
    ("url", "port", "starttls", "tls"),
    [
        ("smtp://relay", 25, False, False),
        ("smtp://relay:2525", 2525, False, False),
        ("smtp://relay:587", 587, True, False),
        ("smtp://u:p%40ss@relay", 25, True, False),
        ("smtp://u:p%40ss@relay?starttls=0", 25, False, False),
        ("smtp://relay?starttls=1", 25, True, False),
        ("smtps://u:p%40ss@relay", 465, False, True),
        ("smtps://relay:4465", 4465, False, True),
    ],
)
def test_addresses_of_relays(url, port, starttls, tls):
    backend = smtp_backend(urlsplit(url))
    assert (backend.host, backend.port, backend.use_tls, backend.use_ssl) == ("relay", port, starttls, tls)
    assert backend.password == ("p@ss" if "p%40ss" in url else "")


def test_a_directory(settings, tmp_path):
    settings.EMAIL_URL = f"file://{tmp_path}/some%20mail"
    transport.send(mail(), "one")
    transport.send(mail(text="second try"), "one")
    (path,) = (tmp_path / "some mail").iterdir()
    assert path.name == "one.eml"
    assert b"second try" in path.read_bytes()


def test_a_directory_that_cannot_be_made(settings, tmp_path):
    (tmp_path / "taken").write_text("")
    settings.EMAIL_URL = f"file://{tmp_path}/taken"
    with pytest.raises(SendFailure) as caught:
        transport.send(mail(), "one")
    assert (caught.value.code, caught.value.temporary) == ("directory_unwritable", True)


def test_the_console(settings, capsys):
    settings.EMAIL_URL = "console:"
    transport.send(mail(text="plain words"), "one")
    assert "plain words" in capsys.readouterr().out
