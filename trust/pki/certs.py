"""One certificate: what it says, whom it speaks for, and whether it may be used for Direct.

The bytes as received are kept and never re-encoded: a signature covers those bytes and no others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from trust.pki import ber
from trust.pki.errors import (
    AddressNotCovered,
    BadSerial,
    CertificateTooLarge,
    DuplicateExtension,
    MalformedCertificate,
    MalformedName,
    NoKeyUsage,
    NotVersion3,
    TooManyNameConstraints,
    TooManyNames,
    WeakDigest,
    WeakKey,
    WrongKeyUsage,
)
from trust.pki.layout import NAME_CONSTRAINTS, SUBJECT_ALT_NAME, read_layout, with_ca_flag
from trust.pki.names import NameKey, name_key
from trust.pki.policy import Policy

Use = Literal["signing", "encryption"]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

MIN_RSA_BITS = 2048
MIN_LEGACY_RSA_BITS = 1024
MAX_SERIAL_OCTETS = 20
CURVES = ("secp256r1", "secp384r1")
STRONG_DIGESTS = frozenset({"sha256", "sha384", "sha512"})


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"')


class Certificate:
    """A certificate as received; equal to another when every byte is.

    Construction reads the layout only and raises MalformedCertificate when there is none. Everything else is
    read when asked for, by `cryptography`, and raises MalformedCertificate, BadSerial or DuplicateExtension.
    """

    #: As OpenSSL holds it, kept here by `trust.pki.openssl`.
    openssl: Any = None

    def __init__(self, der: bytes) -> None:
        self.der = der
        try:
            self._layout = read_layout(der)
        except ber.BerError as error:
            raise MalformedCertificate(f"not a certificate: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and other.der == self.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"<Certificate {self.sha256[:16]}>"

    @cached_property
    def sha256(self) -> str:
        """The fingerprint: SHA-256 over the whole certificate, lower-case hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def tbs(self) -> bytes:
        """The signed part, as received."""
        return self._layout.tbs

    @property
    def raw_subject(self) -> bytes:
        return self._layout.subject

    @property
    def raw_issuer(self) -> bytes:
        return self._layout.issuer

    @cached_property
    def subject_key(self) -> NameKey:
        """The subject name in a form to compare by."""
        return name_key(self._layout.subject)

    @cached_property
    def issuer_key(self) -> NameKey:
        """The issuer name in a form to compare by."""
        return name_key(self._layout.issuer)

    @property
    def raw_key_info(self) -> bytes:
        """The SubjectPublicKeyInfo as received."""
        return self._layout.key_info.raw

    @property
    def serial_octets(self) -> bytes:
        return self._layout.serial

    @property
    def serial_number(self) -> int:
        return int.from_bytes(self._layout.serial, "big", signed=True)

    @property
    def version(self) -> int:
        """1, 2 or 3."""
        return self._layout.version

    @cached_property
    def parsed(self) -> x509.Certificate:
        """The certificate as `cryptography` reads it."""
        self._require_serial()
        try:
            return x509.load_der_x509_certificate(self.der)
        except (ValueError, x509.InvalidVersion) as error:
            raise MalformedCertificate(str(error), sha256=self.sha256) from error

    @cached_property
    def extensions(self) -> x509.Extensions:
        self._require_distinct_extensions()
        try:
            return self.parsed.extensions
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise MalformedCertificate(f"unreadable extension: {error}", sha256=self.sha256) from error

    @cached_property
    def public_key(self) -> PublicKey:
        """The key, RSA or elliptic on a named curve; anything else raises WeakKey."""
        self._require_named_curve()
        try:
            key = self.parsed.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise WeakKey(f"unusable key: {error}", sha256=self.sha256) from error
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise WeakKey(f"unusable kind of key: {type(key).__name__}", sha256=self.sha256)
        return key

    @cached_property
    def subject(self) -> str:
        """The subject name as text (RFC 4514)."""
        return _name_text(self.parsed, "subject")

    @cached_property
    def issuer(self) -> str:
        """The issuer name as text (RFC 4514)."""
        return _name_text(self.parsed, "issuer")

    @property
    def not_before(self) -> datetime:
        return self.parsed.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.parsed.not_valid_after_utc

    @cached_property
    def emails(self) -> tuple[str, ...]:
        """The rfc822Names of the subject alternative name, as written."""
        names = self._alternative_names()
        return tuple(names.get_values_for_type(x509.RFC822Name)) if names else ()

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The dNSNames of the subject alternative name, as written."""
        names = self._alternative_names()
        return tuple(names.get_values_for_type(x509.DNSName)) if names else ()

    @property
    def names(self) -> tuple[str, ...]:
        """All mailboxes and host names that it was issued for."""
        return self.emails + self.domains

    @cached_property
    def is_ca(self) -> bool:
        """Whether basicConstraints says cA."""
        constraints = self.basic_constraints
        return constraints is not None and constraints.ca

    @cached_property
    def basic_constraints(self) -> x509.BasicConstraints | None:
        try:
            return self.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            return None

    @cached_property
    def key_usage(self) -> x509.KeyUsage | None:
        try:
            return self.extensions.get_extension_for_class(x509.KeyUsage).value
        except x509.ExtensionNotFound:
            return None

    @cached_property
    def extended_key_usage(self) -> tuple[str, ...] | None:
        """Dotted identifiers, or None where the extension is absent."""
        try:
            usage = self.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            return None
        return tuple(each.dotted_string for each in usage)

    @cached_property
    def key_id(self) -> bytes | None:
        """The subject key identifier: a hint for ordering, never a reason to trust."""
        try:
            return self.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        except x509.ExtensionNotFound:
            return None

    @cached_property
    def authority_key_id(self) -> bytes | None:
        try:
            return self.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        except x509.ExtensionNotFound:
            return None

    @cached_property
    def issuer_urls(self) -> tuple[str, ...]:
        """Where the issuer's certificate may be had: http caIssuers of the AIA extension."""
        return self._access_urls(AuthorityInformationAccessOID.CA_ISSUERS)

    @cached_property
    def ocsp_urls(self) -> tuple[str, ...]:
        """Who may be asked whether it was revoked: http ocsp of the AIA extension (RFC 6960 section 3.1)."""
        return self._access_urls(AuthorityInformationAccessOID.OCSP)

    def _access_urls(self, method: x509.ObjectIdentifier) -> tuple[str, ...]:
        try:
            access = self.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        except x509.ExtensionNotFound:
            return ()
        return _web_urls(each.access_location for each in access if each.access_method == method)

    @cached_property
    def crl_urls(self) -> tuple[str, ...]:
        """Where its revocation lists may be had: http and https names of its distribution points."""
        try:
            points = self.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        except x509.ExtensionNotFound:
            return ()
        return _web_urls(name for point in points for name in point.full_name or ())

    @property
    def self_issued(self) -> bool:
        return self._layout.issuer == self._layout.subject

    def extension_count(self, oid: bytes) -> int:
        """How often the extension with this encoded identifier occurs."""
        return sum(1 for each, _ in self._layout.extensions if each == oid)

    def _alternative_names(self) -> x509.SubjectAlternativeName | None:
        try:
            return self.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return None

    def _require_serial(self) -> None:
        serial = self._layout.serial
        if not serial or serial[0] & 0x80 or not any(serial):
            raise BadSerial("the serial number is not positive", sha256=self.sha256)
        if len(serial.lstrip(b"\x00")) > MAX_SERIAL_OCTETS or len(serial) > MAX_SERIAL_OCTETS + 1:
            raise BadSerial(
                f"the serial number is longer than {MAX_SERIAL_OCTETS} octets", sha256=self.sha256
            )

    def _require_distinct_extensions(self) -> None:
        oids = [oid for oid, _ in self._layout.extensions]
        if len(set(oids)) != len(oids):
            raise DuplicateExtension("an extension occurs twice", sha256=self.sha256)

    def _require_named_curve(self) -> None:
        """A curve spelt out in numbers is refused: who chooses the numbers can forge (CVE-2020-0601)."""
        try:
            algorithm = next(ber.children(self._layout.key_info))
            parts = list(ber.children(algorithm))
        except (ber.BerError, StopIteration) as error:
            raise MalformedCertificate("unreadable key", sha256=self.sha256) from error
        elliptic = parts and parts[0].content == bytes.fromhex("2a8648ce3d0201")
        if elliptic and (len(parts) < 2 or parts[1].tag != ber.OBJECT_IDENTIFIER):
            raise WeakKey("an elliptic key without a named curve", sha256=self.sha256)

    def count_inside(self, oid: bytes) -> int:
        """How many elements stand inside the value of an extension, without parsing them."""
        try:
            return self._layout.count_inside(oid)
        except ber.BerError as error:
            raise MalformedCertificate(f"unreadable extension: {error}", sha256=self.sha256) from error

    def with_ca_flag(self) -> bytes:
        """The same name, key and extensions under a basicConstraints with cA; its signature is void.

        For a reader that demands the extension of an anchor (which is trusted without its signature).
        """
        return with_ca_flag(self.der)


