"""Procedures, encounters, plans, goals, equipment, cover, teams and notes of a CDA document."""

from records.clinical.cda import (
    OBSERVATION,
    Cda,
    Children,
    child,
    children,
    descend,
    first,
    grouped,
    identifiers,
    period,
    templates,
    text_under,
)
from records.clinical.common import (
    add_common,
    blank_item,
    locations,
    mood,
    name_of_none,
    named,
    named_by_text,
    reasons,
    status_code,
)
from records.clinical.drugs import product_of
from records.clinical.measures import read_observation, read_values
from records.clinical.names import first_name, shortened
from records.clinical.negation import Standing, standing
from records.clinical.statements import (
    ENTRY_REFERENCE,
    SUBSTANCE,
    SUPPLY,
    Found,
    is_condition,
    is_qualifier,
    related,
)
from records.clinical.types import Coded, Detail, Item, Party, Period
from records.clinical.xml import Element

_UDI_ROOT = "2.16.840.1.113883.3.3719"
# Codes that say only what sort of statement it is.
_WRAPPERS = frozenset(
    {"75310-3", "362956003", "CONC", "ASSERTION", "64572001", "55607006", "404684003", "409073007"}
)
# Codes that say that something threatens, not what: "at risk", "risk factor".
_RISKS = frozenset({"281694009", "80943009"})
_PROBLEM_OBSERVATION = "2.16.840.1.113883.10.20.22.4.4"


