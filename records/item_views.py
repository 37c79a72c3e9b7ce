"""Pages for single items in people's hands: add, correct, reject, delete, restore, look into a file."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from healthvault.audit import trail
from healthvault.store.blobs import open_blob
from healthvault.store.downloads import NoPicture, picture

from . import editing, history, looking, story
from .access import Access, open_access, signed_in
from .facts import Fact
from .handwritten import SHAPES
from .item_forms import ItemForm
from .kinds import KIND_NAMES, kind_name
from .models import Entry, EntrySource, EntryVersion, Right

#: What people add most, in the order they look for it; all others are a click away.
OFTEN = (
    *("allergies", "problems", "medications", "immunizations", "vital_signs", "results", "procedures"),
    *("encounters", "family_history", "social_history", "medical_equipment", "payers", "care_team"),
    *("goals", "plan_of_treatment", "health_concerns", "past_illness", "advance_directives", "notes"),
)


# --- add and correct ------------------------------------------------------------------------------------


@require_safe
@login_required
def choose_kind(request: HttpRequest, record_id: str) -> HttpResponse:
    """What kind of thing to add by hand."""
    access = open_access(request, record_id, Right.MODIFY)
    open_to = [kind for kind in SHAPES if _may_add(access, kind)]
    names = [(kind, KIND_NAMES[kind]) for kind in OFTEN if kind in open_to]
    others = [(kind, KIND_NAMES[kind]) for kind in open_to if kind not in OFTEN]
    context = {"record": access.record, "access": access, "often": names, "others": others}
    return render(request, "records/choose_kind.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def add(request: HttpRequest, record_id: str, kind: str) -> HttpResponse:
    """Add an item in the person's own words."""
    access = open_access(request, record_id, Right.MODIFY)
    if not _may_add(access, kind):
        raise Http404
    form = ItemForm(kind, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = editing.add_item(
                access.record, signed_in(request), kind, form.words(), key=form.cleaned_data["key"]
            )
        except editing.EditRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, "It is in the record.")
            return redirect("records:entry", record_id=access.record.pk, entry_id=made.pk)
    context = {"record": access.record, "form": form, "kind": kind, "kind_name": kind_name(kind)}
    return render(request, "records/add.html", context)


def _may_add(access: Access, kind: str) -> bool:
    """Whether there is such a kind, and this person sees it."""
    seen = access.grant.kinds
    return kind in SHAPES and (access.custodian or seen is None or kind in seen)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def correct(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """Put the person's words in place of what an item says; earlier versions are kept."""
    access = open_access(request, record_id, Right.MODIFY)
    shown = _item(access, entry_id)
    if shown.kind not in SHAPES:
        messages.info(request, "Files are not corrected: delete this one, and upload another.")
        return redirect("records:entry", record_id=access.record.pk, entry_id=shown.pk)
    form = _correct_form(request, shown)
    if request.method == "POST" and form.is_valid():
        try:
            editing.correct_item(shown, signed_in(request), form.words(), seen=form.cleaned_data["stamp"])
        except editing.ChangedMeanwhile as refused:
            messages.warning(request, str(refused))
            return redirect("records:correct", record_id=access.record.pk, entry_id=shown.pk)
        except editing.EditRefused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, "Your words stand in the record now. What was there before is kept.")
            return redirect("records:entry", record_id=access.record.pk, entry_id=shown.pk)
    context = {
        "record": access.record,
        "entry": shown,
        "fact": Fact(str(shown.pk), shown.kind, shown.content),
        "form": form,
        "from_document": shown.filing_id is not None,
    }
    return render(request, "records/correct.html", context)


def _correct_form(request: HttpRequest, shown: Entry) -> ItemForm:
    words = editing.words_of(shown.content)
    initial = {**ItemForm.initial_for(words), "key": shown.pk, "stamp": shown.updated.isoformat()}
    data = request.POST if request.method == "POST" else None
    return ItemForm(shown.kind, data, initial=initial, status=words.status)


# --- reject, delete, restore ----------------------------------------------------------------------------

_ACTS = {
    "reject": (editing.reject_item, "It left the record. You find it under “Removed items”."),
    "delete": (editing.delete_item, "It is deleted. You find it under “Removed items”."),
    "restore": (editing.restore_item, "It is in the record again."),
    "revert": (
        editing.revert_item,
        "The documents' words stand again. Yours are kept in the history below.",
    ),
}


