"""Which statements of documents are about one thing, whatever the order they came in.

A document's items become statements, each with the keys it is known by. Statements are put into groups
one by one, in the order they were filed: into the first group that shares a key, else into a new one.
Filing does the last step of that; taking an import back plays it again without that import. Neither
ever matches by an id alone: real documents have one id on different items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from records.clinical import fhir, reader
from records.clinical.identity import item_keys
from records.clinical.types import ClinicalSummary, Item

#: Things that happened at a time: a second one with the same id and code is another one.
_EVENTS = frozenset(
    {
        "results",
        "vital_signs",
        "procedures",
        "immunizations",
        "encounters",
        "medications_administered",
        "interventions",
        "outcomes",
        "social_history",
        "functional_status",
        "mental_status",
        "nutrition",
        "notes",
    }
)

#: Makes the hash under which a key is kept.
Hasher = Callable[[str], str]


@dataclass(slots=True)
class Statement:
    """One thing a document says: its keys (hashed, best first), the item as JSON, and where it stands.

    `also` are further places of the document that say the same.
    """

    kind: str
    keys: list[str]
    content: dict[str, Any]
    section: str
    path: str
    also: list[dict[str, str]] = field(default_factory=list)

    def place(self, date: str) -> dict[str, Any]:
        """Where it stands, with the date by which documents are ordered."""
        place: dict[str, Any] = {"section": self.section, "path": self.path, "date": date}
        return {**place, "also": self.also} if self.also else place


def item_content(item: Item) -> dict[str, Any]:
    """An item as it is kept: the flat facts pages need, and the FHIR R4-shaped resource."""
    return {**reader.item_json(item), "resource": fhir.resource_for(item)}


def keys_of(item: Item, hashed: Hasher) -> list[str]:
    """The keys of what an item says, without those that rest on an id."""
    return [hashed(key) for key in item_keys(item)]


def statements(summary: ClinicalSummary, hashed: Hasher) -> list[Statement]:
    """The statements of one document; what it says twice is one, entries not understood are none."""
    merged = _merged([item for item in summary.items if item.understood])
    shared = Counter(found for group in merged for found in {i for item in group for i in item.ids})
    made = []
    for group in merged:
        first = group[0]
        keys = [key for item in group for key in item_keys(item)]
        for item in group:
            keys += _id_keys(item, lambda found: shared[found] == 1)
        made.append(
            Statement(
                kind=first.kind,
                keys=[hashed(key) for key in dict.fromkeys(keys)],
                content=item_content(first),
                section=first.section,
                path=first.path,
                also=[{"kind": i.kind, "section": i.section, "path": i.path} for i in group[1:]],
            )
        )
    return made


def _merged(items: list[Item]) -> list[list[Item]]:
    """Items of one document that share a key, together; in the order of the document."""
    groups: list[list[Item]] = []
    of_key: dict[str, list[Item]] = {}
    for item in items:
        keys = item_keys(item)
        group = next((of_key[key] for key in keys if key in of_key), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(item)
        for key in keys:
            of_key.setdefault(key, group)
    return groups


def _id_keys(item: Item, telling: Callable[[Any], bool]) -> list[str]:
    """Id and code together: they tell an item whose date or value changed from one document to the next.

    An id that stands on several items of its document says nothing, and nor does one without a code.
    """
    if item.none_known or not item.codes:
        return []
    timeless = replace(item, end=None, value=None, unit=None, negated=False)
    time = ""
    if item.kind in _EVENTS:
        time = item.start.iso if item.start else item.end.iso if item.end else ""
    else:
        timeless = replace(timeless, start=None)
    return [
        f"id|{found.root}^{found.extension}|{time}|{key}"
        for found in item.ids
        if telling(found)
        for key in item_keys(timeless)
    ]


# --- grouping -------------------------------------------------------------------------------------------


class Index:
    """Who has which key, in the order they had it."""

    def __init__(self) -> None:
        self._holders: dict[str, list[Any]] = {}

    def add(self, key: str, holder: Any) -> None:
        """`holder` has `key` from now on."""
        holders = self._holders.setdefault(key, [])
        if holder not in holders:
            holders.append(holder)

    def find(self, keys: Iterable[str], taken: Callable[[Any], bool]) -> Any | None:
        """The first holder of the best key that is not `taken`.

        One item takes one statement of a document: a document that says two things means two.
        """
        for key in keys:
            for holder in self._holders.get(key, ()):
                if not taken(holder):
                    return holder
        return None


@dataclass(frozen=True, slots=True)
class Filed:
    """A statement that was filed before: its row, its item, and whether a person put it there."""

    id: UUID
    entry: UUID
    filing: UUID
    keys: tuple[str, ...]
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key that an item has of its own, since a person typed or corrected it; `id` says since when."""

    id: UUID
    entry: UUID
    keys: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Group:
    """Statements about one thing, and the item that stands for it (None: one has to be made)."""

    entry: UUID | None = None
    members: list[Filed] = field(default_factory=list)

    def has(self, filing: UUID) -> bool:
        """Whether a statement of that import is in it."""
        return any(member.filing == filing for member in self.members)


def regroup(events: Iterable[Filed | OwnKey]) -> list[Group]:
    """Put statements into groups as if they were filed just now, in the order of their ids.

    Every group keeps the item of its first member that no other group has; one that finds none gets
    None. Items a person typed, corrected or chose stay with their keys and their pinned statements.
    """
    groups: list[Group] = []
    index = Index()
    for event in sorted(events, key=lambda event: event.id):
        if isinstance(event, OwnKey) or event.pinned:
            group = _group_of(event.entry, groups)
        else:
            group = _find(event, index) or _new(groups)
        if isinstance(event, Filed):
            group.members.append(event)
        for key in event.keys:
            index.add(key, group)
    _keep_items(groups)
    return groups


def _find(event: Filed, index: Index) -> Group | None:
    return index.find(event.keys, lambda group: group.has(event.filing))


def _new(groups: list[Group], entry: UUID | None = None) -> Group:
    groups.append(Group(entry))
    return groups[-1]


def _group_of(entry: UUID, groups: list[Group]) -> Group:
    """The group that stands for `entry`, which holds one of its statements, or a new one."""
    for group in groups:
        if group.entry == entry:
            return group
    for group in groups:
        if group.entry is None and any(member.entry == entry for member in group.members):
            group.entry = entry
            return group
    return _new(groups, entry)


def _keep_items(groups: list[Group]) -> None:
    taken = {group.entry for group in groups if group.entry is not None}
    for group in groups:
        if group.entry is not None:
            continue
        group.entry = next((m.entry for m in group.members if m.entry not in taken), None)
        if group.entry is not None:
            taken.add(group.entry)
