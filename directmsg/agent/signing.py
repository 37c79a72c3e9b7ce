"""SignedData: read, verify, sign (RFC 5652 section 5, RFC 8551 section 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm as UnknownToLibrary
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from directmsg.agent import algorithms, ber, der, identity
from directmsg.agent.algorithms import AlgorithmIdentifier, SignatureScheme
from directmsg.agent.ber import Buffer, Reader, dotted
from directmsg.agent.content import CONTENT, DATA, SIGNED, close_content, open_content, wrap_content
from directmsg.agent.errors import (
    AgentError,
    BadSignature,
    CertificateTooLarge,
    Malformed,
    MissingSigner,
    NotSigned,
    TooManyCertificates,
    TooManySigners,
    UnsupportedAlgorithm,
    WeakDigest,
)
from directmsg.agent.identity import CertificateReference, Identity

MAX_CERTIFICATES: Final = 10
MAX_SIGNERS: Final = 20
MAX_CERTIFICATE_SIZE: Final = 64 * 1024
#: A SignerInfo is copied and sorted; honest ones are a few hundred octets, with time stamps some thousand.
MAX_SIGNER_SIZE: Final = 64 * 1024
#: Certificates in a file that holds nothing else.
MAX_FILE_CERTIFICATES: Final = 1000

CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
SIGNING_TIME: Final = "1.2.840.113549.1.9.5"

_CERTIFICATES: Final = 0xA0  # certificates and signedAttrs, [0] IMPLICIT
_CRLS: Final = 0xA1  # crls and unsignedAttrs, [1] IMPLICIT
_SIGNED_ATTRIBUTES: Final = 0xA0
_UNSIGNED_ATTRIBUTES: Final = 0xA1


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """One SignerInfo as it came. It is read when it is verified, so that a broken one costs no other."""

    encoded: bytes


@dataclass(frozen=True, slots=True)
class SignedData:
    """What a SignedData holds: content or None when it is detached, certificates as DER, signers."""

    econtent_type: str
    econtent: bytes | None
    certificates: tuple[bytes, ...]
    signers: tuple[SignerInfo, ...]


@dataclass(frozen=True, slots=True)
class VerifiedSigner:
    """A signature that stands over the content. Whether its signer is trusted is another question.

    `digest` is "sha256" and so on; `signature_algorithm` "rsa-pkcs1v15", "rsa-pss" or "ecdsa"; `signing_time`
    is what the signer claims, aware, or None.
    """

    certificate: x509.Certificate
    certificate_der: bytes
    digest: str
    signature_algorithm: str
    signing_time: datetime | None


@dataclass(frozen=True, slots=True)
class FailedSigner:
    """A signature that does not stand. `certificate_der` is whom it claims, which proves nothing."""

    error: AgentError
    certificate_der: bytes | None

    @property
    def code(self) -> str:
        """The stable word of the error."""
        return self.error.code

    @property
    def detail(self) -> str:
        """The error in plain words."""
        return self.error.detail


# --- reading --------------------------------------------------------------------------------------------


def read_signed(data: Buffer) -> SignedData:
    """Read a ContentInfo that holds SignedData, BER or DER (RFC 5652 section 5.1).

    Revocation lists in it are stepped over, never used. Raises NotSigned when it is another content type,
    Malformed, TooLarge, TooManyCertificates, CertificateTooLarge, TooManySigners.
    """
    return _read_signed(data, MAX_CERTIFICATES)


def _read_signed(data: Buffer, max_certificates: int) -> SignedData:
    kind, reader = open_content(data)
    if kind != SIGNED:
        raise NotSigned(f"CMS content of type {kind}")
    reader.enter(ber.SEQUENCE)
    reader.number()  # version
    reader.enter(ber.SET)  # digestAlgorithms: a hint that nothing depends on
    while reader.tag() != ber.END:
        reader.skip()
    reader.leave()
    econtent_type, econtent = _read_encapsulated(reader)
    certificates = _read_certificates(reader, max_certificates)
    if reader.tag() == _CRLS:
        reader.skip()
    signers = _read_signers(reader)
    reader.leave()
    close_content(reader)
    return SignedData(econtent_type, econtent, certificates, signers)


def _read_encapsulated(reader: Reader) -> tuple[str, bytes | None]:
    reader.enter(ber.SEQUENCE)
    kind = dotted(reader.small(ber.OBJECT_IDENTIFIER))
    econtent = None
    if reader.tag() == CONTENT:
        reader.enter(CONTENT)
        econtent = reader.octets().tobytes()
        reader.leave()
    reader.leave()
    return kind, econtent


def _read_certificates(reader: Reader, limit: int) -> tuple[bytes, ...]:
    """The different certificates in order; attribute certificates and other kinds are stepped over."""
    if reader.tag() != _CERTIFICATES:
        return ()
    found: dict[bytes, None] = {}
    reader.enter(_CERTIFICATES)
    while (tag := reader.tag()) != ber.END:
        if tag != ber.SEQUENCE:
            reader.skip()
            continue
        encoded = reader.raw()
        if len(encoded) > MAX_CERTIFICATE_SIZE:
            raise CertificateTooLarge(limit=MAX_CERTIFICATE_SIZE, found=len(encoded))
        found[bytes(encoded)] = None
        if len(found) > limit:
            raise TooManyCertificates(limit=limit, found=len(found))
    reader.leave()
    return tuple(found)


def _read_signers(reader: Reader) -> tuple[SignerInfo, ...]:
    signers: list[SignerInfo] = []
    reader.enter(ber.SET)
    while reader.tag() != ber.END:
        if len(signers) == MAX_SIGNERS:
            raise TooManySigners(limit=MAX_SIGNERS, found=MAX_SIGNERS + 1)
        signers.append(SignerInfo(reader.bounded(MAX_SIGNER_SIZE)))
    reader.leave()
    return tuple(signers)


@dataclass(frozen=True, slots=True)
class _Signer:
    """RFC 5652 section 5.3; `attributes` is the [0] element as it came."""

    reference: CertificateReference
    digest: AlgorithmIdentifier
    attributes: memoryview | None
    signature_algorithm: AlgorithmIdentifier
    signature: bytes


def _read_signer(encoded: bytes) -> _Signer:
    reader = Reader(encoded)
    reader.enter(ber.SEQUENCE)
    if reader.number() not in (1, 3):
        raise Malformed("a signer's entry of unknown version")
    reference = identity.read_reference(reader)
    digest = algorithms.read_algorithm(reader)
    attributes = reader.raw() if reader.tag() == _SIGNED_ATTRIBUTES else None
    signature_algorithm = algorithms.read_algorithm(reader)
    signature = reader.octets().tobytes()
    if reader.tag() == _UNSIGNED_ATTRIBUTES:
        reader.skip()
    reader.leave()
    reader.finish()
    return _Signer(reference, digest, attributes, signature_algorithm, signature)


# --- signed attributes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Attributes:
    content_type: bytes
    message_digest: bytes
    signing_time: datetime | None


_CONTENT_TYPE: Final = der.oid_contents(CONTENT_TYPE)
_MESSAGE_DIGEST: Final = der.oid_contents(MESSAGE_DIGEST)
_SIGNING_TIME: Final = der.oid_contents(SIGNING_TIME)
_READ: Final = frozenset({_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_TIME})


def _attribute_values(encoded: Buffer, tag: int) -> dict[bytes, bytes]:
    """Type -> the encoded SET of values. The same type twice is refused (RFC 5652 section 11)."""
    reader = Reader(encoded)
    reader.enter(tag)
    found: dict[bytes, bytes] = {}
    while reader.tag() != ber.END:
        reader.enter(ber.SEQUENCE)
        kind = reader.small(ber.OBJECT_IDENTIFIER)
        if kind in found:
            raise BadSignature(f"signed attribute {dotted(kind)} twice")
        found[kind] = bytes(reader.raw())
        reader.leave()
    reader.leave()
    reader.finish()
    return found


def _read_attributes(encoded: Buffer) -> _Attributes:
    """The attributes that count, each with its one value; others are stepped over."""
    reader = Reader(encoded)
    reader.enter(_SIGNED_ATTRIBUTES)
    seen: set[bytes] = set()
    content_type = message_digest = signing_time = None
    while reader.tag() != ber.END:
        reader.enter(ber.SEQUENCE)
        kind = reader.small(ber.OBJECT_IDENTIFIER)
        if kind in seen:
            raise BadSignature(f"signed attribute {dotted(kind)} twice")
        seen.add(kind)
        if kind not in _READ:
            reader.skip()
            reader.leave()
            continue
        reader.enter(ber.SET)
        if kind == _CONTENT_TYPE:
            content_type = reader.small(ber.OBJECT_IDENTIFIER)
        elif kind == _MESSAGE_DIGEST:
            message_digest = reader.octets().tobytes()
        else:
            signing_time = _read_time(Reader(reader.raw()))
        reader.leave()
        reader.leave()
    reader.leave()
    reader.finish()
    if content_type is None or message_digest is None:
        missing = CONTENT_TYPE if content_type is None else MESSAGE_DIGEST
        raise BadSignature(f"no signed attribute {missing}")
    return _Attributes(content_type, message_digest, signing_time)


def _read_time(reader: Reader) -> datetime | None:
    """RFC 5652 section 11.3. One that cannot be read is as good as none: nothing is decided by it."""
    tag = reader.tag()
    if tag not in (ber.UTC_TIME, ber.GENERALIZED_TIME):
        return None
    text = reader.small(tag)
    if tag == ber.UTC_TIME:
        text = (b"19" if text[:1] >= b"5" else b"20") + text
    if not re.fullmatch(rb"[0-9]{14}Z", text):
        return None
    try:
        month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
        return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _signed_forms(attributes: memoryview) -> Iterable[bytes]:
    """The octets the signature may stand over: a SET OF in DER, not the [0] (RFC 5652 section 5.4).

    First what came, with the tag changed: some signers hash the set unsorted. Then the true DER, where the
    two differ.
    """
    as_received = bytes((ber.SET,)) + attributes[1:]
    yield as_received
    true_der = der.from_ber(attributes, tag=ber.SET)
    if true_der != as_received:
        yield true_der


def _looks_like_attributes(content: Buffer) -> bool:
    """Whether content is itself a set of signed attributes.

    Stripped of its attributes, somebody's signature over them would stand as one over such content.
    """
    view = memoryview(content).cast("B")
    if len(view) > MAX_SIGNER_SIZE or view[:1] != bytes((ber.SET,)):
        return False
    try:
        return _MESSAGE_DIGEST in _attribute_values(view, ber.SET)
    except AgentError:
        return False


# --- verifying ------------------------------------------------------------------------------------------


#: What a signature stands over: octets and their digest algorithm, or a digest already made.
_SignedOctets = tuple[bytes, hashes.HashAlgorithm | Prehashed]


class _Content:
    """Content to be hashed once per digest, however many have signed it."""

    def __init__(self, octets: Buffer) -> None:
        self.octets = octets
        self._digests: dict[str, bytes] = {}

    def digest(self, name: str) -> bytes:
        if name not in self._digests:
            running = hashes.Hash(algorithms.HASHES[name])
            running.update(self.octets)
            self._digests[name] = running.finalize()
        return self._digests[name]


def verify(
    signed: SignedData, content: Buffer | None = None, *, legacy: frozenset[str] = frozenset()
) -> tuple[VerifiedSigner | FailedSigner, ...]:
    """Look at every signature of `signed`, in order (RFC 5652 section 5.6).

    `content` are the detached octets exactly as received, or None when the content is inside. `legacy` may
    hold `sha1_digest` and `rsa1024`. The signer's certificate must be among those in `signed`.

    Raises NotSigned when nobody signed, BadSignature when there is no content, or content both inside and
    beside: which of the two a person would be shown is then anybody's choice.
    """
    if not signed.signers:
        raise NotSigned("nobody signed")
    if content is not None and signed.econtent is not None:
        raise BadSignature("a detached signature that carries content of its own")
    octets = signed.econtent if content is None else content
    if octets is None:
        raise BadSignature("no content that the signature could stand over")
    hashed = _Content(octets)
    return tuple(_judge(signer, signed, hashed, legacy) for signer in signed.signers)


def _judge(
    info: SignerInfo, signed: SignedData, content: _Content, legacy: frozenset[str]
) -> VerifiedSigner | FailedSigner:
    claimed = None
    try:
        signer = _read_signer(info.encoded)
        candidates = _certificates_of(signer.reference, signed.certificates)
        claimed = candidates[0]
        return _verify_signer(signer, candidates, signed.econtent_type, content, legacy)
    except AgentError as error:
        return FailedSigner(error, claimed)


def _certificates_of(reference: CertificateReference, certificates: Sequence[bytes]) -> list[bytes]:
    """The certificates a reference names; two may bear the same name and only one the right key."""
    found = []
    for encoded in certificates:
        try:
            names = identity.names_in(encoded)
        except Malformed:
            continue
        if reference.names(names):
            found.append(encoded)
    if not found:
        raise MissingSigner("the signer's certificate is not in the message")
    return found


def _verify_signer(
    signer: _Signer,
    candidates: Sequence[bytes],
    econtent_type: str,
    content: _Content,
    legacy: frozenset[str],
) -> VerifiedSigner:
    digest = algorithms.digest_name(signer.digest)
    algorithms.require_strong_digest(digest, legacy)
    scheme = algorithms.signature_scheme(signer.signature_algorithm, digest, legacy)
    signing_time = None
    forms: Iterable[_SignedOctets]
    if signer.attributes is None:
        _require_plain_data(econtent_type, content)
        forms = ((content.digest(digest), Prehashed(algorithms.HASHES[digest])),)
    else:
        attributes = _read_attributes(signer.attributes)
        _require_match(attributes, econtent_type, content.digest(digest))
        signing_time = attributes.signing_time
        forms = ((form, algorithms.HASHES[digest]) for form in _signed_forms(signer.attributes))
    failure: AgentError | None = None
    for form in forms:
        for encoded in candidates:
            try:
                certificate = identity.load_certificate(encoded)
                _require_signature(_public_key(certificate, legacy), signer.signature, form, scheme)
            except AgentError as error:
                failure = failure or error
                continue
            return VerifiedSigner(certificate, encoded, digest, scheme.name, signing_time)
    raise failure or BadSignature("no certificate to verify with")


def _require_plain_data(econtent_type: str, content: _Content) -> None:
    """Signed attributes may be absent only over plain data (RFC 5652 section 5.3)."""
    if econtent_type != DATA:
        raise BadSignature("no signed attributes over content that is not plain data")
    if _looks_like_attributes(content.octets):
        raise BadSignature("the content is somebody's signed attributes")


def _require_match(attributes: _Attributes, econtent_type: str, digest: bytes) -> None:
    """RFC 5652 sections 5.6, 11.1 and 11.2."""
    if dotted(attributes.content_type) != econtent_type:
        raise BadSignature("the signed content type is another")
    if attributes.message_digest != digest:
        raise BadSignature("the content is not what was signed")


@lru_cache(maxsize=256)
def _public_key(
    certificate: x509.Certificate, legacy: frozenset[str]
) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    try:
        key = algorithms.require_strong_key(certificate.public_key(), legacy)
    except (ValueError, UnknownToLibrary) as error:
        raise UnsupportedAlgorithm("the signer's public key cannot be read") from error
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    return key


def _require_signature(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    signature: bytes,
    form: _SignedOctets,
    scheme: SignatureScheme,
) -> None:
    octets, digest = form
    try:
        if isinstance(key, rsa.RSAPublicKey) and scheme.rsa_padding is not None:
            key.verify(signature, octets, scheme.rsa_padding, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and scheme.rsa_padding is None:
            key.verify(signature, octets, ec.ECDSA(digest))
        else:
            raise BadSignature("the signature algorithm does not belong to the signer's key")
    except (InvalidSignature, ValueError, UnknownToLibrary) as error:
        raise BadSignature("the signature does not fit the signer's key") from error


# --- signing --------------------------------------------------------------------------------------------


def sign(
    content: Buffer,
    signer: Identity,
    *,
    at: datetime,
    extra_certificates: Iterable[x509.Certificate] = (),
    digest: str = "sha256",
) -> bytes:
    """A detached signature over `content`: ContentInfo with SignedData, DER.

    `at` (aware) is the signing time; `digest` "sha256", "sha384" or "sha512"; the scheme is RSA PKCS#1 v1.5
    or ECDSA by the key. Signed attributes: contentType, messageDigest, signingTime (RFC 5652 section 11). The
    signer's certificate is included, then `extra_certificates`. Raises WeakKey, WeakDigest.
    """
    if digest not in algorithms.DIGEST_OIDS:
        raise WeakDigest(f"will not sign with {digest}")
    algorithms.require_strong_key(signer.private_key)
    attributes = [
        _DATA_ATTRIBUTE,
        _attribute(MESSAGE_DIGEST, der.octet_string(_Content(content).digest(digest))),
        _attribute(SIGNING_TIME, der.time(at)),
    ]
    # The signature stands over the SET OF; in the message its first octet is the tag [0].
    signed = der.set_of(attributes)
    signature_algorithm, signature = _sign_attributes(signer, signed, digest)
    digest_algorithm = _digest_algorithm(digest)
    signer_info = der.sequence(
        der.integer(1),
        identity.issuer_and_serial(signer.certificate),
        digest_algorithm,
        bytes((_SIGNED_ATTRIBUTES,)) + signed[1:],
        signature_algorithm,
        der.octet_string(signature),
    )
    certificates = [identity.encoded(one) for one in (signer.certificate, *extra_certificates)]
    return _signed_data([digest_algorithm], certificates, [signer_info])


def _attribute(kind: str, value: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of([value]))


_DATA_ATTRIBUTE: Final = _attribute(CONTENT_TYPE, der.oid(DATA))
# rsaEncryption, as RFC 3370 section 3.2 has it, is what every receiver knows.
_RSA: Final = der.sequence(der.oid(algorithms.RSA_ENCRYPTION), der.NULL)


@lru_cache(maxsize=8)
def _digest_algorithm(digest: str) -> bytes:
    return der.sequence(der.oid(algorithms.DIGEST_OIDS[digest]))


def _sign_attributes(signer: Identity, attributes: bytes, digest: str) -> tuple[bytes, bytes]:
    """The encoded algorithm and the signature."""
    algorithm = algorithms.HASHES[digest]
    key = signer.private_key
    if isinstance(key, rsa.RSAPrivateKey):
        return _RSA, key.sign(attributes, padding.PKCS1v15(), algorithm)
    name = der.sequence(der.oid(algorithms.ECDSA_OIDS[digest]))
    return name, key.sign(attributes, ec.ECDSA(algorithm))


def _signed_data(digests: Sequence[bytes], certificates: Sequence[bytes], signers: Sequence[bytes]) -> bytes:
    return wrap_content(
        SIGNED,
        der.integer(1),
        der.set_of(digests),
        der.sequence(der.oid(DATA)),
        der.set_of(dict.fromkeys(certificates), _CERTIFICATES),
        der.set_of(signers),
    )


def certificates_only(certificates: Iterable[x509.Certificate]) -> bytes:
    """A "certs-only" SignedData, the contents of a .p7c file (RFC 8551 section 3.8), DER."""
    return _signed_data([], [identity.encoded(one) for one in certificates], [])


def read_certificates(data: Buffer, *, limit: int = MAX_FILE_CERTIFICATES) -> tuple[bytes, ...]:
    """The certificates (DER) of a SignedData, signed or not; no signature is looked at.

    Raises NotSigned when it is another content type, TooManyCertificates above `limit`, Malformed.
    """
    return _read_signed(data, limit).certificates