def read_procedure(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One procedure, act or observation of the procedures section."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    procedure = named_by_text(cda, groups, cda.coded(first(groups, "code")))
    devices = _add_devices(cda, groups, detail)
    subject = procedure if procedure else devices
    return _item(cda, element, groups, kind, section, subject, detail, devices)


def read_equipment(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One device: by a supply, or by the procedure that put it in; it is named after the device."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    devices = _add_devices(cda, groups, detail)
    product = product_of(cda, groups, detail) if element.tag == SUPPLY else Coded()
    act = cda.coded(first(groups, "code"))
    if act:
        detail["category"] = act
    subject = devices if devices.codes or devices.name else product
    if not subject:
        subject = named_by_text(cda, groups, act)
    if element.tag == SUPPLY:
        quantity = cda.quantity(first(groups, "quantity"))
        if quantity:
            detail["quantity"] = quantity
    return _item(cda, element, groups, kind, section, subject, detail, act)


def read_encounter(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One encounter of the encounters section."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    encounter = named_by_text(cda, groups, cda.coded(first(groups, "code")))
    span = period(first(groups, "effectiveTime"))
    if not encounter and span.low is not None:
        encounter = Coded(name="Encounter")
    disposition = cda.coded(first(groups, "sdtc:dischargeDispositionCode"))
    if disposition:
        detail["disposition"] = disposition
    return _item(cda, element, groups, kind, section, encounter, detail)


def read_header_encounter(cda: Cda, encounter: Element) -> Item | None:
    """``componentOf/encompassingEncounter`` of the header: the encounter the document is about."""
    groups = grouped(encounter)
    span = period(first(groups, "effectiveTime"))
    code = cda.coded(first(groups, "code"))
    if not code and span.low is None and span.high is None:
        return None
    detail = Detail()
    place = descend(first(groups, "location"), "healthCareFacility")
    if place is not None:
        name = descend(place, "location", "name")
        owner = descend(place, "serviceProviderOrganization", "name")
        named = [text_under(part) for part in (name, owner) if part is not None]
        shown = first_name([*named, cda.coded(child(place, "code")).name])
        if shown:
            detail["locations"] = (shown,)
    people = [cda.party(part) for part in groups.get("responsibleParty", [])]
    people += [cda.party(part) for part in groups.get("encounterParticipant", [])]
    named_people = tuple(person for person in people if person.name or person.organization)
    if named_people:
        detail["performers"] = named_people
    disposition = cda.coded(first(groups, "dischargeDispositionCode"))
    if disposition:
        detail["disposition"] = disposition
    return Item(
        kind="encounters",
        codes=code.codes,
        name=code.name or "Encounter",
        start=span.low,
        end=span.high,
        path=cda.path(encounter),
        ids=identifiers(groups.get("id")),
        text=code.text,
        detail=detail,
    )


def read_plan(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One planned statement of whatever class."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail(act_class=element.tag.rpartition("}")[2])
    value = unit = None
    if element.tag in {SUBSTANCE, SUPPLY}:
        subject = product_of(cda, groups, detail)
        if not subject:
            subject = _add_devices(cda, groups, detail)
        if not subject:
            subject = cda.coded(first(groups, "code"))
    else:
        subject = cda.coded(first(groups, "code"))
        value, unit, _ = read_values(cda, groups, detail)
    subject = _of_wrapper(cda, element, groups, named_by_text(cda, groups, subject))
    if not subject.name and value:
        subject = Coded(subject.codes, value, subject.text)
    if "effectiveTime" not in groups and "code" not in groups:
        # A bare request around the statement of what is requested.
        inner = next(related(element, element.tag.rpartition("}")[2]), None)
        if inner is not None:
            groups["effectiveTime"] = list(children(inner, "effectiveTime"))
    return _item(cda, element, groups, kind, section, subject, detail, value=value, unit=unit)


def read_goal(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One goal or outcome: named by its code, value, text or what it holds."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    value, unit, _ = read_values(cda, groups, detail)
    code = cda.coded(first(groups, "code"))
    answer = detail.get("value_coded", Coded())
    if answer or (value and "value_quantity" not in detail):
        # The goal itself is in the value; the code says what sort of goal.
        subject = answer or Coded(code.codes, shortened(value or ""))
        if code:
            detail["category"] = code
    elif code and not code.has(*_WRAPPERS):
        subject = code
    else:
        words = first_name([shortened(cda.text(first(groups, "text"))), code.text])
        subject = Coded((), words) if words else _nested(cda, element)
    return _item(cda, element, groups, kind, section, subject, detail, value=value, unit=unit)


def read_concern(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One health concern or risk; a bare wrapper with nothing in it says nothing."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    if element.tag == OBSERVATION:
        return _read_concern_observation(cda, found, kind, section)
    groups = grouped(element)
    detail = Detail()
    code = cda.coded(first(groups, "code"))
    negated = element.get("negationInd") == "true"
    subject = code
    if not negated and (not code or code.has(*_WRAPPERS)):
        subject = _nested(cda, element)
        if not subject:
            words = first_name([cda.text(first(groups, "text")), code.text])
            subject = Coded(name=words)
        if not subject:
            return None
    elif code.has(*_RISKS):
        threat = _nested(cda, element)
        if threat and threat.name != code.name:
            # Without codes: two risks of one day are two items, and the code names neither.
            detail["category"] = code
            subject = Coded(name=f"{code.name}: {threat.name}")
    if "effectiveTime" not in groups:
        held = next((inner for inner in related(element, "observation") if is_condition(inner)), None)
        if held is not None:
            groups["effectiveTime"] = list(children(held, "effectiveTime"))
    return _item(cda, element, groups, kind, section, subject, detail)


def _read_concern_observation(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    groups = grouped(found.element)
    code, value = cda.coded(first(groups, "code")), cda.coded(first(groups, "value"))
    if value and (code.has(*_WRAPPERS) or _PROBLEM_OBSERVATION in templates(found.element)):
        _take_time(groups, found)
        return _item(cda, found.element, groups, kind, section, value, Detail())
    return read_observation(cda, found, kind, section)


def _take_time(groups: Children, found: Found) -> None:
    """The time of the act that holds a statement, where the statement has none of its own."""
    if "effectiveTime" not in groups and found.holder is not None:
        times = list(children(found.holder, "effectiveTime"))
        if times:
            groups["effectiveTime"] = times


def read_act(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """An intervention or instruction: named by its code, else its text, else what it holds."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    if element.tag in {SUBSTANCE, SUPPLY}:
        return read_plan(cda, found, kind, section)
    _take_time(groups, found)
    detail = Detail(act_class=element.tag.rpartition("}")[2])
    code = _of_wrapper(cda, element, groups, named_by_text(cda, groups, cda.coded(first(groups, "code"))))
    value, unit, _ = read_values(cda, groups, detail)
    return _item(cda, element, groups, kind, section, code, detail, value=value, unit=unit)


def read_policy(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One insurance policy (C-CDA Policy Activity)."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    kind_of_cover = cda.coded(first(groups, "code"))
    if kind_of_cover:
        detail["coverage_type"] = kind_of_cover
    payer = _payer(groups)
    if payer:
        detail["payer"] = payer
    ids = identifiers(groups.get("id"))
    group = next((found_id.extension for found_id in ids if found_id.extension), "")
    if group:
        detail["group_id"] = group
    span = _add_covered(cda, groups, detail)
    name = first_name([payer, _plan_name(cda, element), kind_of_cover.name])
    if not name and not detail.get("member_id"):
        return None
    negated = element.get("negationInd") == "true"
    if not payer and standing(Coded(name=name), negated=negated) is not Standing.FACT:
        return None
    return Item(
        kind=kind,
        codes=kind_of_cover.codes,
        name=name,
        start=span.low,
        end=span.high,
        status=status_code(element),
        section=section,
        path=cda.path(element),
        ids=ids,
        text=kind_of_cover.text,
        detail=detail,
    )


def _payer(groups: Children) -> str:
    for performer in groups.get("performer", ()):
        role = performer.get("typeCode", "")
        entity = child(performer, "assignedEntity")
        kind = child(entity, "code") if entity is not None else None
        word = kind.get("code", "") if kind is not None else ""
        if role not in {"", "PRF"} or (word and word != "PAYOR"):
            continue
        name = descend(entity, "representedOrganization", "name")
        if name is not None and (text := text_under(name)):
            return text
    return ""


def _add_covered(cda: Cda, groups: Children, detail: Detail) -> Period:
    span = Period()
    for participant in groups.get("participant", ()):
        role = child(participant, "participantRole")
        if role is None:
            continue
        name = descend(role, "playingEntity", "name")
        shown = text_under(name) if name is not None else ""
        ids = identifiers(list(children(role, "id")))
        if participant.get("typeCode") == "COV":
            member = next((found.extension for found in ids if found.extension), "")
            if member:
                detail["member_id"] = member
            if shown:
                detail["member_name"] = shown
            time = period(child(participant, "time"))
            if time.low or time.high:
                span = time
        elif participant.get("typeCode") == "HLD":
            subscriber = shown or next((found.extension for found in ids if found.extension), "")
            if subscriber:
                detail["subscriber"] = subscriber
    return span


def _plan_name(cda: Cda, policy: Element) -> str:
    for relationship in children(policy, "entryRelationship"):
        if relationship.get("typeCode") == "REFR":
            for act in children(relationship, "act"):
                text = cda.text(child(act, "text"))
                if text:
                    return text
    return ""


def read_team_member(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One member of a care team (C-CDA Care Team Member Act)."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    people = cda.parties(groups.get("performer"))
    person = people[0] if people else Party()
    name = person.name or person.organization
    if not name and not person.role:
        name = first_name([cda.text(first(groups, "text"))])
        if not name:
            return None
    span = period(first(groups, "effectiveTime"))
    detail = Detail()
    add_common(cda, groups, detail, span)
    if found.holder is not None:
        code = child(found.holder, "code")
        team = code is not None and (cda.text(child(code, "originalText")) or "")
        if team:
            detail["team"] = team
        if span.low is None and span.high is None:
            span = period(child(found.holder, "effectiveTime"))
    return Item(
        kind=kind,
        name=name or person.role,
        start=span.low,
        end=span.high,
        value=person.role or None,
        status=status_code(element),
        section=section,
        path=cda.path(element),
        ids=person.ids or identifiers(groups.get("id")),
        detail=detail,
    )


def read_header_performer(cda: Cda, performer: Element) -> Item | None:
    """``documentationOf/serviceEvent/performer`` of the header: a member of the care team."""
    person = cda.party(performer)
    if not (person.name or person.organization):
        return None
    span = period(child(performer, "time"))
    return Item(
        kind="care_team",
        name=person.name or person.organization,
        start=span.low,
        end=span.high,
        value=person.role or None,
        path=cda.path(performer),
        ids=person.ids,
        detail=Detail(performers=(person,)),
    )


def read_note(cda: Cda, found: Found, kind: str, section: str) -> Item | None:
    """One note (C-CDA Note Activity); the kind of note is in the code's translation."""
    element = found.element
    if element.get("nullFlavor"):
        return None
    groups = grouped(element)
    detail = Detail()
    code = cda.coded(first(groups, "code"))
    special = [coding for coding in code.codes if coding.code != "34109-9"]
    name = first_name([coding.display for coding in special]) or code.name or "Note"
    text = first(groups, "text")
    if text is not None:
        detail["media_type"] = text.get("mediaType", "text/plain")
        detail["content_path"] = cda.path(text)
        if text.get("representation") != "B64":
            detail["text"] = cda.text(text)
        else:
            reference = child(text, "reference")
            words = cda.referenced(reference.get("value", "")) if reference is not None else ""
            if words:
                detail["text"] = words
    span = period(first(groups, "effectiveTime"))
    add_common(cda, groups, detail, span)
    authored = next((author.time for author in detail.get("authors", ()) if author.time), None)
    return Item(
        kind="notes",
        codes=tuple(special) or code.codes,
        name=name,
        start=span.low or authored,
        end=span.high,
        status=status_code(element),
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=code.text,
        detail=detail,
    )


def _of_wrapper(cda: Cda, element: Element, groups: Children, code: Coded) -> Coded:
    """What a statement is about: its code, or what it holds or says where the code is only a wrapper's."""
    if code and not code.has(*_WRAPPERS):
        return code
    inner = _nested(cda, element)
    if inner:
        return inner
    words = first_name([shortened(cda.text(first(groups, "text")))])
    return Coded(code.codes, words, code.text) if words else code


def _nested(cda: Cda, element: Element) -> Coded:
    """What a wrapper is about: the first named statement it holds."""
    for relationship in children(element, "entryRelationship"):
        for inner in relationship:
            if inner.get("nullFlavor") or ENTRY_REFERENCE in templates(inner):
                continue
            if inner.tag == OBSERVATION:
                if is_qualifier(inner):
                    continue
                value = cda.coded(child(inner, "value"))
                if value:
                    return value
            code = cda.coded(child(inner, "code"))
            if code and not code.has(*_WRAPPERS):
                return code
            words = first_name([cda.text(child(inner, "text"))])
            if words:
                return Coded(name=words)
            deeper = _nested(cda, inner)
            if deeper:
                return deeper
    return Coded()


def _add_devices(cda: Cda, groups: Children, detail: Detail) -> Coded:
    """Note devices and UDIs of ``participant[DEV]`` or ``[PRD]``; returns the first named device."""
    devices: list[Coded] = []
    udis: list[str] = []
    makers: list[str] = []
    for participant in groups.get("participant", ()):
        if participant.get("typeCode") not in {"DEV", "PRD"}:
            continue
        role = child(participant, "participantRole")
        if role is None:
            continue
        for found in identifiers(list(children(role, "id"))):
            if found.extension and (found.root == _UDI_ROOT or not udis):
                udis.append(found.extension)
        entity = child(role, "playingDevice")
        if entity is None:
            entity = child(role, "playingEntity")
        if entity is not None:
            model = child(entity, "manufacturerModelName")
            words = text_under(model) if model is not None else ""
            device = named(cda.coded(child(entity, "code")), words)
            if device:
                devices.append(device)
        maker = descend(role, "scopingEntity", "desc")
        if maker is not None and (text := text_under(maker)):
            makers.append(text)
    if devices:
        detail["devices"] = tuple(devices)
    if udis:
        detail["udi"] = udis[0]
        detail["device_ids"] = tuple(udis)
    if makers:
        detail["maker"] = makers[0]
    return devices[0] if devices else Coded()


def _item(
    cda: Cda,
    element: Element,
    groups: Children,
    kind: str,
    section: str,
    subject: Coded,
    detail: Detail,
    companion: Coded | None = None,
    *,
    value: str | None = None,
    unit: str | None = None,
) -> Item | None:
    """An item around what a statement is about, judged by it and by ``companion`` (device of a procedure)."""
    negated = element.get("negationInd") == "true"
    judged = standing(subject, negated=negated)
    if judged is Standing.NONE_KNOWN and companion:
        # "No procedure" with a definite device is the denial of that device.
        judged = standing(companion, negated=negated)
    if judged is Standing.NEGATED and not subject.codes and not subject.text and companion is not None:
        judged = Standing.NONE_KNOWN if standing(companion, negated=True) is Standing.NONE_KNOWN else judged
    text = cda.text(first(groups, "text"))
    if judged is Standing.NO_INFORMATION:
        if groups.get("code") or groups.get("text"):
            return None
        return blank_item(cda, element, kind, section, "no_code")
    span = period(first(groups, "effectiveTime"))
    if element.tag == SUPPLY and span.low is None and span.high is not None:
        # The Non-Medicinal Supply Activity of C-CDA gives the day of the supply as `high` alone.
        span = Period(low=span.high, point=True)
    add_common(cda, groups, detail, span)
    detail["mood"] = mood(element)
    site = cda.coded(first(groups, "targetSiteCode"))
    if site:
        detail["body_site"] = site
    if "participant" in groups:
        places = locations(groups)
        if places:
            detail["locations"] = places
    if "entryRelationship" in groups:
        why = reasons(cda, element)
        if why:
            detail["reasons"] = why
    if text and text != subject.name:
        detail.setdefault("text", text)
    return Item(
        kind=kind,
        codes=subject.codes,
        name=name_of_none(kind, subject, text) if judged is Standing.NONE_KNOWN else subject.name,
        start=span.low,
        end=span.high,
        value=value,
        unit=unit,
        status=status_code(element),
        negated=judged is Standing.NEGATED,
        none_known=judged is Standing.NONE_KNOWN,
        section=section,
        path=cda.path(element),
        ids=identifiers(groups.get("id")),
        text=subject.text,
        detail=detail,
    )
