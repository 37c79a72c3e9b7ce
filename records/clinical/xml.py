"""The one hardened XML parser for received documents.

Bytes in, root element out. A document is refused, never repaired: whatever is dropped in silence would be
missing from somebody's chart. No DTD, no entities, no network; bounds on bytes, elements and depth.
"""

import codecs
import re
from dataclasses import dataclass

from lxml import etree

from records.clinical.errors import (
    BadEncoding,
    EmptyDocument,
    Encrypted,
    HasDoctype,
    NoSuchPath,
    NotWellFormed,
    NotXml,
    TooDeep,
    TooLarge,
    TooManyElements,
)

Element = etree._Element

# Longest mark first: the one of UTF-16 LE begins the one of UTF-32 LE.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Without a mark, by the first bytes of "<?" or "<x" (XML 1.0 appendix F).
_FIRST_BYTES = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
# Only encodings in which the characters of a DOCTYPE are their ASCII bytes, so that the look ahead of the
# parser below cannot be deceived (UTF-7 and EBCDIC could hide one).
_ENCODINGS = re.compile(
    r"utf-?8|us-ascii|ascii|utf-?16(le|be)?|iso-?8859-?\d{1,2}|iso_8859-\d{1,2}|latin-?\d|windows-125\d|cp125\d",
    re.IGNORECASE,
)
_DECLARED = re.compile(r"<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']{1,40})[\"']")
_PROLOG_SCAN = 1 << 12
_BINARY_FORMATS = (
    b"%PDF",
    b"PK\x03\x04",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"\x1f\x8b",
    b"{\\rtf",
    b"\xd0\xcf\x11\xe0",
)
_ENCRYPTED_FORMATS = (
    b"Salted__",
    b"-----BEGIN PGP",
    b"age-encryption.org",
    b"\x85\x01",
    b"\x85\x02",
    b"AES\x02",
)
_NODE_PATH = re.compile(r"(/\*(\[\d+\])?)+")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one document: bytes, elements (and attributes), nesting."""

    size: int = 64 * 1024 * 1024
    elements: int = 1_000_000
    attributes: int = 4_000_000
    depth: int = 100


DEFAULT_LIMITS = Limits()


def parse(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Element:
    """Parse a received document.

    :param data: the document's bytes as received; its encoding declaration or mark is honoured.
    :param limits: bounds.
    :returns: the root element; comments and processing instructions are gone, paths of elements are not
        changed by that.
    :raises UnreadableDocument: one of its leaves, saying why.
    """
    if len(data) > limits.size:
        raise TooLarge(f"{len(data)} bytes, at most {limits.size}")
    encoding = _look_ahead(data)
    # An element takes four bytes at least, so most documents need no count.
    if len(data) > 4 * limits.elements and _too_many(data, limits):
        raise TooManyElements(f"more than {limits.elements} elements or {limits.attributes} attributes")
    root = _build(data, encoding)
    if root.getroottree().docinfo.internalDTD is not None:
        raise HasDoctype("the document has a DOCTYPE")
    if _deeper_than(limits.depth)(root):
        raise TooDeep(f"elements nested more than {limits.depth} deep")
    return root


def _too_many(data: bytes, limits: Limits) -> bool:
    """An upper bound taken before the tree is built: text and comments count too."""
    elements = data.count(b"<") - data.count(b"</")
    return elements > limits.elements or data.count(b"=") > limits.attributes


def resolve_path(data: bytes | Element, path: str) -> Element:
    """Find the element an :class:`~records.clinical.types.Item` came from.

    :param data: the same document, as bytes or as its root.
    :param path: ``Item.path`` or ``Section.path``: steps of the form ``*`` or ``*[n]``.
    :raises NoSuchPath: when the path is not of that form or leads nowhere.
    """
    if not _NODE_PATH.fullmatch(path):
        raise NoSuchPath("not an element path")
    root = parse(data) if isinstance(data, bytes) else data
    found = root.getroottree().xpath(path)
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], Element):
        raise NoSuchPath("the path leads to no single element of this document")
    return found[0]


def _build(data: bytes, encoding: str | None) -> Element:
    parser = etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,  # a base64 PDF is one text node of more than 10 MB
        remove_pis=True,
        remove_comments=True,
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        message = str(error.msg or "")
        if "xcessive depth" in message:
            raise TooDeep("elements nested too deep for the parser") from error
        if data[:1] == b"<" or b"<" in data[:8]:
            raise NotWellFormed(message[:200]) from error
        raise NotXml(message[:200]) from error


def _look_ahead(data: bytes) -> str | None:
    """Refuse what is no XML, and any DOCTYPE, before the parser sees it.

    With ``huge_tree`` libxml2 has no bound on the growth of entities in attribute values, so a DOCTYPE must
    not be read at all.

    :returns: the encoding, where the declaration is plainly wrong about it.
    """
    head = data[:_PROLOG_SCAN]
    text = _decode(head)
    start = text.lstrip()
    if not start:
        if len(data) > len(head):
            # More white space than any document starts with.
            raise NotXml("no element at the start")
        raise EmptyDocument("no content")
    if not start.startswith("<"):
        raise _not_xml(data)
    declared = _DECLARED.match(start)
    if declared and not _ENCODINGS.fullmatch(declared.group(1).strip()):
        raise BadEncoding("an encoding that clinical documents do not come in")
    rest = _after_prolog(text)
    if rest is None:
        # A prolog longer than the look ahead: read all of it, once.
        rest = _after_prolog(_decode(data))
    if rest is not None and rest[:9].upper() == "<!DOCTYPE":
        raise HasDoctype("the document has a DOCTYPE")
    # Programs that keep text as UTF-16 declare that, and then write UTF-8.
    wide = declared is not None and declared.group(1).strip().lower().startswith("utf-16")
    return "utf-8" if wide and data.startswith(b"<?xml ") else None


def _decode(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    for first, encoding in _FIRST_BYTES:
        if data.startswith(first):
            return data.decode(encoding, "replace")
    return data.decode("latin-1")


def _after_prolog(text: str) -> str | None:
    """What follows declarations, comments and instructions; None when the text ends inside one of them."""
    at, end = 0, len(text)
    while at < end:
        if text[at].isspace():
            at += 1
        elif text.startswith("<?", at):
            at = text.find("?>", at) + 2
            if at == 1:
                return None
        elif text.startswith("<!--", at):
            at = text.find("-->", at + 4) + 3
            if at == 2:
                return None
        else:
            return text[at : at + 16]
    return None


def _not_xml(data: bytes) -> NotXml | Encrypted:
    start = data.lstrip()[:32]
    if start.startswith(_ENCRYPTED_FORMATS):
        return Encrypted("encrypted bytes")
    if start.startswith(_BINARY_FORMATS):
        return NotXml("another file format")
    sample = data[:4096]
    control = sum(byte < 9 or 13 < byte < 32 for byte in sample)
    if control * 20 > len(sample):
        return Encrypted("binary bytes of no known format, probably encrypted")
    return NotXml("text that is no XML")


_DEPTH_TESTS: dict[int, etree.XPath] = {}


def _deeper_than(depth: int) -> etree.XPath:
    """A test for an element nested deeper than ``depth``, the root being at depth 1; run inside libxml2."""
    if depth not in _DEPTH_TESTS:
        _DEPTH_TESTS[depth] = etree.XPath(f"boolean({'/*' * (depth + 1)})")
    return _DEPTH_TESTS[depth]
