"""The other side of a cryptographic message: OpenSSL, BouncyCastle, NSS, and shapes other agents write."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from asn1crypto import cms as asn1_cms
from cryptography.hazmat.primitives import serialization

from tests.pki_factory import Issued

MISSING = shutil.which("openssl") is None
JARS = [Path(f"/usr/share/java/{name}.jar") for name in ("bcmail", "bcpkix", "bcprov", "bcutil")]
NO_BOUNCY_CASTLE = shutil.which("java") is None or not all(jar.exists() for jar in JARS)
NO_NSS = any(shutil.which(tool) is None for tool in ("cmsutil", "certutil", "pk12util"))


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


class BouncyCastle:
    """BouncyCastle in one Java process that is asked line by line; `close` ends it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._turn = itertools.count()
        source = Path(__file__).parent / "peers" / "CmsPeer.java"
        path = ":".join(map(str, JARS))
        self._errors = (directory / "java.log").open("wb")
        self._process = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-cp", path, source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        self._errors.close()

    def _file(self, octets: bytes = b"") -> Path:
        path = self.directory / f"{next(self._turn)}"
        path.write_bytes(octets)
        return path

    def _certificate(self, who: Issued) -> Path:
        path = self.directory / f"{who.sha256}.cer"
        if not path.exists():
            path.write_bytes(who.der)
        return path

    def _key(self, who: Issued) -> Path:
        path = self.directory / f"{who.sha256}.key"
        if not path.exists():
            encoded = who.private_key.private_bytes(
                serialization.Encoding.DER,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            path.write_bytes(encoded)
        return path

    def ask(self, *words: object) -> list[str]:
        """What it found. AssertionError with its words when it could not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().rstrip("\n").split("\t")
        assert answer[0] == "ok", (words, answer, (self.directory / "java.log").read_text())
        return answer[1:]

    def decrypt(self, envelope: bytes, who: Issued) -> bytes:
        out = self._file()
        self.ask("decrypt", self._file(envelope), self._key(who), self._certificate(who), out)
        return out.read_bytes()

    def verify(self, signature: bytes, anchor: Issued, content: bytes | None = None) -> bytes:
        """The content, verified up to `anchor`."""
        detached = "-" if content is None else self._file(content)
        out = self._file() if content is None else None
        self.ask("verify", self._file(signature), detached, self._certificate(anchor), out or "-")
        return out.read_bytes() if out else content or b""

    def encrypt(
        self, content: bytes, recipients: Sequence[Issued], *, cipher: str, transport: str, buffer: int = 1000
    ) -> bytes:
        out = self._file()
        certificates = map(self._certificate, recipients)
        self.ask("encrypt", self._file(content), out, cipher, transport, buffer, *certificates)
        return out.read_bytes()

    def sign(
        self, content: bytes, who: Issued, *, digest: str, opaque: bool = False, buffer: int = 1000
    ) -> bytes:
        out = self._file()
        form = "opaque" if opaque else "detached"
        whose = (self._key(who), self._certificate(who))
        self.ask("sign", self._file(content), out, *whose, digest, form, buffer)
        return out.read_bytes()


class Nss:
    """NSS's `cmsutil`, with a database of its own that trusts one authority."""

    def __init__(self, directory: Path, anchor: Issued) -> None:
        self.directory = directory
        self.database = directory / "nss"
        self.database.mkdir()
        self._turn = itertools.count()
        self._known: set[str] = set()
        self._run("certutil", "-N", "--empty-password")
        self._run("certutil", "-A", "-n", "anchor", "-t", ",C,", "-i", self._file(anchor.der))

    def _file(self, octets: bytes = b"") -> Path:
        path = self.directory / f"nss-{next(self._turn)}"
        path.write_bytes(octets)
        return path

    def _run(self, tool: str, *arguments: object) -> None:
        command = [tool, "-d", f"sql:{self.database}", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr.decode()}"

    def learn(self, who: Issued) -> None:
        """Take in a certificate with its key."""
        if who.sha256 not in self._known:
            self._run("pk12util", "-i", self._file(who.p12("word")), "-W", "word", "-K", "")
            self._known.add(who.sha256)

    def decrypt(self, envelope: bytes, who: Issued) -> bytes:
        self.learn(who)
        out = self._file()
        self._run("cmsutil", "-D", "-p", "", "-i", self._file(envelope), "-o", out)
        return out.read_bytes()

    def verify(self, signature: bytes, content: bytes) -> None:
        """Up to the anchor, for a certificate of a person who signs mail."""
        self._run("cmsutil", "-D", "-n", "-i", self._file(signature), "-c", self._file(content))


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
