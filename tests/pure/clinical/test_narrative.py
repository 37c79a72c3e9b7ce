"""The document view: an allow list, and nothing a document can say gets past it."""

import base64
import re
from html.parser import HTMLParser

import pytest

from records.clinical import embedded, narrative
from records.clinical.errors import NoSuchPath, NotWellFormed, UnsupportedDocument
from records.clinical.narrative import DocumentView
from tests.pure.clinical.documents import LOINC, code, document, everything, section
from tests.pure.clinical.documents import ccr as ccr_document

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
ALLOWED_TAGS = {
    "a",
    "br",
    "caption",
    "col",
    "colgroup",
    "del",
    "div",
    "img",
    "ins",
    "li",
    "ol",
    "p",
    "span",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "ul",
}
ALLOWED_ATTRIBUTES = {
    "abbr",
    "alt",
    "aria-label",
    "class",
    "colspan",
    "headers",
    "href",
    "id",
    "lang",
    "loading",
    "rel",
    "rowspan",
    "scope",
    "span",
    "src",
    "tabindex",
}


class Collector(HTMLParser):
    """Reads HTML as a browser does: tags, attributes, text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def view(text: str, **more: object) -> DocumentView:
    return narrative.render(document(section("11450-4", text=text)), **more)  # type: ignore[arg-type]


def html(text: str, **more: object) -> str:
    return view(text, **more).sections[0].html


def collected(markup: str) -> Collector:
    collector = Collector()
    collector.feed(markup)
    return collector


def assert_harmless(markup: str) -> Collector:
    found = collected(markup)
    assert set(found.tags) <= ALLOWED_TAGS
    assert {name for _, name, _ in found.attributes} <= ALLOWED_ATTRIBUTES
    for tag, name, value in found.attributes:
        if name in {"href", "src"}:
            assert re.match(r"(https?://|#doc-|/picture\?)", value), (tag, value)
    return found


ATTACKS = [
    "<script>alert(1)</script>",
    '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
    '<table onmouseover="alert(1)" style="background:url(http://x.example)"><tr><td onclick="x()">a'
    "</td></tr></table>",
    '<content styleCode="Bold&quot; onclick=&quot;alert(1)">x</content>',
    '<content ID="x&quot; onload=&quot;alert(1)">x</content>',
    '<linkHtml href="javascript:alert(1)">x</linkHtml>',
    '<linkHtml href=" JaVaScRiPt:alert(1)">x</linkHtml>',
    '<linkHtml href="java&#10;script:alert(1)">x</linkHtml>',
    '<linkHtml href="data:text/html,&lt;script>alert(1)&lt;/script>">x</linkHtml>',
    '<linkHtml href="vbscript:x">x</linkHtml>',
    '<linkHtml href="//evil.example/">x</linkHtml>',
    '<linkHtml href="http://x.example/&quot;onclick=&quot;alert(1)">x</linkHtml>',
    '<linkHtml href="#nowhere">x</linkHtml>',
    '<iframe src="http://evil.example/"/>',
    '<img src="http://evil.example/track.gif" onerror="alert(1)"/>',
    '<object data="http://evil.example/"/><embed src="x"/><form action="http://evil.example/">'
    "<input/></form>",
    '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>',
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<![CDATA[<script>alert(1)</script>]]>",
    '<renderMultiMedia referencedObject="x&quot; onerror=&quot;alert(1)"/>',
    '<td colspan="1&quot; onclick=&quot;x">a</td>',
    '<th scope="row&quot; x" abbr="&quot;&gt;&lt;script&gt;" headers="a&quot; b">a</th>',
    '<table summary="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"><tr><td>a</td></tr></table>',
    '<col span="1&quot;"/>',
    '<footnoteRef IDREF="x&quot; onclick=&quot;x"/>',
    '<style>@import "http://evil.example/"</style>',
    '<paragraph language="en&quot; onclick=&quot;x">a</paragraph>',
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks(attack: str) -> None:
    assert_harmless(html(attack, picture_url=lambda path: f"/picture?{path}"))


def test_names_titles_and_codes_are_plain_text() -> None:
    evil = "&lt;script&gt;alert(1)&lt;/script&gt;"
    data = document(section("1-8", title=evil), title=evil)
    shown = narrative.render(data, prefix='x"><script>')
    assert shown.title == shown.sections[0].title == "<script>alert(1)</script>"
    assert shown.sections[0].anchor == "x___script_-s1"


def test_scripts_say_nothing() -> None:
    assert html("a<script>alert(1)</script>b<style>x{}</style>c") == "abc"


def test_unknown_elements_keep_their_text() -> None:
    assert html("<blink>Take <b>two</b></blink>") == "Take two"


def test_escaped_markup_stays_text() -> None:
    found = html("one&lt;br/&gt;two &amp;ensp;")
    assert found == "one&lt;br/&gt;two &amp;ensp;"


def test_the_narrative_block() -> None:
    found = html(
        '<table ID="t1" styleCode="Bold xallIndent Unknown"><caption>Cap</caption><colgroup>'
        '<col span="2"/></colgroup>'
        '<thead><tr><th scope="col" align="right">When</th></tr></thead><tfoot><tr><td/></tr>'
        '</tfoot><tbody><tr ID="r1">'
        '<td rowspan="2" colspan="3" headers="h1">x<br/>y</td></tr></tbody></table>'
        '<list listType="ordered"><caption>Steps</caption><item ID="i">one</item><item>two</item></list>'
        "<list><item><paragraph>p</paragraph></item></list>"
        '<paragraph>H<sub>2</sub>O<sup>+</sup> <content revised="delete" styleCode="Italics">old'
        "</content></paragraph>"
    )
    assert_harmless(found)
    for part in (
        '<div class="n-scroll" tabindex="0"><table id="doc-s1-t1" class="n-table n-bold n-indent">',
        "<caption>Cap</caption>",
        '<colgroup><col span="2"></colgroup>',
        '<th class="n-right" scope="col">When</th>',
        '<td colspan="3" rowspan="2" headers="doc-s1-h1">x<br>y</td>',
        '<div class="n-caption">Steps</div><ol><li id="doc-s1-i">one</li><li>two</li></ol>',
        '<ul><li><p class="n-paragraph">p</p></li></ul>',
        "H<sub>2</sub>O<sup>+</sup>",
        '<del class="n-italics">old</del>',
    ):
        assert part in found


def test_ids_of_two_sections_do_not_clash() -> None:
    data = document(
        section("11450-4", text='<paragraph ID="a">one</paragraph>'),
        section("10160-0", text='<paragraph ID="a">two</paragraph><linkHtml href="#a">up</linkHtml>'),
    )
    one, two = narrative.render(data, "d7").sections
    assert 'id="d7-s1-a"' in one.html
    assert 'id="d7-s2-a"' in two.html
    assert 'href="#d7-s1-a"' in two.html


def test_web_links_show_their_address() -> None:
    found = html('<linkHtml href="https://clinic.example/a?b=1&amp;c=2">our page</linkHtml>')
    assert found == (
        '<a href="https://clinic.example/a?b=1&amp;c=2" rel="noopener noreferrer nofollow">our page</a> '
        '<span class="n-address">(https://clinic.example/a?b=1&amp;c=2)</span>'
    )
    assert "javascript:alert(1)" in "".join(
        collected(html('<linkHtml href="javascript:alert(1)">x</linkHtml>')).words
    )


def test_words_between_list_items_are_kept() -> None:
    assert html("<list>a<item>b</item>c</list>") == "<ul><li>a</li><li>b</li><li>c</li></ul>"


def test_footnotes() -> None:
    found = html('a<footnoteRef IDREF="f1"/><footnote ID="f1">see b</footnote>')
    assert '<a class="n-footnote-ref" href="#doc-s1-f1">*</a>' in found
    assert '<span id="doc-s1-f1" class="n-footnote">see b</span>' in found


def test_a_paragraph_with_a_table_is_no_p() -> None:
    found = html("<paragraph>x<table><tr><td>y</td></tr></table></paragraph>")
    assert found.startswith('<div class="n-paragraph">x<div class="n-scroll"')


def pictured(content: bytes, media_type: str = "image/png") -> bytes:
    media = (
        f'<entry><observationMedia classCode="OBS" moodCode="EVN" ID="M1"><value mediaType="{media_type}" '
        f'representation="B64">{base64.b64encode(content).decode()}</value></observationMedia></entry>'
    )
    return document(section("18748-4", media, text='<renderMultiMedia referencedObject="M1"/>'))


def test_pictures_by_content() -> None:
    data = pictured(PNG)
    shown = narrative.render(data, picture_url=lambda path: f"/picture?{path}")
    (path,) = shown.pictures
    assert f'<img class="n-picture" src="/picture?{path}"' in shown.sections[0].html
    assert embedded.embedded_file(data, path) == embedded.EmbeddedFile("image/png", PNG)
    # By content, not by what it is called.
    lying = pictured(b"GIF89a" + b"\0" * 9)
    assert embedded.embedded_file(lying, path).media_type == "image/gif"


@pytest.mark.parametrize("content", [b"<svg onload='alert(1)'/>", b"<html>", b"", b"BM\0\0"])
def test_other_pictures_are_not_shown(content: bytes) -> None:
    data = pictured(content)
    shown = narrative.render(data, picture_url=lambda path: f"/picture?{path}")
    assert shown.pictures == ()
    assert "[picture not shown]" in shown.sections[0].html
    with pytest.raises(UnsupportedDocument):
        embedded.embedded_file(data, "/*/*[8]/*[1]/*[1]/*[1]/*[4]/*[1]/*[1]")


def test_pictures_need_an_address() -> None:
    assert "[picture not shown]" in narrative.render(pictured(PNG)).sections[0].html


def unstructured(body: str) -> bytes:
    return document().replace(
        b"<structuredBody></structuredBody>", f"<nonXMLBody>{body}</nonXMLBody>".encode()
    )


def test_a_body_that_is_no_xml() -> None:
    pdf = base64.b64encode(b"%PDF-1.7 x").decode()
    data = unstructured(f'<text mediaType="application/pdf" representation="B64">{pdf}</text>')
    shown = narrative.render(data)
    assert shown.body is not None
    assert shown.body.media_type == "application/pdf"
    found = embedded.embedded_file(data, shown.body.path)
    assert (found.media_type, found.data) == ("application/pdf", b"%PDF-1.7 x")
    with pytest.raises(NoSuchPath):
        embedded.embedded_file(data, "/*/*[2]")
    broken = unstructured('<text mediaType="application/pdf" representation="B64">%%%</text>')
    with pytest.raises(UnsupportedDocument):
        embedded.embedded_file(broken, shown.body.path)


def test_an_outside_reference_is_only_text() -> None:
    data = unstructured('<text mediaType="text/html"><reference value="javascript:alert(1)"/></text>')
    shown = narrative.render(data)
    assert shown.body is not None
    assert (shown.body.reference, shown.sections) == ("javascript:alert(1)", ())


def test_every_section_is_shown_with_title_and_anchor() -> None:
    nested = section("8648-8", title="", text="inner")
    data = document(
        section("8716-3", title="").replace("</section>", f"{nested}</section>"),
        f"<component><section>{code('99999-9', 'Odd', LOINC)}<text>x</text></section></component>",
    )
    found = narrative.render(data).sections
    assert [(s.title, s.level, s.kind, s.empty) for s in found] == [
        ("Vital signs", 1, "vital_signs", True),
        ("Hospital course", 2, "", False),
        ("Odd", 1, "", False),
    ]


def test_header() -> None:
    data = everything().replace(b"<title>", b'<confidentialityCode code="R"/><title>', 1)
    shown = narrative.render(data)
    facts = {fact.label: fact.value for fact in shown.facts}
    assert facts["Patient"] == "Wren Isolde Harrowgate"
    assert facts["Author"] == "Odile Brandt, Larkfield Clinic"
    assert (shown.confidentiality, facts["Confidentiality"]) == ("restricted", "restricted")


def test_ccr_is_shown_as_tables() -> None:
    body = (
        "<Problems><Problem><Description><Text>Gout &lt;acute&gt;</Text></Description></Problem></Problems>"
    )
    shown = narrative.render(ccr_document(body))
    (only,) = shown.sections
    assert only.title == "Problems"
    assert_harmless(only.html)
    assert "<td>Gout" in only.html


def test_what_cannot_be_read_is_not_shown() -> None:
    with pytest.raises(NotWellFormed):
        narrative.render(document()[:-9])
    with pytest.raises(UnsupportedDocument):
        narrative.render(b"<html><body onload='x'/></html>")


def test_deep_nesting_renders() -> None:
    depth = 85
    assert html("<content>" * depth + "x" + "</content>" * depth).count("<span>") == depth


def marked(data: bytes, path: str, name: str = "") -> tuple[DocumentView, str]:
    """A view with a place marked, and the marked element's beginning and words."""
    view = narrative.render(data, place=narrative.Place(path, name))
    html = "".join(part.html for part in view.sections)
    assert html.count('id="found"') == view.marked
    found = re.search(r'<(\w+) id="found"[^>]*>(.*?)</\1>', html, re.S)
    return view, found[2] if found else ""


