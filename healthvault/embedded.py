"""Everything in one process: web, gateway, a real Celery worker and beat, for a laptop or small clinic.

The worker is Celery's own, with a pool of threads on its in-memory broker; the rows are the queue
here as everywhere, so that nothing is lost with the process.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import waitress
from celery.beat import Scheduler, Service
from celery.signals import task_postrun, task_prerun
from celery.worker import WorkController
from django.conf import settings
from django.core.management import call_command
from django.db import close_old_connections

from directmsg.gateway import gateway, shown
from directmsg.models import InboundMail, OutboundMail
from healthvault.celery import app
from healthvault.outbox.models import Notification
from healthvault.store import jobs, running
from healthvault.wsgi import application
from records.models import Document

log = logging.getLogger(__name__)

#: A partner that hangs holds one of them for a while; the others go on.
WORKER_THREADS = 4
WEB_THREADS = 8
#: Each connection may hold one request of the largest size in memory.
WEB_CONNECTIONS = 40
WEB_SILENCE_S = 60
STOP_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the portal accepts work: (host, port) pairs; None where a door is off."""

    web: tuple[str, int]
    smtp: tuple[str, int] | None
    lmtp: tuple[str, int] | None

    def line(self) -> str:
        """The line that says that everything accepts work."""
        return f"ready web={shown(self.web)} smtp={shown(self.smtp)} lmtp={shown(self.lmtp)}"


@contextmanager
def portal(on_death: Callable[[str], None]) -> Iterator[Listening]:
    """Run the whole portal in threads of this process until the block ends.

    `on_death` is called with the name of a part that ended before its time: a portal without its
    worker looks well and does nothing, so the process had better end and be started anew. Raises
    `AlreadyRunning` when another process has the data directory, OSError when an address is taken.
    """
    with ExitStack() as stack:
        stack.enter_context(running.only_portal())
        prepare()
        stack.enter_context(_worker(on_death))
        stack.enter_context(_beat(on_death))
        doors = stack.enter_context(gateway(on_death))
        web = stack.enter_context(_web(on_death))
        yield Listening(web=web, smtp=doors.smtp, lmtp=doors.lmtp)


def prepare() -> None:
    """Bring the database up to date, and give back work that a killed predecessor left."""
    call_command("migrate", verbosity=0, interactive=False)
    call_command("createcachetable", verbosity=0)
    released = jobs.release(
        InboundMail, waiting=InboundMail.State.RECEIVED, working=InboundMail.State.PROCESSING
    )
    released += jobs.release(Document, waiting=Document.State.WAITING, working=Document.State.READING)
    released += Notification.release_all()
    released += jobs.release(
        OutboundMail, waiting=OutboundMail.State.QUEUED, working=OutboundMail.State.SENDING
    )
    if released:
        log.warning("work of an interrupted run taken up again", extra={"size": released})


@contextmanager
def _thread(
    name: str, run: Callable[[], Any], end: Callable[[], Any], on_death: Callable[[str], None]
) -> Iterator[None]:
    """`run` in a thread while the block lasts; `end` makes it return."""
    ending = threading.Event()

    def guarded() -> None:
        try:
            run()
        except Exception:
            if not ending.is_set():
                log.exception("a part of the portal failed")
        finally:
            if not ending.is_set():
                on_death(name)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        end()
        thread.join(STOP_WITHIN_S)


@contextmanager
def _worker(on_death: Callable[[str], None]) -> Iterator[None]:
    ready = threading.Event()
    worker = WorkController(
        app=app,
        pool_cls="threads",
        concurrency=WORKER_THREADS,
        loglevel=settings.LOG_LEVEL,
        hostname="embedded@%h",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        ready_callback=lambda _consumer: ready.set(),
    )
    task_prerun.connect(_fresh_connections)
    task_postrun.connect(_fresh_connections)
    try:
        with _thread("worker", worker.start, worker.stop, on_death):
            if not ready.wait(30):
                raise RuntimeError("the worker did not start within 30 s")
            yield
    finally:
        task_prerun.disconnect(_fresh_connections)
        task_postrun.disconnect(_fresh_connections)


def _fresh_connections(**_: Any) -> None:
    close_old_connections()


class _Beat(Service):
    """Beat whose timetable lives in memory: every entry is a sweep that may run at once again."""

    scheduler_cls = Scheduler


@contextmanager
def _beat(on_death: Callable[[str], None]) -> Iterator[None]:
    # Beat sleeps between ticks; a short one lets it notice the end of the process.
    beat = _Beat(app, max_interval=1)
    with _thread("beat", beat.start, lambda: beat.stop(wait=False), on_death):
        yield


@contextmanager
def _web(on_death: Callable[[str], None]) -> Iterator[tuple[str, int]]:
    assert settings.WEB_LISTEN is not None
    host, port = settings.WEB_LISTEN
    server: Any = waitress.create_server(application, host=host, port=port, **web_options())
    # Closing the listening socket ends waitress's loop, with an OSError or without.
    with _thread("web", server.run, server.close, on_death):
        yield host, getattr(server, "effective_port", port)


def web_options() -> dict[str, Any]:
    """How waitress is set up: what it may hold in memory, and which proxies it believes."""
    options: dict[str, Any] = {
        "threads": WEB_THREADS,
        "ident": None,
        # It refuses what is as large as the limit already.
        "max_request_body_size": settings.MAX_REQUEST_SIZE + 1,
        # Over these it would write to temporary files, in clear. Bodies are bounded by the limit above;
        # answers by `outbuf_high_watermark`, at which their writing waits for the reader.
        "inbuf_overflow": sys.maxsize,
        "outbuf_overflow": sys.maxsize,
        "connection_limit": WEB_CONNECTIONS,
        "channel_timeout": WEB_SILENCE_S,
        # Nothing of ours believes them, and /metrics has to see that a proxy passed a request on.
        "clear_untrusted_proxy_headers": False,
    }
    if settings.ALLAUTH_TRUSTED_PROXY_COUNT:
        options |= {
            "trusted_proxy": "*",
            "trusted_proxy_count": settings.ALLAUTH_TRUSTED_PROXY_COUNT,
            "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto"},
        }
    return options
