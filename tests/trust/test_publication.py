"""What partners find: anchors, DNS records and LDAP entries, read back by other people's readers."""

import base64
import io
import zipfile

import dns.rdatatype
import dns.zone
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7
from django.utils import timezone

from tests import pki_factory
from trust import authorities, keyimport, publication
from trust.models import Identity

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"


@pytest.fixture(autouse=True)
def shorter_keys(monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)


@pytest.fixture(scope="module")
def root():
    return pki_factory.make_ca("Example Accredited Root")


def now():
    return timezone.now()


# --- anchors --------------------------------------------------------------------------------------------


def anchors():
    return {publication._fingerprint(each) for each in publication.own_anchors(now())}


def test_our_authority_is_an_anchor_and_what_it_issued_is_not():
    row = authorities.issue_identity(OURS)
    assert anchors() == {row.issuer.sha256}


def test_the_anchor_of_an_imported_certificate_is_the_top_of_its_chain(root):
    middle = pki_factory.make_ca("Issuing CA", issuer=root)
    leaf = pki_factory.issue(middle, domains=[OURS])
    keyimport.import_p12(leaf.p12(chain=[middle, root]))
    assert anchors() == {root.sha256}


def test_a_self_signed_certificate_is_its_own_anchor_and_an_orphan_has_none(root):
    keyimport.import_p12(pki_factory.issue(root, domains=["direct.annex.example"]).p12())
    assert anchors() == set()
    alone = pki_factory.issue(None, domains=[OURS])
    keyimport.import_p12(alone.p12())
    assert anchors() == {alone.sha256}


def test_a_retired_authority_is_no_anchor_any_more():
    authority = authorities.our_authority()
    Identity.objects.filter(pk=authority.pk).update(state="retired")
    assert anchors() == set()


def test_the_zip_is_the_same_bytes_for_the_same_anchors(root):
    authorities.our_authority()
    keyimport.import_p12(root.p12())
    first = publication.anchors_zip(publication.own_anchors(now()))
    assert first == publication.anchors_zip(publication.own_anchors(now()))
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        names = archive.namelist()
        cers = {archive.read(name) for name in names if name.endswith(".cer")}
        collection = pkcs7.load_der_pkcs7_certificates(archive.read("anchors.p7b"))
    assert len(names) == 3
    assert {publication._der(each) for each in collection} == cers
    assert root.der in cers
    assert any(name.startswith("example-accredited-root-") for name in names)


# --- DNS ------------------------------------------------------------------------------------------------


def cert_records(text):
    zone = dns.zone.from_text(f"$ORIGIN {OURS}.\n{text}", OURS, relativize=False, check_origin=False)
    return {
        name.to_text(): [
            (each.certificate_type, each.key_tag, each.algorithm, each.certificate) for each in rds
        ]
        for name, rds in zone.iterate_rdatasets(dns.rdatatype.CERT)
    }


def test_dns_finds_the_certificates_of_domain_and_address():
    domain, address = authorities.issue_identity(OURS), authorities.issue_identity(ADDRESS)
    records = cert_records(publication.zone(now()))
    assert records == {
        f"{OURS}.": [(1, 0, 0, bytes(domain.der))],
        f"otter.fern.204.{OURS}.": [(1, 0, 0, bytes(address.der))],
    }


def test_old_and_new_stand_side_by_side():
    rows = [authorities.issue_identity(OURS) for _ in range(2)]
    (found,) = cert_records(publication.zone(now())).values()
    assert {each[3] for each in found} == {bytes(row.der) for row in rows}


def test_only_what_partners_may_encrypt_to_is_published(root):
    signing = pki_factory.issue(root, domains=[OURS], key_usage=("digital_signature",))
    encryption = pki_factory.issue(root, domains=[OURS], key_usage=("key_encipherment",))
    for leaf in (signing, encryption):
        keyimport.import_p12(leaf.p12())
    for change in (
        {"state": "retired"},
        {"revoked": now()},
        {"not_after": now()},
        {"not_before": pki_factory.days(1)},
    ):
        row = authorities.issue_identity("gone.portal.example")
        Identity.objects.filter(pk=row.pk).update(**change)
    assert cert_records(publication.zone(now())) == {f"{OURS}.": [(1, 0, 0, encryption.der)]}


def test_odd_local_parts_are_written_so_that_dns_reads_them_back():
    address = f"o'neil+a;b@{OURS}".replace(";", "&")
    authorities.issue_identity(address)
    (name,) = cert_records(publication.zone(now()))
    assert dns.name.from_text(name).labels[0] == b"o'neil+a&b"


# --- LDAP -----------------------------------------------------------------------------------------------


def entries(text):
    """LDIF as RFC 2849 says: continued lines joined, `::` is base64."""
    found = []
    for block in text.replace("\n ", "").split("\n\n"):
        entry = {}
        for line in filter(None, block.split("\n")):
            assert "\r" not in line
            name, _, value = line.partition(":")
            decoded = base64.b64decode(value[1:]) if value.startswith(":") else value.strip()
            entry.setdefault(name, []).append(decoded)
        found.append(entry)
    return [entry for entry in found if "dn" in entry]


def test_ldap_finds_one_entry_for_each_name():
    domain, address = authorities.issue_identity(OURS), authorities.issue_identity(ADDRESS)
    text = publication.ldif(now())
    assert text.startswith("dn: ")
    assert all(len(line) <= 76 for line in text.splitlines())
    by_mail = {entry["mail"][0]: entry for entry in entries(text) if "mail" in entry}
    assert set(by_mail) == {OURS, ADDRESS}
    assert by_mail[OURS]["userCertificate;binary"] == [bytes(domain.der)]
    assert by_mail[ADDRESS]["userCertificate;binary"] == [bytes(address.der)]
    assert by_mail[ADDRESS]["dn"] == [f"mail={ADDRESS},dc=direct,dc=portal,dc=example"]
    assert "inetOrgPerson" in by_mail[OURS]["objectClass"]


def test_ldap_keeps_old_and_new_in_one_entry():
    rows = [authorities.issue_identity(OURS) for _ in range(2)]
    (entry,) = [each for each in entries(publication.ldif(now())) if "mail" in each]
    assert set(entry["userCertificate;binary"]) == {bytes(row.der) for row in rows}


def test_names_with_signs_of_their_own_are_escaped_in_ldap():
    authorities.issue_identity(f"a+b@{OURS}")
    (entry,) = [each for each in entries(publication.ldif(now())) if "mail" in each]
    assert entry["dn"][0].startswith(f"mail=a\\+b@{OURS},")
    assert isinstance(x509.load_der_x509_certificate(entry["userCertificate;binary"][0]), x509.Certificate)
