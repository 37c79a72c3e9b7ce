"""The course of one measured value over time: decisions about what may be drawn, free of database and markup.

Nothing is drawn that was not said. A value in words or beyond a limit ("> 100"), one without an exact day,
and a zero that means "not measured" stand in the table with the reason, and interrupt the line. Values of
different units are charts of their own, except where one converts into the other exactly by definition.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from . import measurements, particulars
from .facts import Fact
from .wording import date_in_words, unit_in_words

#: Vital signs of which a zero is no reading: heart rate, temperature, head size (some products send it so).
_NEVER_ZERO = frozenset({"8867-4", "8310-5", "8331-1", "8287-5", "9843-4"})
#: Exact by definition (international yard and pound, 1959; degree Fahrenheit): factor and offset into the
#: first unit of each family.
_FAMILIES: tuple[dict[str, tuple[Decimal, Decimal]], ...] = (
    {
        "kg": (Decimal(1), Decimal(0)),
        "g": (Decimal("0.001"), Decimal(0)),
        "lb": (Decimal("0.45359237"), Decimal(0)),
        "oz": (Decimal("0.028349523125"), Decimal(0)),
    },
    {
        "cm": (Decimal(1), Decimal(0)),
        "m": (Decimal(100), Decimal(0)),
        "mm": (Decimal("0.1"), Decimal(0)),
        "in": (Decimal("2.54"), Decimal(0)),
        "ft": (Decimal("30.48"), Decimal(0)),
    },
    {"°C": (Decimal(1), Decimal(0)), "°F": (Decimal(5) / Decimal(9), Decimal(-160) / Decimal(9))},
)
#: Ways to write one and the same unit; UCUM takes "l" and "L" alike, and "mg/dl" is how many write it.
_SPELLINGS = {
    "lbs": "lb",
    "inches": "in",
    "inch": "in",
    "degF": "°F",
    "F": "°F",
    "degC": "°C",
    "C": "°C",
    "mm Hg": "mmHg",
    "mm(hg)": "mmHg",
    "bpm": "per minute",
    "beats/min": "per minute",
    "{beats}/min": "per minute",
    "MG/DL": "mg/dL",
    "mg/dl": "mg/dL",
    "g/dl": "g/dL",
    "mmol/l": "mmol/L",
}


@dataclass(frozen=True, slots=True)
class Value:
    """One value as the table shows it; `moment` and `number` are there when it can be drawn.

    `unit` is the unit as printed, `drawn_unit` and `number` what the chart uses; `why_not` says why it is
    not in the chart. `low` and `high` are the limits of its own reference range.
    """

    fact: Fact
    when: str
    shown: str
    unit: str
    source: str
    role: str = ""
    moment: float | None = None
    number: Decimal | None = None
    drawn_unit: str = ""
    low: Decimal | None = None
    high: Decimal | None = None
    why_not: str = ""

    @property
    def drawn(self) -> bool:
        return not self.why_not

    @property
    def converted(self) -> str:
        """The value the chart draws, where it is not the one that was sent."""
        if not self.drawn or self.number is None or self.drawn_unit == self.unit:
            return ""
        return f"{self.number.quantize(Decimal('0.1')).normalize():f} {self.drawn_unit}"


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one source (and one of the two blood pressures) in one chart, oldest first.

    `lines` are the runs that may be joined: what could not be drawn stands between them.
    """

    source: str
    role: str
    values: tuple[Value, ...]
    lines: tuple[tuple[Value, ...], ...]

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.role.capitalize(), self.source or "Source not known")))


@dataclass(frozen=True, slots=True)
class Band:
    """A reference range as documents gave it, from the first to the last value it was given with."""

    start: float
    end: float
    low: Decimal | None
    high: Decimal | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything of one unit."""

    unit: str
    series: tuple[Series, ...]
    bands: tuple[Band, ...]
    converted: tuple[str, ...] = ()

    @property
    def values(self) -> list[Value]:
        return [value for series in self.series for value in series.values]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a value, or the two of a blood pressure."""

    values: tuple[Value, ...]

    @property
    def value(self) -> Value:
        return self.values[0]

    @property
    def shown(self) -> str:
        if len(self.values) == 1:
            return self.value.shown
        numbers = "/".join(str(value.number) for value in self.values)
        return f"{numbers} {self.value.unit}".rstrip()

    @property
    def role(self) -> str:
        return self.value.role.capitalize() if len(self.values) == 1 else ""

    @property
    def marks(self) -> list[particulars.Mark]:
        return measurements.Reading(tuple(dict.fromkeys(value.fact for value in self.values))).marks

    @property
    def ranges(self) -> str:
        return measurements.Reading(tuple(dict.fromkeys(value.fact for value in self.values))).ranges


