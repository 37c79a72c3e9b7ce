"""`check_path` and `read_bundle`: answers from files alone, by exit code and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.pki_factory import SERVER_AUTH, Issued, days, issue, make_ca, make_crl, make_p7b

DOMAIN = "direct.clinic.example.org"
ADDRESS = f"ann@{DOMAIN}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one small PKI."""
    folder = tmp_path_factory.mktemp("pki")
    root = make_ca("Files Root")
    middle = make_ca("Files CA", issuer=root)
    leaf = issue(middle, domains=[DOMAIN], aia=["http://ca.example.org/ca.cer"])
    files: dict[str, Issued] = {
        "root": root,
        "middle": middle,
        "leaf": leaf,
        "enc": issue(middle, domains=[DOMAIN], key_usage=["key_encipherment"]),
        "agree": issue(middle, domains=[DOMAIN], key_usage=["key_agreement"], key="p256"),
        "tls": issue(middle, domains=[DOMAIN], eku=[SERVER_AUTH]),
        "silent": issue(middle, domains=[DOMAIN], key_usage=None),
        "late": issue(middle, domains=[DOMAIN], not_before=days(-9), not_after=days(-1)),
    }
    for name, made in files.items():
        (folder / f"{name}.pem").write_bytes(made.pem)
        (folder / f"{name}.der").write_bytes(made.pem if name == "middle" else made.der)
    (folder / "root.crl").write_bytes(make_crl(root))
    (folder / "good.crl").write_bytes(make_crl(middle))
    (folder / "bad.crl").write_bytes(make_crl(middle, [leaf]))
    (folder / "both.p7b").write_bytes(make_p7b([root, middle]))
    (folder / "garbage").write_bytes(b"garbage")
    return folder


def run(folder: Path, command: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a command run in process; names with a dot are files of the folder."""
    known = {each.name for each in folder.iterdir()}
    given = [str(folder / each) if each in known else each for each in arguments]
    out = StringIO()
    try:
        call_command(command, *given, "--json", stdout=out)
    except SystemExit as stop:
        return int(stop.code or 0), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def check(folder: Path, *arguments: str) -> tuple[int, str | None]:
    exit_code, result = run(folder, "check_path", *arguments)
    assert result["trusted"] is (exit_code == 0)
    return exit_code, result["code"]


PATH = ("--leaf", "leaf.der", "--intermediate", "middle.der", "--anchor", "root.pem")
LISTS = ("--crl", "root.crl", "--crl", "good.crl")


def test_a_trusted_path_tells_its_chain(folder: Path) -> None:
    exit_code, result = run(folder, "check_path", *PATH, *LISTS, "--revocation", "require")
    assert (exit_code, result["trusted"], result["code"]) == (0, True, None)
    assert [each["subject"] for each in result["chain"]] == [f"CN={DOMAIN}", "CN=Files CA", "CN=Files Root"]
    assert result["revocation"] == "good"


def test_refusals_tell_their_code(folder: Path) -> None:
    assert check(folder, *PATH) == (0, None)
    assert check(folder, *PATH, "--revocation", "require") == (1, "revocation_unknown")
    assert check(folder, *PATH, "--crl", "bad.crl") == (1, "revoked")
    assert check(folder, "--leaf", "leaf.der", "--anchor", "root.pem") == (1, "untrusted_chain")
    assert check(folder, *PATH, "--at", "2001-01-01") == (1, "not_yet_valid")
    assert check(folder, *PATH, "--at", "2199-01-01T00:00:00Z") == (1, "expired")
    assert check(folder, "--leaf", "garbage", "--anchor", "root.pem") == (1, "malformed_certificate")
    assert check(folder, "--leaf", "leaf.der", "--anchor", "garbage") == (1, "malformed_certificate")
    assert check(folder, *PATH, "--crl", "garbage") == (0, None)


def test_collections_serve_as_anchors_and_intermediates(folder: Path) -> None:
    assert check(folder, "--leaf", "leaf.pem", "--intermediate", "both.p7b", "--anchor", "root.pem") == (
        0,
        None,
    )
    assert check(folder, "--leaf", "leaf.pem", "--anchor", "both.p7b") == (0, None)


def test_the_address_brings_binding_and_leaf_rules(folder: Path) -> None:
    assert check(folder, *PATH, "--address", ADDRESS) == (0, None)
    assert check(folder, *PATH, "--address", "ann@example.org") == (1, "address_not_covered")
    for leaf, code in [
        ("enc.pem", None),
        ("agree.pem", "wrong_key_usage"),
        ("tls.pem", "wrong_key_usage"),
        ("silent.pem", "no_key_usage"),
        ("late.pem", "expired"),
    ]:
        path = ("--leaf", leaf, "--anchor", "middle.pem")
        assert check(folder, *path, "--address", ADDRESS) == (int(code is not None), code)
        assert check(folder, *path) == (int(leaf == "late.pem"), code if leaf == "late.pem" else None)
    silent = ("--leaf", "silent.pem", "--anchor", "middle.pem", "--address", ADDRESS)
    assert check(folder, *silent, "--legacy", "no_key_usage") == (0, None)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--leaf", "missing.pem", "--anchor", "root.pem"],
        ["--leaf", "leaf.pem", "--anchor", "root.pem", "--at", "yesterday"],
        ["--leaf", "leaf.pem", "--anchor", "root.pem", "--legacy", "anything"],
    ],
)
def test_wrong_use_is_exit_2(folder: Path, wrong: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        run(folder, "check_path", *wrong)
    assert caught.value.returncode == 2


def test_bundles(folder: Path) -> None:
    exit_code, result = run(folder, "read_bundle", "both.p7b")
    assert (exit_code, result["code"], result["signed_by"]) == (0, None, None)
    assert [each["subject"] for each in result["anchors"]] == ["CN=Files Root", "CN=Files CA"]
    assert [each["expired"] for each in result["anchors"]] == [False, False]
    _, later = run(folder, "read_bundle", "both.p7b", "--at", "2199-01-01")
    assert [each["expired"] for each in later["anchors"]] == [True, True]
    assert run(folder, "read_bundle", "garbage")[1]["code"] == "invalid_bundle_format"
    pinned = run(folder, "read_bundle", "both.p7b", "--signer", "leaf.pem")
    assert (pinned[0], pinned[1]["code"], pinned[1]["anchors"]) == (1, "unmatched_signature", [])
    with pytest.raises(CommandError) as caught:
        run(folder, "read_bundle", "both.p7b", "--signer", "garbage")
    assert caught.value.returncode == 2


def test_neither_database_nor_keys_are_needed(folder: Path, tmp_path: Path) -> None:
    """As an operator runs it: a process of its own, with a database that is not there."""
    environment = {
        **os.environ,
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "DATA_DIR": str(tmp_path / "data"),
    }
    manage = Path(__file__).parents[2] / "manage.py"
    command = [sys.executable, str(manage), "check_path", "--json", "--leaf", str(folder / "leaf.der"),
               "--anchor", str(folder / "middle.pem")]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trusted"] is True
    wrong = subprocess.run([sys.executable, str(manage), "check_path"], env=environment, capture_output=True)
    assert wrong.returncode == 2
