"""Reading the data types of HL7 CDA Release 2 out of a parsed document.

``Cda`` wraps one document: identifiers of its narrative, paths of its elements. The functions read one
element each and never raise on bad content.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from lxml import etree

from records.clinical import codes, names
from records.clinical.dates import parse_hl7
from records.clinical.types import Coded, Coding, Identifier, PartialDate, Party, Period, Quantity
from records.clinical.xml import Element

V3 = "{urn:hl7-org:v3}"
SDTC = "{urn:hl7-org:sdtc}"
_V3_LENGTH, _SDTC_LENGTH = len(V3), len(SDTC)
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"

Children = dict[str, list[Element]]

# What stands in @code in place of a code.
_NO_CODES = frozenset({"", "UNK", "NI", "NA", "NASK", "OTH", "NULL", "ASKU", "NAV", "MSK"})
_FEW_SIBLINGS = 48
_INLINE = frozenset({V3 + name for name in ("content", "sub", "sup", "linkHtml", "footnoteRef")})

_elements_with_id = etree.XPath("//*[@ID]")

TEMPLATE_ID = V3 + "templateId"
_TRANSLATION = V3 + "translation"
_ORIGINAL_TEXT = V3 + "originalText"
ENTRY_RELATIONSHIP = V3 + "entryRelationship"
OBSERVATION = V3 + "observation"


def child(element: Element, name: str) -> Element | None:
    """The first child of that name in the CDA namespace."""
    for found in element.iterchildren(V3 + name):
        return found
    return None


def children(element: Element, name: str) -> Iterator[Element]:
    """All children of that name in the CDA namespace."""
    return element.iterchildren(V3 + name)


def descend(element: Element | None, *steps: str) -> Element | None:
    """Follow first children, step by step."""
    for step in steps:
        if element is None:
            return None
        element = child(element, step)
    return element


def grouped(element: Element) -> Children:
    """Children by local name, those of the SDTC extensions as ``sdtc:name``."""
    groups: Children = {}
    for found in element:
        tag = found.tag
        if tag.startswith(V3):
            groups.setdefault(tag[_V3_LENGTH:], []).append(found)
        elif tag.startswith(SDTC):
            groups.setdefault("sdtc:" + tag[_SDTC_LENGTH:], []).append(found)
    return groups


def first(groups: Children, name: str) -> Element | None:
    """The first of a group, or None."""
    found = groups.get(name)
    return found[0] if found else None


def templates(element: Element) -> list[str]:
    """The roots of an element's templateIds."""
    return [found.get("root", "") for found in element.iterchildren(TEMPLATE_ID)]


def xsi_type(element: Element) -> str:
    """The data type of a value, without a namespace prefix."""
    return element.get(XSI_TYPE, "").rpartition(":")[2].strip()


def text_under(element: Element) -> str:
    """All text under an element, white space squeezed."""
    if not len(element):
        return " ".join((element.text or "").split())
    parts: list[str] = []
    _gather(element, parts)
    return " ".join("".join(parts).split())


def flat_text(element: Element) -> str:
    """All text under an element with a blank between its pieces: quick, for a whole section."""
    return " ".join(" ".join(cast(Iterator[str], element.itertext())).split())


def _gather(element: Element, parts: list[str]) -> None:
    if element.text:
        parts.append(element.text)
    for part in element:
        # Cells, lines and list items stand apart from each other; inline mark-up does not break a word.
        gap = "" if part.tag in _INLINE else " "
        parts.append(gap)
        _gather(part, parts)
        parts.append(gap)
        if part.tail:
            parts.append(part.tail)


def is_true(element: Element, name: str) -> bool:
    """A boolean attribute (``true`` or ``1``)."""
    return element.get(name, "").strip().lower() in {"true", "1"}


_CODED_ATTRIBUTES = ("code", "codeSystem", "codeSystemName", "displayName", "nullFlavor")


