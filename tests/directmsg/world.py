"""The portal as one end of Direct mail and an organisation as the other, within one test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from django.db import connection

from directmsg import compose, inbox, receive, send
from directmsg.agent.address import Mailbox
from directmsg.agent.message import build_message
from directmsg.agent.report import OpenedMessage
from directmsg.models import InboundMail, OutboundMail
from records.models import Account, Message, Record
from tests import factories, pki_factory
from tests.direct_peers import Peer
from tests.dns_server import DnsServer
from tests.smtp_peers import SmtpPeer
from trust import admission, keyimport
from trust.pki.certs import Certificate

DOMAIN = "direct.portal.example"


@cache
def authority() -> pki_factory.Issued:
    return pki_factory.make_ca("Portal CA")


@cache
def clinic() -> Peer:
    return Peer()


def import_identity(name: str = DOMAIN) -> pki_factory.Issued:
    """A certificate of ours for a domain or an address, with its key in the vault."""
    names = {"emails": [name]} if "@" in name else {"domains": [name]}
    leaf = pki_factory.issue(authority(), **names)
    keyimport.import_p12(leaf.p12("pass"), "pass")
    return leaf


def trust_anchor(der: bytes, name: str, **flags: bool) -> None:
    admission.admit([admission.Candidate(Certificate(der), "test.pem")], name, **flags)


@dataclass
class World:
    """What a test holds: our identity, a person with a record, the clinic, its name and mail server."""

    leaf: pki_factory.Issued
    account: Account
    record: Record
    peer: Peer
    dns: DnsServer
    smtp: SmtpPeer

    @property
    def address(self) -> str:
        return self.record.direct_addresses.get(primary=True).address

    def write(self, *to: str, subject: str = "About my visit", text: str = "Hello", files=()) -> Message:
        return compose.queue_message(
            self.account, self.record, to or [self.peer.office], subject, text, files
        )

    def copy(self, message: Message | None = None, recipient: str = "") -> OutboundMail:
        """One copy as it stands now."""
        rows = OutboundMail.objects.filter(kind=OutboundMail.Kind.MESSAGE)
        rows = rows.filter(message=message) if message else rows
        return rows.get(recipient=recipient) if recipient else rows.get()

    def send_all(self) -> None:
        """Work on everything that is due, as the sweep has it worked on."""
        for pk in OutboundMail.objects.filter(state="queued").order_by("pk").values_list("pk", flat=True):
            send.send_mail(str(pk))

    def opened(self, number: int = -1) -> OpenedMessage:
        """A message that the clinic's mail server took, as the clinic opens it."""
        taken = self.smtp.taken[number]
        return self.peer.open(taken.data, taken.recipients[0], taken.mail_from, authority().der)

    def arrives(self, raw: bytes, *, mail_from: str = "", to: str = "") -> InboundMail:
        """Mail from the clinic through our own door, worked on."""
        recipient = to or self.address
        mail = inbox.accept(raw, mail_from or self.peer.office, [recipient], protocol="smtp")[recipient]
        receive.receive_mail(str(mail.pk))
        mail.refresh_from_db()
        return mail

    def told(self, disposition: str, message: Message, *, recipient: str = "", **extra) -> InboundMail:
        """A notification from the clinic about a message of ours arrives."""
        sender = recipient or self.peer.office
        mdn = self.peer.mdn(
            disposition, to=self.address, original=message.message_id, recipient=sender, **extra
        )
        return self.arrives(self.peer.seal(mdn, self.leaf.der), mail_from=sender)

    def letter(self, to: str = "", subject: str = "Your results", **fields) -> bytes:
        """A message from the clinic, not sealed yet."""
        values = {
            "sender": Mailbox("", self.peer.office),
            "to": [Mailbox("", to or self.address)],
            "subject": subject,
            "date": datetime.now(UTC),
            "message_id": f"letter-{datetime.now(UTC).timestamp()}@{self.peer.domain}",
            "text": "All is well.",
            **fields,
        }
        return build_message(**values)

    def letter_arrives(self, to: str = "", subject: str = "Your results", **fields) -> InboundMail:
        recipient = to or self.address
        raw = self.peer.seal(self.letter(recipient, subject, **fields), self.leaf.der)
        return self.arrives(raw, to=recipient)


def make(dns: DnsServer, smtp: SmtpPeer) -> World:
    """Everything in order: keys, trust both ways, entries in the name service."""
    leaf = import_identity()
    trust_anchor(authority().der, "Portal itself")
    trust_anchor(clinic().ca.der, "Clinic", incoming=True, outgoing=True)
    clinic().publish(dns)
    owner = factories.account()
    return World(leaf, owner, factories.record(owner), clinic(), dns, smtp)


def pem(issued: pki_factory.Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.PEM)


def at_once(work: Callable[[Any], object], arguments: Sequence[Any]) -> None:
    """Do `work` for each argument in a thread of its own, all started together."""
    start = threading.Barrier(len(arguments))
    errors: list[Exception] = []

    def run(argument: Any) -> None:
        start.wait(10)
        try:
            work(argument)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[argument]) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
