"""Zip and XDM packages: what is inside, and what is refused."""

import hashlib
import io
import stat
import struct
import zipfile

import pytest

from records.clinical import archive
from records.clinical.archive import ArchiveLimits
from records.clinical.errors import (
    ArchiveTooLarge,
    BadArchive,
    EncryptedArchive,
    NotArchive,
    UnsafeArchive,
)
from tests.pure.clinical.documents import document

DOCUMENT = document()
RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, data in files:
            made.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def slot(name: str, *values: str) -> str:
    inner = "".join(f"<Value>{value}</Value>" for value in values)
    return f'<Slot name="{name}"><ValueList>{inner}</ValueList></Slot>'


def metadata(*objects: str) -> bytes:
    return (
        f'<SubmitObjectsRequest xmlns="urn:x"><RegistryObjectList xmlns="{RIM}">{"".join(objects)}'
        "</RegistryObjectList></SubmitObjectsRequest>"
    ).encode()


def described(uri: str, data: bytes, *, mime: str = "text/xml", digest: str = "", size: str = "") -> str:
    digest = digest or hashlib.sha1(data).hexdigest()
    return (
        f'<ExtrinsicObject id="d" mimeType="{mime}">{slot("URI", uri)}{slot("hash", digest)}'
        f"{slot('size', size or str(len(data)))}{slot('creationTime', '20240516')}"
        f"{slot('sourcePatientId', 'OAK-441^^^&amp;1.2.3&amp;ISO')}"
        '<Name><LocalizedString value="Summary of care"/></Name>'
        '<Classification classificationScheme="urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d" '
        'nodeRepresentation="urn:hl7-org:sdwg:ccda-structuredBody:2.1"/>'
        '<ExternalIdentifier identificationScheme="urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab" '
        'value="1.2.9"/>'
        "</ExtrinsicObject>"
    )


def test_a_plain_zip_gives_its_documents() -> None:
    data = zipped(("summary.XML", DOCUMENT), ("notes/readme.txt", b"hello"), ("more/second.ccda", DOCUMENT))
    assert archive.may_be_archive("application/x-zip-compressed", "a.zip", data)
    assert [(d.filename, d.data) for d in archive.read_documents(data)] == [
        ("summary.XML", DOCUMENT),
        ("more/second.ccda", DOCUMENT),
    ]
    assert [m.filename for m in archive.read_members(data)] == [
        "summary.XML",
        "notes/readme.txt",
        "more/second.ccda",
    ]


def test_xdm_by_its_metadata() -> None:
    folder = "IHE_XDM/SUBSET01/"
    other = document(title="Another")
    data = zipped(
        ("INDEX.HTM", b"<html/>"),
        ("README.TXT", b"read me"),
        (
            folder + "METADATA.XML",
            metadata(
                described("DOC0001.DAT", DOCUMENT),
                described("OTHER.XML", other, digest="0" * 40),
                described("GONE.XML", b""),
                described("../../escape.xml", b""),
            ),
        ),
        (folder + "DOC0001.DAT", DOCUMENT),
        (folder + "OTHER.XML", other),
        (folder + "STYLE.XML", b"<xsl/>"),
    )
    first, second = archive.read_documents(data)
    assert (first.filename, first.data, first.intact) == (folder + "DOC0001.DAT", DOCUMENT, True)
    assert (first.content_type, first.title, first.creation_time) == (
        "text/xml",
        "Summary of care",
        "20240516",
    )
    assert (first.unique_id, first.source_patient) == ("1.2.9", "OAK-441^^^&1.2.3&ISO")
    assert first.format_code == "urn:hl7-org:sdwg:ccda-structuredBody:2.1"
    assert (second.data, second.intact) == (other, False)


def test_a_long_uri_in_pieces() -> None:
    folder = "IHE_XDM/SUBSET01/"
    one = described("x", DOCUMENT).replace(slot("URI", "x"), slot("URI", "2|LONG.XML", "1|VERY_"))
    data = zipped((folder + "METADATA.XML", metadata(one)), (folder + "VERY_LONG.XML", DOCUMENT))
    assert [d.filename for d in archive.read_documents(data)] == [folder + "VERY_LONG.XML"]


def test_broken_metadata_leave_the_documents() -> None:
    folder = "IHE_XDM/SUBSET01/"
    data = zipped((folder + "METADATA.XML", b"<!DOCTYPE x><x/>"), (folder + "C32_1.XML", DOCUMENT))
    assert [d.filename for d in archive.read_documents(data)] == [folder + "C32_1.XML"]


