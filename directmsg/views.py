"""The message pages: thin over `records.access` and the rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from healthvault.audit import trail
from healthvault.store.blobs import open_blob
from healthvault.store.downloads import download
from records import filing, quota
from records.access import messages_visible_to, open_access, signed_in, whole_records_of
from records.models import Attachment, Document, Message, Right
from records.unpacked import about_of, contents_of

from . import addresses, blocking, html_mail, moving, pickup
from .agent.address import normalise

#: For how long one line of the trail stands for a view whose page asks for what is new.
VIEW_LASTS = timedelta(hours=1)


@require_safe
@login_required
def inbox(request: HttpRequest) -> HttpResponse:
    """Received messages of every record this person sees, newest first."""
    account = signed_in(request)
    records = {record.pk: record for record in whole_records_of(account).select_related("holder")}
    chosen = request.GET.get("record", "")
    mails = (
        messages_visible_to(account)
        .filter(direction=Message.Direction.IN)
        .select_related("record__holder")
        .prefetch_related("attachments")
        .order_by("-received")
    )
    if chosen in {str(pk) for pk in records}:
        mails = mails.filter(record_id=chosen)
    context = {
        "page": Paginator(mails, 50).get_page(request.GET.get("page")),
        "records": list(records.values()),
        "chosen": chosen,
        "waiting": len(pickup.waiting_for(account)),
        "addresses": _addresses(list(records.values())),
    }
    return render(request, "directmsg/inbox.html", context)


def _addresses(records: list[Any]) -> list[Any]:
    pairs = [(record, addresses.primary_address(record)) for record in records]
    return [{"record": record, "address": address} for record, address in pairs if address]


@require_safe
@login_required
def message(request: HttpRequest, message_id: str) -> HttpResponse:
    """One message: text, attachments and what became of each, the items found, and who signed it."""
    shown = _message(request, message_id, Right.VIEW)
    if shown.direction == Message.Direction.OWN:
        return redirect("records:upload_result", record_id=shown.record_id, message_id=shown.pk)
    access = open_access(request, shown.record_id)
    contents = contents_of(shown)
    asking = bool(request.htmx)  # type: ignore[attr-defined]
    if asking and contents.worth_asking and request.GET.get("unread") == str(contents.unread):
        return HttpResponse(status=204)
    if not (asking and _just_viewed(request, shown)):
        trail.record("message.viewed", record=shown.record, subject=shown.pk, request=request)
    context = {
        "message": shown,
        "record": shown.record,
        "contents": contents,
        "about": about_of(shown),
        "here": reverse("directmsg:message", args=[shown.pk]),
        "links": _links(shown),
        "claimed": "claimed" in request.GET,
        "address": addresses.primary_address(shown.record),
        "may_change": access.may_change,
        "move_to": moving.targets(shown, signed_in(request)),
        "may_see_raw": access.custodian,
        "sender_blocked": blocking.is_blocked(shown.record, shown.from_address),
        "block_names": _names_to_block(shown) if access.whole and access.may_change else (),
    }
    if not asking:
        return render(request, "directmsg/message.html", context)
    # 286 ends the asking of a page that has asked for long enough.
    status = 200 if contents.worth_asking else 286
    return render(request, "directmsg/_documents.html", context, status=status)


def _names_to_block(shown: Message) -> tuple[str, ...]:
    """The sender's address and domain, when the message came by Direct mail."""
    direct = shown.direction == Message.Direction.IN and shown.source == Message.Source.DIRECT
    if not direct or not shown.from_address:
        return ()
    address = normalise(shown.from_address)
    return (address, address.rpartition("@")[2])


def _just_viewed(request: HttpRequest, shown: Message) -> bool:
    """Whether the trail has it that this person looks at the message, whose page now asks for the rest."""
    views = trail.history(shown.record).filter(
        action="message.viewed",
        actor=str(request.user.pk),
        subject=str(shown.pk),
        at__gt=timezone.now() - VIEW_LASTS,
    )
    return views.exists()


