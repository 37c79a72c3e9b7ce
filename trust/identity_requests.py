"""Work on our own certificates: asked for in the console, done where the private keys are.

A web process has no keyring of identities. It writes a row here; a worker with that keyring carries it out,
and an uploaded file is erased with the outcome, whichever it is.
"""

from __future__ import annotations

import base64
import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store import jobs
from healthvault.vault.errors import KeyringUnavailable
from trust import authorities, keyimport
from trust.errors import NoPrivateKey, TrustRefusal, UnknownIssuer
from trust.models import Identity, IdentityRequest
from trust.tasks import do_identity_request

log = logging.getLogger(__name__)

Kind, State = IdentityRequest.Kind, IdentityRequest.State

#: A worker without the keyring puts the row back; it is offered again after this.
KEYS_AGAIN_AFTER = timedelta(seconds=30)

#: Why a certificate is revoked (RFC 5280 section 5.3.1), in words.
REASONS = {
    "unspecified": "Another reason",
    "key_compromise": "Somebody else may have its key",
    "superseded": "It was replaced",
    "cessation_of_operation": "It is not used any more",
    "affiliation_changed": "The name is not ours any more",
}
_X509_REASONS = {
    "unspecified": "unspecified",
    "key_compromise": "keyCompromise",
    "superseded": "superseded",
    "cessation_of_operation": "cessationOfOperation",
    "affiliation_changed": "affiliationChanged",
}


def ask_issue(name: str, account: Any, use: str = Identity.Use.DUAL) -> IdentityRequest:
    """Ask for a certificate of our own authority for a domain or an address, for both uses or one each.

    `use`: `dual`, or `separate` for two certificates. Raises BadName.
    """
    _, name = authorities.kind_of(name)
    return _ask(account, kind=Kind.ISSUE, name=name, use=use)


def ask_roll(account: Any) -> IdentityRequest:
    """Ask for the next authority of ours, which takes over in a month."""
    return _ask(account, kind=Kind.ROLL)


def ask_import(data: bytes, password: str, file_name: str, account: Any) -> IdentityRequest:
    """Ask to take in a PKCS #12 file; it is kept sealed until then. Raises NoPrivateKey for a big one."""
    if len(data) > keyimport.MAX_P12_BYTES:
        raise NoPrivateKey("the file is too large for a PKCS #12 file")
    file = {"data": base64.b64encode(data).decode(), "password": password}
    return _ask(account, kind=Kind.IMPORT, name=file_name[:100], file=file)


def ask_revoke(identity: Identity, reason: str, account: Any) -> IdentityRequest:
    """Ask to revoke a certificate that we issued; `reason` is a key of REASONS. Raises UnknownIssuer."""
    if identity.issuer_id is None:
        raise UnknownIssuer("only its own authority can revoke this certificate")
    _X509_REASONS[reason]
    return _ask(account, kind=Kind.REVOKE, name=identity.name, identity=identity, reason=reason)


def _ask(account: Any, **values: Any) -> IdentityRequest:
    with transaction.atomic():
        row = IdentityRequest.objects.create(asked_by=account, **values)
        trail.record(f"trust.identity_{row.kind}_asked", actor=account, subject=row.pk)
        jobs.ring(do_identity_request, str(row.pk))
    return row


def retire(identity: Identity, account: Any) -> bool:
    """Sign no more with it and publish it no more; it still opens mail. False when it was retired already."""
    with transaction.atomic():
        active = Identity.objects.filter(pk=identity.pk, state=Identity.State.ACTIVE)
        changed = active.exclude(kind=Identity.Kind.CA).update(
            state=Identity.State.RETIRED, retired=timezone.now()
        )
        if changed:
            trail.record("trust.identity_retired", actor=account, subject=identity.pk)
    return bool(changed)


# --- the worker's side ----------------------------------------------------------------------------------


def carry_out(pk: str) -> str | None:
    """Do what the row asks; returns its state afterwards, or None when there was nothing to do."""
    row = jobs.claim(IdentityRequest, pk, waiting=State.WAITING, working=State.WORKING)
    if row is None:
        return None
    if row.tries > jobs.MOST_KILLS:
        return _end(row, State.FAILED, "worker_killed", "It ended its worker several times.")
    try:
        identity = _do(row)
    except KeyringUnavailable:
        return _put_back(row)
    except TrustRefusal as refusal:
        return _end(row, State.FAILED, refusal.code, refusal.detail)
    except Exception:
        log.exception("an identity request failed", extra={"request": row.pk})
        return _end(row, State.FAILED, "unforeseen", "An error nobody foresaw; the log has it.")
    return _end(row, State.DONE, identity=identity)


def _do(row: IdentityRequest) -> Identity:
    if row.kind == Kind.ISSUE and row.use == authorities.SEPARATE:
        return authorities.issue_pair(row.name)[0]
    if row.kind == Kind.ISSUE:
        return authorities.issue_identity(row.name)
    if row.kind == Kind.ROLL:
        return authorities.make_authority()
    if row.kind == Kind.IMPORT:
        data, password = base64.b64decode(row.file["data"]), row.file["password"]
        return keyimport.import_p12(data, password, alone=settings.PRODUCTION)[0]
    if row.identity is None:
        raise UnknownIssuer("that certificate is not here any more")
    authorities.revoke_identity(row.identity, _X509_REASONS[row.reason])
    return row.identity


def _end(
    row: IdentityRequest, state: str, code: str = "", detail: str = "", identity: Identity | None = None
) -> str | None:
    kept = {"identity": identity} if identity is not None else {}
    try:
        with transaction.atomic():
            jobs.finish(
                row, state, code=code, detail=detail[:300], file=None, finished=timezone.now(), **kept
            )
            # The file's name may be anybody's words; it goes with the file.
            trail.record(f"trust.identity_{row.kind}_{state}", subject=row.pk, outcome=code)
    except jobs.LeaseLost:
        return None
    return state


def _put_back(row: IdentityRequest) -> str | None:
    """Leave the row for a worker that has the keys; this try does not count."""
    held = IdentityRequest.objects.filter(pk=row.pk, state=State.WORKING, tries=row.tries)
    held.update(
        state=State.WAITING,
        tries=row.tries - 1,
        code="keys_unavailable",
        lease_until=timezone.now() + KEYS_AGAIN_AFTER,
    )
    return State.WAITING
