"""Trust bundles in the console: which communities we follow, and what each refresh changed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from healthvault.audit import trail
from trust import bundles
from trust import context as trust_context
from trust.console import page_of, staff_only, tell_form, tell_refusal
from trust.console_views import form_page
from trust.errors import TrustRefusal
from trust.forms import BundleForm, UseForm
from trust.models import Anchor, Bundle, BundleUse
from trust.pki.certs import Certificate

#: So long a page waits for a bundle; by the timer it is given more.
PATIENCE_S = 5.0
#: Communities that many follow; their addresses come from those who run them.
PRESETS = {
    "Staging": Bundle.Label.STAGING,
    "Providers-Test": Bundle.Label.STAGING,
    "Providers": Bundle.Label.PRODUCTION,
    "Patients": Bundle.Label.PRODUCTION,
}


@require_safe
@staff_only
def bundle_list(request: HttpRequest) -> HttpResponse:
    """The bundles that are known here, and those that could be."""
    rows = list(Bundle.objects.prefetch_related("uses__domain"))
    have = {row.name for row in rows}
    usable = trust_context.usable_labels()
    context = {
        "bundles": [(row, _standing(row), row.label in usable) for row in rows],
        "presets": [(name, label.label) for name, label in PRESETS.items() if name not in have],
        "words": bundles.WORDS,
    }
    return render(request, "trust/bundles.html", context)


def _standing(row: Bundle) -> int:
    return row.anchors.exclude(state=Anchor.State.WITHDRAWN).count()


@form_page
@staff_only
def bundle_add(request: HttpRequest) -> HttpResponse:
    """A bundle to follow; a preset fills in name and kind."""
    name = request.GET.get("preset", "")
    # A test portal follows staging bundles only: another label would count for nothing there.
    usual = Bundle.Label.STAGING if settings.ENVIRONMENT == "ppe" else Bundle.Label.PRODUCTION
    initial = {"name": name, "label": PRESETS[name]} if name in PRESETS else {"label": usual}
    return _bundle_form(request, Bundle(), initial)


@form_page
@staff_only
def bundle_change(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """Another address, signer or interval, or on and off."""
    if request.method != "POST":
        return _bundle_form(request, get_object_or_404(Bundle, pk=bundle_id), {})
    with transaction.atomic():
        # Held from the first look on: what is saved must not undo what another administrator does meanwhile.
        row = get_object_or_404(Bundle.objects.select_for_update(), pk=bundle_id)
        return _bundle_form(request, row, {})


def _bundle_form(request: HttpRequest, row: Bundle, initial: dict[str, Any]) -> HttpResponse:
    is_new = row._state.adding
    before, was_active = bundles.Source.of(row), row.is_active and not is_new
    form = BundleForm(request.POST or None, request.FILES or None, instance=row, initial=initial)
    if request.method == "POST" and form.is_valid() and _is_safe(form):
        _save(request, form, before, was_active, is_new)
        return redirect("trust:bundle", bundle_id=row.pk)
    context = {"form": form, "bundle": None if is_new else Bundle.objects.get(pk=row.pk)}
    return render(request, "trust/bundle_form.html", context)


def _is_safe(form: BundleForm) -> bool:
    row: Bundle = form.instance
    if form.cleaned_data["signer"]:
        row.signer_der = form.cleaned_data["signer"]
    try:
        if row.url:
            bundles.require_safe_source(row.url, bundles.Source.of(row).signer)
    except TrustRefusal as refusal:
        form.add_error("url", refusal.detail)
        return False
    return True


def _save(
    request: HttpRequest, form: BundleForm, before: bundles.Source, was_active: bool, is_new: bool
) -> None:
    row: Bundle = form.instance
    row.interval_s = form.cleaned_data["hours"] * 3600
    wanted = bundles.Source.of(row)
    waits = bundles.needs_second_person(before, was_active, wanted, row.is_active)
    if waits:
        before.put_into(row, before)
        row.is_active = was_active
    else:
        wanted.put_into(row, before)
    with transaction.atomic():
        row.save()
        if is_new:
            BundleUse.objects.create(bundle=row)
        names = ",".join(form.changed_data)[:100] or None
        trail.record("trust.bundle_set", subject=row.pk, request=request, fields=names, label=row.label)
        if waits:
            bundles.propose(row, wanted, request.user)
    if waits:
        messages.warning(request, "A second administrator has to agree before its anchors count.")
    else:
        messages.success(request, f"{row.name} is saved.")


_AGREED = {
    bundles.Source: "is followed from now on. Refresh it to have its anchors.",
    bundles.Use: "counts as you agreed, from the next message on.",
}


@require_POST
@staff_only
def bundle_proposal(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """Agree to what another administrator wants of a bundle, or take the proposal away."""
    row = get_object_or_404(Bundle, pk=bundle_id)
    if request.POST.get("act") == "agree":
        try:
            agreed = bundles.agree(row, request.user, request.POST.get("seen", ""))
        except TrustRefusal as refusal:
            tell_refusal(request, refusal)
        else:
            messages.success(request, f"{row.name} {_AGREED[type(agreed)]}")
    elif request.POST.get("act") == "drop":
        bundles.drop_proposal(row, request.user)
        messages.success(request, "The proposal is gone; nothing was changed.")
    return redirect("trust:bundle", bundle_id=row.pk)


@require_safe
@staff_only
def bundle(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """One bundle: how its refreshes went, its anchors, who uses it."""
    row = get_object_or_404(Bundle.objects.select_related("proposed_by"), pk=bundle_id)
    anchors = row.anchors.exclude(state=Anchor.State.WITHDRAWN).defer("der").order_by("subject", "id")
    wanted = bundles.proposal(row)
    context = {
        "bundle": row,
        "signer": Certificate(bytes(row.signer_der)) if row.signer_der else None,
        "why": bundles.WORDS.get(row.last_error, ""),
        "shrunken": row.last_error == bundles.SHRUNKEN,
        "counts": row.label in trust_context.usable_labels(),
        "may_refresh": bool(row.url) and not _is_unagreed(row),
        "proposal": wanted,
        "is_use": isinstance(wanted, bundles.Use),
        "mine": row.proposed_by_id == request.user.pk,
        "page": page_of(request, anchors, 50),
        "changes": row.changes.all()[:20],
        "uses": row.uses.select_related("domain"),
        "use_form": UseForm(),
        "now": timezone.now(),
    }
    return render(request, "trust/bundle.html", context)


@require_POST
@staff_only
def bundle_refresh(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """Fetch it now; with `accept_drop` also when half of its anchors are gone."""
    row = get_object_or_404(Bundle, pk=bundle_id)
    if not row.url:
        messages.error(request, "It has no address yet.")
        return redirect("trust:bundle", bundle_id=row.pk)
    if _is_unagreed(row):
        messages.error(
            request, "It is switched off. Switch it on first: a second administrator has to agree."
        )
        return redirect("trust:bundle", bundle_id=row.pk)
    trail.record("trust.bundle_refresh_asked", subject=row.pk, request=request)
    accept_drop = "accept_drop" in request.POST
    outcome = bundles.refresh(row, accept_drop=accept_drop, actor=request.user, total_s=PATIENCE_S)
    if outcome.error:
        words = bundles.WORDS.get(outcome.error, "")
        messages.error(request, f"Not refreshed ({outcome.error}). {words} The anchors it had stay.")
    else:
        counts = f"{len(outcome.added)} came, {len(outcome.removed)} went, {outcome.kept} stayed"
        messages.success(request, f"Refreshed: {counts}.")
    return redirect("trust:bundle", bundle_id=row.pk)


def _is_unagreed(row: Bundle) -> bool:
    """Whether one administrator alone may have chosen its source.

    Anchors from there must not lie ready for the day that the bundle, with another address, is agreed to.
    """
    return bool(settings.PRODUCTION) and not row.is_active


@require_POST
@staff_only
def bundle_use(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """Use it for one of our domains or all, one way or both; or no longer."""
    row = get_object_or_404(Bundle, pk=bundle_id)
    if "remove" in request.POST:
        _remove_use(request, row, request.POST["remove"])
        return redirect("trust:bundle", bundle_id=row.pk)
    form = UseForm(request.POST)
    if not form.is_valid():
        tell_form(request, form)
        return redirect("trust:bundle", bundle_id=row.pk)
    domain = form.cleaned_data["domain"]
    ways = form.cleaned_data["incoming"], form.cleaned_data["outgoing"]
    wanted = bundles.Use(domain.pk if domain else None, *ways)
    try:
        holds = bundles.set_use(row, wanted, request.user)
    except TrustRefusal as refusal:
        tell_refusal(request, refusal)
    else:
        if holds:
            messages.success(request, "Saved; it holds from the next message on.")
        else:
            messages.warning(request, "A second administrator has to agree before it counts for more.")
    return redirect("trust:bundle", bundle_id=row.pk)


def _remove_use(request: HttpRequest, row: Bundle, use_id: str) -> None:
    with transaction.atomic():
        # Compared as text: what came in the form may be no id at all.
        use = next((each for each in row.uses.all() if str(each.pk) == use_id), None)
        if use is not None:
            use.delete()
            trail.record("trust.bundle_use_removed", subject=row.pk, request=request, domain=use.domain_id)
