"""The mails that a demonstration sent, for everybody to read: served by `manage.py demo` only."""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@dataclass(frozen=True, slots=True)
class SentMail:
    """One mail as its file has it."""

    to: str
    subject: str
    date: str
    text: str


@require_safe
def mailbox(request: HttpRequest) -> HttpResponse:
    """Every notification mail that went out, newest first."""
    if not settings.DEMO:
        raise Http404
    return render(request, "demo/mail.html", {"mails": sent_mails()})


def sent_mails() -> list[SentMail]:
    """The mails in the directory that EMAIL_URL names."""
    directory = Path(unquote(urlsplit(settings.EMAIL_URL).path))
    if not directory.is_dir():
        return []
    names = sorted((path for path in directory.iterdir() if path.suffix == ".eml"), reverse=True)
    return [_read(path) for path in names]


def _read(path: Path) -> SentMail:
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = mail.get_body(("plain",))
    return SentMail(
        str(mail["To"]), str(mail["Subject"]), str(mail["Date"]), str(body.get_content()) if body else ""
    )
