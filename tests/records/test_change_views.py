"""The pages for what comes in: review, undo, whose document it is, uploads."""

from __future__ import annotations

import html
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from records import editing, filing, review, uploading
from records.models import Account, Document, Entry, EntrySource, Import, Message, Record, Right
from tests import factories
from tests.documents import CDA_TYPE, VISIT
from tests.records.charts import allergies, bring, chart, only, problem, problems, scanned, send, shown
from tests.records.snapshots import everything
from tests.records.test_looking import PNG, zipped

pytestmark = pytest.mark.django_db

GOUT, ASTHMA, ECZEMA = ("90560007", "Gout"), ("195967001", "Asthma"), ("43116000", "Eczema")


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


def text(answer) -> str:
    """The words of a page's content."""
    body = answer.content.decode().split("<main", 1)[1]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def path(record: Record, *parts: object) -> str:
    return f"/records/{record.pk}/" + "".join(f"{part}/" for part in parts)


@pytest.fixture
def waiting(record) -> Import:
    """Gout with news, eczema as it was, asthma new: all waiting."""
    bring(
        record,
        chart("A", "20230101", problems(problem(*GOUT, identity="p"), problem(*ECZEMA))),
    )
    record.integration_preference = "review"
    record.save()
    newer = problems(problem(*GOUT, identity="p", end="20231101"), problem(*ECZEMA), problem(*ASTHMA))
    return bring(record, chart("B", "20240101", newer))


# --- review ---------------------------------------------------------------------------------------------


def test_the_overview_and_the_message_lead_to_the_review(client, record, waiting):
    link = path(record, "imports", waiting.pk, "review")
    assert link in client.get(path(record)).content.decode()
    message = waiting.document.attachment.message_id
    assert link in client.get(f"/messages/{message}/").content.decode()


def test_each_thing_that_waits_is_asked_about(client, record, waiting):
    answer = client.get(path(record, "imports", waiting.pk, "review"))
    page, words = answer.content.decode(), text(answer)
    asked = {one.content["name"]: one for one in review.proposals(waiting)}
    assert {name: one.standing for name, one in asked.items()} == {
        "Gout": "differs",
        "Eczema": "same",
        "Asthma": "new",
    }
    for one in asked.values():
        for choice in ("add", "replace", "ignore"):
            offered = f'name="answer-{one.id}" value="{choice}"' in page
            assert offered == (choice != "replace" or one.standing != "same"), (one.standing, choice)
    # Old and new side by side, in words.
    assert "In your record In the document" in words
    assert "Until – 1 November 2023" in words
    # What differs is decided by the person, and by nobody's default.
    assert 'value="replace" checked' not in page
    gout = asked["Gout"].id
    assert not re.search(rf'name="answer-{gout}" value="\w+" checked', page)
    # Every field has a label.
    ids = re.findall(r'<(?:input type="radio"|select) id="([^"]+)"', page)
    assert ids
    assert all(f'for="{one}"' in page for one in ids)


def test_the_choices_are_carried_out(client, record, waiting):
    asked = {one.content["name"]: one.id for one in review.proposals(waiting)}
    answers = {
        f"answer-{asked['Gout']}": "replace",
        f"answer-{asked['Eczema']}": "add",
        f"answer-{asked['Asthma']}": "ignore",
    }
    answer = client.post(path(record, "imports", waiting.pk, "review"), answers, follow=True)
    assert "Saved: 1 taken, 1 replaced, 1 ignored." in text(answer)
    assert {c["name"]: c["end"] for c in shown(record, "problems")} == {"Gout": "2023-11-01", "Eczema": None}
    waiting.refresh_from_db()
    assert waiting.state == "applied"


def test_what_is_not_answered_goes_on_waiting(client, record, waiting):
    asked = {one.content["name"]: one.id for one in review.proposals(waiting)}
    page = path(record, "imports", waiting.pk, "review")
    client.post(page, {f"answer-{asked['Asthma']}": "add"})
    assert {one.content["name"] for one in review.proposals(waiting)} == {"Gout", "Eczema"}
    assert "Nothing was chosen" in text(client.post(page, {}, follow=True))
    nonsense = {f"answer-{asked['Gout']}": "burn", "answer-": "add", "x": "add"}
    client.post(page, {k: v for k, v in nonsense.items() if k != "answer-"})
    assert len(review.proposals(waiting)) == 2


