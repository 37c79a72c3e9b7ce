"""The portal's own settings over a throw-away data directory, as every test runs them.

`TEST_DATABASE_URL` points the suite at PostgreSQL; without it the database is a SQLite file.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_scratch = Path(tempfile.mkdtemp(prefix="healthvault-test-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)
for _name in ("PUBLIC_URL", "HEALTHVAULT_ENVIRONMENT", "CELERY_BROKER_URL", "VAULT_KEYS", "IDENTITY_KEYS"):
    os.environ.pop(_name, None)
os.environ["DATA_DIR"] = str(_scratch)
os.environ["DIRECT_DOMAINS"] = "direct.portal.example"
os.environ["EMAIL_URL"] = f"file://{_scratch / 'mail'}"
if os.environ.get("TEST_DATABASE_URL"):
    os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]
else:
    os.environ.pop("DATABASE_URL", None)

from healthvault.settings import *  # noqa: E402, F403
from healthvault.settings import DATABASES  # noqa: E402

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, not memory: tests open it from several threads and processes, as the portal does.
    DATABASES["default"]["TEST"] = {"NAME": str(_scratch / "test.sqlite3")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# WhiteNoise warns of a directory that is not there, and warnings are errors.
STATIC_ROOT = _scratch / "static"
STATIC_ROOT.mkdir()
if DATABASES["default"]["ENGINE"].endswith("postgresql"):
    # A throw-away database need not outlive the machine.
    DATABASES["default"].setdefault("OPTIONS", {})["options"] = "-c synchronous_commit=off"
