"""Items and documents in the shapes of FHIR R4 (US Core where there is a profile).

One resource an item, a Bundle a document. Plain JSON values; the shapes are checked in tests, not here.
"""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from records.clinical import fhir_care, fhir_drugs, fhir_facts
from records.clinical.fhir_types import (
    DATA_ABSENT,
    WRITTEN_TIME,
    Json,
    address,
    concept,
    date_time,
    human_name,
    identifier,
    identifiers,
    party,
    telecom,
    without_empty,
)
from records.clinical.panels import panels
from records.clinical.sections import TITLES
from records.clinical.types import ClinicalSummary, Coded, Item, PatientFacts

_LIST_CODES = {
    "problems": "11450-4",
    "past_illness": "11348-0",
    "medications": "10160-0",
    "immunizations": "11369-6",
    "procedures": "47519-4",
}
_EMPTY = "http://terminology.hl7.org/CodeSystem/list-empty-reason"
_BUILDERS = {
    "allergies": fhir_facts.allergy,
    "problems": fhir_facts.condition,
    "past_illness": fhir_facts.condition,
    "encounter_diagnoses": fhir_facts.condition,
    "admission_diagnosis": fhir_facts.condition,
    "discharge_diagnosis": fhir_facts.condition,
    "preoperative_diagnosis": fhir_facts.condition,
    "postoperative_diagnosis": fhir_facts.condition,
    "health_concerns": fhir_facts.condition,
    "family_history": fhir_facts.family_history,
    "results": fhir_facts.observation,
    "vital_signs": fhir_facts.observation,
    "social_history": fhir_facts.observation,
    "functional_status": fhir_facts.observation,
    "mental_status": fhir_facts.observation,
    "nutrition": fhir_facts.observation,
    "advance_directives": fhir_facts.observation,
    "outcomes": fhir_facts.observation,
    "medications": fhir_drugs.medication,
    "admission_medications": fhir_drugs.medication,
    "discharge_medications": fhir_drugs.medication,
    "medications_administered": fhir_drugs.administration,
    "immunizations": fhir_drugs.immunization,
    "procedures": fhir_care.procedure,
    "interventions": fhir_care.intervention,
    "encounters": fhir_care.encounter,
    "plan_of_treatment": fhir_care.planned,
    "assessment_and_plan": fhir_care.planned,
    "goals": fhir_care.goal,
    "medical_equipment": fhir_care.device_use,
    "payers": fhir_care.coverage,
    "care_team": fhir_care.care_team,
    "notes": fhir_care.document_reference,
    "instructions": fhir_care.instruction,
}


def resource_for(item: Item, patient: str = "Patient/patient") -> dict[str, Any]:
    """The FHIR R4 resource of an item.

    :param item: any item, also one that says none known, not, or could not be understood.
    :param patient: the reference of its person.
    :returns: a resource without ``id``; "none known" of a kind is a List with an empty reason, except for
        allergies, which have codes for it; an entry not understood is a Basic.
    """
    subject = {"reference": patient}
    if not item.understood:
        return _not_understood(item, subject)
    if item.none_known and item.kind != "allergies":
        resource = _none_known(item, subject)
    else:
        resource = _BUILDERS[item.kind](item, subject)
    written = item.detail.get("start_text")
    if written and item.start is None:
        # "2 years ago" is no date, and is not to be lost.
        extension = {"url": WRITTEN_TIME, "valueString": written}
        resource["extension"] = [*resource.get("extension", []), extension]
    return resource


def bundle(document: ClinicalSummary) -> dict[str, Any]:
    """A Bundle (``collection``) of the patient, every item, the reports, and the provenance of all.

    Ids are made from the document's id and each item's path: the same document gives the same ids.
    """
    seed = _seed(document)
    patient_url = _urn(seed, "patient")
    entries = [_entry(patient_url, patient_resource(document.patient or PatientFacts()))]
    targets = []
    urls: dict[str, str] = {}
    for item in document.items:
        url = _urn(seed, f"{item.kind}{item.path}#{len(entries)}")
        urls[item.path] = url
        targets.append({"reference": url})
        entries.append(_entry(url, resource_for(item, patient_url)))
    results = (item for item in document.items if item.kind == "results" and item.understood)
    for panel in panels(results):
        report = fhir_facts.report(
            panel, {"reference": patient_url}, [urls[item.path] for item in panel.items]
        )
        entries.append(_entry(_urn(seed, f"report{panel.path}"), report))
    if targets:
        entries.append(_entry(_urn(seed, "provenance"), _provenance(document, targets)))
    return without_empty(
        {
            "resourceType": "Bundle",
            "type": "collection",
            "identifier": identifier(document.document_id) if document.document_id else None,
            "entry": entries,
        }
    )


