"""Which kind of clinical document some bytes are.

The root element and its templates decide the kind. The declared type decides the item type where it is true,
and is overruled where it is false.
"""

from dataclasses import dataclass

from records.clinical import xml
from records.clinical.errors import ClinicalError, UnsupportedDocument
from records.clinical.types import DocumentKind, ItemType

CDA_NAMESPACE = "urn:hl7-org:v3"
CCR_NAMESPACE = "urn:astm-org:CCR"
_CDA_ROOT = f"{{{CDA_NAMESPACE}}}ClinicalDocument"
_CCR_ROOT = f"{{{CCR_NAMESPACE}}}ContinuityOfCareRecord"
_TEMPLATE = f"{{{CDA_NAMESPACE}}}templateId"

_CCDA_TEMPLATES = (
    "2.16.840.1.113883.10.20.22.1.",
    "2.16.840.1.113883.10.20.29.1",
    "2.16.840.1.113883.10.20.37.1.",
)
_HITSP = "2.16.840.1.113883.3.88.11."
_CCD_R1 = "2.16.840.1.113883.10.20.1"

_BY_CONTENT: dict[DocumentKind, ItemType] = {
    "ccda": "CCD",
    "c32": "CCD",
    "ccd": "CCD",
    "cda": "CDA",
    "ccr": "CCR",
}
_DECLARED: dict[str, tuple[ItemType, tuple[DocumentKind, ...]]] = {
    "application/cda+xml": ("CDA", ("ccda", "c32", "ccd", "cda")),
    "text/cda+xml": ("CDA", ("ccda", "c32", "ccd", "cda")),
    "application/ccd-xml": ("CCD", ("ccda", "c32", "ccd")),
    "application/ccd+xml": ("CCD", ("ccda", "c32", "ccd")),
    "application/ccr+xml": ("CCR", ("ccr",)),
    "application/ccr": ("CCR", ("ccr",)),
}
_XML_TYPES = frozenset({"text/xml", "application/xml", *_DECLARED})
_UNSURE_TYPES = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream"})
_ENDINGS = (".xml", ".ccd", ".ccda", ".cda", ".ccr")


@dataclass(frozen=True, slots=True)
class Detected:
    """Kind of a document, and what it is kept as. Without a kind, ``code`` and ``detail`` say why."""

    kind: DocumentKind | None
    item_type: ItemType
    code: str = ""
    detail: str = ""


def detect(data: bytes, content_type: str | None = None, filename: str | None = None) -> Detected:
    """Tell what some bytes are; never raises on what they hold.

    :param data: the bytes of an attachment or upload.
    :param content_type: the declared type, parameters allowed.
    :param filename: the declared name; it never decides a kind.
    :returns: a kind and an item type; kind None and item type ``File`` when it is no clinical document.
    """
    try:
        return detect_root(xml.parse(data), content_type)
    except ClinicalError as error:
        return Detected(None, "File", error.code, error.detail)


def may_be_document(content_type: str | None, filename: str | None) -> bool:
    """Whether type and name leave room for a clinical document, so that looking inside is worth it."""
    declared = media_type(content_type)
    if declared in _XML_TYPES or declared.endswith("+xml"):
        return True
    return declared in _UNSURE_TYPES and (filename or "").lower().endswith(_ENDINGS)


def detect_root(root: xml.Element, content_type: str | None = None) -> Detected:
    """:func:`detect` on a parsed document.

    :raises UnsupportedDocument: when the root is that of no clinical document.
    """
    kind = _kind(root)
    declared = _DECLARED.get(media_type(content_type))
    if declared and kind in declared[1]:
        return Detected(kind, declared[0])
    return Detected(kind, _BY_CONTENT[kind])


def media_type(content_type: str | None) -> str:
    """The bare, lower-case media type of a Content-Type value."""
    return (content_type or "").partition(";")[0].strip().lower()


def _kind(root: xml.Element) -> DocumentKind:
    if root.tag == _CCR_ROOT:
        return "ccr"
    if root.tag != _CDA_ROOT:
        raise UnsupportedDocument("XML, but no clinical document")
    templates = [(element.get("root") or "").strip() for element in root.iterchildren(_TEMPLATE)]
    if any(template.startswith(_CCDA_TEMPLATES) for template in templates):
        return "ccda"
    if any(template.startswith(_HITSP) for template in templates):
        return "c32"
    return "ccd" if _CCD_R1 in templates else "cda"
