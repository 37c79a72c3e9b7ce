"""What the header of a document says, line by line, as it stands above the document's sections."""

from collections.abc import Iterator
from dataclasses import dataclass

from records.clinical.care import read_header_encounter
from records.clinical.cda import Cda
from records.clinical.header import Header, encompassing_encounter, event_performers
from records.clinical.types import Party, PatientFacts
from records.clinical.xml import Element

CONFIDENTIAL = {"R": "restricted", "V": "very restricted"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the header: plain text, to be escaped where it is shown."""

    label: str
    value: str


def header_facts(cda: Cda, header: Header) -> Iterator[Fact]:
    """The lines of a CDA header (HL7 CDA R2 section 4.2)."""
    patient = header.patient
    if patient is not None:
        yield from patient_facts(patient)
    if header.date is not None:
        yield Fact("Date", header.date.iso)
    for author in header.authors:
        yield Fact("Author", on_a_line(author))
    if header.custodian is not None and (shown := on_a_line(header.custodian)):
        yield Fact("Kept by", shown)
    encounter = encompassing_encounter(cda.root)
    if encounter is not None:
        yield from _encounter_facts(cda, encounter)
    seen = set()
    for performer in event_performers(cda.root):
        line = on_a_line(cda.party(performer))
        if line and line not in seen:
            seen.add(line)
            yield Fact("Care team", line)
    for participant in header.participants:
        yield Fact("Other person", on_a_line(participant))
    level = CONFIDENTIAL.get(header.confidentiality.upper())
    if level:
        yield Fact("Confidentiality", level)


def patient_facts(patient: PatientFacts) -> Iterator[Fact]:
    """The lines about the patient."""
    if patient.name:
        yield Fact("Patient", patient.name)
    if patient.birth_date:
        yield Fact("Born", patient.birth_date)
    if patient.gender:
        yield Fact("Gender", patient.gender)
    for address in patient.addresses[:1]:
        yield Fact("Address", address.shown)
    for telecom in patient.telecoms[:2]:
        # "mailto://…" is how some write it.
        yield Fact("Telephone" if telecom.system == "phone" else "Contact", telecom.value.removeprefix("//"))


def _encounter_facts(cda: Cda, encounter: Element) -> Iterator[Fact]:
    item = read_header_encounter(cda, encounter)
    if item is not None:
        times = " to ".join(str(time) for time in (item.start, item.end) if time)
        places = ", ".join(item.detail.get("locations", ()))
        yield Fact("Encounter", ", ".join(part for part in (item.name, times, places) if part))


def on_a_line(party: Party) -> str:
    """Name, role and organization."""
    return ", ".join(part for part in (party.name, party.role, party.organization) if part)
