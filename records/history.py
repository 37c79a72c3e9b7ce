"""Where an item comes from and what became of it: for its page, and for people who ask "why?"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from .models import Document, Entry, EntrySource, EntryVersion, Message


@dataclass(frozen=True, slots=True)
class Proof:
    """One document that says what an item says: where in it, in which message, and who signed that."""

    source: UUID
    document: Document
    message: Message | None
    section: str
    path: str
    also: list[dict[str, str]]
    content: dict[str, Any]
    state: str
    leads: bool

    @property
    def superseded(self) -> bool:
        """Whether a newer version of the document is in the record."""
        return self.document.superseded_by_id is not None

    @property
    def signers(self) -> list[dict[str, Any]]:
        """Who signed the message it came in."""
        return list(self.message.signers) if self.message else []


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to an item: by a person (`account`, "" for one who is gone) or a document."""

    at: datetime
    action: str
    account: str
    proof: Proof | None
    content: dict[str, Any] | None


def proofs(entry: Entry, *, withdrawn: bool = False) -> list[Proof]:
    """Every document that speaks of an item, the one it takes its words from first."""
    related = ("filing__record__holder", "filing__document__record__holder")
    message = "filing__document__attachment__message__record__holder"
    found = EntrySource.objects.filter(entry=entry).select_related(*related, message).order_by("-pk")
    if not withdrawn:
        found = found.exclude(state=EntrySource.State.WITHDRAWN)
    made = [_proof(entry, source) for source in found]
    return sorted(made, key=lambda proof: not proof.leads)


def _proof(entry: Entry, source: EntrySource) -> Proof:
    document = source.filing.document
    attachment = document.attachment
    return Proof(
        source=source.pk,
        document=document,
        message=attachment.message if attachment else None,
        section=source.place.get("section", ""),
        path=source.place.get("path", ""),
        also=source.place.get("also", []),
        content=source.content or {},
        state=source.state,
        leads=source.filing_id == entry.filing_id and not entry.own,
    )


def steps(entry: Entry) -> list[Step]:
    """The history of an item, oldest first: what documents said of it, and what people did with it."""
    made = [
        Step(proof.document.created, proof.state, "", proof, proof.content)
        for proof in proofs(entry, withdrawn=True)
    ]
    versions = EntryVersion.objects.filter(entry=entry).select_related("account", "entry__record__holder")
    for version in versions.order_by("pk"):
        who = version.account.get_full_name() if version.account else ""
        made.append(Step(version.at, version.action, who, None, version.content))
    return sorted(made, key=lambda step: step.at)
