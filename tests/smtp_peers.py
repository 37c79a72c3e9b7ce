"""Mail servers of others, on 127.0.0.1: real sockets, with the ways in which mail servers misbehave."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import pki_factory


@dataclass
class Taken:
    """One message a server said yes to."""

    mail_from: str
    recipients: list[str]
    data: bytes
    tls: bool


@dataclass
class SmtpPeer:
    """What a server does; `replies` by verb overrule its own, "DATA." being the end of the data.

    A reply is the text of a line, a callable that gets the command's argument, or one of the deeds
    "hang", "drop", "drip" and "flood".
    """

    replies: dict[str, Any] = field(default_factory=dict)
    extensions: list[str] = field(default_factory=lambda: ["SIZE 39845888"])
    tls: ssl.SSLContext | None = None
    broken_tls: bool = False
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    sessions: int = 0
    at_once: int = 0
    most_at_once: int = 0
    pause_s: float = 0.0
    port: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, number: int) -> None:
        with self.lock:
            self.sessions += number > 0
            self.at_once += number
            self.most_at_once = max(self.most_at_once, self.at_once)


class _Gone(Exception):
    pass


class _Session(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        self.peer: SmtpPeer = self.server.peer
        self.peer.count(1)
        try:
            self._converse()
        except (_Gone, OSError):
            pass
        finally:
            self.peer.count(-1)

    def _converse(self) -> None:
        self.is_tls = False
        self._say("GREETING", "220 peer.example ESMTP")
        while True:
            line = self.rfile.readline(2000)
            if not line:
                return
            text = line.decode("ascii", "replace").strip()
            verb, _, argument = text.partition(" ")
            verb = verb.upper()
            self.peer.commands.append(text)
            if verb == "QUIT":
                self._say(verb, "221 bye")
                return
            getattr(self, f"_{verb.lower()}", self._unknown)(argument)

    def _unknown(self, argument: str) -> None:
        self._say("UNKNOWN", "502 5.5.1 unknown")

    def _ehlo(self, argument: str) -> None:
        extensions = [*self.peer.extensions]
        if (self.peer.tls or self.peer.broken_tls) and not self.is_tls:
            extensions.append("STARTTLS")
        lines = ["peer.example", *extensions]
        text = "\r\n".join(f"250-{line}" for line in lines[:-1]) + ("\r\n" if lines[:-1] else "")
        self._say("EHLO", f"{text}250 {lines[-1]}")

    def _helo(self, argument: str) -> None:
        self._say("HELO", "250 peer.example")

    def _starttls(self, argument: str) -> None:
        self._say("STARTTLS", "220 go ahead")
        if self.peer.broken_tls:
            self.wfile.write(b"this is no handshake\r\n")
            raise _Gone
        assert self.peer.tls is not None
        self.connection = self.peer.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.is_tls = True

    def _mail(self, argument: str) -> None:
        self.mail_from = argument.partition(":")[2].partition(">")[0].strip("< ")
        self.recipients: list[str] = []
        self._say("MAIL", "250 ok", argument)

    def _rcpt(self, argument: str) -> None:
        recipient = argument.partition(":")[2].strip("<> ")
        if self._say("RCPT", "250 ok", recipient).startswith("2"):
            self.recipients.append(recipient)

    def _data(self, argument: str) -> None:
        if not self._say("DATA", "354 go on").startswith("3"):
            return
        lines: list[bytes] = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise _Gone
            lines.append(line[1:] if line.startswith(b".") else line)
        time.sleep(self.peer.pause_s)
        taken = Taken(self.mail_from, self.recipients, b"".join(lines), self.is_tls)
        if self._say("DATA.", "250 2.0.0 taken", taken).startswith("2"):
            self.peer.taken.append(taken)

    def _say(self, verb: str, usual: str, argument: Any = "") -> str:
        reply = self.peer.replies.get(verb, usual)
        if callable(reply):
            reply = reply(argument) or usual
        if reply in _DEEDS:
            _DEEDS[reply](self)
            raise _Gone
        self.wfile.write(f"{reply}\r\n".encode())
        return str(reply)

    def _hang(self) -> None:
        self.peer.stopping.wait(60)

    def _drop(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _drip(self) -> None:
        while not self.peer.stopping.wait(0.2):
            self.wfile.write(b"2")

    def _flood(self) -> None:
        while not self.peer.stopping.is_set():
            self.wfile.write(b"250-and another line of this answer\r\n" * 100)


_DEEDS: dict[str, Callable[[_Session], None]] = {
    "hang": _Session._hang,
    "drop": _Session._drop,
    "drip": _Session._drip,
    "flood": _Session._flood,
}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 50


@contextlib.contextmanager
def running(**behaviour: Any) -> Iterator[SmtpPeer]:
    """A mail server that behaves so, until the block ends."""
    peer = SmtpPeer(**behaviour)
    with _Server(("127.0.0.1", 0), _Session) as server:
        server.peer = peer  # type: ignore[attr-defined]
        peer.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        try:
            yield peer
        finally:
            peer.stopping.set()
            server.shutdown()


def server_tls() -> ssl.SSLContext:
    """TLS with a certificate nobody knows, as most mail servers have."""
    issued = pki_factory.issue(None, domains=["mx.elsewhere.example"], eku=None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "both.pem"
        path.write_bytes(issued.pem + issued.key_pem)
        context.load_cert_chain(path)
    return context
