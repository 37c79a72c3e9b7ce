"""`export_record ID DIR`: a whole record as one ZIP file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandParser

from healthvault.audit import trail
from healthvault.store.commands import PortalCommand
from records.models import Record
from records.record_archive import RecordArchive

_PIECE = 1024 * 1024


class Command(PortalCommand):
    help = "Write everything of one record to DIR/record-ID.zip, in the clear. Exit 1: no such record."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", help="the record's id")
        parser.add_argument("directory", metavar="DIR", type=Path, help="made when it is not there")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        record = _record(options["id"])
        if record is None:
            self.stderr.write(f"There is no record {options['id']}.")
            sys.exit(1)
        try:
            path, size = _write(record, options["directory"])
        except OSError as error:
            self.stderr.write(f"The export cannot be written: {error.strerror or error}.")
            sys.exit(1)
        trail.record("record.exported", actor="operator", record=record)
        if options["json"]:
            self.stdout.write(json.dumps({"record": str(record.pk), "file": str(path), "size": size}))
        else:
            self.stdout.write(f"{path} ({size} bytes)")


def _record(text: str) -> Record | None:
    try:
        return Record.objects.select_related("holder").filter(pk=text).first()
    except ValidationError:
        return None


def _write(record: Record, directory: Path) -> tuple[Path, int]:
    """Write the file beside its place first: a half one never has its name. Only its owner may read it."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"record-{record.pk}.zip"
    draft = path.with_suffix(".part")
    archive, size = RecordArchive(record), 0
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            while piece := archive.read(_PIECE):
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return path, size
