"""Taking a whole record along: what is in it, what it proves, and that nothing in it runs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.bundle import Bundle

from healthvault.store.blobs import store_blob
from healthvault.store.models import Blob
from records import editing, export, filing
from records.intake import IncomingMessage, store_parts
from records.models import Document, Export, Record
from records.record_archive import RecordArchive
from tests import factories
from tests.documents import CCR, CDA_TYPE, VISIT
from tests.pure.clinical.documents import everything
from tests.records.charts import bring, chart, problem, problems, scanned

pytestmark = pytest.mark.django_db

PDF = b"%PDF-1.7 a letter"


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account(), "Wren Harrowgate", birth_date="1971-04-09", gender="female")


@pytest.fixture
def full(record) -> Record:
    """A record with something of everything."""
    bring(record, everything())
    bring(record, scanned("S", "20230101", PDF))
    raw = b"From: a@clinic.example\r\n\r\nraw"
    parts = store_parts(record.holder, [("Ä letter.pdf", "application/pdf", PDF), ("v.xml", CDA_TYPE, VISIT)])
    incoming = IncomingMessage(
        from_address="a@clinic.example",
        subject="Your <b>visit</b>",
        text="See the file.",
        parts=parts,
        raw=str(store_blob(record.holder, raw).pk),
    )
    message = filing.file_message(record, incoming, patient_confirmed=True)
    for document in Document.objects.filter(attachment__message=message):
        filing.read_document(str(document.pk))
    words = editing.Words("=HYPERLINK(1)<script>alert(1)</script>", start="as a child", note="Mine")
    hidden = editing.add_item(record, None, "problems", words)
    editing.set_personal(hidden, None, personal=True)
    return record


def archive(record: Record) -> zipfile.ZipFile:
    source, data = RecordArchive(Record.objects.select_related("holder").get(pk=record.pk)), b""
    while piece := source.read(70_000):
        data += piece
    return zipfile.ZipFile(io.BytesIO(data))


def test_the_manifest_proves_every_member(full):
    made = archive(full)
    assert made.testzip() is None
    manifest = json.loads(made.read("manifest.json"))
    listed = {member["path"]: member for member in manifest["members"]}
    assert set(listed) == set(made.namelist()) - {"manifest.json"}
    assert len(made.namelist()) == len(set(made.namelist()))
    for path, member in listed.items():
        data = made.read(path)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (member["size"], member["sha256"])


def test_every_resource_is_valid_and_every_reference_leads_somewhere(full):
    made = archive(full)
    bundle = json.loads(made.read("fhir/bundle.json"))
    Bundle.model_validate(bundle)
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(urls) == len(bundle["entry"])
    for reference in references(bundle):
        assert reference in urls or reference.startswith("#")
    lines = [
        json.loads(line)
        for name in made.namelist()
        if name.endswith(".ndjson") and name.startswith("fhir/")
        for line in made.read(name).splitlines()
    ]
    assert len(lines) == len(bundle["entry"])
    linked = {found for resource in lines for found in addresses(resource) if "://" not in found}
    assert {link for link in linked if link[0] != "#" and "/" in link} <= set(made.namelist())
    for resource in lines:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    kinds = {resource["resourceType"] for resource in lines}
    assert {"Patient", "DocumentReference", "Communication", "Provenance", "Condition"} <= kinds
    personal = [r for r in lines if "security" in r.get("meta", {})]
    assert [r["code"]["text"][:10] for r in personal] == ["=HYPERLINK"]


def addresses(value: object) -> list[str]:
    """Every `attachment.url` and the like."""
    if isinstance(value, dict):
        own = [value["url"]] if "contentType" in value and "url" in value else []
        return own + [found for part in value.values() for found in addresses(part)]
    if isinstance(value, list):
        return [found for part in value for found in addresses(part)]
    return []


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [found for part in value.values() for found in references(part)]
    if isinstance(value, list):
        return [found for part in value for found in references(part)]
    return []


def test_originals_are_there_byte_for_byte(full):
    made = archive(full)
    contents = {name: made.read(name) for name in made.namelist()}
    documents = [data for name, data in contents.items() if name.startswith("documents/")]
    assert sorted(documents) == sorted([everything(), scanned("S", "20230101", PDF), VISIT])
    assert any(name.endswith("/message.eml") and data.endswith(b"raw") for name, data in contents.items())
    assert [data for name, data in contents.items() if name.endswith("/00-letter.pdf")] == [PDF]
    assert [data for name, data in contents.items() if name.startswith("files/")] == [PDF]


def test_tables_run_no_formula(full):
    made = archive(full)
    rows = list(csv.DictReader(io.StringIO(made.read("csv/problems.csv").decode())))
    (mine,) = (row for row in rows if row["own"])
    assert mine["name"].startswith("'=HYPERLINK")
    assert (mine["start"], mine["note"]) == ("as a child", "Mine")
    vitals = list(csv.DictReader(io.StringIO(made.read("csv/vital_signs.csv").decode())))
    assert {row["value"] for row in vitals} >= {"121", "37.2"}


def test_the_summary_is_inert(full):
    page = archive(full).read("summary.html").decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src &#x27;none&#x27;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "Wren Harrowgate" in page


def test_the_trail_goes_along(full):
    rows = list(csv.DictReader(io.StringIO(archive(full).read("audit.csv").decode())))
    assert [row["action"] for row in rows][:2] == ["record.opened", "document.read"]
    assert rows[-1]["action"] == "item.made_personal"


def test_an_export_is_a_job(full):
    owner = full.grants.get().account
    asked = export.request_export(full, owner)
    assert export.request_export(full, owner) == asked
    with pytest.raises(export.NotReady):
        export.open_export(asked)
    assert export.make_export(str(asked.pk)) == "ready"
    assert export.make_export(str(asked.pk)) is None
    asked.refresh_from_db()
    data = b"".join(export.open_export(asked))
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    assert asked.done == asked.total > 10
    assert asked.blob.holder == full.holder
    Export.objects.update(expires=timezone.now() - timedelta(seconds=1))
    kept = Blob.objects.count()
    assert export.expire_exports() == 1
    assert Blob.objects.count() == kept - 1
    asked.refresh_from_db()
    with pytest.raises(export.NotReady):
        export.open_export(asked)


def test_exports_are_few(full):
    for _ in range(export.MOST_KEPT):
        export.make_export(str(export.request_export(full, None).pk))
    with pytest.raises(export.TooManyExports):
        export.request_export(full, None)
    export.delete_export(Export.objects.first(), None)
    export.request_export(full, None)


def test_an_export_that_kills_its_worker_is_given_up(full):
    asked = export.request_export(full, None)
    Export.objects.filter(pk=asked.pk).update(tries=3)
    assert export.make_export(str(asked.pk)) == "failed"


def test_the_command(full, tmp_path, capsys):
    call_command("export_record", str(full.pk), str(tmp_path / "out"), "--json")
    told = json.loads(capsys.readouterr().out)
    path = Path(told["file"])
    assert path.stat().st_size == told["size"]
    assert path.stat().st_mode & 0o077 == 0
    assert zipfile.ZipFile(path).testzip() is None
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    for wrong in ("nonsense", "01a213c4-da3a-7d73-915c-c041c1741ba5"):
        with pytest.raises(SystemExit) as exit_:
            call_command("export_record", wrong, str(tmp_path))
        assert exit_.value.code == 1


def test_hostile_text_makes_a_valid_export(record):
    bring(record, chart("A", "20230101", problems(problem("1", "Odd \u2028 &#x9; name"))))
    bring(record, CCR)
    made = archive(record)
    Bundle.model_validate(json.loads(made.read("fhir/bundle.json")))
