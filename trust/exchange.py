"""What "Can we exchange with this address?" tells: each place of the search, each certificate, each way.

Drawn from the steps of one search; the words say what to do, and who has to do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from trust import context, discovery, resolvers
from trust.models import Anchor
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError

T = TypeVar("T")
Outcome = Literal["passed", "failed", "open"]
Flag = Literal["incoming", "outgoing"]

_PASSED_OVER = frozenset({"address_not_covered", "malformed_name"})
_THEIRS = {
    "expired": "Their administrator has to publish a new certificate.",
    "not_yet_valid": "It counts from its first day on. Until then they have to publish the one before it.",
    "revoked": "Its issuer took it back. Their administrator has to publish another one.",
    "revocation_unknown": "Our domain demands to know whether it was revoked, and nobody can tell now. Their "
    "authority has to make its revocation list or responder reachable; the domain's settings say whether we "
    "insist.",
    "address_not_covered": "It speaks for somebody else, so it counts as none.",
    "malformed_name": "It speaks for no name that can be read, so it counts as none.",
    "malformed_certificate": "What is published there cannot be read as a certificate.",
    "no_key_usage": "It does not say what its key is for. Their authority has to issue one that does.",
    "wrong_key_usage": "Its key is not for encrypting. They have to publish the one that is.",
    "weak_key": "Its key is too short for today: RSA of 2048 bits or more is needed.",
    "weak_digest": "Its signature uses a digest that no longer counts: SHA-256 or better is needed.",
}
_OF_SEARCHES = {
    "no_certificate": "Ask their administrator to publish their certificate in DNS or LDAP, and look again.",
    "dns_failure": "Their name servers do not answer us now. Mail to them waits and is tried again.",
}
_OTHERWISE = "Their administrator has to publish a certificate without this fault; tell them its code."


@dataclass(frozen=True)
class Link:
    """One certificate of a chain as far as it can be read."""

    sha256: str
    subject: str
    issuer: str
    names: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None


def links(chain: Sequence[Certificate]) -> tuple[Link, ...]:
    """A chain to be drawn; what is too broken to be read is left empty."""
    return tuple(_link(each) for each in chain)


def _link(each: Certificate) -> Link:
    return Link(
        each.sha256,
        _readable(lambda: each.subject, ""),
        _readable(lambda: each.issuer, ""),
        _readable(lambda: tuple(each.names), ()),
        _readable(lambda: each.not_before, None),
        _readable(lambda: each.not_after, None),
    )


def _readable(read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except PkiError:
        return otherwise


@dataclass(frozen=True)
class Seen:
    """One certificate that a place holds: how it was judged, and what to do about it.

    `chain`: as far as it led. `broken`: who should have issued its last one, when no anchor was reached.
    """

    sha256: str
    code: str
    words: str
    todo: str = ""
    chain: tuple[Link, ...] = ()
    broken: str = ""
    #: An anchor of ours that could have carried it, or did.
    anchor: Anchor | None = None

    @property
    def is_usable(self) -> bool:
        return self.code == "usable"

    @property
    def is_passed_over(self) -> bool:
        return self.code in _PASSED_OVER


@dataclass
class PlaceTold:
    """One of the four places: what came of asking there."""

    title: str
    outcome: Outcome = "open"
    word: str = "Not asked"
    notes: list[tuple[str, str]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)


def places(found: discovery.Discovery) -> list[PlaceTold]:
    """The four places in the order of the search, also those that it did not come to."""
    return [_place(place, title, found) for place, title in discovery.PLACES.items()]


def _place(place: discovery.Place, title: str, found: discovery.Discovery) -> PlaceTold:
    told = PlaceTold(title)
    steps = [step for step in found.steps if step.place == place]
    for step in steps:
        if step.sha256 is None:
            words = step.detail.removeprefix(title).lstrip(": ") or step.detail
            told.notes.append((f"{words[:1].upper()}{words[1:]}", step.code))
        else:
            told.seen.append(_seen(step))
    if any(each.is_usable for each in told.seen):
        told.outcome, told.word = "passed", "Found"
    elif any(not each.is_passed_over for each in told.seen):
        told.outcome, told.word = "failed", "Not usable"
    elif any(code == "dns_failure" for _, code in told.notes):
        told.outcome, told.word = "failed", "No answer"
    elif steps or found.code == "no_certificate":
        # A place without a step of its own was settled by the one before: no directory is named.
        told.word = "Nothing for this address"
    elif found.found:
        told.word = "Not needed"
    return told


def _seen(step: discovery.Step) -> Seen:
    usable = step.code == "usable"
    if usable:
        words, todo, broken = "We can encrypt to it.", "", ""
    else:
        words, (todo, broken) = f"{step.detail[:1].upper()}{step.detail[1:].rstrip('.')}.", _what_to_do(step)
    anchor = anchor_of(step.chain) if usable or broken else None
    return Seen(step.sha256 or "", step.code, words, todo, links(step.chain), broken, anchor)


def _what_to_do(step: discovery.Step) -> tuple[str, str]:
    if step.code != "untrusted_chain" or not step.chain:
        return _THEIRS.get(step.code, _OTHERWISE), ""
    return untrusted(step.chain, "outgoing"), _issuer(step.chain)


def _issuer(chain: Sequence[Certificate]) -> str:
    return links(chain[-1:])[0].issuer or "an issuer without a name"


def untrusted(chain: Sequence[Certificate], flag: Flag) -> str:
    """What to do about a chain that leads to no anchor that counts: it may be here and not count."""
    anchor = anchor_of(chain)
    direction = f"{flag} mail of this domain"
    if anchor is None:
        if chain[-1].self_issued:
            return (
                f"It ends in {_issuer(chain)}, which is no anchor for {direction}. If you trust that "
                "organisation, import its anchor; be sure who gave it to you."
            )
        return (
            f"Its issuer, {_issuer(chain)}, leads to no anchor for {direction}. If you trust that "
            "organisation, import its anchor. If its anchor is here, certificates in between are missing: "
            "their administrator has to make them reachable (AIA)."
        )
    if anchor.state != Anchor.State.ACTIVE:
        return f"Its anchor, {anchor.subject}, is here but {anchor.get_state_display().lower()}."
    if not getattr(anchor, flag):
        return f"Its anchor, {anchor.subject}, is here but does not count for {flag} mail."
    return (
        f"An anchor of that name, {anchor.subject}, is here, but does not carry this certificate: it counts "
        "for another of our domains or another community, or it has another key."
    )


def anchor_of(chain: Sequence[Certificate]) -> Anchor | None:
    """An anchor of ours that is part of a chain, or has the name of who issued the last of it."""
    if not chain:
        return None
    prints = [each.sha256 for each in chain]
    rows = Anchor.objects.exclude(state=Anchor.State.WITHDRAWN).defer("der").order_by("state", "created")
    part = rows.filter(sha256__in=prints).first()
    return part or rows.filter(subject=_issuer(chain)).first()


# --- the two ways ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One direction of exchange: whether it works, and why (not)."""

    works: bool
    words: str
    code: str = ""
    todo: str = ""
    chain: tuple[Link, ...] = ()
    broken: str = ""


