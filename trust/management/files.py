"""What the commands share that look at certificate files and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trust.pki.certs import Certificate
from trust.pki.errors import PkiError
from trust.pki.load import MAX_FILE_BYTES

WRONG_USE = 2


def read_file(name: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file; CommandError (exit 2) when it cannot be read or is larger than `limit` octets."""
    try:
        with Path(name).open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}", returncode=WRONG_USE) from error
    if len(data) > limit:
        raise CommandError(f"{name}: more than {limit} octets", returncode=WRONG_USE)
    return data


def read_time(text: str | None) -> datetime:
    """An ISO 8601 time, UTC where no offset is given; now without any. CommandError (exit 2) otherwise."""
    if text is None:
        return datetime.now(UTC)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"--at {text}: not an ISO 8601 time", returncode=WRONG_USE) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def describe(certificate: Certificate) -> dict[str, Any]:
    """A certificate for people and scripts; what cannot be read of it is null."""
    try:
        subject, issuer = certificate.subject, certificate.issuer
        not_before, not_after = certificate.not_before.isoformat(), certificate.not_after.isoformat()
    except (PkiError, ValueError):
        subject = issuer = not_before = not_after = None  # type: ignore[assignment]
    return {
        "sha256": certificate.sha256,
        "subject": subject,
        "issuer": issuer,
        "not_before": not_before,
        "not_after": not_after,
    }


def finish(command: BaseCommand, result: dict[str, Any], *, as_json: bool, good: bool, text: str) -> None:
    """Print the result, and exit with 1 where the answer is no."""
    command.stdout.write(json.dumps(result) if as_json else text)
    if not good:
        raise SystemExit(1)
