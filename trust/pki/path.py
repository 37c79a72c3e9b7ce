"""From a certificate to an anchor: the only path builder.

Candidate paths are made of verified signatures, few and bounded. Each is read twice, by OpenSSL and by
pyhanko-certvalidator, between checks of our own for what both let pass; all must say yes. Trust comes from
configured anchors alone, never from a system's store, and never from a key identifier.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from trust.pki import certvalidator, openssl
from trust.pki.certs import (
    Certificate,
    require_bounds,
    require_sound,
    require_strong_signature,
    signed_by,
)
from trust.pki.errors import (
    Expired,
    MissingCrl,
    MissingIssuer,
    NameConstraintViolated,
    NotYetValid,
    PathTooLong,
    PkiError,
    PolicyNotMet,
    ReadersDisagree,
    RevocationUnknown,
    TooManyCertificates,
    TooManyPaths,
    TooManySameSubject,
    UntrustedChain,
)
from trust.pki.ocsp import ocsp_status
from trust.pki.policy import Policy, TrustContext
from trust.pki.revocation import Crl, Status, load_crls, revocation_status

#: Signatures that one verdict may verify while it looks for candidate paths.
MAX_SIGNATURES = 100


@dataclass(frozen=True)
class Chain:
    """A path that stands. `certificates`: leaf first, `anchor` last (the same one where the leaf is pinned).

    `revocation`: `good` when a believed, current list or answer spoke for every certificate below the anchor.
    `warnings`: `revocation_unknown`, `crl_stale`. `expires`: until when it may be kept for the same inputs.
    """

    certificates: tuple[Certificate, ...]
    anchor: Certificate
    revocation: Literal["good", "unknown"]
    expires: datetime
    warnings: tuple[str, ...] = ()

    @property
    def leaf(self) -> Certificate:
        return self.certificates[0]


def verify_path(
    leaf: Certificate,
    intermediates: Sequence[Certificate],
    context: TrustContext,
    at: datetime,
) -> Chain:
    """The path from `leaf` to an anchor of `context` that stands at `at` (aware; the receiver's own clock).

    `intermediates` are hints from anywhere, in any order. The anchor may be a root, an intermediate or the
    leaf itself: building stops at the first one met. Raises a PathError (UntrustedChain, MissingIssuer,
    Expired, NotYetValid, Revoked, RevocationUnknown, MissingCrl, PolicyNotMet, NameConstraintViolated,
    ReadersDisagree), a CertificateError, or a BoundExceeded before anything is computed.
    RFC 5280 section 6, with the bounds and the revocation rule of `context.policy`.
    """
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    pool = _distinct(leaf, intermediates)
    _require_pool_bounds(leaf, pool, context.policy)
    search = _Search(leaf, pool, context)
    crls = load_crls(context.crls)
    first_error: PkiError | None = None
    for path in search.candidates():
        try:
            return _judge(path, pool, context, crls, at)
        except PkiError as error:
            first_error = first_error or error
    if search.exhausted:
        limit = context.policy.max_candidate_paths
        raise TooManyPaths(limit=limit, found=limit + 1) from first_error
    raise first_error or search.failure()


def verdict_key(leaf: Certificate, intermediates: Sequence[Certificate], context: TrustContext) -> bytes:
    """A key under which the verdict of `verify_path` may be kept: the digest of all it depends on but time.

    A Chain may be served again until its `expires`; an error only for as long as the caller likes, since
    certificates become valid and lists arrive.
    """
    whole = hashlib.sha256(b"verdict 1")
    whole.update(bytes.fromhex(leaf.sha256))
    whole.update(b"".join(sorted({bytes.fromhex(each.sha256) for each in intermediates})))
    whole.update(context.digest)
    return whole.digest()


# --- candidates -----------------------------------------------------------------------------------------


def _distinct(leaf: Certificate, intermediates: Sequence[Certificate]) -> tuple[Certificate, ...]:
    return tuple(each for each in dict.fromkeys(intermediates) if each != leaf)


def _require_pool_bounds(leaf: Certificate, pool: Sequence[Certificate], policy: Policy) -> None:
    if len(pool) > policy.max_certificates:
        raise TooManyCertificates(limit=policy.max_certificates, found=len(pool))
    for certificate in (leaf, *pool):
        require_bounds(certificate, policy)
    most = max(Counter(each.subject_key for each in pool).values(), default=0)
    if most > policy.max_same_subject:
        raise TooManySameSubject(limit=policy.max_same_subject, found=most)


@dataclass
class _Search:
    """Walks from the leaf towards the anchors, along signatures that verify."""

    leaf: Certificate
    pool: tuple[Certificate, ...]
    context: TrustContext
    exhausted: bool = False
    too_long: bool = False
    _signatures: int = 0
    _unreadable: PkiError | None = None
    _dead_ends: list[Certificate] = field(default_factory=list)

    def candidates(self) -> Iterator[tuple[Certificate, ...]]:
        """At most `max_candidate_paths` paths; `exhausted` says whether there was more to look for."""
        for count, path in enumerate(self._extend((self.leaf,))):
            if count >= self.context.policy.max_candidate_paths:
                self.exhausted = True
                return
            yield path

    def failure(self) -> PkiError:
        """Why there was no candidate at all."""
        policy = self.context.policy
        if self._unreadable is not None:
            return self._unreadable
        if self.too_long:
            return PathTooLong(limit=policy.max_depth, found=policy.max_depth + 1)
        for certificate in self._dead_ends:
            if certificate.issuer_urls and not certificate.self_issued:
                urls = tuple(each for each in certificate.issuer_urls if each.lower().startswith("http:"))
                if urls:
                    return MissingIssuer(urls=urls, sha256=certificate.sha256)
        return UntrustedChain("no chain of signatures leads to an anchor", sha256=self.leaf.sha256)

    def _extend(self, path: tuple[Certificate, ...]) -> Iterator[tuple[Certificate, ...]]:
        tip = path[-1]
        if tip.sha256 in self.context.anchors_by_sha256:
            yield path
            return
        issuers = self._issuers(tip, path)
        if issuers and len(path) > self.context.policy.max_depth:
            self.too_long = True
            return
        if not issuers:
            self._dead_ends.append(tip)
        for issuer in issuers:
            yield from self._extend((*path, issuer))

    def _issuers(self, child: Certificate, path: tuple[Certificate, ...]) -> list[Certificate]:
        """Who may have issued `child`: anchors first, a matching key identifier before none."""
        anchors = self.context.anchors_by_subject.get(child.issuer_key, ())
        named = [each for each in self.pool if each.subject_key == child.issuer_key and each not in anchors]
        found = []
        for candidate in (*self._by_key_id(child, anchors), *self._by_key_id(child, named)):
            if candidate in path:
                continue
            if self._signatures >= MAX_SIGNATURES:
                self.exhausted = True
                break
            self._signatures += 1
            if signed_by(child, candidate):
                found.append(candidate)
        return found

    def _by_key_id(self, child: Certificate, candidates: Sequence[Certificate]) -> list[Certificate]:
        """Those with the wanted key identifier, then those without; one with another is no issuer of `child`.

        A candidate that cannot be read is passed over, lest a broken hint deny a good path; it is told of
        when there is no other path.
        """
        wanted = child.authority_key_id
        matching, silent = [], []
        for candidate in candidates:
            try:
                found = candidate.key_id
            except PkiError as error:
                self._unreadable = self._unreadable or error
                continue
            if wanted is not None and found == wanted:
                matching.append(candidate)
            elif wanted is None or found is None:
                silent.append(candidate)
        return matching + silent


# --- judging one candidate ------------------------------------------------------------------------------


def _judge(
    path: tuple[Certificate, ...],
    pool: Sequence[Certificate],
    context: TrustContext,
    crls: Sequence[Crl],
    at: datetime,
) -> Chain:
    policy = context.policy
    _require_sound_path(path, policy)
    _require_time(path, at)
    _require_first_reader(path, at)
    if len(path) > 1:
        _require_second_reader(path, at, policy)
    states = _revocation(path, pool, context, crls, at)
    good = all(each.state == "good" for each in states)
    ends = [each.not_after for each in path] + [each.expires for each in states if each.expires]
    return Chain(
        certificates=path,
        anchor=path[-1],
        revocation="good" if good else "unknown",
        expires=min(ends),
        warnings=_warnings(states),
    )


def _warnings(states: Sequence[Status]) -> tuple[str, ...]:
    unknown = ("revocation_unknown",) if any(each.state == "unknown" for each in states) else ()
    stale = ("crl_stale",) if any(each.stale for each in states) else ()
    return unknown + stale


def _require_sound_path(path: tuple[Certificate, ...], policy: Policy) -> None:
    for certificate in path:
        require_bounds(certificate, policy)
        require_sound(certificate, policy)
    for certificate in path[:-1]:
        require_strong_signature(certificate, policy)
    for issuer in path[1:]:
        _require_issuer(issuer, policy, is_anchor=issuer is path[-1])


def _require_issuer(certificate: Certificate, policy: Policy, *, is_anchor: bool) -> None:
    """A CA says so, and may sign certificates (RFC 5280 section 6.1.4 k, n)."""
    constraints = certificate.basic_constraints
    silent = constraints is None and is_anchor and policy.tolerates("no_basic_constraints")
    if not certificate.is_ca and not silent:
        raise UntrustedChain("an issuer on the path is no CA", sha256=certificate.sha256)
    usage = certificate.key_usage
    if usage is not None and not usage.key_cert_sign:
        raise UntrustedChain("an issuer on the path may not sign certificates", sha256=certificate.sha256)


def _require_time(path: tuple[Certificate, ...], at: datetime) -> None:
    """Every certificate, the anchor too, inside its validity; to the second, without grace."""
    for certificate in path:
        if at < certificate.not_before:
            raise NotYetValid(when=certificate.not_before, sha256=certificate.sha256)
        if at > certificate.not_after:
            raise Expired(when=certificate.not_after, sha256=certificate.sha256)


def _require_first_reader(path: tuple[Certificate, ...], at: datetime) -> None:
    verdict = openssl.check_path(path, at)
    if verdict.chain is None:
        kind = NameConstraintViolated if verdict.name_constraint else UntrustedChain
        raise kind(verdict.detail, sha256=path[0].sha256)
    if verdict.chain != tuple(each.der for each in path):
        raise ReadersDisagree("OpenSSL verified another chain than the one built", sha256=path[0].sha256)


def _require_second_reader(path: tuple[Certificate, ...], at: datetime, policy: Policy) -> None:
    verdict = certvalidator.check_path(path, at, policy)
    if verdict.fault == "policy":
        raise PolicyNotMet(verdict.detail, sha256=path[0].sha256)
    if verdict.fault == "name_constraint":
        raise NameConstraintViolated(verdict.detail, sha256=path[0].sha256)
    if verdict.fault is not None:
        raise ReadersDisagree(
            f"OpenSSL accepts, certvalidator does not: {verdict.detail}", sha256=path[0].sha256
        )


# --- revocation of a path -------------------------------------------------------------------------------


def _revocation(
    path: tuple[Certificate, ...],
    pool: Sequence[Certificate],
    context: TrustContext,
    crls: Sequence[Crl],
    at: datetime,
) -> list[Status]:
    """The state of each certificate below the anchor. Raises Revoked, and when unknown under `require`."""
    policy = context.policy
    anchor_state = _anchor_revocation(path[-1], pool, context, crls, at)
    if len(path) == 1:
        states = [anchor_state]
    else:
        states = [_state(path, place, pool, context, crls, at) for place in range(len(path) - 1)]
    if policy.revocation == "require" and not _is_pinned_self_signed(path):
        for place, status in enumerate(states):
            if status.state == "unknown":
                _raise_unknown(path[place], path[place + 1 :], status)
    return states


def _state(
    path: tuple[Certificate, ...],
    place: int,
    pool: Sequence[Certificate],
    context: TrustContext,
    crls: Sequence[Crl],
    at: datetime,
) -> Status:
    """The state of one certificate by lists and by OCSP answers. Raises Revoked where either says so.

    Neither outranks the other: what one of them knows to be revoked is refused, and what one of them knows to
    be good, while the other knows nothing, is good.
    """
    by_list = revocation_status(path, pool, crls, at, context.policy, place=place)
    return _with_answers(by_list, path[place:], context, crls, at)


def _with_answers(
    by_list: Status,
    path: Sequence[Certificate],
    context: TrustContext,
    crls: Sequence[Crl],
    at: datetime,
) -> Status:
    if not context.ocsp:
        return by_list
    answers = context.answers_by_serial.get(path[0].serial_number, ())
    if not answers:
        return by_list
    by_answer = ocsp_status(path, answers, crls, at, context.policy)
    if by_list.state == "unknown":
        return by_answer
    better = by_answer.state == "good" and by_list.stale and not by_answer.stale
    return by_answer if better else by_list


def _anchor_revocation(
    anchor: Certificate,
    pool: Sequence[Certificate],
    context: TrustContext,
    crls: Sequence[Crl],
    at: datetime,
) -> Status:
    """An anchor is trusted as it is, but one that its issuer has revoked is not: raises Revoked then.

    The issuer is found by the signature it made, wherever its certificate comes from.
    """
    spoken_for = any(each.issuer_key == anchor.issuer_key for each in crls)
    asked_about = bool(context.ocsp) and anchor.serial_number in context.answers_by_serial
    if anchor.self_issued or not (spoken_for or asked_about):
        return Status("unknown", "nobody speaks for an anchor")
    for issuer in (*pool, *context.anchors):
        if issuer.subject_key == anchor.issuer_key and signed_by(anchor, issuer):
            by_list = revocation_status((anchor, issuer), (), crls, at, context.policy)
            return _with_answers(by_list, (anchor, issuer), context, crls, at)
    return Status("unknown", "the anchor's issuer is not at hand")


def _is_pinned_self_signed(path: tuple[Certificate, ...]) -> bool:
    """Such a leaf has no issuer who could revoke it: only taking the anchor away does."""
    return len(path) == 1 and path[0].self_issued


def _raise_unknown(certificate: Certificate, above: Sequence[Certificate], status: Status) -> None:
    place = (certificate, above[0]) if above and certificate.ocsp_urls else None
    if certificate.crl_urls:
        raise MissingCrl(status.detail, urls=certificate.crl_urls, place=place, sha256=certificate.sha256)
    raise RevocationUnknown(status.detail, place=place, sha256=certificate.sha256)
