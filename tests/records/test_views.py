"""The record's pages: what each person sees of it, and what they may change."""

from __future__ import annotations

import base64
import html
import re

import pytest
from django.test import Client
from django.utils import timezone

from directmsg import pickup
from directmsg.models import Parcel
from healthvault.audit.models import AuditEvent
from records import filing
from records.models import Account, Document, Entry, Grant, Record, Right
from tests import factories
from tests.documents import CDA_TYPE, VISIT

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Account:
    return factories.account()


@pytest.fixture
def record(account) -> Record:
    """A record with one document that was read, and one file."""
    record = factories.record(account)
    files = (("visit.xml", CDA_TYPE, VISIT), ("map.html", "text/html", b"<script>1</script>"))
    parcel = Parcel.objects.select_related("holder", "content").get(pk=factories.parcel(files=files).pk)
    pickup.claim(parcel, account, record, pickup.answer(parcel, account, "Biscuit", "192.0.2.0/24"))
    assert filing.read_document(str(Document.objects.get().pk)) == Document.State.READ
    return record


@pytest.fixture
def client(account) -> Client:
    client = Client()
    client.force_login(account)
    return client


def an_entry() -> Entry:
    return Entry.objects.filter(kind="allergies").select_related("record__holder").first()


def test_one_record_is_opened_at_once_and_several_are_listed(client, account, record):
    assert client.get("/records/").headers["Location"] == f"/records/{record.pk}/"
    child = factories.record(account, "Ida Whitlock", relationship="child")
    page = client.get("/records/").content.decode()
    assert f"/records/{child.pk}/" in page
    assert "Ida Whitlock" in page


def test_the_overview_shows_items_and_documents(client, record):
    page = client.get(f"/records/{record.pk}/").content.decode()
    assert an_entry().content["name"] in page
    assert "map.html" in page
    event = AuditEvent.objects.get(action="record.viewed")
    assert (event.record, event.address) == (record.pk, "127.0.0.1")


def test_an_item_names_where_it_came_from(client, record):
    entry = an_entry()
    page = client.get(f"/records/{record.pk}/items/{entry.pk}/").content.decode()
    assert entry.content["name"] in page
    assert str(Document.objects.get().pk) in page


@pytest.mark.parametrize("state", ["rejected", "undone", "deleted"])
def test_what_was_taken_out_of_the_record_is_not_shown(client, record, state):
    for entry in (an_entry(), Entry.objects.get(kind="file")):
        Entry.objects.filter(pk=entry.pk).update(state=state)
        assert client.get(f"/records/{record.pk}/items/{entry.pk}/").status_code == 404
        assert client.get(f"/records/{record.pk}/items/{entry.pk}/file/").status_code == 404


def test_what_belongs_to_another_record_is_not_found_under_this_one(client, account, record):
    """Both records are this person's: the address has to be right all the same."""
    other = factories.record(account, "Ida Whitlock")
    document, file = Document.objects.get(), Entry.objects.get(kind="file")
    for path in (
        f"documents/{document.pk}/",
        f"documents/{document.pk}/file/",
        f"items/{file.pk}/",
        f"items/{file.pk}/file/",
    ):
        assert client.get(f"/records/{record.pk}/{path}").status_code == 200
        assert client.get(f"/records/{other.pk}/{path}").status_code == 404


def test_files_are_downloads_byte_for_byte(client, record):
    document, file = Document.objects.get(), Entry.objects.get(kind="file")
    for path, data in (
        (f"documents/{document.pk}/file/", VISIT),
        (f"items/{file.pk}/file/", b"<script>1</script>"),
    ):
        answer = client.get(f"/records/{record.pk}/{path}")
        assert answer.content == data
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert client.get(f"/records/{record.pk}/items/{an_entry().pk}/file/").status_code == 404


def test_a_document_is_shown_as_its_author_wrote_it(client, record):
    document = Document.objects.get()
    page = client.get(f"/records/{record.pk}/documents/{document.pk}/?section=48765-2").content.decode()
    assert "<h1" in page
    assert "<script" not in page.split("<main", 1)[1]


def test_an_item_leads_to_its_section_of_the_document(client, record):
    entry, document = an_entry(), Document.objects.get()
    link = f"/records/{record.pk}/documents/{document.pk}/?item={entry.pk}"
    assert f'{link}#found"' in client.get(f"/records/{record.pk}/items/{entry.pk}/").content.decode()
    page = client.get(link).content.decode()
    section = re.search(r'<section class="card narrative is-found".*?</section>', page, re.S)
    assert section is not None
    assert page.count('id="found"') == 1
    assert "Penicillin" in section[0]
    words = re.search(r'<tr id="found" class="n-found">(.*?)</tr>', page, re.S)
    assert words is not None, "the very row is marked"
    assert "Penicillin V" in words[1]
    for odd in ("", "x", "%00", document.pk):
        path = f"/records/{record.pk}/documents/{document.pk}/?item={odd}"
        assert 'id="found"' not in client.get(path).content.decode()


