"""Showing the HTML of a received message: text and tables only, and nothing that a browser would fetch.

The sender is known, its HTML is hostile all the same. It is cleaned by an allow list, links become words
with their whole address, and the page it is put into is sandboxed by its own policy.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlsplit

import nh3
from django.http import HttpResponse

#: Longer ones are offered as a download only: cleaning them would hold up a web process.
MAX_LENGTH: Final = 2_000_000

_TAGS: Final = {
    *(
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "caption",
        "center",
        "code",
        "dd",
        "del",
        "div",
        "dl",
        "dt",
        "em",
    ),
    *("h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "li", "ol", "p", "pre", "s", "small"),
    *("span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul"),
}
_ATTRIBUTES: Final = {
    "a": {"href"},
    "img": {"alt"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
_NO_CONTENT: Final = {
    *("script", "style", "title", "noscript", "template", "iframe", "object", "svg", "math"),
    *("select", "textarea"),
}
_VOID: Final = frozenset({"br", "hr", "img"})
_STYLE: Final = (
    "body{margin:1rem;color:#16211f;background:#fff;font:1rem/1.55 system-ui,sans-serif;"
    "overflow-wrap:anywhere}table{border-collapse:collapse}td,th{padding:.25rem .5rem;text-align:left;"
    "vertical-align:top}pre{white-space:pre-wrap}.address{color:#4a5956}"
)
_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"sandbox; default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


@dataclass(frozen=True, slots=True)
class Link:
    """An address a message leads to, and the words it stood under. `address` is ASCII, and whole."""

    words: str
    address: str


@dataclass(frozen=True, slots=True)
class SafeHtml:
    """`body` may be put into a page as it is: it has no link, no picture, no style and no script."""

    body: str
    links: tuple[Link, ...]


def clean(source: str) -> SafeHtml:
    """Clean the HTML of a message by an allow list of elements and attributes.

    Links to absolute http, https and mailto addresses are told apart and listed; in the text every link is
    its words and its address. Pictures become their description. Raises ValueError above `MAX_LENGTH`.
    """
    if len(source) > MAX_LENGTH:
        raise ValueError("too long to be shown")
    allowed = nh3.clean(
        source,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        clean_content_tags=_NO_CONTENT,
        url_schemes={"http", "https", "mailto"},
        strip_comments=True,
        link_rel=None,
    )
    writer = _Writer()
    writer.feed(allowed)
    writer.close()
    return SafeHtml("".join(writer.out), tuple(dict.fromkeys(writer.links)))


def web_address(href: str) -> str | None:
    """`href` as an absolute http, https or mailto address in ASCII; None when it is no such address.

    Refused are spaces and controls of any kind, backslashes and user names before the host: browsers and
    people read such addresses differently (WHATWG URL section 4.4).
    """
    if not href or not href.isprintable() or any(c.isspace() or c == "\\" for c in href):
        return None
    try:
        parts = urlsplit(href)
        host = (parts.hostname or "").encode("idna").decode()
        _ = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme == "mailto":
        return href if href.isascii() and not parts.netloc and "@" in parts.path else None
    if scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return None
    netloc = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        netloc = f"{netloc}:{parts.port}"
    ascii_only = parts._replace(scheme=scheme, netloc=netloc).geturl()
    return ascii_only if ascii_only.isascii() else None


def page(source: str) -> HttpResponse:
    """The cleaned HTML as a page of its own, for a frame: its policy lets nothing run and nothing load."""
    try:
        body = clean(source).body
    except ValueError:
        body = "<p>This message is too long to be shown here. You can download it as it came.</p>"
    response = HttpResponse(
        '<!doctype html><html><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Message</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


class _Writer(HTMLParser):
    """Writes cleaned HTML anew, with links and pictures as words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.links: list[Link] = []
        self._href = ""
        self._words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._end_link()
            self._href = values.get("href", "")
        elif tag == "img":
            self.out.append(escape(f"[picture: {values['alt']}]" if values.get("alt") else "[picture]"))
        else:
            kept = "".join(f' {name}="{escape(value)}"' for name, value in values.items())
            self.out.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._end_link()
        elif tag not in _VOID:
            self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.out.append(escape(data))
        if self._href:
            self._words.append(data)

    def close(self) -> None:
        super().close()
        self._end_link()

    def _end_link(self) -> None:
        href, words = self._href, " ".join("".join(self._words).split())
        self._href, self._words = "", []
        if not href:
            return
        address = web_address(href)
        if address:
            self.links.append(Link(words, address))
        if words != (address or href):
            self.out.append(f' <span class="address">({escape(address or href)})</span>')
