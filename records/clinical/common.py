"""What the readers of all kinds of CDA statements share."""

from functools import partial

from records.clinical.cda import Cda, Children, child, descend, first, text_under
from records.clinical.names import first_name
from records.clinical.statements import is_qualifier, related
from records.clinical.types import Coded, Detail, Item, Period
from records.clinical.xml import Element

_NONE = {
    "allergies": "No known allergies",
    "problems": "No known problems",
    "past_illness": "No known past illness",
    "medications": "No known medications",
    "medications_administered": "No medications administered",
    "admission_medications": "No known medications at admission",
    "discharge_medications": "No known medications at discharge",
    "immunizations": "No known immunizations",
    "procedures": "No known procedures",
    "medical_equipment": "No known implants or equipment",
    "health_concerns": "No known health concerns",
    "encounters": "No known encounters",
    "plan_of_treatment": "Nothing planned",
    "goals": "No known goals",
    "family_history": "No known problems",
    "advance_directives": "No advance directives",
}

_SAYS_NONE = ("no ", "none", "nk", "nil", "denies", "patient ")


def add_common(cda: Cda, groups: Children, detail: Detail, span: Period) -> None:
    """Authors, performers, informants, comment, and dates that were only partly valid."""
    if "author" in groups:
        authors = cda.parties(groups["author"])
        if authors:
            detail["authors"] = authors
    if "performer" in groups:
        performers = cda.parties(groups["performer"])
        if performers:
            detail["performers"] = performers
    if "informant" in groups:
        informants = cda.parties(groups["informant"])
        if informants:
            detail["informants"] = informants
    if "entryRelationship" in groups:
        comment = _comment(cda, groups["entryRelationship"])
        if comment:
            detail["comment"] = comment
    if (span.low and span.low.flawed) or (span.high and span.high.flawed):
        detail["flawed_dates"] = True


def _comment(cda: Cda, relationships: list[Element]) -> str:
    """``act[code/@code='48767-8']/text`` (C-CDA Comment Activity)."""
    comments = []
    for relationship in relationships:
        act = child(relationship, "act")
        if act is not None:
            code = child(act, "code")
            if code is not None and code.get("code") == "48767-8":
                comments.append(cda.text(child(act, "text")))
    return "\n".join(comment for comment in comments if comment)


def status_code(element: Element) -> str:
    """``statusCode/@code`` in lower case."""
    status = child(element, "statusCode")
    return status.get("code", "").strip().lower() if status is not None else ""


def mood(element: Element) -> str:
    """``@moodCode``: ``EVN`` for what happened, ``INT`` and the like for what is meant to happen."""
    return element.get("moodCode", "").strip().upper()


def reasons(cda: Cda, element: Element) -> tuple[Coded, ...]:
    """Indications and reasons: ``entryRelationship[RSON]/observation``, its value or else its code."""
    found = []
    for observation in related(element, "observation", "RSON"):
        if is_qualifier(observation):
            continue
        reason = cda.coded(child(observation, "value"), partial(_text_of, cda, observation))
        if not reason:
            reason = cda.coded(child(observation, "code"))
        if reason:
            found.append(reason)
    for act in related(element, "act", "RSON"):
        reason = cda.coded(child(act, "code"), partial(_text_of, cda, act))
        if reason:
            found.append(reason)
    return tuple(found)


def _text_of(cda: Cda, statement: Element) -> str:
    return cda.text(child(statement, "text"))


def locations(groups: Children) -> tuple[str, ...]:
    """Names of service delivery locations: ``participant[LOC]/participantRole``."""
    found = []
    for participant in groups.get("participant", ()):
        if participant.get("typeCode") != "LOC":
            continue
        role = child(participant, "participantRole")
        entity = descend(role, "playingEntity", "name")
        name = text_under(entity) if entity is not None else ""
        if not name:
            code = child(role, "code") if role is not None else None
            name = code.get("displayName", "") if code is not None else ""
        if name:
            found.append(name)
    return tuple(found)


def name_of_none(kind: str, subject: Coded, text: str, usual: str = "") -> str:
    """Words for "none known": the sender's where they say so, else the usual ones."""
    for words in (subject.name, text):
        if words and len(words) <= 80 and words.lower().startswith(_SAYS_NONE):
            return words
    return usual or _NONE.get(kind, "None known")


def blank_item(cda: Cda, element: Element, kind: str, section: str, reason: str) -> Item:
    """An entry that is there and could not be read."""
    return Item(
        kind=kind,
        understood=False,
        section=section,
        path=cda.path(element),
        detail=Detail(not_understood=reason),
    )


def named_by_text(cda: Cda, groups: Children, coded: Coded) -> Coded:
    """The coded value, named by the statement's text when it has no name of its own."""
    return coded if coded.name else named(coded, cda.text(first(groups, "text")))


def named(coded: Coded, words: str) -> Coded:
    """The coded value, named by ``words`` when it has no name of its own."""
    name = coded.name or first_name([words])
    return Coded(coded.codes, name, coded.text, coded.null_flavor)
