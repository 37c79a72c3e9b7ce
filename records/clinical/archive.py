"""Zip archives as they come by mail: plain ones, and XDM packages (IHE ITI TF-2, Portable Media).

Members are read one by one under limits; nothing is ever extracted to disk. Central directory and local
headers must agree, since two readers that disagree about an archive are how a bad file gets past a check.
"""

import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from posixpath import normpath

from records.clinical import xml
from records.clinical.errors import (
    ArchiveTooLarge,
    BadArchive,
    ClinicalError,
    EncryptedArchive,
    NotArchive,
    UnsafeArchive,
)
from records.clinical.xml import Element

_ZIP_TYPES = frozenset(
    {"application/zip", "application/x-zip-compressed", "application/x-zip", "multipart/x-zip"}
)
_UNSURE_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC = b"PK\x03\x04"
_AES = 99
_CHUNK = 1 << 16
_DRIVE = re.compile(r"[A-Za-z]:")
_DOCUMENT_ENDINGS = (".xml", ".ccd", ".ccda", ".cda", ".ccr")
_METADATA = re.compile(r"(?:.*/)?IHE_XDM/([^/]+)/METADATA\.XML", re.IGNORECASE)
_RIM = "{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}"
_RIM2 = "{urn:oasis:names:tc:ebxml-regrep:rim:xsd:2.1}"


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds of one archive: entries, bytes unpacked, and the ratio of entries over one MiB."""

    entries: int = 1_000
    unpacked: int = 200 * 1024 * 1024
    ratio: int = 100
    ratio_from: int = 1024 * 1024


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive. ``filename`` is its path inside, already found to be harmless."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ArchivedDocument:
    """One document of an archive, with what an XDM package says about it.

    ``intact`` is False when hash or size in the metadata are not those of the bytes, None when neither is
    given; ``source_patient`` is the sourcePatientId as written.
    """

    filename: str
    content_type: str
    data: bytes
    title: str = ""
    format_code: str = ""
    unique_id: str = ""
    creation_time: str = ""
    source_patient: str = ""
    intact: bool | None = None


def may_be_archive(content_type: str | None, filename: str | None, data: bytes) -> bool:
    """Whether some bytes are a zip by their start, and by type or name may be meant as one."""
    if not data.startswith((_LOCAL_MAGIC, b"PK\x05\x06")):
        return False
    declared = (content_type or "").partition(";")[0].strip().lower()
    name = (filename or "").lower()
    return (
        declared in _ZIP_TYPES or name.endswith((".zip", ".xdm")) or (declared in _UNSURE_TYPES and not name)
    )


def read_members(data: bytes, limits: ArchiveLimits = DEFAULT_LIMITS) -> tuple[Member, ...]:
    """Unpack an archive in memory.

    :param data: the bytes of the zip.
    :raises NotArchive: damaged, or no zip.
    :raises EncryptedArchive: any entry is encrypted.
    :raises UnsafeArchive: absolute, drive or ``..`` names, links and devices, equal names, overlapping
        entries, or headers that contradict the directory.
    :raises ArchiveTooLarge: beyond ``limits``, counted while unpacking.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = archive.infolist()
            _check(data, entries, limits)
            return tuple(_unpacked(archive, entries, limits))
    except ClinicalError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, OSError) as error:
        raise NotArchive("damaged, or no zip archive") from error
    except (NotImplementedError, RuntimeError) as error:
        raise BadArchive("a compression method we do not read") from error


def read_documents(data: bytes, limits: ArchiveLimits = DEFAULT_LIMITS) -> tuple[ArchivedDocument, ...]:
    """The documents of an archive that may be clinical.

    Of an XDM package those its METADATA.XML names, whatever they are called; of any other archive every
    file with the ending of a document.

    :raises BadArchive: as :func:`read_members`.
    """
    members = read_members(data, limits)
    packaged = list(_xdm_documents(members))
    if packaged:
        return tuple(packaged)
    return tuple(
        ArchivedDocument(member.filename, "text/xml", member.data)
        for member in members
        if member.filename.lower().endswith(_DOCUMENT_ENDINGS)
        and _METADATA.fullmatch(member.filename) is None
    )


