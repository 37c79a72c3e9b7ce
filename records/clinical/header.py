"""The header of a CDA document: whose it is, who wrote it, what it replaces."""

from collections.abc import Iterator
from dataclasses import dataclass

from records.clinical.cda import (
    V3,
    Cda,
    Children,
    child,
    children,
    descend,
    first,
    grouped,
    identifier,
    identifiers,
    person_name,
    text_under,
    time_of,
)
from records.clinical.dates import parse_hl7
from records.clinical.types import (
    Address,
    Coded,
    Identifier,
    PartialDate,
    Party,
    PatientFacts,
    PatientName,
    RelatedDocument,
    Telecom,
)
from records.clinical.xml import Element

_RECORD_TARGET = V3 + "recordTarget"
_US_REALM_TEMPLATES = "2.16.840.1.113883.10.20.22.1."
_GENDERS = {"M": "male", "F": "female", "UN": "other", "O": "other"}


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says."""

    title: str
    code: Coded
    date: PartialDate | None
    document_id: Identifier | None
    set_id: Identifier | None
    version: str
    related: tuple[RelatedDocument, ...]
    release: str
    language: str
    confidentiality: str
    patient: PatientFacts | None
    patients: int
    authors: tuple[Party, ...]
    custodian: Party | None
    participants: tuple[Party, ...]


def read_header(cda: Cda) -> Header:
    """Read the header of a document; whatever is missing stays empty."""
    groups = grouped(cda.root)
    targets = groups.get("recordTarget", [])
    code = cda.coded(first(groups, "code"))
    title = first(groups, "title")
    version = first(groups, "versionNumber")
    language = first(groups, "languageCode")
    confidentiality = first(groups, "confidentialityCode")
    custodian = descend(first(groups, "custodian"), "assignedCustodian")
    return Header(
        title=(text_under(title) if title is not None else "") or code.name,
        code=code,
        date=time_of(first(groups, "effectiveTime")),
        document_id=identifier(first(groups, "id")),
        set_id=identifier(first(groups, "setId")),
        version=version.get("value", "").strip() if version is not None else "",
        related=tuple(_related(groups)),
        release=_release(groups),
        language=language.get("code", "") if language is not None else "",
        confidentiality=confidentiality.get("code", "").strip() if confidentiality is not None else "",
        patient=read_patient(cda, targets[0]) if targets else None,
        patients=len(targets),
        authors=cda.parties(groups.get("author")),
        custodian=cda.party(groups["custodian"][0]) if custodian is not None else None,
        participants=cda.parties(groups.get("participant")),
    )


def _release(groups: Children) -> str:
    """The C-CDA release: the highest extension of the document's templates; R1.1 has none."""
    templates = [t for t in groups.get("templateId", ()) if t.get("root", "").startswith(_US_REALM_TEMPLATES)]
    if not templates:
        return ""
    latest = max(t.get("extension", "").strip() for t in templates)
    if latest >= "2020":
        return latest
    return {"": "R1.1", "2014-06-09": "R2.0", "2015-08-01": "R2.1"}.get(latest, latest)


def _related(groups: Children) -> Iterator[RelatedDocument]:
    for related in groups.get("relatedDocument", ()):
        parent = child(related, "parentDocument")
        found = identifier(child(parent, "id")) if parent is not None else None
        if parent is None or found is None:
            continue
        version = child(parent, "versionNumber")
        yield RelatedDocument(
            related.get("typeCode", ""),
            found,
            identifier(child(parent, "setId")),
            version.get("value", "") if version is not None else "",
        )


def read_patient(cda: Cda, target: Element) -> PatientFacts | None:
    """The person of one ``recordTarget``."""
    role = child(target, "patientRole")
    if role is None:
        return None
    outer = grouped(role)
    person = first(outer, "patient")
    inner: Children = grouped(person) if person is not None else {}
    marital = cda.coded(first(inner, "maritalStatusCode"))
    deceased = first(inner, "sdtc:deceasedInd")
    died = first(inner, "sdtc:deceasedTime")
    birth = time_of(first(inner, "birthTime"))
    names = tuple(name for element in inner.get("name", ()) if (name := _name(element)).shown)
    return PatientFacts(
        name=names[0].shown if names else "",
        names=names,
        # Only the day of a birth counts, though many senders give a time.
        birth_date=birth.day if birth else "",
        gender=_gender(first(inner, "administrativeGenderCode")),
        ids=identifiers(outer.get("id")),
        addresses=tuple(a for element in outer.get("addr", ()) if (a := _address(element)).shown),
        telecoms=tuple(t for element in outer.get("telecom", ()) if (t := telecom(element)) is not None),
        marital_status=marital or None,
        races=_all_coded(cda, inner, "raceCode", "sdtc:raceCode"),
        ethnicity=_all_coded(cda, inner, "ethnicGroupCode", "sdtc:ethnicGroupCode"),
        languages=tuple(_languages(inner)),
        guardians=tuple(_guardians(inner)),
        deceased=deceased is not None and deceased.get("value") == "true",
        deceased_date=parse_hl7(died.get("value")) if died is not None else None,
    )