@dataclass(frozen=True, slots=True)
class Trend:
    """All values of one analyte, newest first, and the charts of those that can be drawn."""

    name: str
    values: tuple[Value, ...]
    charts: tuple[Chart, ...]

    @property
    def rows(self) -> list[Row]:
        """The lines of the table: the two pressures of one moment and source as one, each used once."""
        lower: dict[tuple[str, str, str, str], list[Value]] = defaultdict(list)
        for value in self.values:
            if value.role == "diastolic" and value.drawn:
                lower[_together(value)].append(value)
        pairs = {}
        for value in self.values:
            if value.role == "systolic" and value.drawn and lower[_together(value)]:
                pairs[id(value)] = lower[_together(value)].pop(0)
        joined = {id(value) for value in pairs.values()}
        return [
            Row((value, pairs[id(value)])) if id(value) in pairs else Row((value,))
            for value in self.values
            if id(value) not in joined
        ]

    @property
    def undrawn(self) -> int:
        return sum(not value.drawn for value in self.values)


def trend(facts: Iterable[Fact]) -> Trend:
    """The course of values of one analyte (`records.measurements.analyte`)."""
    found = list(facts)
    values = [value for fact in found for value in _values(fact)]
    values = _units_joined(values)
    values.sort(key=lambda value: (value.fact.date, value.fact.id, value.role), reverse=True)
    pressure = any(measurements.analyte(fact) == measurements.PRESSURE for fact in found[:1])
    names = Counter(fact.name for fact in found)
    name = "Blood pressure" if pressure else names.most_common(1)[0][0] if names else ""
    return Trend(name, tuple(values), tuple(_charts(values)))


# --- one value ----------------------------------------------------------------------------------------------


def _values(fact: Fact) -> list[Value]:
    """The value of an item; of an observation that has parts, one for each blood pressure."""
    if fact.content.get("value") not in (None, ""):
        said = str(fact.content["value"])
        return [_value(fact, said, unit(fact.content.get("unit")), measurements.role(fact))]
    parts = []
    for name, written in particulars.components(fact.content):
        which = next((role for role in ("systolic", "diastolic") if role in name.casefold()), "")
        if which:
            said, _, printed = written.partition(" ")
            parts.append(_value(fact, said, unit(printed), which))
    return parts or [_value(fact, "", "", measurements.role(fact))]


def _together(value: Value) -> tuple[str, str, str, str]:
    return value.fact.filing, value.fact.panel_path, value.fact.start, value.unit


def _value(fact: Fact, said: str, printed: str, role: str) -> Value:
    number = measurements.number_in(said)
    moment = _moment(fact.date)
    low, high = (particulars.limits(fact.content) if fact.content.get("value") else None) or (None, None)
    missing = measurements.Reading((fact,)).missing if not said else ""
    return Value(
        fact=fact,
        when=date_in_words(fact.date) or str(fact.content.get("start_text") or "") or "No date",
        shown=f"{said} {printed}".strip() or missing,
        unit=printed,
        source=fact.by,
        role=role,
        moment=moment,
        number=number,
        drawn_unit=printed,
        low=low,
        high=high,
        why_not=_why_not(fact, said, number, moment),
    )


def _why_not(fact: Fact, said: str, number: Decimal | None, moment: float | None) -> str:
    status = fact.content.get("resource", {}).get("status")
    if fact.negated:
        return "said not to be so"
    if status in ("entered-in-error", "cancelled"):
        return "taken back by the sender"
    if not said:
        return "no value"
    if number is None:
        return "beyond a limit, not a number" if said.lstrip()[:1] in "<>≤≥" else "in words, not a number"
    if number == 0 and any(code in _NEVER_ZERO for _, code in fact.coded):
        return "a zero here means that nothing was measured"
    if moment is None:
        return "no exact day"
    return ""


def unit(text: str | None) -> str:
    """A unit as it is printed, different spellings of one alike."""
    printed = unit_in_words(text)
    return _SPELLINGS.get(printed, printed)


