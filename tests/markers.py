"""A thief's search: marker words in everything a database driver returns and in every file.

The forms are those in which a word hides without being sealed: encodings, transfer encodings, and what
packers make of them. Whoever searches with it proves first that it finds what stands in clear.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import io
import json
import lzma
import quopri
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

MOST_INFLATED = 4_000_000
Value = tuple[str, bytes]


@cache
def forms(word: str) -> tuple[bytes, ...]:
    """The word as it may stand in bytes."""
    spellings = {word, word.casefold()}
    return tuple(dict.fromkeys(form for text in sorted(spellings) for form in _forms(text)))


def _forms(word: str) -> Iterator[bytes]:
    utf8 = word.encode()
    yield utf8
    yield word.encode("utf-16-le")
    yield word.encode("utf-16-be")
    yield word.encode("cp1252", "xmlcharrefreplace")
    yield json.dumps(word).strip('"').encode()
    yield quote(word).encode()
    yield quopri.encodestring(utf8)
    yield from (binascii.hexlify(utf8), binascii.hexlify(utf8).upper())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            encoded = encode(b"\0" * offset + utf8)
            # What depends on neighbours is cut off at both ends.
            yield encoded[4 if offset else 0 : len(encoded) - 4]


def opened(data: bytes) -> Iterator[bytes]:
    """The data, without the line ends of transfer encodings, and what comes out of packed streams in it."""
    yield data
    if b"\n" in data:
        yield re.sub(rb"=?\r?\n", b"", data)
    for magic, bits in (
        (rb"\x78[\x01\x5e\x9c\xda]", zlib.MAX_WBITS),
        (rb"\x1f\x8b\x08", zlib.MAX_WBITS | 16),
    ):
        for start in re.finditer(magic, data):
            yield from _tried(_inflated, data[start.start() :], bits)
    if b"PK\x03\x04" in data:
        yield from _tried(_unzipped, data)
    if data.startswith(b"BZh"):
        yield from _tried(bz2.decompress, data)
    if data.startswith(b"\xfd7zXZ"):
        yield from _tried(lzma.decompress, data)


def _tried(unpack: Callable[..., bytes], *source: Any) -> Iterator[bytes]:
    try:
        yield unpack(*source)
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        zipfile.BadZipFile,
        lzma.LZMAError,
        NotImplementedError,
    ):
        return


def _inflated(data: bytes, bits: int) -> bytes:
    return zlib.decompressobj(bits).decompress(data, MOST_INFLATED)


def _unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = "\n".join(archive.namelist()).encode()
        return names + b"\n" + b"\n".join(archive.read(member) for member in archive.infolist()[:100])


def holds(data: bytes, word: str) -> bool:
    """Whether the word stands in the data in any form."""
    return any(form in part for part in opened(data) for form in forms(word))


def where(words: Iterable[str], values: Iterable[Value]) -> dict[str, set[str]]:
    """For each word the places that hold it."""
    found: dict[str, set[str]] = {word: set() for word in words}
    for place, data in values:
        parts = list(opened(data))
        for word, places in found.items():
            if any(form in part for part in parts for form in forms(word)):
                places.add(place)
    return found


# --- places ------------------------------------------------------------------------------------------------


def rows_of(connection: Any, tables: Iterable[str]) -> Iterator[Value]:
    """Every value of every column, by a connection of the driver itself."""
    for table in tables:
        cursor = connection.cursor()
        cursor.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        for row in cursor:
            for name, value in zip(names, row, strict=True):
                if value is not None:
                    yield f"{table}.{name}", as_bytes(value)


def as_bytes(value: Any) -> bytes:
    """A value of a driver as the bytes that stand for it."""
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    return (
        json.dumps(value, ensure_ascii=False).encode()
        if isinstance(value, dict | list)
        else str(value).encode()
    )


def sqlite_values(path: Path) -> Iterator[Value]:
    """Every value of a SQLite file."""
    connection = sqlite3.connect(path)
    try:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        yield from rows_of(connection, [name for (name,) in names])
    finally:
        connection.close()


def postgres_values(url: str) -> Iterator[Value]:
    """Every value of a PostgreSQL database."""
    import psycopg

    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        yield from rows_of(connection, [name for (name,) in names])


def files_under(directory: Path) -> Iterator[Value]:
    """Name and bytes of every file, the names themselves included."""
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        yield f"name of {name}", name.encode()
        if path.is_file():
            yield name, path.read_bytes()