class Cda:
    """One CDA document while it is read."""

    def __init__(self, root: Element) -> None:
        self.root = root
        self._ids: dict[str, Element] | None = None
        self._places: dict[Element, dict[Element, int]] = {}
        self._paths: dict[Element, str] = {}
        self._plain: dict[tuple[str | None, ...], Coded] = {}

    # References into the narrative

    def referenced(self, value: str) -> str:
        """The text a ``reference/@value`` points at; empty for one that dangles or leaves the document.

        References have the semantics of XML ID without a DTD; a missing ``#`` is accepted.
        """
        value = value.strip()
        if not value:
            return ""
        if self._ids is None:
            self._ids = {}
            for element in cast(list[Element], _elements_with_id(self.root)):
                self._ids.setdefault(element.get("ID", ""), element)
        target = self._ids.get(value.removeprefix("#"))
        if target is not None:
            return text_under(target)
        # Some senders put the words themselves where the pointer to them belongs.
        return " ".join(value.split()) if " " in value and not value.startswith("#") else ""

    def text(self, element: Element | None) -> str:
        """The text of an ED element: its own, else what its reference points at."""
        if element is None:
            return ""
        own = text_under(element)
        if own and element.get("representation") != "B64":
            return own
        reference = child(element, "reference")
        return self.referenced(reference.get("value", "")) if reference is not None else ""

    # Paths

    def path(self, element: Element) -> str:
        """The path of an element: ``/*/*[3]/*[1]``, counting elements only.

        Names are left out on purpose: such a path holds whatever prefix the namespace has.
        """
        known = self._paths.get(element)
        if known is not None:
            return known
        parent = element.getparent()
        path = "/*" if parent is None else f"{self.path(parent)}/*[{self._place(parent, element)}]"
        self._paths[element] = path
        return path

    def _place(self, parent: Element, element: Element) -> int:
        if len(parent) <= _FEW_SIBLINGS:
            return parent.index(element) + 1
        # One count per parent: asking each of many siblings for its index is quadratic.
        places = self._places.get(parent)
        if places is None:
            places = {found: at for at, found in enumerate(parent, 1)}
            self._places[parent] = places
        return places[element]

    # Coded values

    def coded(self, element: Element | None, *fallbacks: Callable[[], str]) -> Coded:
        """Read a CD, CE, CV or CS with its translations.

        The name is the first of these that is one: ``@displayName``, a translation's, the original text, its
        reference, ``fallbacks`` in order, a table of usual codes, the code itself with its system.
        """
        if element is None:
            return _named((), "", "", fallbacks)
        if len(element) == 0 and not fallbacks:
            # The same test, unit or interpretation stands in a document hundreds of times.
            key = tuple(map(element.get, _CODED_ATTRIBUTES))
            known = self._plain.get(key)
            if known is None:
                known = self._plain[key] = self._read_coded(element, fallbacks)
            return known
        return self._read_coded(element, fallbacks)

    def _read_coded(self, element: Element, fallbacks: tuple[Callable[[], str], ...]) -> Coded:
        own = _coding(element)
        found = (own,) if own is not None else ()
        displays = [element.get("displayName", "")]
        original = ""
        for part in element:
            tag = part.tag
            if tag == _TRANSLATION:
                displays.append(part.get("displayName", ""))
                other = _coding(part)
                if other is not None and not _is_among(other, found):
                    found = (*found, other)
            elif tag == _ORIGINAL_TEXT and not original:
                original = self.text(part)
        displays.append(names.shortened(original))
        return _named(found, original, element.get("nullFlavor", ""), fallbacks, displays)

    def quantity(self, element: Element | None) -> Quantity | None:
        """Read a PQ, IVL_PQ, INT or REAL; None when it is null."""
        if element is None:
            return None
        value, unit = _amount(element)
        if value:
            return Quantity(value, unit)
        low, high, center = (child(element, part) for part in ("low", "high", "center"))
        lower, lower_unit = _amount(low)
        upper, upper_unit = _amount(high)
        if lower and upper:
            return Quantity(lower, lower_unit or upper_unit, high=upper)
        if upper:
            return Quantity(upper, upper_unit, "<=" if _inclusive(high) else "<")
        if lower:
            return Quantity(lower, lower_unit, ">=" if _inclusive(low) else ">")
        middle, unit = _amount(center)
        return Quantity(middle, unit) if middle else None

    # Parties

    def parties(self, elements: list[Element] | None) -> tuple[Party, ...]:
        """Read authors, performers or informants, leaving out those that say nothing."""
        if not elements:
            return ()
        found = (self.party(element) for element in elements)
        return tuple(party for party in found if party.name or party.organization or party.ids)

    def party(self, element: Element) -> Party:
        """Read a participation: author, performer, informant, custodian, legalAuthenticator, participant."""
        groups = grouped(element)
        entity = next(
            (
                groups[name][0]
                for name in (
                    "assignedAuthor",
                    "assignedEntity",
                    "relatedEntity",
                    "associatedEntity",
                    "participantRole",
                    "assignedCustodian",
                    "healthCareFacility",
                )
                if name in groups
            ),
            None,
        )
        time = period(first(groups, "time"))
        function = first(groups, "functionCode")
        if function is None:
            function = first(groups, "sdtc:functionCode")
        if entity is None:
            return Party(time=time.low)
        inner = grouped(entity)
        role = self.coded(function) if function is not None else Coded()
        if not role:
            role = self.coded(first(inner, "code"))
        return Party(
            name=_entity_name(inner),
            organization=_organization_name(inner),
            role=role.name,
            ids=identifiers(inner.get("id")),
            telecoms=tuple(
                value for found in inner.get("telecom", ()) if (value := found.get("value", "").strip())
            ),
            address=address_line(first(inner, "addr")),
            time=time.low,
        )


def _entity_name(groups: Children) -> str:
    for holder in ("assignedPerson", "relatedPerson", "associatedPerson", "playingEntity"):
        person = first(groups, holder)
        if person is not None:
            for name in children(person, "name"):
                shown = person_name(name)
                if shown:
                    return shown
    device = first(groups, "assignedAuthoringDevice")
    if device is not None:
        for part in ("softwareName", "manufacturerModelName"):
            found = child(device, part)
            if found is not None and (text := text_under(found) or found.get("displayName", "")):
                return text
    return ""


