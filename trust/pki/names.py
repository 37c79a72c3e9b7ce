"""Distinguished names, compared as issuers write them: letter case, spacing and string type do not matter.

RFC 5280 section 7.1 asks for it. The result only chooses candidates; whether a name really chains is judged
by two validators afterwards.
"""

from __future__ import annotations

from functools import lru_cache

from trust.pki import ber

NameKey = tuple[tuple[tuple[bytes, bytes], ...], ...]

_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii", 0x12: "ascii", 0x14: "latin-1", 0x1A: "ascii"}
_BMP_STRING, _UNIVERSAL_STRING = 0x1E, 0x1C


@lru_cache(maxsize=4096)
def name_key(raw: bytes) -> NameKey:
    """A value that is equal for two encoded names which match. `raw` is the Name as received.

    A name that cannot be read equals only itself.
    """
    try:
        relative = ber.children(ber.whole(raw, ber.SEQUENCE))
        return tuple(tuple(sorted(_attribute(each) for each in ber.children(part))) for part in relative)
    except (ber.BerError, ValueError):
        return (((b"", raw),),)


def _attribute(element: ber.Element) -> tuple[bytes, bytes]:
    kind, value = ber.children(element)
    return kind.content, _folded(value)


def _folded(value: ber.Element) -> bytes:
    if value.tag in _ENCODINGS:
        text = value.content.decode(_ENCODINGS[value.tag])
    elif value.tag == _BMP_STRING:
        text = value.content.decode("utf-16-be")
    elif value.tag == _UNIVERSAL_STRING:
        text = value.content.decode("utf-32-be")
    else:
        return value.raw
    return b"\x00" + " ".join(text.split()).casefold().encode()
