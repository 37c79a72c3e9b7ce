"""What became of mail we sent: news from the other side, and silence.

One copy has one final outcome. Only the recipient's own signature (or one for the recipient's domain) moves
it, each move is one conditional UPDATE, and what comes after the final one is written down and changes
nothing. So repeated, late, early and contradicting notifications end alike whatever the order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store import jobs

from . import notices
from .agent.address import normalise, same, without_tag
from .agent.notifications import DsnRecipient
from .models import InboundMail, MailEvent, OutboundMail
from .tasks import send_outbound

if TYPE_CHECKING:
    from .agent.incoming import OpenedMessage

log = logging.getLogger(__name__)
State = OutboundMail.State

#: From which states each piece of news moves a copy. Early ones are moved too: a notification may arrive
#: before we wrote down that the mail was taken.
_MOVES = {
    State.PROCESSED: frozenset({State.QUEUED, State.SENDING, State.SENT}),
    State.DISPATCHED: OutboundMail.OPEN,
    State.DISPLAYED: OutboundMail.OPEN | {State.DISPATCHED},
    State.FAILED: OutboundMail.OPEN,
}
_BATCH = 500
#: The notification that comes before all others about the same copy.
_FIRST = "processed"


@dataclass(frozen=True, slots=True)
class News:
    """One thing that a notification says about one recipient.

    `name` is the event; `state` the state it leads to, or None when it decides nothing. `recipients` are the
    addresses it may mean, the likeliest first; `detail` is for operators.
    """

    name: str
    state: str | None
    recipients: tuple[str, ...]
    detail: str = ""


# --- news from the other side -------------------------------------------------------------------------------


def record(mail: InboundMail, opened: OpenedMessage) -> int:
    """Take down what an accepted MDN or DSN says; returns how many copies of ours it spoke of.

    Call it in the transaction that closes `mail`. Correlation and tolerances follow the Implementation Guide
    for Delivery Notification in Direct: Original-Message-ID, else In-Reply-To; Final-Recipient, else the
    address that signed.
    """
    news = _news_of(opened)
    copies = _copies(mail, opened)
    believed = [copy for copy in copies if _may_speak_for(opened, copy)]
    told = 0
    for each in news:
        copy = _meant(each, copies, believed, opened)
        if copy is not None:
            apply(copy, each)
            told += 1
    if not told:
        code = "not_believed" if copies else "unmatched"
        MailEvent.objects.create(inbound=mail, name="notification_ignored", code=code)
        log.info("notification ignored", extra={"mail": mail.pk, "code": code})
    return told


def apply(copy: OutboundMail, news: News) -> str:
    """Move `copy` by `news` if that is still open; returns its state afterwards.

    News that moves nothing is written down as `late_…`, or under its own name when it decides nothing.
    """
    with transaction.atomic():
        moved = news.state is not None and _move(copy, news)
        name = news.name if moved or news.state is None else f"late_{news.name}"
        MailEvent.objects.create(outbound=copy, name=name[:30])
        if moved and copy.state == State.FAILED:
            _tell([copy])
    return copy.state


def _move(copy: OutboundMail, news: News) -> bool:
    assert news.state is not None
    now = timezone.now()
    target = State(news.state)
    values: dict[str, Any] = {"state": target, "code": "", "lease_until": None}
    if target == State.FAILED:
        values.update(code="reported_failed", detail=news.detail[:500])
    if target != State.PROCESSED:
        values["finished"] = now
    movable = OutboundMail.objects.filter(pk=copy.pk, state__in=list(_MOVES[target]))
    moved = movable.update(**values) == 1
    copy.refresh_from_db(fields=["state", "code", "detail", "finished"])
    if moved:
        trail.record(f"outbound.{target}", subject=copy.pk, outcome=copy.code or "ok")
    return moved


def _news_of(opened: OpenedMessage) -> list[News]:
    if opened.mdn is not None:
        mdn = opened.mdn
        recipients = tuple(filter(None, (mdn.final_recipient, mdn.original_recipient)))
        detail = mdn.error or mdn.failure
        return [_from_disposition(mdn.outcome, recipients, detail, timely=mdn.has_extension)]
    if opened.dsn is not None:
        return [_from_action(each) for each in opened.dsn.recipients or (opened.dsn.first,)]
    return []


def _from_disposition(outcome: str, recipients: tuple[str, ...], detail: str, *, timely: bool) -> News:
    if outcome == "dispatched" and not timely:
        # We ask for delivery to be confirmed; without the field that answers this it is no such answer.
        return News("dispatched_unasked", State.PROCESSED, recipients)
    if outcome == "deleted":
        return News("deleted", None, recipients)
    states = {
        "processed": State.PROCESSED,
        "dispatched": State.DISPATCHED,
        "displayed": State.DISPLAYED,
        "failed": State.FAILED,
    }
    return News(outcome if outcome in states else "notified", states.get(outcome), recipients, detail)


def _from_action(group: DsnRecipient) -> News:
    """A delivery status (RFC 3464 section 2.3.3); where Action is missing, Status decides, else it failed."""
    recipients = tuple(filter(None, (group.final_recipient, group.original_recipient)))
    action = group.action or {"2": "delivered", "4": "delayed"}.get(group.status[:1], "failed")
    detail = " ".join(filter(None, (group.status, group.diagnostic)))
    if action == "failed":
        return News("failed", State.FAILED, recipients, detail)
    known = action in ("delayed", "delivered", "relayed", "expanded")
    return News(action if known else "notified", None, recipients, detail)


def _copies(mail: InboundMail, opened: OpenedMessage) -> list[OutboundMail]:
    """Our copies of the message that a notification to `mail.recipient` names."""
    given = opened.mdn.original_message_id if opened.mdn else ""
    given = given or (opened.dsn.original_message_id if opened.dsn else "")
    identifier = " ".join(given.split()).removeprefix("<").removesuffix(">").strip()
    if not identifier:
        return []
    senders = {mail.recipient, without_tag(mail.recipient)}
    kinds = [OutboundMail.Kind.MESSAGE, OutboundMail.Kind.NOTICE]
    rows = OutboundMail.objects.filter(identifier=identifier[:998], sender__in=senders, kind__in=kinds)
    return list(rows.select_related("message__record__holder"))


def _meant(
    news: News, copies: Sequence[OutboundMail], believed: Sequence[OutboundMail], opened: OpenedMessage
) -> OutboundMail | None:
    """The copy that `news` is about: by the recipients it names, else by who signed it."""
    for address in news.recipients:
        named = next((copy for copy in copies if _same_mailbox(copy.recipient, address)), None)
        if named is not None:
            return named if named in believed else None
    signer = next((copy for copy in believed if _same_mailbox(copy.recipient, opened.from_address)), None)
    return signer or (believed[0] if len(believed) == 1 else None)


def _may_speak_for(opened: OpenedMessage, copy: OutboundMail) -> bool:
    """Whether the signed sender is the recipient, or holds a certificate for the recipient's domain."""
    if _same_mailbox(opened.from_address, copy.recipient):
        return True
    domain = normalise(opened.from_address).rpartition("@")[2]
    if domain != copy.domain:
        return False
    names = [name.lower() for signer in opened.signers if signer.accepted for name in signer.names]
    return domain in names


