"""What restored rows say in JSON, held to the form that pages rely on.

A row of an exported copy is whatever its file says, and what a page takes out of such a value it takes
without asking again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]


def proper_about(value: Any) -> bool:
    """Whether `value` is what a sender says of a message (`Message.about`), or None."""
    return value is None or _about(value)


def proper_package(value: Any) -> bool:
    """Whether `value` is what a package says of a document (`Document.package`), or None."""
    return value is None or _package(value)


def proper_facts(value: Any) -> bool:
    """Whether `value` is what pages show of a document (`Document.facts`), or None."""
    return value is None or _facts(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, int)


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _every(check: Check) -> Check:
    """An object whose values, under whatever names, all pass."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _object(known: dict[str, Check], *, needs: tuple[str, ...] = (), others: Check) -> Check:
    """An object with the names in `needs`, whose values pass the check of their name, or else `others`."""

    def fits(value: Any) -> bool:
        if not isinstance(value, dict) or any(name not in value for name in needs):
            return False
        return all(known.get(name, others)(one) for name, one in value.items())

    return fits


def _nothing(value: Any) -> bool:
    return False


_source = _object({}, needs=("filename", "source"), others=_text)
_context = _object({"patient_ids": _list(_text), "patient": _every(_text)}, others=_text)
_request = _object(
    {"recurring": _maybe(lambda value: isinstance(value, bool)), "sources": _list(_source)}, others=_text
)
_about = _object({"context": _context, "request": _request}, others=_nothing)
_package = _object({"damaged": lambda value: isinstance(value, bool)}, others=_text)
_facts = _object(
    {
        "patient": _maybe(_every(_text)),
        "replaces": _list(_text),
        "counts": _every(_every(_number)),
        **dict.fromkeys(("patients", "items", "not_understood"), _number),
    },
    others=_text,
)
