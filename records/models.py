"""The patient's data: accounts, records, and everything that is in a record.

What may hold health data or a person's name is sealed: under the key of the record for its
content, under the keyring for names of accounts. In clear stand ids, states, times, sizes, kinds,
Direct addresses, sign-in e-mail addresses and certificates.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models import Q
from django.utils import timezone

from healthvault.store.fields import SealedField
from healthvault.store.models import Blob, HolderKey, new_id


class AccountManager(BaseUserManager["Account"]):
    """Makes accounts by e-mail address; there are no user names."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> Account:
        """A new account; `email` is compared without regard to case. Raises ValueError without one."""
        if not email:
            raise ValueError("an account needs an e-mail address")
        account = self.model(email=email.strip().lower(), **extra)
        account.set_password(password)
        account.save(using=self._db)
        return account

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> Account:
        """An administrator."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)

    def get_by_natural_key(self, username: str | None) -> Account:
        return self.get(email=(username or "").lower())


class Account(AbstractBaseUser, PermissionsMixin):
    """One login of one human. A record is a different object; `Grant` links the two."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField("e-mail address", unique=True)
    name = SealedField(blank=True)
    is_staff = models.BooleanField("may use the console", default=False)
    is_active = models.BooleanField(default=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    objects = AccountManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = []

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.get_full_name()


class MailboxProof(models.Model):
    """An account showed that it reads a mailbox, by a mail of ours other than a pickup link.

    The address is kept as a keyed hash (`healthvault.store.lookup`).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mailbox_proofs"
    )
    email_hash = models.CharField(max_length=64, db_index=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "email_hash"], name="one_proof_per_mailbox")
        ]

    def __str__(self) -> str:
        return f"proof {self.pk}"


class FilePreference(models.TextChoices):
    ALWAYS = "always", "Always"
    ASK = "ask", "Ask me each time"
    NEVER = "never", "Never"


class IntegrationPreference(models.TextChoices):
    AUTOMATIC = "automatic", "Add items automatically"
    REVIEW = "review", "Let me review first"
    NEVER = "never", "Never"


class Record(models.Model):
    """The health data of one human (or pet), reached by accounts through grants."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    holder = models.OneToOneField(HolderKey, on_delete=models.PROTECT, related_name="+")
    name = SealedField(holder="holder")
    birth_date = SealedField(holder="holder", null=True, blank=True)
    gender = SealedField(holder="holder", null=True, blank=True)
    files_preference = models.CharField(
        max_length=10, choices=FilePreference.choices, default=FilePreference.ALWAYS
    )
    integration_preference = models.CharField(
        max_length=10, choices=IntegrationPreference.choices, default=IntegrationPreference.AUTOMATIC
    )
    #: Per sender (Direct address or domain, in lower case) what the record's preference gives way to.
    sender_preferences = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"record {self.pk}"


class Right(models.IntegerChoices):
    """Three levels of sharing; each includes the ones before it."""

    VIEW = 1, "View"
    MODIFY = 2, "View and modify"
    CUSTODIAN = 3, "Custodian"


class Relationship(models.TextChoices):
    SELF = "self", "Me"
    CHILD = "child", "My child"
    PARENT = "parent", "My parent"
    SPOUSE = "spouse", "My spouse or partner"
    PATIENT = "patient", "A person I care for"
    PET = "pet", "My pet"
    OTHER = "other", "Someone else"


class Grant(models.Model):
    """What one account may do with one record."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="grants")
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="grants")
    right = models.PositiveSmallIntegerField(choices=Right.choices)
    relationship = models.CharField(max_length=10, choices=Relationship.choices, default=Relationship.SELF)
    notify = models.BooleanField("mail me about new messages", default=True)
    expires = models.DateTimeField(null=True, blank=True)
    #: The kinds of items this person sees; None means all. Custodians see all.
    kinds = models.JSONField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "record"], name="one_grant_per_account_and_record"),
            models.CheckConstraint(
                condition=~Q(right=Right.CUSTODIAN) | Q(expires__isnull=True), name="custodians_do_not_expire"
            ),
        ]

    def __str__(self) -> str:
        return f"grant {self.pk}"


class Message(models.Model):
    """One message in a record: received by Direct, left by a partner over REST, or sent.

    What a person uploads stands here too, as a message of their own to the record: its parts, documents and
    items then have a source like all others. It is in no mailbox.
    """

    class Direction(models.TextChoices):
        IN = "in", "Received"
        OUT = "out", "Sent"
        OWN = "own", "Uploaded"

    class Source(models.TextChoices):
        DIRECT = "direct", "Direct mail"
        REST = "rest", "Partner API"
        UPLOAD = "upload", "Upload"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="messages")
    direction = models.CharField(max_length=3, choices=Direction.choices, default=Direction.IN)
    source = models.CharField(max_length=6, choices=Source.choices, default=Source.DIRECT)
    from_address = models.CharField(max_length=320)
    from_name = SealedField(holder="record.holder", null=True)
    to_addresses = SealedField(holder="record.holder", json=True)
    organization_name = models.CharField(max_length=200, blank=True)
    message_id = models.CharField(max_length=998, blank=True)
    subject = SealedField(holder="record.holder")
    text = SealedField(holder="record.holder")
    html = SealedField(holder="record.holder", null=True)
    sent = models.DateTimeField(null=True)
    received = models.DateTimeField(default=timezone.now)
    size = models.PositiveBigIntegerField(default=0)
    signers = models.JSONField(default=list)
    #: What the sender says it is about: `context` (Direct Context) and `request` (Blue Button+ request.txt),
    #: as plain JSON. A hint for people; nothing is filed because of it.
    about = SealedField(holder="record.holder", json=True, null=True)
    raw = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+")
    opened = models.DateTimeField(null=True)
    deleted = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["record", "-received"])]

    def __str__(self) -> str:
        return f"message {self.pk}"


class Attachment(models.Model):
    """One attachment of a message, and what became of it."""

    class Outcome(models.TextChoices):
        READING = "reading", "Reading …"
        DOCUMENT = "document", "Clinical document"
        FILE = "file", "Added to your files"
        ASK = "ask", "Waiting for your decision"
        NOT_ADDED = "not_added", "Not added: your preference"
        EMPTY = "empty", "Empty attachment"
        UNPACKED = "unpacked", "Unpacked"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="attachments")
    position = models.PositiveSmallIntegerField()
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    filename = SealedField(holder="message.record.holder")
    content_type = models.CharField(max_length=127)
    size = models.PositiveBigIntegerField()
    sha256 = SealedField(holder="message.record.holder")
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default=Outcome.READING)
    code = models.CharField(max_length=40, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["message", "position"], name="attachment_positions")]
        ordering = ["position"]

    def __str__(self) -> str:
        return f"attachment {self.pk}"


class Document(models.Model):
    """One clinical document, kept byte for byte; also the row of the work of reading it.

    `waiting` -> `reading` -> `read` | `held` (asks whose it is) | `unreadable(code)`; a worker that
    dies leaves `reading` behind, which the sweep offers again. `held` -> `waiting` when a person says that
    it belongs here, `refused` when they say that it does not.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting to be read"
        READING = "reading", "Reading …"
        READ = "read", "Read"
        HELD = "held", "Is this yours?"
        REFUSED = "refused", "About somebody else"
        UNREADABLE = "unreadable", "Could not be read"

    class Kind(models.TextChoices):
        CCDA = "ccda", "C-CDA document"
        C32 = "c32", "C32 document"
        CCD = "ccd", "CCD document"
        CDA = "cda", "CDA document"
        CCR = "ccr", "CCR document"

    class ItemType(models.TextChoices):
        CCD = "CCD", "CCD"
        CDA = "CDA", "CDA"
        CCR = "CCR", "CCR"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="documents")
    attachment = models.ForeignKey(Attachment, null=True, on_delete=models.SET_NULL, related_name="documents")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=4, choices=Kind.choices)
    item_type = models.CharField(max_length=3, choices=ItemType.choices)
    content_type = models.CharField(max_length=127)
    digest = models.CharField(max_length=64)
    facts = SealedField(holder="record.holder", json=True, null=True)
    #: What an XDM package said about it, as it came.
    package = SealedField(holder="record.holder", json=True, null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    code = models.CharField(max_length=40, blank=True)
    patient_confirmed = models.BooleanField(default=False)
    #: The document that takes the place of this one; this one stays and is shown as superseded.
    superseded_by = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="supersedes"
    )
    tries = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["record", "digest"]),
            models.Index(
                fields=["lease_until"],
                name="documents_unread",
                condition=Q(state__in=["waiting", "reading"]),
            ),
        ]

    def __str__(self) -> str:
        return f"document {self.pk}"


