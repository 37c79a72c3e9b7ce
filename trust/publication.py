"""What partners need to find and trust us: our anchors as files, our certificates for DNS and LDAP.

Everything here comes from public rows alone and is the same bytes for the same rows.
"""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from django.db.models import Q

from trust import nameservice
from trust.context import domain_of
from trust.models import Identity
from trust.pki.certs import Certificate

ZONE_TTL_S = 3600
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZONE_COLUMNS = 64
_LDIF_COLUMNS = 76


# --- anchors ---------------------------------------------------------------------------------------------


def own_anchors(at: datetime) -> list[x509.Certificate]:
    """What a partner must trust in order to trust us at `at`, by fingerprint.

    Our authorities; and for certificates that others issued to us the top of the chain that came with them,
    or the certificate itself where it is its own issuer.
    """
    current = Q(state=Identity.State.ACTIVE, revoked__isnull=True, not_after__gte=at)
    found: dict[str, x509.Certificate] = {}
    for row in Identity.objects.filter(current, issuer__isnull=True).only("der", "chain", "kind", "sha256"):
        top = _top(row)
        if top is not None:
            found[_fingerprint(top)] = top
    return [found[key] for key in sorted(found)]


def _top(row: Identity) -> x509.Certificate | None:
    own = x509.load_der_x509_certificate(bytes(row.der))
    if row.chain:
        return x509.load_pem_x509_certificates(row.chain.encode())[-1]
    if row.kind == Identity.Kind.CA or own.issuer == own.subject:
        return own
    return None


def anchors_p7b(anchors: Iterable[x509.Certificate]) -> bytes:
    """Certificates as one PKCS #7 collection (RFC 5652 section 5, certificates only). At least one."""
    return pkcs7.serialize_certificates(list(anchors), serialization.Encoding.DER)


def anchors_zip(anchors: Iterable[x509.Certificate]) -> bytes:
    """The anchors as DER files and as one collection; the same bytes for the same anchors."""
    anchors = list(anchors)
    files = [(f"{_file_name(each)}.cer", _der(each)) for each in anchors]
    files.append(("anchors.p7b", anchors_p7b(anchors)))
    return zipped(files)


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip whose bytes depend on names and contents alone, not on clock or machine."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            member = zipfile.ZipInfo(name, _ZIP_EPOCH)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return target.getvalue()


def _file_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    title = re.sub(r"[^a-z0-9]+", "-", str(names[0].value).lower()).strip("-") if names else ""
    return f"{title[:60] or 'anchor'}-{_fingerprint(certificate)[:8]}"


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _fingerprint(certificate: x509.Certificate) -> str:
    return Certificate(_der(certificate)).sha256


# --- certificates to encrypt to --------------------------------------------------------------------------


def published(at: datetime) -> dict[str, list[Identity]]:
    """The certificates that partners may encrypt to at `at`, by domain or address.

    Old and new side by side while both are valid; none that only signs, is retired, or revoked.
    """
    rows = Identity.objects.filter(
        use__in=[Identity.Use.ENCRYPTION, Identity.Use.DUAL],
        state=Identity.State.ACTIVE,
        revoked__isnull=True,
        not_before__lte=at,
        not_after__gte=at,
    )
    found: dict[str, list[Identity]] = {}
    for row in rows.order_by("name", "-not_before", "sha256"):
        found.setdefault(row.name, []).append(row)
    return found


def zone(at: datetime) -> str:
    """CERT records for the zones of our domains, owner names absolute (RFC 4398).

    An address is looked up under its name with `@` replaced by a dot.
    """
    lines = [
        "; Certificates of Direct domains and addresses (RFC 4398): type 1 is PKIX, key tag and",
        "; algorithm are not used. Include this in the zones of the domains it names.",
    ]
    for name, rows in published(at).items():
        if not fits_dns(name):
            # One such line would make a server refuse the whole zone.
            lines.append(f"; {_printable(name)} cannot stand in DNS: a part of it is empty or too long.")
            continue
        for row in rows:
            lines += record(row)
    return "\n".join(lines) + "\n"


def record(row: Identity) -> list[str]:
    """The lines of a zone file that publish one certificate."""
    return [
        f"; valid until {row.not_after:%Y-%m-%d}, SHA-256 {row.sha256}",
        f"{owner_name(row.name)} {ZONE_TTL_S} IN CERT 1 0 0 (",
        *(f"    {part}" for part in _cut(_base64(row), _ZONE_COLUMNS)),
        "    )",
    ]


def fits_dns(name: str) -> bool:
    """Whether a domain or address can be the owner of records: labels of 1 to 63 octets, 255 in all (RFC 1035
    section 2.3.4).
    """
    try:
        nameservice.owner_of(name) if "@" in name else nameservice.absolute(name)
    except nameservice.BadName:
        return False
    return True


def owner_name(name: str) -> str:
    """The absolute DNS name that a domain's or address's certificate is published under (RFC 1035 5.1)."""
    local, at, domain = name.rpartition("@")
    return f"{_escaped(local)}.{domain}." if at else f"{domain}."


def _escaped(local: str) -> str:
    octets = (bytes((each,)) for each in local.encode())
    return "".join(
        each.decode() if re.match(rb"[A-Za-z0-9._-]", each) else f"\\{each[0]:03d}" for each in octets
    )


def _printable(name: str) -> str:
    """A name that cannot end the comment it stands in."""
    return re.sub(r"[^!-~]", "?", name)


def ldif(at: datetime) -> str:
    """Entries with `mail` and `userCertificate` for an LDAP server (RFC 2849, RFC 4523 section 4.1).

    One entry for each address and one for each domain, below an entry of the domain.
    """
    found = published(at)
    # No line "version: 1": OpenLDAP's slapadd takes it for an entry, and every other reader does without.
    lines: list[str] = []
    # A parent before what stands below it, or a server does not take the latter.
    for domain in sorted({domain_of(name) for name in found}, key=lambda each: each.split(".")[::-1]):
        lines += [f"dn: {_base(domain)}", "objectClass: top", "objectClass: domain"]
        lines += [f"dc: {domain.partition('.')[0]}", ""]
    for name, rows in found.items():
        lines += [
            *_folded(f"dn: mail={_dn_value(name)},{_base(domain_of(name))}"),
            "objectClass: top",
            "objectClass: person",
            "objectClass: organizationalPerson",
            "objectClass: inetOrgPerson",
            *_folded(f"cn: {name}"),
            *_folded(f"sn: {name}"),
            *_folded(f"mail: {name}"),
        ]
        for row in rows:
            lines += _folded(f"userCertificate;binary:: {_base64(row)}")
        lines.append("")
    return "\n".join(lines)


def _base(domain: str) -> str:
    return ",".join(f"dc={label}" for label in domain.split("."))


def _dn_value(value: str) -> str:
    """An attribute value in a distinguished name (RFC 4514 section 2.4)."""
    escaped = re.sub(r'([",+;<>\\])', r"\\\1", value)
    return f"\\{escaped}" if escaped.startswith(("#", " ")) else escaped


def _folded(line: str) -> list[str]:
    """A line of LDIF, continued on further lines that begin with a space (RFC 2849)."""
    first, rest = line[:_LDIF_COLUMNS], line[_LDIF_COLUMNS:]
    return [first, *(f" {part}" for part in _cut(rest, _LDIF_COLUMNS - 1))]


def _base64(row: Identity) -> str:
    return base64.b64encode(bytes(row.der)).decode()


def _cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]
