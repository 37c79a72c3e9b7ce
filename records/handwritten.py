"""What people may type about an item of each kind, and how that becomes facts of the item."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from records.clinical.types import Coded, Coding, Detail, Party, Quantity, Reaction, ReferenceRange

_RANGE = re.compile(r"(?P<low>\d+(?:\.\d+)?)\s*(?:-|–|to)\s*(?P<high>\d+(?:\.\d+)?)")
_BOUND = re.compile(r"(?P<sign><=?|>=?|up to|from)\s*(?P<bound>\d+(?:\.\d+)?)", re.IGNORECASE)
_NUMBER = re.compile(r"(?P<sign>[<>]=?|[≤≥])?\s*(?P<number>-?\d+(?:\.\d+)?)")
_SIGNS = {"≤": "<=", "≥": ">="}
_LOINC = "http://loinc.org"
MOST = 400
MOST_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Extra:
    """A further field: its label, a hint, whether it takes whole paragraphs, and what it makes of words."""

    label: str
    make: Callable[[str, str], Detail]
    hint: str = ""
    long: bool = False


def _range(words: str, unit: str) -> Detail:
    found, bound = _RANGE.fullmatch(words), _BOUND.fullmatch(words)
    if found:
        made = ReferenceRange(low=found["low"], high=found["high"], unit=unit)
    elif bound and bound["sign"][0] in "<uU":
        made = ReferenceRange(high=bound["bound"], unit=unit)
    elif bound:
        made = ReferenceRange(low=bound["bound"], unit=unit)
    else:
        made = ReferenceRange(text=words)
    return Detail(reference_ranges=(made,))


EXTRAS: dict[str, Extra] = {
    "reaction": Extra(
        "Reaction", lambda words, _: Detail(reactions=(Reaction(Coded(name=words)),)), "For instance: hives."
    ),
    "severity": Extra("How severe it is", lambda words, _: Detail(severity=Coded(name=words))),
    "body_site": Extra("Part of the body", lambda words, _: Detail(body_site=Coded(name=words))),
    "sig": Extra(
        "How it is taken",
        lambda words, _: Detail(sig=words),
        "For instance: 1 tablet, twice a day, with food.",
    ),
    "reason": Extra("What it is for", lambda words, _: Detail(reasons=(Coded(name=words),))),
    "lot": Extra("Lot number", lambda words, _: Detail(lot=words)),
    "maker": Extra("Maker", lambda words, _: Detail(maker=words)),
    "dose_number": Extra("Which dose it was", lambda words, _: Detail(dose_number=words), "For instance: 2."),
    "performer": Extra("Done by", lambda words, _: Detail(performers=(Party(name=words),))),
    "place": Extra("Place", lambda words, _: Detail(locations=(words,))),
    "range": Extra(
        "Reference range",
        _range,
        "As the laboratory printed it: 3.5 - 5.0, or < 7. Leave it empty if there is none.",
    ),
    "relative": Extra(
        "Relative",
        lambda words, _: Detail(relative=Coded(name=words)),
        "For instance: mother, mother's father.",
    ),
    "text": Extra("Text", lambda words, _: Detail(text=words), long=True),
    "payer": Extra("Insurer", lambda words, _: Detail(payer=words)),
    "member_id": Extra("Member number", lambda words, _: Detail(member_id=words)),
    "group_id": Extra("Group", lambda words, _: Detail(group_id=words)),
    "udi": Extra(
        "Device identifier", lambda words, _: Detail(udi=words), "The long number on the device's card."
    ),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of one kind: their labels, "" for one that makes no sense there."""

    name: str
    hint: str = ""
    start: str = "Date"
    end: str = ""
    value: str = ""
    unit: bool = False
    statuses: tuple[tuple[str, str], ...] = ()
    extras: tuple[str, ...] = ()
    #: Whether it may lie ahead.
    ahead: bool = False


_ON_OFF = (("active", "Active"), ("inactive", "No longer active"), ("resolved", "Resolved"))
_TAKING = (("active", "Still taken"), ("stopped", "Stopped"), ("on-hold", "On hold"))
_CONDITION = Shape(
    "Condition",
    "As you or your doctor call it.",
    "Since",
    "Until",
    statuses=_ON_OFF,
    extras=("severity", "body_site"),
)
_DIAGNOSIS = Shape("Diagnosis", start="Date", statuses=_ON_OFF, extras=("body_site",))
_MEDICINE = Shape(
    "Medicine",
    "With its strength, as on the box.",
    "Started",
    "Stopped",
    statuses=_TAKING,
    extras=("sig", "reason"),
)
_FINDING = Shape("What was looked at", value="What was found", unit=True, extras=("performer",))

