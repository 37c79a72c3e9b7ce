"""What the record's pages show of its items: opened in memory, grouped by kind, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from healthvault.store.fields import open_values

from . import particulars
from .models import Entry, Record
from .rows import uncollected
from .wording import span_in_words

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


#: How many items of a kind stand there at once; the others are a click away.
SHOWN_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Fact:
    """One item as a page shows it; `source` is the organisation whose message brought it."""

    id: str
    kind: str
    content: dict[str, Any]
    source: str = ""

    @property
    def name(self) -> str:
        return particulars.name(self.kind, self.content)

    @property
    def date(self) -> str:
        """The date items are sorted by, ISO 8601 in its own precision."""
        return str(self.content.get("start") or self.content.get("end") or "")

    @property
    def when(self) -> str:
        """Date or period in words; of a date that is none, the words of the document."""
        span = span_in_words(self.content.get("start"), self.content.get("end"))
        return span or str(self.content.get("start_text") or "")

    @property
    def when_label(self) -> str:
        return particulars.when_label(self.kind, end=not self.content.get("start"))

    @property
    def until_label(self) -> str:
        return particulars.when_label(self.kind, end=True)

    @property
    def value(self) -> str:
        """Value and unit as written."""
        return particulars.value(self.content)

    @property
    def ranges(self) -> list[str]:
        return particulars.ranges(self.content)

    @property
    def mark(self) -> particulars.Mark | None:
        return particulars.mark(self.content)

    @property
    def lines(self) -> list[particulars.Line]:
        return particulars.lines(self.kind, self.content)

    @property
    def codes(self) -> list[str]:
        return particulars.codes(self.content)

    @property
    def negated(self) -> bool:
        return bool(self.content.get("negated"))

    @property
    def none_known(self) -> bool:
        return bool(self.content.get("none_known"))

    @property
    def status(self) -> str:
        return particulars.status(self.kind, self.content)

    @property
    def panel(self) -> str:
        """The panel of a result, unless it only repeats the kind."""
        panel = particulars.panel(self.content)
        return "" if panel.casefold() == KIND_NAMES.get(self.kind, "").casefold() else panel

    @property
    def summary(self) -> list[str]:
        """The words under the name in a list: date, standing, dosage, panel, reference range."""
        reference = f"reference {self.ranges[0]}" if len(self.ranges) == 1 else ""
        words = (self.when, self.status, particulars.dosage(self.content), self.panel)
        return [word for word in (*words, reference) if word]


@dataclass(frozen=True, slots=True)
class Group:
    """The items of one kind."""

    kind: str
    name: str
    facts: list[Fact]

    @property
    def first(self) -> list[Fact]:
        return self.facts[:SHOWN_AT_ONCE]

    @property
    def others(self) -> list[Fact]:
        return self.facts[SHOWN_AT_ONCE:]


def groups(record: Record, entries: QuerySet[Entry]) -> list[Group]:
    """`entries`, which are items of `record`, by kind: one statement whatever their number."""
    with uncollected():
        return _groups(record, entries)


def _groups(record: Record, entries: QuerySet[Entry]) -> list[Group]:
    rows = list(
        entries.values_list(
            "pk",
            "kind",
            "content",
            "filing__document__attachment__message__organization_name",
            "attachment__message__organization_name",
        )
    )
    contents = open_values(Entry, "content", [(row[0], row[2]) for row in rows], record.holder.unwrap())
    by_kind: dict[str, list[Fact]] = {}
    for (pk, kind, _, from_document, from_file), content in zip(rows, contents, strict=True):
        fact = Fact(str(pk), kind, content, from_document or from_file or "")
        by_kind.setdefault(kind, []).append(fact)
    ordered = sorted(by_kind, key=lambda kind: list(KIND_NAMES).index(kind) if kind in KIND_NAMES else 99)
    return [Group(kind, KIND_NAMES.get(kind, kind), _shown(by_kind[kind])) for kind in ordered]


def _shown(facts: list[Fact]) -> list[Fact]:
    """Newest first; "none known" gives way to a real item of its kind."""
    real = [fact for fact in facts if not fact.none_known]
    return sorted(real or facts[:1], key=lambda fact: fact.date, reverse=True)
