"""The partner organisation of the demonstration: its own CA, its certificate, its three messages."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import make_msgid
from importlib.resources import files

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from directmsg.agent import outgoing
from directmsg.agent.address import Mailbox
from directmsg.agent.identity import Identity
from directmsg.agent.message import NewAttachment, build_message

NAME = "Larkspur Community Hospital"
DOMAIN = "direct.larkspur.example"
ADDRESS = f"records@{DOMAIN}"
LIFE = timedelta(days=365)

#: A one-page PDF, as small as one can be.
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 420 200]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj
4 0 obj<</Length 71>>stream
BT /F 16 Tf 40 120 Td (How to prepare for your blood test: 12 h fast) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
%%EOF
"""


@dataclass(frozen=True, slots=True)
class Mail:
    """One message of the demonstration."""

    to: str
    subject: str
    text: str
    attachments: tuple[NewAttachment, ...]


def document(name: str) -> bytes:
    """One of the demonstration's clinical documents."""
    return files("healthvault.demo").joinpath(name).read_bytes()


def mails(newuser: str, known: str) -> list[Mail]:
    """The three messages: with a question, without one, and to a known Direct address."""
    summary = document("visit.xml")
    visit = NewAttachment("visit-summary.xml", "application/ccd-xml", summary)
    adas_visit = NewAttachment("visit-summary.xml", "application/ccd-xml", summary.replace(b"Nora", b"Ada"))
    referral = NewAttachment("referral.xml", "application/ccr+xml", document("referral.ccr.xml"))
    leaflet = NewAttachment("blood-test.pdf", "application/pdf", PDF)
    return [
        Mail(
            newuser,
            "nora@demo.example;Which street did you grow up in?;Orchard Row;Summary of your visit",
            "Dear Nora,\n\nplease find the summary of your visit attached.\n\nYour team at Larkspur",
            (visit,),
        ),
        Mail(
            newuser,
            "tomas@demo.example;Your referral",
            "Dear Tomas,\n\nhere is a copy of what we sent to the specialist.\n\nYour team at Larkspur",
            (referral,),
        ),
        Mail(
            known,
            "Before your next blood test",
            "Dear Ada,\n\nthe leaflet tells how to prepare. Your last summary is attached too.\n\n"
            "Your team at Larkspur",
            (leaflet, adas_visit),
        ),
    ]


class Partner:
    """A hospital with a Direct gateway of its own, reduced to what sends."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        ca_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{NAME} CA")])
        self.anchor = _certificate(name, name, ca_key, ca_key, now, ca=True)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
        self._identity = Identity(_certificate(subject, name, key, ca_key, now, ca=False), key)

    def send(self, mail: Mail, recipient: x509.Certificate, smtp: tuple[str, int]) -> None:
        """Sign, encrypt to `recipient`, and hand over by SMTP."""
        now = datetime.now(UTC)
        inner = build_message(
            sender=Mailbox("", ADDRESS),
            to=[Mailbox("", mail.to)],
            subject=mail.subject,
            date=now,
            message_id=make_msgid(domain=DOMAIN),
            text=mail.text,
            attachments=mail.attachments,
        )
        sealed = outgoing.seal_message(
            inner, signer=self._identity, recipient_certificates=[recipient], at=now
        )
        with smtplib.SMTP(*smtp, timeout=30) as client:
            client.sendmail(ADDRESS, [mail.to], sealed)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    issuer_key: rsa.RSAPrivateKey,
    now: datetime,
    *,
    ca: bool,
) -> x509.Certificate:
    usage = dict.fromkeys(
        (
            "content_commitment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca, key_encipherment=not ca, key_cert_sign=ca, crl_sign=ca, **usage
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if not ca:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, SHA256())
