"""Exports as jobs: asked for, made by a worker, kept for a week, sealed like everything else."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store import jobs
from healthvault.store.blobs import open_blob_stream, seal_blob
from healthvault.store.models import Blob

from .arranging import lock
from .models import Account, Export, Record
from .record_archive import RecordArchive, members

log = logging.getLogger(__name__)

KEPT_FOR = timedelta(days=7)
MOST_KEPT = 3
_TELL_EVERY_S = 1.0


class TooManyExports(Exception):
    """As many exports are kept as one record may have; they expire, or can be deleted."""

    code = "too_many_exports"


class NotReady(Exception):
    """The export is not made yet, failed, or is gone."""

    code = "not_ready"


def request_export(record: Record, account: Account | None) -> Export:
    """Ask for a copy of `record`; one that is being made is returned instead of a second one.

    For custodians: the copy holds everything. Raises `TooManyExports`.
    """
    from .tasks import make_export as task

    with transaction.atomic():
        lock(record)
        exports = Export.objects.filter(record=record)
        under_way = exports.filter(state__in=[Export.State.WAITING, Export.State.MAKING]).first()
        if under_way is not None:
            return under_way
        if exports.filter(state=Export.State.READY).count() >= MOST_KEPT:
            raise TooManyExports(f"{MOST_KEPT} exports are kept already")
        export = Export.objects.create(record=record, account=account, total=members(record))
        trail.record("export.requested", actor=account, record=record, subject=export.pk)
        jobs.ring(task, str(export.pk))
    return export


def make_export(pk: str) -> str | None:
    """Make the export `pk`; returns its new state, or None when there was nothing to do."""
    export = jobs.claim(Export, pk, waiting=Export.State.WAITING, working=Export.State.MAKING)
    if export is None:
        return None
    if export.tries > jobs.MOST_KILLS:
        jobs.finish(export, Export.State.FAILED, code="worker_killed")
        return Export.State.FAILED
    record = Record.objects.select_related("holder").get(pk=export.record_id)
    blob = seal_blob(record.holder, RecordArchive(record, _Told(export)))
    with transaction.atomic():
        blob.save(force_insert=True)
        expires = timezone.now() + KEPT_FOR
        jobs.finish(export, Export.State.READY, blob=blob, expires=expires, done=export.total)
        trail.record("export.made", record=record, subject=export.pk)
    log.info("record exported", extra={"export": export.pk, "size": blob.size})
    return Export.State.READY


def open_export(export: Export) -> Iterator[bytes]:
    """The ZIP in pieces, each verified. Raises `NotReady` at once when there is none."""
    blob = export.blob if export.state == Export.State.READY else None
    if blob is None:
        raise NotReady("there is nothing to download")
    return open_blob_stream(Blob.objects.select_related("holder").get(pk=blob.pk))


def delete_export(export: Export, account: Account | None) -> None:
    """Delete a copy before its time is over."""
    if _drop(export):
        trail.record("export.deleted", actor=account, record=export.record_id, subject=export.pk)


def forget_exports(record: Record, account: Account | None) -> None:
    """Delete every copy of `record`, and begin those anew that are being made: something has left it that no
    copy may keep. Call it in the transaction that takes it out.
    """
    from .tasks import make_export as task

    exports = Export.objects.filter(record=record)
    for ready in exports.filter(state=Export.State.READY).select_related("blob"):
        delete_export(ready, account)
    for making in exports.filter(state=Export.State.MAKING):
        # The next claim counts one more try, so that who makes it now cannot finish it.
        if exports.filter(pk=making.pk, state=Export.State.MAKING).update(
            state=Export.State.WAITING, lease_until=None
        ):
            jobs.ring(task, str(making.pk))


def expire_exports() -> int:
    """Delete the copies whose time is over; returns how many."""
    over = Export.objects.filter(state=Export.State.READY, expires__lte=timezone.now())
    return sum(_drop(export) for export in over)


def _drop(export: Export) -> bool:
    with transaction.atomic():
        here = Export.objects.filter(pk=export.pk, state=Export.State.READY)
        if here.update(state=Export.State.EXPIRED, blob=None) != 1:
            return False
        if export.blob is not None:
            export.blob.delete()
    export.refresh_from_db()
    return True


class _Told:
    """Writes down how far an export is, and keeps its lease: a large one takes longer than one lease."""

    def __init__(self, export: Export) -> None:
        self.export = export
        self.last = time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self.last < _TELL_EVERY_S:
            return
        self.last = time.monotonic()
        until = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
        held = Export.objects.filter(pk=self.export.pk, state=self.export.state, tries=self.export.tries)
        if held.update(done=min(done, self.export.total), lease_until=until) != 1:
            raise jobs.LeaseLost
