"""Every screen of a record in a real browser: at a desk and on a phone, in light and in dark.

Each is looked at for serious findings of axe-core, for anything wider than the screen, for what the
browser refused or fetched from elsewhere, and for its headings (`tests.flows.screens.Screen.look`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.documents import CCR, CDA_TYPE, VISIT
from tests.flows.screens import DESK, PHONE, Screen
from tests.flows.stack import PASSWORD, Stack, wait_until
from tests.partner import Partner
from tests.pure.clinical import documents as cda

pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.flow, pytest.mark.browser]

ADDRESS = "nora@patient.example"
#: Addresses under a record's own, ids in braces; a new screen gets a line here.
SCREENS = {
    "overview": "",
    "kind": "kinds/problems/",
    "kind-past": "kinds/problems/?show=past&sort=name",
    "kind-none-known": "kinds/allergies/",
    "kind-empty": "kinds/goals/",
    "results": "kinds/results/",
    "vital-signs": "kinds/vital_signs/",
    "trend": "trends/{trend}/",
    "trend-words": "trends/{words}/",
    "timeline": "timeline/",
    "timeline-undated": "timeline/?dates=none&kind=problems",
    "documents": "documents/",
    "document": "documents/{document}/",
    "document-found": "documents/{document}/?item={item}#found",
    "document-held": "documents/{held}/",
    "search": "search/",
    "imports": "imports/",
    "import": "imports/{brought}/",
    "whose": "documents/{held}/whose/",
    "upload": "upload/",
    "add": "add/",
    "add-one": "add/allergies/",
    "removed": "removed/",
    "item": "items/{item}/",
    "correct": "items/{item}/correct/",
    "file": "items/{file}/",
    "export": "export/",
    "restore": "restore/",
    "summary": "summary/",
    "settings": "settings/",
    "people": "people/",
    "invite": "people/invite/",
    "history": "history/",
    "leave": "leave/",
}
#: Where the other screens of a person's records are.
BESIDE = {"records": "/records/"}

LONG = (
    "Metabolic-panel-with-estimated-glomerular-filtration-rate-by-formula [Moles/volume] in Serum or Plasma"
)


def _of_nora(data: bytes) -> bytes:
    """The same document about the person of the demonstration."""
    patient = re.search(rb"<recordTarget>.*?</recordTarget>", VISIT, re.S)
    assert patient is not None
    return data.replace(cda.PATIENT.strip().encode(), patient[0])


def _glucose(value: str, day: str, kind: str = "PQ", unit: str = ' unit="mg/dL"') -> str:
    said = (
        f'<value xsi:type="{kind}" value="{value}"{unit}/>'
        if kind == "PQ"
        else f'<value xsi:type="ST">{value}</value>'
    )
    limits = (
        '<referenceRange><observationRange><value xsi:type="IVL_PQ"><low value="70" unit="mg/dL"/>'
        '<high value="99" unit="mg/dL"/></value></observationRange></referenceRange>'
    )
    coded = cda.code("2345-7", "Glucose", cda.LOINC)
    return cda.observation(coded, said + limits, time=f'<effectiveTime value="{day}"/>')


def _history() -> bytes:
    """Values in numbers and words over years, units that differ, ends, denials, a very long name."""
    results = cda.panel(
        *(_glucose(str(88 + n * 3), f"{2018 + n}0412") for n in range(7)),
        _glucose("&gt;400", "20250301", "ST"),
        _glucose("5.6", "20250501", unit=' unit="mmol/L"'),
        cda.observation(cda.code("5802-4", LONG, cda.LOINC), '<value xsi:type="ST">not detected</value>'),
    )
    pressures = cda.panel(
        *(
            cda.observation(
                cda.code(code, name, cda.LOINC), f'<value xsi:type="PQ" value="{value}" unit="mm[Hg]"/>'
            )
            for code, name, value in (
                ("8480-6", "SYSTOLIC BLOOD PRESSURE", "142"),
                ("8462-4", "DIASTOLIC BLOOD PRESSURE", "91"),
                ("8867-4", "HEART RATE", "0"),
            )
        )
    )
    ended = cda.problem(
        cda.code("123", "Broken wrist", tag="value", kind="CD"),
        times='<low value="2012"/><high value="201203"/>',
        act_status="completed",
    )
    undated = cda.problem(cda.code("124", LONG, tag="value", kind="CD"), times="")
    return _of_nora(
        cda.document(
            cda.section("30954-2", results, title="Results"),
            cda.section("8716-3", pressures, title="Vital signs"),
            cda.section("11450-4", ended + undated, title="Problems"),
        )
    )


@dataclass
class Chart:
    """A record that was filled by mail, and the ids of what is in it."""

    base: str
    ids: dict[str, str]

    def path(self, screen: str) -> str:
        return self.base + SCREENS[screen].format(**self.ids)


@pytest.fixture(scope="module")
def chart(stack: Stack, partner: Partner, identity: bytes, chromium: Any) -> Chart:
    address = stack.account(ADDRESS, "Nora Whitlock")["direct_address"]
    about_another = cda.document(title="Visit of somebody else")
    files = [
        ("visit.xml", CDA_TYPE, VISIT),
        ("history.xml", CDA_TYPE, _history()),
        ("referral.xml", "application/ccr+xml", CCR),
        ("other.xml", CDA_TYPE, about_another),
        ("map.pdf", "application/pdf", b"%PDF-1.4\n%%EOF\n"),
    ]
    inner = partner.compose(address, "Your records", attachments=tuple(files))
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), address)
    page = chromium.new_page()
    _sign_in(page, stack)
    wait_until("the documents are read", lambda: _are_read(page, stack), 120)
    base = page.url
    ids = {
        "item": _first(page, "a.list-row:has-text('Penicillin')", "items"),
        "held": _first(page, ".notice a", "documents"),
        "brought": _first(page, "section:has(#fresh) a.list-row", "imports"),
        "file": _first(page, "a.list-row:has-text('map.pdf')", "items"),
    }
    page.goto(f"{base}documents/")
    ids["document"] = _first(
        page, "a.list-row:not(:has-text('somebody else')):has-text('Visit')", "documents"
    )
    page.goto(f"{base}kinds/results/")
    ids["trend"] = _first(page, ".readings tr:has-text('Glucose') a:has-text('Chart')", "trends")
    ids["words"] = _first(page, ".readings tr:has-text('not detected') a:has-text('All values')", "trends")
    page.context.close()
    return Chart(base, ids)


def _sign_in(page: Any, stack: Stack) -> None:
    page.goto(f"{stack.url}/accounts/login/")
    page.fill("#id_login", ADDRESS)
    page.fill("#id_password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)


def _are_read(page: Any, stack: Stack) -> bool:
    """Whether the record has what the mail brought: nothing waits, and one document is somebody else's."""
    page.goto(f"{stack.url}/records/")
    words = page.inner_text("main")
    return "names somebody else" in words and "is being read" not in words and "Glucose" in words


