"""One item's plain facts, in words: from its FHIR R4-shaped resource to lines of label and values.

Only what the document said stands here. A value is called high or low where the document says so, or
where it gives one numeric reference range in the value's own unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .data_types import (
    Json,
    amount,
    code_of,
    concept,
    dosage_in_words,
    dosages_of,
    number,
    party,
    printed,
    quantity,
    resource_of,
    spread,
    timing,
    with_more,
)
from .wording import date_in_words, unit_in_words

#: HL7 v3 ObservationInterpretation, and words and tone of the mark; codes not here give their display.
#: "<" and ">" mean off the scale, but many senders write them for below and above the range: both are true of
#: low and high.
_INTERPRETATIONS = {
    "H": ("High", "warn"),
    "HH": ("Very high", "bad"),
    "HU": ("Very high", "bad"),
    "HX": ("High", "warn"),
    ">": ("High", "warn"),
    "L": ("Low", "warn"),
    "LL": ("Very low", "bad"),
    "LU": ("Very low", "bad"),
    "LX": ("Low", "warn"),
    "<": ("Low", "warn"),
    "A": ("Abnormal", "warn"),
    "AA": ("Very abnormal", "bad"),
    "N": ("Normal", ""),
}
_STATUS_WORDS = {
    "completed": "Completed",
    "active": "Active",
    "inactive": "No longer active",
    "resolved": "Resolved",
    "remission": "In remission",
    "recurrence": "Come back",
    "relapse": "Relapse",
    "stopped": "Stopped",
    "aborted": "Stopped",
    "cancelled": "Cancelled",
    "on-hold": "On hold",
    "held": "On hold",
    "suspended": "On hold",
    "new": "Planned",
    "suspected": "Suspected",
    "nullified": "Entered in error",
    "entered-in-error": "Entered in error",
}
#: Kinds of which "completed" says nothing that the item itself does not.
_DONE_ANYWAY = frozenset(
    {
        "results",
        "vital_signs",
        "social_history",
        "procedures",
        # Many senders put it on every line of the list of what is taken now.
        "medications",
        "admission_medications",
        "discharge_medications",
        "immunizations",
        "encounters",
        "functional_status",
        "mental_status",
        "family_history",
        "medications_administered",
        "notes",
        "advance_directives",
        "nutrition",
        "outcomes",
        "care_team",
    }
)
_NOT = {
    "allergies": "No allergy to",
    "medications": "Not taking",
    "admission_medications": "Not taking",
    "discharge_medications": "Not taking",
    "medications_administered": "Not given",
    "immunizations": "Not given",
    "procedures": "Not done",
    "interventions": "Not done",
    "plan_of_treatment": "Not to be done",
    "problems": "Does not have",
    "past_illness": "Did not have",
    "family_history": "Does not have",
}
_DATE_LABELS = {
    "allergies": ("Since", "Until"),
    "problems": ("Since", "Until"),
    "past_illness": ("Since", "Until"),
    "medications": ("Started", "Stopped"),
    "admission_medications": ("Started", "Stopped"),
    "discharge_medications": ("Started", "Stopped"),
    "medications_administered": ("Given on", "Until"),
    "immunizations": ("Given on", "Until"),
    "results": ("Measured on", "Until"),
    "vital_signs": ("Measured on", "Until"),
    "procedures": ("Done on", "Until"),
    "encounters": ("Date", "Until"),
    "family_history": ("Since", "Until"),
    "goals": ("Set on", "Due"),
    "file": ("Added on", "Until"),
}
_SYSTEMS = {
    "http://snomed.info/sct": "SNOMED CT",
    "http://loinc.org": "LOINC",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD-9-CM",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://www.ama-assn.org/go/cpt": "CPT",
}
_UNIT = r"\s*(?P<unit>[^\d\s()|,;:][^()|,;:]*)?"
_FROM_TO = re.compile(rf"(?P<low>\d+(?:\.\d+)?)\s*(?:-|–|to)\s*(?P<high>\d+(?:\.\d+)?){_UNIT}")
_BELOW = re.compile(rf"(?:<|<=|≤)\s*(?P<high>\d+(?:\.\d+)?){_UNIT}")
_ABOVE = re.compile(rf"(?:>|>=|≥)\s*(?P<low>\d+(?:\.\d+)?){_UNIT}")
_AS_WRITTEN = "As the sender wrote it"
_PANEL = "urn:healthvault-direct:panel"
_PANEL_PATH = "urn:healthvault-direct:panel-path"


@dataclass(frozen=True, slots=True)
class Line:
    """One fact: what it is, and what was said, once or several times."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A word beside a value; `tone` is "warn", "bad" or empty."""

    word: str
    tone: str


