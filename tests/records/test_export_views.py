"""Taking a record out in the browser, putting it back, and printing it."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from healthvault.audit import trail
from records import editing, export
from records.models import Account, Entry, Export, Grant, Record, Right
from tests import factories
from tests.records.charts import bring, chart, problem, problems
from tests.records.test_sharing_views import signed_in, words

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Account:
    return factories.account()


@pytest.fixture
def record(owner) -> Record:
    record = factories.record(owner, "Nora Whitlock")
    bring(record, chart("A", "20230101", problems(problem("90560007", "Gout"))))
    editing.add_item(record, owner, "allergies", editing.Words(name="Latex"))
    return record


@pytest.fixture
def client(owner) -> Client:
    return signed_in(owner)


def made(client: Client, record: Record) -> bytes:
    """Order a copy, let the worker make it, and download it."""
    client.post(f"/records/{record.pk}/export/")
    copy = Export.objects.get(record=record)
    assert export.make_export(str(copy.pk)) == "ready"
    answer = client.get(f"/records/{record.pk}/export/{copy.pk}/")
    assert answer.headers["Content-Type"] == "application/zip"
    assert "attachment" in answer.headers["Content-Disposition"]
    return b"".join(answer)


def test_a_copy_is_ordered_watched_and_downloaded(client, record):
    path = f"/records/{record.pk}/export/"
    client.post(path)
    copy = Export.objects.get()
    poll = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TRIGGER": "exports"}
    part = client.get(path, **poll)
    assert (part.status_code, "<html" in part.content.decode()) == (200, False)
    assert 'hx-trigger="every 1s"' in part.content.decode()
    assert client.get(f"{path}{copy.pk}/").status_code == 404
    assert export.make_export(str(copy.pk)) == "ready"
    done = client.get(path, **poll)
    assert (done.status_code, "hx-get" in done.content.decode()) == (286, False)
    data = b"".join(client.get(f"{path}{copy.pk}/"))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {"fhir/bundle.json", "summary.html", "audit.csv", "csv/problems.csv"} <= set(
            archive.namelist()
        )
        assert json.loads(archive.read("manifest.json"))["record"] == str(record.pk)
    assert trail.history(record).first().action == "export.downloaded"
    client.post(f"{path}{copy.pk}/delete/")
    assert client.get(f"{path}{copy.pk}/").status_code == 404


def test_no_more_copies_than_are_kept(client, record):
    path = f"/records/{record.pk}/export/"
    for _ in range(export.MOST_KEPT):
        client.post(path)
        export.make_export(str(Export.objects.get(state="waiting").pk))
    assert "Delete one first" in words(client.post(path, follow=True))
    assert Export.objects.count() == export.MOST_KEPT


def test_taking_out_and_putting_back_ask_for_the_password_again(owner, record):
    copy = export.request_export(record, owner)
    export.make_export(str(copy.pk))
    client = Client()
    client.force_login(owner)
    for path in (f"export/{copy.pk}/", "restore/"):
        answer = client.get(f"/records/{record.pk}/{path}")
        assert answer.headers["Location"].startswith("/accounts/reauthenticate/")
    Export.objects.all().delete()
    client.post(f"/records/{record.pk}/export/")
    assert not Export.objects.exists()


def test_a_copy_is_put_back_into_another_record(client, owner, record):
    data = made(client, record)
    other = factories.record(owner, "Ida Whitlock", relationship="child")
    path = f"/records/{other.pk}/restore/"

    def put(content: bytes) -> str:
        return words(client.post(path, {"file": SimpleUploadedFile("c.zip", content)}, follow=True))

    assert "Nothing was added" in put(b"PK, but no more")
    assert not Entry.objects.filter(record=other).exists()
    shown = put(data)
    assert "Added: 1 message, 1 document, 2 items." in shown
    assert "Gout" in shown
    assert "in the record already" in put(data)
    assert "required" in words(client.post(path))


def test_the_summary_for_paper_holds_what_its_reader_sees(client, record):
    path = f"/records/{record.pk}/summary/"
    assert {"Gout", "Latex"} <= set(words(client.get(path)).split())
    friend = factories.account("tomas@people.example", "Tomas Bergland")
    Grant.objects.create(account=friend, record=record, right=Right.VIEW, kinds=["allergies"])
    theirs = words(signed_in(friend).get(path))
    assert "Latex" in theirs
    assert "Gout" not in theirs
    assert trail.history(record).filter(action="record.printed").count() == 2


def test_a_record_for_another_person(client, owner, record):
    form = {"name": " Ida Whitlock ", "relationship": "child", "birth_date": "2019-05-04"}
    page = words(client.post("/records/new/", form, follow=True))
    assert "The record of Ida Whitlock is open." in page
    grant = Grant.objects.select_related("record__holder").exclude(record=record).get(account=owner)
    assert (grant.right, grant.relationship) == (Right.CUSTODIAN, "child")
    assert (grant.record.name, grant.record.birth_date) == ("Ida Whitlock", "2019-05-04")
    assert "Ida Whitlock" in words(client.get("/records/"))
    assert "required" in words(client.post("/records/new/", {"name": " ", "relationship": "child"}))
