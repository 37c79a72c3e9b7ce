"""What may be handed over as anchors, what is told about it, and what an import changes."""

import io
import zipfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.utils import timezone

from healthvault.audit.models import AuditEvent
from tests import pki_factory
from trust import admission, context
from trust.errors import AnchorStopped, PrivateKeyInside, UnreadableFile
from trust.models import Anchor, Organization

OURS = "direct.portal.example"


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Larkspur Community Hospital CA")


@pytest.fixture(scope="module")
def other_ca():
    return pki_factory.make_ca("Tamarisk Clinics CA")


def read(*files):
    return admission.read_files(files, timezone.now())


def found(*files):
    return [each.certificate.sha256 for each in read(*files).candidates]


def zipped(*members, compression=zipfile.ZIP_DEFLATED):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return target.getvalue()


# --- reading --------------------------------------------------------------------------------------------


def test_every_form_is_read_whatever_the_file_is_called(ca, other_ca):
    both = [ca.sha256, other_ca.sha256]
    assert found(("a.txt", ca.der)) == [ca.sha256]
    assert found(("a.der", ca.pem)) == [ca.sha256]
    assert found(("a.cer", ca.pem + other_ca.pem)) == both
    assert sorted(found(("a.pem", pki_factory.make_p7b([ca, other_ca])))) == sorted(both)
    assert sorted(found(("a", pki_factory.make_p7b([ca, other_ca], pem=True)))) == sorted(both)
    assert found(("a.exe", zipped(("x/ca.cer", ca.der), ("b.p7b", pki_factory.make_p7b([other_ca]))))) == both
    assert found(("a", ca.pem), ("b", other_ca.der), ("c", ca.der)) == both


def test_what_is_no_certificate_in_a_zip_is_named(ca):
    reading = read(
        ("certs.zip", zipped(("README.txt", "Read me."), ("__MACOSX/ca.cer", "x"), ("ca.cer", ca.der)))
    )
    assert [each.file for each in reading.candidates] == ["certs.zip/ca.cer"]
    assert reading.passed_over == ["certs.zip/README.txt"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"words",
        b"\x30\x03\x02\x01\x01"[:4],
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        zipped(),
        zipped(("README.txt", "nothing here")),
        zipped(("a.cer", b"\x30\x82\x01\x00short")),
        zipped(("a.cer", b"words"))[:40],
    ],
    # Not of the bytes: a zip holds the time, and parallel workers must agree on the names of tests.
    ids=["empty", "words", "cut", "bad_pem", "empty_zip", "zip_of_words", "zip_of_a_cut", "cut_zip"],
)
def test_a_file_without_a_certificate_is_refused(data):
    with pytest.raises(UnreadableFile):
        read(("a", data))


def test_one_bad_file_among_good_ones_stops_all(ca):
    with pytest.raises(UnreadableFile, match=r"bad\.cer"):
        read(("good.cer", ca.der), ("bad.cer", b"words"))


