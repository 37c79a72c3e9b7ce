"""Files from a person's own disk: they come in the way attachments do, and say so."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store.blobs import rewrap_all
from healthvault.store.models import Blob, HolderKey

from . import quota
from .access import messages_visible_to
from .arranging import lock
from .filing import file_message
from .intake import IncomingMessage, store_parts
from .looking import type_of
from .models import Account, Attachment, Entry, FilePreference, Message, Record

MOST_NAME = 200


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload, and whether it is `new` or was in the record already."""

    message: Message
    new: bool


def take_upload(record: Record, account: Account, filename: str, data: bytes) -> Upload:
    """Store a file that `account` chose, and let its documents be read, as if a message had brought it.

    What it is its own bytes say. A file that is no document becomes one of the record's files whatever the
    preference for attachments: putting it here was the answer. The same bytes again, while their first
    upload is here, are not taken twice: that upload is returned, where `account` may see it. One that is
    hidden from them is as if it were not there, since the answer would tell of it. Raises
    `quota.RecordFull`.
    """
    before = _same(record, account, data)
    if before is not None:
        return Upload(before, new=False)
    quota.require_room(record, len(data))
    name = clean_name(filename)
    # Under a key of their own: the parts of an upload that comes to nothing are none of the record's.
    holder = HolderKey.create("upload")
    try:
        incoming = IncomingMessage(
            from_address="",
            from_name=account.get_full_name(),
            subject=name,
            text="",
            size=len(data),
            source=Message.Source.UPLOAD,
            parts=store_parts(holder, [(name, type_of(data), data)]),
        )
        with transaction.atomic():
            # What takes long, reading and sealing, is done before; so another upload may have come first.
            lock(record)
            before = _same(record, account, data)
            if before is not None:
                return Upload(before, new=False)
            return Upload(_file(record, account, incoming, holder), new=True)
    finally:
        holder.delete()


def _file(record: Record, account: Account, incoming: IncomingMessage, holder: HolderKey) -> Message:
    quota.claim_room(record, incoming.blobs)
    rewrap_all(Blob.without_data.filter(pk__in=incoming.blobs), holder, record.holder)
    message = file_message(record, incoming, direction=Message.Direction.OWN, files=FilePreference.ALWAYS)
    Message.objects.filter(pk=message.pk).update(opened=timezone.now())
    trail.record("file.uploaded", actor=account, record=record, subject=message.pk)
    return message


def _same(record: Record, account: Account, data: bytes) -> Message | None:
    """The upload of these very bytes whose document or file is still here, and which `account` may see."""
    rows = Attachment.objects.filter(
        message__in=messages_visible_to(account),
        message__record=record,
        message__direction=Message.Direction.OWN,
        size=len(data),
    ).filter(
        Q(documents__isnull=False)
        | Q(entries__state=Entry.State.ACTIVE)
        | Q(outcome=Attachment.Outcome.UNPACKED, message__attachments__entries__state=Entry.State.ACTIVE)
    )
    digest = hashlib.sha256(data).hexdigest()
    related = rows.select_related("message__record__holder").distinct()
    return next((part.message for part in related if part.sha256 == digest), None)


def clean_name(name: str) -> str:
    """The last segment of a name without control, format and bidi characters, 200 characters at most."""
    segment = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(one for one in segment if unicodedata.category(one)[0] != "C").strip(" .")
    stem, dot, suffix = kept.rpartition(".")
    if len(kept) > MOST_NAME and dot and len(suffix) < 20:
        kept = f"{stem[: MOST_NAME - len(suffix) - 1]}.{suffix}"
    return kept[:MOST_NAME] or "file"
