"""The message pages: what is shown, what is handed out and how, and what a person decides."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from directmsg import pickup
from directmsg.models import Parcel
from healthvault.audit.models import AuditEvent
from healthvault.store.blobs import store_blob
from records import filing
from records.models import Account, Attachment, Document, Entry, Grant, Message, Record, Right
from tests import factories
from tests.documents import CDA_TYPE, VISIT

pytestmark = pytest.mark.django_db
HOSTILE = (
    (
        "chart.svg",
        "image/svg+xml",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    ),
    ("page.png", "text/html", b"<script>alert(1)</script>"),
    ("utf7.txt", "text/html; charset=utf-7", b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-"),
    ("style.xml", "text/xml", b"<?xml-stylesheet href='a.xsl' type='text/xsl'?><a/>"),
    ("saved.mht", "message/rfc822", b"MIME-Version: 1.0\r\n\r\n<script>1</script>"),
    ("scan.pdf", "application/pdf; x=text/html", b"%PDF-1.4 <script>1</script>"),
    ("both.gif", "image/gif", b"GIF89a/*<script>*/=1//"),
)


@pytest.fixture
def account() -> Account:
    return factories.account()


@pytest.fixture
def record(account) -> Record:
    return factories.record(account)


def claimed(account: Account, record: Record, *files: tuple[str, str, bytes]) -> Message:
    """A message in a record, come by way of a parcel."""
    parcel = Parcel.objects.select_related("holder", "content").get(pk=factories.parcel(files=files).pk)
    return pickup.claim(parcel, account, record, pickup.answer(parcel, account, "Biscuit", "192.0.2.0/24"))


def browser(account: Account) -> Client:
    client = Client()
    client.force_login(account)
    return client


def shared(record: Record, right: Right, **extra: object) -> Client:
    """A browser of somebody with whom the record is shared."""
    person = factories.account(f"{right.name.lower()}@family.example", "Sam")
    Grant.objects.create(account=person, record=record, right=right, **extra)
    return browser(person)


# --- downloads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", HOSTILE, ids=lambda file: file[0])
def test_attachments_are_downloads_that_never_run_here(account, record, file):
    message = claimed(account, record, file)
    answer = browser(account).get(f"/messages/{message.pk}/attachments/0/")
    assert answer.status_code == 200
    assert b"".join(answer) == file[2]
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{file[0]}"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] in ("application/octet-stream", "application/pdf", "image/gif")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Übersicht Müller.pdf", "attachment; filename*=utf-8''%C3%9Cbersicht%20M%C3%BCller.pdf"),
        ('a"b\\c.pdf', 'attachment; filename="a\\"b\\\\c.pdf"'),
        ("../../etc/passwd", None),
        ("a\r\nSet-Cookie: b=c", None),
        ("", None),
    ],
)
def test_a_file_name_is_a_name_and_no_header(account, record, name, shown):
    message = claimed(account, record, ("map.pdf", "application/pdf", b"%PDF"))
    part = Attachment.objects.select_related("message__record__holder").get(message=message)
    part.filename = name
    part.save(update_fields=["filename"])
    answer = browser(account).get(f"/messages/{message.pk}/attachments/0/")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "Set-Cookie" not in answer.headers
    if shown is not None:
        assert answer.headers["Content-Disposition"] == shown


def test_the_message_as_it_came_is_for_custodians(account, record):
    message = claimed(account, record)
    path = f"/messages/{message.pk}/raw/"
    assert browser(account).get(path).status_code == 404, "what came by REST has no raw form"
    raw = store_blob(record.holder, b"Subject: a@b.example;First pet?;Biscuit\r\n\r\n.")
    Message.objects.filter(pk=message.pk).update(raw=raw)
    answer = browser(account).get(path)
    assert answer.content.startswith(b"Subject: a@b.example;First pet?;Biscuit")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    for right in (Right.VIEW, Right.MODIFY):
        client = shared(record, right)
        assert client.get(path).status_code == 404
        assert path not in client.get(f"/messages/{message.pk}/").content.decode()
    assert path in browser(account).get(f"/messages/{message.pk}/").content.decode()


def test_positions_that_are_not_there_are_404(account, record):
    message = claimed(account, record, ("map.pdf", "application/pdf", b"%PDF"))
    for position in (1, 40_000, 10**30):
        assert browser(account).get(f"/messages/{message.pk}/attachments/{position}/").status_code == 404


# --- pages ----------------------------------------------------------------------------------------------


def test_a_message_shows_its_text_and_runs_nothing(account, record):
    message = claimed(account, record, ("map.pdf", "application/pdf", b"%PDF"))
    message.text = "<script>alert(1)</script>\nSee you."
    message.save(update_fields=["text"])
    page = browser(account).get(f"/messages/{message.pk}/").content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "map.pdf" in page
    assert "Larkspur Community Hospital" in page


def test_looking_is_noted_with_who_and_from_where(account, record):
    message = claimed(account, record, ("map.pdf", "application/pdf", b"%PDF"))
    browser(account).get(f"/messages/{message.pk}/")
    browser(account).get(f"/messages/{message.pk}/attachments/0/")
    for action in ("message.viewed", "attachment.downloaded"):
        event = AuditEvent.objects.get(action=action)
        assert (event.actor, event.record, event.address) == (str(account.pk), record.pk, "127.0.0.1")


def test_a_deleted_message_is_gone(account, record):
    message = claimed(account, record, ("map.pdf", "application/pdf", b"%PDF"))
    Message.objects.update(deleted=timezone.now())
    client = browser(account)
    assert "Your summary" not in client.get("/messages/").content.decode()
    for path in ("", "raw/", "attachments/0/"):
        assert client.get(f"/messages/{message.pk}/{path}").status_code == 404
    assert client.post(f"/messages/{message.pk}/opened/").status_code == 404


def test_the_inbox_shows_the_records_one_sees_and_no_others(account, record):
    other = factories.account("eve@stranger.example", "Eve")
    theirs = factories.record(other)
    claimed(account, record)
    client = browser(other)
    assert "Your summary" not in client.get("/messages/").content.decode()
    assert "Your summary" not in client.get(f"/messages/?record={record.pk}").content.decode()
    Grant.objects.create(account=other, record=record, right=Right.VIEW)
    assert "Your summary" in client.get("/messages/").content.decode()
    assert "Your summary" not in client.get(f"/messages/?record={theirs.pk}").content.decode()
    Grant.objects.filter(account=other, record=record).update(expires=timezone.now())
    assert "Your summary" not in client.get("/messages/").content.decode()
    for odd in ("?page=x", "?page=99", "?record=x", "?record=%00"):
        assert client.get(f"/messages/{odd}").status_code == 200


def test_opened_is_marked_once_and_by_a_form(account, record):
    message = claimed(account, record)
    client = browser(account)
    client.get(f"/messages/{message.pk}/")
    assert Message.objects.get().opened is None
    client.post(f"/messages/{message.pk}/opened/")
    first = Message.objects.get().opened
    client.post(f"/messages/{message.pk}/opened/")
    assert first is not None
    assert Message.objects.get().opened == first


def test_the_page_asks_until_every_document_is_read(account, record):
    message = claimed(
        account, record, ("visit.xml", CDA_TYPE, VISIT), ("map.pdf", "application/pdf", b"%PDF")
    )
    client, path = browser(account), f"/messages/{message.pk}/"
    page = client.get(f"{path}?claimed=1").content.decode()
    asked = html.unescape(re.search(r'hx-get="([^"]+)" hx-trigger="every 1s"', page)[1])
    assert asked == f"{path}?unread=1&claimed=1"
    looks = AuditEvent.objects.filter(action="message.viewed").count()
    assert client.get(asked, headers={"HX-Request": "true"}).status_code == 204
    assert AuditEvent.objects.filter(action="message.viewed").count() == looks, "asking again is no new look"
    filing.read_document(str(Document.objects.get().pk))
    answer = client.get(asked, headers={"HX-Request": "true"})
    assert answer.status_code == 286
    assert b"hx-trigger" not in answer.content
    assert b"added to the record" in answer.content


def test_the_page_does_not_ask_for_ever(account, record):
    message = claimed(account, record, ("visit.xml", CDA_TYPE, VISIT))
    client, path = browser(account), f"/messages/{message.pk}/"
    Document.objects.update(created=timezone.now() - timedelta(minutes=3))
    answer = client.get(f"{path}?unread=1", headers={"HX-Request": "true"})
    assert answer.status_code == 286
    page = client.get(path).content.decode()
    for text in (answer.content.decode(), page):
        assert "Look again" in text
        assert "every 1s" not in text


def test_each_attachment_tells_what_became_of_it(account, record):
    message = claimed(
        account, record, ("visit.xml", CDA_TYPE, VISIT), ("map.pdf", "application/pdf", b"%PDF")
    )
    document = Document.objects.get()
    filing.read_document(str(document.pk))
    page = browser(account).get(f"/messages/{message.pk}/").content.decode()
    for entry in Entry.objects.filter(kind="file"):
        assert f"/records/{record.pk}/items/{entry.pk}/" in page
    assert f"/records/{record.pk}/documents/{document.pk}/" in page
    assert "Test results <strong>2</strong>" in page
    Document.objects.update(state="unreadable", code="too_deep")
    page = browser(account).get(f"/messages/{message.pk}/").content.decode()
    assert "could not be read. It holds something that such a file should not" in page
    assert "too_deep" not in page


def test_a_browser_marks_a_message_read_and_gets_the_new_counts(account, record):
    message = claimed(account, record)
    client = browser(account)
    page = client.get(f"/messages/{message.pk}/").content.decode()
    assert f'hx-post="/messages/{message.pk}/opened/" hx-trigger="load"' in page
    assert 'class="count"' in page
    answer = client.post(f"/messages/{message.pk}/opened/", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert b'id="read-mark"' in answer.content
    assert b'class="count"' not in answer.content
    assert b"<html" not in answer.content
    assert "hx-post" not in client.get(f"/messages/{message.pk}/").content.decode()


# --- decisions ------------------------------------------------------------------------------------------


@pytest.fixture
def asked(account, record) -> Message:
    """A message with a file that waits for the person's decision."""
    Record.objects.update(files_preference="ask")
    record.refresh_from_db()
    return claimed(account, record, ("map.pdf", "application/pdf", b"%PDF"))


