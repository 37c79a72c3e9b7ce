"""Whom we can write to: the certificates that mail to an address is encrypted to, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from trust import context as trust_context
from trust import discovery, verdicts
from trust.models import Identity, PeerCertificate
from trust.pki.certs import Certificate, require_covers, require_direct_leaf
from trust.pki.errors import PkiError

from .agent.address import without_tag
from .models import OutboundMail


class Unreachable(Exception):
    """No certificate that we may encrypt to; `code` is that of the first thing that was wrong."""

    def __init__(self, code: str, detail: str, *, temporary: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.temporary = temporary


def certificates_for(mail: OutboundMail, at: datetime) -> tuple[x509.Certificate, ...]:
    """Every certificate that `mail` is to be encrypted to: in time, naming the recipient, trusted.

    Trust is that of the sender's outgoing anchors. The recipient's own published certificates count, for
    addresses of ours those we hold. Where nothing is published, an answer may go to the certificate that
    signed what is answered, for its owner holds its key. Asks the network: never call it in a transaction.
    Raises Unreachable.
    """
    if trust_context.is_hosted(mail.recipient):
        return _trusted(_own(mail.recipient, at), mail, at)
    found = discovery.find(mail.recipient, at=at, sender=mail.sender)
    if found.found:
        return tuple(each.certificate.parsed for each in found.found)
    if found.code == "no_certificate":
        signers = _signers_of_what_is_answered(mail)
        if signers:
            return _trusted(signers, mail, at)
    raise Unreachable(found.code, found.detail, temporary=found.temporary)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A certificate that may be encrypted to, and issuers that may be of use on its way to an anchor."""

    certificate: Certificate
    hints: tuple[Certificate, ...] = ()


def _own(address: str, at: datetime) -> list[_Candidate]:
    """Our current certificates for one of our addresses: those of the address, else those of its domain."""
    plain = trust_context.lower(without_tag(address))
    rows = Identity.objects.filter(state=Identity.State.ACTIVE, revoked__isnull=True)
    for name in (plain, plain.rpartition("@")[2]):
        named = [row for row in rows.filter(name=name) if row.encrypts and row.is_current(at)]
        if named:
            return [_Candidate(row.certificate, _issuers_of(row)) for row in named]
    return []


def _issuers_of(row: Identity) -> tuple[Certificate, ...]:
    chain = x509.load_pem_x509_certificates(row.chain.encode()) if row.chain else []
    return tuple(Certificate(each.public_bytes(Encoding.DER)) for each in chain)


def _signers_of_what_is_answered(mail: OutboundMail) -> list[_Candidate]:
    """Certificates, kept from good chains, that signed the message `mail` is about."""
    inbound = mail.inbound or (mail.parcel.inbound if mail.parcel else None)
    signers = inbound.report.get("signers", []) if inbound else []
    accepted = {
        signer["sha256"]: [each["sha256"] for each in signer.get("chain", [])]
        for signer in signers
        if signer.get("accepted") and signer.get("sha256")
    }
    wanted = {*accepted, *(each for chain in accepted.values() for each in chain)}
    rows = PeerCertificate.objects.filter(sha256__in=wanted)
    kept = {row.sha256: row.certificate for row in rows}
    return [
        _Candidate(kept[sha256], tuple(kept[each] for each in chain if each in kept and each != sha256))
        for sha256, chain in accepted.items()
        if sha256 in kept
    ]


def _trusted(candidates: list[_Candidate], mail: OutboundMail, at: datetime) -> tuple[x509.Certificate, ...]:
    """Those of `candidates` that pass; raises Unreachable with the first fault when none does."""
    trust = trust_context.for_address(mail.sender, incoming=False).trust
    good: list[x509.Certificate] = []
    first: PkiError | None = None
    for candidate in candidates:
        try:
            require_covers(candidate.certificate, without_tag(mail.recipient), trust.policy)
            require_direct_leaf(candidate.certificate, trust.policy, "encryption")
            verdicts.verify(candidate.certificate, candidate.hints, trust, at)
        except PkiError as error:
            first = first or error
        else:
            good.append(candidate.certificate.parsed)
    if good:
        return tuple(good)
    if first is not None:
        raise Unreachable(first.code, first.detail, temporary=first.temporary)
    raise Unreachable("no_certificate", f"we hold no current certificate for {mail.recipient}")
