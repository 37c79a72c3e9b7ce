import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from healthvault.store.keyrings import IDENTITY, VAULT, named_keyring
from healthvault.store.rotation import BATCH, rotate_vault_keys, rotation_status
from healthvault.vault.errors import KeyringUnavailable


class Command(BaseCommand):
    help = "Re-wrap everything under the first key of VAULT_KEYS (and of IDENTITY_KEYS, if they are here)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--status", action="store_true", help="only say how many values each key wraps")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--batch", type=int, default=BATCH, help="rows a transaction")

    def handle(self, *args: Any, **options: Any) -> None:
        result: dict[str, Any] = {}
        if not options["status"]:
            rotation = rotate_vault_keys(max(1, options["batch"]))
            result = {
                "moved": rotation.moved,
                "failed": rotation.failed,
                "unavailable": rotation.unavailable,
            }
        result["keys"] = rotation_status()
        result["first"] = {name: _first(name) for name in (VAULT, IDENTITY)}
        if options["json"]:
            self.stdout.write(json.dumps(result))
        else:
            self._tell(result)
        if result.get("failed"):
            sys.exit(1)

    def _tell(self, result: dict[str, Any]) -> None:
        if "moved" in result:
            self.stdout.write(f"{result['moved']} values moved, {len(result['failed'])} do not open")
            for place in result["failed"][:20]:
                self.stdout.write(f"does not open: {place}")
        for name, counts in result["keys"].items():
            for key_id, count in sorted(counts.items()):
                first = " (first)" if key_id == result["first"][name] else ""
                self.stdout.write(f"{name} key {key_id}{first}: {count} values")


def _first(name: str) -> str | None:
    try:
        return named_keyring(name).ids[0]
    except KeyringUnavailable:
        return None
