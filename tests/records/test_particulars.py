"""An item's plain facts: what the document said, in words, and nothing it did not say."""

from __future__ import annotations

from typing import Any

import pytest

from records import particulars
from records.clinical import fhir, reader
from records.overview import Fact
from tests.documents import CCR, VISIT


def contents(data: bytes) -> dict[str, dict[str, Any]]:
    """The items of a document by name, as they are kept."""
    items = reader.read(data).items
    return {item.name: {**reader.item_json(item), "resource": fhir.resource_for(item)} for item in items}


def facts(kind: str, content: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {line.label: line.values for line in particulars.lines(kind, content)}


def result(value: float = 4.1, **more: Any) -> dict[str, Any]:
    """A laboratory result with one numeric range, 3.5 to 5.1."""
    ends = {"low": {"value": 3.5, "unit": "mmol/L"}, "high": {"value": 5.1, "unit": "mmol/L"}}
    resource = {
        "resourceType": "Observation",
        "status": "final",
        "valueQuantity": {"value": value, "unit": "mmol/L"},
        "referenceRange": [ends],
        **more,
    }
    return {"kind": "results", "name": "Potassium", "resource": resource}


def judged(*codes: str) -> list[dict[str, Any]]:
    return [{"coding": [{"code": code}], "text": "as the sender says"} for code in codes]


# --- whole documents --------------------------------------------------------------------------------------


def test_a_visit_is_told_in_words():
    items = contents(VISIT)
    assert facts("allergies", items["Penicillin V"])["Reaction"] == ("Hives (moderate)",)
    medicine = facts("medications", items["Lisinopril 10 MG Oral Tablet"])
    assert medicine["Dose"] == ("1 tablet",)
    assert medicine["How often"] == ("once a day",)
    assert medicine["Route"] == ("Oral",)
    potassium = items["Potassium [Moles/volume] in Serum or Plasma"]
    assert particulars.value(potassium) == "4.1 mmol/L"
    assert particulars.ranges(potassium) == ["3.5 to 5.1 mmol/L"]
    assert particulars.panel(potassium) == "Basic metabolic panel"
    assert particulars.value(items["Systolic blood pressure"]) == "128 mmHg"
    vaccine = items["Influenza, injectable, quadrivalent, preservative free"]
    assert facts("immunizations", vaccine)["Lot"] == ("LK26-0914",)


def test_every_item_has_words():
    for data in (VISIT, CCR):
        for name, content in contents(data).items():
            fact = Fact("1", content["kind"], content, "Larkspur")
            assert fact.name == name
            assert all("{" not in word and "urn:" not in word for word in fact.summary)
            assert all(line.label and line.values for line in fact.lines)


# --- high and low -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (result(interpretation=judged("H")), "High"),
        (result(interpretation=judged("N")), None),
        (result(interpretation=judged("N", "LL")), "Very low"),
        (result(9.9, interpretation=judged("N")), None),
        (result(9.9, interpretation=[{"text": "Resistant"}]), None),
        (result(9.9, interpretation=judged("H"), status="entered-in-error"), None),
        (result(4.1), None),
        (result(5.1), None),
        (result(5.2), "Above the range"),
        (result(3.4), "Below the range"),
        (result(9.9, referenceRange=[]), None),
        (result(valueQuantity={"value": 9.9, "unit": "mg/dL"}), None),
        (result(valueQuantity={"value": 9.9, "unit": "mmol/L", "comparator": "<"}), None),
        (result(9.9, referenceRange=[{"high": {"value": 5, "unit": "mmol/L"}, "text": "men"}]), None),
        (result(9.9, referenceRange=result()["resource"]["referenceRange"] * 2), None),
        ({"name": "Potassium"}, None),
    ],
)
def test_high_and_low_are_the_documents_own_words(content, word):
    mark = particulars.mark(content)
    assert (mark.word if mark else None) == word


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"low": {"value": 3.5, "unit": "mmol/L"}}, "3.5 mmol/L or more"),
        ({"high": {"value": 200, "unit": "mg/dL"}}, "200 mg/dL or less"),
        ({"low": {"value": 1, "unit": "g/L"}, "high": {"value": 2, "unit": "mg/L"}}, "1 g/L to 2 mg/L"),
        ({"text": "M 13-18 g/dL"}, "M 13-18 g/dL"),
        ({"high": {"value": 6, "unit": "%"}, "text": "adults"}, "6 % or less (adults)"),
    ],
)
def test_ranges_are_given_as_sent(given, words):
    assert particulars.ranges(result(referenceRange=[given])) == [words]


# --- denials, standing, names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("allergies", {"name": "Penicillin", "negated": True}, "No allergy to: Penicillin"),
        ("immunizations", {"name": "Influenza", "negated": True}, "Not given: Influenza"),
        ("goals", {"name": "Walking", "negated": True}, "Not: Walking"),
        (
            "allergies",
            {"name": "No known allergies", "negated": True, "none_known": True},
            "No known allergies",
        ),
        ("results", {"name": "", "codes": [{"code": "718-7", "display": "Hemoglobin"}]}, "Hemoglobin"),
        ("results", {"name": "", "codes": [{"code": "718-7"}]}, "Code 718-7"),
        ("results", {}, "Without a name"),
    ],
)
def test_a_name_says_what_is_and_what_is_not(kind, content, words):
    assert particulars.name(kind, content) == words


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("results", "completed", ""),
        ("medications", "completed", ""),
        ("goals", "completed", "Completed"),
        ("problems", "inactive", "No longer active"),
        ("results", "entered-in-error", "Entered in error"),
        ("problems", "well-managed", "Well managed"),
        ("problems", "", ""),
    ],
)
def test_a_standing_is_told_where_it_adds_something(kind, status, words):
    assert particulars.status(kind, {"status": status}) == words


def test_a_denied_item_has_no_standing_beside_its_denial():
    assert particulars.status("problems", {"status": "active", "negated": True}) == ""


def test_what_cannot_be_told_is_left_out():
    assert particulars.lines("results", {"name": "X", "resource": {"resourceType": "Basic"}}) == []
    assert particulars.lines("results", {"name": "X"}) == []
    assert particulars.value({"value": ""}) == ""
    assert particulars.codes({"codes": [{"code": "1", "system": "http://loinc.org"}, {"code": "2"}]}) == [
        "1 (LOINC)",
        "2",
    ]


def test_a_condition_of_the_family_names_the_relative():
    content = {
        "name": "Asthma",
        "resource": {
            "resourceType": "FamilyMemberHistory",
            "relationship": {"text": "Father"},
            "name": "Per Larch",
        },
    }
    assert particulars.relative(content) == "Father (Per Larch)"
    assert particulars.relative({"resource": {"resourceType": "Condition"}}) == ""