@pytest.mark.parametrize(
    "name", ["../x.xml", "a/../../x.xml", "/etc/x.xml", "C:\\x.xml", "C:/x.xml", "a\\b.xml", ".."]
)
def test_names_that_lead_out(name: str) -> None:
    with pytest.raises(UnsafeArchive):
        archive.read_members(zipped((name, b"x")))


def test_links_and_devices() -> None:
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as made:
            info = zipfile.ZipInfo("x.xml")
            info.create_system = 3
            info.external_attr = (kind | 0o777) << 16
            made.writestr(info, b"/etc/passwd")
        with pytest.raises(UnsafeArchive):
            archive.read_members(buffer.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.xml", "A.XML"])
def test_equal_names(second: str) -> None:
    with pytest.raises(UnsafeArchive):
        archive.read_members(zipped(("a.xml", b"1"), (second, b"2")))


def test_header_that_contradicts_the_directory() -> None:
    data = zipped(("good.xml", DOCUMENT), method=zipfile.ZIP_STORED)
    for wrong in (
        data.replace(b"good.xml", b"evil.xml", 1),
        data[:14] + struct.pack("<L", 1) + data[18:],
        data[:8] + struct.pack("<H", 8) + data[10:],
    ):
        with pytest.raises(UnsafeArchive):
            archive.read_members(wrong)


def test_overlapping_entries() -> None:
    data = bytearray(zipped(("a.xml", b"1" * 50), ("b.xml", b"1" * 50), method=zipfile.ZIP_STORED))
    # The directory says that the first entry goes on into the second.
    second = data.index(b"PK\x03\x04", 4)
    central = data.index(b"PK\x01\x02")
    longer = second + 10
    for at in (18, 22):
        data[at : at + 4] = struct.pack("<L", longer)
    for at in (central + 20, central + 24):
        data[at : at + 4] = struct.pack("<L", longer)
    with pytest.raises(UnsafeArchive):
        archive.read_members(bytes(data))


@pytest.mark.parametrize("change", ["bit", "aes"])
def test_encrypted(change: str) -> None:
    data = bytearray(zipped(("a.xml", DOCUMENT)))
    central = data.rindex(b"PK\x01\x02")
    if change == "bit":
        data[6] |= 1
        data[central + 8] |= 1
    else:
        data[8:10] = data[central + 10 : central + 12] = struct.pack("<H", 99)
    with pytest.raises(EncryptedArchive) as caught:
        archive.read_documents(bytes(data))
    assert caught.value.code == "encrypted_archive"


def test_sizes_are_counted_while_unpacking() -> None:
    bomb = zipped(("bomb.xml", b"\0" * 3_000_000))
    with pytest.raises(ArchiveTooLarge):
        archive.read_members(bomb)
    flat = zipped(*((f"{n}.xml", bytes([n]) * 1000) for n in range(5)))
    with pytest.raises(ArchiveTooLarge):
        archive.read_members(flat, ArchiveLimits(unpacked=4_999))
    with pytest.raises(ArchiveTooLarge):
        archive.read_members(flat, ArchiveLimits(entries=4))
    assert len(archive.read_members(flat, ArchiveLimits(unpacked=5_000, entries=5))) == 5


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 5, zipped(("a.xml", DOCUMENT))[:-40]]
)
def test_damaged(data: bytes) -> None:
    with pytest.raises(NotArchive):
        archive.read_members(data)


def test_damaged_content() -> None:
    data = bytearray(zipped(("a.xml", DOCUMENT)))
    data[60] ^= 0xFF
    with pytest.raises(BadArchive):
        archive.read_members(bytes(data))


@pytest.mark.parametrize(
    ("content_type", "filename", "expected"),
    [
        ("application/zip", None, True),
        ("application/octet-stream", "x.ZIP", True),
        ("text/plain", "x.xdm", True),
        ("application/octet-stream", None, True),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "x.docx", False),
        ("application/octet-stream", "x.docx", False),
    ],
)
def test_what_may_be_an_archive(content_type: str, filename: str | None, expected: bool) -> None:
    assert archive.may_be_archive(content_type, filename, zipped(("a", b""))) is expected
    assert not archive.may_be_archive(content_type, filename, DOCUMENT)
