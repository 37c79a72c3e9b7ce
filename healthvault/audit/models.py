"""The audit trail: who did what, for whom, when, from where, and what came of it; never content.

Rows are only ever added. Each carries an HMAC over itself and the row before it, so that an edit, an
insertion, a deletion or a swap by somebody without the key is found.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models


class AppendOnly(Exception):
    """Audit rows are neither changed nor deleted."""


class AuditRows(models.QuerySet["AuditEvent"]):
    """Rows to read."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnly("audit rows are not changed")

    def delete(self) -> NoReturn:
        raise AppendOnly("audit rows are not deleted")

    def bulk_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly("audit rows are written by healthvault.audit.trail")

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly("audit rows are not changed")


class AuditEvent(models.Model):
    """One thing that was done or tried."""

    shard = models.PositiveSmallIntegerField(editable=False)
    seq = models.PositiveBigIntegerField(editable=False)
    at = models.DateTimeField(editable=False)
    action = models.CharField(max_length=60, editable=False)
    actor = models.CharField(max_length=64, blank=True, editable=False)
    record = models.UUIDField(null=True, editable=False)
    subject = models.CharField(max_length=100, blank=True, editable=False)
    outcome = models.CharField(max_length=40, editable=False)
    address = models.GenericIPAddressField(null=True, editable=False)
    ids = models.JSONField(default=dict, editable=False)
    mac = models.BinaryField()

    objects = AuditRows.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["shard", "seq"], name="audit_places")]
        indexes = [
            models.Index(fields=["record", "-at"], name="audit_by_record"),
            models.Index(fields=["-at"], name="audit_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.shard}/{self.seq}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly("audit rows are not changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly("audit rows are not deleted")


class AuditHead(models.Model):
    """The end of one chain, and the lock on it. `seal` shows that we wrote it."""

    shard = models.PositiveSmallIntegerField(primary_key=True)
    seq = models.PositiveBigIntegerField(default=0)
    mac = models.BinaryField()
    seal = models.BinaryField()

    def __str__(self) -> str:
        return f"head {self.shard}/{self.seq}"
