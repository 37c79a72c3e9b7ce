"""Our own certificates over the years: renewed with overlap, retired, the next authority, keys offline."""

import datetime
import json
import stat
import zipfile
from io import BytesIO, StringIO

import pytest
import time_machine
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from healthvault.audit.models import AuditEvent
from healthvault.outbox.models import Notification
from tests import factories, pki_factory
from tests.tools import need, run
from trust import (
    admission,
    authorities,
    context,
    expiry,
    fetcher,
    health,
    identity_requests,
    keyimport,
    publication,
    renewal,
)
from trust.errors import AuthorityOffline, UnusableCertificate
from trust.models import Anchor, Crl, Identity, IdentityRequest
from trust.pki.certs import Certificate, require_direct_leaf
from trust.pki.errors import Revoked, UntrustedChain, WrongKeyUsage
from trust.pki.path import verify_path
from trust.pki.policy import Policy, TrustContext
from trust.pki.revocation import Crl as PkiCrl
from trust.tasks import keep_identities_current, renew_own_crl

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"
PASSWORD = "four tall herons waded"


@pytest.fixture(autouse=True)
def shorter_keys(monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)


def after(**spans):
    return time_machine.travel(timezone.now() + datetime.timedelta(**spans), tick=True)


def published():
    return [row.pk for row in publication.published(timezone.now()).get(OURS, [])]


def audited(action):
    return AuditEvent.objects.filter(action=action).count()


# --- two uses, one certificate or two ---------------------------------------------------------------------


def test_separate_certificates_are_each_for_one_use_and_the_right_one_is_published():
    encryption, signing = authorities.issue_pair(OURS)
    for row, good, bad in ((encryption, "encryption", "signing"), (signing, "signing", "encryption")):
        require_direct_leaf(row.certificate, Policy(), good)
        with pytest.raises(WrongKeyUsage):
            require_direct_leaf(row.certificate, Policy(), bad)
    assert published() == [encryption.pk]
    ours = context.for_address(ADDRESS)
    assert ours.signing_identity(timezone.now()).certificate.serial_number == int(signing.serial, 16)
    assert [pair.certificate.serial_number for pair in ours.identities] == [int(encryption.serial, 16)]


def test_create_identity_makes_two_on_request():
    out = StringIO()
    call_command("create_identity", OURS, "--separate", "--json", stdout=out)
    shown = json.loads(out.getvalue())
    rows = {row.use: row.sha256 for row in Identity.objects.exclude(kind="ca")}
    assert (shown["sha256"], shown["signing"]["sha256"]) == (rows["encryption"], rows["signing"])


def test_two_are_made_when_the_console_asks_for_two():
    row = identity_requests.ask_issue(OURS, None, "separate")
    assert identity_requests.carry_out(str(row.pk)) == "done"
    assert {each.use for each in Identity.objects.exclude(kind="ca")} == {"encryption", "signing"}


# --- renewal ----------------------------------------------------------------------------------------------


def test_a_certificate_is_renewed_before_its_end_and_both_are_published_until_then():
    old = authorities.issue_identity(OURS)
    keep_identities_current()
    assert Identity.objects.filter(name=OURS).count() == 1
    with after(days=730 - 30):
        keep_identities_current()
        keep_identities_current()
        new = Identity.objects.filter(name=OURS).latest("created")
        assert Identity.objects.filter(name=OURS).count() == 2
        assert (new.use, new.state, new.issuer_id) == (old.use, "active", old.issuer_id)
        assert set(published()) == {old.pk, new.pk}
        ours = context.for_address(ADDRESS)
        assert ours.signing_identity(timezone.now()).certificate.serial_number == int(new.serial, 16)
        assert health.domain_sign(OURS, timezone.now()).level == "good"
        assert audited("trust.identity_renewed") == 1
    with after(days=731):
        keep_identities_current()
        old.refresh_from_db()
        assert (old.state, published()) == ("retired", [new.pk])
        # The old key still opens what was sealed to it.
        opens = {pair.certificate.serial_number for pair in context.for_address(ADDRESS).identities}
        assert opens == {int(old.serial, 16), int(new.serial, 16)}


def test_each_of_two_certificates_is_renewed_for_its_use():
    authorities.issue_pair(OURS)
    with after(days=720):
        assert renewal.keep_current().renewed == 2
        assert sorted(row.use for row in Identity.objects.filter(name=OURS)) == [
            "encryption", "encryption", "signing", "signing",
        ]  # fmt: skip


