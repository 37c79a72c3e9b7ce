"""Allergies, problems and diagnoses of a CDA document."""

from dataclasses import replace
from functools import partial

from records.clinical.cda import (
    Cda,
    child,
    children,
    first,
    grouped,
    identifiers,
    period,
    templates,
    text_under,
)
from records.clinical.common import add_common, blank_item, name_of_none, status_code
from records.clinical.negation import Standing, standing
from records.clinical.statements import Found, related
from records.clinical.types import Coded, Detail, Item, Quantity, Reaction
from records.clinical.xml import Element

_CLINICAL_STATUS = {
    "55561003": "active",
    "73425007": "inactive",
    "413322009": "resolved",
    "246455001": "recurrence",
    "263855007": "relapse",
    "277022003": "remission",
    # C32 says how a problem is active.
    "7087005": "active",
    "90734009": "active",
    "15240007": "active",
    "255227004": "recurrence",
    "415684004": "suspected",
    "410516002": "ruled out",
    "392521001": "history",
}
_CONCERN_STATUS = {
    "active": "active",
    "completed": "inactive",
    "suspended": "inactive",
    "aborted": "inactive",
    "nullified": "entered-in-error",
}
# Age at onset; C32 senders say "Age" (397659008).
_AGE_CODES = frozenset({"445518008", "397659008"})
_AGE_TEMPLATES = frozenset({"2.16.840.1.113883.10.20.22.4.31", "2.16.840.1.113883.10.20.1.38"})
_STATUS_TEMPLATES = frozenset(
    {
        "2.16.840.1.113883.10.20.22.4.6",
        "2.16.840.1.113883.10.20.22.4.28",
        "2.16.840.1.113883.10.20.1.39",
        "2.16.840.1.113883.10.20.1.50",
    }
)
# Values that only say "an allergy to a substance of this class".
ALLERGY_TYPES = frozenset(
    {
        "416098002",
        "414285001",
        "419199007",
        "59037007",
        "235719002",
        "420134006",
        "418038007",
        "419511003",
        "418471000",
        "426232007",
        "281647001",
        "106190000",
        "64970000",
        "ALG",
        "DALG",
        "FALG",
        "EALG",
        "DINT",
        "FINT",
        "EINT",
        "OINT",
        "NAINT",
        "DNAINT",
        "FNAINT",
        "ENAINT",
    }
)
_NONE_OF_TYPE = {
    "416098002": "No known drug allergies",
    "419511003": "No known drug allergies",
    "DALG": "No known drug allergies",
    "414285001": "No known food allergies",
    "418471000": "No known food allergies",
    "FALG": "No known food allergies",
    "426232007": "No known environmental allergies",
}