# --- the head of an item ----------------------------------------------------------------------------------


def name(kind: str, content: Json) -> str:
    """What the item is, with a denial in words."""
    said = str(content.get("name") or "").strip() or _name_by_code(content)
    if kind == "vital_signs" and len(said) > 4 and said.isupper():
        # "HEART RATE": capitals are how some products store a name, and mean nothing.
        said = said.capitalize()
    if content.get("negated") and not content.get("none_known"):
        return f"{_NOT.get(kind, 'Not')}: {said}"
    return said


def _name_by_code(content: Json) -> str:
    for code in content.get("codes") or ():
        if code.get("display") or code.get("code"):
            return str(code.get("display") or f"Code {code['code']}")
    return "Without a name"


def value(content: Json) -> str:
    """Value and unit as written, the unit as it is printed."""
    said = content.get("value")
    if said in (None, ""):
        return ""
    return f"{said} {unit_in_words(content.get('unit'))}".rstrip()


def status(kind: str, content: Json) -> str:
    """The status in words, where it adds something."""
    said = str(content.get("status") or "")
    if (said == "completed" and kind in _DONE_ANYWAY) or (content.get("negated") and said != "nullified"):
        return ""
    return _STATUS_WORDS.get(said, said.replace("-", " ").capitalize())


def when_label(kind: str, *, end: bool = False) -> str:
    """The words before an item's date."""
    return _DATE_LABELS.get(kind, ("Date", "Until"))[int(end)]


def codes(content: Json) -> list[str]:
    """Every code with the name of its system."""
    found = []
    for code in content.get("codes") or ():
        system = _SYSTEMS.get(code.get("system", ""), code.get("system", ""))
        found.append(f"{code.get('code', '')} ({system})" if system else str(code.get("code", "")))
    return [words for words in found if words]


# --- values and their ranges --------------------------------------------------------------------------------


def ranges(content: Json) -> list[str]:
    """The reference ranges as sent."""
    return [words for one in resource_of(content).get("referenceRange", ()) if (words := _range(one))]


def _range(one: Json) -> str:
    low, high, text = one.get("low"), one.get("high"), str(one.get("text", "")).strip()
    if low and high:
        same = low.get("unit") == high.get("unit")
        words = f"{number(low) if same else quantity(low)} to {quantity(high)}"
    elif low:
        words = f"{quantity(low)} or more"
    elif high:
        words = f"{quantity(high)} or less"
    else:
        return text
    return f"{words} ({text})" if text else words


def mark(content: Json) -> Mark | None:
    """High, low or abnormal: by the document's own word, else by its one numeric range; else nothing."""
    resource = resource_of(content)
    if resource.get("status") in ("entered-in-error", "cancelled"):
        return None
    said = [
        _INTERPRETATIONS[coding["code"]]
        for one in resource.get("interpretation", ())
        for coding in one.get("coding", ())
        if coding.get("code") in _INTERPRETATIONS
    ]
    if said:
        worst = max(said, key=lambda pair: ("", "warn", "bad").index(pair[1]))
        return Mark(*worst) if worst[1] else None
    if resource.get("interpretation"):
        # The document judged, in words of its own (for instance resistant): they stand among the facts.
        return None
    return _mark_by_range(content)


def _mark_by_range(content: Json) -> Mark | None:
    found, measured = limits(content), resource_of(content).get("valueQuantity", {})
    if found is None or measured.get("comparator"):
        return None
    low, high = found
    number = Decimal(str(measured["value"]))
    if low is not None and number < low:
        return Mark("Below the range", "warn")
    if high is not None and number > high:
        return Mark("Above the range", "warn")
    return None


