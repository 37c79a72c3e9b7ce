"""Dates as people know them: a year, a month, a day, or words."""

from __future__ import annotations

import re
from datetime import date

from django.utils.dates import MONTHS, MONTHS_AP

from records.clinical.dates import parse_iso, parse_written
from records.clinical.types import PartialDate

#: "august" and "aug" -> 8.
_MONTHS = {
    name.rstrip(".").casefold(): number
    for number in MONTHS
    for name in (str(MONTHS[number]), str(MONTHS[number])[:3], str(MONTHS_AP[number]))
}
_MONTH_YEAR = re.compile(r"(?P<month>[^\W\d]+)\.?,? (?P<year>\d{4})")
_DAY_MONTH_YEAR = re.compile(r"(?P<day>\d{1,2})\.? (?P<month>[^\W\d]+)\.?,? (?P<year>\d{4})")
_MONTH_DAY_YEAR = re.compile(r"(?P<month>[^\W\d]+)\.? (?P<day>\d{1,2}),? (?P<year>\d{4})")


def vague_date(text: str) -> PartialDate | None:
    """The date in `text`, in the precision given; None for words such as "as a child" or "about 2010".

    Understands 2012, 2012-08, 2012-08-05, with or without a time, 8/5/2012, August 2012, 5 August 2012 and
    August 5, 2012.
    """
    words = " ".join(text.split())
    found = parse_iso(words) or parse_written(words)
    if found is not None:
        return None if found.flawed else found
    return _with_month_name(words)


def is_no_date(text: str) -> bool:
    """Whether `text` means to be an exact date, and is none: "2012-13", "31/31/2012"."""
    return bool(text.strip()) and not any(one.isalpha() for one in text) and vague_date(text) is None


def _with_month_name(words: str) -> PartialDate | None:
    for shape in (_DAY_MONTH_YEAR, _MONTH_DAY_YEAR, _MONTH_YEAR):
        found = shape.fullmatch(words)
        month = _MONTHS.get(found["month"].casefold()) if found else None
        if found is None or month is None:
            continue
        if "day" not in found.groupdict():
            return PartialDate(f"{found['year']}-{month:02}")
        try:
            return PartialDate(date(int(found["year"]), month, int(found["day"])).isoformat())
        except ValueError:
            return None
    return None
