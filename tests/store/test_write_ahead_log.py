"""What was deleted from SQLite is gone from its files, the write-ahead log too."""

from pathlib import Path

import pytest
from django.db import connection

from healthvault.celery import app
from healthvault.store.models import HolderKey
from healthvault.store.tasks import empty_write_ahead_log

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's files"),
]


def holds(key: bytes) -> list[str]:
    """The files of the database in which `key` still stands."""
    name = Path(connection.settings_dict["NAME"])
    files = [name, name.with_name(f"{name.name}-wal")]
    return [file.name[len(name.name) :] for file in files if file.exists() and key in file.read_bytes()]


def test_a_deleted_key_is_gone_from_the_files_after_the_hourly_task():
    holder = HolderKey.create("mail")
    kept = HolderKey.create("mail")
    key = bytes(holder.wrapped)
    empty_write_ahead_log()
    assert holds(key) == [""]
    holder.delete()
    assert "-wal" in holds(bytes(key)) or holds(key) == [""]
    empty_write_ahead_log()
    assert holds(key) == []
    assert holds(bytes(kept.wrapped)) == [""]


def test_every_connection_erases_what_it_deletes():
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_the_patience_of_the_connection_is_as_before():
    empty_write_ahead_log()
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (20_000,)


def test_the_embedded_beat_does_it_every_hour():
    entries = app.conf.beat_schedule.values()
    assert {"task": "healthvault.store.tasks.empty_write_ahead_log", "schedule": 3600} in entries
    assert "healthvault.store.tasks.empty_write_ahead_log" in app.tasks
