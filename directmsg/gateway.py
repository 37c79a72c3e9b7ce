"""The gateway as configured: the SMTP and LMTP listeners with this app's rules behind them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from healthvault.store.faults import fault

from . import inbox
from .listener import Listener, space_check, tls_context
from .smtp_words import Limits, MailProtocol


@dataclass(frozen=True, slots=True)
class Doors:
    """Where mail is accepted: (host, port), None where a door is off."""

    smtp: tuple[str, int] | None
    lmtp: tuple[str, int] | None

    def line(self) -> str:
        """The line that says that mail is accepted."""
        return f"ready smtp={shown(self.smtp)} lmtp={shown(self.lmtp)}"


def shown(door: tuple[str, int] | None) -> str:
    """A door as host:port, an IPv6 host in brackets; "off" for none."""
    if door is None:
        return "off"
    host, port = door
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def gateway(on_death: Callable[[str], None]) -> Iterator[Doors]:
    """Listen on SMTP_LISTEN and LMTP_LISTEN until the block ends. Raises OSError when one is taken.

    `on_death` is called with the name of a listener that ended before its time: nobody takes mail then,
    and the process had better end and be started anew.
    """
    with ExitStack() as stack:
        smtp = _open(stack, settings.SMTP_LISTEN, "smtp", on_death)
        lmtp = _open(stack, settings.LMTP_LISTEN, "lmtp", on_death)
        yield Doors(smtp, lmtp)


def _open(
    stack: ExitStack,
    address: tuple[str, int] | None,
    protocol: MailProtocol,
    on_death: Callable[[str], None],
) -> tuple[str, int] | None:
    if address is None:
        return None
    host, port = address
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    listener = Listener(
        host,
        port,
        protocol,
        accept=inbox.accept_envelope,
        check_recipient=inbox.check_recipient,
        check_sender=inbox.check_sender,
        check_space=space_check(settings.DATA_DIR, inbox.LEAST_FREE),
        normalise_bare_newlines=inbox.repairs_bare_newlines if settings.DIRECT_LEGACY else None,
        fault=fault,
        on_death=on_death,
        hostname=settings.DIRECT_DOMAINS[0] if settings.DIRECT_DOMAINS else "localhost",
        tls=_tls(),
        limits=_limits(protocol),
        spool_dir=settings.DATA_DIR,
    )
    bound = listener.start()
    stack.callback(listener.stop)
    return host, bound


def _tls() -> ssl.SSLContext | None:
    if not settings.SMTP_TLS_CERT:
        return None
    return tls_context(Path(settings.SMTP_TLS_CERT), Path(settings.SMTP_TLS_KEY))


def _limits(protocol: MailProtocol) -> Limits:
    # Over LMTP every session comes from the one MTA in front.
    if protocol == "lmtp":
        return Limits(size=settings.MAX_MESSAGE_SIZE, sessions_per_address=Limits().sessions)
    return Limits(size=settings.MAX_MESSAGE_SIZE)
