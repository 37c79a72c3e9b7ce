"""`publish_certificates`: what partners need to find and trust us."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from healthvault.store.commands import PortalCommand
from trust import publication


class Command(PortalCommand):
    help = "Print our certificates as DNS records or LDAP entries, or our anchors as a zip."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("zone", "ldif", "zip"), required=True)
        parser.add_argument("--output", metavar="FILE", type=Path, help="write there, not to standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        content = _content(options["format"])
        if options["output"] is not None:
            try:
                options["output"].write_bytes(content)
            except OSError as error:
                raise CommandError(f"{options['output']}: {error.strerror}", returncode=2) from error
        elif options["format"] == "zip":
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
        else:
            self.stdout.write(content.decode(), ending="")


def _content(kind: str) -> bytes:
    now = timezone.now()
    if kind == "zip":
        anchors = publication.own_anchors(now)
        if not anchors:
            raise CommandError("there is no anchor of ours yet; create_identity makes one", returncode=1)
        return publication.anchors_zip(anchors)
    if not publication.published(now):
        raise CommandError("there is no certificate of ours yet; create_identity makes one", returncode=1)
    return (publication.zone(now) if kind == "zone" else publication.ldif(now)).encode()
