"""Items of the body of a CCR (ASTM E2369), one reader a kind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from records.clinical import ccr_data as data
from records.clinical.ccr_data import Ccr, Node, children_of, kid, text_of
from records.clinical.common import name_of_none
from records.clinical.names import first_name
from records.clinical.negation import Standing, standing
from records.clinical.types import (
    Coded,
    Detail,
    Identifier,
    Item,
    Period,
    Reaction,
    ReferenceRange,
    Timing,
)
from records.clinical.xml import Element

_ALLERGY_WORDS = ("allerg", "adverse", "intoleran", "hypersens", "sensitivity", "reaction")
_STATUS = {
    "active": "active",
    "chronic": "active",
    "inactive": "inactive",
    "resolved": "resolved",
    "no longer active": "inactive",
    "on hold": "on-hold",
    "prior history no longer active": "inactive",
}


@dataclass(frozen=True, slots=True)
class Reader:
    """One part of the body: what its elements are called, and who reads one."""

    kind: str
    loinc: str
    title: str
    element: str
    read: Callable[[Ccr, Element, "Reader"], Iterator[Item]]


def _item(
    ccr: Ccr,
    node: Element,
    row: Reader,
    subject: Coded,
    span: Period,
    detail: Detail,
    *,
    kind: str = "",
    value: str | None = None,
    unit: str | None = None,
    status: str | None = None,
) -> Iterator[Item]:
    judged = standing(subject, negated=False)
    if judged is Standing.NO_INFORMATION:
        return
    sources = ccr.parties(node, "Source")
    if sources:
        detail["authors"] = sources
    if span.text:
        detail["start_text"] = span.text
    if (span.low and span.low.flawed) or (span.high and span.high.flawed):
        detail["flawed_dates"] = True
    said = text_of(node, "Status", "Text") if status is None else status
    none_known = judged is Standing.NONE_KNOWN
    yield Item(
        kind=kind or row.kind,
        codes=subject.codes,
        name=name_of_none(row.kind, subject, "") if none_known else subject.name,
        start=span.low,
        end=span.high,
        value=value,
        unit=unit,
        status=_STATUS.get(said.lower(), said.lower()),
        none_known=none_known,
        section=row.loinc,
        path=ccr.path(node),
        # Unique only inside this document: kept for links in it, never a key across documents.
        ids=tuple(Identifier("", found) for found in [text_of(node, "CCRDataObjectID")] if found),
        text=subject.text,
        detail=detail,
    )


def read_problem(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A problem: Description, onset, Status."""
    detail = Detail()
    category = ccr.coded(kid(node, "Type"))
    if category:
        detail["category"] = category
    yield from _item(ccr, node, row, ccr.coded(kid(node, "Description")), ccr.times(node, data.ONSET), detail)


