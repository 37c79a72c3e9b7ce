"""Pages for the Direct addresses of a record: its custodians change them, and switch them off and on."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from records.access import require_access, signed_in
from records.models import Right

from . import addresses
from .forms import AddressForm
from .models import DirectAddress


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def of_record(request: HttpRequest, record_id: str) -> HttpResponse:
    """The addresses of a record, and a new one."""
    record = require_access(signed_in(request), record_id, Right.CUSTODIAN)
    form = AddressForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = addresses.change(
                record, form.cleaned_data["local"], account=signed_in(request), request=request
            )
        except (
            addresses.AddressNotAllowed,
            addresses.AddressTaken,
            addresses.TooManyAddresses,
            addresses.TooManyChanges,
        ) as error:
            form.add_error("local", str(error))
        else:
            messages.success(request, f"The address of this record is now {made.address}.")
            return redirect("directmsg:addresses", record_id=record.pk)
    rows = DirectAddress.objects.filter(record=record).order_by("-primary", "-created")
    current = next((row for row in rows if row.primary), None)
    context = {
        "record": record,
        "rows": rows,
        "form": form,
        "current": current,
        "domain": current.address.rpartition("@")[2] if current else "",
        "most": addresses.MOST_PER_RECORD,
        "a_month": addresses.CHANGES_A_MONTH,
    }
    return render(request, "directmsg/addresses.html", context)


@require_POST
@login_required
def switch(request: HttpRequest, record_id: str, address_id: str) -> HttpResponse:
    """Switch one address off or on."""
    record = require_access(signed_in(request), record_id, Right.CUSTODIAN)
    row = get_object_or_404(DirectAddress.objects.select_related("record"), pk=address_id, record=record)
    # A form without either button decides nothing.
    if {"on", "off"} & set(request.POST):
        on = "on" in request.POST
        if addresses.switch(row, on=on, account=signed_in(request), request=request):
            word = "on" if on else "off"
            messages.success(request, f"{row.address} is switched {word}.")
    return redirect("directmsg:addresses", record_id=record.pk)
