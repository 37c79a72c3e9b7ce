"""The SMTP and LMTP door: a port, its event loop and threads, and who is let in.

Knows no model and no settings. What it needs to know it asks through callables: who is hosted here,
whether there is room, and `accept`, which alone decides whether 250 may be said. They run in threads,
so they may use the database.
"""

import asyncio
import ipaddress
import logging
import shutil
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from pathlib import Path

from .smtp_session import MailSession
from .smtp_words import (
    NO_SPACE,
    TOO_MANY_FROM_THERE,
    TOO_MANY_SESSIONS,
    Envelope,
    Limits,
    MailProtocol,
    Reply,
)

log = logging.getLogger(__name__)

__all__ = ["Envelope", "Limits", "Listener", "Reply", "space_check", "tls_context"]

Accept = Callable[[Envelope], Sequence[Reply]]
CheckRecipient = Callable[[str], Reply | None]
CheckSender = Callable[[str, MailProtocol], Reply | None]
CheckSpace = Callable[[], Reply | None]
Normalise = Callable[[str, str, tuple[str, ...]], bool]


class Listener:
    """One port that takes mail by SMTP or LMTP, with an event loop and threads of its own.

    `accept` is called with a whole message and returns one `Reply` per recipient, in their order;
    250 means that the recipient's copy is on durable storage. Whatever it raises is answered 451.
    `check_recipient(address)`, `check_sender(address, protocol)` and `check_space()` return the
    refusal or None. `normalise_bare_newlines(peer, mail_from, rcpt_tos)` may switch the repair of
    lone CR and LF on for one message; without it they are refused. `fault(name)` is told of the
    points `smtp.data` (first octets of a message are here) and `smtp.replied` (250 was said).
    `on_death(name)` is called when the listener ended without having been told to.
    """

    def __init__(
        self,
        host: str,
        port: int,
        protocol: MailProtocol,
        *,
        accept: Accept,
        check_recipient: CheckRecipient,
        check_sender: CheckSender = lambda address, protocol: None,
        check_space: CheckSpace | None = None,
        normalise_bare_newlines: Normalise | None = None,
        fault: Callable[[str], None] = lambda name: None,
        on_death: Callable[[str], None] = lambda name: None,
        hostname: str = "localhost",
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        spool_dir: Path | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.protocol: MailProtocol = protocol
        self.accept = accept
        self.check_recipient = check_recipient
        self.check_sender = check_sender
        self.check_space = check_space
        self.normalise_bare_newlines = normalise_bare_newlines
        self.fault = fault
        self.on_death = on_death
        self.hostname = hostname
        self.tls = tls
        self.limits = limits or Limits()
        self.spool_dir = spool_dir
        self.checks = ThreadPoolExecutor(self.limits.check_threads, f"{protocol}-check")
        self._stores = ThreadPoolExecutor(self.limits.accept_threads, f"{protocol}-store")
        self._storing: set[Future[Sequence[Reply]]] = set()
        self._sessions: dict[MailSession, str] = {}
        self._by_source: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_asked: asyncio.Event | None = None
        self._stopping = False
        self._grace_s = 0.0

    # --- life ------------------------------------------------------------------------------------------

    def start(self) -> int:
        """Open the port and return its number; raises OSError when it cannot be had."""
        bound: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=[bound], name=f"{self.protocol}-listener", daemon=True
        )
        self._thread.start()
        self.port = bound.result()
        return self.port

    def _run(self, bound: "Future[int]") -> None:
        try:
            asyncio.run(self._serve(bound))
        except BaseException as error:
            # Whatever ended the loop, nobody takes mail any more.
            if not bound.done():
                bound.set_exception(error)
            elif not self._stopping:
                log.exception("the %s listener failed", self.protocol)
        if not self._stopping and bound.exception() is None:
            self.on_death(f"{self.protocol} listener")

    async def _serve(self, bound: "Future[int]") -> None:
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: MailSession(self), self.host, self.port)
        except BaseException as error:
            bound.set_exception(error)
            return
        self._loop, self._stop_asked = loop, asyncio.Event()
        bound.set_result(server.sockets[0].getsockname()[1])
        await self._stop_asked.wait()
        server.close()
        await self._finish_sessions()

    async def _finish_sessions(self) -> None:
        for session in list(self._sessions):
            session.stop()
        tasks = [session._handler_coroutine for session in self._sessions if session._handler_coroutine]
        if tasks:
            await asyncio.wait(tasks, timeout=self._grace_s)
        for session in list(self._sessions):
            session.abort()

    def stop(self, grace_s: float = 30) -> bool:
        """Close the port, let messages under way end, and return whether all did in `grace_s`.

        A session between messages is told 421. May be called again.
        """
        deadline = time.monotonic() + grace_s
        self._stopping = True
        if self._thread is not None and self._thread.is_alive() and self._loop and self._stop_asked:
            self._grace_s = grace_s
            self._loop.call_soon_threadsafe(self._stop_asked.set)
            self._thread.join(grace_s + 2 * self.limits.linger_s)
        self.checks.shutdown(wait=False, cancel_futures=True)
        self._stores.shutdown(wait=False, cancel_futures=True)
        left = wait_for_futures(list(self._storing), max(0.0, deadline - time.monotonic())).not_done
        return not left and not (self._thread is not None and self._thread.is_alive())

    @property
    def sessions(self) -> int:
        """How many sessions there are now."""
        return len(self._sessions)

    # --- what sessions use -----------------------------------------------------------------------------

    def admit(self, session: MailSession, peer: str) -> Reply | None:
        """Count a session in; returns the refusal when there are too many."""
        if len(self._sessions) >= self.limits.sessions:
            return TOO_MANY_SESSIONS
        source = _source(peer)
        if self._by_source[source] >= self.limits.sessions_per_address:
            return TOO_MANY_FROM_THERE
        self._by_source[source] += 1
        self._sessions[session] = source
        return None

    def dismiss(self, session: MailSession) -> None:
        """Count a session out."""
        source = self._sessions.pop(session, None)
        if source is not None:
            self._by_source[source] -= 1
            self._by_source += Counter()  # forgets sources at zero

    def refuse_sender(self, address: str) -> Reply | None:
        """Whether MAIL FROM is refused, for want of space or for its address; `<>` has none."""
        refusal = self.check_space() if self.check_space is not None else None
        if refusal is None and address:
            refusal = self.check_sender(address, self.protocol)
        return refusal

    def store(self, envelope: Envelope) -> "Future[Sequence[Reply]]":
        """Hand a message to `accept` in a thread; its data is forgotten when that has ended."""
        future = self._stores.submit(self.accept, envelope)
        self._storing.add(future)
        future.add_done_callback(self._storing.discard)
        future.add_done_callback(lambda _: envelope.data.close())
        return future


def _source(peer: str) -> str:
    """What counts as one address: of IPv6 the /64, which one subscriber holds whole."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else peer


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context from PEM files, TLS 1.2 or newer; raises OSError when they do not fit."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def space_check(directory: Path, least: int) -> CheckSpace:
    """A `check_space` that wants `least` octets free where `directory` is."""

    def check() -> Reply | None:
        return None if shutil.disk_usage(directory).free >= least else NO_SPACE

    return check