def read_alert(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """An allergy when its type says so, else a plain alert, which is a health concern."""
    kind = ccr.coded(kid(node, "Type"))
    description = ccr.coded(kid(node, "Description"))
    agent = _agent(ccr, node)
    detail = Detail()
    if kind:
        detail["allergy_type"] = kind
    reactions = tuple(_reactions(ccr, node))
    if reactions:
        detail["reactions"] = reactions
    words = kind.name.lower()
    if not agent and words and not any(word in words for word in _ALLERGY_WORDS):
        yield from _item(
            ccr, node, row, description, ccr.times(node, data.ONSET), detail, kind="health_concerns"
        )
        return
    subject = description
    if agent:
        # The agent is the thing itself; codes of "allergy to it" come after its own.
        subject = Coded(agent.codes + description.codes, agent.name, description.text or agent.text)
    yield from _item(ccr, node, row, subject, ccr.times(node, data.ONSET), detail)


def _agent(ccr: Ccr, node: Element) -> Coded:
    agent = kid(node, "Agent")
    product = ccr.coded(kid(agent, "Products", "Product", "Product", "ProductName"))
    if not product:
        product = ccr.coded(kid(agent, "Products", "Product", "ProductName"))
    if not product:
        product = ccr.coded(kid(agent, "EnvironmentalAgents", "EnvironmentalAgent", "Description"))
    return product


def _reactions(ccr: Ccr, node: Element) -> Iterator[Reaction]:
    for element in children_of(node, "Reaction"):
        manifestation = ccr.coded(kid(element, "Description"))
        if manifestation:
            severity = ccr.coded(kid(element, "Severity"))
            yield Reaction(manifestation, severity or None)


def _product(ccr: Ccr, node: Element, detail: Detail) -> Coded:
    """Product of a medication, immunization or device: generic name, brand, strength, form, maker."""
    product = kid(node, "Product")
    named = ccr.coded(kid(product, "ProductName"))
    brand = ccr.coded(kid(product, "BrandName"))
    if brand:
        detail["brand"] = brand.name
    strength = ccr.quantity(kid(product, "Strength"))
    if strength:
        detail["strength"] = str(strength)
    form = ccr.coded(kid(product, "Form"))
    if form:
        detail["form"] = form
    maker = ccr.actor_name(ccr.actor(kid(product, "Manufacturer")))
    if maker:
        detail["maker"] = maker
    if not named:
        return brand
    return Coded(named.codes + brand.codes, named.name, named.text) if brand.codes else named


def read_medication(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A medication with its directions."""
    detail = Detail()
    drug = _product(ccr, node, detail)
    if not drug:
        drug = ccr.coded(kid(node, "Description"))
    quantity = ccr.quantity(kid(node, "Quantity"))
    if quantity:
        detail["quantity"] = quantity
    _add_directions(ccr, node, detail)
    words = text_of(node, "PatientInstructions", "Instruction", "Text")
    if words:
        detail["instructions"] = words
    refills = text_of(node, "Refills", "Refill", "Number")
    if refills.isascii() and refills.isdigit() and int(refills) < 1000:
        detail["refills"] = int(refills)
    yield from _item(ccr, node, row, drug, ccr.times(node, data.ONSET | data.PRESCRIBED), detail)


def _add_directions(ccr: Ccr, node: Element, detail: Detail) -> None:
    sigs, timings, indications = [], [], []
    for direction in children_of(kid(node, "Directions"), "Direction"):
        dose = ccr.quantity(kid(direction, "Dose"))
        if dose:
            detail.setdefault("dose", dose)
        route = ccr.coded(kid(direction, "Route"))
        if route:
            detail.setdefault("route", route)
        for part in ("Frequency", "Interval"):
            shown = _value_or_text(ccr, kid(direction, part))
            if shown:
                timings.append(Timing(shown))
        words = text_of(direction, "Description", "Text")
        if words:
            sigs.append(words)
        why = ccr.coded(kid(direction, "Indication", "Description")) or _coded_problem(ccr, direction)
        if why:
            indications.append(why)
    if timings:
        detail["timings"] = tuple(timings)
        detail["frequency"] = ", ".join(timing.text for timing in timings)
    if sigs:
        detail["sig"] = "; ".join(sigs)
    if indications:
        detail["reasons"] = tuple(indications)


def _coded_problem(ccr: Ccr, direction: Element) -> Coded:
    return ccr.coded(kid(direction, "Indication", "Problem", "Description"))


def _value_or_text(ccr: Ccr, node: Node) -> str:
    quantity = ccr.quantity(node)
    if quantity:
        return str(quantity)
    return text_of(node, "Description", "Text") or text_of(node, "Text")


def read_immunization(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A vaccine given."""
    detail = Detail()
    vaccine = _product(ccr, node, detail)
    for element in [*children_of(node, "IDs"), *children_of(kid(node, "Product"), "IDs")]:
        if "lot" in text_of(element, "Type", "Text").lower():
            detail["lot"] = text_of(element, "ID")
    number = text_of(node, "SeriesNumber")
    if number:
        detail["dose_number"] = number
    reactions = tuple(_reactions(ccr, node))
    if reactions:
        detail["reactions"] = reactions
    _add_directions(ccr, node, detail)
    yield from _item(ccr, node, row, vaccine, ccr.times(node, data.GIVEN), detail)


def read_panel(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A result or set of vital signs: each Test is one item."""
    panel = ccr.coded(kid(node, "Description"))
    panel_time = ccr.times(node, data.COLLECTED)
    for test in children_of(node, "Test"):
        detail = Detail(panel_path=ccr.path(node))
        if panel:
            detail["panel"] = panel
        subject = ccr.coded(kid(test, "Description")) or panel
        value, unit = _test_value(ccr, test, detail)
        if not subject and value is not None:
            subject = Coded(name="Result")
        flags = tuple(flag for element in children_of(test, "Flag") if (flag := ccr.coded(element)))
        if flags:
            detail["interpretations"] = flags
        ranges = tuple(_ranges(ccr, test))
        if ranges:
            detail["reference_ranges"] = ranges
        span = ccr.times(test, data.COLLECTED)
        if span.low is None and span.high is None and not span.text:
            span = panel_time
        status = text_of(test, "Status", "Text") or text_of(node, "Status", "Text")
        yield from _item(ccr, test, row, subject, span, detail, value=value, unit=unit, status=status)


def _test_value(ccr: Ccr, test: Element, detail: Detail) -> tuple[str | None, str | None]:
    result = kid(test, "TestResult")
    quantity = ccr.quantity(result)
    if quantity:
        detail["value_quantity"] = quantity
        return quantity.value, quantity.unit or None
    words = [coded.name for element in children_of(result, "Description") if (coded := ccr.coded(element))]
    return ("; ".join(words) or None), None


def _ranges(ccr: Ccr, test: Element) -> Iterator[ReferenceRange]:
    for normal in children_of(kid(test, "NormalResult"), "Normal"):
        quantity = ccr.quantity(normal)
        text = quantity.value if quantity else text_of(normal, "Description", "Text")
        if text:
            yield ReferenceRange(text=text, unit=quantity.unit if quantity else "")


def read_procedure(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A procedure."""
    detail = Detail()
    site = ccr.coded(kid(node, "Locations", "Location", "Description")) or ccr.coded(kid(node, "Site"))
    if site:
        detail["body_site"] = site
    people = ccr.parties(node, "Practitioners")
    if people:
        detail["performers"] = people
    subject = ccr.coded(kid(node, "Description")) or ccr.coded(kid(node, "Type"))
    yield from _item(ccr, node, row, subject, ccr.times(node, data.DONE), detail)


def read_encounter(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """An encounter; one that is pending or scheduled is an appointment."""
    detail = Detail()
    kind = ccr.coded(kid(node, "Type"))
    subject = ccr.coded(kid(node, "Description")) or kind
    if kind:
        detail["category"] = kind
    places = tuple(
        name
        for place in children_of(kid(node, "Locations"), "Location")
        if (
            name := text_of(place, "Description", "Text")
            or ccr.actor_name(ccr.actor(place))
            or ccr.actor_name(ccr.actor(kid(place, "Actor")))
        )
    )
    if places:
        detail["locations"] = places
    people = ccr.parties(node, "Practitioners")
    if people:
        detail["performers"] = people
    span = ccr.times(node, data.MET)
    if not subject and (span.low or span.text):
        subject = Coded(name="Encounter")
    if text_of(node, "Status", "Text").lower() in {"pending", "scheduled"}:
        detail["mood"] = "APT"
    yield from _item(ccr, node, row, subject, span, detail)


def read_family(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A problem in the family: one item for each relative named."""
    members: list[Node] = [*children_of(node, "FamilyMember")] or [None]
    problems = list(children_of(node, "Problem")) or [node]
    for member in members:
        for problem in problems:
            detail = Detail()
            relative = ccr.coded(kid(member, "ActorRole"))
            if relative:
                detail["relative"] = relative
            span = ccr.times(problem, data.ONSET)
            if span.low is None and not span.text:
                span = ccr.times(node, data.ONSET)
            yield from _item(ccr, node, row, ccr.coded(kid(problem, "Description")), span, detail)


def read_social(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A habit or circumstance: its Type asks, its Description answers."""
    question, answer = ccr.coded(kid(node, "Type")), ccr.coded(kid(node, "Description"))
    detail = Detail()
    value = None
    subject = question or answer
    if question and answer:
        value = answer.name
        detail["value_coded"] = answer
    yield from _item(ccr, node, row, subject, ccr.times(node, data.ONSET), detail, value=value)


def read_payer(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """An insurance or other payer."""
    detail = Detail()
    name = ccr.actor_name(ccr.actor(kid(node, "PaymentProvider")))
    if name:
        detail["payer"] = name
    kind = ccr.coded(kid(node, "Type"))
    if kind:
        detail["coverage_type"] = kind
    holder = ccr.actor_name(ccr.actor(kid(node, "Subscriber")))
    if holder:
        detail["subscriber"] = holder
    for element in children_of(node, "IDs"):
        word, value = text_of(element, "Type", "Text").lower(), text_of(element, "ID")
        if value and "group" in word:
            detail["group_id"] = value
        elif value and ("member" in word or "subscriber" in word or "policy" in word):
            detail["member_id"] = value
    subject = Coded(kind.codes, first_name([name, text_of(node, "Description", "Text"), kind.name]))
    yield from _item(ccr, node, row, subject, ccr.times(node, data.ONSET), detail)


def read_described(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A directive or function: Type and Description."""
    kind, description = ccr.coded(kid(node, "Type")), ccr.coded(kid(node, "Description"))
    detail = Detail()
    if kind:
        detail["category"] = kind
    yield from _item(ccr, node, row, description or kind, ccr.times(node, data.ONSET), detail)


def read_equipment(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A device."""
    detail = Detail()
    device = _product(ccr, node, detail) or ccr.coded(kid(node, "Description"))
    yield from _item(ccr, node, row, device, ccr.times(node, data.ONSET), detail)


def read_plan(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A plan: each of its order requests, or the plan itself."""
    requests = list(children_of(node, "OrderRequest"))
    if not requests:
        yield from read_described(ccr, node, row)
        return
    plan = ccr.coded(kid(node, "Description"))
    for request in requests:
        subject = _ordered(ccr, request) or ccr.coded(kid(request, "Description")) or plan
        detail = Detail(mood="RQO")
        if plan and plan.name != subject.name:
            detail["category"] = plan
        yield from _item(ccr, request, row, subject, ccr.times(request, data.DONE), detail)


def _ordered(ccr: Ccr, request: Element) -> Coded:
    for steps in (
        ("Procedures", "Procedure", "Description"),
        ("Products", "Product", "Product", "ProductName"),
        ("Medications", "Medication", "Product", "ProductName"),
        ("Immunizations", "Immunization", "Product", "ProductName"),
        ("Encounters", "Encounter", "Description"),
        ("Services", "Service", "Description"),
        ("Authorizations", "Authorization", "Description"),
    ):
        found = ccr.coded(kid(request, *steps))
        if found:
            return found
    return Coded()


def read_provider(ccr: Ccr, node: Element, row: Reader) -> Iterator[Item]:
    """A member of the care team, or a supporting person."""
    person = ccr.party(node)
    if person is None:
        return
    yield from _item(
        ccr,
        node,
        row,
        Coded(name=person.name or person.organization),
        Period(),
        Detail(performers=(person,)),
        value=person.role or None,
    )


READERS = {
    "Problems": Reader("problems", "11450-4", "Problems", "Problem", read_problem),
    "Alerts": Reader("allergies", "48765-2", "Allergies and alerts", "Alert", read_alert),
    "Medications": Reader("medications", "10160-0", "Medications", "Medication", read_medication),
    "Immunizations": Reader("immunizations", "11369-6", "Immunizations", "Immunization", read_immunization),
    "Results": Reader("results", "30954-2", "Results", "Result", read_panel),
    "VitalSigns": Reader("vital_signs", "8716-3", "Vital signs", "Result", read_panel),
    "Procedures": Reader("procedures", "47519-4", "Procedures", "Procedure", read_procedure),
    "Encounters": Reader("encounters", "46240-8", "Encounters", "Encounter", read_encounter),
    "FamilyHistory": Reader(
        "family_history", "10157-6", "Family history", "FamilyProblemHistory", read_family
    ),
    "SocialHistory": Reader(
        "social_history", "29762-2", "Social history", "SocialHistoryElement", read_social
    ),
    "Payers": Reader("payers", "48768-6", "Payers", "Payer", read_payer),
    "AdvanceDirectives": Reader(
        "advance_directives", "42348-3", "Advance directives", "AdvanceDirective", read_described
    ),
    "FunctionalStatus": Reader(
        "functional_status", "47420-5", "Functional status", "Function", read_described
    ),
    "MedicalEquipment": Reader(
        "medical_equipment", "46264-8", "Medical equipment", "Equipment", read_equipment
    ),
    "PlanOfCare": Reader("plan_of_treatment", "18776-5", "Plan of care", "Plan", read_plan),
    "HealthCareProviders": Reader("care_team", "85847-2", "Care team", "Provider", read_provider),
    "Support": Reader("care_team", "85847-2", "Supporters", "SupportProvider", read_provider),
}