class Import(models.Model):
    """One filing of one document's items: `proposed` (review first) | `applied` | `undone`."""

    class State(models.TextChoices):
        PROPOSED = "proposed", "Waiting for your review"
        APPLIED = "applied", "Added"
        UNDONE = "undone", "Undone"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="imports")
    document = models.OneToOneField(Document, on_delete=models.CASCADE, related_name="filing")
    state = models.CharField(max_length=8, choices=State.choices)
    extractor = models.CharField(max_length=20)
    items = models.PositiveIntegerField(default=0)
    matched = models.PositiveIntegerField(default=0)
    #: How many of the matched items this document told something newer about.
    updated = models.PositiveIntegerField(default=0)
    not_understood = models.PositiveIntegerField(default=0)
    created = models.DateTimeField(default=timezone.now)
    decided = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"import {self.pk}"


class Entry(models.Model):
    """One item of a record: a fact from documents, a file, or what a person typed.

    `content` is the item as JSON with its FHIR R4-shaped resource and its place in the document of
    `filing`; only its kind is in clear. It is never edited in place by anything but
    `records.standing`, which makes it from what documents say (`EntrySource`) and what people did
    (`EntryVersion`): so that every import can be taken back at any time.
    """

    class State(models.TextChoices):
        PROPOSED = "proposed", "To review"
        ACTIVE = "active", "In the record"
        REJECTED = "rejected", "Rejected"
        UNDONE = "undone", "Taken back"
        DELETED = "deleted", "Deleted"
        REMOVED = "removed", "Removed for good"

    class Decision(models.TextChoices):
        """What a person decided about an item; documents that come later do not change it."""

        NONE = "", "None"
        REJECTED = "rejected", "Rejected"
        DELETED = "deleted", "Deleted"
        REMOVED = "removed", "Removed for good"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="entries")
    #: The import whose document says what `content` says; None for what a person added. An item may
    #: have other documents too, so it never goes with one of them: only with its whole record.
    filing = models.ForeignKey(Import, null=True, on_delete=models.RESTRICT, related_name="entries")
    kind = models.CharField(max_length=40)
    content = SealedField(holder="record.holder", json=True)
    blob = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+")
    attachment = models.ForeignKey(Attachment, null=True, on_delete=models.SET_NULL, related_name="entries")
    state = models.CharField(max_length=8, choices=State.choices, default=State.ACTIVE)
    decision = models.CharField(max_length=8, choices=Decision.choices, blank=True, default=Decision.NONE)
    #: The content is a person's own words, which no document overwrites.
    own = models.BooleanField(default=False)
    #: For custodians' eyes only.
    personal = models.BooleanField(default=False)
    created = models.DateTimeField(default=timezone.now)
    updated = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "entries"
        indexes = [models.Index(fields=["record", "state", "kind"])]

    def __str__(self) -> str:
        return f"entry {self.pk}"


