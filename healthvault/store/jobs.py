"""Rows as jobs: ringing the door-bell, taking a lease, giving it back.

A row with `state`, `tries` and `lease_until` is a job. One conditional UPDATE takes it, on SQLite
as on PostgreSQL; `tries` doubles as the fence, so that a worker which slept through its lease
cannot overwrite what its successor did.
"""

import logging
import time
from datetime import datetime, timedelta
from typing import Any, TypeVar

from celery import Task
from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone

Job = TypeVar("Job", bound=models.Model)

log = logging.getLogger(__name__)

#: How long nobody rings after the broker failed. Sweeps find the rows meanwhile.
QUIET_S = 60.0
#: A job that took its worker down this often is set aside instead of being offered again.
MOST_KILLS = 3


SHORTEST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)


class LeaseLost(Exception):
    """Another worker took the row meanwhile; what this one did must not be committed."""


class _Bell:
    """The broker, which is left alone for a while after it failed: each try costs its time-out."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def ring(self, task: Task, *args: str) -> None:
        if time.monotonic() < self._quiet_until:
            return
        try:
            task.delay(*args)
        except Exception:
            self._quiet_until = time.monotonic() + QUIET_S
            log.warning("the broker does not answer; sweeps find the rows", exc_info=True)


_bell = _Bell()


def ring(task: Task, *args: str) -> None:
    """Tell a worker, after commit, that a row waits. A broker that fails costs latency only."""
    transaction.on_commit(lambda: _bell.ring(task, *args), robust=True)


def claim(model: type[Job], pk: str, *, waiting: str, working: str) -> Job | None:
    """Take the row `pk`: from `waiting`, or from `working` when its lease ran out.

    Returns the row as it stands after the claim, or None when there is nothing to take.
    """
    now = timezone.now()
    taken = (
        model._default_manager.filter(pk=pk)
        .filter(_free(now, waiting, working))
        .update(
            state=working,
            tries=F("tries") + 1,
            lease_until=now + timedelta(seconds=settings.LEASE_SECONDS),
        )
    )
    return model._default_manager.get(pk=pk) if taken else None


def finish(job: models.Model, state: str, belonging: dict[str, Any] | None = None, /, **values: Any) -> None:
    """Move a claimed row on, inside the transaction of its results.

    `belonging`: fields that must be as they were when the row was claimed, beside the fence.
    Raises `LeaseLost` when the row is no longer held under the fence this worker took.
    """
    model = type(job)
    held = model._default_manager.filter(pk=job.pk, state=job.state, tries=job.tries, **(belonging or {}))  # type: ignore[attr-defined]
    if held.update(state=state, lease_until=None, **values) != 1:
        raise LeaseLost
    job.state = state  # type: ignore[attr-defined]
    for name, value in values.items():
        setattr(job, name, value)


def postpone(job: Any, waiting: str, since: datetime, **values: Any) -> None:
    """Give a claimed row back because something around it fails for now (database, disk, key service).

    This end was orderly, so it does not count among the tries that took a worker down. The wait grows
    with the age of the job, which is counted from `since`: 5 seconds at least, 5 minutes at most.
    Raises `LeaseLost` as `finish` does.
    """
    now = timezone.now()
    wait = min(max((now - since) / 2, SHORTEST_WAIT), LONGEST_WAIT)
    held = type(job)._default_manager.filter(pk=job.pk, state=job.state, tries=job.tries)
    if held.update(state=waiting, tries=F("tries") - 1, lease_until=now + wait, **values) != 1:
        raise LeaseLost


def offered(model: type[Job], *, waiting: str, working: str, limit: int = 500) -> list[str]:
    """Ids of rows that nobody works on, oldest first."""
    rows = model._default_manager.filter(_free(timezone.now(), waiting, working)).order_by("pk")
    return [str(pk) for pk in rows.values_list("pk", flat=True)[:limit]]


def release(model: type[Job], *, waiting: str, working: str) -> int:
    """Give back every lease; for the start of the only worker there is. Returns how many."""
    return model._default_manager.filter(state=working).update(state=waiting, lease_until=None)


def _free(now: Any, waiting: str, working: str) -> Q:
    due = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    return due & Q(state__in=[waiting, working])
