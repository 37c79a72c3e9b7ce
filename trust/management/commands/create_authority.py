"""`create_authority`: our own authority, or the next one beside it."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from healthvault.store.commands import PortalCommand
from healthvault.vault.errors import VaultError
from trust import authorities
from trust.present import identity_json, iso


class Command(PortalCommand):
    help = (
        "Make our own authority, or the next one beside it: partners get both from then on, and the new one"
        f" issues after {authorities.INTRODUCED_FOR.days} days."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        first = not authorities.own_authorities(timezone.now())
        try:
            row = authorities.make_authority()
        except VaultError as error:
            raise CommandError(str(error), returncode=1) from error
        begins = row.created if first else authorities.issues_from(row)
        if options["json"]:
            self.stdout.write(json.dumps({**identity_json(row), "issues_from": iso(begins)}))
            return
        self.stdout.write(f"{row.name}  {row.sha256}  until {row.not_after:%Y-%m-%d}")
        if not first:
            self.stdout.write(f"It issues from {begins:%Y-%m-%d} on. Tell partners to import certs.zip anew.")
