"""Certificates, keys and revocation lists for tests, made on the spot.

Every CA has a key of its own. Leaves draw RSA keys from a small pool, because making one costs more than
all the rest of a test; ask for `fresh_key=True` where two leaves must not share a key.
Times default to "since yesterday, for a year", by the clock of the machine that runs the test.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
CURVES: dict[str, ec.EllipticCurve] = {
    "p224": ec.SECP224R1(),
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
DUAL_USE = ("digital_signature", "key_encipherment")
CA_USE = ("key_cert_sign", "crl_sign")
EMAIL_PROTECTION = ExtendedKeyUsageOID.EMAIL_PROTECTION
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
POOL_SIZE = 16

_leaf_turn = itertools.count()


def utc_now() -> datetime.datetime:
    """The machine's clock, aware, whole seconds."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def days(number: float) -> datetime.datetime:
    """So many days from now; negative is the past."""
    return utc_now() + datetime.timedelta(days=number)


def make_key(kind: str = "rsa2048") -> PrivateKey:
    """A fresh key: `rsa<bits>` or a name of CURVES."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    return ec.generate_private_key(CURVES[kind])


@cache
def _pooled_key(kind: str, slot: int) -> PrivateKey:
    return make_key(kind)


def _leaf_key(kind: str | PrivateKey, fresh: bool) -> PrivateKey:
    if not isinstance(kind, str):
        return kind
    if fresh or not kind.startswith("rsa"):
        return make_key(kind)
    return _pooled_key(kind, next(_leaf_turn) % POOL_SIZE)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key and, for those below a root, who issued it."""

    certificate: x509.Certificate
    private_key: PrivateKey
    issuer: Issued | None = None
    raw: bytes | None = None

    @property
    def der(self) -> bytes:
        return self.raw or self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return to_pem(self.der)

    @property
    def key_pem(self) -> bytes:
        return self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def sha256(self) -> str:
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.der)
        return digest.finalize().hex()

    def p12(self, password: bytes | str | None = None, *, chain: Sequence[Issued] = ()) -> bytes:
        """A PKCS #12 file with key, certificate and `chain`."""
        secret = password.encode() if isinstance(password, str) else password
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if secret:
            lock = serialization.BestAvailableEncryption(secret)
        others = [each.certificate for each in chain]
        return pkcs12.serialize_key_and_certificates(
            b"direct", self.private_key, self.certificate, others or None, lock
        )


def to_pem(der: bytes, label: str = "CERTIFICATE") -> bytes:
    """PEM text around some DER."""
    import base64

    body = base64.encodebytes(der).replace(b"\n", b"")
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    name = label.encode()
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (name, b"\n".join(lines), name)


def name_of(common_name: str, *, email: str | None = None, organization: str | None = None) -> x509.Name:
    """A distinguished name; `email` puts an emailAddress into it (an old habit, to be refused)."""
    parts = []
    if organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    parts.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    if email:
        parts.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, email))
    return x509.Name(parts)


def _usage(names: Iterable[str]) -> x509.KeyUsage:
    wanted = set(names)
    return x509.KeyUsage(**{each: each in wanted for each in USAGES})


def _crl_points(urls: Sequence[str]) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in urls]
    )


def _issuer_urls(urls: Sequence[str]) -> x509.AuthorityInformationAccess:
    method = AuthorityInformationAccessOID.CA_ISSUERS
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for url in urls]
    )