SHAPES: dict[str, Shape] = {
    "allergies": Shape(
        "What you are allergic to",
        "A medicine, a food, a plant …",
        "Since",
        "",
        statuses=_ON_OFF,
        extras=("reaction",),
    ),
    "problems": _CONDITION,
    "medications": _MEDICINE,
    "immunizations": Shape(
        "Vaccine",
        "Or the illness it protects from.",
        "Given on",
        extras=("dose_number", "lot", "maker", "performer"),
    ),
    "results": Shape(
        "Test",
        "As the laboratory calls it.",
        "Measured on",
        value="Result",
        unit=True,
        extras=("range", "performer"),
    ),
    "vital_signs": Shape(
        "What was measured", "For instance: weight.", "Measured on", value="Value", unit=True
    ),
    "procedures": Shape(
        "Operation or treatment",
        start="Done on",
        end="Until",
        extras=("body_site", "reason", "performer", "place"),
    ),
    "encounters": Shape(
        "Kind of visit",
        "For instance: check-up.",
        "Date",
        "Until",
        extras=("reason", "performer", "place"),
        ahead=True,
    ),
    "family_history": Shape("Condition", "What your relative has or had.", "Since", extras=("relative",)),
    "social_history": Shape("Subject", "For instance: tobacco.", "Since", "Until", value="Answer", unit=True),
    "medical_equipment": Shape(
        "Device", "For instance: pacemaker.", "Since", "Until", extras=("maker", "udi", "body_site")
    ),
    "payers": Shape("Plan", start="From", end="Until", extras=("payer", "member_id", "group_id"), ahead=True),
    "care_team": Shape("Person", "A doctor, a nurse, somebody who helps.", "Since", "Until", value="Role"),
    "goals": Shape("Goal", start="Set on", end="Due", extras=("text",), ahead=True),
    "health_concerns": _CONDITION,
    "plan_of_treatment": Shape(
        "What is planned", start="When", extras=("reason", "performer", "text"), ahead=True
    ),
    "advance_directives": Shape("Directive", start="From", end="Until", value="What it says", ahead=True),
    "past_illness": _CONDITION,
    "functional_status": _FINDING,
    "mental_status": _FINDING,
    "nutrition": _FINDING,
    "notes": Shape("Title", extras=("text",)),
    "instructions": Shape("Title", extras=("text",), ahead=True),
    "medications_administered": Shape("Medicine", start="Given on", extras=("sig",)),
    "admission_medications": _MEDICINE,
    "discharge_medications": _MEDICINE,
    "encounter_diagnoses": _DIAGNOSIS,
    "admission_diagnosis": _DIAGNOSIS,
    "discharge_diagnosis": _DIAGNOSIS,
    "preoperative_diagnosis": _DIAGNOSIS,
    "postoperative_diagnosis": _DIAGNOSIS,
    "assessment_and_plan": Shape("What is planned", start="When", extras=("text",), ahead=True),
    "interventions": Shape("What was done", start="Done on", end="Until", extras=("reason", "performer")),
    "outcomes": Shape("Outcome", value="What was found", unit=True),
}

#: What people measure at home, with its LOINC code and the unit that stands there if none is typed.
MEASURES = {
    "Weight": ("29463-7", "kg"),
    "Height": ("8302-2", "cm"),
    "Heart rate": ("8867-4", "/min"),
    "Body temperature": ("8310-5", ""),
    "Oxygen saturation": ("59408-5", "%"),
    "Respiratory rate": ("9279-1", "/min"),
    "Systolic blood pressure": ("8480-6", "mm[Hg]"),
    "Diastolic blood pressure": ("8462-4", "mm[Hg]"),
}
_BY_NAME = {name.casefold(): (name, code) for name, (code, _) in MEASURES.items()}


def detail_of(kind: str, typed: Mapping[str, str], unit: str = "") -> Detail:
    """The facts that the further fields of a kind say; fields the kind does not have are left out."""
    made = Detail()
    for name in SHAPES[kind].extras if kind in SHAPES else ():
        if typed.get(name):
            made.update(EXTRAS[name].make(typed[name], unit))
    return made


def measured(kind: str, value: str | None, unit: str | None) -> Detail:
    """A value that is a number as a quantity, so that it is charted and compared with others."""
    found = _NUMBER.fullmatch((value or "").strip())
    if found is None or kind not in SHAPES or not SHAPES[kind].unit:
        return Detail()
    comparator = _SIGNS.get(found["sign"] or "", found["sign"] or "")
    return Detail(value_quantity=Quantity(found["number"], unit or "", comparator))


def codes_for(kind: str, name: str) -> tuple[Coding, ...]:
    """The code of a measure that is known by its name, so that it joins those of documents."""
    found = _BY_NAME.get(name.casefold()) if kind == "vital_signs" else None
    return (Coding(_LOINC, found[1], found[0]),) if found else ()
