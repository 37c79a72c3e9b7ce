"""`ingest_message`: hand files to the same door as SMTP."""

import json
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from directmsg import inbox, receive
from directmsg.agent.address import normalise
from directmsg.models import InboundMail
from healthvault.store import running
from healthvault.store.commands import PortalCommand

WAIT_S = 120
FINAL = InboundMail.FINAL | InboundMail.AGAIN


class Command(PortalCommand):
    help = "Store message files as if they came in by SMTP."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
        parser.add_argument("--mail-from", required=True)
        parser.add_argument("--rcpt-to", required=True, action="append")
        parser.add_argument(
            "--wait", action="store_true", help="until every copy has a final state (120 s at most)"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        mails = []
        for path in options["files"]:
            mails += self._ingest(path, options)
        if options["wait"]:
            mails = wait_for([mail.pk for mail in mails])
        listed = [
            {"id": str(m.pk), "recipient": m.recipient, "state": m.state, "code": m.code or None}
            for m in mails
        ]
        if options["json"]:
            self.stdout.write(json.dumps({"mails": listed}))
        else:
            for line in listed:
                self.stdout.write(
                    f"{line['id']} {line['recipient']} {line['state']} {line['code'] or ''}".rstrip()
                )
        unfinished = options["wait"] and any(mail.state not in FINAL for mail in mails)
        if unfinished or any(mail.state in InboundMail.AGAIN for mail in mails):
            raise SystemExit(1)

    def _ingest(self, path: Path, options: dict[str, Any]) -> list[InboundMail]:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}", returncode=2) from error
        if len(data) > settings.MAX_MESSAGE_SIZE:
            raise CommandError(f"{path}: larger than {settings.MAX_MESSAGE_SIZE} bytes", returncode=1)
        for recipient in options["rcpt_to"]:
            refusal = inbox.check_recipient(normalise(recipient))
            if refusal is not None:
                raise CommandError(f"{recipient}: {refusal.text}", returncode=1)
        accepted = inbox.accept(data, options["mail_from"], options["rcpt_to"], protocol="file")
        return list(accepted.values())


def wait_for(ids: list[Any]) -> list[InboundMail]:
    """The mails once each is final, or as they stand after the longest wait.

    Without a broker and without a portal at work on this data directory nobody else would do the
    work: the task functions then run here.
    """
    alone = settings.EMBEDDED and not running.portal_is_running()
    end = time.monotonic() + WAIT_S
    while True:
        if alone:
            run_waiting(ids)
        mails = list(InboundMail.objects.filter(pk__in=ids).order_by("received", "pk"))
        if all(mail.state in FINAL for mail in mails) or time.monotonic() > end:
            return mails
        time.sleep(0.1)


def run_waiting(ids: list[Any]) -> None:
    """Do the work of these mails and of the documents they brought, in this process."""
    from healthvault.outbox.tasks import sweep_in_process
    from records import filing
    from records.models import Document

    for pk in ids:
        receive.receive_mail(str(pk))
    waiting = Document.objects.filter(state=Document.State.WAITING).values_list("pk", flat=True)
    for pk in list(waiting):
        filing.read_document(str(pk))
    sweep_in_process()
