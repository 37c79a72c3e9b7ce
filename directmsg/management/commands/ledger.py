"""`ledger`: one line for every copy of mail ever accepted."""

import json
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from directmsg.models import InboundMail
from healthvault.store.commands import PortalCommand


class Command(PortalCommand):
    help = "Print one line per mail ever accepted, oldest first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = InboundMail.objects.order_by("received", "pk").prefetch_related("events")
        for mail in rows.iterator(chunk_size=500):
            line = describe(mail)
            self.stdout.write(json.dumps(line) if options["json"] else _plain(line))


def describe(mail: InboundMail) -> dict[str, Any]:
    """One mail as `{id, direction, sha256, recipient, state, code, times, attempts}`."""
    times = {event.name: _iso(event.at) for event in mail.events.all()}
    return {
        "id": str(mail.pk),
        "direction": "in",
        "sha256": mail.sha256,
        "recipient": mail.recipient,
        "state": mail.state,
        "code": mail.code or None,
        "times": {"received": _iso(mail.received), **times},
        "attempts": mail.tries,
    }


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _plain(line: dict[str, Any]) -> str:
    return f"{line['id']} {line['sha256'][:12]} {line['recipient']} {line['state']} {line['code'] or ''}".rstrip()
