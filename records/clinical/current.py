"""What of a record's items still holds on a given day."""

from datetime import date

from records.clinical.types import Item

_STOPPED = frozenset(
    {"stopped", "inactive", "entered-in-error", "cancelled", "discontinued", "aborted", "resolved"}
)


def still_taken(item: Item, on: date) -> bool:
    """Whether a drug is still taken.

    ``completed`` says nothing: many senders put it on every line of the current list. Only an end in the past
    or a word for stopping says "no longer taken".

    :param item: a medication.
    :param on: the day to judge for.
    """
    if item.negated or item.none_known or item.status in _STOPPED:
        return False
    end = item.end.day if item.end else ""
    # An end of "2019" is past when all of 2019 is.
    return not end or end >= on.isoformat()[: len(end)]
