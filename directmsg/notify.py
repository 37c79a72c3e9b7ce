"""What people are told by ordinary e-mail: that something waits, and nothing of what it is.

Never in such a mail: subject, text, question, answer, file names, names of persons or records, or any
word the sender chose except the organisation's name as it stands in our trust list.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db.models import Max, Q
from django.urls import reverse
from django.utils import timezone

from healthvault.outbox import mail
from healthvault.outbox.letters import absolute, render
from healthvault.outbox.mail import queue_mail
from healthvault.outbox.models import Notification
from records.access import custodians_to_notify
from records.models import Message, Record, Right

from .models import FindRequest, Parcel

PARCEL = "parcel"
MESSAGE = "message"
CODE = "pickup_code"
FIND = "pickup_find"
ADDRESS = "address_changed"
#: At most one mail to an address in this time; a later one waits.
QUIET = timedelta(minutes=15)


def parcel_waiting(parcel: Parcel, token: str, *, template: str = "parcel") -> Notification:
    """Queue the mail that a parcel waits, with its link; sent after commit, once a day and parcel."""
    link = absolute(reverse("directmsg:pickup_link", args=[token]))
    day, of_link = f"{timezone.now():%Y-%m-%d}", (parcel.token_hash or "")[:8]
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
        dedupe_key=f"{PARCEL}:{parcel.pk}:{template}:{day}:{of_link}",
        related=(PARCEL, str(parcel.pk)),
        not_before=_quiet_until(parcel),
    )


def parcels_found(request: FindRequest, found: list[tuple[Parcel, str]]) -> Notification:
    """Queue one mail with a new link for each parcel (given with its token) of one contact address."""
    links = [
        {
            "organization": parcel.organization_name,
            "expires": parcel.expires,
            "link": absolute(reverse("directmsg:pickup_link", args=[token])),
        }
        for parcel, token in found
    ]
    subject, text, html = render("parcels_found", {"links": links})
    return queue_mail(found[0][0].contact, FIND, subject, text, html, related=(FIND, str(request.pk)))


def cancel_mails(parcel: Parcel) -> None:
    """Take back what did not go out about a parcel whose links die now."""
    for kind in (PARCEL, MESSAGE):
        mail.cancel(kind, str(parcel.pk))


def last_mail(contact_hash: str, *, besides: Parcel | None = None) -> datetime:
    """When the newest mail with links to an address was queued, not counting those about `besides`."""
    parcels = Parcel.objects.filter(contact_hash=contact_hash)
    finds = FindRequest.objects.filter(contact_hash=contact_hash, answered__isnull=False)
    if besides is not None:
        parcels = parcels.exclude(pk=besides.pk)
    mails = Notification.objects.exclude(state=Notification.State.DROPPED).filter(
        Q(kind=PARCEL, related_id__in=[str(pk) for pk in parcels.values_list("pk", flat=True)])
        | Q(kind=FIND, related_id__in=[str(pk) for pk in finds.values_list("pk", flat=True)])
    )
    newest: datetime | None = mails.aggregate(newest=Max("created"))["newest"]
    return newest or datetime.min.replace(tzinfo=UTC)


def _quiet_until(parcel: Parcel) -> datetime | None:
    """When the next mail to this parcel's contact may go: not within `QUIET` of the last one."""
    latest = last_mail(parcel.contact_hash, besides=parcel)
    return latest + QUIET if latest > timezone.now() - QUIET else None


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


def address_changed(record: Record) -> None:
    """Tell everybody who keeps a record that its Direct addresses were changed, wanted or not: a stranger's
    hand shows here. Names no address and no person."""
    link = absolute(reverse("directmsg:addresses", args=[record.pk]))
    subject, text, html = render(ADDRESS, {"link": link})
    keepers = record.grants.filter(right=Right.CUSTODIAN, account__is_active=True).select_related("account")
    for grant in keepers:
        queue_mail(grant.account.email, ADDRESS, subject, text, html, related=(ADDRESS, str(record.pk)))


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
