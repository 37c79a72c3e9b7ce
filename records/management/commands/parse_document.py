"""``parse_document``: what a clinical document says, without database or keys."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from records.clinical import output
from records.clinical.errors import ClinicalError
from records.clinical.reader import read
from records.clinical.types import ClinicalSummary


class Command(BaseCommand):
    """Files only: reads one file, prints JSON; exit 0, 1 when it is no clinical document, 2 on wrong use."""

    help = "Read a clinical document (C-CDA, C32, CCD, CDA, CCR) and print what it says as JSON."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the document")
        parser.add_argument("--content-type", help="the type it was declared with")
        parser.add_argument("--format", choices=("summary", "items", "fhir"), default="summary")
        parser.add_argument("--json", action="store_true", help="print JSON (this command always does)")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}", returncode=2) from error
        try:
            document = read(data, options["content_type"], path.name)
        except ClinicalError as error:
            self._print(output.failure(error))
            self.stderr.write(f"{path.name}: {error.detail}")
            sys.exit(1)
        self._print(_shown(document, options["format"]))
        if document.not_understood:
            self.stderr.write(f"{path.name}: {document.not_understood} entries not understood")

    def _print(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, ensure_ascii=False, indent=2))


def _shown(document: ClinicalSummary, form: str) -> Any:
    if form == "items":
        return output.items(document)
    if form == "fhir":
        from records.clinical import fhir

        return fhir.bundle(document)
    return output.summary(document)
