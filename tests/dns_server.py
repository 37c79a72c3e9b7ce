"""A name server over UDP and TCP on 127.0.0.1, for tests: a zone as a table, and ways to misbehave."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CERT
import dns.rrset

PKIX, IPKIX = 1, 4


class DnsServer:
    """Answers from `zone`; what is not in it is NXDOMAIN. `asked` counts (name, kind, transport)."""

    def __init__(self) -> None:
        self.zone: dict[dns.name.Name, dict[str, list[dns.rdata.Rdata]]] = {}
        self.ttl_s = 300
        self.asked: Counter[tuple[str, str, str]] = Counter()
        self.misbehaviour: dict[tuple[str, str], str] = {}
        self.times: dict[tuple[str, str], int] = {}
        self.delay_s = 0.0
        self.ignorant_of_edns = False
        self.udp_limit: int | None = None
        self.refuses_tcp = False
        #: Answers of one name in turn, for a name that changes its mind.
        self.in_turn: dict[tuple[str, str], list[list[str]]] = {}

    # --- the zone

    def add(self, name: str | dns.name.Name, kind: str, *texts: str) -> None:
        """Records in the form of a zone file; none makes a name that is there, without records."""
        records = [dns.rdata.from_text("IN", kind, text) for text in texts]
        self._node(name).setdefault(kind, []).extend(records)

    def add_certificate(self, name: str | dns.name.Name, *ders: bytes, kind: int = PKIX) -> None:
        for der in ders:
            record = dns.rdtypes.ANY.CERT.CERT(dns.rdataclass.IN, dns.rdatatype.CERT, kind, 0, 0, der)
            self._node(name).setdefault("CERT", []).append(record)

    def misbehave(self, name: str, kind: str, how: str, times: int = 1_000_000) -> None:
        """`how`: servfail, refused, silent, garbage, cname_loop; for so many questions."""
        self.misbehaviour[name, kind] = how
        self.times[name, kind] = times

    def count(self, name: str, kind: str) -> int:
        return sum(number for (n, k, _), number in self.asked.items() if (n, k) == (name, kind))

    def _node(self, name: str | dns.name.Name) -> dict[str, list[dns.rdata.Rdata]]:
        owner = name if isinstance(name, dns.name.Name) else dns.name.from_text(name)
        return self.zone.setdefault(owner, {})

    # --- answering

    def respond(self, wire: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
        text = name.to_text(omit_final_dot=True).lower()
        self.asked[text, kind, transport] += 1
        time.sleep(self.delay_s)
        how = self._how(text, kind)
        if how == "silent":
            return None
        if how == "garbage":
            return wire[:2] + b"\xff" * 20
        response = dns.message.make_response(query)
        if how in ("servfail", "refused"):
            response.set_rcode(dns.rcode.from_text(how))
        elif self.ignorant_of_edns and query.edns >= 0:
            response = dns.message.make_response(query)
            response.use_edns(-1)
            response.set_rcode(dns.rcode.FORMERR)
        else:
            self._fill(response, name, kind, text)
        return self._limited(response, query, transport)

    def _how(self, text: str, kind: str) -> str | None:
        if self.times.get((text, kind), 0) <= 0:
            return None
        self.times[text, kind] -= 1
        return self.misbehaviour[text, kind]

    def _fill(self, response: dns.message.Message, name: dns.name.Name, kind: str, text: str) -> None:
        if (text, kind) in self.in_turn:
            answers = self.in_turn[text, kind]
            texts = answers.pop(0) if len(answers) > 1 else answers[0]
            response.answer.append(dns.rrset.from_text(name, self.ttl_s, "IN", kind, *texts))
            return
        node = self.zone.get(name)
        if node is None:
            inner = any(each.is_subdomain(name) for each in self.zone)
            response.set_rcode(dns.rcode.NOERROR if inner else dns.rcode.NXDOMAIN)
            return
        # Only what stands at this very name: the asker must follow an alias itself.
        records = node.get(kind) or node.get("CNAME", [])
        if records:
            response.answer.append(dns.rrset.from_rdata_list(name, self.ttl_s, records))

    def _limited(self, response: dns.message.Message, query: dns.message.Message, transport: str) -> bytes:
        if transport == "tcp":
            return response.to_wire(max_size=65535)
        limit = self.udp_limit or (query.payload if query.edns >= 0 else 512)
        wire = response.to_wire(max_size=65535)
        if len(wire) <= limit:
            return wire
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, sock = self.request
        answer = self.server.dns.respond(wire, "udp")
        if answer is not None:
            sock.sendto(answer, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        if self.server.dns.refuses_tcp:
            return
        head = self.rfile.read(2)
        if len(head) == 2:
            answer = self.server.dns.respond(self.rfile.read(struct.unpack("!H", head)[0]), "tcp")
            if answer is not None:
                self.wfile.write(struct.pack("!H", len(answer)) + answer)


class _UdpServer(socketserver.ThreadingUDPServer):
    daemon_threads = True


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextlib.contextmanager
def running() -> Iterator[tuple[DnsServer, tuple[str, int]]]:
    """A server and where it listens."""
    server = DnsServer()
    udp, tcp = _both()
    threads = []
    for each in (udp, tcp):
        each.dns = server
        threads.append(threading.Thread(target=each.serve_forever, args=[0.02], daemon=True))
        threads[-1].start()
    try:
        yield server, udp.server_address
    finally:
        for each in (udp, tcp):
            each.shutdown()
            each.server_close()


def _both() -> tuple[_UdpServer, _TcpServer]:
    for _ in range(50):
        udp = _UdpServer(("127.0.0.1", 0), _Udp)
        try:
            return udp, _TcpServer(udp.server_address, _Tcp)
        except OSError:
            udp.server_close()
    raise OSError("no port is free for both transports")


def closed_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
