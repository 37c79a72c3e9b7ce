"""Telling administrators by mail, while there is time, what ends: certificates of ours, partners' anchors.

Certificates of our own authority are renewed before the first of these mails would go; one that is told of
was not, or is another authority's to renew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from healthvault.outbox.letters import absolute, render
from healthvault.outbox.mail import queue_mail
from trust import authorities
from trust.models import Anchor, Identity

KIND = "trust_ending"
#: Days before an end at which it is told.
STEPS = (3, 14, 30)


@dataclass(frozen=True)
class Ending:
    """One thing that ends: what it is, what then happens, and what to do."""

    key: str
    what: str
    name: str
    end: datetime
    then: str
    todo: str
    path: str


def tell(at: datetime | None = None) -> int:
    """Mail every administrator once at each step; returns how many things are near their end."""
    now = at or timezone.now()
    found = [each for each in endings(now) if _step(each.end, now)]
    for each in found:
        _mail(each, _step(each.end, now))
    return len(found)


def _step(end: datetime, now: datetime) -> int:
    """The step an end has reached; 0 when it is far, or over."""
    left = end - now
    if left < timedelta(0):
        return 0
    return next((days for days in STEPS if left <= timedelta(days=days)), 0)


def endings(now: datetime) -> Iterable[Ending]:
    """What is in use and has an end, the newest of each kind."""
    yield from _identities(now)
    yield from _authority(now)
    yield from _anchors(now)


def _identities(now: datetime) -> Iterable[Ending]:
    newest: dict[tuple[str, str], Identity] = {}
    rows = Identity.objects.filter(state=Identity.State.ACTIVE, revoked__isnull=True, not_before__lte=now)
    for row in rows.exclude(kind=Identity.Kind.CA).defer("der", "private_key").order_by("not_after"):
        newest[row.name, row.use] = row
    for row in newest.values():
        yield Ending(
            f"identity:{row.pk}",
            "Our certificate",
            row.name,
            row.not_after,
            "Then no mail can be sent for it, and partners stop writing to it.",
            "Make a new one, or import the one that its authority sends you.",
            reverse("trust:certificate", args=[row.pk]),
        )


def _authority(now: datetime) -> Iterable[Ending]:
    issuing = authorities.issuing_authority(now)
    if issuing is not None and authorities.successor(now) is None:
        yield Ending(
            f"identity:{issuing.pk}",
            "Our authority",
            issuing.name,
            issuing.not_after,
            "Then all certificates that it issued end with it.",
            "Make the next one, and ask partners to import our anchors anew.",
            reverse("trust:certificates"),
        )


def _anchors(now: datetime) -> Iterable[Ending]:
    rows = Anchor.objects.filter(state=Anchor.State.ACTIVE, bundle__isnull=True, not_after__gte=now)
    rows = rows.exclude(source=Anchor.Source.OWN).exclude(organization__is_active=False)
    for row in rows.select_related("organization").defer("der"):
        yield Ending(
            f"anchor:{row.pk}",
            "The trust anchor",
            row.organization.name if row.organization else row.subject,
            row.not_after,
            "Then their mail is refused, and none can be sent to them.",
            "Ask them for their next anchor, and import it.",
            reverse("trust:anchor", args=[row.pk]),
        )


def _mail(ending: Ending, step: int) -> None:
    link = absolute(ending.path)
    subject, text, html = render(KIND, {"ending": ending, "link": link})
    for account in get_user_model()._default_manager.filter(is_staff=True, is_active=True):
        with transaction.atomic():
            queue_mail(
                account.email,
                KIND,
                subject,
                text,
                html,
                dedupe_key=f"{KIND}:{ending.key}:{step}:{account.pk}",
            )
