"""Data types of ASTM E2369: coded text, the kinds of DateTime, actors."""

import re
from collections.abc import Iterator
from typing import cast

from records.clinical import codes, names
from records.clinical.cda import Cda
from records.clinical.dates import parse_iso, parse_written
from records.clinical.types import Coded, Coding, Identifier, PartialDate, Party, Period, Quantity
from records.clinical.xml import Element

CCR = "{urn:astm-org:CCR}"
Node = Element | None

# What the words of DateTime/Type mean, as the receivers of these documents agreed on.
ONSET = frozenset(
    {"onset date", "date of onset", "start date", "begin date", "onset", "started", "since age", "from date"}
)
END = frozenset({"end date", "stop date", "ended", "to date"})
PRESCRIBED = frozenset({"prescription date", "prescribed date", "date prescribed", "prescribed"})
GIVEN = frozenset({"immunization date", "administration date", "administered"})
COLLECTED = frozenset(
    {
        "collection start date",
        "collection date time",
        "collection time",
        "measurement time",
        "assessment time",
        "performed",
    }
)
DONE = frozenset({"performed", "start date", "procedure date", "occurred", "service date"})
MET = frozenset({"encounter date", "occurred"})

_MARK_UP = re.compile(r"<[^<>]{1,200}>")


def kid(node: Node, *steps: str) -> Node:
    """Follow first children by local name."""
    for step in steps:
        if node is None:
            return None
        node = next(iter(node.iterchildren(CCR + step)), None)
    return node


def children_of(node: Node, name: str) -> Iterator[Element]:
    """All children of that name."""
    return node.iterchildren(CCR + name) if node is not None else iter(())


def text_of(node: Node, *steps: str) -> str:
    """The text under the element the steps lead to, mark-up in it dropped, white space squeezed."""
    found = kid(node, *steps)
    if found is None:
        return ""
    text = "".join(cast(Iterator[str], found.itertext()))
    if "<" in text:
        # Some senders put escaped HTML into plain text.
        text = _MARK_UP.sub(" ", text)
    return names.squeezed(text)


class Ccr:
    """One CCR document while it is read."""

    def __init__(self, root: Element) -> None:
        self.root = root
        self._actors: dict[str, Element] = {}
        for actor in children_of(kid(root, "Actors"), "Actor"):
            self._actors.setdefault(text_of(actor, "ActorObjectID"), actor)
        self.path = Cda(root).path

    def actor(self, node: Node) -> Node:
        """The actor an element's ActorID points at."""
        return self._actors.get(text_of(node, "ActorID"))

    def actor_name(self, actor: Node) -> str:
        """Display name of a person, organization or system."""
        person = kid(actor, "Person", "Name")
        if person is not None:
            for part in ("CurrentName", "BirthName", "AdditionalName"):
                node = kid(person, part)
                shown = " ".join(
                    text
                    for name in ("Title", "Given", "Middle", "Family", "Suffix")
                    for found in children_of(node, name)
                    if (text := text_of(found))
                )
                if shown:
                    return shown
            return text_of(person, "DisplayName")
        return text_of(actor, "Organization", "Name") or text_of(actor, "InformationSystem", "Name")

    def party(self, node: Node) -> Party | None:
        """A link to an actor, as a party."""
        actor = self.actor(node)
        if actor is None:
            return None
        name = self.actor_name(actor)
        role = text_of(node, "ActorRole", "Text")
        ids = tuple(
            Identifier(self.issuer(found), value)
            for found in children_of(actor, "IDs")
            if (value := text_of(found, "ID"))
        )
        if kid(actor, "Organization") is not None:
            return Party(organization=name, role=role, ids=ids)
        return Party(name=name, role=role or text_of(actor, "Specialty", "Text"), ids=ids)

    def issuer(self, node: Node) -> str:
        """Who gave an identifier, in words: CCR knows no OIDs."""
        return self.actor_name(self.actor(kid(node, "IssuedBy"))) or text_of(node, "Type", "Text")

    def parties(self, node: Node, name: str) -> tuple[Party, ...]:
        """Sources or practitioners of a data object."""
        found = []
        for holder in children_of(node, name):
            for link in holder:
                party = self.party(link)
                if party is not None:
                    found.append(party)
        return tuple(found)

    def coded(self, node: Node) -> Coded:
        """A coded text: ``Text`` and any number of ``Code``."""
        if node is None:
            return Coded()
        found = []
        for code in children_of(node, "Code"):
            value = text_of(code, "Value")
            if value:
                found.append(Coding(codes.system_for_name(text_of(code, "CodingSystem")), value))
        text = text_of(node, "Text")
        name = names.first_name([text])
        if not name and found:
            name = names.first_name(names.name_of_code(coding) for coding in found)
            name = name or names.code_as_name(found[0])
        return Coded(tuple(found), name, text)

    def quantity(self, node: Node) -> Quantity | None:
        """``Value`` with ``Units/Unit``."""
        value = text_of(node, "Value")
        return Quantity(value, text_of(node, "Units", "Unit")) if value else None

    def date(self, node: Node) -> PartialDate | None:
        """The date of one DateTime, where it is one."""
        return self.period_of(node).low if node is not None else None

    def period_of(self, node: Node) -> Period:
        """One DateTime: exact, approximate, an age, or a range."""
        exact = text_of(node, "ExactDateTime")
        if exact:
            found = parse_iso(exact)
            return Period(found, point=True, text="" if found else exact)
        approximate = text_of(node, "ApproximateDateTime", "Text")
        if approximate:
            return Period(parse_written(approximate), point=True, text=approximate)
        age = kid(node, "Age")
        if age is not None:
            shown = self.quantity(age)
            return Period(text=f"at age {shown}" if shown else "")
        span = kid(node, "DateTimeRange")
        if span is not None:
            begin, end = self.period_of(kid(span, "BeginRange")), self.period_of(kid(span, "EndRange"))
            text = " to ".join(part for part in (begin.text, end.text) if part)
            return Period(begin.low, end.low, text=text)
        return Period()

    def times(self, node: Element, starts: frozenset[str]) -> Period:
        """Start and end of a data object from its typed DateTimes; a single one is the one.

        :param starts: the words of DateTime/Type that mean a start for this kind of object.
        """
        start: Period | None = None
        end: Period | None = None
        other: Period | None = None
        for element in children_of(node, "DateTime"):
            word = text_of(element, "Type", "Text").lower().rstrip(".:")
            found = self.period_of(element)
            if word in starts:
                start = start or found
            elif word in END:
                end = end or found
            else:
                other = other or found
        start = start or other or Period()
        text = start.text or (end.text if end else "")
        return Period(start.low, (end.low if end else None) or start.high, point=start.point, text=text)
