"""`resolve_address`: can we write to this address, and if not, why?"""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from trust import context, discovery
from trust.discovery import Discovery, Found, Step
from trust.management.files import describe, finish


class Command(BaseCommand):
    help = (
        "Look for the certificates of an address in DNS and LDAP, and say which of them the sender may"
        " encrypt to. Without --sender the first of our domains decides."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address")
        parser.add_argument("--sender", metavar="ADDRESS", help="an address or domain of ours")
        parser.add_argument("--forget", action="store_true", help="ask anew, whatever was found lately")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        address, sender = options["address"], options["sender"]
        if "@" not in address:
            raise CommandError(f"{address} is no address", returncode=2)
        if sender is not None and not context.is_hosted(sender):
            raise CommandError(f"{sender} is not at one of our domains (DIRECT_DOMAINS)", returncode=2)
        if sender is None and not settings.DIRECT_DOMAINS:
            raise CommandError("there is no domain of ours to judge by (DIRECT_DOMAINS)", returncode=2)
        if options["forget"]:
            discovery.forget(address)
        result = discovery.find(address, at=timezone.now(), sender=sender)
        finish(self, as_json(result), as_json=options["json"], good=bool(result.found), text=as_text(result))


def as_json(result: Discovery) -> dict[str, Any]:
    """`trusted` tells whether at least one certificate can be used; `code` is null then."""
    return {
        "address": result.address,
        "found": [_found(each) for each in result.found],
        "trusted": bool(result.found),
        "code": result.code or None,
        "temporary": result.temporary,
        "steps": [_step(each) for each in result.steps],
    }


def _found(found: Found) -> dict[str, Any]:
    return {
        **describe(found.certificate),
        "place": found.place,
        "names": list(found.certificate.names),
        "chain": [each.sha256 for each in found.chain.certificates],
        "revocation": found.chain.revocation,
    }


def _step(step: Step) -> dict[str, Any]:
    return {"place": step.place, "code": step.code, "detail": step.detail, "sha256": step.sha256}


def as_text(result: Discovery) -> str:
    """Every step in order, then the verdict."""
    lines = [f"{step.detail} [{step.code}]" for step in result.steps]
    if result.found:
        verdict = f"yes: {len(result.found)} certificate(s) of {result.address} can be encrypted to"
    else:
        later = " for now; it may work later" if result.temporary else ""
        verdict = f"no{later}: {result.code}"
    return "\n".join([*lines, verdict])
