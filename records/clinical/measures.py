"""Observations of a CDA document: results, vital signs, social history, status, directives, relatives."""

from records.clinical.cda import (
    Cda,
    Children,
    child,
    children,
    first,
    grouped,
    identifiers,
    period,
    templates,
    text_under,
    time_of,
    xsi_type,
)
from records.clinical.common import add_common, mood, name_of_none, named_by_text, status_code
from records.clinical.conditions import age_at_onset
from records.clinical.dates import parse_hl7
from records.clinical.names import first_name
from records.clinical.negation import Standing, standing
from records.clinical.statements import Found, related
from records.clinical.types import Coded, Detail, Item, Period, ReferenceRange
from records.clinical.xml import Element

_CODED_TYPES = frozenset({"CD", "CE", "CV", "CO", "CS", "PIVL_CD"})
_TEXT_TYPES = frozenset({"ST", "ED", "SC", "ON", "EN", "PN"})
# Vital signs in which a zero is no reading: heart rate, temperature, head size.
_NEVER_ZERO = frozenset({"8867-4", "8310-5", "8331-1", "8287-5", "9843-4"})
# Family History Death Observation (C-CDA, CCD), and its value.
_DEATH_TEMPLATES = frozenset({"2.16.840.1.113883.10.20.22.4.47", "2.16.840.1.113883.10.20.1.42"})
_DEAD = "419099009"
_NULL_ANSWERS = {
    "UNK": "unknown",
    "ASKU": "asked but unknown",
    "NASK": "not asked",
    "NAV": "temporarily unavailable",
    "MSK": "withheld",
}
# Observations that R1.1 sends as a bare ASSERTION and names only by their template.
_NAMES_OF_ASSERTIONS = {
    "2.16.840.1.113883.10.20.22.4.78": "Tobacco smoking status",
    "2.16.840.1.113883.10.22.4.78": "Tobacco smoking status",
    "2.16.840.1.113883.10.20.22.4.85": "Tobacco use",
    "2.16.840.1.113883.10.20.15.3.8": "Pregnancy status",
}


