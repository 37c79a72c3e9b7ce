"""C-CDA documents: which statements become items, and what each says."""

import pytest

from records.clinical.reader import read
from records.clinical.types import Item
from records.clinical.xml import resolve_path
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


def items(loinc: str, *entries: str, text: str = "") -> list[Item]:
    """The items of one section."""
    return list(read(document(section(loinc, "".join(entries), text=text))).items)


def one(loinc: str, *entries: str, text: str = "") -> Item:
    found = items(loinc, *entries, text=text)
    assert len(found) == 1
    return found[0]


ASTHMA = code("195967001", "Asthma", tag="value", kind="CD")


def test_header() -> None:
    found = read(document())
    assert (found.kind, found.item_type, found.release) == ("ccda", "CCD", "R2.1")
    assert found.title == "Summary of care"
    assert found.date is not None
    assert found.date.iso == "2024-05-16T09:30:00-07:00"
    assert found.patient is not None
    assert found.patient.name == "Wren Isolde Harrowgate"
    assert (found.patient.birth_date, found.patient.gender) == ("1971-04-09", "female")
    assert found.patient.ids[0].extension == "OAK-441"
    assert found.patient.addresses[0].shown == "9 Quince Row, Larkfield, OR 97999"
    assert [(t.system, t.value) for t in found.patient.telecoms] == [
        ("phone", "+1(555)010-4477"),
        ("email", "wren@people.example"),
    ]


def test_problem() -> None:
    found = one("11450-4", problem(ASTHMA))
    assert (found.kind, found.name, found.status) == ("problems", "Asthma", "active")
    assert [(c.system, c.code) for c in found.codes] == [("http://snomed.info/sct", "195967001")]
    assert (str(found.start), found.end) == ("2019-03-02", None)
    assert found.section == "11450-4"
    assert (found.negated, found.none_known) == (False, False)
    assert found.understood


def test_path_leads_back_to_the_element() -> None:
    data = document(section("11450-4", problem(ASTHMA) * 60))
    found = read(data).items
    assert len({item.path for item in found}) == 60
    for item in (found[0], found[59]):
        element = resolve_path(data, item.path)
        assert element.tag.endswith("}observation")
        assert element.find("{urn:hl7-org:v3}value").get("code") == "195967001"


@pytest.mark.parametrize(
    ("act_status", "own", "expected"),
    [
        ("active", "", "active"),
        ("completed", "", "inactive"),
        ("suspended", "", "inactive"),
        ("aborted", "", "inactive"),
        ("active", "413322009", "resolved"),
        ("completed", "55561003", "active"),
        ("active", "73425007", "inactive"),
        ("active", "277022003", "remission"),
    ],
)
def test_problem_status(act_status: str, own: str, expected: str) -> None:
    more = ""
    if own:
        status = observation(code("33999-4", system=LOINC), code(own, tag="value", kind="CE"))
        more = f'<entryRelationship typeCode="REFR">{status}</entryRelationship>'
    assert one("11450-4", problem(ASTHMA, act_status=act_status, more=more)).status == expected


def test_qualifiers_are_no_problems() -> None:
    age = observation(code("445518008"), '<value xsi:type="PQ" value="41" unit="a"/>')
    more = f'<entryRelationship typeCode="SUBJ" inversionInd="true">{age}</entryRelationship>'
    found = one("11450-4", problem(ASTHMA, more=more))
    assert str(found.detail["age_at_onset"]) == "41 a"


