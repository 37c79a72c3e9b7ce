"""Holder keys, and the blobs that are sealed under them.

What belongs together (a mail, a parcel, a record) has one holder key. It is wrapped by the keyring, it
wraps the key of every blob of its holder, and it seals the small fields of its holder's rows. Deleting
the row of the key therefore deletes all of that, in backups too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models.query import QuerySet
from django.utils import timezone

from healthvault.store.errors import AnswerNeeded, Busy, NoAnswerAsked
from healthvault.store.ids import new_id
from healthvault.store.keyrings import keyring
from healthvault.vault.answers import (
    answer_key,
    new_salt,
    rewrap_under_answer,
    unwrap_under_answer,
    wrap_under_answer,
)
from healthvault.vault.errors import KeyringUnavailable
from healthvault.vault.keyring import Wrapper
from healthvault.vault.sealing import new_key

__all__ = ["Blob", "HolderKey", "KeyringUnavailable", "new_id", "spend_answer_time"]

#: Argon2id takes 64 MiB and a fifth of a second of a core: no more than this many at once, so that
#: guessing answers is no way to starve the portal.
ANSWERS_AT_ONCE = 4
ANSWER_WAIT_S = 20.0
_answer_slots = threading.BoundedSemaphore(ANSWERS_AT_ONCE)


@contextmanager
def _answer_slot() -> Iterator[None]:
    if not _answer_slots.acquire(timeout=ANSWER_WAIT_S):
        raise Busy("too many answers are being tried")
    try:
        yield
    finally:
        _answer_slots.release()


def spend_answer_time(answer: str) -> None:
    """Do the work of one answer and forget it: unknown and locked parcels cost what real ones cost."""
    with _answer_slot():
        answer_key(answer, b"\x00" * 16)


class HolderKey(models.Model):
    """The key of one holder, wrapped; under an answer as well when `answer_salt` is set.

    An unwrapped key lives in the instance it was unwrapped by and nowhere else.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=20)
    wrapped = models.BinaryField()
    answer_salt = models.BinaryField(null=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    _key: bytes | None = None

    def __str__(self) -> str:
        return f"{self.kind} key {self.pk}"

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state.pop("_key", None)
        return state

    @classmethod
    def prepare(cls, kind: str, answer: str | None = None, *, pk: UUID | None = None) -> Self:
        """A new key as an instance that is not saved yet.

        With `answer` (normalised) it is under that answer as well, which takes Argon2id's time: do it
        before the transaction that saves the row. Raises KeyringUnavailable, Busy.
        """
        holder = cls(kind=kind) if pk is None else cls(kind=kind, pk=pk)
        holder._key = new_key()
        if answer is None:
            holder.wrapped = keyring().wrap(holder._key, holder._aad())
        else:
            holder.seal_under_answer(answer)
        return holder

    @classmethod
    def create(cls, kind: str) -> Self:
        """A new key, saved."""
        holder = cls.prepare(kind)
        holder.save(force_insert=True)
        return holder

    def unwrap(self, answer: str | None = None) -> bytes:
        """The key, 32 bytes; kept in this instance, so that its sealed fields open after one call.

        Raises AnswerNeeded when it is under an answer and none was given, NoAnswerAsked when it is under
        none and one was given, WrongAnswer, UnknownKey, Tampered, KeyringUnavailable, Busy. With an answer
        it takes Argon2id's time, and the answer is compared even if the key is here.
        """
        if self._key is None or answer is not None:
            self._key = self._unwrap(answer)
        return self._key

    def seal_under_answer(self, answer: str) -> None:
        """Put the key under `answer` (normalised) and the keyring; saved at once if the row exists.

        Takes Argon2id's time: not for use inside a transaction. Content stays as it is.
        """
        key, salt = self.unwrap(), new_salt()
        with _answer_slot():
            self.wrapped = wrap_under_answer(key, answer, salt, keyring(), self._aad())
        self.answer_salt = salt
        if not self._state.adding:
            self.save(update_fields=["wrapped", "answer_salt"])

    def forget(self) -> None:
        """Drop the unwrapped key from this instance."""
        self._key = None

    def rewrapped(self, ring: Wrapper) -> bytes:
        """`wrapped` under the first key of `ring`; needs no answer."""
        wrapped = bytes(self.wrapped)
        if self.answer_salt is not None:
            return rewrap_under_answer(wrapped, ring, self._aad())
        return ring.wrap(ring.unwrap(wrapped, self._aad()), self._aad())

    def _unwrap(self, answer: str | None) -> bytes:
        wrapped = bytes(self.wrapped)
        if self.answer_salt is None:
            if answer is not None:
                raise NoAnswerAsked("this key is under no answer")
            return keyring().unwrap(wrapped, self._aad())
        if answer is None:
            raise AnswerNeeded("this key is under an answer")
        with _answer_slot():
            return unwrap_under_answer(wrapped, answer, bytes(self.answer_salt), keyring(), self._aad())

    def _aad(self) -> bytes:
        return b"holder\x00" + self.kind.encode() + b"\x00" + self.pk.bytes


class _WithoutData(models.Manager["Blob"]):
    """Blobs reached through relations and cascades come without their bytes."""

    def get_queryset(self) -> QuerySet[Blob]:
        return super().get_queryset().defer("data")


class Blob(models.Model):
    """Sealed content of any size: in the row when small, else in a file of the blob storage.

    Content has a key of its own and is bound to the id of the blob; that key is wrapped by the key of
    the holder and bound to both ids. See `healthvault.store.blobs` for writing and reading.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    holder = models.ForeignKey(HolderKey, on_delete=models.CASCADE, related_name="blobs")
    wrapped_key = models.BinaryField()
    size = models.PositiveBigIntegerField()
    data = models.BinaryField(null=True)
    path = models.CharField(max_length=100, blank=True, default="")
    chunked = models.BooleanField(default=False)
    created = models.DateTimeField(default=timezone.now, editable=False)

    objects = models.Manager()
    without_data = _WithoutData()

    class Meta:
        base_manager_name = "without_data"

    def __str__(self) -> str:
        return f"blob {self.pk}"

    def refresh_from_db(self, using: Any = None, fields: Any = None, from_queryset: Any = None) -> None:
        # The base manager leaves `data` out; asking it for `data` alone would never end.
        super().refresh_from_db(using, fields, Blob.objects.all() if from_queryset is None else from_queryset)
