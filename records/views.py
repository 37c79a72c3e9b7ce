"""Pages of a record: thin over `access`, `overview` and the rows."""

from __future__ import annotations

import contextlib
import mimetypes
from datetime import timedelta
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from healthvault.audit import trail
from healthvault.store.blobs import open_blob
from healthvault.store.downloads import NoPicture, download, picture

from . import kinds, overview, quota
from .access import Access, grants_of, open_access, signed_in
from .clinical import embedded, narrative
from .clinical.errors import ClinicalError
from .clinical.sections import title_of_code
from .facts import Fact
from .forms import PreferencesForm, SenderForm
from .item_views import story_for
from .models import Document, Entry, EntrySource, Import, IntegrationPreference, Message, Right

#: How long the overview calls an import new.
FRESH = timedelta(days=14)


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
    access = open_access(request, record_id)
    record = access.record
    trail.record("record.viewed", record=record, request=request)
    documents = access.documents.select_related("record__holder", "attachment__message")
    filings = Import.objects.filter(document__in=access.documents)
    since = timezone.now() - FRESH
    fresh = filings.filter(state=Import.State.APPLIED, created__gt=since).order_by("-created")
    settled = (Document.State.READ, Document.State.REFUSED)
    unread = documents.exclude(state__in=settled).order_by("-created")
    context = {
        "record": record,
        "access": access,
        "groups": overview.groups(record, access.entries.filter(state=Entry.State.ACTIVE)),
        "documents": documents.order_by("-created")[: overview.SHOWN_AT_ONCE],
        "documents_count": documents.count(),
        "fresh": fresh.select_related("document__record__holder", "document__attachment__message")[:5],
        "attention": unread.filter(superseded_by=None)[:5],
        "to_review": filings.filter(state=Import.State.PROPOSED).order_by("created"),
        "custodian": access.custodian,
    }
    return render(request, "records/overview.html", context)


