"""Showing a document: from the parsed tree to HTML by an allow list, never by handing the XML to a browser.

Elements and attributes of the CDA narrative block (HL7 CDA R2 section 4.3.5) are mapped one by one; whatever
is not in the list is dropped and its text kept, escaped. No style, no script, no address that the browser
would fetch: links only to ``http(s)`` and inside the document, pictures only through ``picture_url``.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from urllib.parse import urlsplit

from records.clinical import ccr, detect, xml
from records.clinical.cda import V3, Cda, child, descend, flat_text, text_under
from records.clinical.embedded import decoded, picture_type
from records.clinical.errors import NoSuchPath
from records.clinical.header import read_header
from records.clinical.header_facts import CONFIDENTIAL, Fact, header_facts, on_a_line, patient_facts
from records.clinical.sections import kind_of, section_code, title_of_code
from records.clinical.types import ClinicalSummary, EmbeddedBody, Item, PatientFacts
from records.clinical.xml import Element

PictureUrl = Callable[[str], str]

_STYLES = {
    "bold": "n-bold",
    "italics": "n-italics",
    "italic": "n-italics",
    "underline": "n-underline",
    "emphasis": "n-emphasis",
    "lrule": "n-lrule",
    "rrule": "n-rrule",
    "toprule": "n-toprule",
    "botrule": "n-botrule",
    "arabic": "n-arabic",
    "littleroman": "n-little-roman",
    "bigroman": "n-big-roman",
    "littlealpha": "n-little-alpha",
    "bigalpha": "n-big-alpha",
    "disc": "n-disc",
    "circle": "n-circle",
    "square": "n-square",
    "xallindent": "n-indent",
    "xfixed": "n-fixed",
    "xmono": "n-fixed",
    "xrowgroup": "n-row-group",
}
_ALIGNMENTS = {
    "left": "n-left",
    "right": "n-right",
    "center": "n-center",
    "justify": "n-justify",
    "top": "n-top",
    "middle": "n-middle",
    "bottom": "n-bottom",
}
_SAME_NAME = frozenset({"thead", "tbody", "tfoot", "tr", "th", "td", "colgroup", "sub", "sup"})
_CELLS = frozenset({"th", "td"})
_BLOCKS = frozenset({"table", "list", "paragraph", "text"})
_NUMBER = re.compile(r"[1-9]\d{0,2}")
_ID_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
#: The id of the words that were asked for. No id of a document is this one: those have a prefix.
FOUND = "found"


@dataclass(frozen=True, slots=True)
class SectionView:
    """One section. ``html`` is safe to put into a page as it is; ``anchor`` is its id there."""

    code: str
    title: str
    kind: str
    anchor: str
    html: str
    level: int = 1
    path: str = ""

    @property
    def empty(self) -> bool:
        return not self.html


@dataclass(frozen=True, slots=True)
class Place:
    """An item to be shown in its document: the path of its element; its name, should that name no text."""

    path: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document to be shown. Only ``SectionView.html`` is HTML; all else is plain text.

    ``confidentiality`` is ``restricted``, ``very restricted`` or empty. ``found`` is the anchor of the
    section in which the place stands that was asked for; ``marked``: its very words have the id ``found``.
    """

    kind: str
    title: str
    date: str
    patient: PatientFacts | None
    facts: tuple[Fact, ...]
    sections: tuple[SectionView, ...]
    confidentiality: str = ""
    body: EmbeddedBody | None = None
    pictures: tuple[str, ...] = field(default=())
    found: str = ""
    marked: bool = False


def render(
    data: bytes,
    prefix: str = "doc",
    picture_url: PictureUrl | None = None,
    place: Place | None = None,
) -> DocumentView:
    """Build the view of a document.

    :param data: the document as received.
    :param prefix: put before every id, so that ids of documents and page do not clash.
    :param picture_url: makes the address of an embedded picture from its element path, see
        :func:`embedded_file`; without it a picture is named, not shown.
    :param place: the item whose words are to be marked (class ``n-found``, id ``found``). They are what the
        entry refers to in the narrative; without such a reference, the one place that has its name.
    :raises UnreadableDocument: when it is no readable XML.
    :raises UnsupportedDocument: when it is no clinical document.
    """
    root = xml.parse(data)
    detected = detect.detect_root(root)
    prefix = _ID_CHARACTERS.sub("_", prefix) or "doc"
    if detected.kind == "ccr":
        return _render_ccr(ccr.read_root(root, detected), prefix, place.path if place else "")
    return _Renderer(Cda(root), prefix, picture_url, place).document(detected.kind or "cda")