def decide(client: Client, message: Message, **form: str) -> int:
    return client.post(f"/messages/{message.pk}/attachments/0/decide/", form).status_code


def test_a_file_waits_when_the_person_wants_to_be_asked(account, asked):
    assert Attachment.objects.get().outcome == "ask"
    assert not Entry.objects.exists()
    assert "Add to files" in browser(account).get(f"/messages/{asked.pk}/").content.decode()


def test_adding_makes_one_file_however_often_it_is_said(account, asked):
    client = browser(account)
    assert [decide(client, asked, add="1") for _ in range(2)] == [302, 302]
    assert decide(client, asked, leave="1") == 302
    assert Attachment.objects.get().outcome == "file"
    entry = Entry.objects.get()
    assert (entry.content["name"], entry.blob_id) == ("map.pdf", Attachment.objects.get().blob_id)
    file = client.get(f"/records/{asked.record_id}/items/{entry.pk}/file/")
    assert file.content == b"%PDF"
    assert file.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


def test_leaving_adds_nothing(account, asked):
    decide(browser(account), asked, leave="1")
    assert Attachment.objects.get().outcome == "not_added"
    assert not Entry.objects.exists()


def test_a_form_without_a_decision_decides_nothing(account, asked):
    decide(browser(account), asked)
    assert Attachment.objects.get().outcome == "ask"


