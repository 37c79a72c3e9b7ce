"""`send_message`: write a message from a record and queue it, as the compose page does."""

import json
import mimetypes
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.http import Http404

from directmsg import addresses, compose
from directmsg.agent.address import normalise
from directmsg.agent.errors import AgentError
from directmsg.agent.message import NewAttachment
from healthvault.store.commands import PortalCommand
from records.models import Account, Grant, Record, Right

REFUSED, WRONG_USE = 1, 2


class Command(PortalCommand):
    help = "Write a message from one of our Direct addresses and queue it for its recipients."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="sender", required=True, metavar="ADDRESS", help="of a record here"
        )
        parser.add_argument("--to", required=True, action="append", metavar="ADDRESS")
        parser.add_argument("--subject", required=True)
        parser.add_argument("--text-file", required=True, type=Path)
        parser.add_argument("--attach", action="append", type=Path, default=[], metavar="FILE")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        record, account = _writer(options["sender"])
        text = _read(options["text_file"]).decode("utf-8", "replace")
        files = [NewAttachment(path.name, _content_type(path), _read(path)) for path in options["attach"]]
        try:
            message = compose.queue_message(account, record, options["to"], options["subject"], text, files)
        except (compose.CannotSend, AgentError) as error:
            raise CommandError(f"{error.code}: {error}", returncode=REFUSED) from error
        except Http404 as error:
            raise CommandError("nobody may write for this record", returncode=REFUSED) from error
        copies = [
            {"id": str(copy.pk), "recipient": copy.recipient, "state": copy.state}
            for copy in message.outbound.order_by("pk")
        ]
        made = {"message": str(message.pk), "message_id": message.message_id, "recipients": copies}
        if options["json"]:
            self.stdout.write(json.dumps(made))
        else:
            for copy in copies:
                self.stdout.write(f"{copy['id']} {copy['recipient']} {copy['state']}")


def _writer(sender: str) -> tuple[Record, Account]:
    """The record behind an address of ours, and a custodian in whose name the operator writes."""
    address = addresses.find(normalise(sender))
    if address is None or address.record is None:
        raise CommandError(f"{sender} is not the address of a record here", returncode=REFUSED)
    primary = addresses.primary_address(address.record)
    if primary is None or primary.pk != address.pk:
        raise CommandError(f"{sender} is not the record's present address", returncode=REFUSED)
    grant = (
        Grant.objects.filter(record=address.record, right=Right.CUSTODIAN).select_related("account").first()
    )
    if grant is None:
        raise CommandError("the record has no custodian", returncode=REFUSED)
    return address.record, grant.account


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", returncode=WRONG_USE) from error


def _content_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"