def _check(data: bytes, entries: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if len(entries) > limits.entries:
        raise ArchiveTooLarge(f"more than {limits.entries} entries")
    names: set[str] = set()
    spans: list[tuple[int, int]] = []
    for entry in entries:
        if entry.flag_bits & 0x41 or entry.compress_type == _AES:
            raise EncryptedArchive("an entry is encrypted")
        _check_name(entry)
        name = entry.filename.rstrip("/").casefold()
        if name in names:
            raise UnsafeArchive("two entries of one name")
        names.add(name)
        spans.append(_span(data, entry))
    spans.sort()
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        raise UnsafeArchive("entries overlap")


def _check_name(entry: zipfile.ZipInfo) -> None:
    # ZipInfo cuts the name at a NUL and knows the rest only as orig_filename.
    name = entry.orig_filename
    if "\0" in name or "\\" in name or name.startswith("/") or _DRIVE.match(name):
        raise UnsafeArchive("an absolute or malformed name")
    if ".." in name.split("/"):
        raise UnsafeArchive("a name that leaves the archive")
    kind = (entry.external_attr >> 16) & 0o170000
    # Regular files, folders, and packers that say nothing.
    if entry.create_system == 3 and kind not in {0, 0o100000, 0o040000}:
        raise UnsafeArchive("a link or device")


def _span(data: bytes, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Where an entry lies, after its local header was found to agree with the directory."""
    at = entry.header_offset
    if at < 0 or at + _LOCAL.size > len(data):
        raise NotArchive("a header beyond the end")
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(data, at)
    if magic != _LOCAL_MAGIC:
        raise NotArchive("no header where the directory says")
    raw = data[at + _LOCAL.size : at + _LOCAL.size + name_length]
    name = raw.decode("utf-8" if flags & 0x800 else "cp437", "replace")
    if name != entry.orig_filename or method != entry.compress_type or (flags ^ entry.flag_bits) & 0x809:
        raise UnsafeArchive("a header that contradicts the directory")
    streamed = flags & 0x08
    long = 0xFFFFFFFF
    if not streamed and (
        crc != entry.CRC
        or (packed not in {entry.compress_size, long})
        or (size not in {entry.file_size, long})
    ):
        raise UnsafeArchive("a header that contradicts the directory")
    start = at + _LOCAL.size + name_length + extra_length
    end = start + entry.compress_size
    if end > len(data):
        raise NotArchive("an entry beyond the end")
    return at, end


def _unpacked(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], limits: ArchiveLimits
) -> Iterator[Member]:
    total = 0
    for entry in entries:
        if entry.is_dir():
            continue
        chunks = []
        size = 0
        with archive.open(entry) as stream:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                total += len(chunk)
                if total > limits.unpacked:
                    raise ArchiveTooLarge(f"more than {limits.unpacked} bytes unpacked")
                if size > limits.ratio_from and size > limits.ratio * max(entry.compress_size, 1):
                    raise ArchiveTooLarge(f"an entry packed more than {limits.ratio} to 1")
                chunks.append(chunk)
        yield Member(entry.filename, b"".join(chunks))


def _xdm_documents(members: tuple[Member, ...]) -> Iterator[ArchivedDocument]:
    by_name = {member.filename.casefold(): member for member in members}
    for member in members:
        if _METADATA.fullmatch(member.filename) is None:
            continue
        folder = member.filename.rpartition("/")[0]
        try:
            root = xml.parse(member.data)
        except ClinicalError:
            # The metadata are broken: the files are still there, and are taken as those of a plain zip.
            continue
        for rim in (_RIM, _RIM2):
            for extrinsic in root.iter(rim + "ExtrinsicObject"):
                document = _described(extrinsic, rim, folder, by_name)
                if document is not None:
                    yield document


def _described(
    extrinsic: Element, rim: str, folder: str, by_name: dict[str, Member]
) -> ArchivedDocument | None:
    slots = {
        slot.get("name", ""): [
            "".join(str(part) for part in value.itertext()).strip() for value in slot.iter(rim + "Value")
        ]
        for slot in extrinsic.iterchildren(rim + "Slot")
    }
    member = by_name.get(normpath(f"{folder}/{_uri(slots.get('URI', []))}").casefold())
    if member is None:
        return None
    return ArchivedDocument(
        filename=member.filename,
        content_type=extrinsic.get("mimeType", "text/xml"),
        data=member.data,
        title=_localized(extrinsic, rim),
        format_code=_classified(extrinsic, rim, "formatCode"),
        unique_id=_external_id(extrinsic, rim),
        creation_time=_one(slots, "creationTime"),
        source_patient=_one(slots, "sourcePatientId"),
        intact=_intact(member.data, slots),
    )


def _uri(values: list[str]) -> str:
    """The URI slot; a long one is split into numbered pieces (``1|…``, ``2|…``)."""
    pieces = []
    for value in values:
        number, bar, rest = value.partition("|")
        pieces.append((int(number), rest) if bar and number.isdigit() else (0, value))
    return "".join(piece for _, piece in sorted(pieces))


def _one(slots: dict[str, list[str]], name: str) -> str:
    values = slots.get(name) or [""]
    return values[0]


def _intact(data: bytes, slots: dict[str, list[str]]) -> bool | None:
    digest, size = _one(slots, "hash").lower(), _one(slots, "size")
    if not digest and not size:
        return None
    # SHA-1 is what the profile names; it guards against damage here, not against an attacker.
    right = not digest or hashlib.sha1(data, usedforsecurity=False).hexdigest() == digest
    return right and (not size.isdigit() or int(size) == len(data))


def _localized(element: Element, rim: str) -> str:
    for name in element.iterchildren(rim + "Name"):
        for text in name.iter(rim + "LocalizedString"):
            return text.get("value", "")
    return ""


def _classified(extrinsic: Element, rim: str, scheme: str) -> str:
    schemes = {"formatCode": "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"}
    for classification in extrinsic.iterchildren(rim + "Classification"):
        if classification.get("classificationScheme") == schemes[scheme]:
            return classification.get("nodeRepresentation", "")
    return ""


def _external_id(extrinsic: Element, rim: str) -> str:
    for identifier in extrinsic.iterchildren(rim + "ExternalIdentifier"):
        if identifier.get("identificationScheme") == "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab":
            return identifier.get("value", "")
    return ""