def _name_text(certificate: x509.Certificate, which: Literal["subject", "issuer"]) -> str:
    try:
        return str(getattr(certificate, which).rfc4514_string())
    except ValueError as error:
        raise MalformedCertificate(f"unreadable {which}: {error}") from error


def _web_urls(names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    urls = [each.value for each in names if isinstance(each, x509.UniformResourceIdentifier)]
    return tuple(dict.fromkeys(url for url in urls if url.lower().startswith(("http://", "https://"))))


# --- whom it speaks for ---------------------------------------------------------------------------------


def require_covers(certificate: Certificate, address: str, policy: Policy) -> None:
    """Raise AddressNotCovered unless `certificate` speaks for the mailbox `address` (an addr-spec).

    It does when an rfc822Name is the address, or a dNSName is exactly its domain; a parent domain, a sibling
    or a wildcard never is. Every alternative name is looked at; ASCII letter case does not matter. The
    distinguished name counts only under the tolerance `names_in_dn`, and only where there are no alternative
    names at all (RFC 8550 section 3).
    """
    if speaks_for(certificate, address, policy) is None:
        raise AddressNotCovered(address=address, sha256=certificate.sha256)


def speaks_for(certificate: Certificate, address: str, policy: Policy) -> Literal["address", "domain"] | None:
    """How `certificate` binds `address`: by the address itself, by its domain, or not (None)."""
    wanted = _fold(address)
    local, at, domain = wanted.rpartition("@")
    if not at or not local or not is_host_name(domain):
        return None
    emails, domains = certificate.emails, certificate.domains
    if not emails and not domains and policy.tolerates("names_in_dn"):
        emails, domains = _names_in_dn(certificate)
    if any(_fold(each) == wanted for each in emails):
        return "address"
    if any(_fold(each) == domain for each in domains):
        return "domain"
    return None


def _names_in_dn(certificate: Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    subject = certificate.parsed.subject
    emails = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]
    common = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return (
        tuple(emails + [each for each in common if "@" in each]),
        tuple(each for each in common if "@" not in each),
    )


def _fold(name: str) -> str:
    """Lower case for ASCII letters only: other scripts hold look-alikes that fold into ASCII."""
    return "".join(chr(ord(each) + 32) if "A" <= each <= "Z" else each for each in name)


def is_host_name(name: str) -> bool:
    """A host name of at least two labels (RFC 1123 section 2.1), without wildcard or final dot."""
    return len(name) <= 253 and _HOST_NAME.fullmatch(name) is not None


def is_mailbox(name: str) -> bool:
    """An addr-spec as an rfc822Name may hold it (RFC 5280 section 4.2.1.6)."""
    local, at, domain = name.rpartition("@")
    if not at or not 0 < len(local) <= 64:
        return False
    well_formed = _DOT_ATOM.fullmatch(local) or _QUOTED.fullmatch(local)
    return well_formed is not None and is_host_name(domain)


# --- whether it may be used -----------------------------------------------------------------------------


def require_bounds(certificate: Certificate, policy: Policy) -> None:
    """Sizes and counts of one certificate, looked at before anything in it is parsed.

    Raises CertificateTooLarge, TooManyNames or TooManyNameConstraints.
    """
    size = len(certificate.der)
    if size > policy.max_certificate_bytes:
        raise CertificateTooLarge(limit=policy.max_certificate_bytes, found=size, sha256=certificate.sha256)
    names = certificate.count_inside(SUBJECT_ALT_NAME)
    if names > policy.max_names:
        raise TooManyNames(limit=policy.max_names, found=names, sha256=certificate.sha256)
    constraints = certificate.count_inside(NAME_CONSTRAINTS)
    if constraints > policy.max_name_constraints:
        raise TooManyNameConstraints(
            limit=policy.max_name_constraints, found=constraints, sha256=certificate.sha256
        )


def require_sound(certificate: Certificate, policy: Policy) -> None:
    """What holds for every certificate of a path, leaf or CA (RFC 5280 section 4.1, 4.2).

    Version 3, a serial number of 1 to 20 octets, no extension twice, a key we take. Raises NotVersion3,
    BadSerial, DuplicateExtension, WeakKey or MalformedCertificate.
    """
    layout = certificate._layout
    if certificate.version != 3 and not policy.tolerates("no_basic_constraints"):
        raise NotVersion3(f"a version {certificate.version} certificate", sha256=certificate.sha256)
    if layout.inner_algorithm != layout.outer_algorithm:
        raise MalformedCertificate("two different signature algorithms", sha256=certificate.sha256)
    certificate._require_serial()
    certificate._require_distinct_extensions()
    require_strong_key(certificate, policy)


def require_strong_key(certificate: Certificate, policy: Policy) -> None:
    """RSA of at least 2048 bits (1024 under `rsa1024`), or P-256 or P-384 as a named curve; else WeakKey."""
    key = certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        least = MIN_LEGACY_RSA_BITS if policy.tolerates("rsa1024") else MIN_RSA_BITS
        if key.key_size < least:
            raise WeakKey(f"RSA of {key.key_size} bits, at least {least}", sha256=certificate.sha256)
        exponent = key.public_numbers().e
        if exponent < 3 or exponent % 2 == 0:
            raise WeakKey(f"RSA with the exponent {exponent}", sha256=certificate.sha256)
    elif key.curve.name not in CURVES:
        raise WeakKey(f"curve {key.curve.name}", sha256=certificate.sha256)


def require_strong_signature(certificate: Certificate, policy: Policy) -> None:
    """The issuer signed with SHA-256 or better (SHA-1 under `sha1_chain`); else WeakDigest."""
    allowed = STRONG_DIGESTS | {"sha1"} if policy.tolerates("sha1_chain") else STRONG_DIGESTS
    try:
        digest = certificate.parsed.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError) as error:
        raise WeakDigest(f"unknown signature algorithm: {error}", sha256=certificate.sha256) from error
    if digest is None or digest.name not in allowed:
        name = digest.name if digest else "no digest"
        raise WeakDigest(f"the certificate is signed with {name}", sha256=certificate.sha256)


