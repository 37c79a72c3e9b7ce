"""Pages of the whole: start, account, errors, and what machines ask about our health."""

from __future__ import annotations

import logging
import secrets
import shutil
from datetime import timedelta
from typing import Any

from allauth.account.views import LogoutView
from allauth.mfa.utils import is_mfa_enabled
from allauth.usersessions.views import ListUserSessionsView
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.sessions.models import Session
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from healthvault.account_forms import NameForm
from healthvault.store.keyrings import keyring
from healthvault.vault.errors import VaultError

log = logging.getLogger(__name__)

#: Below this an accepted mail might not find room any more.
READY_FREE_BYTES = 256 * 1024 * 1024


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """What this is, for people who are not signed in; the messages for those who are."""
    if request.user.is_authenticated:
        return redirect(settings.LOGIN_REDIRECT_URL)
    return render(request, "start.html", {"domain": next(iter(settings.DIRECT_DOMAINS), "")})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def account(request: HttpRequest) -> HttpResponse:
    """The account's name, and the way to everything else about it."""
    person: Any = request.user
    form = NameForm(request.POST or None, initial={"name": person.name})
    if request.method == "POST" and form.is_valid():
        person.name = form.cleaned_data["name"]
        person.save(update_fields=["name"])
        messages.success(request, "Your name is saved.")
        return redirect("account")
    return render(request, "account/index.html", {"form": form, "two_step": is_mfa_enabled(person)})


class SignOutView(LogoutView):
    """allauth's sign-out, which also has the browser forget what it stored of our pages."""

    def post(self, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().post(*args, **kwargs)
        # Not "cookies": the session's is gone already, and the farewell message may need one.
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response


#: What a User-Agent header contains, and whose it is. The first match counts: most claim to be others too.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_words(user_agent: str) -> str:
    """A browser as its owner would call it: "Firefox on Windows"; what is unknown stays as it came."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    return " on ".join(filter(None, (browser, system))) or user_agent or "Unknown browser"


class SessionsView(ListUserSessionsView):
    """allauth's list of sessions, with the time each was last used."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        keys = [session.session_key for session in context["sessions"]]
        ends = dict(Session.objects.filter(pk__in=keys).values_list("pk", "expire_date"))
        for session in context["sessions"]:
            # Every request pushes the end of the session to its idle limit from then.
            end = ends.get(session.session_key)
            session.last_used = end and end - timedelta(seconds=settings.SESSION_COOKIE_AGE)
            session.browser = browser_words(session.user_agent)
        return context


sign_out = SignOutView.as_view()
sessions = SessionsView.as_view()


# --- errors -----------------------------------------------------------------------------------------------


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form came without its token: mostly a page left open for long, or cookies switched off."""
    return render(request, "403_csrf.html", status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """Something broke: the page shows an id, and the log has it too."""
    error_id = secrets.token_hex(4)
    # The route, never the path: a path may hold the token of a link.
    route = request.resolver_match.route if request.resolver_match else ""
    log.error("error page %s shown for %s", error_id, route)
    # Without a request: the context processors may be what broke.
    return render(None, "500.html", {"error_id": error_id}, status=500)


@require_safe
def icon(request: HttpRequest) -> HttpResponse:
    """The icon, for browsers that ask at the old place."""
    return redirect(static("img/mark.svg"))


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """The partner API to read and try out."""
    return render(request, "api/docs.html")


# --- for machines -------------------------------------------------------------------------------------------


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """This process answers."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Whether work can be taken in: 200, or 503 and what is amiss."""
    checks = {"database": _database(), "disk": _disk(), "keyring": _keyring()}
    ready = all(outcome == "ok" for outcome in checks.values())
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)


def _database() -> str:
    """Writes a row and takes it back."""
    probe = Session(session_key=f"ready{secrets.token_hex(16)}", session_data="", expire_date=timezone.now())
    try:
        with transaction.atomic():
            probe.save(force_insert=True)
            transaction.set_rollback(True)
    except DatabaseError:
        log.exception("the database takes no rows")
        return "not_writable"
    return "ok"


def _disk() -> str:
    try:
        free = shutil.disk_usage(settings.DATA_DIR).free
    except OSError:
        return "no_data_directory"
    return "ok" if free >= READY_FREE_BYTES else "nearly_full"


def _keyring() -> str:
    place = b"readyz"
    try:
        keyring().unwrap(keyring().wrap(place, place), place)
    except VaultError:
        return "not_usable"
    return "ok"
