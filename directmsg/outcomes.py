"""The one table of what a failure means: to operators, to senders, to our own people.

Code raises typed errors with a stable `code`; this module alone turns a code into words.
Until the sender of incoming mail is trusted nothing leaves us, so `sender` is empty for all of those.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one code means.

    `operator` says what happened and what to do. `sender` is the sentence the sender of incoming mail is
    told, or empty when nothing is told, and `told` the code that goes with it where ours would tell too much.
    `person` is what our own person reads about mail they sent, and
    `status` the code of RFC 3463 that a failure notification about it carries.
    """

    operator: str
    sender: str = ""
    told: str = ""
    person: str = ""
    status: str = "5.0.0"


_BAD_SUBJECT = "The subject line does not follow the form e-mail;question;answer;subject."
#: One sentence and one code for a full mailbox and for a blocked sender, who cannot tell which it is.
_NOT_ACCEPTED = "This mailbox does not accept this message. Ask the recipient by other means."
_NOT_ACCEPTED_CODE = "not_accepted"
_NOT_TRUSTED = (
    "This address cannot be written to: its certificate does not lead to an organisation this service trusts."
    " Ask the people who run the service whether it can be added."
)
_BAD_CERTIFICATE = (
    "This address cannot be written to safely: its certificate may not be used. Tell the recipient, whose"
    " system must publish a new one."
)
_NOT_DIRECT = (
    "No certificate was found for this address. It may be mistyped, or an ordinary e-mail address: only"
    " Direct addresses can be written to."
)
_NO_MAIL_THERE = "This address takes no mail. Check what stands behind the @ sign."
_WAITING = "Their system could not be reached. We keep trying."

#: The same verdict on a certificate is told of a signer (incoming) and of a recipient (outgoing).
_INCOMING = {
    "not_encrypted": Outcome("The message was not encrypted. Ask the sender to send Direct (S/MIME) mail."),
    "cannot_decrypt": Outcome(
        "None of our keys opens the message. The sender may hold an old certificate of ours: publish the"
        " current one, and keep the old key to read what is on its way."
    ),
    "not_signed": Outcome("The message was encrypted but not signed, so its author is unknown."),
    "bad_signature": Outcome("The signature does not match the content: it was altered, or signed wrongly."),
    "weak_cipher": Outcome(
        "The message is encrypted with an algorithm that is not allowed (DES, RC2, 3DES)."
    ),
    "unsupported_algorithm": Outcome(
        "The message uses an algorithm, or parameters of one, that is not known here."
    ),
    "not_wrapped": Outcome("The signed content is not a wrapped message, which this domain requires."),
    "routing_mismatch": Outcome(
        "The envelope does not match the signed To, Cc and From: it may have been re-sent."
    ),
    "sender_mismatch": Outcome("From is not exactly one address, or Sender names somebody else."),
    "malformed": Outcome("The message or a certificate in it is not well-formed."),
    "too_large": Outcome("The message, or something in it, is over a limit."),
    "too_many_recipients": Outcome("The envelope has more recipients than any honest message."),
    "too_many_signers": Outcome("The message has more signatures than any honest message."),
}

