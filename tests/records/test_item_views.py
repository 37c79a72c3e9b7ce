"""The pages for single items: add, correct, reject, delete, restore, history, a look into files."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from healthvault.audit.models import AuditEvent
from healthvault.store.blobs import store_blob
from records import editing, handwritten
from records.clinical.types import KINDS
from records.models import Account, Entry, EntryVersion, Record, Right
from tests import factories
from tests.records.charts import bring, chart, only, problem, problems, shown
from tests.records.test_change_views import path, text
from tests.records.test_looking import PNG, zipped

pytestmark = pytest.mark.django_db

GOUT = ("90560007", "Gout")


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account(), "Wren Harrowgate")


@pytest.fixture
def owner(record) -> Account:
    return record.grants.get().account


@pytest.fixture
def client(owner) -> Client:
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture
def gout(record) -> Entry:
    bring(record, chart("A", "20230101", problems(problem(*GOUT, identity="p"))))
    return only(record, "problems")


def hidden(answer) -> dict[str, str]:
    """The hidden fields of a page's form."""
    found = re.findall(
        r'<input type="hidden" name="(key|stamp)"(?: value="([^"]*)")?', answer.content.decode()
    )
    return dict(found)


def labelled(answer) -> bool:
    page = answer.content.decode().split("<main", 1)[1]
    ids = re.findall(
        r'<(?:input|select|textarea)[^>]*\bid="([^"]+)"', re.sub(r'<input type="hidden"[^>]*>', "", page)
    )
    return bool(ids) and all(f'for="{one}"' in page for one in ids)


# --- add ------------------------------------------------------------------------------------------------


def test_every_kind_can_be_chosen(client, record):
    page = client.get(path(record, "add")).content.decode()
    for kind in KINDS:
        assert path(record, "add", kind) in page
    assert client.get(path(record, "add", "file")).status_code == 404
    assert client.get(path(record, "add", "spaceships")).status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_added_and_corrected(client, record, kind):
    page = path(record, "add", kind)
    form = client.get(page)
    assert labelled(form)
    shape = handwritten.SHAPES[kind]
    typed = {"name": "Something of mine", "start": "about 2010", "note": "From memory"}
    if shape.value:
        typed["value"] = "12"
    typed |= {f"more_{name}": f"my {name}" for name in shape.extras}
    answer = client.post(page, {**hidden(form), **typed}, follow=True)
    words = text(answer)
    assert answer.redirect_chain, words
    assert "Something of mine" in words
    assert "about 2010" in words
    assert "In your own words" in words
    assert "From memory" in words
    entry = Entry.objects.select_related("record__holder").get(record=record)
    change = path(record, "items", entry.pk, "correct")
    form = client.get(change)
    assert labelled(form)
    for name, said in typed.items():
        assert said in form.content.decode(), name
    client.post(change, {**hidden(form), **typed, "name": "Another thing"})
    assert only(record, kind).content["name"] == "Another thing"


@pytest.mark.parametrize(
    ("kind", "typed", "words"),
    [
        ("problems", {"name": " "}, "Fill in “Condition”."),
        ("problems", {"name": "Gout", "start": "2012-13"}, "“2012-13” is no date."),
        ("problems", {"name": "Gout", "start": "2097"}, "This date lies ahead."),
        ("problems", {"name": "Gout", "start": "2019", "end": "2018-05"}, "lies before"),
        ("problems", {"name": "Gout", "end": "last summer"}, "“last summer” is no date."),
        ("vital_signs", {"name": "Weight", "unit": "kg"}, "There is a unit, but no value."),
        ("problems", {"name": "x" * 401}, "at most 400 characters"),
        ("notes", {"name": "x", "more_text": "y" * 4001}, "“Text” is too long: 4000 characters at most."),
        ("problems", {"name": "Gout", "note": "a\x01b"}, "characters in it that cannot be kept"),
    ],
)
def test_what_is_wrong_is_said_in_words_and_nothing_typed_is_lost(client, record, kind, typed, words):
    page = path(record, "add", kind)
    answer = client.post(page, {**hidden(client.get(page)), **typed})
    assert words in text(answer)
    assert 'role="alert"' in answer.content.decode()
    assert not Entry.objects.exists()
    for said in typed.values():
        assert said.strip()[:50] in answer.content.decode()


def test_an_appointment_may_lie_ahead(client, record):
    page = path(record, "add", "encounters")
    client.post(page, {**hidden(client.get(page)), "name": "Check-up", "start": "2097-05-03"})
    assert only(record, "encounters").content["start"] == "2097-05-03"


