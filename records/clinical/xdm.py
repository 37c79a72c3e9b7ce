"""Writing XDM packages (IHE ITI TF-2 section 3.32, XDR and XDM for Direct Messaging 1.0).

A package is a zip of documents, each described in ebXML registry terms, with a page for people beside them.
What stands in the metadata is what the caller knows; nothing is made up, and what is unknown is left out, as
the minimal metadata of Direct allow. The same arguments give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final
from uuid import UUID, uuid5

from lxml import etree

from records.clinical.types import ClinicalSummary, PatientFacts

CONTENT_TYPE: Final = "application/zip"
MAX_DOCUMENTS: Final = 500

RIM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
_LCM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
_APPROVED: Final = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
_HAS_MEMBER: Final = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
_STABLE_DOCUMENT: Final = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
_SUBMISSION_SET: Final = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"

# Classification schemes and identifier schemes (IHE ITI TF-3 section 4.2.5).
DOCUMENT_AUTHOR: Final = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
CLASS_CODE: Final = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
CONFIDENTIALITY: Final = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
FORMAT_CODE: Final = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
TYPE_CODE: Final = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
DOCUMENT_PATIENT: Final = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
DOCUMENT_ID: Final = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
SET_AUTHOR: Final = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
SET_CONTENT_TYPE: Final = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
SET_PATIENT: Final = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
SET_ID: Final = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
SET_SOURCE: Final = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"

_LOINC: Final = "2.16.840.1.113883.6.1"
_LOINC_URI: Final = "http://loinc.org"
_CONFIDENTIALITY_CODES: Final = "2.16.840.1.113883.5.25"
_FORMAT_CODES: Final = "1.3.6.1.4.1.19376.1.2.3"
_ANY_FORMAT: Final = "urn:ihe:iti:xds:2017:mimeTypeSufficient"
_CONFIDENTIALITY_NAMES: Final = {"N": "Normal", "R": "Restricted", "V": "Very restricted"}
_GENDERS: Final = {"male": "M", "female": "F", "other": "O", "unknown": "U"}

_FOLDER: Final = "IHE_XDM/SUBSET01/"
_ENDINGS: Final = {
    "application/pdf": "PDF",
    "application/zip": "ZIP",
    "image/jpeg": "JPG",
    "image/png": "PNG",
    "image/tiff": "TIF",
    "text/html": "HTM",
    "text/plain": "TXT",
}
_FIRST_ZIP_YEAR: Final = 1980
_DIRECTORY: Final = 0x10  # MS-DOS attribute
#: Characters that separate fields, components and repetitions in HL7 version 2 values.
_HL7_MARKS: Final = str.maketrans(dict.fromkeys("|^~\\&\r\n", " "))


@dataclass(frozen=True, slots=True)
class PackagedDocument:
    """One document to be packaged, and what is known about it; unknown things are empty.

    `content_type` is "type/subtype". `created` is aware, or a prefix of YYYYMMDDhhmmss. `document_id` as the
    document itself has it ("root^extension", or an OID). `type_code` and `type_name` are LOINC.
    """

    data: bytes
    content_type: str
    title: str = ""
    created: datetime | str = ""
    document_id: str = ""
    type_code: str = ""
    type_name: str = ""
    format_code: str = ""
    confidentiality: str = "N"
    language: str = ""
    authors: tuple[str, ...] = ()
    institution: str = ""
    patient: PatientFacts | None = None


def packaged(
    data: bytes, content_type: str, title: str = "", summary: ClinicalSummary | None = None
) -> PackagedDocument:
    """A document with the metadata that its own header gives, where it is a clinical one."""
    if summary is None:
        return PackagedDocument(data, content_type, title)
    loinc = next((code for code in summary.code.codes if code.system == _LOINC_URI), None)
    known = summary.document_id
    extension = f"^{known.extension}" if known and known.extension else ""
    return PackagedDocument(
        data,
        content_type,
        summary.title or title,
        created="".join(each for each in (summary.date.iso[:19] if summary.date else "") if each.isdigit()),
        document_id=f"{known.root}{extension}" if known else "",
        type_code=loinc.code if loinc else "",
        type_name=(loinc.display if loinc else "") or summary.code.name,
        format_code=_format_of(summary),
        confidentiality=summary.confidentiality or "N",
        language=summary.language,
        authors=tuple(party.name for party in summary.authors if party.name),
        institution=summary.custodian.organization if summary.custodian else "",
        patient=summary.patient,
    )


def _format_of(summary: ClinicalSummary) -> str:
    if summary.kind != "ccda":
        return ""
    body = "nonXMLBody" if summary.body is not None else "structuredBody"
    return f"urn:hl7-org:sdwg:ccda-{body}:{'2.1' if summary.release else '1.1'}"


def write_xdm(
    documents: Sequence[PackagedDocument],
    *,
    sender: str,
    recipients: Iterable[str],
    at: datetime,
    package_id: UUID,
    author: str = "",
    title: str = "",
) -> bytes:
    """The zip of a package with one submission set.

    `sender` and `recipients` are Direct addresses, `author` the name of the person who sends, `at` (aware)
    the time of the submission, `package_id` what all identifiers are derived from, since symbolic ones are
    not unique across messages. Raises ValueError without a document, for more than MAX_DOCUMENTS, or a
    naive `at`.
    """
    if not 0 < len(documents) <= MAX_DOCUMENTS:
        raise ValueError(f"a package holds 1 to {MAX_DOCUMENTS} documents")
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    names = [f"DOC{number:05}.{_ending(each)}" for number, each in enumerate(documents, 1)]
    metadata = _Metadata(package_id, sender, at).write(documents, names, list(recipients), author, title)
    entries: list[tuple[str, bytes]] = [
        ("INDEX.HTM", _index(documents, names, sender, author, title)),
        ("README.TXT", _readme(sender, author)),
        # Readers of removable media look for the folders themselves, not only for the files in them.
        ("IHE_XDM/", b""),
        (_FOLDER, b""),
        (_FOLDER + "METADATA.XML", metadata),
    ]
    entries += [(_FOLDER + name, each.data) for name, each in zip(names, documents, strict=True)]
    return _zipped(entries, at)


def _ending(document: PackagedDocument) -> str:
    kind = document.content_type.partition(";")[0].strip().lower()
    is_xml = kind.endswith(("/xml", "+xml", "-xml")) or kind == "application/ccr"
    return "XML" if is_xml else _ENDINGS.get(kind, "BIN")


def _zipped(entries: Iterable[tuple[str, bytes]], at: datetime) -> bytes:
    moment = at.astimezone(UTC)
    stamp = (max(moment.year, _FIRST_ZIP_YEAR), *moment.timetuple()[1:6])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name, stamp)
            info.create_system = 0  # MS-DOS: names and attributes mean the same everywhere
            is_folder = name.endswith("/")
            info.external_attr = _DIRECTORY if is_folder else 0
            info.compress_type = zipfile.ZIP_STORED if is_folder else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


# --- metadata -------------------------------------------------------------------------------------------


class _Metadata:
    """METADATA.XML of one package: the elements of an ebXML SubmitObjectsRequest, ids numbered in order."""

    def __init__(self, package_id: UUID, sender: str, at: datetime) -> None:
        self.package_id = package_id
        self.sender = sender
        self.at = at
        self.root = etree.Element(f"{{{_LCM}}}SubmitObjectsRequest", nsmap={None: RIM, "lcm": _LCM})  # type: ignore[dict-item]
        self.objects = etree.SubElement(self.root, f"{{{RIM}}}RegistryObjectList")
        self.turn = 0

    def write(
        self,
        documents: Sequence[PackagedDocument],
        names: Sequence[str],
        recipients: Sequence[str],
        author: str,
        title: str,
    ) -> bytes:
        for number, (document, name) in enumerate(zip(documents, names, strict=True), 1):
            self._document(f"Document{number:02}", document, name)
        self._submission(documents, recipients, author, title)
        for number in range(1, len(documents) + 1):
            self._member(f"Document{number:02}")
        encoded: bytes = etree.tostring(self.root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
        return encoded

    def _document(self, name: str, document: PackagedDocument, uri: str) -> None:
        one = self._add(self.objects, "ExtrinsicObject", id=name, mimeType=document.content_type)
        one.set("objectType", _STABLE_DOCUMENT)
        one.set("status", _APPROVED)
        self._slot(one, "creationTime", _stamp(document.created))
        # SHA-1 is the digest of the profile: it tells damage on the way, not an attack.
        self._slot(one, "hash", hashlib.sha1(document.data, usedforsecurity=False).hexdigest())
        self._slot(one, "languageCode", document.language)
        patient = document.patient
        identifier = _patient_identifier(patient)
        self._slot(one, "sourcePatientId", identifier)
        self._slot(one, "sourcePatientInfo", *_patient_info(patient, identifier))
        self._slot(one, "size", str(len(document.data)))
        self._slot(one, "URI", uri)
        self._name(one, document.title)
        if document.authors or document.institution:
            slots = [("authorPerson", _person(each)) for each in document.authors]
            self._author(one, DOCUMENT_AUTHOR, [*slots, ("authorInstitution", _hl7(document.institution))])
        if document.type_code:
            self._code(one, CLASS_CODE, document.type_code, document.type_name, _LOINC)
        confidentiality = document.confidentiality
        self._code(
            one,
            CONFIDENTIALITY,
            confidentiality,
            _CONFIDENTIALITY_NAMES.get(confidentiality, confidentiality),
            _CONFIDENTIALITY_CODES,
        )
        self._code(one, FORMAT_CODE, document.format_code or _ANY_FORMAT, "", _FORMAT_CODES)
        if document.type_code:
            self._code(one, TYPE_CODE, document.type_code, document.type_name, _LOINC)
        if identifier:
            self._identifier(one, DOCUMENT_PATIENT, "XDSDocumentEntry.patientId", identifier)
        unique = document.document_id or _oid(uuid5(self.package_id, name))
        self._identifier(one, DOCUMENT_ID, "XDSDocumentEntry.uniqueId", unique)

    def _submission(
        self,
        documents: Sequence[PackagedDocument],
        recipients: Sequence[str],
        author: str,
        title: str,
    ) -> None:
        one = self._add(self.objects, "RegistryPackage", id="SubmissionSet01", status=_APPROVED)
        self._slot(one, "submissionTime", _stamp(self.at))
        self._slot(one, "intendedRecipient", *[f"||^^Internet^{_hl7(each)}" for each in recipients])
        self._name(one, title)
        telecom = ("authorTelecommunication", f"^^Internet^{_hl7(self.sender)}")
        self._author(one, SET_AUTHOR, [("authorPerson", _person(author)), telecom])
        typed = next((each for each in documents if each.type_code), None)
        if typed:
            self._code(one, SET_CONTENT_TYPE, typed.type_code, typed.type_name, _LOINC)
        identifier = next(filter(None, (_patient_identifier(each.patient) for each in documents)), "")
        if identifier:
            self._identifier(one, SET_PATIENT, "XDSSubmissionSet.patientId", identifier)
        source = uuid5(_NAMESPACE, self.sender.rpartition("@")[2].lower())
        self._identifier(one, SET_SOURCE, "XDSSubmissionSet.sourceId", _oid(source))
        self._identifier(one, SET_ID, "XDSSubmissionSet.uniqueId", _oid(self.package_id))
        self._add(
            self.objects,
            "Classification",
            id=self._id(),
            classifiedObject="SubmissionSet01",
            classificationNode=_SUBMISSION_SET,
        )

    def _member(self, name: str) -> None:
        link = self._add(self.objects, "Association", id=self._id(), associationType=_HAS_MEMBER)
        link.set("sourceObject", "SubmissionSet01")
        link.set("targetObject", name)
        self._slot(link, "SubmissionSetStatus", "Original")

    def _id(self) -> str:
        self.turn += 1
        return f"urn:uuid:{uuid5(self.package_id, f'object {self.turn}')}"

    @staticmethod
    def _add(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
        return etree.SubElement(parent, f"{{{RIM}}}{tag}", attributes)

    def _slot(self, parent: etree._Element, name: str, *values: str) -> None:
        if not any(values):
            return
        slot = self._add(parent, "Slot", name=name)
        held = self._add(slot, "ValueList")
        for value in filter(None, values):
            self._add(held, "Value").text = _xml_text(value)

    def _name(self, parent: etree._Element, text: str) -> None:
        if text:
            name = self._add(parent, "Name")
            self._add(name, "LocalizedString", value=_xml_text(text))

    def _author(self, parent: etree._Element, scheme: str, slots: Sequence[tuple[str, str]]) -> None:
        one = self._classification(parent, scheme, "")
        for name in dict.fromkeys(name for name, _ in slots):
            self._slot(one, name, *[value for each, value in slots if each == name])

    def _code(self, parent: etree._Element, scheme: str, code: str, name: str, system: str) -> None:
        one = self._classification(parent, scheme, _xml_text(code))
        self._slot(one, "codingScheme", system)
        self._name(one, name or code)

    def _classification(self, parent: etree._Element, scheme: str, node: str) -> etree._Element:
        return self._add(
            parent,
            "Classification",
            id=self._id(),
            classificationScheme=scheme,
            classifiedObject=parent.get("id") or "",
            nodeRepresentation=node,
        )

    def _identifier(self, parent: etree._Element, scheme: str, name: str, value: str) -> None:
        one = self._add(
            parent,
            "ExternalIdentifier",
            id=self._id(),
            registryObject=parent.get("id") or "",
            identificationScheme=scheme,
            value=_xml_text(value),
        )
        self._name(one, name)


#: Sources are named after their Direct domain, in a name space that is this software's own.
_NAMESPACE: Final = UUID("0f6f2d0c-5b7e-5a43-9d3b-6f3f0f1c2a77")


def _oid(name: UUID) -> str:
    """An object identifier of a UUID (ITU-T X.667 section 7)."""
    return f"2.25.{name.int}"


def _stamp(moment: datetime | str) -> str:
    """DTM of HL7 version 2, in UTC."""
    return moment if isinstance(moment, str) else moment.astimezone(UTC).strftime("%Y%m%d%H%M%S")


def _hl7(text: str) -> str:
    return " ".join(text.translate(_HL7_MARKS).split())


def _xml_text(text: str) -> str:
    """`text` without the characters that XML 1.0 cannot hold."""
    return "".join(
        each
        for each in text
        if each in "\t\n\r" or "\x20" <= each <= "\ud7ff" or "\ue000" <= each <= "\ufffd" or each > "\uffff"
    )


def _person(name: str) -> str:
    """XCN of a name that comes on one line: as the family name, which receivers show whole."""
    return f"^{_hl7(name)}" if _hl7(name) else ""


def _patient_identifier(patient: PatientFacts | None) -> str:
    """CX of the first identifier that an OID qualifies."""
    for each in patient.ids if patient else ():
        if each.extension and each.root.replace(".", "").isdigit():
            return f"{_hl7(each.extension)}^^^&{each.root}&ISO"
    return ""


def _patient_info(patient: PatientFacts | None, identifier: str) -> list[str]:
    """PID-3, 5, 7 and 8, as far as they are known."""
    if patient is None:
        return []
    found = [f"PID-3|{identifier}"] if identifier else []
    if patient.names and patient.names[0].family:
        name = patient.names[0]
        found.append(
            f"PID-5|{_hl7(name.family)}^{_hl7(' '.join(name.given[:1]))}^{_hl7(' '.join(name.given[1:]))}"
        )
    elif patient.name:
        found.append(f"PID-5|{_hl7(patient.name)}")
    if patient.birth_date:
        found.append(f"PID-7|{patient.birth_date[:10].replace('-', '')}")
    if patient.gender in _GENDERS:
        found.append(f"PID-8|{_GENDERS[patient.gender]}")
    return found


# --- for people -----------------------------------------------------------------------------------------

_PAGE: Final = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
<head>
<meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
<title>{title}</title>
</head>
<body>
<h1>{title}</h1>
<p>Sent by {sender}.</p>
<ul>
{rows}
</ul>
<p><a href="README.TXT">About this package</a></p>
</body>
</html>
"""


def _index(
    documents: Sequence[PackagedDocument], names: Sequence[str], sender: str, author: str, title: str
) -> bytes:
    rows = [
        f'<li><a href="{_FOLDER}{name}">{escape(_xml_text(each.title) or name)}</a>'
        f" ({escape(each.content_type)}, {len(each.data)} octets)</li>"
        for name, each in zip(names, documents, strict=True)
    ]
    shown = f"{author}, {sender}" if author else sender
    page = _PAGE.format(
        title=escape(_xml_text(title) or "Health documents"),
        sender=escape(_xml_text(shown)),
        rows="\n".join(rows),
    )
    return page.replace("\n", "\r\n").encode("utf-8")


def _readme(sender: str, author: str) -> bytes:
    lines = [
        "This is a package of health documents in the form IHE XDM.",
        "",
        "INDEX.HTM lists the documents; open it in a web browser.",
        "The documents are in the folder IHE_XDM/SUBSET01, and METADATA.XML",
        "there describes them for programs.",
        "",
        f"Sender: {author} {sender}" if author else f"Sender: {sender}",
        "",
    ]
    return "\r\n".join(lines).encode("ascii", "replace")
