"""Who else may see a record: invitations, their answers, and what becomes of grants.

Only custodians share. A record always keeps a custodian. Passcodes are told by another way than mail.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from healthvault.audit import trail

from . import proofs
from .arranging import lock
from .models import Account, Grant, Invitation, Record, Relationship, Right

VALID_FOR = timedelta(days=14)
MOST_PASSCODE_TRIES = 5
MOST_PENDING = 25
#: Invitations that one record may send in a day, those sent anew counted: we write to strangers for it.
MOST_A_DAY = 20
MOST_TEXT = 1024
_PASSCODE = re.compile(r"[A-Za-z0-9]{6,10}")


class SharingRefused(ValueError):
    """This cannot be shared in this way; the text says why."""

    code = "sharing_refused"


class LastCustodian(SharingRefused):
    """A record without a custodian would be nobody's."""

    code = "last_custodian"


class NoSuchInvitation(Exception):
    """The invitation is unknown, was answered or withdrawn, or its time is over: the same for all of them."""

    code = "no_such_invitation"


class WrongPasscode(Exception):
    """The passcode is not the one that was set; `left` tries remain."""

    code = "wrong_passcode"

    def __init__(self, left: int) -> None:
        super().__init__("the passcode is wrong")
        self.left = left


class TooManyTries(Exception):
    """The invitation is locked; its inviter can send it anew."""

    code = "too_many_tries"


class OtherMailbox(Exception):
    """Without a passcode an invitation is for an account that has shown to read the invited mailbox."""

    code = "other_mailbox"


# --- inviting -------------------------------------------------------------------------------------------


def invite(
    record: Record,
    inviter: Account,
    email: str,
    right: Right,
    *,
    relationship: str = Relationship.OTHER,
    kinds: list[str] | None = None,
    access_expires: datetime | None = None,
    passcode: str = "",
    text: str = "",
    valid_for: timedelta = VALID_FOR,
) -> tuple[Invitation, str]:
    """Offer access to `record`; returns the invitation and the token of its link, which is not kept.

    The caller mails the link, and never the passcode. Raises `SharingRefused`.
    """
    _check_offer(right, kinds, access_expires, passcode, text)
    token, hashed = secrets.token_urlsafe(32), make_password(passcode) if passcode else ""
    with transaction.atomic():
        lock(record)
        _require_custodian(record, inviter)
        _check_day(record)
        pending = Invitation.objects.filter(record=record, state=Invitation.State.PENDING)
        if pending.filter(expires__gt=timezone.now()).count() >= MOST_PENDING:
            raise SharingRefused(f"{MOST_PENDING} invitations wait for an answer already.")
        invitation = Invitation.objects.create(
            record=record,
            inviter=inviter,
            email=email.strip(),
            email_hash=proofs.mailbox_hash(email),
            text=text.strip(),
            right=right,
            relationship=relationship,
            kinds=kinds,
            access_expires=access_expires,
            passcode=hashed,
            token_hash=_hash(token),
            expires=timezone.now() + valid_for,
        )
        trail.record("invitation.created", actor=inviter, record=record, subject=invitation.pk)
    return invitation, token


def resend(invitation: Invitation, account: Account, *, passcode: str | None = None) -> str:
    """A new link, and new time, for an invitation that waits or is locked; the old link is void.

    `passcode` sets another one ("" none); None keeps it. Returns the token. Raises `SharingRefused`,
    `NoSuchInvitation`.
    """
    if passcode:
        _check_passcode(passcode)
    token = secrets.token_urlsafe(32)
    values: dict[str, object] = {
        "token_hash": _hash(token),
        "tries": 0,
        "expires": timezone.now() + VALID_FOR,
        "state": Invitation.State.PENDING,
    }
    if passcode is not None:
        values["passcode"] = make_password(passcode) if passcode else ""
    open_states = [Invitation.State.PENDING, Invitation.State.LOCKED]
    with transaction.atomic():
        lock(invitation.record)
        _require_custodian(invitation.record, account)
        _check_day(invitation.record)
        if Invitation.objects.filter(pk=invitation.pk, state__in=open_states).update(**values) != 1:
            raise NoSuchInvitation("the invitation was answered or withdrawn")
        trail.record("invitation.resent", actor=account, record=invitation.record_id, subject=invitation.pk)
    invitation.refresh_from_db()
    return token


