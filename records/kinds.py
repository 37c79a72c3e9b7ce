"""The kinds of items: their names, their order, and the item types HealthVault had for them."""

from __future__ import annotations

from dataclasses import dataclass

#: Kinds in the order of the page, with the words people read.
KIND_NAMES = {
    "allergies": "Allergies",
    "problems": "Health problems",
    "medications": "Medicines",
    "immunizations": "Immunizations",
    "results": "Test results",
    "vital_signs": "Vital signs",
    "procedures": "Procedures",
    "encounters": "Visits",
    "encounter_diagnoses": "Diagnoses of visits",
    "past_illness": "Past illnesses",
    "medications_administered": "Medicines given",
    "admission_medications": "Medicines at admission",
    "discharge_medications": "Medicines at discharge",
    "admission_diagnosis": "Diagnosis at admission",
    "discharge_diagnosis": "Diagnosis at discharge",
    "preoperative_diagnosis": "Diagnosis before surgery",
    "postoperative_diagnosis": "Diagnosis after surgery",
    "social_history": "Social history",
    "family_history": "Family history",
    "plan_of_treatment": "Plan",
    "assessment_and_plan": "Assessment and plan",
    "goals": "Goals",
    "health_concerns": "Concerns",
    "interventions": "Interventions",
    "outcomes": "Outcomes",
    "medical_equipment": "Devices",
    "payers": "Insurance",
    "advance_directives": "Advance directives",
    "functional_status": "Abilities",
    "mental_status": "Mental state",
    "nutrition": "Nutrition",
    "care_team": "Care team",
    "notes": "Notes",
    "instructions": "Instructions",
    "file": "Files",
}
_ORDER = {kind: place for place, kind in enumerate(KIND_NAMES)}

#: Kinds of which an item holds for a time and then is past.
LASTING = frozenset(
    {
        "allergies",
        "problems",
        "medications",
        "admission_medications",
        "discharge_medications",
        "health_concerns",
        "goals",
        "payers",
        "medical_equipment",
        "care_team",
    }
)
#: "completed" is none of them: many senders put it on every line of the current list.
_PAST = frozenset(
    {
        "stopped",
        "inactive",
        "resolved",
        "remission",
        "aborted",
        "cancelled",
        "discontinued",
        "nullified",
        "entered-in-error",
    }
)
_HOLDS = frozenset({"active", "recurrence", "relapse"})
_MEDICINES = frozenset({"medications", "admission_medications", "discharge_medications"})
#: Kinds whose items are measured values, shown by panel and as charts.
MEASURED = ("results", "vital_signs")


def kind_name(kind: str) -> str:
    """The words for a kind; an unknown one as it stands."""
    return KIND_NAMES.get(kind, kind)


def place_of(kind: str) -> int:
    """Where a kind stands on the page; unknown ones last."""
    return _ORDER.get(kind, len(_ORDER))


def is_past(kind: str, status: str, end: str, today: str) -> bool:
    """Whether an item no longer holds on the day `today` (ISO 8601): by its own word, or by its end.

    Of an allergy or condition the word "active" outweighs an end; of a medicine it does not, since many
    senders put one word on every line of a list.

    :param end: ISO 8601 in its own precision: an end of "2019" is past when all of 2019 is.
    """
    if kind not in LASTING or (status in _HOLDS and kind not in _MEDICINES):
        return False
    day = end[:10]
    return status in _PAST or bool(day and day < today[: len(day)])


# --- HealthVault's item types -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemType:
    """An item type of HealthVault: its name, and the id under which its data was exchanged."""

    name: str
    id: str


