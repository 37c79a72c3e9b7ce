"""The outermost layer of CMS: ContentInfo and the content types (RFC 5652 section 3)."""

from __future__ import annotations

from typing import Final

from directmsg.agent import ber, der
from directmsg.agent.ber import Buffer, Reader, dotted

DATA: Final = "1.2.840.113549.1.7.1"
SIGNED: Final = "1.2.840.113549.1.7.2"
ENVELOPED: Final = "1.2.840.113549.1.7.3"
AUTH_ENVELOPED: Final = "1.2.840.113549.1.9.16.1.23"
CONTENT: Final = 0xA0  # content and eContent, [0] EXPLICIT

_NAMES: Final = {
    DATA: "data",
    SIGNED: "signed",
    ENVELOPED: "enveloped",
    AUTH_ENVELOPED: "auth_enveloped",
}


def open_content(data: Buffer) -> tuple[str, Reader]:
    """The content type, dotted, and a reader that stands on the content. Raises Malformed."""
    reader = Reader(data)
    reader.enter(ber.SEQUENCE)
    kind = dotted(reader.small(ber.OBJECT_IDENTIFIER))
    reader.enter(CONTENT)
    return kind, reader


def close_content(reader: Reader) -> None:
    """Nothing may follow the content. Raises Malformed."""
    reader.leave()
    reader.leave()
    reader.finish()


def content_type(data: Buffer) -> str:
    """What `data` is: "enveloped", "auth_enveloped", "signed", "data", or another type's dotted identifier.

    Reads the first few octets only, for when the MIME parameters are absent or lie. Raises Malformed.
    """
    kind, _ = open_content(data)
    return _NAMES.get(kind, kind)


def wrap_content(kind: str, *parts: Buffer) -> bytes:
    """A ContentInfo of type `kind` (dotted) around a SEQUENCE of `parts`."""
    content = der.pieces(CONTENT, *der.pieces(ber.SEQUENCE, *parts))
    return der.sequence(der.oid(kind), *content)
