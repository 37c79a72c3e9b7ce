"""Anchors, organisations and our domains in the console: whom we trust, and how strictly."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from healthvault.audit import trail
from trust import bundles, requests
from trust.console import page_of, query_without_page, staff_only, tell_form, tell_refusal
from trust.errors import TrustRefusal
from trust.forms import (
    AnchorFilterForm,
    AnchorImportForm,
    DomainForm,
    ExcludeForm,
    FlagsForm,
    OrganizationForm,
    ReasonForm,
)
from trust.models import Anchor, Domain, Organization, TrustRequest

form_page = require_http_methods(["GET", "HEAD", "POST"])


# --- anchors --------------------------------------------------------------------------------------------


@require_safe
@staff_only
def anchors(request: HttpRequest) -> HttpResponse:
    """Every anchor, filtered."""
    form = AnchorFilterForm(request.GET)
    rows = _filtered(form) if form.is_valid() else Anchor.objects.none()
    context = {
        "form": form,
        "page": page_of(request, rows),
        "query": query_without_page(request),
        "now": timezone.now(),
        "open_requests": TrustRequest.objects.filter(state=TrustRequest.State.OPEN).count(),
    }
    return render(request, "trust/anchors.html", context)


def _filtered(form: AnchorFilterForm) -> QuerySet[Anchor]:
    rows = Anchor.objects.select_related("organization", "domain", "bundle").defer("der")
    wanted = form.cleaned_data
    if wanted["q"]:
        text = wanted["q"].strip()
        names = Q(subject__icontains=text) | Q(organization__name__icontains=text)
        rows = rows.filter(names | Q(sha256__startswith=text.lower().replace(":", "")))
    if wanted["state"]:
        rows = rows.filter(state=wanted["state"])
    if wanted["source"]:
        rows = rows.filter(source=wanted["source"])
    return rows.order_by("subject", "id")


@form_page
@staff_only
def import_anchors(request: HttpRequest) -> HttpResponse:
    """Upload certificates; what they would mean is shown before anything is trusted."""
    form = AnchorImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        wanted, reading = form.cleaned_data, form.cleaned_data["anchors"]
        try:
            row = requests.open_request(
                requests.Asked(wanted["organization"], "", (), requests.pem_of(reading.candidates)),
                TrustRequest.Source.CONSOLE,
                account=request.user,
                domain=wanted["domain"],
                incoming=wanted["incoming"],
                outgoing=wanted["outgoing"],
            )
        except TrustRefusal as refusal:
            form.add_error("anchors", refusal.detail)
        else:
            for name in reading.passed_over[:10]:
                messages.warning(request, f"{name} holds no certificate and was passed over.")
            return redirect("trust:request_review", request_id=row.pk)
    names = Organization.objects.values_list("name", flat=True)[:500]
    return render(request, "trust/anchor_import.html", {"form": form, "names": names})


@require_safe
@staff_only
def anchor(request: HttpRequest, anchor_id: str) -> HttpResponse:
    """One anchor: what it is, where it counts, and what can be done about it."""
    row = _anchor(anchor_id)
    others = Anchor.objects.filter(sha256=row.sha256).exclude(pk=row.pk)
    context = {
        "anchor": row,
        "certificate": row.certificate,
        "others": others.select_related("organization", "domain", "bundle").defer("der"),
        "flags": FlagsForm(initial={"incoming": row.incoming, "outgoing": row.outgoing}),
        "reason": ReasonForm(auto_id="id_stop_%s"),
        "exclude": ExcludeForm(auto_id="id_exclude_%s") if row.bundle else None,
        "now": timezone.now(),
        "uses": row.bundle.uses.select_related("domain") if row.bundle else (),
    }
    return render(request, "trust/anchor.html", context)


@require_POST
@staff_only
def anchor_flags(request: HttpRequest, anchor_id: str) -> HttpResponse:
    """Let an anchor count for other directions."""
    row, form = _anchor(anchor_id), FlagsForm(request.POST)
    if not form.is_valid():
        tell_form(request, form)
        return redirect("trust:anchor", anchor_id=row.pk)
    with transaction.atomic():
        row.incoming, row.outgoing = form.cleaned_data["incoming"], form.cleaned_data["outgoing"]
        row.save(update_fields=["incoming", "outgoing"])
        trail.record(
            "trust.anchor_changed",
            subject=row.pk,
            request=request,
            incoming=int(row.incoming),
            outgoing=int(row.outgoing),
        )
    messages.success(request, "The directions are changed, at once.")
    return redirect("trust:anchor", anchor_id=row.pk)


@require_POST
@staff_only
def anchor_state(request: HttpRequest, anchor_id: str) -> HttpResponse:
    """Pause, revoke or resume an anchor; the first two with a reason."""
    row, act = _anchor(anchor_id), request.POST.get("act", "")
    if act == "resume":
        _resume(request, row)
        if not Anchor.objects.filter(pk=row.pk).exists():
            return redirect("trust:anchors")
    elif act in ("pause", "revoke"):
        form = ReasonForm(request.POST)
        if form.is_valid():
            _stop(request, row, act, form.cleaned_data["reason"])
        else:
            tell_form(request, form)
    return redirect("trust:anchor", anchor_id=row.pk)


@require_POST
@staff_only
def anchor_exclude(request: HttpRequest, anchor_id: str) -> HttpResponse:
    """Let an anchor of a bundle count for nothing for one of our domains; refreshes do not undo it."""
    row, form = _anchor(anchor_id), ExcludeForm(request.POST)
    if row.bundle_id is None:
        raise Http404
    if not form.is_valid():
        tell_form(request, form)
        return redirect("trust:anchor", anchor_id=row.pk)
    wanted = form.cleaned_data
    try:
        bundles.exclude(row, wanted["domain"], reason=wanted["reason"], actor=request.user)
    except TrustRefusal as refusal:
        tell_refusal(request, refusal)
    else:
        messages.success(request, f"{wanted['domain']} does not trust it any more, at once.")
    return redirect("trust:anchor", anchor_id=row.pk)


def _stop(request: HttpRequest, row: Anchor, act: str, reason: str) -> None:
    state = Anchor.State.PAUSED if act == "pause" else Anchor.State.REVOKED
    with transaction.atomic():
        row.state, row.reason = state, reason
        row.save(update_fields=["state", "reason"])
        trail.record(f"trust.anchor_{state}", subject=row.pk, request=request, sha256=row.sha256)
    word = "paused" if act == "pause" else "revoked"
    messages.success(request, f"The anchor is {word}: from now on nothing is trusted through it.")


def _resume(request: HttpRequest, row: Anchor) -> None:
    with transaction.atomic():
        # What was revoked comes back by a new import only, which in production takes two persons.
        paused = Anchor.objects.filter(pk=row.pk, state=Anchor.State.PAUSED)
        if _is_exclusion(row):
            # Such a row only ever said no: made active it would be an anchor that nobody imported.
            changed = paused.delete()[0]
        else:
            changed = paused.update(state=Anchor.State.ACTIVE, reason="")
        if changed:
            trail.record("trust.anchor_resumed", subject=row.pk, request=request, sha256=row.sha256)
    if changed:
        messages.success(request, "The anchor counts again.")
    else:
        messages.error(request, "Only a paused anchor can be resumed.")


def _is_exclusion(row: Anchor) -> bool:
    """Whether the row stands here only to stop an anchor of a bundle."""
    if row.bundle_id is not None or row.organization_id is not None or row.source != Anchor.Source.HAND:
        return False
    return Anchor.objects.filter(sha256=row.sha256, bundle__isnull=False).exists()


def _anchor(anchor_id: str) -> Anchor:
    return get_object_or_404(Anchor.objects.select_related("organization", "domain", "bundle"), pk=anchor_id)


# --- organisations --------------------------------------------------------------------------------------


@require_safe
@staff_only
def organizations(request: HttpRequest) -> HttpResponse:
    """Partners by name."""
    rows = Organization.objects.prefetch_related("anchors")
    return render(request, "trust/organizations.html", {"page": page_of(request, rows)})


@form_page
@staff_only
def organization_add(request: HttpRequest) -> HttpResponse:
    """A partner without anchors of its own, such as a clinic whose mail another organisation runs."""
    return _organization_page(request, Organization(), "trust.organization_added")


@form_page
@staff_only
def organization(request: HttpRequest, organization_id: str) -> HttpResponse:
    """One partner: names, domains, anchors."""
    row = get_object_or_404(Organization, pk=organization_id)
    return _organization_page(request, row, "trust.organization_changed")


def _organization_page(request: HttpRequest, row: Organization, action: str) -> HttpResponse:
    is_new = row._state.adding
    form = OrganizationForm(request.POST or None, instance=row)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            saved = form.save()
            names = ",".join(form.changed_data)[:100] or None
            trail.record(action, subject=saved.pk, request=request, fields=names)
        messages.success(request, f"{saved.name} is saved.")
        return redirect("trust:organization", organization_id=saved.pk)
    context: dict[str, Any] = {"form": form, "organization": None if is_new else row, "now": timezone.now()}
    if not is_new:
        context["anchors"] = row.anchors.select_related("domain", "bundle").defer("der")
        # What stood in the row before a form with errors was laid over it.
        context["title"] = Organization.objects.values_list("name", flat=True).get(pk=row.pk)
    return render(request, "trust/organization.html", context)


# --- our domains ----------------------------------------------------------------------------------------


@form_page
@staff_only
def domain(request: HttpRequest, name: str) -> HttpResponse:
    """How one of our domains judges."""
    row = get_object_or_404(Domain, name=name, name__in=settings.DIRECT_DOMAINS)
    form = DomainForm(request.POST or None, instance=row)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            form.save()
            names = ",".join(form.changed_data)[:100] or None
            trail.record("trust.domain_changed", subject=row.pk, request=request, fields=names)
        messages.success(request, f"{row.name} is saved; it holds from the next message on.")
        return redirect("trust:domain", name=row.name)
    return render(request, "trust/domain.html", {"form": form, "domain": row})
