"""The same thing in two documents, and the same person."""

import pytest

from records.clinical.identity import folded, item_key, item_keys, same_patient
from records.clinical.reader import read
from records.clinical.types import (
    Coded,
    Coding,
    Detail,
    Identifier,
    Item,
    PartialDate,
    PatientFacts,
    PatientName,
)
from tests.pure.clinical.documents import allergy, code, document, problem, section

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
