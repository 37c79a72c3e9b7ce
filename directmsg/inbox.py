"""The one door for incoming mail: raw bytes and envelope become committed rows, one a recipient.

A caller may say 250 for a recipient when, and only when, its row came back from here: the bytes,
the envelope and the job are then one durable transaction (blob files are fsynced before it).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError, close_old_connections, transaction

from healthvault.store import jobs
from healthvault.store.blobs import store_blob
from healthvault.store.faults import fault
from healthvault.store.models import Blob, HolderKey
from trust import context as trust_context

from .agent.address import normalise
from .models import InboundMail, MailEvent
from .smtp_words import NO_SPACE, Envelope, MailProtocol, Reply
from .tasks import process_inbound

log = logging.getLogger(__name__)

OK = Reply(250, "2.0.0 OK")
TRY_AGAIN = Reply(451, "4.3.0 Cannot store the message now, try again later")
NOT_HOSTED = Reply(550, "5.7.1 This domain is not hosted here")
NOT_FROM_OUTSIDE = Reply(550, "5.7.1 Mail from this domain does not come in here")

#: What stays free on the disk (and twice the largest message): mail is refused for the moment before that.
LEAST_FREE = max(1024**3, 2 * settings.MAX_MESSAGE_SIZE)


@dataclass(frozen=True, slots=True)
class Copy:
    """One recipient's copy of a message that came in."""

    data: bytes
    sha256: str
    mail_from: str
    recipient: str
    protocol: str
    peer: str


def accept(
    data: bytes, mail_from: str, recipients: list[str], *, protocol: str, peer: str = ""
) -> dict[str, InboundMail]:
    """Store one copy per recipient and ring for the worker; returns the rows by recipient as given.

    The same bytes for the same recipient and sender are one row: a finished one stays as it is, a
    refused or stuck one is processed again. Raises what the database or the disk raises; then no
    recipient of this call may be told 250.
    """
    digest = hashlib.sha256(data).hexdigest()
    sender = normalise(mail_from) if mail_from else ""
    return {
        recipient: _accept_copy(Copy(data, digest, sender, normalise(recipient), protocol, peer))
        for recipient in recipients
    }


def _accept_copy(copy: Copy) -> InboundMail:
    for last_try in (False, True):
        try:
            with transaction.atomic():
                mail = _seen_before(copy) or _store(copy)
                fault("smtp.precommit")
            fault("smtp.postcommit")
            return mail
        except IntegrityError:
            # Another connection stored the same copy between our look and our insert.
            if last_try:
                raise
    raise AssertionError("unreachable")


def _seen_before(copy: Copy) -> InboundMail | None:
    mail = (
        InboundMail.objects.select_for_update()
        .filter(sha256=copy.sha256, recipient=copy.recipient, mail_from=copy.mail_from)
        .first()
    )
    if mail is not None and mail.state in InboundMail.AGAIN:
        if mail.raw_id is None:
            # Its bytes were shredded after some weeks, and here they are again.
            mail.holder, mail.raw = _store_bytes(copy)
            mail.save(update_fields=["holder", "raw"])
        process_again(mail, "resent")
    return mail


def _store_bytes(copy: Copy) -> tuple[HolderKey, Blob]:
    holder = HolderKey.create("mail")
    return holder, store_blob(holder, copy.data)


def _store(copy: Copy) -> InboundMail:
    holder, raw = _store_bytes(copy)
    mail = InboundMail.objects.create(
        sha256=copy.sha256,
        recipient=copy.recipient,
        mail_from=copy.mail_from,
        protocol=copy.protocol,
        peer=copy.peer,
        size=len(copy.data),
        holder=holder,
        raw=raw,
    )
    MailEvent.objects.create(inbound=mail, name="received")
    jobs.ring(process_inbound, str(mail.pk))
    return mail


def process_again(mail: InboundMail, event: str) -> bool:
    """Put a refused or stuck mail back into the queue; returns whether it was one.

    One whose bytes were shredded by age stays as it is, until the sender sends them again.
    """
    with transaction.atomic():
        again = InboundMail.objects.filter(pk=mail.pk, state__in=list(InboundMail.AGAIN), raw__isnull=False)
        if not again.update(
            state=InboundMail.State.RECEIVED, code="", detail="", tries=0, lease_until=None, finished=None
        ):
            return False
        MailEvent.objects.create(inbound=mail, name=event)
        jobs.ring(process_inbound, str(mail.pk))
    return True


# --- what the listener asks -------------------------------------------------------------------------------


def accept_envelope(envelope: Envelope) -> list[Reply]:
    """Store an envelope of the listener; one reply per recipient, in their order.

    One copy that cannot be stored does not stop the others: over LMTP each has its own reply, and over
    SMTP, where the one reply is then 451, those stored are recognised when the client sends again.
    Each recipient has a copy of its own, so one message may take a hundred times its size: without room for
    all of them none is stored.
    """
    close_old_connections()
    replies: list[Reply] = []
    data = envelope.data.read_all()
    if not _has_room(len(data) * len(envelope.rcpt_tos)):
        log.warning("no room for mail", extra={"size": len(data), "code": "no_space"})
        return [NO_SPACE] * len(envelope.rcpt_tos)
    try:
        for recipient in envelope.rcpt_tos:
            try:
                accept(data, envelope.mail_from, [recipient], protocol=envelope.protocol, peer=envelope.peer)
                replies.append(OK)
            except Exception:
                log.exception("mail could not be stored", extra={"size": len(data)})
                replies.append(TRY_AGAIN)
    finally:
        close_old_connections()
    return replies


def _has_room(size: int) -> bool:
    return shutil.disk_usage(settings.DATA_DIR).free - size >= LEAST_FREE


def check_recipient(address: str) -> Reply | None:
    """Refuse a recipient whose domain is not hosted; mailboxes are not judged here."""
    domain = address.rpartition("@")[2]
    return None if trust_context.is_hosted(domain) else NOT_HOSTED


def check_sender(mail_from: str, protocol: MailProtocol) -> Reply | None:
    """Over SMTP nobody outside sends in the name of our domains; over LMTP the front MTA has judged."""
    if protocol == "lmtp" or not mail_from:
        return None
    domain = mail_from.rpartition("@")[2]
    return NOT_FROM_OUTSIDE if trust_context.is_hosted(domain) else None


def repairs_bare_newlines(peer: str, mail_from: str, rcpt_tos: tuple[str, ...]) -> bool:
    """Whether lone CR and LF are made CRLF: every recipient's domain tolerates senders that need it."""
    close_old_connections()
    try:
        domains = {recipient.rpartition("@")[2].lower() for recipient in rcpt_tos}
        return all("bare_newline" in trust_context.ensure_domain(name).tolerances for name in domains)
    finally:
        close_old_connections()
