"""Our own certificates in the console: what we publish, what ends when, and asking for more.

Private keys are never needed here: what needs them is written as a request for a worker.
"""

from __future__ import annotations

import time
from datetime import datetime

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from healthvault.audit import trail
from healthvault.store.downloads import download
from trust import authorities, identity_requests, publication
from trust.checks import WARN_BEFORE
from trust.console import staff_only, tell_form, tell_refusal
from trust.console_views import form_page
from trust.errors import TrustRefusal
from trust.findable import Finding, look
from trust.forms import IssueForm, P12Form, RevokeForm, SureForm, can_be_revoked
from trust.models import Crl, Identity, IdentityRequest
from trust.present import pem

LATEST = 10
#: No further name is looked up after so long.
LOOK_UP_S = 10.0


@require_safe
@staff_only
def certificates(request: HttpRequest) -> HttpResponse:
    """Our certificates, what to publish, and what was asked for lately."""
    now = timezone.now()
    identities = Identity.objects.defer("der", "private_key").select_related("issuer")
    context = {
        "identities": identities.exclude(kind=Identity.Kind.CA).order_by("state", "name", "-created"),
        "authorities": _authorities(now),
        "may_roll": authorities.issuing_authority(now) is not None and authorities.successor(now) is None,
        "roll": SureForm(auto_id="id_roll_%s"),
        "introduced_days": authorities.INTRODUCED_FOR.days,
        "lists": Crl.objects.filter(identity__isnull=False).select_related("identity").defer("der"),
        "asked": IdentityRequest.objects.select_related("identity", "asked_by").defer("file")[:LATEST],
        "published": [
            (name, publication.owner_name(name), rows) for name, rows in publication.published(now).items()
        ],
        "own_anchors": bool(publication.own_anchors(now)),
        "missing": _missing(),
        "now": now,
        "soon": now + WARN_BEFORE,
    }
    return render(request, "trust/certificates.html", context)


def _authorities(now: datetime) -> list[tuple[Identity, str]]:
    """Our authorities, each with what is to be said of it."""
    issuing, waiting = authorities.issuing_authority(now), authorities.successor(now)
    rows = Identity.objects.filter(kind=Identity.Kind.CA).defer("der", "private_key").order_by("-created")
    offline = set(rows.filter(private_key__isnull=True).values_list("pk", flat=True))
    found = []
    for row in rows:
        words = []
        if row == waiting:
            words.append(f"takes over on {authorities.issues_from(row):%d %B %Y}".replace(" 0", " "))
        elif row == issuing:
            words.append("issues now")
        elif row.state == Identity.State.RETIRED:
            words.append("retired")
        if row.pk in offline:
            words.append("its key is offline")
        found.append((row, ", ".join(words)))
    return found


def _missing() -> list[str]:
    """Our domains without an active certificate."""
    active = Identity.objects.filter(state=Identity.State.ACTIVE, revoked__isnull=True)
    have = set(active.filter(name__in=settings.DIRECT_DOMAINS).values_list("name", flat=True))
    return [name for name in settings.DIRECT_DOMAINS if name not in have]


@require_safe
@staff_only
def certificate(request: HttpRequest, identity_id: str) -> HttpResponse:
    """One certificate of ours: what it is, how to publish it, how to end it."""
    row = get_object_or_404(Identity.objects.select_related("issuer").defer("private_key"), pk=identity_id)
    at_work = (IdentityRequest.State.WAITING, IdentityRequest.State.WORKING)
    context = {
        "identity": row,
        "certificate": row.certificate,
        "pem": pem(bytes(row.der)),
        "may_revoke": can_be_revoked(row),
        "is_published": row in publication.published(timezone.now()).get(row.name, []),
        "may_retire": row.state == Identity.State.ACTIVE and row.kind != Identity.Kind.CA,
        "waiting": IdentityRequest.objects.filter(identity=row, state__in=at_work).exists(),
        "revoke": RevokeForm(auto_id="id_revoke_%s"),
        "retire": SureForm(auto_id="id_retire_%s"),
        "files": _files_of(row),
        "now": timezone.now(),
    }
    return render(request, "trust/certificate.html", context)


def _files_of(row: Identity) -> list[str]:
    """Where partners fetch an authority's certificate and revocation list."""
    if row.kind != Identity.Kind.CA or not row.slug:
        return []
    return [authorities.published_url(f"{row.slug}.{ending}") for ending in ("crt", "crl")]


