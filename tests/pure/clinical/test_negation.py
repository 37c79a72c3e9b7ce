""" "None", "not" and "no information" in every form they come in; none of them is a fact."""

import pytest

from records.clinical.negation import Standing, standing
from records.clinical.reader import read
from records.clinical.types import Coded, Coding, Item
from tests.pure.clinical.documents import (
    LOINC,
    RXNORM,
    SNOMED,
    act,
    allergy,
    code,
    document,
    drug,
    entry,
    observation,
    problem,
    section,
)

NEGATED = 'negationInd="true"'
CVX = "2.16.840.1.113883.12.292"


def only(loinc: str, statement: str, text: str = "") -> Item | None:
    found = read(document(section(loinc, statement, text=text))).items
    assert len(found) <= 1
    return found[0] if found else None


def value(coded: str, name: str = "") -> str:
    return code(coded, name, tag="value", kind="CD")


NONE_KNOWN = [
    ("48765-2", allergy('<code nullFlavor="NA"/>', attributes=NEGATED), "No known allergies"),
    (
        "48765-2",
        allergy('<code nullFlavor="NA"/>', attributes=NEGATED, value="416098002"),
        "No known drug allergies",
    ),
    (
        "48765-2",
        allergy('<code nullFlavor="NA"/>', attributes=NEGATED, value="414285001"),
        "No known food allergies",
    ),
    ("48765-2", allergy(code("105590001", "Substance"), attributes=NEGATED), "No known allergies"),
    ("48765-2", allergy(code("410942007", "Drug or medicament"), attributes=NEGATED), "No known allergies"),
    ("48765-2", allergy('<code nullFlavor="UNK"/>', value="716186003"), "No known allergies"),
    ("48765-2", allergy(code("409137002", "No known drug allergy")), "No known drug allergy"),
    ("48765-2", allergy('<code nullFlavor="UNK"/><name>NKDA</name>'), "NKDA"),
    (
        "48765-2",
        allergy('<code nullFlavor="UNK"/>', text='<text><reference value="#n"/></text>'),
        "No Known Drug Allergies",
    ),
    ("11450-4", problem(value("55607006", "Problem"), attributes=NEGATED), "No known problems"),
    ("11450-4", problem(value("64572001", "Disease"), attributes=NEGATED), "No known problems"),
    ("11450-4", problem('<value xsi:type="CD" nullFlavor="NA"/>', attributes=NEGATED), "No known problems"),
    (
        "11450-4",
        problem(value("160245001", "No current problems or disability")),
        "No current problems or disability",
    ),
    (
        "11450-4",
        problem(
            '<value xsi:type="CD" nullFlavor="UNK"><originalText>No known problems</originalText></value>'
        ),
        "No known problems",
    ),
    ("10160-0", drug(code("410942007", "Drug"), attributes=NEGATED), "No known medications"),
    ("10160-0", drug('<code nullFlavor="NI"/>', attributes=NEGATED), "No known medications"),
    (
        "10160-0",
        drug(
            f'<code nullFlavor="OTH"><translation code="410942007" codeSystem="{SNOMED}"/></code>',
            attributes=NEGATED,
        ),
        "No known medications",
    ),
    (
        "10160-0",
        drug('<code nullFlavor="UNK"/><name>No current medications</name>'),
        "No current medications",
    ),
    ("11369-6", drug(code("787859002", "Vaccine"), attributes=NEGATED), "No known immunizations"),
    ("11369-6", drug(code("71181003", "Vaccine"), attributes=NEGATED), "No known immunizations"),
    (
        "47519-4",
        entry(
            f'<procedure classCode="PROC" moodCode="EVN" {NEGATED}>{code("71388002", "Procedure")}'
            f"</procedure>"
        ),
        "No known procedures",
    ),
    (
        "46264-8",
        entry(
            f'<procedure classCode="PROC" moodCode="EVN" {NEGATED}>{code("71388002", "Procedure")}'
            f'<participant typeCode="DEV"><participantRole><playingDevice>{code("40388003", "Implant")}'
            "</playingDevice></participantRole></participant></procedure>"
        ),
        "No known implants or equipment",
    ),
    (
        "75310-3",
        entry(
            act(code("75310-3", "Health concern", LOINC)).replace(
                'moodCode="EVN"', f'moodCode="EVN" {NEGATED}'
            )
        ),
        "No known health concerns",
    ),
    (
        "46240-8",
        entry(
            '<encounter classCode="ENC" moodCode="EVN"><code nullFlavor="NA">'
            "<originalText>No Encounters Indicated"
            "</originalText></code></encounter>"
        ),
        "No Encounters Indicated",
    ),
]


