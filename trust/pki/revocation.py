"""Certificate revocation lists: which ones may be believed, and what they say.

No validator sees a list that has not passed `guard`: libraries were seen to believe a list signed by a random
key once it was marked indirect, to let a sibling CA's list stand in for the right one, and to refuse a good
path because a forged list lay beside the true one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from trust.pki import ber, openssl
from trust.pki.certs import (
    STRONG_DIGESTS,
    Certificate,
    require_bounds,
    require_sound,
    require_strong_signature,
    signed_by,
    verifies,
)
from trust.pki.errors import MalformedCrl, PkiError, Revoked
from trust.pki.load import is_pem, pem_blocks
from trust.pki.names import NameKey, name_key
from trust.pki.policy import Policy

#: Critical extensions of a list that are understood here (RFC 5280 section 5.2).
_UNDERSTOOD = (
    x509.IssuingDistributionPoint,
    x509.DeltaCRLIndicator,
    x509.CRLNumber,
    x509.AuthorityKeyIdentifier,
)


class Crl:
    """A revocation list as received. Keep one object per list: what is read of it is read once."""

    def __init__(self, der: bytes) -> None:
        self.der = der
        self._verified: dict[bytes, bool] = {}
        try:
            signed, _algorithm, _signature = ber.children(ber.whole(der, ber.SEQUENCE))
            fields = list(ber.children(signed))
            if fields and fields[0].tag == ber.INTEGER:
                fields = fields[1:]
            self._signed = (signed.start, signed.end)
            self.raw_issuer = fields[1].raw
        except (ber.BerError, ValueError, IndexError) as error:
            raise MalformedCrl("not a revocation list") from error

    @classmethod
    def load_all(cls, data: bytes) -> tuple[Crl, ...]:
        """The lists in DER or PEM bytes; PEM may hold several. Raises MalformedCrl, also for none."""
        if not is_pem(data):
            return (cls(data),)
        try:
            blocks = [body for label, body in pem_blocks(data) if label == b"X509 CRL"]
        except PkiError as error:
            raise MalformedCrl(error.detail) from error
        if not blocks:
            raise MalformedCrl("no revocation list in it")
        return tuple(cls(block) for block in blocks)

    def __repr__(self) -> str:
        return f"<Crl {self.sha256[:16]}>"

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def issuer_key(self) -> NameKey:
        return name_key(self.raw_issuer)

    @cached_property
    def parsed(self) -> x509.CertificateRevocationList:
        """The list as `cryptography` reads it. Raises MalformedCrl."""
        try:
            return x509.load_der_x509_crl(self.der)
        except (ValueError, x509.InvalidVersion) as error:
            raise MalformedCrl(str(error)) from error

    @cached_property
    def loaded(self) -> openssl.LoadedCrl:
        """The list as OpenSSL reads it. Raises MalformedCrl."""
        try:
            return openssl.LoadedCrl(self.der)
        except ValueError as error:
            raise MalformedCrl(str(error)) from error

    @cached_property
    def extensions(self) -> x509.Extensions:
        try:
            return self.parsed.extensions
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise MalformedCrl(f"unreadable extension: {error}") from error

    @property
    def this_update(self) -> datetime:
        return self.parsed.last_update_utc

    @property
    def next_update(self) -> datetime | None:
        return self.parsed.next_update_utc

    @cached_property
    def number(self) -> int | None:
        """The CRL number (RFC 5280 section 5.2.3)."""
        try:
            return self.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except x509.ExtensionNotFound:
            return None

    @cached_property
    def base_number(self) -> int | None:
        """For a delta, the number of the complete list it amends (RFC 5280 section 5.2.4)."""
        try:
            return self.extensions.get_extension_for_class(x509.DeltaCRLIndicator).value.crl_number
        except x509.ExtensionNotFound:
            return None

    @cached_property
    def point(self) -> x509.IssuingDistributionPoint | None:
        """The issuing distribution point (RFC 5280 section 5.2.5)."""
        try:
            return self.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
        except x509.ExtensionNotFound:
            return None

    @cached_property
    def scope(self) -> bytes:
        """What it covers: two lists of one scope amend or replace each other."""
        return self.point.public_bytes() if self.point else b""

    def entry(self, serial: int) -> x509.RevokedCertificate | None:
        """The entry for a serial number, if there is one."""
        # The walk through the entries is slow for half a million of them, and nearly always in vain.
        octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True)
        if ber.wrap(ber.INTEGER, octets) not in self.der:
            return None
        return self.parsed.get_revoked_certificate_by_serial_number(serial)

    def signed_with_key_of(self, certificate: Certificate) -> bool:
        """Whether its signature verifies with the key of `certificate`, over the bytes as received."""
        known = self._verified.get(certificate.raw_key_info)
        if known is None:
            known = self._verified[certificate.raw_key_info] = self._verify(certificate)
        return known

    def _verify(self, certificate: Certificate) -> bool:
        start, end = self._signed
        try:
            digest = self.parsed.signature_hash_algorithm
            parameters = self.parsed.signature_algorithm_parameters
            key = certificate.public_key
        except (PkiError, UnsupportedAlgorithm, ValueError):
            return False
        return verifies(key, self.parsed.signature, self.der[start:end], digest, parameters)


@dataclass(frozen=True)
class Status:
    """What the lists at hand say about one certificate that is not known to be revoked.

    `expires`: until when a `good` holds, the earliest nextUpdate of the lists behind it. `stale`: a list
    behind it is past its nextUpdate, within the grace of the policy.
    """

    state: Literal["good", "unknown"]
    detail: str = ""
    expires: datetime | None = None
    stale: bool = False


@dataclass(frozen=True)
class Guarded:
    """The lists that may speak for one certificate, and the CRL-signing certificates some of them need."""

    crls: tuple[Crl, ...]
    signers: tuple[Certificate, ...]


def load_crls(crls: Iterable[bytes | Crl]) -> tuple[Crl, ...]:
    """Each list as a Crl; one that cannot be read says nothing and is left out."""
    found: list[Crl] = []
    for each in crls:
        try:
            found.extend((each,) if isinstance(each, Crl) else Crl.load_all(each))
        except MalformedCrl:
            continue
    return tuple(found)


def revocation_status(
    path: Sequence[Certificate],
    pool: Sequence[Certificate],
    crls: Sequence[Crl],
    at: datetime,
    policy: Policy,
    *,
    place: int = 0,
    separate_signers: bool = True,
) -> Status:
    """What `crls` say about `path[place]` at time `at`; the path has been verified already.

    `pool`: certificates among which separate CRL-signing ones may be found. Raises Revoked. A list past its
    nextUpdate and the policy's grace cannot make a certificate good, nor can one without nextUpdate, but what
    it names stays revoked (RFC 5280 section 6.3).
    """
    subject, above = path[place], path[place:]
    guarded = guard(above, pool, crls, at, policy, separate_signers=separate_signers)
    if not guarded.crls:
        return Status("unknown", "no usable revocation list")
    _raise_if_listed(subject, guarded.crls)
    question: tuple[Sequence[Certificate], list[Guarded], int] = (above, [guarded], 0)
    if place and subject.self_issued:
        # At the end of a path OpenSSL would hold a self-issued CA to its own name constraints.
        below = [guard(path[each:], pool, crls, at, policy) for each in range(place)]
        question = (path, [*below, guarded], place)
    verdict = _ask_openssl(*question, at)
    ends = [each.next_update for each in guarded.crls if each.next_update is not None]
    if verdict.good:
        return Status("good", expires=min((end for end in ends if end > at), default=None))
    first_end = min(ends, default=at)
    if not verdict.revoked and first_end < at <= first_end + policy.crl_grace:
        verdict = _ask_openssl(*question, first_end)
        if verdict.good:
            return Status("good", verdict.detail, expires=first_end + policy.crl_grace, stale=True)
    if verdict.revoked:
        raise Revoked("on the revocation list of its issuer", when=at, sha256=subject.sha256)
    return Status("unknown", verdict.detail)


def _ask_openssl(
    path: Sequence[Certificate], guarded: Sequence[Guarded], place: int, at: datetime
) -> openssl.RevocationVerdict:
    crls = {crl.sha256: crl.loaded for each in guarded for crl in each.crls if crl.next_update is not None}
    signers = {signer.sha256: signer for each in guarded for signer in each.signers}
    return openssl.check_revocation(path, tuple(signers.values()), tuple(crls.values()), at, place)


def guard(
    path: Sequence[Certificate],
    pool: Sequence[Certificate],
    crls: Sequence[Crl],
    at: datetime,
    policy: Policy,
    *,
    separate_signers: bool = True,
) -> Guarded:
    """The lists among `crls` that may speak for `path[0]` at time `at`.

    A list passes when its issuer name is the certificate's issuer name; when its signature verifies with the
    key of a CA of that name on the path which may sign lists, or of a CRL-signing certificate of that name
    issued by that CA or by its issuer; when it is not indirect, holds no unknown critical extension and was
    issued by `at`; a delta only together with the list it amends. Of several lists of one scope and signer
    only the newest counts, so that an old one cannot bring a certificate back.
    """
    wanted = path[0].issuer_key
    named = [each for each in crls if each.issuer_key == wanted and _is_plain(each, at, policy)]
    if not named:
        return Guarded((), ())
    authorities = [each for each in path[1:] if each.subject_key == wanted and _may_sign_lists(each)]
    signers = _list_signers(path, pool, crls, at, policy) if separate_signers else []
    believed: list[tuple[Crl, Certificate]] = []
    for crl in named:
        signer = next((each for each in [*authorities, *signers] if crl.signed_with_key_of(each)), None)
        if signer is not None:
            believed.append((crl, signer))
    usable = _newest(believed)
    needed = {signer.sha256: signer for crl, signer in believed if signer in signers and crl in usable}
    return Guarded(tuple(usable), tuple(needed.values()))


def _is_plain(crl: Crl, at: datetime, policy: Policy) -> bool:
    try:
        digest = crl.parsed.signature_hash_algorithm
        allowed = STRONG_DIGESTS | {"sha1"} if policy.tolerates("sha1_chain") else STRONG_DIGESTS
        if digest is None or digest.name not in allowed or crl.this_update > at:
            return False
        if any(each.critical and not isinstance(each.value, _UNDERSTOOD) for each in crl.extensions):
            return False
        point, _ = crl.point, crl.loaded
    except (MalformedCrl, UnsupportedAlgorithm):
        return False
    if point is None:
        return True
    # A delta for some reasons only would be taken for a complete list by OpenSSL.
    partial_delta = point.only_some_reasons is not None and crl.base_number is not None
    return not (point.indirect_crl or point.only_contains_attribute_certs or partial_delta)


def _may_sign_lists(certificate: Certificate) -> bool:
    usage = certificate.key_usage
    return usage is None or usage.crl_sign


def _list_signers(
    path: Sequence[Certificate],
    pool: Sequence[Certificate],
    crls: Sequence[Crl],
    at: datetime,
    policy: Policy,
) -> list[Certificate]:
    """CRL-signing certificates of the CA's own name, issued by that CA or by its issuer, and not revoked."""
    wanted = path[0].issuer_key
    found = []
    for certificate in pool:
        if certificate.subject_key != wanted or certificate in path:
            continue
        if not _is_list_signer(certificate, at, policy):
            continue
        above = _issuers_for_signer(certificate, path)
        if above and not _is_revoked((certificate, *above), crls, at, policy):
            found.append(certificate)
    return found


