"""C-CDA, C32, CCD and plain CDA documents: bytes or a parsed root in, a :class:`ClinicalSummary` out.

Built for HL7 C-CDA R1.1 to 4.0, HITSP C32 and HL7/ASTM CCD R1, which differ little for this purpose; no
schema or template is enforced. One bad entry costs that entry, never the document.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from records.clinical import detect, xml
from records.clinical.care import read_header_encounter, read_header_performer, read_note
from records.clinical.cda import V3, Cda, child, descend, flat_text, text_under
from records.clinical.common import blank_item
from records.clinical.conditions import read_problem
from records.clinical.errors import TooManyElements
from records.clinical.header import encompassing_encounter, event_performers, read_header
from records.clinical.sections import (
    Reader,
    SectionKind,
    is_notes_section,
    kind_of,
    section_code,
    title_of_code,
)
from records.clinical.statements import (
    ENCOUNTER,
    Found,
    Unread,
    encounter_diagnoses,
    is_empty,
    is_label,
    is_note,
    notes,
    statements_of,
)
from records.clinical.types import ClinicalSummary, EmbeddedBody, Item, Section, count
from records.clinical.xml import Element

MAX_ITEMS = 50_000
_SECTION = V3 + "section"
_ENTRY = V3 + "entry"
# Length of a date exact to the day.
_DAY = len("2024-05-16")


@dataclass(slots=True)
class _Tally:
    """Items of one section while it is read."""

    items: list[Item]
    no_information: int = 0


def parse(data: bytes, content_type: str | None = None) -> ClinicalSummary:
    """Read a CDA document of any kind.

    :param data: the bytes as received.
    :param content_type: the declared type; it decides the item type where it is true.
    :raises UnreadableDocument: when the bytes are no readable XML.
    :raises UnsupportedDocument: when it is no clinical document.
    """
    root = xml.parse(data)
    return read_root(root, detect.detect_root(root, content_type))


def read_root(root: Element, detected: detect.Detected) -> ClinicalSummary:
    """Read a parsed CDA document whose kind is known."""
    cda = Cda(root)
    header = read_header(cda)
    sections: list[Section] = []
    items: list[Item] = []
    for item in _header_items(cda):
        items.append(item)
    header_items = len(items)
    body = descend(root, "component", "structuredBody")
    if body is not None:
        for element in body.iter(_SECTION):
            section, found = _read_section(cda, element)
            sections.append(section)
            items.extend(found)
            if len(items) > MAX_ITEMS:
                raise TooManyElements(f"more than {MAX_ITEMS} items")
    items = _without_header_doubles(items, header_items)
    assert detected.kind is not None
    return ClinicalSummary(
        kind=detected.kind,
        item_type=detected.item_type,
        title=header.title,
        code=header.code,
        date=header.date,
        document_id=header.document_id,
        set_id=header.set_id,
        version=header.version,
        related=header.related,
        release=header.release,
        language=header.language,
        confidentiality=header.confidentiality,
        patient=header.patient,
        patients=header.patients,
        authors=header.authors,
        custodian=header.custodian,
        participants=header.participants,
        sections=tuple(sections),
        items=tuple(items),
        body=_body(cda),
    )


def _header_items(cda: Cda) -> Iterator[Item]:
    """The encounter and the care team that only the header names."""
    encounter = encompassing_encounter(cda.root)
    if encounter is not None:
        item = read_header_encounter(cda, encounter)
        if item is not None:
            yield item
    seen: set[tuple[str, str | None]] = set()
    for performer in event_performers(cda.root):
        item = read_header_performer(cda, performer)
        if item is not None and (item.name, item.value) not in seen:
            seen.add((item.name, item.value))
            yield item


def _is_at_any(item: Item, times: list[str]) -> bool:
    """Whether it starts at one of the times; a day and an hour of that day are the same time."""
    start = item.start.iso if item.start is not None else ""
    exact = [time for time in times if len(time) >= _DAY]
    return len(start) >= _DAY and any(time.startswith(start) or start.startswith(time) for time in exact)


def _without_header_doubles(items: list[Item], header_items: int) -> list[Item]:
    """Drop an item of the header that a section states too: under the same id or name, or at the same time.

    Only an encounter of the header that has no code goes by its time.
    """
    if not header_items:
        return items
    ids = {
        (item.kind, found) for item in items[header_items:] for found in item.ids if item.kind == "encounters"
    }
    names = {(item.kind, item.name) for item in items[header_items:] if item.kind == "care_team"}
    sections = items[header_items:]
    times = [item.start.iso for item in sections if item.kind == "encounters" and item.start is not None]
    kept = [
        item
        for item in items[:header_items]
        if (item.kind, item.name) not in names
        and not any((item.kind, found) in ids for found in item.ids)
        and not (item.kind == "encounters" and not item.codes and _is_at_any(item, times))
    ]
    return kept + items[header_items:]


def _read_section(cda: Cda, element: Element) -> tuple[Section, list[Item]]:
    code = section_code(element)
    kind = kind_of(element, code)
    tally = _Tally([])
    for entry in element.iterchildren(_ENTRY):
        if entry.get("nullFlavor") and not len(entry):
            tally.no_information += 1
            continue
        if kind is not None:
            _read_entry(cda, entry, kind, code, tally)
        for found in notes(entry):
            _read_one(cda, found, read_note, "notes", code, tally)
    title = child(element, "title")
    code_element = child(element, "code")
    display = code_element.get("displayName", "") if code_element is not None else ""
    text = child(element, "text")
    name = kind.kind if kind is not None else "notes" if is_notes_section(element) else ""
    counts = count(tally.items)
    section = Section(
        code=code,
        title=(text_under(title) if title is not None else "") or title_of_code(code, display),
        kind=name,
        narrative=flat_text(text) if text is not None else "",
        path=cda.path(element),
        null_flavor=element.get("nullFlavor", ""),
        no_information=tally.no_information,
        items=counts["items"],
        none_known=counts["none_known"],
        negated=counts["negated"],
        not_understood=counts["not_understood"],
    )
    return section, tally.items


def _read_entry(cda: Cda, entry: Element, kind: SectionKind, code: str, tally: _Tally) -> None:
    statements = list(kind.statements(entry))
    if not statements:
        statements = list(_of_another_shape(entry))
        tally.no_information += not statements and not any(is_note(part) for part in entry)
    for found in statements:
        if isinstance(found, Unread):
            tally.items.append(blank_item(cda, found.element, kind.kind, code, found.reason))
            continue
        _read_one(cda, found, kind.read, kind.kind, code, tally)
        if found.element.tag == ENCOUNTER:
            for diagnosis in encounter_diagnoses(found.element):
                if isinstance(diagnosis, Found):
                    _read_one(cda, diagnosis, read_problem, "encounter_diagnoses", code, tally)


def _of_another_shape(entry: Element) -> Iterator[Unread]:
    """Statements of an entry that none of its section's shapes fits, but that do say something."""
    for statement in statements_of(entry):
        element = statement.element
        if not (is_note(element) or is_label(element) or is_empty(element)):
            yield Unread(element, "unexpected_statement")


def _read_one(cda: Cda, found: Found, read: Reader, kind: str, code: str, tally: _Tally) -> None:
    try:
        item = read(cda, found, kind, code)
    except Exception:
        # Whatever it is, it costs this entry and not the document; it is counted and shown as not read.
        item = blank_item(cda, found.element, kind, code, "bad_entry")
    if item is None:
        tally.no_information += 1
    else:
        tally.items.append(item)


def _body(cda: Cda) -> EmbeddedBody | None:
    """``nonXMLBody``: a PDF, text or picture in place of sections."""
    text = descend(cda.root, "component", "nonXMLBody", "text")
    if text is None:
        return None
    reference = child(text, "reference")
    return EmbeddedBody(
        media_type=text.get("mediaType", "text/plain").strip().lower(),
        path=cda.path(text),
        reference=reference.get("value", "") if reference is not None else "",
        size=len(text.text or ""),
    )