def test_never_is_never(account, record):
    Record.objects.update(files_preference="never")
    record.refresh_from_db()
    message = claimed(account, record, ("map.pdf", "application/pdf", b"%PDF"))
    assert Attachment.objects.get().outcome == "not_added"
    decide(browser(account), message, add="1")
    assert Attachment.objects.get().outcome == "not_added"
    assert not Entry.objects.exists()
    assert browser(account).get(f"/messages/{message.pk}/attachments/0/").status_code == 200


def test_viewers_decide_nothing(record, asked):
    assert decide(shared(record, Right.VIEW), asked, add="1") == 404
    assert Attachment.objects.get().outcome == "ask"
    assert decide(shared(record, Right.MODIFY), asked, add="1") == 302
    assert Attachment.objects.get().outcome == "file"


def test_a_document_of_somebody_else_waits_for_a_word(account, record):
    message = claimed(account, record, ("visit.xml", CDA_TYPE, VISIT))
    document = Document.objects.get()
    Document.objects.update(state=Document.State.HELD, patient_confirmed=False)
    path = f"/messages/documents/{document.pk}/confirm/"
    assert shared(record, Right.VIEW).post(path).status_code == 404
    assert browser(account).get(path).status_code == 405
    assert browser(account).post(path).headers["Location"] == f"/messages/{message.pk}/"
    assert Document.objects.get().state == Document.State.WAITING
    assert filing.read_document(str(document.pk)) == Document.State.READ
    assert Entry.objects.count() > 3
    assert browser(account).get(f"/messages/{message.pk}/").status_code == 200
    htmx = browser(account).get(f"/messages/{message.pk}/", headers={"HX-Request": "true"})
    assert b"<html" not in htmx.content
