"""Answers of OCSP responders (RFC 6960): what to ask, whose answer is believed, and what it says.

An answer is guarded like a revocation list: it counts only for the very certificate it names, only when the
issuer of that certificate signed it, or somebody whom that issuer named for it, and only in its time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from trust.pki import ber
from trust.pki.certs import (
    STRONG_DIGESTS,
    Certificate,
    require_bounds,
    require_sound,
    require_strong_signature,
    signed_by,
    verifies,
)
from trust.pki.errors import (
    MalformedOcsp,
    OcspNotAnswered,
    OcspNotCurrent,
    OcspOtherCertificate,
    OcspUnmatchedSignature,
    PkiError,
    Revoked,
)
from trust.pki.names import NameKey, name_key
from trust.pki.policy import Policy
from trust.pki.revocation import Crl, Status, revocation_status

MAX_ANSWER_BYTES = 64 * 1024
MAX_RESPONDERS = 10
#: A responder that gives no nextUpdate always has newer information; for so long its word is good.
LIFE_WITHOUT_END = timedelta(hours=4)

_SUCCESSFUL = 0
_STATES: dict[ocsp.OCSPCertStatus, Literal["good", "revoked", "unknown"]] = {
    ocsp.OCSPCertStatus.GOOD: "good",
    ocsp.OCSPCertStatus.REVOKED: "revoked",
    ocsp.OCSPCertStatus.UNKNOWN: "unknown",
}
_REFUSALS = {
    1: "malformed request",
    2: "internal error",
    3: "try later",
    5: "the request must be signed",
    6: "unauthorized",
}
_NO_CHECK = bytes.fromhex("2b0601050507300105")
_BY_NAME, _BY_KEY = 0xA1, 0xA2
_EXTENSIONS = 0xA1
_TRUE = b"\xff"
_RSA = {
    SignatureAlgorithmOID.RSA_WITH_SHA1,
    SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512,
}
_ELLIPTIC = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512,
}


def question(subject: Certificate, issuer: Certificate) -> bytes:
    """The request (DER) about one certificate; its issuer is named by SHA-1, which every responder reads.

    RFC 6960 section 4.1.1, RFC 5019 section 2.1.1. No nonce: answers made beforehand carry none.
    """
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        hashlib.sha1(subject.raw_issuer, usedforsecurity=False).digest(),
        hashlib.sha1(_key_bits(issuer), usedforsecurity=False).digest(),
        subject.serial_number,
        hashes.SHA1(),  # noqa: S303 - a name in the question, no protection
    )
    return builder.build().public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class Said:
    """What an answer says about one certificate, named by hashes of its issuer and its serial number."""

    hash_name: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: int
    state: Literal["good", "revoked", "unknown"]
    this_update: datetime
    next_update: datetime | None
    revoked: datetime | None = None
    reason: str | None = None

    @property
    def ends(self) -> datetime:
        """Until when it makes a certificate good, grace aside."""
        return self.next_update or self.this_update + LIFE_WITHOUT_END

    def revokes_from(self, at: datetime) -> datetime:
        """From when it has to be heeded: a revocation of its own time, all else of `at`."""
        return self.this_update if self.state == "revoked" else at

    def is_about(self, subject: Certificate, issuer: Certificate) -> bool:
        """Whether it names this certificate (RFC 6960 section 4.1.1, CertID)."""
        if self.serial != subject.serial_number:
            return False
        name = hashlib.new(self.hash_name, subject.raw_issuer, usedforsecurity=False).digest()
        key = hashlib.new(self.hash_name, _key_bits(issuer), usedforsecurity=False).digest()
        return (name, key) == (self.issuer_name_hash, self.issuer_key_hash)


class OcspAnswer:
    """An answer as received. Keep one object per answer: what is read of it is read once.

    Raises MalformedOcsp, or OcspNotAnswered where the responder says that it does not answer.
    """

    def __init__(self, der: bytes) -> None:
        self.der = der
        if len(der) > MAX_ANSWER_BYTES:
            raise MalformedOcsp(f"more than {MAX_ANSWER_BYTES} octets")
        try:
            status, *rest = ber.children(ber.whole(der, ber.SEQUENCE))
            if status.content != bytes((_SUCCESSFUL,)):
                raise OcspNotAnswered(_refusal(status.content))
            _kind, octets = ber.children(next(ber.children(rest[0])))
            signed, _algorithm, _signature, *extra = ber.children(ber.whole(octets.content, ber.SEQUENCE))
            self._signed = signed.raw
            self._read_fields(list(ber.children(signed)))
            certificates = list(ber.children(next(ber.children(extra[0])))) if extra else []
            self._certificates = [each.raw for each in certificates[:MAX_RESPONDERS]]
        except (ber.BerError, ValueError, IndexError, StopIteration) as error:
            raise MalformedOcsp("not an OCSP response") from error

    def _read_fields(self, fields: list[ber.Element]) -> None:
        responder = next(each for each in fields if each.tag in (_BY_NAME, _BY_KEY))
        inner = next(ber.children(responder))
        self._by_name: NameKey | None = name_key(inner.raw) if responder.tag == _BY_NAME else None
        self._by_key = inner.content if responder.tag == _BY_KEY else b""
        answers = next(each for each in fields if each.tag == ber.SEQUENCE)
        self._critical = [_has_critical(each) for each in ber.children(answers)]

    def __repr__(self) -> str:
        return f"<OcspAnswer {self.sha256[:16]}>"

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def parsed(self) -> ocsp.OCSPResponse:
        """The answer as `cryptography` reads it. Raises MalformedOcsp."""
        try:
            return ocsp.load_der_ocsp_response(self.der)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise MalformedOcsp(str(error)) from error

    @cached_property
    def said(self) -> tuple[Said, ...]:
        """All that it says, without what holds a critical extension: none is understood here."""
        try:
            singles = list(self.parsed.responses)
            return tuple(
                _read(single)
                for single, critical in zip(singles, self._critical, strict=True)
                if not critical
            )
        except (ValueError, UnsupportedAlgorithm) as error:
            raise MalformedOcsp(f"unreadable answer: {error}") from error

    def about(self, subject: Certificate, issuer: Certificate) -> Said:
        """What it says about `subject`, the newest of several things. Raises OcspOtherCertificate."""
        found = [each for each in self.said if each.is_about(subject, issuer)]
        if not found:
            raise OcspOtherCertificate(sha256=subject.sha256)
        return max(found, key=lambda each: each.this_update)

    def signer(self, issuer: Certificate, at: datetime, policy: Policy) -> Certificate:
        """Who signed it: `issuer`, or whom `issuer` named for that. Raises OcspUnmatchedSignature.

        RFC 6960 section 4.2.2.2: a responder's certificate is issued by the CA itself and carries
        id-kp-OCSPSigning. Whether it was revoked is not looked at here.
        """
        self._require_known_extensions()
        for candidate in (issuer, *self._responders()):
            if not self._names(candidate) or not self._signed_with_key_of(candidate, policy):
                continue
            if candidate == issuer or _may_answer_for(candidate, issuer, at, policy):
                return candidate
        raise OcspUnmatchedSignature

    def _responders(self) -> Iterable[Certificate]:
        for der in self._certificates:
            try:
                yield Certificate(der)
            except PkiError:
                continue

    def _names(self, candidate: Certificate) -> bool:
        if self._by_name is not None:
            return self._by_name == candidate.subject_key
        return self._by_key == hashlib.sha1(_key_bits(candidate), usedforsecurity=False).digest()

    def _signed_with_key_of(self, candidate: Certificate, policy: Policy) -> bool:
        """Over the bytes as received."""
        allowed = STRONG_DIGESTS | {"sha1"} if policy.tolerates("sha1_chain") else STRONG_DIGESTS
        try:
            digest, kind = self.parsed.signature_hash_algorithm, self.parsed.signature_algorithm_oid
            key, signature = candidate.public_key, self.parsed.signature
        except (PkiError, UnsupportedAlgorithm, ValueError):
            return False
        if digest is None or digest.name not in allowed:
            return False
        parameters: object = None
        if kind in _RSA:
            parameters = padding.PKCS1v15()
        elif kind in _ELLIPTIC:
            parameters = ec.ECDSA(digest)
        return verifies(key, signature, self._signed, digest, parameters)

    def _require_known_extensions(self) -> None:
        try:
            unknown = [each for each in self.parsed.extensions if each.critical]
        except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
            raise MalformedOcsp(f"unreadable extension: {error}") from error
        if any(not isinstance(each.value, x509.OCSPNonce) for each in unknown):
            raise MalformedOcsp("a critical extension that is not understood")


def require_usable(
    answer: OcspAnswer, subject: Certificate, issuer: Certificate, at: datetime, policy: Policy
) -> Said:
    """What `answer` says about `subject` at `at`, if it may be believed and is of use.

    Raises MalformedOcsp, OcspOtherCertificate, OcspUnmatchedSignature, OcspNotCurrent. A revocation does not
    grow old; "good" does, at nextUpdate and the grace of the policy.
    """
    said = answer.about(subject, issuer)
    signer = answer.signer(issuer, at, policy)
    if signer != issuer and signer.raw_key_info == subject.raw_key_info:
        raise OcspUnmatchedSignature("a certificate does not vouch for itself", sha256=subject.sha256)
    _require_current(said, at, policy)
    return said


def _require_current(said: Said, at: datetime, policy: Policy) -> None:
    if said.next_update is not None and said.next_update < said.this_update:
        raise OcspNotCurrent("the answer ends before it begins")
    if said.this_update > at:
        raise OcspNotCurrent(f"the answer is of {said.this_update.isoformat()}, which is yet to come")
    if said.state != "revoked" and at > said.ends + policy.crl_grace:
        raise OcspNotCurrent(f"the answer ended {said.ends.isoformat()}")


def ocsp_status(
    path: Sequence[Certificate],
    answers: Iterable[OcspAnswer],
    crls: Sequence[Crl],
    at: datetime,
    policy: Policy,
) -> Status:
    """What `answers` say about `path[0]`, which `path[1]` issued; the path has been verified already.

    Of several answers that are believed the newest counts; an unknown `expires` when one that is here already
    begins. Raises Revoked. A responder's own certificate is
    held against `crls`, unless its issuer says that nobody need look (id-pkix-ocsp-nocheck).
    """
    subject, issuer = path[0], path[1]
    believed: list[Said] = []
    begins: list[datetime] = []
    detail = "no usable OCSP answer"
    for answer in answers:
        try:
            said = answer.about(subject, issuer)
            if said.this_update > at and said.state != "revoked":
                begins.append(said.this_update)
            # What is revoked in a moment, by a clock ahead of ours, is refused now.
            require_usable(answer, subject, issuer, max(at, said.revokes_from(at)), policy)
            signer = answer.signer(issuer, at, policy)
        except PkiError as error:
            detail = error.detail
            continue
        if signer == issuer or _stands((signer, *path[1:]), crls, at, policy):
            believed.append(said)
    if not believed:
        return Status("unknown", detail, expires=min(begins, default=None))
    said = max(believed, key=lambda each: each.this_update)
    if said.state == "revoked":
        when = said.revoked or said.this_update
        raise Revoked(
            f"revoked {when.isoformat()}, its responder says",
            when=when,
            reason=said.reason,
            sha256=subject.sha256,
        )
    if said.state == "unknown":
        return Status("unknown", "the OCSP responder does not know the certificate")
    stale = at > said.ends
    return Status("good", expires=said.ends + policy.crl_grace if stale else said.ends, stale=stale)


def _stands(path: Sequence[Certificate], crls: Sequence[Crl], at: datetime, policy: Policy) -> bool:
    """Whether a responder's certificate may be relied upon: not revoked, and known so where we must know."""
    if path[0].extension_count(_NO_CHECK):
        return True
    try:
        status = revocation_status(path, (), crls, at, policy, separate_signers=False)
    except Revoked:
        return False
    return status.state == "good" or policy.revocation != "require"