def test_a_new_item_may_take_the_place_of_another(client, record, waiting):
    asked = {one.content["name"]: one.id for one in review.proposals(waiting)}
    eczema = next(e for e in Entry.objects.select_related("record__holder") if e.content["name"] == "Eczema")
    page = path(record, "imports", waiting.pk, "review")
    without = {f"answer-{asked['Asthma']}": "replace", f"instead-{asked['Asthma']}": ""}
    client.post(page, without)
    assert len(review.proposals(waiting)) == 3, "replace what?"
    client.post(page, {**without, f"instead-{asked['Asthma']}": str(eczema.pk)})
    assert sorted(str(c["name"]) for c in shown(record, "problems")) == ["Asthma", "Gout"]


def test_another_record_s_item_is_never_replaced(client, record, owner, waiting):
    asked = {one.content["name"]: one.id for one in review.proposals(waiting)}
    other = factories.record(owner, "Ida")
    theirs = editing.add_item(other, owner, "problems", editing.Words("Hay fever"))
    page = path(record, "imports", waiting.pk, "review")
    for target in (theirs.pk, "no-id"):
        choice = {f"answer-{asked['Asthma']}": "replace", f"instead-{asked['Asthma']}": str(target)}
        assert "Nothing was changed" in text(client.post(page, choice, follow=True))
    theirs.refresh_from_db()
    assert theirs.content["name"] == "Hay fever"
    assert len(review.proposals(waiting)) == 3


def test_taking_all_is_one_click(client, record, waiting):
    page = path(record, "imports", waiting.pk, "review")
    assert "Taken: all 3 items" in text(client.post(page, {"all": "1"}, follow=True))
    assert len(shown(record, "problems")) == 3
    # And a second click, from a page that was left open, changes nothing.
    before = everything(record)
    assert "nothing was changed" in text(client.post(page, {"all": "1"}, follow=True))
    assert everything(record) == before
    assert client.get(page).status_code == 302


def test_a_person_s_words_are_marked_in_a_review(client, record, owner, waiting):
    gout = next(e for e in Entry.objects.select_related("record__holder") if e.content["name"] == "Gout")
    editing.correct_item(gout, owner, editing.Words("Gout of the knee"))
    assert "You typed this item yourself." in text(client.get(path(record, "imports", waiting.pk, "review")))


# --- what came in, and undo -----------------------------------------------------------------------------


def test_what_came_in_is_listed_with_its_state(client, record, waiting):
    words = text(client.get(path(record, "imports")))
    assert "Waiting for your review" in words
    assert "2 new, 0 known" in words
    assert "1 new, 2 known" in words


def test_an_undo_says_what_will_change_and_what_changed(client, record, owner):
    bring(record, chart("A", "20230101", problems(problem(*GOUT, identity="p"), problem(*ECZEMA))))
    newer = problems(problem(*GOUT, identity="p", end="20231101"), problem(*ASTHMA), problem(*ECZEMA))
    before = everything(record)
    second = bring(record, chart("B", "20240101", newer, allergies(("7980", "Penicillin"))))
    editing.correct_item(only(record, "allergies"), owner, editing.Words("Penicillin V"))
    page = path(record, "imports", second.pk, "undo")
    after = everything(record)
    words = text(client.get(page))
    assert everything(record) == after
    assert "Leaves the record 1 Asthma" in words
    assert "Goes back to an earlier state 1 Gout" in words
    assert "Until: 1 November 2023 → –" in words
    assert "Stays, in your own words 1 Penicillin V" in words
    assert "Stays: other documents say it too 1 Eczema" in words
    words = text(client.post(page, follow=True))
    assert "Taken back: 1 item left the record" in words
    assert "Left the record" in words
    left = [e for e in everything(record) if '"Penicillin V"' not in e]
    assert left == before
    # Once more, from a page that was left open.
    assert "taken back already" in text(client.post(page, follow=True))
    assert "taken back already" in text(client.get(page, follow=True))
    # And all of it again.
    again = path(record, "imports", second.pk, "redo")
    assert "in the record again" in text(client.post(again, follow=True))
    assert everything(record) == after
    assert "was not taken back" in text(client.post(again, follow=True))


def test_one_import_shows_where_everything_stands(client, record, owner):
    found = problems(problem(*GOUT), problem(*ECZEMA), problem(*ASTHMA))
    filing_row = bring(record, chart("A", "20230101", found))
    by_name = {e.content["name"]: e for e in Entry.objects.select_related("record__holder")}
    editing.reject_item(by_name["Eczema"], owner)
    editing.correct_item(by_name["Asthma"], owner, editing.Words("Asthma, mild"))
    answer = client.get(path(record, "imports", filing_row.pk))
    words = text(answer)
    assert "In the record, in your words" in words
    assert "Rejected" in words
    assert f"items/{by_name['Gout'].pk}/" in answer.content.decode()
    assert f"items/{by_name['Eczema'].pk}/" not in answer.content.decode(), "it is no page any more"


