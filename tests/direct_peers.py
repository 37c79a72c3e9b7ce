"""Another organisation with Direct mail: its own authority, name server entries, mail server and agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from directmsg.agent import incoming
from directmsg.agent.address import Mailbox
from directmsg.agent.identity import Identity
from directmsg.agent.notifications import Original, build_mdn
from directmsg.agent.outgoing import seal_message
from directmsg.agent.report import OpenedMessage
from tests import pki_factory
from tests.dns_server import DnsServer
from trust.pki.certs import Certificate
from trust.pki.policy import TrustContext


@dataclass
class Peer:
    """One organisation, bound by its domain; `office` is the mailbox that tests write to."""

    domain: str = "direct.clinic.example"
    ca: pki_factory.Issued = field(init=False)
    leaf: pki_factory.Issued = field(init=False)

    def __post_init__(self) -> None:
        self.ca = pki_factory.make_ca(f"{self.domain} CA")
        self.leaf = pki_factory.issue(self.ca, domains=[self.domain])

    @property
    def office(self) -> str:
        return f"office@{self.domain}"

    def publish(self, dns: DnsServer, *, certificate: bool = True) -> None:
        """Tell the world where the mail server is, and what to encrypt to."""
        dns.add(self.domain, "MX", f"10 mx.{self.domain}.")
        dns.add(f"mx.{self.domain}", "A", "127.0.0.1")
        if certificate:
            dns.add_certificate(self.domain, self.leaf.der)

    def open(self, raw: bytes, recipient: str, sender: str, anchor: bytes) -> OpenedMessage:
        """A message as this organisation's agent opens it; raises what the agent raises."""
        reader = incoming.Recipient(
            recipient,
            (Identity(self.leaf.certificate, self.leaf.private_key),),  # type: ignore[arg-type]
            TrustContext((Certificate(anchor),)),
        )
        return incoming.open_message(raw, mail_from=sender, recipients=[reader], at=datetime.now(UTC))

    def seal(self, message: bytes, certificate: bytes, *, signer: pki_factory.Issued | None = None) -> bytes:
        """`message` signed by this organisation and encrypted to a certificate of the portal's."""
        by = signer or self.leaf
        return seal_message(
            message,
            signer=Identity(by.certificate, by.private_key),  # type: ignore[arg-type]
            recipient_certificates=[x509.load_der_x509_certificate(certificate)],
            at=datetime.now(UTC),
        )

    def mdn(self, disposition: Any, *, to: str, original: str, recipient: str = "", **extra: Any) -> bytes:
        """A notification from `recipient` about the message `original`, not sealed yet."""
        return build_mdn(
            disposition,
            recipient=recipient or self.office,
            to=Mailbox("", to),
            original=Original(original, "word"),
            reporting_ua=f"{self.domain}; Elsewhere",
            date=datetime.now(UTC),
            message_id=f"{disposition}-{id(object())}-{datetime.now(UTC).timestamp()}@{self.domain}",
            **{"answers_request": True, **extra},
        )
