"""Blobs: in the row or in a file, bound to their id and holder, gone with their key."""

import io
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import InMemoryStorage, storages
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from healthvault.store import blob_files
from healthvault.store.blobs import (
    open_blob,
    open_blob_stream,
    rewrap,
    rewrap_all,
    seal_blob,
    store_blob,
    sweep_orphans,
)
from healthvault.store.errors import AnswerNeeded, BlobMissing, BlobMoved, Shredded
from healthvault.store.models import Blob, HolderKey
from healthvault.vault.errors import Tampered
from healthvault.vault.sealing import CHUNK_BYTES, sealed_size

LIMIT = 256 * 1024
LARGE = LIMIT + 1

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def blob_dir(settings, tmp_path):
    directory = tmp_path / "blobs"
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": directory},
        },
    }
    return directory


@pytest.fixture
def holder():
    return HolderKey.create("mail")


def files(directory):
    return [path for path in Path(directory).rglob("*") if path.is_file()]


def fresh(blob):
    return Blob.objects.get(pk=blob.pk)


@pytest.mark.parametrize("size", [0, 1, LIMIT])
def test_small_content_stands_in_the_row(holder, blob_dir, size):
    content = os.urandom(size)
    blob = store_blob(holder, content)
    assert (blob.size, blob.path, blob.chunked) == (size, "", False)
    assert open_blob(fresh(blob)) == content
    assert files(blob_dir) == []


@pytest.mark.parametrize("size", [LARGE, CHUNK_BYTES, 2 * CHUNK_BYTES + 9])
def test_large_content_stands_in_a_file(holder, blob_dir, size):
    content = os.urandom(size)
    blob = store_blob(holder, content)
    assert (blob.size, blob.data, blob.chunked) == (size, None, True)
    (path,) = files(blob_dir)
    assert path.relative_to(blob_dir).as_posix() == blob.path
    assert path.stat().st_size == sealed_size(size)
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_blob(fresh(blob)) == content
    assert max(len(piece) for piece in open_blob_stream(fresh(blob))) <= CHUNK_BYTES


@pytest.mark.parametrize("size", [10, LIMIT, LARGE, 3 * CHUNK_BYTES])
def test_a_file_is_taken_as_it_comes(holder, size):
    content = os.urandom(size)
    blob = store_blob(holder, io.BytesIO(content))
    assert blob.size == size
    assert open_blob(fresh(blob)) == content


def test_a_file_is_flushed_with_its_directories_before_the_row_is_written(holder, blob_dir, monkeypatch):
    flushed = []
    real = os.fsync

    def watch(handle):
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", watch)
    blob = seal_blob(holder, bytes(LARGE))
    assert blob._state.adding
    place = blob_dir / blob.path
    assert place.exists()
    assert any("draft" in name for name in flushed)
    # The file's directory last, once the file has its name; and whatever was made above it.
    assert flushed[-1] == str(place.parent)
    assert {str(blob_dir), str(blob_dir.parent)} <= set(flushed)


