"""Pages that show a record by kind, by value, by time, and by words: thin over the modules of those names."""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Page, Paginator
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from healthvault.audit import trail
from healthvault.store.blobs import open_blob
from healthvault.vault.keyring import derive

from . import chart, kinds, measurements, search, timeline, trends
from .access import Access, open_access
from .facts import Fact, known, newest_first, open_facts
from .models import Document, Entry, EntrySource
from .views import anchor_prefix

PAGE, PANELS, ROWS, MOMENTS = 50, 20, 100, 50
#: No more text of documents is searched at once than this, the newest first; the page says so.
MOST_BYTES = 64 * 1024 * 1024
WIDE, NARROW = 1000, 340


def _facts(access: Access, *only: str) -> list[Fact]:
    """The active items that this person sees, of the kinds `only` where given."""
    entries = access.entries.filter(state=Entry.State.ACTIVE)
    return open_facts(access.record, entries.filter(kind__in=only) if only else entries)


def _page(request: HttpRequest, found: list[Any], size: int) -> Page[Any]:
    data = request.POST if request.method == "POST" else request.GET
    return Paginator(found, size).get_page(data.get("page"))


# --- kinds --------------------------------------------------------------------------------------------------


@require_safe
@login_required
def kind(request: HttpRequest, record_id: str, kind: str) -> HttpResponse:
    """All items of one kind: a list, or the panels of measured values."""
    access = open_access(request, record_id)
    if kind not in kinds.KIND_NAMES:
        raise Http404
    trail.record("items.listed", record=access.record, request=request)
    facts = known(_facts(access, kind))
    context = {"record": access.record, "access": access, "kind": kind, "name": kinds.kind_name(kind)}
    shown = _measured(request, facts) if kind in kinds.MEASURED else _listed(request, access, kind, facts)
    template = "records/measured.html" if kind in kinds.MEASURED else "records/kind.html"
    return render(request, template, {**context, "count": len(facts), "type": kinds.item_type(kind), **shown})


def _listed(request: HttpRequest, access: Access, kind: str, facts: list[Fact]) -> dict[str, Any]:
    today = timezone.localdate().isoformat()
    past = [fact for fact in facts if fact.is_past(today)]
    show = request.GET.get("show", "")
    if show not in ("current", "past") or not past:
        show = ""
    if show:
        gone = {fact.id for fact in past}
        facts = [fact for fact in facts if (fact.id in gone) == (show == "past")]
    by_name = request.GET.get("sort") == "name"
    if by_name:
        facts = sorted(facts, key=lambda fact: (search.folded(fact.said_name), fact.id))
    else:
        facts = newest_first(facts)
    kept = {name: value for name, value in (("show", show), ("sort", "name" if by_name else "")) if value}
    page = _page(request, facts, PAGE)
    _count_documents(access, list(page))
    return {
        "page": page,
        "query": urlencode(kept),
        "show": show,
        "by_name": by_name,
        "count_past": len(past),
        "past_ids": {fact.id for fact in page if fact.is_past(today)},
    }


def _count_documents(access: Access, facts: list[Fact]) -> None:
    """Note in how many documents, of those this person may open, each item stands."""
    said = EntrySource.objects.filter(
        entry__in=[fact.id for fact in facts],
        state=EntrySource.State.STANDING,
        filing__document__in=access.documents,
    )
    counts = dict(
        said.order_by().values_list("entry").annotate(several=Count("filing__document", distinct=True))
    )
    for fact in facts:
        fact.documents = counts.get(UUID(fact.id), 0)


def _measured(request: HttpRequest, facts: list[Fact]) -> dict[str, Any]:
    page = _page(request, measurements.piles(facts), PANELS)
    panels = [pile.panel for pile in page]
    return {"page": page, "panels": panels, "courses": measurements.courses(facts), "query": ""}


# --- one value over time ------------------------------------------------------------------------------------


