"""`add_bundle`, `refresh_bundles` and `resolve_address`, as operators run them."""

import json

import pytest
from django.core.management import CommandError, call_command

from tests import pki_factory
from trust import context
from trust.models import Anchor, Bundle, BundleUse
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = "ines.moreau@direct.clinic.example"


@pytest.fixture(scope="module")
def cas():
    return [pki_factory.make_ca(f"Member {number} CA", key="p256") for number in range(4)]


@pytest.fixture
def run(capsys):
    def go(*words, code=0):
        try:
            call_command(*words)
            seen = 0
        except SystemExit as error:
            seen = error.code
        except CommandError as error:
            seen = error.returncode
        captured = capsys.readouterr()
        assert seen == code, captured
        return captured.out, captured.err

    return go


def output(captured):
    return json.loads(captured[0])


def test_a_bundle_is_added_and_fetched(run, web, cas):
    web.files["/b"] = pki_factory.make_p7b(cas[:3])
    told = output(run("add_bundle", "Members", web.url("/b"), "--json"))
    assert (told["added"], told["removed"], told["kept"], told["error"]) == (3, 0, 0, None)
    bundle = Bundle.objects.get()
    assert (bundle.label, bundle.is_active) == ("production", True)
    assert {each["sha256"] for each in told["bundles"][0]["added"]} == {ca.sha256 for ca in cas[:3]}


def test_the_options_are_kept(run, web, cas, tmp_path):
    signer = pki_factory.issue(None, domains=["bundles.community.example"], eku=None)
    (tmp_path / "signer.pem").write_bytes(signer.pem)
    web.files["/b"] = pki_factory.make_p7b(cas[:1])
    words = ["--signer", tmp_path / "signer.pem", "--domain", OURS, "--incoming", "--label", "staging"]
    told = output(run("add_bundle", "Members", web.url("/b"), *map(str, words), "--json", code=1))
    assert told["error"] == "UNMATCHED_SIGNATURE"
    use = BundleUse.objects.select_related("bundle", "domain").get()
    assert (use.domain.name, use.incoming, use.outgoing) == (OURS, True, False)
    assert (use.bundle.label, bytes(use.bundle.signer_der)) == ("staging", signer.der)


def test_the_label_is_that_of_the_environment(run, web, cas, settings):
    settings.ENVIRONMENT = "ppe"
    web.files["/b"] = pki_factory.make_p7b(cas[:1])
    run("add_bundle", "Members", web.url("/b"))
    assert Bundle.objects.get().label == "staging"
    assert cas[0].sha256 in context.for_address(f"a@{OURS}").trust.anchors_by_sha256


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["Members", "http://bundles.example/b"], 1),
        (["Members", "https://bundles.example/b", "--domain", "other.example"], 2),
        (["Members", "https://bundles.example/b", "--signer", "/nowhere.pem"], 2),
        (["Members", "https://bundles.example/b", "--signer", "/dev/null"], 2),
    ],
)
def test_wrong_use_changes_nothing(run, words, code):
    run("add_bundle", *words, code=code)
    assert not Bundle.objects.exists()


def test_bundles_are_refreshed_by_name_or_all(run, web, cas):
    for name in ("One", "Two"):
        web.files[f"/{name}"] = pki_factory.make_p7b(cas[:2])
        run("add_bundle", name, web.url(f"/{name}"))
    web.files["/One"] = pki_factory.make_p7b(cas[:3])
    told = output(run("refresh_bundles", "One", "--json"))
    assert (told["added"], told["removed"], told["kept"], told["error"]) == (1, 0, 2, None)
    del web.files["/Two"]
    told = output(run("refresh_bundles", "--json", code=1))
    assert (told["kept"], told["error"]) == (5, "NOT_FOUND")
    assert "Check the URL" in run("refresh_bundles", code=1)[1]


def test_a_drop_is_accepted_of_one_bundle_by_name(run, web, cas):
    web.files["/b"] = pki_factory.make_p7b(cas[:4])
    run("add_bundle", "Members", web.url("/b"))
    web.files["/b"] = pki_factory.make_p7b(cas[:1])
    assert output(run("refresh_bundles", "Members", "--json", code=1))["error"] == "SHRUNKEN"
    run("refresh_bundles", "--accept-drop", code=2)
    assert output(run("refresh_bundles", "Members", "--accept-drop", "--json"))["removed"] == 3


def test_an_unknown_bundle_is_wrong_use(run):
    run("refresh_bundles", "Nobody", code=2)
    assert "no bundle" in run("refresh_bundles")[0]


def test_an_address_is_resolved(run, name_server):
    ca = pki_factory.make_ca("Mallow CA")
    Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))
    leaf = pki_factory.issue(ca, emails=[ADDRESS])
    name_server.add_certificate(ADDRESS.replace("@", "."), leaf.der)
    told = output(run("resolve_address", ADDRESS, "--sender", f"otter.fern.204@{OURS}", "--json"))
    assert (told["address"], told["trusted"], told["code"]) == (ADDRESS, True, None)
    assert [(each["sha256"], each["place"]) for each in told["found"]] == [(leaf.sha256, "dns_address")]
    assert told["found"][0]["chain"] == [leaf.sha256, ca.sha256]
    assert [each["code"] for each in told["steps"]] == ["records", "usable"]
    assert run("resolve_address", ADDRESS)[0].rstrip().endswith("can be encrypted to")


def test_why_an_address_cannot_be_written_to_is_told(run, name_server):
    leaf = pki_factory.issue(pki_factory.make_ca("Stranger CA"), emails=[ADDRESS])
    name_server.add_certificate(ADDRESS.replace("@", "."), leaf.der)
    told = output(run("resolve_address", ADDRESS, "--json", code=1))
    assert (told["found"], told["trusted"], told["code"]) == ([], False, "untrusted_chain")
    text = run("resolve_address", "nobody@direct.clinic.example", code=1)[0]
    assert "names no LDAP server" in text
    assert text.rstrip().endswith("no: no_certificate")


def test_what_was_found_lately_may_be_forgotten(run, name_server):
    run("resolve_address", ADDRESS, code=1)
    run("resolve_address", ADDRESS, code=1)
    run("resolve_address", ADDRESS, "--forget", code=1)
    assert name_server.count(ADDRESS.replace("@", "."), "CERT") == 2


@pytest.mark.parametrize("words", [["nobody"], [ADDRESS, "--sender", "x@not-ours.example"]])
def test_wrong_use_is_told(run, words):
    run("resolve_address", *words, code=2)
