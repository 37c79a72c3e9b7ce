"""Script in every place of a document: nothing of it runs, nothing is fetched, the text stays.

The places are those through which widely copied CDA stylesheets let script run, and those of our own pages.
"""

from __future__ import annotations

import base64
import re
from html import escape
from typing import Any

import pytest

from tests.documents import CCR, CDA_TYPE, VISIT
from tests.flows.screens import DESK, Screen
from tests.flows.stack import PASSWORD, Stack, link_in
from tests.partner import Partner

pytestmark = [pytest.mark.flow, pytest.mark.browser, pytest.mark.timeout(600)]

OUTSIDE = "http://holes.test"
#: Pages looked at before the walk ends; more than a record of these documents has.
PAGES = 150


def script(name: str) -> str:
    """Script as mark-up, with words that must still be read where a person looks."""
    runs = f'window.ran="{name}"'
    return f"\"'><script>{runs}</script><img src={OUTSIDE}/{name} onerror={runs}>{name}"


def words(name: str) -> str:
    """The same escaped, as text of XML or the value of an attribute has it."""
    return escape(script(name))


#: Hole -> what stands in the document of a visit, and what is put there instead.
PLACES: dict[str, tuple[str, str]] = {
    "hole01": ("<title>Summary of your visit</title>", f"<title>{words('hole01')}</title>"),
    "hole02": ("<title>Laboratory results</title>", f"<title>{words('hole02')}</title>"),
    "hole03": (
        '<tr ID="r1"><td>Potassium</td>',
        '<tr ID="r1"><td><script>window.ran="hole03"</script>'
        '<script xmlns="http://www.w3.org/1999/xhtml">window.ran="hole03"</script>hole03</td>',
    ),
    "hole04": ("<td>4.1 mmol/L</td>", f"<td>{words('hole04')}</td>"),
    "hole05": ("<td>3.5 to 5.1</td>", f"<td><![CDATA[{script('hole05')}]]></td>"),
    "hole06": (
        '<tr ID="r2"><td>Creatinine</td>',
        '<tr ID="r2" onmouseover="window.ran=\'hole06\'"><td onclick="window.ran=\'hole06\'" '
        'style="background:url(http://holes.test/hole06)" headers="&quot; onclick=x">hole06</td>',
    ),
    "hole07": (
        "<td>1.3 mg/dL (high)</td>",
        "<td><linkHtml href=\"javascript:window.ran='hole07'\">hole07</linkHtml></td>",
    ),
    "hole08": (
        "<td>0.6 to 1.1</td>",
        '<td><linkHtml href="data:text/html,&lt;script>window.ran=1&lt;/script>">hole08</linkHtml></td>',
    ),
    "hole09": (
        '<list><item ID="m1">Lisinopril 10 mg tablet, one each morning</item></list>',
        '<list><item ID="m1">Lisinopril '
        "<linkHtml href=\" Java&#10;Script:window.ran='hole09'\">hole09</linkHtml>"
        "</item></list>",
    ),
    "hole10": (
        '<list><item ID="i1">Influenza vaccine, 14 September 2026</item></list>',
        f'<list><item ID="i1">hole10<img src="{OUTSIDE}/hole10" onerror="window.ran=\'hole10\'"/>'
        "</item></list>",
    ),
    "hole11": (
        "<text><paragraph>Blood pressure 128/82, weight 68.4 kg</paragraph></text>",
        '<text><paragraph>hole11 <renderMultiMedia referencedObject="mm1"/></paragraph></text>'
        '<entry><observationMedia classCode="OBS" moodCode="EVN" ID="mm1"><value mediaType="image/svg+xml" '
        'representation="B64">{svg}</value></observationMedia></entry>'.format(
            svg=base64.b64encode(
                b"<svg xmlns='http://www.w3.org/2000/svg' onload='top.ran=\"hole11\"'/>"
            ).decode()
        ),
    ),
    "hole12": (
        '<list><item ID="pr1">Electrocardiogram, 14 September 2026</item></list>',
        f'<table summary="{words("hole12")}" border="1" onmouseover="window.ran=\'hole12\'">'
        '<caption onclick="window.ran=\'hole12\'">hole12</caption><tbody><tr ID="pr1"><td>ECG</td></tr>'
        "</tbody></table>",
    ),
    "hole13": (
        '<list><item ID="e1">Office visit, 14 September 2026</item></list>',
        f'<list styleCode="Bold&quot; onclick=&quot;window.ran=1"><item ID="e1">hole13'
        f'<iframe src="{OUTSIDE}/hole13"/><object data="{OUTSIDE}/hole13"/><embed src="{OUTSIDE}/hole13"/>'
        "</item></list>",
    ),
    "hole14": (
        '<paragraph ID="s1">Former smoker</paragraph>',
        '<paragraph ID="s1&quot;&gt;&lt;script&gt;window.ran=1&lt;/script&gt;">hole14</paragraph>',
    ),
    "hole15": (
        'displayName="Creatinine [Mass/volume] in Serum or Plasma"',
        f'displayName="Creatinine {words("hole15")}"',
    ),
    "hole16": ('displayName="Penicillin V"', f'displayName="Penicillin {words("hole16")}"'),
    "hole17": ('displayName="Office visit"', f'displayName="{words("hole17")}"'),
    "hole18": ('unit="mmol/L"/><interpretationCode', f'unit="{words("hole18")}"/><interpretationCode'),
    "hole19": ("<given>Ines</given>", f"<given>{words('hole19')}</given>"),
    "hole20": (
        '<id root="2.999.4711.1"/><name>Larkspur Community Hospital</name>',
        f'<id root="2.999.4711.1"/><name>{words("hole20")}</name>',
    ),
    "hole21": (
        '<value xsi:type="CD" code="8517006" codeSystem="2.16.840.1.113883.6.96" '
        'displayName="Former smoker"/>',
        f'<value xsi:type="ST">{words("hole21")}</value>',
    ),
    "hole22": (
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<?xml-stylesheet type="text/xsl" href="{OUTSIDE}/hole22.xsl"?>',
    ),
}
#: Holes that are no text: there is nothing to read.
SILENT = {"hole22"}