@dataclass(frozen=True, slots=True)
class SectionText:
    """The words of one section. ``number`` is the one of its anchor in a view: ``<prefix>-s<number>``."""

    number: int
    title: str
    text: str


def section_texts(data: bytes) -> Iterator[SectionText]:
    """The sections of a document as plain text, without taking items out: for searching.

    :param data: the document as received.
    :raises UnreadableDocument: when it is no readable XML.
    :raises UnsupportedDocument: when it is no clinical document.
    """
    root = xml.parse(data)
    detected = detect.detect_root(root)
    if detected.kind == "ccr":
        document = ccr.read_root(root, detected)
        for number, section in enumerate(document.sections, 1):
            items = [item for item in document.items if item.path.startswith(section.path + "/")]
            yield SectionText(number, section.title, "; ".join(" ".join(_cells(item)) for item in items))
        return
    cda = Cda(root)
    for number, element in enumerate(_sections(cda), 1):
        text = child(element, "text")
        yield SectionText(number, _title(element), flat_text(text) if text is not None else "")


def _sections(cda: Cda) -> list[Element]:
    body = descend(cda.root, "component", "structuredBody")
    return list(body.iter(V3 + "section")) if body is not None else []


def _title(element: Element) -> str:
    title = child(element, "title")
    code = child(element, "code")
    display = code.get("displayName", "") if code is not None else ""
    return (text_under(title) if title is not None else "") or title_of_code(section_code(element), display)


