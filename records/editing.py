"""What people do with single items: correct, add by hand, reject, delete, restore, make personal.

Every act is a version of the item (who, when, what), and nothing that a document says is lost by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store.ids import new_id
from records.clinical import fhir
from records.clinical.types import KINDS, Coding, Detail, Item, PartialDate

from . import handwritten, rows, standing
from .arranging import connected, lock, rearrange
from .imports import key_hasher
from .matching import item_content, keys_of
from .models import Account, Entry, EntryKey, EntrySource, EntryVersion, Record
from .vague import vague_date

Action = EntryVersion.Action
Decision = Entry.Decision

#: What a person may correct, and how long it may be.
CORRECTABLE = {"name": 400, "start": 60, "end": 60, "value": 400, "unit": 60, "status": 60, "note": 4000}


class EditRefused(ValueError):
    """The item cannot be changed in this way; the text says why."""

    code = "edit_refused"


class ChangedMeanwhile(EditRefused):
    """The item is no longer as the person saw it when they began to type."""

    code = "changed_meanwhile"


@dataclass(frozen=True, slots=True)
class Words:
    """What a person types about an item. Dates may be vague: "2012", "2012-08", or "as a child"."""

    name: str
    start: str = ""
    end: str = ""
    value: str = ""
    unit: str = ""
    status: str = ""
    note: str = ""
    #: Further fields of the kind, by their names in `handwritten.EXTRAS`.
    more: Mapping[str, str] = field(default_factory=dict)


@transaction.atomic
def add_item(
    record: Record, account: Account | None, kind: str, words: Words, *, key: UUID | None = None
) -> Entry:
    """Add an item by hand. Raises `EditRefused` for an unknown kind or words that make no item.

    `key` is made with the form: one that is sent twice makes one item.
    """
    if kind not in KINDS:
        raise EditRefused("There is no such kind of item.")
    lock(record)
    before = Entry.objects.filter(pk=key).select_related("record__holder").first() if key else None
    if before is not None:
        if before.record_id != record.pk:
            raise EditRefused("Open the form again, and send it from there.")
        return before
    words = _checked(words)
    item = _item(kind, words)
    content = _with_words(item_content(item), words)
    entry = Entry.objects.create(pk=key or new_id(), record=record, kind=kind, content=content, own=True)
    _version(entry, account, Action.ADDED, content)
    _own_keys(entry, keys_of(item, key_hasher(record)))
    trail.record("item.added", actor=account, record=record, subject=entry.pk)
    return entry


@transaction.atomic
def correct_item(
    entry: Entry, account: Account | None, words: Words, *, seen: datetime | None = None
) -> Entry:
    """Put a person's words in place of what documents say; those stay in the item's history.

    No document that comes later overwrites them. `seen` is the item's `updated` when the person began:
    raises `ChangedMeanwhile` when it is another one by now. Raises `EditRefused`.
    """
    _locked(entry)
    if seen is not None and entry.updated != seen:
        raise ChangedMeanwhile("The item changed while you were writing. Look at it again below.")
    if entry.kind not in KINDS:
        raise EditRefused("Files are not corrected; add another one instead.")
    if entry.state not in (Entry.State.ACTIVE, Entry.State.PROPOSED):
        raise EditRefused("Restore the item first.")
    content = corrected(entry.content, _checked(words))
    _version(entry, account, Action.CORRECTED, content)
    kept = EntryKey.objects.filter(entry=entry).values_list("hash", flat=True)
    _own_keys(entry, [*kept, *keys_of(item_from(content), key_hasher(entry.record))])
    _settled(entry)
    trail.record("item.corrected", actor=account, record=entry.record_id, subject=entry.pk)
    return entry


@transaction.atomic
def revert_item(entry: Entry, account: Account | None) -> Entry:
    """Go back from a person's words to what the documents say. Raises `EditRefused` where there are none."""
    _locked(entry)
    if (
        not entry.own
        or not EntrySource.objects.filter(entry=entry, state=EntrySource.State.STANDING).exists()
    ):
        raise EditRefused("No document speaks of this item.")
    _version(entry, account, Action.REVERTED)
    around = connected(entry.record, [entry.pk])
    EntryKey.objects.filter(entry=entry, source=None).delete()
    rearrange(entry.record, around)
    entry.refresh_from_db()
    trail.record("item.reverted", actor=account, record=entry.record_id, subject=entry.pk)
    return entry


def reject_item(entry: Entry, account: Account | None) -> Entry:
    """Say that an item is wrong: it leaves the record, and does not come back with the next document."""
    return _decide(entry, account, Decision.REJECTED, Action.REJECTED)


