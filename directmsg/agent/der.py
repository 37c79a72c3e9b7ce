"""Writing ASN.1: always DER (ITU-T X.690 section 10)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from directmsg.agent import ber
from directmsg.agent.ber import Buffer
from directmsg.agent.errors import Malformed

NULL: Final = b"\x05\x00"


def header(tag: int, length: int) -> bytes:
    """Identifier and length octets of an element whose contents are `length` octets."""
    if length < 0x80:
        return bytes((tag, length))
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big")


def pieces(tag: int, *parts: Buffer) -> list[Buffer]:
    """One element of `tag` that holds `parts`, unjoined: nested elements of megabytes are copied once."""
    return [header(tag, sum(map(len, parts))), *parts]


def element(tag: int, *parts: Buffer) -> bytes:
    """One element of `tag` that holds `parts`."""
    return b"".join(pieces(tag, *parts))


def sequence(*parts: Buffer) -> bytes:
    """A SEQUENCE of encoded elements."""
    return element(ber.SEQUENCE, *parts)


def set_of(parts: Iterable[bytes], tag: int = ber.SET) -> bytes:
    """A SET OF encoded elements, in the order DER demands (X.690 section 11.6)."""
    return element(tag, *sorted(parts))


def octet_string(octets: Buffer) -> bytes:
    """An OCTET STRING."""
    return element(ber.OCTET_STRING, octets)


def integer(value: int) -> bytes:
    """A non-negative INTEGER."""
    return element(ber.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@lru_cache(maxsize=256)
def oid_contents(dotted: str) -> bytes:
    """The contents of the OBJECT IDENTIFIER written `dotted`."""
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        out += bytes(reversed(groups))
    return bytes(out)


@lru_cache(maxsize=256)
def oid(dotted: str) -> bytes:
    """The OBJECT IDENTIFIER written `dotted`."""
    return element(ber.OBJECT_IDENTIFIER, oid_contents(dotted))


def time(moment: datetime) -> bytes:
    """`moment` (aware) to the second: UTCTime to 2049, GeneralizedTime after (RFC 5652 section 11.3)."""
    moment = moment.astimezone(UTC)
    if 1950 <= moment.year < 2050:
        return element(ber.UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return element(ber.GENERALIZED_TIME, f"{moment.year:04}{moment:%m%d%H%M%S}Z".encode())


def from_ber(encoded: Buffer, *, tag: int | None = None) -> bytes:
    """One element re-written in DER: shortest lengths, strings whole, sets in order; `tag` replaces its tag.

    Contents of primitive elements stay as they came. Raises Malformed, or TooLarge. For small elements: every
    level of nesting, of which there are at most `ber.MAX_DEPTH`, copies what it holds once.
    """
    reader = ber.Reader(encoded)
    open_tags: list[int] = []
    parts: list[list[bytes]] = [[]]
    while open_tags or not parts[0]:
        found = reader.tag()
        if found == ber.END:
            if not open_tags:
                raise Malformed("nothing there")
            reader.leave()
            done = _closed(open_tags.pop(), parts.pop())
            parts[-1].append(done)
        elif found & ber.CONSTRUCTED:
            reader.enter(found)
            open_tags.append(tag if tag is not None and not open_tags else found)
            parts.append([])
        else:
            parts[-1].append(element(found, reader.primitive(found)))
    reader.finish()
    return parts[0][0]


def _closed(tag: int, parts: list[bytes]) -> bytes:
    if tag == ber.SET:
        return set_of(parts)
    if tag == ber.OCTET_STRING | ber.CONSTRUCTED:
        contents = []
        for part in parts:
            piece = ber.Reader(part)
            contents.append(piece.primitive(ber.OCTET_STRING))
        return octet_string(b"".join(contents))
    return element(tag, *parts)