def _links(shown: Message) -> tuple[html_mail.Link, ...]:
    """Where the HTML of a message leads: told in our page, since its frame opens nothing."""
    if not shown.html or len(shown.html) > html_mail.MAX_LENGTH:
        return ()
    return html_mail.clean(shown.html).links


@require_safe
@login_required
def html_body(request: HttpRequest, message_id: str) -> HttpResponse:
    """The cleaned HTML of a message, for the sandboxed frame of its page."""
    shown = _message(request, message_id, Right.VIEW)
    if not shown.html:
        raise Http404
    trail.record("message.viewed", record=shown.record, subject=shown.pk, request=request)
    return html_mail.page(shown.html)


@require_POST
@login_required
def mark_opened(request: HttpRequest, message_id: str) -> HttpResponse:
    """Mark a message read (a GET changes nothing, so the page's own form asks for it)."""
    shown = _message(request, message_id, Right.VIEW)
    Message.objects.filter(pk=shown.pk, opened__isnull=True).update(opened=timezone.now())
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "directmsg/_opened.html")
    return redirect("directmsg:message", message_id=shown.pk)


@require_safe
@login_required
def attachment(request: HttpRequest, message_id: str, position: int) -> HttpResponse:
    """Download one attachment, as bytes that never run in this origin."""
    shown = _message(request, message_id, Right.VIEW)
    part = get_object_or_404(
        Attachment.objects.select_related("blob__holder"), message=shown, position=position
    )
    trail.record("attachment.downloaded", record=shown.record, subject=part.pk, request=request)
    return download(open_blob(part.blob), part.filename, part.content_type)


@require_safe
@login_required
def raw(request: HttpRequest, message_id: str) -> HttpResponse:
    """Download the message as it came, for custodians: it shows a parcel's question and answer."""
    shown = _message(request, message_id, Right.CUSTODIAN)
    if shown.raw is None:
        raise Http404
    trail.record("message.downloaded", record=shown.record, subject=shown.pk, request=request)
    return download(open_blob(shown.raw), "message.eml", "application/octet-stream")


@require_POST
@login_required
def move(request: HttpRequest, message_id: str) -> HttpResponse:
    """Move a picked-up message to another record."""
    shown = _message(request, message_id, Right.MODIFY)
    try:
        target = moving.move(shown, request.POST.get("record", ""), signed_in(request), request=request)
    except moving.CannotMove:
        messages.warning(request, "Nothing was moved. Choose one of your records, within 30 days of pickup.")
    except quota.RecordFull as full:
        messages.warning(request, f"Nothing was moved. {full}.")
    else:
        messages.success(request, f"It is in the record of {target.name} now.")
    return redirect("directmsg:message", message_id=shown.pk)


@require_POST
@login_required
def decide_attachment(request: HttpRequest, message_id: str, position: int) -> HttpResponse:
    """Answer for an attachment that waits for the person's decision."""
    shown = _message(request, message_id, Right.MODIFY)
    part = get_object_or_404(
        Attachment.objects.select_related("message__record__holder"), message=shown, position=position
    )
    # A form without either button decides nothing.
    if {"add", "leave"} & set(request.POST):
        filing.decide_file(part, add="add" in request.POST)
        trail.record("attachment.decided", record=shown.record, subject=part.pk, request=request)
    return redirect("directmsg:message", message_id=shown.pk)


@require_POST
@login_required
def confirm_document(request: HttpRequest, document_id: str) -> HttpResponse:
    """Say that a held document belongs into this record."""
    document = Document.objects.select_related("record__holder", "attachment").filter(pk=document_id).first()
    if document is None or document.attachment is None:
        raise Http404
    access = open_access(request, document.record_id, Right.MODIFY)
    if not access.documents.filter(pk=document.pk).exists():
        raise Http404
    filing.confirm_patient(document)
    trail.record("document.confirmed", record=access.record, subject=document.pk, request=request)
    return redirect("directmsg:message", message_id=document.attachment.message_id)


def _message(request: HttpRequest, message_id: str, right: Right) -> Message:
    readable = messages_visible_to(signed_in(request), right)
    found = readable.select_related("record__holder", "raw__holder").filter(pk=message_id).first()
    if found is None:
        raise Http404
    return found
