"""`inspect_message`: the whole receiving agent on one file; stores nothing, fetches nothing."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime

from directmsg.agent import incoming
from directmsg.agent.address import normalise
from directmsg.agent.cms import Identity
from directmsg.agent.errors import AgentError
from records.clinical.detect import detect
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError
from trust.pki.load import load_certificates
from trust.pki.policy import Policy, TrustContext


class Command(BaseCommand):
    help = "Run every receiving check on a message file and say what it found."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--recipient", action="append", default=[])
        parser.add_argument("--mail-from")
        parser.add_argument("--anchor", action="append", default=[], type=Path)
        parser.add_argument(
            "--identity", action="append", default=[], help="FILE[#password]: P12, or PEM with key"
        )
        parser.add_argument("--intermediate", action="append", default=[], type=Path)
        parser.add_argument("--crl", action="append", default=[], type=Path)
        parser.add_argument("--at", help="judge at this time (ISO 8601)")
        parser.add_argument(
            "--clear", action="store_true", help="the file is a signed entity, never encrypted"
        )
        parser.add_argument("--revocation", choices=["require", "soft"], default="soft")
        parser.add_argument("--legacy", default="", help="tolerances, separated by commas")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        raw = _read(options["file"])
        at = _time(options["at"])
        names = options["recipient"] or incoming.outer_recipients(raw, clear=options["clear"])
        report = incoming.examine(
            raw,
            mail_from=options["mail_from"],
            recipients=[_recipient(normalise(name), options) for name in names],
            at=at,
            clear=options["clear"],
        )
        found = incoming.report_json(report, document_kind=_document_kind)
        if options["json"]:
            self.stdout.write(json.dumps(found))
        else:
            self.stdout.write(_plain(found))
        if found["verdict"] != "accepted":
            raise SystemExit(1)


def _recipient(address: str, options: dict[str, Any]) -> incoming.Recipient:
    """What judges mail for `address`: the files given, or else what the database holds."""
    identities = tuple(_identity(value) for value in options["identity"])
    if options["anchor"]:
        anchors = tuple(c for path in options["anchor"] for c in _certificates(path))
        trust = TrustContext(
            anchors=anchors, crls=tuple(_read(p) for p in options["crl"]), policy=_policy(options)
        )
        notification_trust, require_wrapped = trust, False
    if not options["anchor"] or (not identities and not options["clear"]):
        from trust import context

        stored = context.for_address(address)
        identities = identities or tuple(Identity(*pair) for pair in stored.identities)
        if not options["anchor"]:
            trust, notification_trust = stored.trust, stored.notification_trust
            require_wrapped = stored.require_wrapped
    return incoming.Recipient(
        address=address,
        identities=identities,
        trust=trust,
        notification_trust=notification_trust,
        require_wrapped=require_wrapped,
        intermediates=tuple(c for path in options["intermediate"] for c in _certificates(path)),
    )


def _policy(options: dict[str, Any]) -> Policy:
    legacy = frozenset(word for word in options["legacy"].replace(",", " ").split() if word)
    unknown = legacy - settings.LEGACY_TOLERANCES
    if unknown:
        raise CommandError(f"--legacy: {', '.join(sorted(unknown))} is no tolerance", returncode=2)
    return Policy(legacy=legacy, revocation=options["revocation"])


def _identity(value: str) -> Identity:
    found: tuple[object, Any]
    name, _, password = value.partition("#")
    data = _read(Path(name))
    secret = password.encode() or None
    try:
        if b"-----BEGIN" in data:
            found = load_pem_private_key(data, secret), load_certificates(data)[0].parsed
        else:
            found = pkcs12.load_key_and_certificates(data, secret)[:2]
    except (ValueError, TypeError, IndexError, PkiError) as error:
        raise CommandError(
            f"--identity {name}: no key and certificate can be read from it", returncode=2
        ) from error
    key, certificate = found
    if certificate is None or not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        raise CommandError(f"--identity {name}: holds no RSA or EC key with its certificate", returncode=2)
    return Identity(certificate=certificate, private_key=key)


def _certificates(path: Path) -> list[Certificate]:
    try:
        return list(load_certificates(_read(path)))
    except (PkiError, AgentError) as error:
        raise CommandError(f"{path}: {error}", returncode=2) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", returncode=2) from error


def _time(text: str | None) -> datetime:
    if not text:
        return datetime.now(UTC)
    at = parse_datetime(text) or parse_datetime(f"{text}T00:00:00")
    if at is None:
        raise CommandError(f"--at: {text!r} is no ISO 8601 time", returncode=2)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _document_kind(data: bytes, content_type: str, filename: str) -> str | None:
    return detect(data, content_type, filename).kind


def _plain(found: dict[str, Any]) -> str:
    code = f" ({found['code']})" if found["code"] else ""
    lines = [f"{found['verdict']}{code}: {found['detail'] or 'all checks passed'}"]
    lines += [f"  {r['address']}: {r['verdict']} {r['code'] or ''}".rstrip() for r in found["recipients"]]
    return "\n".join(lines)
