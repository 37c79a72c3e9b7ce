"""What each line of the ledger says to an administrator, in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .models import MailEvent

_WORDS = {
    "received": "Came in",
    "resent": "Sent again by the sender; judged anew",
    "again": "Put back by an administrator; judged anew",
    "filed": "Filed in a record",
    "parcelled": "Held for pickup",
    "refused": "Refused",
    "stuck": "Stuck",
    "notified": "Was a notification",
    "contact_bounced": "The mail to the contact came back",
    "contact_corrected": "The sender corrected the contact's address",
    "question_changed": "The sender changed the question",
    "current_answer_wrong": "The sender gave a wrong present answer",
    "locked": "Locked after wrong answers",
    "reset": "Given new tries",
    "cleared": "Offered by an administrator although its sender is no longer trusted",
    "claimed": "Picked up",
    "moved": "Moved to another record by who picked it up",
    "expired": "Expired; the content was erased",
    "declined": "Declined by the contact; the content was erased",
    "withdrawn": "Withdrawn; the content was erased",
    "queued": "Waiting to be sent",
    "sent": "Handed to the recipient's system",
    "local": "Delivered within this service",
    "deferred": "Could not be handed over yet; tried again",
    "processed": "Their system has opened it",
    "dispatched": "Delivered to the recipient",
    "dispatched_unasked": "Their system speaks of delivery, without the field that would confirm it",
    "bounced_in_clear": "A mail server on the way reported a failure, unsigned: noted, not believed",
    "displayed": "Opened by the recipient",
    "failed": "Could not be delivered",
    "timed_out": "Nothing was heard in time",
    "tried_again": "Sent anew",
    "notification_ignored": "A notification that was not the recipient's own was ignored",
    "deleted": "Deleted by their system",
    "delayed": "Their system reports a delay",
    "delivered": "Their system reports delivery",
    "relayed": "Passed on by their system",
    "expanded": "Passed on to several by their system",
    "week_left": "A week left to pick it up; the sender was told",
}
#: A parcel's own meaning of a name that mails use too.
_OF_PARCELS = {"notified": "The contact was mailed", "resent": "The contact was mailed again"}
_GOOD = frozenset({"filed", "parcelled", "notified", "claimed", "dispatched", "displayed"})
_BAD = frozenset({"refused", "stuck", "contact_bounced", "locked", "failed", "timed_out"})


@dataclass(frozen=True)
class Told:
    """One event for people; `mark` is the class of its place in a timeline."""

    at: datetime
    words: str
    code: str
    mark: str


def told(events: Iterable[MailEvent]) -> list[Told]:
    """Events in plain words; what a mail and its parcel both noted is told once."""
    found: list[Told] = []
    for event in events:
        mark = "is-good" if event.name in _GOOD else "is-bad" if event.name in _BAD else ""
        one = Told(event.at, words_of(event), event.code, mark)
        if not found or found[-1].words != one.words:
            found.append(one)
    return found


def words_of(event: MailEvent) -> str:
    """One event in plain words; a name that is new here is told as it is."""
    if event.parcel_id and event.name in _OF_PARCELS:
        return _OF_PARCELS[event.name]
    if event.name.startswith("reminded_"):
        return f"The contact was reminded on day {event.name.removeprefix('reminded_')}"
    if event.name.startswith("late_"):
        late = event.name.removeprefix("late_")
        return f"Heard after the outcome, which stands: {_WORDS.get(late, late).lower()}"
    return _WORDS.get(event.name) or event.name.replace("_", " ").capitalize()