_CERTIFICATES = {
    "weak_digest": Outcome(
        "A signature uses MD5 or SHA-1. The other system must sign with SHA-256.",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "weak_key": Outcome(
        "A key on the path is too short (RSA below 2048 bit) or of a kind not allowed.",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "no_key_usage": Outcome(
        "The certificate does not say what its key may be used for.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "wrong_key_usage": Outcome(
        "The certificate may not be used for this: to sign messages, or to encrypt to.",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "bad_certificate": Outcome(
        "A certificate is not what it should be.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "malformed_certificate": Outcome(
        "A certificate breaks the encoding rules (RFC 5280 section 4.1).",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "bad_serial": Outcome(
        "A serial number is not positive or longer than 20 octets.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "duplicate_extension": Outcome(
        "A certificate has the same extension twice.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "not_version_3": Outcome(
        "A certificate of version 1 or 2 cannot say what it may be used for.",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "malformed_name": Outcome(
        "A certificate holds a name that is neither a mailbox nor a host name.",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "certificate_too_large": Outcome(
        "A certificate is over a limit.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "too_many_names": Outcome(
        "A certificate speaks for more names than the limit.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "too_many_name_constraints": Outcome(
        "A certificate has more name constraints than the limit.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "address_not_covered": Outcome(
        "The certificate speaks for another address or domain than the one it is used for.",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "untrusted_chain": Outcome(
        "The certificate leads to no anchor that is allowed for this direction and domain."
        " If the organisation should be trusted, import its anchor.",
        person=_NOT_TRUSTED,
        status="5.7.1",
    ),
    "bad_path": Outcome(
        "No path from the certificate to an anchor stands.", person=_NOT_TRUSTED, status="5.7.1"
    ),
    "expired": Outcome(
        "A certificate on the path is past its time of validity.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "not_yet_valid": Outcome(
        "A certificate on the path is not valid yet. Check our clock as well.",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "revoked": Outcome(
        "A certificate on the path was revoked by its issuer.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "revocation_unknown": Outcome(
        "Nothing current says whether the certificate was revoked, and this domain requires an answer.",
        person="Whether their certificate still holds could not be found out. We keep trying.",
        status="4.7.5",
    ),
    "policy_not_met": Outcome(
        "The path lacks a certificate policy that is demanded.", person=_NOT_TRUSTED, status="5.7.1"
    ),
    "name_constraint_violated": Outcome(
        "A name on the path lies outside what its issuer may speak for.", person=_NOT_TRUSTED, status="5.7.1"
    ),
    "readers_disagree": Outcome(
        "Two independent readers of one path do not agree: keep the certificate and look at it.",
        person=_NOT_TRUSTED,
        status="5.7.1",
    ),
    "bound_exceeded": Outcome(
        "Something about a certificate is over a limit.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "too_many_certificates": Outcome(
        "More certificates came along than any honest path needs.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "too_many_same_subject": Outcome(
        "More certificates of one subject than a roll-over of keys explains.",
        person=_BAD_CERTIFICATE,
        status="5.7.5",
    ),
    "path_too_long": Outcome("Every path to an anchor is too long.", person=_NOT_TRUSTED, status="5.7.1"),
    "too_many_paths": Outcome(
        "The certificates allow more paths than the limit, and none of those tried stands.",
        person=_NOT_TRUSTED,
        status="5.7.1",
    ),
    "malformed_crl": Outcome(
        "What was fetched is no revocation list.", person=_BAD_CERTIFICATE, status="5.7.5"
    ),
    "ocsp_error": Outcome("The answer of an OCSP responder was not taken; what we know stays."),
    "malformed_ocsp": Outcome("What an OCSP responder sent is no answer, or holds what nobody understands."),
    "ocsp_not_answered": Outcome("The OCSP responder says that it does not answer."),
    "ocsp_other_certificate": Outcome("The OCSP responder answered about another certificate."),
    "ocsp_unmatched_signature": Outcome(
        "The OCSP answer is signed neither by the issuer nor by a responder whom the issuer named."
    ),
    "ocsp_not_current": Outcome("The OCSP answer is out of date, or of a time to come."),
    "bundle_error": Outcome("The trust bundle was not taken; the anchors we have stay."),
    "invalid_bundle_format": Outcome(
        "The trust bundle is broken or holds no anchor; the anchors we have stay."
    ),
    "unmatched_signature": Outcome(
        "The trust bundle is not signed by its pinned signer; the anchors we have stay."
    ),
    "agent_error": Outcome("The message was not taken."),
    "pki_error": Outcome("A certificate was not taken.", person=_BAD_CERTIFICATE, status="5.7.5"),
}

_AFTER_TRUST = {
    "unknown_recipient": Outcome(
        "No active mailbox has this address.", "There is no mailbox with this address, or it is switched off."
    ),
    "mailbox_full": Outcome(
        "The record this address belongs to has no room for the message (RECORD_SIZE_LIMIT). With a higher"
        " limit it can be processed again; its sender was told that it was not accepted.",
        _NOT_ACCEPTED,
        _NOT_ACCEPTED_CODE,
    ),
    "sender_blocked": Outcome(
        "The people of this record blocked this sender or the sender's domain. The sender was told that the"
        " mailbox does not accept the message; there is nothing to mend here.",
        _NOT_ACCEPTED,
        _NOT_ACCEPTED_CODE,
    ),
    "bad_subject": Outcome("Mail to newuser with a subject line that breaks a rule.", _BAD_SUBJECT),
    "too_many_parcels": Outcome(
        "The contact address has as many open parcels as one address may have.",
        "Too many messages wait for this contact address already.",
    ),
}

_OURS = {
    "no_identity": Outcome(
        "We hold no current key for this domain. Make one with create_identity, then process again.",
        person="This service cannot sign mail at the moment. We keep trying.",
        status="4.7.5",
    ),
    "keys_unavailable": Outcome(
        "The key service does not answer. Nothing is lost; it is tried again by itself.",
        person="This service cannot sign mail at the moment. We keep trying.",
        status="4.7.5",
    ),
    "waits_for_storage": Outcome(
        "The database or the disk failed meanwhile. Nothing is lost; it is tried again by itself.",
    ),
    "worker_killed": Outcome(
        "Work on this mail ended the worker three times. Its bytes are kept; look at it before retrying.",
        person="It could not be sent because of a fault of this service.",
        status="5.3.0",
    ),
    "unforeseen": Outcome(
        "An error nobody foresaw. The log has the trace under this mail's id; process again.",
        person="A fault of this service holds it up. We keep trying.",
        status="4.3.0",
    ),
}

_SENDING = {
    "no_certificate": Outcome(
        "No certificate for the recipient was found in the name service or a directory.",
        person=_NOT_DIRECT,
        status="5.1.1",
    ),
    "dns_failure": Outcome(
        "The name service gave no usable answer. It is asked again.", person=_WAITING, status="4.4.3"
    ),
    "discovery_failed": Outcome(
        "The recipient's certificate could not be looked for now. It is tried again.",
        person=_WAITING,
        status="4.4.3",
    ),
    "no_trusted_recipient": Outcome(
        "Nobody is left to send to: no recipient has a trusted certificate.",
        person=_NOT_TRUSTED,
        status="5.7.1",
    ),
    "unsafe_field": Outcome(
        "A header field would hold a control character or an over-long line.",
        person="The subject, an address or a file name holds a character that cannot be sent.",
        status="5.6.0",
    ),
    "no_such_domain": Outcome(
        "The recipient's domain does not exist, or nothing in it takes mail.",
        person=_NO_MAIL_THERE,
        status="5.1.2",
    ),
    "null_mx": Outcome(
        "The recipient's domain says that it takes no mail (RFC 7505).",
        person=_NO_MAIL_THERE,
        status="5.1.10",
    ),
    "mail_loop": Outcome(
        "The mail servers of the recipient's domain are this machine. If the domain is ours, add it to"
        " DIRECT_DOMAINS; else its owner has to mend its MX records.",
        person=_NO_MAIL_THERE,
        status="5.4.6",
    ),
    "host_unreachable": Outcome(
        "No mail server of the recipient's domain could be connected to. It is tried again.",
        person=_WAITING,
        status="4.4.1",
    ),
    "host_timed_out": Outcome(
        "The recipient's mail server did not answer in time. It is tried again.",
        person=_WAITING,
        status="4.4.2",
    ),
    "host_refused": Outcome(
        "The recipient's mail server wants nothing from us: we may be on a list there. It is tried again.",
        person=_WAITING,
        status="4.7.0",
    ),
    "deferred": Outcome(
        "The recipient's mail server asked to come again later.",
        person="Their system asked us to come again later. We keep trying.",
        status="4.3.0",
    ),
    "not_delivered": Outcome(
        "The mail was not taken.", person="It could not be delivered to their system.", status="5.0.0"
    ),
    "sender_rejected": Outcome(
        "The recipient's mail server takes no mail from our address.",
        person="Their system takes no mail from your address.",
        status="5.7.1",
    ),
    "recipient_rejected": Outcome(
        "The recipient's mail server says that there is no such mailbox, or takes no mail for it.",
        person="Their system says that there is no such mailbox. Check the address.",
        status="5.1.1",
    ),
    "message_rejected": Outcome(
        "The recipient's mail server refused the message itself.",
        person="Their system refused the message. It may be too large for it.",
        status="5.6.0",
    ),
    "too_long_queued": Outcome(
        "It was tried for three days and never taken.",
        person="Their system could not be reached.",
        status="4.4.7",
    ),
    "not_sent": Outcome(
        "No mail server of the recipient took it before the confirmation was due.",
        person="Their system could not be reached in time. It was not sent; you can try again.",
        status="4.4.7",
    ),
    "not_processed": Outcome(
        "The recipient's mail server took it, but no notification that it was opened came in time.",
        person="Their mail server took it, but their system never confirmed it. Ask the recipient before you"
        " rely on it.",
        status="4.4.7",
    ),
    "not_dispatched": Outcome(
        "The recipient's system opened it, but did not confirm the delivery in time.",
        person="It reached their system, which did not confirm that it was delivered. Ask the recipient"
        " before you rely on it.",
        status="4.4.7",
    ),
    "reported_failed": Outcome(
        "The recipient's system reported that it could not be delivered.",
        person="Their system reported that it could not be delivered. Check the address, or call them.",
        status="5.0.0",
    ),
    "content_gone": Outcome(
        "What was to be sent is no longer there: its record or key was deleted.",
        person="What was to be sent is no longer there.",
        status="5.3.0",
    ),
}

OUTCOMES: dict[str, Outcome] = {**_INCOMING, **_CERTIFICATES, **_AFTER_TRUST, **_OURS, **_SENDING}


def explain(code: str) -> Outcome:
    """What `code` means; a code without a row of its own gets the general words."""
    return OUTCOMES.get(code) or Outcome(
        f"Refused with code {code}.", person="It could not be delivered to their system."
    )
