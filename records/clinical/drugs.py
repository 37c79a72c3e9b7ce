"""Medications and immunizations of a CDA document."""

from collections.abc import Iterable

from records.clinical.cda import (
    Cda,
    Children,
    child,
    children,
    descend,
    first,
    grouped,
    identifiers,
    is_true,
    period,
    templates,
    text_under,
    xsi_type,
)
from records.clinical.common import add_common, blank_item, mood, name_of_none, reasons, status_code
from records.clinical.names import first_name
from records.clinical.negation import Standing, standing
from records.clinical.statements import SUPPLY, Found, related
from records.clinical.types import Coded, Detail, Item, Period, Quantity, Reaction, Timing
from records.clinical.xml import Element

_SIG_CODE = "76662-6"
# Substance Administered Act (its sequenceNumber is the dose's), and the series number of CCD.
_ADMINISTERED = "2.16.840.1.113883.10.20.22.4.118"
_SERIES_NUMBER = "30973-2"
_INSTRUCTION_TEMPLATES = frozenset({"2.16.840.1.113883.10.20.22.4.20", "2.16.840.1.113883.10.20.1.49"})
_STATUS = {"aborted": "stopped", "suspended": "on-hold", "nullified": "entered-in-error"}
_EVENTS = {
    "HS": "at bedtime",
    "WAKE": "after waking",
    "AC": "before meals",
    "ACM": "before breakfast",
    "ACD": "before lunch",
    "ACV": "before dinner",
    "PC": "after meals",
    "PCM": "after breakfast",
    "PCD": "after lunch",
    "PCV": "after dinner",
    "IC": "between meals",
    "C": "with meals",
    "CM": "with breakfast",
    "CD": "with lunch",
    "CV": "with dinner",
}
_UNIT_WORDS = {
    "h": "hour",
    "d": "day",
    "min": "minute",
    "wk": "week",
    "mo": "month",
    "a": "year",
    "s": "second",
}
_PER_DAY = {"h": 24.0, "d": 1.0, "min": 1440.0}

_CODED_DOSAGE = (
    ("route", "routeCode"),
    ("form", "administrationUnitCode"),
    ("body_site", "approachSiteCode"),
)


