"""OCSP answers about certificates of others: asked for, kept, and asked for again before they run out.

An answer is kept only when the issuer of the certificate, or a responder whom that issuer named, signed it
for this very certificate (`trust.pki.ocsp`). What is kept never gives way to something older.

Nothing here may be called inside a transaction: an answer may take many seconds.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from healthvault.audit import trail
from trust import fetcher, memory
from trust.models import Anchor, OcspAnswer, PeerCertificate, name_hash
from trust.pki import ocsp
from trust.pki.certs import Certificate, signed_by
from trust.pki.errors import OcspError, PkiError
from trust.pki.policy import Policy
from trust.revocation_lists import (
    ASK_AGAIN_AFTER,
    MET_WITHIN,
    ListRefused,
    Refreshed,
    RolledBack,
    freshness,
    host_of,
    is_due,
)

log = logging.getLogger(__name__)

MAX_RESPONDERS = 2
#: A longer URL makes a POST of the question (RFC 5019 section 5).
MOST_IN_GET = 255
#: So much a responder's clock may be ahead of ours; its answer counts from the moment it names.
CLOCKS_DIFFER = timedelta(minutes=5)
#: Reasons of a revocation that nothing undoes are all but this one (RFC 5280 section 5.3.1).
_HOLD = "certificateHold"


def obtain(
    subject: Certificate,
    issuer: Certificate,
    *,
    kind: fetcher.Kind = fetcher.OCSP,
    total_s: float = fetcher.OCSP.total_s,
) -> bool:
    """Ask the responders that `subject` names, unless we hold an answer that is not due to be renewed.

    All of them together, by GET and by POST, get `total_s` seconds. True when what we hold changed, so that
    the same certificate may now be judged otherwise.
    """
    changed, _ = _obtain(subject, issuer, kind, total_s)
    return changed


def _obtain(
    subject: Certificate, issuer: Certificate, kind: fetcher.Kind, total_s: float
) -> tuple[bool, str]:
    """Whether an answer came that we did not hold, and the code of the last failure where none came."""
    ends = time.monotonic() + total_s
    code = ""
    row = OcspAnswer.objects.filter(certificate_sha256=subject.sha256).defer("der").first()
    now = timezone.now()
    if row is not None and _is_fresh(row, now):
        return False, ""
    for url in subject.ocsp_urls[:MAX_RESPONDERS]:
        place = f"{url} {subject.sha256}"
        code = b"".join(memory.recall("ocsp_failed", place) or []).decode()
        if not code:
            if time.monotonic() >= ends:
                return False, fetcher.TimedOut.code
            changed, code = _take(url, place, subject, issuer, kind, ends)
            if not code:
                return changed, ""
    return False, code


def _is_fresh(row: OcspAnswer, now: datetime) -> bool:
    return not is_due(row, now) and freshness(row, now) == "fresh"


def _take(
    url: str, place: str, subject: Certificate, issuer: Certificate, kind: fetcher.Kind, ends: float
) -> tuple[bool, str]:
    hurried = ends - time.monotonic() < fetcher.FIRST_BYTE_S
    try:
        answer = ocsp.OcspAnswer(_ask(url, ocsp.question(subject, issuer), kind, ends))
        return _store(url, answer, subject, _usable(answer, subject, issuer)), ""
    except (fetcher.FetchError, ListRefused, OcspError) as error:
        if not (hurried and isinstance(error, fetcher.TimedOut | fetcher.NameServiceSilent)):
            # Whom we gave too little time is asked again for the next message.
            memory.keep("ocsp_failed", place, [error.code.encode()], int(ASK_AGAIN_AFTER.total_seconds()))
        held = OcspAnswer.objects.filter(certificate_sha256=subject.sha256)
        held.touch(last_attempt=timezone.now(), last_error=error.code)
        log.warning("OCSP answer not taken", extra={"code": error.code, "host": host_of(url)})
        return False, error.code


def _ask(url: str, question: bytes, kind: fetcher.Kind, ends: float) -> bytes:
    """By GET where it fits, else by POST, also for those who refuse GET (RFC 6960 appendix A)."""
    short = f"{url.rstrip('/')}/{quote(base64.b64encode(question).decode(), safe='')}"
    if len(short) <= MOST_IN_GET and "?" not in url:
        try:
            return fetcher.fetch(short, kind, total_s=_left(ends)).body
        except (fetcher.NotFound, fetcher.BadStatus):
            pass
    headers = {"Content-Type": "application/ocsp-request"}
    return fetcher.fetch(url, kind, method="POST", body=question, headers=headers, total_s=_left(ends)).body


def _left(ends: float) -> float:
    """Seconds until `ends`. Raises TimedOut when there is none."""
    left = ends - time.monotonic()
    if left <= 0:
        raise fetcher.TimedOut("no time was left to ask")
    return left


def _usable(answer: ocsp.OcspAnswer, subject: Certificate, issuer: Certificate) -> ocsp.Said:
    now = timezone.now()
    begins = answer.about(subject, issuer).this_update
    at = max(now, begins) if begins <= now + CLOCKS_DIFFER else now
    return ocsp.require_usable(answer, subject, issuer, at, Policy(legacy=settings.DIRECT_LEGACY))


def _store(url: str, answer: ocsp.OcspAnswer, subject: Certificate, said: ocsp.Said) -> bool:
    """Keep an answer in place of the one about the same certificate. Raises RolledBack."""
    try:
        return _replace(url, answer, subject, said)
    except IntegrityError:
        # Another worker kept the first one at the same time.
        return _replace(url, answer, subject, said)


def _replace(url: str, answer: ocsp.OcspAnswer, subject: Certificate, said: ocsp.Said) -> bool:
    now = timezone.now()
    with transaction.atomic():
        row = OcspAnswer.objects.select_for_update().filter(certificate_sha256=subject.sha256).first()
        if row is not None and row.sha256 == answer.sha256:
            OcspAnswer.objects.filter(pk=row.pk).touch(fetched=now, last_attempt=now, last_error="")
            return False
        if row is not None:
            _require_no_step_back(row, said)
        values: dict[str, Any] = {
            "url": url,
            "sha256": answer.sha256,
            "der": answer.der,
            "state": said.state,
            "reason": said.reason or "",
            "this_update": said.this_update,
            "next_update": said.ends,
            "fetched": now,
            "last_attempt": now,
            "last_error": "",
        }
        if row is None:
            OcspAnswer.objects.create(certificate_sha256=subject.sha256, **values)
        else:
            OcspAnswer.objects.filter(pk=row.pk).update(**values)
        if said.state == "revoked" and (row is None or row.state != said.state):
            trail.record("trust.ocsp_revoked", subject=subject.sha256, reason=said.reason)
    return True


def _require_no_step_back(row: OcspAnswer, said: ocsp.Said) -> None:
    if said.this_update < row.this_update:
        raise RolledBack
    final = row.state == OcspAnswer.State.REVOKED and row.reason not in ("", _HOLD)
    if final and said.state != "revoked":
        raise RolledBack


# --- in the background ----------------------------------------------------------------------------------


def refresh() -> Refreshed:
    """Ask about every certificate met lately whose answer is due.

    What went wrong is noted with the certificate, and put on the audit trail when it got worse.
    """
    now = timezone.now()
    asked = changed = failed = 0
    held = {row.certificate_sha256: row for row in OcspAnswer.objects.defer("der")}
    for row in _met(now):
        answer = held.get(row.sha256)
        if answer is not None and not row.ocsp_error and _is_fresh(answer, now):
            continue
        issuer = _issuer(row.certificate)
        if issuer is None:
            continue
        fresh, code = _obtain(row.certificate, issuer, fetcher.OCSP, fetcher.OCSP.total_s)
        asked, changed, failed = asked + 1, changed + fresh, failed + bool(code)
        _tell(row, code, now)
    _forget_unused(now)
    return Refreshed(asked, changed, failed)


def _met(now: datetime) -> Iterable[PeerCertificate]:
    rows = PeerCertificate.objects.filter(not_after__gte=now, last_met__gte=now - MET_WITHIN)
    return rows.exclude(ocsp_urls="").iterator(chunk_size=200)


def _issuer(certificate: Certificate) -> Certificate | None:
    """Who issued it, among the certificates of chains that once stood and the anchors."""
    wanted = name_hash(certificate.raw_issuer)
    rows = [*PeerCertificate.objects.filter(name_hash=wanted).values_list("der", flat=True)]
    rows += Anchor.objects.filter(subject=_issuer_text(certificate)).values_list("der", flat=True)
    for der in dict.fromkeys(bytes(each) for each in rows):
        try:
            candidate = Certificate(der)
            if signed_by(certificate, candidate):
                return candidate
        except PkiError:
            continue
    return None


def _issuer_text(certificate: Certificate) -> str:
    try:
        return certificate.issuer[:1000]
    except PkiError:
        return ""


def _tell(row: PeerCertificate, code: str, now: datetime) -> None:
    """Note the outcome with the certificate, and an alert when it got worse than it was."""
    held = OcspAnswer.objects.filter(certificate_sha256=row.sha256).defer("der").first()
    if held is not None and freshness(held, now) != "fresh":
        code = freshness(held, now)
    if code == row.ocsp_error:
        return
    with transaction.atomic():
        PeerCertificate.objects.filter(pk=row.pk).update(ocsp_error=code)
        if code:
            log.warning("OCSP answer wants attention", extra={"code": code, "host": host_of(row.ocsp_urls)})
            trail.record("trust.ocsp_alert", outcome=code, subject=row, host=host_of(row.ocsp_urls))


def _forget_unused(now: datetime) -> None:
    old = OcspAnswer.objects.filter(fetched__lt=now - MET_WITHIN)
    met = PeerCertificate.objects.filter(not_after__gte=now, last_met__gte=now - MET_WITHIN)
    unused = old.exclude(certificate_sha256__in=met.values("sha256"))
    if unused.exists():
        unused.delete()
