"""Items as pages show them, opened in memory: many at once, each read only when something is asked of it.

Opening 10,000 sealed items takes 20 ms, reading their JSON twenty times as long. So an item stays text
until it is shown; what lists are ordered and divided by is found in the text, where the flat facts stand
before the resource (`records.matching.item_content`).
"""

from __future__ import annotations

import json
import re
from typing import Any

from django.db.models import CharField, QuerySet
from django.db.models.functions import Cast

from healthvault.store.fields import open_texts

from . import particulars
from .kinds import LASTING, ItemType, is_past, item_type, kind_name
from .models import Entry, Record
from .rows import uncollected
from .wording import span_in_words

Json = dict[str, Any]


def _field(name: str) -> re.Pattern[str]:
    # A quotation mark inside a JSON string is escaped, so this matches names only.
    return re.compile(rf'"{name}":(?:"([^"\\]*)"|null)')


_NAME = re.compile(r'"name":"((?:[^"\\]|\\.)*)"')
_CODES = re.compile(r'"codes":\[(.*?)\],"name":')
_CODE = re.compile(r'"system":(?:"([^"\\]*)"|null),"code":"([^"\\]*)"')
_PANEL_PATH = re.compile(r'"url":"urn:healthvault-direct:panel-path","valueString":"([^"\\]*)"')
_START, _END, _STATUS, _VALUE = _field("start"), _field("end"), _field("status"), _field("value")


class Fact:
    """One item as a page shows it.

    `source` is the organisation whose message brought it, `filing` the id of the import that speaks for
    it, `own` says that a person typed it, `personal` that custodians alone see it; `documents` is in how many
    documents it stands, where a list has counted them.
    """

    __slots__ = ("_content", "_text", "documents", "filing", "id", "kind", "own", "personal", "source")

    def __init__(
        self,
        id: str,
        kind: str,
        content: Json | str,
        source: str = "",
        *,
        filing: str = "",
        own: bool = False,
        personal: bool = False,
    ) -> None:
        self.id, self.kind, self.source, self.filing = id, kind, source, filing
        self.own, self.personal = own, personal
        self.documents = 0
        self._text = content if isinstance(content, str) else ""
        self._content = None if isinstance(content, str) else content

    @property
    def content(self) -> Json:
        if self._content is None:
            self._content = json.loads(self._text)
        return self._content

    @property
    def text(self) -> str:
        """The item as JSON."""
        return self._text or json.dumps(self._content, ensure_ascii=False, separators=(",", ":"))

    def _flat(self, name: str, pattern: re.Pattern[str]) -> str:
        if self._content is not None:
            return str(self._content.get(name) or "")
        found = pattern.search(self._text)
        return (found[1] or "") if found else ""

    # --- what lists are made by, without reading the whole item ---

    @property
    def start(self) -> str:
        return self._flat("start", _START)

    @property
    def end(self) -> str:
        return self._flat("end", _END)

    @property
    def date(self) -> str:
        """The date items are sorted by, ISO 8601 in its own precision."""
        return self.start or self.end

    @property
    def none_known(self) -> bool:
        return self._is("none_known")

    @property
    def negated(self) -> bool:
        return self._is("negated")

    def _is(self, name: str) -> bool:
        if self._content is not None:
            return bool(self._content.get(name))
        return f'"{name}":true' in self._text

    def is_past(self, today: str) -> bool:
        """Whether it no longer holds on a day (ISO 8601); never for kinds of things that happen once."""
        if self.kind not in LASTING:
            return False
        return is_past(self.kind, self._flat("status", _STATUS), self.end, today)

    @property
    def said_name(self) -> str:
        """The name as it was sent, also empty, without the words of a denial."""
        if self._content is None and (found := _NAME.search(self._text)):
            return str(json.loads(f'"{found[1]}"')) if "\\" in found[1] else found[1]
        return str(self.content.get("name") or "")

    @property
    def said_value(self) -> str:
        """The value as it was sent, without its unit; empty also for one with a quotation mark in it."""
        return self._flat("value", _VALUE)

    @property
    def coded(self) -> list[tuple[str, str]]:
        """System and code of every code, the sender's first one first."""
        if self._content is None and (found := _CODES.search(self._text)):
            return [(system or "", code) for system, code in _CODE.findall(found[1])]
        return [(one.get("system") or "", one.get("code") or "") for one in self.content.get("codes") or ()]

    @property
    def panel_path(self) -> str:
        """Where in its document the panel of a measured value stands; empty without one."""
        if self._content is None:
            found = _PANEL_PATH.search(self._text)
            return found[1] if found else ""
        return particulars.panel_path(self.content)

    @property
    def by(self) -> str:
        """Who says it: an organisation, the person, or nobody that is known."""
        return "Added by hand" if self.own else self.source

    # --- words ---

    @property
    def name(self) -> str:
        return particulars.name(self.kind, self.content)

    @property
    def kind_name(self) -> str:
        return kind_name(self.kind)

    @property
    def when(self) -> str:
        """Date or period in words; of a date that is none, the words of the document."""
        return span_in_words(self.start, self.end) or str(self.content.get("start_text") or "")

    @property
    def when_label(self) -> str:
        return particulars.when_label(self.kind, end=not self.content.get("start"))

    @property
    def until_label(self) -> str:
        return particulars.when_label(self.kind, end=True)

    @property
    def value(self) -> str:
        """Value and unit as written."""
        return particulars.value(self.content)

    @property
    def ranges(self) -> list[str]:
        return particulars.ranges(self.content)

    @property
    def mark(self) -> particulars.Mark | None:
        return particulars.mark(self.content)

    @property
    def lines(self) -> list[particulars.Line]:
        return particulars.lines(self.kind, self.content)

    @property
    def codes(self) -> list[str]:
        return particulars.codes(self.content)

    @property
    def type(self) -> ItemType | None:
        """The item type HealthVault had for it."""
        return item_type(self.kind, self.content)

    @property
    def status(self) -> str:
        return particulars.status(self.kind, self.content)

    @property
    def panel(self) -> str:
        """The panel of a result, unless it only repeats the kind."""
        panel = particulars.panel(self.content)
        return "" if panel.casefold() == self.kind_name.casefold() else panel

    @property
    def summary(self) -> list[str]:
        """The words under the name in a list: relative, date, standing, dosage, panel, reference range."""
        reference = f"reference {self.ranges[0]}" if len(self.ranges) == 1 else ""
        words = (
            particulars.relative(self.content),
            self.when,
            self.status,
            particulars.dosage(self.content),
            self.panel,
        )
        return [word for word in (*words, reference) if word]


