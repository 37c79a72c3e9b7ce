"""Mail to people, as rows: written in the transaction of its cause, sent after it committed."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from healthvault.store import jobs
from healthvault.store.fields import SealedField
from healthvault.store.ids import new_id


class Notification(models.Model):
    """One mail to one address: `queued` -> `sending` -> `sent` | `failed(error_code)` | `dropped`.

    While `queued`, `lease_until` is the time before which it is not tried (again); while `sending` it
    is the end of the lease. Subject and text are erased once the relay took them.
    """

    class State(models.TextChoices):
        QUEUED = "queued", "Waiting"
        SENDING = "sending", "Being sent"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"
        DROPPED = "dropped", "Not sent: no longer needed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=40)
    dedupe_key = models.CharField(max_length=200, unique=True, null=True, editable=False)  # noqa: DJ001
    to_address = SealedField()
    subject = SealedField(null=True)
    text = SealedField(null=True)
    html = SealedField(null=True)
    state = models.CharField(max_length=7, choices=State.choices, default=State.QUEUED)
    tries = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    related_kind = models.CharField(max_length=40, blank=True)
    related_id = models.CharField(max_length=64, blank=True)
    #: The outcome is final and whoever asked to be told was not told yet.
    outcome_due = models.BooleanField(default=False)

    class Meta:
        indexes = [
            models.Index(fields=["kind", "related_id"], name="notification_related"),
            models.Index(
                fields=["lease_until"],
                name="notification_waiting",
                condition=Q(state__in=["queued", "sending"]),
            ),
            models.Index(fields=["id"], name="notification_outcome_due", condition=Q(outcome_due=True)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} mail {self.pk}"

    @classmethod
    def claim(cls, pk: Any) -> Notification | None:
        """Take the row for sending; None when it is not due or somebody else has it."""
        return jobs.claim(cls, pk, waiting=cls.State.QUEUED, working=cls.State.SENDING)

    @classmethod
    def due(cls, limit: int = 500) -> list[str]:
        """Ids of mails that are due and that nobody is sending, oldest first."""
        return jobs.offered(cls, waiting=cls.State.QUEUED, working=cls.State.SENDING, limit=limit)

    @classmethod
    def release_all(cls) -> int:
        """Give back every lease; for the start of the only worker there is. Returns how many."""
        return jobs.release(cls, waiting=cls.State.QUEUED, working=cls.State.SENDING)
