""" "Can we exchange with this address?": every step of discovery and trust, told."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from healthvault.audit import trail
from trust import context as trust_context
from trust import discovery
from trust import exchange as told
from trust.console import staff_only
from trust.console_views import form_page
from trust.forms import ExchangeForm
from trust.models import Organization


@form_page
@staff_only
def exchange(request: HttpRequest) -> HttpResponse:
    """Look an address up as if we were to write to it, and judge its certificates both ways.

    By POST alone, since what is found is kept for a while.
    """
    form = ExchangeForm(request.POST or None, initial=_initial(request))
    context: dict[str, Any] = {"form": form}
    if request.method == "POST" and form.is_valid():
        address, domain = form.cleaned_data["address"], form.cleaned_data["domain"].name
        if "forget" in request.POST:
            discovery.forget(address)
            messages.success(request, "What was kept of this address is forgotten; it was asked anew.")
        trail.record("trust.address_checked", request=request)
        context |= _outcome(address, domain)
    return render(request, "trust/exchange.html", context)


def _initial(request: HttpRequest) -> dict[str, Any]:
    return {"address": request.GET.get("address", "")[:320]}


def _outcome(address: str, domain: str) -> dict[str, Any]:
    now = timezone.now()
    found = discovery.find(address, at=now, sender=domain)
    name = trust_context.domain_of(address)
    return {
        "address": address,
        "domain": domain,
        "found": found,
        "places": told.places(found),
        "sending": told.sending(found),
        "receiving": told.receiving(found, domain, now),
        "owner": next((row for row in Organization.objects.all() if name in row.domains), None),
        "now": now,
    }
