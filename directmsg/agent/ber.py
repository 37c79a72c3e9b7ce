"""A small, strict and linear reader of ASN.1 elements, BER and DER (ITU-T X.690).

It pulls: one cursor runs once over the bytes, opens the elements it knows and steps over the rest. The end of
an element of indefinite length is never searched for before it must be, so bytes are looked at a fixed number
of times however deep they nest. Nothing recurses, depth and number of elements are bounded, and nothing is
copied: what is hashed or decrypted are slices of what came.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Final

from directmsg.agent.errors import Malformed, TooLarge

Buffer = bytes | bytearray | memoryview

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONSTRUCTED: Final = 0x20
CONTEXT: Final = 0x80
#: The length octet that says the length will be known later.
INDEFINITE: Final = 0x80
#: What `Reader.tag` says where the element the cursor is in ends.
END: Final = -1

#: Elements open at once; CMS needs eleven.
MAX_DEPTH: Final = 32
#: Elements in one reading: 40 MB in pieces of 80 octets, where BouncyCastle cuts pieces of 1,000.
MAX_ELEMENTS: Final = 500_000
#: Octets handed on at once when a string came in pieces: fits the processor's second cache.
BATCH: Final = 1 << 18

_OPEN: Final = -1  # an indefinite length
_FIRST_WINDOW: Final = 32
_CUT_AT_ONCE: Final = 64


@lru_cache(maxsize=128)
def dotted(oid: bytes) -> str:
    """The contents of an OBJECT IDENTIFIER in figures, "1.2.840.113549" (X.690 section 8.19).

    Raises Malformed.
    """
    if not 0 < len(oid) <= 64 or oid[-1] & 0x80:
        raise Malformed("not an object identifier")
    arcs: list[int] = []
    value = 0
    for octet in oid:
        if value == 0 and octet == 0x80:
            raise Malformed("not an object identifier")
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


class Octets:
    """The octets of one string where they lie in the message: runs of pieces of equal length."""

    __slots__ = ("_runs", "_size", "_view")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._runs: list[tuple[int, int, int, int]] = []  # start, length of a piece, stride, pieces
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, start: int, length: int, stride: int = 0, count: int = 1) -> None:
        """`count` pieces of `length` octets, the first at `start`, one every `stride` octets."""
        if length:
            self._runs.append((start, length, stride, count))
            self._size += length * count

    def batches(self) -> Iterator[bytes | memoryview]:
        """All octets in order: the string itself when it came whole, else joined to about BATCH octets."""
        waiting: list[memoryview] = []
        size = 0
        for start, length, stride, count in self._runs:
            at_once = min(count, max(1, BATCH // length), _CUT_AT_ONCE)
            parts = [slice(at, at + length) for at in range(0, at_once * stride, stride)] if stride else []
            # One call for many slices takes half the time of a loop over them.
            cut = itemgetter(*parts) if at_once > 1 else None
            for first in range(0, count, at_once):
                pieces = min(at_once, count - first)
                if size + pieces * length > BATCH and waiting:
                    yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
                    waiting, size = [], 0
                view = self._view[start + first * stride :]
                if cut is None:
                    waiting.append(view[:length])
                elif pieces == at_once:
                    waiting += cut(view)
                else:
                    waiting += [view[part] for part in parts[:pieces]]
                size += pieces * length
        if waiting:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)

    def tail(self, size: int) -> bytes:
        """The last `size` octets, or all of them when there are fewer."""
        pieces: list[memoryview] = []
        for start, length, stride, count in reversed(self._runs):
            for number in range(count - 1, -1, -1):
                if size <= 0:
                    return b"".join(reversed(pieces))
                end = start + number * stride + length
                pieces.append(self._view[max(end - length, end - size) : end])
                size -= length
        return b"".join(reversed(pieces))

    def tobytes(self) -> bytes:
        """All octets, copied once."""
        return b"".join(self.batches())


class Reader:
    """A cursor over the elements of `data`; every method raises Malformed, or TooLarge beyond the bounds."""

    __slots__ = ("_at", "_body", "_data", "_end", "_left", "_length", "_limit", "_outer", "_view")

    def __init__(self, data: Buffer, *, max_elements: int = MAX_ELEMENTS) -> None:
        self._view = memoryview(data).cast("B")
        # A bytes object is twice as quick to index as a view of it.
        self._data: bytes | memoryview = data if isinstance(data, bytes) else self._view
        self._at = 0
        self._end = self._limit = len(self._view)
        self._outer: list[tuple[int, int]] = []
        self._left = max_elements
        self._body = self._length = 0

    @property
    def elements_left(self) -> int:
        """How many more elements may be read."""
        return self._left

    def tag(self) -> int:
        """The identifier octet of the next element, or END; the cursor stays."""
        at = self._at
        if self._end != _OPEN:
            return self._data[at] if at < self._end else END
        if at + 2 > self._limit:
            raise Malformed("no end of contents")
        tag = self._data[at]
        if tag == 0 and self._data[at + 1] == 0:
            return END
        return tag

    def enter(self, tag: int) -> None:
        """Open the next element, which must be `tag` and constructed."""
        if self._header() != tag:
            raise self._unexpected(tag)
        if not tag & CONSTRUCTED:
            raise Malformed("a primitive element holds no others")
        self._push()

    def leave(self) -> None:
        """Close the element opened last; nothing may be left in it."""
        if self.tag() != END:
            raise Malformed("more elements than there should be")
        if self._end == _OPEN:
            self._at += 2
        self._end, self._limit = self._outer.pop()

    def finish(self) -> None:
        """Nothing may follow."""
        if self._outer or self._at != self._end:
            raise Malformed("bytes after the last element")

    def primitive(self, tag: int) -> memoryview:
        """The contents of the next element, which must be `tag` in one piece."""
        if self._header() != tag:
            raise self._unexpected(tag)
        start = self._body
        end = self._at = start + self._length
        return self._view[start:end]

    def small(self, tag: int) -> bytes:
        """Like `primitive`, copied: for what is compared or kept."""
        if self._header() != tag:
            raise self._unexpected(tag)
        start = self._body
        end = self._at = start + self._length
        return bytes(self._data[start:end])

    def number(self) -> int:
        """A non-negative INTEGER of at most four octets, as versions and lengths are."""
        contents = self.primitive(INTEGER)
        if not 0 < len(contents) <= 4 or contents[0] & 0x80:
            raise Malformed("not a small number")
        return int.from_bytes(contents, "big")

    def raw(self) -> memoryview:
        """The next element whole, as it came; an open one is stepped through to find its end."""
        start = self._at
        self.skip()
        return self._view[start : self._at]

    def bounded(self, limit: int) -> bytes:
        """Like `raw`, copied; TooLarge above `limit` octets."""
        encoded = self.raw()
        if len(encoded) > limit:
            raise TooLarge("an element is too large", limit=limit, found=len(encoded))
        return bytes(encoded)

    @property
    def at(self) -> int:
        """The offset of the cursor."""
        return self._at

    def since(self, start: int) -> memoryview:
        """The octets from offset `start` to the cursor, as they came."""
        return self._view[start : self._at]

    def skip(self) -> None:
        """Step over the next element. Definite elements are not looked into."""
        self._header()
        if self._length != _OPEN:
            self._at = self._body + self._length
            return
        depth = 1
        self._at = self._body
        while depth:
            if self._at_contents_end():
                depth -= 1
                continue
            self._header()
            self._at = self._body
            if self._length == _OPEN:
                depth += 1
                if depth + len(self._outer) > MAX_DEPTH:
                    raise Malformed("nested too deeply")
            else:
                self._at += self._length

    def octets(self, tag: int = OCTET_STRING) -> Octets:
        """An OCTET STRING, or one implicitly tagged `tag`, whole or in pieces (X.690 section 8.7)."""
        found = self._header()
        if found & ~CONSTRUCTED != tag & ~CONSTRUCTED:
            raise Malformed(f"expected tag {tag:#04x}, found {found:#04x}")
        octets = Octets(self._view)
        if not found & CONSTRUCTED:
            octets.add(self._body, self._length)
            self._at = self._body + self._length
            return octets
        outside = len(self._outer)
        self._push()
        while len(self._outer) > outside:
            if self.tag() == END:
                self.leave()
                continue
            piece = self._header()
            if piece == OCTET_STRING:
                self._take_run(octets)
            elif piece == OCTET_STRING | CONSTRUCTED:
                self._push()
            else:
                raise Malformed("a piece of an octet string is something else")
        return octets

    def _take_run(self, octets: Octets) -> None:
        """Take this piece and those after it that have the very same header.

        Streaming senders cut tens of thousands of equal pieces. Comparing their headers by strided slices
        costs a hundredth of reading them one by one. The window doubles only while all of it matches, so the
        work stays in proportion to the pieces taken.
        """
        at, length = self._at, self._length
        header_size = self._body - at
        stride = header_size + length
        data = self._data
        header = bytes(data[at : at + header_size])
        limit = self._limit if self._end == _OPEN else self._end
        count = 1
        window = 1
        while True:
            begin = at + count * stride
            window = min(window, (limit - begin) // stride)
            same = window
            for offset in range(header_size):
                octet = header[offset : offset + 1]
                column = bytes(data[begin + offset : begin + offset + same * stride : stride])
                same = min(same, len(column) - len(column.lstrip(octet)))
            count += same
            if same < window or not window:
                break
            window = window * 2 if window >= _FIRST_WINDOW else _FIRST_WINDOW
        self._left -= count - 1
        if self._left < 0:
            raise TooLarge("too many elements", limit=MAX_ELEMENTS, found=MAX_ELEMENTS + 1)
        octets.add(self._body, length, stride, count)
        self._at = at + count * stride

    def _unexpected(self, tag: int) -> Malformed:
        return Malformed(f"expected tag {tag:#04x}, found {self._data[self._at]:#04x}")

    def _push(self) -> None:
        """Go into the element whose header was read last."""
        if len(self._outer) >= MAX_DEPTH:
            raise Malformed("nested too deeply")
        self._outer.append((self._end, self._limit))
        self._at = self._body
        if self._length == _OPEN:
            self._end = _OPEN
        else:
            self._end = self._limit = self._body + self._length

    def _at_contents_end(self) -> bool:
        at = self._at
        if at + 2 > self._limit:
            raise Malformed("no end of contents")
        if self._data[at] or self._data[at + 1]:
            return False
        self._at = at + 2
        return True

    def _header(self) -> int:
        """Read identifier and length; leaves `_body` and `_length` behind and the cursor where it was."""
        data, at, limit = self._data, self._at, self._limit
        if at + 2 > limit:
            raise Malformed("truncated element")
        self._left -= 1
        if self._left < 0:
            raise TooLarge("too many elements", limit=MAX_ELEMENTS, found=MAX_ELEMENTS + 1)
        tag, length = data[at], data[at + 1]
        if not tag or tag & 0x1F == 0x1F:
            raise Malformed("a tag that has no place in CMS")
        at += 2
        if length >= INDEFINITE:
            if length == INDEFINITE:
                if not tag & CONSTRUCTED:
                    raise Malformed("a primitive element of indefinite length")
                self._body, self._length = at, _OPEN
                return tag
            size = length & 0x7F
            if size > 4 or at + size > limit:
                raise Malformed("impossible length")
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > limit:
            raise Malformed("an element is longer than what holds it")
        self._body, self._length = at, length
        return tag
