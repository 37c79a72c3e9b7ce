"""Who may talk to whom: partners and their anchors, our own domains, certificates and keys.

Certificates, names of organisations and Direct addresses stand in clear; private keys are sealed under
the keyring of identities, which only workers and operators' commands hold.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from healthvault.store.fields import SealedField
from healthvault.store.models import new_id
from trust.asking import IdentityRequest, TrustDraft, TrustRequest
from trust.pki.certs import Certificate, is_host_name
from trust.pki.names import name_key
from trust.versions import ANCHORS, CRLS, SetVersion, Versioned

__all__ = [
    "Anchor",
    "Bundle",
    "BundleChange",
    "BundleUse",
    "Crl",
    "Domain",
    "Identity",
    "IdentityRequest",
    "OcspAnswer",
    "Organization",
    "PeerCertificate",
    "SetVersion",
    "TrustDraft",
    "TrustRequest",
]


def lower_names(names: Any) -> None:
    """A list of host names in lower case."""
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name == name.lower() and is_host_name(name) for name in names
    ):
        raise ValidationError("a list of host names in lower case is wanted")


class Organization(Versioned):
    """A partner: who is behind an anchor, and under which name patients see it.

    `domains`: its Direct domains, lower case. `limits`: figures that differ from the settings, by name.
    The anchors of one that is not active count for nothing.
    """

    SET = ANCHORS

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=200, unique=True)
    public_name = models.CharField(
        max_length=200, blank=True, help_text="What patients see; empty means the name."
    )
    domains = models.JSONField(default=list, blank=True, validators=[lower_names])
    limits = models.JSONField(default=dict, blank=True)
    is_active = models.BooleanField(default=True)
    notes = models.TextField(blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def shown_name(self) -> str:
        """The name that patients see."""
        return self.public_name or self.name


class KeyTransport(models.TextChoices):
    """How the content key is encrypted to a recipient (RFC 8017 sections 7.1 and 7.2)."""

    OAEP_SHA256 = "oaep_sha256", "RSAES-OAEP with SHA-256"
    OAEP_SHA1 = "oaep_sha1", "RSAES-OAEP with SHA-1"
    PKCS1 = "pkcs1", "RSAES-PKCS1-v1_5"


class Revocation(models.TextChoices):
    SOFT = "soft", "Unknown passes, revoked never"
    REQUIRE = "require", "Must be known to be good"


def known_tolerances(names: Any) -> None:
    """A list of tolerances that the settings allow."""
    allowed = settings.DIRECT_LEGACY
    if not isinstance(names, list) or not set(names) <= allowed:
        raise ValidationError(
            f"only tolerances that DIRECT_LEGACY allows: {', '.join(sorted(allowed)) or 'none'}"
        )


class Domain(Versioned):
    """How one of our own domains judges. Which domains are ours is said by the settings alone."""

    SET = ANCHORS

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=255, unique=True)
    revocation = models.CharField(max_length=7, choices=Revocation.choices, default=Revocation.SOFT)
    legacy = models.JSONField(
        "tolerances towards old systems", default=list, blank=True, validators=[known_tolerances]
    )
    require_wrapped = models.BooleanField("refuse messages that are not wrapped", default=False)
    key_transport = models.CharField(
        max_length=11, choices=KeyTransport.choices, default=KeyTransport.OAEP_SHA256
    )
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def tolerances(self) -> frozenset[str]:
        """What it tolerates now: what was switched on and is still allowed by the settings."""
        return frozenset(self.legacy) & settings.DIRECT_LEGACY


class Bundle(Versioned):
    """A trust bundle: the anchors of one community, fetched from one place.

    `signer_der`: the one certificate that must have signed it; without it a bundle is taken unsigned.
    `interval_s`: seconds between refreshes, 0 for by hand only.
    """

    SET = ANCHORS

    class Label(models.TextChoices):
        STAGING = "staging", "Staging"
        PRODUCTION = "production", "Production"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100, unique=True)
    url = models.CharField(max_length=500, blank=True, validators=[URLValidator(["http", "https"])])
    signer_der = models.BinaryField(null=True, blank=True)
    label = models.CharField(max_length=10, choices=Label.choices, default=Label.PRODUCTION)
    interval_s = models.PositiveIntegerField("seconds between refreshes", default=86_400)
    is_active = models.BooleanField(default=False)
    last_attempt = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(max_length=40, blank=True, editable=False)
    last_error_detail = models.CharField(max_length=300, blank=True, editable=False)
    last_success = models.DateTimeField(null=True, editable=False)
    checksum = models.CharField("SHA-256 of the bytes last taken", max_length=64, blank=True, editable=False)
    #: A change of where anchors come from that one administrator wants, until a second one agrees.
    proposal = models.JSONField(null=True, blank=True, editable=False)
    proposed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        editable=False,
    )
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class BundleChange(models.Model):
    """One time that a bundle's anchors changed, or were held back from changing.

    `added` and `removed` are lists of `{sha256, subject}`, by subject. `code` is empty for a change that was
    made; `SHRUNKEN` for one that waits for an administrator; `ACCEPTED` for such a one after a yes.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    bundle = models.ForeignKey(Bundle, on_delete=models.CASCADE, related_name="changes")
    at = models.DateTimeField(default=timezone.now)
    code = models.CharField(max_length=40, blank=True)
    added = models.JSONField(default=list)
    removed = models.JSONField(default=list)
    kept = models.PositiveIntegerField(default=0)
    passed_over = models.PositiveIntegerField("certificates that could not be read", default=0)
    signed_by = models.CharField("SHA-256 of the signer", max_length=64, blank=True)

    class Meta:
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.bundle}: {len(self.added)} added, {len(self.removed)} removed"


