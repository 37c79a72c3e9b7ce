"""A web server on 127.0.0.1 for tests: it serves a table, and plays every trick of a hostile one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes
    #: A path may take over the connection altogether.
    sock: socket.socket


Handler = Callable[[Request], None]


@dataclass
class WebServer:
    """`files`: path to body; `plays`: path to something that writes to the socket itself."""

    files: dict[str, bytes] = field(default_factory=dict)
    plays: dict[str, Handler] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [request.line.split()[1] for request in self.requests]

    def answer(self, request: Request) -> None:
        self.requests.append(request)
        path = request.line.split()[1]
        if path in self.plays:
            self.plays[path](request)
        elif path in self.files:
            send(request, "200 OK", self.files[path])
        else:
            send(request, "404 Not Found", b"no")


def send(request: Request, status: str, body: bytes = b"", *headers: str) -> None:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers])
    request.sock.sendall(head.encode() + b"\r\n\r\n" + body)


def redirect(target: str, status: str = "302 Found") -> Handler:
    return lambda request: send(request, status, b"", f"Location: {target}")


def silent(seconds: float) -> Handler:
    return lambda request: time.sleep(seconds)


def drip(head: bytes, pause_s: float, count: int) -> Handler:
    """One octet at a time after `head`."""

    def play(request: Request) -> None:
        with contextlib.suppress(OSError):
            request.sock.sendall(head)
            for _ in range(count):
                request.sock.sendall(b"x")
                time.sleep(pause_s)

    return play


def endless(request: Request) -> None:
    """A body that never ends, as fast as it is taken."""
    with contextlib.suppress(OSError):
        request.sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            request.sock.sendall(b"\x30" * 65536)


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        web = self.server.web
        with web.lock:
            web.connections += 1
        try:
            if self.server.tls is not None:
                self.request.settimeout(5)
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
                self.rfile = self.request.makefile("rb")
            self._one()
        except OSError:
            pass

    def _one(self) -> None:
        line = self.rfile.readline().decode("latin-1").strip()
        if not line:
            return
        headers = {}
        while field := self.rfile.readline().decode("latin-1").strip():
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.server.web.answer(Request(line, headers, body, self.request))


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


class _EveryAddress(_Server):
    """IPv6 and, by way of mapped addresses, IPv4."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


@contextlib.contextmanager
def running(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[WebServer]:
    """A server on `host`; `::` is every address of this machine, of IPv4 alone where it has no other."""
    web = WebServer()
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    server = (_EveryAddress if host == "::" else _Server)((host, 0), _Connection)
    server.web, server.tls = web, tls
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
