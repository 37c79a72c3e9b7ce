"""Revocation lists and issuers' certificates of others: fetched, kept, and refreshed before they run out.

What is kept here is not believed for that: `trust.pki.revocation` lets a list speak only for the authority
that signed it. The rules here see to it that a good list is not lost: to an older one, to a forged one that a
stranger put in its place, or to a server that is down.

Nothing here may be called inside a transaction: a fetch may take many seconds.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from django.db import IntegrityError, transaction
from django.utils import timezone

from healthvault.audit import trail
from trust import fetcher, memory
from trust.authorities import published_url
from trust.context import CRL_GRACE
from trust.models import Anchor, Crl, OcspAnswer, PeerCertificate, issuer_hash, name_hash
from trust.pki import revocation
from trust.pki.certs import Certificate
from trust.pki.errors import MalformedCertificate, MalformedCrl, PkiError
from trust.pki.load import is_pem, is_signed_data, load_certificates
from trust.pki.path import Chain

log = logging.getLogger(__name__)

#: A list is fetched again at half of its life, and after this at the latest.
REFETCH_AFTER = timedelta(hours=4)
#: But the same address is not asked again sooner, whatever came of it.
ASK_AGAIN_AFTER = timedelta(minutes=15)
#: Lists of certificates that nobody met for so long are let go of.
MET_WITHIN = timedelta(days=90)
NOTE_AGAIN_AFTER = timedelta(hours=6)
MAX_POINTS = 4
MAX_ISSUERS = 10
MAX_ISSUER_BYTES = 64 * 1024
ISSUERS_KEPT_S = 4 * 3600
ISSUERS_MISSED_S = 300

Freshness = Literal["fresh", "stale", "expired"]


class ListRefused(Exception):
    """What was fetched does not take the place of what we have."""

    code: ClassVar[str] = "refused"


class NotAList(ListRefused):
    """No revocation list, or one that nobody could use."""

    code = "malformed"


class NotYetIssued(ListRefused):
    """It claims to be of the future."""

    code = "not_yet_valid"


class RolledBack(ListRefused):
    """Older than the list we have: a server out of date, or somebody who wants a revocation forgotten."""

    code = "rollback"


class ForeignSignature(ListRefused):
    """Nobody we know signed it, while somebody we know signed the list we have."""

    code = "unmatched_signature"


# --- which lists we must hold ---------------------------------------------------------------------------

_noted: OrderedDict[str, datetime] = OrderedDict()
_MOST_NOTED = 4096


def note_met(chain: Chain) -> None:
    """Remember the certificates of a chain that stands, so that their lists are fetched in the background.

    Costs nothing for a certificate that this process noted lately.
    """
    now = timezone.now()
    for certificate in chain.certificates:
        if now - _noted.get(certificate.sha256, now - MET_WITHIN) < NOTE_AGAIN_AFTER:
            continue
        _note(certificate, now)
        _noted[certificate.sha256] = now
        while len(_noted) > _MOST_NOTED:
            _noted.popitem(last=False)


def _note(certificate: Certificate, now: datetime) -> None:
    responders = "\n".join(certificate.ocsp_urls[:MAX_POINTS])
    if PeerCertificate.objects.filter(sha256=certificate.sha256).update(last_met=now, ocsp_urls=responders):
        return
    row = PeerCertificate(
        **PeerCertificate.fields_of(certificate),
        name_hash=name_hash(certificate.raw_subject),
        crl_urls="\n".join(certificate.crl_urls[:MAX_POINTS]),
        ocsp_urls=responders,
        first_met=now,
        last_met=now,
    )
    PeerCertificate.objects.bulk_create([row], ignore_conflicts=True)


def freshness(row: Crl | OcspAnswer, at: datetime) -> Freshness:
    """Until its nextUpdate a list or an answer is fresh, for 24 h after that stale, then of no use."""
    if row.next_update is None or at <= row.next_update:
        return "fresh"
    return "stale" if at <= row.next_update + CRL_GRACE else "expired"


def is_due(row: Crl | OcspAnswer, at: datetime) -> bool:
    """Whether to fetch a list or answer again: at half of its life or 4 h after it came."""
    if row.last_attempt and at - row.last_attempt < ASK_AGAIN_AFTER:
        return False
    due = row.fetched + REFETCH_AFTER
    if row.next_update is not None:
        due = min(due, row.this_update + (row.next_update - row.this_update) / 2)
    return at >= due


# --- fetching lists -------------------------------------------------------------------------------------


def obtain(urls: Sequence[str], *, kind: fetcher.Kind = fetcher.CRL_NOW) -> bool:
    """Fetch the list that `urls` name (places of one list, in order) unless we have it and it is not due.

    The first place that gives one ends it; a place that failed lately is passed over. True when what we hold
    changed, so that the same certificate may now be judged otherwise.
    """
    changed, _ = _obtain(urls, kind)
    return changed


def _obtain(urls: Sequence[str], kind: fetcher.Kind) -> tuple[bool, str]:
    """Whether the lists changed, and the code of the last failure where no place gave a list."""
    code = ""
    for url in urls[:MAX_POINTS]:
        if url.startswith(published_url("")):
            return False, ""
        row = Crl.objects.filter(url=url).defer("der").first()
        now = timezone.now()
        if row is not None and not is_due(row, now) and freshness(row, now) == "fresh":
            return False, ""
        code = b"".join(memory.recall("crl_failed", url) or []).decode()
        if not code:
            changed, code = _take(url, kind)
            if not code:
                return changed, ""
    return False, code


def _take(url: str, kind: fetcher.Kind) -> tuple[bool, str]:
    try:
        data = fetcher.fetch(url, kind).body
        return _store(url, _read(data)), ""
    except (fetcher.FetchError, ListRefused) as error:
        memory.keep("crl_failed", url, [error.code.encode()], int(ASK_AGAIN_AFTER.total_seconds()))
        Crl.objects.filter(url=url).touch(last_attempt=timezone.now(), last_error=error.code)
        log.warning("revocation list not taken", extra={"code": error.code, "host": host_of(url)})
        return False, error.code


def _read(data: bytes) -> revocation.Crl:
    try:
        crl, *others = revocation.Crl.load_all(data)
        point, complete = crl.point, crl.base_number is None
        next_update, this_update, _ = crl.next_update, crl.this_update, crl.number
    except MalformedCrl as error:
        raise NotAList(error.detail) from error
    if others or not complete or (point is not None and point.indirect_crl):
        raise NotAList("not one complete list of one authority")
    if next_update is not None and next_update < this_update:
        raise NotAList("ends before it begins")
    if this_update > timezone.now():
        raise NotYetIssued(f"of {this_update.isoformat()}")
    return crl


def _store(url: str, crl: revocation.Crl) -> bool:
    """Keep a list in place of the one from the same address; True for another one. Raises ListRefused."""
    try:
        return _replace(url, crl)
    except IntegrityError:
        # Another worker fetched the first one at the same time.
        return _replace(url, crl)


def _replace(url: str, crl: revocation.Crl) -> bool:
    now = timezone.now()
    with transaction.atomic():
        row = Crl.objects.select_for_update().filter(url=url).first()
        if row is not None and row.sha256 == crl.sha256:
            Crl.objects.filter(pk=row.pk).touch(fetched=now, last_attempt=now, last_error="")
            return False
        if row is not None:
            _require_better(crl, revocation.Crl(bytes(row.der)))
        values: dict[str, Any] = {
            "issuer_hash": issuer_hash(crl.raw_issuer),
            "sha256": crl.sha256,
            "der": crl.der,
            "number": "" if crl.number is None else str(crl.number),
            "this_update": crl.this_update,
            "next_update": crl.next_update,
            "fetched": now,
            "last_attempt": now,
            "last_error": "",
        }
        if row is None:
            Crl.objects.create(url=url, **values)
        else:
            Crl.objects.filter(pk=row.pk).update(**values)
    return True


def _require_better(new: revocation.Crl, old: revocation.Crl) -> None:
    """A signature of somebody we know counts before a number: anybody can write a high number."""
    new_known, old_known = _is_of_known_signer(new), _is_of_known_signer(old)
    if new_known and not old_known:
        return
    if old_known and not new_known:
        raise ForeignSignature
    if new.issuer_key == old.issuer_key and _age(new) < _age(old):
        raise RolledBack


def _age(crl: revocation.Crl) -> tuple[int, datetime]:
    return crl.number or 0, crl.this_update


def _is_of_known_signer(crl: revocation.Crl) -> bool:
    """Whether an anchor or an issuer on a chain that once stood signed it."""
    rows = [
        *PeerCertificate.objects.filter(name_hash=name_hash(crl.raw_issuer)).values_list("der", flat=True)
    ]
    rows += Anchor.objects.filter(subject=_issuer_text(crl)).values_list("der", flat=True)
    for der in {bytes(each) for each in rows}:
        try:
            if crl.signed_with_key_of(Certificate(der)):
                return True
        except PkiError:
            continue
    return False


def _issuer_text(crl: revocation.Crl) -> str:
    try:
        return crl.parsed.issuer.rfc4514_string()[:1000]
    except ValueError:
        return ""


def host_of(url: str) -> str:
    """The host of a URL, for logs."""
    return url.partition("://")[2].partition("/")[0][:100]


# --- in the background ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refreshed:
    """What a round came to: places asked for, lists that changed, places of which no list was to be had."""

    asked: int
    changed: int
    failed: int


def refresh() -> Refreshed:
    """Fetch every list that is due, of each certificate met lately and still in its time.

    A list that turned stale, and one that came back forged or rolled back, is put on the audit trail once.
    """
    now = timezone.now()
    peers = PeerCertificate.objects.filter(not_after__gte=now, last_met__gte=now - MET_WITHIN)
    asked = changed = failed = 0
    for text in peers.exclude(crl_urls="").order_by().values_list("crl_urls", flat=True).distinct():
        fresh, code = _obtain(text.split("\n"), fetcher.CRL)
        asked, changed, failed = asked + 1, changed + fresh, failed + bool(code)
        _tell(text, code, now)
    _forget_unused(now)
    return Refreshed(asked, changed, failed)


def _tell(crl_urls: str, code: str, now: datetime) -> None:
    """Note the outcome with the certificates, and an alert when it got worse than it was."""
    rows = PeerCertificate.objects.filter(crl_urls=crl_urls)
    held = [freshness(row, now) for row in Crl.objects.filter(url__in=crl_urls.split("\n")).defer("der")]
    if held and "fresh" not in held:
        code = "stale" if "stale" in held else "expired"
    before = set(rows.values_list("crl_error", flat=True))
    rows.update(crl_checked=now, crl_error=code)
    if code and code not in before:
        log.warning("revocation list wants attention", extra={"code": code, "host": host_of(crl_urls)})
        with transaction.atomic():
            trail.record("trust.crl_alert", outcome=code, subject=rows.first(), host=host_of(crl_urls))


def _forget_unused(now: datetime) -> None:
    met = set(
        PeerCertificate.objects.filter(not_after__gte=now, last_met__gte=now - MET_WITHIN)
        .exclude(crl_urls="")
        .values_list("crl_urls", flat=True)
        .distinct()
    )
    wanted = {url for text in met for url in text.split("\n")}
    unused = [
        row.pk
        for row in Crl.objects.filter(identity__isnull=True, fetched__lt=now - MET_WITHIN).only("pk", "url")
        if row.url not in wanted
    ]
    if unused:
        Crl.objects.filter(pk__in=unused).delete()


# --- issuers --------------------------------------------------------------------------------------------


def issuers(urls: Sequence[str]) -> tuple[Certificate, ...]:
    """The certificates at the first of `urls` that gives any: one, or a PKCS #7 collection.

    RFC 5280 section 4.2.2.1. They are hints for a path, never anchors. What came is kept for 4 h, a
    failure for 5 minutes.
    """
    for url in urls[:MAX_POINTS]:
        kept = memory.recall("issuers", url)
        if kept is None:
            kept = [each.der for each in _fetched_issuers(url)]
            memory.keep("issuers", url, kept, ISSUERS_KEPT_S if kept else ISSUERS_MISSED_S)
        if kept:
            return tuple(Certificate(der) for der in kept)
    return ()


def _fetched_issuers(url: str) -> list[Certificate]:
    try:
        data = fetcher.fetch(url, fetcher.AIA).body
        if len(data) > MAX_ISSUER_BYTES and not (is_signed_data(data) or is_pem(data)):
            raise fetcher.TooLarge
        found = load_certificates(data)
    except (fetcher.FetchError, MalformedCertificate) as error:
        log.warning("issuer not fetched", extra={"code": error.code, "host": host_of(url)})
        return []
    return [each for each in found if len(each.der) <= MAX_ISSUER_BYTES][:MAX_ISSUERS]