def _build(
    subject: x509.Name,
    private_key: PrivateKey,
    issuer: Issued | None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
    *,
    not_before: datetime.datetime | None,
    not_after: datetime.datetime | None,
    serial: int | None,
    digest: str,
    pss: bool = False,
    issuer_name: x509.Name | None = None,
) -> Issued:
    signer = issuer.private_key if issuer else private_key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name or (issuer.certificate.subject if issuer else subject))
        .public_key(private_key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(not_before or days(-1))
        .not_valid_after(not_after or days(365))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    rsa_padding = None
    if pss:
        rsa_padding = padding.PSS(mgf=padding.MGF1(DIGESTS[digest]), salt_length=padding.PSS.DIGEST_LENGTH)
    if digest == "sha1":  # the builder refuses to make what we must refuse to accept
        modern = Issued(builder.sign(signer, DIGESTS["sha256"]), private_key, issuer)
        old = forge(modern, _sign_with_sha1)
        return Issued(x509.load_der_x509_certificate(old.der), private_key, issuer)
    certificate = builder.sign(signer, DIGESTS[digest], rsa_padding=rsa_padding)
    return Issued(certificate, private_key, issuer)


def _sign_with_sha1(tbs: Any) -> None:
    family = tbs["signature"]["algorithm"].native.split("_")[1]
    tbs["signature"] = {"algorithm": f"sha1_{family}", "parameters": tbs["signature"]["parameters"].copy()}


def _key_ids(
    private_key: PrivateKey, issuer: Issued | None, ski: bytes | None
) -> list[tuple[x509.ExtensionType, bool]]:
    own = x509.SubjectKeyIdentifier.from_public_key(private_key.public_key())
    if ski is not None:
        own = x509.SubjectKeyIdentifier(ski)
    if issuer is None:
        return [(own, False)]
    try:
        parent = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(parent)
    except x509.ExtensionNotFound:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private_key.public_key())
    return [(own, False), (authority, False)]


def make_ca(
    name: str = "Example Root CA",
    *,
    key: str | PrivateKey = "rsa2048",
    issuer: Issued | None = None,
    not_before: datetime.datetime | None = None,
    not_after: datetime.datetime | None = None,
    serial: int | None = None,
    digest: str = "sha256",
    path_length: int | None = None,
    key_usage: Sequence[str] | None = CA_USE,
    basic_constraints: bool | None = True,
    permitted: Sequence[x509.GeneralName] = (),
    excluded: Sequence[x509.GeneralName] = (),
    policies: Sequence[str] = (),
    require_explicit_policy: int | None = None,
    ski: bytes | None = None,
    cdp: Sequence[str] = (),
    aia: Sequence[str] = (),
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Issued:
    """A certificate authority: a root, or an intermediate when `issuer` is given.

    `basic_constraints` True or False sets cA so, None leaves the extension out; `key_usage` None likewise.
    """
    private_key = make_key(key) if isinstance(key, str) else key
    extensions = _key_ids(private_key, issuer, ski)
    if basic_constraints is not None:
        limit = path_length if basic_constraints else None
        extensions.append((x509.BasicConstraints(ca=basic_constraints, path_length=limit), True))
    if key_usage is not None:
        extensions.append((_usage(key_usage), True))
    if permitted or excluded:
        extensions.append((x509.NameConstraints(list(permitted) or None, list(excluded) or None), True))
    if policies:
        extensions.append((_policies(policies), False))
    if require_explicit_policy is not None:
        extensions.append((x509.PolicyConstraints(require_explicit_policy, None), True))
    if cdp:
        extensions.append((_crl_points(cdp), False))
    if aia:
        extensions.append((_issuer_urls(aia), False))
    extensions.extend(extra)
    return _build(
        name_of(name),
        private_key,
        issuer,
        extensions,
        not_before=not_before,
        not_after=not_after or days(3650),
        serial=serial,
        digest=digest,
    )


def _policies(oids: Sequence[str]) -> x509.CertificatePolicies:
    return x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids]
    )


