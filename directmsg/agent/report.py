"""What receiving one message found out, as values and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from directmsg.agent.address import Mailbox, parse_list_tolerantly
from directmsg.agent.context import DirectContext, read_context
from directmsg.agent.errors import AgentError, RoutingMismatch
from directmsg.agent.fields import Fields
from directmsg.agent.message import Attachment, Content, parse_date, read_content
from directmsg.agent.mime import Part
from directmsg.agent.notifications import Dsn, Kind, Mdn, kind_of, read_dsn, read_mdn
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError
from trust.pki.path import Chain

#: Tells what kind of clinical document some bytes are: data, declared type, file name -> kind or None.
DocumentKind = Callable[[bytes, str, str], str | None]


@dataclass(frozen=True, slots=True)
class Algorithms:
    """Names of the algorithms in use, None where that was not reached. `digest` and `signature` are those of
    the accepted signer, else of the first one that verified."""

    digest: str | None = None
    signature: str | None = None
    cipher: str | None = None
    key_transport: str | None = None


@dataclass(frozen=True)
class Signer:
    """One signer and what became of it.

    `certificate_der` is None where the message does not carry the certificate. A signer whose signature does
    not stand has no names: it lends its name to nothing. `chain`: leaf first, anchor last. `error` says why
    it was not accepted.
    """

    certificate_der: bytes | None
    accepted: bool
    chain: Chain | None = None
    error: AgentError | PkiError | None = None
    verified: bool = False
    digest: str | None = None
    signature_algorithm: str | None = None
    signing_time: datetime | None = None

    @property
    def code(self) -> str | None:
        return self.error.code if self.error else None

    @cached_property
    def certificate(self) -> Certificate | None:
        """The certificate of a signature that stands, None otherwise."""
        if not self.verified or self.certificate_der is None:
            return None
        try:
            return Certificate(self.certificate_der)
        except PkiError:
            return None

    @property
    def sha256(self) -> str | None:
        return self.certificate.sha256 if self.certificate else None

    @property
    def subject(self) -> str | None:
        return _readable(lambda: self.certificate.subject if self.certificate else None)

    @property
    def issuer(self) -> str | None:
        return _readable(lambda: self.certificate.issuer if self.certificate else None)

    @property
    def names(self) -> tuple[str, ...]:
        """The mailboxes and domains it was issued for."""
        return _readable(lambda: self.certificate.names if self.certificate else ()) or ()

    @property
    def serial(self) -> str | None:
        """The serial number in lower-case hex."""
        return f"{self.certificate.serial_number:x}" if self.certificate else None


T = TypeVar("T")


def _readable(read: Callable[[], T]) -> T | None:
    """What `read` finds in a certificate, or None where it is too broken to tell."""
    try:
        return read()
    except PkiError:
        return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided for one recipient; `error` is None when the message is accepted for it."""

    address: str
    error: AgentError | PkiError | None
    signers: tuple[Signer, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.error is None

    @property
    def signer(self) -> Signer | None:
        """The signer that was accepted."""
        return next((signer for signer in self.signers if signer.accepted), None)


@dataclass(frozen=True)
class InnerMessage:
    """The message that was signed: its own fields and parts.

    `wrapped`: it came as message/rfc822. If not, `fields` are the signed part's own and, besides those of
    MIME, the outer message's, which nobody signed. `sender` is the one address in From. `entity` is what was
    signed.
    """

    fields: Fields
    root: Part = field(repr=False)
    wrapped: bool
    sender: Mailbox
    entity: Part = field(repr=False)

    @property
    def signed_bytes(self) -> bytes:
        """The entity the signature stands over, as it came."""
        return self.entity.raw

    @property
    def kind(self) -> Kind:
        """ "message", "mdn" or "dsn"."""
        return kind_of(self.root)

    @property
    def from_address(self) -> str:
        """As the sender wrote it; normalise it to compare."""
        return self.sender.address

    @property
    def from_name(self) -> str:
        return self.sender.name

    @property
    def to_mailboxes(self) -> tuple[Mailbox, ...]:
        return self._to[0]

    @property
    def cc_mailboxes(self) -> tuple[Mailbox, ...]:
        return self._cc[0]

    @property
    def to(self) -> tuple[str, ...]:
        return tuple(each.address for each in self.to_mailboxes)

    @property
    def cc(self) -> tuple[str, ...]:
        return tuple(each.address for each in self.cc_mailboxes)

    @property
    def recipients_readable(self) -> bool:
        """Whether every address in To and Cc could be read."""
        return self._to[1] and self._cc[1]

    @cached_property
    def _to(self) -> tuple[tuple[Mailbox, ...], bool]:
        return self._mailboxes("to")

    @cached_property
    def _cc(self) -> tuple[tuple[Mailbox, ...], bool]:
        return self._mailboxes("cc")

    def _mailboxes(self, name: str) -> tuple[tuple[Mailbox, ...], bool]:
        return parse_list_tolerantly(each.unfolded for each in self.fields.all(name))

    @property
    def subject(self) -> str:
        """Decoded and on one line, not shortened; U+FFFD stands for control characters."""
        return self.fields.text("subject")

    @property
    def date(self) -> datetime | None:
        return parse_date(self.fields.unfolded("date"))

    @property
    def message_id(self) -> str:
        """As written, with its angle brackets where it has them."""
        return " ".join(self.fields.unfolded("message-id").split())

    @property
    def in_reply_to(self) -> str:
        return " ".join(self.fields.unfolded("in-reply-to").split())

    @property
    def references(self) -> tuple[str, ...]:
        return tuple(self.fields.unfolded("references").split())

    @cached_property
    def content(self) -> Content:
        return read_content(self.root)

    @property
    def text(self) -> str:
        return self.content.text

    @property
    def html(self) -> str | None:
        """The source of the HTML version: hostile, never to be shown as it is."""
        return self.content.html

    @property
    def parts(self) -> tuple[Attachment, ...]:
        return self.content.attachments

    @cached_property
    def mdn(self) -> Mdn | None:
        return read_mdn(self.root, self.fields) if self.kind == "mdn" else None

    @cached_property
    def dsn(self) -> Dsn | None:
        return read_dsn(self.root, self.fields) if self.kind == "dsn" else None

    @cached_property
    def context(self) -> DirectContext | None:
        """The Direct Context that the message names, when it can be read."""
        return read_context(self.fields, self.root)


@dataclass(frozen=True)
class OpenedMessage(InnerMessage):
    """A message whose author is known: signature, sender and trust hold for at least one recipient.

    `accepted`: the recipients it may be delivered to, as they were given. `anchor_sha256`: the anchor that
    the accepted signer's chain ends in.
    """

    signers: tuple[Signer, ...] = ()
    algorithms: Algorithms = field(default_factory=Algorithms)
    warnings: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    anchor_sha256: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that was learned on the way, whether or not the message is accepted for anybody.

    `message` is what was signed, once a signature stood; believe it only through `opened()`.
    """

    error: AgentError | PkiError | None
    recipients: tuple[Verdict, ...]
    message: InnerMessage | None
    signers: tuple[Signer, ...]
    algorithms: Algorithms
    warnings: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        return any(verdict.accepted for verdict in self.recipients)

    def opened(self) -> OpenedMessage:
        """The message for those who may have it; raises the first error when nobody may."""
        accepted = [verdict for verdict in self.recipients if verdict.accepted]
        if not accepted or self.message is None:
            raise self.error or RoutingMismatch("nobody to receive it")
        signer = accepted[0].signer
        return OpenedMessage(
            fields=self.message.fields,
            root=self.message.root,
            wrapped=self.message.wrapped,
            sender=self.message.sender,
            entity=self.message.entity,
            signers=accepted[0].signers,
            algorithms=self.algorithms,
            warnings=self.warnings,
            accepted=tuple(verdict.address for verdict in accepted),
            anchor_sha256=signer.chain.anchor.sha256 if signer and signer.chain else "",
        )


# --- JSON -----------------------------------------------------------------------------------------------


def report_json(report: Report, *, document_kind: DocumentKind | None = None) -> dict[str, Any]:
    """The whole report as JSON values.

    `document_kind` names the kind of an attachment. Of a message that nobody may have only the routing is
    told: what it says is not shown before its author is known.
    """
    message = report.message
    mdn = message.mdn if message and report.accepted else None
    dsn = message.dsn if message and report.accepted else None
    context = message.context if message and report.accepted else None
    return {
        **operator_report(report),
        "message": _message_json(message, report.accepted, document_kind) if message else None,
        "mdn": _mdn_json(mdn) if mdn else None,
        "dsn": _dsn_json(dsn) if dsn else None,
        "context": context.to_json() if context else None,
    }


def operator_report(report: Report) -> dict[str, Any]:
    """The report without anything of the message's content, for the operator's view of one mail."""
    error = None if report.accepted else report.error
    return {
        "verdict": "accepted" if report.accepted else "refused",
        "code": error.code if error else None,
        "detail": error.detail if error else None,
        "kind": report.message.kind if report.message else None,
        "recipients": [_verdict_json(verdict) for verdict in report.recipients],
        "signers": [signer_json(signer) for signer in report.signers],
        "algorithms": {
            "digest": report.algorithms.digest,
            "signature": report.algorithms.signature,
            "cipher": report.algorithms.cipher,
            "key_transport": report.algorithms.key_transport,
        },
        "warnings": list(report.warnings),
    }


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "address": verdict.address,
        "verdict": "accepted" if verdict.accepted else "refused",
        "code": verdict.error.code if verdict.error else None,
    }


def signer_json(signer: Signer) -> dict[str, Any]:
    """One signer as JSON values; the chain from the signer's certificate to the anchor."""
    chain = signer.chain.certificates if signer.chain else ()
    return {
        "sha256": signer.sha256,
        "subject": signer.subject,
        "issuer": signer.issuer,
        "names": list(signer.names),
        "serial": signer.serial,
        "chain": [{"sha256": each.sha256, "subject": _subject(each)} for each in chain],
        "accepted": signer.accepted,
        "code": signer.code,
    }


def _subject(certificate: Certificate) -> str | None:
    return _readable(lambda: certificate.subject)


def _message_json(
    message: InnerMessage, accepted: bool, document_kind: DocumentKind | None
) -> dict[str, Any]:
    date = message.date
    return {
        "from": message.from_address,
        "to": list(message.to),
        "cc": list(message.cc),
        "subject": message.subject if accepted else None,
        "date": date.isoformat() if date else None,
        "message_id": message.message_id,
        "text": message.text if accepted else None,
        "parts": [_part_json(part, document_kind) for part in message.parts] if accepted else [],
    }


def _part_json(part: Attachment, document_kind: DocumentKind | None) -> dict[str, Any]:
    kind = document_kind(part.data(), part.content_type, part.filename) if document_kind else None
    return {
        "filename": part.filename,
        "content_type": part.content_type,
        "size": part.size,
        "sha256": part.sha256,
        "document_kind": kind,
    }


def _mdn_json(mdn: Mdn) -> dict[str, Any]:
    return {
        "disposition": mdn.disposition,
        "modifiers": list(mdn.modifiers),
        "outcome": mdn.outcome,
        "final_recipient": mdn.final_recipient,
        "original_recipient": mdn.original_recipient,
        "original_message_id": mdn.original_message_id,
        "final_destination_delivery": mdn.has_extension,
        "reporting_ua": mdn.reporting_ua,
        "failure": mdn.failure,
        "error": mdn.error,
        "warning": mdn.warning,
    }


def _dsn_json(dsn: Dsn) -> dict[str, Any]:
    return {
        "action": dsn.first.action,
        "status": dsn.first.status,
        "final_recipient": dsn.first.final_recipient,
        "original_message_id": dsn.original_message_id,
        "recipients": [
            {"action": each.action, "status": each.status, "final_recipient": each.final_recipient}
            for each in dsn.recipients
        ],
    }
