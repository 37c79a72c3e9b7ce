"""Certificates out of files: PEM, DER and PKCS #7 collections, told apart by content, never by name."""

from __future__ import annotations

import binascii
import re

from trust.pki import ber
from trust.pki.certs import Certificate
from trust.pki.errors import MalformedCertificate

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_COLLECTION = 5000

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_CERTIFICATE_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE")
_COLLECTION_LABELS = (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA")
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 #]{3,40})-----\s*([A-Za-z0-9+/=\s]*?)-----END \1-----")


def load_certificate(data: bytes) -> Certificate:
    """The one certificate in `data`. Raises MalformedCertificate when there is none or more than one."""
    found = load_certificates(data)
    if len(found) != 1:
        raise MalformedCertificate(f"expected one certificate, found {len(found)}")
    return found[0]


def load_certificates(data: bytes) -> tuple[Certificate, ...]:
    """Every certificate in `data`, in order, each once.

    `data` may be DER, PEM text (whatever the file is called, and with other PEM blocks such as keys between),
    a certificates-only PKCS #7 collection (RFC 5652 section 5, DER or BER), or PEM around such a collection.
    Raises MalformedCertificate.
    """
    if len(data) > MAX_FILE_BYTES:
        raise MalformedCertificate(f"more than {MAX_FILE_BYTES} octets")
    found: list[Certificate] = []
    if is_pem(data):
        for label, body in pem_blocks(data):
            if label in _COLLECTION_LABELS:
                found.extend(collection(body))
            elif label in _CERTIFICATE_LABELS:
                found.append(Certificate(body))
    elif is_signed_data(data):
        found.extend(collection(data))
    else:
        found.append(Certificate(data))
    if not found:
        raise MalformedCertificate("no certificate in it")
    return tuple(dict.fromkeys(found))


def is_pem(data: bytes) -> bool:
    """Whether `data` is PEM text (RFC 7468), a byte order mark or words before the first block allowed."""
    return data[:1] != b"\x30" and b"-----BEGIN " in data


def pem_blocks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Label and decoded content of each PEM block, in order. Raises MalformedCertificate."""
    blocks = []
    for match in _PEM.finditer(data):
        try:
            body = binascii.a2b_base64(b"".join(match[2].split()), strict_mode=True)
        except binascii.Error as error:
            raise MalformedCertificate(f"PEM block is not base64: {error}") from error
        blocks.append((match[1], body))
    return blocks


def is_signed_data(data: bytes) -> bool:
    """Whether `data` starts like a CMS ContentInfo of type signedData."""
    try:
        head = data[:2]
        if len(head) < 2 or head[0] != ber.SEQUENCE:
            return False
        skip = 2 if head[1] <= 0x80 else 2 + (head[1] & 0x7F)
        identifier = ber.read(data, skip)
    except ber.BerError:
        return False
    return identifier.tag == ber.OBJECT_IDENTIFIER and identifier.content == _SIGNED_DATA


def signed_data(data: bytes) -> list[ber.Element]:
    """The fields of the SignedData in a CMS ContentInfo, DER or BER (RFC 5652 section 5.1).

    Raises ber.BerError.
    """
    info = list(ber.children(ber.whole(data, ber.SEQUENCE, der=False), der=False))
    if len(info) != 2 or info[0].content != _SIGNED_DATA or info[1].tag != 0xA0:
        raise ber.BerError("not signed data")
    inner = list(ber.children(info[1], der=False))
    if len(inner) != 1 or inner[0].tag != ber.SEQUENCE:
        raise ber.BerError("not signed data")
    fields = list(ber.children(inner[0], der=False))
    if len(fields) < 4:
        raise ber.BerError("signed data is cut short")
    return fields


def certificates_of(fields: list[ber.Element]) -> list[Certificate]:
    """The X.509 certificates among the fields of a SignedData; other kinds of entries are passed over.

    Raises MalformedCertificate or ber.BerError.
    """
    holder = next((each for each in fields if each.tag == 0xA0), None)
    if holder is None:
        return []
    found = []
    for entry in ber.children(holder, der=False):
        if entry.tag == ber.SEQUENCE:
            found.append(Certificate(entry.raw))
        if len(found) > MAX_COLLECTION:
            raise MalformedCertificate(f"more than {MAX_COLLECTION} certificates")
    return found


def collection(data: bytes) -> list[Certificate]:
    """The certificates of a PKCS #7 collection, DER or BER. Raises MalformedCertificate."""
    try:
        return certificates_of(signed_data(data))
    except ber.BerError as error:
        raise MalformedCertificate(f"not a collection of certificates: {error}") from error
