"""Header fields of a message: where they lie, what their text and parameters say.

Everything works on bytes, is bounded by counts and sizes looked at first, and takes time linear in its input.
A field whose form is broken gives its text as far as it can be read, never an exception; only bounds raise.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import pybase64

from directmsg.agent.errors import TooLarge

MAX_BLOCK_OCTETS = 262_144
MAX_FIELD_OCTETS = 16 * 1024
MAX_ADDRESS_FIELD_OCTETS = 64 * 1024
MAX_FIELDS = 1_000
MAX_PARAMETERS = 100
MAX_SEGMENTS = 64

#: Fields that hold addresses or message identifiers, which grow with the number of people in a conversation.
LONG_FIELDS = frozenset({"from", "sender", "reply-to", "to", "cc", "bcc", "references", "in-reply-to"})

#: Name, colon, and the value with its folds and its line end.
_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*\n?)")
#: An encoded word (RFC 2047 section 2); blanks inside the text are seen in practice and taken.
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_CHARSET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}")
#: Codecs of Python that are no character sets of mail, or that a hostile text could make expensive.
_NOT_CHARSETS = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7", "undefined", "mbcs", "oem"}
)
#: What senders call by the name of the smaller set (the WHATWG Encoding Standard, section 4.2).
_WIDER = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_TOKEN = re.compile(r"[^\s()<>@,;:\\\"/\[\]?=]+")


class Field(NamedTuple):
    """One header field: its name as written and in lower case, and its value with the folds still in it."""

    name: str
    key: str
    value: bytes

    @property
    def unfolded(self) -> str:
        """The value on one line, encoded words not decoded; bytes that are no UTF-8 are read as cp1252."""
        value = self.value.strip()
        return _bytes_to_text(_unfold(value) if b"\n" in value or b"\t" in value else value).strip()

    @property
    def text(self) -> str:
        """The value as people should read it, as `decode_header_text` gives it."""
        return decode_header_text(self.value)


#: From so many fields on an index is worth its making.
_FEW = 24


@dataclass(frozen=True)
class Fields:
    """The header fields of one entity, in their order."""

    items: tuple[Field, ...]

    @cached_property
    def _by_key(self) -> dict[str, list[Field]]:
        found: dict[str, list[Field]] = {}
        for field in self.items:
            found.setdefault(field.key, []).append(field)
        return found

    def __iter__(self) -> Iterator[Field]:
        return iter(self.items)

    def __contains__(self, name: str) -> bool:
        return self.first(name) is not None

    def all(self, name: str) -> tuple[Field, ...]:
        """Every field called `name`, in any letter case."""
        key = name.lower()
        if len(self.items) > _FEW:
            return tuple(self._by_key.get(key, ()))
        return tuple([each for each in self.items if each.key == key])

    def first(self, name: str) -> Field | None:
        key = name.lower()
        if len(self.items) > _FEW:
            return self._by_key.get(key, [None])[0]
        for each in self.items:
            if each.key == key:
                return each
        return None

    def text(self, name: str) -> str:
        """The decoded text of the first field called `name`, or the empty string."""
        field = self.first(name)
        return field.text if field else ""

    def unfolded(self, name: str) -> str:
        """The first field called `name` on one line and not decoded, or the empty string."""
        field = self.first(name)
        return field.unfolded if field else ""


class Block(NamedTuple):
    """A header block that was read: its fields, where the body begins, and what was wrong with it."""

    fields: Fields
    body_start: int
    defects: tuple[str, ...]


def read_block(data: bytes, start: int = 0, end: int | None = None) -> Block:
    """Read the header block of the entity `data[start:end]` (RFC 5322 section 2.2).

    Line ends may be CRLF or LF. Nothing behind the first blank line is looked at. A line that is no field
    ends the block (defect `missing_blank_line`). Raises TooLarge when block, field or count of fields is over
    its bound.
    """
    stop = len(data) if end is None else end
    empty = _line_break(data, start, stop)
    if empty:
        return Block(Fields(()), start + empty, ())
    head_end = _head_end(data, start, min(stop, start + MAX_BLOCK_OCTETS + 4))
    blank = head_end >= 0
    if not blank:
        if stop - start > MAX_BLOCK_OCTETS:
            raise TooLarge("header block without an end", limit=MAX_BLOCK_OCTETS, found=stop - start)
        head_end = stop
    body_start = head_end + _line_break(data, head_end, stop)
    items, fields_end = _read_fields(data, start, head_end)
    if fields_end < head_end:
        return Block(Fields(items), fields_end, ("missing_blank_line",))
    return Block(Fields(items), body_start, () if blank else ("no_body",))


def _head_end(data: bytes, start: int, end: int) -> int:
    """Where the first blank line begins, or -1."""
    found = data.find(b"\n\r\n", start, end)
    bare = data.find(b"\n\n", start, end if found < 0 else found + 1)
    return (bare if bare >= 0 else found) + 1 or -1


def _line_break(data: bytes, at: int, end: int) -> int:
    """How many octets the line break at `at` has; 0 when there is none."""
    if data.startswith(b"\r\n", at, end):
        return 2
    return 1 if data.startswith(b"\n", at, end) else 0


def _read_fields(data: bytes, start: int, end: int) -> tuple[tuple[Field, ...], int]:
    """The fields of `data[start:end]`, and where the first line stands that is none (or `end`)."""
    items: list[Field] = []
    at = start
    if data.startswith((b"From ", b">From "), start, end):
        at = _line_end(data, start, end)  # the separator line of a mailbox file
    read = _FIELD.match
    while at < end:
        match = read(data, at, end)
        if match is None:
            break
        if len(items) == MAX_FIELDS:
            raise TooLarge("too many header fields", limit=MAX_FIELDS, found=MAX_FIELDS + 1)
        name = match[1].decode("ascii")
        key = name.lower()
        size = match.end() - at
        if size > MAX_FIELD_OCTETS:
            _require_size(key, size)
        items.append(Field(name, key, match[2]))
        at = match.end()
    return tuple(items), at


def _line_end(data: bytes, at: int, end: int) -> int:
    found = data.find(b"\n", at, end)
    return end if found < 0 else found + 1


def _require_size(key: str, size: int) -> None:
    limit = MAX_ADDRESS_FIELD_OCTETS if key in LONG_FIELDS else MAX_FIELD_OCTETS
    if size > limit:
        raise TooLarge("a header field is too long", limit=limit, found=size)


def _unfold(value: bytes) -> bytes:
    """Take the line ends out of a folded value (RFC 5322 section 2.2.3); a tab becomes a space."""
    return value.replace(b"\r\n", b"").replace(b"\n", b"").replace(b"\t", b" ")


# --- text -----------------------------------------------------------------------------------------------


def decode_header_text(value: bytes | str) -> str:
    """The text of an unstructured field or phrase: unfolded, RFC 2047 words decoded, blanks at the ends cut.

    `value` is cut to 64 KiB. Words of one charset that stand side by side are joined before they are
    decoded, because senders split letters between them. Control characters become U+FFFD, so that the result
    is safe to show and whoever must refuse them sees that something stood there. Nothing is normalised.
    """
    if isinstance(value, bytes):
        text = _bytes_to_text(_unfold(value[:MAX_ADDRESS_FIELD_OCTETS]))
    else:
        text = value[:MAX_ADDRESS_FIELD_OCTETS].replace("\r\n", "").replace("\n", "").replace("\t", " ")
    return clean_controls(_decode_words(text)).strip()


def clean_controls(text: str) -> str:
    """`text` with every control character other than tab, CR and LF, and every surrogate, as U+FFFD."""
    return text if text.isprintable() else _CONTROL.sub("\ufffd", text)


def _decode_words(text: str) -> str:
    if "=?" not in text:
        return _one_line(text)
    pieces: list[str] = []
    pending: list[bytes] = []
    charset, at = "", 0
    for word in _ENCODED_WORD.finditer(text):
        between = text[at : word.start()]
        name = word[1].partition("*")[0].lower()  # RFC 2231 section 5 adds a language
        if pending and (between.strip() or name != charset):
            pieces.append(_one_line(decode_bytes(b"".join(pending), charset)))
            pending = []
            pieces.append(_one_line(between) if between.strip() else "")
        elif not pending:
            pieces.append(_one_line(between) if between.strip() or at == 0 else "")
        pending.append(_word_bytes(word[2], word[3]))
        charset, at = name, word.end()
    if pending:
        pieces.append(_one_line(decode_bytes(b"".join(pending), charset)))
    pieces.append(_one_line(text[at:]))
    return "".join(pieces)


def _one_line(text: str) -> str:
    """A CR or LF that survived unfolding stands for nothing a field may hold."""
    return text.replace("\r", "\ufffd").replace("\n", "\ufffd").replace("\t", " ")


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "bB":
        return decode_base64(raw)[0]
    return binascii.a2b_qp(raw.replace(b"\r", b"").replace(b"\n", b""), header=True)


def _bytes_to_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


@lru_cache(maxsize=256)
def _codec(name: str) -> str | None:
    """Python's name of the character set `name`, or None when it is unknown or not one."""
    if not _CHARSET_NAME.fullmatch(name):
        return None
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if not getattr(info, "_is_text_encoding", True) or info.name in _NOT_CHARSETS:
        return None
    return _WIDER.get(info.name, info.name)


