"""The printable summary of a record: one page of HTML that loads nothing and runs nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from .exported import ExportedItem
from .models import Record
from .overview import KIND_NAMES

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 11pt/1.45 Georgia, "Times New Roman", serif; color: #16211f; margin: 2rem auto; max-width: 46rem;
  padding: 0 1rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 1.6rem 0 .4rem;
  border-bottom: 1px solid #9db0aa; }
p { margin: .2rem 0; } table { border-collapse: collapse; width: 100%; }
thead { display: table-header-group; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; } th { font-weight: 600; }
tr { break-inside: avoid; } .quiet { color: #51605c; font-size: .9rem; }
"""


def summary(record: Record, found: list[ExportedItem]) -> str:
    """The items of `record` by kind, for paper. Everything that came from outside is text in it."""
    by_kind: dict[str, list[ExportedItem]] = defaultdict(list)
    for item in found:
        by_kind[item.kind].append(item)
    kinds = sorted(by_kind, key=lambda kind: list(KIND_NAMES).index(kind) if kind in KIND_NAMES else 99)
    return format_html(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="{}"><title>Record of {}</title>'
        "<style>{}</style></head><body><h1>{}</h1>{}{}</body></html>\n",
        _POLICY,
        record.name,
        SafeString(_STYLE),
        record.name,
        _head(record),
        format_html_join("\n", "{}", ((_section(kind, by_kind[kind]),) for kind in kinds)),
    )


def _head(record: Record) -> SafeString:
    born = format_html("<p>Born {}</p>", record.birth_date) if record.birth_date else ""
    made = timezone.now().strftime("%d %B %Y, %H:%M UTC")
    note = "Items come from the documents named in the export; those marked “own” from the person."
    return format_html('{}<p class="quiet">Printed from HealthVault Direct on {}. {}</p>', born, made, note)


def _section(kind: str, several: list[ExportedItem]) -> SafeString:
    real = [item for item in several if not item.content.get("none_known")] or several[:1]
    real.sort(key=lambda item: str(item.content.get("start") or item.content.get("end") or ""), reverse=True)
    rows = format_html_join(
        "\n",
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        ((_name(item), _value(item.content), _dates(item.content), _beside(item)) for item in real),
    )
    return format_html(
        "<section><h2>{}</h2><table><thead><tr><th>What</th><th>Value</th><th>When</th><th>Status</th></tr>"
        "</thead><tbody>{}</tbody></table></section>",
        KIND_NAMES.get(kind, kind),
        rows,
    )


def _name(item: ExportedItem) -> SafeString:
    content = item.content
    name = content.get("name") or "Without a name"
    no = (
        SafeString("<strong>Not:</strong> ")
        if content.get("negated") and not content.get("none_known")
        else ""
    )
    note = format_html('<br><span class="quiet">{}</span>', content["note"]) if content.get("note") else ""
    return format_html("{}{}{}", no, name, note)


def _value(content: dict[str, Any]) -> str:
    return " ".join(str(content[part]) for part in ("value", "unit") if content.get(part))


def _dates(content: dict[str, Any]) -> str:
    start, end = content.get("start") or content.get("start_text") or "", content.get("end")
    return f"{start} to {end}" if end else str(start)


def _beside(item: ExportedItem) -> str:
    return ", ".join(part for part in (item.content.get("status"), "own" if item.own else "") if part)
