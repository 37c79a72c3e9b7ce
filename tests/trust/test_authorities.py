"""Our own authority: the shape of what it issues, and what it says is revoked."""

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from django.db import connection
from django.utils import timezone

from healthvault.audit.models import AuditEvent
from healthvault.vault.errors import KeyringUnavailable
from tests.interleaving import another_process
from tests.tools import need, run
from trust import authorities, context
from trust.errors import BadName, UnknownIssuer
from trust.models import Anchor, Crl, Identity
from trust.pki.certs import Certificate, require_covers, require_direct_leaf, signed_by
from trust.pki.errors import Revoked
from trust.pki.path import verify_path
from trust.pki.policy import Policy
from trust.tasks import renew_own_crl

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"


@pytest.fixture(autouse=True)
def shorter_keys(monkeypatch):
    """The authority's key is the slow part of these tests."""
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)


def extension(row, kind):
    return x509.load_der_x509_certificate(bytes(row.der)).extensions.get_extension_for_class(kind)


def test_a_certificate_has_the_shape_that_direct_asks_for(settings):
    settings.PUBLIC_URL = "https://portal.example"
    row = authorities.issue_identity(OURS.upper())
    certificate = row.certificate
    for use in ("signing", "encryption"):
        require_direct_leaf(certificate, Policy(), use)
    assert (row.name, row.kind, row.use) == (OURS, "domain", "dual")
    assert certificate.domains == (OURS,)
    assert certificate.emails == ()
    assert certificate.parsed.public_key().key_size == 2048
    assert certificate.parsed.signature_hash_algorithm.name == "sha256"
    assert list(extension(row, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert extension(row, x509.KeyUsage).critical
    assert certificate.crl_urls == ("http://portal.example/messagecenter/certs/ca.crl",)
    (access,) = extension(row, x509.AuthorityInformationAccess).value
    assert access.access_method == AuthorityInformationAccessOID.CA_ISSUERS
    assert access.access_location.value == "http://portal.example/messagecenter/certs/ca.crt"
    assert not certificate.parsed.subject.get_attributes_for_oid(x509.NameOID.EMAIL_ADDRESS)
    assert certificate.not_before <= timezone.now() < certificate.not_after


def test_an_address_gets_one_name_and_no_other():
    row = authorities.issue_identity(ADDRESS)
    assert (row.kind, row.certificate.emails, row.certificate.domains) == ("address", (ADDRESS,), ())
    require_covers(row.certificate, ADDRESS, Policy())


@pytest.mark.parametrize(
    "name",
    ["", "localhost", "a b@c.example", "*.portal.example", "a@b@c", "ä@portal.example", "@portal.example"],
)
def test_a_name_that_no_certificate_can_speak_for_is_refused(name):
    with pytest.raises(BadName):
        authorities.issue_identity(name)
    assert not Identity.objects.exists()


def test_a_long_name_fits_even_where_a_common_name_does_not():
    name = f"{'a' * 40}.{'b' * 40}.example"
    assert authorities.issue_identity(name).certificate.domains == (name,)


def test_the_authority_is_made_once_and_is_an_anchor_of_ours():
    first, second = authorities.issue_identity(OURS), authorities.issue_identity(ADDRESS)
    authority = Identity.objects.get(kind="ca")
    assert first.issuer == second.issuer == authority
    assert authority.certificate.is_ca
    assert signed_by(first.certificate, authority.certificate)
    assert Anchor.objects.get().source == Anchor.Source.OWN
    trust = context.for_address(ADDRESS).trust
    chain = verify_path(second.certificate, (), trust, timezone.now())
    assert chain.anchor == authority.certificate
    assert chain.revocation == "good", "our own list is at hand from the beginning"


def test_openssl_accepts_the_path_and_the_list(tmp_path):
    row = authorities.issue_identity(OURS)
    (tmp_path / "ca.pem").write_text(to_pem(row.issuer))
    (tmp_path / "leaf.pem").write_text(to_pem(row))
    (tmp_path / "ca.crl").write_bytes(bytes(Crl.objects.get().der))
    done = run(
        need("openssl"), "verify", "-x509_strict", "-purpose", "smimesign", "-crl_check",
        "-CAfile", tmp_path / "ca.pem", "-CRLfile", tmp_path / "ca.crl", tmp_path / "leaf.pem",
    )  # fmt: skip
    assert done.strip().endswith(b": OK")


def to_pem(row):
    from trust.present import pem

    return pem(bytes(row.der))


def test_each_step_is_audited_without_keys():
    authorities.issue_identity(OURS)
    assert set(AuditEvent.objects.values_list("action", flat=True)) == {
        "trust.authority_created",
        "trust.anchor_added",
        "trust.crl_renewed",
        "trust.identity_created",
    }
    assert not any("PRIVATE" in str(event.ids) for event in AuditEvent.objects.all())


def test_nothing_is_made_without_the_identity_keyring(settings):
    settings.IDENTITY_KEYS = ""
    with pytest.raises(KeyringUnavailable):
        authorities.issue_identity(OURS)
    assert not Identity.objects.exists()


def test_an_issuer_is_found_by_title_slug_and_fingerprint():
    authority = authorities.our_authority()
    for name in (authority.name, "ca", authority.sha256, authority.sha256[:12].upper()):
        assert authorities.find_authority(name) == authority
    for name in ("nobody", "", authority.sha256[:4]):
        with pytest.raises(UnknownIssuer):
            authorities.find_authority(name)


# --- revocation -----------------------------------------------------------------------------------------


def test_a_revoked_certificate_is_refused_from_then_on():
    row = authorities.issue_identity(OURS)
    authorities.revoke_identity(row, "keyCompromise")
    with pytest.raises(Revoked) as refused:
        verify_path(row.certificate, (), context.for_address(ADDRESS).trust, timezone.now())
    assert refused.value.reason == "keyCompromise"
    row.refresh_from_db()
    assert row.revoked is not None


def test_only_our_own_certificates_can_be_revoked():
    authority = authorities.our_authority()
    with pytest.raises(UnknownIssuer):
        authorities.revoke_identity(authority)
    row = authorities.issue_identity(OURS)
    with pytest.raises(ValueError, match="bored"):
        authorities.revoke_identity(row, "bored")
    assert not Identity.objects.filter(revoked__isnull=False).exists()


def test_a_list_is_renewed_at_half_of_its_life_and_not_before():
    authority = authorities.our_authority()
    first = Crl.objects.get()
    renew_own_crl()
    assert Crl.objects.get().sha256 == first.sha256
    later = timezone.now() + authorities.CRL_LIFE / 2 + datetime.timedelta(hours=1)
    second = authorities.renew_crl(authority, at=later)
    assert second.pk == first.pk
    assert int(second.number) > int(first.number)
    assert second.next_update == later.replace(microsecond=0) + authorities.CRL_LIFE


def test_a_list_never_gives_way_to_a_lower_number():
    authority = authorities.our_authority()
    numbers = [int(authorities.renew_crl(authority, force=True).number) for _ in range(3)]
    assert numbers == sorted(set(numbers))
    Crl.objects.all().delete()
    assert int(authorities.renew_crl(authority).number) >= int(timezone.now().timestamp()) - 5


def test_renewing_needs_no_keys_while_nothing_is_due(settings):
    authority = authorities.our_authority()
    settings.IDENTITY_KEYS = ""
    assert authorities.renew_crl(authority)
    with pytest.raises(KeyringUnavailable):
        authorities.renew_crl(authority, force=True)


@pytest.mark.parametrize(
    ("public_url", "published"),
    [
        ("https://portal.example", "http://portal.example/messagecenter/certs/ca.crl"),
        ("https://portal.example:443", "http://portal.example/messagecenter/certs/ca.crl"),
        ("https://portal.example:8443", "https://portal.example:8443/messagecenter/certs/ca.crl"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/messagecenter/certs/ca.crl"),
        ("https://[2001:db8::7]", "http://[2001:db8::7]/messagecenter/certs/ca.crl"),
    ],
)
def test_partners_fetch_by_plain_http(settings, public_url, published):
    settings.PUBLIC_URL = public_url
    assert authorities.published_url("ca.crl") == published


def test_a_certificate_ends_no_later_than_its_authority(monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_LIFE", datetime.timedelta(days=30))
    row = authorities.issue_identity(OURS)
    assert row.not_after == row.issuer.not_after
    assert isinstance(row.certificate, Certificate)


# --- several processes at once ----------------------------------------------------------------------------


def at_once(*calls):
    """Run calls in threads with connections of their own; their results, or the first error."""
    start = threading.Barrier(len(calls))

    def work(call):
        try:
            start.wait()
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(work, call) for call in calls]]


@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_make_one_authority():
    first, second = at_once(
        lambda: authorities.issue_identity(OURS), lambda: authorities.issue_identity(ADDRESS)
    )
    assert first.issuer_id == second.issuer_id
    assert Identity.objects.filter(kind="ca").count() == 1
    assert Anchor.objects.count() == 1
    assert Crl.objects.count() == 1


@pytest.mark.parametrize("after", [1, 2, 3])
def test_two_beats_at_once_make_one_successor(after):
    first = authorities.our_authority()
    others = []
    with another_process(lambda: others.append(authorities.make_authority()), after, "trust_identity"):
        made = authorities.make_authority()
    assert others == [made]
    assert list(Identity.objects.order_by("created")) == [first, made]
    assert made.slug == "ca-2"


@pytest.mark.parametrize("after", [1, 2])
def test_the_first_authority_is_made_once_by_two_at_once(after):
    others = []
    with another_process(lambda: others.append(authorities.our_authority()), after, "trust_identity"):
        made = authorities.our_authority()
    assert others == [made]
    assert Identity.objects.get() == made


@pytest.mark.django_db(transaction=True)
def test_two_revocations_at_once_are_both_on_the_list():
    rows = [authorities.issue_identity(OURS), authorities.issue_identity(ADDRESS)]
    at_once(*(lambda row=row: authorities.revoke_identity(row) for row in rows))
    listed = x509.load_der_x509_crl(bytes(Crl.objects.get().der))
    assert {entry.serial_number for entry in listed} == {int(row.serial, 16) for row in rows}
