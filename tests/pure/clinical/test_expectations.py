"""What a reader of a document finds in its words, the extractor finds in its entries: all of it, no more."""

from __future__ import annotations

from typing import Any

import pytest

from bench.recall import Outcome, judge
from records.clinical.reader import read
from records.clinical.types import KINDS
from tests.documents import CCR, VISIT
from tests.pure.clinical.documents import (
    LOINC,
    RXNORM,
    SNOMED,
    T,
    allergy,
    code,
    document,
    drug,
    entry,
    observation,
    panel,
    problem,
    section,
)


def fact(kind: str, name: str, date: str | None = None, value: str | None = None) -> dict[str, Any]:
    return {"kind": kind, "names": [name], "date": date} | ({"value": value} if value else {})


def quantity(value: str, unit: str) -> str:
    return f'<value xsi:type="PQ" value="{value}" unit="{unit}"/>'


#: C-CDA R2.1, as the demonstration sends it.
VISIT_SAYS = [
    fact("allergies", "Penicillin V", "2011-06-12"),
    fact("problems", "Essential hypertension", "2019-03"),
    fact("problems", "Pneumonia", "2014"),
    fact("medications", "Lisinopril", "2019-04-01"),
    fact("immunizations", "Influenza", "2026-09-14"),
    fact("results", "Potassium", "2026-09-14", "4.1"),
    fact("results", "Creatinine", "2026-09-14", "1.3"),
    fact("vital_signs", "Systolic", "2026-09-14", "128"),
    fact("vital_signs", "Diastolic", "2026-09-14", "82"),
    fact("vital_signs", "Body weight", "2026-09-14", "68.4"),
    fact("procedures", "Electrocardiogra", "2026-09-14"),
    fact("encounters", "Office visit", "2026-09-14"),
    fact("social_history", "smoking", "2026-09-14", "Former smoker"),
]
#: CCR, as the demonstration sends it.
REFERRAL_SAYS = [
    fact("problems", "Seasonal allergic rhinitis", "2021-05"),
    fact("allergies", "Birch pollen"),
    fact("medications", "Cetirizine", "2026-04-11"),
    fact("immunizations", "Tetanus and diphtheria toxoids", "2024-10-18"),
    fact("vital_signs", "Body weight", "2026-10-02"),
    fact("results", "Hemoglobin", "2026-09-30"),
]

#: C32: its document template without an extension, names in the narrative, one thing denied.
C32 = document(
    section(
        "48765-2",
        allergy("<name>Kiwi fruit</name>", value="414285001"),
        text='<list><item ID="k1">Kiwi fruit: tingling mouth</item></list>',
    ),
    section(
        "11450-4",
        problem(code("40930008", "Hypothyroidism", tag="value", kind="CD"), times='<low value="2004"/>')
        + problem(code("38341003", "Hypertension", tag="value", kind="CD"), attributes='negationInd="true"'),
    ),
    section("10160-0", drug(code("966224", "Levothyroxine 50 mcg tablet", RXNORM))),
    section(
        "8716-3",
        panel(
            observation(code("8302-2", "", LOINC), quantity("171", "cm")),
            observation(code("8867-4", "", LOINC), quantity("64", "/min")),
        ),
    ),
    templates=((T + "3", ""), ("2.16.840.1.113883.3.88.11.32.1", "")),
)
C32_SAYS = [
    fact("allergies", "Kiwi fruit", "2008-06"),
    fact("problems", "Hypothyroidism", "2004"),
    fact("medications", "Levothyroxine", "2023-01-10"),
    fact("vital_signs", "Height", "2024-01-02", "171"),
    fact("vital_signs", "Heart rate", "2024-01-02", "64"),
]

#: C-CDA R1.1: no known medicines, a result in words, one below a limit.
R11 = document(
    section(
        "10160-0",
        drug("<name>No known medications</name>", attributes='negationInd="true"'),
        text="<paragraph>No known medications</paragraph>",
    ),
    section(
        "30954-2",
        panel(
            observation(code("5778-6", "Color of urine", LOINC), '<value xsi:type="ST">straw</value>'),
            observation(
                code("30341-2", "Erythrocyte sedimentation rate", LOINC),
                '<value xsi:type="IVL_PQ"><high value="5" unit="mm/h" inclusive="false"/></value>',
            ),
        ),
    ),
    section(
        "47519-4",
        entry(
            f'<procedure classCode="PROC" moodCode="EVN">{code("80146002", "Appendectomy", SNOMED)}'
            '<statusCode code="completed"/><effectiveTime value="1993"/></procedure>'
        ),
    ),
    templates=((T + "22.1.1", ""), (T + "22.1.2", "")),
)
R11_SAYS = [
    fact("results", "Color of urine", "2024-01-02", "straw"),
    fact("results", "Erythrocyte sedimentation rate", "2024-01-02"),
    fact("procedures", "Appendectomy", "1993"),
]

DOCUMENTS: dict[str, tuple[bytes, list[dict[str, Any]], list[str], list[dict[str, Any]]]] = {
    "C-CDA R2.1": (VISIT, VISIT_SAYS, [], []),
    "CCR": (CCR, REFERRAL_SAYS, [], []),
    "C32": (C32, C32_SAYS, [], [{"kind": "problems", "names": ["Hypertension"]}]),
    "C-CDA R1.1": (R11, R11_SAYS, ["medications"], []),
}


def outcome(name: str) -> Outcome:
    data, says, none_known, negated = DOCUMENTS[name]
    expected = {
        "document": name,
        "complete": KINDS,
        "facts": says,
        "none_known": none_known,
        "negated": negated,
    }
    return judge(expected, read(data).items)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_read_as_people_read_it(name: str) -> None:
    found = outcome(name)
    assert (found.missed, found.wrong_dates, found.wrong_values) == ([], [], [])
    assert (found.invented, found.not_facts) == ([], [])


def test_what_is_missing_or_too_much_is_told() -> None:
    expected = {
        "document": "visit",
        "complete": ["allergies", "problems"],
        "facts": [
            fact("problems", "Gout"),
            fact("problems", "Pneumonia", "2013"),
            fact("results", "Potassium", None, "4.2"),
        ],
        "none_known": ["allergies"],
        "negated": [],
    }
    found = judge(expected, read(VISIT).items)
    assert found.recall("problems") == 0.5
    assert [len(each) for each in (found.missed, found.wrong_dates, found.wrong_values)] == [1, 1, 1]
    assert len(found.invented) == 2
    assert found.not_facts == ["visit: allergies 'Penicillin V'"]
