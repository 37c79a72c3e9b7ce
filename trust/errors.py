"""What an administrator or operator may be told when trust material is not taken.

Each has a stable `code` and a `detail` in plain words that says what to do.
"""

from __future__ import annotations

from typing import ClassVar


class TrustRefusal(Exception):
    """Base: what was handed in is not taken, and nothing was changed."""

    code: ClassVar[str] = "refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnreadableFile(TrustRefusal):
    """Holds no certificate, or is broken or too large."""

    code = "malformed"


class OverLimit(UnreadableFile):
    """A certificate larger, or with more names or constraints, than any honest one."""

    code = "over_limit"


class PrivateKeyInside(TrustRefusal):
    """A private key where only certificates are wanted."""

    code = "private_key"


class AnchorStopped(TrustRefusal):
    """The anchor was paused or revoked here; an import does not lift that."""

    code = "anchor_stopped"


class NotHosted(TrustRefusal):
    """The domain is none of ours."""

    code = "not_hosted"


class BadName(TrustRefusal):
    """Neither a domain nor a mailbox that a certificate can speak for."""

    code = "bad_name"


class WrongPassword(TrustRefusal):
    """The PKCS #12 file does not open with this password."""

    code = "wrong_password"


class NoPrivateKey(TrustRefusal):
    """A PKCS #12 file without a certificate and its key."""

    code = "no_private_key"


class UnusableCertificate(TrustRefusal):
    """A certificate that cannot be an identity of ours; the detail names the rule it breaks."""

    code = "unusable_certificate"


class UnknownIssuer(TrustRefusal):
    """None of our authorities goes by that name or fingerprint."""

    code = "unknown_issuer"


class AuthorityOffline(TrustRefusal):
    """Its private key was taken out of the installation, so that it signs nothing for now."""

    code = "authority_offline"


class OperatorNeeded(TrustRefusal):
    """It would make an anchor, which in production nobody does alone in the console."""

    code = "operator_needed"


class UnsafeSource(TrustRefusal):
    """A place to fetch trust from that nothing vouches for."""

    code = "unsafe_source"
