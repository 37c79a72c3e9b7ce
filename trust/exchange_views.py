""" "Can we exchange with this address?": every step of discovery and trust, told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from healthvault.audit import trail
from trust import context as trust_context
from trust import discovery
from trust.console import staff_only
from trust.console_views import form_page
from trust.forms import ExchangeForm
from trust.models import Organization
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError
from trust.pki.path import verify_path


@dataclass(frozen=True)
class Way:
    """One direction of exchange: whether it works, and why (not)."""

    works: bool
    detail: str
    chain: tuple[Certificate, ...] = ()


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
    owner = next((row for row in Organization.objects.all() if name in row.domains), None)
    return {
        "address": address,
        "domain": domain,
        "found": found,
        "sending": _sending(found),
        "receiving": _receiving(found, domain),
        "owner": owner,
    }


def _sending(found: discovery.Discovery) -> Way:
    if found.found:
        return Way(True, "Their certificate is found and trusted.", found.found[0].chain.certificates)
    return Way(False, found.detail)


def _receiving(found: discovery.Discovery, domain: str) -> Way | None:
    """Whether mail signed with a certificate that was found would be accepted; None when none was found.

    What is published is for encrypting. A partner with a second certificate for signing, of the same issuer,
    is judged alike.
    """
    if not found.found:
        return None
    one = found.found[0]
    incoming = trust_context.for_address(f"postmaster@{domain}", incoming=True).trust
    try:
        chain = verify_path(one.certificate, one.chain.certificates[1:], incoming, timezone.now())
    except PkiError as error:
        return Way(False, error.detail)
    return Way(True, "Mail signed by the same authority is accepted.", chain.certificates)
