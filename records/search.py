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

#: A line break, quotation mark or other escape of JSON: what follows it begins a word.
_ESCAPE = re.compile(r"\\.")
_TERM = re.compile(r"\w+(?:[.-]\w+)*")
#: The parts of an item that are words of its sender; the rest of its JSON is names of fields and systems.
#: In lower case, as the text they are looked for in.
_SAID = (
    "name|display|text|code|value|unit|start|end|valuestring|start_text|note|comment|patientinstruction"
    "|lotnumber|subscriberid|description|title|severity"
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


def _at_word_start(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}")


def _said(word: str) -> re.Pattern[str]:
    """Finds a word in what the sender of an item said, in the item's folded JSON."""
    return re.compile(rf'"(?:{_SAID})":(?:"[^"]*?(?<!\w)|-?){re.escape(word)}')


def items(facts: Iterable[Fact], wanted: list[str]) -> list[Fact]:
    """The items in which every word stands; those with all words in their name first, then by date."""
    words = [(word, _said(word), _at_word_start(word)) for word in wanted]
    in_name: list[Fact] = []
    elsewhere: list[Fact] = []
    for fact in facts:
        text, source = folded(_ESCAPE.sub(" ", fact.text)), folded(fact.source)
        # Looking at everything first is quicker than at the sender's words alone.
        if not all(
            (word in text and said.search(text)) or (word in source and start.search(source))
            for word, said, start in words
        ):
            continue
        name = folded(fact.said_name)
        (in_name if all(start.search(name) for _, _, start in words) else elsewhere).append(fact)
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
    patterns = [_at_word_start(word) for word in wanted]
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
