"""Measured values over time: what is drawn, what is not and why, and what is put together."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from records import chart, measurements, particulars, trends
from records.facts import Fact

LOINC = "http://loinc.org"


def fact(
    value: str | None,
    unit: str = "mg/dL",
    start: str = "2024-05-03",
    *,
    code: str = "2345-7",
    name: str = "Glucose",
    source: str = "Larkspur Hospital",
    low: float | None = None,
    high: float | None = None,
    panel: str = "",
    **more: Any,
) -> Fact:
    """A measured value as a document's import keeps it."""
    resource: dict[str, Any] = {"resourceType": "Observation", "status": "final"}
    if value is not None and measurements.number_in(value) is not None:
        resource["valueQuantity"] = {"value": float(value), "unit": unit}
    ends = {"low": low, "high": high}
    given = {end: {"value": number, "unit": unit} for end, number in ends.items() if number is not None}
    if given:
        resource["referenceRange"] = [given]
    if panel:
        resource["extension"] = [{"url": "urn:healthvault-direct:panel-path", "valueString": panel}]
    codes = [{"system": LOINC, "code": code, "display": name}] if code else []
    content = {
        "kind": "results",
        "codes": codes,
        "name": name,
        "start": start,
        "end": None,
        "value": value,
        "unit": unit,
        "status": "completed",
        "negated": False,
        "none_known": False,
        "path": "/*/*[1]",
        "resource": {**resource, **more},
    }
    fact.number += 1  # type: ignore[attr-defined]
    return Fact(f"{fact.number:08}", "results", content, source, filing="f")  # type: ignore[attr-defined]


fact.number = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "start", "why"),
    [
        (">100", "2024-05-03", "beyond a limit, not a number"),
        ("positive", "2024-05-03", "in words, not a number"),
        ("not detected", "2024-05-03", "in words, not a number"),
        ("5 - 7", "2024-05-03", "in words, not a number"),
        (None, "2024-05-03", "no value"),
        ("97", "2024-05", "no exact day"),
        ("97", "", "no exact day"),
        ("97", "2024-05-03", ""),
        ("97.5", "2024-05-03T10:30:00-05:00", ""),
    ],
)
def test_what_cannot_be_drawn_stands_in_the_table_with_the_reason(value, start, why):
    found = trends.trend([fact(value, start=start)])
    (row,) = found.values
    assert row.why_not == why
    assert [one.values[0] for one in found.charts] == ([] if why else [row])


def test_a_zero_of_a_pulse_is_no_reading_and_a_zero_of_anything_else_is():
    pulse = trends.trend([fact("0", "/min", code="8867-4", name="Heart rate")])
    assert pulse.values[0].why_not == "a zero here means that nothing was measured"
    assert trends.trend([fact("0")]).values[0].drawn


def test_units_are_not_mixed():
    found = trends.trend([fact("97"), fact("5.4", "mmol/L", "2024-06-01"), fact("99", start="2024-07-01")])
    assert [(one.unit, len(one.values)) for one in found.charts] == [("mg/dL", 2), ("mmol/L", 1)]


def test_units_that_convert_exactly_are_put_together_and_it_is_said():
    weights = [
        fact("80", "kg", "2024-01-01", code="29463-7", name="Weight"),
        fact("81", "kg", "2024-02-01", code="29463-7", name="Weight"),
        fact("180", "[lb_av]", "2024-03-01", code="3141-9", name="Body weight Measured"),
    ]
    assert len({measurements.analyte(one) for one in weights}) == 1
    found = trends.trend(weights)
    (one,) = found.charts
    assert (one.unit, one.converted) == ("kg", ("lb",))
    newest = found.values[0]
    assert (newest.shown, newest.converted) == ("180 lb", "81.6 kg")
    assert newest.number == Decimal("81.6466266")


def test_fahrenheit_converts_exactly_in_both_directions():
    assert trends.convert(Decimal("98.6"), "°F", "°C").quantize(Decimal("0.0001")) == Decimal("37.0000")
    assert trends.convert(Decimal("37"), "°C", "°F").quantize(Decimal("0.0001")) == Decimal("98.6000")
    with pytest.raises(KeyError):
        trends.convert(Decimal(1), "kg", "cm")


def test_words_between_two_numbers_interrupt_the_line():
    found = trends.trend(
        [
            fact("90", start="2024-01-01"),
            fact("95", start="2024-02-01"),
            fact("see note", start="2024-03-01"),
            fact("99", start="2024-04-01"),
        ]
    )
    (series,) = found.charts[0].series
    assert [len(line) for line in series.lines] == [2, 1]


