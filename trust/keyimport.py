"""Taking in a certificate and key that another authority made for us, as a PKCS #12 file (RFC 7292)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store.keyrings import identity_keyring
from trust.authorities import add_own_anchor, put_key, renew_crl, store_identity
from trust.context import PrivateKey, is_hosted, lower
from trust.errors import NoPrivateKey, OperatorNeeded, UnusableCertificate, WrongPassword
from trust.models import Identity
from trust.pki.certs import Certificate, Use, require_direct_leaf, signed_by
from trust.pki.errors import PkiError
from trust.pki.policy import Policy

MAX_P12_BYTES = 1024 * 1024
_MOST_IN_CHAIN = 10


def import_p12(data: bytes, password: str = "", *, alone: bool = False) -> list[Identity]:
    """The certificate of a PKCS #12 file as identities of ours, one for each name it speaks for.

    A certificate that is already here is given back as it stands, with its key if that was taken offline. A
    CA's becomes an authority that can issue; an expired one is kept retired, to open old mail. The
    certificate itself is made an anchor of ours, so that mail between our domains is trusted without trusting
    all that its issuer makes. Raises WrongPassword, NoPrivateKey, UnusableCertificate, KeyringUnavailable.

    `alone`: one administrator's word stands behind it. Then an authority that is new here, or a certificate
    for a name that is none of ours, raises OperatorNeeded: either would let others in.
    """
    identity_keyring()
    key, certificate, others = _open(data, password)
    chain = _chain(certificate, others)
    kept = list(Identity.objects.filter(sha256=certificate.sha256))
    if kept:
        return [_with_key(row, key) for row in kept]
    if alone:
        _require_ours(certificate)
    with transaction.atomic():
        if certificate.is_ca:
            rows = [_store_authority(certificate, key, chain)]
        else:
            rows = _store_leaf(certificate, key, chain)
        add_own_anchor(rows[0])
        if certificate.is_ca:
            renew_crl(rows[0])
    return rows


def _require_ours(certificate: Certificate) -> None:
    if not certificate.is_ca and all(is_hosted(lower(name)) for name in certificate.names):
        return
    what = "an authority" if certificate.is_ca else "a certificate for names that are not ours"
    raise OperatorNeeded(f"{what} would become an anchor: an operator imports it, with import_identity")


def _with_key(row: Identity, key: PrivateKey) -> Identity:
    """A row that stands here already; one whose key was taken offline has it again."""
    if not Identity.objects.filter(pk=row.pk, private_key__isnull=True).exists():
        return row
    with transaction.atomic():
        put_key(row, key)
        trail.record("trust.authority_key_restored", subject=row.pk, sha256=row.sha256)
    return row


def _open(data: bytes, password: str) -> tuple[PrivateKey, Certificate, list[Certificate]]:
    if len(data) > MAX_P12_BYTES:
        raise NoPrivateKey("the file is too large for a PKCS #12 file")
    try:
        content = pkcs12.load_pkcs12(data, password.encode() if password else None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _reason(data, error) from error
    key, held = content.key, content.cert
    if held is None or not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise NoPrivateKey("the file holds no certificate together with an RSA or elliptic curve key")
    if _key_info(key) != _key_info(held.certificate):
        raise NoPrivateKey("the key in the file is not the certificate's")
    return key, _read(held.certificate), [_read(each.certificate) for each in content.additional_certs]


def _reason(data: bytes, error: Exception) -> WrongPassword | NoPrivateKey:
    if "password" in str(error).lower():
        return WrongPassword("the password is wrong, or one is needed")
    if data.lstrip().startswith(b"-----BEGIN"):
        return NoPrivateKey("that is PEM text; a PKCS #12 file (.p12, .pfx) is wanted")
    return NoPrivateKey("that is no PKCS #12 file, or one with a cipher that cannot be read")


def _key_info(holder: PrivateKey | x509.Certificate) -> bytes:
    return holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _read(certificate: x509.Certificate) -> Certificate:
    return Certificate(certificate.public_bytes(serialization.Encoding.DER))


def _chain(leaf: Certificate, others: Sequence[Certificate]) -> list[Certificate]:
    """The issuers among `others`, upwards; what does not belong is left out."""
    chain: list[Certificate] = []
    child = leaf
    while len(chain) < _MOST_IN_CHAIN and not child.self_issued:
        issuers = [each for each in others if each.subject_key == child.issuer_key and each not in chain]
        issuer = next((each for each in issuers if signed_by(child, each)), None)
        if issuer is None:
            break
        chain.append(issuer)
        child = issuer
    return chain


def _pem(chain: Sequence[Certificate]) -> str:
    return "".join(each.parsed.public_bytes(serialization.Encoding.PEM).decode() for each in chain)


def _store_authority(certificate: Certificate, key: PrivateKey, chain: Sequence[Certificate]) -> Identity:
    usage = certificate.key_usage
    if usage is not None and not (usage.key_cert_sign and usage.crl_sign):
        raise UnusableCertificate("this CA certificate may not sign both certificates and revocation lists")
    return store_identity(
        certificate.parsed,
        key,
        name=certificate.subject[:320],
        kind=Identity.Kind.CA,
        use=Identity.Use.ISSUING,
        slug=certificate.sha256[:16],
        chain=_pem(chain),
        action="trust.authority_imported",
    )


def _store_leaf(certificate: Certificate, key: PrivateKey, chain: Sequence[Certificate]) -> list[Identity]:
    use = _use_of(certificate)
    expired = certificate.not_after < timezone.now()
    names = [(Identity.Kind.ADDRESS, lower(name)) for name in certificate.emails]
    names += [(Identity.Kind.DOMAIN, lower(name)) for name in certificate.domains]
    if not names:
        raise UnusableCertificate("it names no domain and no address (no subject alternative name)")
    return [
        store_identity(
            certificate.parsed,
            key,
            name=name,
            kind=kind,
            use=use,
            state=Identity.State.RETIRED if expired else Identity.State.ACTIVE,
            chain=_pem(chain),
            action="trust.identity_imported",
        )
        for kind, name in dict.fromkeys(names)
    ]


def _use_of(certificate: Certificate) -> str:
    """What Direct lets the certificate be used for. Raises UnusableCertificate."""
    policy = Policy(legacy=settings.DIRECT_LEGACY)
    allowed, reason = [], ""
    for use in get_args(Use):
        try:
            require_direct_leaf(certificate, policy, use)
            allowed.append(use)
        except PkiError as error:
            reason = reason or error.detail
    if not allowed:
        raise UnusableCertificate(reason)
    return allowed[0] if len(allowed) == 1 else Identity.Use.DUAL