_ALLERGY = ItemType("Allergy", "52bf9104-2c5e-4f1f-a66d-552ebcc53df7")
_CONDITION = ItemType("Condition", "7ea7a1f9-880b-4bd4-b593-f5660f20eda8")
_MEDICATION = ItemType("Medication", "30cafccc-047d-4288-94ef-643571f7919d")
_TYPES = {
    "allergies": _ALLERGY,
    "problems": _CONDITION,
    "past_illness": _CONDITION,
    "encounter_diagnoses": _CONDITION,
    "admission_diagnosis": _CONDITION,
    "discharge_diagnosis": _CONDITION,
    "preoperative_diagnosis": _CONDITION,
    "postoperative_diagnosis": _CONDITION,
    "health_concerns": ItemType("Concern", "aea2e8f2-11dd-4a7d-ab43-1d58764ebc19"),
    "medications": _MEDICATION,
    "medications_administered": _MEDICATION,
    "admission_medications": _MEDICATION,
    "discharge_medications": _MEDICATION,
    "immunizations": ItemType("Immunization", "cd3587b5-b6e1-4565-ab3b-1c3ad45eb04f"),
    "procedures": ItemType("Procedure", "df4db479-a1ba-42a2-8714-2b083b88150f"),
    "results": ItemType("Lab results", "5800eab5-a8c2-482a-a4d6-f1db25ae08c3"),
    "vital_signs": ItemType("Vital signs", "73822612-c15f-4b49-9e65-6af369e55c65"),
    "encounters": ItemType("Encounter", "464083cc-13de-4f3e-a189-da8e47d5651b"),
    "family_history": ItemType("Family history", "4a04fcc8-19c1-4d59-a8c7-2031a03f21de"),
    "goals": ItemType("Health goal", "dad8bb47-9ad0-4f09-a020-0ff051d1d0f7"),
    "plan_of_treatment": ItemType("Care plan", "415c95e0-0533-4d9c-ac73-91dc5031186c"),
    "assessment_and_plan": ItemType("Care plan", "415c95e0-0533-4d9c-ac73-91dc5031186c"),
    "medical_equipment": ItemType("Medical device", "ef9cf8d5-6c0b-4292-997f-4047240bc7be"),
    "payers": ItemType("Insurance plan", "9366440c-ec81-4b89-b231-308a4c4d70ed"),
    "advance_directives": ItemType("Advance directive", "822a5e5a-14f1-4d06-b92f-8f3f1b05218f"),
    "care_team": ItemType("Contact", "25c94a9f-9d3d-4576-96dc-6791178a8143"),
    "file": ItemType("File", "bd0403c5-4ae2-4b0e-a8db-1888678e4528"),
}
_APPOINTMENT = ItemType("Appointment", "4b18aeb6-5f01-444c-8c70-dbf13a2f510b")
_LOINC = "http://loinc.org"
_MEASURES = {
    "85354-9": ItemType("Blood pressure", "ca3c57f4-f4c1-4e15-be67-0a3caf5414ed"),
    "8480-6": ItemType("Blood pressure", "ca3c57f4-f4c1-4e15-be67-0a3caf5414ed"),
    "8462-4": ItemType("Blood pressure", "ca3c57f4-f4c1-4e15-be67-0a3caf5414ed"),
    "29463-7": ItemType("Weight", "3d34d87e-7fc1-4153-800f-f56592cb0d17"),
    "3141-9": ItemType("Weight", "3d34d87e-7fc1-4153-800f-f56592cb0d17"),
    "8302-2": ItemType("Height", "40750a6a-89b2-455c-bd8d-b420a4cb500b"),
    "8867-4": ItemType("Heart rate", "b81eb4a6-6eac-4292-ae93-3872d6870994"),
    "15074-8": ItemType("Blood glucose", "879e7c04-4e8a-4707-9ad3-b054df467ce4"),
    "59408-5": ItemType("Oxygen saturation", "3a54f95f-03d8-4f62-815f-f691fc94a500"),
    "2708-6": ItemType("Oxygen saturation", "3a54f95f-03d8-4f62-815f-f691fc94a500"),
    "4548-4": ItemType("HbA1C", "62160199-b80f-4905-a55a-ac4ba825ceae"),
}


def item_type(kind: str, content: dict[str, object] | None = None) -> ItemType | None:
    """The HealthVault type of an item (list of its documentation, newest version of each type).

    A measured value HealthVault had a type of its own for has that one; None where it had nothing.
    """
    content = content or {}
    codes = content.get("codes")
    if kind in MEASURED and isinstance(codes, list):
        for code in codes:
            if code.get("system") == _LOINC and code.get("code") in _MEASURES:
                return _MEASURES[code["code"]]
    resource = content.get("resource")
    if isinstance(resource, dict) and resource.get("resourceType") == "Appointment":
        return _APPOINTMENT
    return _TYPES.get(kind)