def panel(content: Json) -> str:
    """The panel or report a result stood in."""
    for extension in resource_of(content).get("extension", ()):
        if extension.get("url") == _PANEL:
            return str(extension.get("valueString", ""))
    return ""


def panel_path(content: Json) -> str:
    """Where in its document the panel of a result stands."""
    for extension in resource_of(content).get("extension", ()):
        if extension.get("url") == _PANEL_PATH:
            return str(extension.get("valueString", ""))
    return ""


def components(content: Json) -> list[tuple[str, str]]:
    """Name and value of the parts of an observation, the units as they are printed."""
    return [
        (concept(one.get("code")), printed(str(one.get("valueString", ""))))
        for one in resource_of(content).get("component", ())
    ]


def limits(content: Json) -> tuple[Decimal | None, Decimal | None] | None:
    """Low and high of the one numeric reference range in the value's own unit; None where there is none.

    A range written as text counts when it is nothing but numbers and that unit ("4.3-10.8", "< 130 mg/dL").
    Words beside a range may say for whom it holds, or that it is none of the normal ones.
    """
    resource = resource_of(content)
    measured, given = resource.get("valueQuantity"), resource.get("referenceRange", ())
    if not measured or len(given) != 1:
        return None
    low, high, text = given[0].get("low"), given[0].get("high"), str(given[0].get("text", ""))
    if text:
        return None if low or high else _written_limits(text, str(measured.get("unit", "")))
    if not (low or high):
        return None
    if any(end and end.get("unit", "") != measured.get("unit", "") for end in (low, high)):
        return None
    return (Decimal(str(low["value"])) if low else None, Decimal(str(high["value"])) if high else None)


def _written_limits(text: str, unit: str) -> tuple[Decimal | None, Decimal | None] | None:
    for pattern in (_FROM_TO, _BELOW, _ABOVE):
        found = pattern.fullmatch(text.strip())
        if found is None:
            continue
        if (found["unit"] or "").strip().casefold() not in ("", unit.casefold()):
            return None
        ends = found.groupdict()
        low, high = (Decimal(ends[end]) if ends.get(end) else None for end in ("low", "high"))
        return None if low is not None and high is not None and low > high else (low, high)
    return None


def relative(content: Json) -> str:
    """Whose condition it is, of an item of family history."""
    resource = resource_of(content)
    if resource.get("resourceType") != "FamilyMemberHistory":
        return ""
    return with_more(concept(resource.get("relationship")), str(resource.get("name", "")))


def dosage(content: Json) -> str:
    """How a medicine is taken, on one line."""
    doses = dosages_of(resource_of(content))
    return dosage_in_words(doses[0]) if doses else ""


# --- every line ---------------------------------------------------------------------------------------------


def lines(kind: str, content: Json) -> list[Line]:
    """What the item says besides name, value, dates and status, in the order people ask for it."""
    resource = resource_of(content)
    reader = _READERS.get(resource.get("resourceType", ""), _nothing)
    found: dict[str, list[str]] = {}
    typed = content.get("typed") or {}
    for label, said in (*reader(resource), *_everywhere(resource)):
        if label == _AS_WRITTEN and typed.get("sig"):
            label = "How it is taken"
        for one in said if isinstance(said, list) else [said]:
            words = " ".join(str(one or "").split())
            if words and words not in found.setdefault(label, []):
                found[label].append(words)
    return [Line(label, tuple(said)) for label, said in found.items() if said]


Pairs = Iterator[tuple[str, Any]]


def _nothing(resource: Json) -> Pairs:
    yield from ()


def _allergy(resource: Json) -> Pairs:
    kinds = [{"environment": "environmental"}.get(one, one) for one in resource.get("category", ())]
    yield "Kind", f"{' and '.join(kinds)} {resource.get('type', '')}".strip().capitalize()
    yield "Reaction", [_reaction(one) for one in resource.get("reaction", ())]
    risk = resource.get("criticality", "")
    yield "Danger", {"unable-to-assess": "Could not be judged"}.get(risk, risk.capitalize())
    yield "Recorded by", party(resource.get("recorder"))
    yield "Recorded on", date_in_words(resource.get("recordedDate"))


