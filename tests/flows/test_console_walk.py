"""Two administrators, each with an empty installation and a browser, until their people write to each other.

Nothing is done on a command line but what comes before there is anything to sign in to: the accounts. What an
administrator does outside the portal is done here too: the zone file that the console gives goes into the
name service, and the partner's anchors are fetched where the partner says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.zone
import pytest
import requests

from tests import dns_server
from tests.flows.screens import DESK, PHONE, Screen
from tests.flows.stack import PASSWORD, Stack, wait_until

pytestmark = [pytest.mark.flow, pytest.mark.browser, pytest.mark.timeout(600)]


@dataclass
class Side:
    """One portal, its administrator's browser, and somebody with a record there."""

    stack: Stack
    screen: Screen
    person: str
    address: str


@pytest.fixture(params=[DESK, PHONE])
def sides(chromium: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Side, Side, Any]]:
    width, made = request.param, []
    wanted = os.environ.get("SCREENSHOTS")
    pictures = Path(wanted) if wanted else None
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
    with dns_server.running() as (names, (host, port)):
        stacks = []
        for name in ("rowan", "sedge"):
            (tmp_path / name).mkdir()
            extra = {"DNS_SERVERS": f"{host}:{port}", "DIRECT_CONFIRMATION_TIMEOUT": "600"}
            stacks.append(Stack(tmp_path / name, f"direct.{name}.example", extra))
        for stack, other in (stacks, reversed(stacks)):
            stack.environment["DIRECT_MX_PORT"] = str(other.smtp_port)
        try:
            for stack in stacks:
                stack.start()
                stack.account("ida@portal.example", "Ida Marsh", "--admin")
                address = stack.account("nora@patient.example", "Nora Whitlock")["direct_address"]
                page = chromium.new_page(viewport={"width": width, "height": 740}, accept_downloads=True)
                screen = Screen(page, f"walk-{stack.domain}-{width}", stack.url, pictures)
                made.append(Side(stack, screen, "nora@patient.example", address))
            yield made[0], made[1], names
        finally:
            for side in made:
                side.screen.page.context.close()
            for stack in stacks:
                stack.close()


def test_from_two_empty_installations_to_mail_both_ways(
    sides: tuple[Side, Side, Any], tmp_path: Path
) -> None:
    rowan, sedge, names = sides
    for side in (rowan, sedge):
        sign_in(side)
        see_that_nothing_is_there(side)
        make_a_certificate(side)
        publish(side, names)
    for side, other in ((rowan, sedge), (sedge, rowan)):
        trust(side, other, tmp_path)
        check(side, other)
        see_that_all_is_well(side)
    write(rowan, sedge, "Our first message")
    write(sedge, rowan, "And the answer")
    assert rowan.screen.wrong + sedge.screen.wrong == []


def sign_in(side: Side, email: str = "ida@portal.example") -> None:
    page = side.screen.page
    page.goto(f"{side.stack.url}/accounts/login/")
    page.fill("#id_login", email)
    page.fill("#id_password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/accounts/login/" not in url)


def see_that_nothing_is_there(side: Side) -> None:
    page = side.screen.page
    page.goto(f"{side.stack.url}/trust/")
    side.screen.look("empty")
    words = page.inner_text("main")
    assert f"{side.stack.domain}" in words
    assert "no mail to it can be opened" in words
    assert "No partner is trusted" in words


def make_a_certificate(side: Side) -> None:
    page = side.screen.page
    page.get_by_role("link", name="Make one").first.click()
    page.wait_for_url("**/trust/certificates/issue/**")
    side.screen.look("issue")
    assert page.input_value("#id_name") == side.stack.domain
    side.screen.press("Request it")
    page.wait_for_url("**/trust/certificates/")

    def there() -> bool:
        page.reload()
        return bool(page.get_by_role("link", name="Zone file").count())

    wait_until("the worker makes the certificate", there)
    side.screen.look("certificates")


def publish(side: Side, names: Any) -> None:
    """What the console gives, put into the zone; beside it the mail server, as for any domain."""
    page, domain = side.screen.page, side.stack.domain
    with page.expect_download() as download:
        side.screen.press("Zone file")
    text = Path(download.value.path()).read_text()
    zone = dns.zone.from_text(text, origin=f"{domain}.", relativize=False, check_origin=False)
    found = [(name, rdata) for name, _, rdata in zone.iterate_rdatas("CERT")]
    assert found
    for name, rdata in found:
        names.add(name, "CERT", rdata.to_text())
    names.add(domain, "MX", f"10 mx.{domain}.")
    names.add(f"mx.{domain}", "A", "127.0.0.1")


def trust(side: Side, other: Side, tmp_path: Path) -> None:
    page = side.screen.page
    anchors = tmp_path / f"{other.stack.domain}.zip"
    anchors.write_bytes(requests.get(f"{other.stack.url}/messagecenter/certs/certs.zip", timeout=30).content)
    page.goto(f"{side.stack.url}/trust/")
    page.get_by_role("link", name="Import an anchor").click()
    page.set_input_files("#id_anchors", anchors)
    page.fill("#id_organization", f"The clinics of {other.stack.domain}")
    side.screen.look("import")
    side.screen.press("Show what is in them")
    page.wait_for_url("**/trust/requests/*/")
    side.screen.look("review")
    page.fill("#id_domains", other.stack.domain)
    side.screen.press("Trust these certificates")
    page.wait_for_selector("text=1 of 1 anchors are new or changed")
    side.screen.look("trusted")


def check(side: Side, other: Side) -> None:
    page = side.screen.page
    page.goto(f"{side.stack.url}/trust/exchange/")
    page.fill("#id_address", other.address)
    side.screen.press(page.locator("main form button").last.inner_text().strip())
    page.wait_for_selector(".chain")
    side.screen.look("exchange")


def see_that_all_is_well(side: Side) -> None:
    page = side.screen.page
    for path in ("anchors", "bundles", "organizations", "requests", "certificates", "bundles/add"):
        page.goto(f"{side.stack.url}/trust/{path}/")
        side.screen.look(path.replace("/", "-"))
    for path in ("anchors", "certificates"):
        page.goto(f"{side.stack.url}/trust/{path}/")
        page.locator("main a.list-row").first.click()
        side.screen.look(f"{path}-one")
    page.goto(f"{side.stack.url}/trust/")
    side.screen.look("overview")
    assert "1 anchor of partners counts" in page.inner_text("main")


def write(side: Side, other: Side, subject: str) -> None:
    """Somebody here writes to somebody there, and hears that it arrived."""
    page = side.screen.page
    page.context.clear_cookies()
    sign_in(side, side.person)
    page.goto(f"{side.stack.url}/messages/compose/")
    page.fill("#id_to", other.address)
    page.fill("#id_subject", subject)
    page.fill("#id_text", "Written in a browser.")
    side.screen.press("Send message")

    def delivered() -> bool:
        return any(line["state"] == "dispatched" for line in side.stack.ledger("out"))

    wait_until("it is delivered there and confirmed here", delivered)
    assert any(line["state"] == "filed" for line in other.stack.ledger())
