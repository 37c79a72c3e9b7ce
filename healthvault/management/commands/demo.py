"""`demo`: a throw-away portal with invented people and three real messages."""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from directmsg import addresses
from healthvault.demo import partner as demo
from healthvault.demo.mailbox import sent_mails
from healthvault.embedded import Listening, portal
from healthvault.management.commands.portal import until_told_to_stop
from healthvault.store.running import AlreadyRunning
from records import proofs
from records.models import Account
from trust import admission, authorities
from trust.models import Organization

PATIENT = ("ada@demo.example", "demo-patient-26")
ADMINISTRATOR = ("admin@demo.example", "demo-admin-26")
FIRST_MAIL_WITHIN_S = 60
DIRECTORY = "HEALTHVAULT_DEMO_DIRECTORY"
#: What would make the demonstration work on somebody's real installation.
REAL_SETTINGS = (
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "EMAIL_URL",
    "STORAGE_URL",
    "VAULT_KEYS",
    "IDENTITY_KEYS",
    "CACHE_URL",
)


class Command(BaseCommand):
    help = "Run a throw-away portal with demo people, a demo hospital and three messages sent over SMTP."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            start_afresh()
        directory = Path(os.environ[DIRECTORY])
        try:
            self._run(until_told_to_stop())
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _run(self, stop: Any) -> None:
        started = time.monotonic()
        self.say("Starting web, SMTP gateway, worker and beat …")
        try:
            with portal(lambda _name: stop.set()) as listening:
                self.stdout.write(listening.line())
                self.say("Making certificates and people …")
                people_and_messages(listening)
                self.say("Three messages are sent; waiting for the first notification mail …")
                self._wait_for_mail(stop)
                self.stdout.write(instructions(time.monotonic() - started))
                self.stdout.flush()
                stop.wait()
        except AlreadyRunning as error:
            raise CommandError(str(error), returncode=1) from error
        except OSError as error:
            raise CommandError(
                f"an address cannot be used ({error}); choose others with WEB_LISTEN and SMTP_LISTEN",
                returncode=1,
            ) from error

    def _wait_for_mail(self, stop: Any) -> None:
        end = time.monotonic() + FIRST_MAIL_WITHIN_S
        while not sent_mails() and not stop.is_set():
            if time.monotonic() > end:
                raise CommandError("no notification mail went out; the log above says why", returncode=1)
            time.sleep(0.1)

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def start_afresh() -> None:
    """Run this command anew on a directory that is thrown away, whatever the environment says."""
    directory = tempfile.mkdtemp(prefix="healthvault-demo-")
    environment = {name: value for name, value in os.environ.items() if name not in REAL_SETTINGS}
    environment |= {
        DIRECTORY: directory,
        "DATA_DIR": directory,
        "HEALTHVAULT_ENVIRONMENT": "demo",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606


def people_and_messages(listening: Listening) -> None:
    """A patient, an administrator, a partner with its anchor; then three messages over SMTP."""
    domain = settings.DIRECT_DOMAINS[0]
    identity = authorities.issue_identity(domain)
    known = _account(*PATIENT, name="Ada Whitlock")
    _account(*ADMINISTRATOR, name="Demo Administrator", is_staff=True, is_superuser=True)
    hospital = demo.Partner()
    _trust(hospital)
    smtp = listening.smtp
    if smtp is None:
        raise CommandError("SMTP_LISTEN is off; the demonstration sends its messages over SMTP", returncode=2)
    for mail in demo.mails(f"{addresses.NEWUSER}@{domain}", known):
        hospital.send(mail, identity.certificate.parsed, smtp)


def _account(email: str, password: str, name: str, **extra: Any) -> str:
    """An account with a record; returns its Direct address."""
    with transaction.atomic():
        account = Account.objects.create_user(email, password, name=name, **extra)
        EmailAddress.objects.create(user=account, email=email, verified=True, primary=True)
        proofs.add(account, email)
        record = addresses.open_record(account, name)
    address = addresses.primary_address(record)
    assert address is not None
    return address.address


def _trust(hospital: demo.Partner) -> None:
    Organization.objects.create(name=demo.NAME, domains=[demo.DOMAIN])
    pem = hospital.anchor.public_bytes(Encoding.PEM)
    reading = admission.read_files([("larkspur.pem", pem)], timezone.now())
    admission.admit(reading.candidates, demo.NAME)


def instructions(seconds: float) -> str:
    """What to open next."""
    return f"""
Ready after {seconds:.0f} s. Everything here is invented and thrown away when you stop it (Ctrl+C).

  1. Open {settings.PUBLIC_URL}/demo/mail/
     These are the mails that went out. Follow the link in the one to nora@demo.example,
     make an account, and answer the question (Which street did you grow up in?) with: Orchard Row
  2. Or sign in at {settings.PUBLIC_URL}/accounts/login/
     patient         {PATIENT[0]}  password {PATIENT[1]}
     administrator   {ADMINISTRATOR[0]}  password {ADMINISTRATOR[1]}
"""
