"""How rows of trust are shown to programs."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any

from trust.admission import Admitted, Candidate
from trust.models import Identity
from trust.pki.certs import Certificate


def iso(at: datetime) -> str:
    """A time as RFC 3339, UTC."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def pem(der: bytes) -> str:
    """A certificate as PEM (RFC 7468)."""
    return ssl.DER_cert_to_PEM_cert(der)


def identity_json(row: Identity) -> dict[str, Any]:
    """An identity of ours; never its key."""
    return {
        "name": row.name,
        "sha256": row.sha256,
        "not_after": iso(row.not_after),
        "pem": pem(bytes(row.der)),
    }


def certificate_json(certificate: Certificate) -> dict[str, Any]:
    return {
        "sha256": certificate.sha256,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "not_before": iso(certificate.not_before),
        "not_after": iso(certificate.not_after),
    }


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    """What would become an anchor."""
    shown = certificate_json(candidate.certificate)
    return {**shown, "file": candidate.file, "warnings": list(candidate.warnings)}


def admitted_json(admitted: Admitted) -> dict[str, Any]:
    """An anchor as it stands after an import."""
    anchor = admitted.anchor
    return {
        **candidate_json(admitted.candidate),
        "organization": anchor.organization.name if anchor.organization else None,
        "domain": anchor.domain.name if anchor.domain else None,
        "incoming": anchor.incoming,
        "outgoing": anchor.outgoing,
        "state": anchor.state,
        "change": admitted.change,
    }
