"""The commands as an operator meets them: JSON, exit codes, and a fresh installation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import pki_factory
from tests.documents import CCR, CDA_TYPE, VISIT
from tests.flows.stack import PASSWORD, ROOT
from tests.partner import Partner

pytestmark = pytest.mark.flow
DOMAIN = "direct.portal.example"


class Shell:
    """Runs commands on a data directory of their own, embedded, with no portal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
        for name in ("DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_URL"):
            inherited.pop(name, None)
        self.environment = {**inherited, "DATA_DIR": str(directory / "data"), "DIRECT_DOMAINS": DOMAIN}

    def __call__(self, *words: str | Path, code: int = 0, stdin: str = "", **extra: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *map(str, words)],
            cwd=ROOT, env={**self.environment, **extra}, input=stdin, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def json(self, *words: str | Path, code: int = 0, stdin: str = "") -> Any:
        return json.loads(self(*words, "--json", code=code, stdin=stdin))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def partner(tmp_path: Path) -> Partner:
    return Partner(tmp_path / "partner")


def test_from_nothing_to_a_claimed_ledger_without_a_portal(
    shell: Shell, partner: Partner, tmp_path: Path
) -> None:
    made = shell.json(
        "create_account", "ada@patient.example", "--name", "Ada Whitlock", stdin=PASSWORD + "\n"
    )
    assert set(made) == {"account", "record", "direct_address"}
    assert made["direct_address"].endswith(f"@{DOMAIN}")
    shell("create_account", "ada@patient.example", code=1, stdin=PASSWORD + "\n")

    identity = shell.json("create_identity", DOMAIN)
    assert set(identity) == {"name", "sha256", "not_after", "pem"}
    anchors = shell.json(
        "import_anchor", partner.directory / "ca.pem", "--organization", partner.name, "--incoming", "--yes"
    )["anchors"]
    assert anchors[0]["sha256"] == partner.ca.sha256

    document = VISIT.replace(b"Nora", b"Ada")
    inner = partner.compose(
        made["direct_address"], "Your visit", attachments=(("v.xml", CDA_TYPE, document),)
    )
    good = tmp_path / "good.eml"
    good.write_bytes(partner.seal(inner, identity["pem"].encode()))
    bad = tmp_path / "bad.eml"
    bad.write_bytes(inner)

    route = ("--mail-from", partner.address, "--rcpt-to", made["direct_address"], "--wait")
    filed = shell.json("ingest_message", good, *route)["mails"]
    assert [(mail["state"], mail["code"]) for mail in filed] == [("filed", None)]
    refused = shell.json("ingest_message", bad, *route, code=1)["mails"]
    assert [(mail["state"], mail["code"]) for mail in refused] == [("refused", "not_encrypted")]
    again = shell.json("ingest_message", good, *route)["mails"]
    assert again[0]["id"] == filed[0]["id"]

    lines = [json.loads(line) for line in shell("ledger", "--json").splitlines()]
    came_in = [line for line in lines if line["direction"] == "in"]
    assert [line["state"] for line in came_in] == ["filed", "refused"]
    assert set(lines[0]) >= {"id", "direction", "sha256", "recipient", "state", "code", "times", "attempts"}
    assert len(list((tmp_path / "data" / "mail").glob("*.eml"))) == 1

    found = shell.json("selfcheck")
    assert found["ok"]
    assert {check["name"] for check in found["checks"]} >= {"settings", "database", "broker", "keys", "clock"}


