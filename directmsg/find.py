""" "Find my waiting messages": new links by mail, and the same answer whether or not any wait."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from healthvault.outbox.mail import queue_mail
from healthvault.outbox.models import Notification
from records.proofs import mailbox_hash

from . import notify, parcels
from .models import Parcel

A_DAY = 5


def mail_links(email: str) -> None:
    """Mail a new link for each parcel waiting for `email`: once in 15 minutes, five times a day."""
    waiting = list(
        Parcel.objects.select_related("inbound").filter(
            contact_hash=mailbox_hash(email),
            state=Parcel.State.WAITING,
            expires__gt=timezone.now(),
            for_record__isnull=True,
        )
    )
    if not waiting or not _may_send(waiting):
        _spend_mail_time(email)
        return
    for parcel in waiting:
        parcels.new_link(parcel)


def _spend_mail_time(email: str) -> None:
    """Do the work of one mail and take it back: the time of the answer tells no more than its words."""
    with transaction.atomic():
        words = {"organization": "", "expires": timezone.now(), "link": notify.absolute("/")}
        queue_mail(email, notify.FIND, *notify.render("parcel", words))
        transaction.set_rollback(True)


def _may_send(waiting: list[Parcel]) -> bool:
    sent = Notification.objects.filter(
        kind=notify.PARCEL, related_id__in=[str(parcel.pk) for parcel in waiting]
    )
    now = timezone.now()
    return (
        not sent.filter(created__gt=now - notify.QUIET).exists()
        and sent.filter(created__gt=now - timedelta(days=1)).count() < A_DAY
    )