def with_holes() -> bytes:
    text = VISIT.decode()
    for name, (here, instead) in PLACES.items():
        assert here in text, name
        text = text.replace(here, instead)
    return text.encode()


def without_body(name: str, inner: str) -> bytes:
    """A document with no sections: its body is another file, or the address of one."""
    body = f"<component><nonXMLBody><text {inner}</text></nonXMLBody></component>"
    text = re.sub(r"<component><structuredBody>.*</component>", lambda _: body, VISIT.decode(), flags=re.S)
    return text.replace("Summary of your visit", name).replace("9e01", name[-2:] + "01").encode()


def attachments() -> tuple[tuple[str, str, bytes], ...]:
    page = base64.b64encode(script("hole23").encode()).decode()
    other = VISIT.decode().replace("<given>Nora</given>", f"<given>{words('hole25')}</given>")
    other = other.replace("9e01", "9e25").replace("Whitlock", "Ferrant").replace("19790305", "20010101")
    referral = CCR.decode().replace("Seasonal allergic rhinitis", words("hole26"))
    return (
        ("visit.xml", CDA_TYPE, with_holes()),
        (
            "hole23.xml",
            CDA_TYPE,
            without_body("hole23", f'mediaType="text/html" representation="B64">{page}'),
        ),
        (
            "hole24.xml",
            CDA_TYPE,
            without_body(
                "hole24", 'mediaType="text/html"><reference value="javascript:top.ran=\'hole24\'"/>'
            ),
        ),
        ("hole25.xml", CDA_TYPE, other.encode()),
        ("referral.xml", "application/ccr", referral.encode()),
        ("hole27<img src=x onerror=top.ran=27>.html", "text/html", script("hole27").encode()),
        ("hole28.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='top.ran=28'/>"),
    )


