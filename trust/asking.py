"""Rows of what people ask the portal for in matters of trust, until somebody or something answers.

Import them from `trust.models`.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from healthvault.store.fields import SealedField
from healthvault.store.ids import new_id


class TrustDraft(models.Model):
    """A request from outside whose contact mailbox is not proven yet: sealed, and erased after a day.

    `content` is what `trust.requests.Asked` holds, as JSON; `code_hash` the keyed hash of the mailed code.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    content = SealedField(json=True)
    contact_hash = models.CharField(max_length=64, db_index=True)
    network = models.CharField(max_length=64)
    code_hash = models.CharField(max_length=64)
    code_sent = models.DateTimeField(default=timezone.now)
    codes = models.PositiveSmallIntegerField(default=1)
    tries_left = models.PositiveSmallIntegerField(default=5)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "trust"
        indexes = [models.Index(fields=["created"], name="trust_draft_by_time")]

    def __str__(self) -> str:
        return f"draft {self.pk}"


class TrustRequest(models.Model):
    """That anchors be trusted: asked by an organisation, by its machine, or by an administrator.

    `certificates` is PEM. `domain` is the one of ours that it is for, or NULL for all. In production a second
    account must agree: `first_by` is who agreed first (or asked, for an administrator's own import).
    """

    class Source(models.TextChoices):
        WEB = "web", "Asked on the website"
        REST = "rest", "Asked by the partner's system"
        CONSOLE = "console", "Imported by an administrator"

    class State(models.TextChoices):
        OPEN = "open", "Waiting for a decision"
        ACCEPTED = "accepted", "Accepted"
        DECLINED = "declined", "Declined"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    source = models.CharField(max_length=7, choices=Source.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    organization_name = models.CharField(max_length=200)
    organization = models.ForeignKey(
        "trust.Organization", null=True, blank=True, on_delete=models.SET_NULL, related_name="requests"
    )
    contact_email = SealedField(null=True)
    domains = models.JSONField(default=list, blank=True)
    certificates = models.TextField()
    domain = models.ForeignKey(
        "trust.Domain", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    incoming = models.BooleanField(default=True)
    outgoing = models.BooleanField(default=True)
    reason = models.CharField(max_length=300, blank=True)
    first_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "trust"
        ordering = ["-created"]
        indexes = [models.Index(fields=["state", "-created"], name="trust_request_queue")]

    def __str__(self) -> str:
        return f"request of {self.organization_name}"

    @property
    def is_open(self) -> bool:
        return self.state == self.State.OPEN


class IdentityRequest(models.Model):
    """Work on our own certificates that needs private keys: `waiting` -> `working` -> `done` | `failed`.

    The console writes it, a worker that holds the keyring of identities does it. `file` is an uploaded
    PKCS #12 file (base64) with its password, sealed under the keyring of content and erased with the outcome.
    """

    class Kind(models.TextChoices):
        ISSUE = "issue", "Make a certificate"
        IMPORT = "import", "Take in a certificate from outside"
        REVOKE = "revoke", "Revoke a certificate"
        ROLL = "roll", "Make the next authority"

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting for a worker"
        WORKING = "working", "Being done"
        DONE = "done", "Done"
        FAILED = "failed", "Not done"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=6, choices=Kind.choices)
    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    name = models.CharField(max_length=320, blank=True)
    reason = models.CharField(max_length=40, blank=True)
    #: What a certificate is made for: a value of `Identity.Use`, or `separate` for two of one use each.
    use = models.CharField(max_length=10, blank=True, default="dual", db_default="dual")
    file: Any = SealedField(json=True, null=True, editable=False)
    identity = models.ForeignKey(
        "trust.Identity", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    code = models.CharField(max_length=40, blank=True)
    detail = models.CharField(max_length=300, blank=True)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    tries = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    created = models.DateTimeField(default=timezone.now)
    finished = models.DateTimeField(null=True)

    class Meta:
        app_label = "trust"
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()
