"""The console's overview, and its pages about mail and parcels: what happened and why, never what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from healthvault.audit import trail
from healthvault.outbox.models import Notification
from healthvault.store.blobs import open_blob
from healthvault.store.downloads import download
from trust import context as trust_context
from trust.console import page_of, query_without_page, staff_only, tell_form
from trust.health import domains, trust_signs, worst_first
from trust.models import Anchor, Domain
from trust.pki.certs import Certificate

from . import amend, inbox, notify, sent_steps, standing
from .console_forms import MailFilterForm, ParcelFilterForm, RawForm, SentFilterForm, WithdrawForm
from .event_words import told
from .health import mail_signs
from .mail_steps import steps_of
from .models import InboundMail, OutboundMail, Parcel
from .newuser import mask_email
from .outcomes import explain
from .raw_copy import NotSealed, sealed_copy

MOST_ANCHORS_SHOWN = 20
#: An address that is judged by what holds for all of our domains.
NOBODY = "nobody@domain.invalid"


@require_safe
@staff_only
def overview(request: HttpRequest) -> HttpResponse:
    """Everything that can be amiss in one look, what needs somebody first."""
    now = timezone.now()
    signs = worst_first([*trust_signs(now), *mail_signs(now)])
    context = {
        "signs": signs,
        "amiss": sum(sign.level != "good" for sign in signs),
        "domains": domains(),
        "latest": _undelivered().order_by("-received")[:5],
    }
    return render(request, "trust/overview.html", context)


def _undelivered() -> QuerySet[InboundMail]:
    return InboundMail.objects.filter(state__in=list(InboundMail.AGAIN)).defer("report")


# --- mail that came in ----------------------------------------------------------------------------------


@require_safe
@staff_only
def mail_list(request: HttpRequest) -> HttpResponse:
    """Every mail ever accepted, newest first, filtered."""
    form = MailFilterForm(request.GET)
    rows = _filtered(form) if form.is_valid() else InboundMail.objects.none()
    context = {"form": form, "page": page_of(request, rows), "query": query_without_page(request)}
    return render(request, "trust/mail_list.html", context)


def _filtered(form: MailFilterForm) -> QuerySet[InboundMail]:
    wanted = form.cleaned_data
    rows = InboundMail.objects.select_related("organization").defer("report").order_by("-received")
    if wanted["state"]:
        rows = rows.filter(state=wanted["state"])
    if wanted["code"]:
        rows = rows.filter(code=wanted["code"])
    if wanted["domain"]:
        rows = rows.filter(recipient__endswith=f"@{wanted['domain']}")
    if wanted["sender"]:
        text = wanted["sender"].strip().lower()
        named = Q(mail_from__iendswith=text) | Q(from_address__iendswith=text)
        rows = rows.filter(named)
    if wanted["day"]:
        start = datetime.combine(wanted["day"], datetime.min.time(), tzinfo=UTC)
        rows = rows.filter(received__gte=start, received__lt=start + timedelta(days=1))
    return rows


@require_safe
@staff_only
def mail(request: HttpRequest, mail_id: str) -> HttpResponse:
    """What happened to one mail: every step in plain words, the signers, the chain, the events."""
    row = _mail(mail_id)
    trail.record("mail.inspected", subject=row.pk, request=request)
    again = row.state in InboundMail.AGAIN
    context = {
        "mail": row,
        "steps": steps_of(row),
        "outcome": explain(row.code) if row.code else None,
        "signers": [_drawn(signer) for signer in row.report.get("signers") or []],
        "asked_about": row.from_address or row.mail_from,
        "algorithms": _algorithms(row.report),
        "warnings": [
            _WARNINGS.get(code, code.replace("_", " ")) for code in row.report.get("warnings") or []
        ],
        "anchors": _anchors_tried(row),
        "events": told(row.events.all()),
        "parcel": Parcel.objects.filter(inbound=row).only("pk").first(),
        "may_repeat": again and row.raw_id is not None,
        "may_download": again and row.raw_id is not None and row.code != "not_encrypted",
        "raw_form": RawForm(),
    }
    return render(request, "trust/mail.html", context)


def _drawn(signer: dict[str, Any]) -> dict[str, Any]:
    """A signer with what there is to draw of a chain that leads to no anchor."""
    issuer = signer.get("issuer")
    if signer.get("chain") or not issuer or signer.get("code") != "untrusted_chain":
        return signer
    own = {"sha256": signer["sha256"], "subject": signer["subject"]}
    return {**signer, "broken": {"chain": [own], "issuer": issuer}}


_WARNINGS = {
    "revocation_unknown": "Nothing current told whether a certificate of the chain was revoked.",
    "crl_stale": "The revocation list or answer at hand was past its date.",
    "no_envelope": "The envelope's sender was not known.",
}


def _algorithms(report: dict[str, Any]) -> list[tuple[str, str]]:
    named = report.get("algorithms") or {}
    labels = {
        "cipher": "Content encryption",
        "key_transport": "Key transport",
        "digest": "Digest",
        "signature": "Signature",
    }
    return [(label, named[key]) for key, label in labels.items() if named.get(key)]


def _anchors_tried(row: InboundMail) -> dict[str, Any]:
    """The anchors that count for the recipient's domain now. After a change they may differ from then."""
    # Asking for the address of a domain of ours makes the domain's row; a look must make none.
    known = Domain.objects.filter(name=trust_context.domain_of(row.recipient)).exists()
    trusted = trust_context.for_address(row.recipient if known else NOBODY).trust.anchors
    used = {step["sha256"] for signer in row.report.get("signers") or [] for step in signer["chain"][-1:]}
    shown = sorted(trusted, key=lambda each: (each.sha256 not in used, each.subject))[:MOST_ANCHORS_SHOWN]
    return {"count": len(trusted), "shown": [_anchor(each, used) for each in shown]}


