"""ASTM CCR documents."""

import pytest

from records.clinical.reader import read
from records.clinical.types import Item
from records.clinical.xml import resolve_path
from tests.pure.clinical.documents import ccr


def described(text: str, *codes: tuple[str, str], tag: str = "Description") -> str:
    inner = "".join(f"<Code><Value>{v}</Value><CodingSystem>{s}</CodingSystem></Code>" for v, s in codes)
    return f"<{tag}><Text>{text}</Text>{inner}</{tag}>"


def dated(value: str, kind: str = "", shape: str = "ExactDateTime") -> str:
    typed = f"<Type><Text>{kind}</Text></Type>" if kind else ""
    inner = value if shape == "ExactDateTime" else f"<Text>{value}</Text>"
    return f"<DateTime>{typed}<{shape}>{inner}</{shape}></DateTime>"


def items(body: str, actors: str = "") -> list[Item]:
    return list(read(ccr(body, actors=actors)).items)


def test_header() -> None:
    found = read(ccr(""))
    assert (found.kind, found.item_type, str(found.date)) == ("ccr", "CCR", "2011-07-04T10:15:00-05:00")
    assert found.patient is not None
    assert (found.patient.name, found.patient.birth_date, found.patient.gender) == (
        "Wren Harrowgate",
        "1971-04-09",
        "female",
    )


@pytest.mark.parametrize("part", ["CurrentName", "BirthName", "AdditionalName"])
def test_whichever_name_is_filled(part: str) -> None:
    data = ccr("").replace(b"CurrentName", part.encode())
    found = read(data).patient
    assert found is not None
    assert found.name == "Wren Harrowgate"


def test_prefixed_namespace_gives_the_same() -> None:
    body = (
        "<c:Problems><c:Problem><c:Description><c:Text>Gout</c:Text></c:Description></c:Problem></c:Problems>"
    )
    assert [i.name for i in read(ccr(body, prefix="c")).items] == ["Gout"]


def test_problem() -> None:
    (found,) = items(
        "<Problems><Problem>"
        + dated("2003", "Onset")
        + dated("2005-02", "End date")
        + described("Gout", ("274.9", "ICD9-CM"), ("90560007", "SNOMED CT"), ("7", "House"))
        + "<Status><Text>No Longer Active</Text></Status></Problem></Problems>"
    )
    assert (found.kind, found.name, found.status) == ("problems", "Gout", "inactive")
    assert (str(found.start), str(found.end), found.section) == ("2003", "2005-02", "11450-4")
    assert [(c.system, c.code) for c in found.codes] == [
        ("http://hl7.org/fhir/sid/icd-9-cm", "274.9"),
        ("http://snomed.info/sct", "90560007"),
        ("House", "7"),
    ]


@pytest.mark.parametrize(
    ("time", "start", "text"),
    [
        (dated("6/27/1996", shape="ApproximateDateTime"), "1996-06-27", "6/27/1996"),
        (dated("6/27/96", shape="ApproximateDateTime"), None, "6/27/96"),
        (dated("2 years ago", shape="ApproximateDateTime"), None, "2 years ago"),
        (dated("2003"), "2003", None),
        (dated(""), None, None),
        (
            "<DateTime><Age><Value>41</Value><Units><Unit>Years</Unit></Units></Age></DateTime>",
            None,
            "at age 41 Years",
        ),
        (
            "<DateTime><DateTimeRange><BeginRange><ExactDateTime>2001</ExactDateTime></BeginRange>"
            "<EndRange><ExactDateTime>2002</ExactDateTime></EndRange></DateTimeRange></DateTime>",
            "2001",
            None,
        ),
        # A single date is the one, whatever it is called.
        (dated("2004", "Documented"), "2004", None),
    ],
)
def test_kinds_of_dates(time: str, start: str | None, text: str | None) -> None:
    (found,) = items(f"<Problems><Problem>{time}{described('Gout')}</Problem></Problems>")
    assert (found.start.iso if found.start else None) == start
    assert found.detail.get("start_text") == text


