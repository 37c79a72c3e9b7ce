"""Running portals and a partner, shared by the tests of a module."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.screens import FLAGS, Screen
from tests.flows.stack import Stack
from tests.partner import Partner
from tests.tools import need


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A portal that runs, with its own certificate."""
    running = Stack(tmp_path_factory.mktemp("portal"))
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def identity(stack: Stack) -> bytes:
    """The PEM certificate partners encrypt to."""
    return stack.json("create_identity", stack.domain)["pem"].encode()


@pytest.fixture(scope="module")
def partner(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Partner:
    """A partner whose anchor the portal trusts for incoming mail."""
    made = Partner(tmp_path_factory.mktemp("partner"))
    anchor: Path = made.directory / "ca.pem"
    stack.manage("import_anchor", anchor, "--organization", made.name, "--incoming", "--yes", "--json")
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=need("chromium"), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_screen(chromium: Any, stack: Stack, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Opens screens of a given width; a failed test leaves a picture of each.

    `SCREENSHOTS=directory` keeps a picture of every step.
    """
    opened: list[Screen] = []
    wanted = os.environ.get("SCREENSHOTS")
    pictures = Path(wanted) if wanted else None
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)

    def one(width: int, **more: Any) -> Screen:
        page = chromium.new_page(viewport={"width": width, "height": 740}, **more)
        screen = Screen(page, f"{request.node.name}-{width}".replace("/", "_"), stack.url, pictures)
        opened.append(screen)
        return screen

    failed_before = request.session.testsfailed
    yield one
    for screen in opened:
        if request.session.testsfailed > failed_before and not pictures:
            screen.page.screenshot(path=tmp_path / f"{screen.name}-failed.png", full_page=True)
        screen.page.context.close()
