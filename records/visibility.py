"""What of a record a person sees: all of it, or what its custodians left open."""

from __future__ import annotations

from django.db.models import QuerySet

from .models import Entry, Grant, Right

#: Items that are part of the record, or wait to become part of it.
SHOWN = (Entry.State.ACTIVE, Entry.State.PROPOSED)


def visible_entries(grant: Grant) -> QuerySet[Entry]:
    """The items of a record that the person of `grant` may see.

    Custodians see all; others neither personal items nor kinds that are not shared with them.
    """
    entries = Entry.objects.filter(record=grant.record_id, state__in=SHOWN)
    if grant.right == Right.CUSTODIAN:
        return entries
    entries = entries.filter(personal=False)
    return entries if grant.kinds is None else entries.filter(kind__in=grant.kinds)


def sees_documents(grant: Grant) -> bool:
    """Whether the person may open whole documents and messages.

    They say everything at once, so a person who is to see some kinds only does not see them.
    """
    return grant.right == Right.CUSTODIAN or grant.kinds is None


def removed_entries(grant: Grant) -> QuerySet[Entry]:
    """What was rejected or deleted and can be restored: for custodians only."""
    if grant.right != Right.CUSTODIAN:
        return Entry.objects.none()
    return Entry.objects.filter(
        record=grant.record_id, state__in=[Entry.State.REJECTED, Entry.State.DELETED]
    ).order_by("-updated")