def test_what_another_certificate_does_already_is_not_renewed():
    authorities.issue_pair(OURS)
    with after(days=400):
        authorities.issue_identity(OURS)
    with after(days=720):
        assert renewal.keep_current().renewed == 0


def test_what_is_revoked_retired_not_hosted_or_from_outside_is_not_renewed():
    revoked = authorities.issue_identity(OURS)
    authorities.revoke_identity(revoked)
    retired = authorities.issue_identity(ADDRESS)
    identity_requests.retire(retired, None)
    authorities.issue_identity("direct.elsewhere.example")
    outside = pki_factory.issue(
        pki_factory.make_ca("Accredited CA"),
        domains=[OURS],
        not_after=timezone.now() + datetime.timedelta(days=700),
    )
    keyimport.import_p12(outside.p12())
    with after(days=690):
        assert renewal.keep_current().renewed == 0
        sign = health.domain_sign(OURS, timezone.now())
        assert sign.level == "warn"
    with after(days=698):
        assert health.domain_sign(OURS, timezone.now()).level == "bad"


def test_two_workers_make_one_successor():
    row = authorities.issue_identity(OURS)
    with after(days=720):
        now = timezone.now()
        (seen,) = renewal.ending(now)
        assert renewal._renew(seen, now)
        assert not renewal._renew(row, now)
        assert Identity.objects.filter(name=OURS).count() == 2


def test_a_worker_without_the_keys_leaves_it_to_another(settings):
    authorities.issue_identity(OURS)
    keys = settings.IDENTITY_KEYS
    with after(days=720):
        settings.IDENTITY_KEYS = ""
        assert renewal.keep_current().held_up == "keys_unavailable"
        settings.IDENTITY_KEYS = keys
        assert renewal.keep_current().renewed == 1


# --- the next authority -----------------------------------------------------------------------------------


def test_the_next_authority_is_introduced_before_it_issues():
    first = authorities.issue_identity(OURS).issuer
    second = authorities.make_authority()
    assert authorities.make_authority() == second, "one that waits is not doubled"
    assert (second.slug, second.name) == ("ca-2", f"{OURS} Direct CA 2")
    anchors = {Certificate(der_of(each)).sha256 for each in publication.own_anchors(timezone.now())}
    assert anchors == {first.sha256, second.sha256}
    assert authorities.issue_identity(ADDRESS).issuer == first
    assert [sign.level for sign in health.authority_signs(timezone.now())] == ["warn"]
    with after(days=31):
        new = authorities.issue_identity(OURS)
        assert new.issuer == second
        assert new.certificate.crl_urls[0].endswith("/messagecenter/certs/ca-2.crl")
        trust = context.for_address(ADDRESS).trust
        for row in Identity.objects.exclude(kind="ca"):
            renew_own_crl()
            assert verify_path(row.certificate, (), trust, timezone.now()).anchor.sha256 == row.issuer.sha256


def der_of(certificate):
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def test_both_authorities_are_in_what_partners_fetch():
    authorities.issue_identity(OURS)
    authorities.make_authority()
    content = Client().get("/messagecenter/certs/certs.zip").content
    names = zipfile.ZipFile(BytesIO(content)).namelist()
    assert len([name for name in names if name.endswith(".cer")]) == 2


def test_an_authority_goes_when_the_last_it_issued_has_ended():
    old = authorities.issue_identity(OURS).issuer
    authorities.make_authority()
    with after(days=700):
        keep_identities_current()
        old.refresh_from_db()
        assert old.state == "active"
    with after(days=732):
        keep_identities_current()
        old.refresh_from_db()
        assert old.state == "retired"
        assert Anchor.objects.get(sha256=old.sha256).state == "paused"
        assert len(publication.own_anchors(timezone.now())) == 1
        assert health.domain_sign(OURS, timezone.now()).level == "good"


