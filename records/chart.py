"""A chart of measured values as SVG, made here: no script, no style attribute, shapes beside colours.

Everything that came from outside is escaped. The picture has a title and a description; the table beside
it says the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.utils.dates import MONTHS_3
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from .trends import Chart, Series, Value
from .wording import date_in_words

#: One shape a source; with five colours, thirty sources can be told apart.
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "wedge")
COLOURS = 5
#: Above this many values the shapes of a series are one path; below, each says its value when pointed at.
MOST_NAMED = 300
HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 300, 52, 16, 14, 34


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the legend: shape and colour, hollow for the second of two pressures, and the words."""

    name: str
    shape: SafeString
    count: int


@dataclass(frozen=True, slots=True)
class Scale:
    """From days and numbers to the picture."""

    first: float
    last: float
    low: float
    high: float
    width: int

    def x(self, moment: float) -> float:
        return LEFT + (moment - self.first) / (self.last - self.first) * (self.width - LEFT - RIGHT)

    def y(self, number: float | Decimal) -> float:
        return TOP + (self.high - float(number)) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def svg(chart: Chart, name: str, key: str, width: int) -> SafeString:
    """The picture of one chart, `width` units wide.

    :param name: what was measured; :param key: makes the ids of this picture its own.
    """
    scale = _scale(chart, width)
    parts = [
        format_html(
            '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-title {}-desc">'
            '<title id="{}-title">{}</title><desc id="{}-desc">{}</desc>',
            width,
            HEIGHT,
            key,
            key,
            key,
            f"{name}{f', in {chart.unit}' if chart.unit else ''}",
            key,
            describe(chart),
        )
    ]
    parts.append(
        _path("chart-band", "".join(_rectangle(scale, *corners) for corners in _corners(chart, scale)))
    )
    parts += _axes(scale)
    for number, series in enumerate(chart.series):
        parts += _series(series, scale, *_look(chart, number))
    return format_html("{}</svg>", _joined(parts))


def legend(chart: Chart) -> list[Key]:
    """Which shape is which source."""
    found = []
    for number, series in enumerate(chart.series):
        shape, colour = _look(chart, number)
        drawn = _path(colour, _shape(shape, 9, 9))
        picture = format_html('<svg class="chart-key" viewBox="0 0 18 18" aria-hidden="true">{}</svg>', drawn)
        found.append(Key(series.name, picture, len(series.values)))
    return found


def describe(chart: Chart) -> str:
    """What the picture shows, in one or two sentences."""
    values = chart.values
    first, last = (min(values, key=lambda v: v.moment or 0), max(values, key=lambda v: v.moment or 0))
    least, most = (pick(values, key=lambda v: v.number or Decimal(0)) for pick in (min, max))
    count = f"{len(values)} values" if len(values) > 1 else "One value"
    span = date_in_words(first.fact.date[:10])
    if last.fact.date[:10] != first.fact.date[:10]:
        span = f"{span} to {date_in_words(last.fact.date[:10])}"
    sources = len({series.source for series in chart.series})
    more = f", from {sources} sources" if sources > 1 else ""
    spread = f" Lowest {least.shown}, highest {most.shown}, newest {last.shown}." if len(values) > 1 else ""
    return f"{count}, {span}{more}.{spread} The same values stand in the table."


# --- scales and axes ----------------------------------------------------------------------------------------


def _scale(chart: Chart, width: int) -> Scale:
    moments = [value.moment or 0.0 for value in chart.values]
    numbers = [float(value.number or 0) for value in chart.values]
    numbers += [float(end) for band in chart.bands for end in (band.low, band.high) if end is not None]
    low, high = min(numbers), max(numbers)
    spare = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    first, last = min(moments), max(moments)
    room = max((last - first) * 0.02, 0.5)
    # Nothing that cannot be negative is drawn as if it could.
    bottom = max(0.0, low - spare) if low >= 0 else low - spare
    return Scale(first - room, last + room, bottom, high + spare, width)


def steps(low: float, high: float, most: int = 6) -> list[Decimal]:
    """Round numbers between two ends, at most `most` of them: in ones, twos or fives."""
    raw = (high - low) / most
    power = Decimal(10) ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= Decimal(str(raw)))
    found = (Decimal(str(low)) / step).to_integral_value(rounding="ROUND_CEILING") * step
    made = []
    while found <= Decimal(str(high)):
        made.append(found)
        found += step
    return made


def days(first: float, last: float, most: int) -> list[tuple[float, str]]:
    """Days to mark on the axis of time, with their words: years, months or days as there is room."""
    start, end = date.fromordinal(math.ceil(first)), date.fromordinal(int(last))
    years = end.year - start.year
    if years >= 2:
        step = math.ceil((years + 1) / most)
        return [
            (float(date(year, 1, 1).toordinal()), str(year))
            for year in range(start.year, end.year + 1, step)
            if date(year, 1, 1) >= start
        ]
    months = years * 12 + end.month - start.month
    if months >= 2:
        step = math.ceil((months + 1) / most)
        found = []
        for number in range(0, months + 1, step):
            year, month = divmod(start.month - 1 + number, 12)
            day = date(start.year + year, month + 1, 1)
            if day >= start:
                found.append((float(day.toordinal()), f"{_month(day)} {day.year}"))
        return found
    if last - first < 2:
        day = date.fromordinal(int((first + last) / 2))
        return [((first + last) / 2, f"{day.day} {_month(day)} {day.year}")]
    step = max(1, math.ceil((end.toordinal() - start.toordinal() + 1) / most))
    found = []
    for number in range(start.toordinal(), end.toordinal() + 1, step):
        day = date.fromordinal(number)
        with_year = "" if found else f" {day.year}"
        found.append((float(number), f"{day.day} {_month(day)}{with_year}"))
    return found


