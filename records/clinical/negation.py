"""Facts, denials, "none known" and "no information": four things that must never be taken for each other.

HL7 C-CDA says "no known allergies" by ``negationInd`` on a class, by a code that means none, or in words; a
``negationInd`` on a definite thing says "not this one"; null flavours say that nothing is known.
"""

import re
from enum import Enum

from records.clinical.types import Coded


class Standing(Enum):
    """What a statement says about its subject."""

    FACT = "fact"
    NEGATED = "negated"
    NONE_KNOWN = "none known"
    NO_INFORMATION = "no information"


# SNOMED CT codes that say "none" by themselves.
_NONE_CODES = frozenset(
    {
        "716186003",  # no known allergy
        "409137002",  # no known drug allergy
        "428607008",  # no known environmental allergy
        "429625007",  # no known food allergy
        "1003774007",  # no known latex allergy
        "716184000",  # no known allergy (retired)
        "716185004",  # no known allergy (retired)
        "160244002",  # no known allergies (retired)
        "160245001",  # no current problems or disability
        "787481004",  # no known problems
        "39968002",  # no known problem
        "182904002",  # drug treatment unknown
        "1234391009",  # no known procedures
        "787480003",  # no known procedures
        "1234088003",  # no known immunizations
        "1217077007",  # no known functional limitation
        "10036008",  # not on medication
    }
)

# Classes: with negationInd they mean "none of this kind".
_CLASS_CODES = frozenset(
    {
        "105590001",  # substance
        "410942007",  # drug or medicament
        "373873005",  # pharmaceutical or biologic product
        "762766007",  # edible substance
        "255620007",  # food
        "419199007",  # allergy to substance
        "416098002",  # allergy to drug
        "414285001",  # allergy to food
        "426232007",  # environmental allergy
        "420134006",  # propensity to adverse reaction
        "55607006",  # problem
        "64572001",  # disease
        "404684003",  # clinical finding
        "282291009",  # diagnosis
        "71181003",  # vaccine
        "787859002",  # vaccine product
        "71388002",  # procedure
        "40388003",  # implant
        "49062001",  # device
        "75310-3",  # health concerns document (LOINC)
        "11450-4",  # problem list (LOINC)
    }
)

_NONE_WORDS = re.compile(
    r"(no|none|nil)[ -]*(currently |current |previously |previous )?"
    r"(known|reported|active|recorded|on file|indicated)\b.*"
    r"|no\b.{0,40}\b(known|indicated|on file)\b.{0,20}"
    r"|nk(d?a|fa|ea|p)\b.{0,20}"
    r"|(patient )?(denies|has no( known)?) .{0,20}(allerg|medication|problem)\w*.{0,20}"
    r"|(currently )?not (taking|on) any (medications?|medicines?|drugs?).{0,20}"
    r"|no (current |active |drug |medication |food |other )*"
    r"(allerg(y|ies)|medications?|medicines|problems?|procedures?|immunizations?|encounters?|implants?|concerns?)"
    r"( or intolerances| or disabilit(y|ies))?\W*",
    re.IGNORECASE,
)
# Said of a named thing these are part of its name ("no known malignancy"), so only where nothing is coded.
_NONE_WORDS_UNCODED = re.compile(r"none\W*|nil\W*|no\W*|not applicable\W*", re.IGNORECASE)
_NO_INFORMATION = re.compile(
    r"no (data|information|info|results?|records?)\b.*"
    r"|.{0,60}\b(not (documented|on file|available|entered|recorded|asked)|unavailable|excluded)\W*"
    r"|.{0,40}\bno (information|data) (entered|available|recorded)\b.*"
    r"|(information )?(not )?(unknown|available)\W*",
    re.IGNORECASE,
)
_KNOWN = re.compile(r"\bno[nt]?e?\b.*\bknown\b|\bnk[adfep]", re.IGNORECASE)


def standing(subject: Coded, *, negated: bool) -> Standing:
    """Judge one statement.

    :param subject: what it is about: the allergen, the condition, the drug, the vaccine, the procedure.
    :param negated: its ``negationInd``.
    """
    if subject.codes and any(coding.code in _NONE_CODES for coding in subject.codes):
        return Standing.NONE_KNOWN
    if negated:
        if not subject.codes and (not subject.name or _says_none(subject.name)):
            return Standing.NONE_KNOWN
        if subject.codes and all(coding.code in _CLASS_CODES for coding in subject.codes):
            return Standing.NONE_KNOWN
        return Standing.NEGATED
    if not subject:
        return Standing.NO_INFORMATION
    name = subject.name
    if _NONE_WORDS.fullmatch(name) and (not subject.codes or _KNOWN.search(name)):
        return Standing.NONE_KNOWN
    if not subject.codes:
        if _NONE_WORDS_UNCODED.fullmatch(name):
            return Standing.NONE_KNOWN
        if _NO_INFORMATION.fullmatch(name):
            return Standing.NO_INFORMATION
    return Standing.FACT


def _says_none(name: str) -> bool:
    return name.lower().startswith(("no ", "none")) or bool(_NONE_WORDS.fullmatch(name))
