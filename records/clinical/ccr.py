"""ASTM E2369 Continuity of Care Record documents: bytes or a parsed root in, a summary out.

Persons and organizations stand only in ``Actors``; everything else points there by ``ActorID``.
"""

from records.clinical import detect, xml
from records.clinical.ccr_data import CCR, Ccr, Node, children_of, kid, text_of
from records.clinical.ccr_items import READERS, Reader
from records.clinical.errors import TooManyElements
from records.clinical.types import (
    Address,
    ClinicalSummary,
    Detail,
    Identifier,
    Item,
    Party,
    PatientFacts,
    PatientName,
    Section,
    Telecom,
    count,
)
from records.clinical.xml import Element

MAX_ITEMS = 50_000
_GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female"}


def parse(data: bytes, content_type: str | None = None) -> ClinicalSummary:
    """Read a CCR document.

    :param data: the bytes as received.
    :param content_type: the declared type.
    :raises UnreadableDocument: when the bytes are no readable XML.
    :raises UnsupportedDocument: when it is no clinical document.
    """
    root = xml.parse(data)
    return read_root(root, detect.detect_root(root, content_type))


def read_root(root: Element, detected: detect.Detected) -> ClinicalSummary:
    """Read a parsed CCR document."""
    ccr = Ccr(root)
    sections: list[Section] = []
    items: list[Item] = []
    body = kid(root, "Body")
    if body is not None:
        for element in body:
            section, found = _read_section(ccr, element)
            sections.append(section)
            items.extend(found)
            if len(items) > MAX_ITEMS:
                raise TooManyElements(f"more than {MAX_ITEMS} items")
    patients = [actor for node in children_of(root, "Patient") if (actor := ccr.actor(node)) is not None]
    document_id = text_of(root, "CCRDocumentObjectID")
    assert detected.kind is not None
    return ClinicalSummary(
        kind=detected.kind,
        item_type=detected.item_type,
        title=ccr.coded(kid(root, "Purpose", "Description")).name or "Continuity of Care Record",
        date=ccr.date(kid(root, "DateTime")),
        document_id=Identifier(document_id) if document_id else None,
        version=text_of(root, "Version"),
        language=text_of(root, "Language", "Code", "Value") or text_of(root, "Language", "Text"),
        patient=_patient(ccr, patients[0]) if patients else None,
        patients=sum(1 for _ in children_of(root, "Patient")),
        authors=_authors(ccr, root),
        sections=tuple(sections),
        items=tuple(items),
    )


def _read_section(ccr: Ccr, element: Element) -> tuple[Section, list[Item]]:
    name = element.tag.removeprefix(CCR)
    row = READERS.get(name)
    items: list[Item] = []
    empty = 0
    if row is not None:
        for node in element:
            found = _read_one(ccr, node, row)
            items.extend(found)
            empty += not found
    counts = count(items)
    section = Section(
        code=row.loinc if row else "",
        title=row.title if row else name,
        kind=row.kind if row else "",
        narrative="",
        path=ccr.path(element),
        no_information=empty,
        items=counts["items"],
        none_known=counts["none_known"],
        negated=counts["negated"],
        not_understood=counts["not_understood"],
    )
    return section, items


def _read_one(ccr: Ccr, node: Element, row: Reader) -> list[Item]:
    if node.tag != CCR + row.element:
        detail = Detail(not_understood="wrong_element")
        return [Item(kind=row.kind, understood=False, section=row.loinc, path=ccr.path(node), detail=detail)]
    try:
        return list(row.read(ccr, node, row))
    except Exception:
        # Whatever it is, it costs this entry and not the document; it is counted and shown as not read.
        detail = Detail(not_understood="bad_entry")
        return [Item(kind=row.kind, understood=False, section=row.loinc, path=ccr.path(node), detail=detail)]


def _authors(ccr: Ccr, root: Element) -> tuple[Party, ...]:
    sender = kid(root, "From")
    if sender is None:
        return ()
    return tuple(p for link in children_of(sender, "ActorLink") if (p := ccr.party(link)) is not None)


def _patient(ccr: Ccr, actor: Element) -> PatientFacts:
    person = kid(actor, "Person")
    names = tuple(_names(person)) if person is not None else ()
    gender = (text_of(person, "Gender", "Text") or text_of(person, "Gender", "Code", "Value")).lower()
    birth = ccr.date(kid(person, "DateOfBirth"))
    return PatientFacts(
        name=names[0].shown if names else "",
        names=names,
        birth_date=birth.day if birth else "",
        gender=_GENDERS.get(gender, "unknown" if gender else ""),
        ids=tuple(
            Identifier(ccr.issuer(node), value)
            for node in children_of(actor, "IDs")
            if (value := text_of(node, "ID"))
        ),
        addresses=tuple(a for node in children_of(actor, "Address") if (a := _address(node)).shown),
        telecoms=tuple(
            Telecom(system, value, text_of(node, "Type", "Text"))
            for name, system in (("Telephone", "phone"), ("EMail", "email"))
            for node in children_of(actor, name)
            if (value := text_of(node, "Value"))
        ),
    )


def _names(person: Node) -> list[PatientName]:
    found = []
    for part, use in (("CurrentName", "L"), ("BirthName", "BR"), ("AdditionalName", "P")):
        for node in children_of(kid(person, "Name"), part):
            name = PatientName(
                family=" ".join(_texts(node, "Family")),
                given=(*_texts(node, "Given"), *_texts(node, "Middle")),
                prefix=" ".join(_texts(node, "Title")),
                suffix=" ".join(_texts(node, "Suffix")),
                use=use,
            )
            if name.shown:
                found.append(name)
    shown = text_of(person, "Name", "DisplayName")
    if shown and not found:
        found.append(PatientName(text=shown))
    return found


def _texts(node: Element, name: str) -> list[str]:
    found = (text_of(part) for part in children_of(node, name))
    return [text for text in found if text]


def _address(node: Element) -> Address:
    return Address(
        lines=tuple(text for name in ("Line1", "Line2") if (text := text_of(node, name))),
        city=text_of(node, "City"),
        state=text_of(node, "State"),
        postal_code=text_of(node, "PostalCode"),
        country=text_of(node, "Country"),
        use=text_of(node, "Type", "Text"),
    )
