"""Keeping the storage tidy."""

from celery import shared_task
from django.db import connection

from healthvault.store import blobs

CHECKPOINT_WAIT_MS = 2000


@shared_task
def sweep_blobs() -> None:
    blobs.sweep_orphans()


@shared_task
def empty_write_ahead_log() -> None:
    """Move SQLite's write-ahead log into the database and cut it to nothing.

    Otherwise it goes on holding pages as they were before a key was deleted, until new ones happen to be
    written over them. With readers in the way it is left for the next time.
    """
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        (patience,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        # Writers wait for as long as this waits for readers.
        cursor.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {int(patience)}")
