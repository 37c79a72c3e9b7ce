"""What another process does between two statements of ours, at a moment that the test chooses."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection


@contextmanager
def another_process(act: Callable[[], Any], after: int, table: str) -> Iterator[None]:
    """Call `act` once, when `after` of the block's statements that name `table` are done."""
    done = 0

    def pass_on(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal done
        result = execute(sql, params, many, context)
        if table in sql:
            done += 1
            if done == after:
                act()
        return result

    with connection.execute_wrapper(pass_on):
        yield
    assert done >= after, f"there were {done} statements about {table}"


def tries(act: Callable[[], Any]) -> bool:
    """Whether `act` gets its way on a connection of its own, without waiting for a lock of ours."""

    def work() -> bool:
        try:
            with connection.cursor() as cursor:
                impatient = "SET lock_timeout = 1" if connection.vendor == "postgresql" else None
                cursor.execute(impatient or "PRAGMA busy_timeout = 0")
            act()
        except OperationalError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