def delete_item(entry: Entry, account: Account | None) -> Entry:
    """Delete an item; custodians can restore it."""
    return _decide(entry, account, Decision.DELETED, Action.DELETED)


def restore_item(entry: Entry, account: Account | None) -> Entry:
    """Bring a rejected or deleted item back."""
    return _decide(entry, account, Decision.NONE, Action.RESTORED)


@transaction.atomic
def remove_for_good(entry: Entry, account: Account | None) -> None:
    """Erase what a deleted or rejected item says, with its history; it cannot be restored.

    Its keys stay, so that it does not come back with the next document. Raises `EditRefused`.
    """
    _locked(entry)
    if entry.state not in (Entry.State.DELETED, Entry.State.REJECTED):
        raise EditRefused("Delete the item first.")
    EntryVersion.objects.filter(entry=entry).update(content=None)
    for source in EntrySource.objects.filter(entry=entry).select_related("filing__record__holder"):
        source.content = {}
        source.save(update_fields=["content"])
    _version(entry, account, Action.REMOVED)
    Entry.objects.filter(pk=entry.pk).update(decision=Decision.REMOVED, blob=None)
    standing.settle(entry.record, [entry.pk])
    entry.refresh_from_db()
    trail.record("item.removed", actor=account, record=entry.record_id, subject=entry.pk)


@transaction.atomic
def set_personal(entry: Entry, account: Account | None, *, personal: bool) -> Entry:
    """Let only custodians see an item, or all again."""
    _locked(entry)
    if entry.personal != personal:
        _version(entry, account, Action.HIDDEN if personal else Action.SHOWN)
        entry.personal = personal
        Entry.objects.filter(pk=entry.pk).update(personal=personal, updated=timezone.now())
        action = "item.made_personal" if personal else "item.made_visible"
        trail.record(action, actor=account, record=entry.record_id, subject=entry.pk)
    return entry


# --- contents -------------------------------------------------------------------------------------------


def corrected(content: dict[str, Any], words: Words) -> dict[str, Any]:
    """`content` with a person's words in it, in the flat facts and in the resource alike.

    What the words do not touch (reactions, dose, performers, …) stays as the document has it.
    """
    kind = content["kind"]
    before = item_from(content)
    changed = _item(kind, words, before)
    flat = item_content(changed)
    resource = _merged(content.get("resource", {}), fhir.resource_for(before), flat["resource"])
    rest = {name: value for name, value in content.items() if name not in ("start_text", "note", "typed")}
    return _with_words({**rest, **flat, "resource": resource}, words)


def words_of(content: dict[str, Any]) -> Words:
    """What a form for correcting an item starts with."""
    start = content.get("start") or content.get("start_text")
    given = {name: content.get(name) for name in ("name", "end", "value", "unit", "status", "note")}
    typed = content.get("typed") or {}
    return Words(
        start=str(start or ""), more=typed, **{name: str(value or "") for name, value in given.items()}
    )


def item_from(content: dict[str, Any]) -> Item:
    """The item that flat facts describe."""
    detail = Detail()
    if content.get("start_text"):
        detail["start_text"] = content["start_text"]
    typed = content.get("typed") or {}
    detail.update(handwritten.detail_of(content["kind"], typed, content.get("unit") or ""))
    detail.update(handwritten.measured(content["kind"], content.get("value"), content.get("unit")))
    codes = tuple(Coding(c["system"], c["code"], c.get("display") or "") for c in content.get("codes", ()))
    return Item(
        kind=content["kind"],
        codes=codes,
        name=content.get("name") or "",
        start=_date(content.get("start")),
        end=_date(content.get("end")),
        value=content.get("value"),
        unit=content.get("unit"),
        status=content.get("status") or "",
        negated=bool(content.get("negated")),
        none_known=bool(content.get("none_known")),
        section=content.get("section") or "",
        path=content.get("path") or "",
        detail=detail,
    )


def _item(kind: str, words: Words, base: Item | None = None) -> Item:
    item = base or Item(kind=kind)
    start, end = vague_date(words.start), vague_date(words.end)
    detail = handwritten.detail_of(kind, words.more, words.unit)
    detail.update(handwritten.measured(kind, words.value, words.unit))
    if start is None and words.start:
        detail["start_text"] = words.start
    if end is None and words.end:
        raise EditRefused("Write the end as a year, a month or a day: 2012, 2012-08 or 2012-08-05.")
    # A code stands for the name it came with: another name is another thing.
    same = base is not None and words.name == base.name
    codes = item.codes if same else handwritten.codes_for(kind, words.name)
    return replace(
        item,
        name=words.name,
        codes=codes,
        start=start,
        end=end,
        value=words.value or None,
        unit=words.unit or None,
        status=words.status,
        none_known=False if words.name != item.name else item.none_known,
        detail=detail,
    )


