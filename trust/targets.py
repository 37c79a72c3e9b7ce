"""Which hosts may be connected to on the word of a stranger: public ones, never our own network.

A certificate or a partner names the host; without this rule such a name would let a stranger reach what only
this machine can: its own services, its neighbours, a cloud's metadata.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from typing import ClassVar
from urllib.parse import urlsplit

from django.conf import settings

from trust import nameservice

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: For so long the addresses of our own public name are taken as known.
OWN_NAME_S = 300.0
MAX_ADDRESSES = 16

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_TEREDO = ipaddress.IPv6Network("2001::/32")
#: Not called private by the library, and yet nobody's public server.
_SPECIAL = (
    ipaddress.IPv4Network("100.64.0.0/10"),
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv4Network("198.18.0.0/15"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("100::/64"),
    ipaddress.IPv6Network("fec0::/10"),
)


class TargetRefused(Exception):
    """The host must not be connected to, or is not there."""

    code: ClassVar[str] = "refused"
    temporary: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ForbiddenAddress(TargetRefused):
    """One of its addresses is not public, or is ours."""

    code = "forbidden_address"


class ForbiddenPort(TargetRefused):
    """Not a port of the service that is asked for."""

    code = "forbidden_port"


class NoSuchHost(TargetRefused):
    """The name has no address."""

    code = "no_such_host"


def is_public(address: str) -> bool:
    """Whether an IP address can belong to a public server that is not this machine."""
    parsed = ipaddress.ip_address(address)
    return _is_global(parsed) and not _is_this_machine(address)


def _is_global(parsed: IpAddress) -> bool:
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id or parsed in _MAPPED or parsed in _COMPATIBLE or parsed in _TEREDO:
            return False
        inner = _embedded(parsed)
        if inner is not None:
            return _is_global(inner)
    if any(parsed.version == each.version and parsed in each for each in _SPECIAL):
        return False
    return parsed.is_global and not (
        parsed.is_multicast
        or parsed.is_reserved
        or parsed.is_private
        or parsed.is_loopback
        or parsed.is_link_local
        or parsed.is_unspecified
    )


def _embedded(parsed: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one end at: 6to4 (RFC 3056), NAT64 (RFC 6052)."""
    if parsed in _SIX_TO_FOUR:
        return parsed.sixtofour
    if parsed in _TRANSLATED:
        return ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return None


def _is_this_machine(address: str) -> bool:
    """Whether the system would send there from that very address; nothing is sent to find out."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return bool(probe.getsockname()[0] == address)
    except OSError:
        # No route: a connection will tell so itself.
        return False


def require_allowed(
    host: str, port: int, ports: frozenset[int], ends: float | None = None
) -> tuple[str, ...]:
    """The addresses of `host`, each of which may be connected to at `port`: connect to these and to no other.

    `ports`: those of the service. `ends`: when to stop asking for addresses (monotonic clock). Pairs in
    `settings.FETCH_ALLOW` (by name or address) are exempt from both rules. Raises ForbiddenPort,
    ForbiddenAddress (also when only one address of several is not public), NoSuchHost, and what
    `nameservice` raises.
    """
    exempt = (host.lower(), port) in settings.FETCH_ALLOW
    addresses = _addresses(host, exempt, ends)
    if not addresses:
        raise NoSuchHost(f"{host} has no address")
    if exempt or all((each, port) in settings.FETCH_ALLOW for each in addresses):
        return addresses
    if port not in ports:
        raise ForbiddenPort(f"{host}: port {port} is not one of the service")
    own = _own_addresses()
    for each in addresses:
        if each in own or not is_public(each):
            raise ForbiddenAddress(f"{host} has the address {each}, which is not to be reached from here")
    return addresses


def _addresses(host: str, exempt: bool, ends: float | None) -> tuple[str, ...]:
    try:
        found = nameservice.addresses_of(host, ends)
    except nameservice.NameServiceFailed:
        if not exempt:
            raise
        found = ()
    if not found and exempt:
        # What operators name themselves may stand in the system's own table of hosts.
        found = _system_addresses(host)
    if len(found) > MAX_ADDRESSES:
        raise ForbiddenAddress(f"{host} has more than {MAX_ADDRESSES} addresses")
    return found


def _system_addresses(host: str) -> tuple[str, ...]:
    try:
        rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(row[4][0]) for row in rows))


_own: tuple[float, str, frozenset[str]] | None = None


def _own_addresses() -> frozenset[str]:
    """Where our public name leads: behind a translating router no interface of this machine has it."""
    global _own
    host = (urlsplit(settings.PUBLIC_URL).hostname or "").lower()
    now = time.monotonic()
    if _own is not None and _own[1] == host and now < _own[0]:
        return _own[2]
    try:
        found = frozenset(nameservice.addresses_of(host)) if "." in host else frozenset()
    except (nameservice.NameServiceFailed, nameservice.BadName):
        found = frozenset()
    _own = (now + OWN_NAME_S, host, found)
    return found
