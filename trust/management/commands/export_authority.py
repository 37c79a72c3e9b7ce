"""`export_authority`: the key of an authority of ours as a sealed file, and out of the installation."""

import getpass
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from healthvault.store.commands import PortalCommand
from healthvault.vault.errors import VaultError
from trust import authorities, renewal
from trust.errors import TrustRefusal
from trust.present import iso


class Command(PortalCommand):
    help = (
        "Write an authority with its private key to a PKCS #12 file, sealed under a password. With --remove"
        " the key leaves this installation; import_identity brings it back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="where to write; must not exist yet")
        parser.add_argument("--name", default=authorities.OWN_SLUG, help="title, slug or fingerprint")
        parser.add_argument("--password-file", type=Path, help="first line is the password; else it is asked")
        parser.add_argument("--remove", action="store_true", help="take the key offline")
        parser.add_argument(
            "--list-days",
            type=int,
            default=renewal.OFFLINE_LIST_LIFE.days,
            help="with --remove: days that the revocation list holds, during which nothing can be revoked",
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["list_days"] <= 365:
            raise CommandError("--list-days: 1 to 365", returncode=2)
        password = _password(options["password_file"])
        try:
            authority = authorities.find_authority(options["name"])
            sealed = renewal.export_authority(authority, password)
            _write(options["file"], sealed)
            if options["remove"]:
                # What stands on the disk is what counts, not what was meant to stand there.
                written = options["file"].read_bytes()
                renewal.take_offline(authority, written, password, timedelta(days=options["list_days"]))
        except TrustRefusal as error:
            raise CommandError(error.detail, returncode=1) from error
        except VaultError as error:
            raise CommandError(str(error), returncode=1) from error
        result = {
            "name": authority.name,
            "sha256": authority.sha256,
            "not_after": iso(authority.not_after),
            "removed": options["remove"],
        }
        words = f"{authority.name} is in {options['file']}"
        words += "; its key is not here any more" if options["remove"] else "; its key is still here, too"
        self.stdout.write(json.dumps(result) if options["json"] else words)


def _password(path: Path | None) -> str:
    if path is not None:
        try:
            lines = path.read_text("utf-8").splitlines()
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}", returncode=2) from error
        return lines[0] if lines else ""
    if not sys.stdin.isatty():
        raise CommandError("--password-file is needed where nobody can be asked", returncode=2)
    first = getpass.getpass("Password for the file: ")
    if getpass.getpass("The same again: ") != first:
        raise CommandError("the two passwords differ", returncode=2)
    return first


def _write(path: Path, content: bytes) -> None:
    """A new file for its owner only, on the disk before we go on."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}", returncode=2) from error
