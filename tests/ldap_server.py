"""A directory on 127.0.0.1 for tests, in the words of another LDAP library, with ways to misbehave."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import SubstrateUnderrunError

with warnings.catch_warnings():
    # It imports names that pyasn1 calls old.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ldap3.protocol import rfc4511

CERTIFICATE = "userCertificate;binary"


@dataclass
class LdapServer:
    """`entries`: base to list of (mail, attributes). `searches` and `binds`: what came."""

    entries: dict[str, list[tuple[str, dict[str, list[bytes]]]]] = field(default_factory=dict)
    naming_contexts: list[str] = field(default_factory=lambda: ["dc=clinic,dc=example"])
    searches: list[tuple[str, str, str]] = field(default_factory=list)
    binds: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0
    #: silent, drip, garbage, huge, bind_refused, referral, endless, close
    how: str = ""
    port: int = 0

    def add(
        self, mail: str, *ders: bytes, base: str = "dc=clinic,dc=example", name: str = CERTIFICATE
    ) -> None:
        self.entries.setdefault(base, []).append((mail, {name: list(ders)} if ders else {}))


def _message(number: int, kind: str, operation: object) -> bytes:
    message = rfc4511.LDAPMessage()
    message["messageID"] = number
    message["protocolOp"] = rfc4511.ProtocolOp().setComponentByName(kind, operation)
    return encoder.encode(message)


def _result(operation, code: int = 0):
    operation["resultCode"] = code
    operation["matchedDN"] = ""
    operation["diagnosticMessage"] = ""
    return operation


def _entry(name: str, attributes: dict[str, list[bytes]]):
    entry = rfc4511.SearchResultEntry()
    entry["object"] = name
    listed = rfc4511.PartialAttributeList()
    for position, (kind, values) in enumerate(attributes.items()):
        attribute = rfc4511.PartialAttribute()
        attribute["type"] = kind
        held = rfc4511.Vals()
        for at, value in enumerate(values):
            held[at] = value
        attribute["vals"] = held
        listed[position] = attribute
    entry["attributes"] = listed
    return entry


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.server.ldap.connections += 1
        buffer = b""
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                buffer += data
                while buffer:
                    try:
                        message, buffer = decoder.decode(buffer, asn1Spec=rfc4511.LDAPMessage())
                    except SubstrateUnderrunError:
                        break
                    if self._answer(message) is False:
                        return

    def _answer(self, message) -> bool | None:
        ldap = self.server.ldap
        number, operation = int(message["messageID"]), message["protocolOp"]
        if ldap.how in ("silent", "drip", "garbage", "huge", "close"):
            return self._misbehave(ldap.how)
        if operation.getName() == "bindRequest":
            bind = operation.getComponent()
            ldap.binds.append((str(bind["name"]), bytes(bind["authentication"].getComponent())))
            code = 48 if ldap.how == "bind_refused" else 0
            self.request.sendall(_message(number, "bindResponse", _result(rfc4511.BindResponse(), code)))
            return None
        if operation.getName() == "searchRequest":
            self._search(number, operation.getComponent())
            return None
        return False

    def _search(self, number: int, request) -> None:
        ldap = self.server.ldap
        base, condition = str(request["baseObject"]), request["filter"]
        if condition.getName() == "present":
            contexts = [each.encode() for each in ldap.naming_contexts]
            self._send(number, "searchResEntry", _entry("", {"namingContexts": contexts} if contexts else {}))
        else:
            match = condition.getComponent()
            wanted = bytes(match["assertionValue"]).decode()
            ldap.searches.append((base, str(match["attributeDesc"]), wanted))
            for mail, attributes in ldap.entries.get(base, []):
                if mail.lower() == wanted.lower():
                    self._send(number, "searchResEntry", _entry(f"mail={mail},{base}", attributes))
            if ldap.how == "endless":
                while True:
                    self._send(number, "searchResEntry", _entry("cn=x", {"userCertificate": [b"x" * 60_000]}))
        code = 10 if ldap.how == "referral" and condition.getName() != "present" else 0
        done = _result(rfc4511.SearchResultDone(), code)
        if code:
            done["referral"] = rfc4511.Referral().setComponents("ldap://127.0.0.1:1/dc=elsewhere")
        self._send(number, "searchResDone", done)

    def _send(self, number: int, kind: str, operation) -> None:
        self.request.sendall(_message(number, kind, operation))

    def _misbehave(self, how: str) -> bool:
        if how == "silent":
            time.sleep(3)
        elif how == "garbage":
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
        elif how == "huge":
            self.request.sendall(b"\x30\x84\x7f\xff\xff\xff" + b"\x02\x01\x01" * 1000)
            time.sleep(1)
        elif how == "drip":
            self.request.sendall(b"\x30\x82\x10\x00")
            for _ in range(200):
                self.request.sendall(b"\x02")
                time.sleep(0.05)
        return False


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextlib.contextmanager
def running() -> Iterator[LdapServer]:
    ldap = LdapServer()
    server = _Server(("127.0.0.1", 0), _Connection)
    server.ldap = ldap
    ldap.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield ldap
    finally:
        server.shutdown()
        server.server_close()
