"""Everything wrong that trust can be given, at the door where it comes in: a code of its own, soon, and
whatever we had stays as it was. What each part does with more kinds of it stands in the part's own tests.
"""

import io
import json
import subprocess
import time
from contextlib import contextmanager

import pytest
import time_machine
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

from tests import factories, pki_factory
from tests import web_server as servers
from tests.tools import need
from trust import bundles, context, requests, resolvers, revocation_lists
from trust.errors import PrivateKeyInside, TrustRefusal
from trust.forms import AnchorImportForm
from trust.models import Anchor, Bundle, Crl, Domain, TrustRequest
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"
AT_MOST_S = 10


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Sedge Valley CA")


@pytest.fixture
def browser():
    client = Client()
    client.force_login(factories.account("ida@portal.example", is_staff=True))
    return client


@contextmanager
def in_time():
    """No hang: what is done inside ends by itself long before a person gives up."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_MOST_S


def text(answer):
    return " ".join(answer.content.decode().split())


# --- files that an administrator uploads ------------------------------------------------------------------


def key_der():
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    key = pki_factory.make_key("p256")
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def flooded():
    names = [x509.DNSName(f"a{number}.example") for number in range(2048)]
    return pki_factory.make_ca("Flooding CA", permitted=names).der


REFUSED_FILES = {
    "garbage": (b"\x00\x01garbage", "malformed"),
    "html": (b"<html>not found</html>", "malformed"),
    "half a certificate": (pki_factory.make_ca("Half").der[:200], "malformed"),
    "an empty collection": (pki_factory.make_p7b([pki_factory.make_ca("One")])[:30], "malformed"),
    "a key as PEM": (pki_factory.make_ca("Careless CA").key_pem, "private_key"),
    "a certificate with its key": (
        (lambda made: made.pem + made.key_pem)(pki_factory.make_ca("Careless CA")),
        "private_key",
    ),
    "a key as DER": (key_der(), "private_key"),
    "a P12": (pki_factory.issue(pki_factory.make_ca("X"), domains=["x.example"]).p12("pw"), "private_key"),
    "a flood of name constraints": (flooded(), "over_limit"),
}


def upload(browser, data, name="anchor.der"):
    form = {
        "anchors": SimpleUploadedFile(name, data),
        "organization": "Sedge Valley Clinics",
        "incoming": "on",
        "outgoing": "on",
    }
    return browser.post("/trust/anchors/import/", form, follow=True)


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_a_file_that_holds_no_anchor_is_refused_and_nothing_of_it_is_kept(browser, name):
    data, code = REFUSED_FILES[name]
    form = AnchorImportForm(
        {"organization": "Sedge", "incoming": "on"}, {"anchors": SimpleUploadedFile("anchor.der", data)}
    )
    assert not form.is_valid()
    assert [error.code for error in form.errors.as_data()["anchors"]] == [code]
    with in_time():
        answer = upload(browser, data)
    assert not TrustRequest.objects.exists()
    assert not Anchor.objects.exists()
    if code == "private_key":
        assert "this file holds a private key. Nothing of it was kept" in text(answer)
    else:
        assert "anchor.der:" in text(answer).lower()


def test_pem_in_a_file_called_der_is_read(browser, ca):
    """Not refused: files of real partners are so."""
    assert ca.sha256 in text(upload(browser, ca.pem, "anchor.der"))


ASKED_FILES = {
    "leaf": lambda ca: pki_factory.issue(ca, domains=["direct.sedge.example"]),
    "expired": lambda ca: pki_factory.make_ca(
        "Old CA", not_before=pki_factory.days(-90), not_after=pki_factory.days(-1)
    ),
}


@pytest.mark.parametrize("code", ASKED_FILES)
def test_a_leaf_or_an_expired_anchor_is_asked_about(browser, ca, code):
    upload(browser, ASKED_FILES[code](ca).der)
    row = TrustRequest.objects.get()
    (candidate,) = requests.candidates_of(row, pki_factory.utc_now())
    assert candidate.warnings == (code,)
    page = f"/trust/requests/{row.pk}/"
    assert requests.admission.WARNINGS[code] in text(browser.get(page))
    form = {"organization": "Sedge Valley Clinics", "incoming": "on", "outgoing": "on"}
    assert "Confirm that you mean" in text(browser.post(f"{page}accept/", form, follow=True))
    assert not Anchor.objects.exists()
    browser.post(f"{page}accept/", {**form, "confirmed": "on"})
    assert Anchor.objects.count() == 1


def test_a_private_key_is_refused_by_every_door_for_anchors(browser, ca, tmp_path):
    path = tmp_path / "anchor.pem"
    path.write_bytes(ca.pem + ca.key_pem)
    with pytest.raises(Exception, match="private key") as refused:
        call_command("import_anchor", path, "--organization", "Sedge", "--yes", stdout=io.StringIO())
    assert refused.value.returncode == 1
    with pytest.raises(PrivateKeyInside):
        requests.admission.read_files([("anchor.pem", ca.pem + ca.key_pem)], pki_factory.utc_now())
    assert issubclass(PrivateKeyInside, TrustRefusal)
    assert not Anchor.objects.exists()


# --- trust bundles ----------------------------------------------------------------------------------------


@pytest.fixture
def community():
    return pki_factory.issue(None, domains=["bundles.community.example"], eku=None)


def signed(content, signer):
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    builder = builder.add_signer(signer.certificate, signer.private_key, hashes.SHA256())
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes])


@pytest.fixture
def followed(web, ca, community):
    """A bundle that was taken: signed by its pinned signer, two anchors."""
    content = pki_factory.make_p7b([ca, pki_factory.make_ca("Second CA", key="p256")])
    web.files["/bundle.p7m"] = signed(content, community)
    bundle = bundles.add("Members", web.url("/bundle.p7m"), signer=Certificate(community.der))
    assert len(bundles.refresh(bundle).added) == 2
    del web.files["/bundle.p7m"]
    bundle.refresh_from_db()
    return bundle


def _ten_gigabytes(request):
    request.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
    servers.endless(request)


EMPTY = bytes.fromhex("302306092a864886f70d010702a0163014020101310030" + "0b06092a864886f70d0107013100")


DRIP = servers.drip(b"HTTP/1.1 200 OK\r\n\r\n", 0.2, 200)
BAD_BUNDLES = {
    "gone": (lambda r, c: servers.send(r, "404 Not Found"), "NOT_FOUND", "not_found"),
    "garbage": (lambda r, c: servers.send(r, "200 OK", b"garbage"), "INVALID_BUNDLE_FORMAT", ""),
    "no anchors": (lambda r, c: _sign(r, EMPTY, c), "INVALID_BUNDLE_FORMAT", ""),
    "wrong signer": (lambda r, c: _sign(r, _anchors(), pki_factory.issue(None, domains=["x.example"])),
                     "UNMATCHED_SIGNATURE", ""),
    "unsigned": (lambda r, c: servers.send(r, "200 OK", _anchors()), "UNMATCHED_SIGNATURE", ""),
    "ten gigabytes": (lambda r, c: _ten_gigabytes(r), "INVALID_BUNDLE_FORMAT", "too_large"),
    "without end": (lambda r, c: servers.endless(r), "INVALID_BUNDLE_FORMAT", "too_large"),
    "dripping": (lambda r, c: DRIP(r), "DOWNLOAD_TIMEOUT", "timeout"),
    "silent": (lambda r, c: servers.silent(9)(r), "DOWNLOAD_TIMEOUT", "timeout"),
}  # fmt: skip


def _anchors():
    return pki_factory.make_p7b([pki_factory.make_ca("Intruder CA", key="p256")])


def _sign(request, content, signer):
    servers.send(request, "200 OK", signed(content, signer))


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_leaves_the_old_anchors_and_says_why(browser, web, followed, community, name):
    play, code, detail = BAD_BUNDLES[name]
    web.plays["/bundle.p7m"] = lambda request: play(request, community)
    before = set(Anchor.objects.values_list("sha256", "state"))
    with in_time():
        shown = text(browser.post(f"/trust/bundles/{followed.pk}/refresh/", follow=True))
    assert f"Not refreshed ({code})" in shown
    followed.refresh_from_db()
    assert followed.last_error == code
    assert followed.last_error_detail.startswith(detail)
    assert followed.last_error_detail
    assert set(Anchor.objects.values_list("sha256", "state")) == before
    assert len(context.for_address(ADDRESS).trust.anchors) == 2


def test_each_kind_of_bad_bundle_is_told_from_the_others(web, followed, community):
    details = set()
    for name in ("garbage", "no anchors", "wrong signer", "unsigned", "ten gigabytes"):
        play, code, _ = BAD_BUNDLES[name]
        web.plays["/bundle.p7m"] = lambda request, play=play: play(request, community)
        outcome = bundles.refresh(followed)
        assert outcome.error == code
        details.add((outcome.error, outcome.detail))
    assert len(details) == 5
    assert Bundle.objects.get().anchors.count() == 2


# --- revocation lists -------------------------------------------------------------------------------------


def judge(leaf, hints=()):
    pool = [Certificate(each.der) for each in hints]
    trust = lambda: context.for_address(ADDRESS).trust  # noqa: E731
    return resolvers.verify(Certificate(leaf.der), pool, trust, pki_factory.utc_now())


def refusal(leaf, hints=()):
    with pytest.raises(PkiError) as refused:
        judge(leaf, hints)
    return refused.value.code


STRANGER = pki_factory.make_ca("Sedge Valley CA")
BAD_LISTS = {
    "by a stranger": (lambda ca: pki_factory.make_crl(STRANGER, number=99), "unmatched_signature"),
    "rolled back": (
        lambda ca: pki_factory.make_crl(ca, number=9, this_update=pki_factory.days(-2)),
        "rollback",
    ),
    "of the future": (
        lambda ca: pki_factory.make_crl(ca, number=11, this_update=pki_factory.days(2)),
        "not_yet_valid",
    ),
    "garbage": (lambda ca: b"<html>Bad gateway</html>", "malformed"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_bad_list_brings_no_revoked_certificate_back(web, ca, name):
    revocation_lists._noted.clear()
    Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))
    leaf = pki_factory.issue(ca, emails=["dr.mila@direct.sedge.example"], cdp=[web.url("/ca.crl")])
    web.files["/ca.crl"] = pki_factory.make_crl(ca, [leaf], number=10)
    assert refusal(leaf) == "revoked"
    make, code = BAD_LISTS[name]
    web.files["/ca.crl"] = make(ca)
    with time_machine.travel(pki_factory.days(0.3), tick=True):
        assert not revocation_lists.obtain([web.url("/ca.crl")])
        assert (Crl.objects.get().number, Crl.objects.get().last_error) == ("10", code)
        assert refusal(leaf) == "revoked"


# --- certificates that come with a message ----------------------------------------------------------------


def test_a_flood_of_name_constraints_on_the_path(ca):
    Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))
    names = [x509.DNSName(f"a{number}.example") for number in range(2048)]
    middle = pki_factory.make_ca("Flooding CA", issuer=ca, permitted=names)
    leaf = pki_factory.issue(middle, domains=["a1.example"])
    with in_time():
        assert refusal(leaf, [middle]) == "too_many_name_constraints"


@pytest.mark.parametrize(("count", "code"), [(100, "too_many_certificates"), (5, "too_many_same_subject")])
def test_a_hundred_certificates_of_one_name_in_a_message(tmp_path, ca, count, code):
    """Signed by openssl, with that many CAs of one name along; the leaf's own chain would stand."""
    Domain.objects.get_or_create(name=OURS)
    leaf = pki_factory.issue(ca, emails=["dr.mila@direct.sedge.example"])
    key = pki_factory.make_key("p256")
    others = [pki_factory.make_ca("Sedge Valley Issuing CA", key=key, issuer=ca) for _ in range(count)]
    paths = {"leaf.pem": leaf.pem, "leaf.key": leaf.key_pem, "ca.pem": ca.pem}
    paths["others.pem"] = b"".join(each.pem for each in others)
    paths["mail.txt"] = (
        b"From: dr.mila@direct.sedge.example\r\nTo: " + ADDRESS.encode() + b"\r\nSubject: s\r\n"
        b"Date: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sedge.example>\r\n"
        b"MIME-Version: 1.0\r\n\r\nhi\r\n"
    )
    for name, content in paths.items():
        (tmp_path / name).write_bytes(content)
    subprocess.run(
        [need("openssl"), "cms", "-sign", "-in", "mail.txt", "-signer", "leaf.pem", "-inkey", "leaf.key",
         "-certfile", "others.pem", "-md", "sha256", "-crlfeol", "-out", "signed.eml"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    out = io.StringIO()
    words = [tmp_path / "signed.eml", "--clear", "--recipient", ADDRESS, "--anchor", tmp_path / "ca.pem"]
    with in_time(), pytest.raises(SystemExit) as end:
        call_command("inspect_message", *map(str, words), "--json", stdout=out)
    answer = json.loads(out.getvalue())
    assert (end.value.code, answer["verdict"], answer["code"]) == (1, "refused", code)
