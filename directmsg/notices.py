"""What we tell senders by signed and encrypted mail, and our own people about mail that was not delivered.

Rows only: each is written in the transaction of its cause and sent after commit. A notification is never
answered by another, never asks for one, and holds nothing about the patient that its receiver did not write.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone

from healthvault.store import jobs
from healthvault.store.blobs import store_blob
from healthvault.store.faults import fault
from healthvault.store.models import HolderKey, new_id
from records import filing
from records.intake import IncomingMessage
from records.models import Message

from . import addresses, notify
from .agent.address import Mailbox, normalise
from .agent.errors import AgentError
from .agent.message import build_message
from .agent.notifications import (
    Disposition,
    Failure,
    Original,
    build_dsn,
    build_mdn,
    notification_target,
    wants_dispatched,
)
from .models import InboundMail, MailEvent, OutboundMail, Parcel
from .outcomes import explain

if TYPE_CHECKING:
    from .agent.incoming import OpenedMessage

log = logging.getLogger(__name__)

PRODUCT = "HealthVault Direct"
#: How long notifications and notices are tried: what they tell stays true.
KEPT_TRYING = timedelta(hours=72)
NEUTRAL_SUBJECT = "message"


@dataclass(frozen=True, slots=True)
class Reply:
    """What notifications about one incoming message need.

    `to` is where they go, `subject` what they may repeat, `wants_dispatched` whether the sender asked to
    hear of the delivery as well.
    """

    to: str
    subject: str
    message_id: str
    wants_dispatched: bool

    @classmethod
    def about(cls, opened: OpenedMessage, recipient: str, *, subject: str | None = None) -> Reply:
        """For an opened message to `recipient`.

        The raw subject of mail to newuser holds question and answer, so that nothing of it is repeated:
        `subject` is the real one, where that may be known, else it is a neutral word.
        """
        if subject is None:
            subject = NEUTRAL_SUBJECT if addresses.is_newuser(recipient) else opened.subject
        target = notification_target(opened.fields) or opened.sender
        return cls(
            to=normalise(target.address),
            subject=subject,
            message_id=opened.message_id[:998],
            wants_dispatched=wants_dispatched(opened.fields),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# --- disposition notifications ----------------------------------------------------------------------------


def processed(mail: InboundMail, reply: Reply) -> OutboundMail | None:
    """Tell that `mail` was opened and its sender trusted; once a recipient's copy (RFC 8098)."""
    return _queue_mdn(mail, reply, "processed")


def dispatched(mail: InboundMail, reply: Reply) -> OutboundMail | None:
    """Tell that `mail` is where it should be, if its sender asked for that."""
    return _queue_mdn(mail, reply, "dispatched") if reply.wants_dispatched else None


def failed(mail: InboundMail, reply: Reply, code: str, sentence: str = "") -> OutboundMail | None:
    """Tell a trusted sender that `mail` cannot be delivered; `sentence` says why, without its content."""
    outcome = explain(code)
    return _queue_mdn(
        mail, reply, "failed", explanation=sentence or outcome.sender, error=outcome.told or code
    )


def delivered(mail: InboundMail, reply: Reply) -> None:
    """Processed and, if asked for, dispatched: for a message that was filed."""
    processed(mail, reply)
    dispatched(mail, reply)


def held(mail: InboundMail, reply: Reply) -> None:
    """Processed now; dispatched once the mail that announces the parcel was accepted by the relay."""
    processed(mail, reply)
    if reply.wants_dispatched:
        mail.reply = reply.to_json()
        mail.save(update_fields=["reply"])


def announced(parcel: Parcel) -> None:
    """The relay took the mail that announces `parcel`: whoever waits for that is told."""
    if parcel.inbound is None:
        return
    same = Q(
        recipient=parcel.inbound.recipient,
        from_address=parcel.inbound.from_address,
        original_message_id=parcel.inbound.original_message_id,
        events__code="same_parcel",
    )
    for mail in InboundMail.objects.filter(Q(pk=parcel.inbound_id) | same, reply__isnull=False).distinct():
        dispatched(mail, Reply(**(mail.reply or {})))
        InboundMail.objects.filter(pk=mail.pk).update(reply=None)


def _queue_mdn(
    mail: InboundMail, reply: Reply, disposition: Disposition, *, explanation: str = "", error: str = ""
) -> OutboundMail | None:
    if OutboundMail.objects.filter(
        inbound=mail, kind=OutboundMail.Kind.MDN, disposition=disposition
    ).exists():
        return None
    domain = mail.recipient.rpartition("@")[2]
    now = timezone.now()
    pk = new_id()
    try:
        content = build_mdn(
            disposition,
            recipient=mail.recipient,
            to=Mailbox("", reply.to),
            original=Original(reply.message_id, reply.subject),
            reporting_ua=f"{domain}; {PRODUCT}",
            date=now,
            message_id=f"{pk.hex}@{domain}",
            answers_request=reply.wants_dispatched,
            explanation=explanation,
            error=error,
        )
    except AgentError as problem:
        # An address that SMTP without extensions cannot carry: there is nobody to tell.
        log.warning("notification cannot be written", extra={"mail": mail.pk, "code": problem.code})
        return None
    queued = queue(
        OutboundMail(
            id=pk,
            kind=OutboundMail.Kind.MDN,
            disposition=disposition,
            inbound=mail,
            sender=mail.recipient,
            recipient=reply.to,
        ),
        content,
        now,
    )
    fault("mdn.queued")
    return queued


