"""A verdict on a certificate, fetching what it lacks: issuers by AIA or by their name, lists by CDP, answers
by OCSP.

`trust.pki.path` judges what it is given and names what is missing; this is the loop around it, with a budget,
so that a certificate cannot make us fetch without end. Never inside a transaction.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from trust import dns_certificates, nameservice, ocsp_answers, revocation_lists, verdicts
from trust.pki.certs import Certificate, is_host_name, is_mailbox
from trust.pki.errors import MissingCrl, MissingIssuer, PkiError, RevocationUnknown, UntrustedChain
from trust.pki.path import Chain
from trust.pki.policy import Policy, TrustContext

MAX_FETCHES = 6
MAX_HOPS = 2
MAX_NAMES = 2
#: For so many seconds in all, whatever their number, OCSP responders hold up one message or recipient.
ANSWERS_S = 10.0


@dataclass
class Budget:
    """What may be fetched for one message or one recipient: 6 things in all, each place once.

    `answers_s`: how many seconds are left to wait for OCSP responders.
    """

    left: int = MAX_FETCHES
    answers_s: float = ANSWERS_S
    #: The issuers that came, so that whoever asked can show how far a path led.
    fetched: list[Certificate] = field(default_factory=list)
    _asked: set[tuple[str, ...]] = field(default_factory=set)

    def issuers(self, urls: tuple[str, ...]) -> tuple[Certificate, ...]:
        found = revocation_lists.issuers(urls) if self._take(urls) else ()
        self.fetched += found
        return found

    def issuers_by_name(self, certificate: Certificate) -> tuple[Certificate, ...]:
        """What is published under the alternative names that a certificate gives its issuer."""
        found: list[Certificate] = []
        for name in _issuer_names(certificate):
            if self._take((name,)):
                found += _published(name)
        self.fetched += found
        return tuple(found)

    def lists(self, urls: tuple[str, ...]) -> bool:
        """Whether a list came that we did not hold before."""
        return self._take(urls) and revocation_lists.obtain(urls)

    def answer(self, subject: Certificate, issuer: Certificate) -> bool:
        """Whether an OCSP answer came that we did not hold before."""
        asked = (subject.sha256, *subject.ocsp_urls) if subject.ocsp_urls else ()
        if self.answers_s <= 0 or not self._take(asked):
            return False
        began = time.monotonic()
        try:
            return ocsp_answers.obtain(subject, issuer, total_s=self.answers_s)
        finally:
            self.answers_s -= time.monotonic() - began

    def _take(self, urls: tuple[str, ...]) -> bool:
        if not urls or urls in self._asked or self.left <= 0:
            return False
        self._asked.add(urls)
        self.left -= 1
        return True


def verify(
    leaf: Certificate,
    hints: Sequence[Certificate],
    trust_now: Callable[[], TrustContext],
    at: datetime,
    budget: Budget | None = None,
) -> Chain:
    """The chain from `leaf` to an anchor, after fetching the issuers, lists and OCSP answers that it names.

    `trust_now` reads the context anew (`lambda: context.for_address(a).trust`): it is called again when a
    list came. A chain that stands is noted, so that its lists are refreshed in the background. Raises what
    `trust.pki.path.verify_path` raises.
    """
    budget = budget or Budget()
    pool, hops, trust = list(hints), 0, trust_now()
    while True:
        try:
            chain = verdicts.verify(leaf, pool, trust, at)
        except UntrustedChain as error:
            hops += 1
            found = _issuers_of(error, leaf, pool, trust.policy, budget) if hops <= MAX_HOPS else []
            if not found:
                raise
            pool += found
            continue
        except RevocationUnknown as error:
            listed = isinstance(error, MissingCrl) and budget.lists(error.urls)
            if not listed and not (error.place and budget.answer(*error.place)):
                found = _issuers_of_pinned(leaf, pool, trust, budget)
                if not found:
                    raise
                pool += found
            trust = trust_now()
            continue
        doubtful = chain.revocation == "unknown" or "crl_stale" in chain.warnings
        if doubtful and (_lists_came(chain, budget) or _answers_came(chain, budget)):
            trust = trust_now()
            continue
        if doubtful and (found := _issuers_of_pinned(leaf, pool, trust, budget)):
            pool += found
            continue
        revocation_lists.note_met(chain)
        return chain


def _lists_came(chain: Chain, budget: Budget) -> bool:
    # All are asked, not only up to the first that comes: each may be the one that tells of a revocation.
    came = [budget.lists(each.crl_urls) for each in chain.certificates]
    return any(came)


def _answers_came(chain: Chain, budget: Budget) -> bool:
    pairs = zip(chain.certificates, chain.certificates[1:], strict=False)
    came = [budget.answer(subject, issuer) for subject, issuer in pairs]
    return any(came)


def _issuers_of(
    error: UntrustedChain, leaf: Certificate, pool: Sequence[Certificate], policy: Policy, budget: Budget
) -> list[Certificate]:
    """New certificates for a chain that came to no anchor: where it says first, then by the issuer's name."""
    if isinstance(error, MissingIssuer):
        found = _usable(budget.issuers(error.urls), leaf, pool, policy)
        if found:
            return found
    last = next((each for each in pool if each.sha256 == error.sha256), leaf)
    return _usable(budget.issuers_by_name(last), leaf, pool, policy)


def _issuers_of_pinned(
    leaf: Certificate, pool: Sequence[Certificate], trust: TrustContext, budget: Budget
) -> list[Certificate]:
    """Who issued a leaf that is its own anchor: no path needs it, but only it can say that it was revoked."""
    if leaf.sha256 not in trust.anchors_by_sha256 or leaf.self_issued:
        return []
    return _usable(budget.issuers(leaf.issuer_urls), leaf, pool, trust.policy)


def _issuer_names(certificate: Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.IssuerAlternativeName).value
    except (x509.ExtensionNotFound, PkiError):
        return []
    found = names.get_values_for_type(x509.RFC822Name) + names.get_values_for_type(x509.DNSName)
    return [each for each in found if is_mailbox(each) or is_host_name(each)][:MAX_NAMES]


def _published(name: str) -> list[Certificate]:
    found = []
    try:
        for der in dns_certificates.published(name.lower()):
            with suppress(PkiError):
                found.append(Certificate(der))
    except (nameservice.NameServiceFailed, nameservice.BadName):
        return []
    return found


def _usable(
    found: Sequence[Certificate], leaf: Certificate, pool: Sequence[Certificate], policy: Policy
) -> list[Certificate]:
    """Those of the fetched certificates that are new and do not burst the bounds of a path."""
    wanted = {each.issuer_key for each in (leaf, *pool)}
    names = Counter(each.subject_key for each in pool)
    usable: list[Certificate] = []
    for certificate in sorted(found, key=lambda each: each.subject_key not in wanted):
        room = len(pool) + len(usable) < policy.max_certificates
        if certificate == leaf or certificate in pool or not room:
            continue
        if names[certificate.subject_key] < policy.max_same_subject:
            names[certificate.subject_key] += 1
            usable.append(certificate)
    return usable
