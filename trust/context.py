"""What the mail agent needs to judge one address: anchors, revocation lists, policy, and our keys.

Domains, anchors and lists are read again only when their set's token changed, so that a message costs two
small queries and every process follows a change at once. Keys are unwrapped when they are asked for, and
never kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from string import ascii_lowercase, ascii_uppercase
from typing import Literal, NamedTuple
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from healthvault.audit import trail
from trust.models import Anchor, Crl, Domain, Identity, OcspAnswer, Organization, Revocation
from trust.pki import ocsp, revocation
from trust.pki.certs import Certificate
from trust.pki.policy import Policy, TrustContext
from trust.versions import ANCHORS, CRLS, tokens

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
Direction = Literal["incoming", "outgoing", "notification"]

#: For so long after its nextUpdate a revocation list is stale, not useless: its server may be down.
CRL_GRACE = timedelta(hours=24)
_AT_ONCE = 500


class KeyPair(NamedTuple):
    """A certificate of ours and its private key."""

    certificate: x509.Certificate
    private_key: PrivateKey


class SigningIdentity(NamedTuple):
    """What we sign with: certificate, key, and the issuers to send along."""

    certificate: x509.Certificate
    private_key: PrivateKey
    chain: tuple[x509.Certificate, ...]


class NoIdentity(Exception):
    """We have no current certificate that signs for this address."""

    code = "no_identity"


# --- our domains ----------------------------------------------------------------------------------------


def lower(name: str) -> str:
    """Lower case for ASCII letters only: other scripts hold look-alikes that would become ASCII."""
    return name.translate(_LOWER)


def domain_of(address: str) -> str:
    """The domain of an address, lower case, without a final dot; a bare domain is its own."""
    return lower(address.rpartition("@")[2]).rstrip(".")


def is_hosted(domain: str) -> bool:
    """Whether mail for `domain` is ours to take. Asks the settings only, no database."""
    return domain_of(domain) in settings.DIRECT_DOMAINS


def is_direct_domain(domain: str) -> bool:
    """Whether `domain` is known to speak Direct: one of ours, or named by a partner we know."""
    wanted = domain_of(domain)
    return is_hosted(wanted) or _organization_of_domain(wanted) is not None


def ensure_domains() -> list[Domain]:
    """The rows of all hosted domains, in the order of the settings; those missing are made."""
    found = {row.name: row for row in Domain.objects.filter(name__in=settings.DIRECT_DOMAINS)}
    return [found.get(name) or ensure_domain(name) for name in settings.DIRECT_DOMAINS]


def ensure_domain(name: str) -> Domain:
    """The row of one domain, made when it is not there."""
    with transaction.atomic():
        row, made = Domain.objects.get_or_create(name=name)
        if made:
            trail.record("trust.domain_added", subject=row.pk)
    return row


# --- organisations --------------------------------------------------------------------------------------


def organization_for(anchor_or_address: str) -> Organization | None:
    """Who is behind an anchor (SHA-256, hex) or an address (its domain); None when nobody is named.

    An inactive organisation is nobody.
    """
    if "@" in anchor_or_address:
        return _organization_of_domain(domain_of(anchor_or_address))
    anchors = Anchor.objects.filter(sha256=anchor_or_address.lower(), organization__is_active=True)
    anchor = anchors.order_by("state", "created").select_related("organization").first()
    return anchor.organization if anchor else None


def public_name_for(organization: Organization | None, address: str) -> str:
    """The sender's name as patients see it: from our trust list, never from the message.

    The organisation that names the address's domain as its own goes before the one behind the anchor, which
    may be a service provider of many. Without either it is the domain.
    """
    domain = domain_of(address)
    if organization is not None and domain in organization.domains:
        return organization.shown_name
    owner = _organization_of_domain(domain) or organization
    return owner.shown_name if owner else domain


def _organization_of_domain(domain: str) -> Organization | None:
    # SQLite cannot look inside a JSON list, and there are few organisations.
    named = Organization.objects.filter(is_active=True).order_by("created").values_list("pk", "domains")
    owner = next((pk for pk, domains in named if domain in domains), None)
    return Organization.objects.filter(pk=owner).first() if owner else None


def mark_used(anchor_sha256: str) -> None:
    """Note that a message was accepted through this anchor; the row is written once an hour at most."""
    now = timezone.now()
    unseen = Q(last_used__isnull=True) | Q(last_used__lt=now - timedelta(hours=1))
    Anchor.objects.filter(unseen, sha256=anchor_sha256).touch(last_used=now)


# --- one address ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecipientContext:
    """How to judge mail for (or from) one of our addresses.

    `trust`: the anchors of the direction asked for. `notification_trust`: anchors of both directions, for
    MDNs and DSNs alone, since a partner we only send to must be heard as well.
    Keys need the identity keyring: without it `identities` and `signing_identity` raise KeyringUnavailable.
    """

    address: str
    domain: Domain
    trust: TrustContext
    notification_trust: TrustContext

    @property
    def policy(self) -> Policy:
        """What is demanded of certificates, algorithms and revocation."""
        return self.trust.policy

    @property
    def require_wrapped(self) -> bool:
        """Whether a message that is not wrapped in message/rfc822 is refused."""
        return self.domain.require_wrapped

    @property
    def key_transport(self) -> str:
        """How we encrypt to others by default: a value of `trust.models.KeyTransport`."""
        return self.domain.key_transport

    @cached_property
    def identities(self) -> tuple[KeyPair, ...]:
        """Every certificate of ours that mail to this address may be sealed to; retired ones too."""
        return tuple(KeyPair(*_unsealed(row)) for row in self._rows if row.encrypts)

    def signing_identity(self, at: datetime) -> SigningIdentity:
        """What we sign with for this address at `at`: its own certificate before its domain's, the newest
        first. Raises NoIdentity.
        """
        for row in self._rows:
            if row.signs and row.state == Identity.State.ACTIVE and not row.revoked and row.is_current(at):
                return SigningIdentity(*_unsealed(row), chain=_chain(row))
        raise NoIdentity(f"no current certificate signs for {self.address}")

    @cached_property
    def _rows(self) -> tuple[Identity, ...]:
        names = _certificate_names(self.address)
        rows = Identity.objects.filter(name__in=names, private_key__isnull=False)
        rows = rows.exclude(kind=Identity.Kind.CA).order_by("-created")
        return tuple(sorted(rows, key=lambda row: (names.index(row.name), row.state)))


def for_address(address: str, *, incoming: bool = True) -> RecipientContext:
    """What to judge one address of ours by.

    `incoming`: whether mail to it is judged, else mail from it (whom it may write to). The address of a
    domain that is not ours is judged by what holds for all domains, and has no keys.
    """
    now = tokens()
    anchors, crls = _anchor_set(now.get(ANCHORS)), _crl_set(now.get(CRLS))
    domain = _domain(anchors, domain_of(address))
    policy = _policy(domain)

    def trust(direction: Direction) -> TrustContext:
        return _trust(anchors, crls, domain, policy, direction)

    return RecipientContext(
        address=address,
        domain=domain,
        trust=trust("incoming" if incoming else "outgoing"),
        notification_trust=trust("notification"),
    )


def _policy(domain: Domain) -> Policy:
    required = domain.revocation == Revocation.REQUIRE
    return Policy(legacy=domain.tolerances, revocation="require" if required else "soft", crl_grace=CRL_GRACE)


def _certificate_names(address: str) -> list[str]:
    """The names a certificate for `address` may have, the best one first; a `+tag` is no part of them."""
    local, _, domain = lower(address).rpartition("@")
    mailbox = f"{local}@{domain_of(domain)}"
    plain = f"{local.partition('+')[0]}@{domain_of(domain)}"
    return list(dict.fromkeys([mailbox, plain, domain_of(domain)]))


def _unsealed(row: Identity) -> tuple[x509.Certificate, PrivateKey]:
    return x509.load_der_x509_certificate(bytes(row.der)), load_key(row)


def load_key(row: Identity) -> PrivateKey:
    """The private key of a row, which must have one. Raises KeyringUnavailable, Tampered."""
    sealed = row.__dict__.get("private_key")
    text = str(row.private_key)
    # The row keeps the sealed value only: the open one lives as long as its user.
    if sealed is not None:
        row.private_key = sealed
    else:
        del row.__dict__["private_key"]
    # The seal shows that these are our bytes; testing the numbers again costs more than the decryption.
    key = serialization.load_pem_private_key(text.encode(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return key


def _chain(row: Identity) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(row.chain.encode())) if row.chain else ()


# --- sets of rows, kept as long as their token stands ---------------------------------------------------


@dataclass(frozen=True)
class _AnchorRow:
    """One anchor by one way it is used. `domain_id` None: for all of our domains."""

    certificate: Certificate
    domain_id: UUID | None
    incoming: bool
    outgoing: bool


@dataclass(frozen=True)
class _AnchorSet:
    token: UUID | None = None
    domains: dict[str, Domain] = field(default_factory=dict)
    rows: tuple[_AnchorRow, ...] = ()
    #: Fingerprint and domain (None: all) of what was paused or revoked.
    stopped: frozenset[tuple[str, UUID | None]] = frozenset()


@dataclass(frozen=True)
class _CrlSet:
    token: UUID | None = None
    crls: tuple[revocation.Crl, ...] = ()
    answers: tuple[ocsp.OcspAnswer, ...] = ()


@dataclass
class _Kept:
    """What this process read last. A reference is swapped in one step, so threads need no lock."""

    anchors: _AnchorSet = field(default_factory=_AnchorSet)
    crls: _CrlSet = field(default_factory=_CrlSet)
    contexts: dict[tuple[object, ...], TrustContext] = field(default_factory=dict)


_kept = _Kept()
_MOST_CONTEXTS = 256


def _domain(anchors: _AnchorSet, name: str) -> Domain:
    known = anchors.domains.get(name)
    if known is not None:
        return known
    return ensure_domain(name) if is_hosted(name) else Domain(name=name)


def _anchor_set(token: UUID | None) -> _AnchorSet:
    # The token was read before the rows: what is kept under it may be newer than it, never older.
    if token is None or _kept.anchors.token != token:
        _kept.anchors = _read_anchors(token, _kept.anchors)
    return _kept.anchors


def _crl_set(token: UUID | None) -> _CrlSet:
    if token is None or _kept.crls.token != token:
        _kept.crls = _read_crls(token, _kept.crls)
    return _kept.crls


def _read_anchors(token: UUID | None, before: _AnchorSet) -> _AnchorSet:
    used: list[_AnchorRow] = []
    stopped: set[tuple[str, UUID | None]] = set()
    # What was read of a certificate stays with it: most anchors outlive a change of the set.
    certificates = {row.certificate.sha256: row.certificate for row in before.rows}
    labels = usable_labels()
    rows = Anchor.objects.exclude(state=Anchor.State.WITHDRAWN).order_by("sha256", "id")
    for row in rows.values(
        "sha256", "der", "state", "domain_id", "bundle_id", "incoming", "outgoing",
        "organization__is_active", "bundle__is_active", "bundle__label",
        "bundle__uses__domain_id", "bundle__uses__incoming", "bundle__uses__outgoing",
    ):  # fmt: skip
        if row["state"] != Anchor.State.ACTIVE:
            stopped.add((row["sha256"], row["domain_id"]))
            continue
        if row["organization__is_active"] is False:
            continue
        domain_id, incoming, outgoing = row["domain_id"], row["incoming"], row["outgoing"]
        if row["bundle_id"] is not None:
            if not row["bundle__is_active"] or row["bundle__label"] not in labels:
                continue
            domain_id = row["bundle__uses__domain_id"]
            incoming = incoming and bool(row["bundle__uses__incoming"])
            outgoing = outgoing and bool(row["bundle__uses__outgoing"])
        certificate = certificates.get(row["sha256"])
        if certificate is None:
            certificate = certificates[row["sha256"]] = Certificate(bytes(row["der"]))
        used.append(_AnchorRow(certificate, domain_id, incoming, outgoing))
    domains = {row.name: row for row in Domain.objects.all()}
    return _AnchorSet(token, domains, tuple(used), frozenset(stopped))


def usable_labels() -> frozenset[str]:
    """Labels of bundles that count in this kind of installation: real patients meet real partners only."""
    return {
        "production": frozenset({"production"}),
        "ppe": frozenset({"staging"}),
    }.get(settings.ENVIRONMENT, frozenset({"staging", "production"}))


def _read_crls(token: UUID | None, before: _CrlSet) -> _CrlSet:
    # Lists may be large: one that this process has read already is not fetched again.
    known = {crl.sha256: crl for crl in before.crls}
    wanted = list(Crl.objects.order_by("id").values_list("sha256", flat=True))
    missing = set(wanted) - set(known)
    if missing:
        for der in Crl.objects.filter(sha256__in=missing).values_list("der", flat=True):
            crl = revocation.Crl(bytes(der))
            known[crl.sha256] = crl
    return _CrlSet(
        token, tuple(known[sha256] for sha256 in wanted if sha256 in known), _read_answers(before.answers)
    )


def _read_answers(before: tuple[ocsp.OcspAnswer, ...]) -> tuple[ocsp.OcspAnswer, ...]:
    known = {answer.sha256: answer for answer in before}
    wanted = list(OcspAnswer.objects.order_by("id").values_list("sha256", flat=True))
    missing = [sha256 for sha256 in wanted if sha256 not in known]
    for start in range(0, len(missing), _AT_ONCE):
        rows = OcspAnswer.objects.filter(sha256__in=missing[start : start + _AT_ONCE])
        for der in rows.values_list("der", flat=True):
            answer = ocsp.OcspAnswer(bytes(der))
            known[answer.sha256] = answer
    return tuple(known[sha256] for sha256 in wanted if sha256 in known)


def _trust(
    anchors: _AnchorSet, crls: _CrlSet, domain: Domain, policy: Policy, direction: Direction
) -> TrustContext:
    key = (anchors.token, crls.token, domain.pk, policy.digest, direction)
    kept = _kept.contexts
    if anchors.token is not None and crls.token is not None and key in kept:
        return kept[key]
    made = TrustContext(_select(anchors, domain.pk, direction), crls.crls, policy, crls.answers)
    if len(kept) >= _MOST_CONTEXTS:
        _kept.contexts = kept = {}
    kept[key] = made
    return made


def _select(anchors: _AnchorSet, domain_id: UUID, direction: Direction) -> tuple[Certificate, ...]:
    found: dict[str, Certificate] = {}
    for row in anchors.rows:
        sha256 = row.certificate.sha256
        if row.domain_id not in (None, domain_id) or not _serves(row, direction):
            continue
        if (sha256, None) in anchors.stopped or (sha256, domain_id) in anchors.stopped:
            continue
        found[sha256] = row.certificate
    return tuple(found.values())


def _serves(row: _AnchorRow, direction: Direction) -> bool:
    if direction == "notification":
        return row.incoming or row.outgoing
    return row.incoming if direction == "incoming" else row.outgoing
