"""The same thing in two documents, and the same person."""

from datetime import date

import pytest

from records.clinical.current import still_taken
from records.clinical.identity import folded, item_key, item_keys, replaces, same_patient
from records.clinical.panels import blood_pressures, panels
from records.clinical.reader import read
from records.clinical.types import (
    ClinicalSummary,
    Coded,
    Coding,
    Detail,
    Identifier,
    Item,
    PartialDate,
    PatientFacts,
    PatientName,
)
from tests.pure.clinical.documents import (
    LOINC,
    allergy,
    code,
    document,
    observation,
    panel,
    problem,
    section,
)

SNOMED = "http://snomed.info/sct"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
GOUT = Item(
    kind="problems", codes=(Coding(SNOMED, "90560007"),), name="Gout", start=PartialDate("2019-03-02")
)


def test_wording_ids_and_place_do_not_matter() -> None:
    other = Item(
        kind="problems",
        codes=(Coding(SNOMED, "90560007", "Gouty arthritis"),),
        name="gout (disorder)",
        start=PartialDate("2019-03-02T10:00"),
        ids=(Identifier("1.2", "x"),),
        section="11450-4",
        path="/*/*[3]",
        status="active",
    )
    assert item_key(other) == item_key(GOUT)


@pytest.mark.parametrize(
    "change",
    [
        {"codes": (Coding(SNOMED, "195967001"),)},
        {"start": PartialDate("2019-03-03")},
        {"start": None},
        {"negated": True},
        {"none_known": True},
        {"kind": "allergies"},
        {"value": "3"},
        {"unit": "mg"},
    ],
)
def test_what_makes_another_item(change: dict[str, object]) -> None:
    facts = {"kind": GOUT.kind, "codes": GOUT.codes, "name": GOUT.name, "start": GOUT.start, **change}
    assert item_key(Item(**facts)) != item_key(GOUT)  # type: ignore[arg-type]


def test_one_condition_under_several_headings() -> None:
    for kind in ("encounter_diagnoses", "discharge_diagnosis", "past_illness"):
        assert item_key(Item(kind=kind, codes=GOUT.codes, start=GOUT.start)) == item_key(GOUT)


def test_any_shared_code_will_do() -> None:
    both = Item(kind="problems", codes=(Coding(ICD, "M10.9"), Coding(SNOMED, "90560007")), start=GOUT.start)
    icd = Item(kind="problems", codes=(Coding(ICD, "M10.9"),), start=GOUT.start)
    assert item_key(both) == item_key(GOUT)
    assert set(item_keys(both)) & set(item_keys(icd))
    assert not set(item_keys(icd)) & set(item_keys(GOUT))


def test_uncoded_by_normalised_name() -> None:
    one = Item(kind="allergies", name="  Bée-Sting ")
    assert item_key(one) == item_key(Item(kind="allergies", name="bee sting"))


def test_values_compare_as_numbers() -> None:
    def result(value: str, unit: str = "mg/dL") -> str:
        return item_key(
            Item(kind="results", codes=(Coding("http://loinc.org", "2345-7"),), value=value, unit=unit)
        )

    assert result("104") == result("104.0")
    assert result("104") != result("105")
    assert result("104") != result("104", "mmol/L")


def test_none_known_is_one_statement() -> None:
    one = Item(kind="problems", name="No known problems", none_known=True, start=PartialDate("2020"))
    assert item_key(one) == item_key(Item(kind="problems", name="None", none_known=True))


def test_relatives_are_told_apart() -> None:
    mother = Item(kind="family_history", name="Gout", detail=Detail(relative=Coded(name="mother")))
    father = Item(kind="family_history", name="Gout", detail=Detail(relative=Coded(name="father")))
    assert item_key(mother) != item_key(father)


def test_one_id_on_two_allergies_keeps_both() -> None:
    same_id = '<id root="1.2.3" extension="all"/>'
    data = document(
        section(
            "48765-2",
            "".join(
                allergy(code(c, n)).replace('<code code="ASS', same_id + '<code code="ASS')
                for c, n in (("7980", "Penicillin"), ("2670", "Codeine"))
            ),
        ),
    )
    found = read(data).items
    assert found[0].ids == found[1].ids != ()
    assert item_key(found[0]) != item_key(found[1])


def test_the_same_document_twice_gives_the_same_keys() -> None:
    data = document(section("11450-4", problem(code("90560007", "Gout", tag="value", kind="CD"))))
    assert [item_key(i) for i in read(data).items] == [item_key(i) for i in read(data).items]


def versioned(number: str, *, identity: str = "DOC-1", of: str = "S1", related: str = "") -> ClinicalSummary:
    head = (
        f'<setId root="1.2" extension="{of}"/><versionNumber value="{number}"/>{related}'
        if number
        else related
    )
    data = document(after=head).replace(b'extension="DOC-1"', f'extension="{identity}"'.encode(), 1)
    return read(data)


