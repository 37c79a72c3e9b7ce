"""The receiving worker: one accepted copy, opened, judged and put where it belongs.

Nothing is shown, filed, announced or answered before decryption, signature, sender binding and
trust have all passed (`agent.incoming` does that). Every way out of here is a state of the row.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store import jobs
from healthvault.store.blobs import open_blob, rewrap, rewrap_all
from healthvault.store.faults import fault
from healthvault.store.models import Blob, HolderKey
from healthvault.vault.errors import KeyringUnavailable
from records import filing, intake, quota
from records.models import Message, Record
from trust import context as trust_context
from trust import resolvers
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError
from trust.pki.path import Chain
from trust.pki.policy import TrustContext

from . import addresses, blocking, bounces, confirmations, notices, notify, parcels
from .agent import incoming
from .agent.context import DirectContext, context_part
from .agent.errors import AgentError, NotEncrypted
from .agent.identity import Identity
from .agent.message import Attachment
from .agent.request import is_request, read_request
from .models import DirectAddress, InboundMail, MailEvent
from .outcomes import explain

log = logging.getLogger(__name__)
State = InboundMail.State


def receive_mail(pk: str) -> str | None:
    """Process the accepted copy `pk`; returns its state afterwards, or None when nothing was to do."""
    mail = jobs.claim(InboundMail, pk, waiting=State.RECEIVED, working=State.PROCESSING)
    if mail is None:
        return None
    fault("job.leased")
    if mail.tries > jobs.MOST_KILLS:
        return _end(mail, State.STUCK, "worker_killed")
    try:
        state = _process(mail)
    except jobs.LeaseLost:
        log.warning("lease lost", extra={"mail": mail.pk})
        return None
    except Refused as refused:
        return _end(mail, State.REFUSED, refused.code, refused.detail)
    except (AgentError, PkiError) as error:
        return _end(mail, State.REFUSED, error.code, getattr(error, "detail", ""))
    except KeyringUnavailable:
        return _wait(mail, "keys_unavailable")
    except (OperationalError, InterfaceError, OSError):
        # The database, the disk or the network: nothing is wrong with the mail.
        log.exception("mail waits", extra={"mail": mail.pk})
        return _wait(mail, "waits_for_storage")
    except Exception:
        log.exception("mail stuck", extra={"mail": mail.pk})
        return _end(mail, State.STUCK, "unforeseen")
    fault("job.done")
    log.info("mail done", extra={"mail": mail.pk, "state": state, "size": mail.size})
    return state


def _wait(mail: InboundMail, code: str) -> str | None:
    """Put the row back into the queue for a while, with the reason for the operator."""
    try:
        jobs.postpone(mail, State.RECEIVED, mail.received, code=code, detail=explain(code).operator[:500])
    except (jobs.LeaseLost, OperationalError, InterfaceError):
        # Its lease ends by itself, and the sweep offers it again.
        return None
    log.warning("mail waits", extra={"mail": mail.pk, "code": code})
    return State.RECEIVED


class Refused(Exception):
    """A message that cannot be delivered; `sentence` is what a trusted sender is told, if not the usual.

    `record` is the one that did not take it, in whose history it then stands.
    """

    def __init__(
        self, code: str, detail: str = "", sentence: str = "", *, record: Record | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.sentence = sentence
        self.record = record


def _end(
    mail: InboundMail,
    state: str,
    code: str,
    detail: str = "",
    *,
    reply: notices.Reply | None = None,
    sentence: str = "",
    record: Record | None = None,
) -> str | None:
    """Close the row without a delivery, with the reason for the operator.

    With `reply` the sender is trusted, and is told: that the message was opened, and that it failed.
    """
    try:
        with transaction.atomic():
            jobs.finish(
                mail,
                state,
                code=code[:40],
                detail=(detail or explain(code).operator)[:500],
                report=mail.report,
                from_address=mail.from_address,
                original_message_id=mail.original_message_id,
                organization_id=mail.organization_id,
                finished=timezone.now(),
            )
            MailEvent.objects.create(inbound=mail, name=state, code=code[:40])
            if code == NotEncrypted.code:
                _note_report(mail)
            trail.record(f"mail.{state}", record=record, subject=mail.pk, outcome=code)
            if reply is not None:
                notices.processed(mail, reply)
                notices.failed(mail, reply, code, sentence)
    except jobs.LeaseLost:
        return None
    log.info("mail not delivered", extra={"mail": mail.pk, "state": state, "code": code})
    return state


def _note_report(mail: InboundMail) -> None:
    """Note a failure report in clear; whatever is wrong with it, the mail is refused all the same."""
    try:
        with transaction.atomic():
            bounces.note(mail)
    except Exception:
        log.exception("failure report in clear not noted", extra={"mail": mail.pk})


def _verifier(address: str, recipient: trust_context.RecipientContext) -> incoming.PathVerifier:
    """A path verifier that fetches the issuers and revocation lists a signer's certificate names.

    What it may fetch is bounded for the message as a whole.
    """
    budget = resolvers.Budget()

    def verify(leaf: Certificate, hints: Sequence[Certificate], trust: TrustContext, at: datetime) -> Chain:
        def trust_now() -> TrustContext:
            now = trust_context.for_address(address)
            return now.notification_trust if trust is recipient.notification_trust else now.trust

        return resolvers.verify(leaf, hints, trust_now, at, budget)

    return verify


def _process(mail: InboundMail) -> str | None:
    recipient = trust_context.for_address(mail.recipient)
    if not recipient.identities:
        raise Refused("no_identity")
    assert mail.raw is not None
    raw = open_blob(mail.raw)
    report = incoming.examine(
        raw,
        mail_from=mail.mail_from,
        recipients=[
            incoming.Recipient(
                address=mail.recipient,
                identities=tuple(Identity(*pair) for pair in recipient.identities),
                trust=recipient.trust,
                notification_trust=recipient.notification_trust,
                require_wrapped=recipient.require_wrapped,
            )
        ],
        at=timezone.now(),
        verify=_verifier(mail.recipient, recipient),
    )
    fault("mail.decrypted")
    mail.report = incoming.operator_report(report)
    opened = report.opened()
    fault("mail.verified")
    mail.from_address = opened.from_address
    mail.original_message_id = opened.message_id[:998]
    organization = trust_context.organization_for(opened.anchor_sha256)
    trust_context.mark_used(opened.anchor_sha256)
    mail.organization_id = organization.pk if organization else None
    name = trust_context.public_name_for(organization, opened.from_address)
    if opened.kind != "message":
        return _note_notification(mail, opened)
    # From here on the sender is known and trusted, and is told what becomes of the message.
    record = None
    try:
        return _deliver(mail, opened, name)
    except Refused as refused:
        code, detail, sentence, record = refused.code, refused.detail, refused.sentence, refused.record
    except (AgentError, PkiError) as error:
        code, detail, sentence = error.code, error.detail, ""
    reply = notices.Reply.about(opened, mail.recipient)
    return _end(mail, State.REFUSED, code, detail, reply=reply, sentence=sentence, record=record)


def _note_notification(mail: InboundMail, opened: incoming.OpenedMessage) -> str:
    with transaction.atomic():
        _finish(mail, State.NOTIFIED, opened.kind)
        confirmations.record(mail, opened)
    return State.NOTIFIED


def _deliver(mail: InboundMail, opened: incoming.OpenedMessage, organization_name: str) -> str:
    if addresses.is_newuser(mail.recipient):
        return parcels.receive(mail, opened, organization_name)
    if addresses.is_for_administrators(mail.recipient):
        from . import administrators

        return administrators.deliver(mail, opened, organization_name)
    address = addresses.find(mail.recipient)
    if address is None or address.record is None or address.state != DirectAddress.State.ACTIVE:
        raise Refused("unknown_recipient")
    if blocking.is_blocked(address.record, opened.from_address):
        raise Refused("sender_blocked", record=address.record)
    return file_in_record(mail, opened, address, organization_name)


def file_in_record(
    mail: InboundMail,
    opened: incoming.OpenedMessage,
    address: DirectAddress,
    organization_name: str,
    *,
    subject: str | None = None,
) -> str:
    """File an opened message in the record of `address` and tell its custodians.

    Sealing and unpacking take their time before the transaction, under the key of the mail: what a try
    left that died is then found by the next one. Raises Refused when the record has no room for it.
    """
    record = address.record
    assert record is not None
    assert mail.holder is not None
    assert mail.raw is not None
    others = Blob.without_data.filter(holder=mail.holder).exclude(pk=mail.raw.pk)
    others.delete()
    try:
        quota.require_room(record, mail.raw.size)
        content = to_incoming(mail, opened, mail.holder, organization_name, subject=subject)
        return _file(mail, opened, address, content, subject)
    except quota.RecordFull as full:
        others.all().delete()
        raise Refused("mailbox_full", record=record) from full


def _file(
    mail: InboundMail,
    opened: incoming.OpenedMessage,
    address: DirectAddress,
    content: intake.IncomingMessage,
    subject: str | None,
) -> str:
    """The transaction of `file_in_record`. Raises RecordFull."""
    record = address.record
    assert record is not None
    assert mail.holder is not None
    assert mail.raw is not None
    record_key = record.holder.unwrap()
    with transaction.atomic():
        quota.claim_room(record, content.blobs)
        parts = Blob.without_data.filter(pk__in=content.blobs).exclude(pk=mail.raw.pk)
        rewrap_all(parts, mail.holder, record.holder, to_key=record_key)
        take_over_raw(mail, record.holder, record_key)
        message: Message = filing.file_message(record, content)
        addresses.mark_used(address)
        notify.new_message(record, message)
        _finish(mail, State.FILED, message=message)
        notices.delivered(mail, notices.Reply.about(opened, mail.recipient, subject=subject))
        fault("mail.filed")
    return State.FILED


def to_incoming(
    mail: InboundMail,
    opened: incoming.OpenedMessage,
    holder: HolderKey,
    organization_name: str,
    *,
    subject: str | None = None,
) -> intake.IncomingMessage:
    """Store the parts of an opened message under `holder` and describe it for filing.

    `subject` replaces the message's own (the real subject of mail to newuser).
    """
    context = opened.context
    # The part that a context stands in is told as such, and is no file of its own.
    named = context_part(opened.fields, opened.root) if context else None
    parts = [part for part in opened.parts if part.part is not named]
    stored = intake.store_parts(holder, ((part.filename, part.content_type, part.data()) for part in parts))
    return intake.IncomingMessage(
        from_address=opened.from_address,
        from_name=opened.from_name,
        to=tuple(opened.to),
        organization_name=organization_name,
        message_id=opened.message_id[:998],
        subject=opened.subject if subject is None else subject,
        text=opened.text,
        html=opened.html,
        sent=opened.date,
        size=mail.size,
        signers=tuple(incoming.signer_json(signer) for signer in opened.signers),
        raw=str(mail.raw_id),
        parts=stored,
        about=_about(context, parts),
    )


def _about(context: DirectContext | None, parts: Sequence[Attachment]) -> dict[str, Any] | None:
    """What the sender says the message is about: its context, and the request.txt of Blue Button+."""
    said: dict[str, Any] = {"context": context.to_json()} if context else {}
    written = next((part for part in parts if is_request(part.filename)), None)
    request = read_request(written.data()) if written else None
    if request:
        said["request"] = request.to_json()
    return said or None


def take_over_raw(mail: InboundMail, holder: HolderKey, holder_secret: bytes | None = None) -> None:
    """Move the raw bytes' key from the mail to `holder` and forget the mail's own key."""
    assert mail.raw is not None
    assert mail.holder is not None
    rewrap(mail.raw, mail.holder, holder, to_key=holder_secret)
    old = mail.holder
    InboundMail.objects.filter(pk=mail.pk).update(raw=None, holder=None)
    mail.raw = mail.holder = None
    old.delete()


def _finish(mail: InboundMail, state: str, event_code: str = "", **values: object) -> None:
    jobs.finish(
        mail,
        state,
        code="",
        detail="",
        report=mail.report,
        from_address=mail.from_address,
        original_message_id=mail.original_message_id,
        organization_id=mail.organization_id,
        finished=timezone.now(),
        **values,
    )
    MailEvent.objects.create(inbound=mail, name=state, code=event_code)
    trail.record(f"mail.{state}", subject=mail.pk)


#: Other modules of this app close a row in their own transaction through this.
finish = _finish
