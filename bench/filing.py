"""`./run bench filing`: what taking items out of a document and filing them costs, beside parsing its XML.

Prints, on SQLite with everything sealed, processor milliseconds for a document of 200 items: parsing the
XML alone (lxml), reading the items, filing them as new ones, filing them as known ones, taking the import
back, each also as a multiple of the parsing; the number of database statements; then the time of the
overview, of an export and of an undo in a record of 10,000 items.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

ITEMS = 200
LARGE = 10_000


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _start(scratch)
        print(f"a document of {ITEMS} items:")
        _small()
        print(f"a record of {LARGE} items:")
        _large()


def _start(scratch: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ["LOG_LEVEL"] = "ERROR"
    import django

    django.setup()
    import logging

    from django.core.management import call_command
    from django.db import connection

    logging.disable(logging.WARNING)
    connection.settings_dict["NAME"] = f"{scratch}/bench.sqlite3"
    call_command("migrate", verbosity=0)


def _document(name: str, items: int, first: int = 1000) -> bytes:
    from tests.records.charts import chart, problem, problems

    found = (problem(str(first + n), f"Finding {first + n}", identity=f"p{n}") for n in range(items))
    return chart(name, "20230101", problems(*found))


def _small() -> None:
    from lxml import etree

    from records import filing, undo
    from records.clinical import reader
    from records.models import Import
    from tests import factories
    from tests.records.charts import send

    record = factories.record(factories.account(), "Wren Harrowgate")
    data = _document("A", ITEMS)
    parsing = _best(lambda: etree.fromstring(data), 20)
    print(f"  XML alone      {parsing:7.2f} ms  ({len(data) / 1024:.0f} kB)")
    _tell("reading", _best(lambda: reader.read(data), 10), parsing)
    others = str(send(record, _document("B", ITEMS, first=5000)).pk)
    sent = [str(send(record, _document(f"A{n}", ITEMS)).pk) for n in range(3)]
    _tell("filing new", _cpu(lambda: filing.read_document(sent[0])), _counted(others), parsing)
    _tell("filing known", _cpu(lambda: filing.read_document(sent[1])), _counted(sent[2]), parsing)
    last = Import.objects.select_related("record__holder", "document__record__holder").last()
    _tell("undo", _cpu(lambda: undo.undo_import(last, None)), parsing)


def _counted(document: str) -> int:
    """How many database statements the reading and filing of a document takes."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from records import filing

    with CaptureQueriesContext(connection) as queries:
        filing.read_document(document)
    marks = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")
    return sum(not query["sql"].startswith(marks) for query in queries)


def _large() -> None:
    from records import filing, overview, undo
    from records.models import Entry, Import, Record
    from records.record_archive import RecordArchive
    from tests import factories
    from tests.records.charts import send

    made = factories.record(factories.account("large@people.example"), "Wren Harrowgate")
    for number in range(LARGE // 500):
        data = _document(f"L{number}", 500, first=100_000 + 500 * number)
        filing.read_document(str(send(made, data).pk))
    assert Entry.objects.filter(record=made).count() == LARGE

    def record() -> Record:
        return Record.objects.select_related("holder").get(pk=made.pk)

    active = made.entries.filter(state=Entry.State.ACTIVE)
    print(f"  overview       {_best(lambda: overview.groups(record(), active.all()), 3):7.0f} ms")
    print(f"  export         {_cpu(lambda: _drain(RecordArchive(record()))):7.0f} ms")
    last = Import.objects.select_related("record__holder", "document__record__holder").last()
    print(f"  undo of 500    {_cpu(lambda: undo.undo_import(last, None)):7.0f} ms")


def _drain(archive: Any) -> None:
    while archive.read(1 << 20):
        pass


def _tell(name: str, took: float, *rest: float) -> None:
    *statements, parsing = rest
    beside = f", {statements[0]:.0f} statements" if statements else ""
    print(f"  {name:<14} {took:7.2f} ms  {took / parsing:6.1f} x the XML{beside}")


def _best(work: Callable[[], Any], times: int) -> float:
    return min(_cpu(work) for _ in range(times))


def _cpu(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


if __name__ == "__main__":
    main()
