"""The same thing in several documents: one item, with all its proofs, in its newest state."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from healthvault.store.blobs import open_blob
from records import filing, preferences
from records.models import Document, Entry, EntryKey, EntrySource, Import, Record
from tests import factories
from tests.records.charts import (
    allergies,
    bring,
    chart,
    no_known_allergies,
    only,
    pressure,
    problem,
    problems,
    scanned,
    send,
    shown,
    vitals,
)

pytestmark = pytest.mark.django_db

GOUT, ASTHMA = ("90560007", "Gout"), ("195967001", "Asthma")


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account(), "Wren Harrowgate")


def test_an_equal_item_gains_a_source(record):
    bring(record, chart("A", "20230101", problems(problem(*GOUT))))
    second = bring(record, chart("B", "20240101", problems(problem(*GOUT), problem(*ASTHMA))))
    assert (second.items, second.matched, second.updated) == (1, 1, 0)
    assert sorted(str(c["name"]) for c in shown(record, "problems")) == ["Asthma", "Gout"]
    assert EntrySource.objects.count() == 3


def test_any_shared_code_makes_one_item(record):
    both = problem(*GOUT).replace(
        '<value xsi:type="CD" code="90560007" codeSystem="2.16.840.1.113883.6.96" displayName="Gout"/>',
        '<value xsi:type="CD" code="90560007" codeSystem="2.16.840.1.113883.6.96" displayName="Gout">'
        '<translation code="M10.9" codeSystem="2.16.840.1.113883.6.90"/></value>',
    )
    other = problem("M10.9", "Gout, unspecified").replace("2.16.840.1.113883.6.96", "2.16.840.1.113883.6.90")
    assert "translation" in both
    bring(record, chart("A", "20230101", problems(both)))
    bring(record, chart("B", "20240101", problems(other)))
    bring(record, chart("C", "20240102", problems(problem(*GOUT))))
    assert Entry.objects.count() == 1


def test_id_and_code_update_the_item_and_keep_the_older_state(record):
    bring(record, chart("A", "20230101", problems(problem(*GOUT, start="2019", identity="p1"))))
    newer = chart("B", "20240101", problems(problem(*GOUT, start="20190302", end="20231101", identity="p1")))
    second = bring(record, newer)
    assert (second.items, second.matched, second.updated) == (0, 1, 1)
    entry = only(record, "problems")
    assert (entry.content["start"], entry.content["end"]) == ("2019-03-02", "2023-11-01")
    assert entry.filing_id == second.pk
    said = [source.content["start"] for source in entry.sources.order_by("pk")]
    assert said == ["2019", "2019-03-02"]


def test_the_older_document_does_not_win_because_it_came_later(record):
    newer = bring(record, chart("B", "20240101", problems(problem(*GOUT, end="20231101", identity="p1"))))
    bring(record, chart("A", "20230101", problems(problem(*GOUT, identity="p1"))))
    entry = only(record, "problems")
    assert (entry.content["end"], entry.filing_id) == ("2023-11-01", newer.pk)


def test_an_id_on_another_code_is_another_item(record):
    bring(record, chart("A", "20230101", problems(problem(*GOUT, identity="p1"))))
    bring(record, chart("B", "20240101", problems(problem(*ASTHMA, identity="p1"))))
    assert Entry.objects.count() == 2


def test_one_id_on_every_reading_merges_none(record):
    """Templates' sample ids are copied: two pressures with one id and one code are two pressures."""
    bring(
        record,
        chart("A", "20230101", vitals(pressure("121", "20230101", "x"), pressure("135", "20230102", "x"))),
    )
    bring(record, chart("B", "20240101", vitals(pressure("128", "20240101", "x"))))
    assert sorted(str(content["value"]) for content in shown(record, "vital_signs")) == ["121", "128", "135"]


def test_a_corrected_reading_updates_the_item(record):
    bring(record, chart("A", "20230101", vitals(pressure("121", "202301010800", "r1"))))
    bring(record, chart("B", "20230102", vitals(pressure("112", "202301010800", "r1"))))
    assert [content["value"] for content in shown(record, "vital_signs")] == ["112"]


def test_an_id_that_stands_on_two_items_of_a_document_tells_nothing(record):
    bring(
        record,
        chart(
            "A",
            "20230101",
            problems(problem(*GOUT, start="2001", identity="p"), problem(*ASTHMA, identity="p")),
        ),
    )
    bring(record, chart("B", "20240101", problems(problem(*GOUT, start="2015", identity="p"))))
    assert sorted(str(c["start"]) for c in shown(record, "problems") if c["name"] == "Gout") == [
        "2001",
        "2015",
    ]


def test_two_of_one_document_are_one_with_both_places(record):
    one = bring(record, chart("A", "20230101", problems(problem(*GOUT), problem(*GOUT))))
    assert one.items == 1
    (source,) = EntrySource.objects.select_related("filing__record__holder")
    assert len(source.place["also"]) == 1
    assert source.place["also"][0]["path"] != source.place["path"]


