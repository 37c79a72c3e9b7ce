"""Picking a parcel up: the question, the mailbox, and the claim.

The question is not an authenticator: it signs nobody in and never replaces the mailbox proof. It is
a check on top of link and signed-in account, and it is part of the key that opens the parcel.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store.blobs import open_blob, rewrap_all
from healthvault.store.errors import Busy
from healthvault.store.faults import fault
from healthvault.store.lookup import lookup_hash
from healthvault.store.models import Blob, HolderKey
from healthvault.vault.errors import VaultError
from healthvault.vault.errors import WrongAnswer as DoesNotOpen
from records import filing, proofs, quota
from records.access import visible_to, whole_records_of
from records.intake import IncomingMessage
from records.models import Account, Message, Record, Right

from . import limits, notify, parcels, standing
from .models import AnswerAttempt, InboundMail, Parcel, PickupCode
from .newuser import contact_matches, normalise_answer

log = logging.getLogger(__name__)

ANSWERS_PER_CONTACT_A_DAY = 10
ANSWERS_PER_ACCOUNT_A_DAY = 20
ANSWERS_PER_NETWORK_A_DAY = 50
ANSWERS_IN_TEN_MINUTES = 100
CODE_LIFE = timedelta(minutes=10)
CODE_TRIES = 5
CODES_A_DAY = 5
CODES_PER_CONTACT_A_DAY = 10
#: How a wrong answer stands in a parcel's tries; one being compared has the time of its start.
WRONG = "wrong"
IN_FLIGHT = timedelta(minutes=1)


class PickupError(Exception):
    """A pickup cannot go on; `code` is stable and `words` is for the person."""

    code = "pickup"
    words = "This cannot be done now."


class NotWaiting(PickupError):
    code = "not_waiting"
    words = "This is no longer waiting to be picked up."


class NothingEntered(PickupError):
    code = "nothing_entered"
    words = "Type your answer first."


class WrongAnswer(PickupError):
    """The answer (or typed contact address) is wrong; `tries_left` more may be tried."""

    code = "wrong_answer"

    def __init__(self, tries_left: int, *, repeated: bool = False) -> None:
        super().__init__(tries_left)
        self.tries_left = tries_left
        self.repeated = repeated

    @property
    def words(self) -> str:  # type: ignore[override]
        left = f"You have {self.tries_left} {'try' if self.tries_left == 1 else 'tries'} left."
        if self.repeated:
            return f"You gave this answer before, and it is not right. {left}"
        return f"That is not right. {left}"


class Locked(PickupError):
    code = "locked"
    words = "There were too many wrong answers. Ask the sender to send it again."


class TooManyTries(PickupError):
    """Too many wrong answers from one account, network or everybody; waiting helps."""

    code = "too_many_tries"
    words = "There were too many wrong answers from here. Please try again later."
    retry_after_s = 30


class WrongCode(PickupError):
    code = "wrong_code"
    words = "This code is not right, or it is too old. You can ask for a new one."


class TooManyCodes(PickupError):
    code = "too_many_codes"
    words = "Too many codes were asked for today. Please try again tomorrow."


class NotYourRecord(PickupError):
    code = "not_your_record"
    words = "You cannot add to this record."


class NoRoom(PickupError):
    """The chosen record has no room for it; `words` names the limit."""

    code = "record_full"

    def __init__(self, full: quota.RecordFull) -> None:
        super().__init__(str(full))
        self.full = full

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"{self.full}, or choose another record. Nothing is lost: your message keeps waiting here."


# --- which parcel ------------------------------------------------------------------------------------------


def by_token(token: str) -> Parcel | None:
    """The parcel a link leads to; None for a link that is unknown, replaced or dead alike."""
    return Parcel.objects.filter(token_hash=parcels.hash_token(token)).first()


def claimed_by_token(token: str) -> Parcel | None:
    """The parcel that was claimed by this link, for its claimer to find again."""
    return Parcel.objects.filter(claimed_token_hash=parcels.hash_token(token)).first()


def waiting_for(account: Account) -> list[Parcel]:
    """Parcels waiting for a mailbox this account has shown to read, or for a record it may add to."""
    mine = Parcel.objects.filter(contact_hash__in=proofs.hashes_of(account))
    my_records = Parcel.objects.filter(for_record__in=visible_to(account, Right.CUSTODIAN))
    waiting = (mine | my_records).filter(state=Parcel.State.WAITING, expires__gt=timezone.now())
    return list(waiting.select_related("organization").order_by("created").distinct())


def others_for_same_contact(parcel: Parcel) -> list[Parcel]:
    """The other parcels that wait for the same contact address."""
    same = Parcel.objects.filter(
        contact_hash=parcel.contact_hash, state=Parcel.State.WAITING, expires__gt=timezone.now()
    )
    return list(same.exclude(pk=parcel.pk).order_by("created"))


# --- the question -------------------------------------------------------------------------------------------


def answer(
    parcel: Parcel, account: Account | None, text: str, network: str, *, request: HttpRequest | None = None
) -> bytes:
    """Try `text` on the question of `parcel`; returns the opened holder key.

    A try is counted before the comparison, so that parallel guesses win nothing; an empty answer
    and a wrong one given before cost none. Without `account` it is the sender who tries, over the partner
    API. `request` tells the audit trail from where. Raises NothingEntered, WrongAnswer, Locked,
    TooManyTries, NotWaiting.
    """
    given = normalise_answer(text)
    if not given:
        raise NothingEntered
    who = Trier(account, network, request)
    return _attempt(parcel, who, given, lambda: _holder(parcel).unwrap(answer=given))


def contact(
    parcel: Parcel, account: Account, typed: str, network: str, *, request: HttpRequest | None = None
) -> bytes:
    """Compare a typed contact address with that of a parcel without question; returns its key.

    Errors as of `answer`.
    """
    if not typed.strip():
        raise NothingEntered

    def compare() -> bytes:
        if not contact_matches(typed, parcel.contact):
            raise DoesNotOpen("another address")
        return _holder(parcel).unwrap()

    return _attempt(parcel, Trier(account, network, request), typed.strip().casefold(), compare)


@dataclass(frozen=True, slots=True)
class Trier:
    """Who tries, and from where."""

    account: Account | None
    network: str
    request: HttpRequest | None = None

    def note(self, parcel: Parcel, outcome: str) -> None:
        """A line in the audit trail."""
        actor = self.account or f"organization {parcel.organization_id}"
        trail.record("parcel.try", actor=actor, subject=parcel.pk, outcome=outcome, request=self.request)


def _holder(parcel: Parcel) -> HolderKey:
    if parcel.holder is None:
        raise NotWaiting
    return parcel.holder


def _attempt(parcel: Parcel, who: Trier, given: str, compare: Callable[[], bytes]) -> bytes:
    mark = lookup_hash("answer", f"{parcel.pk}:{given}")
    try:
        attempt = _reserve(parcel, who, mark)
    except PickupError as refused:
        who.note(parcel, "repeated" if isinstance(refused, WrongAnswer) else refused.code)
        raise
    if isinstance(attempt, Locked):
        raise attempt
    try:
        key = compare()
    except DoesNotOpen:
        raise _settle_wrong(parcel, who, mark) from None
    except VaultError as error:
        if attempt is not None:
            # Nothing was compared: the try is given back.
            _settle_right(parcel, who, mark, attempt, outcome=error.code)
        if isinstance(error, Busy):
            raise TooManyTries from error
        raise
    finally:
        fault("claim.checked")
    _settle_right(parcel, who, mark, attempt)
    return key


def _reserve(parcel: Parcel, who: Trier, mark: str) -> AnswerAttempt | Locked | None:
    """Count a try before it is compared; the same answer in flight or seen before costs none.

    One whose process died in the middle was counted, and nobody knows whether it was right: given again
    it is compared again. `Locked` is returned, not raised, when this call itself locks the parcel:
    raising would undo it.
    """
    now = timezone.now()
    with transaction.atomic():
        row = Parcel.objects.select_for_update().get(pk=parcel.pk)
        _require_waiting(row)
        seen = row.wrong_answers or {}
        if seen.get(mark) == WRONG:
            raise WrongAnswer(row.tries_left, repeated=True)
        if mark in seen:
            # Anew in flight, so that nobody locks the parcel while it is compared.
            row.wrong_answers = {**seen, mark: now.isoformat()}
            row.save(update_fields=["wrong_answers"])
            return None
        _check_limits(row, who)
        if row.tries_left == 0:
            if _all_wrong(seen, now):
                _lock(row)
                row.save(update_fields=["state", "decided"])
                who.note(row, Locked.code)
                return Locked()
            # Every try is in flight; which of them was right is about to be known.
            raise TooManyTries
        row.wrong_answers = {**seen, mark: now.isoformat()}
        row.tries_left -= 1
        row.save(update_fields=["wrong_answers", "tries_left"])
        return AnswerAttempt.objects.create(
            parcel=row, contact_hash=row.contact_hash, account=who.account, network=who.network
        )


def _all_wrong(seen: dict[str, str], now: datetime) -> bool:
    """Whether no try is in flight; one whose process died in the middle stands for wrong after a minute."""
    limit = (now - IN_FLIGHT).isoformat()
    return all(value == WRONG or value < limit for value in seen.values())


def _require_waiting(row: Parcel) -> None:
    state = row.state_now
    if state == Parcel.State.LOCKED:
        raise Locked
    if state != Parcel.State.WAITING:
        raise NotWaiting


def _check_limits(row: Parcel, who: Trier) -> None:
    """Raise TooManyTries when a limit over all parcels is reached; these are counted one at a time."""
    limits.one_at_a_time(limits.ANSWERS)
    now = timezone.now()
    today = AnswerAttempt.objects.filter(created__gt=now - timedelta(days=1))
    if today.filter(created__gt=now - timedelta(minutes=10)).count() >= ANSWERS_IN_TEN_MINUTES:
        log.error("the brake on answers is on: too many wrong ones", extra={"code": "answer_brake"})
        raise TooManyTries
    if (
        today.filter(contact_hash=row.contact_hash).count() >= ANSWERS_PER_CONTACT_A_DAY
        or (who.account and today.filter(account=who.account).count() >= ANSWERS_PER_ACCOUNT_A_DAY)
        or today.filter(network=who.network).count() >= ANSWERS_PER_NETWORK_A_DAY
    ):
        raise TooManyTries


def _settle_wrong(parcel: Parcel, who: Trier, mark: str) -> PickupError:
    """What a wrong answer leads to; the parcel is locked when it was the last try."""
    with transaction.atomic():
        row = Parcel.objects.select_for_update().get(pk=parcel.pk)
        if row.state_now != Parcel.State.WAITING:
            return Locked() if row.state == Parcel.State.LOCKED else NotWaiting()
        seen = row.wrong_answers or {}
        if mark not in seen:
            # The question was changed meanwhile: this answer may be the right one to the new.
            return NotWaiting()
        row.wrong_answers = {**seen, mark: WRONG}
        out_of_tries = row.tries_left == 0 and _all_wrong(row.wrong_answers, timezone.now())
        if out_of_tries:
            _lock(row)
        row.save(update_fields=["wrong_answers", "state", "decided"])
        who.note(row, Locked.code if out_of_tries else WRONG)
    return Locked() if out_of_tries else WrongAnswer(row.tries_left)


def _lock(row: Parcel) -> None:
    row.state = Parcel.State.LOCKED
    row.decided = timezone.now()
    parcels.event(row, "locked")


def _settle_right(
    parcel: Parcel, who: Trier, mark: str, attempt: AnswerAttempt | None, *, outcome: str = "right"
) -> None:
    """A right answer costs no try, nor does one that could not be compared."""
    with transaction.atomic():
        row = Parcel.objects.select_for_update().get(pk=parcel.pk)
        seen = dict(row.wrong_answers or {})
        if seen.pop(mark, None) is not None:
            row.wrong_answers = seen
            row.tries_left = min(row.tries_left + 1, settings.ANSWER_TRIES)
            row.save(update_fields=["wrong_answers", "tries_left"])
        if attempt is not None:
            attempt.delete()
        who.note(row, outcome)


# --- the mailbox --------------------------------------------------------------------------------------------


def needs_code(parcel: Parcel, account: Account) -> bool:
    """Whether the mailed code is still to be asked: no question, and no other proof of the mailbox."""
    return not parcel.has_question and not proofs.has(account, parcel.contact_hash)


def send_code(parcel: Parcel, account: Account) -> None:
    """Mail a new 8-digit code to the parcel's contact address; older codes stop working.

    Raises TooManyCodes after five in a day, or ten to that address for whatever accounts.
    """
    code = f"{secrets.randbelow(10**8):08d}"
    with transaction.atomic():
        limits.one_at_a_time(limits.contact(parcel.contact_hash))
        theirs = PickupCode.objects.filter(contact_hash=parcel.contact_hash)
        mine = theirs.filter(account=account)
        today = timezone.now() - timedelta(days=1)
        if (
            mine.filter(created__gt=today).count() >= CODES_A_DAY
            or theirs.filter(created__gt=today).count() >= CODES_PER_CONTACT_A_DAY
        ):
            raise TooManyCodes
        mine.filter(used__isnull=True).update(used=timezone.now())
        made = PickupCode(contact_hash=parcel.contact_hash, account=account, tries_left=CODE_TRIES)
        made.code_hash = _code_hash(made, code)
        made.save(force_insert=True)
        notify.pickup_code(parcel.contact, code)


def check_code(parcel: Parcel, account: Account, typed: str) -> None:
    """Accept the mailed code: the account has then shown to read that mailbox. Raises WrongCode."""
    digits = "".join(character for character in typed if character.isdigit())
    with transaction.atomic():
        row = (
            PickupCode.objects.select_for_update()
            .filter(
                contact_hash=parcel.contact_hash,
                account=account,
                used__isnull=True,
                tries_left__gt=0,
                created__gt=timezone.now() - CODE_LIFE,
            )
            .order_by("-created")
            .first()
        )
        right = row is not None and hmac.compare_digest(row.code_hash, _code_hash(row, digits))
        if row is not None:
            row.tries_left -= 1
            row.used = timezone.now() if right else None
            row.save(update_fields=["tries_left", "used"])
        if right:
            proofs.add(account, parcel.contact)
    if not right:
        raise WrongCode


def _code_hash(row: PickupCode, code: str) -> str:
    return lookup_hash("pickup-code", f"{row.pk}:{code}")


# --- what is in it, and the claim ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preview:
    """What a person sees before choosing the record."""

    content: IncomingMessage

    @property
    def patients(self) -> list[str]:
        """The people its documents name."""
        names = [document.patient for part in self.content.parts for document in part.documents]
        return list(dict.fromkeys(name for name in names if name))


def preview(parcel: Parcel, key: bytes) -> Preview:
    """Open the description of a parcel's content with its holder key. Raises NotWaiting."""
    if parcel.content is None:
        raise NotWaiting
    return Preview(IncomingMessage.from_json(json.loads(open_blob(parcel.content, holder_key=key))))