@pytest.mark.parametrize(
    ("value", "name", "codes"),
    [
        (
            '<value xsi:type="CD" nullFlavor="OTH"><translation code="J45.909" displayName="Asthma NOS" '
            'codeSystem="2.16.840.1.113883.6.90"/></value>',
            "Asthma NOS",
            ["J45.909"],
        ),
        (
            '<value xsi:type="CD" nullFlavor="UNK"><originalText>Sore left <content>elbow</content>'
            "</originalText></value>",
            "Sore left elbow",
            [],
        ),
        (
            f'<value xsi:type="CD" code="195967001" codeSystem="{SNOMED}" displayName="????"><originalText>'
            '<reference value="#asthma"/></originalText></value>',
            "Wheezy chest",
            ["195967001"],
        ),
        (
            f'<value xsi:type="CD" code="195967001" codeSystem="{SNOMED}"><originalText>'
            '<reference value="asthma"/></originalText></value>',
            "Wheezy chest",
            ["195967001"],
        ),
        (
            f'<value xsi:type="CD" code="195967001" codeSystem="{SNOMED}"><originalText>'
            '<reference value="#nowhere"/></originalText></value>',
            "195967001 (SNOMED CT)",
            ["195967001"],
        ),
        ('<value xsi:type="ST">Wheezing at night</value>', "Wheezing at night", []),
    ],
    ids=["translation", "original-text", "trap-name", "no-hash", "dangling", "text-value"],
)
def test_names(value: str, name: str, codes: list[str]) -> None:
    found = one("11450-4", problem(value), text='<list><item ID="asthma">Wheezy  chest</item></list>')
    assert found.name == name
    assert [coding.code for coding in found.codes] == codes


def test_allergy() -> None:
    severity = observation(
        code("SEV", system="2.16.840.1.113883.5.4"), code("24484000", tag="value", kind="CD")
    )
    reaction = observation(
        code("ASSERTION"),
        code("247472004", "Hives", tag="value", kind="CD"),
        more=f'<entryRelationship typeCode="SUBJ">{severity}</entryRelationship>',
    )
    found = one(
        "48765-2",
        allergy(
            code("7980", "Penicillin G", RXNORM),
            more=f'<entryRelationship typeCode="MFST">{reaction}</entryRelationship>',
        ),
    )
    assert (found.name, found.start and found.start.iso, found.status) == (
        "Penicillin G",
        "2008-06",
        "active",
    )
    assert found.codes[0].system == "http://www.nlm.nih.gov/research/umls/rxnorm"
    (seen,) = found.detail["reactions"]
    assert seen.manifestation.name == "Hives"
    assert seen.severity is not None
    assert seen.severity.name == "Severe"


def test_allergen_named_by_its_entity() -> None:
    agent = (
        '<code nullFlavor="UNK"><originalText>Coded Allergy Name Not Available</originalText></code>'
        "<name>Mangosteen</name>"
    )
    found = one("48765-2", allergy(agent))
    assert (found.name, found.codes) == ("Mangosteen", ())


def test_medication() -> None:
    times = (
        '<effectiveTime xsi:type="IVL_TS"><low value="20230110"/><high value="20230120"/></effectiveTime>'
        '<effectiveTime xsi:type="PIVL_TS" operator="A"><period xsi:type="IVL_PQ"><low value="4" unit="h"/>'
        '<high value="6" unit="h"/></period></effectiveTime>'
    )
    route = code("C38288", "Oral", "2.16.840.1.113883.3.26.1.1", tag="routeCode")
    found = one(
        "10160-0",
        drug(
            code("314076", "Lisinopril 10 MG Oral Tablet", RXNORM),
            times=times,
            after=route + '<doseQuantity value="2"/>',
        ),
    )
    assert (found.kind, found.name) == ("medications", "Lisinopril 10 MG Oral Tablet")
    assert (str(found.start), str(found.end)) == ("2023-01-10", "2023-01-20")
    assert found.detail["frequency"] == "every 4 to 6 hours"
    assert found.detail["route"].name == "Oral"
    assert str(found.detail["dose"]) == "2"


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ('<effectiveTime xsi:type="PIVL_TS"><period value="8" unit="h"/></effectiveTime>', "every 8 hours"),
        (
            '<effectiveTime xsi:type="PIVL_TS" institutionSpecified="true"><period value="8" unit="h"/>'
            "</effectiveTime>",
            "3 times a day",
        ),
        ('<effectiveTime xsi:type="PIVL_TS"><period value="1" unit="d"/></effectiveTime>', "every day"),
        ('<effectiveTime xsi:type="EIVL_TS"><event code="HS"/></effectiveTime>', "at bedtime"),
    ],
)
def test_frequency(time: str, words: str) -> None:
    found = one("10160-0", drug(code("1", "X", RXNORM), times=time))
    assert found.detail["frequency"] == words
    assert found.start is None


