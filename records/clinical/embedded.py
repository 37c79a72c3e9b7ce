"""Bytes embedded in a document: pictures of the narrative, and bodies that are no XML."""

import binascii
from base64 import b64decode
from dataclasses import dataclass

from records.clinical import xml
from records.clinical.cda import V3
from records.clinical.errors import NoSuchPath, UnsupportedDocument
from records.clinical.xml import Element

_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
MAX_PICTURE = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EmbeddedFile:
    """Bytes embedded in a document. ``media_type`` is by content for pictures, else as declared."""

    media_type: str
    data: bytes


def embedded_file(data: bytes, path: str) -> EmbeddedFile:
    """The bytes of a picture of the narrative, or of a body that is no XML.

    :param data: the document as received.
    :param path: the element path, from ``DocumentView.pictures`` or ``EmbeddedBody.path``.
    :raises NoSuchPath: when there is nothing embedded at that path.
    :raises UnsupportedDocument: when what is there is no base64, or a picture that is none of PNG, JPEG, GIF.
    """
    element = xml.resolve_path(data, path)
    if element.tag not in {V3 + "value", V3 + "text"}:
        raise NoSuchPath("nothing is embedded there")
    content = decoded(element)
    declared = element.get("mediaType", "text/plain").strip().lower()
    if content is None:
        raise UnsupportedDocument("what is embedded there cannot be decoded")
    if declared.startswith("image/") or element.tag == V3 + "value":
        found = picture_type(content)
        if found is None:
            raise UnsupportedDocument("a picture of a kind that is not shown")
        return EmbeddedFile(found, content)
    return EmbeddedFile(declared, content)


def picture_type(content: bytes) -> str | None:
    """The type of a picture by its content: PNG, JPEG or GIF, else None."""
    for start, media_type in _PICTURES:
        if content.startswith(start):
            return media_type
    return None


def decoded(element: Element) -> bytes | None:
    """The bytes that an ED element holds (HL7 V3 Data Types R1); None when they cannot be decoded."""
    text = element.text or ""
    if len(text) > MAX_PICTURE * 2:
        return None
    if element.get("representation") != "B64":
        return text.encode()
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
