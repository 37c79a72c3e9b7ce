"""`refresh_bundles`: fetch trust bundles now."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trust import bundles
from trust.management.bundle_report import tell
from trust.models import Bundle


class Command(BaseCommand):
    help = "Fetch one trust bundle, or all that are switched on, whether they are due or not."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="without it all")
        parser.add_argument(
            "--accept-drop", action="store_true", help="of one bundle: yes, half of its anchors may go"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        name, accept_drop = options["name"], options["accept_drop"]
        if accept_drop and name is None:
            raise CommandError("--accept-drop is said of one bundle, by name", returncode=2)
        wanted = Bundle.objects.filter(is_active=True).exclude(url="")
        if name is not None:
            wanted = Bundle.objects.filter(name=name)
            if not wanted.exists():
                raise CommandError(f"there is no bundle named {name!r}", returncode=2)
        done = [
            (bundle, bundles.refresh(bundle, accept_drop=accept_drop, actor="operator")) for bundle in wanted
        ]
        tell(self, done, as_json=options["json"])