def test_sources_are_series_of_their_own_with_shapes_of_their_own():
    found = trends.trend([fact("90"), fact("95", start="2024-06-01", source="Elm Practice")])
    (one,) = found.charts
    assert [series.source for series in one.series] == ["Elm Practice", "Larkspur Hospital"]
    shapes = [re.search(r'd="([^"]+)"', key.shape)[1] for key in chart.legend(one)]
    classes = [re.search(r'class="(chart-\d)"', key.shape)[1] for key in chart.legend(one)]
    assert len(set(shapes)) == len(set(classes)) == 2


def test_ranges_are_drawn_as_each_document_gives_them():
    found = trends.trend(
        [
            fact("90", start="2024-01-01", low=70, high=99),
            fact("91", start="2024-02-01", low=70, high=99),
            fact("92", start="2024-03-01", low=65),
            fact("93", start="2024-04-01"),
        ]
    )
    bands = [(band.low, band.high) for band in found.charts[0].bands]
    assert bands == [(Decimal("70.0"), Decimal("99.0")), (Decimal("65.0"), None)]


def test_a_range_with_words_is_no_band():
    given = {"low": {"value": 1, "unit": "mg/dL"}, "text": "in pregnancy"}
    found = trends.trend([fact("90", referenceRange=[given])])
    assert found.charts[0].bands == ()


def test_the_picture_has_a_title_a_description_and_nothing_that_runs():
    hostile = '"><script>alert(1)</script>'
    found = trends.trend([fact("90", hostile), fact("95", hostile, "2024-06-01", source=hostile)])
    picture = chart.svg(found.charts[0], hostile, "c0", 720)
    assert 'role="img"' in picture
    assert 'aria-labelledby="c0-title c0-desc"' in picture
    assert "<title id=" in picture
    assert "2 values, 3 May 2024 to 1 June 2024, from 2 sources." in picture
    assert "<script" not in picture + "".join(
        key.shape + key.name for key in chart.legend(found.charts[0])[:0]
    )
    assert "style=" not in picture


def test_one_value_makes_a_picture_too():
    picture = chart.svg(trends.trend([fact("90")]).charts[0], "Glucose", "c0", 340)
    assert "One value, 3 May 2024." in picture
    assert "nan" not in picture


def test_many_values_are_one_path_of_shapes():
    many = [
        fact(str(80 + n % 30), start=f"20{10 + n // 300}-{1 + n // 28 % 12:02}-{1 + n % 28:02}")
        for n in range(900)
    ]
    picture = chart.svg(trends.trend(many).charts[0], "Glucose", "c0", 720)
    assert len(picture) < 90_000


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, "0 2 4 6 8 10"), (70, 99, "70 75 80 85 90 95"), (0.1, 0.35, "0.10 0.15 0.20 0.25 0.30 0.35")],
)
def test_the_axis_has_round_numbers(low, high, expected):
    assert [Decimal(one) for one in expected.split()] == chart.steps(low, high)


def test_the_axis_of_time_has_years_months_or_days():
    def words(first: str, last: str) -> list[str]:
        ends = (float(date.fromisoformat(one).toordinal()) for one in (first, last))
        return [text for _, text in chart.days(*ends, 6)]

    assert words("2019-03-01", "2024-05-01") == ["2020", "2021", "2022", "2023", "2024"]
    assert words("2024-01-01", "2024-05-02") == ["Jan 2024", "Feb 2024", "Mar 2024", "Apr 2024", "May 2024"]
    assert words("2024-01-30", "2024-02-02") == ["30 Jan 2024", "31 Jan", "1 Feb", "2 Feb"]
    assert words("2024-01-30", "2024-01-31") == ["30 Jan 2024"]


# --- panels and pressures -----------------------------------------------------------------------------------


def pressures(
    systolic: str, diastolic: str, start: str, unit: str = "mm[Hg]", panel: str = "/a"
) -> list[Fact]:
    return [
        fact(systolic, unit, start, code="8480-6", name="Systolic blood pressure", panel=panel, high=130.0),
        fact(diastolic, unit, start, code="8462-4", name="Diastolic blood pressure", panel=panel),
    ]


def test_a_blood_pressure_is_one_line():
    (pile,) = measurements.piles(
        [*pressures("140", "80", "2024-05-03"), fact("70", "/min", panel="/a", code="8867-4")]
    )
    pressure, pulse = pile.panel.readings
    assert (pressure.name, pressure.value) == ("Blood pressure", "140/80 mmHg")
    assert [mark.word for mark in pressure.marks] == ["Systolic: above the range"]
    assert pulse.value == "70 per minute"


def test_pressures_of_different_panels_moments_or_units_are_not_put_together():
    high, low = pressures("140", "80", "2024-05-03")
    for other in (
        pressures("1", "80", "2024-05-03", panel="/b")[1],
        pressures("1", "80", "2024-05-03T11:00", panel="/a")[1],
        pressures("1", "10.6", "2024-05-03", unit="kPa")[1],
    ):
        lines = [line for pile in measurements.piles([high, other]) for line in pile.panel.readings]
        assert len(lines) == 2
    assert len(measurements.readings([high, low, *pressures("150", "90", "2024-05-03")])) == 2