def problem_with(reference: str, text: str) -> bytes:
    """A section of problems with one entry, which refers to the narrative."""
    entry = (
        f'<entry><act classCode="ACT" moodCode="EVN">{reference}'
        f"{code('38341003', 'Hypertension')}</act></entry>"
    )
    return document(section("11450-4", entry, text=text))


LIST = '<list><item ID="p1">Asthma</item><item ID="p2">Hypertension, mild</item></list>'


def act_path(data: bytes) -> str:
    from records.clinical import xml

    root = xml.parse(data)
    found = next(root.iter("{urn:hl7-org:v3}act"))
    return root.getroottree().getpath(found)


@pytest.mark.parametrize("value", ["#p2", "p2"])
def test_an_item_is_marked_where_its_entry_refers_to(value: str) -> None:
    data = problem_with(f'<text><reference value="{value}"/></text>', LIST)
    view, words = marked(data, act_path(data))
    assert words == "Hypertension, mild"
    assert view.found == "doc-s1"


def test_without_a_reference_the_one_place_with_its_name_is_marked() -> None:
    data = problem_with('<text><reference value="#nowhere"/></text>', LIST)
    assert marked(data, act_path(data), "hypertension")[1] == "Hypertension, mild"
    twice = problem_with("", LIST + "<paragraph>No hypertension before 2010.</paragraph>")
    view, words = marked(twice, act_path(twice), "hypertension")
    assert (words, view.marked, view.found) == ("", False, "doc-s1")


