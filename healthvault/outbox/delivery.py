"""Sending one mail: claim, hand over, record, tell."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from email.utils import format_datetime, parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.utils import timezone

from healthvault.outbox import outcomes, transport
from healthvault.outbox.models import Notification
from healthvault.outbox.transport import SendFailure
from healthvault.vault.errors import VaultError

log = logging.getLogger(__name__)

State = Notification.State

#: Minutes to wait after the first, second ... try; the last one again and again.
BACK_OFF_MIN = (1, 5, 15, 30, 60)
GIVE_UP_AFTER = timedelta(hours=72)


def deliver(pk: Any) -> str:
    """Send the mail `pk` if it is due and free; returns its state, or "" when it was neither.

    Between the relay's yes and our note of it a crash may send the mail again: it then has the same
    Message-ID.
    """
    mail = Notification.claim(pk)
    if mail is None or mail.state != State.SENDING:
        # Not due, somebody else's, or taken back at this moment.
        return ""
    try:
        transport.send(compose(mail), f"{mail.created:%Y%m%dT%H%M%S}-{mail.pk}")
    except SendFailure as failure:
        return _failed(mail, failure.code, temporary=failure.temporary)
    except VaultError as error:
        return _failed(mail, error.code, temporary=error.temporary)
    except ValueError:
        # A header that cannot be written, such as an address with a line end in it.
        return _failed(mail, "bad_message", temporary=False)
    except Exception:
        log.exception("sending failed unforeseen", extra={"notification": mail.pk})
        return _failed(mail, "unforeseen", temporary=True)
    return _final(mail, State.SENT, sent_at=timezone.now(), error_code="", subject=None, text=None, html=None)


def compose(mail: Notification) -> EmailMultiAlternatives:
    """The mail as it goes out: the same bytes' worth of headers at every try.

    Marked as automatic, so that holiday notices are not sent in return (RFC 3834 section 5).
    """
    message = EmailMultiAlternatives(
        subject=mail.subject or "",
        body=mail.text or "",
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[mail.to_address],
        headers={
            "Message-ID": message_id(mail),
            "Date": format_datetime(mail.created),
            "Auto-Submitted": "auto-generated",
        },
    )
    if mail.html:
        message.attach_alternative(mail.html, "text/html")
    return message


def message_id(mail: Notification) -> str:
    """The Message-ID, the same at every try (RFC 5322 section 3.6.4)."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].partition("@")[2] or "localhost"
    return f"<{mail.pk}@{domain}>"


def next_try(mail: Notification) -> datetime | None:
    """When to try again, or None when it was tried long enough."""
    wait = timedelta(minutes=BACK_OFF_MIN[min(mail.tries, len(BACK_OFF_MIN)) - 1])
    at = timezone.now() + wait
    return at if at <= mail.created + GIVE_UP_AFTER else None


def send_again(mail: Notification) -> bool:
    """Put a failed mail back into the queue for another three days; False when it had not failed."""
    failed = Notification.objects.filter(pk=mail.pk, state=State.FAILED, text__isnull=False)
    return bool(
        failed.update(state=State.QUEUED, tries=0, lease_until=None, created=timezone.now(), error_code="")
    )


def tell(mail: Notification) -> None:
    """Call the listener for a final mail whose outcome is due, once, in one transaction with the note."""
    with transaction.atomic():
        if Notification.objects.filter(pk=mail.pk, outcome_due=True).update(outcome_due=False):
            _call_listener(mail)


def tell_due(limit: int = 100) -> None:
    """Call the listeners that could not be told when the outcome was new."""
    for mail in Notification.objects.filter(outcome_due=True).order_by("pk")[:limit]:
        try:
            tell(mail)
        except Exception:
            log.exception("a listener failed", extra={"notification": mail.pk})


def _failed(mail: Notification, code: str, *, temporary: bool) -> str:
    at = next_try(mail) if temporary else None
    if at is None:
        return _final(mail, State.FAILED, error_code=code)
    log.warning("mail not sent", extra={"notification": mail.pk, "code": code})
    return _move(mail, State.QUEUED, lease_until=at, error_code=code)


def _final(mail: Notification, state: str, **values: Any) -> str:
    """End the row and tell its listener in one transaction; if the listener raises, end it alone."""
    if outcomes.listener_of(mail.kind) is None:
        return _move(mail, state, **values)
    try:
        with transaction.atomic():
            moved = _move(mail, state, **values)
            if moved:
                _call_listener(mail)
            return moved
    except Exception:
        log.exception("a listener failed", extra={"notification": mail.pk})
        mail.state = State.SENDING
        return _move(mail, state, outcome_due=True, **values)


def _move(mail: Notification, state: str, **values: Any) -> str:
    """Change the row as long as this worker's claim holds (`tries` is the fence); else do nothing."""
    values = {"lease_until": None, **values}
    held = Notification.objects.filter(pk=mail.pk, state=State.SENDING, tries=mail.tries)
    if not held.update(state=state, **values):
        return ""
    mail.state = state
    for name, value in values.items():
        setattr(mail, name, value)
    return state


def _call_listener(mail: Notification) -> None:
    listener = outcomes.listener_of(mail.kind)
    if listener is not None:
        listener(mail.related_id, mail.state, mail.error_code)
