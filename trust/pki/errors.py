"""What can be wrong with a certificate, a path, a revocation list or a trust bundle.

Every error carries a stable `code` (the word operators and partners see), `temporary` (whether the same
question may be answered otherwise later without anybody acting) and a `detail` in plain words. A code has one
meaning; two errors share one only when the outside world need not tell them apart.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from trust.pki.certs import Certificate


class PkiError(Exception):
    """Base of all verdicts of this package. `detail` never holds anything but certificate data."""

    code: ClassVar[str] = "pki_error"
    temporary: ClassVar[bool] = False

    def __init__(self, detail: str = "", *, sha256: str | None = None) -> None:
        super().__init__(detail or self.code)
        self.detail = detail or self.code.replace("_", " ")
        #: SHA-256 (hex) of the certificate at fault, where there is one.
        self.sha256 = sha256


# --- one certificate ------------------------------------------------------------------------------------


class CertificateError(PkiError):
    """One certificate is not what it should be, whoever issued it."""

    code = "bad_certificate"


class MalformedCertificate(CertificateError):
    """Not a certificate, or one that breaks the encoding rules of RFC 5280 section 4.1."""

    code = "malformed_certificate"


class BadSerial(CertificateError):
    """Serial number not positive or longer than 20 octets (RFC 5280 section 4.1.2.2)."""

    code = "bad_serial"


class DuplicateExtension(CertificateError):
    """The same extension twice (RFC 5280 section 4.2)."""

    code = "duplicate_extension"


class NotVersion3(CertificateError):
    """A version 1 or 2 certificate: it cannot say what it may be used for."""

    code = "not_version_3"


class WeakKey(CertificateError):
    """RSA below 2048 bits, or a key that is neither RSA nor on the named curves P-256 and P-384."""

    code = "weak_key"


class WeakDigest(CertificateError):
    """Signed with a digest weaker than SHA-256."""

    code = "weak_digest"


class NoKeyUsage(CertificateError):
    """No keyUsage extension: nobody said what the key is for."""

    code = "no_key_usage"


class WrongKeyUsage(CertificateError):
    """keyUsage, extended key usage or the CA flag forbid what the certificate is used for here."""

    code = "wrong_key_usage"


class MalformedName(CertificateError):
    """A subject alternative name that is no mailbox or no host name; a wildcard is none."""

    code = "malformed_name"


class AddressNotCovered(CertificateError):
    """The certificate speaks neither for this address nor for exactly its domain."""

    code = "address_not_covered"

    def __init__(self, detail: str = "", *, address: str, sha256: str | None = None) -> None:
        super().__init__(detail or f"the certificate does not speak for {address}", sha256=sha256)
        self.address = address


# --- a path ---------------------------------------------------------------------------------------------


class PathError(PkiError):
    """No path from this certificate to one of the anchors stands."""

    code = "bad_path"


class UntrustedChain(PathError):
    """No chain of valid signatures leads to an anchor, or a rule of RFC 5280 section 6 breaks on it."""

    code = "untrusted_chain"


class MissingIssuer(UntrustedChain):
    """The chain stops at a certificate that names where its issuer may be had.

    To the outside it is an untrusted chain; whoever may fetch `urls` (http, in order) calls again.
    """

    def __init__(self, detail: str = "", *, urls: tuple[str, ...], sha256: str | None = None) -> None:
        super().__init__(detail or "the issuer is not at hand", sha256=sha256)
        self.urls = urls

    @property
    def url(self) -> str:
        return self.urls[0]


class Expired(PathError):
    """A certificate on the path is past its notAfter."""

    code = "expired"

    def __init__(self, detail: str = "", *, when: datetime, sha256: str | None = None) -> None:
        super().__init__(detail or f"expired {when.isoformat()}", sha256=sha256)
        self.when = when


class NotYetValid(PathError):
    """A certificate on the path is before its notBefore."""

    code = "not_yet_valid"

    def __init__(self, detail: str = "", *, when: datetime, sha256: str | None = None) -> None:
        super().__init__(detail or f"not valid before {when.isoformat()}", sha256=sha256)
        self.when = when


class Revoked(PathError):
    """A certificate on the path is on its issuer's revocation list."""

    code = "revoked"

    def __init__(
        self, detail: str = "", *, when: datetime, reason: str | None = None, sha256: str | None = None
    ) -> None:
        super().__init__(detail or f"revoked {when.isoformat()}", sha256=sha256)
        self.when = when
        self.reason = reason