def withdraw(invitation: Invitation, account: Account) -> None:
    """Take an invitation back that was not answered. Raises `SharingRefused`, `NoSuchInvitation`."""
    with transaction.atomic():
        lock(invitation.record)
        _require_custodian(invitation.record, account)
        _move(invitation, Invitation.State.WITHDRAWN)
        action = "invitation.withdrawn"
        trail.record(action, actor=account, record=invitation.record_id, subject=invitation.pk)


# --- answering ------------------------------------------------------------------------------------------


def find_invitation(token: str) -> Invitation:
    """The invitation behind a link, while it can be answered. Raises `NoSuchInvitation`, `TooManyTries`."""
    found = (
        Invitation.objects.select_related("record__holder", "inviter").filter(token_hash=_hash(token)).first()
    )
    if found is not None and found.state == Invitation.State.LOCKED:
        raise TooManyTries("too many wrong passcodes")
    now = timezone.now()
    if found is None or found.state != Invitation.State.PENDING or found.expires <= now:
        raise NoSuchInvitation("there is no such invitation")
    if found.access_expires is not None and found.access_expires <= now:
        raise NoSuchInvitation("the access that was offered is over")
    custodians = _custodians(found.record)
    if not custodians.filter(account=found.inviter, account__is_active=True).exists():
        raise NoSuchInvitation("the inviter is no custodian any more")
    return found


def accept(token: str, account: Account, passcode: str = "") -> Grant:
    """Take an invitation up; returns the grant, which never is less than what the person had.

    Raises `NoSuchInvitation`, `WrongPasscode`, `TooManyTries`, `OtherMailbox`. A wrong passcode counts at
    once.
    """
    invitation = find_invitation(token)
    if not invitation.passcode and not proofs.has(account, invitation.email_hash):
        # Mails are forwarded, and read by others: the link alone says nothing of who has it.
        raise OtherMailbox("the account does not read the invited mailbox")
    if invitation.passcode:
        _spend_try(invitation, account)
        if not check_password(passcode.strip(), invitation.passcode):
            raise _wrong(invitation)
    with transaction.atomic():
        lock(invitation.record)
        # Since it was read its inviter may have lost the record, or a new link may have made this one void.
        invitation = find_invitation(token)
        _move(invitation, Invitation.State.ACTIVE)
        grant = _grant(invitation, account)
        trail.record(
            "invitation.accepted",
            actor=account,
            record=invitation.record_id,
            subject=invitation.pk,
            right=grant.right,
        )
    return grant


def reject(token: str, account: Account | None = None) -> None:
    """Decline an invitation; needs no passcode. Raises `NoSuchInvitation`, `TooManyTries`."""
    invitation = find_invitation(token)
    with transaction.atomic():
        _move(invitation, Invitation.State.REJECTED)
        action = "invitation.rejected"
        trail.record(action, actor=account, record=invitation.record_id, subject=invitation.pk)


def _check_day(record: Record) -> None:
    """Raises `SharingRefused` when a record has sent as many invitations as it may in a day."""
    since = timezone.now() - timedelta(days=1)
    sent = trail.history(record).filter(action__in=("invitation.created", "invitation.resent"), at__gt=since)
    if sent.count() >= MOST_A_DAY:
        raise SharingRefused(f"{MOST_A_DAY} invitations were sent today. Go on tomorrow.")


def _spend_try(invitation: Invitation, account: Account) -> None:
    """Count the try before it is made, so that parallel guesses get no more of them."""
    here = Invitation.objects.filter(
        pk=invitation.pk, state=Invitation.State.PENDING, tries__lt=MOST_PASSCODE_TRIES
    )
    if here.update(tries=F("tries") + 1) != 1:
        raise TooManyTries("too many wrong passcodes")
    trail.record("invitation.tried", actor=account, record=invitation.record_id, subject=invitation.pk)