@pytest.mark.parametrize(("loinc", "statement", "name"), NONE_KNOWN)
def test_none_known(loinc: str, statement: str, name: str) -> None:
    found = only(loinc, statement, '<paragraph ID="n">No Known Drug Allergies</paragraph>')
    assert found is not None
    assert (found.none_known, found.negated, found.name) == (True, False, name)


NOT = [
    ("48765-2", allergy(code("762952008", "Peanut"), attributes=NEGATED), "Peanut"),
    ("48765-2", allergy('<code nullFlavor="OTH"/><name>Mangosteen</name>', attributes=NEGATED), "Mangosteen"),
    ("11450-4", problem(value("73211009", "Diabetes"), attributes=NEGATED), "Diabetes"),
    ("10160-0", drug(code("314076", "Lisinopril", RXNORM), attributes=NEGATED), "Lisinopril"),
    ("11369-6", drug(code("140", "Influenza", CVX), attributes=NEGATED), "Influenza"),
    (
        "47519-4",
        entry(
            f'<procedure classCode="PROC" moodCode="EVN" {NEGATED}>{code("80146002", "Appendectomy")}'
            f"</procedure>"
        ),
        "Appendectomy",
    ),
    (
        "29762-2",
        entry(
            observation(
                '<templateId root="2.16.840.1.113883.10.20.15.3.8"/>' + code("ASSERTION"),
                value("77386006", "Pregnant"),
                attributes=NEGATED,
            )
        ),
        "Pregnancy status",
    ),
]


@pytest.mark.parametrize(("loinc", "statement", "name"), NOT)
def test_definite_negatives(loinc: str, statement: str, name: str) -> None:
    found = only(loinc, statement)
    assert found is not None
    assert (found.none_known, found.negated, found.name) == (False, True, name)


def test_refusal_has_its_reason() -> None:
    reason = observation(code("PATOBJ", "Patient objection", "2.16.840.1.113883.5.8"), "")
    more = f'<entryRelationship typeCode="RSON">{reason}</entryRelationship>'
    found = only("11369-6", drug(code("140", "Influenza", CVX), attributes=NEGATED, after=more))
    assert found is not None
    assert found.detail["reason"].name == "Patient objection"


def test_ruled_out_is_a_denial() -> None:
    status = observation(
        code("33999-4", system=LOINC), code("410516002", "Known absent", tag="value", kind="CD")
    )
    more = f'<entryRelationship typeCode="REFR">{status}</entryRelationship>'
    found = only("11450-4", problem(value("59282003", "Pulmonary embolism"), more=more))
    assert found is not None
    assert found.negated


NO_INFORMATION = [
    ("48765-2", allergy('<code nullFlavor="NI"/>')),
    ("48765-2", allergy(code("1", "Peanut"), attributes='nullFlavor="NI"')),
    ("48765-2", allergy('<code nullFlavor="NI"/><name>No Information Entered</name>')),
    ("11450-4", problem('<value xsi:type="CD" nullFlavor="NI"/>')),
    ("11450-4", problem(value("73211009", "Diabetes"), attributes='nullFlavor="UNK"')),
    (
        "11450-4",
        problem('<value xsi:type="CD" nullFlavor="UNK"><originalText>No data</originalText></value>'),
    ),
    ("11450-4", problem('<value xsi:type="ST">Problems not documented</value>')),
    ("11450-4", '<entry nullFlavor="NI"/>'),
    ("11450-4", entry('<act classCode="ACT" moodCode="EVN" nullFlavor="NI"><code nullFlavor="NI"/></act>')),
    ("10160-0", drug('<code nullFlavor="NI"/>')),
    ("10160-0", drug('<code nullFlavor="UNK"><originalText>Unknown</originalText></code>')),
    ("11369-6", drug(code("140", "Influenza", CVX), attributes='nullFlavor="NI"')),
    (
        "8716-3",
        entry(observation(code("8302-2", system=LOINC), '<value xsi:type="PQ" nullFlavor="NI"/>')),
    ),
    ("75310-3", entry(act(code("75310-3", "Health concern", LOINC)))),
    ("29762-2", entry(observation('<code nullFlavor="NI"/>', '<value xsi:type="CD" nullFlavor="NI"/>'))),
]