def read_allergy(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One allergy observation (C-CDA Allergy - Intolerance Observation)."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    value = first(groups, "value")
    allergy_type = cda.coded(value)
    agents = _agents(cda, element)
    agent = agents[0] if agents else Coded()
    if not agent and allergy_type and not _only_type(allergy_type):
        # "Allergy to penicillin" as one code, with nobody named as its agent.
        agent = allergy_type
    judged = standing(agent, negated=element.get("negationInd") == "true")
    text = cda.text(first(groups, "text"))
    if judged is Standing.NO_INFORMATION and allergy_type:
        judged, agent = _without_agent(allergy_type, text)
    if judged is Standing.NO_INFORMATION:
        return None
    detail = Detail()
    if allergy_type:
        detail["allergy_type"] = allergy_type
    span = period(first(groups, "effectiveTime"))
    add_common(cda, groups, detail, span)
    _add_reactions(cda, element, found.holder, detail)
    name, codings = agent.name, agent.codes
    if judged is Standing.NONE_KNOWN:
        kind_of = next((_NONE_OF_TYPE[c.code] for c in allergy_type.codes if c.code in _NONE_OF_TYPE), "")
        name = name_of_none(kind, agent, text, kind_of)
        codings = codings or allergy_type.codes
    return Item(
        kind=kind,
        codes=codings,
        name=name,
        start=span.low,
        end=span.high,
        status=_status(cda, element, found.holder, detail),
        negated=judged is Standing.NEGATED,
        none_known=judged is Standing.NONE_KNOWN,
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=agent.text,
        detail=detail,
    )


def _without_agent(allergy_type: Coded, text: str) -> tuple[Standing, Coded]:
    """An allergy nobody named by code: the words of the statement or of its value may still say which."""
    for words in (text, allergy_type.text):
        if words:
            subject = Coded(name=words)
            return standing(subject, negated=False), subject
    return Standing.NO_INFORMATION, allergy_type


def _only_type(value: Coded) -> bool:
    return bool(value.codes) and any(coding.code in ALLERGY_TYPES for coding in value.codes)


def _agents(cda: Cda, observation: Element) -> list[Coded]:
    agents = []
    for participant in children(observation, "participant"):
        if participant.get("typeCode", "CSM") != "CSM":
            continue
        role = child(participant, "participantRole")
        entity = child(role, "playingEntity") if role is not None else None
        if entity is None:
            continue
        agent = cda.coded(child(entity, "code"), partial(_name_of, entity))
        if agent:
            agents.append(agent)
    return agents


def _name_of(entity: Element) -> str:
    name = child(entity, "name")
    return text_under(name) if name is not None else ""


def _add_reactions(cda: Cda, observation: Element, holder: Element | None, detail: Detail) -> None:
    reactions = []
    for relationship in children(observation, "entryRelationship"):
        inner = child(relationship, "observation")
        if inner is None:
            continue
        code = child(inner, "code")
        word = code.get("code", "") if code is not None else ""
        if word == "SEV":
            detail.setdefault("severity", cda.coded(child(inner, "value")))
        elif word == "82606-5":
            detail["criticality"] = cda.coded(child(inner, "value"))
        elif word == "33999-4" or word == "48767-8":
            continue
        elif relationship.get("typeCode") == "MFST":
            reaction = _reaction(cda, inner)
            if reaction.manifestation:
                reactions.append(reaction)
    if holder is not None:
        for inner in related(holder, "observation"):
            code = child(inner, "code")
            if code is not None and code.get("code") == "SEV":
                detail.setdefault("severity", cda.coded(child(inner, "value")))
    if reactions:
        detail["reactions"] = tuple(reactions)


def _reaction(cda: Cda, observation: Element) -> Reaction:
    severity = None
    for inner in related(observation, "observation"):
        code = child(inner, "code")
        if code is not None and code.get("code") == "SEV":
            severity = cda.coded(child(inner, "value")) or None
    manifestation = cda.coded(child(observation, "value"), lambda: cda.text(child(observation, "text")))
    return Reaction(manifestation, severity, period(child(observation, "effectiveTime")).low)


def read_problem(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One problem observation (C-CDA Problem Observation); ``value`` is the condition."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    text = cda.text(first(groups, "text"))
    condition = cda.coded(first(groups, "value"))
    value = first(groups, "value")
    if not condition and value is not None:
        condition = Coded(name=cda.text(value))
    negated = element.get("negationInd") == "true"
    judged = standing(condition, negated=negated)
    if judged is Standing.NO_INFORMATION and text and not negated:
        condition = Coded(name=text)
        judged = standing(condition, negated=negated)
    if judged is Standing.NO_INFORMATION:
        return None if value is not None else blank_item(cda, element, kind, section, "no_value")
    detail = Detail()
    span = period(first(groups, "effectiveTime"))
    add_common(cda, groups, detail, span)
    code = cda.coded(first(groups, "code"))
    if code:
        detail["category"] = code
    _add_qualifiers(cda, element, detail)
    site = cda.coded(first(groups, "targetSiteCode"))
    if site:
        detail["body_site"] = site
    name = condition.name
    if judged is Standing.NONE_KNOWN:
        name = name_of_none(kind, condition, text)
    status = _status(cda, element, found.holder, detail)
    return Item(
        kind=kind,
        codes=condition.codes,
        name=name,
        start=span.low,
        end=span.high,
        status=status,
        # "Ruled out" (known absent) denies the condition as plainly as negationInd does.
        negated=judged is Standing.NEGATED or status == "ruled out",
        none_known=judged is Standing.NONE_KNOWN,
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=condition.text,
        detail=detail,
    )


def _add_qualifiers(cda: Cda, observation: Element, detail: Detail) -> None:
    for inner in related(observation, "observation"):
        code = child(inner, "code")
        word = code.get("code", "") if code is not None else ""
        if _is_age(inner, word):
            age = _age(cda, inner)
            if age:
                detail["age_at_onset"] = age
        elif word == "SEV":
            detail["severity"] = cda.coded(child(inner, "value"))


def age_at_onset(cda: Cda, observation: Element) -> Quantity | None:
    """The age observation hanging on a condition; a number without a unit counts years."""
    for inner in related(observation, "observation"):
        code = child(inner, "code")
        if _is_age(inner, code.get("code", "") if code is not None else ""):
            return _age(cda, inner)
    return None


def _is_age(observation: Element, code: str) -> bool:
    return code in _AGE_CODES or not _AGE_TEMPLATES.isdisjoint(templates(observation))


def _age(cda: Cda, observation: Element) -> Quantity | None:
    age = cda.quantity(child(observation, "value"))
    # CCD gives the age as a bare INT.
    return replace(age, unit="a") if age and not age.unit else age


def _status(cda: Cda, observation: Element, holder: Element | None, detail: Detail) -> str:
    """Clinical status: its own observation, else the state of the concern act around it."""
    for inner in related(observation, "observation"):
        code = child(inner, "code")
        is_status = code is not None and code.get("code") == "33999-4"
        if is_status or not _STATUS_TEMPLATES.isdisjoint(templates(inner)):
            said = cda.coded(child(inner, "value"))
            if said:
                detail["clinical_status"] = said
                for coding in said.codes:
                    if coding.code in _CLINICAL_STATUS:
                        return _CLINICAL_STATUS[coding.code]
                return said.name.lower()
    if holder is None:
        return ""
    concern = status_code(holder)
    if concern:
        detail["concern_status"] = concern
    return _CONCERN_STATUS.get(concern, concern)
