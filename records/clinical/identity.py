"""Telling the same thing in several documents, and the same person.

Items are never matched by id alone: in real documents one root and extension stands on different items, and
many items have none. Persons are never matched by id either: test and default ids are shared widely.
"""

import re
import unicodedata
from typing import Literal

from records.clinical import codes
from records.clinical.types import ClinicalSummary, Coding, Item, PatientFacts

SameOrNot = Literal["same", "different", "unsure"]

# One thing, listed under several headings.
_GROUPS = {
    "problems": "condition",
    "past_illness": "condition",
    "encounter_diagnoses": "condition",
    "admission_diagnosis": "condition",
    "discharge_diagnosis": "condition",
    "preoperative_diagnosis": "condition",
    "postoperative_diagnosis": "condition",
    "medications": "medication",
    "admission_medications": "medication",
    "discharge_medications": "medication",
    "plan_of_treatment": "plan",
    "assessment_and_plan": "plan",
}
# The system that names a thing of a group, best first: the same document may be sent with another order.
_PREFERRED = (
    codes.SNOMED,
    codes.RXNORM,
    codes.LOINC,
    codes.CVX,
    codes.CPT,
    codes.ICD10CM,
    codes.ICD9CM,
    codes.NDC,
)
_SPACE = re.compile(r"[\W_]+")


def item_key(item: Item) -> str:
    """The key under which an item is the same as another one.

    Group of kind, best code (or the normalised name when there is none), day, value with unit, and the
    standing: "not" and "none known" are other statements than the fact.

    :returns: an opaque string, equal for equal statements; it holds clinical content.
    """
    return item_keys(item)[0]


def item_keys(item: Item) -> tuple[str, ...]:
    """Every key of an item, the best first: two items are the same when they share any of them."""
    group = _GROUPS.get(item.kind, item.kind)
    standing = "none" if item.none_known else "not" if item.negated else ""
    day = (item.start or item.end).day if (item.start or item.end) else ""  # type: ignore[union-attr]
    if item.none_known:
        # "None known" is one statement a kind, whenever and however it was made.
        return ("|".join((group, standing, folded(item.name) if item.kind == "allergies" else "")),)
    tail = "|".join((day, folded_value(item.value), (item.unit or "").strip(), standing, *_more(item)))
    if not item.understood:
        return (f"{group}|unread|{item.path}",)
    subjects = [f"{coding.system}#{coding.code}" for coding in sorted(item.codes, key=_rank)]
    return tuple(f"{group}|{subject}|{tail}" for subject in subjects or [folded(item.name)])


def _rank(coding: Coding) -> tuple[int, str, str]:
    place = _PREFERRED.index(coding.system) if coding.system in _PREFERRED else len(_PREFERRED)
    return place, coding.system, coding.code


def _more(item: Item) -> tuple[str, ...]:
    """What else tells two items of a kind apart: the relative who has a condition, the device, the member."""
    detail = item.detail
    found = []
    if "relative" in detail:
        found.append(folded(detail["relative"].name))
        found.append(folded(detail.get("relative_name", "")))
    if "udi" in detail:
        found.append(detail["udi"])
    if "member_id" in detail:
        found.append(detail["member_id"])
    if item.kind == "notes":
        found.append(folded(detail.get("text", ""))[:200])
    return tuple(found)


def folded(text: str) -> str:
    """Text for comparison: no accents, no case, no punctuation, single blanks."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    return _SPACE.sub(" ", plain).strip().casefold()


def folded_value(value: str | None) -> str:
    """A value for comparison: ``120`` and ``120.0`` are one."""
    if value is None:
        return ""
    text = value.strip()
    try:
        number = float(text)
    except ValueError:
        return folded(text)
    return repr(number)


def replaces(newer: ClinicalSummary, older: ClinicalSummary) -> bool:
    """Whether one document takes the place of another (HL7 CDA R2 section 4.2.3.1).

    It has the same id; or the same set id and a higher version; or names the other in a ``RPLC`` relation.
    The earlier one stays, shown as superseded. The same bytes again are the caller's to notice.
    """
    old = older.document_id
    if old is not None:
        if newer.document_id == old:
            return _version(newer) >= _version(older)
        if any(related.relation == "RPLC" and related.id == old for related in newer.related):
            return True
    same_set = newer.set_id is not None and newer.set_id == older.set_id
    return same_set and _version(newer) > _version(older)


def _version(document: ClinicalSummary) -> int:
    text = document.version.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def same_patient(profile: PatientFacts, document: PatientFacts | None) -> SameOrNot:
    """Compare a profile with the person a document names.

    Name (family and first given), birth day and gender. ``different`` when the birth day differs, or family
    and first name both; ``same`` when two or more of the three agree; else ``unsure``. Ids prove nothing.
    """
    if document is None:
        return "unsure"
    names = _compare_names(profile, document)
    births = _compare_births(profile.birth_date, document.birth_date)
    genders = _compare(profile.gender, document.gender)
    if births is False or names is False:
        return "different"
    return "same" if [names, births, genders].count(True) >= 2 else "unsure"


def _compare(one: str, other: str) -> bool | None:
    if not one or not other or "unknown" in {one, other}:
        return None
    return one == other


def _compare_births(one: str, other: str) -> bool | None:
    """Dates of less than a day can differ, but never prove anything."""
    if not one or not other:
        return None
    shorter = min(len(one), len(other))
    if one[:shorter] != other[:shorter]:
        return False
    return True if shorter >= 10 else None


def _compare_names(profile: PatientFacts, document: PatientFacts) -> bool | None:
    """True when some pair of names agrees in family and first given; False when no pair agrees in either."""
    ours, theirs = _names(profile), _names(document)
    if not ours or not theirs:
        return None
    partly = False
    for family, given in ours:
        for other_family, other_given in theirs:
            same_family, same_given = family == other_family, given == other_given
            if same_family and same_given:
                return True
            partly = partly or same_family or same_given
    return None if partly else False


def _names(person: PatientFacts) -> set[tuple[str, str]]:
    """Family and first given name, folded; of a name on one line the last word and the first."""
    found = set()
    for name in person.names:
        given = folded(name.given[0]).split(" ")[0] if name.given else ""
        if name.family:
            found.add((folded(name.family), given))
        elif name.text:
            found.update(_split(name.text))
    if not person.names:
        found.update(_split(person.name))
    return found


def _split(text: str) -> set[tuple[str, str]]:
    family, comma, given = text.partition(",")
    if comma:
        return {(folded(family), (folded(given).split(" ") or [""])[0])}
    words = folded(text).split(" ")
    if words == [""]:
        return set()
    # "van der Berg" and "Maria del Carmen Ruiz": any split of the words may be the right one.
    return {(" ".join(words[at:]), words[0]) for at in range(1, len(words))} or {(words[0], "")}
