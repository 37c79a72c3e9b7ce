"""Trust bundles: the anchors of one community, in one file.

Two shapes occur, and file names lie about which: a PKCS #7 collection of certificates (perhaps with an XML
description as its content), or CMS signed data whose content is such a collection. DER, BER and PEM occur in
both places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import algos, cms
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from trust.pki import ber
from trust.pki.certs import STRONG_DIGESTS, Certificate, require_sound, verifies
from trust.pki.errors import InvalidBundleFormat, MalformedCertificate, PkiError, UnmatchedSignature
from trust.pki.load import (
    MAX_FILE_BYTES,
    certificates_of,
    is_pem,
    is_signed_data,
    load_certificates,
    pem_blocks,
    signed_data,
)
from trust.pki.policy import Policy

MAX_SIGNERS = 8
MAX_SIGNER_BYTES = 64 * 1024
MAX_METADATA_BYTES = 256 * 1024

_DATA = bytes.fromhex("2a864886f70d010701")
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds: `anchors` in its order, each once, the expired ones too.

    `signed_by`: the certificate whose signature over the anchors verified, or None. `metadata`: the XML
    description as it came, unread; for display only.
    """

    anchors: tuple[Certificate, ...]
    signed_by: Certificate | None = None
    metadata: bytes | None = None

    def expired(self, at: datetime) -> tuple[Certificate, ...]:
        """The anchors that trust nobody at `at`."""
        return tuple(each for each in self.anchors if not each.not_before <= at <= each.not_after)


@dataclass(frozen=True)
class _Signed:
    """Signed data taken apart (RFC 5652 section 5.1)."""

    content_type: bytes
    content: bytes | None
    certificates: tuple[Certificate, ...]
    signers: tuple[ber.Element, ...]


