"""Certificates in CERT records of the name service (RFC 4398), whoever they speak for."""

from __future__ import annotations

from collections.abc import Callable

from trust import fetcher, memory, nameservice
from trust.pki.errors import MalformedCertificate
from trust.pki.load import load_certificates

MAX_RECORDS = 10
MAX_OCTETS = 64 * 1024
MAX_URLS = 3
LONGEST_KEPT_S = 3600
NONE_KEPT_S = 300

_PKIX, _IPKIX = 1, 4

_ABSENT: dict[nameservice.Absent, str] = {
    "nxdomain": "none, there is no such name",
    "nodata": "none, the name has no such records",
}

#: Is told a stable code and plain words of everything that happens.
Tell = Callable[[str, str], None]


def published(name: str, tell: Tell = lambda code, detail: None) -> list[bytes]:
    """The certificates (DER, unread) published under an address or a domain, kept for as long as its TTL.

    Raises BadName, NameServiceFailed.
    """
    owner = nameservice.owner_of(name) if "@" in name else nameservice.absolute(name)
    kept = memory.recall("dns", name)
    if kept is not None:
        tell("kept", f"{number_of(kept)}, as asked before")
        return kept
    answer = nameservice.look_up(owner, "CERT")
    if answer.absent:
        tell(answer.absent, _ABSENT[answer.absent])
        memory.keep("dns", name, [], NONE_KEPT_S)
        return []
    count = len(answer.records)
    number = "one record" if count == 1 else f"{count} records"
    tell("records", f"{number} found{', over TCP' if answer.over_tcp else ''}")
    reading = _Reading(tell)
    reading.read(answer)
    if reading.whole:
        seconds = min(answer.ttl_s, LONGEST_KEPT_S) if reading.found else NONE_KEPT_S
        memory.keep("dns", name, reading.found, seconds)
    return reading.found


def number_of(found: list[bytes]) -> str:
    """How many certificates, in words."""
    return {0: "no certificate", 1: "one certificate"}.get(len(found), f"{len(found)} certificates")


class _Reading:
    """Certificates out of records (RFC 4398 section 2); `whole` when each place they point at answered."""

    def __init__(self, tell: Tell) -> None:
        self.found: list[bytes] = []
        self.whole = True
        self._tell = tell
        self._urls = 0

    def read(self, answer: nameservice.Answer) -> None:
        size = 0
        for record in answer.records[:MAX_RECORDS]:
            size += len(record.certificate)
            if size > MAX_OCTETS:
                self._tell("too_large", f"more than {MAX_OCTETS} octets of certificates; cut off")
                return
            if record.certificate_type == _PKIX:
                self.found.append(record.certificate)
            elif record.certificate_type == _IPKIX and self._urls < MAX_URLS:
                self._urls += 1
                self._follow(record.certificate)
            else:
                self._tell("other_kind", f"a record of kind {record.certificate_type}; passed over")

    def _follow(self, data: bytes) -> None:
        """The certificate at the URL that a record of type IPKIX holds."""
        try:
            body = fetcher.fetch(data.rstrip(b"\x00").decode("ascii"), fetcher.AIA).body
            self.found += [each.der for each in load_certificates(body)][:MAX_RECORDS]
        except UnicodeDecodeError:
            self._tell("bad_url", "a record that points at no URL; passed over")
        except fetcher.FetchError as error:
            self.whole = False
            self._tell(error.code, f"a certificate at a URL was not fetched: {error.detail}")
        except MalformedCertificate as error:
            self._tell(error.code, f"what stands at a URL is no certificate: {error.detail}")
