"""`read_bundle`: what is in a trust bundle file? Reads files only: no database, no keys."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trust.management.files import WRONG_USE, describe, finish, read_file, read_time
from trust.pki.bundle import Bundle, read_bundle
from trust.pki.errors import MalformedCertificate, PkiError
from trust.pki.load import load_certificate


class Command(BaseCommand):
    help = "Show the anchors in a trust bundle file, and who signed it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE")
        parser.add_argument("--signer", metavar="FILE", help="the certificate that must have signed it")
        parser.add_argument("--at", metavar="ISO", help="judge as of this time (default: now)")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        at, data = read_time(options["at"]), read_file(options["file"])
        signer = None
        if options["signer"]:
            try:
                signer = load_certificate(read_file(options["signer"]))
            except MalformedCertificate as error:
                raise CommandError(f"{options['signer']}: {error.detail}", returncode=WRONG_USE) from error
        bundle: Bundle | None = None
        code, detail = None, ""
        try:
            bundle = read_bundle(data, signer=signer, at=at)
        except PkiError as error:
            code, detail = error.code, error.detail
        signed_by = bundle.signed_by if bundle else None
        expired = set(bundle.expired(at)) if bundle else set()
        anchors = bundle.anchors if bundle else ()
        result = {
            "signed_by": signed_by.sha256 if signed_by else None,
            "anchors": [{**describe(each), "expired": each in expired} for each in anchors],
            "code": code,
            "detail": detail,
        }
        text = (
            f"refused ({code}): {detail}" if code else f"{len(anchors)} anchors, {len(expired)} out of time"
        )
        finish(self, result, as_json=options["json"], good=code is None, text=text)