def require_direct_leaf(certificate: Certificate, policy: Policy, use: Use = "signing") -> None:
    """Raise unless `certificate` may be an end-entity certificate of Direct for `use`.

    Besides `require_sound` and `require_strong_signature`: no CA; digitalSignature for signing,
    keyEncipherment (RSA) or keyAgreement (elliptic) for encryption; emailProtection where an extended key
    usage is present; alternative names well formed, no wildcard (RFC 8550 section 4.4). Raises the errors of
    those two, WrongKeyUsage, NoKeyUsage or MalformedName.
    """
    require_bounds(certificate, policy)
    require_sound(certificate, policy)
    require_strong_signature(certificate, policy)
    if certificate.is_ca:
        raise WrongKeyUsage("a CA certificate is used as an end entity's", sha256=certificate.sha256)
    _require_usage(certificate, policy, use)
    _require_email_purpose(certificate)
    _require_well_formed_names(certificate)


def _require_usage(certificate: Certificate, policy: Policy, use: Use) -> None:
    usage = certificate.key_usage
    if usage is None:
        if policy.tolerates("no_key_usage"):
            return
        raise NoKeyUsage("keyUsage is absent", sha256=certificate.sha256)
    if usage.key_cert_sign:
        raise WrongKeyUsage("keyCertSign on an end entity", sha256=certificate.sha256)
    if use == "signing":
        wanted, allowed = "digitalSignature", usage.digital_signature
    elif isinstance(certificate.public_key, rsa.RSAPublicKey):
        wanted, allowed = "keyEncipherment", usage.key_encipherment
    else:
        wanted, allowed = "keyAgreement", usage.key_agreement
    if not allowed:
        raise WrongKeyUsage(f"keyUsage lacks {wanted}", sha256=certificate.sha256)