def issue(
    ca: Issued | None,
    *,
    emails: Sequence[str] = (),
    domains: Sequence[str] = (),
    names: Sequence[x509.GeneralName] = (),
    common_name: str | None = None,
    subject: x509.Name | None = None,
    key: str | PrivateKey = "rsa2048",
    fresh_key: bool = False,
    key_usage: Sequence[str] | None = DUAL_USE,
    eku: Sequence[x509.ObjectIdentifier] | None = (EMAIL_PROTECTION,),
    not_before: datetime.datetime | None = None,
    not_after: datetime.datetime | None = None,
    cdp: Sequence[str] = (),
    aia: Sequence[str] = (),
    ca_flag: bool | None = False,
    serial: int | None = None,
    digest: str = "sha256",
    pss: bool = False,
    ski: bytes | None = None,
    policies: Sequence[str] = (),
    issuer_name: x509.Name | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Issued:
    """An end-entity certificate; `ca=None` makes a self-signed one.

    `emails` become rfc822Names, `domains` dNSNames; `names` any other alternative names. `key_usage`, `eku`
    and `ca_flag` None leave their extension out.
    """
    private_key = _leaf_key(key, fresh_key)
    title = common_name or next(iter([*emails, *domains]), "Nobody")
    extensions = _key_ids(private_key, ca, ski)
    general: list[x509.GeneralName] = [x509.RFC822Name(each) for each in emails]
    general += [x509.DNSName(each) for each in domains]
    general += names
    if general:
        extensions.append((x509.SubjectAlternativeName(general), False))
    if ca_flag is not None:
        extensions.append((x509.BasicConstraints(ca=ca_flag, path_length=None), True))
    if key_usage is not None:
        extensions.append((_usage(key_usage), True))
    if eku is not None:
        extensions.append((x509.ExtendedKeyUsage(list(eku)), False))
    if policies:
        extensions.append((_policies(policies), False))
    if cdp:
        extensions.append((_crl_points(cdp), False))
    if aia:
        extensions.append((_issuer_urls(aia), False))
    extensions.extend(extra)
    return _build(
        subject or name_of(title),
        private_key,
        ca,
        extensions,
        not_before=not_before,
        not_after=not_after,
        serial=serial,
        digest=digest,
        pss=pss,
        issuer_name=issuer_name,
    )


def make_crl(
    ca: Issued,
    revoked: Iterable[int | Issued] = (),
    *,
    this_update: datetime.datetime | None = None,
    next_update: datetime.datetime | None = None,
    number: int | None = 1,
    delta_of: int | None = None,
    reason: x509.ReasonFlags | None = None,
    revoked_at: datetime.datetime | None = None,
    issuer_name: x509.Name | None = None,
    indirect: bool = False,
    only_some_reasons: frozenset[x509.ReasonFlags] | None = None,
    distribution_point: str | None = None,
    digest: str = "sha256",
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """A certificate revocation list (DER) signed by `ca`, of serial numbers or issued certificates."""
    issued_at = this_update or days(-0.5)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer_name or ca.certificate.subject)
        .last_update(issued_at)
        .next_update(next_update or days(7))
    )
    for each in revoked:
        serial = each.certificate.serial_number if isinstance(each, Issued) else each
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        entry = entry.revocation_date(revoked_at or issued_at)
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), False)
        builder = builder.add_revoked_certificate(entry.build())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.private_key.public_key())
    builder = builder.add_extension(authority, False)
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), False)
    if delta_of is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(delta_of), True)
    if indirect or only_some_reasons or distribution_point:
        point = [x509.UniformResourceIdentifier(distribution_point)] if distribution_point else None
        builder = builder.add_extension(
            x509.IssuingDistributionPoint(
                full_name=point,
                relative_name=None,
                only_contains_user_certs=False,
                only_contains_ca_certs=False,
                only_some_reasons=only_some_reasons,
                indirect_crl=indirect,
                only_contains_attribute_certs=False,
            ),
            True,
        )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    if digest == "sha1":  # as above
        modern = builder.sign(ca.private_key, DIGESTS["sha256"])
        return forge_crl(modern.public_bytes(serialization.Encoding.DER), ca, _sign_with_sha1)
    return builder.sign(ca.private_key, DIGESTS[digest]).public_bytes(serialization.Encoding.DER)


def responder_urls(*urls: str, aia: Sequence[str] = ()) -> tuple[x509.ExtensionType, bool]:
    """The AIA extension that names OCSP responders, and where the issuer may be had; for `extra`."""
    wanted = [(AuthorityInformationAccessOID.OCSP, url) for url in urls]
    wanted += [(AuthorityInformationAccessOID.CA_ISSUERS, url) for url in aia]
    uris = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in wanted]
    return x509.AuthorityInformationAccess(uris), False


def make_responder(ca: Issued, *, no_check: bool = True, **options: Any) -> Issued:
    """A certificate that `ca` issued for answering in its name (RFC 6960 section 4.2.2.2)."""
    extra = [(x509.OCSPNoCheck(), False)] if no_check else []
    wanted: dict[str, Any] = {
        "common_name": "Responder",
        "key_usage": ("digital_signature",),
        "eku": (ExtendedKeyUsageOID.OCSP_SIGNING,),
        "extra": extra,
        "fresh_key": True,
    }
    return issue(ca, **{**wanted, **options})


