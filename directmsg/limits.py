"""Limits that hold for parallel requests too: who counts and adds does so alone."""

from __future__ import annotations

from hashlib import sha256

from django.db import connection, transaction

#: Every try of an answer: its limits are counts over all parcels.
ANSWERS = "answers"


def contact(contact_hash: str) -> str:
    """What is counted for one contact address: its open parcels, and the mails that go to it."""
    return f"contact {contact_hash}"


def one_at_a_time(name: str) -> None:
    """Wait until no other transaction counts under `name`, and keep others waiting until this one ends.

    SQLite has one writer, and our transactions take that place at their start (`IMMEDIATE`). PostgreSQL
    has a lock for any number, which ends with the transaction. Lock rows first, names after them: taken
    in that order by all, nobody waits for who waits for them. Raises TransactionManagementError outside
    a transaction.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("a limit is counted inside a transaction")
    if connection.vendor != "postgresql":
        return
    number = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])
