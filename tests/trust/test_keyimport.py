"""Certificates and keys that others made for us."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from django.utils import timezone

from tests import pki_factory
from trust import authorities, context, keyimport
from trust.errors import NoPrivateKey, UnusableCertificate, WrongPassword
from trust.models import Anchor, Identity
from trust.pki.errors import UntrustedChain
from trust.pki.path import verify_path

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"


@pytest.fixture(scope="module")
def root():
    return pki_factory.make_ca("Example Accredited Root")


@pytest.fixture(scope="module")
def intermediate(root):
    return pki_factory.make_ca("Example Accredited Issuing CA", issuer=root)


def test_a_certificate_comes_with_its_chain_in_order(root, intermediate):
    leaf = pki_factory.issue(intermediate, domains=[OURS])
    stranger = pki_factory.make_ca("Unrelated CA")
    (row,) = keyimport.import_p12(leaf.p12("s3cret", chain=[stranger, root, intermediate]), "s3cret")
    assert (row.name, row.kind, row.use, row.state) == (OURS, "domain", "dual", "active")
    found = context.for_address(ADDRESS).signing_identity(timezone.now())
    assert found.certificate == leaf.certificate
    assert found.chain == (intermediate.certificate, root.certificate)
    assert context.for_address(ADDRESS).identities[0].private_key.private_numbers() == (
        leaf.private_key.private_numbers()
    )


def test_mail_between_our_domains_is_trusted_but_not_the_issuers_other_customers(root):
    ours = pki_factory.issue(root, domains=[OURS])
    theirs = pki_factory.issue(root, domains=["direct.larkspur.example"])
    (row,) = keyimport.import_p12(ours.p12("s3cret", chain=[root]), "s3cret")
    trust = context.for_address(ADDRESS).trust
    assert verify_path(row.certificate, (), trust, timezone.now()).anchor == row.certificate
    assert Anchor.objects.get().source == Anchor.Source.OWN
    with pytest.raises(UntrustedChain):
        verify_path(context.Certificate(theirs.der), (context.Certificate(root.der),), trust, timezone.now())


def test_a_certificate_for_two_names_serves_both(root):
    leaf = pki_factory.issue(root, domains=[OURS, "direct.annex.example"], emails=["Front@Desk.example"])
    rows = keyimport.import_p12(leaf.p12())
    assert {row.name for row in rows} == {OURS, "direct.annex.example", "front@desk.example"}
    assert context.for_address("x@direct.annex.example").identities


@pytest.mark.parametrize(
    ("usage", "use"),
    [(("digital_signature",), "signing"), (("key_encipherment",), "encryption")],
)
def test_a_single_use_certificate_is_used_for_that_alone(root, usage, use):
    (row,) = keyimport.import_p12(pki_factory.issue(root, domains=[OURS], key_usage=usage).p12())
    assert row.use == use


def test_an_expired_certificate_is_kept_to_open_old_mail(root):
    leaf = pki_factory.issue(root, domains=[OURS], not_after=pki_factory.days(-0.1))
    (row,) = keyimport.import_p12(leaf.p12())
    assert row.state == Identity.State.RETIRED
    assert context.for_address(ADDRESS).identities


def test_the_same_file_twice_is_one_identity(root):
    file = pki_factory.issue(root, domains=[OURS]).p12()
    first, second = keyimport.import_p12(file), keyimport.import_p12(file)
    assert [row.pk for row in first] == [row.pk for row in second]
    assert Identity.objects.count() == 1


def test_an_imported_authority_issues_under_its_own_files(root):
    (authority,) = keyimport.import_p12(root.p12("x"), "x")
    row = authorities.issue_identity(OURS, issuer=authorities.find_authority(authority.sha256[:16]))
    assert row.issuer == authority
    assert row.certificate.crl_urls[0].endswith(f"/messagecenter/certs/{authority.sha256[:16]}.crl")
    chain = verify_path(row.certificate, (), context.for_address(ADDRESS).trust, timezone.now())
    assert chain.revocation == "good"


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_is_told_as_such(root, password):
    with pytest.raises(WrongPassword):
        keyimport.import_p12(pki_factory.issue(root, domains=[OURS]).p12("s3cret"), password)


def test_a_file_that_is_no_p12_is_refused(root):
    leaf = pki_factory.issue(root, domains=[OURS])
    only_certificate = pkcs12.serialize_key_and_certificates(
        b"x", None, leaf.certificate, None, serialization.NoEncryption()
    )
    other = pki_factory.issue(root, domains=[OURS], fresh_key=True)
    for data in (b"", b"words", leaf.der, leaf.pem + leaf.key_pem, only_certificate, b"\x30" * 2_000_000):
        with pytest.raises(NoPrivateKey):
            keyimport.import_p12(data)
    assert other.certificate != leaf.certificate
    assert not Identity.objects.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"eku": (pki_factory.SERVER_AUTH,)},
        {"key_usage": None},
        {"key": "rsa1024"},
        {"digest": "sha1"},
        {"domains": [], "common_name": OURS},
        {"domains": ["*.portal.example"]},
    ],
    ids=["for web servers", "no key usage", "short key", "sha-1", "no name", "wildcard"],
)
def test_a_certificate_that_partners_would_refuse_is_refused(root, options):
    leaf = pki_factory.issue(root, **{"domains": [OURS], **options})
    with pytest.raises(UnusableCertificate):
        keyimport.import_p12(leaf.p12())
    assert not Identity.objects.exists()
    assert not Anchor.objects.exists()
