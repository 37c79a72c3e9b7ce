"""Requests to be trusted: the public page where organisations ask, and the administrators' queue."""

from __future__ import annotations

import ipaddress

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from healthvault.audit import trail
from trust import requests
from trust.console import page_of, staff_only, tell_form, tell_refusal
from trust.console_views import form_page
from trust.errors import TrustRefusal
from trust.forms import AcceptForm, CodeForm, ReasonForm, TrustRequestForm
from trust.models import TrustDraft, TrustRequest

DRAFT = "trust_draft"


# --- for organisations ----------------------------------------------------------------------------------


@form_page
def ask(request: HttpRequest) -> HttpResponse:
    """Ask to be trusted: who, how to be reached, which domains, which anchor."""
    form = TrustRequestForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        wanted = form.cleaned_data
        try:
            asked = requests.Asked(
                wanted["organization"],
                wanted["email"],
                wanted["domains"],
                requests.pem_of(wanted["anchors"].candidates),
            )
            draft = requests.start(asked, network_of(trail.client_address(request) or ""))
        except TrustRefusal as refusal:
            form.add_error(None, refusal.detail)
        else:
            request.session[DRAFT] = str(draft.pk)
            return redirect("trust:request_code")
    return render(request, "trust/request.html", {"form": form})


@form_page
def ask_code(request: HttpRequest) -> HttpResponse:
    """Type the mailed code; then the request stands in the queue."""
    pk = request.session.get(DRAFT)
    draft = TrustDraft.objects.filter(pk=str(pk)).first() if pk else None
    if draft is None:
        return redirect("trust:request")
    form = CodeForm(request.POST if "code" in request.POST else None)
    try:
        if "again" in request.POST:
            requests.new_code(draft)
            messages.success(request, "A new code is on its way.")
            return redirect("trust:request_code")
        if request.method == "POST" and form.is_valid():
            requests.prove(draft, form.cleaned_data["code"])
            del request.session[DRAFT]
            return redirect("trust:request_sent")
    except TrustRefusal as refusal:
        form.add_error("code", refusal.detail) if form.is_bound else tell_refusal(request, refusal)
    return render(
        request, "trust/request_code.html", {"form": form, "contact": draft.content["contact_email"]}
    )


@require_safe
def ask_sent(request: HttpRequest) -> HttpResponse:
    """What happens next, and where our own anchors are."""
    return render(request, "trust/request_sent.html")


def network_of(address: str) -> str:
    """The /24 or /64 network of a client address, for counting."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(ipaddress.ip_network(f"{ip}/{24 if ip.version == 4 else 64}", strict=False))


# --- for administrators ---------------------------------------------------------------------------------


@require_safe
@staff_only
def queue(request: HttpRequest) -> HttpResponse:
    """Requests that wait, and those that were decided."""
    waiting = TrustRequest.objects.filter(state=TrustRequest.State.OPEN).order_by("created")
    decided = TrustRequest.objects.exclude(state=TrustRequest.State.OPEN).order_by("-decided")
    context = {"waiting": waiting[:200], "page": page_of(request, decided, 20)}
    return render(request, "trust/requests.html", context)


@require_safe
@staff_only
def review(request: HttpRequest, request_id: str) -> HttpResponse:
    """What accepting one request would do; the form to accept or decline it."""
    return _review_page(request, get_object_or_404(TrustRequest, pk=request_id))


def _review_page(request: HttpRequest, row: TrustRequest, form: AcceptForm | None = None) -> HttpResponse:
    found = requests.review(row)
    if form is None:
        # A domain that is ours, or another's here, is not offered: accepting it would rename its mail.
        domains = [name for name in row.domains if name not in {*found.ours, *dict(found.taken)}]
        initial = {
            "organization": row.organization_name,
            "domains": domains,
            "domain": row.domain.name if row.domain else "",
            "incoming": row.incoming,
            "outgoing": row.outgoing,
        }
        form = AcceptForm(initial=initial, asks=found.asks, stopped=found.stopped)
    context = {
        "row": row,
        "review": found,
        "form": form,
        "reason": ReasonForm(auto_id="id_decline_%s"),
        "contact": requests.masked(str(row.contact_email)) if row.contact_email else "",
        "alone": not requests.needs_second_person(row, request.user),
        "mine": row.first_by_id == request.user.pk,
        "now": timezone.now(),
    }
    return render(request, "trust/request_review.html", context)


@require_POST
@staff_only
def accept(request: HttpRequest, request_id: str) -> HttpResponse:
    """Say yes; in production a second administrator has to agree before anything is trusted."""
    row = get_object_or_404(TrustRequest, pk=request_id)
    found = requests.review(row)
    form = AcceptForm(request.POST, asks=found.asks, stopped=found.stopped)
    if not form.is_valid():
        return _review_page(request, row, form)
    try:
        admitted = requests.accept(row, request.user, _terms(form))
    except TrustRefusal as refusal:
        form.add_error(None, refusal.detail)
        return _review_page(request, row, form)
    if not admitted:
        messages.success(request, "Your yes is noted. A second administrator has to agree.")
        return redirect("trust:requests")
    changed = sum(each.change != "unchanged" for each in admitted)
    messages.success(request, f"Done: {changed} of {len(admitted)} anchors are new or changed, at once.")
    return redirect("trust:organization", organization_id=admitted[0].anchor.organization_id)


def _terms(form: AcceptForm) -> requests.Terms:
    wanted = form.cleaned_data
    return requests.Terms(
        organization_name=wanted["organization"],
        domains=wanted["domains"],
        domain=wanted["domain"],
        incoming=wanted["incoming"],
        outgoing=wanted["outgoing"],
        confirmed=bool(wanted.get("confirmed")),
        lift=bool(wanted.get("lift")),
    )


@require_POST
@staff_only
def decline(request: HttpRequest, request_id: str) -> HttpResponse:
    """Say no, with the reason that the contact is mailed."""
    row, form = get_object_or_404(TrustRequest, pk=request_id), ReasonForm(request.POST)
    if not form.is_valid():
        tell_form(request, form)
        return redirect("trust:request_review", request_id=row.pk)
    try:
        requests.decline(row, request.user, form.cleaned_data["reason"])
    except TrustRefusal as refusal:
        tell_refusal(request, refusal)
        return redirect("trust:request_review", request_id=row.pk)
    messages.success(request, "Declined." + (" The contact is told why." if row.contact_email else ""))
    return redirect("trust:requests")