def test_script_in_a_document_never_runs_and_its_text_stays(
    stack: Stack, partner: Partner, identity: bytes, open_screen: Any
) -> None:
    address = stack.account("nora@patient.example", "Nora Whitlock")["direct_address"]
    inner = partner.compose(address, script("hole29"), text=script("hole30"), attachments=attachments())
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), address)
    link = link_in(stack.wait_for_mail("nora@patient.example"))
    screen = open_screen(DESK)
    screen.page.goto(link)
    screen.page.fill("#id_login", "nora@patient.example")
    screen.page.fill("#id_password", PASSWORD)
    screen.page.keyboard.press("Enter")
    screen.page.wait_for_url("**/messages/*/**")
    screen.page.wait_for_selector("text=/items? added to the record/")
    pages, files = walk(screen)
    assert not screen.wrong
    assert len(pages) > 30
    assert files
    read = "\n".join(pages.values())
    holes = {f"hole{number:02}" for number in range(1, 31)} - SILENT
    assert {name for name in holes if name not in read} == set()


def test_script_that_runs_would_be_noticed(open_screen: Any) -> None:
    screen = open_screen(DESK)
    screen.page.set_content(script("hole00"))
    assert "hole00" in _provoke(screen)
    assert {what for _, what, _ in screen.wrong} >= {"holes", "left the portal"}


def walk(screen: Screen) -> tuple[dict[str, str], set[str]]:
    """Every page of the record and its messages that links lead to: address -> text; and the files."""
    page = screen.page
    page.on("dialog", lambda dialog: dialog.dismiss() or screen.wrong.append((page.url, "dialog", "")))
    waiting, seen = [page.url, f"{screen.home}/records/", f"{screen.home}/messages/"], set()
    pages: dict[str, str] = {}
    files: set[str] = set()
    ours = (f"{screen.home}/records/", f"{screen.home}/messages/")
    while waiting and len(pages) < PAGES:
        url = waiting.pop(0).partition("#")[0]
        if url in seen:
            continue
        seen.add(url)
        answer = page.context.request.get(url, max_redirects=5)
        if not answer.headers.get("content-type", "").startswith("text/html") or _is_file(answer):
            assert _harmless(answer), (url, answer.headers)
            files.add(url)
            continue
        page.goto(url)
        pages[url] = _provoke(screen)
        waiting += [href for href in _links(page) if href.startswith(ours)]
    return pages, files


def _is_file(answer: Any) -> bool:
    return "content-disposition" in answer.headers or "sandbox" in answer.headers.get(
        "content-security-policy", ""
    )


def _harmless(answer: Any) -> bool:
    """A file is handed down to be kept, or stays in a sandbox; and is taken for nothing but what it says."""
    headers = answer.headers
    kept = headers.get("content-disposition", "").startswith("attachment")
    boxed = "sandbox" in headers.get("content-security-policy", "")
    return headers.get("x-content-type-options") == "nosniff" and (kept or boxed)


def _links(page: Any) -> list[str]:
    return page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")


def _provoke(screen: Screen) -> str:
    """Touch everything on the page, in its frames too; the text that can be read."""
    page = screen.page
    text = []
    for frame in page.frames:
        found = frame.evaluate(
            """() => {
                const all = [...document.querySelectorAll('body *')];
                for (const one of all) {
                    for (const kind of ['mouseover', 'mouseenter', 'focus', 'load', 'error', 'toggle'])
                        one.dispatchEvent(new Event(kind, {bubbles: true}));
                }
                const handlers = all.filter(one => [...one.attributes].some(each => /^on/i.test(each.name)));
                const links = all.filter(one => /^\\s*(javascript|data|vbscript):/i.test(
                    one.getAttribute('href') || one.getAttribute('src') || ''));
                return {ran: window.ran, handlers: handlers.length, links: links.length,
                        text: document.body ? document.body.textContent : ''};
            }"""
        )
        if found["ran"] or found["handlers"] or found["links"]:
            screen.wrong.append((page.url, "holes", {**found, "text": ""}))
        text.append(found["text"])
    return "\n".join(text)