def test_both_pressures_are_in_one_chart_told_apart_by_filling():
    found = trends.trend([*pressures("140", "80", "2024-05-03"), *pressures("130", "85", "2024-06-03")])
    assert found.name == "Blood pressure"
    (one,) = found.charts
    assert [series.role for series in one.series] == ["systolic", "diastolic"]
    assert "is-hollow" in chart.legend(one)[1].shape
    assert "is-hollow" not in chart.legend(one)[0].shape


def test_a_pressure_in_parts_is_drawn_as_the_two_it_is():
    parts = [
        {"code": {"text": "Systolic blood pressure"}, "valueString": "128 mm[Hg]"},
        {"code": {"text": "Diastolic blood pressure"}, "valueString": "82 mm[Hg]"},
    ]
    found = trends.trend([fact(None, "", code="85354-9", name="Blood pressure", component=parts)])
    assert {(row.role, row.shown) for row in found.values} == {
        ("systolic", "128 mmHg"),
        ("diastolic", "82 mmHg"),
    }


def test_values_are_one_course_by_code_and_uncoded_ones_by_name():
    assert measurements.analyte(fact("1", code="", name="Ferritin ")) == measurements.analyte(
        fact("2", code="", name="ferritin")
    )
    blood, urine = fact("1", code="2345-7"), fact("1", code="5792-7")
    assert measurements.analyte(blood) != measurements.analyte(urine)
    courses = measurements.courses([fact("1"), fact("2", start="2024-06-01"), urine])
    assert [(course.name, course.count) for course in courses] == [("Glucose", 2)]


def test_what_lists_are_made_by_is_the_same_read_or_unread():
    """The text of an item is looked into by patterns: they must find what reading it finds."""
    odd = fact("97", name='Glucose "fasting" \\ "start":"1999"', panel="/*/*[2]", start="2024-05-03")
    unread = Fact(odd.id, odd.kind, odd.text, odd.source)
    for name in ("start", "end", "date", "none_known", "negated", "said_name", "coded", "panel_path"):
        assert getattr(unread, name) == getattr(odd, name), name
    assert unread.content == odd.content


def test_the_two_pressures_of_one_moment_are_one_row_of_the_table():
    found = trends.trend([*pressures("140", "80", "2024-05-03"), *pressures("130", "85", "2024-06-03")[:1]])
    assert [(row.role, row.shown) for row in found.rows] == [("Systolic", "130 mmHg"), ("", "140/80 mmHg")]
    assert [mark.word for mark in found.rows[1].marks] == ["Systolic: above the range"]


@pytest.mark.parametrize(
    ("text", "unit", "limits"),
    [
        ("4.3–10.8", "10*3/uL", ("4.3", "10.8")),
        ("4-5.6%", "%", ("4", "5.6")),
        ("70 to 99 MG/DL", "mg/dL", ("70", "99")),
        ("< 130 mg/dL", "mg/dL", (None, "130")),
        (">=40 mg/dL", "mg/dL", ("40", None)),
        ("4-5.6 mmol/L", "%", None),
        ("<130 mg/dL (calc)", "mg/dL", None),
        ("10-39 years: 55-110 mg/dL", "mg/dL", None),
        ("4-5.6% in adults", "%", None),
        ("9-5", "%", None),
        ("NA", "%", None),
    ],
)
def test_a_range_in_writing_counts_when_it_is_nothing_but_numbers(text, unit, limits):
    found = particulars.limits(fact("6.8", unit, referenceRange=[{"text": text}]).content)
    assert found == (limits and tuple(end and Decimal(end) for end in limits))


def test_a_value_outside_a_written_range_is_marked():
    mark = fact("6.8", "%", referenceRange=[{"text": "4-5.6%"}]).mark
    assert mark is not None
    assert mark.word == "Above the range"
    assert fact("6.8", "%", referenceRange=[{"text": "4-5.6% in adults"}]).mark is None


def test_capitals_of_a_vital_sign_are_not_shouted():
    assert particulars.name("vital_signs", {"name": "HEART RATE"}) == "Heart rate"
    assert particulars.name("vital_signs", {"name": "BMI"}) == "BMI"
    assert particulars.name("results", {"name": "CBC WO DIFFERENTIAL"}) == "CBC WO DIFFERENTIAL"


def test_a_time_with_an_offset_stays_on_its_day():
    late = trends.trend([fact("90", start="2024-05-03T23:30:00-07:00")]).values[0]
    assert int(late.moment) == date(2024, 5, 3).toordinal()