def _may_answer_for(responder: Certificate, issuer: Certificate, at: datetime, policy: Policy) -> bool:
    try:
        require_bounds(responder, policy)
        require_sound(responder, policy)
        require_strong_signature(responder, policy)
        purposes, usage = responder.extended_key_usage, responder.key_usage
        current = responder.not_before <= at <= responder.not_after
    except PkiError:
        return False
    named = purposes is not None and ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string in purposes
    signs = usage is None or usage.digital_signature
    issued = responder.issuer_key == issuer.subject_key and signed_by(responder, issuer)
    return current and named and signs and issued


def by_serial(answers: Iterable[bytes | OcspAnswer]) -> dict[int, tuple[OcspAnswer, ...]]:
    """Answers by the serial numbers they speak of; one that cannot be read says nothing and is left out."""
    found: dict[int, tuple[OcspAnswer, ...]] = {}
    for each in answers:
        try:
            answer = each if isinstance(each, OcspAnswer) else OcspAnswer(each)
            serials = {said.serial for said in answer.said}
        except PkiError:
            continue
        for serial in serials:
            found[serial] = (*found.get(serial, ()), answer)
    return found


# --- bytes ----------------------------------------------------------------------------------------------


def _read(single: ocsp.OCSPSingleResponse) -> Said:
    state = _STATES[single.certificate_status]
    reason = single.revocation_reason if state == "revoked" else None
    return Said(
        hash_name=single.hash_algorithm.name,
        issuer_name_hash=single.issuer_name_hash,
        issuer_key_hash=single.issuer_key_hash,
        serial=single.serial_number,
        state=state,
        this_update=single.this_update_utc,
        next_update=single.next_update_utc,
        revoked=single.revocation_time_utc if state == "revoked" else None,
        reason=reason.value if reason else None,
    )


def _has_critical(single: ber.Element) -> bool:
    # [1] is the last field of a SingleResponse, after [0] nextUpdate; a revoked status is [1] too, but third.
    fields = list(ber.children(single))
    if len(fields) < 4 or fields[-1].tag != _EXTENSIONS:
        return False
    extensions = next(ber.children(fields[-1]))
    return any(
        part.tag == ber.BOOLEAN and part.content == _TRUE
        for extension in ber.children(extensions)
        for part in ber.children(extension)
    )


def _refusal(status: bytes) -> str:
    number = int.from_bytes(status[:2], "big")
    return f"the responder does not answer: {_REFUSALS.get(number, f'status {number}')}"


def _key_bits(certificate: Certificate) -> bytes:
    """The bits of the public key, without tag, length and count of unused bits."""
    try:
        _algorithm, bits = ber.children(ber.whole(certificate.raw_key_info, ber.SEQUENCE))
    except (ber.BerError, ValueError) as error:
        raise MalformedOcsp("unreadable key of the issuer", sha256=certificate.sha256) from error
    return bits.content[1:]
