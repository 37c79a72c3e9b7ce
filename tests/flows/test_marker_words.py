"""What a thief of disk, database, mails and logs gets of the words people wrote: nothing.

The same story runs twice in processes of their own: once as it is, and once with sealing switched off,
where the same search has to find every word. A search that finds nothing proves nothing by itself.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows import marker_words as words
from tests.flows.stack import ROOT
from tests.markers import Value, files_under, postgres_values, sqlite_values, where

pytestmark = [pytest.mark.flow]
SERVER = os.environ.get("TEST_DATABASE_URL", "")


@dataclass(frozen=True)
class Left:
    """What a run of the story left behind."""

    directory: Path
    database: str

    def rows(self) -> Iterator[Value]:
        """Every column value, by the driver."""
        if self.database:
            return postgres_values(self.database)
        return sqlite_values(self.directory / "data" / "healthvault.sqlite3")

    def files(self) -> Iterator[Value]:
        """Every file: database, write-ahead log, blobs, mails, logs, what machines were told."""
        for name, data in files_under(self.directory):
            yield name, without_recipient(data) if name.endswith(".eml") else data


def without_recipient(mail: bytes) -> bytes:
    """A mail without its To line: the one place where the contact address has to stand."""
    head, _, body = mail.partition(b"\n\n")
    return re.sub(rb"(?im)^To: .*\n", b"", head) + b"\n\n" + body


def run_story(directory: Path, *options: str) -> Left:
    database = make_database() if SERVER else ""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    for name in ("VAULT_KEYS", "IDENTITY_KEYS", "CELERY_BROKER_URL", "PUBLIC_URL", "DATABASE_URL"):
        environment.pop(name, None)
    environment |= {
        "DJANGO_SETTINGS_MODULE": "healthvault.settings",
        "HEALTHVAULT_ENVIRONMENT": "demo",
        "DATA_DIR": str(directory / "data"),
        "EMAIL_URL": f"file://{directory / 'data' / 'mail'}",
        "DIRECT_DOMAINS": "direct.portal.example",
        "ALLOWED_HOSTS": "testserver",
        "LOG_LEVEL": "DEBUG",
        **({"DATABASE_URL": database} if database else {}),
    }
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "log.txt").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "tests.flows.marker_story", str(directory), *options],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            timeout=120,
        )
    assert done.returncode == 0, (directory / "log.txt").read_text()[-4000:]
    return Left(directory, database)


def make_database() -> str:
    import psycopg

    name = f"hv_markers_{os.getpid()}_{secrets.token_hex(4)}"
    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{SERVER.rpartition('/')[0]}/{name}"


def drop_database(url: str) -> None:
    import psycopg

    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')


@pytest.fixture(scope="module")
def left(tmp_path_factory) -> Iterator[Left]:
    """What the portal leaves behind as it is."""
    done = run_story(tmp_path_factory.mktemp("sealed"))
    yield done
    if done.database:
        drop_database(done.database)


@pytest.fixture(scope="module")
def left_in_clear(tmp_path_factory) -> Iterator[Left]:
    """What it leaves behind with sealing switched off."""
    done = run_story(tmp_path_factory.mktemp("clear"), "--clear")
    yield done
    if done.database:
        drop_database(done.database)


def test_with_sealing_switched_off_the_search_finds_every_word(left_in_clear):
    rows = where(words.SEALED, left_in_clear.rows())
    files = where(words.SEALED, left_in_clear.files())
    assert [word for word in words.SEALED if not rows[word] and word != words.LARGE_FILE] == []
    assert any(place.startswith("data/blobs/") for place in files[words.LARGE_FILE])
    if not left_in_clear.database:
        assert [word for word in words.SEALED if not files[word]] == []


def test_the_search_sees_what_is_meant_to_be_in_clear(left):
    rows = where([words.SIGN_IN_EMAIL], left.rows())[words.SIGN_IN_EMAIL]
    assert rows == {"records_account.email", "account_emailaddress.email"}
    mails = [data for name, data in files_under(left.directory) if name.endswith(".eml")]
    assert len(mails) >= 3
    assert any(words.CONTACT_EMAIL.encode() in mail for mail in mails)


def test_no_word_stands_in_any_column(left):
    found = where((*words.SEALED, *words.NEVER_KEPT), left.rows())
    assert {word: places for word, places in found.items() if places} == {}


def test_no_word_stands_in_any_file_mail_or_log(left):
    names = [name for name, _ in files_under(left.directory)]
    assert any(name.startswith("data/blobs/") for name in names)
    assert {"log.txt", "told.txt"} <= set(names)
    assert (left.directory / "log.txt").stat().st_size > 1000
    found = where((*words.SEALED, *words.NEVER_KEPT), left.files())
    assert {word: places for word, places in found.items() if places} == {}


def test_what_is_never_kept_is_not_kept_in_clear_either(left_in_clear):
    found = where(words.NEVER_KEPT, [*left_in_clear.rows(), *left_in_clear.files()])
    assert {word: places for word, places in found.items() if places} == {}
