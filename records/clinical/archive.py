"""Zip archives as they come by mail: plain ones, and XDM packages (IHE ITI TF-2, Portable Media).

Members are read one by one under limits; nothing is ever extracted to disk. Central directory and local
headers must agree, since two readers that disagree about an archive are how a bad file gets past a check.
"""

import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from posixpath import normpath
from typing import Any

from records.clinical import xdm, xml
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
# As the profile has it, under a further folder, or with the folders gone from the name.
_METADATA = re.compile(
    r"(?:.*/)?(?:IHE_XDM[/_]?)?SUBSET\d+[/_]?METADATA\.XML|(?:.*/)?IHE_XDM/[^/]+/METADATA\.XML", re.IGNORECASE
)
#: What packers of other systems leave behind.
_LITTER = re.compile(r"(?:.*/)?(?:__MACOSX/.*|\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini)", re.IGNORECASE)
_RIM = f"{{{xdm.RIM}}}"
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
    """One document of an archive, with what an XDM package says about it; unknown things are empty.

    ``intact`` is False when hash or size in the metadata are not those of the bytes, None when neither is
    given; ``source_patient`` is the sourcePatientId as written, ``patient`` the fields of sourcePatientInfo
    by their names of HL7 version 2 ("PID-5"). Ids in the metadata are not unique across packages.
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
    type_name: str = ""
    language: str = ""
    authors: tuple[str, ...] = ()
    institution: str = ""
    patient: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submission:
    """What an XDM package says about itself: one submission set, empty where it says nothing.

    ``author`` is a name and ``author_address`` a mail address; ``recipients`` are as written.
    """

    title: str = ""
    time: str = ""
    author: str = ""
    author_address: str = ""
    source_id: str = ""
    unique_id: str = ""
    patient: str = ""
    comments: str = ""
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Package:
    """An archive that was read: its documents, and the submission set when it is an XDM package."""

    documents: tuple[ArchivedDocument, ...]
    submission: Submission | None = None

    def told(self, document: ArchivedDocument) -> dict[str, Any] | None:
        """What the package says about one of its documents, as plain JSON; None when it is none.

        ``created`` and ``sent`` are ISO 8601 in the precision given, ``damaged`` stands where hash or size do
        not fit the bytes.
        """
        sent = self.submission
        if sent is None:
            return None
        said = {
            "title": document.title,
            "type": document.type_name,
            "created": _iso(document.creation_time),
            "author": ", ".join(document.authors) or document.institution,
            "patient": _person_name(f"^{document.patient.get('PID-5', '')}"),
            "patient_id": document.source_patient,
            "document_id": document.unique_id,
            "sender": sent.author or sent.author_address,
            "sent": _iso(sent.time),
            "comments": sent.comments,
            "damaged": document.intact is False,
        }
        return {name: value for name, value in said.items() if value}


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


def member_names(data: bytes, limits: ArchiveLimits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """The paths of the files in an archive, by its directory alone: nothing is unpacked.

    :raises BadArchive: as :func:`read_members`, but for what only unpacking shows.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = archive.infolist()
            _check(data, entries, limits)
            return tuple(entry.filename for entry in entries if not entry.is_dir())
    except ClinicalError:
        raise
    except (zipfile.BadZipFile, struct.error, ValueError, OSError, NotImplementedError) as error:
        raise NotArchive("damaged, or no zip archive") from error


def read_documents(data: bytes, limits: ArchiveLimits = DEFAULT_LIMITS) -> tuple[ArchivedDocument, ...]:
    """The documents of :func:`read_package`."""
    return read_package(data, limits).documents


