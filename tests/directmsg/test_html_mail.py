"""HTML of a message: what is shown of it, and what never is."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from directmsg import html_mail
from directmsg.html_mail import MAX_LENGTH, clean, web_address
from healthvault.audit.models import AuditEvent
from records.models import Message, Record, Right
from tests import factories
from tests.directmsg.test_views import browser, claimed, shared

ATTACKS = (
    "<script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</script>",
    "<style>body{background:url(https://evil.example/a)}</style>",
    '<link rel="stylesheet" href="https://evil.example/a.css">',
    '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
    '<base href="https://evil.example/">',
    '<img src="https://evil.example/pixel.gif" onerror="alert(1)">',
    '<img srcset="https://evil.example/a 1x" alt="x" style="background:url(//evil.example)">',
    '<table background="https://evil.example/a"><tr><td background="//evil.example/b">t</td></tr></table>',
    '<p style="position:fixed;background:url(https://evil.example/a)" onclick="alert(1)" id="main">t</p>',
    '<a href="javascript:alert(1)">t</a>',
    '<a href="\u3000javascript:alert(1)">t</a>',
    '<a href="java\tscript:alert(1)">t</a>',
    '<a href="data:text/html,<script>alert(1)</script>">t</a>',
    '<a href="https://portal.example@evil.example/">t</a>',
    '<a href="/accounts/logout/">t</a>',
    '<a href="//evil.example/">t</a>',
    '<a ping="https://evil.example/" href="https://a.example/" target="_top">t</a>',
    '<form action="https://evil.example/"><input name="password"><button>Sign in</button></form>',
    '<iframe src="https://evil.example/"></iframe><object data="//evil.example"></object>',
    '<svg><a xlink:href="javascript:alert(1)"><text>t</text></a><script>alert(1)</script></svg>',
    '<math><mtext><table><mglyph><style><img src=x onerror="alert(1)"></style></table></mtext></math>',
    '<video poster="https://evil.example/a" autoplay><source src="https://evil.example/b"></video>',
    "<!--[if IE]><script>alert(1)</script><![endif]--><!-- --!><script>alert(1)</script>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>"></noscript>',
    '<textarea><img title="</textarea><img src=x onerror=alert(1)>"></textarea>',
    "<plaintext><script>alert(1)</script>",
    "<div " + "x" * 5000 + "=1><p>" * 300,
)
HARMLESS = {"colspan", "rowspan", "start", "class"}


class Tags(HTMLParser):
    """Every element and attribute of some markup."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack[:30])
def test_attacks_leave_only_words(attack):
    found = Tags(clean(f"<p>Before</p>{attack}").body)
    assert found.tags <= html_mail._TAGS - {"a", "img"}
    assert {name for name, _ in found.attributes} <= HARMLESS
    assert all(value == "address" for name, value in found.attributes if name == "class")


def test_scripts_and_styles_leave_not_even_words():
    assert "alert" not in clean("<p>t</p><script>alert(1)</script><style>alert</style>").body


def test_text_and_tables_are_kept():
    source = (
        '<h1>Visit</h1><p>Dear <b>Nora</b>,<br>1 &lt; 2 &amp; "so"</p><ol start="3"><li>One</li></ol>'
        '<table><tr><td colspan="2">x</td></tr></table>'
    )
    assert clean(source).body == (
        "<h1>Visit</h1><p>Dear <b>Nora</b>,<br>1 &lt; 2 &amp; &quot;so&quot;</p>"
        '<ol start="3"><li>One</li></ol><table><tbody><tr><td colspan="2">x</td></tr></tbody></table>'
    )


def test_links_are_words_with_their_whole_address():
    found = clean(
        '<a href="https://larkspur.example/a?b=1&amp;c=2">Your <b>plan</b></a> '
        '<a href="https://larkspur.example/">https://larkspur.example/</a> <a href="javascript:x">no</a> '
        '<a href="mailto:team@larkspur.example">write</a> <a name="x">none</a>'
    )
    assert [(link.words, link.address) for link in found.links] == [
        ("Your plan", "https://larkspur.example/a?b=1&c=2"),
        ("https://larkspur.example/", "https://larkspur.example/"),
        ("write", "mailto:team@larkspur.example"),
    ]
    assert "(https://larkspur.example/a?b=1&amp;c=2)" in found.body
    assert found.body.count("https://larkspur.example/<") == 0
    assert "<a" not in found.body


