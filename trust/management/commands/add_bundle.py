"""`add_bundle`: take part in a community by its trust bundle."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trust import bundles, context
from trust.errors import TrustRefusal
from trust.management.bundle_report import tell
from trust.management.files import WRONG_USE, read_file
from trust.models import Bundle, Domain
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError
from trust.pki.load import load_certificate


class Command(BaseCommand):
    help = (
        "Trust the anchors of a bundle, fetch it now, and refresh it daily. A bundle of that name is changed."
        " With neither --incoming nor --outgoing its anchors count for both."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("url")
        parser.add_argument("--signer", metavar="FILE", help="the one certificate that must have signed it")
        parser.add_argument("--domain", help="only for this domain of ours")
        parser.add_argument("--incoming", action="store_true", help="they may write to us")
        parser.add_argument("--outgoing", action="store_true", help="we may write to them")
        parser.add_argument("--label", choices=Bundle.Label.values, default=_usual_label())
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        both = not (options["incoming"] or options["outgoing"])
        try:
            bundle = bundles.add(
                options["name"],
                options["url"],
                signer=_signer(options["signer"]),
                domain=_domain(options["domain"]),
                incoming=both or options["incoming"],
                outgoing=both or options["outgoing"],
                label=options["label"],
            )
        except TrustRefusal as error:
            raise CommandError(f"{error.code}: {error.detail}", returncode=1) from error
        if bundle.label not in context.usable_labels():
            self.stderr.write(f"note: bundles labelled {bundle.label} count for nothing here")
        tell(self, [(bundle, bundles.refresh(bundle, actor="operator"))], as_json=options["json"])


def _usual_label() -> str:
    return Bundle.Label.STAGING if settings.ENVIRONMENT == "ppe" else Bundle.Label.PRODUCTION


def _signer(name: str | None) -> Certificate | None:
    if name is None:
        return None
    try:
        return load_certificate(read_file(str(Path(name))))
    except PkiError as error:
        raise CommandError(f"{name}: {error.detail}", returncode=WRONG_USE) from error


def _domain(name: str | None) -> Domain | None:
    if name is None:
        return None
    if not context.is_hosted(name):
        raise CommandError(f"{name} is not one of our domains (DIRECT_DOMAINS)", returncode=WRONG_USE)
    return context.ensure_domain(context.domain_of(name))
