"""FHIR R4 data types made from our own; shapes only, nothing is validated here.

Mappings follow HL7 "C-CDA on FHIR". Empty parts are left out: FHIR knows no null and no empty string.
"""

import re
from typing import Any

from records.clinical import codes
from records.clinical.types import (
    Address,
    Coded,
    Coding,
    Identifier,
    PartialDate,
    Party,
    PatientName,
    Quantity,
    Reaction,
    ReferenceRange,
    Telecom,
)

Json = dict[str, Any]

WRITTEN_TIME = "urn:healthvault-direct:written-time"
DATA_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")
_UCUM_TEXT = """
    % /min mm[Hg] Cel [degF] cm m kg g mg ug ng [lb_av] [oz_av] [in_i] [in_us] kg/m2 m2 L mL uL
    L/min mL/min mg/dL g/dL ug/dL mmol/L umol/L nmol/L pmol/L meq/L mg/L g/L ng/mL pg/mL ug/mL ng/dL
    ng/L ug/L U/L [IU]/L [IU]/mL m[IU]/L u[IU]/mL 10*3/uL 10*6/uL 10*9/L 10*12/L fL pg mm/h s min h
    d wk mo a [IU] meq mmol mg/mL mg/kg ug/kg mL/min/{1.73_m2} mg/g ug/mg [pH] kPa mosm/kg mL/h mg/h
"""
_UCUM_UNITS = frozenset(_UCUM_TEXT.split())


def without_empty(value: Json) -> Json:
    """The object without empty values (but with False and 0)."""
    return {key: part for key, part in value.items() if part not in (None, "", [], {}, ())}


def coding(found: Coding) -> Json:
    """A Coding; a system that is only words cannot stand in ``system``."""
    return without_empty(
        {
            "system": found.system if codes.is_uri(found.system) else None,
            "code": " ".join(found.code.split()),
            "display": found.display,
        }
    )


def concept(found: Coded) -> Json:
    """A CodeableConcept: codes with their displays, and the author's words as ``text``."""
    return without_empty({"coding": [coding(c) for c in found.codes], "text": found.text or found.name})


def concept_of(codings: tuple[Coding, ...], text: str) -> Json:
    """A CodeableConcept of codes and words."""
    return without_empty({"coding": [coding(c) for c in codings], "text": text})


def fixed(system: str, code: str, display: str = "") -> Json:
    """A CodeableConcept of one code."""
    return {"coding": [without_empty({"system": system, "code": code, "display": display})]}


def date_time(key: str, found: PartialDate | None) -> Json:
    """``{key: dateTime}``, with what was written as an extension where FHIR cannot say it.

    FHIR wants an offset with a time: a time without one is kept as its day, and as written beside it.
    """
    if found is None:
        return {}
    if found.precision != "time":
        return {key: found.iso}
    if found.zoned:
        return {key: _with_seconds(found.iso)}
    return {
        key: found.day,
        f"_{key}": {"extension": [{"url": WRITTEN_TIME, "valueString": found.iso}]},
    }


def _with_seconds(iso: str) -> str:
    day, _, rest = iso.partition("T")
    time, zone = rest[:-6], rest[-6:]
    parts = [*time.split(":"), "00", "00"]
    return f"{day}T{parts[0]}:{parts[1]}:{parts[2]}{zone}"


def period(start: PartialDate | None, end: PartialDate | None) -> Json:
    """A Period."""
    return {**date_time("start", start), **date_time("end", end)}


def when(name: str, start: PartialDate | None, end: PartialDate | None) -> Json:
    """``nameDateTime`` for a point, ``namePeriod`` for a span."""
    if end is not None:
        return {f"{name}Period": period(start, end)}
    return date_time(f"{name}DateTime", start)