def test_pictures_are_their_description():
    found = clean('<img src="https://larkspur.example/a.png" alt="Our &lt;logo&gt;"><img src="x">')
    assert found.body == "[picture: Our &lt;logo&gt;][picture]"


@pytest.mark.parametrize(
    ("href", "address"),
    [
        ("https://a.example/x?y#z", "https://a.example/x?y#z"),
        ("HTTPS://A.example:8443/", "https://a.example:8443/"),
        ("http://[2001:db8::1]/", "http://[2001:db8::1]/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://аррӏе.example/", "https://xn--80ak6aa92e.example/"),
        ("mailto:a@b.example?subject=Hi", "mailto:a@b.example?subject=Hi"),
        ("https://a.example/ü", None),
        ("https://user@a.example/", None),
        ("https:///a.example", None),
        ("https://a.example:99999/", None),
        ("https://a.example\\@b.example/", None),
        ("https://a.example/ b", None),
        ("\u2003https://a.example/", None),
        ("https://a.example/\u202e", None),
        ("ftp://a.example/", None),
        ("//a.example/", None),
        ("/records/", None),
        ("mailto:", None),
        ("", None),
    ],
)
def test_which_addresses_are_links(href, address):
    assert web_address(href) == address


def test_what_is_too_long_is_a_download():
    with pytest.raises(ValueError, match="too long"):
        clean("x" * (MAX_LENGTH + 1))
    assert b"too long" in html_mail.page("x" * (MAX_LENGTH + 1)).content


# --- the page of the frame --------------------------------------------------------------------------------


@pytest.fixture
def account(db):
    return factories.account()


@pytest.fixture
def record(account) -> Record:
    return factories.record(account)


@pytest.fixture
def message(account, record) -> Message:
    """A message that has only HTML."""
    message = claimed(account, record)
    message.text = ""
    message.html = (
        '<h2>Your plan</h2><script>alert(1)</script><a href="https://larkspur.example/plan">Read it</a>'
    )
    message.save(update_fields=["text", "html"])
    return message


def test_the_frame_runs_nothing_and_loads_nothing(account, message):
    answer = browser(account).get(f"/messages/{message.pk}/html/")
    page = answer.content.decode()
    assert "<h2>Your plan</h2>" in page
    assert "alert" not in page
    assert "<script" not in page
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; ")
    assert "allow-" not in policy
    style = re.search(r"<style>(.*?)</style>", page)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert answer.headers["Cache-Control"] == "no-store"
    assert AuditEvent.objects.filter(action="message.viewed", record=message.record_id).count() == 1


def test_the_message_shows_the_frame_and_lists_its_links(account, message):
    page = browser(account).get(f"/messages/{message.pk}/").content.decode()
    frame = re.search(r"<iframe[^>]*>", page)[0]
    assert f'src="/messages/{message.pk}/html/"' in frame
    assert 'sandbox=""' in frame
    link = re.search(r'<a [^>]*href="https://larkspur.example/plan"[^>]*>(.*?)</a>', page)
    assert link[1] == "https://larkspur.example/plan"
    assert 'rel="noopener noreferrer nofollow"' in link[0]
    assert "alert(1)" not in page


def test_text_comes_first_where_there_is_text(account, message):
    message.text = "Your plan, as text."
    message.save(update_fields=["text"])
    page = browser(account).get(f"/messages/{message.pk}/").content.decode()
    assert page.index("Your plan, as text.") < page.index("<iframe")
    assert "<details" in page[: page.index("<iframe")].rpartition("Your plan, as text.")[2]


def test_the_frame_is_for_who_sees_the_message(account, record, message):
    path = f"/messages/{message.pk}/html/"
    assert shared(record, Right.VIEW).get(path).status_code == 200
    stranger = browser(factories.account("eve@stranger.example", "Eve"))
    assert stranger.get(path).status_code == 404
    assert browser(account).post(path).status_code == 405
    message.html = None
    message.save(update_fields=["html"])
    assert browser(account).get(path).status_code == 404
