"""Two states of one item side by side, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import particulars
from .wording import date_in_words

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One fact in two states; an empty one is not said."""

    label: str
    before: str
    after: str

    @property
    def differs(self) -> bool:
        return self.before != self.after


def compare(kind: str, before: Json | None, after: Json | None) -> list[Row]:
    """Every fact that either state has, in the order pages show facts; None is a state that says nothing."""
    old, new = facts_in_words(kind, before or {}), facts_in_words(kind, after or {})
    labels = [*new, *(label for label in old if label not in new)]
    return [Row(label, old.get(label, ""), new.get(label, "")) for label in labels]


def changes(kind: str, before: Json | None, after: Json | None) -> list[Row]:
    """The facts in which two states differ."""
    return [row for row in compare(kind, before, after) if row.differs]


def facts_in_words(kind: str, content: Json) -> dict[str, str]:
    """What an item says, by label, as its page shows it."""
    if not content:
        return {}
    start = date_in_words(content.get("start")) or str(content.get("start_text") or "")
    end = date_in_words(content.get("end")) if content.get("end") != content.get("start") else ""
    found = {
        "Name": particulars.name(kind, content),
        "Value": particulars.value(content),
        particulars.when_label(kind): start,
        particulars.when_label(kind, end=True): end,
        "Standing": particulars.status(kind, content),
    }
    for line in particulars.lines(kind, content):
        label = line.label if line.label not in found or not found[line.label] else f"{line.label} (more)"
        found[label] = "; ".join(line.values)
    found["Your note"] = str(content.get("note") or "")
    return {label: words for label, words in found.items() if words}
