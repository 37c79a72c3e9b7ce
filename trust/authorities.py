"""Our own certificate authority: it issues for our domains and addresses, and publishes what it revoked.

Whatever signs here needs the identity keyring, so it runs in workers and operators' commands only.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store.keyrings import identity_keyring
from trust.context import PrivateKey, load_key, lower
from trust.errors import AuthorityOffline, BadName, UnknownIssuer
from trust.models import Anchor, Crl, Identity, issuer_hash
from trust.pki.certs import Certificate, is_host_name, is_mailbox

#: Our first authority; its files are `ca.crt` and `ca.crl`. Its successors are `ca-2`, `ca-3`, ...
OWN_SLUG = "ca"
#: For so long a new authority stands beside the old one before it issues: partners have to import it.
INTRODUCED_FOR = timedelta(days=30)
#: The word for two certificates of one name, one to sign with and one to be encrypted to.
SEPARATE = "separate"

AUTHORITY_KEY_BITS = 3072
LEAF_KEY_BITS = 2048
AUTHORITY_LIFE = timedelta(days=3652)
LEAF_LIFE = timedelta(days=730)
CRL_LIFE = timedelta(days=7)
#: A list is made anew when less than this is left of it.
CRL_RENEW_BEFORE = CRL_LIFE / 2
#: Clocks of partners may be a little slow.
BACKDATE = timedelta(minutes=5)

CERTS_PATH = "/messagecenter/certs/"
_MOST_IN_COMMON_NAME = 64


def published_url(file_name: str) -> str:
    """Where partners fetch a file of an authority.

    By plain http even where pages are https: whoever checks a certificate must not need another one for it
    (RFC 5280 section 4.2.1.13). Only a port of its own forces the scheme of PUBLIC_URL.
    """
    base = urlsplit(settings.PUBLIC_URL)
    scheme = "http" if base.port in (None, 443) else base.scheme
    return f"{scheme}://{base.netloc.removesuffix(':443')}{base.path}{CERTS_PATH}{file_name}"


# --- authorities ----------------------------------------------------------------------------------------


def our_authority() -> Identity:
    """The authority of this installation that issues now; the first is made when it is first asked for.

    Of several the newest that partners have had INTRODUCED_FOR to import, else the oldest. Raises
    KeyringUnavailable, AuthorityOffline.
    """
    identity_keyring()
    number = _free_number()
    authority = issuing_authority(timezone.now()) or _make_authority(number)
    renew_crl(authority)
    return authority


def own_authorities(at: datetime) -> list[Identity]:
    """The authorities that we made ourselves and that are in use at `at`, the newest first."""
    ours = Q(slug=OWN_SLUG) | Q(slug__startswith=f"{OWN_SLUG}-")
    current = Identity.objects.filter(ours, kind=Identity.Kind.CA, state=Identity.State.ACTIVE)
    return list(current.filter(not_before__lte=at, not_after__gt=at).order_by("-created"))


def issuing_authority(at: datetime) -> Identity | None:
    """Which of them issues at `at`, if there is one."""
    rows = own_authorities(at)
    introduced = [row for row in rows if row.created <= at - INTRODUCED_FOR]
    return next(iter([*introduced, *reversed(rows)]), None)


def successor(at: datetime) -> Identity | None:
    """The authority that stands beside the issuing one and takes over from it."""
    newest = next(iter(own_authorities(at)), None)
    return newest if newest is not None and newest != issuing_authority(at) else None


def issues_from(authority: Identity) -> datetime:
    """When an authority takes over from the one before."""
    return authority.created + INTRODUCED_FOR


def make_authority() -> Identity:
    """The first authority of ours, or the next beside it, which takes over after INTRODUCED_FOR.

    One that waits to take over is given back as it is. Both are anchors that partners get from then on.
    Raises KeyringUnavailable.
    """
    identity_keyring()
    number = _free_number()
    waiting = successor(timezone.now())
    if waiting is not None:
        return waiting
    authority = _make_authority(number)
    renew_crl(authority)
    return authority


def _free_number() -> int:
    """The number that the next authority gets; its slug is unique, so of several processes one makes it.

    Ask for it before asking whether one is wanted: whoever then still sees none wanted the same number, and
    whoever comes later sees the one that was made.
    """
    taken = set(Identity.objects.filter(slug__startswith=OWN_SLUG).values_list("slug", flat=True))
    return next(each for each in range(1, len(taken) + 2) if _slug(each) not in taken)


def _slug(number: int) -> str:
    return OWN_SLUG if number == 1 else f"{OWN_SLUG}-{number}"


def find_authority(name: str) -> Identity:
    """One of our authorities by title, slug, or (the beginning of) its fingerprint. Raises UnknownIssuer."""
    wanted = Q(name=name) | Q(slug=name)
    if len(name) >= 8:
        wanted |= Q(sha256__startswith=name.lower().replace(":", ""))
    found = list(Identity.objects.filter(wanted, kind=Identity.Kind.CA, state=Identity.State.ACTIVE)[:2])
    if len(found) != 1:
        raise UnknownIssuer(f"{len(found) or 'none'} of our authorities match {name!r}")
    return found[0]


def _make_authority(number: int) -> Identity:
    key = rsa.generate_private_key(public_exponent=65537, key_size=AUTHORITY_KEY_BITS)
    now = timezone.now().replace(microsecond=0)
    title = f"{settings.DIRECT_DOMAINS[0]} Direct CA" if settings.DIRECT_DOMAINS else "Direct CA"
    # Two authorities of one name would share the issuer name of their revocation lists.
    title += f" {number}" if number > 1 else ""
    name = _subject(title)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    try:
        with transaction.atomic():
            row = store_identity(
                certificate,
                key,
                name=title,
                kind=Identity.Kind.CA,
                use=Identity.Use.ISSUING,
                slug=_slug(number),
                action="trust.authority_created",
            )
            add_own_anchor(row)
    except IntegrityError:
        # Another process made it meanwhile.
        return Identity.objects.get(slug=_slug(number))
    return row


def add_own_anchor(row: Identity) -> Anchor:
    """Trust a certificate of ours for all of our domains: mail between them is judged like any other."""
    certificate = row.certificate
    anchor, made = Anchor.objects.get_or_create(
        sha256=row.sha256,
        domain=None,
        bundle=None,
        defaults={**Anchor.fields_of(certificate), "source": Anchor.Source.OWN},
    )
    if made:
        trail.record("trust.anchor_added", subject=anchor.pk, sha256=anchor.sha256, source=anchor.source)
    return anchor


# --- certificates ---------------------------------------------------------------------------------------


def issue_identity(name: str, *, issuer: Identity | None = None, use: str = Identity.Use.DUAL) -> Identity:
    """A new certificate and key for a domain or an address of ours, by `issuer` or our own authority.

    RSA of 2048 bits, SHA-256, one alternative name, for signing, encryption or (by default) both. Earlier
    certificates of the name stay as they are: partners may still hold them. Raises BadName,
    KeyringUnavailable, AuthorityOffline.
    """
    if use not in (Identity.Use.SIGNING, Identity.Use.ENCRYPTION, Identity.Use.DUAL):
        raise ValueError(f"no certificate of ours is for {use}")
    kind, name = kind_of(name)
    authority = issuer or our_authority()
    renew_crl(authority)
    key = rsa.generate_private_key(public_exponent=65537, key_size=LEAF_KEY_BITS)
    certificate = _sign_leaf(name, kind, use, key, authority)
    with transaction.atomic():
        return store_identity(
            certificate,
            key,
            name=name,
            kind=kind,
            use=use,
            issuer=authority,
            chain=_chain_of(authority),
            action="trust.identity_created",
        )


def issue_pair(name: str, *, issuer: Identity | None = None) -> tuple[Identity, Identity]:
    """Two certificates of one use each, the one to be encrypted to and the one to sign with (RFC 8550 4.4.2).

    Raises what `issue_identity` raises.
    """
    encryption = issue_identity(name, issuer=issuer, use=Identity.Use.ENCRYPTION)
    return encryption, issue_identity(name, issuer=issuer, use=Identity.Use.SIGNING)


def kind_of(name: str) -> tuple[str, str]:
    """Whether `name` is a domain or an address, and its normal form. Raises BadName."""
    normal = lower(name.strip())
    if "@" in normal:
        if is_mailbox(normal) and normal.isascii():
            return Identity.Kind.ADDRESS, normal
    elif is_host_name(normal.rstrip(".")):
        return Identity.Kind.DOMAIN, normal.rstrip(".")
    raise BadName(f"{name!r} is neither a domain nor an address")


def _sign_leaf(
    name: str, kind: str, use: str, key: rsa.RSAPrivateKey, authority: Identity
) -> x509.Certificate:
    parent = x509.load_der_x509_certificate(bytes(authority.der))
    now = timezone.now().replace(microsecond=0)
    alternative = x509.RFC822Name(name) if kind == Identity.Kind.ADDRESS else x509.DNSName(name)
    purposes = [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    usage = _key_usage(
        digital_signature=use != Identity.Use.ENCRYPTION, key_encipherment=use != Identity.Use.SIGNING
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(parent.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATE, parent.not_valid_before_utc))
        .not_valid_after(min(now + LEAF_LIFE, parent.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_key_id(authority), critical=False)
        .add_extension(_crl_point(authority), critical=False)
        .add_extension(_issuer_access(authority), critical=False)
    )
    return builder.sign(_authority_key(authority), hashes.SHA256())


def is_offline(authority: Identity) -> bool:
    """Whether its private key was taken out of the installation."""
    return Identity.objects.filter(pk=authority.pk, private_key__isnull=True).exists()


def _authority_key(authority: Identity) -> PrivateKey:
    _require_online(authority)
    return load_key(authority)


def _require_online(authority: Identity) -> None:
    if is_offline(authority):
        raise AuthorityOffline(
            f"the key of {authority.name} was taken offline; import its PKCS #12 file first"
        )


def _subject(common_name: str) -> x509.Name:
    # No emailAddress: names bind by the alternative name alone.
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "HealthVault Direct")]
    if len(common_name) <= _MOST_IN_COMMON_NAME:
        parts.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(parts)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_id(authority: Identity) -> x509.AuthorityKeyIdentifier:
    certificate = authority.certificate
    if certificate.key_id is not None:
        return x509.AuthorityKeyIdentifier(certificate.key_id, None, None)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(certificate.public_key)


def _crl_point(authority: Identity) -> x509.CRLDistributionPoints:
    url = x509.UniformResourceIdentifier(published_url(f"{authority.slug}.crl"))
    return x509.CRLDistributionPoints([x509.DistributionPoint([url], None, None, None)])


def _issuer_access(authority: Identity) -> x509.AuthorityInformationAccess:
    url = x509.UniformResourceIdentifier(published_url(f"{authority.slug}.crt"))
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, url)]
    )


def _chain_of(authority: Identity) -> str:
    own = x509.load_der_x509_certificate(bytes(authority.der))
    return own.public_bytes(serialization.Encoding.PEM).decode() + authority.chain


def store_identity(
    certificate: x509.Certificate,
    key: PrivateKey,
    *,
    name: str,
    kind: str,
    use: str,
    action: str,
    state: str = Identity.State.ACTIVE,
    issuer: Identity | None = None,
    chain: str = "",
    slug: str | None = None,
) -> Identity:
    """Write an identity with its key sealed, and its line in the audit trail."""
    row = Identity(
        **Identity.fields_of(Certificate(certificate.public_bytes(serialization.Encoding.DER))),
        name=name,
        kind=kind,
        use=use,
        state=state,
        issuer=issuer,
        chain=chain,
        slug=slug,
        serial=f"{certificate.serial_number:x}",
        private_key=_key_text(key),
    )
    row.save(force_insert=True)
    # The open key does not stay in memory; whoever needs it asks the keyring again.
    del row.__dict__["private_key"]
    trail.record(action, subject=row.pk, sha256=row.sha256, kind=kind)
    return row


def put_key(row: Identity, key: PrivateKey) -> None:
    """Seal a private key into a row that is here without one. Raises KeyringUnavailable."""
    row.private_key = _key_text(key)
    row.save(update_fields=["private_key"])
    del row.__dict__["private_key"]


def _key_text(key: PrivateKey) -> str:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode()


# --- revocation -----------------------------------------------------------------------------------------


def revoke_identity(row: Identity, reason: str = "unspecified") -> None:
    """Revoke a certificate that we issued, and publish that. `reason`: a word of RFC 5280 section 5.3.1.

    Its key still opens mail that was sealed to it. Raises UnknownIssuer when another authority issued it,
    AuthorityOffline (and nothing is revoked then), ValueError for an unknown reason, KeyringUnavailable.
    """
    x509.ReasonFlags(reason)
    if row.issuer is None:
        raise UnknownIssuer("only its own authority can revoke this certificate")
    _require_online(row.issuer)
    with transaction.atomic():
        # One certificate may stand in two rows, when it speaks for two names.
        valid = Identity.objects.filter(sha256=row.sha256, revoked__isnull=True)
        changed = valid.update(revoked=timezone.now(), revocation_reason=reason)
        if changed:
            trail.record("trust.identity_revoked", subject=row.pk, sha256=row.sha256, reason=reason)
    renew_crl(row.issuer, force=True)


def renew_crl(
    authority: Identity, *, at: datetime | None = None, force: bool = False, life: timedelta = CRL_LIFE
) -> Crl:
    """Make the revocation list of an authority anew when little of its life is left, or at once with `force`.

    `life`: how long the new one holds, longer only for an authority that goes offline. Raises
    KeyringUnavailable and AuthorityOffline only when there is something to sign.
    """
    now = (at or timezone.now()).replace(microsecond=0)
    before: Crl | None = Crl.objects.filter(identity=authority).first()
    if before and not force and before.next_update and before.next_update - now > CRL_RENEW_BEFORE:
        return before
    # Not a plain count: after a return to an older backup the next list must still be newer than any
    # that partners hold.
    number = max(int(before.number) + 1 if before else 1, int(now.timestamp()))
    signed = _sign_crl(authority, number, now, life)
    values = {
        "issuer_hash": issuer_hash(authority.certificate.raw_subject),
        "sha256": signed.fingerprint(hashes.SHA256()).hex(),
        "der": signed.public_bytes(serialization.Encoding.DER),
        "number": str(number),
        "this_update": signed.last_update_utc,
        "next_update": signed.next_update_utc,
        "fetched": now,
    }
    with transaction.atomic():
        if before is None:
            Crl.objects.get_or_create(identity=authority, defaults=values)
        elif not Crl.objects.filter(pk=before.pk, number=before.number).update(**values):
            # Another process renewed it meanwhile, perhaps without knowing of the latest revocation.
            return renew_crl(authority, at=at, force=force, life=life)
        trail.record("trust.crl_renewed", subject=authority.pk, number=str(number))
    made: Crl = Crl.objects.get(identity=authority)
    return made


def _sign_crl(
    authority: Identity, number: int, now: datetime, life: timedelta
) -> x509.CertificateRevocationList:
    parent = x509.load_der_x509_certificate(bytes(authority.der))
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(parent.subject)
        .last_update(now - BACKDATE)
        .next_update(now + life)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key_id(authority), critical=False)
    )
    rows = Identity.objects.filter(issuer=authority, revoked__isnull=False).order_by("serial")
    for serial, revoked, reason in rows.values_list("serial", "revoked", "revocation_reason").distinct():
        assert revoked is not None
        entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(revoked)
        if reason and reason != "unspecified":
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(_authority_key(authority), hashes.SHA256())


def renew_all_crls() -> int:
    """Renew the list of every active authority that is due and online; returns how many these are."""
    active = Identity.objects.filter(kind=Identity.Kind.CA, state=Identity.State.ACTIVE)
    authorities = list(active.filter(private_key__isnull=False))
    for authority in authorities:
        renew_crl(authority)
    return len(authorities)