def sending(found: discovery.Discovery) -> Way:
    """Whether mail to the address can be sealed."""
    if found.found:
        return Way(
            True, "Their certificate is found and trusted.", chain=links(found.found[0].chain.certificates)
        )
    detail = found.detail
    todo = _OF_SEARCHES.get(found.code, "")
    return Way(False, f"{detail[:1].upper()}{detail[1:].rstrip('.')}.", found.code, todo)


def receiving(found: discovery.Discovery, domain: str, at: datetime) -> Way | None:
    """Whether mail signed with a certificate that was seen would be accepted; None when none speaks for it.

    What is published is for encrypting. A partner with a second certificate for signing, of the same issuer,
    is judged alike.
    """
    step = _speaking(found)
    if step is None or step.certificate is None:
        return None
    budget = resolvers.Budget()

    def trust() -> context.TrustContext:
        return context.for_address(f"postmaster@{domain}", incoming=True).trust

    try:
        chain = resolvers.verify(step.certificate, step.chain[1:], trust, at, budget)
    except PkiError as error:
        words = f"{error.detail[:1].upper()}{error.detail[1:].rstrip('.')}."
        if error.code != "untrusted_chain":
            return Way(False, words, error.code, _THEIRS.get(error.code, _OTHERWISE), links(step.chain))
        todo, broken = untrusted(step.chain, "incoming"), _issuer(step.chain)
        return Way(False, words, error.code, todo, links(step.chain), broken)
    return Way(True, "Mail signed by the same authority is accepted.", chain=links(chain.certificates))


def _speaking(found: discovery.Discovery) -> discovery.Step | None:
    """The best certificate that speaks for the address: a usable one, else the first."""
    speaking = [each for each in found.steps if each.certificate and each.code not in _PASSED_OVER]
    return next((each for each in speaking if each.code == "usable"), speaking[0] if speaking else None)