class _Renderer:
    """Renders one document; holds where ids are and what has been written."""

    def __init__(
        self, cda: Cda, prefix: str, picture_url: PictureUrl | None, place: Place | None = None
    ) -> None:
        self.cda = cda
        self.prefix = prefix
        self.picture_url = picture_url
        self.section = 0
        self.out: list[str] = []
        self.pictures: list[str] = []
        self.media: dict[str, Element] = {}
        self.homes: dict[str, int] = {}
        self.texts: dict[str, Element] = {}
        self.place = place
        self.mark: Element | None = None
        self.marked = False

    def document(self, kind: str) -> DocumentView:
        header = read_header(self.cda)
        elements = _sections(self.cda)
        self._find_ids(elements)
        around = self._find_place(elements)
        views = tuple(self._section(number, element) for number, element in enumerate(elements, 1))
        return DocumentView(
            kind=kind,
            title=header.title or "Clinical document",
            date=str(header.date or ""),
            patient=header.patient,
            facts=tuple(dict.fromkeys(header_facts(self.cda, header))),
            sections=views,
            confidentiality=CONFIDENTIAL.get(header.confidentiality.upper(), ""),
            body=_body(self.cda),
            pictures=tuple(self.pictures),
            found=f"{self.prefix}-s{around}" if around else "",
            marked=self.marked,
        )

    def _find_place(self, sections: list[Element]) -> int:
        """Find what to mark; the number of the section it stands in, 0 for none."""
        if self.place is None:
            return 0
        try:
            entry = xml.resolve_path(self.cda.root, self.place.path)
        except NoSuchPath:
            return 0
        around = next((one for one in (entry, *entry.iterancestors()) if one in sections), None)
        self.mark = _referred_to(entry, self.texts)
        if self.mark is None and around is not None:
            self.mark = _only_place_of(self.place.name, child(around, "text"))
        if self.mark is not None:
            around = next((one for one in self.mark.iterancestors() if one in sections), around)
        return sections.index(around) + 1 if around is not None else 0

    def _find_ids(self, sections: list[Element]) -> None:
        for number, element in enumerate(sections, 1):
            text = child(element, "text")
            if text is not None:
                for part in text.iter():
                    identity = part.get("ID")
                    if identity:
                        self.homes.setdefault(identity, number)
                        self.texts.setdefault(identity, part)
            for name in ("observationMedia", "regionOfInterest"):
                for part in element.iter(V3 + name):
                    identity = part.get("ID")
                    if identity:
                        self.media.setdefault(identity, part)

    def _section(self, number: int, element: Element) -> SectionView:
        self.section = number
        self.out = []
        text = child(element, "text")
        if text is not None:
            self._content(text)
        html = "".join(self.out).strip()
        code = section_code(element)
        known = kind_of(element, code)
        return SectionView(
            code=code,
            title=_title(element),
            kind=known.kind if known else "",
            anchor=f"{self.prefix}-s{number}",
            html=html,
            level=1 + sum(1 for _ in element.iterancestors(V3 + "section")),
            path=self.cda.path(element),
        )

    # Content

    def _content(self, element: Element) -> None:
        if element.text:
            self.out.append(escape(element.text))
        for part in element:
            self._element(part)
            if part.tail:
                self.out.append(escape(part.tail))

    def _element(self, element: Element) -> None:
        name = element.tag.removeprefix(V3)
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, element)
        elif name in _SAME_NAME:
            self._wrapped(name, element, self._cell(element) if name in _CELLS else "")
        elif name in {"script", "style"} or not isinstance(element.tag, str):
            # Not content in any reading of it.
            return
        else:
            self._content(element)

    def _wrapped(self, tag: str, element: Element, more: str = "", extra_class: str = "") -> None:
        self.out.append(f"<{tag}{self._attributes(element, extra_class)}{more}>")
        self._content(element)
        self.out.append(f"</{tag}>")

    def _attributes(self, element: Element, extra_class: str = "") -> str:
        parts = []
        identity = element.get("ID")
        classes = [extra_class] if extra_class else []
        if element is self.mark:
            self.marked = True
            parts.append(f' id="{FOUND}"')
            classes.append("n-found")
        elif identity:
            parts.append(f' id="{self._own_id(identity, self.section)}"')
        for style in element.get("styleCode", "").split():
            found = _STYLES.get(style.lower())
            if found:
                classes.append(found)
        for name in ("align", "valign"):
            found = _ALIGNMENTS.get(element.get(name, "").lower())
            if found:
                classes.append(found)
        if classes:
            parts.append(f' class="{" ".join(dict.fromkeys(classes))}"')
        language = element.get("language", "")
        if language and _LANGUAGE.fullmatch(language):
            parts.append(f' lang="{language}"')
        return "".join(parts)

    def _cell(self, element: Element) -> str:
        parts = []
        for name in ("colspan", "rowspan"):
            value = element.get(name, "").strip()
            if _NUMBER.fullmatch(value):
                parts.append(f' {name}="{value}"')
        scope = element.get("scope", "").lower()
        if scope in {"row", "col", "rowgroup", "colgroup"}:
            parts.append(f' scope="{scope}"')
        headers = element.get("headers", "").split()
        if headers:
            ids = " ".join(self._id(header, self.section) for header in headers)
            parts.append(f' headers="{ids}"')
        abbreviation = element.get("abbr", "")
        if abbreviation and element.tag == V3 + "th":
            parts.append(f' abbr="{escape(abbreviation)}"')
        return "".join(parts)

    def _id(self, identity: str, section: int) -> str:
        """The id of a place that is pointed at."""
        if (
            self.mark is not None
            and self.texts.get(identity) is self.mark
            and self.homes[identity] == section
        ):
            return FOUND
        return self._own_id(identity, section)

    def _own_id(self, identity: str, section: int) -> str:
        return f"{self.prefix}-s{section}-{_ID_CHARACTERS.sub('_', identity)}"

    def _target(self, identity: str) -> str | None:
        home = self.homes.get(identity)
        return self._id(identity, home) if home else None

    def _table(self, element: Element) -> None:
        summary = element.get("summary", "")
        label = f' aria-label="{escape(summary)}"' if summary else ""
        self.out.append('<div class="n-scroll" tabindex="0">')
        self._wrapped("table", element, label, "n-table")
        self.out.append("</div>")

    def _column(self, element: Element) -> None:
        span = element.get("span", "").strip()
        more = f' span="{span}"' if _NUMBER.fullmatch(span) else ""
        self.out.append(f"<col{self._attributes(element)}{more}>")

    def _inline(self, element: Element) -> None:
        revised = element.get("revised", "").lower()
        tag = "del" if revised == "delete" else "ins" if revised == "insert" else "span"
        self._wrapped(tag, element)

    def _paragraph(self, element: Element) -> None:
        # A block inside <p> would end it: browsers and authors would see different trees.
        blocks = any(part.tag.removeprefix(V3) in _BLOCKS for part in element.iterdescendants())
        caption = child(element, "caption")
        self._wrapped("div" if blocks or caption is not None else "p", element, "", "n-paragraph")

    def _list(self, element: Element) -> None:
        caption = child(element, "caption")
        if caption is not None:
            self._wrapped("div", caption, "", "n-caption")
        tag = "ol" if element.get("listType") == "ordered" else "ul"
        self.out.append(f"<{tag}{self._attributes(element)}>")
        self._stray_item(element.text)
        for part in element:
            if part.tag == V3 + "item":
                self._wrapped("li", part)
            elif part.tag != V3 + "caption":
                self.out.append("<li>")
                self._element(part)
                self.out.append("</li>")
            self._stray_item(part.tail)
        self.out.append(f"</{tag}>")

    def _stray_item(self, text: str | None) -> None:
        """Words between the items of a list: out of place, but not to be lost."""
        if text and text.strip():
            self.out.append(f"<li>{escape(text.strip())}</li>")

    def _caption(self, element: Element) -> None:
        parent = element.getparent()
        if parent is not None and parent.tag == V3 + "table":
            self._wrapped("caption", element)
        elif parent is None or parent.tag != V3 + "list":
            self._wrapped("div", element, "", "n-caption")

    def _break(self, element: Element) -> None:
        self.out.append("<br>")
        self._content(element)

    def _footnote(self, element: Element) -> None:
        self._wrapped("span", element, "", "n-footnote")

    def _footnote_reference(self, element: Element) -> None:
        target = self._target(element.get("IDREF", ""))
        if target:
            self.out.append(f'<a class="n-footnote-ref" href="#{target}">')
            self._content(element)
            self.out.append("*</a>" if not text_under(element) else "</a>")
        else:
            self._content(element)

    def _link(self, element: Element) -> None:
        address = element.get("href", "").strip()
        if address.startswith("#"):
            target = self._target(address[1:])
            if target:
                self._wrapped("a", element, f' href="#{target}"')
                return
        if _is_web_address(address):
            shown = escape(address)
            self._wrapped("a", element, f' href="{shown}" rel="noopener noreferrer nofollow"')
            if text_under(element) != address:
                self.out.append(f' <span class="n-address">({shown})</span>')
            return
        self._content(element)
        if address and not address.startswith("#"):
            # Shown, so that nothing is hidden; never a link.
            self.out.append(f' <span class="n-address">({escape(address)})</span>')

    def _picture(self, element: Element) -> None:
        shown = False
        for identity in element.get("referencedObject", "").split():
            shown = self._one_picture(identity, element) or shown
        if not shown:
            self.out.append('<span class="n-no-picture">[picture not shown]</span>')
        caption = child(element, "caption")
        if caption is not None:
            self._wrapped("span", caption, "", "n-caption")

    def _one_picture(self, identity: str, element: Element) -> bool:
        holder = self.media.get(identity.removeprefix("#"))
        if holder is not None and holder.tag == V3 + "regionOfInterest":
            holder = next(iter(holder.iter(V3 + "observationMedia")), None)
        value = child(holder, "value") if holder is not None else None
        if value is None or self.picture_url is None:
            return False
        content = decoded(value)
        if content is None or picture_type(content) is None:
            return False
        path = self.cda.path(value)
        self.pictures.append(path)
        caption = child(element, "caption")
        words = text_under(caption) if caption is not None else "Picture in the document"
        address = escape(self.picture_url(path))
        self.out.append(f'<img class="n-picture" src="{address}" alt="{escape(words)}" loading="lazy">')
        return True


