"""The request.txt of Blue Button+: why an automatic transmission came (Blue Button+, section F).

It says whom a data holder sent a patient's data to and whether it will do so again. It is shown to the
person; nothing is done because of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from directmsg.agent.errors import AgentError
from directmsg.agent.fields import Fields, clean_controls, parse_structured, read_block

FILENAME = "request.txt"
MAX_OCTETS = 64 * 1024
MAX_SOURCES = 100


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """Where an attachment came from: its file name, and an address, UNKNOWN, MIXED, PATIENT or a text."""

    filename: str
    source: str


@dataclass(frozen=True, slots=True)
class TransmitRequest:
    """What request.txt says, as written; missing fields are empty. `recurring` None: neither yes nor no."""

    destination: str = ""
    patient: str = ""
    data_holder: str = ""
    recurring: bool | None = None
    sources: tuple[DocumentSource, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "sources": [asdict(each) for each in self.sources]}


def is_request(filename: str) -> bool:
    """Whether an attachment of this name is one."""
    return filename.casefold() == FILENAME


def read_request(content: bytes) -> TransmitRequest | None:
    """The request in `content` (UTF-8 fields as of RFC 5322), or None when it holds none of its fields."""
    if len(content) > MAX_OCTETS:
        return None
    try:
        fields = read_block(content.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")).fields
    except AgentError:
        return None
    recurring = {"yes": True, "no": False}.get(_text(fields, "recurring").lower())
    found = TransmitRequest(
        destination=_text(fields, "destination"),
        patient=_text(fields, "patient"),
        data_holder=_text(fields, "data-holder"),
        recurring=recurring,
        sources=_sources(fields),
    )
    return None if found == TransmitRequest() else found


def _text(fields: Fields, name: str) -> str:
    return clean_controls(fields.text(name)).strip()


def _sources(fields: Fields) -> tuple[DocumentSource, ...]:
    found = []
    for field in fields.all("document-source")[:MAX_SOURCES]:
        # Its value is parameters alone; they are read as those of any field, behind an empty word.
        said = parse_structured(f"x; {field.unfolded}").parameters
        if said.get("name"):
            found.append(DocumentSource(clean_controls(said["name"]), clean_controls(said.get("source", ""))))
    return tuple(found)
