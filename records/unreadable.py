"""Why a document could not be read, in the words of somebody who wants to know what to do about it."""

from __future__ import annotations

_DAMAGED = "The file is damaged. Ask the sender to send it again."
_TOO_BIG = "It is larger than what is read item by item here."
_UNSAFE = "It holds something that such a file should not, so it was not opened."

#: By the `code` of the error that the reader raised.
_WORDS = {
    "clinical_error": _DAMAGED,
    "unreadable": _DAMAGED,
    "empty": "There is nothing in it.",
    "not_xml": "Its name says that it is a clinical document, but it is something else.",
    "encrypted": "It is locked with a password of its own. Ask the sender to send it without one.",
    "not_well_formed": _DAMAGED,
    "bad_encoding": _DAMAGED,
    "has_doctype": _UNSAFE,
    "too_deep": _UNSAFE,
    "too_many_elements": _TOO_BIG,
    "too_large": _TOO_BIG,
    "not_clinical": "It is no clinical document of a kind that is read here.",
    "bad_archive": "The package is damaged. Ask the sender to send it again.",
    "not_archive": "Its name says that it is a package, but it is something else.",
    "encrypted_archive": "The package is locked with a password. Ask the sender to send it without one.",
    "unsafe_archive": _UNSAFE,
    "archive_too_large": "The package is larger than what is opened here.",
    "no_such_path": "The place in the document is no longer there.",
    "worker_killed": "Reading it failed because of a fault of this service.",
    "unforeseen": "Reading it failed because of a fault of this service.",
}


def why_unreadable(code: str | None) -> str:
    """The sentence for `code`; a code without one of its own gets the general words."""
    return _WORDS.get(str(code or ""), "It is not in a form that is read here.")