def _same_mailbox(one: str, other: str) -> bool:
    return same(without_tag(one), without_tag(other))


# --- the ends that we decide ------------------------------------------------------------------------------


def lose(copies: Iterable[tuple[OutboundMail, str, str]]) -> list[OutboundMail]:
    """End claimed or waiting copies without delivery: (copy, code, detail); returns those that were open.

    One transaction; their sender, if a person, gets one failure notification for all of them.
    """
    lost = []
    with transaction.atomic():
        for copy, code, detail in copies:
            if _end(copy, State.FAILED, code, detail, Q(tries=copy.tries, state__in=["queued", "sending"])):
                lost.append(copy)
        _tell(lost)
    return lost


def expire(at: datetime | None = None) -> int:
    """End every copy whose time is over at `at` (default: now); returns how many.

    A person's message that is not confirmed by then has timed out and is tried no more. Of everything else
    only tries end: it needs no confirmation.
    """
    now = at or timezone.now()
    late = (
        OutboundMail.objects.filter(expires__lte=now)
        .filter(
            Q(kind=OutboundMail.Kind.MESSAGE, state__in=list(OutboundMail.OPEN))
            | Q(state=State.QUEUED) & ~Q(kind=OutboundMail.Kind.MESSAGE)
        )
        .order_by("identifier", "pk")
        .select_related("message__record__holder")[:_BATCH]
    )
    ended = 0
    for _, copies in groupby(late, key=lambda copy: copy.identifier):
        with transaction.atomic():
            timed_out = [copy for copy in copies if _time_out(copy)]
            _tell(timed_out)
        ended += len(timed_out)
    return ended


