"""Every item becomes a valid FHIR R4 resource; a "no" never becomes a fact."""

import json
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from records.clinical import fhir
from records.clinical.fhir_types import date_time
from records.clinical.reader import item_json, read
from records.clinical.types import KINDS, Coding, Detail, Item, PartialDate, Quantity
from tests.pure.clinical.documents import everything

EVERYTHING = read(everything())


def check(resource: dict[str, Any]) -> None:
    """Fails when the resource is no valid FHIR R4, or holds an empty value."""
    get_fhir_model_class(resource["resourceType"]).model_validate(json.loads(json.dumps(resource)))


def kinds_of(kind: str) -> list[dict[str, Any]]:
    return [fhir.resource_for(item) for item in EVERYTHING.items if item.kind == kind]


def test_the_document_has_every_kind() -> None:
    wanted = set(KINDS) - {"encounter_diagnoses"}
    assert {item.kind for item in EVERYTHING.items} == wanted


@pytest.mark.parametrize("number", range(len(EVERYTHING.items)), ids=lambda n: EVERYTHING.items[n].kind)
def test_each_item_is_valid(number: int) -> None:
    item = EVERYTHING.items[number]
    resource = fhir.resource_for(item, "Patient/77")
    check(resource)
    assert "Patient/77" in json.dumps(resource)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_item_of_each_kind_is_valid(kind: str) -> None:
    bare = Item(kind=kind, name="Something")
    for item in (bare, Item(kind=kind, none_known=True), Item(kind=kind, name="Not it", negated=True)):
        check(fhir.resource_for(item))
    check(fhir.resource_for(Item(kind=kind, understood=False, path="/*")))


def test_bundle() -> None:
    bundle = fhir.bundle(EVERYTHING)
    check(bundle)
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    # The patient, one report of the results, and the provenance besides the items.
    assert len(urls) == len(set(urls)) == len(EVERYTHING.items) + 3
    assert urls == [entry["fullUrl"] for entry in fhir.bundle(read(everything()))["entry"]]
    types = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert (types[0], types[-1]) == ("Patient", "Provenance")
    provenance = bundle["entry"][-1]["resource"]
    assert provenance["recorded"] == "2024-05-16T09:30:00-07:00"
    assert provenance["agent"][0]["who"]["display"] == "Odile Brandt, Larkfield Clinic"


def test_a_panel_is_a_report_of_its_observations() -> None:
    resources = {entry["fullUrl"]: entry["resource"] for entry in fhir.bundle(EVERYTHING)["entry"]}
    (report,) = (r for r in resources.values() if r["resourceType"] == "DiagnosticReport")
    assert (report["status"], report["code"]["text"]) == ("final", "Comprehensive metabolic panel")
    names = [resources[result["reference"]]["code"]["text"] for result in report["result"]]
    assert names == ["Glucose", "Culture", "Titer"]


def test_patient() -> None:
    patient = fhir.bundle(EVERYTHING)["entry"][0]["resource"]
    assert patient["name"][0] == {"use": "official", "family": "Harrowgate", "given": ["Wren", "Isolde"]}
    assert (patient["birthDate"], patient["gender"]) == ("1971-04-09", "female")
    assert patient["identifier"] == [{"system": "urn:oid:2.16.840.1.113883.19.77", "value": "OAK-441"}]


def test_negations_stay_negations() -> None:
    allergies = kinds_of("allergies")
    verified = [a["verificationStatus"]["coding"][0]["code"] for a in allergies]
    assert verified == ["confirmed", "refuted", "confirmed"]
    assert allergies[2]["code"]["coding"][0]["code"] == "409137002"
    problems = kinds_of("problems")
    assert problems[1]["verificationStatus"]["coding"][0]["code"] == "refuted"
    assert problems[2]["resourceType"] == "List"
    assert problems[2]["emptyReason"]["coding"][0]["code"] == "nilknown"
    assert [i["status"] for i in kinds_of("immunizations")] == ["completed", "not-done"]
    assert [m["resourceType"] for m in kinds_of("medications")] == [
        "MedicationStatement",
        "MedicationRequest",
        "List",
    ]
    for kind, key, word in (
        ("procedures", "status", "not-done"),
        ("medications", "status", "not-taken"),
        ("medications_administered", "status", "not-done"),
        ("goals", "lifecycleStatus", "rejected"),
    ):
        assert fhir.resource_for(Item(kind=kind, name="X", negated=True))[key] == word
    family = fhir.resource_for(Item(kind="family_history", name="Asthma", negated=True))
    assert "condition" not in family


