"""Pages of picking up: thin over `pickup` and `parcels`.

GET and HEAD change nothing. The link's token is swapped for a handle in the session at once, so
that no page has it in its address.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from allauth.account.adapter import get_adapter
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from healthvault.audit import trail
from records import proofs
from records.access import messages_visible_to, signed_in, visible_to
from records.models import Right

from . import addresses, find, pickup, standing
from .forms import AnswerForm, ClaimForm, CodeForm, ContactForm, FindForm
from .models import Parcel
from .newuser import mask_email

if TYPE_CHECKING:
    from collections.abc import Callable

HANDLE = "pickup"
OPENED = "pickup_opened"


# --- the link, without sign-in --------------------------------------------------------------------------


@require_safe
def link(request: HttpRequest, token: str) -> HttpResponse:
    """Swap the token for a handle in this session, and go on at an address without it."""
    parcel = pickup.by_token(token) or pickup.claimed_by_token(token)
    # A link that leads nowhere gets a handle too: nothing in the answer tells the two apart.
    request.session[HANDLE] = _handle(parcel) if parcel else {"parcel": str(uuid4()), "token": ""}
    response = redirect("directmsg:pickup")
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _handle(parcel: Parcel) -> dict[str, Any]:
    return {"parcel": str(parcel.pk), "token": parcel.token_hash or parcel.claimed_token_hash}


@require_safe
def waiting_here(request: HttpRequest) -> HttpResponse:
    """What the link leads to: who sent it, until when, and how to go on. Needs no sign-in."""
    parcel = _pending(request)
    if parcel is None:
        return _gone(request)
    if standing.is_suspended(parcel):
        return render(request, "directmsg/pickup_paused.html", {"parcel": parcel}, status=503)
    return render(
        request,
        "directmsg/pickup.html",
        {
            "parcel": parcel,
            "contact": mask_email(parcel.contact),
            "others": _others(request, parcel),
        },
    )


def _gone(request: HttpRequest) -> HttpResponse:
    """What was picked up is shown to who did so, once signed in; others learn that, and nobody's name."""
    claimed = _claimed(request)
    if claimed is None:
        return render(request, "directmsg/pickup_gone.html", status=410)
    mine = request.user.is_authenticated and claimed.claimed_by_id == signed_in(request).pk
    if mine and _may_see(request, claimed):
        return redirect("directmsg:message", message_id=claimed.message_id)
    return render(request, "directmsg/pickup_gone.html", {"claimed": True, "mine": mine}, status=410)


def _may_see(request: HttpRequest, claimed: Parcel) -> bool:
    message = claimed.message
    if message is None or message.deleted is not None:
        return False
    return messages_visible_to(signed_in(request)).filter(pk=message.pk).exists()


def _others(request: HttpRequest, parcel: Parcel) -> list[Parcel]:
    """What else waits for the address, told only to who has shown to read its mailbox."""
    if not request.user.is_authenticated or not proofs.has(signed_in(request), parcel.contact_hash):
        return []
    return pickup.others_for_same_contact(parcel)


@require_POST
def not_for_me(request: HttpRequest) -> HttpResponse:
    """Decline: the content is erased and the sender learns that the address was wrong."""
    parcel = _pending(request)
    if parcel is None or _meant_another(request, parcel):
        return redirect("directmsg:pickup")
    if "sure" not in request.POST:
        return render(request, "directmsg/pickup_decline.html", {"parcel": parcel})
    if not pickup.decline(parcel, request.user if request.user.is_authenticated else None):
        return redirect("directmsg:pickup")
    trail.record("pickup.declined", subject=parcel.pk, request=request)
    _drop(request)
    return render(request, "directmsg/pickup_declined.html")


@require_http_methods(["GET", "HEAD", "POST"])
def find_waiting(request: HttpRequest) -> HttpResponse:
    """ "Find my waiting messages": the same answer whether or not any exist."""
    form = FindForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        find.ask(form.cleaned_data["email"])
        return render(request, "directmsg/pickup_find.html", {"sent": True})
    return render(request, "directmsg/pickup_find.html", {"form": form, "sent": False})


# --- signed in ------------------------------------------------------------------------------------------