def number(text: str) -> int | float | None:
    """The number of a written decimal, or None."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    return float(text) if "." in text else int(text)


def quantity(found: Quantity | None) -> Json | None:
    """A Quantity; None when the value is no number. UCUM is claimed only for units known to be UCUM."""
    if found is None or found.high:
        return None
    value = number(found.value)
    if value is None:
        return None
    known = found.unit in _UCUM_UNITS
    return without_empty(
        {
            "value": value,
            "comparator": found.comparator,
            "unit": found.unit,
            "system": codes.UCUM if known else None,
            "code": found.unit if known else None,
        }
    )


def range_of(found: Quantity) -> Json | None:
    """A Range of a quantity with two ends."""
    low = quantity(Quantity(found.value, found.unit))
    high = quantity(Quantity(found.high, found.unit))
    return without_empty({"low": low, "high": high}) if low and high else None


def reference_range(found: ReferenceRange) -> Json:
    """Observation.referenceRange."""
    low = quantity(Quantity(found.low, found.unit)) if found.low else None
    high = quantity(Quantity(found.high, found.unit)) if found.high else None
    text = found.text
    if not (low or high) and not text:
        text = f"{found.low} - {found.high} {found.unit}".strip(" -")
    if not found.normal:
        text = f"{text} (not a normal value)".strip()
    return without_empty({"low": low, "high": high, "text": text})


def identifier(found: Identifier) -> Json:
    """An Identifier (HL7 "C-CDA on FHIR", CDA id to FHIR identifier)."""
    system, value = codes.identifier_uri(found)
    return without_empty({"system": system, "value": value})


def identifiers(found: tuple[Identifier, ...]) -> list[Json]:
    """Identifiers that have a system: without one they mean nothing outside their document."""
    return [shape for one in found if (shape := identifier(one)).get("system") and shape.get("value")]


def party(found: Party) -> Json | None:
    """A Reference by name."""
    shown = ", ".join(part for part in (found.name, found.organization) if part)
    ids = identifiers(found.ids)
    if not shown and not ids:
        return None
    return without_empty({"display": shown, "identifier": ids[0] if ids else None})


def annotation(text: str) -> list[Json]:
    """Annotations of one text."""
    return [{"text": text}] if text else []


def reaction(found: Reaction, severity: Coded | None) -> Json:
    """AllergyIntolerance.reaction; its severity is mild, moderate or severe."""
    return without_empty(
        {
            "manifestation": [concept(found.manifestation)],
            "severity": _severity(found.severity or severity),
            **date_time("onset", found.start),
        }
    )


def _severity(found: Coded | None) -> str | None:
    if found is None:
        return None
    by_code = {
        "255604002": "mild",
        "6736007": "moderate",
        "24484000": "severe",
        "371923003": "moderate",
        "371924009": "severe",
        "399166001": "severe",
    }
    for one in found.codes:
        if one.code in by_code:
            return by_code[one.code]
    word = found.name.lower()
    return next((name for name in ("mild", "moderate", "severe") if word.startswith(name)), None)


def human_name(found: PatientName) -> Json:
    """A HumanName."""
    uses = {"L": "official", "C": "usual", "P": "nickname", "BR": "maiden", "A": "anonymous"}
    use = next((uses[code] for code in found.use.split() if code in uses), None)
    return without_empty(
        {
            "use": use,
            "text": found.text,
            "family": found.family,
            "given": list(found.given),
            "prefix": [found.prefix] if found.prefix else None,
            "suffix": [found.suffix] if found.suffix else None,
        }
    )


def address(found: Address) -> Json:
    """An Address."""
    uses = {"HP": "home", "H": "home", "WP": "work", "TMP": "temp", "BAD": "old"}
    return without_empty(
        {
            "use": uses.get(found.use.partition(" ")[0]),
            "line": list(found.lines),
            "city": found.city,
            "state": found.state,
            "postalCode": found.postal_code,
            "country": found.country,
        }
    )


def telecom(found: Telecom) -> Json:
    """A ContactPoint."""
    uses = {"HP": "home", "H": "home", "WP": "work", "MC": "mobile", "TMP": "temp"}
    system = found.system if found.system in {"phone", "email", "fax", "url"} else "other"
    return without_empty(
        {"system": system, "value": found.value, "use": uses.get(found.use.partition(" ")[0])}
    )