def read_medication(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One substance administration, or a supply that stands alone (C-CDA Medication Activity)."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    product = _product(groups)
    drug = _drug(cda, product, detail)
    text = cda.text(first(groups, "text"))
    negated = element.get("negationInd") == "true"
    judged = standing(drug, negated=negated)
    if judged is Standing.NO_INFORMATION and text and not negated:
        drug = Coded(name=first_name([text]))
        judged = standing(drug, negated=False)
    if judged is Standing.NO_INFORMATION:
        return None if product is not None else blank_item(cda, element, kind, section, "no_product")
    span = _times(groups, detail)
    add_common(cda, groups, detail, span)
    detail["mood"] = mood(element)
    _add_dosage(cda, groups, detail)
    _add_parts(cda, groups, detail)
    if text and text != drug.name:
        detail.setdefault("sig", text)
    indications = reasons(cda, element) if "entryRelationship" in groups else ()
    if indications:
        detail["reasons"] = indications
    status = status_code(element)
    return Item(
        kind=kind,
        codes=drug.codes,
        name=name_of_none(kind, drug, text) if judged is Standing.NONE_KNOWN else drug.name,
        start=span.low,
        end=span.high,
        status=_STATUS.get(status, status),
        negated=judged is Standing.NEGATED,
        none_known=judged is Standing.NONE_KNOWN,
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=drug.text,
        detail=detail,
    )


def read_immunization(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One vaccine given, refused or planned (C-CDA Immunization Activity)."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    product = _product(groups)
    vaccine = _drug(cda, product, detail)
    text = cda.text(first(groups, "text"))
    negated = element.get("negationInd") == "true"
    judged = standing(vaccine, negated=negated)
    if judged is Standing.NO_INFORMATION and text and not negated:
        vaccine = Coded(name=first_name([text]))
        judged = standing(vaccine, negated=False)
    if judged is Standing.NO_INFORMATION:
        return None if product is not None else blank_item(cda, element, kind, section, "no_product")
    span = _times(groups, detail)
    add_common(cda, groups, detail, span)
    detail["mood"] = mood(element)
    _add_dosage(cda, groups, detail)
    _add_vaccine_facts(cda, element, groups, detail)
    return Item(
        kind=kind,
        codes=vaccine.codes,
        name=name_of_none(kind, vaccine, text) if judged is Standing.NONE_KNOWN else vaccine.name,
        start=span.low,
        end=span.high,
        status=status_code(element),
        negated=judged is Standing.NEGATED,
        none_known=judged is Standing.NONE_KNOWN,
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=vaccine.text,
        detail=detail,
    )


def _product(groups: Children) -> Element | None:
    holder = first(groups, "consumable")
    if holder is None:
        holder = first(groups, "product")
    return child(holder, "manufacturedProduct") if holder is not None else None


def product_of(cda: Cda, groups: Children, detail: Detail) -> Coded:
    """The drug, vaccine or material of a substance administration or supply."""
    return _drug(cda, _product(groups), detail)


def _drug(cda: Cda, product: Element | None, detail: Detail) -> Coded:
    if product is None:
        return Coded()
    material = child(product, "manufacturedMaterial")
    if material is None:
        material = child(product, "manufacturedLabeledDrug")
    if material is None:
        return Coded()
    name = child(material, "name")
    name_text = text_under(name) if name is not None else ""
    drug = cda.coded(child(material, "code"), lambda: name_text)
    lot = child(material, "lotNumberText")
    if lot is not None and (text := text_under(lot)):
        detail["lot"] = text
    maker = descend(product, "manufacturerOrganization", "name")
    if maker is not None and (text := text_under(maker)):
        detail["maker"] = text
    if name_text and name_text != drug.name:
        detail["product_name"] = name_text
    return drug


def _times(groups: Children, detail: Detail) -> Period:
    """The period from the first time that is no frequency; frequencies go to the detail."""
    span: Period | None = None
    timings = []
    for element in _flat(groups.get("effectiveTime", ())):
        kind = xsi_type(element)
        if kind == "PIVL_TS" or child(element, "period") is not None:
            timing = _periodic(element)
        elif kind == "EIVL_TS" or child(element, "event") is not None:
            timing = _by_event(element)
        else:
            if span is None:
                span = period(element)
            continue
        if timing is not None:
            timings.append(timing)
    if timings:
        detail["timings"] = tuple(timings)
        detail["frequency"] = ", ".join(timing.text for timing in timings)
    return span or Period()


def _flat(times: Iterable[Element]) -> Iterable[Element]:
    for element in times:
        if xsi_type(element) == "SXPR_TS":
            yield from children(element, "comp")
        else:
            yield element


def _periodic(element: Element) -> Timing | None:
    given = child(element, "period")
    if given is None:
        return None
    fixed = is_true(element, "institutionSpecified")
    value, unit = given.get("value", "").strip(), given.get("unit", "").strip()
    highest = ""
    if not value:
        low, high = child(given, "low"), child(given, "high")
        value = low.get("value", "").strip() if low is not None else ""
        highest = high.get("value", "").strip() if high is not None else ""
        unit = next(
            (part.get("unit", "") for part in (low, high) if part is not None and part.get("unit")), ""
        )
        if not value:
            value, highest = highest, ""
    if not value:
        return None
    return Timing(_frequency_words(value, highest, unit, fixed), value, highest, unit, "", fixed)


def _frequency_words(value: str, highest: str, unit: str, fixed: bool) -> str:
    if fixed and not highest and unit in _PER_DAY:
        try:
            times = _PER_DAY[unit] / float(value)
        except (ValueError, ZeroDivisionError):
            times = 0.0
        if times >= 1 and times == int(times):
            return "once a day" if times == 1 else f"{int(times)} times a day"
    word = _UNIT_WORDS.get(unit, unit)
    if highest:
        return f"every {value} to {highest} {word}s"
    if value in {"1", "1.0"}:
        return f"every {word}"
    return f"every {value} {word}s" if word else f"every {value}"


def _by_event(element: Element) -> Timing | None:
    event = child(element, "event")
    code = event.get("code", "").strip() if event is not None else ""
    return Timing(_EVENTS.get(code.upper(), code), event=code.upper()) if code else None


def _add_dosage(cda: Cda, groups: Children, detail: Detail) -> None:
    dose = cda.quantity(first(groups, "doseQuantity"))
    if dose:
        detail["dose"] = dose
    rate = cda.quantity(first(groups, "rateQuantity"))
    if rate:
        detail["rate"] = rate
    highest = first(groups, "maxDoseQuantity")
    if highest is not None:
        amount = cda.quantity(child(highest, "numerator"))
        per = cda.quantity(child(highest, "denominator"))
        if amount:
            detail["max_dose"] = Quantity(amount.value, f"{amount.unit}/{per}" if per else amount.unit)
    for key, name in _CODED_DOSAGE:
        element = first(groups, name)
        if element is not None and (coded := cda.coded(element)):
            detail[key] = coded  # type: ignore[literal-required]
    for condition in groups.get("precondition", ()):
        detail["as_needed"] = True
        criterion = child(condition, "criterion")
        if criterion is not None:
            words = cda.coded(child(criterion, "value")).name or cda.text(child(criterion, "text"))
            if words:
                detail["as_needed_for"] = words


def _add_parts(cda: Cda, groups: Children, detail: Detail) -> None:
    """Free-text sig, instructions, supply orders and dispenses hanging on a medication."""
    dispensed = 0
    for relationship in groups.get("entryRelationship", ()):
        for part in relationship:
            if part.tag == SUPPLY:
                dispensed += _add_supply(cda, part, detail)
                continue
            code = child(part, "code")
            word = code.get("code", "") if code is not None else ""
            if word == _SIG_CODE:
                sig = cda.text(child(part, "text"))
                if sig:
                    detail["sig"] = sig
            elif not _INSTRUCTION_TEMPLATES.isdisjoint(templates(part)):
                words = cda.text(child(part, "text"))
                if words:
                    detail["instructions"] = words
    if dispensed:
        detail["dispensed"] = dispensed


def _add_supply(cda: Cda, supply: Element, detail: Detail) -> int:
    """Note an order's quantity and refills; 1 for a dispense.

    ``repeatNumber`` counts all fills, the first included.
    """
    for words in related(supply, "act"):
        if not _INSTRUCTION_TEMPLATES.isdisjoint(templates(words)):
            text = cda.text(child(words, "text"))
            if text:
                detail.setdefault("instructions", text)
    quantity = cda.quantity(child(supply, "quantity"))
    if mood(supply) == "EVN":
        if quantity:
            detail.setdefault("quantity", quantity)
        return 1
    if quantity:
        detail["quantity"] = quantity
    repeats = child(supply, "repeatNumber")
    number = repeats.get("value", "") if repeats is not None else ""
    if number.isascii() and number.isdigit() and 0 < int(number) < 1000:
        detail["refills"] = int(number) - 1
    return 0


def _number_in_series(immunization: Element) -> str:
    """Which dose it is: C-CDA's Substance Administered Act by its place, CCD's series number by its value."""
    for relationship in children(immunization, "entryRelationship"):
        place = child(relationship, "sequenceNumber")
        act = child(relationship, "act")
        if place is not None and act is not None and _ADMINISTERED in templates(act):
            return place.get("value", "").strip()
        observation = child(relationship, "observation")
        code = child(observation, "code") if observation is not None else None
        if observation is not None and code is not None and code.get("code") == _SERIES_NUMBER:
            value = child(observation, "value")
            return value.get("value", "").strip() if value is not None else ""
    return ""


def _add_vaccine_facts(cda: Cda, element: Element, groups: Children, detail: Detail) -> None:
    number = first(groups, "repeatNumber")
    counted = number.get("value", "").strip() if number is not None else ""
    counted = counted or _number_in_series(element)
    if counted:
        detail["dose_number"] = counted
    if "entryRelationship" not in groups:
        return
    why = reasons(cda, element)
    if why:
        detail["reason"] = why[0]
    reactions = []
    for observation in related(element, "observation", "MFST", "CAUS"):
        manifestation = cda.coded(child(observation, "value"))
        if manifestation:
            reactions.append(Reaction(manifestation, None, period(child(observation, "effectiveTime")).low))
    if reactions:
        detail["reactions"] = tuple(reactions)
