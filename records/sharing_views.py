"""Pages about the people of a record: thin over `sharing`. What only custodians see is a 404 for others."""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from healthvault.audit import trail

from . import editing, invitation_mail, sharing, trail_words
from .access import Access, open_access, signed_in
from .models import Grant, Invitation, Right
from .overview import KIND_NAMES
from .sharing_forms import InviteForm, LevelForm, PasscodeForm, ResendForm

#: Where the session keeps the link of an invitation, so that no page has it in its address.
PENDING = "invitation"


# --- who has access -------------------------------------------------------------------------------------


@require_safe
@login_required
def people(request: HttpRequest, record_id: str) -> HttpResponse:
    """Who may see the record, and who was invited."""
    access = open_access(request, record_id, Right.CUSTODIAN)
    found = Grant.objects.filter(record=access.record).order_by("-right", "created")
    grants = list(found.select_related("account"))
    custodians = [one for one in grants if one.right == Right.CUSTODIAN and one.account.is_active]
    waiting = [Invitation.State.PENDING, Invitation.State.LOCKED]
    invitations = Invitation.objects.filter(record=access.record, state__in=waiting).order_by("-created")
    context = {
        "record": access.record,
        "access": access,
        "people": [_person(grant) for grant in grants],
        "invitations": [_invited(one) for one in invitations.select_related("record__holder")],
        "me": request.user.pk,
        "alone": len(custodians) == 1,
    }
    return render(request, "records/people.html", context)


def _person(grant: Grant) -> dict[str, Any]:
    over = grant.expires is not None and grant.expires <= timezone.now()
    return {"grant": grant, "over": over, "kinds": _kinds(grant.kinds)}


def _invited(invitation: Invitation) -> dict[str, Any]:
    over = invitation.expires <= timezone.now()
    return {"invitation": invitation, "over": over, "kinds": _kinds(invitation.kinds)}


def _kinds(kinds: list[str] | None) -> list[str]:
    return [name for kind, name in KIND_NAMES.items() if kind in (kinds or ())]


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def person(request: HttpRequest, record_id: str, grant_id: str) -> HttpResponse:
    """Change what a person may do."""
    return _person_page(request, *_grant_of(request, record_id, grant_id))