def test_a_zip_that_swells_is_not_read_to_its_end(ca):
    bomb = zipped(("a.cer", b"\x30" * 40_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(UnreadableFile, match="octets"):
        read(("bomb.zip", bomb))
    with pytest.raises(UnreadableFile, match="files"):
        read(("many.zip", zipped(*((f"{number}.cer", ca.der) for number in range(501)))))


def keys(ca):
    key = ca.private_key
    encodings = {
        "pkcs8": (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, None),
        "traditional": (serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, None),
        "pem": (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, None),
        "old pem": (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, None),
        "encrypted": (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, b"x"),
        "encrypted pem": (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, b"x"),
    }
    for name, (encoding, form, password) in encodings.items():
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        yield name, key.private_bytes(encoding, form, lock)
    yield "p12", ca.p12("s3cret")


def test_a_private_key_is_refused_in_every_form(ca):
    for name, key in keys(ca):
        with pytest.raises(PrivateKeyInside):
            read((name, key))
        with pytest.raises(PrivateKeyInside):
            read(("keys.zip", zipped(("ca.cer", ca.der), (name, key))))
    with pytest.raises(PrivateKeyInside):
        read(("both.pem", ca.pem + ca.key_pem))


def test_the_certificate_that_signed_a_bundle_is_no_anchor(ca, other_ca):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import pkcs7

    signer = pki_factory.issue(ca, emails=["bundles@community.example"])
    collection = pki_factory.make_p7b([other_ca])
    signed = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(collection)
        .add_signer(signer.certificate, signer.private_key, hashes.SHA256())
        .sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
    )
    assert found(("bundle.p7m", signed)) == [other_ca.sha256]


# --- what is told ---------------------------------------------------------------------------------------


def warnings(issued):
    (candidate,) = read(("a", issued.der)).candidates
    return set(candidate.warnings)


def test_a_good_ca_raises_no_eyebrow(ca):
    assert warnings(ca) == set()


def test_what_an_administrator_should_know_is_told(ca):
    constrained = pki_factory.make_ca("Limited CA", permitted=[x509.DNSName("larkspur.example")])
    assert warnings(pki_factory.issue(ca, domains=["direct.larkspur.example"])) == {"leaf"}
    assert warnings(pki_factory.make_ca("A", not_after=pki_factory.days(-0.1))) == {"expired"}
    assert warnings(pki_factory.make_ca("B", not_before=pki_factory.days(1))) == {"not_yet_valid"}
    assert warnings(constrained) == {"name_constraints"}
    assert warnings(pki_factory.make_ca("C", key_usage=("crl_sign",))) == {"cannot_issue"}
    assert warnings(pki_factory.make_ca("D", digest="sha1")) == {"weak_digest"}
    assert warnings(pki_factory.make_ca("E", key="rsa1024")) == {"unsound"}
    assert set(admission.WARNINGS) >= {"leaf", "expired", "not_yet_valid", "unsound"}


def test_a_monstrous_certificate_is_not_taken():
    names = [x509.DNSName(f"n{number}.example") for number in range(200)]
    with pytest.raises(UnreadableFile, match="200"):
        read(("a", pki_factory.make_ca("Many", permitted=names).der))


# --- admitting ------------------------------------------------------------------------------------------


def admit(ca, name="Larkspur Community Hospital", **options):
    (admitted,) = admission.admit(read(("a", ca.der)).candidates, name, **options)
    return admitted


@pytest.mark.django_db
def test_an_admitted_anchor_is_trusted(ca):
    admitted = admit(ca)
    assert admitted.change == "added"
    assert admitted.anchor.organization.name == "Larkspur Community Hospital"
    assert ca.sha256 in context.for_address(f"a@{OURS}").trust.anchors_by_sha256
    actions = list(AuditEvent.objects.order_by("seq").values_list("action", "actor"))
    assert ("trust.anchor_added", "operator") in actions
    assert ("trust.organization_added", "operator") in actions


@pytest.mark.django_db
def test_the_last_word_counts(ca):
    admit(ca, outgoing=False)
    before = AuditEvent.objects.count()
    assert admit(ca, outgoing=False).change == "unchanged"
    assert AuditEvent.objects.count() == before
    again = admit(ca, "Larkspur Group", incoming=False)
    assert again.change == "changed"
    anchor = Anchor.objects.get()
    assert (anchor.incoming, anchor.outgoing, anchor.organization.name) == (False, True, "Larkspur Group")


@pytest.mark.django_db
def test_one_domain_and_all_domains_are_two_anchors(ca):
    domain = context.ensure_domain(OURS)
    admit(ca, domain=domain)
    admit(ca)
    assert Anchor.objects.count() == 2
    assert Organization.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("state", [Anchor.State.PAUSED, Anchor.State.REVOKED])
def test_an_import_does_not_lift_what_an_administrator_decided(ca, other_ca, state):
    anchor = admit(ca).anchor
    Anchor.objects.filter(pk=anchor.pk).update(state=state, reason="key stolen")
    candidates = read(("a", other_ca.der), ("b", ca.der)).candidates
    for domain in (None, context.ensure_domain(OURS)):
        with pytest.raises(AnchorStopped, match="key stolen"):
            admission.admit(candidates, "Somebody new", domain=domain)
    assert Anchor.objects.count() == 1, "all or none"
    assert not Organization.objects.filter(name="Somebody new").exists()


@pytest.mark.django_db
def test_an_anchor_that_left_its_place_may_come_back(ca):
    anchor = admit(ca).anchor
    Anchor.objects.filter(pk=anchor.pk).update(state=Anchor.State.WITHDRAWN)
    assert admit(ca).change == "changed"
    assert Anchor.objects.get().state == Anchor.State.ACTIVE