def test_frequency_before_the_period() -> None:
    times = (
        '<effectiveTime xsi:type="PIVL_TS"><period value="12" unit="h"/></effectiveTime>'
        '<effectiveTime><low value="202301"/></effectiveTime>'
    )
    assert str(one("10160-0", drug(code("1", "X", RXNORM), times=times)).start) == "2023-01"


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("active", "active"),
        ("completed", "completed"),
        ("aborted", "stopped"),
        ("suspended", "on-hold"),
        ("nullified", "entered-in-error"),
    ],
)
def test_medication_status(status: str, shown: str) -> None:
    assert one("10160-0", drug(code("1", "X", RXNORM), status=status)).status == shown


def test_taper_steps_are_parts() -> None:
    inner = drug(code("1", "Step", RXNORM)).replace('<entry typeCode="DRIV">', "").replace("</entry>", "")
    after = f'<entryRelationship typeCode="COMP">{inner}</entryRelationship>'
    assert one("10160-0", drug(code("2", "Prednisone", RXNORM), after=after)).name == "Prednisone"


def test_refills_are_fills_less_one() -> None:
    supply = (
        '<entryRelationship typeCode="REFR"><supply classCode="SPLY" moodCode="INT">'
        '<repeatNumber value="3"/><quantity value="30"/></supply></entryRelationship>'
    )
    detail = one("10160-0", drug(code("1", "X", RXNORM), after=supply)).detail
    assert (detail["refills"], str(detail["quantity"])) == (2, "30")


@pytest.mark.parametrize("time", ['value="20211015"', '/><!-- --><x xmlns="y"'])
def test_immunization_date_value_or_low(time: str) -> None:
    times = (
        f"<effectiveTime {time}/>"
        if "value" in time
        else '<effectiveTime><low value="20211015"/></effectiveTime>'
    )
    material = code("140", "Influenza, seasonal", "2.16.840.1.113883.12.292") + (
        "<lotNumberText>QX-7</lotNumberText>"
    )
    found = one("11369-6", drug(material, times=times, status="completed"))
    assert (found.kind, str(found.start), found.detail["lot"]) == ("immunizations", "2021-10-15", "QX-7")
    assert found.codes[0].system == "http://hl7.org/fhir/sid/cvx"


@pytest.mark.parametrize(
    "series",
    [
        f'<entryRelationship typeCode="COMP"><sequenceNumber value="3"/><act classCode="ACT" moodCode="EVN">'
        f'<templateId root="{T}22.4.118"/>{code("416118004", "Administration")}</act></entryRelationship>',
        f'<entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN">'
        f'{code("30973-2", "Dose number", LOINC)}<value xsi:type="INT" value="3"/></observation>'
        "</entryRelationship>",
        '<repeatNumber value="3"/>',
    ],
)
def test_which_dose_of_a_series(series: str) -> None:
    vaccine = code("45", "Hepatitis B", "2.16.840.1.113883.12.292")
    assert one("11369-6", drug(vaccine, status="completed", after=series)).detail["dose_number"] == "3"
    assert "dose_number" not in one("11369-6", drug(vaccine, status="completed")).detail