def test_a_full_disk_leaves_nothing_behind(holder, blob_dir, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store_blob(holder, bytes(LARGE))
    assert files(blob_dir) == []
    assert not Blob.objects.exists()


def test_every_blob_has_a_key_of_its_own(holder):
    one, two = store_blob(holder, b"same"), store_blob(holder, b"same")
    assert bytes(one.data) != bytes(two.data)
    Blob.objects.filter(pk=one.pk).update(wrapped_key=two.wrapped_key)
    with pytest.raises(Tampered):
        open_blob(fresh(one))


@pytest.mark.parametrize("size", [100, LARGE])
def test_content_moved_to_another_blob_does_not_open(holder, size):
    one, two = store_blob(holder, os.urandom(size)), store_blob(holder, os.urandom(size))
    Blob.objects.filter(pk=one.pk).update(data=two.data, path=two.path)
    with pytest.raises(Tampered):
        open_blob(fresh(one))
    # ... nor with its key brought along: both are bound to the id.
    Blob.objects.filter(pk=one.pk).update(wrapped_key=two.wrapped_key)
    with pytest.raises(Tampered):
        open_blob(fresh(one))


def test_a_blob_moved_to_another_holder_does_not_open(holder):
    blob = store_blob(holder, b"content")
    Blob.objects.filter(pk=blob.pk).update(holder=HolderKey.create("mail"))
    with pytest.raises(Tampered):
        open_blob(fresh(blob))


def test_changed_bytes_of_row_and_file_are_found(holder, blob_dir):
    small, large = store_blob(holder, b"some content"), store_blob(holder, bytes(LARGE))
    data = bytearray(small.data)
    for index in range(len(data)):
        small.data = bytes(data[:index]) + bytes([data[index] ^ 4]) + bytes(data[index + 1 :])
        with pytest.raises(Tampered):
            open_blob(small)
    path = blob_dir / large.path
    content = bytearray(path.read_bytes())
    for index in (0, 12, 200_000, len(content) - 1):
        content[index] ^= 1
        path.write_bytes(content)
        with pytest.raises(Tampered):
            open_blob(large)
        content[index] ^= 1
    path.write_bytes(content[:-1])
    with pytest.raises(Tampered):
        open_blob(large)


def test_a_missing_file_is_said_to_be_missing(holder, blob_dir):
    blob = store_blob(holder, bytes(LARGE))
    (blob_dir / blob.path).unlink()
    with pytest.raises(BlobMissing):
        open_blob(blob)


def test_the_key_can_be_handed_in(holder):
    blob = fresh(store_blob(holder, b"content"))
    with CaptureQueriesContext(connection) as queries:
        assert open_blob(blob, holder.unwrap()) == b"content"
    assert len(queries) == 0


# --- handing over ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, LARGE])
def test_a_blob_is_handed_over_without_touching_its_content(holder, size):
    content = os.urandom(size)
    blob = store_blob(holder, content)
    sealed = fresh(blob).data, fresh(blob).path
    record = HolderKey.create("record")
    rewrap(blob, holder, record)
    assert (fresh(blob).data, fresh(blob).path) == sealed
    assert fresh(blob).holder == record
    assert open_blob(fresh(blob)) == open_blob(blob) == content
    holder.delete()
    assert open_blob(fresh(blob)) == content
    with pytest.raises(Tampered):
        open_blob(fresh(blob), os.urandom(32))


def test_a_blob_is_handed_over_once(holder):
    blob, late = store_blob(holder, b"content"), None
    late = fresh(blob)
    rewrap(blob, holder, HolderKey.create("record"))
    with pytest.raises(BlobMoved):
        rewrap(late, holder, HolderKey.create("record"))


def test_the_wrong_key_hands_nothing_over(holder):
    blob, record = store_blob(holder, b"content"), HolderKey.create("record")
    with pytest.raises(Tampered):
        rewrap(blob, os.urandom(32), record)
    assert fresh(blob).holder == holder


def test_a_parcel_is_claimed_with_the_answer_only():
    parcel = HolderKey.prepare("parcel", answer="blue heron")
    parcel.save()
    blobs = [store_blob(parcel, b"one"), store_blob(parcel, bytes(LARGE))]
    record = HolderKey.create("record")
    found = list(Blob.objects.filter(holder=parcel).order_by("pk"))
    with pytest.raises(AnswerNeeded):
        open_blob(found[0])
    with pytest.raises(AnswerNeeded):
        rewrap_all(found, HolderKey.objects.get(pk=parcel.pk), record)
    opened = HolderKey.objects.get(pk=parcel.pk)
    assert rewrap_all(found, opened.unwrap("blue heron"), record, to_key=record.unwrap()) == 2
    parcel.delete()
    assert [open_blob(fresh(blob)) for blob in blobs] == [b"one", bytes(LARGE)]


def test_all_are_handed_over_or_none(holder):
    blobs = [store_blob(holder, b"1"), store_blob(HolderKey.create("mail"), b"2")]
    with pytest.raises(Tampered):
        rewrap_all(blobs, holder, HolderKey.create("record"))
    assert fresh(blobs[0]).holder == holder


# --- deleting -------------------------------------------------------------------------------------


def test_deleting_the_key_shreds_all_below(holder, blob_dir, django_capture_on_commit_callbacks):
    blobs = [store_blob(holder, b"small"), store_blob(holder, bytes(LARGE))]
    kept = store_blob(HolderKey.create("mail"), bytes(LARGE))
    with django_capture_on_commit_callbacks(execute=True):
        HolderKey.objects.filter(pk=holder.pk).delete()
    assert not Blob.objects.filter(pk__in=[blob.pk for blob in blobs]).exists()
    assert [path.relative_to(blob_dir).as_posix() for path in files(blob_dir)] == [kept.path]


def test_a_copy_of_the_rows_and_files_opens_nothing_without_the_key_row(holder, blob_dir):
    """A backup of everything but the holder's row, with the keyring at hand."""
    small, large = fresh(store_blob(holder, b"small")), fresh(store_blob(holder, bytes(LARGE)))
    copy = (blob_dir / large.path).read_bytes()
    holder.delete()
    assert copy
    for blob in (small, large):
        with pytest.raises(Shredded):
            open_blob(blob)


@pytest.mark.django_db(transaction=True)
def test_a_file_goes_only_when_the_deletion_is_committed(blob_dir):
    holder = HolderKey.create("mail")
    blob = store_blob(holder, bytes(LARGE))
    with pytest.raises(RuntimeError), transaction.atomic():
        fresh(blob).delete()
        raise RuntimeError
    assert len(files(blob_dir)) == 1
    assert open_blob(fresh(blob)) == bytes(LARGE)
    with transaction.atomic():
        fresh(blob).delete()
        assert len(files(blob_dir)) == 1
    assert files(blob_dir) == []


def test_a_file_that_cannot_be_removed_does_not_undo_the_deletion(
    holder, monkeypatch, django_capture_on_commit_callbacks
):
    blob = store_blob(holder, bytes(LARGE))

    def refuse(name):
        raise PermissionError(name)

    monkeypatch.setattr(blob_files, "remove", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        holder.delete()
    assert not Blob.objects.filter(pk=blob.pk).exists()


def test_deleting_a_key_reads_no_content(holder):
    store_blob(holder, b"small")
    with CaptureQueriesContext(connection) as queries:
        HolderKey.objects.get(pk=holder.pk).delete()
    assert not [query for query in queries if '"data"' in query["sql"]]


def test_content_is_not_read_through_relations(holder):
    blob = store_blob(holder, b"small")
    (through,) = holder.blobs.all()
    assert open_blob(through) == b"small"
    from records.models import Message

    message = Message(raw_id=blob.pk)
    assert "data" in message.raw.get_deferred_fields()
    assert open_blob(message.raw) == b"small"
    message.raw.refresh_from_db()
    assert message.raw.size == 5


def test_old_files_without_a_row_are_swept(holder, blob_dir):
    kept = store_blob(holder, bytes(LARGE))
    orphan, young = seal_blob(holder, bytes(LARGE)), seal_blob(holder, bytes(LARGE))
    draft = (blob_dir / orphan.path).parent / ".draft-left-by-a-crash"
    draft.write_bytes(b"half")
    day_ago = (blob_dir / kept.path).stat().st_mtime - 25 * 3600
    for path in (blob_dir / kept.path, blob_dir / orphan.path, draft):
        os.utime(path, (day_ago, day_ago))
    assert sweep_orphans() == 2
    names = {path.relative_to(blob_dir).as_posix() for path in files(blob_dir)}
    assert names == {kept.path, young.path}
    assert sweep_orphans(timedelta(0)) == 1


def test_sweeping_before_anything_was_stored():
    assert sweep_orphans() == 0


# --- another storage ------------------------------------------------------------------------------


@pytest.fixture
def memory(settings):
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    assert isinstance(storages["blobs"], InMemoryStorage)
    return storages["blobs"]


def test_any_storage_keeps_large_content(holder, memory, django_capture_on_commit_callbacks):
    content = os.urandom(2 * CHUNK_BYTES + 3)
    blob = store_blob(holder, content)
    assert memory.size(blob.path) == sealed_size(len(content))
    assert open_blob(fresh(blob)) == content
    orphan = seal_blob(holder, content)
    assert sweep_orphans() == 0
    assert sweep_orphans(timedelta(0)) == 1
    assert not memory.exists(orphan.path)
    with django_capture_on_commit_callbacks(execute=True):
        holder.delete()
    assert not memory.exists(blob.path)
    with pytest.raises(BlobMissing):
        list(open_blob_stream(blob, holder.unwrap()))


def test_a_storage_that_renames_is_refused(memory):
    blob_files.write("ab/name", [b"one"])
    with pytest.raises(OSError, match="another name"):
        blob_files.write("ab/name", [b"two"])
    with blob_files.read("ab/name") as file:
        assert file.read() == b"one"
    assert memory.listdir("ab")[1] == ["name"]
