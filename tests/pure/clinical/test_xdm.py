"""XDM packages: what we write others can read, and we read what others write."""

from __future__ import annotations

import hashlib
import io
import re
import uuid
import zipfile
from datetime import UTC, datetime, timedelta, timezone

import pytest
from lxml import etree

from records.clinical import archive, reader, xdm
from records.clinical.errors import ArchiveTooLarge
from records.clinical.types import Identifier, PatientFacts, PatientName
from records.clinical.xdm import PackagedDocument, packaged, write_xdm
from tests.pure.clinical.documents import document
from tests.pure.clinical.test_archive import described, metadata, slot, zipped

SUMMARY = document(title="Summary &amp; more")
AT = datetime(2026, 3, 4, 22, 30, tzinfo=timezone(timedelta(hours=-5)))
PACKAGE = uuid.UUID("00000000-0000-4000-8000-00000000002a")
FOLDER = "IHE_XDM/SUBSET01/"
DOS_NAME = re.compile(r"[A-Z0-9_]{1,8}(\.[A-Z0-9]{1,3})?")


def written(*documents: PackagedDocument, **changes: object) -> bytes:
    arguments: dict[str, object] = {
        "sender": "oak@portal.example",
        "recipients": ["nurse@clinic.example", "desk@home.example"],
        "at": AT,
        "package_id": PACKAGE,
        "author": "Ana | Díaz",
        "title": "Für die Praxis",
    }
    some = documents or (packaged(SUMMARY, "text/xml", summary=reader.read(SUMMARY, "text/xml")),)
    return write_xdm(some, **{**arguments, **changes})  # type: ignore[arg-type]


def entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        return {info.filename: opened.read(info) for info in opened.infolist()}


def test_the_layout_that_validators_ask_for() -> None:
    pdf = PackagedDocument(b"%PDF-1.4", "application/pdf", "Letter")
    data = written(packaged(SUMMARY, "application/cda+xml"), pdf)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        infos = opened.infolist()
    assert [info.filename for info in infos] == [
        "INDEX.HTM", "README.TXT", "IHE_XDM/", FOLDER, FOLDER + "METADATA.XML",
        FOLDER + "DOC00001.XML", FOLDER + "DOC00002.PDF",
    ]  # fmt: skip
    for info in infos:
        assert all(DOS_NAME.fullmatch(step) for step in info.filename.rstrip("/").split("/"))
        assert info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        assert info.date_time == (2026, 3, 5, 3, 30, 0)
    assert written(packaged(SUMMARY, "application/cda+xml"), pdf) == data


def texts(root: etree._Element, path: str) -> list[str]:
    found = root.xpath(path, namespaces={"r": xdm.RIM})
    assert isinstance(found, list)
    return [str(each) for each in found]


def test_hash_and_size_are_those_of_the_bytes() -> None:
    root = etree.fromstring(entries(written())[FOLDER + "METADATA.XML"])
    slots = "//r:ExtrinsicObject/r:Slot[@name='{}']//r:Value/text()"
    assert texts(root, slots.format("hash")) == [hashlib.sha1(SUMMARY).hexdigest()]
    assert texts(root, slots.format("size")) == [str(len(SUMMARY))]
    assert texts(root, slots.format("URI")) == ["DOC00001.XML"]
    recipients = "//r:Slot[@name='intendedRecipient']//r:Value/text()"
    assert texts(root, recipients) == [
        "||^^Internet^nurse@clinic.example",
        "||^^Internet^desk@home.example",
    ]


def test_objects_refer_to_objects_that_are_there() -> None:
    root = etree.fromstring(entries(written())[FOLDER + "METADATA.XML"])
    ids = texts(root, "//@id")
    assert len(ids) == len(set(ids)) > 8
    for name in ("classifiedObject", "registryObject", "sourceObject", "targetObject"):
        assert set(texts(root, f"//@{name}")) <= set(ids)
        assert texts(root, f"//@{name}")


