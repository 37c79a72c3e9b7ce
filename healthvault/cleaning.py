"""What is deleted by age, once a day: rows that served their purpose and tell about people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from allauth.idp.oidc.models import Token
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.utils import timezone

from directmsg.models import AnswerAttempt, InboundMail, MailEvent, PartnerRequest, PickupCode
from healthvault.audit import trail
from healthvault.store.models import HolderKey

#: The longest limit that counts wrong answers or codes looks back one day.
ATTEMPTS_KEPT = timedelta(days=2)
REQUESTS_KEPT = timedelta(days=30)
#: How long an administrator can look into (and process again) mail of a sender who was never trusted.
REFUSED_KEPT = timedelta(days=30)
AT_ONCE = 200


def sweep(now: datetime | None = None) -> dict[str, int]:
    """Delete what is old at `now`; returns how many rows of each kind."""
    now = now or timezone.now()
    return {name: delete(now) for name, delete in _KINDS.items()}


def _sessions(now: datetime) -> int:
    gone = _delete(Session.objects.filter(expire_date__lt=now))
    # The list of a person's sessions tells their addresses and browsers; it follows the sessions.
    _delete(UserSession.objects.exclude(session_key__in=Session.objects.values("session_key")))
    return gone


def _refused(now: datetime) -> int:
    """Shred refused mail whose sender no organisation answers for; its row and events stay.

    That of trusted senders stays for longer, so that it can be processed again once the fault is mended.
    """
    old = InboundMail.objects.filter(
        state=InboundMail.State.REFUSED,
        organization=None,
        holder__isnull=False,
        finished__lt=now - REFUSED_KEPT,
    )
    count = 0
    for mail in old.order_by("pk")[:AT_ONCE].iterator():
        with transaction.atomic():
            # Only as long as nobody has it processed again: then its bytes are needed.
            held = InboundMail.objects.filter(pk=mail.pk, state=InboundMail.State.REFUSED)
            if held.update(raw=None, holder=None):
                # Its key, and by that its content, in backups too.
                HolderKey.objects.filter(pk__in=[mail.holder_id]).delete()
                MailEvent.objects.create(inbound=mail, name="shredded")
                trail.record("mail.shredded", subject=mail.pk)
                count += 1
    return count


def _delete(rows: models.QuerySet[models.Model]) -> int:
    return rows.delete()[0]


_KINDS: dict[str, Callable[[datetime], int]] = {
    "sessions": _sessions,
    "attempts": lambda now: _delete(AnswerAttempt.objects.filter(created__lt=now - ATTEMPTS_KEPT)),
    "codes": lambda now: _delete(PickupCode.objects.filter(created__lt=now - ATTEMPTS_KEPT)),
    "requests": lambda now: _delete(PartnerRequest.objects.filter(created__lt=now - REQUESTS_KEPT)),
    "tokens": lambda now: _delete(Token.objects.filter(expires_at__lt=now)),
    "refused mail": _refused,
}
