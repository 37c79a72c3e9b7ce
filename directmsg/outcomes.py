"""The one table of what a failure means: to the operator, to the sender, and whether to try again.

Code raises typed errors with a stable `code`; this module alone turns a code into words.
Until the sender is trusted nothing leaves us, so `tells_sender` is False for all of those.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one code means.

    `operator` says what happened and what to do; `sender` is the sentence a trusted sender is
    told, or empty when the sender is told nothing.
    """

    operator: str
    sender: str = ""


_BAD_SUBJECT = "The subject line does not follow the form e-mail;question;answer;subject."

OUTCOMES: dict[str, Outcome] = {
    # before anything is believed: the sender is told nothing
    "not_encrypted": Outcome("The message was not encrypted. Ask the sender to send Direct (S/MIME) mail."),
    "cannot_decrypt": Outcome(
        "None of our keys opens the message. The sender may hold an old certificate of ours: publish the"
        " current one, and keep the old key to read what is on its way."
    ),
    "not_signed": Outcome("The message was encrypted but not signed, so its author is unknown."),
    "bad_signature": Outcome("The signature does not match the content: it was altered, or signed wrongly."),
    "weak_digest": Outcome("The signature uses MD5 or SHA-1. The sender's system must sign with SHA-256."),
    "weak_key": Outcome("A key on the path is too short (RSA below 2048 bit) or of a kind not allowed."),
    "weak_cipher": Outcome(
        "The message is encrypted with an algorithm that is not allowed (DES, RC2, 3DES)."
    ),
    "no_key_usage": Outcome("The signer's certificate does not say that it may sign messages."),
    "wrong_key_usage": Outcome("The signer's certificate may not be used to sign messages."),
    "not_wrapped": Outcome("The signed content is not a wrapped message, which this domain requires."),
    "untrusted_chain": Outcome(
        "The signer's certificate leads to no anchor that is allowed for incoming mail of this domain."
        " If the organisation should be trusted, import its anchor."
    ),
    "expired": Outcome("A certificate on the path is outside its time of validity."),
    "revoked": Outcome("A certificate on the path was revoked by its issuer."),
    "revocation_unknown": Outcome(
        "Nothing current says whether the certificate was revoked, and this domain requires an answer."
    ),
    "address_not_covered": Outcome(
        "The certificate speaks for another address or domain than the From address."
    ),
    "routing_mismatch": Outcome(
        "The envelope does not match the signed To, Cc and From: it may have been re-sent."
    ),
    "malformed": Outcome("The message or a certificate in it is not well-formed."),
    "too_large": Outcome("The message, or something in it, is over a limit."),
    # after trust: the sender may know
    "unknown_recipient": Outcome(
        "No active mailbox has this address.", "There is no mailbox with this address, or it is switched off."
    ),
    "bad_subject": Outcome("Mail to newuser with a subject line that breaks a rule.", _BAD_SUBJECT),
    # our own trouble
    "no_identity": Outcome(
        "We hold no key for this domain. Make one with create_identity, then process again."
    ),
    "keys_unavailable": Outcome(
        "The key service does not answer. Nothing is lost; process again when it does."
    ),
    "worker_killed": Outcome(
        "Processing this message ended the worker three times. Its bytes are kept; look at it before retrying."
    ),
    "unforeseen": Outcome(
        "An error nobody foresaw. The log has the trace under this mail's id; process again."
    ),
}


def explain(code: str) -> Outcome:
    """What `code` means; a code without a row of its own is explained as a malformed message."""
    return OUTCOMES.get(code, Outcome(f"Refused with code {code}."))