class RevocationUnknown(PathError):
    """Revocation must be known here and nothing usable says anything about a certificate of the path.

    `place`: the certificate and its issuer, where a responder that it names (`ocsp_urls`) may be asked.
    """

    code = "revocation_unknown"
    temporary = True

    def __init__(
        self,
        detail: str = "",
        *,
        place: tuple[Certificate, Certificate] | None = None,
        sha256: str | None = None,
    ) -> None:
        super().__init__(detail, sha256=sha256)
        self.place = place


class MissingCrl(RevocationUnknown):
    """Revocation is unknown, and the certificate names where its list may be had: `urls` (http, in order)."""

    def __init__(
        self,
        detail: str = "",
        *,
        urls: tuple[str, ...],
        place: tuple[Certificate, Certificate] | None = None,
        sha256: str | None = None,
    ) -> None:
        super().__init__(detail or "no usable revocation list is at hand", place=place, sha256=sha256)
        self.urls = urls

    @property
    def url(self) -> str:
        return self.urls[0]


class PolicyNotMet(PathError):
    """Certificate policies: the path ends without a policy that the path or we demand."""

    code = "policy_not_met"


class NameConstraintViolated(PathError):
    """A name of the path lies outside what an issuer above it may speak for (RFC 5280 section 4.2.1.10)."""

    code = "name_constraint_violated"


class ReadersDisagree(PathError):
    """Two independent readers of one path do not agree; an operator should look at it."""

    code = "readers_disagree"


# --- bounds: refused before anything is computed on it -------------------------------------------------


class BoundExceeded(PkiError):
    """Too much of something to be worth reading; `limit` is the bound, `found` what came."""

    code = "bound_exceeded"

    def __init__(self, detail: str = "", *, limit: int, found: int, sha256: str | None = None) -> None:
        super().__init__(detail or f"{self.code}: {found}, at most {limit}", sha256=sha256)
        self.limit = limit
        self.found = found


class TooManyCertificates(BoundExceeded):
    """More certificates with a message than any honest path needs."""

    code = "too_many_certificates"


class TooManySameSubject(BoundExceeded):
    """More certificates of one subject name than a key roll-over explains."""

    code = "too_many_same_subject"


class CertificateTooLarge(BoundExceeded):
    """A certificate of more octets than the bound."""

    code = "certificate_too_large"


class TooManyNames(BoundExceeded):
    """More subject alternative names in one certificate than the bound."""

    code = "too_many_names"


class TooManyNameConstraints(BoundExceeded):
    """More name constraints in one certificate than the bound."""

    code = "too_many_name_constraints"


class PathTooLong(BoundExceeded):
    """Every path that could be built is longer than the bound."""

    code = "path_too_long"


class TooManyPaths(BoundExceeded):
    """The certificates allow more candidate paths than the bound, and none of those tried stands."""

    code = "too_many_paths"


# --- revocation lists and bundles ----------------------------------------------------------------------


class MalformedCrl(PkiError):
    """Not a certificate revocation list."""

    code = "malformed_crl"


class OcspError(PkiError):
    """An answer of an OCSP responder that is not taken; what we know stays."""

    code = "ocsp_error"


class MalformedOcsp(OcspError):
    """Not an OCSP response, or one with something in it that nobody understands."""

    code = "malformed_ocsp"


class OcspNotAnswered(OcspError):
    """The responder says that it does not answer (RFC 6960 section 4.2.1: tryLater, unauthorized, ...)."""

    code = "ocsp_not_answered"
    temporary = True


class OcspOtherCertificate(OcspError):
    """It speaks of other certificates than the one that was asked about."""

    code = "ocsp_other_certificate"


class OcspUnmatchedSignature(OcspError):
    """Signed neither by the certificate's issuer nor by a responder whom that issuer named."""

    code = "ocsp_unmatched_signature"


class OcspNotCurrent(OcspError):
    """Its time is over, or has not begun."""

    code = "ocsp_not_current"


class BundleError(PkiError):
    """A trust bundle that cannot be taken; the anchors we have stay."""

    code = "bundle_error"


class InvalidBundleFormat(BundleError):
    """No bundle, a broken one, or one without a single anchor."""

    code = "invalid_bundle_format"


class UnmatchedSignature(BundleError):
    """Not signed by the pinned signer: unsigned, another's, weak or broken."""

    code = "unmatched_signature"
