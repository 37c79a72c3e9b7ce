"""Messages for people: the text, attachments and fields of a parsed one, and new ones as bytes (RFC 5322)."""

from __future__ import annotations

import binascii
import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

import pybase64

from directmsg.agent.address import Mailbox, to_a_labels
from directmsg.agent.ber import Buffer
from directmsg.agent.errors import BadAddress, UnsafeField
from directmsg.agent.fields import decode_header_text
from directmsg.agent.mime import Part, number_duplicates, parse

__all__ = [
    "Attachment",
    "Content",
    "NewAttachment",
    "build_message",
    "decode_header_text",
    "parse",
    "parse_date",
    "read_content",
    "same_message_id",
]

MAX_LINE = 998
FOLD = 76

# --- reading --------------------------------------------------------------------------------------------

_SUFFIXES = {
    "text/plain": "txt",
    "text/html": "html",
    "text/xml": "xml",
    "text/calendar": "ics",
    "text/csv": "csv",
    "application/xml": "xml",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/json": "json",
    "application/fhir+json": "json",
    "application/fhir+xml": "xml",
    "application/pkcs7-mime": "p7m",
    "application/x-pkcs7-mime": "p7m",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/tiff": "tif",
    "message/rfc822": "eml",
    "message/global": "eml",
    "multipart/signed": "eml",
}
_SMIME = frozenset(
    {"multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """Something in a message besides its text. `filename` is never empty and differs from its neighbours'."""

    filename: str
    part: Part

    @property
    def content_type(self) -> str:
        """The declared type, a label only: what the bytes are must be seen from them."""
        return self.part.content_type

    @property
    def size(self) -> int:
        return len(self.data())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data()).hexdigest() if self._is_whole else self.part.sha256

    def data(self) -> bytes:
        """The octets; of a nested signed message the whole entity, so that it can be checked elsewhere."""
        return self.part.raw if self._is_whole else self.part.content

    @property
    def _is_whole(self) -> bool:
        return self.part.is_multipart


@dataclass(frozen=True, slots=True)
class Content:
    """What people see of a message: plain text, the source of an HTML version (hostile), attachments."""

    text: str
    html: str | None
    attachments: tuple[Attachment, ...]


def read_content(root: Part) -> Content:
    """Sort the parts of the message `root` into text, HTML and attachments.

    Text is every text/plain without a file name that is not said to be an attachment (of alternatives the
    first one); HTML the first text/html of that kind. Messages inside and anything signed or encrypted inside
    stay closed: they are attachments, and lend their content or their signature to nothing.
    """
    texts: list[str] = []
    htmls: list[str] = []
    others: list[Part] = []
    stack = [(root, False)]
    while stack:
        part, is_alternative = stack.pop()
        if part.is_multipart and part.content_type not in _SMIME and part.children:
            inside = part.content_type == "multipart/alternative"
            stack.extend((child, inside) for child in reversed(part.children))
        elif part.content_type == "text/plain" and _is_body(part, root) and not (is_alternative and texts):
            texts.append(part.text)
        elif part.content_type == "text/html" and _is_body(part, root) and not htmls:
            htmls.append(part.text)
        elif part.is_attachment or part.size:
            others.append(part)
    names = number_duplicates([_name_of(part, number) for number, part in enumerate(others, 1)])
    attachments = tuple(Attachment(name, part) for name, part in zip(names, others, strict=True))
    return Content("\n".join(texts), htmls[0] if htmls else None, attachments)


def _is_body(part: Part, root: Part) -> bool:
    if part.disposition.value == "attachment":
        return False
    return not part.filename or (part is root and not part.disposition.value)


def _name_of(part: Part, number: int) -> str:
    suffix = _SUFFIXES.get(part.content_type, "bin")
    return part.filename or f"attachment-{number}.{suffix}"


def parse_date(text: str) -> datetime | None:
    """The time in a Date field (RFC 5322 section 3.3), aware; None when it cannot be read."""
    try:
        found = parsedate_to_datetime(text[:200])
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        return aware if aware.astimezone(UTC).year > 1 else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def same_message_id(one: str, other: str) -> bool:
    """Whether two message identifiers are the same, with or without angle brackets; empty ones never are."""
    left, right = _bare_id(one), _bare_id(other)
    return bool(left) and left == right


def _bare_id(text: str) -> str:
    text = " ".join(text.split())
    return text[1:-1].strip() if text.startswith("<") and text.endswith(">") else text


# --- writing fields -------------------------------------------------------------------------------------

_FIELD_NAME = re.compile(r"[!-9;-~]{1,70}")
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_PLAIN_LOCAL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+|\"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*\""
)
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


