"""Signs of life: when the background work last ran, for the console. Kept in the shared cache."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.core.cache import cache
from django.utils import timezone

WORKER = "worker"
#: A sign is written anew when it is older than this: the sweep runs more often than anybody looks.
WRITE_AFTER = timedelta(seconds=45)
#: Without a sign for this long the background work is taken to stand still.
STALE_AFTER = timedelta(minutes=5)


def leave(name: str) -> None:
    """Say that `name` is at work now."""
    last = seen(name)
    if last is None or timezone.now() - last >= WRITE_AFTER:
        cache.set(_key(name), timezone.now(), timeout=None)


def seen(name: str) -> datetime | None:
    """When `name` last gave a sign, or None."""
    found = cache.get(_key(name))
    return found if isinstance(found, datetime) else None


def _key(name: str) -> str:
    return f"sign-of-life:{name}"