def test_alerts() -> None:
    agent = (
        "<Agent><Products><Product><Product>"
        + described("Codeine", ("2670", "RxNorm"), tag="ProductName")
        + "</Product></Product></Products></Agent>"
    )
    reaction = f"<Reaction>{described('Hives')}<Severity><Text>Severe</Text></Severity></Reaction>"
    found = items(
        "<Alerts>"
        f"<Alert>{described('Drug Allergy', tag='Type')}{described('Codeine allergy')}"
        f"{agent}{reaction}</Alert>"
        f"<Alert>{described('Adverse reaction', tag='Type')}{described('Latex')}</Alert>"
        f"<Alert>{described('Alert', tag='Type')}{described('Fall risk')}</Alert>"
        f"<Alert>{described('Allergy', tag='Type')}{described('No known allergies')}</Alert>"
        "</Alerts>"
    )
    assert [(i.kind, i.name, i.none_known) for i in found] == [
        ("allergies", "Codeine", False),
        ("allergies", "Latex", False),
        ("health_concerns", "Fall risk", False),
        ("allergies", "No known allergies", True),
    ]
    (seen,) = found[0].detail["reactions"]
    assert (seen.manifestation.name, seen.severity and seen.severity.name) == ("Hives", "Severe")


def test_medication() -> None:
    (found,) = items(
        "<Medications><Medication>"
        + dated("5/5/2006", shape="ApproximateDateTime")
        + "<Product>"
        + described("furosemide", ("4603", "RxNorm"), tag="ProductName")
        + described("Lasix", tag="BrandName")
        + "<Strength><Value>20</Value><Units><Unit>mg</Unit></Units></Strength></Product>"
        "<Directions><Direction>"
        "<Dose><Value>1</Value><Units><Unit>tablet</Unit></Units></Dose><Route><Text>Oral</Text></Route>"
        "<Frequency><Value>BID</Value></Frequency></Direction></Directions>"
        "<Refills><Refill><Number>2</Number></Refill></Refills></Medication></Medications>"
    )
    assert (found.kind, found.name, str(found.start)) == ("medications", "furosemide", "2006-05-05")
    detail = found.detail
    assert (detail["brand"], detail["strength"], detail["frequency"], detail["refills"]) == (
        "Lasix",
        "20 mg",
        "BID",
        2,
    )
    assert (str(detail["dose"]), detail["route"].name) == ("1 tablet", "Oral")


def test_results_and_vital_signs() -> None:
    test = (
        "<Test>"
        + described("Potassium", ("2823-3", "LOINC"))
        + "<TestResult><Value>4.30</Value><Units><Unit>mmol/L</Unit></Units></TestResult>"
        "<NormalResult><Normal><Value>3.5 - 5.3</Value></Normal></NormalResult><Flag><Text>Normal"
        "</Text></Flag></Test>"
    )
    words = "<Test>" + described("Chest X-ray") + f"<TestResult>{described('Clear')}</TestResult></Test>"
    result = f"<Result>{dated('2009-09-16', 'Collection start date')}"
    result += f"{described('Chemistry')}{test}{words}</Result>"
    found = items(f"<Results>{result}</Results><VitalSigns>{result}</VitalSigns>")
    assert [(i.kind, i.name, i.value, i.unit, str(i.start)) for i in found] == [
        ("results", "Potassium", "4.30", "mmol/L", "2009-09-16"),
        ("results", "Chest X-ray", "Clear", None, "2009-09-16"),
        ("vital_signs", "Potassium", "4.30", "mmol/L", "2009-09-16"),
        ("vital_signs", "Chest X-ray", "Clear", None, "2009-09-16"),
    ]
    assert found[0].detail["reference_ranges"][0].text == "3.5 - 5.3"