def _anchor(certificate: Certificate, used: set[str]) -> dict[str, Any]:
    row = Anchor.objects.filter(sha256=certificate.sha256).only("pk").first()
    return {"certificate": certificate, "row": row, "used": certificate.sha256 in used}


@require_POST
@staff_only
def mail_again(request: HttpRequest, mail_id: str) -> HttpResponse:
    """Put a refused or stuck mail back into the queue."""
    row = _mail(mail_id)
    with transaction.atomic():
        done = row.raw_id is not None and inbox.process_again(row, "again")
        if done:
            trail.record("mail.again", subject=row.pk, request=request)
    if done:
        messages.success(request, "It is processed again. Look again in a moment.")
    else:
        messages.error(request, "Only a refused or stuck mail whose bytes are here can be processed again.")
    return redirect("directmsg:console_mail_one", mail_id=row.pk)


@require_POST
@staff_only
@reauthentication_required
def mail_raw(request: HttpRequest, mail_id: str) -> HttpResponse:
    """The sealed bytes of an undelivered mail, with a reason, after the password was asked for again."""
    row, form = _mail(mail_id), RawForm(request.POST)
    if row.raw is None or row.state not in InboundMail.AGAIN:
        raise Http404
    if not form.is_valid():
        tell_form(request, form)
        return redirect("directmsg:console_mail_one", mail_id=row.pk)
    try:
        content = sealed_copy(open_blob(row.raw))
    except NotSealed as error:
        trail.record("mail.raw_downloaded", subject=row.pk, request=request, outcome=error.code)
        messages.error(request, "It was not encrypted, so its bytes are a message: it is not handed out.")
        return redirect("directmsg:console_mail_one", mail_id=row.pk)
    trail.record("mail.raw_downloaded", subject=row.pk, request=request, reason=form.cleaned_data["reason"])
    return download(content, f"mail-{str(row.pk)[-12:]}.eml", "application/octet-stream")


def _mail(mail_id: str) -> InboundMail:
    return get_object_or_404(InboundMail.objects.select_related("organization", "raw__holder"), pk=mail_id)


# --- mail that went out ---------------------------------------------------------------------------------


@require_safe
@staff_only
def sent_list(request: HttpRequest) -> HttpResponse:
    """Every copy ever queued for sending, newest first, filtered."""
    form = SentFilterForm(request.GET)
    rows = _filtered_sent(form) if form.is_valid() else OutboundMail.objects.none()
    context = {"form": form, "page": page_of(request, rows), "query": query_without_page(request)}
    return render(request, "trust/sent_list.html", context)


def _filtered_sent(form: SentFilterForm) -> QuerySet[OutboundMail]:
    wanted = form.cleaned_data
    # Content is sealed and is none of the console's; it is not even read.
    rows = OutboundMail.objects.defer("content").order_by("-queued", "-pk")
    for name in ("state", "kind", "code"):
        if wanted[name]:
            rows = rows.filter(**{name: wanted[name]})
    if wanted["recipient"]:
        rows = rows.filter(recipient__iendswith=wanted["recipient"].strip())
    if wanted["day"]:
        start = datetime.combine(wanted["day"], datetime.min.time(), tzinfo=UTC)
        rows = rows.filter(queued__gte=start, queued__lt=start + timedelta(days=1))
    return rows


