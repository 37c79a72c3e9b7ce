"""The trail of a record in words: "who looked, who changed"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse

from healthvault.audit.models import AuditEvent

from .access import Access
from .models import Account

LOOKED, CHANGED, PEOPLE, OUT = "looked", "changed", "people", "out"
CHOICES = ((LOOKED, "Who looked"), (CHANGED, "Who changed"), (PEOPLE, "Sharing"), (OUT, "What left"))
_ACTIONS = {
    LOOKED: {
        "record.viewed": "Looked at the record",
        "record.printed": "Looked at the summary for printing",
        "record.history_viewed": "Looked at this history",
        "item.viewed": "Looked at an item",
        "document.viewed": "Read a document",
        "message.viewed": "Read a message",
        "items.listed": "Looked at a list of items",
        "documents.listed": "Looked at the list of documents",
        "timeline.viewed": "Looked at the timeline",
        "trend.viewed": "Looked at a chart",
        "record.searched": "Searched the record",
        "record.removed_viewed": "Looked at what was removed",
        "import.viewed": "Looked at what a document brought",
    },
    CHANGED: {
        "record.opened": "Opened the record",
        "record.settings_changed": "Changed the settings",
        "record.restored": "Put an export back",
        "document.read": "Took items from a document",
        "document.confirmed": "Said that a document belongs here",
        "document.refused": "Said that a document is about somebody else",
        "document.uploaded": "Added a document",
        "file.uploaded": "Added a file",
        "import.reviewed": "Reviewed the items of a document",
        "import.undone": "Took back the items of a document",
        "import.redone": "Added the items of a document again",
        "item.added": "Added an item",
        "item.corrected": "Corrected an item",
        "item.reverted": "Took a correction back",
        "item.rejected": "Rejected an item",
        "item.deleted": "Deleted an item",
        "item.restored": "Restored an item",
        "item.removed": "Removed an item for good",
        "item.made_personal": "Made an item personal",
        "item.made_visible": "Showed a personal item again",
        "attachment.decided": "Decided about an attachment",
        "sender.blocked": "Blocked a sender",
        "sender.unblocked": "Unblocked a sender",
        "mail.refused": "Turned a message away",
        "parcel.claimed": "Picked up a message",
        "parcel.moved": "Moved a message to another record",
    },
    PEOPLE: {
        "invitation.created": "Invited somebody",
        "invitation.resent": "Sent an invitation again",
        "invitation.withdrawn": "Took an invitation back",
        "invitation.accepted": "Accepted an invitation",
        "invitation.rejected": "Declined an invitation",
        "invitation.tried": "Typed a passcode",
        "grant.changed": "Changed what somebody may do",
        "grant.removed": "Took access away",
    },
    OUT: {
        "document.downloaded": "Downloaded a document",
        "file.downloaded": "Downloaded a file",
        "attachment.downloaded": "Downloaded an attachment",
        "message.downloaded": "Downloaded a message as it came",
        "message.queued": "Sent a message",
        "message.tried_again": "Sent a message again",
        "export.requested": "Asked for a copy of the record",
        "export.made": "Made a copy of the record",
        "export.downloaded": "Downloaded a copy of the record",
        "export.deleted": "Deleted a copy of the record",
        "record.exported": "Wrote a copy of the record",
    },
}
_WORDS = {action: words for actions in _ACTIONS.values() for action, words in actions.items()}
#: Which page shows the subject of an action, where it has one.
_PAGES = {"item": "records:entry", "document": "records:document", "message": "directmsg:message"}


@dataclass(frozen=True, slots=True)
class Line:
    """One event: who, what, when, from where; `link` leads to what it is about, empty without a page."""

    at: datetime
    who: str
    what: str
    about: str
    link: str
    address: str
    refused: bool


def chosen(events: QuerySet[AuditEvent], choice: str) -> QuerySet[AuditEvent]:
    """The events of one of `CHOICES`; all of them for any other word."""
    actions = _ACTIONS.get(choice)
    return events.filter(action__in=actions) if actions else events


def lines(access: Access, events: Sequence[AuditEvent]) -> list[Line]:
    """Events of a record of which `access` sees the history, as lines of its page."""
    people = _people(events)
    shown = _shown(access, events)
    return [_line(event, people, shown, access) for event in events]


def _line(event: AuditEvent, people: dict[str, str], shown: set[str], access: Access) -> Line:
    area = event.action.partition(".")[0]
    return Line(
        at=event.at,
        who=_who(event.actor, people),
        what=_WORDS.get(event.action, event.action.replace(".", ": ").replace("_", " ")),
        about=people.get(event.subject, "") if area == "grant" else "",
        link=_link(area, event.subject, shown, access),
        address=event.address or "",
        refused=event.outcome != "ok",
    )


def _who(actor: str, people: dict[str, str]) -> str:
    if not actor:
        return "The portal itself"
    if actor == "operator":
        return "The operator of this portal"
    return people.get(actor, "An account that is gone")


def _people(events: Sequence[AuditEvent]) -> dict[str, str]:
    """The names of the accounts that did something, or to whom something was done."""
    ids = {word for event in events for word in (event.actor, event.subject) if _is_id(word)}
    return {str(a.pk): a.get_full_name() for a in Account.objects.filter(pk__in=ids)}


def _shown(access: Access, events: Sequence[AuditEvent]) -> set[str]:
    """The subjects that still have a page."""
    ids = {event.subject for event in events if _is_id(event.subject)}
    tables = (access.entries, access.documents, access.messages)
    found = [table.filter(Q(pk__in=ids)).values_list("pk", flat=True) for table in tables]
    return {str(pk) for several in found for pk in several}


def _link(area: str, subject: str, shown: set[str], access: Access) -> str:
    page = _PAGES.get("item" if area == "file" else area)
    if page is None or subject not in shown:
        return ""
    return reverse(page, args=[subject] if area == "message" else [access.record.pk, subject])


def _is_id(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True
