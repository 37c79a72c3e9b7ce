"""Moving everything that is wrapped by an older key of the keyring under its first one.

Only keys and small values under the keyring are touched; content and everything under a holder key stay
as they are. Each batch is a short transaction and each row a conditional UPDATE, so that work may go on
beside it, and a run that was killed is taken up by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import Count, ExpressionWrapper, F
from django.db.models.functions import Substr

from healthvault.store.fields import SealedBytes, SealedField, sealed_fields
from healthvault.store.keyrings import IDENTITY, VAULT, named_keyring
from healthvault.store.models import HolderKey
from healthvault.vault.errors import KeyringUnavailable, Tampered, VaultError
from healthvault.vault.keyring import Keyring, key_id_of

BATCH = 500


@dataclass(slots=True)
class Rotation:
    """What a run did: rows moved, rows that do not open (as "model.field row"), keyrings not at hand."""

    moved: int = 0
    failed: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failed


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of wrapped values, and how to re-wrap one of them."""

    model: type[models.Model]
    name: str
    keyring: str
    rewrap: Callable[[Any, bytes, Keyring], bytes]

    def __str__(self) -> str:
        return f"{self.model._meta.label_lower}.{self.name}"

    def wrapped_otherwise(self, prefix: bytes) -> models.QuerySet[Any]:
        """Rows whose value does not begin with `prefix`."""
        start = Substr(self.name, 1, len(prefix), output_field=models.BinaryField())
        rows = self.model._base_manager.filter(**{f"{self.name}__isnull": False})
        return rows.annotate(_start=start).exclude(_start=prefix)

    def replace(self, pk: Any, old: bytes, new: bytes) -> int:
        """Change one value if it still is `old`."""
        raw = ExpressionWrapper(F(self.name), output_field=models.BinaryField())
        rows = self.model._base_manager.filter(pk=pk).annotate(_raw=raw).filter(_raw=old)
        return rows.update(**{self.name: SealedBytes(new)})


def rotate_vault_keys(batch: int = BATCH) -> Rotation:
    """Re-wrap what is not under the first key, `batch` rows a transaction; run it again after a crash.

    A process without the identity keyring leaves what is under it alone and says so.
    """
    rotation = Rotation()
    for column in _columns():
        try:
            ring = named_keyring(column.keyring)
        except KeyringUnavailable:
            if column.keyring not in rotation.unavailable:
                rotation.unavailable.append(column.keyring)
            continue
        for rows in _batches(column, ring, batch):
            _move(column, ring, rows, rotation)
    return rotation


def rotation_status() -> dict[str, dict[str, int]]:
    """How many values each key id wraps, by keyring; an old key may go when it wraps none."""
    status: dict[str, dict[str, int]] = {VAULT: {}, IDENTITY: {}}
    for column in _columns():
        counts = status[column.keyring]
        for start, count in _starts(column):
            try:
                key_id = key_id_of(start)
            except Tampered:
                key_id = "?"
            counts[key_id] = counts.get(key_id, 0) + count
    return status


def _columns() -> Iterator[_Column]:
    yield _Column(HolderKey, "wrapped", VAULT, lambda row, _, ring: row.rewrapped(ring))
    for model in apps.get_models():
        for sealed in sealed_fields(model):
            if not sealed.holder and sealed.model is model:
                yield _Column(model, sealed.attname, sealed.keyring, _rewrap_value(sealed))


def _rewrap_value(sealed: SealedField) -> Callable[[Any, bytes, Keyring], bytes]:
    def rewrap(row: Any, value: bytes, ring: Keyring) -> bytes:
        place = sealed.aad(row.pk)
        return ring.wrap(ring.unwrap(value, place), place)

    return rewrap


def _batches(column: _Column, ring: Keyring, size: int) -> Iterator[list[Any]]:
    rows = column.wrapped_otherwise(ring.prefix).order_by("pk").only("pk", *_needed(column))
    last: Any = None
    while batch := list((rows if last is None else rows.filter(pk__gt=last))[:size]):
        yield batch
        last = batch[-1].pk


def _needed(column: _Column) -> list[str]:
    return ["kind", "wrapped", "answer_salt"] if column.model is HolderKey else [column.name]


def _move(column: _Column, ring: Keyring, rows: list[Any], rotation: Rotation) -> None:
    moves = []
    for row in rows:
        value = bytes(row.__dict__[column.name])
        try:
            moves.append((row.pk, value, column.rewrap(row, value, ring)))
        except VaultError:
            rotation.failed.append(f"{column} {row.pk}")
    with transaction.atomic():
        rotation.moved += sum(column.replace(pk, old, new) for pk, old, new in moves)


def _starts(column: _Column) -> Iterator[tuple[bytes, int]]:
    """Beginnings of a column's values, long enough for the longest key id, and how many have each."""
    raw = ExpressionWrapper(F(column.name), output_field=models.BinaryField())
    filled = column.model._base_manager.filter(**{f"{column.name}__isnull": False}).annotate(_raw=raw)
    # The second byte is the length of the id: first count by length, then by id.
    lengths = (
        filled.order_by().values(_head=Substr("_raw", 1, 2, output_field=models.BinaryField())).distinct()
    )
    for head in [bytes(row["_head"]) for row in lengths]:
        length = 2 + head[1] if len(head) == 2 else 2
        start = Substr("_raw", 1, length, output_field=models.BinaryField())
        same = filled.annotate(_two=Substr("_raw", 1, 2, output_field=models.BinaryField())).filter(_two=head)
        for row in same.order_by().values(_start=start).annotate(count=Count("pk")):
            yield bytes(row["_start"]), row["count"]
