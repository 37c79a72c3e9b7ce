"""What a production portal demands of its environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from healthvault.vault.keyring import generate_key

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("url", "starts"),
    [
        ("", False),
        ("file:///var/mail/out", False),
        ("console:", False),
        ("smtp://relay.portal.example", True),
        ("smtps://user:word@relay.portal.example", True),
    ],
)
def test_production_needs_a_relay_that_mails_links_to_people(tmp_path, url, starts):
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATA_DIR": str(tmp_path),
        "HEALTHVAULT_ENVIRONMENT": "production",
        "PUBLIC_URL": "https://portal.example",
        "DIRECT_DOMAINS": "direct.portal.example",
        "SECRET_KEY": "x" * 64,
        "VAULT_KEYS": generate_key(),
        "EMAIL_URL": url,
    }
    done = subprocess.run(
        [sys.executable, "-c", "import healthvault.settings"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) is starts, done.stderr
    assert starts or "EMAIL_URL: must name a relay" in done.stderr