@form_page
@staff_only
def findable(request: HttpRequest) -> HttpResponse:
    """Look our own names up as partners do: one that is named, or those of all our domains.

    By POST alone, since it asks others, and what they answer is kept for a while.
    """
    now = timezone.now()
    published = publication.published(now)
    context: dict[str, object] = {"names": published, "servers": settings.DNS_SERVERS}
    if request.method == "POST":
        wanted = _names_to_look_up(request.POST.get("name", ""), published)
        trail.record("trust.publication_checked", request=request)
        findings, left = _looked_up(wanted, published, now)
        context |= {"findings": findings, "left": left, "asked": True}
    return render(request, "trust/findable.html", context)


def _names_to_look_up(named: str, published: dict[str, list[Identity]]) -> list[str]:
    if named:
        return [name for name in published if name == named]
    # Domains first: most installations have an address of their own for few people, or nobody.
    return sorted(published, key=lambda name: ("@" in name, name))


def _looked_up(
    names: list[str], published: dict[str, list[Identity]], now: datetime
) -> tuple[list[Finding], list[str]]:
    """What was found, and the names there was no time for: somebody waits for this page."""
    ends = time.monotonic() + LOOK_UP_S
    found: list[Finding] = []
    for place, name in enumerate(names):
        if time.monotonic() >= ends:
            return found, names[place:]
        found.append(look(name, published[name], now))
    return found, []


@form_page
@staff_only
def issue(request: HttpRequest) -> HttpResponse:
    """Ask for a certificate of our own authority; also how one is renewed."""
    form = IssueForm(request.POST or None, initial={"name": request.GET.get("name", "")})
    if request.method == "POST" and form.is_valid():
        try:
            identity_requests.ask_issue(form.cleaned_data["name"], request.user, form.cleaned_data["use"])
        except TrustRefusal as refusal:
            form.add_error("name", refusal.detail)
        else:
            messages.success(request, "Asked for. A worker makes it within seconds.")
            return redirect("trust:certificates")
    return render(request, "trust/certificate_issue.html", {"form": form, "domains": settings.DIRECT_DOMAINS})


@require_POST
@staff_only
def roll(request: HttpRequest) -> HttpResponse:
    """Ask for the next authority of ours, beside the one that issues now."""
    form = SureForm(request.POST)
    if form.is_valid():
        identity_requests.ask_roll(request.user)
        messages.success(request, "Asked for. A worker makes it within seconds; then tell your partners.")
    else:
        tell_form(request, form)
    return redirect("trust:certificates")


@form_page
@staff_only
def import_p12(request: HttpRequest) -> HttpResponse:
    """Hand in a certificate and key that another authority made for us."""
    form = P12Form(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            identity_requests.ask_import(file.read(), form.cleaned_data["password"], file.name, request.user)
        except TrustRefusal as refusal:
            form.add_error("file", refusal.detail)
        else:
            messages.success(request, "Handed in, sealed. A worker takes it in within seconds.")
            return redirect("trust:certificates")
    return render(request, "trust/certificate_import.html", {"form": form})


@require_POST
@staff_only
def revoke(request: HttpRequest, identity_id: str) -> HttpResponse:
    """Ask for a certificate of ours to be revoked."""
    row, form = get_object_or_404(Identity, pk=identity_id), RevokeForm(request.POST)
    if not form.is_valid():
        tell_form(request, form)
        return redirect("trust:certificate", identity_id=row.pk)
    try:
        identity_requests.ask_revoke(row, form.cleaned_data["reason"], request.user)
    except TrustRefusal as refusal:
        tell_refusal(request, refusal)
    else:
        messages.success(request, "Asked for. A worker revokes it and publishes the list within seconds.")
    return redirect("trust:certificate", identity_id=row.pk)


@require_POST
@staff_only
def retire(request: HttpRequest, identity_id: str) -> HttpResponse:
    """Sign no more with it, and publish it no more."""
    row, form = get_object_or_404(Identity, pk=identity_id), SureForm(request.POST)
    if not form.is_valid():
        tell_form(request, form)
    elif identity_requests.retire(row, request.user):
        messages.success(request, "Retired. It still opens mail that was sealed to it.")
    else:
        messages.error(request, "It is retired already, or is an authority.")
    return redirect("trust:certificate", identity_id=row.pk)


@require_safe
@staff_only
def zone(request: HttpRequest) -> HttpResponse:
    """The records for our zones, as a file."""
    trail.record("trust.published", request=request, form="zone")
    return download(publication.zone(timezone.now()).encode(), "direct-certificates.zone", "text/plain")


@require_safe
@staff_only
def ldif(request: HttpRequest) -> HttpResponse:
    """The entries for an LDAP server, as a file."""
    trail.record("trust.published", request=request, form="ldif")
    return download(publication.ldif(timezone.now()).encode(), "direct-certificates.ldif", "text/plain")
