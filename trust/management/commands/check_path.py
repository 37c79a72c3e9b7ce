"""`check_path`: does this certificate lead to one of these anchors? Files only: no database, no keys."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trust.management.files import WRONG_USE, describe, finish, read_file, read_time
from trust.pki.certs import Certificate, require_covers, require_direct_leaf
from trust.pki.errors import PkiError, WrongKeyUsage
from trust.pki.load import load_certificate, load_certificates
from trust.pki.ocsp import MAX_ANSWER_BYTES
from trust.pki.path import Chain, verify_path
from trust.pki.policy import Policy, TrustContext

MAX_CRL_BYTES = 16 * 1024 * 1024


class Command(BaseCommand):
    help = "Validate the path from a certificate to an anchor, all from files."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--leaf", required=True, metavar="FILE")
        parser.add_argument("--intermediate", action="append", default=[], metavar="FILE")
        parser.add_argument("--anchor", action="append", required=True, metavar="FILE")
        parser.add_argument("--crl", action="append", default=[], metavar="FILE")
        parser.add_argument("--ocsp", action="append", default=[], metavar="FILE", help="an OCSP response")
        parser.add_argument("--at", metavar="ISO", help="judge as of this time (default: now)")
        parser.add_argument("--address", help="also hold it to the binding and the Direct rules for a leaf")
        parser.add_argument("--revocation", choices=["require", "soft"], default="soft")
        parser.add_argument("--legacy", default="", metavar="NAMES", help="tolerances, separated by commas")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        at, policy = read_time(options["at"]), _policy(options)
        files = {name: [read_file(each) for each in options[name]] for name in ("intermediate", "anchor")}
        leaf_file = read_file(options["leaf"])
        crls = tuple(read_file(each, limit=MAX_CRL_BYTES) for each in options["crl"])
        answers = tuple(read_file(each, limit=MAX_ANSWER_BYTES) for each in options["ocsp"])
        chain: Chain | None = None
        code = None
        try:
            leaf = load_certificate(leaf_file)
            intermediates = [each for data in files["intermediate"] for each in load_certificates(data)]
            anchors = tuple(each for data in files["anchor"] for each in load_certificates(data))
            chain = verify_path(leaf, intermediates, TrustContext(anchors, crls, policy, answers), at)
            if options["address"]:
                _require_bound_leaf(leaf, options["address"], policy)
            detail = f"a path of {len(chain.certificates)}, revocation {chain.revocation}"
        except PkiError as error:
            code, detail = error.code, error.detail
        result = {
            "trusted": code is None,
            "code": code,
            "detail": detail,
            "chain": [describe(each) for each in chain.certificates] if chain else [],
            "revocation": chain.revocation if chain else None,
            "warnings": list(chain.warnings) if chain else [],
        }
        text = f"{'trusted' if code is None else f'refused ({code})'}: {detail}"
        finish(self, result, as_json=options["json"], good=code is None, text=text)


def _policy(options: dict[str, Any]) -> Policy:
    legacy = frozenset(each.strip() for each in options["legacy"].split(",") if each.strip())
    try:
        return Policy(legacy=legacy, revocation=options["revocation"])
    except ValueError as error:
        raise CommandError(str(error), returncode=WRONG_USE) from error


def _require_bound_leaf(leaf: Certificate, address: str, policy: Policy) -> None:
    """The address, and the leaf rules for one of the two uses: to sign, or to be encrypted to by RSA."""
    require_covers(leaf, address, policy)
    try:
        require_direct_leaf(leaf, policy, "signing")
    except WrongKeyUsage:
        if not isinstance(leaf.public_key, rsa.RSAPublicKey):
            raise
        require_direct_leaf(leaf, policy, "encryption")