def with_parcel(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Hand the waiting parcel to a view of a signed-in person, or show that it is gone or locked."""

    @login_required
    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        parcel = _pending(request)
        if parcel is None or parcel.state == Parcel.State.LOCKED or _meant_another(request, parcel):
            return redirect("directmsg:pickup")
        if standing.is_suspended(parcel):
            return redirect("directmsg:pickup")
        return view(request, parcel, *args, **kwargs)

    return inner


@require_safe
@login_required
def waiting(request: HttpRequest) -> HttpResponse:
    """Everything that waits for mailboxes this person has shown to read."""
    found = pickup.waiting_for(signed_in(request))
    rows = [(each, standing.is_suspended(each)) for each in found]
    return render(request, "directmsg/waiting.html", {"parcels": rows})


@require_POST
@login_required
def choose(request: HttpRequest, parcel_id: str) -> HttpResponse:
    """Go on with one of the parcels of the waiting page."""
    for parcel in standing.offered(pickup.waiting_for(signed_in(request))):
        if str(parcel.pk) == str(parcel_id):
            request.session[HANDLE] = _handle(parcel)
            return redirect("directmsg:pickup_answer")
    raise Http404


@require_http_methods(["GET", "HEAD", "POST"])
@with_parcel
def answer(request: HttpRequest, parcel: Parcel) -> HttpResponse:
    """Ask the question, or the contact address when there is none."""
    if _opened_key(request, parcel) is not None:
        return redirect("directmsg:pickup_claim")
    form: AnswerForm | ContactForm
    form = AnswerForm(request.POST or None) if parcel.has_question else ContactForm(request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            key = _try(request, parcel, form)
        except pickup.PickupError as error:
            form.add_error(None, error.words)
            status = 429 if isinstance(error, pickup.TooManyTries) else 200
            if isinstance(error, pickup.NotWaiting | pickup.Locked):
                return redirect("directmsg:pickup")
        else:
            return _go_on(request, parcel, key)
    parcel.refresh_from_db(fields=["tries_left"])
    response = render(
        request, "directmsg/pickup_answer.html", {"parcel": parcel, "form": form}, status=status
    )
    if status == 429:
        response.headers["Retry-After"] = str(pickup.TooManyTries.retry_after_s)
    return response


def _try(request: HttpRequest, parcel: Parcel, form: AnswerForm | ContactForm) -> bytes:
    network = pickup.network_of(get_adapter(request).get_client_ip(request))
    if isinstance(form, AnswerForm):
        typed = form.cleaned_data["answer"]
        return pickup.answer(parcel, signed_in(request), typed, network, request=request)
    return pickup.contact(parcel, signed_in(request), form.cleaned_data["email"], network, request=request)


def _go_on(request: HttpRequest, parcel: Parcel, key: bytes) -> HttpResponse:
    request.session.cycle_key()
    request.session[OPENED] = {**_opening(request, parcel), "key": key.hex()}
    if pickup.needs_code(parcel, signed_in(request)):
        try:
            pickup.send_code(parcel, signed_in(request))
        except pickup.TooManyCodes as error:
            messages.error(request, error.words)
        return redirect("directmsg:pickup_code")
    return redirect("directmsg:pickup_claim")


@require_http_methods(["GET", "HEAD", "POST"])
@with_parcel
def code(request: HttpRequest, parcel: Parcel) -> HttpResponse:
    """Ask the mailed code that shows who reads the contact mailbox."""
    if _opened_key(request, parcel) is None:
        # Mails go out only to an address that was typed right.
        return redirect("directmsg:pickup_answer")
    if not pickup.needs_code(parcel, signed_in(request)):
        return redirect("directmsg:pickup_claim")
    form = CodeForm(request.POST if "pickup_code" in request.POST else None)
    if request.method == "POST":
        try:
            if "again" in request.POST:
                pickup.send_code(parcel, signed_in(request))
                messages.info(request, "We have mailed you a new code.")
                return redirect("directmsg:pickup_code")
            if form.is_valid():
                pickup.check_code(parcel, signed_in(request), form.cleaned_data["pickup_code"])
                return redirect("directmsg:pickup_claim")
        except pickup.PickupError as error:
            form.add_error(None, error.words) if form.is_bound else messages.error(request, error.words)
    context = {"parcel": parcel, "form": form, "contact": mask_email(parcel.contact)}
    return render(request, "directmsg/pickup_code.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@with_parcel
def claim(request: HttpRequest, parcel: Parcel) -> HttpResponse:
    """Show what is in the parcel, let the person choose the record, and claim."""
    key = _opened_key(request, parcel)
    if key is None:
        return redirect("directmsg:pickup_answer")
    if pickup.needs_code(parcel, signed_in(request)):
        return redirect("directmsg:pickup_code")
    form = ClaimForm(signed_in(request), request.POST or None, only=parcel.for_record)
    if request.method == "POST" and form.is_valid():
        try:
            message = _claim(request, parcel, form, key)
        except pickup.NoRoom as full:
            form.add_error("record", full.words)
        except pickup.PickupError:
            # Somebody else was quicker, or the record was taken from this person meanwhile.
            return redirect("directmsg:pickup")
        else:
            _drop(request)
            request.session.cycle_key()
            return redirect(f"{reverse('directmsg:message', args=[message.pk])}?claimed=1")
    context = {"parcel": parcel, "form": form, "preview": pickup.preview(parcel, key)}
    return render(request, "directmsg/pickup_claim.html", context)


def _claim(request: HttpRequest, parcel: Parcel, form: ClaimForm, key: bytes) -> Any:
    chosen = form.cleaned_data["record"]
    if chosen != ClaimForm.NEW:
        return pickup.claim(parcel, signed_in(request), form.records[chosen], key, request=request)
    name, relationship = form.cleaned_data["name"].strip(), form.cleaned_data["relationship"]
    with transaction.atomic():
        # Together: who loses the race for the parcel is not left with an empty record.
        record = addresses.open_record(signed_in(request), name, relationship)
        return pickup.claim(parcel, signed_in(request), record, key, request=request)


# --- the handle -----------------------------------------------------------------------------------------


def _pending(request: HttpRequest) -> Parcel | None:
    """The waiting (or locked) parcel of this session's handle; a replaced link ends the handle."""
    handle = request.session.get(HANDLE)
    if not handle:
        return None
    parcel = (
        Parcel.objects.select_related("holder", "content", "organization", "for_record__holder", "inbound")
        .filter(pk=handle["parcel"], token_hash=handle["token"])
        .first()
    )
    if parcel is None or parcel.state_now not in (Parcel.State.WAITING, Parcel.State.LOCKED):
        return None
    if parcel.for_record_id is not None and not _is_custodian(request, parcel):
        return None
    return parcel


def _is_custodian(request: HttpRequest, parcel: Parcel) -> bool:
    """Whether this person still keeps the record a parcel waits in."""
    if not request.user.is_authenticated or parcel.for_record is None:
        return False
    return visible_to(signed_in(request), Right.CUSTODIAN).filter(pk=parcel.for_record.pk).exists()


def _meant_another(request: HttpRequest, parcel: Parcel) -> bool:
    """Whether a form comes from the page of another parcel than the session's, and is not to count.

    The session holds one parcel, and a person may have opened two links side by side.
    """
    if request.method != "POST" or request.POST.get("parcel") == str(parcel.pk):
        return False
    messages.warning(
        request, "Nothing was done: you opened another link meanwhile. This is what that link leads to."
    )
    return True


def _drop(request: HttpRequest) -> None:
    for name in (HANDLE, OPENED):
        request.session.pop(name, None)


def _opened_key(request: HttpRequest, parcel: Parcel) -> bytes | None:
    """The parcel's key, when this session opened it for this very account."""
    opened = dict(request.session.get(OPENED) or {})
    key = opened.pop("key", "")
    return bytes.fromhex(key) if key and opened == _opening(request, parcel) else None


def _opening(request: HttpRequest, parcel: Parcel) -> dict[str, str]:
    """What an opened parcel is bound to: parcel, account, and the question as it was answered."""
    salt = parcel.holder.answer_salt if parcel.holder is not None else None
    asked = bytes(salt).hex() if salt is not None else ""
    return {"parcel": str(parcel.pk), "account": str(request.user.pk), "asked": asked}


def _claimed(request: HttpRequest) -> Parcel | None:
    """The parcel of this session's handle, when it was claimed by the link the handle stands for."""
    handle = request.session.get(HANDLE)
    if not handle or not handle["token"]:
        return None
    found = Parcel.objects.filter(pk=handle["parcel"], claimed_token_hash=handle["token"])
    return found.select_related("message").first()
