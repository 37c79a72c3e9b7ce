"""Kind by root and templates; item type by a true declaration, else by content."""

import pytest

from records.clinical.detect import Detected, detect, may_be_document
from tests.pure.clinical.documents import PATIENT, T, ccr, document

H = "2.16.840.1.113883.3.88.11."
CCDA = document()
C32 = document(templates=[(T + "1", ""), (H + "32.1", "")])
CCD = document(templates=[(T + "1", "")])
PLAIN = document(templates=[("1.3.6.1.4.1.19376.1.5.3.1.1.1", "")])
CCR = ccr("")


@pytest.mark.parametrize(
    ("data", "content_type", "kind", "item_type"),
    [
        (CCDA, None, "ccda", "CCD"),
        (CCDA, "text/xml; charset=utf-8", "ccda", "CCD"),
        (CCDA, "application/ccd-xml", "ccda", "CCD"),
        (CCDA, "APPLICATION/CDA+XML", "ccda", "CDA"),
        (CCDA, "application/ccr+xml", "ccda", "CCD"),
        (document(templates=[(T + "29.1", "2015-08-01")]), None, "ccda", "CCD"),
        (document(templates=[(T + "37.1.2", "")]), None, "ccda", "CCD"),
        (C32, None, "c32", "CCD"),
        (C32, "application/cda+xml", "c32", "CDA"),
        (document(templates=[(H + "32.1", "")]), "application/ccd-xml", "c32", "CCD"),
        (CCD, "text/xml", "ccd", "CCD"),
        (CCD, "application/cda+xml", "ccd", "CDA"),
        (PLAIN, None, "cda", "CDA"),
        (PLAIN, "application/ccd-xml", "cda", "CDA"),
        (PLAIN, "application/ccr+xml", "cda", "CDA"),
        (document(templates=[(T + "24.1.1", "")]), None, "cda", "CDA"),
        (document(templates=[]), None, "cda", "CDA"),
        (CCR, None, "ccr", "CCR"),
        (CCR, "application/ccr+xml", "ccr", "CCR"),
        (CCR, "application/ccr", "ccr", "CCR"),
        (CCR, "application/cda+xml", "ccr", "CCR"),
        (CCR, "application/ccd-xml", "ccr", "CCR"),
        (ccr("", prefix="ccr"), "application/octet-stream", "ccr", "CCR"),
        (CCDA.decode().replace("UTF-8", "UTF-16").encode("utf-16"), None, "ccda", "CCD"),
    ],
)
def test_kinds(data: bytes, content_type: str | None, kind: str, item_type: str) -> None:
    assert detect(data, content_type, "x.xml") == Detected(kind, item_type)  # type: ignore[arg-type]


def test_namespace_prefix() -> None:
    text = CCDA.decode().replace('xmlns="urn:hl7-org:v3"', 'xmlns:c="urn:hl7-org:v3"')
    for name in ("ClinicalDocument", "templateId", "id ", "code ", "title", "effectiveTime"):
        text = text.replace(f"<{name}", f"<c:{name}").replace(f"</{name}", f"</c:{name}")
    text = text.replace(PATIENT, "")
    text = text.replace("<component><structuredBody></structuredBody></component>", "")
    assert detect(text.encode()).kind == "ccda"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<html/>", "not_clinical"),
        (b'<ClinicalDocument xmlns="urn:other"/>', "not_clinical"),
        (b'<ContinuityOfCareRecord xmlns="urn:hl7-org:v3"/>', "not_clinical"),
        (b"<!DOCTYPE x><ClinicalDocument xmlns='urn:hl7-org:v3'/>", "has_doctype"),
        (CCDA[:-5], "not_well_formed"),
        (b"", "empty"),
        (b"hello", "not_xml"),
    ],
)
def test_files(data: bytes, code: str) -> None:
    found = detect(data, "application/ccd-xml", "ccd.xml")
    assert (found.kind, found.item_type, found.code) == (None, "File", code)
    assert found.detail


@pytest.mark.parametrize(
    ("content_type", "filename", "worth"),
    [
        ("text/xml", None, True),
        ("application/cda+xml", "x", True),
        ("application/octet-stream", "summary.CCDA", True),
        ("text/plain", "summary.xml", True),
        ("text/plain", "notes.txt", False),
        ("application/pdf", "x.xml", False),
        (None, "a.ccr", True),
    ],
)
def test_may_be_document(content_type: str | None, filename: str | None, worth: bool) -> None:
    assert may_be_document(content_type, filename) is worth
