"""The context of a Direct message: a part that says whom and what it is about (Direct Context 1.0 and 1.1).

It is the sender's statement, a hint for matching and nothing more: no document is ever filed in a record
because of it alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from directmsg.agent.errors import AgentError
from directmsg.agent.fields import Fields, read_block
from directmsg.agent.message import same_message_id
from directmsg.agent.mime import Part

VERSIONS = frozenset({"1.0", "1.1"})
MAX_OCTETS = 64 * 1024


@dataclass(frozen=True, slots=True)
class PatientId:
    """An identifier of the patient: who issued it, and the identifier."""

    authority: str
    local_id: str


@dataclass(frozen=True, slots=True)
class DirectContext:
    """What the context part says; missing fields are empty.

    `category` and `action` as in "laboratory/report"; `patient` holds givenName, surname, dateOfBirth and so
    on as written.
    """

    version: str
    id: str
    patient_ids: tuple[PatientId, ...]
    category: str
    action: str
    purpose: str
    patient: dict[str, str]
    encapsulation: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "version": self.version,
            "id": self.id,
            "patient_ids": [f"{each.authority}:{each.local_id}" for each in self.patient_ids],
            "type": f"{self.category}/{self.action}" if self.category else "",
            "purpose": self.purpose,
            "patient": dict(self.patient),
            "encapsulation": self.encapsulation,
        }


def read_context(fields: Fields, root: Part) -> DirectContext | None:
    """The context that X-Direct-Context of a message names, or None.

    None for no header, no such part, a version other than 1.0 and 1.1, or a part that breaks the form: the
    message itself is delivered all the same.
    """
    wanted = fields.unfolded("x-direct-context")
    if not wanted:
        return None
    part = next((each for each in root.walk() if _is_named(each, wanted)), None)
    if part is None or part.is_multipart or len(part.content) > MAX_OCTETS:
        return None
    try:
        return _read(read_block(part.content.lstrip(b"\r\n")).fields)
    except (AgentError, ValueError):
        return None


def _is_named(part: Part, content_id: str) -> bool:
    return same_message_id(part.fields.unfolded("content-id"), content_id)


def _read(fields: Fields) -> DirectContext | None:
    """Raises ValueError where a field that is there cannot be understood."""
    version = fields.text("version")
    if version not in VERSIONS or not fields.text("id"):
        return None
    category, _, action = _pair(fields.text("type"), "/")
    return DirectContext(
        version=version,
        id=fields.text("id"),
        patient_ids=tuple(_patient_id(each) for each in _entries(fields.text("patient-id"))),
        category=category.lower(),
        action=action.lower(),
        purpose=fields.text("purpose").lower(),
        patient=_patient(fields.text("patient")),
        encapsulation=fields.text("encapsulation").lower(),
    )


def _entries(text: str) -> list[str]:
    return [each.strip() for each in text.split(";") if each.strip()]


def _pair(text: str, separator: str) -> tuple[str, str, str]:
    """Two words around `separator`, or nothing at all; half a pair raises ValueError."""
    first, found, second = (each.strip() for each in text.rpartition(separator))
    if text and not (found and first and second):
        raise ValueError("half a pair")
    return first, found, second


def _patient_id(text: str) -> PatientId:
    authority, _, local_id = _pair(text, ":")
    return PatientId(authority, local_id)


def _patient(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in _entries(text):
        name, equals, value = entry.partition("=")
        if not equals or not name.strip():
            raise ValueError("not a name and a value")
        found.setdefault(name.strip(), value.strip())
    return found
