"""Taking anchors in: reading what was handed over, showing what it would mean, then admitting it.

Files are told apart by content, because their names lie. One file that is not what it should be stops the
whole import: an anchor that silently stays out is found when mail is refused.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from django.db import transaction

from healthvault.audit import trail
from trust.errors import AnchorStopped, OverLimit, PrivateKeyInside, UnreadableFile
from trust.models import Anchor, Domain, Organization
from trust.pki import ber
from trust.pki.bundle import read_bundle
from trust.pki.certs import Certificate, require_bounds, require_sound, require_strong_signature
from trust.pki.errors import BoundExceeded, PkiError
from trust.pki.load import MAX_FILE_BYTES
from trust.pki.policy import Policy

MAX_ZIP_MEMBERS = 500

_NAME_CONSTRAINTS = bytes.fromhex("551d1e")

#: What an administrator should know before saying yes, by code.
WARNINGS = {
    "leaf": "is no CA: it trusts this one certificate, and nothing it issued",
    "cannot_issue": "is a CA that may not sign certificates: nothing will chain to it",
    "expired": "has expired: nothing will chain to it",
    "not_yet_valid": "is not valid yet",
    "name_constraints": "limits the names it may speak for; that is honoured",
    "weak_digest": "is signed with an old digest (its own signature is not relied on)",
    "unsound": "breaks a rule, so that nothing will chain to it",
}


@dataclass(frozen=True)
class Candidate:
    """One certificate that would become an anchor. `file`: where it came from; `warnings`: codes."""

    certificate: Certificate
    file: str
    warnings: tuple[str, ...] = ()
    detail: str = ""


@dataclass
class Reading:
    """What files hold: candidates, each certificate once, and names of members that hold none."""

    candidates: list[Candidate] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Admitted:
    """An anchor as it stands after the import; `change` is `added`, `changed` or `unchanged`."""

    anchor: Anchor
    candidate: Candidate
    change: str


# --- reading --------------------------------------------------------------------------------------------


def read_files(files: Iterable[tuple[str, bytes]], at: datetime) -> Reading:
    """The certificates in (name, content) pairs: PEM, DER, PKCS #7, trust bundles, and zips of these.

    `at`: the time that expiry is judged by. Raises UnreadableFile, PrivateKeyInside.
    """
    reading = Reading()
    seen: set[str] = set()
    for name, data in files:
        for part_name, part in _parts(name, data, reading):
            for certificate in _certificates(part_name, part, at):
                if certificate.sha256 not in seen:
                    seen.add(certificate.sha256)
                    reading.candidates.append(_candidate(certificate, part_name, at))
    if not reading.candidates:
        raise UnreadableFile("there is no certificate in what was handed over")
    return reading


def _parts(name: str, data: bytes, reading: Reading) -> Iterable[tuple[str, bytes]]:
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableFile(f"{name}: more than {MAX_FILE_BYTES} octets")
    if data[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
        return [(name, data)]
    parts = []
    for member, content in _unzip(name, data):
        require_no_private_key(member, content)
        if _looks_like_certificates(content):
            parts.append((member, content))
        else:
            reading.passed_over.append(member)
    return parts


def _unzip(name: str, data: bytes) -> list[tuple[str, bytes]]:
    found, left = [], MAX_FILE_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [each for each in archive.infolist() if not _is_clutter(each.filename)]
            if len(members) > MAX_ZIP_MEMBERS:
                raise UnreadableFile(f"{name}: more than {MAX_ZIP_MEMBERS} files in the zip")
            for member in members:
                with archive.open(member) as content:
                    # The size that the zip tells may be a lie; what is read is counted.
                    part = content.read(left + 1)
                left -= len(part)
                if left < 0:
                    raise UnreadableFile(f"{name}: more than {MAX_FILE_BYTES} octets in the zip")
                found.append((f"{name}/{member.filename}", part))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UnreadableFile(f"{name}: the zip is broken") from error
    except (RuntimeError, NotImplementedError) as error:
        raise UnreadableFile(f"{name}: the zip is encrypted or of a rare kind") from error
    return found


def _is_clutter(name: str) -> bool:
    return name.endswith("/") or name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")


def _looks_like_certificates(content: bytes) -> bool:
    return content[:1] == b"\x30" or b"-----BEGIN " in content


def _certificates(name: str, data: bytes, at: datetime) -> tuple[Certificate, ...]:
    require_no_private_key(name, data)
    try:
        # Also for what is no bundle: the certificate that merely signed one must not become an anchor.
        return read_bundle(data, signer=None, at=at).anchors
    except PkiError as error:
        raise UnreadableFile(f"{name}: {error.detail}") from error


def require_no_private_key(name: str, data: bytes) -> None:
    """Raise PrivateKeyInside when `data` holds a private key: PEM, DER or PKCS #12, open or encrypted."""
    if b"PRIVATE KEY-----" in data or _is_der_key(data):
        raise PrivateKeyInside(
            f"{name}: this file holds a private key. Nothing of it was kept."
            " Send the certificate alone, and treat the key as seen by others."
        )


