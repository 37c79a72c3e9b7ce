"""Which statements of an entry count as one item each.

A finder takes an ``entry`` and yields ``Found`` for each statement, or ``Unread`` for one that is there but
has not the shape it needs. Nested statements that only qualify another (severity, status, age, taper steps)
are parts of it, never items.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from records.clinical.cda import ENTRY_RELATIONSHIP, OBSERVATION, V3, child, templates
from records.clinical.xml import Element

ACT = V3 + "act"
ORGANIZER = V3 + "organizer"
ENCOUNTER = V3 + "encounter"
PROCEDURE = V3 + "procedure"
SUPPLY = V3 + "supply"
SUBSTANCE = V3 + "substanceAdministration"
COMPONENT = V3 + "component"
REGION = V3 + "regionOfInterest"
MULTIMEDIA = V3 + "observationMedia"

_STATEMENTS = frozenset({ACT, ORGANIZER, ENCOUNTER, PROCEDURE, SUPPLY, SUBSTANCE, OBSERVATION})
_LOWER_CASE_STATEMENTS = frozenset(tag.lower() for tag in _STATEMENTS)
_NO_STATEMENTS = frozenset({REGION, MULTIMEDIA})

NOTE_TEMPLATE = "2.16.840.1.113883.10.20.22.4.202"
_INSTRUCTION_TEMPLATES = frozenset({"2.16.840.1.113883.10.20.22.4.20", "2.16.840.1.113883.10.20.1.49"})
_ENCOUNTER_DIAGNOSIS_TEMPLATE = "2.16.840.1.113883.10.20.22.4.80"
_NUTRITION_ASSESSMENT_TEMPLATE = "2.16.840.1.113883.10.20.22.4.138"
# Intervention Act and Planned Intervention Act (SNOMED CT 362956003): they only hold what is done.
_INTERVENTION_TEMPLATES = frozenset({"2.16.840.1.113883.10.20.22.4.131", "2.16.840.1.113883.10.20.22.4.146"})
_INTERVENTION_CODE = "362956003"
# Entry Reference, and Handoff Communication: neither is a thing done to the patient.
ENTRY_REFERENCE = "2.16.840.1.113883.10.20.22.4.122"
_NOT_DONE_TO_PATIENT = frozenset({ENTRY_REFERENCE, "2.16.840.1.113883.10.20.22.4.141"})
# Links of an intervention to the goal it serves and to its outcome.
_GOAL_LINKS = frozenset({"RSON", "GEVL"})

# Observations that qualify the one they hang on: status, severity, criticality, age at onset, priority,
# comment, verification, health status, episode.
_QUALIFIER_CODES = frozenset(
    {"33999-4", "SEV", "82606-5", "445518008", "397659008", "225773000", "48767-8", "11323-3", "408729009"}
)
# Security labels of one entry (HL7 Data Segmentation for Privacy).
_LABEL_CODES = frozenset({"SECCONOBS", "SECCLASSOBS", "SECCATOBS", "SECINTOBS", "DOCCLIN"})
_QUALIFIER_TEMPLATES = frozenset(
    {
        "2.16.840.1.113883.10.20.22.4.5",
        "2.16.840.1.113883.10.20.22.4.6",
        "2.16.840.1.113883.10.20.22.4.8",
        "2.16.840.1.113883.10.20.22.4.28",
        "2.16.840.1.113883.10.20.22.4.31",
        "2.16.840.1.113883.10.20.22.4.143",
        "2.16.840.1.113883.10.20.22.4.145",
        "2.16.840.1.113883.10.20.1.38",
        "2.16.840.1.113883.10.20.1.39",
        "2.16.840.1.113883.10.20.1.41",
        "2.16.840.1.113883.10.20.1.50",
        "2.16.840.1.113883.10.20.1.51",
        "2.16.840.1.113883.10.20.1.55",
    }
)
# Result Observation and Vital Sign Observation: measurements in their own right, wherever they hang.
_MEASUREMENT_TEMPLATES = frozenset({"2.16.840.1.113883.10.20.22.4.2", "2.16.840.1.113883.10.20.22.4.27"})
_NESTING = 6


@dataclass(frozen=True, slots=True)
class Found:
    """A statement, and the act or organizer that holds it (None when it stands in the entry itself)."""

    element: Element
    holder: Element | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A statement that cannot be read; ``reason`` is a stable word."""

    element: Element
    reason: str


Finder = Callable[[Element], Iterator[Found | Unread]]


def statements_of(entry: Element) -> Iterator[Found | Unread]:
    """The statements directly in an ``entry`` or ``component``; a wrong-case name is one that is not read."""
    for element in entry:
        tag = element.tag
        if tag in _STATEMENTS:
            yield Found(element)
        elif tag.lower() in _LOWER_CASE_STATEMENTS:
            yield Unread(element, "wrong_case")


def is_note(element: Element) -> bool:
    """A Note Activity, which counts as a note in whatever section it stands."""
    return element.tag == ACT and NOTE_TEMPLATE in templates(element)