def test_imports_of_another_record_are_not_found(client, record, owner, waiting):
    other = factories.record(owner, "Ida")
    for page in ("", "review", "undo"):
        parts = ["imports", waiting.pk, *([page] if page else [])]
        assert client.get(path(record, *parts)).status_code == 200
        assert client.get(path(other, *parts)).status_code == 404
    assert client.post(path(other, "imports", waiting.pk, "redo")).status_code == 404


def test_a_person_for_some_kinds_reviews_and_undoes_nothing(record, waiting):
    helper = factories.account("helper@patient.example")
    record.grants.create(account=helper, right=Right.MODIFY, kinds=["problems"])
    browser = Client()
    browser.force_login(helper)
    for page in ("", "review", "undo"):
        parts = ["imports", waiting.pk, *([page] if page else [])]
        assert browser.get(path(record, *parts)).status_code == 404
    assert browser.get(path(record, "upload")).status_code == 404
    assert browser.get(path(record, "add", "problems")).status_code == 200
    assert browser.get(path(record, "add", "allergies")).status_code == 404
    assert "Health problems" in text(browser.get(path(record, "add")))
    assert "Allergies" not in text(browser.get(path(record, "add")))


# --- whose document it is -------------------------------------------------------------------------------


@pytest.fixture
def held(record) -> Document:
    document = send(record, VISIT)
    Document.objects.filter(pk=document.pk).update(patient_confirmed=False)
    assert filing.read_document(str(document.pk)) == "held"
    document.refresh_from_db()
    return document


def test_a_document_of_somebody_else_is_asked_about_side_by_side(client, record, held):
    page = path(record, "documents", held.pk, "whose")
    assert page in client.get(path(record)).content.decode()
    assert page in client.get(path(record, "imports")).content.decode()
    words = text(client.get(page))
    assert "Name Wren Harrowgate" in words
    assert held.facts["patient"]["name"] in words
    assert not Entry.objects.exists()


def test_not_mine_keeps_the_document_and_asks_no_more(client, record, held):
    page = path(record, "documents", held.pk, "whose")
    assert "Nothing was taken from the document" in text(client.post(page, {"not_mine": "1"}, follow=True))
    held.refresh_from_db()
    assert held.state == "refused"
    assert "names somebody else" not in text(client.get(path(record)))
    assert "About somebody else" in text(client.get(path(record, "imports")))
    message = held.attachment.message_id
    assert "about somebody else" in text(client.get(f"/messages/{message}/"))
    # A change of mind is taken.
    client.post(page, {"mine": "1"})
    assert filing.read_document(str(held.pk)) == "read"
    assert Entry.objects.filter(record=record, state="active").exists()
    assert "This was answered." in text(client.get(page))


def test_mine_lets_it_be_read(client, record, held):
    client.post(path(record, "documents", held.pk, "whose"), {"mine": "1"})
    assert filing.read_document(str(held.pk)) == "read"
    filing_row = Import.objects.get(document=held)
    assert "What this document brought" in text(client.get(path(record, "imports", filing_row.pk)))


def test_an_answer_without_a_button_changes_nothing(client, record, held):
    client.post(path(record, "documents", held.pk, "whose"))
    held.refresh_from_db()
    assert held.state == "held"


# --- uploads --------------------------------------------------------------------------------------------


def put(client: Client, record: Record, name: str, data: bytes, media_type: str = "application/octet-stream"):
    file = SimpleUploadedFile(name, data, content_type=media_type)
    return client.post(path(record, "upload"), {"file": file}, follow=True)


def test_a_document_is_uploaded_read_and_shown(client, record):
    record.birth_date = None
    record.save()
    words = text(put(client, record, "chart.xml", chart("A", "20230101", problems(problem(*GOUT))), CDA_TYPE))
    assert "Reading …" in words
    document = Document.objects.get()
    filing.read_document(str(document.pk))
    filing.confirm_patient(document)
    filing.read_document(str(document.pk))
    message = Message.objects.get()
    page = path(record, "upload", message.pk)
    assert "1 item added to the record" in text(client.get(page))
    # Its address as a message leads there too, and it is in no mailbox.
    assert client.get(f"/messages/{message.pk}/").headers["Location"] == page
    assert "chart.xml" not in text(client.get("/messages/"))
    assert "chart.xml" not in text(client.get("/messages/sent/"))
    entry = only(record, "problems")
    assert "Uploaded by" in text(client.get(path(record, "items", entry.pk)))


