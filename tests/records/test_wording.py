"""Dates and units as people read them."""

import pytest
from django.template import Context, Template

from records.wording import date_in_words, dates_in_words, span_in_words, unit_in_words


@pytest.mark.parametrize(
    ("iso", "words"),
    [
        ("2014", "2014"),
        ("2019-03", "March 2019"),
        ("2026-09-14", "14 September 2026"),
        ("2026-09-04T09:20", "4 September 2026, 09:20"),
        ("2026-09-14T09:20:00-05:00", "14 September 2026, 09:20"),
        ("2026-09-14T23:59:59.250Z", "14 September 2026, 23:59"),
        ("2026-09-14T00:00:00+00:00", "14 September 2026"),
        ("2026-09-14T09", "14 September 2026"),
        ("as a child", "as a child"),
        ("2026-13-01", "2026-13-01"),
        ("2026-12-32", "2026-12-32"),
        ("20260914", "20260914"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_date_is_as_exact_as_it_was_given(iso, words):
    assert date_in_words(iso) == words


def test_dates_inside_a_text_are_found():
    text = "Office visit, 2026-09-14T09:00-05:00 to 2026-09-15, room 2026-77, call 555-0100-12"
    words = "Office visit, 14 September 2026, 09:00 to 15 September 2026, room 2026-77, call 555-0100-12"
    assert dates_in_words(text) == words


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2019-03", "2021", "March 2019 to 2021"),
        ("2014", "2014", "2014"),
        ("2014", None, "2014"),
        (None, "2021-05-02", "until 2 May 2021"),
        ("2026-09-14T08:00", "2026-09-14T09:00", "14 September 2026, 08:00 to 14 September 2026, 09:00"),
        (None, None, ""),
    ],
)
def test_a_span_names_each_end_once(start, end, words):
    assert span_in_words(start, end) == words


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("mm[Hg]", "mmHg"),
        ("mmol/L", "mmol/L"),
        ("ug/L", "µg/L"),
        ("umol/L", "µmol/L"),
        ("10*3/uL", "10³/µL"),
        ("m[IU]/L", "mIU/L"),
        ("{tablet}", "tablet"),
        ("{beats}/min", "beats/min"),
        ("Tablets", "Tablets"),
        ("1", ""),
        (None, ""),
    ],
)
def test_a_unit_is_printed_as_people_know_it(unit, words):
    assert unit_in_words(unit) == words


def test_templates_say_the_same():
    page = Template(
        "{% load record_words %}{{ day|in_words }}; {% span day '2027' %}; {{ unit|unit_in_words }}"
    )
    shown = page.render(Context({"day": "2026-09", "unit": "Cel"}))
    assert shown == "September 2026; September 2026 to 2027; °C"
