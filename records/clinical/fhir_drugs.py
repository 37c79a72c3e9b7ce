"""FHIR R4 resources of medications and immunizations."""

from records.clinical.fhir_types import (
    DATA_ABSENT,
    Json,
    annotation,
    concept,
    concept_of,
    date_time,
    identifiers,
    number,
    party,
    quantity,
    range_of,
    when,
    without_empty,
)
from records.clinical.types import Item, Timing

_STATEMENT_STATUS = {
    "active": "active",
    "completed": "completed",
    "stopped": "stopped",
    "on-hold": "on-hold",
    "entered-in-error": "entered-in-error",
    "inactive": "stopped",
}
_REQUEST_STATUS = {**_STATEMENT_STATUS, "new": "draft", "held": "on-hold", "cancelled": "cancelled"}
_ADMINISTRATION_STATUS = {
    "active": "in-progress",
    "completed": "completed",
    "stopped": "stopped",
    "on-hold": "on-hold",
    "entered-in-error": "entered-in-error",
}
_PERIOD_UNITS = frozenset({"s", "min", "h", "d", "wk", "mo", "a"})
_EVENTS = frozenset(
    {"HS", "WAKE", "C", "CM", "CD", "CV", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV"}
)
_ORDERS = frozenset({"INT", "RQO", "PRP", "PRMS", "ARQ"})


def medication(item: Item, subject: Json) -> Json:
    """MedicationRequest for what was ordered (mood INT), MedicationStatement for what is taken (EVN)."""
    if item.detail.get("mood") in _ORDERS:
        return medication_request(item, subject)
    status = "not-taken" if item.negated else _STATEMENT_STATUS.get(item.status, "unknown")
    return without_empty(
        {
            "resourceType": "MedicationStatement",
            "identifier": identifiers(item.ids),
            "status": status,
            "medicationCodeableConcept": _drug(item),
            "subject": subject,
            **when("effective", item.start, item.end),
            "informationSource": _first(item, "informants") or _first(item, "authors"),
            "reasonCode": [concept(found) for found in item.detail.get("reasons", ())],
            "note": annotation(item.detail.get("comment", "")),
            "dosage": _dosages(item),
        }
    )


def medication_request(item: Item, subject: Json, intent: str = "") -> Json:
    """MedicationRequest (us-core-medicationrequest)."""
    detail = item.detail
    mood = detail.get("mood", "")
    intent = intent or ("proposal" if mood == "PRP" else "plan" if mood in {"PRMS", "ARQ"} else "order")
    authors = detail.get("authors", ())
    written = next((author.time for author in reversed(authors) if author.time), None) or item.start
    dispense = {
        "numberOfRepeatsAllowed": detail.get("refills"),
        "quantity": quantity(detail.get("quantity")),
        "validityPeriod": None,
    }
    return without_empty(
        {
            "resourceType": "MedicationRequest",
            "identifier": identifiers(item.ids),
            "status": _REQUEST_STATUS.get(item.status, "unknown"),
            "intent": intent,
            "doNotPerform": True if item.negated else None,
            "medicationCodeableConcept": _drug(item),
            "subject": subject,
            **date_time("authoredOn", written),
            "requester": _first(item, "authors"),
            "reasonCode": [concept(found) for found in detail.get("reasons", ())],
            "note": annotation(detail.get("comment", "")),
            "dosageInstruction": _dosages(item),
            "dispenseRequest": without_empty(dispense),
        }
    )


def administration(item: Item, subject: Json) -> Json:
    """MedicationAdministration: a drug given in the encounter."""
    status = "not-done" if item.negated else _ADMINISTRATION_STATUS.get(item.status, "unknown")
    effective = when("effective", item.start, item.end)
    if not effective:
        effective = {"effectivePeriod": {"extension": [{"url": DATA_ABSENT, "valueCode": "unknown"}]}}
    detail = item.detail
    route = detail.get("route")
    dosage = without_empty(
        {
            "text": detail.get("sig"),
            "route": concept(route) if route else None,
            "dose": quantity(detail.get("dose")),
            "rateQuantity": quantity(detail.get("rate")),
        }
    )
    # A dosage must give an amount; words alone are a note.
    has_amount = "dose" in dosage or "rateQuantity" in dosage
    notes = [detail.get("comment", ""), "" if has_amount else detail.get("sig", "")]
    return without_empty(
        {
            "resourceType": "MedicationAdministration",
            "identifier": identifiers(item.ids),
            "status": status,
            "medicationCodeableConcept": _drug(item),
            "subject": subject,
            **effective,
            "reasonCode": [concept(found) for found in detail.get("reasons", ())],
            "note": [{"text": note} for note in notes if note],
            "dosage": dosage if has_amount else None,
        }
    )


def immunization(item: Item, subject: Json) -> Json:
    """Immunization (us-core-immunization); one only planned is a MedicationRequest."""
    detail = item.detail
    if detail.get("mood") in _ORDERS and not item.negated:
        return medication_request(item, subject, "plan")
    status = "not-done" if item.negated else "completed"
    if item.status == "entered-in-error" or item.status == "nullified":
        status = "entered-in-error"
    given = date_time("occurrenceDateTime", item.start or item.end)
    if not given:
        given = {"occurrenceString": detail.get("start_text") or "unknown"}
    route, site, reason = detail.get("route"), detail.get("body_site"), detail.get("reason")
    number_text = detail.get("dose_number", "")
    dose_number: Json = {}
    if number_text:
        count = number(number_text)
        dose_number = (
            {"doseNumberPositiveInt": count}
            if isinstance(count, int) and count > 0
            else {"doseNumberString": number_text}
        )
    return without_empty(
        {
            "resourceType": "Immunization",
            "identifier": identifiers(item.ids),
            "status": status,
            "statusReason": concept(reason) if reason and item.negated else None,
            "vaccineCode": _drug(item),
            "patient": subject,
            **given,
            "manufacturer": {"display": detail["maker"]} if detail.get("maker") else None,
            "lotNumber": detail.get("lot"),
            "site": concept(site) if site else None,
            "route": concept(route) if route else None,
            "doseQuantity": quantity(detail.get("dose")),
            "performer": [
                {"actor": shape} for found in detail.get("performers", ()) if (shape := party(found))
            ],
            "note": annotation(detail.get("comment", "")),
            "reaction": [
                without_empty(
                    {**date_time("date", found.start), "detail": {"display": found.manifestation.name}}
                )
                for found in detail.get("reactions", ())
            ],
            "protocolApplied": [dose_number] if dose_number else None,
        }
    )


def _drug(item: Item) -> Json:
    return concept_of(item.codes, item.text or item.name) or {"text": "unknown"}


def _first(item: Item, name: str) -> Json | None:
    found = item.detail.get(name, ())
    assert isinstance(found, tuple)
    return next((shape for one in found if (shape := party(one))), None)


def _dosages(item: Item) -> list[Json]:
    """Dosage: one, with the first timing; all timings are in the text."""
    detail = item.detail
    route, site = detail.get("route"), detail.get("body_site")
    dose = detail.get("dose")
    amount: Json = {}
    if dose is not None:
        amount = without_empty(
            {"doseRange": range_of(dose)} if dose.high else {"doseQuantity": quantity(dose)}
        )
    rate = quantity(detail.get("rate"))
    if rate:
        amount["rateQuantity"] = rate
    timings = detail.get("timings", ())
    needed: Json = {}
    if detail.get("as_needed_for"):
        needed = {"asNeededCodeableConcept": {"text": detail["as_needed_for"]}}
    elif detail.get("as_needed"):
        needed = {"asNeededBoolean": True}
    shape = without_empty(
        {
            "text": detail.get("sig") or detail.get("frequency"),
            "patientInstruction": detail.get("instructions"),
            "timing": _timing(timings[0]) if timings else None,
            **needed,
            "site": concept(site) if site else None,
            "route": concept(route) if route else None,
            "doseAndRate": [amount] if amount else None,
        }
    )
    return [shape] if shape else []


def _timing(found: Timing) -> Json:
    repeat: Json = {}
    if found.event in _EVENTS:
        repeat = {"when": [found.event]}
    elif found.period and found.unit in _PERIOD_UNITS:
        length, longest = number(found.period), number(found.period_max)
        if length is not None and length > 0:
            repeat = without_empty(
                {"frequency": 1, "period": length, "periodMax": longest, "periodUnit": found.unit}
            )
    return without_empty({"repeat": repeat, "code": {"text": found.text} if found.text else None})