def decode_bytes(data: bytes, charset: str | None) -> str:
    """Bytes as text in the declared `charset`; where that is missing, unknown or wrong, UTF-8, then cp1252.

    Never raises: what cannot be read stands as U+FFFD.
    """
    codec = _codec((charset or "utf-8").strip().strip("\"'").lower())
    if codec is not None and codec != "cp1252":
        try:
            return data.decode(codec)
        except UnicodeDecodeError:
            pass
    # Text declared as ASCII or Latin-1 is often UTF-8; the reverse hardly ever decodes.
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        fallback = codec if codec is not None and codec != "utf-8" else "cp1252"
        return data.decode(fallback, "replace")


_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)


def decode_base64(data: bytes, start: int = 0, end: int | None = None) -> tuple[bytes, bool]:
    """Decode base64 (RFC 2045 section 6.8) of any line length; returns the octets and whether it was clean.

    `data[start:end]` is read where it lies. Characters outside the alphabet are skipped, padding ends the
    data, missing padding is added; clean is what needed no more than the first of these.
    """
    stop = len(data) if end is None else end
    padding = data.find(b"=", start, stop)
    try:
        if padding < 0 or not data[padding:stop].strip(b"=\r\n \t"):
            return pybase64.b64decode(memoryview(data)[start:stop]), True
        raise binascii.Error("padding inside the data")
    except (binascii.Error, ValueError):
        kept = data[start:stop].translate(None, _NOT_BASE64).partition(b"=")[0]
        whole = len(kept) - (1 if len(kept) % 4 == 1 else 0)
        return pybase64.b64decode(kept[:whole] + b"=" * (-whole % 4)), False


