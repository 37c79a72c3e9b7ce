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
        parser.add_argument(
            "--separate",
            action="store_true",
            help="two certificates, one to sign with and one to be encrypted to, instead of one for both",
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _, name = authorities.kind_of(options["name"])
            issuer = authorities.find_authority(options["issuer"]) if options["issuer"] else None
            self._warn(name)
            rows = _issue(name, issuer, separate=options["separate"])
        except BadName as error:
            raise CommandError(error.detail, returncode=2) from error
        except (TrustRefusal, VaultError) as error:
            raise CommandError(str(error), returncode=1) from error
        if options["json"]:
            shown = identity_json(rows[0])
            if options["separate"]:
                shown["signing"] = identity_json(rows[1])
            self.stdout.write(json.dumps(shown))
            return
        for row in rows:
            use = f"  {row.get_use_display().lower()}" if options["separate"] else ""
            self.stdout.write(f"{row.name}  {row.sha256}  until {row.not_after:%Y-%m-%d}{use}")

    def _warn(self, name: str) -> None:
        if not context.is_hosted(name):
            self.stderr.write(
                f"{context.domain_of(name)} is not in DIRECT_DOMAINS: no mail is taken for it yet"
            )
        if Identity.objects.filter(name=name, state=Identity.State.ACTIVE).exists():
            self.stderr.write(f"{name} has a certificate already; the new one stands beside it")


def _issue(name: str, issuer: Identity | None, *, separate: bool) -> tuple[Identity, ...]:
    """What others encrypt to comes first."""
    if separate:
        return authorities.issue_pair(name, issuer=issuer)
    return (authorities.issue_identity(name, issuer=issuer),)