VALUES = [
    ('<value xsi:type="PQ" value="4.10" unit="mmol/L"/>', "4.10", "mmol/L"),
    (
        '<value xsi:type="PQ" nullFlavor="OTH"><translation value="152"><originalText>THOUS</originalText>'
        "</translation></value>",
        "152",
        "THOUS",
    ),
    ('<value xsi:type="ST">No growth after 5 days</value>', "No growth after 5 days", None),
    ('<value xsi:type="ED"><reference value="#r1"/></value>', "Slightly turbid", None),
    (code("260385009", "Negative", tag="value", kind="CD"), "Negative", None),
    ('<value xsi:type="CO" code="1" displayName="One plus"/>', "One plus", None),
    ('<value xsi:type="INT" value="7"/>', "7", None),
    ('<value xsi:type="REAL" value="1.015"/>', "1.015", None),
    ('<value xsi:type="IVL_PQ"><high value="7" unit="mg/dL" inclusive="false"/></value>', "<7", "mg/dL"),
    ('<value xsi:type="IVL_PQ"><high value="7" unit="mg/dL"/></value>', "<=7", "mg/dL"),
    ('<value xsi:type="IVL_PQ"><low value="500" unit="mg/dL" inclusive="false"/></value>', ">500", "mg/dL"),
    ('<value xsi:type="IVL_PQ"><low value="5" unit="g"/><high value="9" unit="g"/></value>', "5 - 9", "g"),
    ('<value xsi:type="RTO_INT_INT"><numerator value="1"/><denominator value="128"/></value>', "1:128", None),
    ('<value xsi:type="TS" value="202401"/>', "2024-01", None),
    ('<value xsi:type="BL" value="true"/>', "true", None),
    ('<value value="12" unit="mg"/>', "12", "mg"),
    ("<value>plain words</value>", "plain words", None),
    (f'<value code="1" codeSystem="{SNOMED}" displayName="Coded"/>', "Coded", None),
]


@pytest.mark.parametrize(("value", "shown", "unit"), VALUES)
def test_result_values(value: str, shown: str, unit: str | None) -> None:
    found = one(
        "30954-2",
        panel(observation(code("1234-5", "A test", LOINC), value)),
        text='<paragraph ID="r1">Slightly turbid</paragraph>',
    )
    assert (found.kind, found.name, found.value, found.unit) == ("results", "A test", shown, unit)
    # The time is the panel's, where the test has none.
    assert str(found.start) == "2024-01-02"


def test_result_facts() -> None:
    more = (
        '<interpretationCode code="H" codeSystem="2.16.840.1.113883.5.83"/>'
        '<referenceRange><observationRange><value xsi:type="IVL_PQ"><low value="70" unit="mg/dL"/>'
        '<high value="99" unit="mg/dL"/></value><interpretationCode code="N"/></observationRange>'
        "</referenceRange>"
        '<referenceRange><observationRange><text>above 200: call</text><interpretationCode code="HH"/>'
        "</observationRange></referenceRange>"
    )
    time = '<effectiveTime value="202401020815-0500"/>'
    found = one(
        "30954-2",
        panel(
            observation(
                code("2345-7", system=LOINC),
                '<value xsi:type="PQ" value="104" unit="mg/dL"/>',
                time=time,
                more=more,
            )
        ),
    )
    assert found.name == "Glucose"
    assert str(found.start) == "2024-01-02T08:15-05:00"
    assert [i.name for i in found.detail["interpretations"]] == ["High"]
    ranges = found.detail["reference_ranges"]
    assert [(r.low, r.high, r.unit, r.text, r.normal) for r in ranges] == [
        ("70", "99", "mg/dL", "", True),
        ("", "", "", "above 200: call", False),
    ]
    assert found.detail["panel"].name == "Comprehensive metabolic panel"


def test_pending_result_is_shown() -> None:
    found = one("30954-2", panel(observation(code("1", "Culture", LOINC), "", status="active")))
    assert (found.value, found.status, found.detail["pending"]) == (None, "active", True)


def _pressure(loinc: str, value: str, inside: str = "") -> str:
    shown = f'<value xsi:type="PQ" value="{value}" unit="mm[Hg]"/>' if value else ""
    return (
        '<observation classCode="OBS" moodCode="EVN">'
        '<templateId root="2.16.840.1.113883.10.20.22.4.27"/>'
        f'{code(loinc, "", LOINC)}<statusCode code="completed"/>'
        f'<effectiveTime value="20240302"/>{shown}{inside}'
        "</observation>"
    )


