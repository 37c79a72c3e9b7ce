"""Dates as documents write them, in the precision they were given.

HL7 version 3 time stamps (data type TS: ``YYYYMMDDHHMMSS.SSSS+ZZZZ``), ISO 8601, and the one written form
that is beyond doubt in CCR free text (``M/D/YYYY``). Nothing here raises: the longest valid prefix counts.
"""

import re
from calendar import monthrange
from datetime import datetime
from functools import lru_cache

from records.clinical.types import PartialDate

_HL7 = re.compile(r"(\d{4,})(\.\d+)?(?:([+-])(\d{1,4}))?")
_ISO = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2})(?::(\d{2})(?::(\d{2})(\.\d+)?)?)?)?)?)?"
    r"\s*(Z|[+-]\d{2}:?\d{2}|[+-]\d{2})?",
    re.IGNORECASE,
)
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
# Years before this are fill values ("00010101", "17530101"), not dates of living people.
_FIRST_YEAR = 1800
_LAST_YEAR = 2300
_WHOLE_LENGTHS = frozenset({8, 12, 14})
_FIELDS = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))


@lru_cache(maxsize=1024)  # the statements of one panel have one time
def parse_hl7(text: str | None) -> PartialDate | None:
    """Read an HL7 TS value (HL7 V3 Data Types R1).

    :returns: the date, or None for a null (absent, ``0``, ``00000000``, ``00010101``) and for no date at all.
        ``flawed`` is set when only a prefix is valid.
    """
    if not text:
        return None
    text = text.strip()
    match = _HL7.match(text)
    if match is None:
        return None
    digits, fraction, sign, offset = match.groups()
    whole = match.end() == len(text)
    if not whole and text[4:5] in "-/":
        return parse_iso(text, flawed=True)
    cut, parts = _valid_parts(digits)
    if not parts:
        return None
    flawed = not whole or cut != len(digits)
    if len(parts) < 4 or (flawed and cut < 10):
        return PartialDate("-".join(parts[:3]), flawed=flawed)
    zone = ""
    if sign and cut == len(digits):
        zone, exact = _zone(sign, offset)
        flawed = flawed or not exact
    return _date_time(parts, fraction if len(parts) == 6 else None, zone, flawed)


def parse_iso(text: str | None, *, flawed: bool = False) -> PartialDate | None:
    """Read an ISO 8601 date or date-time of any precision; None when it is neither."""
    if not text:
        return None
    match = _ISO.match(text.strip())
    if match is None:
        return None
    groups = match.groups()
    given = [part.zfill(2) for part in groups[:6] if part is not None]
    _, parts = _valid_parts("".join(given))
    if not parts:
        return parse_hl7(text) if text.strip().isdigit() and not flawed else None
    if match.end() != len(text.strip()):
        if len(given) == 1:
            # "2 years ago" and the like never match; "20120805" is the HL7 form.
            return parse_hl7(text) if not flawed else None
        flawed = True
    flawed = flawed or len(parts) < len(given)
    if len(parts) < 4:
        return PartialDate("-".join(parts), flawed=flawed)
    zone = ""
    if groups[7]:
        offset = groups[7].replace(":", "")
        zone = "+00:00" if offset in {"Z", "z"} else _zone(offset[0], offset[1:])[0]
    return _date_time(parts, groups[6] if len(parts) == 6 else None, zone, flawed)


def parse_written(text: str | None) -> PartialDate | None:
    """Read free text as a date only where there is no doubt: full ISO 8601, or ``M/D/YYYY``."""
    if not text:
        return None
    text = text.strip()
    match = _AMERICAN.fullmatch(text)
    if match:
        month, day, year = match.groups()
        _, parts = _valid_parts(year + month.zfill(2) + day.zfill(2))
        return PartialDate("-".join(parts)) if len(parts) == 3 else None
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}([T ].*)?", text):
        return parse_iso(text)
    return None


def _valid_parts(digits: str) -> tuple[int, list[str]]:
    """Year, month, day, hour, minute, second: as many as are valid, and the digits they take."""
    year = digits[:4]
    if len(year) < 4 or not _FIRST_YEAR <= int(year) <= _LAST_YEAR:
        return 0, []
    if len(digits) in _WHOLE_LENGTHS and _is_date(digits):
        return len(digits), [year, *(digits[at : at + 2] for at in range(4, len(digits), 2))]
    parts, at = [year], 4
    for low, high in ((1, 12), (1, 31), (0, 23), (0, 59), (0, 60)):
        part = digits[at : at + 2]
        if len(part) < 2 or not low <= int(part) <= high:
            break
        if len(parts) == 2 and int(part) > monthrange(int(year), int(parts[1]))[1]:
            break
        parts.append(part)
        at += 2
    return at, parts


def _is_date(digits: str) -> bool:
    try:
        datetime(*(int(digits[at:to]) for at, to in _FIELDS if to <= len(digits)))  # type: ignore[arg-type]
    except ValueError:
        return False
    return True


def _date_time(parts: list[str], fraction: str | None, zone: str, flawed: bool) -> PartialDate:
    if not zone and all(part == "00" for part in parts[3:]) and len(parts) > 4:
        # Midnight without a zone is a date that went through a date-time field.
        return PartialDate("-".join(parts[:3]), flawed=flawed)
    day, time = "-".join(parts[:3]), ":".join(parts[3:])
    return PartialDate(f"{day}T{time}{fraction or ''}{zone}", zoned=bool(zone), flawed=flawed)


def _zone(sign: str, digits: str) -> tuple[str, bool]:
    """``+0500`` as ``+05:00``; a short offset (``-05``, ``-5``) is read as hours and called inexact."""
    exact = len(digits) == 4
    if len(digits) == 3:
        digits = "0" + digits
    hours, minutes = digits[:2].zfill(2), digits[2:].ljust(2, "0")
    if int(hours) > 14 or int(minutes) > 59:
        return "", False
    return f"{sign}{hours}:{minutes}", exact