def _reaction(one: Json) -> str:
    words = ", ".join(filter(None, (concept(found) for found in one.get("manifestation", ()))))
    more = [one.get("severity", ""), date_in_words(one.get("onsetDateTime"))]
    return with_more(words, *more)


def _condition(resource: Json) -> Pairs:
    if code_of(resource.get("verificationStatus")) == "unconfirmed":
        yield "Certainty", "Not confirmed"
    yield "Severity", concept(resource.get("severity"))
    yield "Part of the body", [concept(one) for one in resource.get("bodySite", ())]
    yield "Age when it began", quantity(resource.get("onsetAge"))
    yield "Began", resource.get("onsetString")
    yield "Recorded by", party(resource.get("recorder"))
    yield "Recorded on", date_in_words(resource.get("recordedDate"))


def _family(resource: Json) -> Pairs:
    yield "Relative", relative({"resource": resource})
    yield "Born", date_in_words(resource.get("bornDate"))
    if resource.get("deceasedBoolean"):
        yield "Has died", "Yes"
    for one in resource.get("condition", ()):
        yield "Age when it began", quantity(one.get("onsetAge"))
        if one.get("contributedToDeath"):
            yield "Cause of death", "Yes"


def _observation(resource: Json) -> Pairs:
    yield "Judged by the sender", [_judged(one) for one in resource.get("interpretation", ())]
    yield "Reference range", [_range(one) for one in resource.get("referenceRange", ())]
    for extension in resource.get("extension", ()):
        if extension.get("url") == _PANEL:
            yield "Part of", extension.get("valueString")
    yield "How it was measured", concept(resource.get("method"))
    yield "Part of the body", concept(resource.get("bodySite"))
    for one in resource.get("component", ()):
        yield concept(one.get("code")) or "Part", printed(str(one.get("valueString", "")))
    yield "Done by", [party(one) for one in resource.get("performer", ())]
    if resource.get("status") in ("registered", "preliminary"):
        yield "Standing", "Not final yet"
    if resource.get("dataAbsentReason"):
        yield "Value", "None was given"


def _judged(one: Json) -> str:
    known = [
        _INTERPRETATIONS[c["code"]][0] for c in one.get("coding", ()) if c.get("code") in _INTERPRETATIONS
    ]
    return known[0] if known else concept(one)


def _medicine(resource: Json) -> Pairs:
    doses = dosages_of(resource)
    for one in doses:
        yield _AS_WRITTEN, one.get("text")
        yield "Dose", [amount(part) for part in one.get("doseAndRate", ())] or quantity(one.get("dose"))
        yield "Rate", [quantity(part.get("rateQuantity")) for part in one.get("doseAndRate", ())]
        yield "Rate", quantity(one.get("rateQuantity"))
        yield "How often", timing(one.get("timing", {}))
        needed = concept(one.get("asNeededCodeableConcept"))
        if needed or one.get("asNeededBoolean"):
            yield "Only when needed", f"For {needed}" if needed else "Yes"
        yield "Route", concept(one.get("route"))
        yield "Where on the body", concept(one.get("site"))
        yield "Instructions", one.get("patientInstruction")
    yield "For", [concept(one) for one in resource.get("reasonCode", ())]
    dispense = resource.get("dispenseRequest", {})
    yield "Amount", quantity(dispense.get("quantity"))
    yield "Refills", str(dispense.get("numberOfRepeatsAllowed", ""))
    yield "Prescribed by", party(resource.get("requester"))
    yield "According to", party(resource.get("informationSource"))


