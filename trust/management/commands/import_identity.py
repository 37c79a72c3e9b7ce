"""`import_identity`: a certificate and key that another authority made for us."""

import getpass
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from healthvault.store.commands import PortalCommand
from healthvault.vault.errors import VaultError
from trust import keyimport
from trust.errors import TrustRefusal
from trust.models import Identity
from trust.pki.errors import PkiError
from trust.present import identity_json


class Command(PortalCommand):
    help = "Take a certificate and its key from a PKCS #12 file (.p12, .pfx)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("p12", metavar="P12", type=Path)
        parser.add_argument("--password-file", type=Path, help="first line is the password; else it is asked")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        data, password = _read(options["p12"]), self._password(options["password_file"])
        try:
            rows = keyimport.import_p12(data, password)
        except TrustRefusal as error:
            raise CommandError(f"{options['p12']}: {error.detail}", returncode=1) from error
        except (PkiError, VaultError) as error:
            raise CommandError(f"{options['p12']}: {error}", returncode=1) from error
        for row in rows:
            if row.state == Identity.State.RETIRED:
                self.stderr.write(f"{row.name}: expired; kept to open old mail only")
        if options["json"]:
            shown = {**identity_json(rows[0]), "names": [row.name for row in rows]}
            self.stdout.write(json.dumps(shown))
        else:
            for row in rows:
                self.stdout.write(f"{row.name}  {row.sha256}  until {row.not_after:%Y-%m-%d}")

    def _password(self, path: Path | None) -> str:
        if path is not None:
            lines = _read(path).decode("utf-8", "replace").splitlines()
            return lines[0] if lines else ""
        return getpass.getpass("Password (empty for none): ") if sys.stdin.isatty() else ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", returncode=2) from error
