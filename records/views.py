"""Pages of a record: thin over `access`, `overview` and the rows."""

from __future__ import annotations

import mimetypes
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from healthvault.audit import trail
from healthvault.store.blobs import open_blob
from healthvault.store.downloads import download, picture

from . import overview
from .access import grants_of, require_access, signed_in
from .clinical import narrative
from .clinical.errors import ClinicalError
from .clinical.sections import title_of_code
from .forms import PreferencesForm
from .models import Document, Entry, EntrySource, Import, Right

#: Items that people see; what was rejected, undone or deleted is no part of the record.
SHOWN = (Entry.State.ACTIVE, Entry.State.PROPOSED)


@require_safe
@login_required
def record_list(request: HttpRequest) -> HttpResponse:
    """The records this person may see; a single one is opened at once."""
    grants = list(grants_of(signed_in(request)).select_related("record__holder").order_by("created"))
    if len(grants) == 1:
        return redirect("records:overview", record_id=grants[0].record_id)
    return render(request, "records/list.html", {"grants": grants})


@require_safe
@login_required
def record_overview(request: HttpRequest, record_id: str) -> HttpResponse:
    """Every item of the record by kind."""
    record = require_access(signed_in(request), record_id, Right.VIEW)
    trail.record("record.viewed", record=record, request=request)
    documents = Document.objects.filter(record=record).select_related("record__holder").order_by("-created")
    context = {
        "record": record,
        "groups": overview.groups(record),
        "documents": documents,
        "to_review": Import.objects.filter(record=record, state=Import.State.PROPOSED).count(),
        "custodian": _is_custodian(request, record_id),
    }
    return render(request, "records/overview.html", context)


@require_safe
@login_required
def entry(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """One item and where it came from."""
    record = require_access(signed_in(request), record_id, Right.VIEW)
    shown = (
        Entry.objects.select_related(
            "record__holder", "filing__document__attachment__message", "attachment", "blob"
        )
        .filter(record=record, pk=entry_id, state__in=SHOWN)
        .first()
    )
    if shown is None:
        raise Http404
    trail.record("item.viewed", record=record, subject=shown.pk, request=request)
    elsewhere = EntrySource.objects.filter(entry=shown).exclude(filing=shown.filing_id)
    sources = elsewhere.select_related("filing__document__record__holder")
    context = {
        "record": record,
        "entry": shown,
        "fact": overview.Fact(str(shown.pk), shown.kind, shown.content),
        "kind": overview.KIND_NAMES.get(shown.kind, shown.kind),
        "section": title_of_code(shown.content.get("section", ""), "The head of the document"),
        "sources": sources,
    }
    return render(request, "records/entry.html", context)


@require_safe
@login_required
def entry_file(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """Download the bytes of a File item."""
    record = require_access(signed_in(request), record_id, Right.VIEW)
    rows = Entry.objects.select_related("record__holder", "blob__holder").filter(
        record=record, state__in=SHOWN
    )
    shown = rows.filter(pk=entry_id).first()
    if shown is None or shown.blob is None:
        raise Http404
    trail.record("file.downloaded", record=record, subject=shown.pk, request=request)
    return download(open_blob(shown.blob), shown.content["name"], shown.content["content_type"])


@require_safe
@login_required
def document(request: HttpRequest, record_id: str, document_id: str) -> HttpResponse:
    """A document as its author wrote it, built from the parsed tree."""
    record = require_access(signed_in(request), record_id, Right.VIEW)
    shown = _document(record_id, document_id)
    trail.record("document.viewed", record=record, subject=shown.pk, request=request)
    part = reverse("records:document_part", args=[record.pk, shown.pk])
    try:
        view = narrative.render(
            open_blob(shown.blob),
            prefix=f"d{shown.pk.hex[-8:]}",
            picture_url=lambda path: f"{part}?{urlencode({'path': path})}",
        )
    except ClinicalError as error:
        return render(request, "records/document.html", {"record": record, "document": shown, "error": error})
    found = _section_with(view, _path_in(shown, request.GET.get("item", "")))
    context = {"record": record, "document": shown, "view": view, "found": found}
    return render(request, "records/document.html", context)


def _path_in(shown: Document, item: str) -> str:
    """Where in the document the item `item` of the record stands; empty when it is none of its items."""
    try:
        rows = Entry.objects.filter(record=shown.record_id, pk=item, state__in=SHOWN)
        entry = rows.select_related("record__holder", "filing").first()
    except ValidationError:
        return ""
    if entry is None:
        return ""
    if entry.filing is not None and entry.filing.document_id == shown.pk:
        return str(entry.content.get("path", ""))
    sources = EntrySource.objects.select_related("filing__record__holder")
    source = sources.filter(entry=entry, filing__document=shown).first()
    return str(source.place.get("path", "")) if source else ""


def _section_with(view: narrative.DocumentView, path: str) -> str:
    """The anchor of the innermost section that has the element at `path`."""
    around = [section for section in view.sections if path.startswith(f"{section.path}/")]
    return max(around, key=lambda section: len(section.path)).anchor if around else ""


@require_safe
@login_required
def document_part(request: HttpRequest, record_id: str, document_id: str) -> HttpResponse:
    """What is embedded in a document at the element path `?path=`: a picture, or a body that is no XML."""
    record = require_access(signed_in(request), record_id, Right.VIEW)
    shown = _document(record_id, document_id)
    try:
        part = narrative.embedded_file(open_blob(shown.blob), request.GET.get("path", ""))
    except ClinicalError as error:
        raise Http404 from error
    kind = narrative.picture_type(part.data)
    if kind is not None:
        return picture(part.data, kind)
    trail.record("document.downloaded", record=record, subject=shown.pk, request=request)
    name = f"document-{shown.created:%Y-%m-%d}{mimetypes.guess_extension(part.media_type) or ''}"
    return download(part.data, name, part.media_type)


@require_safe
@login_required
def document_file(request: HttpRequest, record_id: str, document_id: str) -> HttpResponse:
    """Download a document byte for byte."""
    record = require_access(signed_in(request), record_id, Right.VIEW)
    shown = _document(record_id, document_id)
    trail.record("document.downloaded", record=record, subject=shown.pk, request=request)
    return download(
        open_blob(shown.blob), f"document-{shown.created:%Y-%m-%d}.xml", "application/octet-stream"
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def settings(request: HttpRequest, record_id: str) -> HttpResponse:
    """The record's preferences, for its custodians."""
    record = require_access(signed_in(request), record_id, Right.CUSTODIAN)
    grant = grants_of(signed_in(request)).get(record=record)
    form = PreferencesForm(request.POST or None, initial=PreferencesForm.initial_for(record, grant))
    if request.method == "POST" and form.is_valid():
        form.apply(record, grant)
        trail.record("record.settings_changed", record=record, request=request)
        messages.success(request, "Your settings are saved.")
        return redirect("records:settings", record_id=record.pk)
    return render(request, "records/settings.html", {"record": record, "form": form})


def _document(record_id: str, document_id: str) -> Document:
    shown = (
        Document.objects.select_related("record__holder", "blob__holder", "attachment__message")
        .filter(record_id=record_id, pk=document_id)
        .first()
    )
    if shown is None:
        raise Http404
    return shown


def _is_custodian(request: HttpRequest, record_id: str) -> bool:
    return grants_of(signed_in(request)).filter(record_id=record_id, right=Right.CUSTODIAN).exists()