@require_safe
@login_required
def entry(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """One item and where it came from."""
    access = open_access(request, record_id)
    related = ("record__holder", "filing__document__attachment__message__record__holder", "blob__holder")
    shown = access.entries.select_related(*related, "attachment__message").filter(pk=entry_id).first()
    if shown is None:
        raise Http404
    trail.record("item.viewed", record=access.record, subject=shown.pk, request=request)
    standing = EntrySource.objects.filter(entry=shown, state=EntrySource.State.STANDING)
    elsewhere = standing.exclude(filing=shown.filing_id)
    sources = elsewhere.filter(filing__document__in=access.documents)
    context = {
        "record": access.record,
        "access": access,
        "entry": shown,
        "fact": Fact(str(shown.pk), shown.kind, shown.content),
        "kind": kinds.kind_name(shown.kind),
        "measured": shown.kind in kinds.MEASURED,
        "section": title_of_code(shown.content.get("section", ""), "The head of the document"),
        "sources": sources.select_related("filing__document__record__holder"),
        "document": _source_of(shown, access),
        "message": _message_of(shown, access),
        **story_for(access, shown),
    }
    return render(request, "records/entry.html", context)


def _source_of(shown: Entry, access: Access) -> Document | None:
    """The document an item takes its words from, when this person may open it."""
    document = shown.filing.document if shown.filing else None
    if document is None or not access.documents.filter(pk=document.pk).exists():
        return None
    return document


def _message_of(shown: Entry, access: Access) -> Message | None:
    """The message an item came in, when this person may read it."""
    document = shown.filing.document if shown.filing else None
    attachment = document.attachment if document else shown.attachment
    if attachment is None:
        return None
    return access.messages.filter(pk=attachment.message_id).first()


@require_safe
@login_required
def entry_file(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """Download the bytes of a File item."""
    access = open_access(request, record_id)
    rows = access.entries.select_related("record__holder", "blob__holder")
    shown = rows.filter(pk=entry_id).first()
    if shown is None or shown.blob is None:
        raise Http404
    trail.record("file.downloaded", record=access.record, subject=shown.pk, request=request)
    return download(open_blob(shown.blob), shown.content["name"], shown.content["content_type"])


@require_safe
@login_required
def document(request: HttpRequest, record_id: str, document_id: str) -> HttpResponse:
    """A document as its author wrote it, built from the parsed tree."""
    access = open_access(request, record_id)
    record, shown = access.record, _document(access, document_id)
    trail.record("document.viewed", record=record, subject=shown.pk, request=request)
    part = reverse("records:document_part", args=[record.pk, shown.pk])
    try:
        view = narrative.render(
            open_blob(shown.blob),
            prefix=anchor_prefix(shown),
            picture_url=lambda path: f"{part}?{urlencode({'path': path})}",
            place=_place_in(access, shown, request.GET.get("item", "")),
        )
    except ClinicalError as error:
        return render(request, "records/document.html", {"record": record, "document": shown, "error": error})
    context = {"record": record, "document": shown, "view": view, "access": access}
    return render(request, "records/document.html", context)


def anchor_prefix(document: Document) -> str:
    """What every id of a document's text begins with in its page."""
    return f"d{document.pk.hex[-8:]}"


def _place_in(access: Access, shown: Document, item: str) -> narrative.Place | None:
    """Where in the document the item `item` of the record stands; None when it is none of its items."""
    try:
        entry = access.entries.filter(pk=item).select_related("record__holder", "filing").first()
    except ValidationError:
        return None
    if entry is None:
        return None
    sources = EntrySource.objects.select_related("filing__record__holder")
    source = sources.filter(entry=entry, filing__document=shown).first()
    if source is not None:
        said = source.content or entry.content
        return narrative.Place(str(source.place.get("path", "")), str(said.get("name", "")))
    if entry.filing is not None and entry.filing.document_id == shown.pk:
        return narrative.Place(str(entry.content.get("path", "")), str(entry.content.get("name", "")))
    return None


@require_safe
@login_required
def document_part(request: HttpRequest, record_id: str, document_id: str) -> HttpResponse:
    """What is embedded in a document at the element path `?path=`: a picture, or a body that is no XML."""
    access = open_access(request, record_id)
    record, shown = access.record, _document(access, document_id)
    try:
        part = embedded.embedded_file(open_blob(shown.blob), request.GET.get("path", ""))
    except ClinicalError as error:
        raise Http404 from error
    if embedded.picture_type(part.data) is not None:
        with contextlib.suppress(NoPicture):
            return picture(part.data)
    trail.record("document.downloaded", record=record, subject=shown.pk, request=request)
    name = f"document-{shown.created:%Y-%m-%d}{mimetypes.guess_extension(part.media_type) or ''}"
    return download(part.data, name, part.media_type)


@require_safe
@login_required
def document_file(request: HttpRequest, record_id: str, document_id: str) -> HttpResponse:
    """Download a document byte for byte."""
    access = open_access(request, record_id)
    record, shown = access.record, _document(access, document_id)
    trail.record("document.downloaded", record=record, subject=shown.pk, request=request)
    return download(
        open_blob(shown.blob), f"document-{shown.created:%Y-%m-%d}.xml", "application/octet-stream"
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def settings(request: HttpRequest, record_id: str) -> HttpResponse:
    """The record's preferences, for its custodians."""
    access = open_access(request, record_id, Right.CUSTODIAN)
    record, grant = access.record, access.grant
    form = PreferencesForm(request.POST or None, initial=PreferencesForm.initial_for(record, grant))
    if request.method == "POST" and form.is_valid():
        form.apply(record, grant)
        trail.record("record.settings_changed", record=record, request=request)
        messages.success(request, "Your settings are saved.")
        return redirect("records:settings", record_id=record.pk)
    words = dict(IntegrationPreference.choices)
    exceptions = [(name, words[rule]) for name, rule in sorted(record.sender_preferences.items())]
    context = {
        "record": record,
        "form": form,
        "sender_form": SenderForm(),
        "exceptions": exceptions,
        "room": quota.room_of(record),
    }
    return render(request, "records/settings.html", context)


def _document(access: Access, document_id: str) -> Document:
    related = ("record__holder", "blob__holder", "attachment__message")
    shown = access.documents.select_related(*related).filter(pk=document_id).first()
    if shown is None:
        raise Http404
    return shown
