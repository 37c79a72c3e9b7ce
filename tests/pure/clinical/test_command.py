"""parse_document: what it prints and how it exits, without settings, database or keys."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pure.clinical.documents import document, everything

ROOT = Path(__file__).resolve().parents[3]
# The command alone, under settings that have neither a database nor a key.
RUN = """
import sys
from django.conf import settings
settings.configure(DATABASES={}, INSTALLED_APPS=[])
from records.management.commands.parse_document import Command
Command().run_from_argv(["manage.py", "parse_document", *sys.argv[1:]])
"""


def run(*arguments: str) -> tuple[int, Any, str]:
    """Exit code, JSON on standard output, messages on standard error."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "summary.xml"
    path.write_bytes(everything())
    return path


def test_summary(file: Path) -> None:
    code, found, messages = run(str(file), "--json")
    assert code == 0
    assert messages == "summary.xml: 1 entries not understood\n"
    assert (found["kind"], found["item_type"], found["title"]) == ("ccda", "CCD", "Summary of care")
    assert found["date"] == "2024-05-16T09:30:00-07:00"
    assert found["patient"] == {
        "name": "Wren Isolde Harrowgate",
        "birth_date": "1971-04-09",
        "gender": "female",
        "ids": [{"root": "2.16.840.1.113883.19.77", "extension": "OAK-441"}],
    }
    assert found["sections"]["allergies"] == {"items": 1, "none_known": 1, "negated": 1, "not_understood": 0}
    assert found["sections"]["problems"]["not_understood"] == 1
    assert len(found["document_sections"]) == 33


def test_items(file: Path) -> None:
    code, found, _ = run(str(file), "--format", "items")
    assert code == 0
    assert set(found[0]) == {
        "kind",
        "codes",
        "name",
        "start",
        "end",
        "value",
        "unit",
        "status",
        "negated",
        "none_known",
        "understood",
        "section",
        "path",
    }
    pressure = next(item for item in found if item["kind"] == "vital_signs")
    assert pressure | {"path": ""} == {
        "kind": "vital_signs",
        "codes": [{"system": "http://loinc.org", "code": "8480-6", "display": ""}],
        "name": "Systolic blood pressure",
        "start": "2024-01-02",
        "end": None,
        "value": "121",
        "unit": "mm[Hg]",
        "status": "completed",
        "negated": False,
        "none_known": False,
        "understood": True,
        "section": "8716-3",
        "path": "",
    }


def test_fhir(file: Path) -> None:
    code, found, _ = run(str(file), "--format", "fhir")
    assert (code, found["resourceType"], found["type"]) == (0, "Bundle", "collection")


def test_content_type_decides_the_item_type(file: Path) -> None:
    assert run(str(file), "--content-type", "application/cda+xml")[1]["item_type"] == "CDA"
    assert run(str(file), "--content-type", "application/ccr+xml")[1]["item_type"] == "CCD"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<html/>", "not_clinical"),
        (b"", "empty"),
        (document()[:-3], "not_well_formed"),
        (b"<!DOCTYPE x><x/>", "has_doctype"),
        (b"%PDF-1.7", "not_xml"),
    ],
)
def test_no_clinical_document(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.xml"
    path.write_bytes(data)
    code, found, messages = run(str(path))
    assert code == 1
    assert (found["kind"], found["code"]) == (None, reason)
    assert found["detail"]
    assert messages


def test_wrong_use(tmp_path: Path, file: Path) -> None:
    assert run(str(tmp_path / "missing.xml"))[0] == 2
    assert run(str(tmp_path))[0] == 2
    assert run()[0] == 2
    assert run(str(file), "--format", "pdf")[0] == 2


def test_the_package_needs_no_django() -> None:
    program = (
        "import sys, records.clinical.reader, records.clinical.fhir, records.clinical.narrative, "
        "records.clinical.archive, records.clinical.identity\n"
        "assert not {'django', 'celery', 'fhir'} & {name.partition('.')[0] for name in sys.modules}"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
