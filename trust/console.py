"""What every page of the console shares: who may see it, paging, telling what came of an act."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse

from trust.errors import TrustRefusal

PAGE = 50
View = Callable[..., HttpResponse]


def staff_only(view: View) -> View:
    """Administrators only: others who are signed in see nothing there, the rest are asked to sign in."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not request.user.is_staff:
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


def page_of(request: HttpRequest, rows: QuerySet[Any], size: int = PAGE) -> Page[Any]:
    """The page that the address names; a wrong number shows the nearest one."""
    return Paginator(rows, size).get_page(request.GET.get("page"))


def query_without_page(request: HttpRequest) -> str:
    """The filters of the address, for the links to other pages."""
    kept = [(name, value) for name, value in request.GET.items() if name != "page" and value]
    return urlencode(kept)


def tell_refusal(request: HttpRequest, refusal: TrustRefusal) -> None:
    """Show why something was not done."""
    detail = refusal.detail
    messages.error(request, f"{detail[:1].upper()}{detail[1:].rstrip('.')}.")


def tell_form(request: HttpRequest, form: Any) -> None:
    """Show what is wrong with a form that stands on another page."""
    for name, errors in form.errors.items():
        label = form.fields[name].label if name in form.fields else ""
        for error in errors:
            messages.error(request, f"{label}: {error}" if label else error)
