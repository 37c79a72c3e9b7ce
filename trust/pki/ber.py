"""A small, strict and linear reader of ASN.1 elements, DER and BER (ITU-T X.690).

It knows tags and lengths only. Nothing is copied: an element is a pair of offsets into the bytes as received,
so what is hashed or handed on is what came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
SET = 0x31

#: Nesting that an indefinite-length element may hold before it is called hostile.
MAX_DEPTH = 24


class BerError(ValueError):
    """The bytes are not a well-formed element."""


class Element(NamedTuple):
    """One element of `data`: tag octet, where it starts, where its content lies, where it ends.

    For an indefinite length `content_end` is before and `end` after the end-of-contents octets.
    """

    data: bytes
    tag: int
    start: int
    content_start: int
    content_end: int
    end: int

    @property
    def raw(self) -> bytes:
        return self.data[self.start : self.end]

    @property
    def content(self) -> bytes:
        return self.data[self.content_start : self.content_end]

    @property
    def constructed(self) -> bool:
        return bool(self.tag & 0x20)


def read(data: bytes, at: int = 0, end: int | None = None, *, der: bool = True, depth: int = 0) -> Element:
    """The element at offset `at`, which must end at or before `end`.

    With `der` only minimal definite lengths pass (X.690 section 10.1). Raises BerError.
    """
    stop = len(data) if end is None else end
    if at + 2 > stop:
        raise BerError("truncated element")
    tag, first = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise BerError("multi-octet tag")
    start = at + 2
    if first < 0x80:
        length = first
    elif first == 0x80:
        return _indefinite(data, at, stop, der, depth)
    else:
        count = first & 0x7F
        if count > 4 or start + count > stop:
            raise BerError("impossible length")
        length = int.from_bytes(data[start : start + count], "big")
        if der and (length < 0x80 or length >> (8 * (count - 1)) == 0):
            raise BerError("length is not minimal")
        start += count
    if start + length > stop:
        raise BerError("element is longer than what holds it")
    return Element(data, tag, at, start, start + length, start + length)


def _indefinite(data: bytes, at: int, stop: int, der: bool, depth: int) -> Element:
    if der or not data[at] & 0x20:
        raise BerError("indefinite length")
    if depth >= MAX_DEPTH:
        raise BerError("nested too deeply")
    here = at + 2
    while data[here : here + 2] != b"\x00\x00":
        here = read(data, here, stop, der=False, depth=depth + 1).end
    if here + 2 > stop:
        raise BerError("no end of contents")
    return Element(data, data[at], at, at + 2, here, here + 2)


def children(parent: Element, *, der: bool = True) -> Iterator[Element]:
    """The elements inside `parent`, one after the other. Raises BerError."""
    here = parent.content_start
    while here < parent.content_end:
        child = read(parent.data, here, parent.content_end, der=der)
        yield child
        here = child.end


def whole(data: bytes, tag: int, *, der: bool = True) -> Element:
    """`data` as exactly one element of `tag`, nothing after it. Raises BerError."""
    element = read(data, der=der)
    if element.tag != tag:
        raise BerError(f"expected tag {tag:#04x}, found {element.tag:#04x}")
    if element.end != len(data):
        raise BerError("bytes after the element")
    return element


def wrap(tag: int, content: bytes) -> bytes:
    """The DER encoding of an element of `tag` around `content`."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def octets(element: Element, *, depth: int = 0) -> bytes:
    """The octets of an OCTET STRING (or of an implicitly tagged one), joined when BER cut them in pieces."""
    pieces: list[bytes] = []
    _collect(element, pieces, depth)
    return b"".join(pieces)


def _collect(element: Element, pieces: list[bytes], depth: int) -> None:
    if not element.constructed:
        pieces.append(element.content)
        return
    if depth >= MAX_DEPTH:
        raise BerError("nested too deeply")
    for piece in children(element, der=False):
        if piece.tag & ~0x20 != OCTET_STRING:
            raise BerError("a piece of an octet string is something else")
        _collect(piece, pieces, depth + 1)
