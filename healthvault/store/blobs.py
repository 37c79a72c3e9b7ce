"""Sealed content of any size: store, open, hand to another holder, remove."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from healthvault.store import blob_files
from healthvault.store.errors import BlobMissing, BlobMoved, Shredded
from healthvault.store.models import Blob, HolderKey
from healthvault.vault.sealing import (
    Readable,
    cipher,
    new_key,
    open_chunks,
    open_sealed,
    read_fully,
    seal,
    seal_chunks,
)

ORPHAN_AGE = timedelta(hours=24)
_SWEEP_BATCH = 500


def seal_blob(holder: HolderKey, content: bytes | Readable) -> Blob:
    """Seal `content` (bytes or an open binary file) for `holder`; the row is not saved yet.

    Up to BLOB_ROW_LIMIT it goes into the row; more goes into a file, which is on disk when this
    returns. Save the row in the transaction that refers to it: a file without a row is swept after a
    day. Raises OSError when the file cannot be written, and what `HolderKey.unwrap` raises.
    """
    key = new_key()
    blob = Blob(holder=holder)
    blob.wrapped_key = seal(cipher(holder.unwrap()), key, _key_aad(holder.pk, blob))
    source = io.BytesIO(content) if isinstance(content, bytes | bytearray | memoryview) else content
    start = read_fully(source, settings.BLOB_ROW_LIMIT + 1)
    if len(start) <= settings.BLOB_ROW_LIMIT:
        blob.data, blob.size = seal(cipher(key), start, _content_aad(blob)), len(start)
        return blob
    counted = _Counted(start, source)
    blob.path, blob.chunked = _file_name(blob), True
    blob_files.write(blob.path, seal_chunks(cipher(key), counted, _content_aad(blob)))
    blob.size = counted.size
    return blob


def store_blob(holder: HolderKey, content: bytes | Readable) -> Blob:
    """`seal_blob`, and the row saved."""
    blob = seal_blob(holder, content)
    blob.save(force_insert=True)
    return blob


def open_blob(blob: Blob, holder_key: bytes | None = None) -> bytes:
    """The whole content, verified.

    `holder_key` is the unwrapped key of the holder; without it the holder is asked. Raises Tampered,
    BlobMissing, and what `HolderKey.unwrap` raises.
    """
    return b"".join(open_blob_stream(blob, holder_key))


def open_blob_stream(blob: Blob, holder_key: bytes | None = None) -> Iterator[bytes]:
    """The content in pieces of 1 MiB at most, each verified before it is given.

    Errors as `open_blob`; that the end was cut off is known only at the end.
    """
    key = cipher(_content_key(blob, holder_key))
    if not blob.chunked:
        yield open_sealed(key, _row_data(blob), _content_aad(blob))
        return
    with blob_files.read(blob.path) as file:
        yield from open_chunks(key, file, _content_aad(blob))


def rewrap(
    blob: Blob, source: HolderKey | bytes, to_holder: HolderKey, *, to_key: bytes | None = None
) -> None:
    """Hand a blob to another holder; its content is not touched.

    `source` is the present holder or its unwrapped key, `to_key` the unwrapped key of `to_holder` when
    it is at hand. One UPDATE: raises BlobMoved when the blob has another holder by now; Tampered when
    `source` does not open it.
    """
    source_key = source.unwrap() if isinstance(source, HolderKey) else source
    key = _content_key(blob, source_key)
    wrapped = seal(cipher(to_key or to_holder.unwrap()), key, _key_aad(to_holder.pk, blob))
    here = Blob.objects.filter(pk=blob.pk, holder_id=blob.holder_id)
    if here.update(holder=to_holder, wrapped_key=wrapped) != 1:
        raise BlobMoved("the blob has another holder by now")
    blob.holder, blob.wrapped_key = to_holder, wrapped


def rewrap_all(
    blobs: Iterable[Blob], source: HolderKey | bytes, to_holder: HolderKey, *, to_key: bytes | None = None
) -> int:
    """`rewrap` each of `blobs`, all or none (call it in a transaction); returns how many."""
    source_key = source.unwrap() if isinstance(source, HolderKey) else source
    to_key = to_key or to_holder.unwrap()
    count = 0
    with transaction.atomic():
        for blob in blobs:
            rewrap(blob, source_key, to_holder, to_key=to_key)
            count += 1
    return count


def sweep_orphans(age: timedelta = ORPHAN_AGE) -> int:
    """Delete files that no row names and that are older than `age`; returns how many.

    A file stands before its row commits, so a young one without a row may be about to get it.
    """
    removed, batch = 0, []
    for name in blob_files.older_than(timezone.now() - age):
        batch.append(name)
        if len(batch) == _SWEEP_BATCH:
            removed += _remove_unnamed(batch)
            batch = []
    return removed + _remove_unnamed(batch)


def _remove_unnamed(names: list[str]) -> int:
    named = set(Blob.objects.filter(path__in=names).values_list("path", flat=True)) if names else set()
    orphans = [name for name in names if name not in named]
    for name in orphans:
        blob_files.remove(name)
    return len(orphans)


@receiver(post_delete, sender=Blob)
def _remove_file(instance: Blob, using: str, **kwargs: Any) -> None:
    """The file goes after the row is gone for good; what a crash leaves behind is swept."""
    if not (path := instance.path):
        return

    # Not a `partial`: Django names the function when it reports its failure, and a partial has no name.
    def remove_after_commit() -> None:
        blob_files.remove(path)

    transaction.on_commit(remove_after_commit, using=using, robust=True)


class _Counted:
    """A source that begins with `start` and counts what was read."""

    def __init__(self, start: bytes, rest: Readable) -> None:
        self._start = io.BytesIO(start)
        self._rest = rest
        self.size = 0

    def read(self, size: int, /) -> bytes:
        data = self._start.read(size) or self._rest.read(size)
        self.size += len(data)
        return data


def _content_key(blob: Blob, holder_key: bytes | None) -> bytes:
    if holder_key is None:
        try:
            holder_key = blob.holder.unwrap()
        except HolderKey.DoesNotExist as error:
            raise Shredded("the key of this blob is gone") from error
    return open_sealed(cipher(holder_key), bytes(blob.wrapped_key), _key_aad(blob.holder_id, blob))


def _row_data(blob: Blob) -> bytes:
    if blob.data is None:
        raise BlobMissing("the row has no content")
    return bytes(blob.data)


def _key_aad(holder_id: Any, blob: Blob) -> bytes:
    return b"blob key\x00" + holder_id.bytes + blob.pk.bytes


def _content_aad(blob: Blob) -> bytes:
    return b"blob\x00" + blob.pk.bytes


def _file_name(blob: Blob) -> str:
    # Ids begin with the time; the random end spreads files over 256 directories.
    return f"{blob.pk.hex[-2:]}/{blob.pk.hex}"