def test_a_form_sent_twice_adds_one_item(client, record):
    page = path(record, "add", "problems")
    form = {**hidden(client.get(page)), "name": "Sore elbow"}
    first = client.post(page, form)
    second = client.post(page, form)
    assert first.headers["Location"] == second.headers["Location"]
    assert Entry.objects.count() == 1


# --- correct, with versions -----------------------------------------------------------------------------


def test_a_correction_is_shown_with_who_and_when_and_what_it_replaced(client, record, owner, gout):
    page = path(record, "items", gout.pk, "correct")
    form = client.get(page)
    typed = {**hidden(form), "name": "Gout of the left knee", "start": "March 2018"}
    words = text(client.post(page, typed, follow=True))
    assert "Gout of the left knee" in words
    assert f"Corrected, by {owner.get_full_name()}" in words
    assert "Name: Gout → Gout of the left knee" in words
    assert "A document said this" in words
    # What comes later does not overwrite it.
    bring(record, chart("B", "20240101", problems(problem(*GOUT, identity="p", end="20231101"))))
    assert [c["name"] for c in shown(record, "problems")] == ["Gout of the left knee"]
    # And the way back.
    words = text(client.post(path(record, "items", gout.pk, "decide"), {"act": "revert"}, follow=True))
    assert "The documents' words stand again." in words
    assert [c["name"] for c in shown(record, "problems")] == ["Gout"]
    assert "Back to what the document says" in words, "the history tells it"


def test_two_people_at_one_item_do_not_overwrite_each_other(client, record, owner, gout):
    page = path(record, "items", gout.pk, "correct")
    early = hidden(client.get(page))
    client.post(page, {**early, "name": "Gout of the knee"})
    answer = client.post(page, {**early, "name": "Gout of the toe"}, follow=True)
    assert "The item changed while you were writing." in text(answer)
    assert 'value="Gout of the knee"' in answer.content.decode()
    assert only(record, "problems").content["name"] == "Gout of the knee"


def test_history_is_for_custodians_only(record, owner, gout):
    editing.correct_item(gout, owner, editing.Words("Gout of the knee"))
    for right, told in ((Right.MODIFY, False), (Right.CUSTODIAN, True)):
        helper = factories.account(f"helper{right}@patient.example")
        record.grants.create(account=helper, right=right)
        browser = Client()
        browser.force_login(helper)
        assert ("History" in text(browser.get(path(record, "items", gout.pk)))) is told


def test_a_viewer_is_offered_no_change(record, gout):
    viewer = factories.account("viewer@patient.example")
    record.grants.create(account=viewer, right=Right.VIEW)
    browser = Client()
    browser.force_login(viewer)
    for page in (path(record), path(record, "items", gout.pk), path(record, "imports")):
        content = browser.get(page).content.decode().split("<main", 1)[1]
        for link in ("/add/", "/correct/", "/decide/", "/undo/", "/upload/", "/removed/"):
            assert link not in content, (page, link)


def test_what_a_document_denies_says_so_when_it_is_corrected(client, record):
    observation = '<observation classCode="OBS" moodCode="EVN" '
    denied = problem(*GOUT).replace(observation, f'{observation}negationInd="true" ')
    bring(record, chart("A", "20230101", problems(denied)))
    entry = Entry.objects.select_related("record__holder").first()
    assert entry is not None
    assert entry.content["negated"]
    assert "this is not so" in text(client.get(path(record, "items", entry.pk, "correct")))


# --- reject, delete, restore ----------------------------------------------------------------------------


def test_what_is_not_true_leaves_and_comes_back(client, record, owner, gout):
    words = text(client.post(path(record, "items", gout.pk, "decide"), {"act": "reject"}, follow=True))
    assert "It left the record." in words
    assert "Rejected on" in words
    assert f"by {owner.get_full_name()}" in words
    assert shown(record, "problems") == []
    assert client.get(path(record, "items", gout.pk)).status_code == 404
    words = text(client.post(path(record, "items", gout.pk, "decide"), {"act": "restore"}, follow=True))
    assert "in the record again" in words
    assert len(shown(record, "problems")) == 1
    assert EntryVersion.objects.filter(entry=gout).count() == 2


def test_own_items_are_deleted_and_documents_items_rejected(client, record, owner, gout):
    mine = editing.add_item(record, owner, "problems", editing.Words("Sore elbow"))
    assert 'value="delete"' in client.get(path(record, "items", mine.pk)).content.decode()
    assert 'value="reject"' in client.get(path(record, "items", gout.pk)).content.decode()
    client.post(path(record, "items", mine.pk, "decide"), {"act": "delete"})
    assert "Deleted on" in text(client.get(path(record, "removed")))