def test_the_page_for_people_is_well_formed() -> None:
    page = entries(written(title="a < b & c"))["INDEX.HTM"]
    root = etree.fromstring(page)
    assert root.tag == "{http://www.w3.org/1999/xhtml}html"
    assert texts(root, "//@href") == [FOLDER + "DOC00001.XML", "README.TXT"]
    assert b"a &lt; b &amp; c" in page
    assert page.count(b"\n") == page.count(b"\r\n")


def test_what_we_write_we_read() -> None:
    package = archive.read_package(written())
    (found,) = package.documents
    summary = reader.read(SUMMARY, "text/xml")
    assert (found.data, found.title, found.intact) == (SUMMARY, "Summary & more", True)
    assert summary.document_id is not None
    assert found.unique_id.startswith(summary.document_id.root)
    assert found.format_code.startswith("urn:hl7-org:sdwg:ccda-structuredBody:")
    assert found.patient["PID-5"].startswith(summary.patient.names[0].family)  # type: ignore[union-attr]
    assert found.authors == tuple(each.name for each in summary.authors if each.name)
    submission = package.submission
    assert submission is not None
    assert (submission.title, submission.author) == ("Für die Praxis", "Ana Díaz")
    assert (submission.author_address, submission.time) == ("oak@portal.example", "20260305033000")
    assert submission.unique_id == f"2.25.{PACKAGE.int}"


def test_what_is_not_known_is_not_made_up() -> None:
    data = written(PackagedDocument(b"x", "image/png"), author="", title="")
    text = entries(data)[FOLDER + "METADATA.XML"].decode()
    for name in ("sourcePatient", "creationTime", "languageCode", "authorPerson", "patientId"):
        assert name not in text
    assert archive.read_package(data).documents[0].content_type == "image/png"


def test_hostile_words_stay_words() -> None:
    patient = PatientFacts(
        name="x", names=(PatientName(family="O^Neill|\n", given=("A&B", "\x01C")),), gender="female",
        ids=(Identifier("not.an.oid", "1"), Identifier("1.2.3", "9|9")), birth_date="1980-02",
    )  # fmt: skip
    one = PackagedDocument(SUMMARY, "text/xml", '<a>\x00 & "b" \ud800', patient=patient)
    (found,) = archive.read_package(written(one)).documents
    assert found.title == '<a> & "b" '
    assert found.source_patient == "9 9^^^&1.2.3&ISO"
    assert found.patient == {
        "PID-3": "9 9^^^&1.2.3&ISO", "PID-5": "O Neill^A B^C", "PID-7": "198002", "PID-8": "F",
    }  # fmt: skip


def test_what_cannot_be_packaged() -> None:
    with pytest.raises(ValueError, match="1 to"):
        write_xdm([], sender="a@b.example", recipients=[], at=AT, package_id=PACKAGE)
    with pytest.raises(ValueError, match="aware"):
        written(at=datetime(2026, 1, 1))
    old = written(at=datetime(1970, 1, 1, tzinfo=UTC))
    assert archive.read_package(old).documents


# --- packages of others ---------------------------------------------------------------------------------


def without(name: str, text: str) -> str:
    return re.sub(rf'<Slot name="{name}">.*?</Slot>', "", text)


def package(*files: tuple[str, bytes], **about: str) -> bytes:
    return zipped((about.get("path", FOLDER + "METADATA.XML"), about["metadata"].encode()), *files)