def require_safe(value: str) -> str:
    """`value` when it cannot break out of its field: no CR, LF, NUL or other control. Raises UnsafeField."""
    if _UNSAFE.search(value):
        raise UnsafeField("a field value holds a control character")
    return value


def text_field(name: str, text: str) -> bytes:
    """An unstructured field, folded at 76, with encoded words where ASCII does not do (RFC 2047)."""
    return _join(name, _words(require_safe(text), 2 + len(name)))


def raw_field(name: str, value: str) -> bytes:
    """A structured field of ASCII tokens, folded at its blanks. Raises UnsafeField."""
    if not require_safe(value).isascii():
        raise UnsafeField("a structured field is not ASCII")
    pieces = value.split(" ")
    if any(len(piece) > MAX_LINE - 80 for piece in pieces):
        raise UnsafeField("a line of the field is too long")
    return _join(name, pieces)


def address_field(name: str, mailboxes: Sequence[Mailbox]) -> bytes:
    """A field of mailboxes, each with its display name (RFC 5322 section 3.4).

    Raises UnsafeField, or BadAddress for an address that cannot be written in ASCII.
    """
    pieces: list[str] = []
    for number, mailbox in enumerate(mailboxes):
        written = _mailbox_pieces(mailbox)
        if number + 1 < len(mailboxes):
            written[-1] += ","
        pieces += written
    return _join(name, pieces)


def _mailbox_pieces(mailbox: Mailbox) -> list[str]:
    address = require_safe(mailbox.address)
    local, _, domain = address.rpartition("@")
    if not _PLAIN_LOCAL.fullmatch(local):
        raise BadAddress("the local part cannot be written in ASCII")
    spec = f"{local}@{domain if domain.isascii() else to_a_labels(domain)}"
    to_a_labels(domain)
    name = require_safe(mailbox.name).strip()
    if not name:
        return [spec]
    if name.isascii() and len(name) <= 60 and "=?" not in name:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return [f'"{escaped}"', f"<{spec}>"]
    return [*_encoded_words(name, 12), f"<{spec}>"]


def _join(name: str, pieces: Sequence[str]) -> bytes:
    """`name: piece piece …`, folded before a piece that would reach over 76 columns."""
    if not _FIELD_NAME.fullmatch(name):
        raise UnsafeField("not the name of a field")
    lines = [f"{name}:"]
    for piece in pieces:
        # Never fold before the first piece: some readers take an empty first line for an empty field.
        if len(lines[-1]) + 1 + len(piece) > FOLD and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {piece}"
    return "\r\n".join(lines).encode("ascii") + b"\r\n"


def _words(text: str, indent: int) -> list[str]:
    plain = text.isascii() and "\t" not in text and "=?" not in text and text == " ".join(text.split())
    pieces = text.split(" ")
    if plain and all(len(piece) <= FOLD - indent - 2 for piece in pieces):
        return pieces if text else []
    return _encoded_words(text, indent)


