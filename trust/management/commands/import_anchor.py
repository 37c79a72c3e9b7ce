"""`import_anchor`: say that an organisation is trusted."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from healthvault.store.commands import PortalCommand
from trust import admission, context
from trust.admission import Admitted, Reading
from trust.errors import TrustRefusal
from trust.models import Domain
from trust.present import admitted_json, candidate_json


class Command(PortalCommand):
    help = (
        "Make anchors of the certificates in PEM, DER, PKCS #7 or zip files."
        " With neither --incoming nor --outgoing they count for both."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
        parser.add_argument("--organization", metavar="NAME", required=True)
        parser.add_argument("--domain", help="only for this domain of ours")
        parser.add_argument("--incoming", action="store_true", help="they may write to us")
        parser.add_argument("--outgoing", action="store_true", help="we may write to them")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["organization"].strip():
            raise CommandError("--organization must name somebody", returncode=2)
        domain = _domain(options["domain"])
        files = [(str(path), _read(path)) for path in options["files"]]
        both = not (options["incoming"] or options["outgoing"])
        try:
            reading = admission.read_files(files, timezone.now())
            self._preview(reading)
            if not options["yes"] and not _agreed():
                self._refuse(reading, options["json"])
            admitted = admission.admit(
                reading.candidates,
                options["organization"],
                domain=domain,
                incoming=both or options["incoming"],
                outgoing=both or options["outgoing"],
            )
        except TrustRefusal as error:
            raise CommandError(f"{error.code}: {error.detail}", returncode=1) from error
        self._tell(admitted, options["json"])

    def _preview(self, reading: Reading) -> None:
        for name in reading.passed_over:
            self.stderr.write(f"{name}: holds no certificate, passed over")
        for candidate in reading.candidates:
            certificate = candidate.certificate
            self.stderr.write(
                f"{certificate.subject}\n"
                f"    SHA-256 {certificate.sha256}\n"
                f"    valid {certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}"
            )
            for code in candidate.warnings:
                detail = f": {candidate.detail}" if code == "unsound" else ""
                self.stderr.write(f"    note: it {admission.WARNINGS[code]}{detail}")

    def _refuse(self, reading: Reading, as_json: bool) -> None:
        if as_json:
            shown = [{**candidate_json(each), "change": None} for each in reading.candidates]
            self.stdout.write(json.dumps({"anchors": shown}))
        raise CommandError("nothing was imported; say --yes to import without a question", returncode=1)

    def _tell(self, admitted: list[Admitted], as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"anchors": [admitted_json(each) for each in admitted]}))
            return
        for each in admitted:
            self.stdout.write(f"{each.change}  {each.anchor.sha256}  {each.anchor.subject}")


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stderr.write("Trust these? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _domain(name: str | None) -> Domain | None:
    if name is None:
        return None
    if not context.is_hosted(name):
        raise CommandError(f"{name} is not one of our domains (DIRECT_DOMAINS)", returncode=2)
    return context.ensure_domain(context.domain_of(name))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", returncode=2) from error