def _hung(observation: str) -> str:
    return f'<entryRelationship typeCode="COMP">{observation}</entryRelationship>'


def test_measurements_hung_on_another_are_measurements() -> None:
    both = _hung(_pressure("8480-6", "121")) + _hung(_pressure("8462-4", "79"))
    for whole in (
        _pressure("8480-6", "", both),
        _pressure("8480-6", "121", _hung(_pressure("8462-4", "79"))),
    ):
        found = items("8716-3", entry(whole))
        assert [(i.codes[0].code, i.value, str(i.start)) for i in found] == [
            ("8480-6", "121", "2024-03-02"),
            ("8462-4", "79", "2024-03-02"),
        ]


def test_the_day_of_a_supply_may_stand_as_its_end() -> None:
    found = one(
        "46264-8",
        entry(
            '<supply classCode="SPLY" moodCode="EVN"><statusCode code="completed"/>'
            '<effectiveTime xsi:type="IVL_TS"><high value="20210704"/></effectiveTime>'
            '<participant typeCode="PRD"><participantRole classCode="MANU"><playingDevice>'
            f"{code('58938008', 'Wheelchair', SNOMED)}</playingDevice></participantRole></participant>"
            "</supply>"
        ),
    )
    assert (found.name, str(found.start), found.end) == ("Wheelchair", "2021-07-04", None)


def test_vital_signs_and_the_zero_that_is_no_reading() -> None:
    def vital(loinc: str, value: str, unit: str) -> str:
        return observation(code(loinc, system=LOINC), f'<value xsi:type="PQ" value="{value}" unit="{unit}"/>')

    found = items("8716-3", panel(vital("8480-6", "121", "mm[Hg]"), vital("8867-4", "0", "/min")))
    assert [(i.name, i.value, i.unit) for i in found] == [
        ("Systolic blood pressure", "121", "mm[Hg]"),
        ("Heart rate", "0", "/min"),
    ]
    assert [i.detail.get("not_measured", False) for i in found] == [False, True]


def test_procedure_kinds() -> None:
    statements = [
        f'<{name} classCode="{cls}" moodCode="EVN">{code("80146002", "Appendectomy")}'
        f'<statusCode code="completed"/><effectiveTime value="2015"/></{name}>'
        for name, cls in (("procedure", "PROC"), ("act", "ACT"), ("observation", "OBS"))
    ]
    found = items("47519-4", *(entry(statement) for statement in statements))
    assert [(i.name, str(i.start)) for i in found] == [("Appendectomy", "2015")] * 3


def test_encounter_and_its_diagnoses() -> None:
    act = (
        '<entryRelationship typeCode="COMP"><act classCode="ACT" moodCode="EVN">'
        f"{code('29308-4', system=LOINC)}"
        '<entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN">'
        f'{code("282291009")}<statusCode code="completed"/>{ASTHMA}</observation></entryRelationship></act>'
        "</entryRelationship>"
    )
    statement = (
        f'<encounter classCode="ENC" moodCode="EVN">{code("99213", "Office visit", "2.16.840.1.113883.6.12")}'
        f'<effectiveTime value="20230504"/>{act}</encounter>'
    )
    found = items("46240-8", entry(statement))
    assert [(i.kind, i.name) for i in found] == [
        ("encounters", "Office visit"),
        ("encounter_diagnoses", "Asthma"),
    ]


