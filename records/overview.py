"""What the record's pages show of its items: opened in memory, grouped by kind, newest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from healthvault.store.fields import open_values

from .models import Entry, Record

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


@dataclass(frozen=True, slots=True)
class Fact:
    """One item as a page shows it."""

    id: str
    kind: str
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.content.get("name") or "Without a name")

    @property
    def date(self) -> str:
        return str(self.content.get("start") or self.content.get("end") or "")

    @property
    def value(self) -> str:
        """Value and unit as written."""
        return " ".join(str(self.content[part]) for part in ("value", "unit") if self.content.get(part))

    @property
    def negated(self) -> bool:
        return bool(self.content.get("negated"))

    @property
    def none_known(self) -> bool:
        return bool(self.content.get("none_known"))

    @property
    def status(self) -> str:
        return str(self.content.get("status") or "")


@dataclass(frozen=True, slots=True)
class Group:
    """The items of one kind."""

    kind: str
    name: str
    facts: list[Fact]


def groups(record: Record, states: Iterable[str] = (Entry.State.ACTIVE,)) -> list[Group]:
    """Every item of `record` in one of `states`, by kind: two statements whatever their number."""
    rows = list(
        Entry.objects.filter(record=record, state__in=list(states)).values_list("pk", "kind", "content")
    )
    contents = open_values(Entry, "content", [(pk, sealed) for pk, _, sealed in rows], record.holder.unwrap())
    by_kind: dict[str, list[Fact]] = {}
    for (pk, kind, _), content in zip(rows, contents, strict=True):
        by_kind.setdefault(kind, []).append(Fact(str(pk), kind, content))
    ordered = sorted(by_kind, key=lambda kind: list(KIND_NAMES).index(kind) if kind in KIND_NAMES else 99)
    return [Group(kind, KIND_NAMES.get(kind, kind), _shown(by_kind[kind])) for kind in ordered]


def _shown(facts: list[Fact]) -> list[Fact]:
    """Newest first; "none known" gives way to a real item of its kind."""
    real = [fact for fact in facts if not fact.none_known]
    return sorted(real or facts[:1], key=lambda fact: fact.date, reverse=True)
