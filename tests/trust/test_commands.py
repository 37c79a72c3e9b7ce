"""The commands that operators and scripts use: JSON on standard output, words on standard error."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests import pki_factory
from trust import authorities, context, publication
from trust.models import Anchor, Identity

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"


@pytest.fixture(autouse=True)
def shorter_keys(monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Larkspur Community Hospital CA")


@pytest.fixture
def run(tmp_path):
    """Runs a command; exit code, what it printed, what it said."""

    def run(*words):
        out, said = StringIO(), StringIO()
        try:
            call_command(*map(str, words), stdout=out, stderr=said)
        except CommandError as error:
            return error.returncode, out.getvalue(), f"{said.getvalue()}{error}"
        return 0, out.getvalue(), said.getvalue()

    return run


@pytest.fixture
def file(tmp_path):
    def file(name, data):
        path: Path = tmp_path / name
        path.write_bytes(data)
        return path

    return file


# --- create_identity ------------------------------------------------------------------------------------


def test_create_identity_prints_what_partners_need(run):
    code, out, said = run("create_identity", OURS, "--json")
    shown = json.loads(out)
    assert (code, said) == (0, "")
    assert set(shown) == {"name", "sha256", "not_after", "pem"}
    row = Identity.objects.get(name=OURS)
    assert (shown["name"], shown["sha256"]) == (OURS, row.sha256)
    assert shown["not_after"] == f"{row.not_after:%Y-%m-%dT%H:%M:%SZ}"
    assert shown["pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert context.for_address(f"a@{OURS}").identities


def test_create_identity_by_another_authority_of_ours(run, ca, file):
    code, out, _ = run(
        "import_identity", file("ca.p12", ca.p12("x")), "--password-file", file("pw", b"x\n"), "--json"
    )
    assert code == 0
    code, out, _ = run("create_identity", OURS, "--issuer", json.loads(out)["sha256"], "--json")
    assert code == 0
    assert Identity.objects.get(name=OURS).certificate.issuer == "CN=Larkspur Community Hospital CA"
    assert not Identity.objects.filter(slug="ca").exists()


def test_create_identity_says_what_is_odd(run):
    assert "DIRECT_DOMAINS" in run("create_identity", "elsewhere.example")[2]
    assert "beside" in run("create_identity", "elsewhere.example")[2]


def test_create_identity_refuses(run, settings):
    assert run("create_identity", "no domain")[0] == 2
    assert run("create_identity", OURS, "--issuer", "nobody")[0] == 1
    settings.IDENTITY_KEYS = ""
    assert run("create_identity", OURS)[0] == 1
    assert not Identity.objects.exists()


# --- import_identity ------------------------------------------------------------------------------------


def test_import_identity(run, ca, file):
    leaf = pki_factory.issue(ca, domains=[OURS])
    path = file("ours.p12", leaf.p12("s3cret word", chain=[ca]))
    code, out, _ = run("import_identity", path, "--password-file", file("pw", b"s3cret word\n"), "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["name"], shown["sha256"]) == (OURS, leaf.sha256)
    assert shown["pem"].strip().encode() == leaf.pem.strip()


def test_import_identity_refuses(run, ca, file):
    path = file("ours.p12", pki_factory.issue(ca, domains=[OURS]).p12("s3cret"))
    code, out, said = run("import_identity", path, "--password-file", file("pw", b"wrong"), "--json")
    assert (code, out) == (1, "")
    assert "password" in said
    assert run("import_identity", file("cert.pem", ca.pem), "--password-file", file("pw", b""))[0] == 1
    assert run("import_identity", "/nowhere/ours.p12")[0] == 2
    assert run("import_identity", path, "--password-file", "/nowhere/pw")[0] == 2


# --- import_anchor --------------------------------------------------------------------------------------


def import_anchor(run, *words):
    return run("import_anchor", *words, "--organization", "Larkspur", "--yes", "--json")


@pytest.mark.parametrize(
    ("flags", "incoming", "outgoing"),
    [((), True, True), (("--incoming",), True, False), (("--outgoing",), False, True)],
)
def test_import_anchor(run, ca, file, flags, incoming, outgoing):
    code, out, said = import_anchor(run, file("ca.pem", ca.pem), *flags)
    (shown,) = json.loads(out)["anchors"]
    assert code == 0
    assert (shown["sha256"], shown["subject"]) == (ca.sha256, "CN=Larkspur Community Hospital CA")
    assert (shown["incoming"], shown["outgoing"], shown["organization"]) == (incoming, outgoing, "Larkspur")
    assert (shown["domain"], shown["change"], shown["warnings"]) == (None, "added", [])
    assert ca.sha256 in said, "the preview is for people"
    found = context.for_address(f"a@{OURS}").trust.anchors_by_sha256
    assert (ca.sha256 in found) is incoming


def test_import_anchor_for_one_domain(run, ca, file):
    code, out, _ = import_anchor(run, file("ca.der", ca.der), "--domain", OURS.upper())
    assert code == 0
    assert json.loads(out)["anchors"][0]["domain"] == OURS
    assert Anchor.objects.get().domain.name == OURS
    assert import_anchor(run, file("ca.der", ca.der), "--domain", "elsewhere.example")[0] == 2


def test_import_anchor_asks_first(run, ca, file, monkeypatch):
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    code, out, said = run("import_anchor", file("ca.pem", ca.pem), "--organization", "Larkspur", "--json")
    assert code == 1
    assert json.loads(out)["anchors"][0]["change"] is None
    assert "--yes" in said
    assert not Anchor.objects.exists()


def test_import_anchor_tells_what_is_odd(run, ca, file):
    leaf = pki_factory.issue(ca, domains=["direct.larkspur.example"])
    code, out, said = import_anchor(run, file("leaf.cer", leaf.der))
    assert code == 0
    assert json.loads(out)["anchors"][0]["warnings"] == ["leaf"]
    assert "no CA" in said


def test_import_anchor_refuses(run, ca, file):
    assert import_anchor(run, "/nowhere/ca.pem")[0] == 2
    assert import_anchor(run, file("words", b"words"))[0] == 1
    code, out, said = import_anchor(run, file("key.pem", ca.pem + ca.key_pem))
    assert (code, out) == (1, "")
    assert "private_key" in said
    assert run("import_anchor", file("a", ca.pem), "--organization", " ", "--yes")[0] == 2
    assert not Anchor.objects.exists()


# --- publish_certificates -------------------------------------------------------------------------------


def test_publish_certificates(run, tmp_path, capsysbinary):
    assert run("publish_certificates", "--format", "zone")[0] == 1
    assert run("publish_certificates", "--format", "zip")[0] == 1
    authorities.issue_identity(OURS)
    assert f"{OURS}. 3600 IN CERT 1 0 0 (" in run("publish_certificates", "--format", "zone")[1]
    assert f"mail: {OURS}" in run("publish_certificates", "--format", "ldif")[1]
    expected = publication.anchors_zip(publication.own_anchors(timezone.now()))
    assert run("publish_certificates", "--format", "zip")[0] == 0
    assert capsysbinary.readouterr().out == expected
    assert run("publish_certificates", "--format", "zip", "--output", tmp_path / "certs.zip")[0] == 0
    assert (tmp_path / "certs.zip").read_bytes() == expected
    assert run("publish_certificates", "--format", "zip", "--output", "/nowhere/certs.zip")[0] == 2


def test_wrong_use_is_told_by_the_exit_code(tmp_path):
    root = Path(__file__).resolve().parents[2]
    environment = {"PATH": "/usr/bin:/bin", "DATA_DIR": str(tmp_path), "HOME": str(tmp_path)}
    for words in (["create_identity"], ["publish_certificates", "--format", "gif"]):
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=root, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 2, done.stderr.decode()
        assert not done.stdout