def _is_list_signer(certificate: Certificate, at: datetime, policy: Policy) -> bool:
    try:
        require_bounds(certificate, policy)
        require_sound(certificate, policy)
        require_strong_signature(certificate, policy)
        usage = certificate.key_usage
    except PkiError:
        return False
    current = certificate.not_before <= at <= certificate.not_after
    return current and usage is not None and usage.crl_sign


def _issuers_for_signer(signer: Certificate, path: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """The part of the path above `signer`: it starts at the CA itself or at that CA's issuer."""
    wanted = path[0].issuer_key
    for at, authority in enumerate(path[1:], start=1):
        near = authority.subject_key == wanted or path[at - 1].subject_key == wanted
        if near and signer.issuer_key == authority.subject_key and signed_by(signer, authority):
            return tuple(path[at:])
    return ()


def _is_revoked(path: Sequence[Certificate], crls: Sequence[Crl], at: datetime, policy: Policy) -> bool:
    """Whether a CRL-signing certificate cannot be relied upon: revoked, or unknown where we must know."""
    try:
        status = revocation_status(path, (), crls, at, policy, separate_signers=False)
    except Revoked:
        return True
    return status.state == "unknown" and policy.revocation == "require"


def _newest(believed: Sequence[tuple[Crl, Certificate]]) -> list[Crl]:
    complete: dict[tuple[bytes, bytes], Crl] = {}
    deltas: dict[tuple[bytes, bytes], Crl] = {}
    for crl, signer in believed:
        kind = complete if crl.base_number is None else deltas
        place = (signer.raw_key_info, crl.scope)
        if place not in kind or _age(crl) > _age(kind[place]):
            kind[place] = crl
    usable = list(complete.values())
    for place, delta in deltas.items():
        base = complete.get(place)
        if base is not None and _amends(delta, base):
            usable.append(delta)
    return usable


def _age(crl: Crl) -> tuple[datetime, int]:
    return crl.this_update, crl.number or 0


def _amends(delta: Crl, base: Crl) -> bool:
    """Whether a delta may be applied to a complete list (RFC 5280 section 5.2.4)."""
    if delta.base_number is None or delta.number is None or base.number is None:
        return False
    return delta.base_number <= base.number < delta.number


def _raise_if_listed(certificate: Certificate, crls: Sequence[Crl]) -> None:
    """Known to be revoked is refused whatever else is unknown; a delta's word counts before its base's."""
    serial = certificate.serial_number
    settled: set[bytes] = set()
    for crl in sorted(crls, key=lambda each: each.base_number is None):
        entry = crl.entry(serial)
        if entry is None or crl.scope in settled:
            continue
        reason = _reason(entry)
        if reason is x509.ReasonFlags.remove_from_crl:
            settled.add(crl.scope)
            continue
        raise Revoked(
            f"revoked {entry.revocation_date_utc.isoformat()}",
            when=entry.revocation_date_utc,
            reason=reason.value if reason else None,
            sha256=certificate.sha256,
        )


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except (x509.ExtensionNotFound, ValueError, x509.DuplicateExtension):
        return None
