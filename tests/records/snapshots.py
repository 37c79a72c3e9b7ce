"""What is in a record, opened, in a form that can be compared."""

from __future__ import annotations

import json
from typing import Any

from records.models import Document, Entry, EntrySource, Record


def everything(record: Record, *, names: bool = False) -> list[str]:
    """Every item that counts, with its proofs; with `names`, documents by their own ids and not by ours."""
    record = Record.objects.select_related("holder").get(pk=record.pk)
    entries = Entry.objects.filter(record=record).exclude(state=Entry.State.UNDONE)
    entries = entries.select_related("record__holder", "filing__document__record__holder")
    return sorted(canonical(_entry(entry, names)) for entry in entries)


def documents(record: Record) -> dict[Any, Any]:
    """Which document supersedes which."""
    return dict(Document.objects.filter(record=record).values_list("pk", "superseded_by"))


def canonical(value: Any) -> str:
    """A value as text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def _entry(entry: Entry, names: bool) -> dict[str, Any]:
    sources = entry.sources.exclude(state=EntrySource.State.WITHDRAWN).select_related(
        "filing__record__holder", "filing__document__record__holder"
    )
    return {
        "kind": entry.kind,
        "state": entry.state,
        "decision": entry.decision,
        "own": entry.own,
        "personal": entry.personal,
        "content": entry.content,
        "document": _document(entry.filing.document, names) if entry.filing else None,
        "sources": sorted(
            canonical([_document(s.filing.document, names), s.state, s.pinned, s.place, s.content])
            for s in sources
        ),
    }


def _document(document: Document, names: bool) -> Any:
    return (document.facts or {}).get("id") if names else document.pk