_HANDLERS: dict[str, Callable[[_Renderer, Element], None]] = {
    "table": _Renderer._table,
    "col": _Renderer._column,
    "content": _Renderer._inline,
    "paragraph": _Renderer._paragraph,
    "list": _Renderer._list,
    "caption": _Renderer._caption,
    "br": _Renderer._break,
    "footnote": _Renderer._footnote,
    "footnoteRef": _Renderer._footnote_reference,
    "linkHtml": _Renderer._link,
    "renderMultiMedia": _Renderer._picture,
}


def _referred_to(entry: Element, texts: dict[str, Element]) -> Element | None:
    """What an entry refers to in the narrative: its own text before that of its parts.

    References are ``#id``; some senders leave the ``#`` out.
    """
    own = descend(entry, "text", "reference")
    for reference in (own, *entry.iter(V3 + "reference")):
        if reference is None:
            continue
        found = texts.get(reference.get("value", "").strip().removeprefix("#"))
        if found is not None and found.tag != V3 + "text":
            return found
    return None


def _only_place_of(name: str, text: Element | None) -> Element | None:
    """The one cell, list item, paragraph or piece of a text that has a name in it; None of several."""
    wanted = " ".join(name.split()).casefold()
    if not wanted or text is None:
        return None
    having = [
        part
        for part in text.iter(*(V3 + tag for tag in ("td", "th", "item", "paragraph", "content")))
        if wanted in text_under(part).casefold()
    ]
    if len(having) > 50:
        return None
    innermost = [one for one in having if not any(one in other.iterancestors() for other in having)]
    return innermost[0] if len(innermost) == 1 else None


