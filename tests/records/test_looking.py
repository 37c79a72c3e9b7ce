"""What a file is, by its bytes, and what a page shows of it."""

from __future__ import annotations

import base64
import io
import zipfile

import pytest

from records import looking
from records.clinical import archive
from records.clinical.errors import ClinicalError

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)


def zipped(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return made.getvalue()


@pytest.mark.parametrize(
    ("data", "media_type", "shown"),
    [
        (PNG, "image/png", "picture"),
        (b"GIF89a/*x*/=1;alert(1)", "image/gif", "picture"),
        (b"\xff\xd8\xff\xe0 jfif", "image/jpeg", "picture"),
        (b"%PDF-1.7", "application/pdf", "nothing"),
        (b"II*\x00tiff", "image/tiff", "nothing"),
        (b"<?xml version='1.0'?><svg onload='x'/>", "application/xml", "nothing"),
        ("\ufeff<?xml version='1.0'?><a/>".encode("utf-16-le"), "application/xml", "nothing"),
        (b"<html><script>alert(1)</script>", "text/plain", "text"),
        (b"Dear Nora,\r\nall is well.", "text/plain", "text"),
        (b"caf\xe9", "application/octet-stream", "nothing"),
        (b"a\x00b", "application/octet-stream", "nothing"),
        (b"", "application/octet-stream", "nothing"),
        (b"PK\x03\x04broken", "application/zip", "nothing"),
    ],
)
def test_bytes_say_what_they_are(data, media_type, shown):
    assert looking.type_of(data) == media_type
    assert looking.preview_of(data).kind == shown


def test_the_names_in_an_archive():
    preview = looking.preview_of(zipped("a/one.txt", "two.txt"))
    assert (preview.kind, preview.names) == ("names", ("a/one.txt", "two.txt"))
    assert looking.preview_of(zipped("../up.txt")).kind == "nothing"


def test_long_texts_are_cut():
    preview = looking.preview_of(b"x" * (looking.MOST_TEXT + 1))
    assert (len(preview.text), preview.cut) == (looking.MOST_TEXT, True)


def test_the_names_are_told_without_unpacking():
    """Its content is broken, which only unpacking would show."""
    data = bytearray(zipped("one.txt"))
    data[30 + len("one.txt")] ^= 0xFF
    with pytest.raises(ClinicalError):
        archive.read_members(bytes(data))
    assert looking.preview_of(bytes(data)).names == ("one.txt",)
