"""`ledger`: one line for every copy of mail ever accepted, from others or from our own people."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import merge
from operator import itemgetter
from typing import Any

from django.core.management.base import CommandParser

from directmsg.models import InboundMail, MailEvent, OutboundMail
from healthvault.store.commands import PortalCommand


class Command(PortalCommand):
    help = "Print one line per mail ever accepted, in or out, oldest first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--direction", choices=["in", "out"], help="only mail that came in, or goes out")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = options["direction"]
        sides = [
            *([_received()] if wanted != "out" else []),
            *([_sent()] if wanted != "in" else []),
        ]
        for _, line in merge(*sides, key=itemgetter(0)):
            self.stdout.write(json.dumps(line) if options["json"] else _plain(line))


def _received() -> Iterator[tuple[datetime, dict[str, Any]]]:
    rows = InboundMail.objects.order_by("received", "pk").prefetch_related("events")
    for mail in rows.iterator(chunk_size=500):
        yield mail.received, describe(mail)


def _sent() -> Iterator[tuple[datetime, dict[str, Any]]]:
    rows = OutboundMail.objects.order_by("queued", "pk").prefetch_related("events")
    for mail in rows.iterator(chunk_size=500):
        yield mail.queued, describe_sent(mail)


def describe(mail: InboundMail) -> dict[str, Any]:
    """One mail as `{id, direction, sha256, recipient, state, code, times, attempts}`."""
    return {
        "id": str(mail.pk),
        "direction": "in",
        "sha256": mail.sha256,
        "recipient": mail.recipient,
        "state": mail.state,
        "code": mail.code or None,
        "times": {"received": _iso(mail.received), **_times(mail.events.all())},
        "attempts": mail.tries,
    }


def describe_sent(mail: OutboundMail) -> dict[str, Any]:
    """One copy we send in the same form, and what it is: `kind`, `disposition`, `message_id`.

    `sha256` is that of the sealed bytes, None before they are made.
    """
    return {
        "id": str(mail.pk),
        "direction": "out",
        "sha256": mail.sha256 or None,
        "recipient": mail.recipient,
        "state": mail.state,
        "code": mail.code or None,
        "times": {"queued": _iso(mail.queued), **_times(mail.events.all())},
        "attempts": mail.attempts,
        "kind": mail.kind,
        "disposition": mail.disposition or None,
        "message_id": f"<{mail.identifier}>",
    }


def _times(events: Iterable[MailEvent]) -> dict[str, str]:
    return {event.name: _iso(event.at) for event in events}


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _plain(line: dict[str, Any]) -> str:
    digest = (line["sha256"] or "-")[:12]
    words = [line["id"], line["direction"], digest, line["recipient"], line["state"], line["code"] or ""]
    return " ".join(words).rstrip()
