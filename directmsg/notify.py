"""What people are told by ordinary e-mail: that something waits, and nothing of what it is.

Never in such a mail: subject, text, question, answer, file names, names of persons or records, or any
word the sender chose except the organisation's name as it stands in our trust list.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from healthvault.outbox.mail import queue_mail
from healthvault.outbox.models import Notification
from records.access import custodians_to_notify
from records.models import Message, Record

from .models import Parcel

PARCEL = "parcel"
MESSAGE = "message"
CODE = "pickup_code"
FIND = "pickup_find"
#: At most one mail to an address in this time; a later one waits.
QUIET = timedelta(minutes=15)


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


def parcel_waiting(parcel: Parcel, token: str, *, template: str = "parcel") -> Notification:
    """Queue the mail that a parcel waits, with its link; sent after commit, once a day and parcel."""
    link = absolute(reverse("directmsg:pickup_link", args=[token]))
    subject, text, html = render(
        template,
        {"organization": parcel.organization_name, "expires": parcel.expires, "link": link},
    )
    return queue_mail(
        parcel.contact,
        PARCEL,
        subject,
        text,
        html,
        dedupe_key=f"{PARCEL}:{parcel.pk}:{template}:{timezone.now():%Y-%m-%d}:{(parcel.token_hash or '')[:8]}",
        related=(PARCEL, str(parcel.pk)),
        not_before=_quiet_until(parcel),
    )


def _quiet_until(parcel: Parcel) -> Any:
    """When the next mail to this parcel's contact may go: not within `QUIET` of the last one."""
    others = Parcel.objects.filter(contact_hash=parcel.contact_hash).exclude(pk=parcel.pk)
    latest = (
        Notification.objects.filter(
            kind=PARCEL, related_id__in=[str(pk) for pk in others.values_list("pk", flat=True)]
        )
        .order_by("-created")
        .values_list("created", flat=True)
        .first()
    )
    return latest + QUIET if latest and latest + QUIET > timezone.now() else None


def new_message(record: Record, message: Message) -> None:
    """Tell every custodian who wants it that a message came; the link leads there after sign-in."""
    link = absolute(reverse("directmsg:message", args=[message.pk]))
    subject, text, html = render("message", {"organization": message.organization_name, "link": link})
    for account in custodians_to_notify(record):
        queue_mail(
            account.email,
            MESSAGE,
            subject,
            text,
            html,
            dedupe_key=f"{MESSAGE}:{message.pk}:{account.pk}",
            related=(MESSAGE, str(message.pk)),
        )


def parcel_for_record(parcel: Parcel) -> None:
    """Tell the custodians of a record that something with a question waits for them."""
    assert parcel.for_record is not None
    link = absolute(reverse("directmsg:waiting"))
    subject, text, html = render("message", {"organization": parcel.organization_name, "link": link})
    for account in custodians_to_notify(parcel.for_record):
        queue_mail(
            account.email,
            MESSAGE,
            subject,
            text,
            html,
            dedupe_key=f"{PARCEL}:{parcel.pk}:{account.pk}",
            related=(PARCEL, str(parcel.pk)),
        )


def pickup_code(email: str, code: str) -> None:
    """Mail the 8-digit code that shows that a person reads the mailbox."""
    subject, text, html = render("pickup_code", {"code": code})
    queue_mail(email, CODE, subject, text, html)