def _all_coded(cda: Cda, groups: Children, *names: str) -> tuple[Coded, ...]:
    return tuple(c for name in names for element in groups.get(name, ()) if (c := cda.coded(element)))


def _gender(element: Element | None) -> str:
    if element is None:
        return ""
    code = element.get("code", "").strip().upper()
    return _GENDERS.get(code, "unknown" if element.get("nullFlavor") or code else "")


def _name(element: Element) -> PatientName:
    parts: dict[str, list[str]] = {"given": [], "family": [], "prefix": [], "suffix": []}
    for part in element:
        held = parts.get(part.tag.removeprefix(V3))
        text = text_under(part)
        if held is not None and text and text.lower() != "null":
            held.append(text)
    return PatientName(
        family=" ".join(parts["family"]),
        given=tuple(parts["given"]),
        prefix=" ".join(parts["prefix"]),
        suffix=" ".join(parts["suffix"]),
        use=element.get("use", ""),
        text="" if any(parts.values()) else person_name(element),
    )


def _address(element: Element) -> Address:
    parts: dict[str, str] = {}
    lines = []
    for part in element:
        name, text = part.tag.removeprefix(V3), text_under(part)
        if not text or text.lower() == "null":
            continue
        if name in {"streetAddressLine", "additionalLocator", "unitID"}:
            lines.append(text)
        else:
            parts[name] = text
    if not len(element) and (element.text or "").strip():
        lines.append(" ".join((element.text or "").split()))
    return Address(
        lines=tuple(lines),
        city=parts.get("city", ""),
        state=parts.get("state", ""),
        postal_code=parts.get("postalCode", ""),
        country=parts.get("country", ""),
        use=element.get("use", ""),
    )


def telecom(element: Element) -> Telecom | None:
    """Read a TEL; senders write ``tel:+1…``, ``TEL: …``, bare digits, ``mailto:`` and ``email:``."""
    value = element.get("value", "").strip()
    if not value:
        return None
    use = element.get("use", "")
    scheme, colon, rest = value.partition(":")
    scheme, rest = scheme.strip().lower(), rest.strip()
    if colon and scheme in {"tel", "phone"}:
        return Telecom("phone", rest, use) if rest else None
    if colon and scheme in {"mailto", "email"}:
        return Telecom("email", rest, use) if rest else None
    if colon and scheme == "fax":
        return Telecom("fax", rest, use) if rest else None
    if colon and scheme in {"http", "https"}:
        return Telecom("url", value, use)
    if "@" in value:
        return Telecom("email", value, use)
    return Telecom("phone" if sum(c.isdigit() for c in value) >= 7 else "other", value, use)


def _languages(groups: Children) -> Iterator[str]:
    for communication in groups.get("languageCommunication", ()):
        code = child(communication, "languageCode")
        language = code.get("code", "").strip() if code is not None else ""
        if language:
            yield language


def _guardians(groups: Children) -> Iterator[str]:
    for guardian in groups.get("guardian", ()):
        for name in ("guardianPerson", "guardianOrganization"):
            found = descend(guardian, name, "name")
            if found is not None and (shown := person_name(found)):
                yield shown


def encompassing_encounter(root: Element) -> Element | None:
    """``componentOf/encompassingEncounter``."""
    return descend(root, "componentOf", "encompassingEncounter")


def event_performers(root: Element) -> Iterator[Element]:
    """``documentationOf/serviceEvent/performer``."""
    for documentation in children(root, "documentationOf"):
        event = child(documentation, "serviceEvent")
        if event is not None:
            yield from children(event, "performer")