_SILENCE = {State.SENT: "not_processed", State.PROCESSED: "not_dispatched"}


def _time_out(copy: OutboundMail) -> bool:
    state = State(copy.state)
    if copy.is_personal:
        return _end(copy, State.TIMED_OUT, _SILENCE.get(state, "not_sent"), copy.detail, Q(state=state))
    return _end(copy, State.FAILED, "too_long_queued", copy.detail, Q(state=state))


def _end(copy: OutboundMail, state: str, code: str, detail: str, held: Q) -> bool:
    ended = OutboundMail.objects.filter(held, pk=copy.pk).update(
        state=state, code=code[:40], detail=detail[:500], lease_until=None, finished=timezone.now()
    )
    if not ended:
        return False
    copy.state, copy.code, copy.detail = state, code[:40], detail[:500]
    MailEvent.objects.create(outbound=copy, name=state, code=copy.code)
    trail.record(f"outbound.{state}", subject=copy.pk, outcome=copy.code)
    if not copy.is_personal:
        close(copy)
    log.info("outbound mail lost", extra={"mail": copy.pk, "state": state, "code": copy.code})
    return True


def close(copy: OutboundMail) -> None:
    """What follows, in its transaction, on the end of a notification or notice: sent or given up.

    What it was made of is erased, and the notification that had to wait for this one has its turn.
    """
    _forget_content(copy)
    for pk in _behind(copy).values_list("pk", flat=True):
        OutboundMail.objects.filter(pk=pk).update(lease_until=None)
        jobs.ring(send_outbound, str(pk))


def _forget_content(copy: OutboundMail) -> None:
    holder = copy.holder
    OutboundMail.objects.filter(pk=copy.pk).update(content=None, sealed=None, holder=None)
    copy.content = copy.sealed = copy.holder = None
    if holder is not None:
        holder.delete()


# --- the order of our own notifications -------------------------------------------------------------------

#: How long a notification at least waits before it asks again whether its turn has come; it is rung for too.
_TURN = timedelta(minutes=1)


def is_too_early(pk: str) -> bool:
    """Whether the notification `pk` must wait: one about the same copy comes before it and is not out yet.

    A sender reads `processed` as the first word about its message, and may count a later one of it as an
    error. Call it in the transaction that claims the row: whoever ends the earlier one afterwards waits for
    it, and then sets the later one free.
    """
    copy = OutboundMail.objects.filter(pk=pk, kind=OutboundMail.Kind.MDN).first()
    if copy is None or copy.disposition == _FIRST:
        return False
    before = (
        OutboundMail.objects.select_for_update()
        .filter(inbound=copy.inbound_id, kind=OutboundMail.Kind.MDN, disposition=_FIRST)
        .filter(state__in=[State.QUEUED, State.SENDING])
        .first()
    )
    if before is None:
        return False
    until = max(before.lease_until or timezone.now(), timezone.now() + _TURN)
    # So that a partner out of reach does not fill the sweep with rows that cannot go.
    OutboundMail.objects.filter(pk=pk, state=State.QUEUED).update(lease_until=until)
    return True


def _behind(copy: OutboundMail) -> QuerySet[OutboundMail]:
    if copy.kind != OutboundMail.Kind.MDN or copy.disposition != _FIRST:
        return OutboundMail.objects.none()
    same = OutboundMail.objects.filter(inbound=copy.inbound_id, kind=OutboundMail.Kind.MDN)
    return same.filter(state=State.QUEUED).exclude(pk=copy.pk)


def _tell(lost: Sequence[OutboundMail]) -> None:
    personal = [copy for copy in lost if copy.is_personal and copy.message is not None]
    if personal:
        assert personal[0].message is not None
        notices.tell_person(personal[0].message, personal)
