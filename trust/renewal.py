"""The life of our own certificates: renewed before they end, retired at their end, keys taken offline.

A certificate of our own authority gets its successor while it still holds, so that for the time between both
are published and both open mail. What others issued to us only they can renew; the console warns of its end.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from healthvault.audit import trail
from healthvault.vault.errors import KeyringUnavailable
from trust import authorities
from trust.context import is_hosted, load_key
from trust.errors import AuthorityOffline, UnusableCertificate
from trust.models import Anchor, Identity

log = logging.getLogger(__name__)

#: The successor of a certificate is made when so much is left of it: that long both are published.
RENEW_BEFORE = timedelta(days=31)
#: The successor of an authority is made when so much is left of it: no certificate may outlive its issuer.
ROLL_BEFORE = authorities.LEAF_LIFE + authorities.INTRODUCED_FOR
#: A try to renew that came to nothing is repeated after this.
TRY_AGAIN_AFTER = timedelta(hours=6)
#: A successor that lasts no longer than this beyond the old one is not worth making.
WORTH_IT = timedelta(days=1)
#: How long the revocation list of an authority holds that goes offline.
OFFLINE_LIST_LIFE = timedelta(days=60)
MIN_PASSWORD = 12
_KDF_ROUNDS = 600_000


@dataclass(frozen=True)
class Kept:
    """What a round came to; `held_up` is the code of what kept it from renewing."""

    renewed: int = 0
    retired: int = 0
    rolled: bool = False
    held_up: str = ""


def keep_current(at: datetime | None = None) -> Kept:
    """Retire what has ended, make the next authority in time, and renew what ends soon."""
    now = at or timezone.now()
    retired = retire_ended(now)
    renewed, rolled = 0, False
    try:
        rolled = _roll(now)
        for row in ending(now):
            renewed += _renew(row, now)
    except (KeyringUnavailable, AuthorityOffline) as error:
        log.warning("certificates were not renewed", extra={"code": _code(error)})
        return Kept(renewed, retired, rolled, _code(error))
    return Kept(renewed, retired, rolled)


def _code(error: KeyringUnavailable | AuthorityOffline) -> str:
    return error.code if isinstance(error, AuthorityOffline) else "keys_unavailable"


# --- certificates ---------------------------------------------------------------------------------------


def ending(at: datetime) -> list[Identity]:
    """Certificates of our own authorities that end soon while none that lasts does what they do."""
    newest: dict[tuple[str, str], Identity] = {}
    lasting: dict[str, set[str]] = {}
    rows = Identity.objects.filter(state=Identity.State.ACTIVE, revoked__isnull=True, not_before__lte=at)
    for row in rows.exclude(kind=Identity.Kind.CA).defer("der", "private_key").order_by("not_after"):
        newest[row.name, row.use] = row
        if row.not_after >= at + RENEW_BEFORE:
            lasting.setdefault(row.name, set()).update(_uses(row))
    return [
        row
        for row in newest.values()
        if row.issuer_id is not None and is_hosted(row.name) and _uses(row) - lasting.get(row.name, set())
    ]


def _uses(row: Identity) -> set[str]:
    return {name for name, does in (("sign", row.signs), ("encrypt", row.encrypts)) if does}


def _renew(row: Identity, at: datetime) -> bool:
    """Make the successor of a certificate; False where another worker does, or its issuer ends too."""
    authority = authorities.issuing_authority(at)
    if authority is not None and authority.not_after - row.not_after < WORTH_IT:
        log.warning("the authority ends with its certificates", extra={"code": "authority_ends"})
        return False
    fresh = Q(renewal_tried__isnull=True) | Q(renewal_tried__lt=at - TRY_AGAIN_AFTER)
    if not Identity.objects.filter(fresh, pk=row.pk).update(renewal_tried=at):
        return False
    try:
        made = authorities.issue_identity(row.name, use=row.use)
    except (KeyringUnavailable, AuthorityOffline):
        # Whoever has the keys need not wait.
        Identity.objects.filter(pk=row.pk, renewal_tried=at).update(renewal_tried=None)
        raise
    trail.record("trust.identity_renewed", subject=made.pk, before=row.pk)
    return True


def retire_ended(at: datetime) -> int:
    """Retire certificates past their end, and authorities nothing of which holds any more.

    Their keys stay, to open mail that was sealed to them. An authority goes only when another has taken over;
    it is an anchor of ours no longer.
    """
    with transaction.atomic():
        active = Identity.objects.filter(state=Identity.State.ACTIVE)
        ended = list(active.filter(not_after__lt=at).exclude(kind=Identity.Kind.CA).only("pk", "sha256"))
        gone = [row for row in _replaced(at) if not _holds(row, at)]
        for row in (*ended, *gone):
            if active.filter(pk=row.pk).update(state=Identity.State.RETIRED, retired=at):
                trail.record("trust.identity_retired", subject=row.pk, sha256=row.sha256)
        for row in gone:
            _stop_own_anchor(row)
    return len(ended) + len(gone)


def _replaced(at: datetime) -> list[Identity]:
    """Authorities of our own making that are older than the one that issues now."""
    issuing = authorities.issuing_authority(at)
    if issuing is None:
        return []
    ours = Q(slug=authorities.OWN_SLUG) | Q(slug__startswith=f"{authorities.OWN_SLUG}-")
    older = Identity.objects.filter(ours, kind=Identity.Kind.CA, state=Identity.State.ACTIVE)
    return list(older.filter(created__lt=issuing.created).exclude(pk=issuing.pk).only("pk", "sha256"))


def _holds(authority: Identity, at: datetime) -> bool:
    issued = Identity.objects.filter(issuer=authority, revoked__isnull=True, not_after__gte=at)
    return issued.exists()


def _stop_own_anchor(row: Identity) -> None:
    anchors = Anchor.objects.filter(sha256=row.sha256, source=Anchor.Source.OWN, state=Anchor.State.ACTIVE)
    for anchor in anchors:
        anchor.state, anchor.reason = Anchor.State.PAUSED, "this authority of ours was retired"
        anchor.save(update_fields=["state", "reason"])
        trail.record("trust.anchor_paused", subject=anchor.pk, sha256=anchor.sha256)


# --- authorities ----------------------------------------------------------------------------------------


def _roll(at: datetime) -> bool:
    issuing = authorities.issuing_authority(at)
    if issuing is None or issuing.not_after > at + ROLL_BEFORE or authorities.successor(at) is not None:
        return False
    made = authorities.make_authority()
    trail.record("trust.authority_rolled", subject=made.pk, before=issuing.pk)
    return True


def export_authority(authority: Identity, password: str) -> bytes:
    """An authority with its private key as a PKCS #12 file, sealed under `password` (AES-256, RFC 8018).

    Raises UnusableCertificate for a short password, AuthorityOffline, KeyringUnavailable.
    """
    if len(password) < MIN_PASSWORD:
        raise UnusableCertificate(f"a password of {MIN_PASSWORD} characters or more is wanted")
    if authorities.is_offline(authority):
        raise AuthorityOffline(f"the key of {authority.name} is not here")
    lock = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_KDF_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password.encode())
    )
    certificate = x509.load_der_x509_certificate(bytes(authority.der))
    above = x509.load_pem_x509_certificates(authority.chain.encode()) if authority.chain else None
    title = authority.name.encode()
    sealed = pkcs12.serialize_key_and_certificates(title, load_key(authority), certificate, above, lock)
    trail.record("trust.authority_exported", subject=authority.pk, sha256=authority.sha256)
    return sealed


def take_offline(
    authority: Identity, exported: bytes, password: str, list_life: timedelta = OFFLINE_LIST_LIFE
) -> None:
    """Remove the private key of an authority, after showing that `exported` holds it.

    Its revocation list is made anew first, to hold for `list_life`: until then nothing can be signed. Raises
    UnusableCertificate when the file does not open or holds another key.
    """
    try:
        held = pkcs12.load_key_and_certificates(exported, password.encode())[0]
    except ValueError as error:
        raise UnusableCertificate("the exported file does not open with its password") from error
    if held is None or held.private_numbers() != load_key(authority).private_numbers():  # type: ignore[union-attr]
        raise UnusableCertificate("the exported file does not hold this authority's key")
    authorities.renew_crl(authority, force=True, life=list_life)
    with transaction.atomic():
        if Identity.objects.filter(pk=authority.pk, private_key__isnull=False).update(private_key=None):
            trail.record("trust.authority_key_removed", subject=authority.pk, sha256=authority.sha256)
