"""Our mails to people: three templates each, links on the public address, never a word of health data."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.template.loader import render_to_string


def absolute(path: str) -> str:
    """A path of the portal as a link for a mail."""
    return f"{settings.PUBLIC_URL}{path}"


def render(name: str, context: dict[str, Any]) -> tuple[str, str, str]:
    """Subject, text and HTML of the mail `name`."""
    context = {"portal": settings.PUBLIC_URL, "ppe": settings.ENVIRONMENT == "ppe", **context}
    subject = render_to_string(f"emails/{name}.subject.txt", context).strip()
    return (
        settings.EMAIL_SUBJECT_PREFIX + " ".join(subject.split()),
        render_to_string(f"emails/{name}.txt", context),
        render_to_string(f"emails/{name}.html", context),
    )
