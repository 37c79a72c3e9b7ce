"""Dates keep the precision they were given; nothing raises."""

import pytest

from records.clinical.dates import parse_hl7, parse_iso, parse_written


@pytest.mark.parametrize(
    ("text", "iso", "flawed"),
    [
        ("2012", "2012", False),
        ("201208", "2012-08", False),
        ("20120805", "2012-08-05", False),
        ("201208051030", "2012-08-05T10:30", False),
        ("20120805103015", "2012-08-05T10:30:15", False),
        ("20120805103015.250-0500", "2012-08-05T10:30:15.250-05:00", False),
        ("201208051030+0000", "2012-08-05T10:30+00:00", False),
        (" 20120805 ", "2012-08-05", False),
        # Midnight without a zone is a date that went through a date-time field.
        ("20120805000000", "2012-08-05", False),
        ("201208050000", "2012-08-05", False),
        ("20120805000000-0500", "2012-08-05T00:00:00-05:00", False),
        # The longest valid prefix, flagged.
        ("2015120171605", "2015-12-01T71", True),
        ("201512011", "2015-12-01", True),
        ("20120805103015-05", "2012-08-05T10:30:15-05:00", True),
        ("20121305", "2012", True),
        ("20120231", "2012-02", True),
        ("20120805 10:30", "2012-08-05", True),
        ("2012-08-05", "2012-08-05", True),
        ("2012-08-05T10:30:00Z", "2012-08-05T10:30:00+00:00", True),
        ("2012080525", "2012-08-05", True),
    ],
)
def test_hl7(text: str, iso: str, flawed: bool) -> None:
    found = parse_hl7(text)
    assert found is not None
    if text == "2015120171605":
        # Hour 71 does not exist: the day is as far as it goes.
        iso = "2015-12-01"
    assert (found.iso, found.flawed) == (iso, flawed)


@pytest.mark.parametrize(
    "text", [None, "", "0", "00000000", "00010101", "17530101", "unknown", "12", "UNK", "9999"]
)
def test_hl7_nulls(text: str | None) -> None:
    assert parse_hl7(text) is None


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2003", "2003"),
        ("2003-04", "2003-04"),
        ("2003-04-05", "2003-04-05"),
        ("2010-03-25T13:15:00-05:00", "2010-03-25T13:15:00-05:00"),
        ("2010-03-25T13:15Z", "2010-03-25T13:15+00:00"),
        ("20100325", "2010-03-25"),
        ("2010-03-25T00:00:00", "2010-03-25"),
    ],
)
def test_iso(text: str, iso: str) -> None:
    found = parse_iso(text)
    assert found is not None
    assert found.iso == iso


@pytest.mark.parametrize("text", ["", "2 years ago", "spring 2003", "Unknown"])
def test_iso_nulls(text: str) -> None:
    assert parse_iso(text) is None


@pytest.mark.parametrize(
    ("text", "iso"),
    [("6/27/1996", "1996-06-27"), ("12/1/2003", "2003-12-01"), ("2003-12-01", "2003-12-01")],
)
def test_written(text: str, iso: str) -> None:
    found = parse_written(text)
    assert found is not None
    assert found.iso == iso


@pytest.mark.parametrize("text", ["6/27/96", "27/6/1996", "2 years ago", "Unknown", "June 1996", "1996"])
def test_written_stays_text_when_in_doubt(text: str) -> None:
    assert parse_written(text) is None


def test_precision() -> None:
    found = [parse_hl7(text) for text in ("2012", "201208", "20120805", "201208051030")]
    assert [date.precision for date in found if date] == ["year", "month", "day", "time"]
    assert [date.day for date in found if date] == ["2012", "2012-08", "2012-08-05", "2012-08-05"]
