"""Named points at which a test can kill the process, to prove that nothing accepted is lost.

`FAULT_AT=name[:n][@file]` makes the process send itself SIGKILL at the n-th pass of that point. With a file
the first process that gets there takes it away and dies, and nobody after it: for pools that start a killed
worker anew. Production refuses the setting at start, and an unknown name stops the start.
"""

import itertools
import os
import signal

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

POINTS = frozenset(
    {
        "smtp.data",
        "smtp.precommit",
        "smtp.postcommit",
        "smtp.replied",
        "job.leased",
        "mail.decrypted",
        "mail.verified",
        "mail.filed",
        "mdn.queued",
        "doc.item",
        "job.done",
        "out.accepted",
        "claim.checked",
        "claim.filed",
        "claim.committed",
    }
)

_passes = itertools.count(1)


def parse(text: str) -> tuple[str, int, str]:
    """Cut `name[:n][@file]` apart; raises ImproperlyConfigured for a name that is not in `POINTS`."""
    point, _, once = text.partition("@")
    name, _, count = point.partition(":")
    if name not in POINTS:
        raise ImproperlyConfigured(f"FAULT_AT: {name!r} is not one of {', '.join(sorted(POINTS))}")
    if count and not count.isdigit():
        raise ImproperlyConfigured(f"FAULT_AT: {count!r} is not a whole number")
    return name, int(count or 1), once


def fault(name: str) -> None:
    """Pass the point `name`; dies here when the settings say so."""
    if not settings.FAULT_AT:
        return
    wanted, count, once = parse(settings.FAULT_AT)
    if name == wanted and next(_passes) == count and _is_due(once):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_due(once: str) -> bool:
    """Whether this process is the one to die: with a file, whoever takes it away."""
    if not once:
        return True
    try:
        os.unlink(once)
    except FileNotFoundError:
        return False
    return True
