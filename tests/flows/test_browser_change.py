"""Changing a record in a real browser, at a desk and on a phone: review and undo; add, correct, history."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.flows.screens import DESK, PHONE, Screen
from tests.flows.stack import PASSWORD, Stack
from tests.records.charts import allergies, chart, problem, problems

pytestmark = [pytest.mark.flow, pytest.mark.browser]

#: A redirect keeps the fragment of the page before it.
ITEM = re.compile(r"/items/[0-9a-f-]{36}/(#.*)?$")
GOUT, ASTHMA, ECZEMA = ("90560007", "Gout"), ("195967001", "Asthma"), ("43116000", "Eczema")
FIRST = chart("A", "20230101", problems(problem(*GOUT, identity="p"), problem(*ECZEMA)))
SECOND = chart(
    "B",
    "20240101",
    problems(problem(*GOUT, identity="p", end="20231101"), problem(*ECZEMA), problem(*ASTHMA)),
    allergies(("7980", "Penicillin")),
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "first.xml").write_bytes(FIRST)
    (tmp_path / "second.xml").write_bytes(SECOND)
    return tmp_path


def sign_in(screen: Screen, address: str) -> str:
    """Sign in; the address of the one record."""
    page = screen.page
    page.goto(f"{screen.home}/accounts/login/")
    page.fill("#id_login", address)
    page.fill("#id_password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/accounts/login/" not in url)
    page.goto(f"{screen.home}/records/")
    page.wait_for_url("**/records/*/")
    return str(page.url)


def put(screen: Screen, record: str, file: Path) -> None:
    """Choose a file and wait, without touching the page, until it is read."""
    page = screen.page
    page.goto(f"{record}upload/")
    page.set_input_files("#id_file", file)
    page.locator("main").get_by_role("button", name="Upload").click()
    page.wait_for_url("**/upload/*/")
    page.locator("#documents:not([hx-get])").wait_for()


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_block_and_unblock_a_sender(stack: Stack, open_screen: Any, width: int) -> None:
    address = f"odo{width}@people.example"
    stack.account(address, "Odo Harrowgate")
    screen = open_screen(width)
    page = screen.page
    record = sign_in(screen, address)
    page.goto(f"{record}settings/")
    assert "of the 4.0\xa0GB it may hold" in page.inner_text("main")
    screen.look("settings")
    page.locator("main").get_by_role("link", name="Blocked senders").click()
    page.wait_for_url("**/messages/blocked/*/")
    screen.look("nobody")
    for name in ("front.office.of.the.department@direct.a-rather-long-name.clinic.example", "Spam.example"):
        page.fill("#id_sender", name)
        page.locator("main").get_by_role("button", name="Block", exact=True).click()
        page.wait_for_selector(f"text={name.lower()} is blocked.")
    screen.look("blocked")
    page.fill("#id_sender", "nobody")
    page.locator("main").get_by_role("button", name="Block", exact=True).click()
    page.wait_for_selector("text=Type a Direct address")
    screen.look("refused")
    page.locator("li", has_text="spam.example").get_by_role("button").click()
    page.wait_for_selector("text=Mail from spam.example arrives again.")
    assert "Everybody at this domain" not in page.inner_text("main")


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_review_then_undo(stack: Stack, open_screen: Any, files: Path, width: int) -> None:
    address = f"wren{width}@people.example"
    stack.account(address, "Wren Harrowgate")
    screen = open_screen(width)
    page = screen.page
    record = sign_in(screen, address)
    page.goto(f"{record}upload/")
    screen.look("upload")
    put(screen, record, files / "first.xml")
    screen.look("uploaded")
    assert "2 items added to the record" in page.inner_text("main")
    page.goto(f"{record}settings/")
    screen.look("settings")
    page.check("input[name=integration_preference][value=review]")
    screen.press("Save settings")
    put(screen, record, files / "second.xml")
    assert "2 items to review" in page.inner_text("main")
    screen.press("Review it")
    page.wait_for_url("**/review/")
    screen.look("review")
    page.locator("fieldset", has_text="Gout").get_by_label("Replace what is there").check()
    page.locator("fieldset", has_text="Penicillin").get_by_label("Ignore").check()
    screen.press("Save my choices")
    page.wait_for_url(lambda url: not url.endswith("/review/"))
    screen.look("reviewed")
    assert "Saved: 2 taken, 1 replaced, 1 ignored." in page.inner_text("main")
    screen.press("Take it back …")
    screen.look("undo")
    assert "Asthma" in page.locator("[aria-labelledby=fate-goes]").inner_text()
    assert "1 November 2023" in page.locator("[aria-labelledby=fate-changes]").inner_text()
    screen.press("Take it back")
    page.wait_for_selector("text=Taken back:")
    screen.look("undone")
    page.goto(record)
    screen.look("overview")
    shown = page.inner_text("main")
    assert "Asthma" not in shown
    assert "Gout" in shown
    page.goto(f"{record}imports/")
    screen.look("imports")
    assert "Taken back" in page.inner_text("main")
    assert screen.wrong == []


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_add_correct_and_history(stack: Stack, open_screen: Any, width: int) -> None:
    address = f"ines{width}@people.example"
    stack.account(address, "Ines Falk")
    # Nothing of this needs scripts, and all of it can be done with the keyboard.
    screen = open_screen(width)
    page = screen.page
    sign_in(screen, address)
    screen.look("empty")
    screen.press("Add")
    screen.look("kinds")
    screen.press("Medicines")
    page.wait_for_url("**/add/medications/")
    screen.look("form")
    page.keyboard.press("Tab")
    page.focus("#id_start")
    page.keyboard.type("2012-13")
    page.keyboard.press("Enter")
    page.wait_for_selector("#errors")
    screen.look("errors")
    assert "2 things are to be mended" in page.inner_text("#errors")
    page.click("#errors a >> nth=0")
    assert page.evaluate("document.activeElement.id") == "id_name"
    page.keyboard.type("Colchicine 0.5 mg")
    page.fill("#id_start", "about 2012")
    page.fill("#id_more_sig", "1 tablet when it hurts")
    page.focus("#id_name")
    page.keyboard.press("Enter")
    page.wait_for_url(ITEM)
    screen.look("added")
    screen.press("Correct it")
    page.wait_for_url("**/correct/")
    screen.look("correct")
    assert page.input_value("#id_more_sig") == "1 tablet when it hurts"
    page.fill("#id_start", "March 2012")
    page.select_option("#id_status", "stopped")
    screen.press("Save")
    page.wait_for_url(ITEM)
    screen.look("history")
    told = page.locator("[aria-labelledby=history]").inner_text()
    assert "Corrected, by Ines Falk" in told
    assert "about 2012 → March 2012" in told
    screen.press("Delete it")
    page.wait_for_url("**/removed/")
    screen.look("removed")
    page.get_by_role("button", name="Restore Colchicine").click()
    page.wait_for_url(ITEM)
    assert "Colchicine" in page.inner_text("h1")
    assert screen.wrong == []