@pytest.mark.parametrize(("loinc", "statement"), NO_INFORMATION)
def test_no_information_is_no_item(loinc: str, statement: str) -> None:
    found = read(document(section(loinc, statement)))
    assert found.items == ()
    assert found.sections[0].no_information == 1


def test_section_without_information() -> None:
    data = document(section("11450-4", text="No information")).replace(
        b"<section>", b'<section nullFlavor="NI">'
    )
    found = read(data)
    assert (found.items, found.sections[0].null_flavor, found.sections[0].narrative) == (
        (),
        "NI",
        "No information",
    )


def test_unknown_is_an_answer_to_a_question() -> None:
    pregnancy = observation(code("82810-3", system=LOINC), '<value xsi:type="CD" nullFlavor="UNK"/>')
    found = only("29762-2", entry(pregnancy))
    assert found is not None
    assert (found.name, found.value, found.negated) == ("Pregnancy status", "unknown", False)


def test_counts_do_not_overlap() -> None:
    found = read(
        document(
            section(
                "48765-2",
                allergy(code("7980", "Penicillin", RXNORM))
                + allergy(code("762952008", "Peanut"), attributes=NEGATED)
                + allergy('<code nullFlavor="NA"/>', attributes=NEGATED)
                + allergy('<code nullFlavor="NI"/>')
                + entry("<ACT/>"),
            )
        )
    )
    assert dict(found.counts["allergies"]) == {"items": 1, "none_known": 1, "negated": 1, "not_understood": 1}
    assert found.sections[0].no_information == 1


@pytest.mark.parametrize(
    "name",
    [
        "No Known Drug Allergies",
        "no known allergies",
        "No known problems",
        "NKDA",
        "NKA",
        "None known",
        "No known food allergies",
        "No current medications",
        "Patient denies any allergies",
        "None",
        "No active problems",
        "No known active problems",
        "None recorded",
        "Not on any medications",
    ],
)
def test_words_for_none(name: str) -> None:
    assert standing(Coded(name=name), negated=False) is Standing.NONE_KNOWN


@pytest.mark.parametrize(
    "name",
    [
        "No data",
        "No information",
        "Not documented",
        "Allergies not documented",
        "Problems excluded/not available",
        "Unknown",
        "No Information Entered",
        "Information not available",
    ],
)
def test_words_for_nothing_known(name: str) -> None:
    assert standing(Coded(name=name), negated=False) is Standing.NO_INFORMATION


@pytest.mark.parametrize(
    "name",
    [
        "Nonallergic rhinitis",
        "Non-small cell lung cancer",
        "Nodule of thyroid",
        "Noonan syndrome",
        "Nonunion of fracture",
        "Notalgia",
        "Nocturia",
        "Unknown primary tumor",
        "None of the Above brand soap",
        "Nickel",
        "NKG2D deficiency",
    ],
)
def test_names_that_only_look_like_none(name: str) -> None:
    for codes in ((), (Coding("http://snomed.info/sct", "1"),)):
        assert standing(Coded(codes, name), negated=False) is Standing.FACT


def test_a_coded_thing_is_not_undone_by_its_words() -> None:
    coded = Coded((Coding("http://snomed.info/sct", "260385009"),), "None")
    assert standing(coded, negated=False) is Standing.FACT
