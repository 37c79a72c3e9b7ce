"""Certificates of others that we met, in the console: where we know of their revocation, and where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from trust.console import page_of, query_without_page, staff_only
from trust.forms import PeerFilterForm
from trust.models import Crl, OcspAnswer, PeerCertificate
from trust.pki.errors import PkiError
from trust.revocation_lists import freshness

#: What a code of a list or of a responder means, and what to do.
WORDS = {
    "stale": "It is past its end; it counts for a day more.",
    "expired": "It is past its end and counts for nothing.",
    "rollback": "Its server gave an older one than we had. The newer one stays.",
    "unmatched_signature": "Nobody we know signed it. What we had stays.",
    "not_yet_valid": "It claims to be of the future. Check our clock as well.",
    "malformed": "What its server gave is no revocation list.",
    "malformed_ocsp": "What the responder sent is no answer.",
    "ocsp_not_answered": "The responder says that it does not answer.",
    "ocsp_other_certificate": "The responder answered about another certificate.",
    "ocsp_unmatched_signature": "Neither the issuer nor whom it named signed the answer.",
    "ocsp_not_current": "The answer is out of date, or of a time to come.",
    "forbidden_address": "It lies at an inner address, which is never asked.",
}
_NOT_REACHED = "It could not be fetched. Tell the partner."


@dataclass(frozen=True)
class Source:
    """One place that tells of a revocation: what it said last and until when, or what is wrong with it."""

    kind: str
    places: tuple[str, ...]
    code: str = ""
    state: str = ""
    until: datetime | None = None

    @property
    def words(self) -> str:
        return WORDS.get(self.code, _NOT_REACHED) if self.code else ""


@dataclass(frozen=True)
class Met:
    """A certificate with what tells of its revocation."""

    row: PeerCertificate
    names: tuple[str, ...]
    issuer: str
    sources: tuple[Source, ...]


@require_safe
@staff_only
def peers(request: HttpRequest) -> HttpResponse:
    """Certificates that stood on a chain we judged good, those met last first."""
    form = PeerFilterForm(request.GET)
    rows = _filtered(form) if form.is_valid() else PeerCertificate.objects.none()
    page = page_of(request, rows)
    context = {
        "form": form,
        "page": page,
        "met": _with_sources(list(page.object_list)),
        "query": query_without_page(request),
        "now": timezone.now(),
    }
    return render(request, "trust/peers.html", context)


def _filtered(form: PeerFilterForm) -> QuerySet[PeerCertificate]:
    rows = PeerCertificate.objects.order_by("-last_met", "id")
    text = form.cleaned_data["q"].strip()
    if text:
        rows = rows.filter(Q(subject__icontains=text) | Q(sha256__startswith=text.lower().replace(":", "")))
    if form.cleaned_data["amiss"]:
        rows = rows.exclude(crl_error="", ocsp_error="").filter(not_after__gte=timezone.now())
    return rows


def _with_sources(rows: Sequence[PeerCertificate]) -> list[Met]:
    urls = {url for row in rows for url in row.crl_urls.split("\n") if url}
    lists = {crl.url: crl for crl in Crl.objects.filter(url__in=urls).defer("der")}
    prints = [row.sha256 for row in rows]
    held = OcspAnswer.objects.filter(certificate_sha256__in=prints).defer("der")
    answers = {answer.certificate_sha256: answer for answer in held}
    return [_met(row, lists, answers.get(row.sha256)) for row in rows]


def _met(row: PeerCertificate, lists: dict[str, Crl], answer: OcspAnswer | None) -> Met:
    now, sources = timezone.now(), []
    if row.crl_urls:
        places = tuple(row.crl_urls.split("\n"))
        crl = next((lists[url] for url in places if url in lists), None)
        code = row.crl_error or ("" if crl is None or freshness(crl, now) == "fresh" else freshness(crl, now))
        state = "held" if crl is not None else "not fetched yet"
        sources.append(Source("Revocation list", places, code, state, crl.next_update if crl else None))
    if row.ocsp_urls:
        places = tuple(row.ocsp_urls.split("\n"))
        state = answer.get_state_display().lower() if answer else "not asked yet"
        until = answer.next_update if answer else None
        sources.append(Source("OCSP responder", places, row.ocsp_error, state, until))
    try:
        names, issuer = row.certificate.names, row.certificate.issuer
    except PkiError:
        names, issuer = (), ""
    return Met(row, names, issuer, tuple(sources))
