"""Questions to the name service (RFC 1034, 1035), with the limits that an outsider's names call for.

"There is no such thing" and "I could not find out" are different answers: the first is a result, the second
raises. Whatever comes back is only ever a hint; trust is decided elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
from django.conf import settings

TRY_S = 2.0
TRIES = 3
TOTAL_S = 10.0
#: Between rounds over all servers, so that a server which is just starting is met the second time.
PAUSE_S = 0.2
MAX_CNAMES = 8
#: What passes every path without fragments (RFC 6891 section 6.2.5); more comes by TCP.
UDP_PAYLOAD = 1232

Absent = Literal["nxdomain", "nodata"]


class NameServiceFailed(Exception):
    """No server gave a usable answer: it may be there or not, ask later."""

    code: ClassVar[str] = "dns_failure"
    temporary: ClassVar[bool] = True

    def __init__(self, name: dns.name.Name, kind: str, reason: str) -> None:
        self.detail = f"no answer to {name.to_text(True)} {kind}: {reason}"
        super().__init__(self.detail)


class BadName(Exception):
    """The words given cannot be a domain name."""

    code: ClassVar[str] = "bad_name"
    temporary: ClassVar[bool] = False


@dataclass(frozen=True)
class Answer:
    """What the name service says: records and for how many seconds, or how they are absent.

    `over_tcp`: the answer did not fit into a datagram. `name`: the owner at the end of all CNAMEs.
    """

    records: tuple[Any, ...]
    ttl_s: int
    name: dns.name.Name
    absent: Absent | None = None
    over_tcp: bool = False


def absolute(text: str) -> dns.name.Name:
    """A host name as an absolute name, so that no search suffix is ever tried. Raises BadName."""
    if not text.rstrip("."):
        raise BadName("there is no domain name")
    try:
        return dns.name.from_unicode(text.rstrip(".") + ".")
    except (dns.exception.DNSException, UnicodeError, ValueError) as error:
        raise BadName(f"{text!r} cannot be a domain name") from error


def owner_of(address: str) -> dns.name.Name:
    """The owner name of an address's records: `@` becomes `.` (RFC 4398 section 3.1). Raises BadName.

    The labels are cut by us: a backslash or a quote in the local part is an octet, not an escape.
    """
    local, _, domain = address.rpartition("@")
    if not local:
        raise BadName(f"{address!r} names nobody at a domain")
    labels = [each.encode() for each in local.split(".")]
    try:
        return dns.name.Name([*labels, *absolute(domain).labels])
    except dns.exception.DNSException as error:
        raise BadName(f"{address!r} cannot be a domain name") from error


def look_up(name: dns.name.Name, kind: str, ends: float | None = None) -> Answer:
    """The records of `kind` ("CERT", "SRV", "A" …) at `name`, CNAMEs followed.

    At most 2 s a try, 3 tries, 10 s in all and none after `ends` (of the monotonic clock); TCP when the
    answer was truncated. Raises NameServiceFailed for silence, SERVFAIL, REFUSED and nonsense.
    """
    latest = time.monotonic() + TOTAL_S
    ends = latest if ends is None else min(ends, latest)
    ttl_s, over_tcp = 2**31 - 1, False
    for _ in range(MAX_CNAMES):
        response, by_tcp = _ask(name, kind, ends)
        over_tcp = over_tcp or by_tcp
        try:
            chain = response.resolve_chaining()
        except dns.exception.DNSException as error:
            raise NameServiceFailed(name, kind, "nonsense") from error
        ttl_s = min(ttl_s, chain.minimum_ttl)
        if chain.answer is not None:
            return Answer(tuple(chain.answer), ttl_s, chain.canonical_name, None, over_tcp)
        if response.rcode() == dns.rcode.NXDOMAIN:
            return Answer((), ttl_s, chain.canonical_name, "nxdomain", over_tcp)
        if not chain.cnames or chain.canonical_name == name:
            return Answer((), ttl_s, chain.canonical_name, "nodata", over_tcp)
        # A server that knows only this zone gives the alias alone; its target must be asked for.
        name = chain.canonical_name
    raise NameServiceFailed(name, kind, "a chain of aliases without end")


def addresses_of(host: str, ends: float | None = None) -> tuple[str, ...]:
    """Every IPv4 and IPv6 address of `host`; a literal is its own. Raises BadName, NameServiceFailed.

    `ends`: when to stop asking, by the monotonic clock.
    """
    literal = _literal(host)
    if literal is not None:
        return (literal,)
    name = absolute(host)
    found: list[str] = []
    failure: NameServiceFailed | None = None
    for kind in ("A", "AAAA"):
        try:
            found.extend(record.address for record in look_up(name, kind, ends).records)
        except NameServiceFailed as error:
            failure = error
    if not found and failure is not None:
        raise failure
    return tuple(dict.fromkeys(found))


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None


# --- one question ---------------------------------------------------------------------------------------


def _ask(name: dns.name.Name, kind: str, ends: float) -> tuple[dns.message.QueryMessage, bool]:
    reason = "no server is known"
    for attempt in range(TRIES):
        if attempt:
            time.sleep(max(0.0, min(PAUSE_S, ends - time.monotonic())))
        for server, port in _servers():
            left = ends - time.monotonic()
            if left <= 0:
                raise NameServiceFailed(name, kind, reason)
            try:
                response, over_tcp = _exchange(name, kind, server, port, min(TRY_S, left))
            except (OSError, dns.exception.DNSException, EOFError) as error:
                reason = "silence" if isinstance(error, dns.exception.Timeout) else type(error).__name__
                continue
            if response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return response, over_tcp
            reason = dns.rcode.to_text(response.rcode())
    raise NameServiceFailed(name, kind, reason)


def _exchange(
    name: dns.name.Name, kind: str, server: str, port: int, timeout_s: float
) -> tuple[dns.message.QueryMessage, bool]:
    response, over_tcp = _send(_question(name, kind, edns=True), server, port, timeout_s)
    if response.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP) and response.edns < 0:
        # An old server that does not know EDNS (RFC 6891 section 7).
        response, over_tcp = _send(_question(name, kind, edns=False), server, port, timeout_s)
    return response, over_tcp


def _question(name: dns.name.Name, kind: str, *, edns: bool) -> dns.message.QueryMessage:
    if edns:
        return dns.message.make_query(name, kind, use_edns=0, payload=UDP_PAYLOAD)
    return dns.message.make_query(name, kind)


def _send(
    question: dns.message.QueryMessage, server: str, port: int, timeout_s: float
) -> tuple[dns.message.QueryMessage, bool]:
    # A datagram that answers something else is passed over, or anybody could end the wait with noise.
    response, over_tcp = dns.query.udp_with_fallback(
        question, server, timeout_s, port, ignore_unexpected=True, ignore_errors=True
    )
    if not isinstance(response, dns.message.QueryMessage) or response.question != question.question:
        raise dns.exception.FormError
    return response, over_tcp


def _servers() -> list[tuple[str, int]]:
    if settings.DNS_SERVERS:
        return [(_server_address(host), port) for host, port in settings.DNS_SERVERS]
    return [(server, 53) for server in _system_servers()]


@cache
def _server_address(host: str) -> str:
    literal = _literal(host)
    return literal or str(socket.getaddrinfo(host, 53, type=socket.SOCK_DGRAM)[0][4][0])


def _system_servers() -> list[str]:
    # Read by the library once and again when the file changes its mind at a restart.
    try:
        return [str(each) for each in dns.resolver.get_default_resolver().nameservers]
    except dns.resolver.NoResolverConfiguration:
        return []