def _merged(full: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """`full` with the elements in which `after` differs from `before`."""
    if full.get("resourceType") != after.get("resourceType"):
        return after
    touched = {_element(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    kept = {name: value for name, value in full.items() if _element(name) not in touched}
    return kept | {name: value for name, value in after.items() if _element(name) in touched}


#: Elements of which only one form may be there: valueQuantity or valueString, say.
_CHOICE = re.compile(r"_?(value|effective|onset|abatement|performed|occurrence|medication|start)[A-Z]\w*")


def _element(name: str) -> str:
    """The element a property belongs to: one for all forms of it, and for what is said beside it."""
    found = _CHOICE.fullmatch(name)
    return found[1] if found else name.removeprefix("_")


def _checked(words: Words) -> Words:
    stripped = {name: " ".join(getattr(words, name).split()) for name in CORRECTABLE if name != "note"}
    stripped["note"] = words.note.strip()
    if not stripped["name"]:
        raise EditRefused("Give it a name.")
    for name, most in CORRECTABLE.items():
        if len(stripped[name]) > most:
            raise EditRefused(f"The {name} is too long: {most} characters at most.")
        if _CONTROL.search(stripped[name]):
            raise EditRefused(f"The {name} has characters in it that cannot be kept.")
    return Words(**stripped, more=_checked_extras(words.more))


def _checked_extras(more: Mapping[str, str]) -> dict[str, str]:
    checked = {}
    for name, text in more.items():
        extra = handwritten.EXTRAS.get(name)
        if extra is None:
            raise EditRefused("There is no such field.")
        words = text.strip() if extra.long else " ".join(text.split())
        most = handwritten.MOST_TEXT if extra.long else handwritten.MOST
        if len(words) > most:
            raise EditRefused(f"{extra.label} is too long: {most} characters at most.")
        if _CONTROL.search(words):
            raise EditRefused(f"{extra.label} has characters in it that cannot be kept.")
        if words:
            checked[name] = words
    return checked


#: FHIR strings hold no control characters but tab and line ends.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def _with_words(content: dict[str, Any], words: Words) -> dict[str, Any]:
    """`content` with what the resource has no place for, or would not give back as it was typed."""
    beside = {"note": words.note, "typed": dict(words.more)}
    return {**content, **{name: said for name, said in beside.items() if said}}


def _date(iso: str | None) -> PartialDate | None:
    if not iso:
        return None
    return PartialDate(iso, zoned=len(iso) > 10 and (iso.endswith("Z") or iso[-6:-5] in "+-"))


# --- rows -----------------------------------------------------------------------------------------------


@transaction.atomic
def _decide(entry: Entry, account: Account | None, decision: Decision, action: Action) -> Entry:
    _locked(entry)
    if entry.decision == Decision.REMOVED or entry.state == Entry.State.UNDONE:
        raise EditRefused("The item is no longer in the record.")
    if entry.decision == decision:
        return entry
    _version(entry, account, action)
    entry.decision = decision
    Entry.objects.filter(pk=entry.pk).update(decision=decision)
    _settled(entry)
    trail.record(f"item.{action}", actor=account, record=entry.record_id, subject=entry.pk)
    return entry


def _locked(entry: Entry) -> None:
    """The row as it is now, and nobody else changes it until the transaction ends."""
    lock(entry.record)
    entry.refresh_from_db()


def _settled(entry: Entry) -> None:
    standing.settle(entry.record, [entry.pk])
    entry.refresh_from_db()


def _version(
    entry: Entry, account: Account | None, action: Action, content: dict[str, Any] | None = None
) -> None:
    EntryVersion.objects.create(entry=entry, account=account, action=action, content=content)


def _own_keys(entry: Entry, hashes: list[str]) -> None:
    """Let the item be known by these keys, whatever becomes of the documents they came from."""
    present = set(EntryKey.objects.filter(entry=entry, source=None).values_list("hash", flat=True))
    missing = [key for key in dict.fromkeys(hashes) if key not in present]
    fresh = [(new_id(), entry.record_id, entry.pk, None, key) for key in missing]
    rows.insert(EntryKey, ("id", "record", "entry", "source", "hash"), fresh)
