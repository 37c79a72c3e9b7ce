"""The files of sealed blobs: written so that they survive a power cut, read, removed, listed.

On a file system a file is written beside its place, flushed to the disk and moved there, and the
directory is flushed as well, before the row that names it commits. Other storages have the object when
their PUT is confirmed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.storage import FileSystemStorage, storages

from healthvault.store.errors import BlobMissing

STORAGE = "blobs"
_SPOOL_BYTES = 4 * 1024 * 1024
_DRAFT = ".draft-"


def write(name: str, pieces: Iterable[bytes]) -> None:
    """Keep `pieces` under `name`, durably. Raises OSError (a full disk too), leaving nothing behind."""
    storage = storages[STORAGE]
    if isinstance(storage, FileSystemStorage):
        _write_durably(Path(storage.path(name)), pieces)
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        spool.writelines(pieces)
        spool.seek(0)
        saved = storage.save(name, File(spool, name=name))
    if saved != name:
        storage.delete(saved)
        raise OSError(f"the storage keeps {name} under another name")


def read(name: str) -> File[Any]:
    """The file `name`, open; raises BlobMissing when it is not there."""
    try:
        return storages[STORAGE].open(name, "rb")
    except FileNotFoundError as error:
        raise BlobMissing(f"the file {name} is not there") from error


def remove(name: str) -> None:
    """Delete the file `name`; nothing happens when it is gone already."""
    storages[STORAGE].delete(name)


def older_than(limit: datetime) -> Iterator[str]:
    """Names of all files, drafts too, last changed before `limit`."""
    storage = storages[STORAGE]
    for name in _walk(""):
        try:
            changed = storage.get_modified_time(name)
        except FileNotFoundError:
            continue
        if (changed if changed.tzinfo else changed.replace(tzinfo=UTC)) < limit:
            yield name


def _walk(directory: str) -> Iterator[str]:
    try:
        directories, files = storages[STORAGE].listdir(directory)
    except FileNotFoundError:
        return
    for name in files:
        yield f"{directory}/{name}" if directory else name
    for name in directories:
        yield from _walk(f"{directory}/{name}" if directory else name)


def _write_durably(path: Path, pieces: Iterable[bytes]) -> None:
    _make_directory(path.parent)
    handle, draft = tempfile.mkstemp(prefix=_DRAFT, dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            # A failed flush may lose pages and then report success when asked again: it is final.
            os.fsync(file.fileno())
        os.rename(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    _flush_directory(path.parent)


def _make_directory(directory: Path) -> None:
    """Make a directory and those above it; each is flushed into the one it stands in."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    _flush_directory(directory.parent)


def _flush_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
