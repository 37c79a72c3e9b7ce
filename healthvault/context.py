"""What every page knows besides its own context."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import Resolver404, resolve, reverse

from directmsg import pickup
from records.access import grants_of, messages_visible_to
from records.models import Message

PRODUCT = "HealthVault Direct"
CONSOLE = "/trust/"
TABLES = "/admin/trust/"
TRUST_REQUEST = "/trust/request/"
DEMO_MAIL = "/demo/mail/"


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """One entry of the main navigation; `current` is the value of aria-current."""

    label: str
    url: str
    icon: str
    current: str = ""
    count: int = 0
    count_means: str = ""


class Portal:
    """The frame of a page. What costs a query is asked only when a template shows it."""

    name = PRODUCT

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def environment(self) -> str:
        return str(settings.ENVIRONMENT)

    @cached_property
    def demo_mail_url(self) -> str:
        """Where a demonstration shows the mails it sends; empty elsewhere."""
        return DEMO_MAIL if settings.DEMO else ""

    @cached_property
    def trust_request_url(self) -> str:
        return _served(TRUST_REQUEST)

    @property
    def session_seconds(self) -> int:
        """After how long without a request this person is signed out."""
        return int(settings.STAFF_SESSION_IDLE if self._account.is_staff else settings.SESSION_COOKIE_AGE)

    @cached_property
    def records_count(self) -> int:
        return grants_of(self._account).count() if self._account.is_authenticated else 0

    @cached_property
    def unread(self) -> int:
        """Received messages this person has not opened yet, over all their records."""
        received = messages_visible_to(self._account).filter(
            direction=Message.Direction.IN, opened__isnull=True
        )
        return received.count()

    @cached_property
    def waiting(self) -> int:
        """Messages that wait for a mailbox this person has shown to read."""
        return len(pickup.waiting_for(self._account))

    @cached_property
    def navigation(self) -> list[NavigationItem]:
        """The main navigation of a signed-in person."""
        items = [
            self._item("Messages", reverse("directmsg:inbox"), "messages", self.unread, "unread"),
            self._item("Record", reverse("records:list"), "record"),
            self._item("Waiting", reverse("directmsg:waiting"), "waiting", self.waiting, "waiting"),
            self._item("Account", reverse("account"), "account"),
        ]
        if self._account.is_staff:
            items.append(self._item("Trust", _served(CONSOLE) or TABLES, "trust"))
        return items

    @property
    def _account(self) -> Any:
        return self._request.user

    @cached_property
    def _section(self) -> str:
        """The navigation entry under which this page stands: the one with the longest matching address."""
        path = self._request.path
        if path.startswith("/pickup/"):
            return reverse("directmsg:waiting")
        roots = (reverse("directmsg:inbox"), reverse("directmsg:waiting"), reverse("records:list"))
        found = [root for root in (*roots, reverse("account"), CONSOLE, TABLES) if path.startswith(root)]
        return max(found, key=len, default="")

    def _item(self, label: str, url: str, icon: str, count: int = 0, means: str = "") -> NavigationItem:
        current = "page" if url == self._request.path else "true" if url == self._section else ""
        return NavigationItem(label, url, icon, current, count, means)


def portal(request: HttpRequest) -> dict[str, Portal]:
    """The context processor."""
    return {"portal": Portal(request)}


def _served(path: str) -> str:
    """`path`, when this installation serves it; else nothing."""
    try:
        resolve(path)
    except Resolver404:
        return ""
    return path