def test_inspection_needs_only_files(shell: Shell, partner: Partner, tmp_path: Path) -> None:
    ours = pki_factory.issue(pki_factory.make_ca("Our CA"), domains=[DOMAIN])
    (tmp_path / "ours.pem").write_bytes(ours.pem + ours.key_pem)
    (tmp_path / "ours.p12").write_bytes(ours.p12("secret"))
    inner = partner.compose(
        f"newuser@{DOMAIN}", "a@b.example;Results", attachments=(("r.xml", "text/xml", CCR),)
    )
    (tmp_path / "sealed.eml").write_bytes(partner.seal(inner, ours.pem))
    (tmp_path / "clear.eml").write_bytes(partner.sign(inner))
    anchor = ("--anchor", partner.directory / "ca.pem")

    for identity in (f"{tmp_path}/ours.pem", f"{tmp_path}/ours.p12#secret"):
        seen = shell.json(
            "inspect_message",
            tmp_path / "sealed.eml",
            *anchor,
            "--identity",
            identity,
            "--mail-from",
            partner.address,
        )
        assert (seen["verdict"], seen["kind"], seen["code"]) == ("accepted", "message", None)
        assert seen["message"]["parts"][0]["document_kind"] == "ccr"
        assert seen["algorithms"] == {
            "digest": "sha256",
            "signature": "rsa-pkcs1v15",
            "cipher": "aes128-cbc",
            "key_transport": "oaep-sha256",
        }
    clear = shell.json("inspect_message", tmp_path / "clear.eml", "--clear", *anchor)
    assert clear["verdict"] == "accepted"
    assert "no_envelope" in clear["warnings"]
    other = ("--anchor", tmp_path / "ours.pem")
    assert (
        shell.json("inspect_message", tmp_path / "clear.eml", "--clear", *other, code=1)["code"]
        == "untrusted_chain"
    )
    late = ("--at", "2060-01-01T00:00:00Z")
    assert (
        shell.json("inspect_message", tmp_path / "clear.eml", "--clear", *anchor, *late, code=1)["code"]
        == "expired"
    )
    shell("inspect_message", tmp_path / "none.eml", code=2)
    assert not (tmp_path / "data" / "healthvault.sqlite3").exists()


def test_reading_files(shell: Shell, partner: Partner, tmp_path: Path) -> None:
    (tmp_path / "visit.xml").write_bytes(VISIT)
    (tmp_path / "plain.txt").write_bytes(b"hello")
    (tmp_path / "mail.eml").write_bytes(
        partner.compose("a@b.example", "Hello", attachments=(("v.xml", CDA_TYPE, VISIT),))
    )
    summary = shell.json("parse_document", tmp_path / "visit.xml")
    assert (summary["kind"], summary["item_type"], summary["patient"]["name"]) == (
        "ccda",
        "CCD",
        "Nora Whitlock",
    )
    assert summary["sections"]["allergies"]["items"] == 1
    items = shell.json("parse_document", tmp_path / "visit.xml", "--format", "items")
    assert {"kind", "codes", "name", "start", "end", "value", "unit", "status", "negated"} <= set(items[0])
    assert (
        shell.json("parse_document", tmp_path / "visit.xml", "--format", "fhir")["resourceType"] == "Bundle"
    )
    assert shell.json("parse_document", tmp_path / "plain.txt", code=1)["kind"] is None
    mail = shell.json("parse_mail", tmp_path / "mail.eml")
    assert set(mail) == {"headers", "parts", "defects"}
    path = shell.json(
        "check_path", "--leaf", partner.directory / "leaf.pem", "--anchor", partner.directory / "ca.pem",
        "--address", partner.address,
    )  # fmt: skip
    assert path["trusted"] is True
    wrong = shell.json(
        "check_path", "--leaf", partner.directory / "leaf.pem", "--anchor", partner.directory / "ca.pem",
        "--address", "a@elsewhere.example", code=1,
    )  # fmt: skip
    assert (wrong["trusted"], wrong["code"]) == (False, "address_not_covered")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARCEL_DAYS", "soon"),
        ("RECORD_SIZE_LIMIT", "4 GiB"),
        ("RECORD_SIZE_LIMIT", "1000"),
        ("DIRECT_LEGACY", "md5"),
        ("SMTP_LISTEN", "2525"),
        ("HEALTHVAULT_ENVIRONMENT", "live"),
        ("EMAIL_URL", "carrier-pigeon://x"),
        ("VAULT_KEYS", "nonsense"),
        ("FAULT_AT", "nowhere"),
    ],
)
def test_a_bad_setting_stops_the_start_with_its_name(shell: Shell, name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT, env={**shell.environment, name: value}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert name in done.stderr


def test_production_refuses_what_is_for_tests(shell: Shell) -> None:
    extra = {
        "HEALTHVAULT_ENVIRONMENT": "production",
        "PUBLIC_URL": "https://portal.example",
        "SECRET_KEY": "x" * 64,
        "VAULT_KEYS": "a:" + "A" * 43,
        "DATABASE_URL": "sqlite:////tmp/none",
        "FETCH_ALLOW": "127.0.0.1:80",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT, env={**shell.environment, **extra}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "FETCH_ALLOW" in done.stderr
