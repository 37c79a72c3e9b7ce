"""`create_account`: an account, its record and its Direct address."""

import getpass
import json
import sys
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction

from directmsg import addresses
from healthvault.store.commands import PortalCommand
from records import proofs
from records.models import Account


class Command(PortalCommand):
    help = "Make an account with a record and a Direct address."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--password-file", type=Path, help="first line is the password; else it is asked")
        parser.add_argument("--name", default="", help="name of the person (default: the e-mail address)")
        parser.add_argument("--admin", action="store_true", help="may use the console")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        email = options["email"].strip().lower()
        _check_email(email)
        password = self._password(options["password_file"])
        with transaction.atomic():
            account = Account.objects.create_user(email, password, name=options["name"])
            if options["admin"]:
                account.is_staff = account.is_superuser = True
                account.save(update_fields=["is_staff", "is_superuser"])
            # An operator vouches for the mailbox.
            EmailAddress.objects.create(user=account, email=email, verified=True, primary=True)
            proofs.add(account, email)
            record = addresses.open_record(account, options["name"] or email)
        address = addresses.primary_address(record)
        made = {
            "account": str(account.pk),
            "record": str(record.pk),
            "direct_address": address.address if address else None,
        }
        if options["json"]:
            self.stdout.write(json.dumps(made))
        else:
            self.stdout.write(f"Account {email}, record {record.pk}, Direct address {made['direct_address']}")

    def _password(self, path: Path | None) -> str:
        if path is not None:
            try:
                password = path.read_text(encoding="utf-8").splitlines()[0]
            except (OSError, IndexError) as error:
                raise CommandError(f"{path}: no password can be read: {error}", returncode=2) from error
        elif sys.stdin.isatty():
            password = getpass.getpass("Password: ")
        else:
            password = sys.stdin.readline().rstrip("\n")
        try:
            validate_password(password)
        except ValidationError as error:
            raise CommandError(
                "the password is not good enough: " + " ".join(error.messages), returncode=1
            ) from error
        return password


def _check_email(email: str) -> None:
    try:
        validate_email(email)
    except ValidationError as error:
        raise CommandError(f"{email!r} is not an e-mail address", returncode=2) from error
    if Account.objects.filter(email=email).exists():
        raise CommandError(f"{email} has an account already", returncode=1)
