"""A message that was picked up into the wrong record: who may move it, for how long, and to where."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from healthvault.audit import trail
from records.access import whole_records_of
from records.models import Account, Message, Record, Right
from records.moving import move_message

from . import parcels
from .models import Parcel

#: So long after the claim a message may be moved.
MOVABLE = timedelta(days=30)


class CannotMove(Exception):
    """It was not picked up by this person, too long ago, or there is no such record to move it to."""

    code = "cannot_move"


def targets(message: Message, account: Account) -> list[Record]:
    """The records that `account` may move `message` to; none when it cannot be moved (any more).

    Only what was picked up by a link can be in a wrong record: what was sent to a record's own address is
    where its sender wanted it. Moving takes from one record and adds to another, so it needs both rights.
    """
    parcel = Parcel.objects.filter(message=message, state=Parcel.State.CLAIMED).first()
    if parcel is None or parcel.for_record_id is not None or message.deleted is not None:
        return []
    if parcel.decided is None or parcel.decided < timezone.now() - MOVABLE:
        return []
    right = Right.MODIFY if parcel.claimed_by_id == account.pk else Right.CUSTODIAN
    if not whole_records_of(account, right).filter(pk=message.record_id).exists():
        return []
    others = whole_records_of(account, Right.MODIFY).exclude(pk=message.record_id)
    return list(others.select_related("holder").order_by("created"))


def move(message: Message, target_id: str, account: Account, *, request: HttpRequest | None = None) -> Record:
    """Move a picked-up message to the record `target_id`; returns that record.

    Raises CannotMove, `quota.RecordFull`.
    """
    with transaction.atomic():
        locked = Message.objects.select_for_update(of=("self",)).select_related("record__holder")
        message = locked.get(pk=message.pk)
        target = next((each for each in targets(message, account) if str(each.pk) == target_id), None)
        if target is None:
            raise CannotMove
        move_message(message, target, account)
        parcels.event(Parcel.objects.select_related("inbound").get(message=message), "moved")
        trail.record("parcel.moved", actor=account, record=target, subject=message.pk, request=request)
    return target
