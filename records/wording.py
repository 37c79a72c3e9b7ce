"""Dates and measures of documents in the words people read, never more exact than what was sent."""

from __future__ import annotations

import re

from django.utils.dates import MONTHS

_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{2})(?:-(?P<day>\d{2})(?:T(?P<time>\d{2}(?::\d{2})?)[0-9:.]*"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?)?)?)?"
)

_DATE_INSIDE = re.compile(r"(?<![\w-])\d{4}-\d{2}(?:-\d{2}(?:T[0-9:.]+(?:Z|[+-]\d{2}:?\d{2})?)?)?(?![\w-])")


def date_in_words(iso: str | None) -> str:
    """An ISO 8601 date in its own precision: "2014", "March 2019", "14 September 2026".

    With a time of day, "14 September 2026, 09:20": the wall clock of the place it was written at.
    What is no such date is returned as it stands.
    """
    text = str(iso or "").strip()
    found = _DATE.fullmatch(text)
    if found is None:
        return text
    year, month, day, time = found["year"], int(found["month"] or 0), int(found["day"] or 0), found["time"]
    if month == 0:
        return year
    if month > 12 or day > 31:
        return text
    words = f"{MONTHS[month]} {year}"
    if day:
        words = f"{day} {words}"
    # An hour alone reads as a number of something; midnight is how many senders write "that day".
    return f"{words}, {time}" if time and ":" in time and time != "00:00" else words


def dates_in_words(text: str) -> str:
    """The text with every ISO 8601 date of at least a month in words."""
    return _DATE_INSIDE.sub(lambda found: date_in_words(found[0]), text)


def span_in_words(start: str | None, end: str | None) -> str:
    """From one date to another; a single date once, also when both are the same."""
    first, last = date_in_words(start), date_in_words(end)
    if first and last and first != last:
        return f"{first} to {last}"
    return first or (f"until {last}" if last else "")


#: UCUM codes whose printed form differs (ucum.org, column "print symbol").
_UNITS = {
    "mm[Hg]": "mmHg",
    "Cel": "°C",
    "[degF]": "°F",
    "[lb_av]": "lb",
    "[oz_av]": "oz",
    "[in_i]": "in",
    "[in_us]": "in",
    "[ft_i]": "ft",
    "/min": "per minute",
    "kg/m2": "kg/m²",
    "m2": "m²",
    "10*3/uL": "10³/µL",
    "10*6/uL": "10⁶/µL",
    "10*9/L": "10⁹/L",
    "10*12/L": "10¹²/L",
    "ug": "µg",
    "uL": "µL",
    "[IU]": "IU",
    "[pH]": "",
    "a": "years",
    "mo": "months",
    "wk": "weeks",
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "mL/min/{1.73_m2}": "mL/min/1.73 m²",
    "1": "",
}
_ANNOTATION = re.compile(r"\{([^{}]*)\}")


def unit_in_words(unit: str | None) -> str:
    """The printed form of a UCUM unit; what is no UCUM stays as written (UCUM sections 6 and 12)."""
    text = (unit or "").strip()
    if text in _UNITS:
        return _UNITS[text]
    # "10+3/ul" is what some products make of "10*3/uL".
    text = (
        text.replace("10+", "10*")
        .replace("[IU]", "IU")
        .replace("10*3", "10³")
        .replace("10*6", "10⁶")
        .replace("10*9", "10⁹")
    )
    text = re.sub(r"\bu([glL])\b|\bumol\b", lambda found: f"µ{found[0][1:]}", text)
    return _ANNOTATION.sub(r" \1", text).replace("_", " ").strip() if "{" in text else text
