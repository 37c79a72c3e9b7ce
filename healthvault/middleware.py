"""Rules for every answer of the portal."""

from collections.abc import Callable

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.cache import patch_vary_headers

Handler = Callable[[HttpRequest], HttpResponse]
STARTED = "started_at"
SEEN = "seen_at"
CONSOLES = ("/admin/", "/trust/")
FOR_EVERYBODY = ("/trust/request/",)
#: Elements of our pages that ask for themselves anew by the clock, by their id.
POLLING = frozenset({"documents", "exports"})


def is_poll(request: HttpRequest) -> bool:
    """Whether a page asks by the clock: nobody did anything, so it is no use of the session."""
    asks = request.method == "GET" and request.headers.get("HX-Request") == "true"
    return asks and request.headers.get("HX-Trigger") in POLLING


class Sessions(SessionMiddleware):
    """Django's sessions, which every request prolongs that a person made, and no other."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        session = getattr(request, "session", None)
        if session is None or not is_poll(request) or session.modified or session.is_empty():
            return super().process_response(request, response)
        patch_vary_headers(response, ("Cookie",))
        return response


def private_responses(get_response: Handler) -> Handler:
    """Keep pages out of every cache: any of them may hold health data."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if not request.path.startswith(f"/{settings.STATIC_URL.strip('/')}/"):
            response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        return response

    return middleware


def absolute_session_end(get_response: Handler) -> Handler:
    """End a session at its absolute age, however busy it was (the idle limit is the cookie's age).

    Administrators have shorter limits of both kinds.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        user = request.user
        if user.is_authenticated and _is_over(request, bool(user.is_staff)):
            logout(request)
        return get_response(request)

    return middleware


def _is_over(request: HttpRequest, staff: bool) -> bool:
    now = timezone.now().timestamp()
    age = now - request.session.setdefault(STARTED, now)
    if not staff:
        return bool(age > settings.SESSION_ABSOLUTE_AGE)
    idle = now - request.session.get(SEEN, now)
    if not is_poll(request):
        request.session[SEEN] = now
    return bool(age > settings.STAFF_SESSION_ABSOLUTE_AGE or idle > settings.STAFF_SESSION_IDLE)


def staff_second_step(get_response: Handler) -> Handler:
    """Administrators reach the console of a production portal only with two-step sign-in set up."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not settings.PRODUCTION or not request.path.startswith(CONSOLES):
            return get_response(request)
        if request.path.startswith(FOR_EVERYBODY):
            return get_response(request)
        user = request.user
        if user.is_authenticated and user.is_staff and not is_mfa_enabled(user):
            messages.warning(request, "Set up two-step sign-in first: administrators need it.")
            return redirect("mfa_index")
        return get_response(request)

    return middleware