class BundleUse(Versioned):
    """That one of our domains (or all of them) uses a bundle, and for which direction."""

    SET = ANCHORS

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    bundle = models.ForeignKey(Bundle, on_delete=models.CASCADE, related_name="uses")
    domain = models.ForeignKey(Domain, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    incoming = models.BooleanField(default=True)
    outgoing = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["bundle", "domain"], name="bundle_once_per_domain"),
            models.UniqueConstraint(
                fields=["bundle"], condition=Q(domain__isnull=True), name="bundle_once_for_all"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bundle} for {self.domain or 'all domains'}"


class CertificateRow(models.Model):
    """What every stored certificate has; `sha256` is over the bytes as received, lower-case hex."""

    sha256 = models.CharField(max_length=64, editable=False)
    der = models.BinaryField(editable=False)
    subject = models.CharField(max_length=1000, editable=False)
    not_before = models.DateTimeField(editable=False)
    not_after = models.DateTimeField(editable=False)

    class Meta:
        abstract = True

    @staticmethod
    def fields_of(certificate: Certificate) -> dict[str, Any]:
        """The values of these columns. Raises the errors of `trust.pki.certs`."""
        return {
            "sha256": certificate.sha256,
            "der": certificate.der,
            "subject": certificate.subject[:1000],
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
        }

    @property
    def certificate(self) -> Certificate:
        """The certificate itself, to read."""
        return Certificate(bytes(self.der))

    def is_current(self, at: datetime) -> bool:
        """Whether `at` lies in its validity, both ends included (RFC 5280 section 4.1.2.5)."""
        return self.not_before <= at <= self.not_after


