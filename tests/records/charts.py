"""Clinical documents of one invented person, and the short way of one into a record."""

from __future__ import annotations

import base64

from records import filing, overview
from records.intake import IncomingMessage, store_parts
from records.models import Document, Entry, Import, Message, Record
from tests.documents import CDA_TYPE
from tests.pure.clinical import documents as cda

PROBLEMS, ALLERGIES, MEDICINES, VITALS = "11450-4", "48765-2", "10160-0", "8716-3"


def chart(name: str, date: str, *sections: str, of: str = "", version: int = 0, replaces: str = "") -> bytes:
    """A document with the id extension `name`, dated `date` (HL7 form)."""
    head = f'<setId root="1.2" extension="{of}"/><versionNumber value="{version}"/>' if version else ""
    if replaces:
        head += (
            '<relatedDocument typeCode="RPLC"><parentDocument><id root="2.16.840.1.113883.19.5" '
            f'extension="{replaces}"/></parentDocument></relatedDocument>'
        )
    made = cda.document(*sections, after=head)
    made = made.replace(b'extension="DOC-1"', f'extension="{name}"'.encode(), 1)
    return made.replace(b"20240516093000-0700", date.encode(), 1)


def problem(
    code: str,
    name: str,
    *,
    start: str = "20190302",
    end: str = "",
    identity: str = "",
    status: str = "active",
) -> str:
    """One problem; `identity` is the extension of its id."""
    return cda.problem(
        cda.code(code, name, tag="value", kind="CD"),
        times=f'<low value="{start}"/>' + (f'<high value="{end}"/>' if end else ""),
        identity=f'<id root="1.2.3" extension="{identity}"/>' if identity else "",
        act_status=status,
    )


def pressure(value: str, time: str, identity: str = "") -> str:
    """One systolic blood pressure."""
    found = f'<id root="1.2.3" extension="{identity}"/>' if identity else ""
    coded = found + cda.code("8480-6", "Systolic blood pressure", cda.LOINC)
    return cda.panel(
        cda.observation(
            coded,
            f'<value xsi:type="PQ" value="{value}" unit="mm[Hg]"/>',
            time=f'<effectiveTime value="{time}"/>',
        )
    )


def problems(*found: str) -> str:
    """The section of problems."""
    return cda.section(PROBLEMS, "".join(found), title="Problems")


def vitals(*found: str) -> str:
    """The section of vital signs."""
    return cda.section(VITALS, "".join(found), title="Vital signs")


def allergies(*agents: tuple[str, str]) -> str:
    """The section of allergies, from codes and names."""
    found = "".join(cda.allergy(cda.code(code, name, cda.RXNORM)) for code, name in agents)
    return cda.section(ALLERGIES, found, title="Allergies")


def no_known_allergies() -> str:
    """ "No known allergies", as a negated allergy to a substance."""
    return cda.section(
        ALLERGIES,
        cda.allergy('<code nullFlavor="NA"/>', attributes='negationInd="true"'),
        title="Allergies",
    )


def scanned(name: str, date: str, content: bytes) -> bytes:
    """A document whose body is a PDF."""
    body = base64.b64encode(content).decode()
    text = f'<text mediaType="application/pdf" representation="B64">{body}</text>'
    return chart(name, date).replace(
        b"<structuredBody></structuredBody>", f"<nonXMLBody>{text}</nonXMLBody>".encode()
    )


def send(record: Record, data: bytes, sender: str = "records@clinic.example") -> Document:
    """A message with one document comes in; the document is not read yet."""
    parts = store_parts(record.holder, [("chart.xml", CDA_TYPE, data)])
    incoming = IncomingMessage(from_address=sender, subject="Chart", text="Please see.", parts=parts)
    message: Message = filing.file_message(record, incoming, patient_confirmed=True)
    return Document.objects.get(attachment__message=message)


def bring(record: Record, data: bytes, sender: str = "records@clinic.example") -> Import:
    """A message with one document comes in, and is read."""
    document = send(record, data, sender)
    assert filing.read_document(str(document.pk)) == Document.State.READ
    return Import.objects.select_related("record__holder", "document").get(document=document)


def shown(record: Record, kind: str) -> list[dict[str, object]]:
    """The items of a kind as the record shows them."""
    groups = overview.groups(record, record.entries.filter(state="active"))
    return [fact.content for group in groups if group.kind == kind for fact in group.facts]


def only(record: Record, kind: str) -> Entry:
    """The one item of a kind in the record."""
    return Entry.objects.select_related("record__holder").get(record=record, kind=kind, state="active")