def open_facts(record: Record, entries: QuerySet[Entry]) -> list[Fact]:
    """The items `entries` of `record`, in no order: one statement whatever their number."""
    with uncollected():
        rows = list(
            entries.order_by()
            .annotate(speaker=Cast("filing_id", CharField()))
            .values_list(
                "pk",
                "kind",
                "content",
                "filing__document__attachment__message__organization_name",
                "attachment__message__organization_name",
                "speaker",
                "own",
                "personal",
            )
        )
        key = record.holder.unwrap()
        texts = open_texts(Entry, "content", [(row[0], row[2]) for row in rows], key)
        return [
            Fact(str(row[0]), row[1], text, row[3] or row[4] or "", filing=row[5] or "", own=row[6],
                 personal=row[7])
            for row, text in zip(rows, texts, strict=True)
        ]  # fmt: skip


def newest_first(facts: list[Fact]) -> list[Fact]:
    """By date, the newest first, what has none last; of one date in the order of their names' ids."""
    return sorted(facts, key=lambda fact: (fact.date, fact.id), reverse=True)


def known(facts: list[Fact]) -> list[Fact]:
    """Without "none known" where there is a real item of the kind; else one such statement, the newest.

    A denial of a definite thing ("no allergy to peanuts") is no real item in this sense, and stays.
    """
    nothing = [fact for fact in facts if fact.none_known]
    if not nothing:
        return facts
    others = [fact for fact in facts if not fact.none_known]
    if any(not fact.negated for fact in others):
        return others
    return [newest_first(nothing)[0], *others]
