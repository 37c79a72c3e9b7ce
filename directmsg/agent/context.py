"""The context of a Direct message: a part that says whom and what it is about (Direct Context 1.0 and 1.1).

It is the sender's statement, a hint for matching and nothing more: no document is ever filed in a record
because of it alone. Read from what comes, and written for messages of ours that carry documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from directmsg.agent import message as writing
from directmsg.agent.errors import AgentError, UnsafeField
from directmsg.agent.fields import Fields, read_block
from directmsg.agent.message import same_message_id
from directmsg.agent.mime import Part

VERSIONS = frozenset({"1.0", "1.1"})
CATEGORIES = frozenset({"laboratory", "radiology", "pharmacy", "referral", "general", "error"})
ACTIONS = frozenset({"order", "report", "result", "query", "response", "notification"})
PURPOSES = frozenset({"treatment", "payment", "operations", "emergency", "research"})
ENCAPSULATIONS = frozenset({"http", "hl7v2"})
#: What may be said of the patient since version 1.0, in the order it is written in.
PATIENT_KEYS = (
    "givenName",
    "surname",
    "middleName",
    "dateOfBirth",
    "gender",
    "socialSecurityNumber",
    "telephoneNumber",
    "streetAddress",
    "postalCode",
)
#: And what came with version 1.1.
PATIENT_KEYS_1_1 = ("localityName", "stateOrProvinceName", "country", "directAddress")
#: The fields of the extension for admissions, discharges and transfers, kept as written.
EXTENSION_FIELDS = ("creation-time", "format-code", "content-type-code", "type-code")
FIELD = "X-Direct-Context"
FILENAME = "metadata.txt"
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
    extension: dict[str, str] = field(default_factory=dict)

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
            **{name.replace("-", "_"): value for name, value in self.extension.items()},
        }


def read_context(fields: Fields, root: Part) -> DirectContext | None:
    """The context that X-Direct-Context of a message names, or None.

    None for no header, no such part, a version other than 1.0 and 1.1, or a part that breaks the form: the
    message itself is delivered all the same.
    """
    part = context_part(fields, root)
    if part is None or part.is_multipart or len(part.content) > MAX_OCTETS:
        return None
    try:
        return _read(read_block(part.content.lstrip(b"\r\n")).fields)
    except (AgentError, ValueError):
        return None


def context_part(fields: Fields, root: Part) -> Part | None:
    """The part that X-Direct-Context of a message names, whatever is in it; None without one."""
    wanted = fields.unfolded(FIELD)
    if not wanted:
        return None
    return next((each for each in root.walk() if _is_named(each, wanted)), None)


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
        extension={name: fields.text(name) for name in EXTENSION_FIELDS if fields.text(name)},
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


# --- writing --------------------------------------------------------------------------------------------


def write_context(context: DirectContext, content_id: str) -> tuple[tuple[str, str], bytes]:
    """The field that a message with `context` has, as name and value, and the part that the field names.

    Both are as `build_message` takes them, the field among `extra_fields`, the part among `extra_parts`.
    `content_id` is globally unique, with or without angle brackets. Of the patient only what the version
    knows is written. Raises ValueError for a version, category, action, purpose or encapsulation that the
    context does not know, UnsafeField for a value with a control character or a separator in a name.
    """
    _require_known(context)
    lines = [("version", context.version), ("id", writing.in_brackets(context.id))]
    if context.encapsulation:
        lines.append(("encapsulation", context.encapsulation))
    if context.patient_ids:
        ids = [f"{_one_of(each.authority)}:{_one_of(each.local_id)}" for each in context.patient_ids]
        lines.append(("patient-id", "; ".join(ids)))
    if context.category:
        lines.append(("type", f"{context.category}/{context.action}"))
    if context.purpose:
        lines.append(("purpose", context.purpose))
    patient = _patient_words(context.patient, context.version)
    if patient:
        lines.append(("patient", patient))
    lines += [(name, context.extension[name]) for name in EXTENSION_FIELDS if context.extension.get(name)]
    text = "".join(f"{name}: {writing.require_safe(value)}\n" for name, value in lines)
    named = writing.in_brackets(content_id)
    part = writing.text_part(
        text,
        disposition=["attachment", f"filename={FILENAME}"],
        fields=[("Content-ID", named)],
    )
    return (FIELD, named), part


def _require_known(context: DirectContext) -> None:
    known = {
        "version": (context.version, VERSIONS),
        "category": (context.category, CATEGORIES | {""}),
        "action": (context.action, ACTIONS if context.category else {""}),
        "purpose": (context.purpose, PURPOSES | {""}),
        "encapsulation": (context.encapsulation, ENCAPSULATIONS | {""}),
    }
    for name, (value, values) in known.items():
        if value not in values:
            raise ValueError(f"{name} {value!r} is none that a Direct context knows")
    if not context.id:
        raise ValueError("a Direct context needs an id")


def _patient_words(patient: Mapping[str, str], version: str) -> str:
    keys = PATIENT_KEYS if version == "1.0" else (*PATIENT_KEYS, *PATIENT_KEYS_1_1)
    return "; ".join(f"{key}={_value(patient[key])}" for key in keys if _value(patient.get(key, "")))


def _value(text: str) -> str:
    """A value on one line; the separator of values cannot be written in one."""
    return " ".join(writing.require_safe(text).replace(";", ",").split())


def _one_of(text: str) -> str:
    if not text or any(mark in text for mark in "; "):
        raise UnsafeField("an identifier of the patient holds a separator")
    return writing.require_safe(text)