# --- structured fields ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Structured:
    """A value with parameters: `value` in lower case, parameter names in lower case, their values as text."""

    value: str
    parameters: Mapping[str, str]


#: Texts of fields up to this length are remembered with what they say: most come by again.
_SHORT = 200


def parse_structured(text: str) -> Structured:
    """Read `value; name=value; …` as Content-Type and Content-Disposition have it (RFC 2045, 2183, 2231).

    Parameters come in any order, quoted or not, with blanks and comments between; of two with one name the
    first counts. RFC 2231 values (also in pieces) beat plain ones, and plain ones may hold RFC 2047 words.
    Raises TooLarge for over 100 parameters or over 64 pieces of one.
    """
    if len(text) > _SHORT or _names_a_file(text.lower()):
        return _read_structured(text)
    return _known_structured(text)


def _names_a_file(text: str) -> bool:
    """Whether something of the message itself would be kept, longer than the message."""
    return "name" in text and "smime.p7" not in text


def _read_structured(text: str) -> Structured:
    pieces = _split_outside_quotes(text)
    value = _strip_comments(pieces[0]).strip().strip('"').strip().lower()
    if len(pieces) == 1:
        return Structured(value, {})
    if len(pieces) - 1 > MAX_PARAMETERS:
        raise TooLarge("too many parameters", limit=MAX_PARAMETERS, found=len(pieces) - 1)
    plain: dict[str, str] = {}
    for piece in pieces[1:]:
        name, equals, raw = piece.partition("=")
        name = _strip_comments(name).strip().lower()
        if equals and name and name not in plain:
            plain[name] = _unquote(raw)
    return Structured(value, _join_extended(plain))


