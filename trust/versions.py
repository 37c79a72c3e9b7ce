"""Tokens that change whenever a set of rows changes, so that every process knows when to read it again.

A token is random, never a counter: no roll-back and no restored database brings an old one back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import models, transaction

from healthvault.store.ids import new_id

ANCHORS = "anchors"
CRLS = "crls"


class SetVersion(models.Model):
    """The token of one set of rows as it stands now."""

    name = models.CharField(max_length=20, primary_key=True)
    token = models.UUIDField()

    class Meta:
        app_label = "trust"

    def __str__(self) -> str:
        return f"{self.name} {self.token}"


def bump(name: str) -> None:
    """Give the set a new token, in the transaction of the change."""
    token = new_id()
    if not SetVersion.objects.filter(pk=name).update(token=token):
        # Two processes may both make the row first; whichever token stays is new to every reader.
        SetVersion.objects.bulk_create([SetVersion(name=name, token=token)], ignore_conflicts=True)


def tokens() -> dict[str, UUID]:
    """The tokens of all sets. A set without one was never changed: do not keep what was read of it."""
    return dict(SetVersion.objects.values_list("name", "token"))


class VersionedQuerySet(models.QuerySet[Any]):
    """Bumps the set's token with every bulk change; `touch` changes what no verdict depends on."""

    def update(self, **values: Any) -> int:
        with transaction.atomic():
            changed = super().update(**values)
            bump(self.model.SET)
        return changed

    def delete(self) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            deleted = super().delete()
            bump(self.model.SET)
        return deleted

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        with transaction.atomic():
            made = super().bulk_create(objs, *args, **options)
            bump(self.model.SET)
        return made

    def touch(self, **values: Any) -> int:
        """An update that leaves the token alone."""
        return super().update(**values)


class Versioned(models.Model):
    """A row of the set `SET`: saving or deleting it bumps the set's token."""

    SET: str

    objects = VersionedQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            super().save(*args, **options)
            bump(self.SET)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            deleted = super().delete(*args, **options)
            bump(self.SET)
        return deleted