def _is_der_key(data: bytes) -> bool:
    try:
        first = next(iter(ber.children(ber.whole(data, ber.SEQUENCE, der=False), der=False)), None)
    except ber.BerError:
        return False
    if first is not None and first.tag == ber.INTEGER:
        # PrivateKeyInfo, an RSA or EC key, and PFX all start with a version; no certificate does.
        return True
    try:
        serialization.load_der_private_key(data, None)
    except TypeError:
        return True
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


# --- what it would mean ---------------------------------------------------------------------------------


def _candidate(certificate: Certificate, file: str, at: datetime) -> Candidate:
    try:
        require_bounds(certificate, Policy())
        return Candidate(certificate, file, *_warnings(certificate, at))
    except BoundExceeded as error:
        raise OverLimit(f"{file}: {error.detail}") from error
    except PkiError as error:
        raise UnreadableFile(f"{file}: {error.detail}") from error


def _warnings(certificate: Certificate, at: datetime) -> tuple[tuple[str, ...], str]:
    found: list[str] = []
    detail = ""
    usage = certificate.key_usage
    if not certificate.is_ca:
        found.append("leaf")
    elif usage is not None and not usage.key_cert_sign:
        found.append("cannot_issue")
    if at > certificate.not_after:
        found.append("expired")
    elif at < certificate.not_before:
        found.append("not_yet_valid")
    if certificate.extension_count(_NAME_CONSTRAINTS):
        found.append("name_constraints")
    for rule, code in ((require_strong_signature, "weak_digest"), (require_sound, "unsound")):
        problem = _broken(rule, certificate)
        if problem:
            found.append(code)
            detail = problem
    return tuple(found), detail


def _broken(rule: Callable[[Certificate, Policy], None], certificate: Certificate) -> str:
    try:
        rule(certificate, Policy())
    except PkiError as error:
        return error.detail
    return ""


# --- admitting ------------------------------------------------------------------------------------------


def admit(
    candidates: Iterable[Candidate],
    organization_name: str,
    *,
    domain: Domain | None = None,
    incoming: bool = True,
    outgoing: bool = True,
    actor: Any = "operator",
) -> list[Admitted]:
    """Make anchors of `candidates`, all or none, for one of our domains or (None) for all of them.

    An anchor that is there already gets the flags and the organisation given now: the last word counts. The
    organisation is made when it is new. Raises AnchorStopped for one that was paused or revoked.
    """
    with transaction.atomic():
        organization = _organization(organization_name, actor)
        return [
            _admit(each, organization, domain, incoming=incoming, outgoing=outgoing, actor=actor)
            for each in candidates
        ]


def _organization(name: str, actor: Any) -> Organization:
    organization, made = Organization.objects.get_or_create(name=name.strip())
    if made:
        trail.record("trust.organization_added", actor=actor, subject=organization.pk)
    return organization


def _admit(
    candidate: Candidate,
    organization: Organization,
    domain: Domain | None,
    *,
    incoming: bool,
    outgoing: bool,
    actor: Any,
) -> Admitted:
    sha256 = candidate.certificate.sha256
    _require_not_stopped(sha256, domain)
    wanted = {"organization_id": organization.pk, "incoming": incoming, "outgoing": outgoing}
    anchor = Anchor.objects.filter(sha256=sha256, domain=domain, bundle=None).first()
    if anchor is None:
        anchor = Anchor(**Anchor.fields_of(candidate.certificate), domain=domain, **wanted)
        change = "added"
    else:
        same = all(getattr(anchor, name) == value for name, value in wanted.items())
        change = "unchanged" if same and anchor.state == Anchor.State.ACTIVE else "changed"
        for name, value in wanted.items():
            setattr(anchor, name, value)
        anchor.state = Anchor.State.ACTIVE
    if change != "unchanged":
        anchor.save()
        trail.record(
            f"trust.anchor_{change}",
            actor=actor,
            subject=anchor.pk,
            sha256=sha256,
            organization=organization.pk,
            domain=domain.pk if domain else None,
            incoming=int(incoming),
            outgoing=int(outgoing),
        )
    return Admitted(anchor, candidate, change)


def _require_not_stopped(sha256: str, domain: Domain | None) -> None:
    stopped = Anchor.objects.filter(sha256=sha256, state__in=[Anchor.State.PAUSED, Anchor.State.REVOKED])
    row = next((each for each in stopped if each.domain_id in (None, domain.pk if domain else None)), None)
    if row is not None:
        because = f" ({row.reason})" if row.reason else ""
        raise AnchorStopped(
            f"{row.subject} is {row.get_state_display().lower()} here{because}; lift that first"
        )