@reauthentication_required
def _person_page(request: HttpRequest, access: Access, grant: Grant) -> HttpResponse:
    form = LevelForm(request.POST or None, initial=LevelForm.initial_for(grant))
    if request.method == "POST" and form.is_valid():
        try:
            sharing.change_grant(grant, signed_in(request), form.chosen, **form.offer)
        except sharing.SharingRefused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Changed for {grant.account.get_full_name()}.")
            return redirect("records:people", record_id=access.record.pk)
    context = {"record": access.record, "grant": grant, "form": form}
    return render(request, "records/person.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def remove_person(request: HttpRequest, record_id: str, grant_id: str) -> HttpResponse:
    """Take a person's access away, after a second look."""
    return _remove_page(request, *_grant_of(request, record_id, grant_id))


@reauthentication_required
def _remove_page(request: HttpRequest, access: Access, grant: Grant) -> HttpResponse:
    if request.method != "POST":
        return render(request, "records/person_remove.html", {"record": access.record, "grant": grant})
    mine = grant.account_id == request.user.pk
    try:
        sharing.remove_grant(grant, signed_in(request))
    except sharing.SharingRefused as error:
        messages.error(request, str(error))
        return redirect("records:people", record_id=access.record.pk)
    if mine:
        messages.success(request, "You have left the record.")
        return redirect("records:list")
    messages.success(request, f"{grant.account.get_full_name()} has no access any more.")
    return redirect("records:people", record_id=access.record.pk)


def _grant_of(request: HttpRequest, record_id: str, grant_id: str) -> tuple[Access, Grant]:
    access = open_access(request, record_id, Right.CUSTODIAN)
    grants = Grant.objects.filter(record=access.record).select_related("account", "record__holder")
    grant = grants.filter(pk=grant_id).first()
    if grant is None:
        raise Http404
    return access, grant


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def leave(request: HttpRequest, record_id: str) -> HttpResponse:
    """Give up one's own access."""
    access = open_access(request, record_id)
    if request.method != "POST":
        return render(request, "records/leave.html", {"record": access.record, "access": access})
    try:
        sharing.remove_grant(access.grant, signed_in(request))
    except sharing.LastCustodian as error:
        context = {"record": access.record, "access": access, "refused": str(error)}
        return render(request, "records/leave.html", context)
    messages.success(request, "You have left the record.")
    return redirect("records:list")


# --- inviting -------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def invite(request: HttpRequest, record_id: str) -> HttpResponse:
    """Offer somebody access."""
    return _invite_page(request, open_access(request, record_id, Right.CUSTODIAN))


@reauthentication_required
def _invite_page(request: HttpRequest, access: Access) -> HttpResponse:
    form = InviteForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and _sent(request, access, form):
        return redirect("records:people", record_id=access.record.pk)
    return render(request, "records/invite.html", {"record": access.record, "form": form})


def _sent(request: HttpRequest, access: Access, form: InviteForm) -> bool:
    """Send the invitation; False when it cannot be, which the form then says."""
    values = {name: form.cleaned_data[name] for name in ("relationship", "passcode", "text")}
    email = form.cleaned_data["email"]
    try:
        with transaction.atomic():
            offer = {**values, **form.offer}
            made = sharing.invite(access.record, signed_in(request), email, form.chosen, **offer)
            invitation_mail.send(*made)
    except sharing.SharingRefused as error:
        form.add_error(None, str(error))
        return False
    told = " Tell them the passcode yourself." if values["passcode"] else ""
    messages.success(request, f"The invitation to {email} is on its way.{told}")
    return True


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def resend(request: HttpRequest, record_id: str, invitation_id: str) -> HttpResponse:
    """A new link for an invitation that waits, is over or locked."""
    return _resend_page(request, *_invitation_of(request, record_id, invitation_id))


@reauthentication_required
def _resend_page(request: HttpRequest, access: Access, invitation: Invitation) -> HttpResponse:
    form = ResendForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                passcode = form.cleaned_data["passcode"] or None
                token = sharing.resend(invitation, signed_in(request), passcode=passcode)
                invitation_mail.send(invitation, token)
        except sharing.SharingRefused as error:
            form.add_error(None, str(error))
        except sharing.NoSuchInvitation:
            messages.error(request, "This invitation was answered meanwhile.")
            return redirect("records:people", record_id=access.record.pk)
        else:
            messages.success(request, "A new link is on its way. The old one no longer works.")
            return redirect("records:people", record_id=access.record.pk)
    context = {"record": access.record, "invitation": invitation, "form": form}
    return render(request, "records/invitation_resend.html", context)


@require_POST
@login_required
def withdraw(request: HttpRequest, record_id: str, invitation_id: str) -> HttpResponse:
    """Take an invitation back that nobody has answered."""
    access, invitation = _invitation_of(request, record_id, invitation_id)
    try:
        with transaction.atomic():
            sharing.withdraw(invitation, signed_in(request))
            invitation_mail.cancel(invitation)
    except sharing.NoSuchInvitation:
        messages.error(request, "This invitation was answered meanwhile.")
    else:
        messages.success(request, "The invitation is taken back. Its link no longer works.")
    return redirect("records:people", record_id=access.record.pk)


def _invitation_of(request: HttpRequest, record_id: str, invitation_id: str) -> tuple[Access, Invitation]:
    access = open_access(request, record_id, Right.CUSTODIAN)
    invitations = Invitation.objects.filter(record=access.record).select_related("record__holder", "inviter")
    invitation = invitations.filter(pk=invitation_id).first()
    if invitation is None:
        raise Http404
    return access, invitation


# --- being invited --------------------------------------------------------------------------------------


@require_safe
def invited_link(request: HttpRequest, token: str) -> HttpResponse:
    """Keep the link's token in this session, and go on at an address without it."""
    request.session[PENDING] = token
    response = redirect("records:invited")
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def invited(request: HttpRequest) -> HttpResponse:
    """The invitation of this session: what it offers, and accept or decline. Needs no sign-in to look."""
    token = str(request.session.get(PENDING, ""))
    try:
        invitation = sharing.find_invitation(token)
    except (sharing.NoSuchInvitation, sharing.TooManyTries) as error:
        if request.method == "POST":
            return redirect("records:invited")
        locked = {"locked": isinstance(error, sharing.TooManyTries)}
        return render(request, "records/invited_gone.html", locked, status=410)
    context = {"invitation": invitation, "kinds": _kinds(invitation.kinds), "form": PasscodeForm()}
    if request.method != "POST":
        return render(request, "records/invited.html", context)
    if "decline" in request.POST:
        return _decline(request, token)
    if not request.user.is_authenticated:
        return redirect(f"{reverse('account_login')}?next={reverse('records:invited')}")
    return _accept(request, token, context)


def _decline(request: HttpRequest, token: str) -> HttpResponse:
    try:
        sharing.reject(token, signed_in(request) if request.user.is_authenticated else None)
    except (sharing.NoSuchInvitation, sharing.TooManyTries):
        return redirect("records:invited")
    del request.session[PENDING]
    return render(request, "records/invited_declined.html")


def _accept(request: HttpRequest, token: str, context: dict[str, Any]) -> HttpResponse:
    form = PasscodeForm(request.POST)
    form.is_valid()
    try:
        grant = sharing.accept(token, signed_in(request), form.cleaned_data.get("passcode", ""))
    except sharing.WrongPasscode as error:
        tries = "1 try is" if error.left == 1 else f"{error.left} tries are"
        form.add_error("passcode", f"This is not the passcode. {tries} left.")
    except sharing.OtherMailbox:
        form.add_error(None, _OTHER_MAILBOX)
    except (sharing.NoSuchInvitation, sharing.TooManyTries):
        return redirect("records:invited")
    else:
        del request.session[PENDING]
        messages.success(request, "You have accepted. This is the record.")
        invitation = context["invitation"]
        if invitation.text:
            messages.info(
                request, f"{context['invitation'].inviter.email} wrote: {context['invitation'].text}"
            )
        return redirect("records:overview", record_id=grant.record_id)
    return render(request, "records/invited.html", {**context, "form": form})


_OTHER_MAILBOX = (
    "This invitation went to another e-mail address than those of your account. Add that address to your"
    " account and confirm it, or ask for an invitation with a passcode."
)


# --- single items, and what happened --------------------------------------------------------------------


@require_POST
@login_required
def personal(request: HttpRequest, record_id: str, entry_id: str) -> HttpResponse:
    """Keep an item for custodians' eyes only, or show it again."""
    access = open_access(request, record_id, Right.CUSTODIAN)
    entry = access.entries.select_related("record__holder").filter(pk=entry_id).first()
    if entry is None:
        raise Http404
    if request.POST.get("personal") in ("yes", "no"):
        hide = request.POST["personal"] == "yes"
        editing.set_personal(entry, signed_in(request), personal=hide)
        messages.success(
            request, "Only custodians see this item now." if hide else "Everybody with access sees this item."
        )
    return redirect("records:entry", record_id=access.record.pk, entry_id=entry.pk)


@require_safe
@login_required
def history(request: HttpRequest, record_id: str) -> HttpResponse:
    """Who looked, who changed: the record's part of the trail, in words."""
    access = open_access(request, record_id, Right.CUSTODIAN)
    trail.record("record.history_viewed", record=access.record, request=request)
    chosen = request.GET.get("show", "")
    events = trail_words.chosen(trail.history(access.record), chosen)
    page = Paginator(events, 50).get_page(request.GET.get("page"))
    context = {
        "record": access.record,
        "page": page,
        "lines": trail_words.lines(access, list(page.object_list)),
        "choices": trail_words.CHOICES,
        "chosen": chosen if chosen in dict(trail_words.CHOICES) else "",
    }
    return render(request, "records/history.html", context)
