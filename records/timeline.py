"""The whole record along time: items, panels of measured values, and documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .facts import Fact
from .kinds import MEASURED, kind_name
from .measurements import Panel, Pile, piles
from .models import Document
from .wording import date_in_words


@dataclass(frozen=True, slots=True)
class Moment:
    """One line: an item, the values of one panel, or a document. `date` is ISO 8601 in its own precision."""

    date: str
    source: str
    fact: Fact | None = None
    pile: Pile | None = None
    document: Document | None = None

    @property
    def year(self) -> str:
        return self.date[:4]

    @property
    def when(self) -> str:
        return date_in_words(self.date)

    @property
    def kind_name(self) -> str:
        if self.document is not None:
            return "Document"
        shown = self.fact or (self.pile.facts[0] if self.pile else None)
        return kind_name(shown.kind) if shown else ""

    @property
    def panel(self) -> Panel | None:
        return self.pile.panel if self.pile else None


def moments(facts: Iterable[Fact], documents: Iterable[Document]) -> list[Moment]:
    """The lines of the timeline, newest first, what has no date last; values of one panel are one line."""
    measured: dict[str, list[Fact]] = {kind: [] for kind in MEASURED}
    found = []
    for fact in facts:
        if fact.kind in measured:
            measured[fact.kind].append(fact)
        else:
            found.append(Moment(fact.date, fact.by, fact=fact))
    for several in measured.values():
        for pile in piles(several):
            first = pile.facts[0]
            if len(pile.facts) == 1:
                found.append(Moment(first.date, first.by, fact=first))
            else:
                found.append(Moment(max(fact.date for fact in pile.facts), first.by, pile=pile))
    found += [
        Moment(str((one.facts or {}).get("date") or ""), source_of(one), document=one) for one in documents
    ]
    return sorted(found, key=lambda moment: moment.date, reverse=True)


def source_of(document: Document) -> str:
    """The organisation whose message brought a document."""
    return document.attachment.message.organization_name if document.attachment else ""


@dataclass(frozen=True, slots=True)
class Year:
    """The lines of one year on one page."""

    name: str
    moments: list[Moment]


def by_year(found: Iterable[Moment]) -> list[Year]:
    """Lines under the years they belong to, in the order they are in."""
    years: list[Year] = []
    for moment in found:
        if not years or years[-1].name != moment.year:
            years.append(Year(moment.year, []))
        years[-1].moments.append(moment)
    return years