def test_a_place_that_is_none_marks_nothing() -> None:
    data = problem_with("", LIST)
    for path in ("", "/*/*[99]", "//*", "/*"):
        view, words = marked(data, path, "Asthma")
        assert (words, view.marked, view.found) == ("", False, "")


def test_what_points_at_the_marked_words_still_leads_there() -> None:
    text = LIST + '<paragraph><linkHtml href="#p2">see there</linkHtml></paragraph>'
    data = problem_with('<text><reference value="#p2"/></text>', text)
    html = narrative.render(data, place=narrative.Place(act_path(data))).sections[0].html
    assert '<a href="#found">see there</a>' in html


def test_an_id_of_the_document_cannot_be_the_mark() -> None:
    data = problem_with("", '<paragraph ID="found">x</paragraph>')
    assert 'id="found"' not in narrative.render(data).sections[0].html


def test_the_row_of_an_item_of_a_ccr_is_marked() -> None:
    body = "<Problems><Problem><Description><Text>Asthma</Text></Description></Problem></Problems>"
    data = ccr_document(body)
    from records.clinical import reader

    (item,) = reader.read(data).items
    view, _ = marked(data, item.path)
    assert view.found
    assert '<tr class="n-found" id="found">' in view.sections[0].html
    assert "Asthma" in view.sections[0].html


def test_sections_as_text_have_the_numbers_of_their_anchors() -> None:
    data = everything()
    view = narrative.render(data)
    texts = list(narrative.section_texts(data))
    assert [f"doc-s{one.number}" for one in texts] == [one.anchor for one in view.sections]
    assert [one.title for one in texts] == [one.title for one in view.sections]