def test_the_other_parts_of_the_body() -> None:
    actors = (
        "<Actor><ActorObjectID>D1</ActorObjectID><Person><Name><CurrentName><Given>Odile</Given>"
        "<Family>Brandt</Family>"
        "</CurrentName></Name></Person></Actor><Actor><ActorObjectID>O1</ActorObjectID>"
        "<Organization><Name>Quince"
        " Mutual</Name></Organization></Actor>"
    )
    found = items(
        f"<Immunizations><Immunization>{dated('2008-10-01', 'Administration date')}<Product>"
        f"{described('Influenza', ('88', 'CVX'), tag='ProductName')}</Product></Immunization></Immunizations>"
        f"<Procedures><Procedure>{described('Appendectomy')}</Procedure></Procedures>"
        f"<Encounters><Encounter>{described('Office visit')}<Status><Text>Scheduled</Text></Status>"
        f"</Encounter></Encounters>"
        f"<FamilyHistory><FamilyProblemHistory><Problem>{described('Gout')}</Problem>"
        "<FamilyMember><ActorRole><Text>Mother</Text></ActorRole></FamilyMember>"
        "<FamilyMember><ActorRole><Text>Father</Text></ActorRole></FamilyMember>"
        "</FamilyProblemHistory></FamilyHistory>"
        f"<SocialHistory><SocialHistoryElement>{described('Smoking', tag='Type')}{described('Never')}"
        "</SocialHistoryElement></SocialHistory>"
        "<Payers><Payer><PaymentProvider><ActorID>O1</ActorID></PaymentProvider><IDs><Type>"
        "<Text>Member ID</Text></Type>"
        "<ID>M-9</ID></IDs></Payer></Payers>"
        f"<AdvanceDirectives><AdvanceDirective>{described('DNR')}</AdvanceDirective></AdvanceDirectives>"
        f"<FunctionalStatus><Function>{described('Walks with a cane')}</Function></FunctionalStatus>"
        f"<MedicalEquipment><Equipment><Product>{described('Cane', tag='ProductName')}</Product>"
        f"</Equipment></MedicalEquipment>"
        f"<PlanOfCare><Plan><OrderRequest><Procedures><Procedure>{described('Spirometry')}"
        f"</Procedure></Procedures>"
        "</OrderRequest></Plan></PlanOfCare>"
        "<HealthCareProviders><Provider><ActorID>D1</ActorID><ActorRole><Text>Family doctor</Text>"
        "</ActorRole></Provider>"
        "</HealthCareProviders>",
        actors,
    )
    assert [(i.kind, i.name, i.value) for i in found] == [
        ("immunizations", "Influenza", None),
        ("procedures", "Appendectomy", None),
        ("encounters", "Office visit", None),
        ("family_history", "Gout", None),
        ("family_history", "Gout", None),
        ("social_history", "Smoking", "Never"),
        ("payers", "Quince Mutual", None),
        ("advance_directives", "DNR", None),
        ("functional_status", "Walks with a cane", None),
        ("medical_equipment", "Cane", None),
        ("plan_of_treatment", "Spirometry", None),
        ("care_team", "Odile Brandt", "Family doctor"),
    ]
    assert [i.detail["relative"].name for i in found[3:5]] == ["Mother", "Father"]
    assert found[6].detail["member_id"] == "M-9"


def test_markup_in_text_is_plain_text() -> None:
    (found,) = items(
        f"<Problems><Problem>{described('&lt;b&gt;Gout&lt;/b&gt; &amp; pain')}</Problem></Problems>"
    )
    assert found.name == "Gout & pain"


def test_paths_and_unread_entries() -> None:
    data = ccr(f"<Problems><Problem>{described('Gout')}</Problem><problem/></Problems><Odd><X/></Odd>")
    found = read(data)
    assert [i.understood for i in found.items] == [True, False]
    assert resolve_path(data, found.items[0].path).tag == "{urn:astm-org:CCR}Problem"
    assert [(s.title, s.kind, s.items, s.not_understood) for s in found.sections] == [
        ("Problems", "problems", 1, 1),
        ("Odd", "", 0, 0),
    ]


def test_two_patients_are_counted() -> None:
    data = ccr("").replace(b"</Patient>", b"</Patient><Patient><ActorID>A2</ActorID></Patient>", 1)
    assert read(data).patients == 2
