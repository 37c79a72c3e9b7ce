"""Where the parts of a certificate lie in its bytes (RFC 5280 section 4.1), found before it is parsed.

The libraries read a certificate whole or not at all; counts, sizes and oddities that they let pass are seen
here, at the cost of a walk over tags and lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

from trust.pki import ber

SUBJECT_ALT_NAME = bytes.fromhex("551d11")
NAME_CONSTRAINTS = bytes.fromhex("551d1e")

#: The extension basicConstraints, critical, cA TRUE.
_CA_FLAG = bytes.fromhex("300f0603551d130101ff040530030101ff")


@dataclass(frozen=True)
class Layout:
    """The parts, as received; `serial` is the content of the INTEGER, `extensions` identifier and value."""

    tbs: bytes
    version: int
    serial: bytes
    inner_algorithm: bytes
    outer_algorithm: bytes
    issuer: bytes
    subject: bytes
    key_info: ber.Element
    extensions: tuple[tuple[bytes, ber.Element], ...]

    def count_inside(self, oid: bytes) -> int:
        """How many names an alternative-name extension holds, or how many subtrees name constraints do."""
        value = next((value for each, value in self.extensions if each == oid), None)
        if value is None:
            return 0
        inner = list(ber.children(ber.read(value.data, value.content_start, value.content_end)))
        if oid == NAME_CONSTRAINTS:
            return sum(sum(1 for _ in ber.children(each)) for each in inner)
        return len(inner)


def read_layout(der: bytes) -> Layout:
    """Find the parts of a certificate. Raises ber.BerError."""
    tbs, outer_algorithm, signature = _exactly(ber.whole(der, ber.SEQUENCE), 3)
    _expect(tbs, ber.SEQUENCE)
    _expect(signature, ber.BIT_STRING)
    fields = list(ber.children(tbs))
    version = 1
    if fields and fields[0].tag == 0xA0:
        version = 1 + int.from_bytes(
            ber.read(der, fields[0].content_start, fields[0].content_end).content, "big"
        )
        fields = fields[1:]
    if len(fields) < 6:
        raise ber.BerError("fields are missing")
    serial, algorithm, issuer, validity, subject, key_info = fields[:6]
    _expect(serial, ber.INTEGER)
    for each in (algorithm, issuer, validity, subject, key_info):
        _expect(each, ber.SEQUENCE)
    return Layout(
        tbs=tbs.raw,
        version=version,
        serial=serial.content,
        inner_algorithm=algorithm.raw,
        outer_algorithm=outer_algorithm.raw,
        issuer=issuer.raw,
        subject=subject.raw,
        key_info=key_info,
        extensions=_read_extensions(fields[6:]),
    )


def _extension_elements(fields: list[ber.Element]) -> list[ber.Element]:
    wrapper = next((each for each in fields if each.tag == 0xA3), None)
    if wrapper is None:
        return []
    (sequence,) = _exactly(wrapper, 1)
    return list(ber.children(sequence))


def _read_extensions(fields: list[ber.Element]) -> tuple[tuple[bytes, ber.Element], ...]:
    found = []
    for extension in _extension_elements(fields):
        parts = list(ber.children(extension))
        if len(parts) not in (2, 3):
            raise ber.BerError("an extension is not one")
        _expect(parts[0], ber.OBJECT_IDENTIFIER)
        _expect(parts[-1], ber.OCTET_STRING)
        found.append((parts[0].content, parts[-1]))
    return tuple(found)


def _exactly(parent: ber.Element, count: int) -> list[ber.Element]:
    found = list(ber.children(parent))
    if len(found) != count:
        raise ber.BerError(f"expected {count} elements, found {len(found)}")
    return found


def _expect(element: ber.Element, tag: int) -> None:
    if element.tag != tag:
        raise ber.BerError(f"expected tag {tag:#04x}, found {element.tag:#04x}")


def with_ca_flag(der: bytes) -> bytes:
    """The certificate as version 3 with a basicConstraints extension added, under its old signature."""
    tbs, algorithm, signature = ber.children(ber.whole(der, ber.SEQUENCE))
    fields = list(ber.children(tbs))
    extensions = b"".join(each.raw for each in _extension_elements(fields)) + _CA_FLAG
    body = ber.wrap(0xA0, b"\x02\x01\x02")
    body += b"".join(each.raw for each in fields if each.tag not in (0xA0, 0xA3))
    body += ber.wrap(0xA3, ber.wrap(ber.SEQUENCE, extensions))
    return ber.wrap(ber.SEQUENCE, ber.wrap(ber.SEQUENCE, body) + algorithm.raw + signature.raw)
