"""`./run bench recall --expectations DIR --documents DIR`: how much of what a reader finds do we find?

An expectation is one JSON file for one document, written by somebody who read the document's narrative:

    {"document": "path below --documents", "product": "who made it",
     "complete": ["allergies"],          # kinds of which `facts` is the whole truth
     "facts": [{"kind": "allergies",     # or "kinds": several, any of which is right
                "names": ["Penicillin"], # any of which is right; part of a name suffices
                "code": "7980", "date": "2012-05",     # or the words that stand for it
                "value": "4.1"}],
     "none_known": ["problems"],         # kinds with a statement that nothing is known
     "negated": [{"kind": "immunizations", "names": ["Tetanus"]}]}

Prints for every kind: facts, how many were found, recall; dates and values that are right of those that
were found and had one; items of complete kinds that nobody expected; and statements of "none" or "not"
that became facts. Every miss is named.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from records.clinical import reader
from records.clinical.errors import ClinicalError
from records.clinical.types import Item

Fact = dict[str, Any]
Expectation = dict[str, Any]


@dataclass
class Outcome:
    """What became of the facts of one document or of many; each list names document, kind and name."""

    facts: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    dates: int = 0
    dates_right: int = 0
    values: int = 0
    values_right: int = 0
    missed: list[str] = field(default_factory=list)
    wrong_dates: list[str] = field(default_factory=list)
    wrong_values: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    not_facts: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        self.facts += other.facts
        self.found += other.found
        for name in ("dates", "dates_right", "values", "values_right"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("missed", "wrong_dates", "wrong_values", "invented", "not_facts"):
            getattr(self, name).extend(getattr(other, name))

    def recall(self, kind: str) -> float:
        """Share of the facts of a kind that were found, 0 to 1; 1 when there is none."""
        return self.found[kind] / self.facts[kind] if self.facts[kind] else 1.0


def judge(expected: Expectation, items: Iterable[Item]) -> Outcome:
    """Compare what a reader expects with the items of the document, one to one."""
    outcome = Outcome()
    stated = [item for item in items if item.understood and not item.negated and not item.none_known]
    matches = _matches(expected["facts"], stated)
    for number, fact in enumerate(expected["facts"]):
        outcome.facts[fact["kind"]] += 1
        where = f"{expected['document']}: {fact['kind']} {fact['names'][0]!r}"
        if number not in matches:
            outcome.missed.append(f"{where} {fact.get('date') or ''}")
            continue
        outcome.found[fact["kind"]] += 1
        _judge_date(outcome, fact, matches[number], where)
        _judge_value(outcome, fact, matches[number], where)
    taken = {id(item) for item in matches.values()}
    for item in stated:
        where = f"{expected['document']}: {item.kind} {item.name!r}"
        if id(item) not in taken and item.kind in expected["complete"]:
            outcome.invented.append(f"{where} {item.start.iso if item.start else ''} {item.value or ''}")
        if id(item) not in taken and _is_no_fact(expected, item):
            outcome.not_facts.append(where)
    return outcome


def _matches(facts: list[Fact], items: list[Item]) -> dict[int, Item]:
    """Number of a fact -> its item; the pairs that agree best first, no item twice."""
    pairs = sorted(
        (
            (_closeness(fact, item), -number, -place)
            for number, fact in enumerate(facts)
            for place, item in enumerate(items)
            if _is_same(fact, item)
        ),
        reverse=True,
    )
    matches: dict[int, Item] = {}
    taken: set[int] = set()
    for _, number, place in pairs:
        if -number not in matches and place not in taken:
            matches[-number] = items[-place]
            taken.add(place)
    return matches


def _is_same(fact: Fact, item: Item) -> bool:
    if item.kind not in fact.get("kinds", [fact["kind"]]):
        return False
    return _has_code(fact, item) or any(_is_named(name, item) for name in fact["names"])


def _closeness(fact: Fact, item: Item) -> int:
    date = fact.get("date")
    return (
        8 * (item.kind == fact["kind"])
        + 4 * bool(date and _date_is_right(date, item))
        + 4 * bool(fact.get("value") and _value_is_right(fact, item))
        + 2 * _has_code(fact, item)
        + _is_named(fact["names"][0], item)
    )


def _has_code(fact: Fact, item: Item) -> bool:
    return bool(fact.get("code")) and any(coding.code == fact["code"] for coding in item.codes)


def _is_named(name: str, item: Item) -> bool:
    wanted = _plain(name)
    displays = (coding.display for coding in item.codes)
    called = [_plain(word) for word in (item.name, item.text, item.value, *displays) if word]
    said = _plain(item.detail.get("text", ""))
    return _begins(wanted, said) or any(
        _begins(wanted, word) or (len(word) > 3 and _begins(word, wanted)) for word in called
    )


def _begins(part: str, whole: str) -> bool:
    """Whether `part` stands in `whole` from the beginning of a word on ("k" is not in "leukocytes")."""
    return f" {part}" in f" {whole}"


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _judge_date(outcome: Outcome, fact: Fact, item: Item, where: str) -> None:
    if fact.get("date"):
        outcome.dates += 1
        if _date_is_right(fact["date"], item):
            outcome.dates_right += 1
        else:
            found = item.start.iso if item.start else item.detail.get("start_text", "none")
            outcome.wrong_dates.append(f"{where}: {found} instead of {fact['date']}")


def _date_is_right(date: str, item: Item) -> bool:
    """As exact as the reader found it or more exact; or the words that stand for a date."""
    written = str(item.detail.get("start_text", ""))
    return item.start.iso.startswith(date) if item.start is not None else written == date


def _judge_value(outcome: Outcome, fact: Fact, item: Item, where: str) -> None:
    if fact.get("value"):
        outcome.values += 1
        if _value_is_right(fact, item):
            outcome.values_right += 1
        else:
            outcome.wrong_values.append(f"{where}: {item.value!r} instead of {fact['value']!r}")


def _value_is_right(fact: Fact, item: Item) -> bool:
    return any(_is_value(value, item.value or "") for value in fact.get("values", [fact["value"]]))


def _is_value(expected: str, found: str) -> bool:
    try:
        return float(expected) == float(found)
    except ValueError:
        return bool(found) and _plain(expected) in _plain(found)


def _is_no_fact(expected: Expectation, item: Item) -> bool:
    """Whether the item says as a fact what the document says is not so."""
    if item.kind in expected.get("none_known", []):
        return True
    return any(
        item.kind == said["kind"] and any(_is_named(name, item) for name in said["names"])
        for said in expected.get("negated", [])
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description="Recall against expectations written by readers.")
    arguments.add_argument("--expectations", type=Path, required=True)
    arguments.add_argument("--documents", type=Path, required=True)
    arguments.add_argument("--misses", action="store_true", help="name every miss")
    options = arguments.parse_args()
    total = Outcome()
    products: dict[str, int] = defaultdict(int)
    files = sorted(options.expectations.rglob("*.json"))
    for file in files:
        expected = json.loads(file.read_text())
        products[expected["product"]] += len(expected["facts"])
        try:
            items = reader.read((options.documents / expected["document"]).read_bytes()).items
        except ClinicalError as error:
            print(f"{expected['document']}: {error.code}")
            items = ()
        total.add(judge(expected, items))
    print(f"{total.facts.total()} facts of {len(files)} documents of {len(products)} products")
    _print(total, options.misses)


def _print(total: Outcome, misses: bool) -> None:
    for kind in sorted(total.facts):
        print(f"{kind:24} {total.facts[kind]:5} {total.found[kind]:5} {total.recall(kind):7.3f}")
    print(f"dates  {total.dates_right} of {total.dates} right: {_share(total.dates_right, total.dates):.3f}")
    print(
        f"values {total.values_right} of {total.values} right: {_share(total.values_right, total.values):.3f}"
    )
    print(f"{len(total.invented)} items of complete kinds that nobody expected")
    print(f"{len(total.not_facts)} statements of none or not shown as facts")
    if misses:
        for name in ("missed", "wrong_dates", "wrong_values", "invented", "not_facts"):
            print(f"\n{name}:")
            print("\n".join(f"  {line}" for line in getattr(total, name)) or "  none")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


if __name__ == "__main__":
    main()
