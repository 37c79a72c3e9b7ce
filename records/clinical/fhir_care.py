"""FHIR R4 resources of procedures, encounters, plans, goals, devices, cover, teams and notes."""

from records.clinical.fhir_drugs import medication_request
from records.clinical.fhir_types import (
    Json,
    annotation,
    concept,
    concept_of,
    date_time,
    identifiers,
    party,
    period,
    quantity,
    range_of,
    when,
    without_empty,
)
from records.clinical.types import Item

_ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
_PROCEDURE_STATUS = {
    "completed": "completed",
    "active": "in-progress",
    "aborted": "stopped",
    "cancelled": "not-done",
    "suspended": "on-hold",
    "new": "preparation",
    "nullified": "entered-in-error",
}
_REQUEST_STATUS = {
    "active": "active",
    "new": "active",
    "completed": "completed",
    "aborted": "revoked",
    "cancelled": "revoked",
    "suspended": "on-hold",
    "held": "on-hold",
    "nullified": "entered-in-error",
}
_INTENTS = {"INT": "plan", "RQO": "order", "PRP": "proposal", "ARQ": "plan", "PRMS": "plan", "APT": "plan"}
_GOAL_STATUS = {
    "active": "active",
    "completed": "completed",
    "aborted": "cancelled",
    "cancelled": "cancelled",
    "suspended": "on-hold",
    "nullified": "entered-in-error",
}
_CLASS_NAMES = {
    "AMB": "ambulatory",
    "IMP": "inpatient encounter",
    "EMER": "emergency",
    "HH": "home health",
    "VR": "virtual",
    "ACUTE": "inpatient acute",
    "OBSENC": "observation encounter",
    "SS": "short stay",
    "FLD": "field",
    "NONAC": "inpatient non-acute",
    "PRENC": "pre-admission",
}


def procedure(item: Item, subject: Json) -> Json:
    """Procedure (us-core-procedure)."""
    detail = item.detail
    status = "not-done" if item.negated else _PROCEDURE_STATUS.get(item.status, "unknown")
    site = detail.get("body_site")
    devices = [{"manipulated": {"display": found.name}} for found in detail.get("devices", ()) if found.name]
    notes = [detail.get("comment", ""), detail.get("text", "")]
    return without_empty(
        {
            "resourceType": "Procedure",
            "identifier": identifiers(item.ids),
            "status": status,
            "code": _thing(item),
            "subject": subject,
            **when("performed", item.start, item.end),
            "performer": [{"actor": p} for found in detail.get("performers", ()) if (p := party(found))],
            "location": {"display": detail["locations"][0]} if detail.get("locations") else None,
            "reasonCode": [concept(found) for found in detail.get("reasons", ())],
            "bodySite": [concept(site)] if site else None,
            "note": [{"text": note} for note in notes if note],
            "focalDevice": devices,
        }
    )


def intervention(item: Item, subject: Json) -> Json:
    """A Procedure when it was done, a ServiceRequest when it is meant to be."""
    if item.detail.get("mood", "EVN") in _INTENTS:
        return planned(item, subject)
    return procedure(item, subject)


def encounter(item: Item, subject: Json) -> Json:
    """Encounter (us-core-encounter); one to come is an Appointment."""
    detail = item.detail
    if detail.get("mood") in {"APT", "INT", "ARQ", "PRMS", "PRP", "RQO"}:
        return appointment(item, subject)
    kind = _encounter_class(item)
    disposition = detail.get("disposition")
    return without_empty(
        {
            "resourceType": "Encounter",
            "identifier": identifiers(item.ids),
            "status": "finished" if item.status in {"", "completed", "normal"} else "unknown",
            "class": without_empty(
                {"system": _ACT_CODE, "code": kind, "display": _CLASS_NAMES.get(kind, "")}
            ),
            "type": [_thing(item)],
            "subject": subject,
            "participant": [
                {"individual": p} for found in detail.get("performers", ()) if (p := party(found))
            ],
            "period": period(item.start, item.end),
            "reasonCode": [concept(found) for found in detail.get("reasons", ())],
            "hospitalization": {"dischargeDisposition": concept(disposition)} if disposition else None,
            "location": [{"location": {"display": name}} for name in detail.get("locations", ())],
        }
    )