def test_the_page_of_an_upload_asks_until_it_is_read(client, record):
    put(client, record, "chart.xml", VISIT)
    page = path(record, "upload", Message.objects.get().pk)
    asking = {"HTTP_HX-Request": "true", "HTTP_HX-Trigger": "documents"}
    assert f'hx-get="{page}?unread=1"' in client.get(page).content.decode()
    assert client.get(f"{page}?unread=1", **asking).status_code == 204
    filing.read_document(str(Document.objects.get().pk))
    answer = client.get(f"{page}?unread=1", **asking)
    assert answer.status_code == 286
    assert "<main" not in answer.content.decode()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("knee.png", PNG, "image/png"),
        ("page.html", b"<html><script>1</script></html>", "text/plain"),
        ("letter.pdf", b"%PDF-1.7 x", "application/pdf"),
        ("scans.zip", zipped("one.txt"), "application/zip"),
        (
            "image.png",
            b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>",
            "application/xml",
        ),
    ],
)
def test_files_are_kept_as_what_they_are(client, record, name, data, kind):
    assert name in text(put(client, record, name, data, "text/html"))
    entry = only(record, "file")
    assert entry.content["content_type"] == kind
    answer = client.get(path(record, "items", entry.pk, "file"))
    assert answer.content == data
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_an_encrypted_or_broken_archive_says_why(client, record):
    words = text(put(client, record, "broken.zip", b"PK\x03\x04" + b"\x00" * 40))
    assert "kept as it came" in words
    assert only(record, "file").content["name"] == "broken.zip"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (None, "Choose a file."),
        (SimpleUploadedFile("nothing.txt", b""), "This file is empty"),
    ],
)
def test_what_cannot_be_uploaded_is_said_in_words(client, record, file, words):
    answer = client.post(path(record, "upload"), {"file": file} if file else {})
    assert words in text(answer)
    assert 'href="#id_file"' in answer.content.decode()
    assert not Message.objects.exists()


def test_a_file_that_is_too_large_is_refused(client, record, settings):
    settings.MAX_MESSAGE_SIZE = 1_000_000
    assert "too large: 1 MB at most" in text(put(client, record, "big.bin", b"x" * 1_000_001))
    assert not Message.objects.exists()


def test_the_same_file_again_is_told(client, record):
    put(client, record, "knee.png", PNG)
    assert "already" in text(put(client, record, "knee.png", PNG))
    assert Entry.objects.filter(kind="file").count() == 1


def test_a_body_that_is_a_pdf_goes_with_its_import(client, record):
    filing_row = bring(record, scanned("A", "20230101", b"%PDF-1.7 letter"))
    client.post(path(record, "imports", filing_row.pk, "undo"))
    assert not Entry.objects.filter(record=record, state="active").exists()
    assert EntrySource.objects.get().state == "withdrawn"


def test_an_upload_of_another_record_is_not_found(client, record, owner):
    done = uploading.take_upload(record, owner, "knee.png", PNG)
    other = factories.record(owner, "Ida")
    assert client.get(path(record, "upload", done.message.pk)).status_code == 200
    assert client.get(path(other, "upload", done.message.pk)).status_code == 404


# --- exceptions for senders -----------------------------------------------------------------------------


def test_one_sender_is_treated_otherwise(client, record):
    page = path(record, "settings", "senders")
    words = text(client.post(page, {"sender": "Clinic.example", "preference": "review"}, follow=True))
    assert "clinic.example Let me review first" in words
    record.refresh_from_db()
    waits = bring(record, chart("A", "20230101", problems(problem(*GOUT))), sender="records@clinic.example")
    assert waits.state == "proposed"
    other = bring(record, chart("B", "20230101", problems(problem(*ASTHMA))), sender="a@hospital.example")
    assert other.state == "applied"
    client.post(page, {"sender": "clinic.example", "preference": ""})
    record.refresh_from_db()
    assert record.sender_preferences == {}


@pytest.mark.parametrize(
    ("sender", "preference", "words"),
    [
        ("", "review", "Fill in the sender"),
        ("a@b.example", "sometimes", "Fill in the sender"),
        ("nobody", "review", "Enter a Direct address"),
    ],
)
def test_a_wrong_exception_is_refused_in_words(client, record, sender, preference, words):
    page = path(record, "settings", "senders")
    assert words in text(client.post(page, {"sender": sender, "preference": preference}, follow=True))
    record.refresh_from_db()
    assert record.sender_preferences == {}