def is_qualifier(observation: Element) -> bool:
    """An observation that says something about its parent and is no item by itself."""
    code = child(observation, "code")
    if code is not None and code.get("code", "") in _QUALIFIER_CODES:
        return True
    return not _QUALIFIER_TEMPLATES.isdisjoint(templates(observation))


def related(element: Element, name: str, *types: str) -> Iterator[Element]:
    """Statements of one name behind an element's entryRelationships, of the given types if any are given."""
    for relationship in element.iterchildren(ENTRY_RELATIONSHIP):
        if not types or relationship.get("typeCode", "") in types:
            yield from relationship.iterchildren(V3 + name)


def concern_observations(entry: Element) -> Iterator[Found | Unread]:
    """Allergies and problems: ``act/entryRelationship[SUBJ]/observation``, or a bare observation."""
    for statement in statements_of(entry):
        if isinstance(statement, Unread) or statement.element.tag == OBSERVATION:
            yield statement
        elif statement.element.tag == ACT:
            yield from _of_concern(statement.element)
        elif statement.element.tag == ORGANIZER:
            for component in statement.element.iterchildren(COMPONENT):
                yield from concern_observations(component)


def _of_concern(act: Element) -> Iterator[Found | Unread]:
    subjects: list[Element] = []
    others: list[Element] = []
    unread = False
    for relationship in act.iterchildren(ENTRY_RELATIONSHIP):
        for statement in statements_of(relationship):
            if isinstance(statement, Unread):
                unread = True
                yield statement
            elif statement.element.tag == OBSERVATION and not is_qualifier(statement.element):
                wanted = relationship.get("typeCode", "SUBJ") in {"SUBJ", ""}
                (subjects if wanted else others).append(statement.element)
    observations = subjects or others
    for observation in observations:
        yield Found(observation, act)
    if not observations and not unread and not is_empty(act):
        yield Unread(act, "no_observation")


def is_empty(element: Element) -> bool:
    """A statement that says nothing: null itself, or with no part, text or value that is not null."""
    if element.get("nullFlavor"):
        return True
    for relationship in element.iterchildren(ENTRY_RELATIONSHIP, COMPONENT):
        if relationship.get("nullFlavor"):
            continue
        if len(relationship):
            return False
    for name in ("text", "value"):
        found = child(element, name)
        if found is not None and not found.get("nullFlavor") and (len(found) or found.attrib or found.text):
            return False
    return True


def drugs(entry: Element) -> Iterator[Found | Unread]:
    """Medications: ``substanceAdministration`` in the entry, in a wrapping act or in an organizer.

    Those nested in another one are steps of a taper.
    """
    yield from _drugs(entry, None, _NESTING)


def _drugs(parent: Element, holder: Element | None, depth: int) -> Iterator[Found | Unread]:
    for statement in statements_of(parent):
        if isinstance(statement, Unread):
            yield statement
            continue
        element = statement.element
        if element.tag == SUBSTANCE:
            yield Found(element, holder)
        elif element.tag == SUPPLY and holder is None:
            yield Found(element, None)
        elif element.tag in {ACT, ORGANIZER} and depth and not is_note(element):
            for inner in element.iterchildren(ENTRY_RELATIONSHIP, COMPONENT):
                yield from _drugs(inner, element, depth - 1)


def measurements(entry: Element) -> Iterator[Found | Unread]:
    """Results, vital signs and whatever else may be grouped: each observation of each organizer, or bare."""
    yield from _measurements(entry, None, _NESTING)


def _measurements(parent: Element, holder: Element | None, depth: int) -> Iterator[Found | Unread]:
    for statement in statements_of(parent):
        if isinstance(statement, Unread):
            yield statement
            continue
        element = statement.element
        if element.tag == OBSERVATION:
            if not is_label(element):
                yield from _measured(element, holder)
        elif element.tag == ORGANIZER and depth:
            for component in element.iterchildren(COMPONENT):
                yield from _measurements(component, element, depth - 1)
        elif element.tag == ACT and depth and not is_note(element):
            # Old senders wrap a battery in an act.
            for relationship in element.iterchildren(ENTRY_RELATIONSHIP):
                yield from _measurements(relationship, element, depth - 1)


def _measured(observation: Element, holder: Element | None) -> Iterator[Found]:
    """An observation, and the measurements that some senders hang on it; one without a value only holds them.

    Diastolic pressure is found under systolic, or both under an observation that has no value of its own.
    """
    hung = [
        inner
        for inner in related(observation, "observation", "COMP")
        if not _MEASUREMENT_TEMPLATES.isdisjoint(templates(inner)) and child(inner, "value") is not None
    ]
    if not hung or child(observation, "value") is not None:
        yield Found(observation, holder)
    for inner in hung:
        yield Found(inner, holder)


def nutrition(entry: Element) -> Iterator[Found | Unread]:
    """Nutritional status, and each Nutrition Assessment that hangs on it (a diet, a habit)."""
    for found in measurements(entry):
        yield found
        if isinstance(found, Found):
            for inner in related(found.element, "observation"):
                if _NUTRITION_ASSESSMENT_TEMPLATE in templates(inner):
                    yield Found(inner, found.element)


