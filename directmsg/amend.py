"""What a sender may still change of a parcel that was not picked up: take it back, send its mail again,
correct the contact address, ask another question."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from healthvault.outbox.models import Notification
from healthvault.store.models import HolderKey
from records.proofs import mailbox_hash

from . import limits, notify, parcels, pickup
from .models import Parcel
from .newuser import normalise_answer

MAILS_A_DAY = 5
OPEN = (Parcel.State.WAITING, Parcel.State.LOCKED)


class CannotAmend(Exception):
    """A change that is refused; `code` is stable, and the text names the reason, never the content."""

    code = "cannot_amend"
    retry_after_s: int | None = None


class NotWaiting(CannotAmend):
    """It was picked up, or it is over."""

    code = "not_waiting"


class LockedForGood(CannotAmend):
    """It was reset once already, and locked again."""

    code = "locked"


class LockedForNow(CannotAmend):
    """There were too many wrong answers, people's or the sender's own."""

    code = "locked"


class TooSoon(CannotAmend):
    """The contact was mailed a moment ago, or often today."""

    code = "too_soon"

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class TooManyWrong(TooSoon):
    """Too many wrong answers came from this sender, or from everybody."""

    code = "too_many_tries"


class SealedUnderAnswer(CannotAmend):
    """The content opens only with the answer as it is, and that was not given."""

    code = "sealed_under_answer"


def withdraw(parcel: Parcel) -> None:
    """Take a parcel back: its content is shredded and its link dies.

    To withdraw twice is no error. Raises NotWaiting when it was picked up or is over otherwise.
    """
    if parcels.close(parcel, Parcel.State.WITHDRAWN, from_states=OPEN):
        return
    if Parcel.objects.get(pk=parcel.pk).state != Parcel.State.WITHDRAWN:
        raise NotWaiting("It was picked up, or it is over.")


def send_again(parcel: Parcel) -> None:
    """Mail a new link; a locked parcel gets new tries, once.

    Raises NotWaiting, LockedForGood, TooSoon (15 minutes between two mails, five mails a day).
    """
    with transaction.atomic():
        row = _open_row(parcel)
        _require_quiet(row)
        if row.state == Parcel.State.LOCKED:
            _reset(row)
        parcels.event(row, "resent")
        parcels.new_link(row)


@dataclass(frozen=True, slots=True)
class NewQuestion:
    """A question with the parcel's key put under its answer, ready to be written."""

    question: str
    before: bytes
    wrapped: bytes
    salt: bytes


def prepare_question(
    parcel: Parcel,
    question: str,
    answer: str,
    current_answer: str | None,
    *,
    request: HttpRequest | None = None,
) -> NewQuestion:
    """Put the key of a parcel under the answer to another question; nothing is written yet.

    A parcel that has a question opens only with `current_answer`; a wrong one counts as a person's does,
    and the third locks the parcel. Takes the time of two answers: not for use inside a transaction.
    `request` tells the audit trail from where. Raises NotWaiting, SealedUnderAnswer, LockedForNow,
    TooManyWrong.
    """
    holder = parcel.holder
    if holder is None or parcel.state_now not in OPEN:
        raise NotWaiting("It was picked up, or it is over.")
    before = bytes(holder.wrapped)
    # An instance of its own, not saved: the row changes in the transaction that changes the question.
    changed = HolderKey(pk=holder.pk, kind=holder.kind, wrapped=before, answer_salt=holder.answer_salt)
    _open(parcel, changed, current_answer, request)
    changed.seal_under_answer(normalise_answer(answer))
    assert changed.answer_salt is not None
    return NewQuestion(question, before, bytes(changed.wrapped), bytes(changed.answer_salt))


