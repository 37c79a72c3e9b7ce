"""Direct messages as other systems write them: the cryptography is OpenSSL's, the MIME is by hand."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from directmsg.agent.cms import Identity
from directmsg.agent.incoming import Recipient, Report, examine
from tests.cms_peers import OpenSsl
from tests.pki_factory import Issued, issue, make_ca, utc_now
from trust.pki.certs import Certificate
from trust.pki.policy import Policy, TrustContext

SENDER = "nurse@clinic.example"
RECIPIENT = "ana@portal.example"

MESSAGE = (
    b"From: Nurse Joy <nurse@clinic.example>\r\n"
    b"To: ana@portal.example\r\n"
    b"Subject: Your results\r\n"
    b"Date: Mon, 04 May 2026 12:00:00 +0000\r\n"
    b"Message-ID: <inner-1@clinic.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=mixed\r\n"
    b"\r\n"
    b"--mixed\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"\r\n"
    b"All is well.\r\n"
    b"--mixed\r\n"
    b"Content-Type: text/xml; name=summary.xml\r\n"
    b"Content-Disposition: attachment; filename=summary.xml\r\n"
    b"Content-Transfer-Encoding: base64\r\n"
    b"\r\n"
    b"PHN1bW1hcnkvPg==\r\n"
    b"--mixed--\r\n"
)
OUTER = (
    b"From: nurse@clinic.example\r\n"
    b"To: ana@portal.example\r\n"
    b"Date: Mon, 04 May 2026 12:00:00 +0000\r\n"
    b"Message-ID: <outer-1@clinic.example>\r\n"
    b"MIME-Version: 1.0\r\n"
)
ENVELOPE_TYPE = b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n'
SIGNED_TYPE = (
    b"Content-Type: multipart/signed; micalg=sha-256; boundary=signed;\r\n"
    b' protocol="application/pkcs7-signature"\r\n'
)
SIGNATURE_HEAD = (
    b"Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n"
)


@dataclass(frozen=True)
class World:
    """A clinic that sends, a portal that receives, and the authority both know."""

    openssl: OpenSsl
    ca: Issued
    sender: Issued
    recipient: Issued

    def recipient_for(self, address: str = RECIPIENT, *identities: Issued, **changes: object) -> Recipient:
        """How the portal judges mail for `address`."""
        anchors = changes.pop("anchors", (self.ca,))
        policy = Policy(legacy=frozenset(changes.pop("legacy", ())))  # type: ignore[call-overload]
        trust = TrustContext(tuple(Certificate(each.der) for each in anchors), policy=policy)  # type: ignore[attr-defined]
        keys = tuple(Identity(each.certificate, each.private_key) for each in identities or (self.recipient,))  # type: ignore[arg-type]
        return replace(Recipient(address, keys, trust), **changes)  # type: ignore[arg-type]

    def signed(
        self, entity: bytes, *signers: Issued, head: bytes = SIGNED_TYPE, signature: bytes | None = None
    ) -> bytes:
        """A multipart/signed entity around `entity`."""
        octets = signature or self.openssl.sign(entity, signers or (self.sender,))
        return signed_entity(entity, octets, head=head)

    def sealed(
        self, signed: bytes, *recipients: Issued, outer: bytes = OUTER, head: bytes = ENVELOPE_TYPE
    ) -> bytes:
        """The whole message around a signed entity."""
        envelope = self.openssl.encrypt(signed, recipients or (self.recipient,), "-aes128")
        return (
            outer
            + head
            + b"Content-Transfer-Encoding: base64\r\n\r\n"
            + base64.encodebytes(envelope).replace(b"\n", b"\r\n")
        )

    def message(self, inner: bytes = MESSAGE) -> bytes:
        """A message in the usual form."""
        return self.sealed(self.signed(wrapped(inner)))


def make_world(directory: Path) -> World:
    ca = make_ca("Clinic CA")
    return World(
        OpenSsl(directory),
        ca,
        issue(ca, domains=["clinic.example"], fresh_key=True),
        issue(ca, domains=["portal.example"], fresh_key=True),
    )


def wrapped(message: bytes, fields: bytes = b"Content-Type: message/rfc822\r\n") -> bytes:
    return fields + b"\r\n" + message


def signed_entity(
    entity: bytes, signature: bytes, *, head: bytes = SIGNED_TYPE, part: bytes | None = None
) -> bytes:
    """A multipart/signed of two given parts; `part` is the second one as a whole."""
    second = part or SIGNATURE_HEAD + b"\r\n" + base64.encodebytes(signature).replace(b"\n", b"\r\n")
    return head + b"\r\n--signed\r\n" + entity + b"\r\n--signed\r\n" + second + b"\r\n--signed--\r\n"


def folded_lines(data: bytes, widths: Sequence[int]) -> bytes:
    """Base64 of `data` in lines of the given widths, the last one for all that is left."""
    text = base64.b64encode(data)
    lines = []
    for width in widths:
        lines.append(text[:width])
        text = text[width:]
    return b"\r\n".join([*lines, text]) + b"\r\n"


def look(
    world: World, raw: bytes, *, mail_from: str | None = SENDER, clear: bool = False, **changes: object
) -> Report:
    """The report on `raw` for the usual recipient."""
    recipient = world.recipient_for(**changes)  # type: ignore[arg-type]
    return examine(raw, mail_from=mail_from, recipients=[recipient], at=utc_now(), clear=clear)


def code_of(world: World, raw: bytes, **options: object) -> str | None:
    report = look(world, raw, **options)  # type: ignore[arg-type]
    assert (report.error is None) == report.accepted
    if report.error is not None:
        with pytest.raises(type(report.error)):
            report.opened()
    return report.error.code if report.error else None


def inner(world: World, *changes: tuple[bytes, bytes]) -> bytes:
    message = MESSAGE
    for old, new in changes:
        assert old in message
        message = message.replace(old, new, 1)
    return world.sealed(world.signed(wrapped(message)))


def lines(*parts: str | bytes) -> bytes:
    return b"\r\n".join(part.encode() if isinstance(part, str) else part for part in parts) + b"\r\n"


MIXED = lines(
    "From: ana@clinic.example",
    "Subject: Two",
    " parts",
    "Content-Type: multipart/mixed; boundary=outer",
    "",
    "preamble",
    "--outer",
    "Content-Type: multipart/alternative; boundary=outer-inner",
    "",
    "--outer-inner",
    "",
    "Hello",
    "--outer-inner",
    "Content-Type: text/html",
    "",
    "<b>Hello</b>",
    "--outer-inner--",
    "--outer",
    "Content-Type: application/pdf; name=report.pdf",
    "Content-Transfer-Encoding: base64",
    "",
    base64.b64encode(b"%PDF-made-up"),
    "--outer--",
    "epilogue",
)


def nested(depth: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth)
    )
    return head + b"\r\nx"