def test_what_replaces_a_document() -> None:
    first = versioned("1")
    second = versioned("2", identity="DOC-2")
    assert replaces(second, first)
    assert not replaces(first, second)
    assert not replaces(versioned("2", identity="DOC-2", of="S2"), first)
    assert replaces(versioned("", identity="DOC-1"), versioned("", identity="DOC-1"))
    named = (
        '<relatedDocument typeCode="{}"><parentDocument><id root="2.16.840.1.113883.19.5" extension="DOC-1"/>'
        "</parentDocument></relatedDocument>"
    )
    assert replaces(versioned("", identity="DOC-3", related=named.format("RPLC")), first)
    assert not replaces(versioned("", identity="DOC-3", related=named.format("APND")), first)


@pytest.mark.parametrize(
    ("status", "end", "taken"),
    [
        ("active", None, True),
        ("completed", None, True),
        ("completed", "2024-05-16", True),
        ("completed", "2024-05-15", False),
        ("active", "2024", True),
        ("active", "2023", False),
        ("active", "2024-04", False),
        ("stopped", None, False),
        ("inactive", None, False),
        ("on-hold", None, True),
    ],
)
def test_still_taken(status: str, end: str | None, taken: bool) -> None:
    item = Item(kind="medications", name="X", status=status, end=PartialDate(end) if end else None)
    assert still_taken(item, date(2024, 5, 16)) is taken


def test_a_drug_refused_is_not_taken() -> None:
    assert not still_taken(Item(kind="medications", name="X", negated=True), date(2024, 5, 16))


def test_blood_pressures_are_joined_within_their_panel() -> None:
    def vital(loinc: str, value: str) -> str:
        return observation(code(loinc, system=LOINC), f'<value xsi:type="PQ" value="{value}" unit="mm[Hg]"/>')

    one = panel(vital("8480-6", "121"), vital("8867-4", "70"), vital("8462-4", "79"))
    two = panel(vital("8462-4", "80"), vital("8480-6", "132"), time='<effectiveTime value="20240203"/>')
    alone = panel(vital("8480-6", "140"))
    found = read(document(section("8716-3", one + two + alone))).items
    assert [pair.shown for pair in blood_pressures(found)] == ["121/79 mm[Hg]", "132/80 mm[Hg]"]
    assert [len(p.items) for p in panels(found)] == [3, 2, 1]


def person(name: str = "", birth: str = "", gender: str = "") -> PatientFacts:
    return PatientFacts(name=name, birth_date=birth, gender=gender)


WREN = PatientFacts(
    name="Wren Isolde Harrowgate",
    birth_date="1971-04-09",
    gender="female",
    names=(PatientName(family="Harrowgate", given=("Wren", "Isolde")),),
)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (person("Wren Harrowgate", "1971-04-09", "female"), "same"),
        (person("WREN HARROWGATE", "1971-04-09"), "same"),
        (person("Harrowgate, Wren"), "unsure"),
        (person("Harrowgate, Wren", "", "female"), "same"),
        (person("Wrén Isolde Harrowgate", "1971-04-09", "male"), "same"),
        (person("", "1971-04-09", "female"), "same"),
        (person("Wren Harrowgate"), "unsure"),
        (person("Wren Ashby", "1971-04-09"), "unsure"),
        (person("Wren Ashby", "1971-04-09", "female"), "same"),
        (person("Tobias Ashby", "1971-04-09", "female"), "different"),
        (person("Wren Harrowgate", "1971-04-10", "female"), "different"),
        (person("Wren Harrowgate", "1972", "female"), "different"),
        (person("Wren Harrowgate", "1971", ""), "unsure"),
        (person("", "", "female"), "unsure"),
        (person(), "unsure"),
        (person("Wren Harrowgate", "", "unknown"), "unsure"),
    ],
)
def test_same_patient(profile: PatientFacts, expected: str) -> None:
    assert same_patient(profile, WREN) == expected


def test_names_of_several_parts() -> None:
    document_side = PatientFacts(
        names=(PatientName(family="van der Berg", given=("Anna",)),), birth_date="1950-01-01"
    )
    assert same_patient(person("Anna van der Berg", "1950-01-01"), document_side) == "same"


def test_any_of_several_names() -> None:
    married = PatientFacts(
        names=(
            PatientName(family="Ashby", given=("Wren",)),
            PatientName(family="Harrowgate", given=("Wren",)),
        ),
        birth_date="1971-04-09",
    )
    assert same_patient(person("Wren Harrowgate", "1971-04-09"), married) == "same"


def test_no_patient_is_unsure() -> None:
    assert same_patient(WREN, None) == "unsure"


def test_folded() -> None:
    assert folded("  Ärger-Über_Maß! ") == "arger uber mass"
