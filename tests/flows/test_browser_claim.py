"""The whole claim in a real browser, at a desk and on a phone: from the link to items in the record."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.documents import CDA_TYPE, VISIT
from tests.flows.screens import DESK, PHONE, Screen
from tests.flows.stack import PASSWORD, Stack, link_in
from tests.partner import Partner

pytestmark = [pytest.mark.flow, pytest.mark.browser]

#: A mail that has only HTML, with everything in it that must not run or be fetched.
HTML = """<html><body><h1>Your care plan</h1><script>document.title = "ran"</script>
<img src="https://tracker.test/pixel.gif" alt="Our clinic" onerror="alert(1)">
<p>Read <a href="https://larkspur.example/plan?id=8871">the plan</a>.</p></body></html>"""


def parcel(
    stack: Stack, partner: Partner, identity: bytes, contact: str, *files: tuple[str, str, bytes]
) -> str:
    """Send a message to newuser; the link of the mail that announces it."""
    to = f"newuser@{stack.domain}"
    subject = f"{contact};Which street did you grow up in?;Orchard Row;Summary of your visit"
    inner = partner.compose(to, subject, attachments=files)
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), to)
    return link_in(stack.wait_for_mail(contact))


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_from_the_link_to_the_record(
    stack: Stack, partner: Partner, identity: bytes, open_screen: Any, width: int
) -> None:
    contact = f"nora{width}@patient.example"
    files = (("summary.xml", CDA_TYPE, VISIT), ("map.pdf", "application/pdf", b"%PDF-1.4\n%%EOF\n"))
    screen = open_screen(width)
    page = screen.page
    page.goto(parcel(stack, partner, identity, contact, *files))
    screen.look("link")
    assert page.inner_text("h1") == "Health information is waiting for you"
    screen.press("Create an account")
    screen.look("sign-up")
    assert page.input_value("#id_email") == contact
    page.fill("#id_name", "Nora Whitlock")
    page.fill("#id_password1", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{stack.url}/pickup/answer/")
    screen.look("question")
    page.fill("#id_answer", "Elm Road")
    page.keyboard.press("Enter")
    page.wait_for_selector(".errorlist")
    screen.look("wrong")
    page.fill("#id_answer", "orchard row")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{stack.url}/pickup/claim/")
    screen.look("claim")
    assert not page.is_visible("#id_name"), "who has chosen a record is asked nothing more"
    page.check("input[name=record][value=new]")
    page.wait_for_selector("#id_name", state="visible")
    screen.look("claim-for-another")
    page.locator("label", has_text="Nora Whitlock").click()
    _claim_and_wait(screen)
    _see_the_record(screen)
    assert screen.wrong == []


def _claim_and_wait(screen: Screen) -> None:
    page = screen.page
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    screen.press("Put it in the record")
    page.wait_for_url("**/messages/*/?claimed=1")
    # The worker reads meanwhile; the page shows it without being loaded again.
    page.wait_for_selector("text=13 items added to the record")
    page.wait_for_selector("text=Marked as read")
    page.wait_for_load_state("load")
    screen.look("result")
    assert len(loads) == 1
    assert page.locator(".site-nav .count").count() == 0, "the counter says what is true"
    for words in ("It is in the record of Nora Whitlock", "Test results 2", "Added to your files"):
        assert words in page.inner_text("main")


def _see_the_record(screen: Screen) -> None:
    page = screen.page
    screen.press("Open the record")
    page.wait_for_url("**/records/*/")
    screen.look("record")
    page.click("a.list-row:has-text('Creatinine')")
    page.wait_for_url("**/items/*/")
    screen.look("item")
    assert "1.3 mg/dL High" in page.inner_text("main")
    screen.press("Show it in the document")
    page.wait_for_url("**/documents/*/?item=*")
    screen.look("document")
    box = page.locator("#found").bounding_box()
    assert box is not None
    assert 0 <= box["y"] < page.viewport_size["height"], "the section is in sight"
    for path in ("/messages/", "/messages/waiting/"):
        page.goto(screen.home + path)
        screen.look(path.strip("/").replace("/", "-"))


def test_html_mail_runs_nothing_and_fetches_nothing(
    stack: Stack, partner: Partner, identity: bytes, open_screen: Any
) -> None:
    address = stack.account("ada@patient.example", "Ada Larch")["direct_address"]
    inner = partner.compose(address, "Your care plan", text=HTML)
    inner = inner.replace(b"Content-Type: text/plain", b"Content-Type: text/html", 1)
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), address)
    link = link_in(stack.wait_for_mail("ada@patient.example"))
    screen = open_screen(PHONE)
    page = screen.page
    page.goto(link)
    page.fill("#id_login", "ada@patient.example")
    page.fill("#id_password", PASSWORD)
    page.keyboard.press("Enter")
    frame = page.frame_locator("iframe.sealed-frame")
    frame.get_by_role("heading", name="Your care plan").wait_for()
    assert "[picture: Our clinic]" in frame.locator("body").inner_text()
    assert frame.locator("a, img, script, form").count() == 0
    assert page.get_by_role("link", name="https://larkspur.example/plan?id=8871").is_visible()
    screen.look("html-mail")
    assert screen.wrong == []


def test_without_javascript_it_only_takes_more_clicks(
    stack: Stack, partner: Partner, identity: bytes, open_screen: Any
) -> None:
    contact = "ines@patient.example"
    page = open_screen(PHONE, java_script_enabled=False).page
    page.goto(parcel(stack, partner, identity, contact, ("summary.xml", CDA_TYPE, VISIT)))
    page.click("main a.button-primary")
    page.fill("#id_name", "Ines Falk")
    page.fill("#id_password1", PASSWORD)
    page.click("main button.button-primary")
    page.fill("#id_answer", "orchard row")
    page.click("main button.button-primary")
    page.click("main button.button-primary")
    page.wait_for_url("**/messages/*/?claimed=1")
    for _ in range(40):
        if "items added to the record" in page.inner_text("main"):
            break
        page.wait_for_timeout(250)
        page.get_by_text("Look again").click()
    assert "13 items added to the record" in page.inner_text("main")
    page.click("text=Mark as read")
    page.wait_for_url(re.compile(r"/messages/[0-9a-f-]+/$"))
    assert page.locator(".site-nav .count").count() == 0
