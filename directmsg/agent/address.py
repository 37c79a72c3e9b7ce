"""Mailboxes: reading them from header fields, and comparing them.

An address is kept as received for display and replies, and normalised only to be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import idna

from directmsg.agent.errors import BadAddress
from directmsg.agent.fields import decode_header_text

MAX_ADDRESS = 254
MAX_MAILBOXES = 1_000

_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u0080-\U0010ffff-]+")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_QUOTED_LOCAL = re.compile(r'"(?:[^"\\\r\n\x00]|\\[\x20-\x7e])*"')


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name (may be empty) and an address, both as the sender wrote them."""

    name: str
    address: str

    @property
    def local(self) -> str:
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    @property
    def key(self) -> str:
        """The address normalised, to be compared."""
        return normalise(self.address)


# --- comparing ------------------------------------------------------------------------------------------


def normalise(address: str) -> str:
    """`address` as it is compared: both parts in lower case, the domain as A-labels (RFC 5890).

    Never raises: what is no address comes back stripped and in lower case, and equals nothing but itself.
    Only ASCII letters are folded in the local part; other scripts hold letters that would fold into ASCII.
    """
    text = address.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    local, at, domain = text.rpartition("@")
    if not at:
        return _lower_ascii(text)
    try:
        domain = to_a_labels(domain)
    except BadAddress:
        domain = _lower_ascii(domain)
    return f"{_lower_ascii(local)}@{domain}"


def same(one: str, other: str) -> bool:
    """Whether two addresses name the same mailbox."""
    return normalise(one) == normalise(other)


def without_tag(address: str) -> str:
    """`address` without the `+tag` of its local part (for looking up certificates and mailboxes)."""
    local, at, domain = address.rpartition("@")
    if local.startswith('"'):
        return address
    plain = local.partition("+")[0]
    return f"{plain}{at}{domain}" if plain else address


def to_a_labels(domain: str) -> str:
    """A domain of at least two labels in lower case, other scripts as A-labels. Raises BadAddress."""
    lowered = _lower_ascii(domain.strip())
    if not lowered.isascii():
        try:
            lowered = idna.encode(lowered, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise BadAddress("the domain is not well-formed") from error
    if len(lowered) > 253 or not _HOST_NAME.fullmatch(lowered):
        raise BadAddress("the domain is not well-formed")
    return lowered


def _lower_ascii(text: str) -> str:
    if text.isascii():
        return text.lower()
    return "".join(chr(ord(each) + 32) if "A" <= each <= "Z" else each for each in text)


# --- reading --------------------------------------------------------------------------------------------


def parse_mailbox(text: str) -> Mailbox:
    """The one mailbox in `text` (an unfolded field, encoded words not yet decoded).

    Display name, quoted strings, comments and angle brackets are understood; a group, a list or a route is
    refused. RFC 5322 section 3.4. Raises BadAddress.
    """
    found = parse_list(text)
    if len(found) != 1:
        raise BadAddress(f"expected one address, found {len(found)}")
    return found[0]


def parse_list(text: str) -> tuple[Mailbox, ...]:
    """Every mailbox in a comma-separated list; raises BadAddress where one cannot be read."""
    return tuple(_mailbox(entry) for entry in _entries(text) if not entry.is_blank)


def parse_list_tolerantly(texts: Iterable[str]) -> tuple[tuple[Mailbox, ...], bool]:
    """Every mailbox that can be read in several fields, and whether all could.

    For To and Cc only: what is skipped makes the message reach fewer people, never more.
    """
    found: list[Mailbox] = []
    clean = True
    for text in texts:
        try:
            entries = _entries(text)
        except BadAddress:
            clean = False
            continue
        for entry in entries:
            try:
                found.extend([] if entry.is_blank else [_mailbox(entry)])
            except BadAddress:
                clean = False
    return tuple(found), clean


@dataclass(slots=True)
class _Entry:
    """The pieces of one list entry: words before the angle brackets, what stands in them, comments."""

    words: list[str]
    angle: str | None
    comments: list[str]
    trailing: bool = False
    group: bool = False

    @property
    def is_blank(self) -> bool:
        return not self.words and self.angle is None and not self.group


_PIECE = re.compile(r'\s+|"(?:[^"\\]|\\.)*"|<[^<>"]*(?:"(?:[^"\\]|\\.)*"[^<>"]*)?>|[^\s"<>(),:;]+|.', re.S)


def _entries(text: str) -> list[_Entry]:
    """Cut a list into entries without judging them (RFC 5322 section 3.4, with the group syntax marked)."""
    entries = [_Entry([], None, [])]
    at = 0
    while at < len(text):
        if text[at] == "(":
            at = _comment(text, at, entries[-1])
            continue
        match = _PIECE.match(text, at)
        assert match is not None  # the last alternative takes any character
        at = match.end()
        piece = match[0]
        if piece in ('"', "<", ">"):
            # Going on would look for its partner again and again: quadratic.
            raise BadAddress("a quoted string or angle bracket is not closed")
        if piece in (",", ";"):
            if len(entries) > MAX_MAILBOXES:
                raise BadAddress(f"more than {MAX_MAILBOXES} addresses")
            entries.append(_Entry([], None, []))
        else:
            _add(entries[-1], piece)
    return entries


def _add(entry: _Entry, piece: str) -> None:
    if piece.isspace():
        entry.words.extend([" "] if entry.words and entry.angle is None else [])
    elif piece.startswith("<") and piece.endswith(">") and len(piece) > 1:
        entry.trailing = entry.angle is not None
        entry.angle = entry.angle or piece[1:-1]
    elif piece == ":":
        entry.group = True
    elif entry.angle is not None:
        entry.trailing = True
    else:
        entry.words.append(piece)


def _comment(text: str, at: int, entry: _Entry) -> int:
    """Keep the comment that opens at `at`; returns where it ends. Comments nest (RFC 5322 section 3.2.2)."""
    depth = 0
    for mark in re.compile(r"\\.|[()]", re.S).finditer(text, at):
        if mark[0] == "(":
            depth += 1
        elif mark[0] == ")":
            depth -= 1
            if depth == 0:
                entry.comments.append(text[at + 1 : mark.start()])
                return mark.end()
    raise BadAddress("a comment is not closed")


def _mailbox(entry: _Entry) -> Mailbox:
    if entry.group:
        raise BadAddress("a group of addresses, or a colon outside quotes")
    if entry.trailing:
        raise BadAddress("text behind an address in angle brackets")
    if entry.angle is not None:
        name = "".join(_unquoted(word) for word in entry.words)
        return Mailbox(decode_header_text(name), _addr_spec(entry.angle))
    address = _addr_spec("".join(entry.words))
    name = entry.comments[0] if entry.comments else ""
    return Mailbox(decode_header_text(name), address)


def _unquoted(word: str) -> str:
    if len(word) > 1 and word.startswith('"') and word.endswith('"'):
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    return word


def _addr_spec(text: str) -> str:
    """`text` when it is local part, at sign and domain (RFC 5322 section 3.4.1); literals are refused."""
    address = text.strip()
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain:
        raise BadAddress("no address with a local part and a domain")
    if len(address) > MAX_ADDRESS:
        raise BadAddress(f"an address of more than {MAX_ADDRESS} characters")
    if not (_ATOM.fullmatch(local) or _QUOTED_LOCAL.fullmatch(local)):
        raise BadAddress("the local part is not well-formed")
    to_a_labels(domain)
    return address
