"""FHIR R4 resources of allergies, conditions, observations and family history."""

from records.clinical import codes
from records.clinical.fhir_types import (
    Json,
    annotation,
    concept,
    concept_of,
    date_time,
    fixed,
    identifiers,
    party,
    quantity,
    range_of,
    reaction,
    reference_range,
    when,
    without_empty,
)
from records.clinical.panels import Panel
from records.clinical.types import Coded, Item

_TERMS = "http://terminology.hl7.org/CodeSystem/"
_ALLERGY_CLINICAL = _TERMS + "allergyintolerance-clinical"
_ALLERGY_VERIFICATION = _TERMS + "allergyintolerance-verification"
_CONDITION_CLINICAL = _TERMS + "condition-clinical"
_CONDITION_VERIFICATION = _TERMS + "condition-ver-status"
_US_CATEGORY = "http://hl7.org/fhir/us/core/CodeSystem/condition-category"
_OBSERVATION_CATEGORY = _TERMS + "observation-category"

_NO_ALLERGY = {
    "416098002": ("409137002", "No known drug allergy"),
    "419511003": ("409137002", "No known drug allergy"),
    "414285001": ("429625007", "No known food allergy"),
    "418471000": ("429625007", "No known food allergy"),
    "426232007": ("428607008", "No known environmental allergy"),
}
_NO_KNOWN_ALLERGY_CODES = frozenset({"716186003", "409137002", "429625007", "428607008", "1003774007"})
_ALLERGY_CATEGORIES = {
    "416098002": "medication",
    "419511003": "medication",
    "59037007": "medication",
    "414285001": "food",
    "418471000": "food",
    "235719002": "food",
    "426232007": "environment",
}
_INTOLERANCES = frozenset({"59037007", "235719002"})
_CRITICALITY = {"CRITL": "low", "CRITH": "high", "CRITU": "unable-to-assess"}
_CONDITION_STATES = frozenset({"active", "recurrence", "relapse", "inactive", "remission", "resolved"})
_ENDED = frozenset({"inactive", "remission", "resolved"})
_CATEGORIES = {
    "problems": (_TERMS + "condition-category", "problem-list-item"),
    "encounter_diagnoses": (_TERMS + "condition-category", "encounter-diagnosis"),
    "admission_diagnosis": (_TERMS + "condition-category", "encounter-diagnosis"),
    "discharge_diagnosis": (_TERMS + "condition-category", "encounter-diagnosis"),
    "preoperative_diagnosis": (_TERMS + "condition-category", "encounter-diagnosis"),
    "postoperative_diagnosis": (_TERMS + "condition-category", "encounter-diagnosis"),
    "past_illness": (_TERMS + "condition-category", "problem-list-item"),
    "health_concerns": (_US_CATEGORY, "health-concern"),
}
_OBSERVATION_CATEGORIES = {
    "results": (_OBSERVATION_CATEGORY, "laboratory"),
    "vital_signs": (_OBSERVATION_CATEGORY, "vital-signs"),
    "social_history": (_OBSERVATION_CATEGORY, "social-history"),
    "functional_status": ("http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "functional-status"),
    "mental_status": ("http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "cognitive-status"),
    "nutrition": (_OBSERVATION_CATEGORY, "survey"),
    "outcomes": (_OBSERVATION_CATEGORY, "survey"),
    "advance_directives": ("http://loinc.org", "42348-3"),
}
_OBSERVATION_STATUS = {
    "completed": "final",
    "active": "registered",
    "held": "registered",
    "new": "registered",
    "suspended": "registered",
    "aborted": "cancelled",
    "cancelled": "cancelled",
    "nullified": "entered-in-error",
    "entered-in-error": "entered-in-error",
}


_REPORT_STATUS = {
    "completed": "final",
    "active": "partial",
    "new": "registered",
    "held": "registered",
    "suspended": "registered",
    "aborted": "cancelled",
    "cancelled": "cancelled",
    "nullified": "entered-in-error",
}
PANEL = "urn:healthvault-direct:panel"
PANEL_PATH = "urn:healthvault-direct:panel-path"


def allergy(item: Item, subject: Json) -> Json:
    """AllergyIntolerance (us-core-allergyintolerance)."""
    kind = item.detail.get("allergy_type", Coded())
    error = item.status == "entered-in-error"
    verification = "entered-in-error" if error else "refuted" if item.negated else "confirmed"
    clinical = item.status if item.status in {"active", "inactive", "resolved"} else "active"
    categories = [_ALLERGY_CATEGORIES[c.code] for c in kind.codes if c.code in _ALLERGY_CATEGORIES]
    criticality = next(
        (
            _CRITICALITY[c.code]
            for c in item.detail.get("criticality", Coded()).codes
            if c.code in _CRITICALITY
        ),
        None,
    )
    severity = item.detail.get("severity")
    return without_empty(
        {
            "resourceType": "AllergyIntolerance",
            "identifier": identifiers(item.ids),
            "clinicalStatus": None if error else fixed(_ALLERGY_CLINICAL, clinical),
            "verificationStatus": fixed(_ALLERGY_VERIFICATION, verification),
            "type": ("intolerance" if any(kind.has(c) for c in _INTOLERANCES) else "allergy")
            if kind
            else None,
            "category": list(dict.fromkeys(categories)),
            "criticality": criticality,
            "code": _no_known_allergy(item, kind) if item.none_known else _thing(item),
            "patient": subject,
            **when("onset", item.start, item.end),
            **_recorder(item),
            "note": annotation(item.detail.get("comment", "")),
            "reaction": [reaction(found, severity) for found in item.detail.get("reactions", ())],
        }
    )


def _no_known_allergy(item: Item, kind: Coded) -> Json:
    if any(coding.code in _NO_KNOWN_ALLERGY_CODES for coding in item.codes):
        return _thing(item)
    found = next((_NO_ALLERGY[c.code] for c in kind.codes if c.code in _NO_ALLERGY), None)
    code, display = found or ("716186003", "No known allergy")
    return {**fixed(codes.SNOMED, code, display), "text": item.name or display}


def condition(item: Item, subject: Json) -> Json:
    """Condition; its category says where it was listed."""
    system, code = _CATEGORIES[item.kind]
    status = item.status if item.status in _CONDITION_STATES else ""
    if item.end is not None and status not in _ENDED:
        # Only what has ended may have an abatement.
        status = status or "resolved"
    error = item.status == "entered-in-error"
    verification = "entered-in-error" if error else "refuted" if item.negated else "confirmed"
    if item.status == "suspected" and not item.negated:
        verification = "unconfirmed"
    abatement = date_time("abatementDateTime", item.end) if status in _ENDED else {}
    site = item.detail.get("body_site")
    severity = item.detail.get("severity")
    age = quantity(item.detail.get("age_at_onset"))
    onset = date_time("onsetDateTime", item.start)
    if not onset and age and age.get("unit") in {"a", "mo", "wk", "d"}:
        onset = {"onsetAge": age}
    if not onset and item.detail.get("start_text"):
        onset = {"onsetString": item.detail["start_text"]}
    return without_empty(
        {
            "resourceType": "Condition",
            "identifier": identifiers(item.ids),
            "clinicalStatus": fixed(_CONDITION_CLINICAL, status) if status and not error else None,
            "verificationStatus": fixed(_CONDITION_VERIFICATION, verification),
            "category": [fixed(system, code)],
            "severity": concept(severity) if severity else None,
            "code": _thing(item),
            "bodySite": [concept(site)] if site else None,
            "subject": subject,
            **onset,
            **abatement,
            **_recorder(item),
            "note": annotation(item.detail.get("comment", "")),
        }
    )


def family_history(item: Item, subject: Json) -> Json:
    """FamilyMemberHistory: one relative with one condition."""
    detail = item.detail
    relative = detail.get("relative", Coded())
    age = quantity(detail.get("age_at_onset"))
    shape: Json = {
        "code": _thing(item),
        "onsetAge": age if age and age.get("unit") in {"a", "mo", "wk", "d"} else None,
        "contributedToDeath": True if detail.get("cause_of_death") else None,
    }
    if not shape["onsetAge"] and item.start:
        shape["onsetString"] = item.start.iso
    return without_empty(
        {
            "resourceType": "FamilyMemberHistory",
            "identifier": identifiers(item.ids),
            "status": "completed",
            "patient": subject,
            "name": detail.get("relative_name"),
            "relationship": concept(relative) if relative else {"text": "Family member"},
            "sex": _sex(detail.get("relative_gender", "")),
            "bornDate": detail.get("relative_birth"),
            "deceasedBoolean": detail.get("relative_deceased"),
            # FHIR R4 cannot deny a condition here: it is said in words, and not listed.
            "note": annotation(f"Does not have: {item.name}" if item.negated else ""),
            "condition": None if item.negated else [without_empty(shape)],
        }
    )


def _sex(code: str) -> Json | None:
    words = {"M": "male", "F": "female"}
    word = words.get(code.upper())
    return fixed("http://hl7.org/fhir/administrative-gender", word) if word else None


def observation(item: Item, subject: Json) -> Json:
    """Observation of every kind; its category says which."""
    system, code = _OBSERVATION_CATEGORIES[item.kind]
    status = _OBSERVATION_STATUS.get(item.status, "final" if item.value is not None else "unknown")
    value = _value(item)
    if status == "registered" and item.value is not None:
        status = "preliminary"
    detail = item.detail
    method, site = detail.get("method"), detail.get("body_site")
    performers = [shape for found in detail.get("performers", ()) if (shape := party(found))]
    notes = [detail.get("comment", "")]
    if item.negated:
        notes.append("Said not to be so.")
    if detail.get("not_measured"):
        notes.append("A zero here means that nothing was measured.")
    return without_empty(
        {
            "resourceType": "Observation",
            "extension": _panel(item),
            "identifier": identifiers(item.ids),
            "status": status,
            "category": [fixed(system, code)],
            "code": _thing(item),
            "subject": subject,
            **when("effective", item.start, item.end),
            "performer": performers,
            **value,
            "interpretation": [concept(found) for found in detail.get("interpretations", ())],
            "note": [{"text": note} for note in notes if note],
            "bodySite": concept(site) if site else None,
            "method": concept(method) if method else None,
            "referenceRange": [reference_range(found) for found in detail.get("reference_ranges", ())],
            "component": [
                {"code": {"text": name}, "valueString": answer} for name, answer in detail.get("parts", ())
            ],
        }
    )


def report(panel: Panel, subject: Json, results: list[str]) -> Json:
    """DiagnosticReport (us-core-diagnosticreport-lab) of one panel.

    :param results: the references of its Observations.
    """
    first = panel.items[0]
    return without_empty(
        {
            "resourceType": "DiagnosticReport",
            "status": _REPORT_STATUS.get(panel.status, "unknown"),
            "category": [fixed("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB")],
            "code": concept(panel.code) or {"text": "Laboratory report"},
            "subject": subject,
            **when("effective", first.start, first.end),
            "result": [{"reference": reference} for reference in results],
        }
    )


def _panel(item: Item) -> list[Json]:
    """Which panel an observation stood in, so that its members are found again."""
    detail = item.detail
    if "panel_path" not in detail:
        return []
    name = detail["panel"].name if "panel" in detail else ""
    found = [{"url": PANEL_PATH, "valueString": detail["panel_path"]}]
    return [*found, {"url": PANEL, "valueString": name}] if name else found


def _value(item: Item) -> Json:
    """``value[x]`` by what the document sent; a missing value has a reason for it."""
    detail = item.detail
    found = detail.get("value_quantity")
    if found is not None:
        spread = range_of(found) if found.high else None
        if spread:
            return {"valueRange": spread}
        amount = quantity(found)
        if amount:
            return {"valueQuantity": amount}
    coded = detail.get("value_coded")
    if coded is not None and item.value is not None:
        return {"valueCodeableConcept": concept(coded)}
    date = detail.get("value_date")
    if date is not None:
        return date_time("valueDateTime", date)
    if detail.get("value_type") == "BL" and item.value in {"true", "false"}:
        return {"valueBoolean": item.value == "true"}
    if item.value:
        return {"valueString": f"{item.value} {item.unit}" if item.unit else item.value}
    return {"dataAbsentReason": fixed(_TERMS + "data-absent-reason", "unknown")}


def _thing(item: Item) -> Json:
    return concept_of(item.codes, item.text or item.name) or {"text": "unknown"}


def _recorder(item: Item) -> Json:
    """The last author with a time is the recorder."""
    authors = item.detail.get("authors", ())
    timed = [author for author in authors if author.time]
    recorder = timed[-1] if timed else authors[-1] if authors else None
    if recorder is None:
        return {}
    who = party(recorder)
    shape: Json = {"recorder": who} if who else {}
    return {**shape, **date_time("recordedDate", recorder.time)}
