"""The second reader of a path: pyhanko-certvalidator, for policies and name constraints.

It gets one finished path and judges no revocation: that path was found and verified by OpenSSL, which cannot
start from "any policy". Neither reader is believed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from asn1crypto import algos, keys
from asn1crypto import x509 as asn1
from pyhanko_certvalidator.authority import Authority, CertTrustAnchor, TrustAnchor
from pyhanko_certvalidator.context import ValidationContext
from pyhanko_certvalidator.errors import PathValidationError
from pyhanko_certvalidator.ltv.poe import POEManager
from pyhanko_certvalidator.name_trees import (
    default_excluded_subtrees,
    default_permitted_subtrees,
    process_general_subtrees,
)
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    AcceptAllAlgorithms,
    CertRevTrustPolicy,
    NonRevokedStatusAssertion,
    PKIXValidationParams,
    RevocationCheckingPolicy,
    RevocationCheckingRule,
)
from pyhanko_certvalidator.registry import CertificateRegistry, TrustManager
from pyhanko_certvalidator.revinfo.manager import RevinfoManager
from pyhanko_certvalidator.sig_validate import DefaultSignatureValidator
from pyhanko_certvalidator.validate import async_validate_path

from trust.pki.certs import Certificate
from trust.pki.policy import Policy

_NO_REVOCATION = CertRevTrustPolicy(
    RevocationCheckingPolicy(
        ee_certificate_rule=RevocationCheckingRule.NO_CHECK,
        intermediate_ca_cert_rule=RevocationCheckingRule.NO_CHECK,
    )
)
_EXACT = timedelta(0)

Fault = Literal["policy", "name_constraint", "other"]


@dataclass(frozen=True)
class Verdict:
    """`fault` None: the reader accepts."""

    fault: Fault | None
    detail: str = ""


class _OverReceivedBytes(DefaultSignatureValidator):
    """Verifies over the signed part as received: asn1crypto re-encodes some certificates differently."""

    def __init__(self, path: Sequence[Certificate]) -> None:
        self._received = {each.parsed.signature: each.tbs for each in path}

    def validate_signature(
        self,
        signature: bytes,
        signed_data: bytes,
        public_key_info: keys.PublicKeyInfo,
        signature_algorithm: algos.SignedDigestAlgorithm,
        *rest: Any,
        **named: Any,
    ) -> None:
        received = self._received.get(signature, signed_data)
        super().validate_signature(signature, received, public_key_info, signature_algorithm, *rest, **named)


class _Nobody(TrustManager):
    """No anchors: with none given at all the library would read the system's store."""

    def as_trust_anchor(self, authority: Authority) -> None:
        return None

    def find_potential_issuers(self, cert: asn1.Certificate) -> Iterator[TrustAnchor]:
        return iter(())


def check_path(path: Sequence[Certificate], at: datetime, policy: Policy) -> Verdict:
    """Re-read `path`, leaf first and anchor last, at `at`, by RFC 5280 section 6.1.

    A name constraint or a policy that the library cannot process makes it refuse, never pass.
    """
    try:
        anchor, *between, leaf = [asn1.Certificate.load(each.der, strict=True) for each in reversed(path)]
        validation = async_validate_path(
            _context(path, leaf, at),
            ValidationPath(CertTrustAnchor(anchor), between, leaf),
            parameters=_parameters(anchor, policy),
        )
        _run(validation)
    except PathValidationError as error:
        return Verdict(_fault(str(error)), str(error))
    except (ValueError, TypeError, NotImplementedError, KeyError, RecursionError, LookupError) as error:
        return Verdict("other", f"unreadable path: {error}")
    return Verdict(None)


def _context(path: Sequence[Certificate], leaf: asn1.Certificate, at: datetime) -> ValidationContext:
    """A context of this one verdict. It trusts nobody: the path brings its anchor."""
    registry = CertificateRegistry()
    judged_elsewhere = NonRevokedStatusAssertion(cert_sha256=leaf.sha256, at=at)
    return ValidationContext(
        trust_manager=_Nobody(),
        certificate_registry=registry,
        revinfo_manager=RevinfoManager(registry, POEManager(), (), (), [judged_elsewhere]),
        revinfo_policy=_NO_REVOCATION,
        moment=at,
        time_tolerance=_EXACT,
        algorithm_usage_policy=AcceptAllAlgorithms(),
        signature_validator=_OverReceivedBytes(path),
    )


def _run(coroutine: Any) -> None:
    """Drive a coroutine that has nothing to wait for: no revocation, no fetching. No event loop is needed."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    finally:
        coroutine.close()
    raise ValueError("the validator wants to wait for something")


def _parameters(anchor: asn1.Certificate, policy: Policy) -> PKIXValidationParams:
    """Starting values of RFC 5280 section 6.1.1, with the anchor's own name constraints.

    The library applies an anchor's constraints only on request, and then with every kind of name that the
    anchor does not mention forbidden; so they are laid over "everything is permitted".
    """
    permitted, excluded = default_permitted_subtrees(), default_excluded_subtrees()
    constraints = anchor.name_constraints_value
    if constraints is not None:
        if isinstance(constraints["permitted_subtrees"], asn1.GeneralSubtrees):
            permitted.update(process_general_subtrees(constraints["permitted_subtrees"]))
        if isinstance(constraints["excluded_subtrees"], asn1.GeneralSubtrees):
            excluded.update(process_general_subtrees(constraints["excluded_subtrees"]))
    required = policy.required_policies
    return PKIXValidationParams(
        user_initial_policy_set=frozenset(required or {"any_policy"}),
        initial_explicit_policy=bool(required),
        initial_permitted_subtrees=permitted,
        initial_excluded_subtrees=excluded,
    )


def _fault(message: str) -> Fault:
    """Which half of the reader's work refused: its errors differ in words only."""
    if "set of policies" in message or "policy" in message:
        return "policy"
    if "namespace" in message:
        return "name_constraint"
    return "other"