def test_values() -> None:
    glucose, culture, titer = kinds_of("results")
    assert glucose["valueQuantity"] == {
        "value": 104,
        "unit": "mg/dL",
        "system": "http://unitsofmeasure.org",
        "code": "mg/dL",
    }
    assert culture["valueString"] == "None"
    assert (titer["valueRange"]["low"]["value"], titer["valueRange"]["high"]["value"]) == (1, 2)
    pending = fhir.resource_for(Item(kind="results", name="X", status="active"))
    assert (pending["status"], "dataAbsentReason" in pending) == ("registered", True)
    odd = Item(
        kind="results",
        name="X",
        value="152",
        unit="THOUS",
        detail=Detail(value_quantity=Quantity("152", "THOUS")),
    )
    # A unit that is no UCUM is shown as sent and not called UCUM.
    assert fhir.resource_for(odd)["valueQuantity"] == {"value": 152, "unit": "THOUS"}
    words = Item(kind="results", value="1+", detail=Detail(value_quantity=Quantity("1+")), name="X")
    assert fhir.resource_for(words)["valueString"] == "1+"


@pytest.mark.parametrize(
    ("date", "shape"),
    [
        (PartialDate("2012"), {"d": "2012"}),
        (PartialDate("2012-08"), {"d": "2012-08"}),
        (PartialDate("2012-08-05T10:30-05:00", zoned=True), {"d": "2012-08-05T10:30:00-05:00"}),
        (PartialDate("2012-08-05T10:30:15.25-05:00", zoned=True), {"d": "2012-08-05T10:30:15.25-05:00"}),
        (
            PartialDate("2012-08-05T10:30"),
            {
                "d": "2012-08-05",
                "_d": {
                    "extension": [
                        {"url": "urn:healthvault-direct:written-time", "valueString": "2012-08-05T10:30"}
                    ]
                },
            },
        ),
        (None, {}),
    ],
)
def test_dates_are_never_widened(date: PartialDate | None, shape: dict[str, Any]) -> None:
    assert date_time("d", date) == shape


def test_a_time_in_words_is_not_lost() -> None:
    item = Item(kind="results", name="Potassium", value="4", detail=Detail(start_text="in spring"))
    resource = fhir.resource_for(item)
    check(resource)
    assert resource["extension"] == [
        {"url": "urn:healthvault-direct:written-time", "valueString": "in spring"}
    ]
    assert item_json(item)["start_text"] == "in spring"
    assert "start_text" not in item_json(Item(kind="results", start=PartialDate("2020")))


def test_a_zero_that_is_no_reading_says_so() -> None:
    item = Item(kind="vital_signs", name="Heart rate", value="0", detail=Detail(not_measured=True))
    assert "nothing was measured" in fhir.resource_for(item)["note"][0]["text"]


def test_a_system_in_words_is_no_system() -> None:
    item = Item(kind="problems", name="Gout", codes=(Coding("House codes", "17", "Gout"),))
    assert fhir.resource_for(item)["code"]["coding"] == [{"code": "17", "display": "Gout"}]


def test_only_what_ended_has_an_abatement() -> None:
    ended = PartialDate("2003")
    active = fhir.resource_for(Item(kind="problems", name="X", status="active", end=ended))
    assert "abatementDateTime" not in active
    unknown = fhir.resource_for(Item(kind="problems", name="X", end=ended))
    assert unknown["clinicalStatus"]["coding"][0]["code"] == "resolved"
    assert unknown["abatementDateTime"] == "2003"


def test_encounter_class_by_cpt() -> None:
    assert kinds_of("encounters")[0]["class"]["code"] == "IMP"
