"""The files that anybody may fetch, without session, cookies or keys."""

import io
import zipfile

import pytest
from cryptography import x509
from django.test import Client
from django.utils import timezone

from healthvault.store.keyrings import identity_keyring
from healthvault.vault.errors import KeyringUnavailable
from tests import pki_factory
from trust import authorities, keyimport

pytestmark = pytest.mark.django_db

PATHS = ("certs.zip", "anchors.p7b", "ca.crt", "ca.crl")


@pytest.fixture(autouse=True)
def static_root(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path


@pytest.fixture
def authority(monkeypatch, settings):
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)
    made = authorities.our_authority()
    # What a web process of a large installation has.
    settings.IDENTITY_KEYS = ""
    with pytest.raises(KeyringUnavailable):
        identity_keyring()
    return made


def get(name, **options):
    return Client().get(f"/messagecenter/certs/{name}", **options)


def test_what_a_certificate_points_to_is_there(authority):
    certificate, crl = get("ca.crt"), get("ca.crl")
    assert certificate.content == bytes(authority.der)
    assert certificate["Content-Type"] == "application/pkix-cert"
    assert crl["Content-Type"] == "application/pkix-crl"
    read = x509.load_der_x509_crl(crl.content)
    assert read.is_signature_valid(x509.load_der_x509_certificate(certificate.content).public_key())
    assert read.next_update_utc > timezone.now()


def test_administrators_of_partners_get_a_zip(authority):
    answer = get("certs.zip")
    assert answer["Content-Type"] == "application/zip"
    assert 'filename="certs.zip"' in answer["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert any(archive.read(name) == bytes(authority.der) for name in archive.namelist())
    assert answer.content == get("certs.zip").content
    assert get("anchors.p7b")["Content-Type"] == "application/x-pkcs7-certificates"


@pytest.mark.parametrize("name", PATHS)
def test_no_session_is_begun_and_caches_may_keep_it(authority, name):
    answer = get(name)
    assert answer.status_code == 200
    assert not answer.cookies
    assert "public" in answer["Cache-Control"]
    assert Client().head(f"/messagecenter/certs/{name}").status_code == 200


@pytest.mark.parametrize("name", PATHS)
def test_nothing_can_be_sent_there(authority, name):
    assert Client().post(f"/messagecenter/certs/{name}").status_code == 405


@pytest.mark.parametrize("name", [*PATHS, "other.crt", "other.crl"])
def test_before_there_is_an_authority_there_is_nothing(name):
    assert get(name).status_code == 404


def test_a_certificate_that_is_no_authority_is_not_served_by_its_name(authority, settings):
    assert get(f"{authority.sha256[:16]}.crt").status_code == 404
    assert get("direct.portal.example.crt").status_code == 404


def test_an_imported_authority_has_files_of_its_own(monkeypatch):
    ca = pki_factory.make_ca("Example Authority")
    (row,) = keyimport.import_p12(ca.p12())
    assert get(f"{row.slug}.crt").content == ca.der
    assert x509.load_der_x509_crl(get(f"{row.slug}.crl").content).issuer == ca.certificate.subject
