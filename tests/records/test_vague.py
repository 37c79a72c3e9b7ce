"""Dates as people write them."""

from __future__ import annotations

import pytest

from records.vague import is_no_date, vague_date


@pytest.mark.parametrize(
    ("typed", "iso"),
    [
        ("2012", "2012"),
        ("2012-08", "2012-08"),
        ("2012-08-05", "2012-08-05"),
        ("8/5/2012", "2012-08-05"),
        ("August 2012", "2012-08"),
        ("aug 2012", "2012-08"),
        ("Sept. 2012", "2012-09"),
        ("5 August 2012", "2012-08-05"),
        (" August  5, 2012 ", "2012-08-05"),
    ],
)
def test_a_date_keeps_the_precision_it_was_typed_in(typed, iso):
    found = vague_date(typed)
    assert found is not None
    assert found.iso == iso


@pytest.mark.parametrize("typed", ["as a child", "about 2010", "summer 2012", "30 February 2012", ""])
def test_other_words_are_no_date(typed):
    assert vague_date(typed) is None


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [("2012-13", True), ("31/31/2012", True), ("about 2010", False), ("2012", False), ("", False)],
)
def test_what_means_to_be_a_date_and_is_none(typed, wrong):
    assert is_no_date(typed) is wrong
