"""The page of blocked senders: who may change a record blocks, and takes back, in one step."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from records.access import signed_in, whole_records_of
from records.models import Record, Right

from . import blocking
from .forms import BlockForm
from .models import BlockedSender


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def of_record(request: HttpRequest, record_id: str) -> HttpResponse:
    """The blocked senders of a record, and one more."""
    record = _record(request, record_id)
    form = BlockForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            row = blocking.block(
                record, form.cleaned_data["sender"], account=signed_in(request), request=request
            )
        except blocking.CannotBlock as error:
            form.add_error("sender", str(error))
        else:
            messages.success(request, f"{row.name} is blocked.")
            return redirect("directmsg:blocked", record_id=record.pk)
    rows = BlockedSender.objects.filter(record=record).select_related("by").order_by("-since")
    return render(request, "directmsg/blocked.html", {"record": record, "rows": rows, "form": form})


@require_POST
@login_required
def unblock(request: HttpRequest, record_id: str, blocked_id: str) -> HttpResponse:
    """Take mail from one sender again."""
    record = _record(request, record_id)
    row = get_object_or_404(BlockedSender, pk=blocked_id, record=record)
    if blocking.unblock(row, account=signed_in(request), request=request):
        messages.success(request, f"Mail from {row.name} arrives again.")
    return redirect("directmsg:blocked", record_id=record.pk)


def _record(request: HttpRequest, record_id: str) -> Record:
    """The record, for those who may change the whole of it; else Http404."""
    mine = whole_records_of(signed_in(request), Right.MODIFY).select_related("holder")
    record = mine.filter(pk=record_id).first()
    if record is None:
        raise Http404
    return record