@require_POST
@login_required
def decide(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """Carry out the act of a button: reject, delete, restore, or back to the document's words."""
    access = open_access(request, record_id, Right.MODIFY)
    act = str(request.POST.get("act", ""))
    shown = _removed(access, entry_id) if act == "restore" else _item(access, entry_id)
    if act in _ACTS:
        verb, words = _ACTS[act]
        try:
            verb(shown, signed_in(request))
            messages.success(request, words)
        except editing.EditRefused as refused:
            messages.error(request, str(refused))
    if access.entries.filter(pk=shown.pk).exists():
        return redirect("records:entry", record_id=access.record.pk, entry_id=shown.pk)
    return redirect("records:removed" if access.custodian else "records:overview", record_id=access.record.pk)


@require_safe
@login_required
def removed(request: HttpRequest, record_id: str) -> HttpResponse:
    """What was rejected or deleted: each can be restored, or removed for good."""
    access = open_access(request, record_id, Right.CUSTODIAN)
    page = Paginator(access.removed.select_related("record__holder"), 50).get_page(request.GET.get("page"))
    who = _last_acts([entry.pk for entry in page])
    rows = [
        (entry, Fact(str(entry.pk), entry.kind, entry.content), kind_name(entry.kind), who.get(entry.pk))
        for entry in page
    ]
    trail.record("record.removed_viewed", record=access.record, request=request)
    context = {"record": access.record, "access": access, "page": page, "rows": rows}
    return render(request, "records/removed.html", context)


def _last_acts(entries: list[Any]) -> dict[Any, EntryVersion]:
    acts = EntryVersion.objects.filter(
        entry__in=entries, action__in=[EntryVersion.Action.REJECTED, EntryVersion.Action.DELETED]
    )
    return {act.entry_id: act for act in acts.select_related("account").order_by("pk")}


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def remove(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """Erase a deleted or rejected item for good, after asking."""
    access = open_access(request, record_id, Right.CUSTODIAN)
    if access.entries.filter(pk=entry_id).exists():
        messages.info(request, "Delete the item first: what is deleted can be removed for good.")
        return redirect("records:entry", record_id=access.record.pk, entry_id=entry_id)
    shown = _removed(access, entry_id)
    if request.method == "POST":
        editing.remove_for_good(shown, signed_in(request))
        messages.success(request, "It is gone for good.")
        return redirect("records:removed", record_id=access.record.pk)
    fact = Fact(str(shown.pk), shown.kind, shown.content)
    sources = EntrySource.objects.filter(entry=shown).exclude(state=EntrySource.State.WITHDRAWN)
    context = {"record": access.record, "entry": shown, "fact": fact, "sources": sources.count()}
    return render(request, "records/remove.html", context)


# --- an item's page -------------------------------------------------------------------------------------


def story_for(access: Access, shown: Entry) -> dict[str, Any]:
    """What the page of an item tells beside its facts: proofs, history for custodians, what one may do."""
    allowed = set(access.documents.filter(filing__matches__entry=shown).values_list("pk", flat=True))
    proofs = [proof for proof in history.proofs(shown) if proof.document.pk in allowed]
    standing = any(proof.state == EntrySource.State.STANDING for proof in proofs)
    return {
        "proofs": proofs,
        "chapters": story.story_of(shown) if access.custodian else [],
        "may_change": access.may_change,
        "correctable": access.may_change and shown.kind in SHAPES and shown.state == Entry.State.ACTIVE,
        "revertible": access.may_change and shown.own and standing,
        "preview": _preview(shown),
    }


def _preview(shown: Entry) -> looking.Preview | None:
    if shown.blob is None:
        return None
    return looking.preview_of(open_blob(shown.blob))


@require_safe
@login_required
def item_picture(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """A File item that is a PNG, JPEG or GIF by its bytes, for the page that shows it."""
    access = open_access(request, record_id)
    shown = _item(access, entry_id)
    data = open_blob(shown.blob) if shown.blob else b""
    if looking.preview_of(data).kind != "picture":
        raise Http404
    try:
        return picture(data)
    except NoPicture as error:
        raise Http404 from error


# --- rows -----------------------------------------------------------------------------------------------


def _item(access: Access, entry_id: str) -> Entry:
    found = access.entries.select_related("record__holder", "blob__holder").filter(pk=entry_id).first()
    if found is None:
        raise Http404
    return found


def _removed(access: Access, entry_id: str) -> Entry:
    found = access.removed.select_related("record__holder").filter(pk=entry_id).first()
    if found is None:
        raise Http404
    return found