def test_header_encounter_is_one_more_unless_a_section_has_it() -> None:
    header = (
        '<componentOf><encompassingEncounter><id root="1.2" extension="E9"/>'
        '<effectiveTime><low value="20230504"/></effectiveTime></encompassingEncounter></componentOf>'
    )
    statement = entry(
        '<encounter classCode="ENC" moodCode="EVN"><id root="1.2" extension="E9"/>'
        f'{code("1", "Visit")}<effectiveTime value="20230504"/></encounter>'
    )
    alone = read(document(section("46240-8"), after=header)).items
    assert [(i.kind, i.section, i.name) for i in alone] == [("encounters", "", "Encounter")]
    both = read(document(section("46240-8", statement), after=header)).items
    assert [(i.kind, i.section) for i in both] == [("encounters", "46240-8")]


def test_an_uncoded_header_encounter_at_the_time_of_one_in_a_section_is_that_one() -> None:
    def header(start: str, coded: str = "") -> str:
        return (
            f'<componentOf><encompassingEncounter><id root="1.2" extension="H1"/>{coded}'
            f'<effectiveTime><low value="{start}"/></effectiveTime></encompassingEncounter></componentOf>'
        )

    visit = section(
        "46240-8",
        entry(
            '<encounter classCode="ENC" moodCode="EVN"><id root="1.3" extension="S1"/>'
            f'{code("1", "Visit")}<effectiveTime value="202305041000"/></encounter>'
        ),
    )

    def names(after: str) -> list[str]:
        return [item.name for item in read(document(visit, after=after)).items]

    assert names(header("202305041000")) == ["Visit"]
    assert names(header("20230504")) == ["Visit"]
    assert names(header("202305041600")) == ["Encounter", "Visit"]
    assert names(header("20230503")) == ["Encounter", "Visit"]
    assert names(header("202305041000", code("2", "Hospital stay"))) == ["Hospital stay", "Visit"]


def test_postprocedure_diagnosis() -> None:
    found = one("59769-0", problem(ASTHMA))
    assert (found.kind, found.name) == ("postoperative_diagnosis", "Asthma")


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (code("445518008") + '<value xsi:type="PQ" value="57" unit="a"/>', "57 a"),
        (code("397659008") + '<value xsi:type="INT" value="57"/>', "57 a"),
        ('<templateId root="2.16.840.1.113883.10.20.1.38"/><value xsi:type="INT" value="57"/>', "57 a"),
        (code("445518008") + '<value xsi:type="PQ" value="6" unit="mo"/>', "6 mo"),
    ],
)
@pytest.mark.parametrize(
    "death",
    [
        f'<templateId root="{T}22.4.47"/>{code("ASSERTION")}',
        code("ASSERTION") + code("419099009", "Dead", tag="value", kind="CD"),
    ],
)
def test_family_history_age_and_death(age: str, shown: str, death: str) -> None:
    def hung(inner: str, link: str) -> str:
        return (
            f'<entryRelationship typeCode="{link}"><observation classCode="OBS" moodCode="EVN">{inner}'
            "</observation></entryRelationship>"
        )

    gout = code("90560007", "Gout", tag="value", kind="CD")
    found = one(
        "10157-6",
        entry(
            '<organizer classCode="CLUSTER" moodCode="EVN"><component><observation classCode="OBS" '
            f'moodCode="EVN">{code("64572001")}{gout}{hung(age, "SUBJ")}{hung(death, "CAUS")}</observation>'
            "</component></organizer>"
        ),
    )
    assert (found.name, str(found.detail["age_at_onset"])) == ("Gout", shown)
    assert found.detail["cause_of_death"] is True


def test_social_history_none_is_an_answer() -> None:
    found = one(
        "29762-2",
        entry(observation(code("160573003", "Alcohol intake"), '<value xsi:type="ST">None</value>')),
    )
    assert (found.name, found.value, found.none_known) == ("Alcohol intake", "None", False)


def test_smoking_status_as_a_bare_assertion() -> None:
    statement = observation(
        '<templateId root="2.16.840.1.113883.10.20.22.4.78"/>'
        + code("ASSERTION", system="2.16.840.1.113883.5.4"),
        code("8517006", "Former smoker", tag="value", kind="CD"),
    )
    found = one("29762-2", entry(statement))
    assert (found.name, found.value) == ("Tobacco smoking status", "Former smoker")