def health_concerns(entry: Element) -> Iterator[Found | Unread]:
    """Concern and risk acts and bare observations; an act that holds several conditions is one item for each.

    The act itself stands for the first.
    """
    for statement in _of_class(entry, frozenset({ACT, OBSERVATION}), None, _NESTING):
        yield statement
        if isinstance(statement, Found) and statement.element.tag == ACT:
            held = [inner for inner in related(statement.element, "observation") if is_condition(inner)]
            for inner in held[1:]:
                yield Found(inner, statement.element)


def is_condition(observation: Element) -> bool:
    """An observation in a concern that names a condition by its value, not one that qualifies the concern."""
    if observation.get("nullFlavor") or is_qualifier(observation):
        return False
    value = child(observation, "value")
    return value is not None and not value.get("nullFlavor")


def interventions(entry: Element) -> Iterator[Found | Unread]:
    """What is done or planned: each statement of an Intervention Act, or one that stands alone."""
    for statement in statements_of(entry):
        if isinstance(statement, Unread):
            yield statement
        elif statement.element.tag == ORGANIZER:
            for component in statement.element.iterchildren(COMPONENT):
                yield from interventions(component)
        elif not is_note(statement.element):
            held = list(_of_intervention(statement.element))
            yield from held or [statement]


def _of_intervention(act: Element) -> Iterator[Found]:
    code = child(act, "code")
    coded = code is not None and code.get("code") == _INTERVENTION_CODE
    if act.tag != ACT or not (coded or not _INTERVENTION_TEMPLATES.isdisjoint(templates(act))):
        return
    for relationship in act.iterchildren(ENTRY_RELATIONSHIP):
        if relationship.get("typeCode", "") in _GOAL_LINKS:
            continue
        for statement in statements_of(relationship):
            if isinstance(statement, Found) and _is_intervention(statement.element):
                yield Found(statement.element, act)


def _is_intervention(element: Element) -> bool:
    if element.get("nullFlavor") or element.get("moodCode") == "GOL":
        return False
    if element.tag == OBSERVATION and is_qualifier(element):
        return False
    return _NOT_DONE_TO_PATIENT.isdisjoint(templates(element))


def is_label(statement: Element) -> bool:
    """A security label of the entry it stands in, or a pointer to another document."""
    code = child(statement, "code")
    return code is not None and code.get("code") in _LABEL_CODES


def of_class(*tags: str) -> Finder:
    """Statements of the given element names, in the entry or grouped by an organizer."""
    wanted = frozenset(tags)

    def find(entry: Element) -> Iterator[Found | Unread]:
        yield from _of_class(entry, wanted, None, _NESTING)

    return find


def _of_class(
    parent: Element, wanted: frozenset[str], holder: Element | None, depth: int
) -> Iterator[Found | Unread]:
    for statement in statements_of(parent):
        if isinstance(statement, Unread):
            yield statement
        elif statement.element.tag in wanted:
            if not is_note(statement.element):
                yield Found(statement.element, holder)
        elif statement.element.tag == ORGANIZER and depth:
            for component in statement.element.iterchildren(COMPONENT):
                yield from _of_class(component, wanted, statement.element, depth - 1)


def policies(entry: Element) -> Iterator[Found | Unread]:
    """Payers: ``act/entryRelationship/act``, the policies of a coverage; one without any stands alone."""
    for statement in statements_of(entry):
        if isinstance(statement, Unread):
            yield statement
        elif statement.element.tag == ACT:
            found = list(related(statement.element, "act"))
            for policy in found:
                yield Found(policy, statement.element)
            if not found and not is_empty(statement.element):
                yield Found(statement.element)


def team_members(entry: Element) -> Iterator[Found | Unread]:
    """Care team: ``organizer/component/act``, one member each."""
    for statement in statements_of(entry):
        if isinstance(statement, Unread):
            yield statement
        elif statement.element.tag == ORGANIZER:
            for component in statement.element.iterchildren(COMPONENT):
                for act in component.iterchildren(ACT):
                    if not is_note(act):
                        yield Found(act, statement.element)
        elif statement.element.tag == ACT and not is_note(statement.element):
            yield statement


def notes(entry: Element) -> Iterator[Found]:
    """Note Activities at any depth of an entry."""
    for act in entry.iter(ACT):
        if is_note(act):
            yield Found(act)


def instructions(entry: Element) -> Iterator[Found | Unread]:
    """Instruction acts."""
    for statement in statements_of(entry):
        if isinstance(statement, Unread) or (statement.element.tag == ACT and not is_note(statement.element)):
            yield statement


def encounter_diagnoses(encounter: Element) -> Iterator[Found | Unread]:
    """``encounter/entryRelationship/act[29308-4]/entryRelationship/observation``."""
    for act in related(encounter, "act"):
        code = child(act, "code")
        diagnosis = code is not None and code.get("code") == "29308-4"
        if diagnosis or _ENCOUNTER_DIAGNOSIS_TEMPLATE in templates(act):
            for observation in related(act, "observation"):
                if not is_qualifier(observation):
                    yield Found(observation, act)
