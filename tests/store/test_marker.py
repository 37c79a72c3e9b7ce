"""A thief's search: marker words in every value a driver returns and in every file.

The searched forms prove themselves first: each marker is found when it stands there in clear.
"""

import base64
import binascii
import quopri
import re
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

pytestmark = pytest.mark.django_db(transaction=True)

MARKER = "Hagebuttenmark-Ä7"


def forms(word):
    """The word as it may hide in bytes: UTF-8, UTF-16, hex, base64 at three offsets, quoted-printable."""
    utf8 = word.encode()
    found = [
        utf8,
        word.encode("utf-16-le"),
        word.encode("utf-16-be"),
        utf8.hex().encode(),
        quopri.encodestring(utf8),
    ]
    found.append(utf8.hex().upper().encode())
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + utf8)
        # What depends on neighbours is cut off at both ends.
        found.append(encoded[4 if offset else 0 : len(encoded) - 4])
    return found


def inflated(data):
    """The data, and what comes out of zlib streams in it."""
    yield data
    for start in re.finditer(rb"\x78[\x01\x9c\xda]", data):
        try:
            yield zlib.decompressobj().decompress(data[start.start() :], 100_000)
        except zlib.error:
            continue


def holds(data, word):
    return any(form in part for part in inflated(data) for form in forms(word))


def database_values():
    for table in connection.introspection.table_names():
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                for value in row:
                    if value is not None:
                        yield (
                            table,
                            bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode(),
                        )


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
    ],
)
def test_the_search_finds_what_is_in_clear(hide):
    assert holds(b"before " + hide(MARKER) + b" after", MARKER)
    assert not holds(b"before " + hide("Sanddornmark-Ö8 ") + b" after", MARKER)


def test_the_search_finds_a_clear_row():
    queue_mail("a@example.org", MARKER[:12], "s", "t", None)
    assert {table for table, value in database_values() if holds(value, MARKER[:12])} == {
        "outbox_notification"
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