def _moment(iso: str) -> float | None:
    """A date or time as days since year 1; None when not even the day is known.

    The time is the one of the wall clock where it was written, as the table shows it; a given offset is left
    out, so that nothing moves to another day.
    """
    if len(iso) < 10:
        return None
    try:
        if len(iso) == 10:
            return float(date.fromisoformat(iso).toordinal())
        at = datetime.fromisoformat(iso)
    except ValueError:
        return None
    return at.toordinal() + (at.hour * 3600 + at.minute * 60 + at.second) / 86400


# --- units --------------------------------------------------------------------------------------------------


def _units_joined(values: list[Value]) -> list[Value]:
    """Every value of a family of exactly convertible units in the one that most of them have."""
    counts = Counter(value.unit for value in values if value.drawn)
    into = {unit: _target(unit, counts) for unit in counts}
    return [_converted(value, into.get(value.unit, value.unit)) for value in values]


def _target(unit: str, counts: Counter[str]) -> str:
    family = next((family for family in _FAMILIES if unit in family), {unit: (Decimal(1), Decimal(0))})
    return max((other for other in counts if other in family), key=lambda other: (counts[other], other))


def _converted(value: Value, into: str) -> Value:
    if into == value.unit or not value.drawn:
        return value
    low, number, high = (convert(one, value.unit, into) for one in (value.low, value.number, value.high))
    return replace(value, number=number, low=low, high=high, drawn_unit=into)


def convert(number: Decimal | None, unit: str, into: str) -> Decimal | None:
    """A number of one unit in another of its family. Raises KeyError for units of different families."""
    if number is None:
        return None
    family = next(family for family in _FAMILIES if unit in family)
    (factor, offset), (into_factor, into_offset) = family[unit], family[into]
    return (number * factor + offset - into_offset) / into_factor


# --- charts -------------------------------------------------------------------------------------------------


def _charts(values: Sequence[Value]) -> list[Chart]:
    """One chart a unit, the one with the most values first; `values` newest first."""
    by_unit: dict[str, list[Value]] = defaultdict(list)
    for value in reversed(values):
        by_unit[value.drawn_unit].append(value)
    charts = [_chart(unit, several, values) for unit, several in by_unit.items()]
    return sorted((one for one in charts if one.series), key=lambda one: len(one.values), reverse=True)


def _chart(unit: str, ordered: list[Value], every: Sequence[Value]) -> Chart:
    by_series: dict[tuple[str, str], list[Value]] = defaultdict(list)
    for value in ordered:
        by_series[value.role, value.source].append(value)
    # What has no unit, because it is no number, interrupts the line of its source whatever the unit.
    gaps = [value for value in every if not value.drawn and value.drawn_unit != unit]
    made = []
    for (role, source), several in sorted(by_series.items(), key=_systolic_first):
        drawn = sorted((value for value in several if value.drawn), key=_at)
        if drawn:
            breaks = [
                gap.moment
                for gap in (*several, *gaps)
                if not gap.drawn and gap.moment is not None and (gap.role, gap.source) == (role, source)
            ]
            made.append(Series(source, role, tuple(drawn), tuple(_lines(drawn, breaks))))
    units = sorted({value.unit for series in made for value in series.values} - {unit})
    return Chart(unit, tuple(made), tuple(_bands(made)), tuple(units))


def _systolic_first(series: tuple[tuple[str, str], list[Value]]) -> tuple[bool, tuple[str, str]]:
    return series[0][0] != "systolic", series[0]


def _at(value: Value) -> float:
    return value.moment or 0.0


def _lines(drawn: list[Value], breaks: list[float]) -> list[tuple[Value, ...]]:
    """The runs without a value in between that could not be drawn."""
    lines: list[list[Value]] = []
    waiting = sorted(breaks)
    for value in drawn:
        passed = False
        while waiting and waiting[0] < _at(value):
            waiting.pop(0)
            passed = True
        if passed or not lines:
            lines.append([])
        lines[-1].append(value)
    return [tuple(line) for line in lines]


def _bands(series: Sequence[Series]) -> list[Band]:
    """Reference ranges as given, one band for each run of values with the same one.

    Where sources give different ranges for the same time, both stand there.
    """
    bands = []
    for one in series:
        run: list[Value] = []
        for value in one.values:
            if run and (value.low, value.high) != (run[-1].low, run[-1].high):
                bands += _band(run)
                run = []
            run.append(value)
        bands += _band(run)
    return list(dict.fromkeys(bands))


def _band(run: list[Value]) -> list[Band]:
    if not run or (run[0].low is None and run[0].high is None):
        return []
    return [Band(_at(run[0]), _at(run[-1]), run[0].low, run[0].high)]
