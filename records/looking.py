"""What a file is, by its own bytes, and what of it may be shown in a page.

Bytes that somebody else made never run in this origin: a page shows the text of a text as text, the names
inside an archive, and a PNG, JPEG or GIF as a picture from an address of its own. All else is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from records.clinical import archive
from records.clinical.embedded import picture_type
from records.clinical.errors import ClinicalError

#: So much of a text stands in a page; the rest is in the download.
MOST_TEXT = 100_000
MOST_NAMES = 200
#: A larger picture is downloaded: a page is no place for it.
MOST_PICTURE = 20_000_000
_MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"{\\rtf", "application/rtf"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_XML_STARTS = (b"<?xml", b"<ClinicalDocument", b"<ContinuityOfCareRecord")
_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a page shows of a file: a `picture` by its address, `text`, or the `names` in an archive."""

    kind: Literal["picture", "text", "names", "nothing"]
    text: str = ""
    names: tuple[str, ...] = ()
    cut: bool = False


def type_of(data: bytes) -> str:
    """The media type of some bytes by what they are; octet-stream when nothing is known of them."""
    picture = picture_type(data)
    if picture:
        return picture
    for start, media_type in _MAGIC:
        if data.startswith(start):
            return media_type
    if _is_xml(data):
        return "application/xml"
    return "text/plain" if data and _as_text(data) is not None else "application/octet-stream"


def preview_of(data: bytes) -> Preview:
    """What may be shown of a file."""
    media_type = type_of(data)
    if media_type.startswith("image/"):
        small = len(data) <= MOST_PICTURE and media_type != "image/tiff"
        return Preview("picture" if small else "nothing")
    if media_type == "application/zip":
        return _names_in(data)
    if media_type == "text/plain":
        text = _as_text(data) or ""
        return Preview("text", text=text[:MOST_TEXT], cut=len(text) > MOST_TEXT)
    return Preview("nothing")


def _is_xml(data: bytes) -> bool:
    start = data[:200].removeprefix(b"\xef\xbb\xbf").lstrip()
    if data.startswith(_BOMS):
        return data[:200].replace(b"\x00", b"")[2:].lstrip().startswith(_XML_STARTS)
    return start.startswith(_XML_STARTS) or (start[:1] == b"<" and b"ClinicalDocument" in data[:4000])


def _as_text(data: bytes) -> str | None:
    """The bytes as text: UTF-8 without control characters; None when they are none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    controls = any(ord(one) < 32 and one not in "\t\n\r\f" for one in text)
    return None if controls else text


def _names_in(data: bytes) -> Preview:
    try:
        # A page that is only looked at unpacks nothing.
        names = archive.member_names(data)
    except ClinicalError:
        return Preview("nothing")
    return Preview("names", names=names[:MOST_NAMES], cut=len(names) > MOST_NAMES)
