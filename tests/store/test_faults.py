"""Points at which a test kills a process: by count, and once for a whole pool."""

import signal
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from healthvault.store import faults

PASSES = """
import sys
from django.conf import settings
settings.configure(FAULT_AT=sys.argv[1])
from healthvault.store.faults import fault
for _ in range(3):
    fault("job.leased")
    fault("out.accepted")
    print("alive", flush=True)
"""


def run(setting):
    done = subprocess.run(
        [sys.executable, "-c", PASSES, setting], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.count("alive")


def test_a_process_dies_at_the_pass_that_is_asked_for():
    assert run("out.accepted") == (-signal.SIGKILL, 0)
    assert run("out.accepted:3") == (-signal.SIGKILL, 2)
    assert run("mail.filed") == (0, 3)


def test_with_a_file_one_process_dies_and_none_after_it(tmp_path):
    once = tmp_path / "once"
    once.touch()
    assert run(f"out.accepted:2@{once}") == (-signal.SIGKILL, 1)
    assert not once.exists()
    assert run(f"out.accepted:2@{once}") == (0, 3)


@pytest.mark.parametrize("text", ["", "nowhere", "out.accepted:x", "nowhere:1@file"])
def test_a_setting_that_means_nothing_is_refused(text):
    with pytest.raises(ImproperlyConfigured, match="FAULT_AT"):
        faults.parse(text)
