"""What the bundle commands print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.management.base import BaseCommand

from trust import bundles
from trust.bundles import Outcome
from trust.management.files import finish
from trust.models import Anchor, Bundle

Done = Sequence[tuple[Bundle, Outcome]]


def tell(command: BaseCommand, done: Done, *, as_json: bool) -> None:
    """Print what refreshes came to; exit 1 when one failed. `error` is the first one, or null."""
    errors = [outcome.error for _, outcome in done if outcome.error]
    for bundle, outcome in done:
        if outcome.error:
            command.stderr.write(f"{bundle.name}: {bundles.WORDS[outcome.error]} ({outcome.detail})")
        if outcome.passed_over:
            command.stderr.write(f"{bundle.name}: {outcome.passed_over} unreadable certificates passed over")
    result = {
        "added": sum(len(outcome.added) for _, outcome in done),
        "removed": sum(len(outcome.removed) for _, outcome in done),
        "kept": sum(outcome.kept for _, outcome in done),
        "error": errors[0] if errors else None,
        "bundles": [_one(bundle, outcome) for bundle, outcome in done],
    }
    finish(command, result, as_json=as_json, good=not errors, text=_text(done))


def _one(bundle: Bundle, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "added": _listed(outcome.added),
        "removed": _listed(outcome.removed),
        "kept": outcome.kept,
        "error": outcome.error or None,
        "detail": outcome.detail,
    }


def _listed(anchors: Iterable[Anchor]) -> list[dict[str, str]]:
    return [{"sha256": each.sha256, "subject": each.subject} for each in anchors]


def _text(done: Done) -> str:
    lines = []
    for bundle, outcome in done:
        state = outcome.error or "ok"
        lines.append(
            f"{bundle.name}: {state}, {len(outcome.added)} added, {len(outcome.removed)} removed,"
            f" {outcome.kept} kept"
        )
        lines += [f"  + {each.sha256}  {each.subject}" for each in outcome.added]
        lines += [f"  - {each.sha256}  {each.subject}" for each in outcome.removed]
    return "\n".join(lines) or "no bundle is switched on"