def read_bundle(data: bytes, *, signer: Certificate | None, at: datetime) -> Bundle:
    """The anchors in the bundle file `data`, at most 8 MiB.

    With `signer` the bundle must be signed by exactly that certificate, within its validity at `at`, with
    SHA-256 or better; without, a good signature is reported and a weak one passed over. The signer itself is
    never one of the anchors. Raises InvalidBundleFormat (also for a bundle without anchors) or
    UnmatchedSignature; nothing of the bundle may be used then.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InvalidBundleFormat(f"more than {MAX_FILE_BYTES} octets")
    outer = _take_apart(data)
    inner = outer.content if outer and outer.signers else None
    if outer is None or inner is None or not _is_collection(inner):
        unsigned = _unsigned(data, outer)
        if signer is not None:
            raise UnmatchedSignature("the bundle is not signed")
        return unsigned
    signed_by = _signed_by(outer, inner, signer, at)
    anchors = _anchors(inner, without=signed_by or signer)
    return Bundle(anchors, signed_by, _metadata(_take_apart(inner)))


def _unsigned(data: bytes, outer: _Signed | None) -> Bundle:
    if outer is None:
        return Bundle(_anchors(data, without=None))
    if not outer.certificates:
        raise InvalidBundleFormat("no anchor in it")
    return Bundle(tuple(dict.fromkeys(outer.certificates)), None, _metadata(outer))


def _anchors(data: bytes, *, without: Certificate | None) -> tuple[Certificate, ...]:
    try:
        found = tuple(each for each in load_certificates(data) if each != without)
    except MalformedCertificate as error:
        raise InvalidBundleFormat(error.detail) from error
    if not found:
        raise InvalidBundleFormat("no anchor in it")
    return found


def _metadata(signed: _Signed | None) -> bytes | None:
    content = signed.content if signed else None
    if not content or len(content) > MAX_METADATA_BYTES or content.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] != b"<":
        return None
    return content


def _is_collection(content: bytes) -> bool:
    """Whether signed content is a collection, rather than the description of an unsigned one."""
    return is_signed_data(content) or is_pem(content)


def _take_apart(data: bytes) -> _Signed | None:
    """The signed data in `data`, or None where it is something else (PEM certificates, one certificate)."""
    try:
        if is_pem(data):
            blocks = [body for label, body in pem_blocks(data) if label in (b"PKCS7", b"CMS")]
            if len(blocks) != 1:
                return None
            data = blocks[0]
        if not is_signed_data(data):
            return None
        fields = signed_data(data)
        content_type, content = _content(fields[2])
        return _Signed(content_type, content, tuple(certificates_of(fields)), _signers(fields[-1]))
    except (ber.BerError, MalformedCertificate) as error:
        raise InvalidBundleFormat(f"broken signed data: {error}") from error


def _content(element: ber.Element) -> tuple[bytes, bytes | None]:
    parts = list(ber.children(element, der=False))
    if not parts or parts[0].tag != ber.OBJECT_IDENTIFIER:
        raise ber.BerError("no content type")
    if len(parts) == 1:
        return parts[0].content, None
    inside = list(ber.children(parts[1], der=False))
    if len(inside) != 1 or inside[0].tag & ~0x20 != ber.OCTET_STRING:
        return parts[0].content, None
    return parts[0].content, ber.octets(inside[0])


def _signers(element: ber.Element) -> tuple[ber.Element, ...]:
    if element.tag != ber.SET:
        return ()
    found = tuple(ber.children(element, der=False))
    if len(found) > MAX_SIGNERS or any(each.end - each.start > MAX_SIGNER_BYTES for each in found):
        raise ber.BerError("too much of a signature")
    return found


# --- the signature --------------------------------------------------------------------------------------


class _WeakSignature(UnmatchedSignature):
    """Good or not, nobody should rely on it."""


def _signed_by(
    outer: _Signed, content: bytes, pinned: Certificate | None, at: datetime
) -> Certificate | None:
    candidates = [pinned] if pinned is not None else list(outer.certificates)
    last: UnmatchedSignature | None = None
    for element in outer.signers:
        try:
            return _verified(element, outer.content_type, content, candidates, at)
        except UnmatchedSignature as error:
            last = error
    if pinned is None and isinstance(last, _WeakSignature):
        return None
    raise last or UnmatchedSignature("the bundle is not signed")


def _verified(
    element: ber.Element,
    content_type: bytes,
    content: bytes,
    candidates: Sequence[Certificate],
    at: datetime,
) -> Certificate:
    """The candidate that made this signature (RFC 5652 section 5.4, 5.6). Raises UnmatchedSignature."""
    try:
        info = cms.SignerInfo.load(element.raw)
        signer = _find_signer(info, candidates)
        digest = _digest(info["digest_algorithm"]["algorithm"].native)
        signed = _signed_octets(info, content_type, content, digest)
        parameters, signature_digest = _parameters(info["signature_algorithm"], digest)
        _require_usable(signer, at)
        good = verifies(signer.public_key, info["signature"].native, signed, signature_digest, parameters)
    except (ValueError, TypeError, KeyError) as error:
        raise UnmatchedSignature(f"unreadable signature: {error}") from error
    if not good:
        raise UnmatchedSignature("the signature does not verify", sha256=signer.sha256)
    return signer


def _find_signer(info: cms.SignerInfo, candidates: Sequence[Certificate]) -> Certificate:
    named = info["sid"]
    for certificate in candidates:
        if named.name == "issuer_and_serial_number":
            wanted = (named.chosen["issuer"].dump(), named.chosen["serial_number"].native)
            if (certificate.raw_issuer, certificate.serial_number) == wanted:
                return certificate
        elif certificate.key_id == named.chosen.native:
            return certificate
    raise UnmatchedSignature("signed by somebody else")


def _digest(name: str) -> hashes.HashAlgorithm:
    if name not in STRONG_DIGESTS:
        raise _WeakSignature(f"signed with {name}")
    return _HASHES[name]


def _signed_octets(
    info: cms.SignerInfo, content_type: bytes, content: bytes, digest: hashes.HashAlgorithm
) -> bytes:
    """What the signature covers: the content, or the signed attributes that hold its digest."""
    attributes = info["signed_attrs"]
    if not len(attributes):
        return content
    values = {each["type"].native: each["values"] for each in attributes}
    stated = values["message_digest"]
    if len(stated) != 1 or stated[0].native != hashlib.new(digest.name, content).digest():
        raise UnmatchedSignature("the content was changed")
    if len(values["content_type"]) != 1 or values["content_type"][0].contents != content_type:
        raise UnmatchedSignature("the content type was changed")
    # They are signed as a SET, and sent under a context tag (RFC 5652 section 5.4).
    encoded: bytes = attributes.dump()
    return b"\x31" + encoded[1:]


def _parameters(
    algorithm: algos.SignedDigestAlgorithm, digest: hashes.HashAlgorithm
) -> tuple[object, hashes.HashAlgorithm]:
    kind = algorithm.signature_algo
    if kind == "rsassa_pkcs1v15":
        return padding.PKCS1v15(), digest
    if kind == "rsassa_pss":
        inner = _digest(algorithm.hash_algo)
        salt = algorithm["parameters"]["salt_length"].native
        return padding.PSS(padding.MGF1(inner), salt), inner
    if kind == "ecdsa":
        inner = _digest(algorithm.hash_algo)
        return ec.ECDSA(inner), inner
    raise UnmatchedSignature(f"signature algorithm {kind}")


def _require_usable(signer: Certificate, at: datetime) -> None:
    try:
        require_sound(signer, Policy())
    except PkiError as error:
        raise _WeakSignature(f"the signer's certificate: {error.detail}", sha256=signer.sha256) from error
    if not signer.not_before <= at <= signer.not_after:
        raise _WeakSignature("the signer's certificate is out of its time", sha256=signer.sha256)
