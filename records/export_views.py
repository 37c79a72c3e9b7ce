"""Pages for taking a record out and putting it back: thin over `export`, `restore` and `overview`."""

from __future__ import annotations

import io

from allauth.account.decorators import reauthentication_required
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from healthvault.audit import trail
from healthvault.store.downloads import download_stream

from . import export, overview, restore
from .access import Access, open_access, signed_in
from .models import Entry, Export, Right

_UNDER_WAY = frozenset({Export.State.WAITING, Export.State.MAKING})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def exports(request: HttpRequest, record_id: str) -> HttpResponse:
    """The copies of a record; a POST asks for one. The part that asks for itself anew is handed out alone."""
    access = open_access(request, record_id, Right.CUSTODIAN)
    if request.method == "POST":
        return _order(request, access)
    kept = Export.objects.filter(record=access.record).exclude(state=Export.State.EXPIRED)
    found = list(kept.select_related("blob").order_by("-created"))
    under_way = any(one.state in _UNDER_WAY for one in found)
    context = {"record": access.record, "access": access, "exports": found, "under_way": under_way}
    if not request.htmx:  # type: ignore[attr-defined]
        return render(request, "records/exports.html", context)
    # 286 ends the asking of a page.
    return render(request, "records/_exports.html", context, status=200 if under_way else 286)


@reauthentication_required
def _order(request: HttpRequest, access: Access) -> HttpResponse:
    try:
        export.request_export(access.record, signed_in(request))
    except export.TooManyExports:
        messages.error(request, "There are three copies already. Delete one first.")
    else:
        messages.success(request, "Your copy is being made. You may leave this page meanwhile.")
    return redirect("records:exports", record_id=access.record.pk)


@require_safe
@login_required
def export_file(request: HttpRequest, record_id: str, export_id: str) -> HttpResponseBase:
    """Download a copy that is ready."""
    return _export_file(request, *_export_of(request, record_id, export_id))


@reauthentication_required
def _export_file(request: HttpRequest, access: Access, found: Export) -> HttpResponseBase:
    try:
        data = export.open_export(found)
    except export.NotReady as error:
        raise Http404 from error
    trail.record("export.downloaded", record=access.record, subject=found.pk, request=request)
    name = f"record-{timezone.localtime(found.created):%Y-%m-%d}.zip"
    return download_stream(data, name, "application/zip")


@require_POST
@login_required
def export_delete(request: HttpRequest, record_id: str, export_id: str) -> HttpResponse:
    """Delete a copy before its time is over."""
    access, found = _export_of(request, record_id, export_id)
    export.delete_export(found, signed_in(request))
    messages.success(request, "The copy is deleted.")
    return redirect("records:exports", record_id=access.record.pk)


def _export_of(request: HttpRequest, record_id: str, export_id: str) -> tuple[Access, Export]:
    access = open_access(request, record_id, Right.CUSTODIAN)
    found = Export.objects.filter(record=access.record, pk=export_id).first()
    if found is None:
        raise Http404
    return access, found


# --- putting it back ------------------------------------------------------------------------------------


class RestoreForm(forms.Form):
    """A copy that was downloaded here or from another portal."""

    file = forms.FileField(
        label="The ZIP file",
        widget=forms.ClearableFileInput(attrs={"accept": ".zip,application/zip"}),
        help_text="As you downloaded it, unchanged.",
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def put_back(request: HttpRequest, record_id: str) -> HttpResponse:
    """Add what an exported copy holds."""
    return _put_back(request, open_access(request, record_id, Right.CUSTODIAN))


@reauthentication_required
def _put_back(request: HttpRequest, access: Access) -> HttpResponse:
    asked = request.method == "POST"
    form = RestoreForm(request.POST, request.FILES) if asked else RestoreForm()
    if asked and form.is_valid():
        try:
            data = io.BytesIO(form.cleaned_data["file"].read())
            done = restore.restore_record(access.record, data, signed_in(request))
        except restore.NotRestorable as error:
            form.add_error("file", f"Nothing was added: {error}.")
        else:
            messages.success(request, _told(done))
            return redirect("records:overview", record_id=access.record.pk)
    return render(request, "records/restore.html", {"record": access.record, "form": form})


def _told(done: restore.Restored) -> str:
    if not (done.messages or done.documents or done.items):
        return "Everything in this file was in the record already."
    counted = ((done.messages, "message"), (done.documents, "document"), (done.items, "item"))
    told = "Added: " + ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counted) + "."
    if done.left_out:
        told += (
            f" Left out, as it was not in the form it should have: {done.left_out}"
            f" note{'' if done.left_out == 1 else 's'} about a message or a document."
        )
    return told


# --- on paper -------------------------------------------------------------------------------------------


@require_safe
@login_required
def summary(request: HttpRequest, record_id: str) -> HttpResponse:
    """Everything this person sees, on one page made for paper."""
    access = open_access(request, record_id)
    trail.record("record.printed", record=access.record, request=request)
    active = access.entries.filter(state=Entry.State.ACTIVE)
    groups = overview.groups(access.record, active)
    context = {"record": access.record, "groups": groups, "now": timezone.now(), "access": access}
    return render(request, "records/summary.html", context)