def _encoded_words(text: str, indent: int) -> list[str]:
    """`text` as encoded words that fit the fold, no letter split between two (RFC 2047 section 5)."""
    words: list[str] = []
    chunk = b""
    room = max(12, (FOLD - indent - 13) // 4 * 3)
    for character in text:
        octets = character.encode("utf-8")
        if len(chunk) + len(octets) > room:
            words.append(_encoded_word(chunk))
            chunk, room = b"", (FOLD - 1 - 12) // 4 * 3 - 3
        chunk += octets
    return [*words, _encoded_word(chunk)] if chunk else words


def _encoded_word(octets: bytes) -> str:
    return f"=?utf-8?B?{pybase64.b64encode(octets).decode('ascii')}?="


# --- writing messages -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """A file to be sent. `content_type` is "type/subtype" without parameters."""

    filename: str
    content_type: str
    data: bytes


def build_message(
    *,
    sender: Mailbox,
    to: Sequence[Mailbox],
    subject: str,
    date: datetime,
    message_id: str,
    text: str,
    cc: Sequence[Mailbox] = (),
    html: str | None = None,
    attachments: Sequence[NewAttachment] = (),
    in_reply_to: str = "",
    references: Sequence[str] = (),
    extra_fields: Sequence[tuple[str, str]] = (),
    extra_parts: Sequence[bytes] = (),
) -> bytes:
    """A message as bytes: CRLF, seven-bit, lines of at most 76 octets (998 where nothing folds).

    `date` is aware; `message_id` and `references` are written with angle brackets if they lack them;
    `extra_fields` are names and ASCII values; `extra_parts` entities that are complete, between text and
    attachments. The same arguments give the same bytes. Raises UnsafeField for
    a value with CR, LF, NUL or another control character, BadAddress for an address that cannot be written.
    """
    fields = envelope_fields(
        sender=sender,
        to=to,
        cc=cc,
        subject=subject,
        date=date,
        message_id=message_id,
        in_reply_to=in_reply_to,
        references=references,
        extra_fields=extra_fields,
    )
    body = text_part(text)
    if html is not None:
        body = multipart("alternative", [body, text_part(html, "html")])
    if attachments or extra_parts:
        body = multipart("mixed", [body, *extra_parts, *map(attachment_part, attachments)])
    return fields + body


def envelope_fields(
    *,
    sender: Mailbox,
    to: Sequence[Mailbox],
    subject: str,
    date: datetime,
    message_id: str,
    cc: Sequence[Mailbox] = (),
    in_reply_to: str = "",
    references: Sequence[str] = (),
    extra_fields: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The fields of a message up to and with MIME-Version, each ending in CRLF; see `build_message`."""
    if date.tzinfo is None:
        raise ValueError("date must be an aware datetime")
    lines = [address_field("From", [sender])]
    if to:
        lines.append(address_field("To", to))
    if cc:
        lines.append(address_field("Cc", cc))
    lines += [
        text_field("Subject", subject),
        raw_field("Date", format_datetime(date)),
        raw_field("Message-ID", in_brackets(message_id)),
    ]
    if in_reply_to:
        lines.append(raw_field("In-Reply-To", in_brackets(in_reply_to)))
    if references:
        lines.append(raw_field("References", " ".join(map(in_brackets, references))))
    lines += [raw_field(name, value) for name, value in extra_fields]
    lines.append(b"MIME-Version: 1.0\r\n")
    return b"".join(lines)


def in_brackets(message_id: str) -> str:
    """A message identifier with its angle brackets."""
    return f"<{_bare_id(require_safe(message_id))}>"


def text_part(
    text: str,
    subtype: str = "plain",
    disposition: Sequence[str] = (),
    fields: Sequence[tuple[str, str]] = (),
) -> bytes:
    """A text entity with its own fields, the text in UTF-8, seven-bit as it stands or quoted-printable."""
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    octets = normal.encode("utf-8", "replace").replace(b"\n", b"\r\n")
    is_plain = octets.isascii() and b"\x00" not in octets
    if is_plain and all(len(line) <= FOLD + 2 for line in octets.split(b"\r\n")):
        return entity(f"text/{subtype}; charset=us-ascii", "7bit", octets, disposition, fields)
    encoded = binascii.b2a_qp(normal.encode("utf-8", "replace"), istext=True).replace(b"\n", b"\r\n")
    return entity(f"text/{subtype}; charset=utf-8", "quoted-printable", encoded, disposition, fields)


def attachment_part(attachment: NewAttachment) -> bytes:
    """A base64 entity of an attachment; messages and multiparts travel as octets, since those may not be."""
    content_type = require_safe(attachment.content_type).lower()
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise UnsafeField("not a content type")
    if content_type.startswith(("message/", "multipart/")):
        content_type = "application/octet-stream"
    disposition = ["attachment", *filename_parameters(attachment.filename)]
    return base64_entity(content_type, attachment.data, disposition)


def filename_parameters(filename: str) -> list[str]:
    """`filename` as parameters of a Content-Disposition: quoted, or in RFC 2231 form, in pieces if long."""
    require_safe(filename)
    if filename.isascii() and "\t" not in filename and "%" not in filename and len(filename) <= 50:
        escaped = filename.replace("\\", "\\\\").replace('"', '\\"')
        return [f'filename="{escaped}"'] if filename else []
    pieces: list[str] = [""]
    for octet in filename.encode("utf-8"):
        written = chr(octet) if (chr(octet).isalnum() and octet < 128) or octet in b".-_" else f"%{octet:02X}"
        if len(pieces[-1]) + len(written) > 48:
            pieces.append("")
        pieces[-1] += written
    if len(pieces) == 1:
        return [f"filename*=UTF-8''{pieces[0]}"]
    head = [f"filename*0*=UTF-8''{pieces[0]}"]
    return head + [f"filename*{number}*={piece}" for number, piece in enumerate(pieces[1:], 1)]


def base64_entity(content_type: str, data: Buffer, disposition: Sequence[str] = ()) -> bytes:
    """An entity of `data` in base64 with lines of 76 characters."""
    return entity(content_type, "base64", base64_lines(data), disposition)


#: Cuts encoded octets into lines; one call for so many takes a third of the time of one call each.
_LINES = struct.Struct("76s" * 512)
_OCTETS = 512 * 57


def base64_lines(data: Buffer) -> bytes:
    """`data` in base64, in lines of 76 characters that end in CRLF (RFC 2045 section 6.8)."""
    whole = len(data) - len(data) % _OCTETS
    if not whole:
        return pybase64.encodebytes(data).replace(b"\n", b"\r\n")
    view = memoryview(data).cast("B")
    lines = [b"\r\n".join(cut) for cut in _LINES.iter_unpack(pybase64.b64encode(view[:whole]))]
    rest = pybase64.encodebytes(view[whole:]).replace(b"\n", b"\r\n")
    return b"\r\n".join([*lines, rest])


def entity(
    content_type: str,
    encoding: str,
    body: bytes,
    disposition: Sequence[str] = (),
    fields: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Content fields, further `fields`, a blank line, and `body` as it is."""
    if fields or (disposition and not content_type.startswith("application/pkcs7-")):
        return _entity_head(content_type, encoding, tuple(disposition), tuple(fields)) + body
    return _usual_head(content_type, encoding, tuple(disposition)) + body


def _entity_head(
    content_type: str,
    encoding: str,
    disposition: tuple[str, ...],
    fields: tuple[tuple[str, str], ...] = (),
) -> bytes:
    lines = [_parameter_field("Content-Type", content_type.split("; "))]
    lines.append(raw_field("Content-Transfer-Encoding", encoding))
    if disposition:
        lines.append(_parameter_field("Content-Disposition", disposition))
    lines += [raw_field(name, value) for name, value in fields]
    return b"".join(lines) + b"\r\n"


#: The heads of text, signature and envelope are the same again and again. Names of files are not kept.
_usual_head = lru_cache(maxsize=64)(_entity_head)


def _parameter_field(name: str, pieces: Sequence[str]) -> bytes:
    written = [f"{piece};" for piece in pieces[:-1]] + [pieces[-1]]
    return _join(name, [require_safe(piece) for piece in written])


def multipart(
    subtype: str, parts: Sequence[Buffer], parameters: Sequence[str] = (), *, boundary: str = ""
) -> bytes:
    """A multipart entity of entities (RFC 2046 section 5.1).

    The boundary, unless one is given, is a digest of the parts: it cannot stand in any of them, and the bytes
    can be made again.
    """
    boundary = boundary or boundary_of(parts)
    head = _parameter_field("Content-Type", [f"multipart/{subtype}", *parameters, f'boundary="{boundary}"'])
    delimiter = f"--{boundary}".encode("ascii")
    pieces: list[Buffer] = [head, b"\r\n"]
    for part in parts:
        pieces += (delimiter, b"\r\n", part, b"\r\n")
    return b"".join([*pieces, delimiter, b"--\r\n"])


def boundary_of(parts: Sequence[Buffer]) -> str:
    """A boundary that stands in none of `parts`, made of their digest."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return f"=_{digest.hexdigest()[:40]}"
