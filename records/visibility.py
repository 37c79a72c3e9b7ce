"""What of a record a person sees: all of it, or what its custodians left open."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from .models import Attachment, Document, Entry, EntrySource, Grant, Message, Right

#: Items that are part of the record, or wait to become part of it.
SHOWN = (Entry.State.ACTIVE, Entry.State.PROPOSED)


def visible_entries(grant: Grant) -> QuerySet[Entry]:
    """The items of a record that the person of `grant` may see.

    Custodians see all; others neither personal items nor kinds that are not shared with them.
    """
    entries = Entry.objects.filter(record=grant.record_id, state__in=SHOWN)
    if grant.right == Right.CUSTODIAN:
        return entries
    entries = entries.filter(personal=False)
    return entries if grant.kinds is None else entries.filter(kind__in=grant.kinds)


def sees_documents(grant: Grant) -> bool:
    """Whether the person may open whole documents and messages.

    They say everything at once, so a person who is to see some kinds only does not see them.
    """
    return grant.right == Right.CUSTODIAN or grant.kinds is None


def visible_documents(grant: Grant) -> QuerySet[Document]:
    """The documents that the person of `grant` may open whole.

    A document that tells a personal item is for custodians only, in every copy; and while there are
    personal items, so is one that nobody has read yet.
    """
    documents = Document.objects.filter(record=grant.record_id)
    if grant.right == Right.CUSTODIAN:
        return documents
    if not sees_documents(grant):
        return documents.none()
    return documents.exclude(_telling(Q(record=grant.record_id)))


def visible_messages(grants: Iterable[Grant]) -> QuerySet[Message]:
    """The messages, of all the records of `grants` together, that their person may read.

    A message says everything that its attachments say: one with a document or a file that is for
    custodians only is for custodians only.
    """
    several = list(grants)
    own = [grant.record_id for grant in several if grant.right == Right.CUSTODIAN]
    whole = [g.record_id for g in several if g.right != Right.CUSTODIAN and sees_documents(g)]
    messages = Message.objects.filter(deleted__isnull=True)
    if not whole:
        return messages.filter(record__in=own)
    secret = Document.objects.filter(_telling(Q(record__in=whole)))
    files = Entry.objects.filter(record__in=whole, personal=True)
    blobs = [*secret.values_list("blob", flat=True), *files.exclude(blob=None).values_list("blob", flat=True)]
    parts = Attachment.objects.filter(
        Q(documents__in=secret) | Q(entries__in=files) | Q(blob__in=blobs), message__record__in=whole
    )
    return messages.filter(Q(record__in=own) | (Q(record__in=whole) & ~Q(pk__in=parts.values("message"))))


def _telling(here: Q) -> Q:
    """The documents of some records that say, or may say, what a personal item says."""
    personal = Entry.objects.filter(here, personal=True)
    sources = EntrySource.objects.filter(entry__in=personal).values("filing__document")
    said = Document.objects.filter(Q(pk__in=sources) | Q(filing__entries__in=personal))
    unread = [Document.State.WAITING, Document.State.READING]
    return Q(digest__in=said.values("digest")) | Q(state__in=unread, record__in=personal.values("record"))


def removed_entries(grant: Grant) -> QuerySet[Entry]:
    """What was rejected or deleted and can be restored: for custodians only."""
    if grant.right != Right.CUSTODIAN:
        return Entry.objects.none()
    return Entry.objects.filter(
        record=grant.record_id, state__in=[Entry.State.REJECTED, Entry.State.DELETED]
    ).order_by("-updated")
