"""Many rows in one statement.

The ORM cuts an insert into pieces of 999 values on SQLite, which the library itself has not asked for
since version 3.32, and spends more on making instances than the database does on keeping them. Filing
a document writes a thousand rows, so the two statements it needs are composed here.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, models

#: SQLite takes 32,766 values a statement, PostgreSQL 65,535.
_MOST_VALUES = 30_000


def insert(model: type[models.Model], names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert `rows`, given as values of the fields `names`; sealed values must be sealed already.

    Fields without a value in `names` must have a default in the database, or allow NULL.
    """
    fields = _fields(model, names)
    columns = ", ".join(_quoted(field.column) for field in fields)
    line = f"({', '.join(['%s'] * len(fields))})"
    most = _MOST_VALUES // len(fields)
    for start in range(0, len(rows), most):
        piece = rows[start : start + most]
        values = [
            field.get_db_prep_save(value, connection)
            for row in piece
            for field, value in zip(fields, row, strict=True)
        ]
        lines = ", ".join([line] * len(piece))
        statement = f"INSERT INTO {_quoted(model._meta.db_table)} ({columns}) VALUES {lines}"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(statement, values)


def update(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Set the fields `names` of many rows, each given as (id, value, …); one prepared statement."""
    fields = _fields(model, names)
    (pk,) = _fields(model, ["id"])
    prepared = [
        [
            *(f.get_db_prep_save(value, connection) for f, value in zip(fields, values, strict=True)),
            pk.get_db_prep_save(key, connection),
        ]
        for key, *values in rows
    ]
    if not prepared:
        return
    changes = ", ".join(f"{_quoted(field.column)} = %s" for field in fields)
    statement = f"UPDATE {_quoted(model._meta.db_table)} SET {changes} WHERE {_quoted(pk.column)} = %s"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.executemany(statement, prepared)


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles while many plain values pile up: they have none, and are gone over each time.

    Opening 10,000 items takes half the time so.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _fields(model: type[models.Model], names: Sequence[str]) -> list[Any]:
    return [model._meta.get_field(name) for name in names]


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
