"""Two people with a browser each: one invites, the other sees what was granted, and then no more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.documents import CDA_TYPE, VISIT
from tests.flows.screens import DESK, PHONE, Screen
from tests.flows.stack import PASSWORD, Stack, link_in, text_of
from tests.partner import Partner

pytestmark = [pytest.mark.flow, pytest.mark.browser]


def sign_in(screen: Screen, address: str) -> None:
    page = screen.page
    page.goto(f"{screen.home}/accounts/login/")
    page.fill("#id_login", address)
    page.fill("#id_password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{screen.home}/messages/")


def confirm(screen: Screen) -> None:
    """Type the password again, which sharing and copying ask for."""
    screen.page.wait_for_url("**/accounts/reauthenticate/**")
    screen.page.fill("#id_password", PASSWORD)
    screen.page.keyboard.press("Enter")


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_from_the_invitation_to_its_end(
    stack: Stack, partner: Partner, identity: bytes, open_screen: Any, width: int
) -> None:
    owner, friend = f"nora{width}@patient.example", f"tomas{width}@people.example"
    made = stack.account(owner, "Nora Whitlock")
    inner = partner.compose(
        made["direct_address"], "Your visit", attachments=[("visit.xml", CDA_TYPE, VISIT)]
    )
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), made["direct_address"])
    # The notice comes when the message is filed.
    message = link_in(stack.wait_for_mail(owner))
    hers, his = open_screen(width), open_screen(width)
    sign_in(hers, owner)
    hers.page.goto(message)
    hers.page.wait_for_selector("text=items added to the record")
    record = f"{hers.home}/records/{made['record']}/"
    _hide_creatinine(hers, record)
    _invite(hers, record, friend)
    link = _link_of(stack.wait_for_mail(friend))
    _accept(stack, his, link, friend)
    _sees_what_was_granted(his, record)
    _withdraw(hers, his, record)
    assert hers.wrong == []
    assert his.wrong == []


def _link_of(mail: Any) -> str:
    text = text_of(mail)
    assert not re.search("Whitlock|Kite42|Creatinine|allerg", text)
    links = re.findall(r"https?://\S+/records/invited/\S+", text)
    assert len(links) == 1
    return str(links[0])


def _hide_creatinine(screen: Screen, record: str) -> None:
    page = screen.page
    page.goto(f"{record}kinds/results/")
    page.click("a:has-text('Creatinine')")
    page.goto(page.url)
    screen.look("item")
    screen.press("Make it personal")
    page.wait_for_selector("text=Only custodians see this item now.")
    screen.look("personal")


def _invite(screen: Screen, record: str, friend: str) -> None:
    page = screen.page
    page.goto(record)
    screen.look("record")
    screen.press("People")
    page.wait_for_url("**/people/")
    screen.look("people-alone")
    screen.press("Invite somebody")
    confirm(screen)
    page.wait_for_url("**/invite/")
    screen.look("invite")
    page.fill("#id_email", friend)
    page.check("input[name=scope][value=some]")
    screen.press("Send the invitation")
    page.wait_for_selector("text=Tick at least one kind")
    screen.look("invite-wrong")
    page.check("input[name=kinds][value=allergies]")
    page.check("input[name=kinds][value=results]")
    page.fill("#id_passcode", "Kite42")
    page.fill("#id_text", "So that you know what I must not eat.")
    screen.press("Send the invitation")
    page.wait_for_selector("text=is on its way")
    screen.look("people-waiting")


def _accept(stack: Stack, screen: Screen, link: str, friend: str) -> None:
    page = screen.page
    page.goto(link)
    screen.look("invited")
    assert "Whitlock" not in page.inner_text("body")
    screen.press("Create an account")
    page.fill("#id_name", "Tomas Bergland")
    page.fill("#id_email", friend)
    page.fill("#id_password1", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#id_code")
    code = re.search(r"^\d{4}-\d{4}$", text_of(stack.wait_for_mail(friend, 2)), re.M)
    assert code
    page.fill("#id_code", code[0])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{screen.home}/records/invited/")
    screen.look("invited-signed-in")
    page.fill("#id_passcode", "Kite43")
    screen.press("Accept")
    page.wait_for_selector("text=4 tries are left")
    screen.look("invited-wrong")
    page.fill("#id_passcode", "Kite42")
    screen.press("Accept")
    page.wait_for_selector("text=You have accepted")


def _sees_what_was_granted(screen: Screen, record: str) -> None:
    page = screen.page
    assert page.url == record
    screen.look("shared-record")
    shown = page.inner_text("main")
    assert "So that you know what I must not eat." in shown
    assert "Allergies" in shown
    assert "Medicines" not in shown
    assert "Creatinine" not in shown
    for part in ("summary/", "kinds/results/", "timeline/"):
        page.goto(record + part)
        assert "Creatinine" not in page.inner_text("main"), part
    page.goto(f"{record}summary/")
    screen.look("shared-summary")
    page.goto(f"{screen.home}/records/")
    screen.look("records")


def _withdraw(hers: Screen, his: Screen, record: str) -> None:
    page = hers.page
    page.goto(f"{record}people/")
    hers.look("people-two")
    page.get_by_role("link", name="Change what Tomas Bergland may do").click()
    page.wait_for_selector("text=What Tomas Bergland may do")
    hers.look("person")
    page.goto(f"{record}history/")
    assert "Tomas Bergland" in page.inner_text("main")
    hers.look("history")
    page.goto(f"{record}people/")
    page.get_by_role("link", name="Take access away from Tomas Bergland").click()
    page.wait_for_selector("text=will see nothing of this record any more")
    hers.look("take-away")
    hers.press("Take access away")
    page.wait_for_selector("text=has no access any more")
    answer = his.page.goto(record)
    assert answer.status == 404
    # The browser itself notes the 404 that was asked for.
    his.wrong = [one for one in his.wrong if "404" not in str(one[2])]


def test_a_copy_is_made_while_one_watches(stack: Stack, open_screen: Any) -> None:
    made = stack.account("ada@patient.example", "Ada Larch")
    screen = open_screen(PHONE)
    page = screen.page
    sign_in(screen, "ada@patient.example")
    page.goto(f"{screen.home}/records/{made['record']}/export/")
    screen.look("export")
    loads: list[str] = []
    screen.press("Make a copy")
    confirm(screen)
    page.wait_for_selector("text=Your copy is being made")
    page.on("load", lambda loaded: loads.append(loaded.url))
    page.wait_for_selector("text=Download >> visible=true")
    page.wait_for_selector("#exports a.button-primary")
    screen.look("export-ready")
    assert not loads, "the page shows it without being loaded again"
    with page.expect_download() as waiting:
        page.click("#exports a.button-primary")
    assert waiting.value.suggested_filename.startswith("record-")
    page.goto(f"{screen.home}/records/{made['record']}/restore/")
    screen.look("restore")
    page.goto(f"{screen.home}/records/new/")
    screen.look("new")
    assert screen.wrong == []