def test_one_none_known_a_kind(record):
    bring(record, chart("A", "20230101", no_known_allergies()))
    bring(record, chart("B", "20240101", no_known_allergies()))
    assert only(record, "allergies").content["none_known"] is True
    assert EntrySource.objects.count() == 2


def test_a_rejected_item_stays_rejected_when_it_comes_again(record):
    bring(record, chart("A", "20230101", allergies(("7980", "Penicillin"))))
    Entry.objects.update(decision="rejected", state="rejected")
    again = bring(record, chart("B", "20240101", allergies(("7980", "Penicillin"))))
    assert (again.items, again.matched) == (0, 1)
    assert Entry.objects.get().state == "rejected"


def test_the_same_bytes_again_add_sources_only(record):
    data = chart("A", "20230101", problems(problem(*GOUT, identity="p")), vitals(pressure("121", "20230101")))
    bring(record, data)
    again = bring(record, data)
    assert (again.items, again.matched, again.updated) == (0, 2, 0)
    first, second = Document.objects.order_by("pk")
    assert first.digest == second.digest
    assert first.superseded_by is None


@pytest.mark.parametrize(
    ("newer", "superseded"),
    [
        ({"name": "A", "of": "S", "version": 1}, True),
        ({"name": "B", "of": "S", "version": 2}, True),
        ({"name": "B", "of": "T", "version": 2}, False),
        ({"name": "B", "replaces": "A"}, True),
        ({"name": "B"}, False),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_what_supersedes_a_document(record, newer, superseded, swapped):
    newer = dict(newer)
    # Of two with one id and version, the one that came later counts.
    swapped = swapped and newer["name"] != "A"
    files = [
        chart("A", "20230101", problems(problem(*GOUT)), of="S", version=1),
        chart(newer.pop("name"), "20240101", problems(problem(*ASTHMA)), **newer),
    ]
    imports = [bring(record, data) for data in (reversed(files) if swapped else files)]
    old, new = reversed(imports) if swapped else imports
    old.document.refresh_from_db()
    assert old.document.superseded_by_id == (new.document_id if superseded else None)
    assert Entry.objects.filter(state="active").count() == 2


def test_a_body_that_is_no_xml_becomes_a_file_once(record):
    pdf = b"%PDF-1.7 a scanned letter"
    first = bring(record, scanned("A", "20230101", pdf))
    entry = Entry.objects.select_related("blob__holder", "record__holder").get()
    assert (entry.kind, entry.content["content_type"], entry.filing_id) == (
        "file",
        "application/pdf",
        first.pk,
    )
    assert entry.content["name"] == "Summary of care.pdf"
    assert open_blob(entry.blob) == pdf
    again = bring(record, scanned("B", "20240101", pdf))
    assert (again.items, again.matched) == (0, 1)


def test_a_sender_may_be_treated_otherwise(record):
    preferences.set_sender_preference(record, "clinic.example", "review")
    preferences.set_sender_preference(record, "Lab@Clinic.example", "never")
    data = chart("A", "20230101", problems(problem(*GOUT)))
    assert bring(record, data, "records@clinic.example").state == "proposed"
    never = send(record, data, "lab@clinic.example")
    filing.read_document(str(never.pk))
    assert not Import.objects.filter(document=never).exists()
    preferences.set_sender_preference(record, "clinic.example", None)
    assert bring(record, data, "records@clinic.example").state == "applied"
    with pytest.raises(preferences.BadSender):
        preferences.set_sender_preference(record, "not a sender", "never")


def statements(queries: CaptureQueriesContext) -> list[str]:
    """What the database was asked, without the marks of transactions."""
    marks = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")
    return [q["sql"] for q in queries if not q["sql"].startswith(marks)]


def many(name: str, date: str, number: int, first: int = 1000) -> bytes:
    found = (problem(str(n), f"Finding {n}", identity=f"p{n}") for n in range(first, first + number))
    return chart(name, date, problems(*found))


def test_filing_many_items_takes_few_statements(record):
    bring(record, many("warm", "2020", 1, first=1))
    document = send(record, many("A", "20230101", 200))
    with CaptureQueriesContext(connection) as queries:
        filing.read_document(str(document.pk))
    found = statements(queries)
    # PostgreSQL takes one more, to lock the record.
    assert len(found) < 15 + connection.features.has_select_for_update, [sql[:90] for sql in found]
    assert Entry.objects.count() == 201
    assert EntryKey.objects.count() == 402


def test_matching_many_items_takes_few_statements(record):
    bring(record, many("A", "20230101", 200))
    document = send(record, many("B", "20240101", 200))
    with CaptureQueriesContext(connection) as queries:
        filing.read_document(str(document.pk))
    found = statements(queries)
    assert len(found) < 20, [sql[:90] for sql in found]
    assert Entry.objects.count() == 200