def make_ocsp(
    leaf: Issued,
    state: str = "good",
    *,
    ca: Issued | None = None,
    signer: Issued | None = None,
    include: Sequence[Issued] | None = None,
    this_update: datetime.datetime | None = None,
    next_update: datetime.datetime | bool | None = True,
    revoked_at: datetime.datetime | None = None,
    reason: x509.ReasonFlags | None = None,
    cert_id: hashes.HashAlgorithm | None = None,
    digest: str = "sha256",
    by_name: bool = False,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """An OCSP answer (DER) about `leaf`, of its issuer or `ca`, signed by that or `signer`.

    `state`: good, revoked or unknown. `next_update`: True is in a day, None leaves it out. `include`: the
    certificates that go along, by default a delegated signer's.
    """
    authority = ca or leaf.issuer
    assert authority is not None
    by = signer or authority
    issued_at = this_update or days(-0.1)
    revoked = state == "revoked"
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf.certificate,
        issuer=authority.certificate,
        algorithm=cert_id or hashes.SHA1(),
        cert_status=ocsp.OCSPCertStatus[state.upper()],
        this_update=issued_at,
        next_update=days(1) if next_update is True else next_update or None,
        revocation_time=(revoked_at or issued_at) if revoked else None,
        revocation_reason=reason if revoked else None,
    )
    encoding = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
    builder = builder.responder_id(encoding, by.certificate)
    along = include if include is not None else ([by] if by is not authority else [])
    if along:
        builder = builder.certificates([each.certificate for each in along])
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    answer = builder.sign(by.private_key, DIGESTS[digest])
    return answer.public_bytes(serialization.Encoding.DER)


def refuse_ocsp(status: str) -> bytes:
    """What a responder sends that does not answer: a name of OCSPResponseStatus, lower case."""
    answer = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus[status.upper()])
    return answer.public_bytes(serialization.Encoding.DER)


def forge_crl(der: bytes, ca: Issued, edit: Callable[[Any], None]) -> bytes:
    """A revocation list changed by `edit`, which gets the asn1crypto TbsCertList, and signed anew."""
    whole = asn1_crl.CertificateList.load(der)
    tbs = asn1_crl.TbsCertList.load(whole["tbs_cert_list"].dump())
    edit(tbs)
    body = tbs.dump(force=True)
    return asn1_crl.CertificateList(
        {
            "tbs_cert_list": asn1_crl.TbsCertList.load(body),
            "signature_algorithm": tbs["signature"],
            "signature": _sign(ca.private_key, body, DIGESTS[tbs["signature"].hash_algo]),
        }
    ).dump()


def _sign(key: PrivateKey, body: bytes, digest: hashes.HashAlgorithm) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(body, padding.PKCS1v15(), digest)
    return key.sign(body, ec.ECDSA(digest))


def forge(issued: Issued, edit: Callable[[Any], None], *, signer: Issued | None = None) -> Issued:
    """`issued` with its inside changed by `edit` and signed anew: for what no builder will make.

    `edit` gets the asn1crypto TbsCertificate. The signer is `signer`, else the issuer, else the key itself;
    the signature algorithm is the one `edit` leaves. `certificate` of the result is that of `issued`: use
    `der`.
    """
    tbs = asn1_x509.TbsCertificate.load(issued.certificate.tbs_certificate_bytes)
    edit(tbs)
    body = tbs.dump(force=True)
    by = signer or issued.issuer
    key = by.private_key if by else issued.private_key
    digest = DIGESTS[tbs["signature"].hash_algo]
    signature = _sign(key, body, digest)
    whole = asn1_x509.Certificate(
        {
            "tbs_certificate": asn1_x509.TbsCertificate.load(body),
            "signature_algorithm": tbs["signature"],
            "signature_value": signature,
        }
    )
    return Issued(issued.certificate, issued.private_key, issued.issuer, raw=whole.dump())


def make_p7b(certificates: Sequence[Issued], *, pem: bool = False) -> bytes:
    """A certificates-only PKCS #7 collection."""
    encoding = serialization.Encoding.PEM if pem else serialization.Encoding.DER
    return pkcs7.serialize_certificates([each.certificate for each in certificates], encoding)
