"""Builders of small clinical documents with invented people, for the tests of records.clinical."""

from collections.abc import Iterable

T = "2.16.840.1.113883.10.20."
LOINC = "2.16.840.1.113883.6.1"
SNOMED = "2.16.840.1.113883.6.96"
RXNORM = "2.16.840.1.113883.6.88"
ACT_CODE = "2.16.840.1.113883.5.4"

NAMESPACES = (
    'xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
PATIENT = """
<recordTarget><patientRole>
  <id root="2.16.840.1.113883.19.77" extension="OAK-441"/>
  <addr use="HP"><streetAddressLine>9 Quince Row</streetAddressLine><city>Larkfield</city>
    <state>OR</state><postalCode>97999</postalCode></addr>
  <telecom value="tel:+1(555)010-4477" use="HP"/><telecom value="mailto:wren@people.example"/>
  <patient>
    <name use="L"><given>Wren</given><given>Isolde</given><family>Harrowgate</family></name>
    <administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/>
    <birthTime value="19710409083000"/>
  </patient>
</patientRole></recordTarget>
"""


def section(
    loinc: str, entries: str = "", *, title: str = "A section", text: str = "", more: str = ""
) -> str:
    """One section in its component."""
    return (
        f'<component><section>{more}<code code="{loinc}" codeSystem="{LOINC}"/>'
        f"<title>{title}</title><text>{text}</text>{entries}</section></component>"
    )


def entry(statement: str) -> str:
    """One entry."""
    return f'<entry typeCode="DRIV">{statement}</entry>'


def document(
    *sections: str,
    templates: Iterable[tuple[str, str]] = ((T + "22.1.1", "2015-08-01"), (T + "22.1.2", "2015-08-01")),
    header: str = PATIENT,
    after: str = "",
    title: str = "Summary of care",
) -> bytes:
    """A whole CDA document; ``after`` stands between the record target and the body."""
    ids = "".join(
        f'<templateId root="{root}"' + (f' extension="{extension}"/>' if extension else "/>")
        for root, extension in templates
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument {NAMESPACES}>'
        f'{ids}<id root="2.16.840.1.113883.19.5" extension="DOC-1"/>'
        f'<code code="34133-9" codeSystem="{LOINC}"/><title>{title}</title>'
        f'<effectiveTime value="20240516093000-0700"/>{header}{after}'
        f"<component><structuredBody>{''.join(sections)}</structuredBody></component></ClinicalDocument>"
    ).encode()


def code(value: str, name: str = "", system: str = SNOMED, tag: str = "code", kind: str = "") -> str:
    """A coded element."""
    display = f' displayName="{name}"' if name else ""
    typed = f' xsi:type="{kind}"' if kind else ""
    return f'<{tag}{typed} code="{value}" codeSystem="{system}"{display}/>'


def problem(
    value: str,
    *,
    times: str = '<low value="20190302"/>',
    act_status: str = "active",
    attributes: str = "",
    more: str = "",
    identity: str = '<id root="1.2.3" extension="p1"/>',
    text: str = "",
) -> str:
    """A problem concern act with one observation."""
    return entry(
        f'<act classCode="ACT" moodCode="EVN"><code code="CONC" codeSystem="2.16.840.1.113883.5.6"/>'
        f'<statusCode code="{act_status}"/><entryRelationship typeCode="SUBJ">'
        f'<observation classCode="OBS" moodCode="EVN" {attributes}>'
        f'<templateId root="{T}22.4.4"/>{identity}'
        f'<code code="55607006" codeSystem="{SNOMED}"/>{text}<statusCode code="completed"/>'
        f"<effectiveTime>{times}</effectiveTime>{value}{more}</observation></entryRelationship></act>"
    )


def allergy(
    agent: str, *, attributes: str = "", value: str = "419199007", more: str = "", text: str = ""
) -> str:
    """An allergy concern act with one observation; ``agent`` is the content of playingEntity."""
    return entry(
        f'<act classCode="ACT" moodCode="EVN"><code code="CONC" codeSystem="2.16.840.1.113883.5.6"/>'
        f'<statusCode code="active"/><entryRelationship typeCode="SUBJ">'
        f'<observation classCode="OBS" moodCode="EVN" {attributes}>'
        f'<templateId root="{T}22.4.7"/><code code="ASSERTION" codeSystem="{ACT_CODE}"/>{text}'
        f'<statusCode code="completed"/><effectiveTime><low value="200806"/></effectiveTime>'
        f"{code(value, tag='value', kind='CD')}"
        f'<participant typeCode="CSM"><participantRole classCode="MANU"><playingEntity classCode="MMAT">'
        f"{agent}</playingEntity></participantRole></participant>{more}"
        f"</observation></entryRelationship></act>"
    )


def drug(
    material: str,
    *,
    mood: str = "EVN",
    status: str = "active",
    times: str = '<effectiveTime xsi:type="IVL_TS"><low value="20230110"/></effectiveTime>',
    attributes: str = "",
    more: str = "",
    after: str = "",
) -> str:
    """A substance administration; ``material`` is the content of manufacturedMaterial."""
    return entry(
        f'<substanceAdministration classCode="SBADM" moodCode="{mood}" {attributes}>'
        f'<id root="1.2.3" extension="m1"/>{more}<statusCode code="{status}"/>{times}{after}'
        f'<consumable><manufacturedProduct classCode="MANU"><manufacturedMaterial>{material}'
        f"</manufacturedMaterial></manufacturedProduct></consumable></substanceAdministration>"
    )


def panel(*observations: str, time: str = '<effectiveTime value="20240102"/>', name: str = "24323-8") -> str:
    """A result or vital-sign organizer."""
    components = "".join(f"<component>{observation}</component>" for observation in observations)
    return entry(
        f'<organizer classCode="BATTERY" moodCode="EVN">{code(name, system=LOINC)}'
        f'<statusCode code="completed"/>{time}{components}</organizer>'
    )


def observation(
    coded: str, value: str, *, time: str = "", status: str = "completed", attributes: str = "", more: str = ""
) -> str:
    """An observation."""
    return (
        f'<observation classCode="OBS" moodCode="EVN" {attributes}>{coded}<statusCode code="{status}"/>'
        f"{time}{value}{more}</observation>"
    )


def ccr(body: str, *, actors: str = "", prefix: str = "") -> bytes:
    """A CCR document; with a prefix every element of the frame carries it."""
    p = f"{prefix}:" if prefix else ""
    name = f"xmlns:{prefix}" if prefix else "xmlns"
    return (
        f'<{p}ContinuityOfCareRecord {name}="urn:astm-org:CCR">'
        f"<{p}CCRDocumentObjectID>ccr-77</{p}CCRDocumentObjectID>"
        f"<{p}DateTime><{p}ExactDateTime>2011-07-04T10:15:00-05:00</{p}ExactDateTime></{p}DateTime>"
        f"<{p}Patient><{p}ActorID>A1</{p}ActorID></{p}Patient>"
        f"<{p}Body>{body}</{p}Body>"
        f"<{p}Actors><{p}Actor><{p}ActorObjectID>A1</{p}ActorObjectID><{p}Person><{p}Name><{p}CurrentName>"
        f"<{p}Given>Wren</{p}Given><{p}Family>Harrowgate</{p}Family></{p}CurrentName></{p}Name>"
        f"<{p}DateOfBirth><{p}ExactDateTime>1971-04-09</{p}ExactDateTime></{p}DateOfBirth>"
        f"<{p}Gender><{p}Text>Female</{p}Text></{p}Gender></{p}Person></{p}Actor>{actors}</{p}Actors>"
        f"</{p}ContinuityOfCareRecord>"
    ).encode()


def act(coded: str, *, mood: str = "EVN", more: str = "", template: str = "") -> str:
    """An act."""
    identity = f'<templateId root="{T}{template}"/>' if template else ""
    return f'<act classCode="ACT" moodCode="{mood}">{identity}{coded}<statusCode code="active"/>{more}</act>'


def everything() -> bytes:
    """A document with at least one statement of every kind, and every sort of "no"."""
    smoker = observation(
        code("72166-2", "Smoking status", LOINC), code("8517006", "Former smoker", tag="value", kind="CD")
    )
    author = (
        '<author><time value="20240102101500-0700"/><assignedAuthor><id root="2.16.840.1.113883.4.6" '
        'extension="1234567893"/><assignedPerson><name><given>Odile</given><family>Brandt</family></name>'
        "</assignedPerson><representedOrganization><name>Larkfield Clinic</name></representedOrganization>"
        "</assignedAuthor></author>"
    )
    gout = code("90560007", "Gout", tag="value", kind="CD")
    relative = (
        "<subject><relatedSubject classCode='PRS'>"
        + code("MTH", "mother", "2.16.840.1.113883.5.111")
        + '<subject><administrativeGenderCode code="F"/><birthTime value="1940"/>'
        '<sdtc:deceasedInd value="true"/></subject></relatedSubject></subject>'
    )
    family = entry(
        f'<organizer classCode="CLUSTER" moodCode="EVN"><statusCode code="completed"/>{relative}'
        f"<component>{observation(code('64572001'), gout)}</component></organizer>"
    )
    vital = [
        observation(code(loinc, system=LOINC), f'<value xsi:type="PQ" value="{value}" unit="{unit}"/>')
        for loinc, value, unit in (("8480-6", "121", "mm[Hg]"), ("8310-5", "37.2", "Cel"))
    ]
    device = (
        '<procedure classCode="PROC" moodCode="EVN">'
        + code("1", "Implantation")
        + '<statusCode code="completed"/>'
        '<effectiveTime value="20160413"/><participant typeCode="DEV"><participantRole classCode="MANU">'
        '<id root="2.16.840.1.113883.3.3719" extension="(01)00848486001048(10)Q7"/><playingDevice>'
        + code("14106009", "Cardiac pacemaker")
        + "</playingDevice><scopingEntity><desc>Pulse Works</desc></scopingEntity>"
        "</participantRole></participant>"
        "</procedure>"
    )
    policy = (
        '<act classCode="ACT" moodCode="EVN"><code code="48768-6" codeSystem="2.16.840.1.113883.6.1"/>'
        '<entryRelationship typeCode="COMP"><act classCode="ACT" moodCode="EVN">'
        '<id root="1.2" extension="G-55"/>'
        + code("HMO", "Health maintenance", "2.16.840.1.113883.5.4")
        + '<statusCode code="completed"/><performer typeCode="PRF"><assignedEntity><code code="PAYOR"/>'
        "<representedOrganization><name>Quince Mutual</name></representedOrganization></assignedEntity>"
        "</performer>"
        '<participant typeCode="COV"><time><low value="2023"/></time><participantRole><id root="1.3" '
        'extension="M-9"/></participantRole></participant></act></entryRelationship></act>'
    )
    member = (
        '<organizer classCode="CLUSTER" moodCode="EVN"><statusCode code="active"/><component>'
        '<act classCode="PCPR" moodCode="EVN"><statusCode code="active"/><performer><functionCode code="PCP" '
        'displayName="primary care"/><assignedEntity><assignedPerson><name>Dr Odile Brandt</name>'
        "</assignedPerson></assignedEntity></performer></act></component></organizer>"
    )
    note = act(
        '<code code="34109-9" codeSystem="2.16.840.1.113883.6.1"><translation code="11488-4" '
        'codeSystem="2.16.840.1.113883.6.1" displayName="Consult note"/></code>'
        "<text>Seen for a sore elbow.</text>",
        template="22.4.202",
        more='<effectiveTime value="20240102"/>' + author,
    )
    drug_code = code("314076", "Lisinopril 10 MG", RXNORM)
    vaccine = code("140", "Influenza", "2.16.840.1.113883.12.292")
    plan = [
        entry(
            f'<{name} classCode="X" moodCode="{mood}">{code("386373004", "Diet")}<statusCode code="active"/>'
            f'<effectiveTime value="20250101"/></{name}>'
        )
        for name, mood in (("observation", "RQO"), ("encounter", "ARQ"), ("procedure", "INT"), ("act", "PRP"))
    ]
    appendectomy = (
        f'<procedure classCode="PROC" moodCode="EVN">{code("80146002", "Appendectomy")}'
        '<statusCode code="completed"/><effectiveTime value="2015"/></procedure>'
    )
    results = panel(
        observation(code("2345-7", system=LOINC), '<value xsi:type="PQ" value="104" unit="mg/dL"/>'),
        observation(code("1", "Culture", LOINC), '<value xsi:type="ST">None</value>'),
        observation(
            code("2", "Titer", LOINC),
            '<value xsi:type="IVL_PQ"><low value="1" unit="g"/><high value="2" unit="g"/></value>',
        ),
    )
    visit = (
        '<encounter classCode="ENC" moodCode="EVN">'
        + code("99222", "Hospital care", "2.16.840.1.113883.6.12")
        + '<effectiveTime><low value="20230504101500"/></effectiveTime></encounter>'
    )
    weight = '<value xsi:type="PQ" value="70" unit="kg"/>'
    concern = f'<entryRelationship typeCode="REFR">{observation(code("ASSERTION"), gout)}</entryRelationship>'

    def answered(question: str, value: str, name: str, system: str = SNOMED) -> str:
        return entry(
            observation(code(question, "A question", system), code(value, name, tag="value", kind="CD"))
        )

    past = problem(gout, times='<low value="2001"/><high value="2003"/>', act_status="completed")
    negated = 'negationInd="true"'
    education = act(code("311401005", "Education") + "<text>Drink water.</text>", mood="INT")
    contents: dict[str, list[str]] = {
        "48765-2": [
            allergy(code("7980", "Penicillin G", RXNORM)),
            allergy(code("762952008", "Peanut"), attributes=negated),
            allergy('<code nullFlavor="NA"/>', attributes=negated, value="416098002"),
        ],
        "11450-4": [
            problem(gout, more=author),
            problem(code("73211009", "Diabetes", tag="value", kind="CD"), attributes=negated),
            problem(code("160245001", tag="value", kind="CD")),
            entry("<Observation/>"),
        ],
        "11348-0": [past],
        "10160-0": [
            drug(drug_code, after='<doseQuantity value="1" unit="mg"/>'),
            drug(drug_code, mood="INT"),
            drug(code("410942007"), attributes=negated),
        ],
        "29549-3": [drug(drug_code, status="completed")],
        "42346-7": [drug(drug_code)],
        "10183-2": [drug(drug_code)],
        "11369-6": [drug(vaccine, status="completed"), drug(vaccine, attributes=negated)],
        "47519-4": [entry(appendectomy)],
        "30954-2": [results],
        "8716-3": [panel(*vital, name="85353-1")],
        "46240-8": [entry(visit)],
        "29762-2": [entry(smoker)],
        "10157-6": [family],
        "18776-5": [*plan, drug(drug_code, mood="INT")],
        "51847-2": [plan[0]],
        "61146-7": [entry(observation(code("29463-7", "Weight", LOINC), weight, status="active"))],
        "75310-3": [entry(act(code("75310-3", "Health concern", LOINC), more=concern))],
        "62387-6": [entry(act(code("61310001", "Nutrition education")))],
        "11383-7": [entry(observation(code("29463-7", "Weight", LOINC), weight))],
        "46264-8": [entry(device)],
        "48768-6": [entry(policy)],
        "42348-3": [answered("304251008", "304253006", "Do not resuscitate")],
        "47420-5": [answered("54522-8", "66557003", "No disability", LOINC)],
        "10190-7": [answered("373930000", "386807006", "Memory impairment")],
        "61144-2": [answered("75305-3", "248324001", "Well nourished", LOINC)],
        "85847-2": [entry(member)],
        "34109-9": [entry(note)],
        "69730-0": [entry(education)],
        "46241-6": [problem(gout)],
        "11535-2": [problem(gout)],
        "10219-4": [problem(gout)],
        "10218-6": [problem(gout)],
    }
    sections = [section(loinc, "".join(entries)) for loinc, entries in contents.items()]
    return document(*sections, after=author)
