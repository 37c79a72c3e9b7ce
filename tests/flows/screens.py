"""Pages in a real browser, judged at every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESK, PHONE = 1280, 360


@dataclass
class Screen:
    """A page that notes what is wrong with it at every step, and where a request left the portal."""

    page: Any
    name: str
    home: str
    pictures: Path | None
    wrong: list[tuple[str, str, Any]] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        self.page.set_default_timeout(20_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._note("script", str(error)))
        self.page.on("request", self._request)

    def look(self, step: str) -> None:
        """Judge the page as it stands."""
        self.steps += 1
        found = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        if found[0] > found[1]:
            self._note("too wide", found)
        levels = self.page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(one => Number(one.tagName[1]))"
        )
        if levels.count(1) != 1 or any(after - before > 1 for before, after in pairwise(levels)):
            self._note("headings", levels)
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        for broken in axe.Axe().run(self.page).response["violations"]:
            if broken["impact"] in ("serious", "critical"):
                self._note(broken["id"], [node["html"][:120] for node in broken["nodes"]])
        if self.pictures:
            path = self.pictures / f"{self.name}-{self.steps:02}-{step}.png"
            self.page.screenshot(path=path, full_page=True)

    def press(self, words: str) -> None:
        """Press the button or follow the link of the page's content with these words."""
        self.page.locator("main").get_by_text(words, exact=True).first.click()

    def _note(self, what: str, more: Any) -> None:
        self.wrong.append((self.page.url, what, more))

    def _console(self, message: Any) -> None:
        # Blocked by our own policy, refused by the browser, or a script that fails: all of it ends up here.
        if message.type in ("error", "warning"):
            self._note(message.type, message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.home, "data:")):
            self._note("left the portal", request.url)