def _month(day: date) -> str:
    return str(MONTHS_3[day.month]).capitalize()


def _axes(scale: Scale) -> Iterator[SafeString]:
    lines = "".join(
        f"M{LEFT} {scale.y(one):.1f}H{scale.width - RIGHT}" for one in steps(scale.low, scale.high)
    )
    yield _path("chart-grid", lines)
    for one in steps(scale.low, scale.high):
        yield format_html(
            '<text class="chart-text chart-end" x="{}" y="{}">{}</text>',
            LEFT - 8,
            f"{scale.y(one) + 4:.1f}",
            f"{one.normalize():f}",
        )
    floor = HEIGHT - BOTTOM
    marks = days(scale.first, scale.last, 6 if scale.width > 500 else 3)
    yield _path("chart-axis", f"M{LEFT} {floor}H{scale.width - RIGHT}" + "".join(
        f"M{scale.x(moment):.1f} {floor}v5" for moment, _ in marks))  # fmt: skip
    for moment, words in marks:
        yield format_html(
            '<text class="chart-text chart-middle" x="{}" y="{}">{}</text>',
            f"{scale.x(moment):.1f}",
            floor + 20,
            words,
        )


def _corners(chart: Chart, scale: Scale) -> Iterator[tuple[float, float, float, float]]:
    for band in chart.bands:
        high = scale.high if band.high is None else band.high
        low = scale.low if band.low is None else band.low
        yield scale.x(band.start) - 7, scale.x(band.end) + 7, scale.y(high), scale.y(low)


def _rectangle(scale: Scale, left: float, right: float, top: float, bottom: float) -> str:
    return (
        f"M{max(left, LEFT):.1f} {top:.1f}H{min(right, scale.width):.1f}V{bottom:.1f}H{max(left, LEFT):.1f}z"
    )


# --- series -------------------------------------------------------------------------------------------------


def _look(chart: Chart, number: int) -> tuple[str, str]:
    """Shape and colour of a series: by its source; the second of two pressures is hollow."""
    sources = list(dict.fromkeys(series.source for series in chart.series))
    place = sources.index(chart.series[number].source)
    hollow = " is-hollow" if chart.series[number].role == "diastolic" else ""
    return SHAPES[place % len(SHAPES)], f"chart-{place % COLOURS + 1}{hollow}"


def _series(series: Series, scale: Scale, shape: str, colour: str) -> Iterator[SafeString]:
    yield _path(f"chart-line {colour}", "".join(_line(line, scale) for line in series.lines if len(line) > 1))
    if len(series.values) > MOST_NAMED:
        yield _path(
            colour,
            "".join(
                _shape(shape, scale.x(value.moment or 0), scale.y(value.number or 0), 3)
                for value in series.values
            ),
        )
        return
    for value in series.values:
        yield format_html(
            '<path class="{}" d="{}"><title>{}</title></path>',
            colour,
            _shape(shape, scale.x(value.moment or 0), scale.y(value.number or 0)),
            f"{value.shown}, {value.when}",
        )


def _line(line: tuple[Value, ...], scale: Scale) -> str:
    points = (f"{scale.x(value.moment or 0):.1f} {scale.y(value.number or 0):.1f}" for value in line)
    return "M" + "L".join(points)


def _shape(shape: str, x: float, y: float, r: float = 4.5) -> str:
    """A shape of about one size around a point, as the data of a path."""
    if shape == "circle":
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"
    if shape == "square":
        return f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z"
    if shape == "triangle":
        return f"M{x:.1f} {y - r * 1.2:.1f}l{r * 1.2:.1f} {r * 2.2:.1f}h{-r * 2.4:.1f}z"
    if shape == "diamond":
        s = r * 1.3
        return f"M{x:.1f} {y - s:.1f}l{s:.1f} {s:.1f}l{-s:.1f} {s:.1f}l{-s:.1f} {-s:.1f}z"
    if shape == "cross":
        a, b = r * 1.2, r * 0.45
        c = a - b
        return (
            f"M{x - b:.1f} {y - a:.1f}h{2 * b:.1f}v{c:.1f}h{c:.1f}v{2 * b:.1f}h{-c:.1f}v{c:.1f}"
            f"h{-2 * b:.1f}v{-c:.1f}h{-c:.1f}v{-2 * b:.1f}h{c:.1f}z"
        )
    return f"M{x:.1f} {y + r * 1.2:.1f}l{r * 1.2:.1f} {-r * 2.2:.1f}h{-r * 2.4:.1f}z"


def _path(classes: str, data: str) -> SafeString:
    return format_html('<path class="{}" d="{}"/>', classes, data) if data else SafeString("")


def _joined(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))
