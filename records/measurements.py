"""Measured values as a document arranged them: its panels, and blood pressures as people write them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from . import particulars
from .clinical.panels import DIASTOLIC, SYSTOLIC
from .facts import Fact
from .kinds import kind_name
from .wording import unit_in_words

LOINC = "http://loinc.org"
#: LOINC codes of one and the same measure, as HealthVault's types of item had them.
_SAME = {"3141-9": "29463-7", "2708-6": "59408-5"}
PRESSURE = "85354-9"
_PRESSURES = frozenset({SYSTOLIC, DIASTOLIC, PRESSURE})
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_WORDS = re.compile(r"[^\w]+")


def analyte(fact: Fact) -> str:
    """What was measured, the same for values that belong into one chart: by code, uncoded ones by name.

    The two blood pressures are one analyte. Values whose codes differ are never put together by name:
    glucose of blood and of urine often have the same one.
    """
    codes = fact.coded
    loinc = next((code for system, code in codes if system == LOINC), "")
    if loinc in _PRESSURES:
        return PRESSURE
    if loinc:
        return f"{LOINC}|{_SAME.get(loinc, loinc)}"
    if codes and codes[0][1]:
        return f"{codes[0][0]}|{codes[0][1]}"
    return f"name|{_WORDS.sub(' ', fact.said_name.casefold()).strip()}"


def role(fact: Fact) -> str:
    """Which of the two blood pressures a value is; empty for every other one."""
    codes = {code for system, code in fact.coded if system == LOINC}
    return "systolic" if SYSTOLIC in codes else "diastolic" if DIASTOLIC in codes else ""


def number_in(text: str) -> Decimal | None:
    """The number that `text` is; None for words, ranges, and values beyond a limit ("> 100")."""
    return Decimal(text.strip()) if _NUMBER.fullmatch(text.strip()) else None


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of a panel: a value, or the two of a blood pressure."""

    facts: tuple[Fact, ...]

    @property
    def fact(self) -> Fact:
        return self.facts[0]

    @property
    def name(self) -> str:
        return "Blood pressure" if len(self.facts) > 1 else self.fact.name

    @property
    def value(self) -> str:
        if len(self.facts) == 1:
            return self.fact.value or _parts(self.fact)
        numbers = "/".join(str(fact.content.get("value")) for fact in self.facts)
        return f"{numbers} {unit_in_words(self.fact.content.get('unit'))}".rstrip()

    @property
    def missing(self) -> str:
        """What stands in place of a value that is not there."""
        if self.value:
            return ""
        pending = self.fact.content.get("resource", {}).get("status") in ("registered", "preliminary")
        return "Not there yet" if pending else "No value was given"

    @property
    def marks(self) -> list[particulars.Mark]:
        found = [(role(fact), fact.mark) for fact in self.facts]
        if len(self.facts) == 1:
            return [mark for _, mark in found if mark]
        return [
            particulars.Mark(f"{which.capitalize()}: {mark.word.lower()}", mark.tone)
            for which, mark in found
            if mark
        ]

    @property
    def ranges(self) -> str:
        if len(self.facts) == 1:
            return "; ".join(self.fact.ranges)
        return "; ".join(f"{role(fact)} {'; '.join(fact.ranges)}" for fact in self.facts if fact.ranges)

    @property
    def date(self) -> str:
        return self.fact.date

    @property
    def drawable(self) -> bool:
        """Whether its course may be a chart."""
        return number_in(self.fact.said_value) is not None or bool(_parts(self.fact))


def _parts(fact: Fact) -> str:
    """The parts of an observation that has no value of its own (FHIR Observation.component)."""
    lines = particulars.components(fact.content)
    return "; ".join(f"{name}: {value}" for name, value in lines)


@dataclass(frozen=True, slots=True)
class Panel:
    """The values of one organizer, or single ones of one day and source."""

    name: str
    readings: tuple[Reading, ...]

    @property
    def fact(self) -> Fact:
        return self.readings[0].fact

    @property
    def ranged(self) -> bool:
        """Whether any value has a reference range."""
        return any(reading.ranges for reading in self.readings)

    @property
    def when(self) -> str:
        return self.fact.when

    @property
    def by(self) -> str:
        return self.fact.by


@dataclass(frozen=True, slots=True)
class Pile:
    """The values of one panel before they are read: cheap to make for ten thousand values."""

    facts: tuple[Fact, ...]

    @property
    def panel(self) -> Panel:
        """Read the values: blood pressures joined, else in the order of the document."""
        ordered = sorted(self.facts, key=lambda fact: _place(str(fact.content.get("path", ""))))
        named = next(filter(None, (fact.panel for fact in ordered)), "")
        return Panel(named or kind_name(ordered[0].kind), tuple(readings(ordered)))


def piles(facts: Iterable[Fact]) -> list[Pile]:
    """The values by panel as the documents' organizers say, newest panel first.

    Values without a panel stand together by day and source.
    """
    found: dict[tuple[str, str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        path = fact.panel_path
        key = (fact.filing, path, fact.date[:10]) if path else (fact.by, "", fact.date[:10])
        found[key].append(fact)
    made = [Pile(tuple(several)) for several in found.values()]
    return sorted(made, key=lambda pile: max(fact.date for fact in pile.facts), reverse=True)


def readings(facts: list[Fact]) -> list[Reading]:
    """The lines of one panel: systolic and diastolic of one moment and unit as one, each used once."""
    lower = [fact for fact in facts if role(fact) == "diastolic" and fact.content.get("value")]
    pairs: dict[str, Fact] = {}
    for fact in facts:
        if role(fact) != "systolic" or not fact.content.get("value"):
            continue
        match = next((other for other in lower if _belong(fact, other)), None)
        if match is not None:
            lower.remove(match)
            pairs[fact.id] = match
    joined = {fact.id for fact in pairs.values()}
    return [
        Reading((fact, pairs[fact.id])) if fact.id in pairs else Reading((fact,))
        for fact in facts
        if fact.id not in joined
    ]


def _belong(one: Fact, other: Fact) -> bool:
    unit = one.content.get("unit")
    return one.start == other.start and unit == other.content.get("unit")


def _place(path: str) -> list[int]:
    """The element path as numbers, so that the tenth stands after the ninth."""
    return [int(number) for number in re.findall(r"\[(\d+)\]", path)]


@dataclass(frozen=True, slots=True)
class Course:
    """Everything measured of one analyte: how often, and the newest."""

    newest: Fact
    count: int

    @property
    def name(self) -> str:
        return "Blood pressure" if analyte(self.newest) == PRESSURE else self.newest.name


def courses(facts: Iterable[Fact]) -> list[Course]:
    """What was measured in numbers more than once, by name."""
    found: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if number_in(fact.said_value) is not None:
            found[analyte(fact)].append(fact)
    made = [
        Course(max(several, key=lambda fact: fact.date), len({fact.date or fact.id for fact in several}))
        for several in found.values()
        if len(several) > 1
    ]
    return sorted((course for course in made if course.count > 1), key=lambda course: course.name.casefold())