def claim(
    parcel: Parcel, account: Account, record: Record, key: bytes, *, request: HttpRequest | None = None
) -> Message:
    """Move the parcel's content into `record`: one transaction, exactly one winner.

    The blobs are re-wrapped under the record's key and stay where they are; reading documents
    follows by the worker. `request` tells the audit trail from where. Raises NotWaiting, NotYourRecord,
    NoRoom.
    """
    if not _may_claim(parcel, account, record):
        raise NotYourRecord
    if standing.is_suspended(parcel):
        raise NotWaiting
    content, holder = preview(parcel, key).content, _holder(parcel)
    record_key = record.holder.unwrap()
    with transaction.atomic():
        now = timezone.now()
        won = Parcel.objects.filter(
            pk=parcel.pk, state=Parcel.State.WAITING, expires__gt=now, holder=holder
        ).update(
            state=Parcel.State.CLAIMED,
            claimed_by=account,
            decided=now,
            claimed_token_hash=F("token_hash"),
            token_hash=None,
            content=None,
            holder=None,
        )
        # The row is ours now, so that nobody changes the question any more.
        as_asked = HolderKey.objects.filter(pk=holder.pk, answer_salt=holder.answer_salt)
        if not won or not as_asked.exists():
            raise NotWaiting
        try:
            quota.claim_room(record, content.blobs)
        except quota.RecordFull as full:
            raise NoRoom(full) from full
        blobs = Blob.objects.filter(pk__in=content.blobs)
        rewrap_all(blobs, key, record.holder, to_key=record_key)
        message = filing.file_message(record, content, patient_confirmed=True)
        Parcel.objects.filter(pk=parcel.pk).update(message=message)
        parcels.erase_secrets(parcel)
        parcels.drop_mails(parcel)
        if parcel.inbound_id is not None:
            InboundMail.objects.filter(pk=parcel.inbound_id).update(message=message)
        holder.delete()
        parcels.event(parcel, "claimed")
        trail.record("parcel.claimed", actor=account, record=record, subject=parcel.pk, request=request)
        fault("claim.filed")
    fault("claim.committed")
    return message


