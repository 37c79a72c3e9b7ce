"""The front door: bytes of any clinical document in, what they say out."""

from typing import Any

from records.clinical import ccda, ccr, detect, output, xml
from records.clinical.types import ClinicalSummary, Item


def read(data: bytes, content_type: str | None = None, filename: str | None = None) -> ClinicalSummary:
    """Read a clinical document of whatever kind.

    :param data: the bytes as received.
    :param content_type: the declared media type, parameters allowed.
    :param filename: the declared name; kept for symmetry with :func:`records.clinical.detect.detect`.
    :returns: header, sections and items.
    :raises UnreadableDocument: when the bytes cannot be read as XML; its ``code`` says why.
    :raises UnsupportedDocument: when it is XML, but no clinical document.
    """
    root = xml.parse(data)
    detected = detect.detect_root(root, content_type)
    if detected.kind == "ccr":
        return ccr.read_root(root, detected)
    return ccda.read_root(root, detected)


def item_json(item: Item) -> dict[str, Any]:
    """One item as plain JSON values: kind, codes, name, dates, value, standing, section and path.

    ``start_text`` is there too when the date was written in words that are no date ("2 years ago").
    """
    shape = output.item(item)
    written = item.detail.get("start_text")
    return {**shape, "start_text": written} if written and item.start is None else shape
