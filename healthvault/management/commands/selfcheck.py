"""`selfcheck`: is this installation fit to work? One line for each thing looked at."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from healthvault.celery import app
from healthvault.store import running
from healthvault.store.keyrings import identity_keyring, keyring
from healthvault.vault.errors import VaultError
from trust.models import Identity


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: its name, whether it is well, and what was found or is to be done."""

    name: str
    ok: bool
    detail: str


class Command(BaseCommand):
    help = "Check settings, database, broker, keys, certificates, clock and storage."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = [_look(name, look) for name, look in CHECKS.items()]
        ok = all(finding.ok for finding in findings)
        if options["json"]:
            checks = [{"name": f.name, "ok": f.ok, "detail": f.detail} for f in findings]
            self.stdout.write(json.dumps({"ok": ok, "checks": checks}))
        else:
            for finding in findings:
                self.stdout.write(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name}: {finding.detail}")
        if not ok:
            raise SystemExit(1)


def _look(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:
        return Finding(name, False, f"{type(error).__name__}: {error}")


def _settings() -> Finding:
    loose = [name for name in ("FETCH_ALLOW", "FAULT_AT") if getattr(settings, name)]
    if settings.DIRECT_MX_PORT != 25:
        loose.append("DIRECT_MX_PORT")
    mode = "embedded" if settings.EMBEDDED else "separate processes"
    detail = (
        f"{settings.ENVIRONMENT}, {mode}, {settings.PUBLIC_URL}, domains {', '.join(settings.DIRECT_DOMAINS)}"
    )
    if loose:
        detail += f"; only for tests: {', '.join(loose)}"
    return Finding("settings", True, detail)


def _database() -> Finding:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        return Finding("database", False, f"{len(waiting)} migrations are missing; run: manage.py migrate")
    return Finding("database", True, f"{connection.vendor}, schema up to date")


def _broker() -> Finding:
    if settings.EMBEDDED:
        alive = running.portal_is_running()
        return Finding("broker", True, f"in memory; a portal is {'' if alive else 'not '}running here")
    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=5)
    return Finding("broker", True, "answers")


def _keys() -> Finding:
    ids = ", ".join(keyring().ids)
    try:
        identity_keyring()
        identity = "identity keys at hand"
    except VaultError:
        identity = "no identity keys in this process (right for web and gateway)"
    return Finding("keys", True, f"vault key {ids}; {identity}")


def _certificates() -> Finding:
    problems = list(_certificate_problems())
    if problems:
        return Finding("certificates", False, "; ".join(problems))
    return Finding("certificates", True, "every domain has one that is valid for 30 days or more")


def _certificate_problems() -> Iterator[str]:
    soon = timezone.now() + timedelta(days=30)
    for domain in settings.DIRECT_DOMAINS:
        latest = Identity.objects.filter(name=domain, state="active").order_by("-not_after").first()
        if latest is None:
            yield f"{domain} has none; run: manage.py create_identity {domain}"
        elif latest.not_after < soon:
            yield f"that of {domain} ends on {latest.not_after:%Y-%m-%d}"


def _clock() -> Finding:
    # The database's clock is the second opinion; both feed expiry and audit times.
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_TIMESTAMP")
        before = time.time()
        told = cursor.fetchone()[0]
    if isinstance(told, str):
        return Finding("clock", True, "the database is on this machine")
    apart = abs(told.timestamp() - before)
    return Finding("clock", apart < 10, f"{apart:.1f} s apart from the database's")


def _storage() -> Finding:
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.DATA_DIR).free
    needed = max(1024**3, 2 * settings.MAX_MESSAGE_SIZE)
    return Finding("storage", free >= needed, f"{free // 1024**2} MiB free")


CHECKS: dict[str, Callable[[], Finding]] = {
    "settings": _settings,
    "database": _database,
    "broker": _broker,
    "keys": _keys,
    "certificates": _certificates,
    "clock": _clock,
    "storage": _storage,
}