def _organization_name(groups: Children) -> str:
    for holder in (
        "representedOrganization",
        "representedCustodianOrganization",
        "scopingOrganization",
        "serviceProviderOrganization",
        "scopingEntity",
    ):
        organization = first(groups, holder)
        if organization is not None:
            for part in ("name", "desc"):
                found = child(organization, part)
                if found is not None and (text := text_under(found)):
                    return text
    return ""


def person_name(element: Element) -> str:
    """A person's name on one line; parts that say ``null`` are left out."""
    if not len(element):
        return _not_null(element.text)
    order = {"prefix": 0, "given": 1, "family": 2, "suffix": 3}
    parts: list[tuple[int, str]] = []
    for part in element:
        place = order.get(etree.QName(part).localname)
        if place is not None and (text := _not_null(text_under(part))):
            parts.append((place, text))
    if not parts:
        return _not_null(text_under(element))
    return " ".join(text for _, text in sorted(parts, key=lambda part: part[0]))


def _not_null(text: str | None) -> str:
    text = names.squeezed(text or "")
    return "" if text.lower() in {"null", "unknown", "n/a"} else text


def address_line(element: Element | None) -> str:
    """A postal address on one line."""
    if element is None:
        return ""
    if not len(element):
        return names.squeezed(element.text or "")
    return ", ".join(text for part in element if (text := _not_null(text_under(part))))


def identifiers(elements: list[Element] | None) -> tuple[Identifier, ...]:
    """Read ``id`` elements that have a root or an extension."""
    if not elements:
        return ()
    return tuple(_identifiers(elements))


def _identifiers(elements: list[Element]) -> Iterator[Identifier]:
    for element in elements:
        root, extension = element.get("root", "").strip(), element.get("extension", "").strip()
        if root or extension:
            yield Identifier(root, extension)


def identifier(element: Element | None) -> Identifier | None:
    """Read one ``id``, ``setId`` or the like."""
    found = identifiers([element]) if element is not None else ()
    return found[0] if found else None


def period(element: Element | None) -> Period:
    """Read a TS or IVL_TS; ``center`` stands for a point."""
    if element is None:
        return Period()
    value = element.get("value")
    if value:
        return Period(parse_hl7(value), point=True)
    low = high = center = None
    for part in element:
        tag = part.tag
        if tag == V3 + "low":
            low = parse_hl7(part.get("value"))
        elif tag == V3 + "high":
            high = parse_hl7(part.get("value"))
        elif tag == V3 + "center":
            center = parse_hl7(part.get("value"))
    if low is None and high is None and center is not None:
        return Period(center, point=True)
    return Period(low, high)


def time_of(element: Element | None) -> PartialDate | None:
    """The one point in time of an element: its value, else where its period begins or ends."""
    span = period(element)
    return span.low or span.high


def _inclusive(bound: Element | None) -> bool:
    """An end of an interval belongs to it unless ``inclusive`` says no (HL7 V3 Data Types R1, IVXB)."""
    return bound is None or bound.get("inclusive", "true").strip().lower() not in {"false", "0"}


def _amount(element: Element | None) -> tuple[str, str]:
    """Value and unit of a PQ; of its translation, when the unit is no UCUM and the PQ itself is null."""
    if element is None:
        return "", ""
    value, unit = element.get("value", "").strip(), element.get("unit", "").strip()
    if value and unit and unit != "1":
        return value, unit
    for translation in element.iterchildren(V3 + "translation"):
        translated = translation.get("value", "").strip()
        if value or translated:
            return value or translated, _unit_in_words(translation)
    return value, ""


def _unit_in_words(translation: Element) -> str:
    code = translation.get("code", "").strip()
    if code and code.upper() not in _NO_CODES:
        return code
    unit = translation.get("unit", "").strip()
    original = child(translation, "originalText")
    return unit or (text_under(original) if original is not None else "")


def _is_among(coding: Coding, found: tuple[Coding, ...]) -> bool:
    return any(coding.code == known.code and coding.system == known.system for known in found)


def _coding(element: Element) -> Coding | None:
    code = element.get("code", "").strip()
    if code.upper() in _NO_CODES:
        return None
    system = codes.system_for_oid(element.get("codeSystem", ""), element.get("codeSystemName", ""))
    return Coding(system, code, names.squeezed(element.get("displayName", "")))


def _named(
    found: tuple[Coding, ...],
    original: str,
    null_flavor: str,
    fallbacks: tuple[Callable[[], str], ...],
    displays: Sequence[str] = (),
) -> Coded:
    name = names.first_name(names.squeezed(text) for text in displays)
    if not name:
        name = names.first_name(names.shortened(fallback()) for fallback in fallbacks)
    if not name and found:
        name = names.first_name(names.name_of_code(coding) for coding in found)
        name = name or names.code_as_name(found[0])
    return Coded(found, name, original, null_flavor)