def test_removing_for_good_asks_first(client, record, owner, gout):
    page = path(record, "items", gout.pk, "remove")
    assert client.get(page).status_code == 302, "an item of the record is deleted first"
    editing.delete_item(gout, owner)
    assert "This cannot be undone." in text(client.get(page))
    assert "The document it came from stays" in text(client.get(page))
    gout.refresh_from_db()
    assert gout.content["name"] == "Gout"
    client.post(page)
    gout.refresh_from_db()
    assert (gout.state, gout.content) == ("removed", {})
    assert "Nothing was removed" in text(client.get(path(record, "removed")))
    assert client.get(page).status_code == 404
    assert AuditEvent.objects.filter(action="item.removed", subject=str(gout.pk)).exists()


def test_a_modifier_rejects_but_only_custodians_see_and_restore_it(record, gout):
    helper = factories.account("helper@patient.example")
    record.grants.create(account=helper, right=Right.MODIFY)
    browser = Client()
    browser.force_login(helper)
    answer = browser.post(path(record, "items", gout.pk, "decide"), {"act": "reject"})
    assert answer.headers["Location"] == path(record)
    assert browser.get(path(record, "removed")).status_code == 404
    assert browser.post(path(record, "items", gout.pk, "decide"), {"act": "restore"}).status_code == 404


def test_an_unknown_act_changes_nothing(client, record, gout):
    client.post(path(record, "items", gout.pk, "decide"), {"act": "explode"})
    client.post(path(record, "items", gout.pk, "decide"))
    gout.refresh_from_db()
    assert gout.state == "active"
    assert not EntryVersion.objects.exists()


# --- files ----------------------------------------------------------------------------------------------


def file_item(record: Record, data: bytes, name: str, declared: str) -> Entry:
    content = {"name": name, "content_type": declared, "size": len(data)}
    return Entry.objects.create(
        record=record, kind="file", content=content, blob=store_blob(record.holder, data)
    )


def test_a_picture_is_shown_from_an_address_of_its_own(client, record):
    entry = file_item(record, PNG, "knee.png", "text/html")
    assert (
        path(record, "items", entry.pk, "picture")
        in client.get(path(record, "items", entry.pk)).content.decode()
    )
    answer = client.get(path(record, "items", entry.pk, "picture"))
    assert answer.headers["Content-Type"] == "image/png", "by its bytes, whatever was declared"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("data", "declared"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", "image/svg+xml"),
        (b"<?xml version='1.0'?><?xml-stylesheet href='http://x.test/'?><a/>", "image/png"),
        ("<script>x()</script>".encode("utf-16"), "image/png"),
        (b"+ADw-script+AD4-x()+ADw-/script+AD4-", "image/gif"),
        (b"%PDF-1.4 <html><script>x()</script>", "application/pdf; x=text/html"),
    ],
)
def test_what_could_run_is_never_a_picture(client, record, data, declared):
    entry = file_item(record, data, "x.png", declared)
    assert client.get(path(record, "items", entry.pk, "picture")).status_code == 404
    page = client.get(path(record, "items", entry.pk)).content.decode().split("<main", 1)[1]
    assert "<svg xmlns" not in page
    assert "<script>x()" not in page


def test_text_stands_there_as_text_and_an_archive_by_its_names(client, record):
    entry = file_item(record, b"<b>Dear</b> Nora", "letter.html", "text/html")
    assert "&lt;b&gt;Dear&lt;/b&gt; Nora" in client.get(path(record, "items", entry.pk)).content.decode()
    entry = file_item(record, zipped("scan <1>.txt"), "scans.zip", "application/zip")
    assert "scan &lt;1&gt;.txt" in client.get(path(record, "items", entry.pk)).content.decode()


def test_a_file_is_deleted_and_restored_but_not_corrected(client, record):
    entry = file_item(record, PNG, "knee.png", "image/png")
    words = text(client.get(path(record, "items", entry.pk, "correct"), follow=True))
    assert "Files are not corrected" in words
    client.post(path(record, "items", entry.pk, "decide"), {"act": "delete"})
    assert client.get(path(record, "items", entry.pk, "picture")).status_code == 404
    client.post(path(record, "items", entry.pk, "decide"), {"act": "restore"})
    assert client.get(path(record, "items", entry.pk, "file")).content == PNG
