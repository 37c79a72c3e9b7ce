"""Searching one record in memory: no index of words stands anywhere, since an index would tell what is in it.

Items are searched by the words they were sent with (names, codes, values, notes), documents by the text of
their sections. Words are compared without regard to case and accents, each from its beginning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .clinical import narrative
from .clinical.errors import ClinicalError
from .facts import Fact

MOST_TERMS = 8
#: How much of a text is shown around what was found, in characters.
AROUND = 90

_TERM = re.compile(r"\w+(?:[.-]\w+)*")
#: The parts of an item that are words of its sender; the rest of its JSON is names of fields and systems.
_SAID = re.compile(
    r'"(?:name|display|text|code|value|unit|start|end|valueString|start_text|note|comment|patientInstruction|lotNumber'
    r'|subscriberId|description|title|severity)":(?:"((?:[^"\\]|\\.)*)"|(-?[0-9.]+))'
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A place in a document: the section's number, its title, and the words around what was found there."""

    section: int
    title: str
    before: str
    found: str
    after: str


def folded(text: str) -> str:
    """Text for comparing: case folded, without accents (Unicode NFKD)."""
    if text.isascii():
        return text.lower()
    bare = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return bare.casefold()


def terms(text: str) -> list[str]:
    """What is looked for: the words of `text`, folded."""
    return list(dict.fromkeys(_TERM.findall(folded(text))))[:MOST_TERMS]


def _at_word_start(words: Iterable[str]) -> list[re.Pattern[str]]:
    return [re.compile(rf"(?<!\w){re.escape(word)}") for word in words]


def items(facts: Iterable[Fact], wanted: list[str]) -> list[Fact]:
    """The items in which every word stands; those with all words in their name first, then by date."""
    patterns = _at_word_start(wanted)
    in_name: list[Fact] = []
    elsewhere: list[Fact] = []
    for fact in facts:
        source = folded(fact.source)
        text = folded(fact.text)
        # Looking at everything first is ten times as quick as taking the sender's words out of each.
        if not all(word in text or word in source for word in wanted):
            continue
        said = f"{folded(' '.join(a or b for a, b in _SAID.findall(fact.text)))} {source}"
        if not all(pattern.search(said) for pattern in patterns):
            continue
        name = folded(fact.said_name)
        (in_name if all(pattern.search(name) for pattern in patterns) else elsewhere).append(fact)
    by_date = [sorted(some, key=lambda fact: fact.date, reverse=True) for some in (in_name, elsewhere)]
    return [*by_date[0], *by_date[1]]


def passages(data: bytes, wanted: list[str]) -> list[Passage]:
    """The sections of a document in which every word stands; nothing of one that cannot be read."""
    if not _may_have(data, wanted):
        return []
    try:
        return list(_passages(data, wanted))
    except ClinicalError:
        return []


def _may_have(data: bytes, wanted: list[str]) -> bool:
    """Whether it is worth parsing: false only when a word is surely not in these bytes."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    if "&#" in text or "\0" in text:
        return True
    text = folded(text)
    return all(word in text for word in wanted)


def _passages(data: bytes, wanted: list[str]) -> Iterator[Passage]:
    patterns = _at_word_start(wanted)
    for section in narrative.section_texts(data):
        text = folded(section.text)
        title = folded(section.title)
        if all(pattern.search(text) or pattern.search(title) for pattern in patterns):
            first = next((found for pattern in patterns if (found := pattern.search(text))), None)
            yield _around(section, text, first)


def _around(section: narrative.SectionText, text: str, found: re.Match[str] | None) -> Passage:
    """The words around what was found, cut at spaces."""
    # Folding may change the length of a text: then what stands around it is shown in its folded form.
    shown = section.text if len(section.text) == len(text) else text
    if found is None:
        return Passage(section.number, section.title, shown[: 2 * AROUND], "", "")
    start, end = found.span()
    while end < len(shown) and shown[end].isalnum():
        end += 1
    before, after = shown[max(0, start - AROUND) : start], shown[end : end + AROUND]
    if start > AROUND:
        before = f"… {before.partition(' ')[2]}"
    if end + AROUND < len(shown):
        after = f"{after.rpartition(' ')[0]} …"
    return Passage(section.number, section.title, before, shown[start:end], after)
