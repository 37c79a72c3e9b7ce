"""How much a record may hold, and how much it does: the sizes of the content that is sealed under its key.

Copies of a record that are made to be taken out do not count: they go by themselves. Only what adds content
asks here. Nothing that deletes does, so that a full record can always be made smaller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat

from healthvault.store.models import Blob

from .arranging import lock
from .models import Export, Record


@dataclass(frozen=True, slots=True)
class Room:
    """What a record holds and what it may hold, both in bytes."""

    used: int
    limit: int

    @property
    def percent(self) -> int:
        """How much of the limit is used, in whole percents rounded up."""
        return -(-100 * self.used // self.limit)

    def fits(self, added: int) -> bool:
        """Whether `added` bytes more stay within the limit."""
        return self.used + added <= self.limit


class RecordFull(Exception):
    """`added` bytes would pass the limit of a record; the text says so to the person."""

    code = "record_full"

    def __init__(self, room: Room, added: int) -> None:
        used, limit, more = (_told(size) for size in (room.used, room.limit, added))
        super().__init__(
            f"There is not enough room: the record holds {used} of the {limit} it may hold, and this would"
            f" add {more}. Ask the people who run this portal for more room"
        )


def room_of(record: Record) -> Room:
    """How much `record` holds now, and its limit (RECORD_SIZE_LIMIT)."""
    copies = Export.objects.filter(record=record, blob__isnull=False).values("blob")
    held = Blob.without_data.filter(holder=record.holder_id).exclude(pk__in=copies)
    return Room(_sum(held), settings.RECORD_SIZE_LIMIT)


def require_room(record: Record, added: int) -> None:
    """Raise `RecordFull` when `added` bytes more would pass the limit of `record`.

    Two that ask at once may both be told yes: `lock` the record first where that counts.
    """
    if added <= 0:
        return
    room = room_of(record)
    if not room.fits(added):
        raise RecordFull(room, added)


def claim_room(record: Record, blobs: Iterable[UUID | str]) -> None:
    """`require_room` for the content of `blobs`, which another holder has yet; call it in the transaction
    that hands them over: nobody else adds to the record until it ends."""
    lock(record)
    theirs = Blob.without_data.filter(pk__in=list(blobs)).exclude(holder=record.holder_id)
    require_room(record, _sum(theirs))


def _sum(blobs: Any) -> int:
    return int(blobs.aggregate(total=Sum("size"))["total"] or 0)


def _told(size: int) -> str:
    return filesizeformat(size).replace("\xa0", " ")