def patient_resource(patient: PatientFacts) -> dict[str, Any]:
    """Patient (us-core-patient) as the document names the person."""
    deceased: Json = {}
    if patient.deceased_date:
        deceased = date_time("deceasedDateTime", patient.deceased_date)
    elif patient.deceased:
        deceased = {"deceasedBoolean": True}
    return without_empty(
        {
            "resourceType": "Patient",
            "identifier": identifiers(patient.ids),
            "name": [human_name(name) for name in patient.names]
            or ([{"text": patient.name}] if patient.name else None),
            "telecom": [telecom(found) for found in patient.telecoms],
            "gender": patient.gender,
            "birthDate": patient.birth_date,
            **deceased,
            "address": [address(found) for found in patient.addresses],
            "maritalStatus": concept(patient.marital_status) if patient.marital_status else None,
            "communication": [
                {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": language}]}}
                for language in patient.languages
            ],
            "extension": [
                *_race_or_ethnicity("race", patient.races),
                *_race_or_ethnicity("ethnicity", patient.ethnicity),
            ],
        }
    )


def _race_or_ethnicity(name: str, found: tuple[Coded, ...]) -> list[Json]:
    """The US Core extension; its text is required."""
    if not found:
        return []
    parts: list[Json] = []
    for coded in found:
        for one in coded.codes[:1]:
            parts.append(
                {
                    "url": "detailed" if parts else "ombCategory",
                    "valueCoding": without_empty(
                        {"system": one.system, "code": one.code, "display": one.display}
                    ),
                }
            )
    parts.append({"url": "text", "valueString": ", ".join(coded.name for coded in found)})
    return [{"url": f"http://hl7.org/fhir/us/core/StructureDefinition/us-core-{name}", "extension": parts}]


def _none_known(item: Item, subject: Json) -> Json:
    code = item.section or _LIST_CODES.get(item.kind, "")
    return without_empty(
        {
            "resourceType": "List",
            "status": "current",
            "mode": "snapshot",
            "title": item.name,
            "code": {
                "coding": [{"system": "http://loinc.org", "code": code, "display": TITLES.get(code, "")}]
            }
            if TITLES.get(code)
            else None,
            "subject": subject,
            "emptyReason": without_empty(
                {"coding": [{"system": _EMPTY, "code": "nilknown"}], "text": item.name}
            ),
            **date_time("date", item.start),
        }
    )


def _not_understood(item: Item, subject: Json) -> Json:
    return {
        "resourceType": "Basic",
        "code": {"text": "Entry of a clinical document that could not be read"},
        "subject": subject,
        "extension": [
            {"url": "urn:healthvault-direct:kind", "valueString": item.kind},
            {"url": "urn:healthvault-direct:element-path", "valueString": item.path},
        ],
    }


def _provenance(document: ClinicalSummary, targets: list[Json]) -> Json:
    agents = []
    for author in document.authors:
        who = party(author)
        if who:
            agents.append({"type": {"text": "author"}, "who": who})
    if document.custodian and (who := party(document.custodian)):
        agents.append({"type": {"text": "custodian"}, "who": who})
    recorded = date_time("recorded", document.date)
    if len(recorded.get("recorded", "")) < 20:
        # Provenance wants an instant; a document dated less exactly has none.
        absent = [{"url": DATA_ABSENT, "valueCode": "unknown"}]
        recorded = {"_recorded": {"extension": absent}, **date_time("occurredDateTime", document.date)}
    return {
        "resourceType": "Provenance",
        "target": targets,
        **recorded,
        "agent": agents or [{"who": {"display": "unknown"}}],
    }


def _seed(document: ClinicalSummary) -> str:
    found = document.document_id
    if found is not None:
        return f"{found.root}^{found.extension}"
    return f"{document.title}^{document.date or ''}"


def _urn(seed: str, name: str) -> str:
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'urn:healthvault-direct:{seed}:{name}')}"


def _entry(url: str, resource: Json) -> Json:
    return {"fullUrl": url, "resource": {**resource, "id": url.removeprefix("urn:uuid:")}}
