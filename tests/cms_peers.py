"""The other side of a cryptographic message: OpenSSL's command line, and shapes other agents write."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from asn1crypto import cms as asn1_cms

from tests.pki_factory import Issued

MISSING = shutil.which("openssl") is None


class OpenSsl:
    """`openssl cms`, with files in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._turn = itertools.count()

    def _file(self, octets: bytes) -> Path:
        path = self.directory / f"{next(self._turn)}"
        path.write_bytes(octets)
        return path

    def identity(self, who: Issued) -> Path:
        """Certificate and key in one PEM file."""
        path = self.directory / f"{who.sha256}.pem"
        if not path.exists():
            path.write_bytes(who.pem + who.key_pem)
        return path

    def run(self, *arguments: object, octets: bytes) -> bytes:
        command = ["openssl", "cms", *map(str, arguments), "-binary", "-in", str(self._file(octets))]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr.decode()}"
        return done.stdout

    def sign(self, content: bytes, signers: Sequence[Issued], *options: str) -> bytes:
        who = [part for one in signers for part in ("-signer", self.identity(one), *options)]
        return self.run("-sign", "-outform", "DER", *who, octets=content)

    def encrypt(self, content: bytes, recipients: Sequence[Issued], *options: str) -> bytes:
        """`options` before "--" are the message's, those after it each recipient's."""
        common, _, each = (" ".join(options)).partition("--")
        who = [part for one in recipients for part in ("-recip", self.identity(one), *each.split())]
        return self.run("-encrypt", "-outform", "DER", *common.split(), *who, octets=content)

    def decrypt(self, envelope: bytes, who: Issued) -> bytes:
        path = self.identity(who)
        return self.run("-decrypt", "-inform", "DER", "-recip", path, "-inkey", path, octets=envelope)

    def verify(self, signature: bytes, anchor: Issued, content: bytes | None = None) -> bytes:
        """The content that was verified, up to `anchor`."""
        detached = [] if content is None else ["-content", self._file(content)]
        return self.run(
            *("-verify", "-inform", "DER", "-CAfile", self.identity(anchor), "-purpose", "any", *detached),
            octets=signature,
        )


def length(size: int) -> bytes:
    """Length octets, by a writer that is not ours."""
    if size < 128:
        return bytes((size,))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def indefinite(tag: int, *parts: bytes) -> bytes:
    """A constructed element of unknown length."""
    return bytes((tag, 0x80)) + b"".join(parts) + b"\x00\x00"


def pieces(octets: bytes, size: int, tag: int = 0x24) -> bytes:
    """An octet string in pieces of `size`, of unknown length itself."""
    return indefinite(
        tag,
        *(
            b"\x04" + length(len(octets[at : at + size])) + octets[at : at + size]
            for at in range(0, len(octets), size)
        ),
    )


def stream_envelope(envelope: bytes, size: int = 1000) -> bytes:
    """An envelope as streaming Java agents write it: unknown lengths, content in pieces of `size`."""
    info = asn1_cms.ContentInfo.load(envelope)
    body = info["content"]
    name = "encrypted_content_info"
    if info["content_type"].native == "authenticated_enveloped_data":
        name = "auth_encrypted_content_info"
    inner = body[name]
    parts = [inner["content_type"].dump(), inner["content_encryption_algorithm"].dump()]
    encrypted = pieces(inner["encrypted_content"].native, size, 0xA0)
    content = indefinite(0x30, *parts, encrypted)
    children = []
    for field in body:
        encoded = body[field].dump()
        if field == name:
            encoded = content
        elif field == "recipient_infos":
            encoded = indefinite(0x31, body[field].contents)
        children.append(encoded)
    return indefinite(0x30, info["content_type"].dump(), indefinite(0xA0, indefinite(0x30, *children)))


def stream_signature(signature: bytes, size: int = 1000) -> bytes:
    """A SignedData as streaming Java agents write it."""
    info = asn1_cms.ContentInfo.load(signature)
    body = info["content"]
    inside = body["encap_content_info"]
    content = b""
    if inside["content"].native is not None:
        content = indefinite(0xA0, pieces(inside["content"].native, size))
    children = []
    for field in body:
        encoded = body[field].dump()
        if field == "encap_content_info":
            encoded = indefinite(0x30, inside["content_type"].dump(), content)
        elif field == "signer_infos":
            encoded = indefinite(0x31, body[field].contents)
        elif field == "certificates" and encoded:
            encoded = indefinite(0xA0, body[field].contents)
        children.append(encoded)
    return indefinite(0x30, info["content_type"].dump(), indefinite(0xA0, indefinite(0x30, *children)))
