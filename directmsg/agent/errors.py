"""Why a message is not taken, or cannot be made.

Every error carries a stable `code` (the word operators and partners see), `temporary` (whether the same bytes
may be taken later without anybody acting) and a `detail` in plain words that never quotes the message. A code
has one meaning; two leaves share one only when the outside world need not tell them apart.
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """Base of all verdicts of this package."""

    code: ClassVar[str] = "agent_error"
    temporary: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or self.code.replace("_", " ")
        super().__init__(self.detail)


# --- bytes that cannot be read --------------------------------------------------------------------------


class Malformed(AgentError):
    """Not the structure it should be: broken ASN.1, CMS or MIME."""

    code = "malformed"


class BadAddress(Malformed):
    """Not the one mailbox, or the list of them, that it should be (RFC 5322 section 3.4)."""


class UnsafeField(AgentError):
    """A value that would break out of its header field: CR, LF or NUL in it, or a line over 998 octets."""

    code = "unsafe_field"


class BoundExceeded(AgentError):
    """Too much of something to be worth reading; `limit` is the bound, `found` what came."""

    code = "too_large"

    def __init__(self, detail: str = "", *, limit: int, found: int) -> None:
        super().__init__(detail or f"{self.code.replace('_', ' ')}: {found}, at most {limit}")
        self.limit = limit
        self.found = found


class TooLarge(BoundExceeded):
    """More octets, parts or elements than the bound."""

    code = "too_large"


class TooManyRecipients(BoundExceeded):
    """More RecipientInfos in one envelope than the bound."""

    code = "too_many_recipients"


class TooManySigners(BoundExceeded):
    """More SignerInfos on one message than the bound."""

    code = "too_many_signers"


class TooManyCertificates(BoundExceeded):
    """More certificates with a message than any honest path needs."""

    code = "too_many_certificates"


class CertificateTooLarge(BoundExceeded):
    """A certificate of more octets than the bound."""

    code = "certificate_too_large"


# --- the envelope ---------------------------------------------------------------------------------------


class NotEncrypted(AgentError):
    """The message did not come in an envelope."""

    code = "not_encrypted"


class CannotDecrypt(AgentError):
    """None of our keys opens the envelope. One outcome and one text, whatever went wrong (RFC 3218)."""

    code = "cannot_decrypt"

    def __init__(self) -> None:
        super().__init__("the message could not be decrypted")


class WeakCipher(AgentError):
    """Content encrypted by a cipher that is not accepted: DES, RC2 and, without the tolerance, triple DES."""

    code = "weak_cipher"


# --- the signature --------------------------------------------------------------------------------------


class NotSigned(AgentError):
    """The decrypted entity is not a signed one, or nobody signed it."""

    code = "not_signed"


class BadSignature(AgentError):
    """The signature does not stand over these bytes, or breaks a rule of RFC 5652 section 5."""

    code = "bad_signature"


class MissingSigner(BadSignature):
    """The signed data does not carry the certificate of its signer; to the outside a bad signature."""


class WeakDigest(AgentError):
    """Signed with a digest weaker than SHA-256."""

    code = "weak_digest"


class WeakKey(AgentError):
    """RSA below 2048 bits, or a key that is neither RSA nor on P-256 or P-384."""

    code = "weak_key"


class UnsupportedAlgorithm(AgentError):
    """An algorithm, or parameters of one, that this agent does not know."""

    code = "unsupported_algorithm"


# --- what was signed, and by whom -----------------------------------------------------------------------


class NotWrapped(AgentError):
    """The signed entity is not a message/rfc822, and this domain demands one."""

    code = "not_wrapped"


class NoTrustedRecipient(AgentError):
    """Nobody is left to send to: no recipient has a trusted certificate."""

    code = "no_trusted_recipient"


class RoutingMismatch(AgentError):
    """Envelope and signed headers name different senders or recipients."""

    code = "routing_mismatch"


class SenderMismatch(AgentError):
    """From and Sender of the signed message differ, or From is not exactly one address."""

    code = "sender_mismatch"


class BadSubject(AgentError):
    """The subject line of mail to newuser does not hold contact address, question and answer."""

    code = "bad_subject"
    #: The rule that is broken, in one word; leaves say it in their own.
    rule: ClassVar[str] = "form"