def change(parcel: Parcel, email: str | None = None, question: NewQuestion | None = None) -> None:
    """Another question, another contact address, or both; all of it or nothing.

    With a question all tries are given anew. `email` is as `newuser.parse_contact` gives it; the parcel
    is announced to it, and links sent before die. Raises NotWaiting, LockedForGood, SealedUnderAnswer,
    `parcels.TooManyParcels`.
    """
    with transaction.atomic():
        row = _open_row(parcel)
        if question is not None:
            _ask(row, question)
        if email is not None and email != row.contact_email:
            _announce_to(row, email)


def _ask(row: Parcel, new: NewQuestion) -> None:
    assert row.holder_id is not None
    mine = HolderKey.objects.filter(pk=row.holder_id, wrapped=new.before)
    if not mine.update(wrapped=new.wrapped, answer_salt=new.salt):
        raise SealedUnderAnswer("The answer was changed meanwhile.")
    if row.state == Parcel.State.LOCKED:
        _reset(row)
    row.question, row.wrong_answers, row.tries_left = new.question, {}, settings.ANSWER_TRIES
    row.save(update_fields=["question", "wrong_answers", "tries_left"])
    parcels.event(row, "question_changed")


def _announce_to(row: Parcel, email: str) -> None:
    if row.state != Parcel.State.WAITING:
        raise NotWaiting("It is locked; send it again first.")
    contact_hash = mailbox_hash(email)
    limits.one_at_a_time(limits.contact(contact_hash))
    parcels.require_room(contact_hash, besides=row)
    row.contact_email, row.contact_hash = email, contact_hash
    row.notified = row.bounced = None
    row.save(update_fields=["contact_email", "contact_hash", "notified", "bounced"])
    parcels.event(row, "contact_corrected")
    parcels.new_link(row)


def _open(parcel: Parcel, holder: HolderKey, current_answer: str | None, request: HttpRequest | None) -> None:
    """Unwrap the key in `holder`, with the answer where it is under one."""
    if holder.answer_salt is None:
        holder.unwrap()
        return
    who = f"organization {parcel.organization_id}"
    opening = Parcel(pk=parcel.pk, organization_id=parcel.organization_id, holder=holder)
    try:
        pickup.answer(opening, None, current_answer or "", who, request=request)
    except pickup.NothingEntered as error:
        told = "The content is sealed under the present answer: send it as current_answer."
        raise SealedUnderAnswer(told) from error
    except pickup.WrongAnswer as error:
        parcels.event(parcel, "current_answer_wrong")
        raise SealedUnderAnswer("current_answer is not the present answer.") from error
    except pickup.Locked as error:
        raise LockedForNow("There were too many wrong answers: send it again first.") from error
    except pickup.TooManyTries as error:
        raise TooManyWrong("There were too many wrong answers.", error.retry_after_s) from error
    except pickup.NotWaiting as error:
        raise NotWaiting("It was picked up, or it is over.") from error


def _open_row(parcel: Parcel) -> Parcel:
    """The row, locked, while its parcel can still be picked up or reset."""
    row = Parcel.objects.select_for_update(of=("self",)).select_related("inbound").get(pk=parcel.pk)
    if row.state_now not in OPEN:
        raise NotWaiting("It was picked up, or it is over.")
    return row


def _reset(row: Parcel) -> None:
    """Unlock, once. The answers known to be wrong stay known."""
    if row.was_reset:
        raise LockedForGood("It was reset once and locked again: send it anew.")
    row.state, row.decided, row.was_reset = Parcel.State.WAITING, None, True
    row.tries_left = settings.ANSWER_TRIES
    row.save(update_fields=["state", "decided", "was_reset", "tries_left"])
    parcels.event(row, "reset")


def _require_quiet(row: Parcel) -> None:
    now = timezone.now()
    mails = Notification.objects.filter(kind=notify.PARCEL, related_id=str(row.pk))
    if mails.filter(created__gt=now - notify.QUIET).exists():
        raise TooSoon("The contact was mailed a moment ago.", int(notify.QUIET.total_seconds()))
    if mails.filter(created__gt=now - timedelta(days=1)).count() >= MAILS_A_DAY:
        raise TooSoon("The contact was mailed often enough today.", 86_400)
