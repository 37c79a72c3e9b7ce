"""FHIR R4 data types in words: concepts, quantities, ranges, dosages and timings (datatypes.html)."""

from __future__ import annotations

from typing import Any

from .wording import unit_in_words

Json = dict[str, Any]

#: FHIR R4 EventTiming: when in the day a medicine is taken.
_EVENTS = {
    "HS": "at bedtime",
    "WAKE": "on waking",
    "C": "with meals",
    "CM": "with breakfast",
    "CD": "with lunch",
    "CV": "with dinner",
    "AC": "before meals",
    "ACM": "before breakfast",
    "ACD": "before lunch",
    "ACV": "before dinner",
    "PC": "after meals",
    "PCM": "after breakfast",
    "PCD": "after lunch",
    "PCV": "after dinner",
}


def resource_of(content: Json) -> Json:
    found = content.get("resource")
    return found if isinstance(found, dict) else {}


def concept(found: Json | None) -> str:
    if not found:
        return ""
    displays = [coding.get("display", "") for coding in found.get("coding", ())]
    return str(found.get("text") or next(filter(None, displays), "") or code_of(found))


def code_of(found: Json | None) -> str:
    return str(next((one.get("code", "") for one in (found or {}).get("coding", ())), ""))


def party(found: Json | None) -> str:
    return str((found or {}).get("display", ""))


def number(found: Json) -> str:
    number = found.get("value", "")
    return f"{found.get('comparator', '')}{number:g}" if isinstance(number, float) else str(number)


def quantity(found: Json | None) -> str:
    if not found or "value" not in found:
        return ""
    return f"{number(found)} {unit_in_words(found.get('unit'))}".rstrip()


def printed(written: str) -> str:
    """A number with its unit as it is printed; other words as they stand."""
    number, _, unit = written.partition(" ")
    return f"{number} {unit_in_words(unit)}".rstrip() if number.replace(".", "", 1).isdigit() else written


def spread(found: Json | None) -> str:
    ends = [quantity(found.get(end)) for end in ("low", "high")] if found else []
    return " to ".join(filter(None, ends))


def amount(part: Json) -> str:
    return quantity(part.get("doseQuantity")) or spread(part.get("doseRange"))


def dosages_of(resource: Json) -> list[Json]:
    one: Any = resource.get("dosage", resource.get("dosageInstruction", ()))
    return [one] if isinstance(one, dict) else list(one)


def dosage_in_words(one: Json) -> str:
    parts = [amount(part) for part in one.get("doseAndRate", ())]
    parts += [timing(one.get("timing", {})), concept(one.get("route")).lower()]
    if one.get("asNeededBoolean") or one.get("asNeededCodeableConcept"):
        parts.append("only when needed")
    return ", ".join(filter(None, parts)) or str(one.get("text", ""))


def timing(found: Json) -> str:
    said = str(found.get("code", {}).get("text", ""))
    if said:
        return said
    repeat = found.get("repeat", {})
    if repeat.get("when"):
        return ", ".join(_EVENTS.get(event, event) for event in repeat["when"])
    if "period" not in repeat:
        return ""
    longest = f" to {number({'value': repeat['periodMax']})}" if "periodMax" in repeat else ""
    return f"every {number({'value': repeat['period']})}{longest} {unit_in_words(repeat.get('periodUnit'))}"


def with_more(words: str, *more: str) -> str:
    """The words, with further ones in brackets."""
    said = ", ".join(filter(None, more))
    if words and said:
        return f"{words} ({said})"
    return words or said
