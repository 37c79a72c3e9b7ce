"""Finding somebody's certificates by address: DNS CERT records (RFC 4398), then LDAP named by SRV (RFC 2782).

Four places are asked in order: DNS for the address, DNS for the domain, LDAP for the address, LDAP for the
domain. The first place that holds a usable certificate ends the search, and so does one that holds unusable
ones only: whoever published an expired or revoked certificate said something, and the next place must not
overrule it. Only certificates that speak for somebody else count as none.

What a place holds is kept for a while, what is thought of it never: it is judged anew each time.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from django.conf import settings

from trust import context, directory, dns_certificates, memory, nameservice, resolvers
from trust.dns_certificates import LONGEST_KEPT_S, NONE_KEPT_S, number_of
from trust.pki.certs import Certificate, require_covers, require_direct_leaf, signed_by
from trust.pki.errors import (
    AddressNotCovered,
    Expired,
    NotYetValid,
    PkiError,
)
from trust.pki.path import Chain
from trust.pki.policy import TrustContext

log = logging.getLogger(__name__)

MAX_SERVERS = 6

Place = Literal["dns_address", "dns_domain", "ldap_address", "ldap_domain"]
#: In the order in which they are asked.
PLACES: dict[Place, str] = {
    "dns_address": "DNS, certificate records of the address",
    "dns_domain": "DNS, certificate records of the domain",
    "ldap_address": "LDAP, entry of the address",
    "ldap_domain": "LDAP, entry of the domain",
}


@dataclass(frozen=True)
class Found:
    """A certificate that we may encrypt to: it is in time, speaks for the address, and is trusted."""

    certificate: Certificate
    chain: Chain
    place: Place


@dataclass(frozen=True)
class Step:
    """One thing that was tried. `code` is stable, `detail` for people; `place` None: before any place.

    `certificate`: the one that was judged, if it could be read. `chain`: it and its issuers, as far as they
    could be followed; to the anchor when it is usable.
    """

    place: Place | None
    code: str
    detail: str
    sha256: str | None = None
    certificate: Certificate | None = None
    chain: tuple[Certificate, ...] = ()


@dataclass(frozen=True)
class Discovery:
    """What came of a search. `code` is empty when something was found.

    Else `no_certificate`; the code of the first unusable certificate (`expired`, `revoked`,
    `untrusted_chain` …); `bad_address`; or `dns_failure`. `temporary`: a server failed, ask again later.
    """

    address: str
    found: tuple[Found, ...]
    steps: tuple[Step, ...]
    code: str = ""
    temporary: bool = False

    @property
    def detail(self) -> str:
        """Why nothing was found, in plain words."""
        telling = [step for step in self.steps if step.code == self.code]
        return telling[0].detail if telling else ""


def find(address: str, *, at: datetime, sender: str | None = None) -> Discovery:
    """The certificates by which mail to `address` can be encrypted, by what is published now.

    `at`: the time to judge by. `sender`: the address (or domain) of ours whose outgoing anchors decide; None
    for the first of our domains. Never raises for what others publish, and never call it in a transaction:
    it may take half a minute.
    """
    return _Search(_plain(address), at, sender or next(iter(settings.DIRECT_DOMAINS), "")).run(address)


def forget(address: str) -> None:
    """Drop what is kept of an address and its domain, so that the next search asks anew, in every process.

    With it goes what the certificates found there say of their issuers' places: one that was out of reach is
    kept as a failure for some minutes.
    """
    plain = _plain(address)
    domain = plain.rpartition("@")[2]
    for kind in ("dns", "ldap"):
        kept = [der for name in (plain, domain) for der in memory.recall(kind, name) or ()]
        memory.forget("issuers", *(url for der in kept for url in _issuer_urls(der)))
        memory.forget(kind, plain, domain)


Way = Literal["dns", "ldap"]


@dataclass(frozen=True)
class Look:
    """All that one way holds under a name, in DER, whoever it speaks for. `failed`: nobody could tell."""

    way: Way
    found: tuple[bytes, ...]
    steps: tuple[Step, ...]
    failed: bool = False


def survey(name: str) -> tuple[Look, Look]:
    """What DNS and LDAP hold under exactly this domain or address, asked anew, judged by nobody.

    For who publishes under the name, and needs to know what everybody sees there. Both ways are asked, so it
    may take half a minute; never call it in a transaction. Raises BadName.
    """
    plain = context.lower(name.strip())
    for kind in ("dns", "ldap"):
        memory.forget(kind, plain)
    return _look("dns", plain, _of_dns), _look("ldap", plain, _of_ldap)


def _look(way: Way, name: str, ask: Callable[[str, Callable[..., None]], list[bytes]]) -> Look:
    steps: list[Step] = []

    def tell(place: Place | None, code: str, detail: str) -> None:
        steps.append(Step(place, code, detail))

    try:
        found = ask(name, tell)
    except nameservice.NameServiceFailed as error:
        tell(None, error.code, error.detail)
        return Look(way, (), tuple(steps), failed=True)
    failed = not found and any(step.code in _FAILURES for step in steps)
    return Look(way, tuple(found), tuple(steps), failed)


_FAILURES = frozenset({directory.DirectoryFailed.code})


def _of_dns(name: str, tell: Callable[..., None]) -> list[bytes]:
    place: Place = "dns_address" if "@" in name else "dns_domain"
    return dns_certificates.published(name, lambda code, detail: tell(place, code, f"DNS: {detail}"))


def _of_ldap(name: str, tell: Callable[..., None]) -> list[bytes]:
    place: Place = "ldap_address" if "@" in name else "ldap_domain"
    with ExitStack() as stack:
        return _Servers(context.domain_of(name), stack, tell).certificates(place, name)


def _issuer_urls(der: bytes) -> tuple[str, ...]:
    try:
        return Certificate(der).issuer_urls
    except PkiError:
        return ()


def _plain(address: str) -> str:
    """The address to look up: in lower case, without a `+tag`, which is a matter of the mailbox alone."""
    local, _, domain = context.lower(address.strip()).rpartition("@")
    return f"{local.partition('+')[0]}@{domain.rstrip('.')}"


@dataclass
class _Search:
    """One search: the decision of where to look next, and why to stop."""

    address: str
    at: datetime
    sender: str
    steps: list[Step] = field(default_factory=list)
    budget: resolvers.Budget = field(default_factory=resolvers.Budget)

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    def run(self, asked: str) -> Discovery:
        try:
            nameservice.owner_of(self.address)
        except nameservice.BadName as error:
            self._tell(None, "bad_address", str(error))
            return Discovery(asked, (), tuple(self.steps), "bad_address")
        with ExitStack() as stack:
            servers = _Servers(self.domain, stack, self._tell)
            places: list[tuple[Place, Callable[[], list[bytes]]]] = [
                ("dns_address", lambda: self._from_dns("dns_address", self.address)),
                ("dns_domain", lambda: self._from_dns("dns_domain", self.domain)),
                ("ldap_address", lambda: servers.certificates("ldap_address", self.address)),
                ("ldap_domain", lambda: servers.certificates("ldap_domain", self.domain)),
            ]
            return self._walk(asked, places)

    def _walk(self, asked: str, places: Iterable[tuple[Place, Callable[[], list[bytes]]]]) -> Discovery:
        for place, ask in places:
            try:
                published = ask()
            except nameservice.NameServiceFailed as error:
                self._tell(place, error.code, error.detail)
                return Discovery(asked, (), tuple(self.steps), error.code, temporary=True)
            found, refusal = self._judge(place, published)
            if found:
                return Discovery(asked, tuple(found), tuple(self.steps))
            if refusal is not None:
                return Discovery(asked, (), tuple(self.steps), refusal.code, refusal.temporary)
        self._tell(None, "no_certificate", f"nothing is published by which {self.address} can be reached")
        return Discovery(asked, (), tuple(self.steps), "no_certificate")

    # --- judging what a place holds

    def _judge(self, place: Place, published: list[bytes]) -> tuple[list[Found], PkiError | None]:
        """The usable certificates, and what is wrong with the first other one that speaks for the address."""
        found: list[Found] = []
        first: PkiError | None = None
        for der in published:
            certificate = None
            try:
                certificate = Certificate(der)
                chain = self._verified(certificate)
            except AddressNotCovered as error:
                self._tell_of(place, error.code, f"{error.detail}; passed over", der, certificate)
            except PkiError as error:
                first = first or error
                self._tell_of(place, error.code, error.detail, der, certificate)
            else:
                found.append(Found(certificate, chain, place))
                words = f"{certificate.subject}: usable"
                self._tell_of(place, "usable", words, der, certificate, chain.certificates)
        return found, first

    def _verified(self, certificate: Certificate) -> Chain:
        """Name first: whoever a certificate speaks for, its other faults are none of ours if not for us."""
        policy = self._trust().policy
        require_covers(certificate, self.address, policy)
        if self.at > certificate.not_after:
            raise Expired(when=certificate.not_after, sha256=certificate.sha256)
        if self.at < certificate.not_before:
            raise NotYetValid(when=certificate.not_before, sha256=certificate.sha256)
        require_direct_leaf(certificate, policy, use="encryption")
        return resolvers.verify(certificate, (), self._trust, self.at, self.budget)

    def _trust(self) -> TrustContext:
        return context.for_address(self.sender, incoming=False).trust

    def _tell(self, place: Place | None, code: str, detail: str) -> None:
        self.steps.append(Step(place, code, detail))

    def _tell_of(
        self,
        place: Place,
        code: str,
        detail: str,
        der: bytes,
        certificate: Certificate | None,
        chain: tuple[Certificate, ...] = (),
    ) -> None:
        if certificate is not None and not chain:
            chain = _as_far_as_it_led(certificate, self.budget.fetched)
        sha256 = hashlib.sha256(der).hexdigest()
        self.steps.append(Step(place, code, detail, sha256, certificate, chain))

    def _from_dns(self, place: Place, name: str) -> list[bytes]:
        return dns_certificates.published(
            name, lambda code, detail: self._tell(place, code, f"{PLACES[place]}: {detail}")
        )


def _as_far_as_it_led(leaf: Certificate, fetched: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """The leaf and those of the fetched issuers that signed their way down to it."""
    led = [leaf]
    while len(led) <= resolvers.MAX_HOPS:
        named = (each for each in fetched if each.subject_key == led[-1].issuer_key and each not in led)
        signer = next((each for each in named if signed_by(led[-1], each)), None)
        if signer is None:
            break
        led.append(signer)
    return tuple(led)


# --- LDAP -----------------------------------------------------------------------------------------------


@dataclass
class _Servers:
    """The directories of a domain, in the order of their SRV records; a dead one is not asked twice."""

    domain: str
    stack: ExitStack
    tell: Callable[..., None]
    _order: list[tuple[str, int]] | None = None
    _ttl_s: int = LONGEST_KEPT_S
    _open: dict[tuple[str, int], directory.Directory | None] = field(default_factory=dict)

    def certificates(self, place: Place, name: str) -> list[bytes]:
        """What the first server that has an entry with certificates holds for `mail=name`."""
        kept = memory.recall("ldap", name)
        if kept is not None:
            self.tell(place, "kept", f"{PLACES[place]}: {number_of(kept)}, as asked before")
            return kept
        answered = False
        for server in self._named(place):
            found = self._ask(place, server, name)
            if found:
                memory.keep("ldap", name, found, min(self._ttl_s, LONGEST_KEPT_S))
                return found
            answered = answered or found is not None
        if answered:
            memory.keep("ldap", name, [], NONE_KEPT_S)
        return []

    def _named(self, place: Place) -> list[tuple[str, int]]:
        if self._order is None:
            answer = nameservice.look_up(nameservice.absolute(f"_ldap._tcp.{self.domain}"), "SRV")
            self._ttl_s = answer.ttl_s
            self._order = list(in_order(answer.records))[:MAX_SERVERS]
            if not self._order:
                self.tell(place, "no_srv", f"DNS names no LDAP server of {self.domain}")
        return self._order

    def _ask(self, place: Place, server: tuple[str, int], name: str) -> list[bytes] | None:
        """Certificates; none (the server has no such entry); or None (it could not be asked)."""
        host, _ = server
        opened = self._opened(place, server)
        if opened is None:
            return None
        try:
            found = opened.certificates(name)
        except directory.DirectoryFailed as error:
            self._open[server] = None
            self.tell(place, error.code, f"{PLACES[place]}: {error.detail}")
            return None
        self.tell(place, "records" if found else "no_entry", f"{PLACES[place]} at {host}: {number_of(found)}")
        return found

    def _opened(self, place: Place, server: tuple[str, int]) -> directory.Directory | None:
        if server not in self._open:
            try:
                self._open[server] = self.stack.enter_context(directory.Directory(*server))
            except directory.DirectoryFailed as error:
                self._open[server] = None
                self.tell(place, error.code, f"{PLACES[place]}: {error.detail}; the next server is asked")
        return self._open[server]


def in_order(records: Iterable[Any], *, chance: random.Random | None = None) -> Iterator[tuple[str, int]]:
    """Host and port of SRV records: lowest priority first, within one by weighted lot (RFC 2782)."""
    lots = chance or random.SystemRandom()
    left = sorted(records, key=lambda each: (each.priority, each.weight))
    while left:
        equals = [each for each in left if each.priority == left[0].priority]
        drawn = _drawn(equals, lots)
        left.remove(drawn)
        host = drawn.target.to_text(omit_final_dot=True)
        # A lone dot says: there is no such service here.
        if host not in ("", ".", "@"):
            yield host, drawn.port


def _drawn(equals: Sequence[Any], lots: random.Random) -> Any:
    """One of the records of one priority. Those of weight 0 come first in the list and hardly ever win."""
    mark = lots.randint(0, sum(each.weight for each in equals))
    running = 0
    for each in equals:
        running += each.weight
        if running >= mark:
            return each
    return equals[-1]
