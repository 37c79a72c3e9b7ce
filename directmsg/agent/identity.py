"""Our keys, and how CMS names a certificate: by issuer and serial number, or by key identifier."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from directmsg.agent import ber, der
from directmsg.agent.ber import Buffer, Reader
from directmsg.agent.errors import Malformed

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey

_SUBJECT_KEY_IDENTIFIER: Final = der.oid_contents("2.5.29.14")
_EXPLICIT_VERSION: Final = 0xA0
_UNIQUE_IDS: Final = (0x81, 0x82)
_EXTENSIONS: Final = 0xA3
#: Octets of an issuer's name; honest ones are some hundred.
MAX_NAME_SIZE: Final = 16 * 1024
#: Certificates up to so many octets are remembered; a partner's come by with each of its messages.
USUAL_SIZE: Final = 8 * 1024
#: subjectKeyIdentifier, [0] IMPLICIT.
KEY_IDENTIFIER: Final = 0x80


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate of ours and the private key that belongs to it."""

    certificate: x509.Certificate
    private_key: PrivateKey


class CertificateReference(NamedTuple):
    """RFC 5652 sections 5.3 and 10.2.4: encoded issuer name and serial contents, or the key identifier."""

    issuer: bytes | None
    serial: bytes | None
    key_id: bytes | None

    def names(self, certificate: CertificateNames) -> bool:
        """Whether this is a reference to that certificate."""
        if self.key_id is not None:
            return self.key_id == certificate.key_id
        return self.serial == certificate.serial and self.issuer == certificate.issuer


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """What a certificate can be referred to by, octet for octet as it says it."""

    issuer: bytes
    serial: bytes
    key_id: bytes | None


def read_issuer_and_serial(reader: Reader) -> CertificateReference:
    """An IssuerAndSerialNumber at the cursor (RFC 5652 section 10.2.4). Raises Malformed, TooLarge."""
    reader.enter(ber.SEQUENCE)
    issuer = reader.bounded(MAX_NAME_SIZE)
    if issuer[1] == ber.INDEFINITE:
        issuer = der.from_ber(issuer)
    serial = reader.small(ber.INTEGER)
    reader.leave()
    return CertificateReference(issuer, serial, None)


def read_reference(reader: Reader) -> CertificateReference:
    """A SignerIdentifier or RecipientIdentifier (RFC 5652 sections 5.3 and 6.2.1).

    Raises Malformed, TooLarge.
    """
    if reader.tag() & ~ber.CONSTRUCTED == KEY_IDENTIFIER:
        return CertificateReference(None, None, reader.octets(KEY_IDENTIFIER).tobytes())
    return read_issuer_and_serial(reader)


def read_names(certificate: Buffer) -> CertificateNames:
    """Issuer, serial number and subject key identifier of an encoded certificate. Raises Malformed.

    Read from the octets, because a name that is decoded and encoded again need not be the same name.
    """
    reader = Reader(certificate)
    reader.enter(ber.SEQUENCE)
    reader.enter(ber.SEQUENCE)
    if reader.tag() == _EXPLICIT_VERSION:
        reader.skip()
    serial = reader.small(ber.INTEGER)
    reader.skip()  # signature
    issuer = bytes(reader.raw())
    for _ in range(3):  # validity, subject, subjectPublicKeyInfo
        reader.skip()
    for tag in _UNIQUE_IDS:
        if reader.tag() == tag:
            reader.skip()
    key_id = _key_identifier(reader) if reader.tag() == _EXTENSIONS else None
    return CertificateNames(issuer, serial, key_id)


def _key_identifier(reader: Reader) -> bytes | None:
    reader.enter(_EXTENSIONS)
    reader.enter(ber.SEQUENCE)
    while reader.tag() != ber.END:
        reader.enter(ber.SEQUENCE)
        if reader.small(ber.OBJECT_IDENTIFIER) == _SUBJECT_KEY_IDENTIFIER:
            if reader.tag() == ber.BOOLEAN:
                reader.skip()
            return Reader(reader.primitive(ber.OCTET_STRING)).small(ber.OCTET_STRING)
        while reader.tag() != ber.END:
            reader.skip()
        reader.leave()
    return None


@lru_cache(maxsize=256)
def _known_names(certificate: bytes) -> CertificateNames:
    return read_names(certificate)


@lru_cache(maxsize=256)
def _known_certificate(certificate: bytes) -> x509.Certificate:
    return _load(certificate)


@lru_cache(maxsize=256)
def names_of(certificate: x509.Certificate) -> CertificateNames:
    """`read_names` of a certificate of ours, which comes by again with every message."""
    return read_names(encoded(certificate))


@lru_cache(maxsize=256)
def encoded(certificate: x509.Certificate) -> bytes:
    """The certificate as DER."""
    return certificate.public_bytes(Encoding.DER)


@lru_cache(maxsize=256)
def issuer_and_serial(certificate: x509.Certificate) -> bytes:
    """The IssuerAndSerialNumber that refers to `certificate`. Raises Malformed."""
    names = names_of(certificate)
    return der.sequence(names.issuer, der.element(ber.INTEGER, names.serial))


def names_in(certificate: bytes) -> CertificateNames:
    """`read_names` of a certificate that came along, remembered when it is of the usual size."""
    return _known_names(certificate) if len(certificate) <= USUAL_SIZE else read_names(certificate)


def load_certificate(encoded_certificate: bytes) -> x509.Certificate:
    """A certificate of octets from outside, remembered when it is of the usual size. Raises Malformed."""
    if len(encoded_certificate) <= USUAL_SIZE:
        return _known_certificate(encoded_certificate)
    return _load(encoded_certificate)


def _load(encoded_certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(encoded_certificate)
    except (ValueError, x509.InvalidVersion) as error:
        raise Malformed("a certificate cannot be read") from error
