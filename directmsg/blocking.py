"""Senders whose mail a record does not want: single addresses, and whole domains.

Judged when mail to an address of the record is delivered, after trust: who is blocked is told that the
mailbox does not accept the message, in the words of any such mailbox, and never that anybody blocked them.
Parcels are no matter of this: their sender does not write to the record, and the person takes or declines
each.
"""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest

from healthvault.audit import trail
from records.models import Account, Record

from .agent.address import normalise, parse_mailbox, to_a_labels, without_tag
from .agent.errors import AgentError
from .models import BlockedSender

MOST_BLOCKED = 500


class CannotBlock(ValueError):
    """What was typed is neither an address nor a domain, or the list is full; the text says which."""

    code = "cannot_block"


def is_blocked(record: Record, sender: str) -> bool:
    """Whether mail from `sender`, an address, is unwanted in `record`; a `+tag` of it makes no difference."""
    address = normalise(sender)
    names = {address, without_tag(address), address.rpartition("@")[2]}
    return BlockedSender.objects.filter(record=record, name__in=names).exists()


def read_name(typed: str) -> str:
    """`typed`, an address or a domain (with or without an @ before it), as it is compared.

    Raises `CannotBlock`.
    """
    text = typed.strip()
    try:
        if "@" in text.removeprefix("@"):
            return _address(text)
        return to_a_labels(text.removeprefix("@"))
    except AgentError as error:
        raise CannotBlock(
            "Type a Direct address, like office@direct.clinic.example, or the domain behind its @ sign."
        ) from error


def _address(text: str) -> str:
    address = normalise(parse_mailbox(text).address)
    to_a_labels(address.rpartition("@")[2])
    return address


@transaction.atomic
def block(
    record: Record, typed: str, *, account: Account, request: HttpRequest | None = None
) -> BlockedSender:
    """Take no more mail from `typed`, an address or a domain; one that is blocked stays as it is.

    Raises `CannotBlock`.
    """
    name = read_name(typed)
    before = BlockedSender.objects.filter(record=record)
    if not before.filter(name=name).exists() and before.count() >= MOST_BLOCKED:
        raise CannotBlock(f"A record can block {MOST_BLOCKED} senders. Block a whole domain instead.")
    row, new = BlockedSender.objects.get_or_create(record=record, name=name, defaults={"by": account})
    if new:
        trail.record("sender.blocked", actor=account, record=record, subject=row.pk, request=request)
    return row


@transaction.atomic
def unblock(row: BlockedSender, *, account: Account, request: HttpRequest | None = None) -> bool:
    """Take mail from this sender again; False when somebody did so meanwhile."""
    gone, _ = BlockedSender.objects.filter(pk=row.pk).delete()
    if gone:
        trail.record("sender.unblocked", actor=account, record=row.record_id, subject=row.pk, request=request)
    return bool(gone)