def queue(row: OutboundMail, content: bytes, now: datetime) -> OutboundMail:
    """Save `row` with the plain `content` that it will be sealed from, under a key of its own, and ring."""
    from .tasks import send_outbound

    row.domain = row.recipient.rpartition("@")[2]
    row.identifier = f"{row.pk.hex}@{row.sender.rpartition('@')[2]}"
    row.holder = HolderKey.create("mail")
    row.content = content.decode("ascii")
    row.queued = now
    row.expires = now + KEPT_TRYING
    row.save(force_insert=True)
    MailEvent.objects.create(outbound=row, name="queued")
    jobs.ring(send_outbound, str(row.pk))
    return row


# --- signed notices about parcels ---------------------------------------------------------------------------

_PARCEL_NEWS = {
    "claimed": ("Picked up", "Your message was picked up on {date}."),
    "week_left": (
        "Not picked up yet",
        "Your message has not been picked up. It is kept until {expires} and then erased.",
    ),
    "locked": (
        "Locked",
        "Too many wrong answers were given, so your message can no longer be opened. Please send it again, or"
        " reach the patient in another way.",
    ),
    "declined": (
        "Declined",
        "Whoever reads the contact address says that your message is not for them. It was erased. Please"
        " check the address.",
    ),
    "expired": ("Expired", "Your message was not picked up in time and was erased."),
    "contact_bounced": (
        "Contact address does not work",
        "The mail that announces your message came back from the contact address. Please check the address"
        " and send the message again.",
    ),
}


def about_parcel(parcel: Parcel, news: str) -> OutboundMail | None:
    """Tell the sender of a parcel by signed Direct message what became of it; None when there is no need.

    Only for mail that came by Direct, once for each kind of news. Names nobody: the sender knows.
    """
    inbound = parcel.inbound
    if news not in _PARCEL_NEWS or inbound is None or not parcel.from_address:
        return None
    if OutboundMail.objects.filter(parcel=parcel, kind=OutboundMail.Kind.NOTICE, disposition=news).exists():
        return None
    title, words = _PARCEL_NEWS[news]
    now = timezone.now()
    pk = new_id()
    sender = inbound.recipient
    text = words.format(date=f"{now:%d %B %Y}", expires=f"{parcel.expires:%d %B %Y}")
    try:
        content = build_message(
            sender=Mailbox(PRODUCT, sender),
            to=[Mailbox("", normalise(parcel.from_address))],
            subject=f"{title}: {NEUTRAL_SUBJECT} of {inbound.received:%d %B %Y}",
            date=now,
            message_id=f"{pk.hex}@{sender.rpartition('@')[2]}",
            text=f"{text}\n\nThis message was written by a machine; answers to it are not read.\n",
            in_reply_to=inbound.original_message_id,
        )
    except AgentError as problem:
        log.warning("notice cannot be written", extra={"parcel": parcel.pk, "code": problem.code})
        return None
    row = OutboundMail(
        id=pk,
        kind=OutboundMail.Kind.NOTICE,
        disposition=news,
        inbound=inbound,
        parcel=parcel,
        sender=sender,
        recipient=normalise(parcel.from_address),
    )
    return queue(row, content, now)


# --- to our own people --------------------------------------------------------------------------------------


def tell_person(message: Message, lost: Sequence[OutboundMail]) -> Message | None:
    """File a failure notification (RFC 3464) about `lost` copies of a sent message in its sender's record.

    Belongs to the transaction that decided their fate, so that each is told once. It never leaves us, which
    is why it is not sealed. None when there is nobody to tell.
    """
    record = message.record
    domain = message.from_address.rpartition("@")[2]
    now = timezone.now()
    failures = [_failure(mail) for mail in lost]
    subject = " ".join(message.subject.split()) or "(no subject)"
    identifier = f"<{new_id().hex}@{domain}>"
    data = build_dsn(
        failures,
        reporting_domain=domain,
        to=Mailbox("", message.from_address),
        original=Original(message.message_id, subject),
        date=now,
        message_id=identifier,
    )
    lines = [f"{each.recipient}\n{each.reason}" for each in failures]
    told = filing.file_message(
        record,
        IncomingMessage(
            from_address=f"postmaster@{domain}",
            organization_name=PRODUCT,
            to=(message.from_address,),
            message_id=identifier,
            subject=f"Not Delivered: {subject}",
            text="\n\n".join(["Your message could not be delivered to:", *lines]),
            sent=now,
            size=len(data),
            raw=str(store_blob(record.holder, data).pk),
        ),
    )
    _keep_in_ledger(identifier, f"postmaster@{domain}", message.from_address, len(data), now)
    notify.new_message(record, told)
    return told


def _keep_in_ledger(identifier: str, sender: str, recipient: str, size: int, now: datetime) -> None:
    """The row of a failure notification that was handed over here: mail like any other in the ledger."""
    recipient = normalise(recipient)
    row = OutboundMail.objects.create(
        kind=OutboundMail.Kind.DSN,
        sender=sender,
        recipient=recipient,
        domain=recipient.rpartition("@")[2],
        identifier=identifier.strip("<>"),
        size=size,
        state=OutboundMail.State.SENT,
        queued=now,
        expires=now,
        sent=now,
        finished=now,
    )
    MailEvent.objects.create(outbound=row, name="local")


def _failure(mail: OutboundMail) -> Failure:
    from .transport import status_of

    outcome = explain(mail.code)
    status = status_of(mail.detail, outcome.status)
    # A reply of a server we gave up on may say "later"; what we tell is final.
    final = f"5{status[1:]}" if status[0] == "4" and mail.state == mail.State.FAILED else status
    return Failure(mail.recipient, final if final[0] in "45" else outcome.status, outcome.person)