def _immunization(resource: Json) -> Pairs:
    yield "Reason", concept(resource.get("statusReason"))
    yield "Dose", quantity(resource.get("doseQuantity"))
    for one in resource.get("protocolApplied", ()):
        yield "Dose number", str(one.get("doseNumberPositiveInt") or one.get("doseNumberString") or "")
    yield "Lot", resource.get("lotNumber")
    yield "Maker", party(resource.get("manufacturer"))
    yield "Route", concept(resource.get("route"))
    yield "Where on the body", concept(resource.get("site"))
    yield "Given by", [party(one.get("actor")) for one in resource.get("performer", ())]
    for one in resource.get("reaction", ()):
        yield "Reaction", with_more(party(one.get("detail")), date_in_words(one.get("date")))


def _procedure(resource: Json) -> Pairs:
    if resource.get("intent"):
        yield "Standing", {"order": "Ordered", "proposal": "Proposed"}.get(resource["intent"], "Planned")
    yield "For", [concept(one) for one in resource.get("reasonCode", ())]
    yield "Part of the body", [concept(one) for one in resource.get("bodySite", ())]
    yield "Device", [party(one.get("manipulated")) for one in resource.get("focalDevice", ())]
    performers = resource.get("performer", ())
    yield "Done by", [party(one.get("actor", one)) for one in performers]
    yield "Place", party(resource.get("location")) if isinstance(resource.get("location"), dict) else ""
    yield "Asked for by", party(resource.get("requester"))


def _encounter(resource: Json) -> Pairs:
    # An ambulatory visit is also what stands there for want of a word.
    if resource.get("class", {}).get("code") != "AMB":
        yield "Kind", resource.get("class", {}).get("display", "").capitalize()
    yield "For", [concept(one) for one in resource.get("reasonCode", ())]
    yield "With", [party(one.get("individual", one.get("actor"))) for one in resource.get("participant", ())]
    yield "Place", [party(one.get("location")) for one in resource.get("location", ())]
    yield "Afterwards", concept(resource.get("hospitalization", {}).get("dischargeDisposition"))


def _appointment(resource: Json) -> Pairs:
    yield "Standing", "Planned"
    yield "With", [party(one.get("actor")) for one in resource.get("participant", ())]
    yield "Note", resource.get("comment")


def _goal(resource: Json) -> Pairs:
    for one in resource.get("target", ()):
        yield "Target", quantity(one.get("detailQuantity")) or spread(one.get("detailRange"))
        yield "Due", date_in_words(one.get("dueDate"))


def _device(resource: Json) -> Pairs:
    for one in resource.get("contained", ()):
        yield "Maker", one.get("manufacturer")
        yield "Device identifier", [carrier.get("carrierHRF") for carrier in one.get("udiCarrier", ())]
    yield "Part of the body", concept(resource.get("bodySite"))


def _coverage(resource: Json) -> Pairs:
    yield "Kind", concept(resource.get("type"))
    yield "Insurer", [party(one) for one in resource.get("payor", ())]
    yield "Member number", resource.get("subscriberId")
    yield "Insured person", party(resource.get("subscriber"))
    yield "Group", [one.get("value") for one in resource.get("class", ())]


def _team(resource: Json) -> Pairs:
    yield "Team", resource.get("name")
    for one in resource.get("participant", ()):
        yield "Person", party(one.get("member"))
        yield "Role", [concept(role) for role in one.get("role", ())]


def _note(resource: Json) -> Pairs:
    yield "Written by", [party(one) for one in resource.get("author", ())]
    yield "Text", resource.get("description")


def _everywhere(resource: Json) -> Pairs:
    yield "Note", [one.get("text") for one in resource.get("note", ())]


_READERS: dict[str, Callable[[Json], Pairs]] = {
    "AllergyIntolerance": _allergy,
    "Condition": _condition,
    "FamilyMemberHistory": _family,
    "Observation": _observation,
    "MedicationStatement": _medicine,
    "MedicationRequest": _medicine,
    "MedicationAdministration": _medicine,
    "Immunization": _immunization,
    "Procedure": _procedure,
    "ServiceRequest": _procedure,
    "Encounter": _encounter,
    "Appointment": _appointment,
    "Goal": _goal,
    "DeviceUseStatement": _device,
    "Coverage": _coverage,
    "CareTeam": _team,
    "DocumentReference": _note,
    "CarePlan": _note,
}