def _is_web_address(address: str) -> bool:
    if any(c.isspace() or ord(c) < 32 for c in address):
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme.lower() in {"http", "https"} and bool(parts.netloc)


def _body(cda: Cda) -> EmbeddedBody | None:
    text = descend(cda.root, "component", "nonXMLBody", "text")
    if text is None:
        return None
    reference = child(text, "reference")
    return EmbeddedBody(
        media_type=text.get("mediaType", "text/plain").strip().lower(),
        path=cda.path(text),
        reference=reference.get("value", "") if reference is not None else "",
        size=len(text.text or ""),
    )


# CCR has no narrative of its own: its items are shown as tables


def _render_ccr(document: ClinicalSummary, prefix: str, found: str = "") -> DocumentView:
    views = []
    for number, section in enumerate(document.sections, 1):
        items = [item for item in document.items if item.path.startswith(section.path + "/")]
        views.append(
            SectionView(
                code=section.code,
                title=section.title,
                kind=section.kind,
                anchor=f"{prefix}-s{number}",
                html=items_table(items, found),
                path=section.path,
            )
        )
    facts = list(patient_facts(document.patient)) if document.patient else []
    if document.date:
        facts.append(Fact("Date", document.date.iso))
    facts += [Fact("Author", on_a_line(author)) for author in document.authors]
    return DocumentView(
        kind="ccr",
        title=document.title,
        date=str(document.date or ""),
        patient=document.patient,
        facts=tuple(facts),
        sections=tuple(views),
        found=next((view.anchor for view in views if found.startswith(f"{view.path}/")), ""),
        marked=any(f'id="{FOUND}"' in view.html for view in views),
    )


def items_table(items: list[Item], found: str = "") -> str:
    """Items as an HTML table of what, when, value and status; empty for none.

    :param found: the path of the item whose row is to be marked.
    """
    if not items:
        return ""
    rows = []
    for item in items:
        cells = "".join(f"<td>{escape(text)}</td>" for text in _cells(item))
        mark = f' class="n-found" id="{FOUND}"' if found and item.path == found else ""
        rows.append(f"<tr{mark}>{cells}</tr>")
        # One place only: several items may come from one element.
        found = "" if mark else found
    head = "".join(f'<th scope="col">{label}</th>' for label in ("What", "When", "Value", "Status"))
    return (
        '<div class="n-scroll" tabindex="0"><table class="n-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cells(item: Item) -> tuple[str, str, str, str]:
    """An item as what, when, value and status."""
    name = f"Not: {item.name}" if item.negated else item.name or "(not understood)"
    when = " to ".join(str(time) for time in (item.start, item.end) if time)
    when = when or item.detail.get("start_text", "")
    value = " ".join(part for part in (item.value, item.unit) if part)
    value = value or item.detail.get("sig", "") or item.detail.get("instructions", "")
    return name, when, value, item.status