OTHER = document(title="Another one altogether")
BOTH = metadata(described("A.XML", SUMMARY), described("B.XML", OTHER)).decode()
TOLERATED = {
    "lower-case names": package(
        ("ihe_xdm/subset01/a.xml", SUMMARY), ("ihe_xdm/subset01/b.xml", OTHER),
        path="ihe_xdm/subset01/metadata.xml", metadata=BOTH,
    ),
    "an extra top folder": package(
        (f"sent/{FOLDER}A.XML", SUMMARY), (f"sent/{FOLDER}B.XML", OTHER),
        path=f"sent/{FOLDER}METADATA.XML", metadata=BOTH,
    ),
    "flattened": package(
        ("SUBSET01A.XML", SUMMARY), ("SUBSET01B.XML", OTHER), path="SUBSET01METADATA.xml", metadata=BOTH
    ),
    "litter": package(
        (FOLDER + "A.XML", SUMMARY), (FOLDER + "B.XML", OTHER), (FOLDER + ".DS_Store", b"\0"),
        ("__MACOSX/IHE_XDM/SUBSET01/._A.XML", b"\0"), (FOLDER + "CDA.XSL", b"<x/>"), metadata=BOTH,
    ),
    "no URI": package(
        (FOLDER + "X.XML", OTHER), (FOLDER + "Y.XML", SUMMARY), metadata=without("URI", BOTH)
    ),
    "no URI and no hash": package(
        (FOLDER + "X.XML", OTHER), (FOLDER + "Y.XML", SUMMARY),
        metadata=without("hash", without("URI", BOTH)),
    ),
    "no size": package(
        (FOLDER + "A.XML", SUMMARY), (FOLDER + "B.XML", OTHER), metadata=without("size", BOTH)
    ),
    "a URI from the root": package(
        (FOLDER + "A.XML", SUMMARY), (FOLDER + "B.XML", OTHER),
        metadata=BOTH.replace(">A.XML<", f">{FOLDER}A.XML<"),
    ),
    "another XML type": package(
        (FOLDER + "A.XML", SUMMARY), (FOLDER + "B.XML", OTHER),
        metadata=BOTH.replace('"text/xml"', '"application/xml"'),
    ),
    "a broken index": package(
        ("INDEX.HTM", b"<html><p>"), (FOLDER + "A.XML", SUMMARY), (FOLDER + "B.XML", OTHER), metadata=BOTH
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLERATED)
@pytest.mark.parametrize("kind", ["zip", "x-zip-compressed", "octet-stream"])
def test_packages_as_they_come(name: str, kind: str) -> None:
    data = TOLERATED[name]
    assert archive.may_be_archive(f"application/{kind}", "care.zip", data)
    found = archive.read_package(data)
    assert [each.data for each in found.documents] == [SUMMARY, OTHER]
    assert {each.title for each in found.documents} == {"Summary of care"}


def test_a_wrong_hash_is_a_warning_and_no_refusal() -> None:
    data = package(
        (FOLDER + "A.XML", SUMMARY), metadata=metadata(described("A.XML", SUMMARY, digest="0" * 40)).decode()
    )
    (found,) = archive.read_package(data).documents
    assert (found.data, found.intact) == (SUMMARY, False)


def test_two_files_of_one_size_are_not_guessed_at() -> None:
    one = without("hash", without("URI", described("A.XML", SUMMARY)))
    same_size = b"y" * len(SUMMARY)
    data = package((FOLDER + "X", SUMMARY), (FOLDER + "Y", same_size), metadata=metadata(one).decode())
    assert archive.read_package(data).submission is None


def test_a_package_keeps_the_limits_of_archives() -> None:
    with pytest.raises(ArchiveTooLarge):
        archive.read_package(written(), archive.ArchiveLimits(unpacked=100))


def test_the_submission_set_of_another_system() -> None:
    author = (
        f'<Classification classificationScheme="{xdm.SET_AUTHOR}" nodeRepresentation="">'
        f"{slot('authorPerson', '12^Joy^Nina^R^^Dr.')}"
        f"{slot('authorTelecommunication', '^^Internet^joy@clinic.example')}</Classification>"
    )
    whole = metadata(
        described("A.XML", SUMMARY),
        f'<RegistryPackage id="s">{slot("submissionTime", "20240102")}'
        f'<Name><LocalizedString value="Discharge"/></Name>{author}</RegistryPackage>',
    ).decode()
    found = archive.read_package(package((FOLDER + "A.XML", SUMMARY), metadata=whole)).submission
    assert found is not None
    assert (found.title, found.time) == ("Discharge", "20240102")
    assert (found.author, found.author_address) == ("Dr. Nina R Joy", "joy@clinic.example")
