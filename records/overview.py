"""The record at a glance: its items by kind, the most important first, what holds before what is past."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils import timezone

from .facts import Fact, known, newest_first, open_facts
from .kinds import KIND_NAMES as KIND_NAMES
from .kinds import MEASURED, kind_name, place_of
from .measurements import Reading, readings
from .models import Entry, Record

#: How many items of a kind stand on the overview; the others are a click away.
SHOWN_AT_ONCE = 5


@dataclass(frozen=True, slots=True)
class Group:
    """The items of one kind: what holds, newest first, then what is past (`past` of them)."""

    kind: str
    name: str
    facts: list[Fact]
    past: int = 0

    @property
    def first(self) -> list[Fact]:
        """What stands on the overview: of kinds that pass, what is past only where nothing holds."""
        return self.facts[: min(SHOWN_AT_ONCE, len(self.facts) - self.past or SHOWN_AT_ONCE)]

    @property
    def readings(self) -> list[Reading]:
        """The newest measured values, blood pressures joined; empty for other kinds."""
        if self.kind not in MEASURED:
            return []
        # Enough for as many lines even when all of them are pairs.
        return readings(self.facts[: 2 * SHOWN_AT_ONCE])[:SHOWN_AT_ONCE]

    @property
    def more(self) -> str:
        """What the link to the whole list says; empty when everything stands here."""
        if self.kind in MEASURED:
            return f"All {len(self.facts)} values and charts"
        if len(self.first) == len(self.facts):
            return ""
        past = f", {self.past} of them past" if self.past else ""
        return f"All {len(self.facts)}{past}"


def groups(record: Record, entries: QuerySet[Entry]) -> list[Group]:
    """`entries`, which are items of `record`, by kind: one statement whatever their number."""
    return grouped(open_facts(record, entries), timezone.localdate().isoformat())


def grouped(facts: list[Fact], today: str) -> list[Group]:
    """Items by kind, in the order of kinds."""
    by_kind: dict[str, list[Fact]] = {}
    for fact in facts:
        by_kind.setdefault(fact.kind, []).append(fact)
    return [_group(kind, by_kind[kind], today) for kind in sorted(by_kind, key=place_of)]


def _group(kind: str, facts: list[Fact], today: str) -> Group:
    holding: list[Fact] = []
    past: list[Fact] = []
    for fact in newest_first(known(facts)):
        (past if fact.is_past(today) else holding).append(fact)
    return Group(kind, kind_name(kind), holding + past, len(past))
