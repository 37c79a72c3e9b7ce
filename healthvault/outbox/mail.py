"""The way to send mail to a person: a row now, the mail after commit."""

from datetime import datetime

from healthvault.outbox.models import Notification
from healthvault.outbox.tasks import deliver_notification
from healthvault.store import jobs


def queue_mail(
    to: str,
    kind: str,
    subject: str,
    text: str,
    html: str | None,
    dedupe_key: str | None = None,
    related: tuple[str, str] = ("", ""),
    not_before: datetime | None = None,
) -> Notification:
    """Queue one mail to one address, in the transaction at hand; it is sent after commit.

    With `dedupe_key` the same mail is queued once: the row that is there already is returned. `related`
    is kind and id of what the mail is about; the listener of `kind` is told what became of it.
    `not_before` holds the mail back.
    """
    values = {
        "kind": kind,
        "to_address": to,
        "subject": subject,
        "text": text,
        "html": html,
        "related_kind": related[0],
        "related_id": related[1],
        "lease_until": not_before,
    }
    if dedupe_key is None:
        mail, made = Notification.objects.create(**values), True
    else:
        mail, made = Notification.objects.get_or_create(dedupe_key=dedupe_key, defaults=values)
    if made and not_before is None:
        jobs.ring(deliver_notification, str(mail.pk))
    return mail


def cancel(kind: str, related_id: str) -> int:
    """Take back the mails of `kind` about `related_id` that did not go out; returns how many were waiting.

    In the transaction of what made them wrong. A worker that has one in its hands cannot put it back into
    the queue, since its claim ends here. The words of failed ones are erased, so that nobody sends them
    again. Nobody is told an outcome.
    """
    mails = Notification.objects.filter(kind=kind, related_id=related_id)
    mails.filter(state=Notification.State.FAILED).update(subject=None, text=None, html=None)
    waiting = mails.filter(state__in=[Notification.State.QUEUED, Notification.State.SENDING])
    return waiting.update(
        state=Notification.State.DROPPED, lease_until=None, subject=None, text=None, html=None
    )