class Anchor(CertificateRow, Versioned):
    """A certificate that trust may begin at, for one of our domains or all, and for which direction.

    An anchor that stands here twice (by hand and through a bundle, say) is stopped for a domain by any one
    row that is paused or revoked there: a bundle cannot bring back what an administrator took away.
    """

    SET = ANCHORS

    class Source(models.TextChoices):
        HAND = "hand", "Imported"
        BUNDLE = "bundle", "From a bundle"
        REQUEST = "request", "Asked for by the organisation"
        OWN = "own", "Our own"

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        PAUSED = "paused", "Paused"
        REVOKED = "revoked", "Revoked"
        WITHDRAWN = "withdrawn", "No longer in its bundle"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.PROTECT, related_name="anchors"
    )
    domain = models.ForeignKey(
        Domain, null=True, blank=True, on_delete=models.CASCADE, related_name="anchors"
    )
    bundle = models.ForeignKey(
        Bundle, null=True, blank=True, on_delete=models.CASCADE, related_name="anchors"
    )
    incoming = models.BooleanField(default=True)
    outgoing = models.BooleanField(default=True)
    source = models.CharField(max_length=7, choices=Source.choices, default=Source.HAND)
    state = models.CharField(max_length=9, choices=State.choices, default=State.ACTIVE)
    reason = models.CharField(max_length=300, blank=True)
    last_used = models.DateTimeField(null=True, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["subject", "id"]
        indexes = [models.Index(fields=["sha256"], name="anchor_by_fingerprint")]
        constraints = [
            # Where a bundle's anchors are used is said by the bundle's uses.
            models.CheckConstraint(
                condition=Q(bundle__isnull=True) | Q(domain__isnull=True), name="bundle_anchor_has_no_domain"
            ),
            models.UniqueConstraint(
                fields=["sha256"],
                condition=Q(bundle__isnull=True, domain__isnull=True),
                name="anchor_once_for_all",
            ),
            models.UniqueConstraint(fields=["sha256", "domain"], name="anchor_once_per_domain"),
            models.UniqueConstraint(fields=["sha256", "bundle"], name="anchor_once_per_bundle"),
        ]

    def __str__(self) -> str:
        return self.subject or self.sha256[:16]


class Identity(CertificateRow):
    """A certificate of ours with its private key: of a domain, an address, or our own authority.

    `name` is the domain or address it speaks for (lower case), or an authority's title; a certificate that
    speaks for two has two rows. `chain` is PEM, issuers upwards. An authority without a private key is kept
    offline. A retired one signs nothing and is not
    published, but still opens mail that was sealed to it.
    """

    class Kind(models.TextChoices):
        DOMAIN = "domain", "Domain"
        ADDRESS = "address", "Address"
        CA = "ca", "Certificate authority"

    class Use(models.TextChoices):
        SIGNING = "signing", "Signing"
        ENCRYPTION = "encryption", "Encryption"
        DUAL = "dual", "Signing and encryption"
        ISSUING = "issuing", "Issuing certificates"

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        RETIRED = "retired", "Retired"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=320)
    kind = models.CharField(max_length=7, choices=Kind.choices)
    use = models.CharField(max_length=10, choices=Use.choices)
    state = models.CharField(max_length=7, choices=State.choices, default=State.ACTIVE)
    chain = models.TextField(blank=True, editable=False)
    private_key = SealedField(keyring="identity", null=True, editable=False)
    issuer = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="issued", editable=False
    )
    #: Under which its certificate and revocation list are served; authorities only, hence NULL.
    slug = models.SlugField(max_length=64, null=True, unique=True, editable=False)  # noqa: DJ001
    serial = models.CharField("serial number (hex)", max_length=42, editable=False)
    revoked = models.DateTimeField(null=True, editable=False)
    revocation_reason = models.CharField(max_length=40, blank=True, editable=False)
    retired = models.DateTimeField(null=True, editable=False)
    #: When a worker last set out to make its successor: two of them make one.
    renewal_tried = models.DateTimeField(null=True, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "identities"
        ordering = ["name", "-created"]
        indexes = [models.Index(fields=["name", "state"], name="identity_by_name")]
        constraints = [
            models.UniqueConstraint(fields=["sha256", "name"], name="identity_once_per_name"),
            models.CheckConstraint(
                condition=Q(kind="ca", use="issuing") | (~Q(kind="ca") & ~Q(use="issuing")),
                name="identity_use_fits_kind",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.sha256[:16]}"

    @property
    def signs(self) -> bool:
        return self.use in (self.Use.SIGNING, self.Use.DUAL)

    @property
    def encrypts(self) -> bool:
        return self.use in (self.Use.ENCRYPTION, self.Use.DUAL)


class Crl(Versioned):
    """A revocation list: of an authority of ours (`identity`), or fetched from `url`.

    `issuer_hash` is SHA-256 over the issuer's name as encoded.
    """

    SET = CRLS

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    identity = models.OneToOneField(
        Identity, null=True, blank=True, on_delete=models.CASCADE, related_name="crl"
    )
    url = models.CharField(max_length=500, blank=True)
    issuer_hash = models.CharField(max_length=64, db_index=True)
    sha256 = models.CharField(max_length=64)
    der = models.BinaryField()
    number = models.CharField("CRL number (decimal)", max_length=50, blank=True)
    this_update = models.DateTimeField()
    next_update = models.DateTimeField(null=True)
    fetched = models.DateTimeField(default=timezone.now)
    last_attempt = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=40, blank=True)

    class Meta:
        verbose_name = "revocation list"
        ordering = [F("next_update").asc(nulls_last=True), "id"]
        constraints = [
            models.UniqueConstraint(fields=["url"], condition=~Q(url=""), name="one_list_per_url"),
            models.CheckConstraint(
                condition=Q(identity__isnull=False) | ~Q(url=""), name="list_is_own_or_fetched"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.url or self.identity} until {self.next_update}"


class OcspAnswer(Versioned):
    """What a responder said about one certificate of somebody else: signed for it, and the newest we had.

    `next_update`: until when it makes the certificate good; `reason`: why it was revoked (RFC 5280 5.3.1).
    """

    SET = CRLS

    class State(models.TextChoices):
        GOOD = "good", "Good"
        REVOKED = "revoked", "Revoked"
        UNKNOWN = "unknown", "Not known to the responder"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    certificate_sha256 = models.CharField(max_length=64, unique=True)
    url = models.CharField(max_length=2000)
    sha256 = models.CharField(max_length=64)
    der = models.BinaryField()
    state = models.CharField(max_length=7, choices=State.choices)
    reason = models.CharField(max_length=40, blank=True)
    this_update = models.DateTimeField()
    next_update = models.DateTimeField()
    fetched = models.DateTimeField(default=timezone.now)
    last_attempt = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=40, blank=True)

    class Meta:
        verbose_name = "OCSP answer"
        verbose_name_plural = "OCSP answers"
        ordering = ["next_update", "id"]

    def __str__(self) -> str:
        return f"{self.certificate_sha256[:16]} {self.state} until {self.next_update}"


class PeerCertificate(CertificateRow):
    """A certificate of somebody else that stood on a chain we judged good: a signer, a recipient, an issuer.

    It tells which revocation lists we must hold (`crl_urls`, one a line, in the certificate's own order),
    which OCSP responders to ask (`ocsp_urls`, likewise) and which keys may have signed both. What came with a
    message but stood on no such chain is not kept.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    name_hash = models.CharField(max_length=64, db_index=True, editable=False)
    crl_urls = models.TextField(blank=True, editable=False)
    first_met = models.DateTimeField(default=timezone.now, editable=False)
    last_met = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    #: The last try to get its revocation list, and how that ended.
    crl_checked = models.DateTimeField(null=True, editable=False)
    crl_error = models.CharField(max_length=40, blank=True, editable=False)
    ocsp_urls = models.TextField(blank=True, db_default="", editable=False)
    ocsp_error = models.CharField(max_length=40, blank=True, db_default="", editable=False)

    class Meta:
        ordering = ["subject", "id"]

    def __str__(self) -> str:
        return self.subject or self.sha256[:16]


def name_hash(raw_name: bytes) -> str:
    """A look-up key that two encodings of one name share."""
    return hashlib.sha256(repr(name_key(raw_name)).encode()).hexdigest()


def issuer_hash(raw_name: bytes) -> str:
    """The look-up key of an issuer: SHA-256 over its encoded name."""
    return hashlib.sha256(raw_name).hexdigest()
