"""A thief's search: marker words in every value a driver returns and in every file.

The searched forms prove themselves first: each marker is found when it stands there in clear.
"""

import base64
import binascii
import gzip
import io
import json
import quopri
import zipfile
import zlib
from pathlib import Path

import pytest
from django.db import connection

from healthvault.outbox.mail import queue_mail
from healthvault.store.blobs import store_blob
from healthvault.store.lookup import lookup_hash, seal_text
from healthvault.store.models import HolderKey
from healthvault.store.sessions import SessionStore
from records.models import Account, Entry, Message, Record
from tests.markers import forms, holds, rows_of

pytestmark = pytest.mark.django_db(transaction=True)

MARKER = "Hagebuttenmark-Ä7"


def database_values():
    return rows_of(connection, connection.introspection.table_names())


def zipped(data):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", data)
    return made.getvalue()


@pytest.mark.parametrize(
    "hide",
    [
        str.encode,
        lambda word: word.encode("utf-16-le"),
        lambda word: word.encode("utf-16-be"),
        lambda word: binascii.hexlify(word.encode()),
        lambda word: base64.b64encode(word.encode()),
        lambda word: base64.b64encode(b"x" + word.encode() + b"xx"),
        lambda word: base64.b64encode(b"xy" + word.encode() + b"yz"),
        lambda word: quopri.encodestring(word.encode()),
        lambda word: zlib.compress(word.encode() * 3),
        lambda word: gzip.compress(word.encode() * 3),
        lambda word: zipped(word.encode() * 3),
        lambda word: json.dumps({"a": word}).encode(),
        lambda word: base64.encodebytes(b"x" * 50 + word.encode() * 2),
        lambda word: word.casefold().encode(),
    ],
)
def test_the_search_finds_what_is_in_clear(hide):
    assert holds(b"before " + hide(MARKER) + b" after", MARKER)
    assert not holds(b"before " + hide("Sanddornmark-Ö8 ") + b" after", MARKER)


def test_the_search_finds_a_clear_row():
    queue_mail("a@example.org", MARKER[:12], "s", "t", None)
    assert {place for place, value in database_values() if holds(value, MARKER[:12])} == {
        "outbox_notification.kind"
    }


def test_a_thief_of_database_and_files_finds_nothing(settings, tmp_path):
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path},
        },
    }
    holder = HolderKey.create("record")
    Account.objects.create(email="a@example.org", name=MARKER)
    record = Record.objects.create(holder=holder, name=MARKER, birth_date=MARKER)
    Message.objects.create(record=record, subject=MARKER, text=MARKER, html=MARKER, to_addresses=[MARKER])
    Entry.objects.create(record=record, kind="note", content={MARKER: [MARKER]})
    store_blob(holder, MARKER.encode())
    store_blob(holder, MARKER.encode() * 40_000)
    queue_mail(f"{MARKER}@example.org", "test", MARKER, MARKER, MARKER)
    lookup_hash("mailbox", MARKER)
    Account.objects.create(email="b@example.org", name=seal_text("totp", "1", MARKER))
    HolderKey.prepare("parcel", answer=MARKER).save()
    session = SessionStore()
    session["pending"] = MARKER
    session.save()

    assert [table for table, value in database_values() if holds(value, MARKER)] == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1
    assert not any(holds(path.read_bytes(), MARKER) for path in files)
    if connection.vendor == "sqlite":
        raw = b"".join(
            path.read_bytes() for path in Path(connection.settings_dict["NAME"]).parent.glob("*.sqlite3*")
        )
        assert b"a@example.org" in raw
        assert not any(form in raw for form in forms(MARKER))
