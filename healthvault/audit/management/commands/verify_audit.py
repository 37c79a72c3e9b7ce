import json
import re
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from healthvault.audit.verify import verify_trail

_LOGGED = re.compile(r"audit head (\d+)/(\d+) ([0-9a-f]{64})")


class Command(BaseCommand):
    help = "Read the whole audit trail and say whether every row is the one that was written."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
        parser.add_argument(
            "--heads",
            type=Path,
            metavar="FILE",
            help="ends of the chains kept in another place: the JSON of an earlier run, or log lines",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        verdict = verify_trail(_kept(options["heads"]))
        if options["json"]:
            self.stdout.write(json.dumps(verdict.to_json()))
        else:
            for problem in verdict.problems[:20]:
                self.stdout.write(f"{problem.problem} at {problem.shard}/{problem.seq} (row {problem.id})")
            self.stdout.write(f"{verdict.events} events, {len(verdict.problems)} problems")
        if not verdict.ok:
            sys.exit(1)


def _kept(path: Path | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    try:
        text = path.read_text(encoding="utf-8")
        if lines := _LOGGED.findall(text):
            return [{"shard": int(shard), "seq": int(seq), "mac": mac} for shard, seq, mac in lines]
        return list(json.loads(text)["heads"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{path} holds no ends of chains", returncode=2) from error
