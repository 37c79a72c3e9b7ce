"""The structure of a message: a tree of parts over the bytes as received (RFC 2045, 2046).

Bodies are cut by byte search and decoded only when asked for; the signed bytes of a part are a slice of what
came, never something written anew. All bounds are counts and sizes, so that no message costs more than time
linear in its length.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from directmsg.agent.errors import TooLarge
from directmsg.agent.fields import (
    Field,
    Fields,
    Structured,
    decode_base64,
    decode_bytes,
    first_token,
    parse_structured,
    read_block,
)

MAX_DEPTH = 20
MAX_PARTS = 1_000
MAX_OCTETS = 64 * 1024 * 1024
MAX_BOUNDARY = 1_000

_BOM = b"\xef\xbb\xbf"
_IDENTITY = frozenset({"", "7bit", "8bit", "binary"})
_KNOWN_ENCODINGS = _IDENTITY | {"base64", "quoted-printable"}


@dataclass(frozen=True)
class Part:
    """One entity: its header fields, where it lies in the bytes, and the entities inside.

    `path` numbers it: the whole is "1", its second child "1.2". `content_type` is lower case ("text/plain").
    `children` are the parts of a multipart, or the one message inside a message/rfc822.
    """

    path: str
    fields: Fields
    declared: Structured
    disposition: Structured
    encoding: str
    buffer: bytes = field(repr=False)
    start: int
    body_start: int
    end: int
    children: tuple[Part, ...] = field(default=(), repr=False)

    @property
    def content_type(self) -> str:
        return self.declared.value

    @property
    def is_multipart(self) -> bool:
        return self.content_type.startswith("multipart/")

    @property
    def is_message(self) -> bool:
        return self.content_type in ("message/rfc822", "message/global")

    @property
    def raw(self) -> bytes:
        """Header and body exactly as they stand between the delimiters: what a signature covers."""
        return self.buffer[self.start : self.end]

    @property
    def raw_view(self) -> memoryview:
        """`raw` where it lies, not copied."""
        return memoryview(self.buffer)[self.start : self.end]

    @property
    def body(self) -> bytes:
        """The body as it came, transfer encoding and all."""
        return self.buffer[self.body_start : self.end]

    @cached_property
    def content(self) -> bytes:
        """The body with its transfer encoding taken off; of a multipart the body as it came."""
        if self.is_multipart:
            return self.body
        if self.encoding == "base64":
            return decode_base64(self.buffer, self.body_start, self.end)[0]
        return decode_body(self.body, self.encoding)[0]

    @cached_property
    def size(self) -> int:
        """Octets of `content`."""
        return len(self.content)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over `content`, lower-case hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def charset(self) -> str | None:
        return self.declared.parameters.get("charset")

    @property
    def text(self) -> str:
        """`content` as text in the declared character set, with line ends LF; never raises."""
        text = decode_bytes(self.content.removeprefix(_BOM), self.charset)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    @property
    def filename(self) -> str:
        """The name the sender gave it, fit to be shown, or the empty string."""
        given = self.disposition.parameters.get("filename") or self.declared.parameters.get("name") or ""
        return clean_filename(given)

    @property
    def is_attachment(self) -> bool:
        """Whether the sender says it is an attachment, by disposition or by giving it a file name."""
        return self.disposition.value == "attachment" or bool(self.filename)

    def walk(self) -> Iterator[Part]:
        """This part and all inside, parents first."""
        stack = [self]
        while stack:
            part = stack.pop()
            yield part
            stack.extend(reversed(part.children))


@dataclass(frozen=True)
class Parsed:
    """A message that was read: the tree and what was wrong with it.

    `defects` are stable words, each once: `no_body`, `missing_blank_line`, `missing_boundary`,
    `missing_closing_boundary`, `no_parts`, `unknown_encoding`, `bad_base64`, `duplicate_field`,
    `bad_content_type`.
    """

    root: Part
    defects: tuple[str, ...]

    @property
    def fields(self) -> Fields:
        return self.root.fields


def parse(raw: bytes) -> Parsed:
    """Read the structure of a whole message or entity.

    A byte order mark before the first field is skipped; line ends may be CRLF or LF. Any bytes give a
    result, with what is broken in `defects`; only the bounds raise TooLarge: nesting 20, 1,000 parts, 100
    parameters a field, 64 pieces a parameter, a header block of 256 KiB, 64 MiB in all.
    """
    reader = _Reader()
    reader.take(len(raw))
    start = len(_BOM) if raw.startswith(_BOM) else 0
    root = reader.entity(raw, start, len(raw), path="1", depth=1, default="text/plain")
    return Parsed(root, tuple(reader.defects))


@dataclass
class _Reader:
    """What one parse has used up of its bounds, and the defects it met (a dict keeps their order)."""

    parts: int = 0
    octets: int = 0
    defects: dict[str, None] = field(default_factory=dict)

    def take(self, octets: int) -> None:
        self.octets += octets
        if self.octets > MAX_OCTETS:
            raise TooLarge("the decoded message is too large", limit=MAX_OCTETS, found=self.octets)

    def note(self, *defects: str) -> None:
        self.defects.update(dict.fromkeys(defects))

    def entity(self, buffer: bytes, start: int, end: int, *, path: str, depth: int, default: str) -> Part:
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise TooLarge("too many parts", limit=MAX_PARTS, found=self.parts)
        if depth > MAX_DEPTH:
            raise TooLarge("parts are nested too deep", limit=MAX_DEPTH, found=depth)
        block = read_block(buffer, start, end)
        if block.defects:
            self.note(*block.defects)
        kind, encoding, disposition = self._structural(block.fields)
        # Written past the frozen class: its children can only be read once the part is, nobody has seen it
        # without them, and setting each field through the class takes twice as long.
        part = Part.__new__(Part)
        part.__dict__.update(
            path=path,
            fields=block.fields,
            declared=self._declared(kind, default),
            disposition=parse_structured(disposition.unfolded) if disposition else _NO_DISPOSITION,
            encoding=self._encoding(encoding),
            buffer=buffer,
            start=start,
            body_start=block.body_start,
            end=end,
        )
        part.__dict__["children"] = self._children(part, depth)
        return part

    def _structural(self, fields: Fields) -> tuple[Field | None, Field | None, Field | None]:
        """The first Content-Type, Content-Transfer-Encoding and Content-Disposition, in one pass."""
        found: dict[str, Field] = {}
        for each in fields.items:
            if each.key not in _STRUCTURAL or found.setdefault(each.key, each) is each:
                continue
            if each.key != "content-disposition":
                self.note("duplicate_field")
        return (
            found.get("content-type"),
            found.get("content-transfer-encoding"),
            found.get("content-disposition"),
        )

    def _declared(self, first: Field | None, default: str) -> Structured:
        if first is None:
            return Structured(default, {})
        declared = parse_structured(first.unfolded)
        kind, slash, subtype = declared.value.partition("/")
        if slash and kind.strip() and subtype.strip():
            stripped = f"{kind.strip()}/{subtype.strip()}"
            return declared if stripped == declared.value else Structured(stripped, declared.parameters)
        self.note("bad_content_type")
        fallback = "text/plain" if kind in ("", "text") else "application/octet-stream"
        return Structured(fallback, declared.parameters)

    def _encoding(self, given: Field | None) -> str:
        """The transfer encoding; a word that is none ("null" occurs) says that nothing was encoded."""
        if given is None:
            return "7bit"
        encoding = given.unfolded.lower()
        if encoding not in _KNOWN_ENCODINGS:
            encoding = first_token(encoding)
        if encoding in _KNOWN_ENCODINGS:
            return encoding or "7bit"
        self.note("unknown_encoding")
        return "7bit"

    def _children(self, part: Part, depth: int) -> tuple[Part, ...]:
        if part.is_multipart:
            return self._multipart(part, depth)
        if part.is_message:
            return self._message(part, depth)
        return ()

    def _message(self, part: Part, depth: int) -> tuple[Part, ...]:
        """The message inside; RFC 2046 forbids to encode it, and senders do."""
        inner = {"path": f"{part.path}.1", "depth": depth + 1, "default": "text/plain"}
        if part.encoding in _IDENTITY:
            return (self.entity(part.buffer, part.body_start, part.end, **inner),)  # type: ignore[arg-type]
        content, clean = decode_body(part.body, part.encoding)
        self.take(len(content))
        if not clean:
            self.note("bad_base64")
        return (self.entity(content, 0, len(content), **inner),)  # type: ignore[arg-type]

    def _multipart(self, part: Part, depth: int) -> tuple[Part, ...]:
        boundary = part.declared.parameters.get("boundary", "").rstrip()
        if not boundary or len(boundary) > MAX_BOUNDARY:
            self.note("missing_boundary")
            return ()
        spans, closed = split_multipart(
            part.buffer,
            part.body_start,
            part.end,
            boundary.encode("utf-8", "replace"),
            MAX_PARTS - self.parts,
        )
        if not closed:
            self.note("missing_closing_boundary")
        if not spans:
            self.note("no_parts")
        default = "message/rfc822" if part.content_type == "multipart/digest" else "text/plain"
        return tuple(
            self.entity(part.buffer, start, end, path=f"{part.path}.{n}", depth=depth + 1, default=default)
            for n, (start, end) in enumerate(spans, 1)
        )


_NO_DISPOSITION = Structured("", {})
#: Of the first three a second one is a defect.
_STRUCTURAL = frozenset({"content-type", "content-transfer-encoding", "mime-version", "content-disposition"})


def split_multipart(
    data: bytes, start: int, end: int, boundary: bytes, most: int = MAX_PARTS
) -> tuple[list[tuple[int, int]], bool]:
    """Where the parts of the multipart body `data[start:end]` lie, and whether it is closed.

    The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1). Preamble and epilogue
    are no parts. Raises TooLarge for more than `most` parts.
    """
    delimiter = b"--" + boundary
    spans: list[tuple[int, int]] = []
    part_start: int | None = None
    at = start
    while (found := data.find(delimiter, at, end)) >= 0:
        at = found + len(delimiter)
        if found > start and data[found - 1] != 0x0A:
            continue
        line_end = data.find(b"\n", at, end)
        line_end = end if line_end < 0 else line_end + 1
        rest = data[at : min(line_end, at + 1_000)].strip(b" \t\r\n")
        if rest not in (b"", b"--"):
            continue  # a longer boundary that begins like ours
        if part_start is not None:
            spans.append((part_start, _before_line_end(data, part_start, found)))
            if len(spans) > most:
                raise TooLarge("too many parts", limit=MAX_PARTS, found=MAX_PARTS + 1)
        if rest == b"--":
            return spans, True
        part_start = at = line_end
    if part_start is not None and part_start < end:
        spans.append((part_start, end))
    return spans, False


def _before_line_end(data: bytes, start: int, at: int) -> int:
    if at > start and data[at - 1] == 0x0A:
        at -= 1
        if at > start and data[at - 1] == 0x0D:
            at -= 1
    return at


def decode_body(body: bytes, encoding: str) -> tuple[bytes, bool]:
    """Take a transfer encoding off (RFC 2045 section 6); returns the octets and whether it was clean."""
    if encoding == "base64":
        return decode_base64(body)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(_without_trailing_blanks(body)), True
    return body, True


def _without_trailing_blanks(body: bytes) -> bytes:
    """Blanks before a line end were added on the way (RFC 2045 section 6.7 rule 3)."""
    if not any(blank in body for blank in (b" \n", b" \r\n", b"\t\n", b"\t\r\n")):
        return body
    lines = body.split(b"\n")
    return b"\n".join(
        line[:-1].rstrip(b" \t") + b"\r" if line.endswith(b"\r") else line.rstrip(b" \t") for line in lines
    )


# --- file names -----------------------------------------------------------------------------------------

MAX_FILENAME = 200
MAX_SUFFIX = 20


def clean_filename(name: str) -> str:
    """`name` fit to be shown: last path segment, no control, format or bidi characters, at most 200 long.

    The suffix survives the cut. Never a path on disk. Empty when nothing is left.
    """
    segment = name.replace("\\", "/").rstrip("/ ").rpartition("/")[2]
    kept = "".join(each for each in segment if each.isprintable() and not _is_format(each))
    kept = " ".join(kept.split()).strip(" .") if kept.strip(" .") else ""
    if len(kept) <= MAX_FILENAME:
        return kept
    stem, dot, suffix = kept.rpartition(".")
    if not dot or len(suffix) > MAX_SUFFIX:
        return kept[:MAX_FILENAME]
    return stem[: MAX_FILENAME - len(suffix) - 1] + dot + suffix


def _is_format(character: str) -> bool:
    return (
        character in "\ufffd\ufeff\u061c\u180e"
        or "\u200b" <= character <= "\u200f"
        or ("\u2028" <= character <= "\u202e" or "\u2060" <= character <= "\u2069")
    )


def number_duplicates(names: list[str]) -> list[str]:
    """`names` made different, whatever the letter case: the second "a.pdf" becomes "a (2).pdf"."""
    taken: set[str] = set()
    result = []
    counts: dict[str, int] = {}
    for name in names:
        candidate = name
        while candidate.casefold() in taken:
            counts[name.casefold()] = counts.get(name.casefold(), 1) + 1
            candidate = _numbered(name, counts[name.casefold()])
        taken.add(candidate.casefold())
        result.append(candidate)
    return result


def _numbered(name: str, number: int) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem} ({number}){dot}{suffix}" if dot and stem else f"{name} ({number})"
