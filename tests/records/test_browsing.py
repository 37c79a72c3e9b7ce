"""A record by kind, by value, by time, and by words: the pages, and who sees what on them."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from django.test import Client

from healthvault.audit.models import AuditEvent
from records import search
from records.facts import Fact
from records.kinds import is_past, item_type
from records.models import Account, Document, Entry, Grant, Record, Right
from tests import factories
from tests.pure.clinical import documents as cda
from tests.records import charts

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Account:
    return factories.account()


@pytest.fixture
def record(account) -> Record:
    return factories.record(account, "Wren Harrowgate")


@pytest.fixture
def client(account) -> Client:
    return _browser(account)


def _browser(account: Account) -> Client:
    client = Client()
    client.force_login(account)
    return client


def viewer(record: Record, *kinds: str) -> Client:
    """A person who may look at some kinds of items only, or at all without any named."""
    other = factories.account("hedda@patient.example", "Hedda Larch")
    Grant.objects.create(account=other, record=record, right=Right.VIEW, kinds=list(kinds) or None)
    return _browser(other)


def words(answer: Any) -> str:
    page = answer.content.decode().split("<main", 1)[1].split("</main", 1)[0]
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def titles(answer: Any) -> list[str]:
    """The names of the rows of a list."""
    return re.findall(r'class="list-title">([^<]+)<', answer.content.decode())


LAB = cda.section(
    "30954-2",
    cda.panel(
        cda.observation(
            cda.code("2345-7", "Glucose", cda.LOINC), '<value xsi:type="PQ" value="97" unit="mg/dL"/>'
        ),
        cda.observation(
            cda.code("5802-4", "Nitrite", cda.LOINC), '<value xsi:type="ST">not detected</value>'
        ),
    ),
    title="Results",
)


# --- kinds --------------------------------------------------------------------------------------------------


def test_a_kind_is_listed_by_date_or_name_current_or_past(client, record):
    charts.bring(
        record,
        charts.chart(
            "A",
            "20240101",
            charts.problems(
                charts.problem("1", "Migraine", start="2019"),
                charts.problem("2", "Asthma", start="20210304"),
                charts.problem("3", "Broken wrist", start="20220101", end="20220301", status="completed"),
            ),
        ),
    )
    path = f"/records/{record.pk}/kinds/problems/"
    answer = client.get(path)
    assert titles(answer) == ["Broken wrist", "Asthma", "Migraine"]
    assert "2019" in words(answer)
    assert "1 January 2019" not in words(answer)
    assert words(answer).count("Past ") - 1 == 1, "one badge beside the name of the list"
    assert titles(client.get(path, {"sort": "name"})) == ["Asthma", "Broken wrist", "Migraine"]
    assert titles(client.get(path, {"show": "current"})) == ["Asthma", "Migraine"]
    assert titles(client.get(path, {"show": "past"})) == ["Broken wrist"]
    assert client.get(f"/records/{record.pk}/kinds/horoscopes/").status_code == 404


def test_an_item_of_several_documents_says_so(client, record):
    for name, day in (("A", "20240101"), ("B", "20240201")):
        charts.bring(record, charts.chart(name, day, charts.problems(charts.problem("1", "Asthma"))))
    path = f"/records/{record.pk}/kinds/problems/"
    assert "in 2 documents" in words(client.get(path))
    assert "documents" not in words(viewer(record, "problems").get(path))


def test_long_lists_have_pages(client, record):
    found = (charts.problem(str(n), f"Finding {n:03}") for n in range(120))
    charts.bring(record, charts.chart("A", "20240101", charts.problems(*found)))
    path = f"/records/{record.pk}/kinds/problems/?sort=name"
    assert titles(client.get(path))[0] == "Finding 000"
    assert titles(client.get(f"{path}&page=3"))[-1] == "Finding 119"
    assert "Page 3 of 3" in words(client.get(f"{path}&page=99"))
    overview = client.get(f"/records/{record.pk}/")
    assert len(titles(overview)) < 10
    assert "All 120" in words(overview)


def test_none_known_is_one_statement_until_there_is_one(client, record):
    charts.bring(record, charts.chart("A", "20240101", charts.no_known_allergies()))
    charts.bring(record, charts.chart("B", "20240201", charts.no_known_allergies()))
    path = f"/records/{record.pk}/kinds/allergies/"
    assert len(titles(client.get(path))) == 1
    charts.bring(record, charts.chart("C", "20240301", charts.allergies(("7980", "Penicillin"))))
    assert titles(client.get(path)) == ["Penicillin"]


@pytest.mark.parametrize(
    ("kind", "status", "end", "past"),
    [
        ("medications", "completed", "", False),
        ("medications", "stopped", "", True),
        ("medications", "active", "2024-05", True),
        ("medications", "active", "2026", False),
        ("medications", "active", "2026-11-25", False),
        ("problems", "resolved", "", True),
        ("problems", "", "2020", True),
        ("allergies", "active", "2020", False),
        ("procedures", "stopped", "2020", False),
    ],
)
def test_past_is_what_its_word_or_its_end_says(kind, status, end, past):
    assert is_past(kind, status, end, "2026-11-25") is past


def test_items_have_the_types_of_healthvault():
    assert item_type("allergies").id == "52bf9104-2c5e-4f1f-a66d-552ebcc53df7"
    weight = {"codes": [{"system": "http://loinc.org", "code": "29463-7"}]}
    assert item_type("vital_signs", weight).name == "Weight"
    assert item_type("vital_signs", {}).name == "Vital signs"
    assert item_type("notes") is None


# --- measured values ----------------------------------------------------------------------------------------


def test_results_stand_in_their_panels_and_lead_to_their_course(client, record):
    charts.bring(record, charts.chart("A", "20240101", LAB))
    page = words(client.get(f"/records/{record.pk}/kinds/results/"))
    assert "97 mg/dL" in page
    assert "not detected" in page
    for name, said in (("Glucose", "One value"), ("Nitrite", "Not in the chart: in words, not a number")):
        entry = next(e for e in Entry.objects.select_related("record__holder") if e.content["name"] == name)
        page = client.get(f"/records/{record.pk}/trends/{entry.pk}/").content.decode()
        assert said in page
        assert ('class="chart"' in page) == (name == "Glucose")


def test_a_course_has_every_source_and_its_table(client, record):
    for name, value, day in (("A", "128", "20240101"), ("B", "131", "20240601")):
        charts.bring(record, charts.chart(name, day, charts.vitals(charts.pressure(value, day))))
    entry = Entry.objects.first()
    page = words(client.get(f"/records/{record.pk}/trends/{entry.pk}/"))
    assert "2 values, 1 January 2024 to 1 June 2024" in page
    assert page.index("131 mmHg", page.index("The values")) < page.index("128 mmHg", page.index("The values"))


def test_a_course_is_there_only_for_who_sees_the_kind(record):
    charts.bring(record, charts.chart("A", "20240101", LAB))
    entry = Entry.objects.first()
    some = viewer(record, "problems")
    assert some.get(f"/records/{record.pk}/trends/{entry.pk}/").status_code == 404
    assert "97" not in words(some.get(f"/records/{record.pk}/kinds/results/"))
    stranger = _browser(factories.account("odd@patient.example", "Odd"))
    assert stranger.get(f"/records/{record.pk}/trends/{entry.pk}/").status_code == 404


def test_what_is_no_measured_value_has_no_course(client, record):
    charts.bring(record, charts.chart("A", "20240101", charts.problems(charts.problem("1", "Asthma"))))
    assert client.get(f"/records/{record.pk}/trends/{Entry.objects.get().pk}/").status_code == 404


# --- time ---------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(record) -> Record:
    charts.bring(
        record,
        charts.chart(
            "A",
            "20240101",
            charts.problems(
                charts.problem("1", "Asthma", start="2019"), charts.problem("2", "Gout", start="")
            ),
            charts.allergies(("7980", "Penicillin")),
            LAB,
        ),
    )
    return record


def test_the_timeline_has_everything_by_date_and_what_has_none_apart(client, filled):
    path = f"/records/{filled.pk}/timeline/"
    page = words(client.get(path))
    assert "2019" in page
    assert "Asthma" in page
    assert "not detected" in page
    assert "Gout" not in page
    assert "Without a date" in page
    undated = words(client.get(path, {"dates": "none"}))
    assert "Gout" in undated
    assert "Asthma" not in undated


def test_the_timeline_is_filtered_by_kind_and_source(client, filled):
    Document.objects.get().attachment.message.__class__.objects.update(organization_name="Larkspur Oncology")
    path = f"/records/{filled.pk}/timeline/"
    page = words(client.get(path, {"kind": "problems"}))
    assert "Asthma" in page
    assert "Glucose" not in page
    handle = re.search(r'<option value="([0-9a-f]{12})">Larkspur Oncology', client.get(path).content.decode())
    assert handle is not None, "the address does not name the source"
    assert "Glucose" in words(client.get(path, {"source": handle[1]}))
    assert "Everybody" in words(client.get(path, {"source": "nobody", "kind": "nothing"}))


def test_the_timeline_and_the_documents_show_what_the_grant_covers(filled):
    some = viewer(filled, "problems")
    page = words(some.get(f"/records/{filled.pk}/timeline/"))
    assert "Asthma" in page
    assert "Glucose" not in page
    assert "Document" not in re.findall(
        r"<option[^>]*>([^<]+)", some.get(f"/records/{filled.pk}/timeline/").content.decode()
    )
    assert "There is no document here" in words(some.get(f"/records/{filled.pk}/documents/"))


# --- words --------------------------------------------------------------------------------------------------


def look_for(client: Client, record: Record, text: str, **more: str) -> Any:
    return client.post(f"/records/{record.pk}/search/", {"words": text, **more})


def test_items_are_found_by_name_code_value_and_in_any_case(client, filled):
    for text in ("asthma", "ASTH", "2345-7", "not DETECTED", "penicillin"):
        assert "1 item " in words(look_for(client, filled, text)), text
    for text in ("resourceType", "thma", "asthma penicillin"):
        assert "No item" in words(look_for(client, filled, text)), text


def test_accents_do_not_matter(client, record):
    charts.bring(
        record, charts.chart("A", "20240101", charts.problems(charts.problem("1", "Ménière disease")))
    )
    for text in ("meniere", "Ménière", "MENIERE"):
        assert "Ménière disease" in words(look_for(client, record, text))


def test_the_text_of_documents_is_searched_and_leads_to_its_section(client, record):
    text = "The patient keeps bees and was stung <content styleCode='Bold'>twice</content> in June."
    section = cda.section("10164-2", title="History", text=text)
    charts.bring(record, charts.chart("A", "20240101", section))
    answer = look_for(client, record, "STUNG bees")
    assert "keeps bees and was <mark>stung</mark> twice in June" in answer.content.decode()
    link = re.search(
        r'href="(/records/[^"]+/documents/[^"#]+/)#(d[0-9a-f]{8}-s\d+)"', answer.content.decode()
    )
    assert link is not None
    assert f'id="{link[2]}"' in client.get(link[1]).content.decode()
    some = viewer(record, "problems")
    assert "bees and was" not in words(look_for(some, record, "stung"))


def test_what_is_looked_for_goes_nowhere(client, filled, caplog):
    caplog.set_level(logging.DEBUG)
    look_for(client, filled, "quittenbrot")
    event = AuditEvent.objects.get(action="record.searched")
    assert "quittenbrot" not in str(vars(event)).lower()
    assert "quittenbrot" not in caplog.text.lower()
    page = client.get(f"/records/{filled.pk}/search/", {"words": "asthma"})
    assert "1 item" not in words(page), "words in an address are not taken"


def test_a_word_after_a_line_break_or_a_quotation_mark_is_found():
    note = 'first line\nsecond "quoted" \\slash'
    content = {"name": "Asthma", "resource": {"note": [{"text": note}]}}
    fact = Fact("1", "problems", content, "Larkspur")
    for word in ("second", "quoted", "slash", "larkspur"):
        assert search.items([fact], [word]) == [fact], word
    assert search.items([fact], ["nsecond"]) == []


def test_pages_of_what_was_found_stay_out_of_the_address(client, record):
    found = (charts.problem(str(n), f"Finding {n:03}", start=f"20{n // 10 + 10}") for n in range(60))
    charts.bring(record, charts.chart("A", "20240101", charts.problems(*found)))
    second = look_for(client, record, "finding", page="2")
    assert len(titles(second)) == 10
    assert 'method="post"' in second.content.decode()


def test_a_term_is_a_word_from_its_beginning():
    assert search.terms("  Ménière's, HbA1c 2345-7 ") == ["meniere", "s", "hba1c", "2345-7"]
    assert search.terms("!!! …") == []
    assert len(search.terms(" ".join(map(str, range(50))))) == search.MOST_TERMS


def test_a_document_in_any_encoding_is_searched():
    for encoding in ("utf-8", "utf-16", "iso-8859-1"):
        section = cda.section("10164-2", title="Verlauf", text="Mirabelle prüfen")
        document = charts.chart("A", "20240101", section).decode()
        document = document.replace('encoding="UTF-8"', f'encoding="{encoding}"', 1)
        passages = search.passages(document.encode(encoding), ["prufen"])
        assert [passage.title for passage in passages] == ["Verlauf"], encoding
    assert search.passages(b"<ClinicalDocument prufen", ["prufen"]) == []