@require_safe
@staff_only
def sent(request: HttpRequest, copy_id: str) -> HttpResponse:
    """What became of one outgoing copy: every step in plain words, and the events. Nothing of its content."""
    rows = OutboundMail.objects.defer("content").select_related("inbound", "parcel")
    row = get_object_or_404(rows, pk=copy_id)
    trail.record("mail.inspected", subject=row.pk, request=request)
    events = list(row.events.all())
    context = {
        "copy": row,
        "steps": sent_steps.steps_of(row, {event.name for event in events}),
        "outcome": explain(row.code) if row.code else None,
        "waits": row.state == OutboundMail.State.QUEUED,
        "events": told(events),
        "before": OutboundMail.objects.filter(again=row).only("pk").first(),
    }
    return render(request, "trust/sent.html", context)


# --- parcels --------------------------------------------------------------------------------------------


@require_safe
@staff_only
def parcel_list(request: HttpRequest) -> HttpResponse:
    """Messages held for pickup, newest first, filtered."""
    form = ParcelFilterForm(request.GET)
    rows = Parcel.objects.select_related("organization").order_by("-created")
    if not form.is_valid():
        rows = rows.none()
    elif form.cleaned_data["state"]:
        rows = rows.filter(state=form.cleaned_data["state"])
    if form.is_valid() and form.cleaned_data["sender"]:
        rows = rows.filter(organization_name__icontains=form.cleaned_data["sender"].strip())
    page = page_of(request, rows)
    context = {
        "form": form,
        "page": page,
        "parcels": [(row, masked_contact(row)) for row in page],
        "query": query_without_page(request),
    }
    return render(request, "trust/parcel_list.html", context)


@require_safe
@staff_only
def parcel(request: HttpRequest, parcel_id: str) -> HttpResponse:
    """One parcel: its way so far, and what can be done. No question, no content, the contact masked."""
    row = _parcel(parcel_id)
    trail.record("parcel.inspected", subject=row.pk, request=request)
    context = {
        "parcel": row,
        "contact": masked_contact(row),
        "events": told(row.events.all()),
        "mails": Notification.objects.filter(kind=notify.PARCEL, related_id=str(row.pk)).order_by("created"),
        "is_open": row.state_now in amend.OPEN,
        "suspended": row.state_now in amend.OPEN and standing.is_suspended(row),
        "may_reset": row.state_now == Parcel.State.LOCKED and not row.was_reset,
        "withdraw": WithdrawForm(),
    }
    return render(request, "trust/parcel.html", context)


def masked_contact(row: Parcel) -> str:
    """The contact address as far as an administrator may see it."""
    return mask_email(row.contact) if row.contact_email else ""


@require_POST
@staff_only
def parcel_again(request: HttpRequest, parcel_id: str) -> HttpResponse:
    """Mail a new link; a locked parcel gets new tries, once."""
    row = _parcel(parcel_id)
    try:
        with transaction.atomic():
            amend.send_again(row)
            trail.record("parcel.sent_again", subject=row.pk, request=request)
    except (amend.NotWaiting, amend.LockedForGood, amend.TooSoon) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "A new link is on its way; links sent before stop working.")
    return redirect("directmsg:console_parcel", parcel_id=row.pk)


@require_POST
@staff_only
def parcel_offer(request: HttpRequest, parcel_id: str) -> HttpResponse:
    """Offer a parcel all the same whose sender is trusted no more."""
    row = _parcel(parcel_id)
    with transaction.atomic():
        offered = standing.is_suspended(row) and standing.clear(row)
        if offered:
            trail.record("parcel.offered_all_the_same", subject=row.pk, request=request)
    if offered:
        messages.success(request, "It can be picked up again, by the link that was mailed.")
    else:
        messages.info(request, "There was nothing to decide about it.")
    return redirect("directmsg:console_parcel", parcel_id=row.pk)


@require_POST
@staff_only
def parcel_withdraw(request: HttpRequest, parcel_id: str) -> HttpResponse:
    """Take a parcel back: its content is erased."""
    row, form = _parcel(parcel_id), WithdrawForm(request.POST)
    if not form.is_valid():
        tell_form(request, form)
        return redirect("directmsg:console_parcel", parcel_id=row.pk)
    try:
        with transaction.atomic():
            amend.withdraw(row)
            trail.record("parcel.withdrawn_by_administrator", subject=row.pk, request=request)
    except amend.NotWaiting as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "It is withdrawn, and its content is erased.")
    return redirect("directmsg:console_parcel", parcel_id=row.pk)


def _parcel(parcel_id: str) -> Parcel:
    return get_object_or_404(Parcel.objects.select_related("organization", "inbound"), pk=parcel_id)