@require_safe
@login_required
def trend(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """The course of what the item `entry_id` measures. (Its code in the address would say what it is.)"""
    access = open_access(request, record_id)
    entry = (
        access.entries.filter(pk=entry_id, kind__in=kinds.MEASURED).select_related("record__holder").first()
    )
    if entry is None:
        raise Http404
    trail.record("trend.viewed", record=access.record, subject=entry.pk, request=request)
    wanted = measurements.analyte(Fact(str(entry.pk), entry.kind, entry.content))
    facts = [fact for fact in _facts(access, entry.kind) if measurements.analyte(fact) == wanted]
    found = trends.trend(facts)
    rows = found.rows
    charts = [
        {
            "unit": one.unit,
            "wide": chart.svg(one, found.name, f"c{number}w", WIDE),
            "narrow": chart.svg(one, found.name, f"c{number}n", NARROW),
            "legend": chart.legend(one),
            "bands": bool(one.bands),
            "converted": ", ".join(one.converted),
        }
        for number, one in enumerate(found.charts)
    ]
    context = {
        "record": access.record,
        "kind": entry.kind,
        "kind_name": kinds.kind_name(entry.kind),
        "trend": found,
        "charts": charts,
        "page": _page(request, rows, ROWS),
        "count": len(rows),
        "ranged": any(row.ranges for row in rows),
        "sources": sorted({row.value.source for row in rows}),
        "query": "",
    }
    return render(request, "records/trend.html", context)


# --- time ---------------------------------------------------------------------------------------------------


@require_safe
@login_required
def along_time(request: HttpRequest, record_id: str) -> HttpResponse:
    """Everything in the record by its date. A source is named in the address by a hash only."""
    access = open_access(request, record_id)
    trail.record("timeline.viewed", record=access.record, request=request)
    found = timeline.moments(_facts(access), _documents(access))
    sources = {_handle(access, name): name for name in sorted({one.source for one in found}) if name}
    here = sorted({one.kind_name for one in found})
    kinds_here = [(key, name) for key, name in _kinds() if name in here]
    kind, source = request.GET.get("kind", ""), sources.get(request.GET.get("source", ""), "")
    wanted = dict(_kinds()).get(kind, "")
    found = [one for one in found if wanted in ("", one.kind_name) and (not source or one.source == source)]
    undated = [one for one in found if not one.date]
    dated = [one for one in found if one.date]
    without = request.GET.get("dates") == "none"
    kept = {"kind": kind if wanted else "", "source": request.GET.get("source", "") if source else ""}
    kept = {name: value for name, value in kept.items() if value}
    page = _page(request, undated if without else dated, MOMENTS)
    context = {
        "record": access.record,
        "page": page,
        "years": timeline.by_year(page),
        "kinds": kinds_here,
        "sources": list(sources.items()),
        "chosen": kept,
        "without": without,
        "undated": len(undated),
        "dated": len(dated),
        "filters": urlencode(kept),
        "query": urlencode({**kept, **({"dates": "none"} if without else {})}),
    }
    return render(request, "records/timeline.html", context)


def _kinds() -> list[tuple[str, str]]:
    return [*kinds.KIND_NAMES.items(), ("documents", "Document")]


def _handle(access: Access, source: str) -> str:
    """What stands for a source in an address: a department's name may say what a person has."""
    key = derive(access.record.holder.unwrap(), "sources of the timeline")
    return hmac.new(key, source.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:12]


def _documents(access: Access) -> QuerySet[Document]:
    return access.documents.select_related("record__holder", "attachment__message")


@require_safe
@login_required
def documents(request: HttpRequest, record_id: str) -> HttpResponse:
    """Every document of the record that this person may open, the newest first."""
    access = open_access(request, record_id)
    trail.record("documents.listed", record=access.record, request=request)
    found = sorted(
        _documents(access),
        key=lambda one: (str((one.facts or {}).get("date") or ""), one.created),
        reverse=True,
    )
    context = {"record": access.record, "page": _page(request, found, PAGE), "query": ""}
    return render(request, "records/documents.html", context)


# --- words --------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def words(request: HttpRequest, record_id: str) -> HttpResponse:
    """Search. What is looked for is health data: it comes in the body of a POST, and goes nowhere."""
    access = open_access(request, record_id)
    text = request.POST.get("words", "")[:200].strip()
    wanted = search.terms(text)
    context = {"record": access.record, "text": text, "wanted": wanted, "whole": access.whole}
    if wanted:
        trail.record("record.searched", record=access.record, request=request)
        found = search.items(_facts(access), wanted)
        in_documents, left_out = _in_documents(access, wanted)
        context |= {
            "page": _page(request, found, PAGE),
            "count": len(found),
            "found_in": in_documents,
            "left_out": left_out,
        }
    return render(request, "records/search.html", context)


def _in_documents(access: Access, wanted: list[str]) -> tuple[list[dict[str, Any]], int]:
    """The documents in which the words stand, with the places; how many old ones were too much to search."""
    found, size, left_out = [], 0, 0
    rows = access.documents.exclude(state=Document.State.UNREADABLE)
    for document in rows.select_related("record__holder", "blob__holder").order_by("-created"):
        size += document.blob.size
        if size > MOST_BYTES:
            left_out += 1
            continue
        passages = search.passages(open_blob(document.blob), wanted)
        if passages:
            found.append({"document": document, "passages": passages, "prefix": anchor_prefix(document)})
    return found, left_out