_known_structured = lru_cache(maxsize=512)(_read_structured)


def _split_outside_quotes(text: str) -> list[str]:
    """Cut at each semicolon that stands in no quoted string."""
    if '"' not in text and "\\" not in text:
        return text.split(";")
    pieces: list[str] = []
    begin = at = 0
    quoted = False
    for mark in re.finditer(r'\\.|[";]', text):
        at = mark.start()
        if mark[0] == '"':
            quoted = not quoted
        elif mark[0] == ";" and not quoted:
            pieces.append(text[begin:at])
            begin = at + 1
    pieces.append(text[begin:])
    if quoted and len(pieces) == 1 and ";" in text:
        return text.split(";")  # the closing quote is missing: read it as if there were no quotes
    return pieces


def _strip_comments(text: str) -> str:
    """`text` without its (nested) comments; one that is never closed reaches to the end."""
    if "(" not in text:
        return text
    kept: list[str] = []
    depth = begin = 0
    for mark in re.finditer(r"\\.|[()]", text):
        if mark[0] == "(":
            if depth == 0:
                kept.append(text[begin : mark.start()])
            depth += 1
        elif mark[0] == ")" and depth:
            depth -= 1
            begin = mark.end()
    if depth == 0:
        kept.append(text[begin:])
    return " ".join(kept)


def _unquote(raw: str) -> str:
    raw = raw.strip()
    if not raw.startswith('"'):
        # A comment behind the value goes; brackets in the middle are part of a careless file name.
        return (raw.rpartition(" (")[0] if raw.endswith(")") and " (" in raw else raw).strip().strip('"')
    inner: list[str] = []
    for match in re.finditer(r'\\(.)|([^\\"]+)|(")', raw[1:]):
        if match[3]:
            break
        # A backslash before a letter is a Windows path, not an escape.
        inner.append(match[2] or (match[1] if match[1] in '"\\' else match[0]))
    return "".join(inner)


_SEGMENT = re.compile(r"([^*]+)\*(?:([0-9]{1,4})(\*?))?")


def _join_extended(plain: dict[str, str]) -> dict[str, str]:
    """Replace `name*`, `name*0`, `name*1*` … by `name` (RFC 2231 sections 3 and 4)."""
    result: dict[str, str] = {}
    if not any("*" in name or "=?" in value for name, value in plain.items()):
        return {name: clean_controls(value) for name, value in plain.items()}
    segments: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, value in plain.items():
        match = _SEGMENT.fullmatch(name)
        if match is None:
            result.setdefault(name, decode_header_text(value) if "=?" in value else clean_controls(value))
            continue
        number = int(match[2]) if match[2] else 0
        encoded = match[2] is None or bool(match[3])
        segments.setdefault(match[1], {}).setdefault(number, (value, encoded))
    for name, parts in segments.items():
        if len(parts) > MAX_SEGMENTS:
            raise TooLarge("too many pieces of one parameter", limit=MAX_SEGMENTS, found=len(parts))
        result[name] = _join_segments(parts)
    return result


def _join_segments(parts: dict[int, tuple[str, bool]]) -> str:
    charset: str | None = None
    octets: list[bytes] = []
    for position, number in enumerate(sorted(parts)):
        if position != number:
            break
        value, encoded = parts[number]
        if encoded and position == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        octets.append(_percent_decode(value) if encoded else value.encode("utf-8", "replace"))
    return clean_controls(_one_line(decode_bytes(b"".join(octets), charset)))


def _percent_decode(value: str) -> bytes:
    return re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), value.encode("utf-8", "replace")
    )


def first_token(text: str) -> str:
    """The first token of a structured value in lower case, comments skipped (Content-Transfer-Encoding)."""
    match = _TOKEN.search(_strip_comments(text))
    return match[0].lower() if match else ""
