"""The state of mail in one look: what was refused, what waits, and whether anybody works."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Count, Min, Q
from django.urls import reverse

from healthvault.outbox.models import Notification
from trust import signs
from trust.health import Level, Sign

from .models import InboundMail, OutboundMail
from .outcomes import explain

LATELY = timedelta(days=1)
#: Work that waits longer than this is told about.
SLOW = timedelta(minutes=2)
STANDING = timedelta(minutes=15)
#: Free space below which mail may soon find no room.
LITTLE_BYTES = 2 * 1024**3
NO_BYTES = 256 * 1024**2


def mail_signs(now: datetime) -> list[Sign]:
    """Workers, waiting work, undelivered mail of the last day, room on the disk."""
    return [worker_sign(now), waiting_sign(now), *undelivered_signs(now), disk_sign()]


def worker_sign(now: datetime) -> Sign:
    """When the background work last gave a sign of life."""
    seen = signs.seen(signs.WORKER)
    if seen is not None and now - seen < signs.STALE_AFTER:
        return Sign("good", "Background work", f"It last gave a sign {age_words(now - seen)} ago.")
    last = f"It last gave a sign {age_words(now - seen)} ago." if seen else "It has given no sign yet."
    return Sign("bad", "Background work", last, "See that a worker and beat are running")


def waiting_sign(now: datetime) -> Sign:
    """The oldest row that is due and that nobody works on."""
    ages = {name: now - first for name, first in _oldest(now) if first is not None and first < now}
    if not ages:
        return Sign("good", "Waiting work", "Nothing waits.")
    name = max(ages, key=lambda each: ages[each])
    detail = f"The oldest waiting {name} waits {age_words(ages[name])}."
    if ages[name] < SLOW:
        return Sign("good", "Waiting work", detail)
    level: Level = "bad" if ages[name] > STANDING else "warn"
    return Sign(level, "Waiting work", detail, "See that enough workers run, and what their log says")


def _oldest(now: datetime) -> Iterator[tuple[str, datetime | None]]:
    # What waits for its next try, or is in somebody's hands, is no sign of too few workers.
    due = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    mail = InboundMail.objects.filter(
        due, state__in=[InboundMail.State.RECEIVED, InboundMail.State.PROCESSING]
    )
    yield "mail that came in", mail.aggregate(first=Min("received"))["first"]
    out = OutboundMail.objects.filter(due, state__in=[OutboundMail.State.QUEUED, OutboundMail.State.SENDING])
    yield "Direct mail to send", out.aggregate(first=Min("queued"))["first"]
    told = Notification.objects.filter(due, state__in=[Notification.State.QUEUED, Notification.State.SENDING])
    yield "notification", told.aggregate(first=Min("created"))["first"]


def undelivered_signs(now: datetime) -> list[Sign]:
    """Refused and stuck mail of the last day, by code, the most frequent first."""
    lately = InboundMail.objects.filter(received__gte=now - LATELY, state__in=list(InboundMail.AGAIN))
    counted = lately.order_by().values_list("state", "code").annotate(count=Count("pk")).order_by("-count")
    found = [_undelivered(state, code, count) for state, code, count in counted]
    return found or [Sign("good", "Undelivered mail", "None was refused or stuck in the last 24 hours.")]


def _undelivered(state: str, code: str, count: int) -> Sign:
    stuck = state == InboundMail.State.STUCK
    title = f"{count} {'stuck' if stuck else 'refused'}: {code.replace('_', ' ')}"
    url = f"{reverse('directmsg:console_mail')}?{urlencode({'state': state, 'code': code})}"
    return Sign("bad" if stuck else "warn", title, explain(code).operator, "See these mails", url)


def disk_sign() -> Sign:
    """Room where the portal keeps its files."""
    try:
        free = shutil.disk_usage(settings.DATA_DIR).free
    except OSError:
        return Sign("bad", "Disk", "The data directory is not there.", "Check DATA_DIR")
    detail = f"{free / 1024**3:,.1f} GiB are free."
    if free < LITTLE_BYTES:
        return Sign("bad" if free < NO_BYTES else "warn", "Disk", detail, "Make room")
    return Sign("good", "Disk", detail)


def age_words(age: timedelta) -> str:
    """A duration as people say it: "40 seconds", "3 hours"."""
    seconds = max(0, int(age.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
