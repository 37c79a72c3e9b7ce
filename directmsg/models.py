"""Direct mail: addresses, every copy that came in or goes out, parcels, and the ledger.

Nothing clinical stands here in clear: states, times, sizes, Direct addresses and codes only.
"""

from __future__ import annotations

import re

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from healthvault.store.fields import SealedField
from healthvault.store.models import Blob, HolderKey, new_id

from .agent.address import normalise


class DirectAddress(models.Model):
    """A name at one of our domains. It belongs to one record and is never given to another."""

    class State(models.TextChoices):
        ACTIVE = "active", "Active"
        DISABLED = "disabled", "Switched off"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    address = models.CharField(max_length=320, unique=True)
    record = models.ForeignKey(
        "records.Record", null=True, on_delete=models.SET_NULL, related_name="direct_addresses"
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.ACTIVE)
    primary = models.BooleanField(default=True)
    first_used = models.DateTimeField(null=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "direct addresses"
        constraints = [
            models.UniqueConstraint(
                fields=["record"], condition=Q(primary=True), name="one_primary_address_per_record"
            )
        ]

    def __str__(self) -> str:
        return self.address


_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class PartnerDomain(models.Model):
    """How mail to one domain of others is written, where its system does not read the usual form.

    What is not set stays as usual: keys by RSAES-OAEP with SHA-256 (or as our sending domain has it), content
    by AES-128-CBC, the reporting address as MAIL FROM of notifications.
    """

    class KeyTransport(models.TextChoices):
        OAEP_SHA256 = "oaep-sha256", "RSAES-OAEP with SHA-256"
        OAEP_SHA1 = "oaep-sha1", "RSAES-OAEP with its default parameters"
        PKCS1 = "pkcs1v15", "RSAES-PKCS1-v1_5"

    class Cipher(models.TextChoices):
        AES128 = "aes128-cbc", "AES-128-CBC"
        AES256 = "aes256-cbc", "AES-256-CBC"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(
        "domain", max_length=255, unique=True, help_text="As it stands behind the @ sign."
    )
    key_transport = models.CharField(
        "how keys are encrypted",
        max_length=11,
        choices=KeyTransport.choices,
        blank=True,
        help_text="RSAES-PKCS1-v1_5 is for systems that cannot open anything else.",
    )
    cipher = models.CharField("how content is encrypted", max_length=10, choices=Cipher.choices, blank=True)
    null_path = models.BooleanField(
        "notifications with the null path",
        default=False,
        help_text="MAIL FROM:<> for notifications to this domain (RFC 8098). The reference agents refuse it:"
        " switch it on only where the other side asks for it.",
    )
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """The name in the form that addresses are compared in. Raises ValidationError."""
        typed = self.name.strip().removeprefix("@")
        self.name = normalise(f"postmaster@{typed}").rpartition("@")[2]
        if "@" in typed or not _DOMAIN.fullmatch(self.name):
            raise ValidationError({"name": "Write a domain, like direct.clinic.example."})


class BlockedSender(models.Model):
    """An address, or a whole domain, whose mail a record does not take; in the form that is compared."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    record = models.ForeignKey("records.Record", on_delete=models.CASCADE, related_name="blocked_senders")
    name = models.CharField(max_length=320)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    since = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["record", "name"], name="each_blocked_sender_once")]

    def __str__(self) -> str:
        return f"blocked sender {self.pk}"

    @property
    def is_address(self) -> bool:
        """Whether it is one address, not a domain."""
        return "@" in self.name


class InboundMail(models.Model):
    """One recipient's copy of one accepted message: the queue of the receiving agent.

    `received` -> `processing` -> `filed` | `parcelled` | `notified` | `refused` | `stuck`.
    """

    class State(models.TextChoices):
        RECEIVED = "received", "Received"
        PROCESSING = "processing", "Being processed"
        FILED = "filed", "Filed in a record"
        PARCELLED = "parcelled", "Held for pickup"
        NOTIFIED = "notified", "Was a notification"
        REFUSED = "refused", "Refused"
        STUCK = "stuck", "Stuck: needs a look"

    FINAL = frozenset({State.FILED, State.PARCELLED, State.NOTIFIED})
    AGAIN = frozenset({State.REFUSED, State.STUCK})

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    sha256 = models.CharField(max_length=64)
    recipient = models.CharField(max_length=320)
    mail_from = models.CharField(max_length=320, blank=True)
    protocol = models.CharField(max_length=8)
    peer = models.CharField(max_length=64, blank=True)
    size = models.PositiveBigIntegerField()
    holder = models.ForeignKey(HolderKey, null=True, on_delete=models.SET_NULL, related_name="+")
    raw = models.ForeignKey(Blob, null=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECEIVED)
    code = models.CharField(max_length=40, blank=True)
    detail = models.CharField(max_length=500, blank=True)
    report = models.JSONField(default=dict)
    tries = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    from_address = models.CharField(max_length=320, blank=True)
    original_message_id = models.CharField(max_length=998, blank=True)
    organization = models.ForeignKey(
        "trust.Organization", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    #: What a notification that is not due yet needs to be written; see `notices.Reply`.
    reply = SealedField(json=True, null=True)
    message = models.OneToOneField(
        "records.Message", null=True, on_delete=models.SET_NULL, related_name="inbound"
    )
    received = models.DateTimeField(default=timezone.now)
    finished = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["sha256", "recipient", "mail_from"], name="each_copy_once")
        ]
        indexes = [
            models.Index(fields=["-received"]),
            models.Index(
                fields=["lease_until"],
                name="inbound_unfinished",
                condition=Q(state__in=["received", "processing"]),
            ),
        ]

    def __str__(self) -> str:
        return f"mail {self.pk}"


class Parcel(models.Model):
    """A message held for somebody who has no account yet, or has to answer a question first.

    Contact e-mail and question are sealed under the keyring. Content is sealed under the parcel's
    holder key, which with a question opens only with the answer.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting to be picked up"
        CLAIMED = "claimed", "Picked up"
        EXPIRED = "expired", "Expired"
        LOCKED = "locked", "Locked after wrong answers"
        DECLINED = "declined", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn by the sender"

    class Source(models.TextChoices):
        DIRECT = "direct", "Direct mail"
        REST = "rest", "Partner API"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    source = models.CharField(max_length=6, choices=Source.choices, default=Source.DIRECT)
    inbound = models.OneToOneField(InboundMail, null=True, on_delete=models.PROTECT, related_name="parcel")
    organization = models.ForeignKey(
        "trust.Organization", null=True, on_delete=models.PROTECT, related_name="parcels"
    )
    organization_name = models.CharField(max_length=200)
    from_address = models.CharField(max_length=320, blank=True)
    holder = models.OneToOneField(HolderKey, null=True, on_delete=models.SET_NULL, related_name="+")
    content = models.ForeignKey(Blob, null=True, on_delete=models.SET_NULL, related_name="+")
    contact_email = SealedField(null=True)
    contact_hash = models.CharField(max_length=64, db_index=True)
    question = SealedField(null=True)
    wrong_answers = SealedField(json=True, null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    tries_left = models.PositiveSmallIntegerField()
    was_reset = models.BooleanField(default=False)
    attachments = models.PositiveSmallIntegerField(default=0)
    size = models.PositiveBigIntegerField(default=0)
    token_hash = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001
    #: The hash of the link as it was when the parcel was claimed, so that it still leads its claimer there.
    claimed_token_hash = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001
    created = models.DateTimeField(default=timezone.now)
    expires = models.DateTimeField()
    #: When an administrator offered it although its sender is trusted no more; see `standing`.
    cleared = models.DateTimeField(null=True)
    notified = models.DateTimeField(null=True)
    bounced = models.DateTimeField(null=True)
    decided = models.DateTimeField(null=True)
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="parcels"
    )
    for_record = models.ForeignKey(
        "records.Record", null=True, on_delete=models.SET_NULL, related_name="waiting_parcels"
    )
    message = models.OneToOneField(
        "records.Message", null=True, on_delete=models.SET_NULL, related_name="parcel"
    )

    class Meta:
        indexes = [models.Index(fields=["state", "expires"])]

    def __str__(self) -> str:
        return f"parcel {self.pk}"

    @property
    def contact(self) -> str:
        """The contact e-mail."""
        return str(self.contact_email)

    @property
    def has_question(self) -> bool:
        """Whether the holder key opens only with an answer."""
        return self.question is not None

    @property
    def state_now(self) -> str:
        """The state judged at this moment: expiry does not wait for the clean-up job."""
        if self.state in (self.State.WAITING, self.State.LOCKED) and self.expires <= timezone.now():
            return self.State.EXPIRED
        return self.state


class OutboundMail(models.Model):
    """One recipient's copy of one mail we send, and what became of it.

    A person's message: `queued` -> `sending` -> `sent` -> `processed` -> `dispatched` (-> `displayed`), or
    `failed(code)`, or `timed_out(code)`. Everything else (MDN, DSN, notice) ends at `sent` or `failed`.
    While `queued`, `lease_until` is the time before which it is not tried (again). A final outcome is never
    changed; news that comes later is an event only.

    `identifier` is the Message-ID without angle brackets, the same at every try, as are the sealed bytes.
    `holder` is the record's key for a person's message, else a key of this row alone that goes when the row
    is final.
    """

    class Kind(models.TextChoices):
        MESSAGE = "message", "Message"
        MDN = "mdn", "Disposition notification"
        DSN = "dsn", "Delivery status notification"
        NOTICE = "notice", "Notice about a parcel"

    class State(models.TextChoices):
        QUEUED = "queued", "Waiting"
        SENDING = "sending", "Being sent"
        SENT = "sent", "Sent"
        PROCESSED = "processed", "Reached their system"
        DISPATCHED = "dispatched", "Delivered"
        DISPLAYED = "displayed", "Opened"
        FAILED = "failed", "Failed"
        TIMED_OUT = "timed_out", "No confirmation in time"

    #: A person's message in one of these has no outcome yet.
    OPEN = frozenset({State.QUEUED, State.SENDING, State.SENT, State.PROCESSED})
    #: These need no bytes any more.
    HANDED_OVER = frozenset({State.SENT, State.PROCESSED, State.DISPATCHED, State.DISPLAYED})
    DELIVERED = frozenset({State.DISPATCHED, State.DISPLAYED})
    LOST = frozenset({State.FAILED, State.TIMED_OUT})

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=7, choices=Kind.choices, default=Kind.MESSAGE)
    disposition = models.CharField(max_length=30, blank=True)
    message = models.ForeignKey(
        "records.Message", null=True, on_delete=models.SET_NULL, related_name="outbound"
    )
    inbound = models.ForeignKey(InboundMail, null=True, on_delete=models.CASCADE, related_name="answers")
    parcel = models.ForeignKey(Parcel, null=True, on_delete=models.CASCADE, related_name="notices")
    sender = models.CharField(max_length=320)
    recipient = models.CharField(max_length=320)
    domain = models.CharField(max_length=255)
    identifier = models.CharField("message identifier", max_length=998)
    holder = models.ForeignKey(HolderKey, null=True, on_delete=models.SET_NULL, related_name="+")
    content = SealedField(holder="holder", null=True)
    sealed = models.ForeignKey(Blob, null=True, on_delete=models.SET_NULL, related_name="+")
    sha256 = models.CharField(max_length=64, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    code = models.CharField(max_length=40, blank=True)
    detail = models.CharField(max_length=500, blank=True)
    tries = models.PositiveIntegerField(default=0)
    #: Tries that came to an orderly end; the others took their worker down.
    attempts = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    queued = models.DateTimeField(default=timezone.now)
    expires = models.DateTimeField()
    sent = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)
    again = models.OneToOneField("self", null=True, on_delete=models.SET_NULL, related_name="before")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "recipient"], name="each_recipient_once"),
            models.UniqueConstraint(
                fields=["inbound", "disposition"], condition=Q(kind="mdn"), name="each_mdn_once"
            ),
            models.UniqueConstraint(
                fields=["parcel", "disposition"], condition=Q(kind="notice"), name="each_notice_once"
            ),
        ]
        indexes = [
            models.Index(fields=["identifier", "sender"], name="outbound_by_identifier"),
            models.Index(
                fields=["lease_until"],
                name="outbound_unfinished",
                condition=Q(state__in=["queued", "sending"]),
            ),
            models.Index(
                fields=["expires"],
                name="outbound_unconfirmed",
                condition=Q(state__in=["queued", "sending", "sent", "processed"]),
            ),
            models.Index(fields=["domain", "state"], name="outbound_by_domain"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def is_personal(self) -> bool:
        """Whether a person wrote it and waits for its outcome."""
        return self.kind == self.Kind.MESSAGE

    @property
    def is_lost(self) -> bool:
        """Whether it ended without delivery."""
        return self.state in self.LOST


class FindRequest(models.Model):
    """Somebody asked for new links to what waits for a contact address.

    Written at once for every address alike, answered by a worker, gone when there was nothing to mail.
    `parcels` are those whose links were mailed.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    contact_hash = models.CharField(max_length=64, db_index=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    answered = models.DateTimeField(null=True)
    parcels = models.ManyToManyField(Parcel, related_name="+")

    class Meta:
        indexes = [
            models.Index(fields=["id"], name="find_unanswered", condition=Q(answered__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"find request {self.pk}"


class PickupCode(models.Model):
    """An 8-digit code mailed to a parcel's contact address; kept as a keyed hash."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    contact_hash = models.CharField(max_length=64, db_index=True)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    code_hash = models.CharField(max_length=64)
    tries_left = models.PositiveSmallIntegerField(default=5)
    created = models.DateTimeField(default=timezone.now)
    used = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"code {self.pk}"


class AnswerAttempt(models.Model):
    """One counted wrong answer; the limits of every kind are counts over these rows."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    parcel = models.ForeignKey(Parcel, on_delete=models.CASCADE, related_name="attempts")
    contact_hash = models.CharField(max_length=64)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    network = models.CharField(max_length=64)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["created"]),
            models.Index(fields=["contact_hash", "created"]),
            models.Index(fields=["account", "created"]),
            models.Index(fields=["network", "created"]),
        ]

    def __str__(self) -> str:
        return f"attempt {self.pk}"


class MailEvent(models.Model):
    """The ledger: one line per thing that happened to one recipient's copy. Rows are only added."""

    id = models.BigAutoField(primary_key=True)
    inbound = models.ForeignKey(InboundMail, null=True, on_delete=models.CASCADE, related_name="events")
    parcel = models.ForeignKey(Parcel, null=True, on_delete=models.CASCADE, related_name="events")
    outbound = models.ForeignKey(OutboundMail, null=True, on_delete=models.CASCADE, related_name="events")
    name = models.CharField(max_length=30)
    code = models.CharField(max_length=40, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(inbound__isnull=False) | Q(parcel__isnull=False) | Q(outbound__isnull=False),
                name="events_belong_to_something",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.code}".strip()


class PartnerClient(models.Model):
    """An API client of a partner; two at a time serve for rolling a secret over."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    client = models.OneToOneField("allauth_idp_oidc.Client", on_delete=models.CASCADE, related_name="partner")
    organization = models.ForeignKey(
        "trust.Organization", on_delete=models.CASCADE, related_name="api_clients"
    )

    def __str__(self) -> str:
        return f"client {self.client_id}"


class PartnerRequest(models.Model):
    """A POST of a partner remembered by its Idempotency-Key, with the answer it got."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey("trust.Organization", on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    parcel = models.ForeignKey(Parcel, null=True, on_delete=models.CASCADE, related_name="+")
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "key"], name="one_answer_per_idempotency_key")
        ]

    def __str__(self) -> str:
        return f"request {self.pk}"
