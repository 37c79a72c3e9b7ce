"""A read document as plain JSON values, in the shapes other programs rely on."""

from typing import Any

from records.clinical import detect
from records.clinical.errors import ClinicalError
from records.clinical.types import ClinicalSummary, Identifier, Item, PatientFacts, Section


def summary(document: ClinicalSummary) -> dict[str, Any]:
    """Kind, title, date, patient, and counts by kind of item; ``document_sections`` lists every section."""
    return {
        "kind": document.kind,
        "item_type": document.item_type,
        "title": document.title,
        "date": document.date.iso if document.date else None,
        "patient": _patient(document.patient),
        "sections": {kind: dict(counts) for kind, counts in document.counts.items()},
        "document_sections": [_section(section) for section in document.sections],
        "patients": document.patients,
        "release": document.release or None,
        "id": _identifier(document.document_id),
        "set_id": _identifier(document.set_id),
        "version": document.version or None,
        "replaces": [_identifier(related.id) for related in document.related if related.relation == "RPLC"],
    }


def items(document: ClinicalSummary) -> list[dict[str, Any]]:
    """Every item, also those that say none known, not, or could not be understood."""
    return [item(found) for found in document.items]


def item(found: Item) -> dict[str, Any]:
    """One item."""
    return {
        "kind": found.kind,
        "codes": [
            {"system": coding.system, "code": coding.code, "display": coding.display}
            for coding in found.codes
        ],
        "name": found.name,
        "start": found.start.iso if found.start else None,
        "end": found.end.iso if found.end else None,
        "value": found.value,
        "unit": found.unit,
        "status": found.status,
        "negated": found.negated,
        "none_known": found.none_known,
        "understood": found.understood,
        "section": found.section,
        "path": found.path,
    }


def failure(error: ClinicalError) -> dict[str, Any]:
    """What stands in place of a document that is none."""
    return not_clinical(detect.Detected(None, "File", error.code, error.detail))


def not_clinical(detected: detect.Detected) -> dict[str, Any]:
    """The answer for bytes without a kind."""
    return {"kind": None, "item_type": detected.item_type, "code": detected.code, "detail": detected.detail}


def _patient(patient: PatientFacts | None) -> dict[str, Any] | None:
    if patient is None:
        return None
    return {
        "name": patient.name,
        "birth_date": patient.birth_date or None,
        "gender": patient.gender or None,
        "ids": [_identifier(found) for found in patient.ids],
    }


def _identifier(found: Identifier | None) -> dict[str, str] | None:
    return {"root": found.root, "extension": found.extension} if found else None


def _section(section: Section) -> dict[str, Any]:
    return {
        "code": section.code,
        "title": section.title,
        "kind": section.kind or None,
        "narrative": bool(section.narrative),
        "items": section.items,
        "none_known": section.none_known,
        "negated": section.negated,
        "not_understood": section.not_understood,
        "no_information": section.no_information,
        "path": section.path,
    }
