""" "Find my waiting messages": new links by mail, and the same answer whether or not any wait.

The request writes one row, whatever the address. A worker looks, and sends one mail with a link for each
parcel that waits: at most one mail in 15 minutes, and five a day.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from healthvault.outbox import mail
from healthvault.store import jobs
from records.proofs import mailbox_hash

from . import limits, notify, parcels, standing
from .models import FindRequest, Parcel

A_DAY = 5
#: Answered requests are kept as long as they count and their mails may be tried.
KEPT = timedelta(days=4)


def ask(email: str) -> None:
    """Note that links to what waits for `email` are wanted, and ring for the worker."""
    with transaction.atomic():
        _ring(FindRequest.objects.create(contact_hash=mailbox_hash(email)))


def unanswered(limit: int = 500) -> list[str]:
    """Ids of requests that wait, oldest first."""
    rows = FindRequest.objects.filter(answered__isnull=True).order_by("pk")
    return [str(pk) for pk in rows.values_list("pk", flat=True)[:limit]]


def answer(pk: str) -> bool:
    """Answer the request `pk`; returns whether a mail goes out for it."""
    with transaction.atomic():
        request = FindRequest.objects.select_for_update().filter(pk=pk, answered__isnull=True).first()
        if request is None:
            return False
        waiting = _lock_waiting(request.contact_hash)
        limits.one_at_a_time(limits.contact(request.contact_hash))
        if not waiting or not _may_send(request):
            request.delete()
            return False
        request.answered = timezone.now()
        request.save(update_fields=["answered"])
        request.parcels.set(waiting)
        notify.parcels_found(request, [(parcel, parcels.renew_token(parcel)) for parcel in waiting])
    return True


def take_back(parcel: Parcel) -> None:
    """The link of `parcel` in mails that did not go out is dead: such a mail is written anew for the rest."""
    rows = FindRequest.objects.filter(parcels=parcel, answered__isnull=False)
    for request in rows.order_by("pk"):
        if mail.cancel(notify.FIND, str(request.pk)):
            FindRequest.objects.filter(pk=request.pk).update(answered=None)
            _ring(request)


def on_notification(related_id: str, state: str, code: str) -> None:
    """Told by the outbox what became of a mail with links: its parcels were announced, or could not be."""
    for request in FindRequest.objects.filter(pk=related_id):
        for parcel in request.parcels.all():
            parcels.on_notification(str(parcel.pk), state, code)


def forget() -> int:
    """Delete answered requests that count no more; returns how many."""
    return FindRequest.objects.filter(answered__lte=timezone.now() - KEPT).delete()[0]


def _ring(request: FindRequest) -> None:
    from .tasks import answer_find_request

    jobs.ring(answer_find_request, str(request.pk))


def _lock_waiting(contact_hash: str) -> list[Parcel]:
    waiting = Parcel.objects.filter(
        contact_hash=contact_hash,
        state=Parcel.State.WAITING,
        expires__gt=timezone.now(),
        for_record__isnull=True,
    )
    locked = waiting.select_for_update(of=("self",)).select_related("inbound", "organization")
    return standing.offered(locked.order_by("pk"))


def _may_send(request: FindRequest) -> bool:
    now = timezone.now()
    if notify.last_mail(request.contact_hash) > now - notify.QUIET:
        return False
    today = FindRequest.objects.filter(
        contact_hash=request.contact_hash, answered__gt=now - timedelta(days=1)
    )
    return today.count() < A_DAY
