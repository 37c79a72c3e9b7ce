"""Who may see and do what: every view and every API starts here.

A record that is unknown and one that is not yours are the same 404. A view that shows anything of a
record asks for its `Access`, and takes items, documents and messages from there and from nowhere else:
what a grant leaves out is then not there, whatever address is typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest
from django.utils import timezone

from . import visibility
from .models import Account, Document, Entry, Grant, Message, Record, Right


def signed_in(request: HttpRequest) -> Account:
    """The person who is signed in; raises PermissionDenied where a view forgot to ask for that."""
    if not isinstance(request.user, Account):
        raise PermissionDenied
    return request.user


def grants_of(account: Account) -> QuerySet[Grant]:
    """The grants of `account` that hold now."""
    now = timezone.now()
    return Grant.objects.filter(account=account).filter(Q(expires__isnull=True) | Q(expires__gt=now))


def visible_to(account: Account, right: Right = Right.VIEW) -> QuerySet[Record]:
    """The records on which `account` has at least `right`."""
    return Record.objects.filter(pk__in=grants_of(account).filter(right__gte=right).values("record"))


def require_access(account: Account, record_id: UUID | str, right: Right) -> Record:
    """The record `record_id`, when `account` has at least `right` on it; else raises Http404."""
    record = visible_to(account, right).select_related("holder").filter(pk=record_id).first()
    if record is None:
        raise Http404
    return record


@dataclass(frozen=True, slots=True)
class Access:
    """What one person may do with one record, and what of it they see."""

    grant: Grant

    @property
    def record(self) -> Record:
        return self.grant.record

    @property
    def custodian(self) -> bool:
        """Sees everything, with the sharing and the history, and may share and delete."""
        return self.grant.right == Right.CUSTODIAN

    @property
    def may_change(self) -> bool:
        """Adds and edits what they see."""
        return self.grant.right >= Right.MODIFY

    @property
    def whole(self) -> bool:
        """Opens whole documents and messages, as far as these hold nothing personal."""
        return visibility.sees_documents(self.grant)

    @property
    def entries(self) -> QuerySet[Entry]:
        return visibility.visible_entries(self.grant)

    @property
    def removed(self) -> QuerySet[Entry]:
        return visibility.removed_entries(self.grant)

    @property
    def documents(self) -> QuerySet[Document]:
        return visibility.visible_documents(self.grant)

    @property
    def messages(self) -> QuerySet[Message]:
        return visibility.visible_messages([self.grant])


def open_access(request: HttpRequest, record_id: UUID | str, right: Right = Right.VIEW) -> Access:
    """What the signed-in person may do with the record `record_id`; Http404 with less than `right` on it."""
    grants = grants_of(signed_in(request)).select_related("record__holder")
    grant = grants.filter(record__pk=record_id, right__gte=right).first()
    if grant is None:
        raise Http404
    return Access(grant)


def messages_visible_to(account: Account, right: Right = Right.VIEW) -> QuerySet[Message]:
    """The messages `account` may read, of every record on which they have at least `right`."""
    return visibility.visible_messages(grants_of(account).filter(right__gte=right))


def whole_records_of(account: Account, right: Right = Right.VIEW) -> QuerySet[Record]:
    """The records on which `account` has at least `right` and sees messages: where they may write or claim.

    Who is to see some kinds of items only would put away what they cannot open again.
    """
    grants = [
        g.record_id for g in grants_of(account).filter(right__gte=right) if visibility.sees_documents(g)
    ]
    return Record.objects.filter(pk__in=grants)


def custodians_to_notify(record: Record) -> QuerySet[Account]:
    """The active custodians of `record` who want mail about new messages."""
    return Account.objects.filter(
        is_active=True,
        grants__record=record,
        grants__right=Right.CUSTODIAN,
        grants__notify=True,
    ).distinct()
