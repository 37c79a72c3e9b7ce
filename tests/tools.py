"""What the machine has to offer to tests, and how a missing tool is treated."""

import os
import shutil
import subprocess

import pytest


def need(command: str) -> str:
    """The path of a command. Missing, the test is skipped; in CI it fails."""
    # Servers lie where ordinary people's PATH does not look.
    path = shutil.which(command, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        missing(f"{command} is not installed")
    return path or ""


def missing(what: str) -> None:
    """Skip the test because of `what`; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and in CI a skipped layer is a failure")
    pytest.skip(what)


def run(*command: str | os.PathLike[str], data: bytes | None = None) -> bytes:
    """Run a command, with `data` on its standard input; its output, or a failure with its words."""
    done = subprocess.run([str(word) for word in command], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout
