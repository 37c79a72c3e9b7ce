"""`parse_mail` on files."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.mail_peers import MIXED, lines, nested


def run_parse_mail(path: Path, *arguments: str) -> str:
    out = io.StringIO()
    call_command("parse_mail", str(path), *arguments, stdout=out)
    return out.getvalue()


def test_parse_mail_prints_the_tree(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(b"Received: one\r\nReceived: two\r\n" + MIXED)
    found = json.loads(run_parse_mail(path, "--json"))
    assert found["headers"]["subject"] == "Two parts"
    assert found["headers"]["received"] == ["one", "two"]
    (root,) = found["parts"]
    assert [child["path"] for child in root["children"]] == ["1.1", "1.2"]
    assert root["children"][1] == {
        "path": "1.2",
        "content_type": "application/pdf",
        "filename": "report.pdf",
        "size": 12,
        "sha256": hashlib.sha256(b"%PDF-made-up").hexdigest(),
        "children": [],
    }
    assert found["defects"] == []
    assert "1.2 application/pdf 12 report.pdf" in run_parse_mail(path)


def test_parse_mail_numbers_equal_names(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    part = ["--b", "Content-Disposition: attachment; filename=scan.pdf", "", "x"]
    path.write_bytes(lines("Content-Type: multipart/mixed; boundary=b", "", *part, *part, "--b--"))
    (root,) = json.loads(run_parse_mail(path, "--json"))["parts"]
    assert [child["filename"] for child in root["children"]] == ["scan.pdf", "scan (2).pdf"]


def test_parse_mail_refuses_bombs_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(nested(2_000))
    with pytest.raises(CommandError) as caught:
        run_parse_mail(path, "--json")
    assert (caught.value.returncode, "too_large" in str(caught.value)) == (1, True)
    with pytest.raises(CommandError) as caught:
        run_parse_mail(tmp_path / "none.eml")
    assert caught.value.returncode == 2
