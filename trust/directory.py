"""Certificates out of somebody else's LDAP directory (RFC 4511), read only and anonymously.

Three operations of the protocol are all that is needed, so they are written out here: then every answer is
bounded in octets, entries and time before it is read, no referral can be followed, and a filter is made of
values, not of text in which an address could smuggle an operator.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from trust import nameservice, targets
from trust.fetcher import cut_off_at
from trust.pki import ber

CONNECT_S = 3.0
TOTAL_S = 10.0
PORTS = frozenset({389, 636})
LDAPS_PORT = 636
#: Public directories of Direct are often run by ordinary users, hence on such ports.
FIRST_ORDINARY_PORT = 1024
MAX_ENTRIES = 10
MAX_BASES = 10
MAX_VALUES = 10
MAX_MESSAGE = 256 * 1024
MAX_SESSION = 1024 * 1024

CERTIFICATE_ATTRIBUTES = ("userCertificate", "userCertificate;binary")

_BIND_REQUEST, _BIND_RESPONSE, _UNBIND = 0x60, 0x61, 0x42
_SEARCH_REQUEST, _SEARCH_ENTRY, _SEARCH_DONE, _SEARCH_REFERENCE = 0x63, 0x64, 0x65, 0x73
_ENUMERATED, _EQUALITY, _PRESENT, _SIMPLE = 0x0A, 0xA3, 0x87, 0x80
_BASE_OBJECT, _WHOLE_SUBTREE = 0, 2
_SUCCESS, _SIZE_LIMIT, _REFERRAL, _NO_SUCH_OBJECT = 0, 4, 10, 32


class DirectoryFailed(Exception):
    """This server cannot be asked: not reached, not allowed, or it does not speak LDAP to us."""

    code: ClassVar[str] = "ldap_failed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass
class Directory:
    """A connection to one server. Use it as a context manager; `open` raises DirectoryFailed."""

    host: str
    port: int
    total_s: float = TOTAL_S
    _sock: socket.socket | None = None
    _ends: float = 0.0
    _received: int = 0
    _message_id: int = 0
    _bases: tuple[str, ...] = field(default=())

    def open(self) -> Directory:
        """Connect, bind anonymously, and read which trees the server holds."""
        self._ends = time.monotonic() + self.total_s
        try:
            self._sock = self._connected()
            self._bind()
            self._bases = self._naming_contexts()
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self) -> Directory:
        return self if self._sock is not None else self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def certificates(self, mail: str) -> list[bytes]:
        """The values of userCertificate of every entry whose `mail` is `mail`, each once, in every tree.

        Raises DirectoryFailed.
        """
        self._ends = time.monotonic() + self.total_s
        found: list[bytes] = []
        wanted = {each.lower() for each in CERTIFICATE_ATTRIBUTES}
        condition = ber.wrap(_EQUALITY, _text("mail") + _text(mail))
        for base in self._bases:
            for attributes in self._search(base, _WHOLE_SUBTREE, condition, CERTIFICATE_ATTRIBUTES):
                for name, values in attributes:
                    if name.lower() in wanted:
                        found.extend(values[:MAX_VALUES])
        return list(dict.fromkeys(found))[:MAX_VALUES]

    # --- the operations

    def _bind(self) -> None:
        version = ber.wrap(ber.INTEGER, b"\x03")
        self._send(ber.wrap(_BIND_REQUEST, version + _text("") + ber.wrap(_SIMPLE, b"")))
        operation = self._receive()
        if operation.tag != _BIND_RESPONSE or _result_code(operation) != _SUCCESS:
            raise DirectoryFailed(f"{self.host}: does not let us read anonymously")

    def _naming_contexts(self) -> tuple[str, ...]:
        """RFC 4512 section 5.1. A server that tells none is searched from the top."""
        present = ber.wrap(_PRESENT, b"objectClass")
        bases: list[str] = []
        for attributes in self._search("", _BASE_OBJECT, present, ("namingContexts",)):
            for name, values in attributes:
                if name.lower() == "namingcontexts":
                    bases.extend(value.decode("utf-8", "replace") for value in values)
        return tuple(dict.fromkeys(bases))[:MAX_BASES] or ("",)

    def _search(
        self, base: str, scope: int, condition: bytes, attributes: tuple[str, ...]
    ) -> list[list[tuple[str, list[bytes]]]]:
        request = b"".join(
            (
                _text(base),
                ber.wrap(_ENUMERATED, bytes((scope,))),
                ber.wrap(_ENUMERATED, b"\x00"),  # aliases are not followed either
                ber.wrap(ber.INTEGER, bytes((MAX_ENTRIES,))),
                ber.wrap(ber.INTEGER, bytes((int(self.total_s),))),
                ber.wrap(ber.BOOLEAN, b"\x00"),
                condition,
                ber.wrap(ber.SEQUENCE, b"".join(_text(each) for each in attributes)),
            )
        )
        self._send(ber.wrap(_SEARCH_REQUEST, request))
        return list(self._entries())

    def _entries(self) -> Iterator[list[tuple[str, list[bytes]]]]:
        """Entries until the search is done; references to other servers are passed over."""
        count = 0
        while (operation := self._receive()).tag != _SEARCH_DONE:
            if operation.tag == _SEARCH_ENTRY and count < MAX_ENTRIES:
                count += 1
                yield _attributes(operation)
            elif operation.tag not in (_SEARCH_ENTRY, _SEARCH_REFERENCE):
                raise DirectoryFailed(f"{self.host}: an answer to something else")
        code = _result_code(operation)
        if code not in (_SUCCESS, _SIZE_LIMIT, _REFERRAL, _NO_SUCH_OBJECT):
            raise DirectoryFailed(f"{self.host}: refused the search (result {code})")

    # --- messages

    def _connected(self) -> socket.socket:
        ports = PORTS | {self.port} if self.port >= FIRST_ORDINARY_PORT else PORTS
        try:
            addresses = targets.require_allowed(self.host, self.port, ports)
        except (targets.TargetRefused, nameservice.BadName, nameservice.NameServiceFailed) as error:
            raise DirectoryFailed(str(error)) from error
        ends = min(self._ends, time.monotonic() + CONNECT_S)
        reason = "not connected in time"
        for address in addresses:
            left = ends - time.monotonic()
            if left <= 0:
                break
            try:
                sock = socket.create_connection((address, self.port), timeout=left)
                return self._secured(sock) if self.port == LDAPS_PORT else sock
            except (OSError, ValueError) as error:
                reason = str(error)
        raise DirectoryFailed(f"{self.host} port {self.port}: {reason}")

    def _secured(self, sock: socket.socket) -> socket.socket:
        try:
            with cut_off_at(sock, time.monotonic() + CONNECT_S):
                return ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise

    def _send(self, operation: bytes) -> None:
        self._message_id += 1
        number = ber.wrap(ber.INTEGER, self._message_id.to_bytes(2, "big").lstrip(b"\x00"))
        sock = self._within_time()
        try:
            sock.sendall(ber.wrap(ber.SEQUENCE, number + operation))
        except OSError as error:
            raise DirectoryFailed(f"{self.host}: {error}") from error

    def _receive(self) -> ber.Element:
        """The operation of the next message that answers our last one."""
        try:
            while True:
                message = ber.whole(self._message(), ber.SEQUENCE, der=False)
                number, operation, *_ = ber.children(message, der=False)
                if int.from_bytes(number.content, "big") == self._message_id:
                    return operation
        except (ber.BerError, ValueError) as error:
            raise DirectoryFailed(f"{self.host}: does not speak LDAP") from error
        except OSError as error:
            raise DirectoryFailed(f"{self.host}: {error}") from error

    def _message(self) -> bytes:
        head = self._exactly(2)
        count = head[1] & 0x7F if head[1] > 0x80 else 0
        if head[0] != ber.SEQUENCE or head[1] == 0x80 or count > 4:
            raise ber.BerError("not a message")
        head += self._exactly(count)
        length = int.from_bytes(head[2:], "big") if count else head[1]
        self._received += length
        if length > MAX_MESSAGE or self._received > MAX_SESSION:
            raise ber.BerError("more than any honest directory sends")
        return head + self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < count:
            piece = self._within_time().recv(count - len(pieces))
            if not piece:
                raise ber.BerError("the connection ended")
            pieces += piece
        return bytes(pieces)

    def _within_time(self) -> socket.socket:
        left = self._ends - time.monotonic()
        if left <= 0 or self._sock is None:
            raise DirectoryFailed(f"{self.host}: not finished within {self.total_s:.0f} s")
        self._sock.settimeout(left)
        return self._sock


def _text(value: str) -> bytes:
    return ber.wrap(ber.OCTET_STRING, value.encode())


def _result_code(operation: ber.Element) -> int:
    try:
        first = next(ber.children(operation, der=False), None)
    except ber.BerError as error:
        raise DirectoryFailed("a result that cannot be read") from error
    if first is None or first.tag != _ENUMERATED:
        raise DirectoryFailed("a result without a code")
    return int.from_bytes(first.content, "big")


def _attributes(operation: ber.Element) -> list[tuple[str, list[bytes]]]:
    """Name and values of each attribute of an entry (RFC 4511 section 4.5.2)."""
    try:
        _name, attributes = ber.children(operation, der=False)
        found = []
        for attribute in ber.children(attributes, der=False):
            name, values = ber.children(attribute, der=False)
            found.append(
                (
                    name.content.decode("utf-8", "replace"),
                    [value.content for value in ber.children(values, der=False)],
                )
            )
        return found
    except ValueError as error:
        raise DirectoryFailed("an entry that cannot be read") from error
