"""`create_identity`: a certificate of ours for a domain or an address, by our own authority."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from healthvault.store.commands import PortalCommand
from healthvault.vault.errors import VaultError
from trust import authorities, context
from trust.errors import BadName, TrustRefusal
from trust.models import Identity
from trust.present import identity_json


class Command(PortalCommand):
    help = (
        "Make a certificate and key for a domain or an address. Our own authority is made when it is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="a domain, or an address at one")
        parser.add_argument("--issuer", help="title or fingerprint of another authority of ours")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _, name = authorities.kind_of(options["name"])
            issuer = authorities.find_authority(options["issuer"]) if options["issuer"] else None
            self._warn(name)
            row = authorities.issue_identity(name, issuer=issuer)
        except BadName as error:
            raise CommandError(error.detail, returncode=2) from error
        except (TrustRefusal, VaultError) as error:
            raise CommandError(str(error), returncode=1) from error
        if options["json"]:
            self.stdout.write(json.dumps(identity_json(row)))
        else:
            self.stdout.write(f"{row.name}  {row.sha256}  until {row.not_after:%Y-%m-%d}")

    def _warn(self, name: str) -> None:
        if not context.is_hosted(name):
            self.stderr.write(
                f"{context.domain_of(name)} is not in DIRECT_DOMAINS: no mail is taken for it yet"
            )
        if Identity.objects.filter(name=name, state=Identity.State.ACTIVE).exists():
            self.stderr.write(f"{name} has a certificate already; the new one stands beside it")
