"""What holds for the project as a whole: pure packages, pins, containers, words."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
PURE = (
    "healthvault.vault.keyring",
    "healthvault.vault.answers",
    "trust.pki.path",
    "trust.pki.bundle",
    "directmsg.newuser",
    "directmsg.agent.incoming",
    "directmsg.agent.outgoing",
    "records.clinical.reader",
    "records.clinical.fhir",
    "records.clinical.narrative",
)


def tracked() -> list[Path]:
    """The files of the project."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


@pytest.mark.parametrize("module", PURE)
def test_pure_packages_need_no_django(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "loaded = {name.partition('.')[0] for name in sys.modules}; "
        "bad = {'django', 'celery', 'rest_framework', 'allauth'} & loaded; "
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_package_files_stay_empty() -> None:
    full = [
        path
        for path in tracked()
        if path.name == "__init__.py" and path.exists() and path.read_text().strip()
    ]
    assert full == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_has_hashes_and_no_file_names_an_index(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(pins) > 30
    for pin in pins:
        assert re.match(r"[\w.-]+==\S+", pin), pin.splitlines()[0]
        assert "--hash=sha256:" in pin, pin.splitlines()[0]
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links)|https?://", text, re.MULTILINE)


def test_the_containers_run_the_commands_that_exist() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) >= {"web", "gateway", "worker", "beat", "postgres", "redis"}
    commands = {name: str(service.get("command", "")) for name, service in services.items()}
    assert commands["gateway"] == "python manage.py gateway"
    assert commands["worker"].startswith("celery -A healthvault worker")
    assert commands["beat"] == "celery -A healthvault beat"
    holders = [name for name, service in services.items() if "identity_keys" in service.get("secrets", [])]
    assert holders == ["worker"]


def test_the_image_installs_only_what_is_pinned() -> None:
    steps = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.txt" in steps
    assert re.search(r"^USER (?!root)", steps, re.MULTILINE)
    assert 'CMD ["gunicorn", "healthvault.wsgi"' in steps


def test_markers_of_unfinished_work_are_absent() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError|task_always_eager")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.suffix == ".py" and path.exists() and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []
