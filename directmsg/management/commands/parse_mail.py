"""`parse_mail`: the structure of a message file."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from directmsg.agent.errors import AgentError
from directmsg.agent.fields import Fields
from directmsg.agent.mime import MAX_OCTETS, Part, number_duplicates, parse


class Command(BaseCommand):
    help = "Show the MIME structure of a message file. Needs neither database nor keys."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            parsed = parse(_read(options["file"]))
        except AgentError as error:
            self._refuse(error, as_json=options["json"])
        if options["json"]:
            self.stdout.write(
                json.dumps(
                    {
                        "headers": headers_json(parsed.fields),
                        "parts": [part_json(parsed.root, shown_names(parsed.root))],
                        "defects": list(parsed.defects),
                    }
                )
            )
            return
        for part in parsed.root.walk():
            indent = "  " * part.path.count(".")
            self.stdout.write(f"{indent}{part.path} {part.content_type} {part.size} {part.filename}".rstrip())
        for defect in parsed.defects:
            self.stdout.write(f"defect: {defect}")

    def _refuse(self, error: AgentError, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"code": error.code, "detail": error.detail}))
        raise CommandError(f"{error.code}: {error.detail}", returncode=1) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One octet more than the parser takes: a huge file is refused without being read whole.
            return file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", returncode=2) from error


def headers_json(fields: Fields) -> dict[str, str | list[str]]:
    """Decoded fields by lower-case name; a name that occurs more than once has a list."""
    found: dict[str, str | list[str]] = {}
    for key in dict.fromkeys(field.key for field in fields):
        texts = [field.text for field in fields.all(key)]
        found[key] = texts[0] if len(texts) == 1 else texts
    return found


def shown_names(root: Part) -> dict[str, str]:
    """The file names of the parts by path, made different where two are the same."""
    named = [part for part in root.walk() if part.filename]
    names = number_duplicates([part.filename for part in named])
    return {part.path: name for part, name in zip(named, names, strict=True)}


def part_json(part: Part, names: dict[str, str]) -> dict[str, Any]:
    """One part and those inside; size and digest are of the decoded content (of a multipart, of its body)."""
    return {
        "path": part.path,
        "content_type": part.content_type,
        "filename": names.get(part.path),
        "size": part.size,
        "sha256": part.sha256,
        "children": [part_json(child, names) for child in part.children],
    }