def _encounter_class(item: Item) -> str:
    """The class: of ActCode when sent, else by the range of the CPT code, else ambulatory."""
    for coding in item.codes:
        if coding.code in _CLASS_NAMES:
            return coding.code
    for coding in item.codes:
        if coding.code.isascii() and coding.code.isdigit() and len(coding.code) == 5:
            number = int(coding.code)
            if 99221 <= number <= 99239:
                return "IMP"
            if 99281 <= number <= 99285:
                return "EMER"
    return "AMB"


def appointment(item: Item, subject: Json) -> Json:
    """Appointment."""
    start = date_time("start", item.start)
    # Appointment.start is an instant: a day goes into the words.
    exact = len(start.get("start", "")) >= 20
    words = item.name if exact or not item.start else f"{item.name}, {item.start.iso}"
    return without_empty(
        {
            "resourceType": "Appointment",
            "identifier": identifiers(item.ids),
            "status": "cancelled" if item.negated else "proposed",
            "serviceType": [_thing(item)],
            "description": words,
            "participant": [
                {"actor": subject, "status": "needs-action"},
                *(
                    {"actor": p, "status": "needs-action"}
                    for found in item.detail.get("performers", ())
                    if (p := party(found))
                ),
            ],
            "comment": item.detail.get("text"),
        }
    )


def planned(item: Item, subject: Json) -> Json:
    """A plan by its statement: Appointment, MedicationRequest, Goal or ServiceRequest."""
    detail = item.detail
    act_class = detail.get("act_class", "")
    if act_class == "encounter":
        return appointment(item, subject)
    if act_class in {"substanceAdministration", "supply"} and not item.negated:
        return medication_request(item, subject, "plan")
    if detail.get("mood") == "GOL":
        return goal(item, subject)
    site = detail.get("body_site")
    notes = [detail.get("text", ""), detail.get("comment", "")]
    return without_empty(
        {
            "resourceType": "ServiceRequest",
            "identifier": identifiers(item.ids),
            "status": _REQUEST_STATUS.get(item.status, "unknown"),
            "intent": _INTENTS.get(detail.get("mood", ""), "plan"),
            "doNotPerform": True if item.negated else None,
            "code": _thing(item),
            "subject": subject,
            **when("occurrence", item.start, item.end),
            "requester": next((p for found in detail.get("authors", ()) if (p := party(found))), None),
            "performer": [p for found in detail.get("performers", ()) if (p := party(found))],
            "reasonCode": [concept(found) for found in detail.get("reasons", ())],
            "bodySite": [concept(site)] if site else None,
            "note": [{"text": note} for note in notes if note],
        }
    )


def goal(item: Item, subject: Json) -> Json:
    """Goal (us-core-goal)."""
    found = item.detail.get("value_quantity")
    target: Json = {}
    if found is not None:
        amount = {"detailRange": range_of(found)} if found.high else {"detailQuantity": quantity(found)}
        target = without_empty(amount)
        if target:
            target["measure"] = _thing(item)
    due = item.end
    if due is not None and due.precision == "day":
        target["dueDate"] = due.iso
    start = {"startDate": item.start.day} if item.start else {}
    status = _GOAL_STATUS.get(item.status, "active")
    return without_empty(
        {
            "resourceType": "Goal",
            "identifier": identifiers(item.ids),
            "lifecycleStatus": "rejected" if item.negated else status,
            "description": _thing(item),
            "subject": subject,
            **start,
            "target": [target] if target else None,
            "note": annotation(item.detail.get("text", "")),
        }
    )