def _first(page: Any, selector: str, kind: str) -> str:
    """The id in the address of the first such link."""
    found = re.search(rf"/{kind}/([0-9a-f-]{{36}})/", page.locator(selector).first.get_attribute("href"))
    assert found is not None, selector
    return found[1]


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_every_screen_of_a_record(stack: Stack, chart: Chart, open_screen: Any, width: int) -> None:
    screen: Screen = open_screen(width)
    _sign_in(screen.page, stack)
    for name in SCREENS:
        screen.page.goto(chart.path(name))
        _look_in_both_lights(screen, name)
    for name, path in BESIDE.items():
        screen.page.goto(stack.url + path)
        _look_in_both_lights(screen, name)
    screen.page.goto(chart.path("search"))
    screen.page.fill("#words", "glucose")
    with screen.page.expect_navigation():
        screen.page.keyboard.press("Enter")
    assert "glucose" not in screen.page.url
    assert screen.page.locator("a.list-row:has-text('Glucose')").count() > 0
    _look_in_both_lights(screen, "search-found")
    assert screen.wrong == []


def _look_in_both_lights(screen: Screen, name: str) -> None:
    for light in ("light", "dark"):
        screen.page.emulate_media(color_scheme=light)
        screen.look(f"{name}-{light}")


def test_the_chart_is_a_picture_with_words_and_its_table_has_what_it_leaves_out(
    stack: Stack, chart: Chart, open_screen: Any
) -> None:
    screen: Screen = open_screen(DESK)
    page = screen.page
    _sign_in(page, stack)
    page.goto(chart.path("trend"))
    pictures = page.get_by_role("img", name=re.compile("Glucose"))
    assert pictures.count() == 2, "one a unit; the picture for the other width is hidden from everybody"
    assert page.locator(".chart-wide svg.chart").first.bounding_box()["width"] > 500
    rows = page.locator(".readings tbody tr")
    assert rows.count() == 9
    assert rows.filter(has_text="Not in the chart").count() == 1
    page.set_viewport_size({"width": PHONE, "height": 740})
    assert page.locator(".chart-narrow svg.chart").first.is_visible()
    assert not page.locator(".chart-wide svg.chart").first.is_visible()
    assert screen.wrong == []


def test_an_item_leads_to_its_very_words(stack: Stack, chart: Chart, open_screen: Any) -> None:
    for width in (DESK, PHONE):
        page = open_screen(width).page
        _sign_in(page, stack)
        page.goto(chart.path("document-found"))
        words = page.locator("#found")
        assert "Penicillin" in words.inner_text()
        box = words.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < page.viewport_size["height"], "the words are in sight"