def test_items_are_told_in_words(client, record):
    page = client.get(f"/records/{record.pk}/").content.decode()
    assert "1.3 mg/dL" in page
    assert ">High</span>" in page
    assert "14 September 2026" in page
    assert "2026-09-14" not in page
    assert "mm[Hg]" not in page
    entry = an_entry()
    assert "Hives (moderate)" in client.get(f"/records/{record.pk}/items/{entry.pk}/").content.decode()


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)


def embed(record: Record, old: bytes, new: str) -> Document:
    """The record's document, with something embedded in it."""
    from healthvault.store.blobs import store_blob

    assert VISIT.count(old) == 1
    Document.objects.update(blob=store_blob(record.holder, VISIT.replace(old, new.encode())))
    return Document.objects.get()


def test_pictures_of_a_document_are_shown_and_nothing_else_is(client, record):
    old = re.search(rb"<text>.*?</text>", VISIT, re.S)[0]
    picture = (
        '<text><renderMultiMedia referencedObject="m1"/></text><entry><observationMedia classCode="OBS" '
        'moodCode="EVN" ID="m1"><value mediaType="image/png" representation="B64">{}</value>'
        "</observationMedia></entry>"
    )
    document = embed(record, old, picture.format(base64.b64encode(PNG).decode()))
    page = client.get(f"/records/{record.pk}/documents/{document.pk}/").content.decode()
    address = html.unescape(re.search(r'class="n-picture" src="([^"]+)"', page)[1])
    answer = client.get(address)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.content.startswith(PNG[:8])
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    for path in ("", "/", "/*/*[1]", "//*", "/*[1]/*[99]"):
        assert client.get(address.partition("?")[0], {"path": path}).status_code == 404
    script = base64.b64encode(b"<script>alert(1)</script>").decode()
    embed(record, old, picture.format(script))
    assert client.get(address).status_code == 404


def test_a_body_that_is_a_file_is_a_download(client, record):
    body = re.search(rb"<structuredBody>.*</structuredBody>", VISIT, re.S)[0]
    pdf = base64.b64encode(b"%PDF-1.4 a page").decode()
    text = f'<nonXMLBody><text mediaType="application/pdf" representation="B64">{pdf}</text></nonXMLBody>'
    document = embed(record, body, text)
    page = client.get(f"/records/{record.pk}/documents/{document.pk}/").content.decode()
    address = html.unescape(re.search(r'href="([^"]+/part/\?[^"]+)"', page)[1])
    answer = client.get(address)
    assert answer.content == b"%PDF-1.4 a page"
    assert answer.headers["Content-Disposition"].endswith('.pdf"')
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


def test_a_document_that_cannot_be_read_says_so(client, record):
    from healthvault.store.blobs import store_blob

    document = Document.objects.get()
    Document.objects.update(blob=store_blob(record.holder, b"<ClinicalDocument"))
    assert client.get(f"/records/{record.pk}/documents/{document.pk}/").status_code == 200


def test_settings_are_for_custodians_and_are_kept(client, account, record):
    path = f"/records/{record.pk}/settings/"
    form = {
        "name": "Nora Whitlock",
        "birth_date": "1984-02-29",
        "files_preference": "ask",
        "integration_preference": "review",
    }
    assert client.post(path, form).headers["Location"] == path
    record = Record.objects.select_related("holder").get(pk=record.pk)
    assert (record.birth_date, record.files_preference, record.integration_preference) == (
        "1984-02-29",
        "ask",
        "review",
    )
    assert Grant.objects.get(account=account).notify is False
    assert AuditEvent.objects.filter(action="record.settings_changed", record=record.pk).count() == 1
    assert client.post(path, {**form, "files_preference": "sometimes"}).status_code == 200
    person = factories.account("sam@family.example", "Sam")
    Grant.objects.create(account=person, record=record, right=Right.MODIFY)
    client.force_login(person)
    assert client.get(path).status_code == client.post(path, form).status_code == 404


def test_a_grant_that_ran_out_opens_nothing(record):
    person = factories.account("sam@family.example", "Sam")
    grant = Grant.objects.create(account=person, record=record, right=Right.VIEW)
    client = Client()
    client.force_login(person)
    assert client.get(f"/records/{record.pk}/").status_code == 200
    Grant.objects.filter(pk=grant.pk).update(expires=timezone.now())
    assert client.get(f"/records/{record.pk}/").status_code == 404
