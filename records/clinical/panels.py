"""Measurements that belong together: the panels of a document, and blood pressures as people read them."""

from collections.abc import Iterable
from dataclasses import dataclass

from records.clinical.types import Coded, Item

SYSTOLIC = "8480-6"
DIASTOLIC = "8462-4"


@dataclass(frozen=True, slots=True)
class Panel:
    """One organizer with its measurements; ``status`` is the organizer's own."""

    path: str
    code: Coded
    status: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class BloodPressure:
    """A systolic and a diastolic reading of one panel."""

    systolic: Item
    diastolic: Item

    @property
    def shown(self) -> str:
        """As people write it: ``121/79 mm[Hg]``."""
        unit = self.systolic.unit or self.diastolic.unit or ""
        return f"{self.systolic.value}/{self.diastolic.value} {unit}".rstrip()


def panels(items: Iterable[Item]) -> tuple[Panel, ...]:
    """The panels of a document's items, in the order of the document."""
    grouped: dict[str, list[Item]] = {}
    for item in items:
        path = item.detail.get("panel_path", "")
        if path:
            grouped.setdefault(path, []).append(item)
    return tuple(
        Panel(
            path,
            members[0].detail.get("panel", Coded()),
            members[0].detail.get("panel_status", ""),
            tuple(members),
        )
        for path, members in grouped.items()
    )


def blood_pressures(items: Iterable[Item]) -> tuple[BloodPressure, ...]:
    """Blood pressures: LOINC 8480-6 and 8462-4 of one panel and one time, each used once."""
    found = []
    for panel in panels(items):
        diastolic = [item for item in panel.items if _is(item, DIASTOLIC)]
        for systolic in panel.items:
            if not _is(systolic, SYSTOLIC):
                continue
            match = next((item for item in diastolic if item.start == systolic.start), None)
            if match is not None:
                diastolic.remove(match)
                found.append(BloodPressure(systolic, match))
    return tuple(found)


def _is(item: Item, code: str) -> bool:
    return item.value is not None and any(coding.code == code for coding in item.codes)
