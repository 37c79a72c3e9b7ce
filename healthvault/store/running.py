"""The lock by which the processes of one data directory know whether a portal runs on it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings


class AlreadyRunning(RuntimeError):
    """Another portal works on this data directory."""


@contextmanager
def only_portal() -> Iterator[None]:
    """Hold the data directory as its one portal. Raises `AlreadyRunning`."""
    path = _lock_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"another portal is running on {path.parent}") from None
        yield


def portal_is_running() -> bool:
    """Whether a portal holds the data directory now."""
    path = _lock_file()
    if not path.exists():
        return False
    with path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lock_file() -> Path:
    directory: Path = settings.DATA_DIR
    return directory / "portal.lock"