def test_the_next_authority_is_made_in_time_by_itself(monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_LIFE", datetime.timedelta(days=1000))
    authorities.issue_identity(OURS)
    assert not renewal.keep_current().rolled
    with after(days=250):
        assert renewal.keep_current().rolled
        assert not renewal.keep_current().rolled
        assert authorities.successor(timezone.now()).slug == "ca-2"
    assert audited("trust.authority_rolled") == 1


def test_the_console_asks_for_the_next_one():
    authorities.issue_identity(OURS)
    row = identity_requests.ask_roll(None)
    assert identity_requests.carry_out(str(row.pk)) == "done"
    assert IdentityRequest.objects.get().identity.slug == "ca-2"


def test_create_authority_tells_when_it_issues():
    first, second = StringIO(), StringIO()
    call_command("create_authority", "--json", stdout=first)
    call_command("create_authority", "--json", stdout=second)
    one, two = json.loads(first.getvalue()), json.loads(second.getvalue())
    assert one["sha256"] != two["sha256"]
    assert two["issues_from"] > one["issues_from"]


# --- its key, offline -------------------------------------------------------------------------------------


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    return path


def export(tmp_path, password_file, *words):
    path = tmp_path / "ca.p12"
    out = StringIO()
    call_command("export_authority", path, "--password-file", password_file, "--json", *words, stdout=out)
    return path, json.loads(out.getvalue())


def test_an_exported_authority_is_sealed_and_for_its_owner_only(tmp_path, password_file):
    row = authorities.issue_identity(OURS)
    path, shown = export(tmp_path, password_file)
    assert (shown["sha256"], shown["removed"]) == (row.issuer.sha256, False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE" not in path.read_bytes()
    held = pkcs12.load_key_and_certificates(path.read_bytes(), PASSWORD.encode())
    assert held[1].serial_number == row.issuer.certificate.serial_number
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_key_and_certificates(path.read_bytes(), b"another password")
    assert not authorities.is_offline(row.issuer)
    words = run(
        need("openssl"), "pkcs12", "-in", path, "-passin", f"file:{password_file}", "-nokeys", "-info"
    )
    assert b"BEGIN CERTIFICATE" in words


def test_a_short_password_and_a_file_that_is_there_are_refused(tmp_path, password_file):
    authorities.issue_identity(OURS)
    path, _ = export(tmp_path, password_file)
    with pytest.raises(CommandError, match="cannot be written"):
        export(tmp_path, password_file)
    path.unlink()
    password_file.write_text("short")
    with pytest.raises(CommandError, match="12 characters"):
        export(tmp_path, password_file)
    assert not path.exists()


def test_an_authority_without_its_key_signs_nothing_until_it_is_back(tmp_path, password_file):
    row = authorities.issue_identity(OURS)
    path, shown = export(tmp_path, password_file, "--remove")
    assert shown["removed"]
    assert authorities.is_offline(row.issuer)
    # What was issued goes on, and the list holds for two months without the key.
    trust = context.for_address(ADDRESS).trust
    assert verify_path(row.certificate, (), trust, timezone.now()).revocation == "good"
    assert Crl.objects.get().next_update > timezone.now() + datetime.timedelta(days=59)
    renew_own_crl()
    for act in (lambda: authorities.issue_identity(ADDRESS), lambda: authorities.revoke_identity(row)):
        with pytest.raises(AuthorityOffline):
            act()
    with after(days=720):
        assert renewal.keep_current().held_up == "authority_offline"
    call_command("import_identity", path, "--password-file", password_file, stdout=StringIO())
    assert not authorities.is_offline(row.issuer)
    authorities.revoke_identity(row)
    with pytest.raises(Revoked):
        verify_path(row.certificate, (), context.for_address(ADDRESS).trust, timezone.now())
    assert audited("trust.authority_key_removed") == audited("trust.authority_key_restored") == 1


def test_a_key_is_not_removed_on_the_word_of_a_file_that_does_not_hold_it():
    authority = authorities.issue_identity(OURS).issuer
    sealed = renewal.export_authority(authority, PASSWORD)
    other = pki_factory.make_ca("Another CA").p12(PASSWORD)
    for exported, password in ((sealed, "not the password"), (other, PASSWORD), (sealed[:-40], PASSWORD)):
        with pytest.raises(UnusableCertificate):
            renewal.take_offline(authority, exported, password)
    assert not authorities.is_offline(authority)


def test_the_list_of_an_offline_authority_is_told_before_it_ends(tmp_path, password_file):
    authorities.issue_identity(OURS)
    export(tmp_path, password_file, "--remove", "--list-days", "10")
    assert [sign.level for sign in health.own_list_signs(timezone.now())] == ["good"]
    with after(days=9):
        (sign,) = health.own_list_signs(timezone.now())
        assert (sign.level, "Import" in sign.todo) == ("warn", True)


# --- told in time -----------------------------------------------------------------------------------------


def told():
    return sorted(mail.to_address for mail in Notification.objects.filter(kind=expiry.KIND))


def test_administrators_are_mailed_at_thirty_fourteen_and_three_days():
    for email in ("ida@portal.example", "ben@portal.example"):
        factories.account(email, is_staff=True)
    factories.account("nora@patient.example")
    accredited = pki_factory.make_ca("Accredited CA")
    keyimport.import_p12(pki_factory.issue(accredited, domains=[OURS], not_after=pki_factory.days(100)).p12())
    keep_identities_current()
    counts = []
    for days in (69, 71, 72, 85, 87, 96, 98, 99, 101):
        with after(days=days):
            keep_identities_current()
            keep_identities_current()
            counts.append(len(told()))
    assert counts == [0, 2, 2, 2, 4, 4, 6, 6, 6]
    assert set(told()) == {"ida@portal.example", "ben@portal.example"}
    mail = Notification.objects.filter(kind=expiry.KIND).first()
    assert OURS in mail.subject
    assert "/trust/certificates/" in mail.text


def test_nobody_is_mailed_about_what_renews_itself():
    factories.account("ida@portal.example", is_staff=True)
    authorities.issue_identity(OURS)
    for days in (680, 700, 720, 729):
        with after(days=days):
            keep_identities_current()
    assert told() == []


def test_the_end_of_a_partners_anchor_is_told_unless_it_counts_for_nothing():
    factories.account("ida@portal.example", is_staff=True)
    ca = pki_factory.make_ca("Sedge CA", not_after=pki_factory.days(20))
    reading = admission.read_files([("ca.pem", ca.pem)], timezone.now())
    (admitted,) = admission.admit(reading.candidates, "Sedge & Sons <Clinics>")
    Anchor.objects.filter(pk=admitted.anchor.pk).update(state="paused")
    assert expiry.tell() == 0
    Anchor.objects.filter(pk=admitted.anchor.pk).update(state="active")
    assert expiry.tell() == 1
    (mail,) = Notification.objects.filter(kind=expiry.KIND)
    assert mail.subject.startswith("The trust anchor of Sedge & Sons <Clinics> ends on")
    assert "Sedge &amp; Sons &lt;Clinics&gt;" in mail.html


# --- where certificates say -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_stranger_judges_us_by_what_our_certificate_names_over_http(live_server, settings):
    """From the certificate alone: the issuer by AIA, the list by CDP, over plain HTTP without a redirect."""
    settings.PUBLIC_URL = live_server.url
    host, port = live_server.url.removeprefix("http://").split(":")
    settings.FETCH_ALLOW = [(host, int(port))]
    for row in (authorities.issue_identity(OURS), _of_the_next_authority()):
        leaf = row.certificate
        issuer = Certificate(fetcher.fetch(leaf.issuer_urls[0], fetcher.AIA).body)
        fetched = fetcher.fetch(leaf.crl_urls[0], fetcher.CRL)
        assert fetched.headers["content-type"] == "application/pkix-crl"
        require = Policy(revocation="require")
        chain = verify_path(leaf, (), TrustContext((issuer,), (fetched.body,), require), timezone.now())
        assert chain.revocation == "good"
        authorities.revoke_identity(row)
        body = fetcher.fetch(leaf.crl_urls[0], fetcher.CRL).body
        assert PkiCrl(body).number > PkiCrl(fetched.body).number
        with pytest.raises(Revoked):
            verify_path(leaf, (), TrustContext((issuer,), (body,), require), timezone.now())
        with pytest.raises(UntrustedChain):
            verify_path(leaf, (), TrustContext(()), timezone.now())


def _of_the_next_authority():
    return authorities.issue_identity(OURS, issuer=authorities.make_authority())


def test_a_revocation_list_shows_every_reason(settings):
    row = authorities.issue_identity(OURS)
    authorities.revoke_identity(row, "superseded")
    (entry,) = x509.load_der_x509_crl(bytes(Crl.objects.get().der))
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is x509.ReasonFlags.superseded
