"""The way of one outgoing copy, step by step in plain words, as `mail_steps` tells that of an incoming one.

Drawn from the row alone: its state, code and times, which hold nothing of its content.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from .models import OutboundMail

Outcome = Literal["passed", "failed", "open"]
State = OutboundMail.State

WRITTEN, TRUSTED, SEALED, HANDED, OPENED, DELIVERED = range(6)

_TITLES = {
    WRITTEN: "Written and queued",
    TRUSTED: "A certificate of the recipient, found and trusted",
    SEALED: "Signed and encrypted",
    HANDED: "Handed to the recipient's mail server",
    OPENED: "Opened by the recipient's system (processed)",
    DELIVERED: "Delivered to the recipient (dispatched)",
}

#: At which step a code stops a copy. Everything else about certificates stops it at the second.
_AT = {
    "no_identity": SEALED,
    "keys_unavailable": SEALED,
    "unsafe_field": SEALED,
    "content_gone": SEALED,
    "no_such_domain": HANDED,
    "null_mx": HANDED,
    "mail_loop": HANDED,
    "host_unreachable": HANDED,
    "host_timed_out": HANDED,
    "host_refused": HANDED,
    "deferred": HANDED,
    "not_delivered": HANDED,
    "sender_rejected": HANDED,
    "recipient_rejected": HANDED,
    "message_rejected": HANDED,
    "too_long_queued": HANDED,
    "not_sent": HANDED,
    "not_processed": OPENED,
    "not_dispatched": DELIVERED,
}
#: These stop a copy wherever it was: what is sealed already was on its way to the mail server.
_ANYWHERE = frozenset({"dns_failure", "worker_killed", "unforeseen", "waits_for_storage"})
_REACHED = {
    State.SENT: OPENED,
    State.PROCESSED: DELIVERED,
    State.DISPATCHED: DELIVERED + 1,
    State.DISPLAYED: DELIVERED + 1,
}
_WORDS: dict[Outcome, str] = {"passed": "Passed", "failed": "Failed here", "open": "Not reached"}


@dataclass(frozen=True)
class Step:
    """One step: its outcome in a word, and what happened. What the code means the page tells once."""

    title: str
    outcome: Outcome
    word: str
    detail: str = ""


def steps_of(copy: OutboundMail, events: Collection[str] = ()) -> list[Step]:
    """Every step of `copy`. `events`: the names of its events.

    Only a person's message waits for confirmations; notifications and notices end at the mail server.
    """
    last = DELIVERED if copy.is_personal else HANDED
    stopped = _stopped_at(copy, events)
    steps = [_step(number, copy, stopped) for number in _TITLES if number <= last]
    if "local" in events and stopped > HANDED:
        steps[HANDED] = replace(steps[HANDED], detail="Within this service, without a mail server between.")
    return steps


def _stopped_at(copy: OutboundMail, events: Collection[str]) -> int:
    """The step that was not passed; behind the last one when all were."""
    if copy.state in _REACHED:
        return _REACHED[State(copy.state)]
    if copy.code == "reported_failed":
        return DELIVERED if "processed" in events else OPENED
    if not copy.code:
        return HANDED if copy.sha256 else TRUSTED
    if copy.code in _ANYWHERE:
        return HANDED if copy.sha256 else TRUSTED
    return _AT.get(copy.code, TRUSTED)


def _step(number: int, copy: OutboundMail, stopped: int) -> Step:
    title = _TITLES[number]
    if number < stopped:
        return Step(title, "passed", _WORDS["passed"], _passed(number, copy))
    if number > stopped:
        return Step(title, "open", _WORDS["open"])
    if copy.is_lost:
        return Step(title, "failed", _WORDS["failed"], detail_of(copy))
    if copy.state in (State.QUEUED, State.SENDING):
        word = "Being tried" if copy.state == State.SENDING else "Tried again" if copy.code else "Next"
        return Step(title, "open", word, detail_of(copy))
    return Step(title, "open", "Awaited", f"Their confirmation is awaited until {_time(copy)}.")


def _passed(number: int, copy: OutboundMail) -> str:
    if number == SEALED and copy.size:
        return f"{copy.size:,} bytes."
    if number == HANDED and copy.sent:
        return f"On {copy.sent:%d %B %Y at %H:%M:%S} UTC, at try {copy.attempts}."
    return ""


def _time(copy: OutboundMail) -> str:
    return f"{copy.expires:%d %B %Y, %H:%M} UTC"


def detail_of(copy: OutboundMail) -> str:
    """What was noted beside the code. What another system reported is for who wrote the message alone."""
    if not copy.detail or copy.code == "reported_failed":
        return ""
    return f"{copy.detail[:1].upper()}{copy.detail[1:].rstrip('.')}."
