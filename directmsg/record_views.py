"""Opening a record for another person: it comes with a Direct address."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from records.access import signed_in
from records.forms import RecordForm
from records.models import Grant, Right

from . import addresses

#: So many records one account may look after: a mistake or a machine ends here.
MOST_RECORDS = 25


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Open a record for a child, a parent, or another person one cares for."""
    account = signed_in(request)
    form = RecordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if Grant.objects.filter(account=account, right=Right.CUSTODIAN).count() < MOST_RECORDS:
            values = form.cleaned_data
            born = values["birth_date"].isoformat() if values["birth_date"] else None
            name, relationship = values["name"].strip(), values["relationship"]
            record = addresses.open_record(account, name, relationship=relationship, birth_date=born)
            messages.success(request, f"The record of {name} is open.")
            return redirect("records:overview", record_id=record.pk)
        form.add_error(None, f"You look after {MOST_RECORDS} records, which is the most one account may.")
    return render(request, "records/new.html", {"form": form})
