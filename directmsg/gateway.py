"""The gateway as configured: the SMTP and LMTP listeners with this app's rules behind them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from django.conf import settings

from healthvault.store.faults import fault

from . import inbox
from .listener import Listener

#: Mail is refused for the moment while less than this is free (and twice the largest message).
LEAST_FREE = max(1024**3, 2 * settings.MAX_MESSAGE_SIZE)


@dataclass(frozen=True, slots=True)
class Doors:
    """Where mail is accepted: (host, port), None where a door is off."""

    smtp: tuple[str, int] | None
    lmtp: tuple[str, int] | None

    def line(self) -> str:
        """The line that says that mail is accepted."""
        doors = {"smtp": self.smtp, "lmtp": self.lmtp}
        return "ready " + " ".join(
            f"{name}={f'{door[0]}:{door[1]}' if door else 'off'}" for name, door in doors.items()
        )


@contextmanager
def gateway() -> Iterator[Doors]:
    """Listen on SMTP_LISTEN and LMTP_LISTEN until the block ends. Raises OSError when one is taken."""
    with ExitStack() as stack:
        smtp = _open(stack, settings.SMTP_LISTEN, "smtp")
        lmtp = _open(stack, settings.LMTP_LISTEN, "lmtp")
        yield Doors(smtp, lmtp)


def _open(stack: ExitStack, address: tuple[str, int] | None, protocol: str) -> tuple[str, int] | None:
    if address is None:
        return None
    host, port = address
    listener = Listener(
        host,
        port,
        protocol=protocol,
        accept=inbox.accept_envelope,
        check_recipient=inbox.check_recipient,
        check_sender=inbox.check_sender,
        has_space=has_space,
        fault=fault,
        max_size=settings.MAX_MESSAGE_SIZE,
        tls=(settings.SMTP_TLS_CERT, settings.SMTP_TLS_KEY) if settings.SMTP_TLS_CERT else None,
    )
    bound = listener.start()
    stack.callback(listener.stop)
    return host, bound


def has_space() -> bool:
    """Whether the data directory has room for more mail."""
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(settings.DATA_DIR).free >= LEAST_FREE