def device_use(item: Item, subject: Json) -> Json:
    """DeviceUseStatement with its Device inside (us-core-implantable-device, UDI)."""
    detail = item.detail
    device = without_empty(
        {
            "resourceType": "Device",
            "id": "device",
            "udiCarrier": [{"carrierHRF": detail["udi"]}] if detail.get("udi") else None,
            "manufacturer": detail.get("maker"),
            "type": _thing(item),
            "patient": subject,
        }
    )
    site = detail.get("body_site")
    status = {"completed": "completed", "active": "active"}.get(item.status, "active")
    return without_empty(
        {
            "resourceType": "DeviceUseStatement",
            "contained": [device],
            "identifier": identifiers(item.ids),
            "status": "entered-in-error" if item.status == "nullified" else status,
            "subject": subject,
            **when("timing", item.start, item.end),
            "device": {"reference": "#device"},
            "bodySite": concept(site) if site else None,
            "note": annotation("Said not to be so." if item.negated else detail.get("comment", "")),
        }
    )


def coverage(item: Item, subject: Json) -> Json:
    """Coverage (us-core-coverage)."""
    detail = item.detail
    kind = detail.get("coverage_type")
    group = detail.get("group_id")
    plan = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/coverage-class", "code": "group"}]}
    return without_empty(
        {
            "resourceType": "Coverage",
            "identifier": identifiers(item.ids),
            "status": {"aborted": "cancelled", "nullified": "entered-in-error"}.get(item.status, "active"),
            "type": concept(kind) if kind else None,
            "subscriber": {"display": detail["subscriber"]} if detail.get("subscriber") else None,
            "subscriberId": detail.get("member_id"),
            "beneficiary": subject,
            "period": period(item.start, item.end),
            "payor": [{"display": detail.get("payer") or item.name or "unknown"}],
            "class": [{"type": plan, "value": group}] if group else None,
        }
    )


def care_team(item: Item, subject: Json) -> Json:
    """CareTeam of one member (us-core-careteam)."""
    people = item.detail.get("performers", ())
    member = party(people[0]) if people else None
    role = [{"text": item.value}] if item.value else None
    return without_empty(
        {
            "resourceType": "CareTeam",
            "identifier": identifiers(item.ids),
            "status": "active" if item.status in {"", "active"} else "inactive",
            "name": item.detail.get("team"),
            "subject": subject,
            "period": period(item.start, item.end),
            "participant": [without_empty({"role": role, "member": member or {"display": item.name}})],
        }
    )


def document_reference(item: Item, subject: Json) -> Json:
    """DocumentReference of a note (us-core-documentreference)."""
    detail = item.detail
    media_type = detail.get("media_type", "text/plain")
    attachment: Json = {"contentType": media_type, "title": item.name}
    if detail.get("content_path"):
        attachment["url"] = f"#{detail['content_path']}"
    words = detail.get("text", "")
    category = {"system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category"}
    exact = date_time("date", item.start)
    return without_empty(
        {
            "resourceType": "DocumentReference",
            "identifier": identifiers(item.ids),
            "status": "current",
            "type": _thing(item),
            "category": [{"coding": [{**category, "code": "clinical-note"}]}],
            "subject": subject,
            # DocumentReference.date is an instant; a day stands in the context's period.
            **(exact if len(exact.get("date", "")) >= 20 else {}),
            "author": [p for found in detail.get("authors", ()) if (p := party(found))],
            "description": words,
            "content": [{"attachment": attachment}],
            "context": {"period": period(item.start, item.end)} if item.start else None,
        }
    )


def instruction(item: Item, subject: Json) -> Json:
    """An instruction, as a CarePlan of words."""
    words = item.detail.get("text", "")
    return without_empty(
        {
            "resourceType": "CarePlan",
            "identifier": identifiers(item.ids),
            "status": _REQUEST_STATUS.get(item.status, "unknown"),
            "intent": "plan",
            "title": item.name,
            "description": words or item.name,
            "subject": subject,
            "period": period(item.start, item.end),
        }
    )


def _thing(item: Item) -> Json:
    return concept_of(item.codes, item.text or item.name) or {"text": "unknown"}
