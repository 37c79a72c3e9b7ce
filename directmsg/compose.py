"""Writing a message: from what a person typed to rows that wait to be sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import Http404
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store import jobs
from healthvault.store.blobs import store_blob
from healthvault.store.models import new_id
from records import arranging, quota
from records.access import whole_records_of
from records.models import Account, Attachment, Message, Record, Right
from trust import context as trust_context

from . import addresses, enclosures
from .agent.address import Mailbox, normalise, parse_list
from .agent.errors import AgentError, BadAddress
from .agent.message import NewAttachment, address_field, build_message
from .agent.notifications import TIMELY_DELIVERY
from .models import DirectAddress, MailEvent, OutboundMail

MOST_RECIPIENTS = 20
MOST_ATTACHMENTS = 50
#: Base64 twice over, once for the attachment and once for the envelope, lines of 76.
_SEALED_RATIO = (4 / 3 * 78 / 76) ** 2
_SEALED_EXTRA = 64 * 1024


class CannotSend(ValueError):
    """The message cannot be sent as it is; the text tells the person what to change."""

    code: ClassVar[str] = "cannot_send"


class NoSenderAddress(CannotSend):
    """The record has no active Direct address."""

    code = "no_sender_address"


class BadRecipient(CannotSend):
    """Somebody in "To" cannot be written to."""

    code = "bad_recipient"


class TooMuch(CannotSend):
    """Too many recipients or attachments, or too many octets."""

    code = "too_much"


class NothingToRetry(CannotSend):
    """The copy was delivered, is still on its way, or was tried again already."""

    code = "nothing_to_retry"


def queue_message(
    account: Account,
    record: Record,
    to: str | Iterable[str],
    subject: str,
    text: str,
    attachments: Sequence[NewAttachment] = (),
    *,
    message_pk: UUID | None = None,
    package: bool = False,
) -> Message:
    """Write a message from `record` and queue one copy per recipient, in one transaction.

    `to` is a list of addresses, or a text of them with commas between. `message_pk` is the id that the
    message will have: the same one again returns the message that is there, so that a form sent twice sends
    once. `package`: the attachments go out as one XDM package. Raises Http404 when `account` may not write
    for `record`, BadRecipient, NoSenderAddress, TooMuch, UnsafeField for a subject or file name with a
    control character.
    """
    record = _written_for(account, record.pk)
    pk = message_pk or new_id()
    before = Message.objects.filter(pk=pk, record=record, direction=Message.Direction.OUT).first()
    if before is not None:
        return before
    sender = _sender(record)
    recipients = read_recipients(to)
    _require_size(text, attachments)
    now = timezone.now()
    message_id = f"<{pk.hex}@{sender.address.rpartition('@')[2]}>"
    # Written once before anything is stored: what cannot be written must not be queued.
    draft = build_message(
        sender=Mailbox("", sender.address),
        to=[Mailbox("", address) for address in recipients],
        subject=subject,
        date=now,
        message_id=message_id,
        text=text,
        attachments=attachments,
    )
    with transaction.atomic():
        message = Message.objects.create(
            id=pk,
            record=record,
            direction=Message.Direction.OUT,
            from_address=sender.address,
            to_addresses=recipients,
            message_id=message_id,
            subject=subject,
            text=text,
            sent=now,
            received=now,
            opened=now,
            size=len(draft),
        )
        _require_room(record, attachments)
        for position, part in enumerate(attachments):
            _attach(message, position, part, package=package)
        for address in recipients:
            _queue_copy(message, address)
        addresses.mark_used(sender)
        trail.record("message.queued", actor=account, record=record, subject=message.pk)
    return message


def _written_for(account: Account, record_id: UUID) -> Record:
    """The record, when `account` may write for it; else Http404."""
    record = whole_records_of(account, Right.MODIFY).select_related("holder").filter(pk=record_id).first()
    if record is None:
        raise Http404
    return record


def try_again(account: Account, mail: OutboundMail) -> Message:
    """Send a copy that was lost to its recipient once more, as a new message with its own Message-ID.

    The lost one keeps its outcome. Raises Http404 when `account` may not write for the record,
    NothingToRetry, NoSenderAddress.
    """
    old = mail.message
    if old is None:
        raise NothingToRetry("This message is no longer there.")
    record = _written_for(account, old.record_id)
    sender = _sender(record)
    now = timezone.now()
    pk = new_id()
    with transaction.atomic():
        message = Message.objects.create(
            id=pk,
            record=record,
            direction=Message.Direction.OUT,
            from_address=sender.address,
            to_addresses=[mail.recipient],
            message_id=f"<{pk.hex}@{sender.address.rpartition('@')[2]}>",
            subject=old.subject,
            text=old.text,
            sent=now,
            received=now,
            opened=now,
            size=old.size,
        )
        for part in old.attachments.select_related("message__record__holder"):
            _copy_attachment(part, message)
        copy = _queue_copy(message, mail.recipient)
        lost = OutboundMail.objects.filter(pk=mail.pk, again__isnull=True, state__in=list(OutboundMail.LOST))
        if not lost.update(again=copy):
            raise NothingToRetry("This was delivered, is still on its way, or was sent again already.")
        MailEvent.objects.create(outbound=mail, name="tried_again")
        trail.record("message.tried_again", actor=account, record=record, subject=mail.pk)
    return message


def read_recipients(to: str | Iterable[str]) -> list[str]:
    """The addresses in `to`, normalised, each once. Raises BadRecipient, TooMuch."""
    text = to if isinstance(to, str) else ", ".join(to)
    try:
        found = [mailbox.key for mailbox in parse_list(text.replace(";", ",").replace("\n", ","))]
    except BadAddress as error:
        raise BadRecipient(
            "One of the recipients is no address. Write addresses like name@direct.clinic.example, with"
            " commas between them."
        ) from error
    recipients = list(dict.fromkeys(found))
    if not recipients:
        raise BadRecipient("Type the Direct address you want to write to.")
    if len(recipients) > MOST_RECIPIENTS:
        raise TooMuch(f"A message can have {MOST_RECIPIENTS} recipients at most.")
    for address in recipients:
        _require_writable(address)
    return recipients


def _require_writable(address: str) -> None:
    try:
        address_field("To", [Mailbox("", address)])
    except AgentError as error:
        raise BadRecipient(f"{address} holds letters that Direct mail cannot carry.") from error
    if trust_context.is_hosted(address) and addresses.is_newuser(address):
        raise BadRecipient("newuser is for organisations that reach a patient for the first time.")


def content_of(message: Message, copies: Sequence[OutboundMail]) -> bytes:
    """The message as it is to be sealed, to everybody in `copies` and naming nobody else; the same bytes at
    every call with the same copies.

    It asks for a notification of its delivery, so that its sender gets a definite answer.
    """
    recipients = [mail.recipient for mail in copies]
    along = enclosures.enclosed(message, recipients)
    assert message.sent is not None
    return build_message(
        sender=Mailbox("", message.from_address),
        to=[Mailbox("", recipient) for recipient in recipients],
        subject=message.subject,
        date=message.sent,
        message_id=message.message_id,
        text=message.text,
        attachments=along.attachments,
        extra_fields=[
            ("Disposition-Notification-To", message.from_address),
            ("Disposition-Notification-Options", TIMELY_DELIVERY),
            *along.extra_fields,
        ],
        extra_parts=along.extra_parts,
    )


def _sender(record: Record) -> DirectAddress:
    address = addresses.primary_address(record)
    if address is None or address.state != DirectAddress.State.ACTIVE:
        raise NoSenderAddress("This record has no active Direct address to write from.")
    return address


def _require_size(text: str, attachments: Sequence[NewAttachment]) -> None:
    if len(attachments) > MOST_ATTACHMENTS:
        raise TooMuch(f"A message can have {MOST_ATTACHMENTS} attachments at most.")
    octets = len(text.encode("utf-8", "replace")) + sum(len(part.data) for part in attachments)
    if octets > most_octets():
        raise TooMuch(f"Text and attachments together may be {most_octets() // 1_000_000} MB at most.")


def _require_room(record: Record, attachments: Sequence[NewAttachment]) -> None:
    """What is attached stays in the record with the sent message."""
    arranging.lock(record)
    try:
        quota.require_room(record, sum(len(part.data) for part in attachments))
    except quota.RecordFull as full:
        raise TooMuch(f"{full}.") from full


def most_octets() -> int:
    """How much text and attachments may weigh together, so that the sealed message passes a mail server."""
    return int((settings.MAX_MESSAGE_SIZE - _SEALED_EXTRA) / _SEALED_RATIO)


def _attach(message: Message, position: int, part: NewAttachment, *, package: bool) -> None:
    Attachment.objects.create(
        message=message,
        position=position,
        blob=store_blob(message.record.holder, part.data),
        filename=part.filename,
        content_type=part.content_type[:127],
        size=len(part.data),
        sha256=hashlib.sha256(part.data).hexdigest(),
        outcome=Attachment.Outcome.NOT_ADDED,
        code=enclosures.PACKAGED if package else "",
    )


def _copy_attachment(part: Attachment, message: Message) -> None:
    """The same bytes with another message: both stand under the record's key."""
    Attachment.objects.create(
        message=message,
        position=part.position,
        blob_id=part.blob_id,
        filename=part.filename,
        content_type=part.content_type,
        size=part.size,
        sha256=part.sha256,
        outcome=Attachment.Outcome.NOT_ADDED,
        code=part.code,
    )


def _queue_copy(message: Message, recipient: str) -> OutboundMail:
    from .tasks import send_outbound

    now = message.sent
    assert now is not None
    mail = OutboundMail.objects.create(
        kind=OutboundMail.Kind.MESSAGE,
        message=message,
        sender=normalise(message.from_address),
        recipient=recipient,
        domain=recipient.rpartition("@")[2],
        identifier=message.message_id.strip("<>"),
        holder=message.record.holder,
        queued=now,
        expires=now + timedelta(seconds=settings.DIRECT_CONFIRMATION_TIMEOUT),
    )
    MailEvent.objects.create(outbound=mail, name="queued")
    jobs.ring(send_outbound, str(mail.pk))
    return mail