def test_every_section_is_there_with_its_text() -> None:
    found = read(
        document(
            section("8648-8", title="", text="<paragraph>Went well.</paragraph>"),
            section("99999-9", title="Odd one", text="Words"),
            section("11450-4", text="<table><tbody><tr><td>Gout</td><td>2010</td></tr></tbody></table>"),
        )
    )
    assert [(s.code, s.title, s.narrative, s.kind) for s in found.sections] == [
        ("8648-8", "Hospital course", "Went well.", ""),
        ("99999-9", "Odd one", "Words", ""),
        ("11450-4", "A section", "Gout 2010", "problems"),
    ]
    # Text is never made into items.
    assert found.items == ()
    assert dict(found.counts) == {
        "problems": {"items": 0, "none_known": 0, "negated": 0, "not_understood": 0}
    }


def test_sections_match_by_code_before_template_and_by_template_without_code() -> None:
    wrong = section(
        "8716-3",
        panel(observation(code("8867-4", system=LOINC), '<value xsi:type="PQ" value="71" unit="/min"/>')),
        more='<templateId root="2.16.840.1.113883.10.20.22.4.26"/>'
        '<templateId root="2.16.840.1.113883.10.20.22.2.5.1"/>',
    )
    by_template = section("", problem(ASTHMA), more='<templateId root="2.16.840.1.113883.10.20.1.11"/>')
    hospital_course = section(
        "8648-8", problem(ASTHMA), more='<templateId root="2.16.840.1.113883.10.20.22.2.5"/>'
    )
    found = read(document(wrong, by_template, hospital_course)).items
    assert [i.kind for i in found] == ["vital_signs", "problems"]


def test_nested_sections() -> None:
    inner = section("11450-4", problem(ASTHMA))
    outer = section("51848-0").replace("</section>", f"{inner}</section>")
    assert [i.kind for i in read(document(outer)).items] == ["problems"]


def test_wrong_case_is_counted_not_read() -> None:
    bad = problem(ASTHMA).replace("<observation", "<Observation").replace("</observation", "</Observation")
    found = read(document(section("11450-4", bad + problem(ASTHMA))))
    assert [i.understood for i in found.items] == [False, True]
    assert found.not_understood == 1
    assert found.counts["problems"] == {"items": 1, "none_known": 0, "negated": 0, "not_understood": 1}


def test_one_bad_entry_costs_only_itself() -> None:
    bad = [
        entry('<act classCode="ACT" moodCode="EVN"><entryRelationship typeCode="SUBJ"/></act>'),
        problem(""),
        problem('<value xsi:type="CD" code="" codeSystem="not an oid" displayName=""/>'),
        problem(ASTHMA, times='<low value="20191399x"/>'),
        entry("<substanceAdministration/>"),
        entry(""),
    ]
    found = read(
        document(section("11450-4", "".join(bad) + problem(ASTHMA)), section("10160-0", "".join(bad)))
    )
    assert found.items[-1].name == "Asthma" or any(i.name == "Asthma" for i in found.items)
    assert sum(i.understood for i in found.items if i.kind == "problems") == 2
    assert found.not_understood >= 3


def test_namespace_prefix_gives_the_same() -> None:
    data = document(section("11450-4", problem(ASTHMA)))
    from lxml import etree

    root = etree.fromstring(data)
    text = etree.tostring(root).decode()
    import re

    prefixed = re.sub(r"<(/?)(?!\?)", r"<\1c:", text).replace(
        'xmlns="urn:hl7-org:v3"', 'xmlns:c="urn:hl7-org:v3"'
    )
    assert read(prefixed.encode()).items == read(data).items


def test_reading_twice_gives_equal_values() -> None:
    data = document(section("11450-4", problem(ASTHMA)), section("10160-0", drug(code("1", "X", RXNORM))))
    assert read(data) == read(data)
