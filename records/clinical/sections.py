"""The sections of CDA documents that hold items: how each is recognised, and how its entries are read.

Sections are matched by LOINC code first and by template second: templates are missing or wrong more often
than codes. A section that is not in the table is shown with its text like every other, and gives no items.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from records.clinical import care, conditions, drugs, measures
from records.clinical import statements as find
from records.clinical.cda import OBSERVATION, Cda, child, children, templates
from records.clinical.statements import ACT, ENCOUNTER, PROCEDURE, SUBSTANCE, SUPPLY, Finder, Found
from records.clinical.types import Item
from records.clinical.xml import Element

Reader = Callable[[Cda, Found, str, str], Item | None]

_T = "2.16.840.1.113883.10.20."
_H = "2.16.840.1.113883.3.88.11."
_LOINC_CODE = re.compile(r"\d{1,7}-\d")


@dataclass(frozen=True, slots=True)
class SectionKind:
    """One kind of section: its LOINC codes, its templates, which statements count, and who reads one."""

    kind: str
    loinc: tuple[str, ...]
    templates: tuple[str, ...]
    statements: Finder
    read: Reader


def _t(*tails: str) -> tuple[str, ...]:
    return tuple(_T + tail for tail in tails)


def _h(*tails: str) -> tuple[str, ...]:
    return tuple(_H + tail for tail in tails)


_PLANNED = find.of_class(ACT, ENCOUNTER, OBSERVATION, PROCEDURE, SUBSTANCE, SUPPLY)

SECTION_KINDS = (
    SectionKind(
        "allergies",
        ("48765-2",),
        _t("22.2.6", "22.2.6.1", "1.2") + _h("83.102"),
        find.concern_observations,
        conditions.read_allergy,
    ),
    SectionKind(
        "problems",
        ("11450-4",),
        _t("22.2.5", "22.2.5.1", "1.11") + _h("83.103"),
        find.concern_observations,
        conditions.read_problem,
    ),
    SectionKind(
        "past_illness",
        ("11348-0",),
        _t("22.2.20") + _h("83.104"),
        find.concern_observations,
        conditions.read_problem,
    ),
    SectionKind(
        "medications",
        ("10160-0",),
        _t("22.2.1", "22.2.1.1", "1.8") + _h("83.112"),
        find.drugs,
        drugs.read_medication,
    ),
    SectionKind(
        "medications_administered",
        ("29549-3",),
        _t("22.2.38") + _h("83.115"),
        find.drugs,
        drugs.read_medication,
    ),
    SectionKind(
        "admission_medications",
        ("42346-7",),
        _t("22.2.44") + _h("83.113"),
        find.drugs,
        drugs.read_medication,
    ),
    SectionKind(
        "discharge_medications",
        ("10183-2", "75311-1"),
        _t("22.2.11", "22.2.11.1") + _h("83.114"),
        find.drugs,
        drugs.read_medication,
    ),
    SectionKind(
        "immunizations",
        ("11369-6",),
        _t("22.2.2", "22.2.2.1", "1.6") + _h("83.117"),
        find.drugs,
        drugs.read_immunization,
    ),
    SectionKind(
        "procedures",
        ("47519-4",),
        _t("22.2.7", "22.2.7.1", "1.12") + _h("83.108"),
        find.of_class(PROCEDURE, ACT, OBSERVATION),
        care.read_procedure,
    ),
    SectionKind(
        "results",
        ("30954-2",),
        _t("22.2.3", "22.2.3.1", "1.14") + _h("83.122"),
        find.measurements,
        measures.read_result,
    ),
    SectionKind(
        "vital_signs",
        ("8716-3",),
        _t("22.2.4", "22.2.4.1", "1.16") + _h("83.119"),
        find.measurements,
        measures.read_result,
    ),
    SectionKind(
        "encounters",
        ("46240-8",),
        _t("22.2.22", "22.2.22.1", "1.3") + _h("83.127"),
        find.of_class(ENCOUNTER),
        care.read_encounter,
    ),
    SectionKind(
        "social_history",
        ("29762-2",),
        _t("22.2.17", "1.15") + _h("83.126"),
        find.measurements,
        measures.read_observation,
    ),
    SectionKind(
        "family_history",
        ("10157-6",),
        _t("22.2.15", "1.4") + _h("83.125"),
        find.measurements,
        measures.read_relative,
    ),
    SectionKind(
        "plan_of_treatment",
        ("18776-5",),
        _t("22.2.10", "1.10") + _h("83.124"),
        _PLANNED,
        care.read_plan,
    ),
    SectionKind("assessment_and_plan", ("51847-2",), _t("22.2.9"), _PLANNED, care.read_plan),
    SectionKind("goals", ("61146-7",), _t("22.2.60"), find.of_class(OBSERVATION), care.read_goal),
    SectionKind(
        "health_concerns",
        ("75310-3",),
        _t("22.2.58"),
        find.health_concerns,
        care.read_concern,
    ),
    SectionKind("interventions", ("62387-6",), _t("21.2.3"), find.interventions, care.read_act),
    SectionKind("outcomes", ("11383-7",), _t("22.2.61"), find.of_class(OBSERVATION), care.read_goal),
    SectionKind(
        "medical_equipment",
        ("46264-8",),
        _t("22.2.23", "1.7") + _h("83.128"),
        find.of_class(PROCEDURE, SUPPLY),
        care.read_equipment,
    ),
    SectionKind("payers", ("48768-6",), _t("22.2.18", "1.9") + _h("83.101"), find.policies, care.read_policy),
    SectionKind(
        "advance_directives",
        ("42348-3",),
        _t("22.2.21", "22.2.21.1", "1.1") + _h("83.116"),
        find.measurements,
        measures.read_observation,
    ),
    SectionKind(
        "functional_status",
        ("47420-5",),
        _t("22.2.14", "1.5") + _h("83.109"),
        find.measurements,
        measures.read_observation,
    ),
    SectionKind("mental_status", ("10190-7",), _t("22.2.56"), find.measurements, measures.read_observation),
    SectionKind("nutrition", ("61144-2",), _t("22.2.57"), find.nutrition, measures.read_observation),
    SectionKind("care_team", ("85847-2",), _t("22.2.500"), find.team_members, care.read_team_member),
    SectionKind("instructions", ("69730-0",), _t("22.2.45"), find.instructions, care.read_act),
    SectionKind(
        "admission_diagnosis",
        ("46241-6",),
        _t("22.2.43"),
        find.concern_observations,
        conditions.read_problem,
    ),
    SectionKind(
        "discharge_diagnosis",
        ("11535-2",),
        _t("22.2.24"),
        find.concern_observations,
        conditions.read_problem,
    ),
    SectionKind(
        "preoperative_diagnosis",
        ("10219-4",),
        _t("22.2.34"),
        find.concern_observations,
        conditions.read_problem,
    ),
    SectionKind(
        "postoperative_diagnosis",
        # 59769-0 is the postprocedure diagnosis of a Procedure Note.
        ("10218-6", "59769-0"),
        _t("22.2.35", "22.2.36"),
        find.concern_observations,
        conditions.read_problem,
    ),
)

# Sections that are text by their nature: a template id copied into one of them does not make it another.
NARRATIVE_SECTIONS = {
    "10164-2": "History of present illness",
    "29299-5": "Reason for visit",
    "46239-0": "Reason for visit and chief complaint",
    "10154-3": "Chief complaint",
    "8648-8": "Hospital course",
    "8653-8": "Hospital discharge instructions",
    "42349-1": "Reason for referral",
    "29545-1": "Physical findings",
    "10187-3": "Review of systems",
    "10210-3": "General status",
    "51848-0": "Assessment",
}

_BY_LOINC = {code: kind for kind in SECTION_KINDS for code in kind.loinc}
_BY_TEMPLATE = {template: kind for kind in SECTION_KINDS for template in kind.templates}
NOTES_TEMPLATE = "2.16.840.1.113883.10.20.22.2.65"

TITLES = {
    "48765-2": "Allergies",
    "11450-4": "Problems",
    "11348-0": "Past medical history",
    "10160-0": "Medications",
    "29549-3": "Medications administered",
    "42346-7": "Medications at admission",
    "10183-2": "Discharge medications",
    "75311-1": "Discharge medications",
    "11369-6": "Immunizations",
    "47519-4": "Procedures",
    "30954-2": "Results",
    "8716-3": "Vital signs",
    "46240-8": "Encounters",
    "29762-2": "Social history",
    "10157-6": "Family history",
    "18776-5": "Plan of treatment",
    "51847-2": "Assessment and plan",
    "61146-7": "Goals",
    "75310-3": "Health concerns",
    "62387-6": "Interventions",
    "11383-7": "Outcomes",
    "46264-8": "Medical equipment",
    "48768-6": "Payers",
    "42348-3": "Advance directives",
    "47420-5": "Functional status",
    "10190-7": "Mental status",
    "61144-2": "Nutrition",
    "85847-2": "Care team",
    "34109-9": "Notes",
    "69730-0": "Instructions",
    "46241-6": "Admission diagnosis",
    "11535-2": "Discharge diagnosis",
    "10219-4": "Preoperative diagnosis",
    "10218-6": "Postoperative diagnosis",
    "59769-0": "Postprocedure diagnosis",
    **NARRATIVE_SECTIONS,
}


def section_code(section: Element) -> str:
    """The LOINC code of a section: its code, or a translation of it; empty when it has none."""
    code = child(section, "code")
    if code is None:
        return ""
    own = code.get("code", "").strip()
    if _LOINC_CODE.fullmatch(own):
        return own
    for translation in children(code, "translation"):
        translated = translation.get("code", "").strip()
        if _LOINC_CODE.fullmatch(translated):
            return translated
    return own


def kind_of(section: Element, code: str) -> SectionKind | None:
    """The kind of a section, or None for one that is shown only."""
    known = _BY_LOINC.get(code)
    if known is not None:
        return known
    if code in NARRATIVE_SECTIONS:
        return None
    element = child(section, "code")
    if element is not None:
        for translation in children(element, "translation"):
            known = _BY_LOINC.get(translation.get("code", ""))
            if known is not None:
                return known
    for template in templates(section):
        known = _BY_TEMPLATE.get(template)
        if known is not None:
            return known
    return None


def is_notes_section(section: Element) -> bool:
    """A section of Note Activities (C-CDA Notes Section), which has any LOINC code of a note."""
    return NOTES_TEMPLATE in templates(section)


def title_of_code(code: str, display: str) -> str:
    """A title for a section without one."""
    return TITLES.get(code) or display or "Section"