def _require_email_purpose(certificate: Certificate) -> None:
    purposes = certificate.extended_key_usage
    if purposes is None:
        return
    if ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string not in purposes:
        raise WrongKeyUsage("extended key usage lacks emailProtection", sha256=certificate.sha256)


def _require_well_formed_names(certificate: Certificate) -> None:
    for email in certificate.emails:
        if not is_mailbox(email):
            raise MalformedName(f"rfc822Name {email!r}", sha256=certificate.sha256)
    for domain in certificate.domains:
        if not is_host_name(domain):
            raise MalformedName(f"dNSName {domain!r}", sha256=certificate.sha256)


def signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether the signature on `certificate` verifies with the key of `issuer`; names are not compared."""
    try:
        key = issuer.public_key
        digest = certificate.parsed.signature_hash_algorithm
        parameters = certificate.parsed.signature_algorithm_parameters
        signature = certificate.parsed.signature
    except (WeakKey, UnsupportedAlgorithm, ValueError):
        return False
    return verifies(key, signature, certificate.tbs, digest, parameters)


def verifies(
    key: PublicKey,
    signature: bytes,
    signed: bytes,
    digest: hashes.HashAlgorithm | None,
    parameters: object,
) -> bool:
    """Whether `signature` over `signed` is good; `digest` and `parameters` as `cryptography` names them."""
    if digest is None:
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey) and isinstance(parameters, padding.PKCS1v15 | padding.PSS):
            key.verify(signature, signed, parameters, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
            key.verify(signature, signed, parameters)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