class EntrySource(models.Model):
    """What one document says about an item: the proof, and a state in the item's history.

    `place` holds section, element path and the date by which documents are ordered; `content` is the
    item as this document has it. `proposed` waits for a person, `ignored` was refused by one,
    `withdrawn` belongs to an import that was undone.
    """

    class State(models.TextChoices):
        PROPOSED = "proposed", "To review"
        STANDING = "standing", "Counts"
        IGNORED = "ignored", "Ignored"
        WITHDRAWN = "withdrawn", "Taken back"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, related_name="sources")
    filing = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="matches")
    place = SealedField(holder="filing.record.holder", json=True)
    content = SealedField(holder="filing.record.holder", json=True, null=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.STANDING)
    #: The state to come back to when the import is applied again.
    state_before = models.CharField(max_length=9, choices=State.choices, blank=True)
    #: A person said to which item this belongs.
    pinned = models.BooleanField(default=False)
    #: When a person chose this over what the item said.
    chosen = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"source {self.pk}"


class EntryKey(models.Model):
    """A keyed hash under which an item is known again: two statements that share one are one item.

    `source` is the statement it comes from, None for an item a person typed or corrected. Ids sort
    by time, which decides between two items that share a key: the first to have it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # No index of its own: the one with the hash begins with it.
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="+", db_index=False)
    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, related_name="keys")
    source = models.ForeignKey(EntrySource, null=True, on_delete=models.CASCADE, related_name="keys")
    hash = models.CharField(max_length=32)

    class Meta:
        indexes = [models.Index(fields=["record", "hash"], name="entry_keys")]

    def __str__(self) -> str:
        return f"key {self.pk}"


class EntryVersion(models.Model):
    """What a person did with an item, who and when; `content` is what they typed, where they did."""

    class Action(models.TextChoices):
        ADDED = "added", "Added by hand"
        CORRECTED = "corrected", "Corrected"
        REVERTED = "reverted", "Back to what the document says"
        REJECTED = "rejected", "Rejected"
        DELETED = "deleted", "Deleted"
        RESTORED = "restored", "Restored"
        REMOVED = "removed", "Removed for good"
        HIDDEN = "hidden", "Made personal"
        SHOWN = "shown", "No longer personal"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, related_name="versions")
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    action = models.CharField(max_length=9, choices=Action.choices)
    content = SealedField(holder="entry.record.holder", json=True, null=True)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"version {self.pk}"


class Invitation(models.Model):
    """An offer of a grant, sent to a mailbox: `pending` -> `active` | `rejected` | `withdrawn` | `locked`.

    Whoever has the link from the mail may take it up with the passcode, which the inviter tells by another
    way; where none was set, with an account that has shown to read the mailbox. The link is kept as a hash,
    the address sealed beside its hash.
    """

    class State(models.TextChoices):
        PENDING = "pending", "Waiting for an answer"
        ACTIVE = "active", "Accepted"
        REJECTED = "rejected", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn"
        LOCKED = "locked", "Locked: too many wrong passcodes"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="invitations")
    inviter = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    email = SealedField(holder="record.holder")
    email_hash = models.CharField(max_length=64)
    text = SealedField(holder="record.holder", blank=True)
    right = models.PositiveSmallIntegerField(choices=Right.choices)
    relationship = models.CharField(max_length=10, choices=Relationship.choices, default=Relationship.OTHER)
    kinds = models.JSONField(null=True, blank=True)
    #: When the access ends that is offered; None never.
    access_expires = models.DateTimeField(null=True, blank=True)
    passcode = models.CharField(max_length=128, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    token_hash = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    expires = models.DateTimeField()
    created = models.DateTimeField(default=timezone.now)
    decided = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["record", "email_hash"])]

    def __str__(self) -> str:
        return f"invitation {self.pk}"


class Export(models.Model):
    """A copy of a whole record as one ZIP file; also the row of the work of making it.

    `waiting` -> `making` -> `ready` -> `expired`, or `failed(code)`. `done` of `total` members are in it.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        MAKING = "making", "Being made"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"
        EXPIRED = "expired", "Expired"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    record = models.ForeignKey(Record, on_delete=models.CASCADE, related_name="exports")
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    code = models.CharField(max_length=40, blank=True)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    blob = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+")
    tries = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    created = models.DateTimeField(default=timezone.now)
    expires = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["lease_until"],
                name="exports_unmade",
                condition=Q(state__in=["waiting", "making"]),
            ),
        ]

    def __str__(self) -> str:
        return f"export {self.pk}"