def _wrong(invitation: Invitation) -> Exception:
    invitation.refresh_from_db(fields=["tries"])
    left = MOST_PASSCODE_TRIES - invitation.tries
    if left > 0:
        return WrongPasscode(left)
    pending = Invitation.objects.filter(pk=invitation.pk, state=Invitation.State.PENDING)
    pending.update(state=Invitation.State.LOCKED, decided=timezone.now())
    return TooManyTries("too many wrong passcodes")


def _grant(invitation: Invitation, account: Account) -> Grant:
    present = Grant.objects.filter(record=invitation.record_id, account=account).first()
    offered = {
        "right": invitation.right,
        "kinds": invitation.kinds,
        "expires": invitation.access_expires,
    }
    if present is None:
        return Grant.objects.create(
            record=invitation.record,
            account=account,
            relationship=invitation.relationship,
            notify=invitation.right == Right.CUSTODIAN,
            **offered,
        )
    over = present.expires is not None and present.expires <= timezone.now()
    if over or invitation.right > present.right:
        Grant.objects.filter(pk=present.pk).update(**offered)
        present.refresh_from_db()
    return present


# --- grants ---------------------------------------------------------------------------------------------


def change_grant(
    grant: Grant,
    account: Account,
    right: Right,
    *,
    kinds: list[str] | None = None,
    access_expires: datetime | None = None,
) -> None:
    """Give a person another level, other kinds, another end. Raises `SharingRefused`, `LastCustodian`."""
    _check_offer(right, kinds, access_expires, "", "")
    with transaction.atomic():
        lock(grant.record)
        _require_custodian(grant.record, account)
        if right != Right.CUSTODIAN:
            _keep_custodian(grant)
        values = {"right": right, "kinds": kinds, "expires": access_expires}
        Grant.objects.filter(pk=grant.pk).update(**values)
        trail.record(
            "grant.changed", actor=account, record=grant.record_id, subject=grant.account_id, right=right
        )
    grant.refresh_from_db()


def remove_grant(grant: Grant, account: Account) -> None:
    """Take a person's access away; everybody may take away their own. Raises as `change_grant`."""
    with transaction.atomic():
        lock(grant.record)
        if grant.account_id != account.pk:
            _require_custodian(grant.record, account)
        _keep_custodian(grant)
        Grant.objects.filter(pk=grant.pk).delete()
        trail.record("grant.removed", actor=account, record=grant.record_id, subject=grant.account_id)


def _keep_custodian(grant: Grant) -> None:
    """Raises `LastCustodian` when nobody but the person of `grant` looks after the record."""
    others = _custodians(grant.record).exclude(pk=grant.pk)
    ours = Grant.objects.filter(pk=grant.pk, right=Right.CUSTODIAN).exists()
    if ours and not others.filter(account__is_active=True).exists():
        raise LastCustodian("You are the only custodian. Make somebody else a custodian first.")


def _custodians(record: Record) -> QuerySet[Grant]:
    return Grant.objects.filter(record=record, right=Right.CUSTODIAN)


def _require_custodian(record: Record, account: Account) -> None:
    if not _custodians(record).filter(account=account).exists():
        raise SharingRefused("Only custodians share a record.")


def _check_offer(
    right: int, kinds: list[str] | None, access_expires: datetime | None, passcode: str, text: str
) -> None:
    if right not in Right.values:
        raise SharingRefused("There is no such level.")
    if right == Right.CUSTODIAN and (kinds is not None or access_expires is not None):
        raise SharingRefused("A custodian sees everything, without an end.")
    if access_expires is not None and access_expires <= timezone.now():
        raise SharingRefused("The end of the access is past.")
    if len(text) > MOST_TEXT:
        raise SharingRefused(f"The text is too long: {MOST_TEXT} characters at most.")
    if passcode:
        _check_passcode(passcode)


def _check_passcode(passcode: str) -> None:
    if not _PASSCODE.fullmatch(passcode):
        raise SharingRefused("A passcode has 6 to 10 letters or digits.")


def _move(invitation: Invitation, state: str) -> None:
    pending = Invitation.objects.filter(pk=invitation.pk, state=Invitation.State.PENDING)
    if pending.update(state=state, decided=timezone.now()) != 1:
        raise NoSuchInvitation("the invitation was answered or withdrawn")
    invitation.state = state


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
