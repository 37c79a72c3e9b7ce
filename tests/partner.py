"""A partner organisation whose S/MIME is made by the `openssl` command, not by our own code."""

from __future__ import annotations

import datetime
import smtplib
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path

from tests import pki_factory
from tests.tools import need, run

Attachment = tuple[str, str, bytes]


@dataclass
class Partner:
    """One organisation with a CA, a domain-bound certificate and a working directory."""

    directory: Path
    domain: str = "direct.larkspur.example"
    name: str = "Larkspur Community Hospital"
    ca: pki_factory.Issued = field(init=False)
    leaf: pki_factory.Issued = field(init=False)

    def __post_init__(self) -> None:
        self.openssl = need("openssl")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca = pki_factory.make_ca(f"{self.name} CA")
        self.leaf = pki_factory.issue(self.ca, domains=[self.domain])
        self._write("leaf.pem", self.leaf.pem)
        self._write("leaf.key", self.leaf.key_pem)
        self._write("ca.pem", self.ca.pem)

    @property
    def address(self) -> str:
        return f"records@{self.domain}"

    def _write(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path

    def compose(
        self,
        to: str,
        subject: str,
        text: str = "Please find your summary attached.",
        attachments: tuple[Attachment, ...] = (),
        *,
        sender: str | None = None,
        message_id: str | None = None,
    ) -> bytes:
        """The message before any protection, with CRLF line ends."""
        mail = EmailMessage()
        mail["From"] = sender or self.address
        mail["To"] = to
        mail["Subject"] = subject
        mail["Date"] = format_datetime(datetime.datetime.now(datetime.UTC))
        mail["Message-ID"] = message_id or make_msgid(domain=self.domain)
        mail.set_content(text)
        for filename, content_type, data in attachments:
            maintype, _, subtype = content_type.partition("/")
            mail.add_attachment(data, maintype=maintype, subtype=subtype, filename=filename)
        return mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def sign(self, inner: bytes, *, wrapped: bool = True, digest: str = "sha256") -> bytes:
        """`inner` wrapped as message/rfc822 and signed: a multipart/signed entity."""
        entity = b"Content-Type: message/rfc822\r\n\r\n" + inner if wrapped else inner
        source = self._write("entity.txt", entity)
        return run(
            self.openssl, "cms", "-sign", "-in", source, "-signer", self.directory / "leaf.pem", "-inkey",
            self.directory / "leaf.key", "-md", digest, "-binary", "-crlfeol",
        )  # fmt: skip

    def encrypt(self, entity: bytes, certificate_pem: bytes, *, cipher: str = "aes128") -> bytes:
        """`entity` encrypted: an enveloped-data entity with its MIME headers."""
        source = self._write("signed.txt", entity)
        recipient = self._write("recipient.pem", certificate_pem)
        return run(
            self.openssl, "cms", "-encrypt", f"-{cipher}", "-binary", "-in", source, "-recip", recipient,
            "-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256", "-crlfeol",
        )  # fmt: skip

    def outer(self, inner: bytes, body: bytes) -> bytes:
        """`body` with the outer headers that Direct copies from `inner`: never the subject."""
        head = inner.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
        wanted = (b"from:", b"to:", b"date:", b"message-id:")
        copied = [line for line in head if line.lower().startswith(wanted)]
        return b"\r\n".join(copied) + b"\r\n" + body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def seal(self, inner: bytes, certificate_pem: bytes) -> bytes:
        """A whole Direct message: wrapped, signed, encrypted, with outer headers."""
        return self.outer(inner, self.encrypt(self.sign(inner), certificate_pem))

    def send(self, host: str, port: int, data: bytes, to: str, *, mail_from: str | None = None) -> None:
        """Hand `data` over by SMTP; raises what smtplib raises when it is refused."""
        with smtplib.SMTP(host, port, timeout=30) as client:
            client.sendmail(mail_from or self.address, [to], data)