def read_result(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One result or vital sign (C-CDA Result Observation, Vital Sign Observation)."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    panel = cda.coded(child(found.holder, "code")) if found.holder is not None else Coded()
    test = named_by_text(cda, groups, cda.coded(first(groups, "code")))
    detail = Detail()
    shown, unit, null_flavor = read_values(cda, groups, detail)
    status = status_code(element)
    parts = _parts(cda, element) if shown is None and "entryRelationship" in groups else ()
    if parts:
        # Systolic and diastolic hung on one observation that has no value of its own.
        detail["parts"] = parts
    if shown is None and not test:
        return None
    if shown is None and not parts and kind == "vital_signs" and null_flavor and status in {"", "completed"}:
        # An empty line of a vital-sign form, not a measurement that is on its way.
        return None
    span = period(first(groups, "effectiveTime"))
    if span.low is None and span.high is None and found.holder is not None:
        span = period(child(found.holder, "effectiveTime"))
    add_common(cda, groups, detail, span)
    _add_result_facts(cda, groups, detail)
    if found.holder is not None:
        if panel:
            detail["panel"] = panel
        detail["panel_path"] = cda.path(found.holder)
        detail["panel_status"] = status_code(found.holder)
    if shown is None and not parts and status not in {"completed", ""}:
        detail["pending"] = True
    if shown is not None and kind == "vital_signs" and _is_zero(shown) and test.has(*_NEVER_ZERO):
        detail["not_measured"] = True
    return Item(
        kind=kind,
        codes=test.codes,
        name=test.name or panel.name or "Result",
        start=span.low,
        end=span.high,
        value=shown,
        unit=unit,
        status=status,
        negated=element.get("negationInd") == "true",
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=test.text,
        detail=detail,
    )


def read_observation(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """An observation as a question and its answer: habits, status, nutrition, directives, outcomes."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    shown, unit, null_flavor = read_values(cda, groups, detail)
    question = cda.coded(first(groups, "code"))
    answer = detail.get("value_coded", Coded())
    if _is_assertion(question):
        name = next((_NAMES_OF_ASSERTIONS[t] for t in templates(element) if t in _NAMES_OF_ASSERTIONS), "")
        question = Coded(answer.codes, name or answer.name, answer.text)
    text = cda.text(first(groups, "text"))
    if not question.name:
        question = Coded(question.codes, first_name([text, answer.name, shown or ""]), question.text)
    negated = element.get("negationInd") == "true"
    judged = _standing_of_answer(question, answer, shown, negated=negated)
    if shown is None and null_flavor in _NULL_ANSWERS and question:
        # "Unknown" is an answer, when the question was put.
        shown = _NULL_ANSWERS[null_flavor]
    elif shown is None and null_flavor and not question.codes:
        return None
    if judged is Standing.NO_INFORMATION:
        return None
    span = period(first(groups, "effectiveTime"))
    if span.low is None and span.high is None and found.holder is not None:
        span = period(child(found.holder, "effectiveTime"))
    add_common(cda, groups, detail, span)
    _add_result_facts(cda, groups, detail)
    detail["mood"] = mood(element)
    if found.holder is not None:
        panel = cda.coded(child(found.holder, "code"))
        if panel:
            detail["panel"] = panel
        detail["panel_path"] = cda.path(found.holder)
    parts = _parts(cda, element)
    if parts:
        detail["parts"] = parts
    if text:
        detail["text"] = text
    return Item(
        kind=kind,
        codes=question.codes,
        name=name_of_none(kind, question, text) if judged is Standing.NONE_KNOWN else question.name,
        start=span.low,
        end=span.high,
        value=shown,
        unit=unit,
        status=status_code(element),
        negated=judged is Standing.NEGATED,
        none_known=judged is Standing.NONE_KNOWN,
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=question.text,
        detail=detail,
    )


def _standing_of_answer(question: Coded, answer: Coded, shown: str | None, *, negated: bool) -> Standing:
    """A question with an answer is a fact even where the answer is "none" (alcohol: none)."""
    if answer and answer.codes:
        judged = standing(Coded(answer.codes, "-"), negated=False)
        if judged is Standing.NONE_KNOWN:
            return judged
    if negated:
        return standing(question, negated=True)
    if shown is not None and question:
        return Standing.FACT
    return standing(question, negated=False)


def read_relative(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One condition of one relative (C-CDA Family History Observation)."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    text = cda.text(first(groups, "text"))
    value = first(groups, "value")
    condition = cda.coded(value)
    if not condition and value is not None:
        condition = Coded(name=first_name([cda.text(value)]))
    negated = element.get("negationInd") == "true"
    judged = standing(condition, negated=negated)
    if judged is Standing.NO_INFORMATION and not negated:
        condition = Coded(name=first_name([text]))
        judged = standing(condition, negated=False)
    if judged is Standing.NO_INFORMATION:
        return None
    detail = Detail()
    span = period(first(groups, "effectiveTime"))
    add_common(cda, groups, detail, span)
    subject = first(groups, "subject")
    if subject is None and found.holder is not None:
        subject = child(found.holder, "subject")
    _add_relative(cda, subject, detail)
    age = age_at_onset(cda, element)
    if age:
        detail["age_at_onset"] = age
    for observation in related(element, "observation", "CAUS"):
        died = cda.coded(child(observation, "value")).has(_DEAD)
        if died or not _DEATH_TEMPLATES.isdisjoint(templates(observation)):
            detail["cause_of_death"] = True
    return Item(
        kind=kind,
        codes=condition.codes,
        name=name_of_none(kind, condition, text) if judged is Standing.NONE_KNOWN else condition.name,
        start=span.low,
        end=span.high,
        status=status_code(element),
        negated=judged is Standing.NEGATED,
        none_known=judged is Standing.NONE_KNOWN,
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=condition.text,
        detail=detail,
    )


def _add_relative(cda: Cda, subject: Element | None, detail: Detail) -> None:
    role = child(subject, "relatedSubject") if subject is not None else None
    if role is None:
        return
    relative = cda.coded(child(role, "code"))
    if relative:
        detail["relative"] = relative
    person = child(role, "subject")
    if person is None:
        return
    groups = grouped(person)
    gender = first(groups, "administrativeGenderCode")
    if gender is not None and gender.get("code"):
        detail["relative_gender"] = gender.get("code", "")
    name = first(groups, "name")
    if name is not None and (words := text_under(name)):
        detail["relative_name"] = words
    birth = time_of(first(groups, "birthTime"))
    if birth:
        detail["relative_birth"] = birth.day
    deceased = first(groups, "sdtc:deceasedInd")
    if deceased is not None:
        detail["relative_deceased"] = deceased.get("value") == "true"


def _is_assertion(question: Coded) -> bool:
    return question.has("ASSERTION")


def _is_zero(shown: str) -> bool:
    try:
        return float(shown) == 0
    except ValueError:
        return False


def _parts(cda: Cda, observation: Element) -> tuple[tuple[str, str], ...]:
    """The single answers behind an assessment scale: name and value."""
    parts = []
    for inner in related(observation, "observation", "COMP"):
        code = cda.coded(child(inner, "code"))
        shown, unit, _ = read_values(cda, grouped(inner), Detail())
        if code and shown is not None:
            parts.append((code.name, f"{shown} {unit}".strip() if unit else shown))
    return tuple(parts)


def _add_result_facts(cda: Cda, groups: Children, detail: Detail) -> None:
    if "interpretationCode" in groups:
        found = tuple(coded for element in groups["interpretationCode"] if (coded := cda.coded(element)))
        if found:
            detail["interpretations"] = found
    if "referenceRange" in groups:
        ranges = tuple(r for element in groups["referenceRange"] if (r := _reference_range(cda, element)))
        if ranges:
            detail["reference_ranges"] = ranges
    for key, name in (("method", "methodCode"), ("body_site", "targetSiteCode")):
        if name in groups and (coded := cda.coded(groups[name][0])):
            detail[key] = coded  # type: ignore[literal-required]


def _reference_range(cda: Cda, element: Element) -> ReferenceRange | None:
    inner = child(element, "observationRange")
    if inner is None:
        return None
    groups = grouped(inner)
    interpretation = first(groups, "interpretationCode")
    normal = interpretation is None or interpretation.get("code", "N") in {"N", ""}
    text = cda.text(first(groups, "text"))
    value = first(groups, "value")
    low = high = unit = ""
    if value is not None:
        quantity = cda.quantity(value)
        if quantity is None:
            text = text or cda.text(value)
        elif quantity.high:
            low, high, unit = quantity.value, quantity.high, quantity.unit
        elif quantity.comparator in {"<", "<="}:
            high, unit = quantity.value, quantity.unit
        elif quantity.comparator:
            low, unit = quantity.value, quantity.unit
        else:
            text = text or str(quantity)
    if not (low or high or text):
        return None
    return ReferenceRange(low, high, unit, text, normal)


def read_values(cda: Cda, groups: Children, detail: Detail) -> tuple[str | None, str | None, str]:
    """The value of an observation as shown, its unit, and the null flavor of a missing one.

    Typed by ``xsi:type`` where there is one, else by what the element holds.
    """
    shown: list[str] = []
    unit: str | None = None
    null_flavor = ""
    for element in groups.get("value", ()):
        text, its_unit = _read_value(cda, element, detail)
        if text:
            shown.append(text)
            unit = unit or its_unit
        else:
            null_flavor = null_flavor or element.get("nullFlavor", "")
    return ("; ".join(shown) if shown else None), unit or None, null_flavor


def _read_value(cda: Cda, element: Element, detail: Detail) -> tuple[str, str | None]:
    kind = xsi_type(element) or _guessed_type(element)
    detail.setdefault("value_type", kind)
    if kind in _CODED_TYPES:
        coded = cda.coded(element, lambda: cda.text(element))
        if coded:
            detail.setdefault("value_coded", coded)
        return coded.name, None
    if kind in _TEXT_TYPES:
        return _text_value(cda, element, detail), None
    if kind.startswith("RTO"):
        return _ratio(cda, element)
    if kind in {"TS", "IVL_TS"}:
        return _time_value(element, detail), None
    if kind == "BL":
        return element.get("value", "").strip(), None
    quantity = cda.quantity(element)
    if quantity is not None:
        detail.setdefault("value_quantity", quantity)
        return quantity.shown, quantity.unit or None
    # A quantity that is none ("trace") stands in a translation or as text.
    for translation in children(element, "translation"):
        value = translation.get("value", "").strip()
        if value:
            return value, translation.get("unit") or cda.coded(translation).name or None
    coded = cda.coded(element, lambda: cda.text(element))
    return coded.name, None


def _guessed_type(element: Element) -> str:
    if element.get("code") is not None:
        return "CD"
    if (
        element.get("value") is not None
        or child(element, "low") is not None
        or child(element, "high") is not None
    ):
        return "PQ"
    return "ST" if text_under(element) or child(element, "reference") is not None else "CD"


def _text_value(cda: Cda, element: Element, detail: Detail) -> str:
    if element.get("representation") == "B64":
        detail["media_type"] = element.get("mediaType", "application/octet-stream")
        detail["content_path"] = cda.path(element)
        return cda.text(element)
    return cda.text(element) or cda.coded(element).name


def _ratio(cda: Cda, element: Element) -> tuple[str, str | None]:
    numerator, denominator = child(element, "numerator"), child(element, "denominator")
    upper, lower = cda.quantity(numerator), cda.quantity(denominator)
    if upper is None or lower is None:
        return "", None
    if not upper.unit and not lower.unit:
        return f"{upper.value}:{lower.value}", None
    if lower.value == "1" and lower.unit:
        return upper.value, f"{upper.unit or '1'}/{lower.unit}"
    return f"{upper}/{lower}", None


def _time_value(element: Element, detail: Detail) -> str:
    value = element.get("value")
    if value:
        date = parse_hl7(value)
        if date is None:
            return value.strip()
        detail.setdefault("value_date", date)
        return date.iso
    span: Period = period(element)
    return "/".join(date.iso for date in (span.low, span.high) if date)