def _may_claim(parcel: Parcel, account: Account, record: Record) -> bool:
    """What waits in a record goes nowhere else, and only by its custodians."""
    right = Right.MODIFY
    if parcel.for_record_id is not None:
        if parcel.for_record_id != record.pk:
            return False
        right = Right.CUSTODIAN
    return whole_records_of(account, right).filter(pk=record.pk).exists()


def decline(parcel: Parcel, account: Account | None) -> bool:
    """ "This is not for me": the content is shredded and the sender learns it; False when it was over."""
    open_states = (Parcel.State.WAITING, Parcel.State.LOCKED)
    return parcels.close(parcel, Parcel.State.DECLINED, from_states=open_states)


def network_of(address: str) -> str:
    """The /24 or /64 network of a client address, for counting."""
    import ipaddress

    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    prefix = 24 if ip.version == 4 else 64
    return str(ipaddress.ip_network(f"{ip}/{prefix}", strict=False))


def session_contact(request: HttpRequest) -> str | None:
    """The contact address of the parcel this session came for by its link, while it still waits."""
    pending = request.session.get("pickup")
    if not pending:
        return None
    parcel = Parcel.objects.filter(pk=pending["parcel"], token_hash=pending["token"]).first()
    if parcel is None or parcel.state_now != Parcel.State.WAITING or parcel.for_record_id:
        return None
    return parcel.contact
