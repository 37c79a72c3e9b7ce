"""Pages for writing a message, and for what became of those that were sent."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from healthvault.audit import trail
from records.access import messages_visible_to, signed_in, whole_records_of
from records.models import Message, Right

from . import addresses, compose, enclosures
from .agent.errors import AgentError
from .compose_forms import ComposeForm, writers
from .models import OutboundMail
from .outcomes import explain

State = OutboundMail.State
_GOOD = frozenset({State.DISPATCHED, State.DISPLAYED})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def write(request: HttpRequest) -> HttpResponse:
    """Write a message and queue it."""
    account = signed_in(request)
    if request.method == "POST":
        form = ComposeForm(account, request.POST, request.FILES)
        if form.is_valid():
            sent = _queue(request, form)
            if sent is not None:
                messages.success(request, "Your message is on its way. Here you see whom it has reached.")
                return redirect("directmsg:sent_message", sent_id=sent.pk)
    else:
        form = ComposeForm(account, initial=_wanted(request))
    pairs = [(record, addresses.primary_address(record)) for record in form.records.values()]
    return render(request, "directmsg/compose.html", {"form": form, "writers": pairs})


def _wanted(request: HttpRequest) -> dict[str, Any]:
    """What a link to this page may fill in: whom to write to, from which record, and what to enclose."""
    wanted: dict[str, Any] = {name: request.GET.get(name, "") for name in ("to", "record")}
    wanted["documents"] = request.GET.getlist("enclose")
    return {name: value for name, value in wanted.items() if value}


def _queue(request: HttpRequest, form: ComposeForm) -> Message | None:
    """The queued message; None when it cannot be sent, which the form then says."""
    cleaned = form.cleaned_data
    try:
        return compose.queue_message(
            signed_in(request),
            form.chosen,
            cleaned["to"],
            cleaned["subject"],
            cleaned["text"],
            form.new_attachments,
            message_pk=form.message_pk,
            package=cleaned["package"],
        )
    except enclosures.NotYours:
        form.add_error("documents", "One of these is no longer there. Choose again.")
    except compose.BadRecipient as error:
        form.add_error("to", str(error))
    except compose.CannotSend as error:
        form.add_error(None, str(error))
    except AgentError as error:
        form.add_error(None, explain(error.code).person)
    return None


@require_safe
@login_required
def sent(request: HttpRequest) -> HttpResponse:
    """Sent messages of every record this person sees, newest first, with the state of each copy."""
    account = signed_in(request)
    mails = (
        messages_visible_to(account)
        .filter(direction=Message.Direction.OUT)
        .select_related("record__holder")
        .prefetch_related("attachments", "outbound")
        .order_by("-received")
    )
    page = Paginator(mails, 50).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "rows": [(mail, [_shown(copy) for copy in _in_order(mail)]) for mail in page],
        "several": whole_records_of(account).count() > 1,
        "may_write": bool(writers(account)),
    }
    return render(request, "directmsg/sent.html", context)


@require_safe
@login_required
def sent_message(request: HttpRequest, sent_id: str) -> HttpResponse:
    """One sent message: what it says, and what became of each recipient's copy."""
    account = signed_in(request)
    mail = (
        messages_visible_to(account)
        .filter(pk=sent_id, direction=Message.Direction.OUT)
        .select_related("record__holder")
        .first()
    )
    if mail is None:
        raise Http404
    trail.record("message.viewed", record=mail.record, subject=mail.pk, request=request)
    context = {
        "message": mail,
        "attachments": mail.attachments.select_related("message__record__holder"),
        "copies": [_shown(copy) for copy in _in_order(mail)],
        "may_write": whole_records_of(account, Right.MODIFY).filter(pk=mail.record_id).exists(),
    }
    return render(request, "directmsg/sent_message.html", context)


@require_POST
@login_required
def again(request: HttpRequest, copy_id: str) -> HttpResponse:
    """Send a copy that was lost once more."""
    account = signed_in(request)
    mine = messages_visible_to(account, Right.MODIFY)
    copy = OutboundMail.objects.filter(pk=copy_id, message__in=mine).select_related("message").first()
    if copy is None or copy.message is None:
        raise Http404
    try:
        made = compose.try_again(account, copy)
    except compose.CannotSend as error:
        messages.warning(request, str(error))
        return redirect("directmsg:sent_message", sent_id=copy.message_id)
    messages.success(request, "It is sent again, as a new message.")
    return redirect("directmsg:sent_message", sent_id=made.pk)


def _in_order(mail: Message) -> list[OutboundMail]:
    return sorted(mail.outbound.all(), key=lambda copy: copy.pk)


def _shown(copy: OutboundMail) -> dict[str, Any]:
    """A copy in the words of its state, with the reason where there is one."""
    reason = explain(copy.code).person if copy.code else ""
    badge = "badge-good" if copy.state in _GOOD else "badge-bad" if copy.is_lost else "badge-info"
    return {
        "mail": copy,
        "word": copy.get_state_display(),
        "badge": badge,
        "reason": reason,
        "may_retry": copy.is_lost and copy.again_id is None,
    }
