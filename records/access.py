"""Who may see and do what: every view and every API starts here.

A record that is unknown and one that is not yours are the same 404.
"""

from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest
from django.utils import timezone

from .models import Account, Grant, Record, Right


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


def custodians_to_notify(record: Record) -> QuerySet[Account]:
    """The active custodians of `record` who want mail about new messages."""
    return Account.objects.filter(
        is_active=True,
        grants__record=record,
        grants__right=Right.CUSTODIAN,
        grants__notify=True,
    ).distinct()