def read_package(data: bytes, limits: ArchiveLimits = DEFAULT_LIMITS) -> Package:
    """The documents of an archive that may be clinical.

    Of an XDM package those its METADATA.XML names, whatever they are called and whatever kind they are of;
    of any other archive every file with the ending of a document.

    :raises BadArchive: as :func:`read_members`.
    """
    members = [each for each in read_members(data, limits) if _LITTER.fullmatch(each.filename) is None]
    roots = list(_metadata(members))
    documents = tuple(_xdm_documents(members, roots))
    if documents:
        return Package(documents, _submission(roots))
    return Package(
        tuple(
            ArchivedDocument(member.filename, "text/xml", member.data)
            for member in members
            if member.filename.lower().endswith(_DOCUMENT_ENDINGS)
            and _METADATA.fullmatch(member.filename) is None
        )
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


# --- XDM metadata ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Described:
    """The root of one METADATA.XML, the name space its objects are in, and the folder it lies in."""

    root: Element
    rim: str
    folder: str


def _metadata(members: Sequence[Member]) -> Iterator[_Described]:
    for member in members:
        if _METADATA.fullmatch(member.filename) is None:
            continue
        try:
            root = xml.parse(member.data)
        except ClinicalError:
            # The metadata are broken: the files are still there, and are taken as those of a plain zip.
            continue
        folder = member.filename.rpartition("/")[0]
        for rim in (_RIM, _RIM2):
            if next(root.iter(rim + "ExtrinsicObject"), None) is not None:
                yield _Described(root, rim, folder)


class _Files:
    """The members of a package, each given to one description only when it must be guessed."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._by_name = {member.filename.casefold(): member for member in members}
        self._free = [
            member
            for member in members
            if _METADATA.fullmatch(member.filename) is None
            and member.filename.rpartition("/")[2].upper() not in ("INDEX.HTM", "INDEX.HTML", "README.TXT")
        ]
        self._digests: dict[str, str] = {}

    def find(self, folder: str, uri: str, digest: str, size: str) -> Member | None:
        """By URI, then by hash, then by size where only one file has it."""
        found = self._named(folder, uri) or self._hashed(digest) or self._sized(size)
        if found is None and not (uri or digest or size) and len(self._free) == 1:
            found = self._free[0]
        if found in self._free:
            self._free.remove(found)
        return found

    def _named(self, folder: str, uri: str) -> Member | None:
        if not uri:
            return None
        flat = uri.rpartition("/")[2]
        candidates = [f"{folder}/{uri}", f"{folder}/{flat}", uri, *self._flattened(folder, flat)]
        for name in candidates:
            member = self._by_name.get(normpath(name).casefold().lstrip("/"))
            if member is not None:
                return member
        return None

    @staticmethod
    def _flattened(folder: str, name: str) -> list[str]:
        """Names in which the folders of the profile were run together with the file's."""
        before = f"{folder}/" if folder else ""
        return [f"{before}SUBSET01{name}", f"{before}IHE_XDMSUBSET01{name}"]

    def _hashed(self, digest: str) -> Member | None:
        if not digest:
            return None
        return next((each for each in self._free if self._digest(each) == digest), None)

    def _digest(self, member: Member) -> str:
        if member.filename not in self._digests:
            self._digests[member.filename] = _sha1(member.data)
        return self._digests[member.filename]

    def _sized(self, size: str) -> Member | None:
        if not size.isdigit():
            return None
        fitting = [each for each in self._free if len(each.data) == int(size)]
        return fitting[0] if len(fitting) == 1 else None


def _xdm_documents(members: Sequence[Member], roots: Sequence[_Described]) -> Iterator[ArchivedDocument]:
    files = _Files(members)
    for described in roots:
        # Those whose file is named come first, so that no other takes it by size.
        objects = list(described.root.iter(described.rim + "ExtrinsicObject"))
        slots = [_slots(each, described.rim) for each in objects]
        order = sorted(range(len(objects)), key=lambda number: not slots[number].get("URI"))
        found: dict[int, ArchivedDocument] = {}
        for number in order:
            document = _document(objects[number], slots[number], described, files)
            if document is not None:
                found[number] = document
        yield from (found[number] for number in sorted(found))


def _slots(element: Element, rim: str) -> dict[str, list[str]]:
    return {
        slot.get("name", ""): [
            "".join(str(part) for part in value.itertext()).strip() for value in slot.iter(rim + "Value")
        ]
        for slot in element.iterchildren(rim + "Slot")
    }


def _document(
    extrinsic: Element, slots: dict[str, list[str]], described: _Described, files: _Files
) -> ArchivedDocument | None:
    rim = described.rim
    digest, size = _one(slots, "hash").lower(), _one(slots, "size")
    member = files.find(described.folder, _uri(slots.get("URI", [])), digest, size)
    if member is None:
        return None
    authors = _author_slots(extrinsic, rim, xdm.DOCUMENT_AUTHOR)
    return ArchivedDocument(
        filename=member.filename,
        content_type=extrinsic.get("mimeType", "text/xml"),
        data=member.data,
        title=_localized(extrinsic, rim),
        format_code=_classified(extrinsic, rim, xdm.FORMAT_CODE)[0],
        unique_id=_external_id(extrinsic, rim, xdm.DOCUMENT_ID),
        creation_time=_one(slots, "creationTime"),
        source_patient=_one(slots, "sourcePatientId"),
        intact=_intact(member.data, digest, size),
        type_name=_classified(extrinsic, rim, xdm.TYPE_CODE)[1],
        language=_one(slots, "languageCode"),
        authors=tuple(filter(None, map(_person_name, authors.get("authorPerson", [])))),
        institution=_one(authors, "authorInstitution").partition("^")[0],
        patient=_patient_info(slots.get("sourcePatientInfo", [])),
    )


def _submission(roots: Sequence[_Described]) -> Submission:
    for described in roots:
        rim = described.rim
        for package in described.root.iter(rim + "RegistryPackage"):
            slots = _slots(package, rim)
            author = _author_slots(package, rim, xdm.SET_AUTHOR)
            return Submission(
                title=_localized(package, rim),
                time=_one(slots, "submissionTime"),
                author=_person_name(_one(author, "authorPerson")),
                author_address=_one(author, "authorTelecommunication").split("^")[-1].strip(),
                source_id=_external_id(package, rim, xdm.SET_SOURCE),
                unique_id=_external_id(package, rim, xdm.SET_ID),
                patient=_external_id(package, rim, xdm.SET_PATIENT),
                comments=_localized(package, rim, "Description"),
                recipients=tuple(slots.get("intendedRecipient", [])),
            )
    return Submission()


def _uri(values: list[str]) -> str:
    """The URI slot; a long one is split into numbered pieces (``1|…``, ``2|…``)."""
    pieces = []
    for value in values:
        number, bar, rest = value.partition("|")
        pieces.append((int(number), rest) if bar and number.isdecimal() else (0, value))
    return "".join(piece for _, piece in sorted(pieces))


def _one(slots: dict[str, list[str]], name: str) -> str:
    values = slots.get(name) or [""]
    return values[0]


def _sha1(data: bytes) -> str:
    # SHA-1 is what the profile names; it guards against damage here, not against an attacker.
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _intact(data: bytes, digest: str, size: str) -> bool | None:
    if not digest and not size:
        return None
    right = not digest or _sha1(data) == digest
    return right and (not size.isdecimal() or int(size) == len(data))


def shown_name(document: ArchivedDocument) -> str:
    """A file name for a document: its title, with the ending that its file has."""
    own = document.filename.rpartition("/")[2]
    ending = own.rpartition(".")[2].lower() if "." in own else ""
    title = " ".join(document.title.replace("/", " ").replace("\\", " ").split())[:120]
    if not title:
        return own
    return title if not ending or title.lower().endswith(f".{ending}") else f"{title}.{ending}"


def _iso(stamp: str) -> str:
    """A DTM of HL7 version 2 as a date of ISO 8601, to the day at most; empty when it is none."""
    match = re.match(r"(\d{4})(\d{2})?(\d{2})?", stamp)
    return "-".join(filter(None, match.groups())) if match else ""


def _localized(element: Element, rim: str, tag: str = "Name") -> str:
    for name in element.iterchildren(rim + tag):
        for text in name.iter(rim + "LocalizedString"):
            return text.get("value", "")
    return ""


def _classified(element: Element, rim: str, scheme: str) -> tuple[str, str]:
    """Code and name of the first classification in ``scheme``."""
    for classification in element.iterchildren(rim + "Classification"):
        if classification.get("classificationScheme") == scheme:
            return classification.get("nodeRepresentation", ""), _localized(classification, rim)
    return "", ""


def _author_slots(element: Element, rim: str, scheme: str) -> dict[str, list[str]]:
    for classification in element.iterchildren(rim + "Classification"):
        if classification.get("classificationScheme") == scheme:
            return _slots(classification, rim)
    return {}


def _person_name(value: str) -> str:
    """The name in an XCN (identifier, family, given, further given, suffix, prefix), for people."""
    parts = [*value.split("^"), *[""] * 6]
    family, given, further, suffix, prefix = (each.partition("&")[0].strip() for each in parts[1:6])
    named = " ".join(each for each in (prefix, given, further, family, suffix) if each)
    return named or ("" if "^" in value else value.strip())


def _patient_info(values: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, bar, rest = value.partition("|")
        if bar and name.strip() and rest.strip():
            found.setdefault(name.strip(), rest.strip())
    return found


def _external_id(element: Element, rim: str, scheme: str) -> str:
    for identifier in element.iterchildren(rim + "ExternalIdentifier"):
        if identifier.get("identificationScheme") == scheme:
            return identifier.get("value", "")
    return ""
