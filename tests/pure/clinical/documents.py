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
