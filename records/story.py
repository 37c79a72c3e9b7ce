"""The history of one item as its page tells it: what documents said, and what people did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .comparing import Row, changes
from .history import Step, steps
from .models import Document, Entry, EntrySource, EntryVersion

_BY_DOCUMENTS = {
    EntrySource.State.STANDING: "A document said this",
    EntrySource.State.PROPOSED: "A document says this, and waits for a review",
    EntrySource.State.IGNORED: "A document said something else, which was not taken over",
    EntrySource.State.WITHDRAWN: "A document said this, and was taken back",
}
_TONES = {
    EntryVersion.Action.ADDED: "is-good",
    EntryVersion.Action.RESTORED: "is-good",
    EntryVersion.Action.REJECTED: "is-bad",
    EntryVersion.Action.DELETED: "is-bad",
    EntryVersion.Action.REMOVED: "is-bad",
}


@dataclass(frozen=True, slots=True)
class Chapter:
    """One line of the story: when, what in words, who (a person's name, or empty), the `document` that said
    it, and in which facts it differs from the line before."""

    at: datetime
    what: str
    who: str
    tone: str
    document: Document | None
    rows: list[Row]


def story_of(entry: Entry) -> list[Chapter]:
    """Every step of an item, the newest first."""
    told: list[Chapter] = []
    before: dict[str, Any] | None = None
    for step in steps(entry):
        content = step.content or None
        rows = changes(entry.kind, before, content) if content and before else []
        told.append(_chapter(step, rows))
        before = content or before
    return told[::-1]


def _chapter(step: Step, rows: list[Row]) -> Chapter:
    if step.proof is not None:
        what = _BY_DOCUMENTS[EntrySource.State(step.action)]
        return Chapter(step.at, what, "", "", step.proof.document, rows)
    action = EntryVersion.Action(step.action)
    who = step.account or "somebody whose account is gone"
    return Chapter(step.at, str(action.label), who, _TONES.get(action, ""), None, rows)
