"""Parcels: messages held for people who have no account yet or must answer a question first.

Holding, announcing, expiring and withdrawing stand here; opening and claiming in `pickup`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store.blobs import store_blob
from healthvault.store.models import Blob, HolderKey
from records.intake import IncomingMessage
from records.proofs import mailbox_hash
from trust import context as trust_context
from trust.models import Organization

from . import addresses, limits, notices, notify
from .models import DirectAddress, InboundMail, MailEvent, Parcel
from .newuser import BadSubject, NewUserSubject, normalise_answer, parse_subject

if TYPE_CHECKING:
    from .agent import incoming

REMINDER_DAYS = (3, 14, 26)
MOST_OPEN_PER_CONTACT = 20
#: Why trusted mail to newuser is refused.
REFUSED_HERE = ("bad_subject", "too_many_parcels", "unknown_recipient")
#: The kind of a parcel's holder key.
HOLDER = "parcel"
#: What was stored for a parcel that was never made, because the process died, is shredded after this.
DRAFT_LIFE = timedelta(hours=24)


class TooManyParcels(Exception):
    """The contact address has as many open parcels as one address may have."""

    code = "too_many_parcels"


class SameParcel(Exception):
    """The very message waits for its contact address already."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a parcel is made from, besides its content.

    `answer` is the sender's, not yet normalised; question and answer come as a pair or not at all.
    """

    contact_email: str
    question: str | None
    answer: str | None
    organization: Organization | None
    organization_name: str
    from_address: str = ""
    source: str = Parcel.Source.DIRECT
    for_record_id: str | None = None


def hash_token(token: str) -> str:
    """How a link token is kept."""
    return hashlib.sha256(token.encode()).hexdigest()


# --- from Direct mail -----------------------------------------------------------------------------------


def receive(mail: InboundMail, opened: incoming.OpenedMessage, organization_name: str) -> str:
    """Deliver trusted mail to newuser: hold it, or file it when the contact is a plain address of ours.

    Raises `receive.Refused` with `bad_subject` or `unknown_recipient`.
    """
    from .receive import Refused, file_in_record

    try:
        wanted = parse_subject(opened.subject)
    except BadSubject as error:
        raise Refused(
            "bad_subject", f"The subject line breaks a rule: {error.rule}.", sentence=error.detail
        ) from error
    domain = wanted.email.rpartition("@")[2]
    offer = Offer(
        contact_email=wanted.email,
        question=wanted.question,
        answer=wanted.answer,
        organization=mail.organization,
        organization_name=organization_name,
        from_address=opened.from_address,
    )
    if trust_context.is_hosted(domain):
        address = _own_address(wanted)
        if wanted.question is None:
            return file_in_record(mail, opened, address, organization_name, subject=wanted.subject)
        offer = replace(offer, for_record_id=str(address.record_id))
    elif trust_context.is_direct_domain(domain):
        told = "The contact is a Direct address of another provider; write to it directly."
        raise Refused("bad_subject", told, sentence=told)
    if _already_waiting(mail, opened, offer):
        return _finish_as_same(mail, notices.Reply.about(opened, mail.recipient))
    try:
        return _hold_mail(mail, opened, offer, wanted)
    except TooManyParcels as error:
        raise Refused(error.code, "The contact address has too many open parcels.") from error


def _own_address(wanted: NewUserSubject) -> DirectAddress:
    from .receive import Refused

    local = wanted.email.rpartition("@")[0].lower()
    if local.partition("+")[0] in addresses.RESERVED:
        raise Refused("bad_subject", "The contact is one of our own reserved addresses.")
    address = addresses.find(wanted.email.lower())
    if address is None or address.record_id is None or address.state != DirectAddress.State.ACTIVE:
        raise Refused("unknown_recipient")
    return address


def _already_waiting(mail: InboundMail, opened: incoming.OpenedMessage, offer: Offer) -> bool:
    """Whether the sender sent this very message (same Message-ID) for this contact before."""
    return (
        bool(opened.message_id)
        and Parcel.objects.filter(
            state=Parcel.State.WAITING,
            contact_hash=mailbox_hash(offer.contact_email),
            from_address=opened.from_address,
            inbound__original_message_id=opened.message_id[:998],
        )
        .exclude(inbound=mail)
        .exists()
    )


def _finish_as_same(mail: InboundMail, reply: notices.Reply) -> str:
    """End a copy whose message waits already; its bytes, with question and answer, are not kept twice."""
    from .receive import finish

    with transaction.atomic():
        finish(mail, InboundMail.State.PARCELLED, "same_parcel")
        notices.held(mail, reply)
        _shred_bytes(mail)
    return InboundMail.State.PARCELLED


def _shred_bytes(mail: InboundMail) -> None:
    holder = mail.holder
    InboundMail.objects.filter(pk=mail.pk).update(raw=None, holder=None)
    mail.raw = mail.holder = None
    if holder is not None:
        holder.delete()


def shred_refused() -> int:
    """Shred the bytes of mail to newuser that was refused as long ago as a parcel is kept.

    They hold a question and its answer, under nothing but the keyring. The row stays. Returns how many.
    """
    over = InboundMail.objects.filter(
        state=InboundMail.State.REFUSED,
        code__in=REFUSED_HERE,
        recipient__startswith=addresses.NEWUSER,
        finished__lte=timezone.now() - timedelta(days=settings.PARCEL_DAYS),
        raw__isnull=False,
    )
    shredded = 0
    for pk in list(over.values_list("pk", flat=True)[:500]):
        with transaction.atomic():
            mail = over.select_for_update().filter(pk=pk).first()
            if mail is not None and addresses.is_newuser(mail.recipient):
                _shred_bytes(mail)
                trail.record("mail.shredded", subject=mail.pk)
                shredded += 1
    return shredded


def _hold_mail(
    mail: InboundMail, opened: incoming.OpenedMessage, offer: Offer, wanted: NewUserSubject
) -> str:
    from .receive import finish, take_over_raw, to_incoming

    def build(holder: HolderKey) -> IncomingMessage:
        return to_incoming(mail, opened, holder, offer.organization_name, subject=wanted.subject)

    # With a question the real subject is for whoever answers it; nothing else may keep it.
    subject = wanted.subject if wanted.question is None else None
    reply = notices.Reply.about(opened, mail.recipient, subject=subject)

    def close(parcel: Parcel) -> None:
        if _already_waiting(mail, opened, offer):
            # Another worker held the other copy since we looked; this transaction now sees it.
            raise SameParcel
        assert parcel.holder is not None
        take_over_raw(mail, parcel.holder)
        finish(mail, InboundMail.State.PARCELLED)
        if parcel.for_record_id:
            # It waits in the record of a known person: it is where it should be.
            notices.delivered(mail, reply)
        else:
            notices.held(mail, reply)

    try:
        hold(offer, build, inbound=mail, close=close)
    except SameParcel:
        return _finish_as_same(mail, reply)
    return InboundMail.State.PARCELLED


# --- holding --------------------------------------------------------------------------------------------


def hold(
    offer: Offer,
    build: Callable[[HolderKey], IncomingMessage],
    *,
    inbound: InboundMail | None = None,
    close: Callable[[Parcel], None] | None = None,
) -> Parcel:
    """Make a parcel: `build` stores the content under the parcel's holder key and describes it.

    Deriving the key, sealing and unpacking take their time before any transaction. The parcel, its
    announcing mail and `close` (which ends the incoming mail's row) are then one short transaction;
    when it does not come to that, what was stored is shredded. Raises `TooManyParcels`.
    """
    contact_hash = mailbox_hash(offer.contact_email)
    require_room(contact_hash)
    answer = normalise_answer(offer.answer) if offer.answer is not None else None
    holder = HolderKey.prepare(HOLDER, answer=answer)
    holder.save(force_insert=True)
    try:
        content = build(holder)
        sealed = store_blob(holder, json.dumps(content.to_json()).encode())
        return _hold_stored(offer, contact_hash, holder, content, sealed, inbound, close)
    except BaseException:
        _drafts().filter(pk=holder.pk).delete()
        raise


def _drafts() -> QuerySet[HolderKey]:
    """Keys of parcels that are not made, yet or ever."""
    return HolderKey.objects.filter(~Exists(Parcel.objects.filter(holder=OuterRef("pk"))), kind=HOLDER)


def require_room(contact_hash: str, *, besides: Parcel | None = None) -> None:
    """Raise TooManyParcels when as many as allowed wait for a contact address, `besides` this one."""
    open_now = Parcel.objects.filter(contact_hash=contact_hash, state=Parcel.State.WAITING)
    if besides is not None:
        open_now = open_now.exclude(pk=besides.pk)
    if open_now.count() >= MOST_OPEN_PER_CONTACT:
        raise TooManyParcels


def _hold_stored(
    offer: Offer,
    contact_hash: str,
    holder: HolderKey,
    content: IncomingMessage,
    sealed: Blob,
    inbound: InboundMail | None,
    close: Callable[[Parcel], None] | None,
) -> Parcel:
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        limits.one_at_a_time(limits.contact(contact_hash))
        require_room(contact_hash)
        parcel = Parcel.objects.create(
            source=offer.source,
            inbound=inbound,
            organization=offer.organization,
            organization_name=offer.organization_name,
            from_address=offer.from_address,
            holder=holder,
            content=sealed,
            contact_email=offer.contact_email,
            contact_hash=contact_hash,
            question=offer.question,
            wrong_answers={},
            tries_left=settings.ANSWER_TRIES,
            attachments=len(content.parts),
            size=sum(part.size for part in content.parts) + len(content.text),
            token_hash=hash_token(token),
            expires=timezone.now() + timedelta(days=settings.PARCEL_DAYS),
            for_record_id=offer.for_record_id,
        )
        event(parcel, "parcelled")
        if parcel.for_record_id:
            notify.parcel_for_record(parcel)
        else:
            notify.parcel_waiting(parcel, token)
        if close is not None:
            close(parcel)
        trail.record("parcel.held", subject=parcel.pk)
    return parcel


def event(parcel: Parcel, name: str, code: str = "") -> MailEvent:
    """One line in the ledger of a parcel (and of the mail it came from); its sender is told where due."""
    line = MailEvent.objects.create(parcel=parcel, inbound=parcel.inbound, name=name, code=code)
    notices.about_parcel(parcel, name)
    return line


# --- what happens to a parcel that is not claimed ---------------------------------------------------------


def on_notification(related_id: str, state: str, code: str) -> None:
    """Told by the outbox what became of a pickup mail, in the transaction of that change."""
    parcel = Parcel.objects.filter(pk=related_id).select_related("inbound").first()
    if parcel is None:
        return
    if state == "sent":
        if Parcel.objects.filter(pk=parcel.pk, notified__isnull=True).update(notified=timezone.now()):
            event(parcel, "notified")
            notices.announced(parcel)
    else:
        Parcel.objects.filter(pk=parcel.pk).update(bounced=timezone.now())
        event(parcel, "contact_bounced", code)


def new_link(parcel: Parcel, *, template: str = "parcel") -> None:
    """Mail a new link to the parcel's contact address; links sent before stop working."""
    with transaction.atomic():
        waiting = Parcel.objects.select_for_update().filter(pk=parcel.pk, state=Parcel.State.WAITING)
        if waiting.first() is not None:
            notify.parcel_waiting(parcel, renew_token(parcel), template=template)


def renew_token(parcel: Parcel) -> str:
    """A new token for the link of a waiting parcel; mails with older ones that did not go out are dropped."""
    token = secrets.token_urlsafe(32)
    parcel.token_hash = hash_token(token)
    Parcel.objects.filter(pk=parcel.pk).update(token_hash=parcel.token_hash)
    drop_mails(parcel)
    return token


def drop_mails(parcel: Parcel) -> None:
    """Take back mails that did not go out: the links to `parcel` in them are dead."""
    from . import find

    notify.cancel_mails(parcel)
    find.take_back(parcel)


def close(parcel: Parcel, state: str, *, from_states: tuple[str, ...] = (Parcel.State.WAITING,)) -> bool:
    """End a parcel without a claim: its content is shredded, date and sender stay.

    Returns False when it was in none of `from_states` any more.
    """
    with transaction.atomic():
        moved = Parcel.objects.filter(pk=parcel.pk, state__in=from_states).update(
            state=state, decided=timezone.now(), token_hash=None, content=None, holder=None
        )
        if not moved:
            return False
        event(parcel, state)
        erase_secrets(parcel)
        drop_mails(parcel)
        if parcel.holder_id:
            HolderKey.objects.filter(pk=parcel.holder_id).delete()
        trail.record(f"parcel.{state}", subject=parcel.pk)
    return True


def erase_secrets(parcel: Parcel) -> None:
    """Forget question and wrong answers of a parcel that is over."""
    Parcel.objects.filter(pk=parcel.pk).update(question=None, wrong_answers=None)


def expire() -> int:
    """Shred every parcel whose last day has passed; returns how many."""
    over = Parcel.objects.filter(
        state__in=[Parcel.State.WAITING, Parcel.State.LOCKED], expires__lte=timezone.now()
    ).select_related("inbound")
    open_states = (Parcel.State.WAITING, Parcel.State.LOCKED)
    return sum(close(parcel, Parcel.State.EXPIRED, from_states=open_states) for parcel in over[:500])


def shred_drafts() -> int:
    """Shred what was stored for parcels that were never made; returns for how many."""
    old = _drafts().filter(created__lte=timezone.now() - DRAFT_LIFE)
    keys = list(old.values_list("pk", flat=True)[:500])
    for key in keys:
        _drafts().filter(pk=key).delete()
    return len(keys)


def remind() -> int:
    """Mail a reminder with a new link on the reminder days; returns how many were queued."""
    from . import standing

    reminded = 0
    today = timezone.now()
    for day in REMINDER_DAYS:
        due = Parcel.objects.filter(
            state=Parcel.State.WAITING,
            for_record__isnull=True,
            bounced__isnull=True,
            created__lte=today - timedelta(days=day),
            created__gt=today - timedelta(days=day + 1),
        ).select_related("inbound", "organization")
        for parcel in standing.offered(due[:500]):
            reminded += _remind_once(parcel, f"reminded_{day}")
    _tell_of_last_week(today)
    return reminded


def _remind_once(parcel: Parcel, name: str) -> bool:
    """The event and the new link, both or none."""
    with transaction.atomic():
        row = Parcel.objects.select_for_update(of=("self",)).select_related("inbound").get(pk=parcel.pk)
        if row.state_now != Parcel.State.WAITING or row.events.filter(name=name).exists():
            return False
        event(row, name)
        new_link(row, template="parcel_reminder")
    return True


def _tell_of_last_week(now: datetime) -> None:
    """Tell senders that 7 days are left and nobody has come."""
    last_week = Parcel.objects.filter(
        state=Parcel.State.WAITING, expires__lte=now + timedelta(days=7), expires__gt=now
    ).exclude(events__name="week_left")
    for parcel in last_week.select_related("inbound")[:500]:
        with transaction.atomic():
            event(parcel, "week_left")
