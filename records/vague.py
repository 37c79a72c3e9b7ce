"""Dates as people know them: a year, a month, a day, or words."""

from records.clinical.dates import parse_iso, parse_written
from records.clinical.types import PartialDate


def vague_date(text: str) -> PartialDate | None:
    """The date in `text`, in the precision given; None for words such as "as a child".

    Understands 2012, 2012-08, 2012-08-05, with or without a time, and 8/5/2012.
    """
    found = parse_iso(text.strip()) or parse_written(text.strip())
    return None if found is None or found.flawed else found
