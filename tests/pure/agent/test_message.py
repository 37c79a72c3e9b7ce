"""Reading the structure of messages, and writing new ones."""

from __future__ import annotations

import base64
import email
import email.header
import email.policy
import hashlib
import json
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directmsg.agent.address import Mailbox
from directmsg.agent.errors import AgentError, BadAddress, TooLarge, UnsafeField
from directmsg.agent.fields import (
    decode_base64,
    decode_header_text,
    parse_structured,
)
from directmsg.agent.message import (
    NewAttachment,
    address_field,
    base64_lines,
    build_message,
    filename_parameters,
    parse_date,
    raw_field,
    read_content,
    same_message_id,
    text_field,
)
from directmsg.agent.mime import clean_filename, number_duplicates, parse
from tests.mail_peers import MIXED, lines, nested

ANA = Mailbox("Ana Pérez", "ana@clinic.example")
BO = Mailbox("", "bo@home.example")
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=timezone(timedelta(hours=-5)))


# --- structure ------------------------------------------------------------------------------------------


def test_the_tree_of_a_message() -> None:
    parsed = parse(MIXED)
    assert [(part.path, part.content_type) for part in parsed.root.walk()] == [
        ("1", "multipart/mixed"),
        ("1.1", "multipart/alternative"),
        ("1.1.1", "text/plain"),
        ("1.1.2", "text/html"),
        ("1.2", "application/pdf"),
    ]
    assert parsed.defects == ()
    pdf = parsed.root.children[1]
    assert (pdf.filename, pdf.size) == ("report.pdf", 12)
    assert pdf.sha256 == hashlib.sha256(b"%PDF-made-up").hexdigest()
    assert parsed.fields.text("subject") == "Two parts"


def test_the_line_end_before_a_delimiter_is_not_of_the_part() -> None:
    inner = parsed_children(MIXED)[0].children
    assert inner[0].raw == b"\r\nHello"
    assert inner[1].raw == b"Content-Type: text/html\r\n\r\n<b>Hello</b>"
    unix = parsed_children(MIXED.replace(b"\r\n", b"\n"))[0].children
    assert unix[0].raw == b"\nHello"


def parsed_children(raw: bytes):
    return parse(raw).root.children


def test_raw_bytes_are_never_changed() -> None:
    body = b"\x00\r lone \n \xff mixed\r\r\n"
    raw = b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\nX: y\r\n\r\n" + body + b"\r\n--b--\r\n"
    assert parse(raw).root.children[0].content == body


def test_a_missing_closing_delimiter() -> None:
    parsed = parse(MIXED.partition(b"--outer--")[0])
    assert parsed.defects == ("missing_closing_boundary",)
    assert len(parsed.root.children) == 2
    assert parsed.root.children[1].content == b"%PDF-made-up"


@pytest.mark.parametrize(
    ("raw", "defect"),
    [
        (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n", "missing_boundary"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno parts\r\n", "no_parts"),
        (b"Content-Type: nonsense\r\n\r\nx", "bad_content_type"),
        (b"Content-Transfer-Encoding: null\r\n\r\nx", "unknown_encoding"),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx", "duplicate_field"),
    ],
)
def test_defects(raw: bytes, defect: str) -> None:
    assert defect in parse(raw).defects


def test_an_unknown_encoding_encodes_nothing() -> None:
    raw = MIXED.replace(
        b"Content-Type: multipart/mixed", b"Content-Transfer-Encoding: null\r\ncontent-type:multipart/mixed"
    )
    parsed = parse(raw)
    assert len(parsed.root.children) == 2
    assert parsed.defects == ("unknown_encoding",)


def test_a_byte_order_mark_comes_before_the_first_field() -> None:
    assert parse(b"\xef\xbb\xbf" + MIXED).fields.text("from") == "ana@clinic.example"


@pytest.mark.parametrize(
    "encoding", ["7bit", "8bit", "binary", "base64", "quoted-printable", "Base64", "null"]
)
def test_a_message_inside_in_any_encoding(encoding: str) -> None:
    inner = lines("Subject: =3D inner", "", "text") if encoding == "quoted-printable" else MIXED
    body = {
        "base64": base64.encodebytes(inner),
        "Base64": base64.b64encode(inner),
        "quoted-printable": inner.replace(b"Subject:", b"Sub=\r\nject:"),
    }.get(encoding, inner)
    raw = (
        b"Content-Type: Message/RFC822\r\nContent-Transfer-Encoding: "
        + encoding.encode()
        + b"\r\n\r\n"
        + body
    )
    (message,) = parse(raw).root.children
    assert message.path == "1.1"
    expected = "= inner" if encoding == "quoted-printable" else "Two parts"
    assert message.fields.text("subject") == expected


def test_a_digest_holds_messages() -> None:
    raw = lines("Content-Type: multipart/digest; boundary=b", "", "--b", "", "Subject: one", "", "x", "--b--")
    (part,) = parse(raw).root.children
    assert part.content_type == "message/rfc822"
    assert part.children[0].fields.text("subject") == "one"


def test_base64_as_it_comes() -> None:
    data = random.Random(7).randbytes(100_000)
    one_line = base64.b64encode(data)
    assert decode_base64(one_line) == (data, True)
    assert decode_base64(base64.encodebytes(data)) == (data, True)
    assert decode_base64(one_line[:-1]) == (data, False)
    assert decode_base64(b"QUJD!!RA") == (b"ABCD", False)
    assert decode_base64(b"QUJDR") == (b"ABC", False)
    assert decode_base64(b"QUI=\r\ntrailing text") == (b"AB", False)
    assert decode_base64(b"") == (b"", True)


def test_quoted_printable_as_it_comes() -> None:
    raw = b"Content-Transfer-Encoding: Quoted-Printable\r\n\r\na=20\r\nb=\r\nc   \r\n=e9=zz"
    assert parse(raw).root.content == b"a \r\nbc\r\n\xe9=zz"


def test_every_parser_agrees_on_what_we_write() -> None:
    raw = build_message(
        sender=ANA, to=[BO], subject="Übersicht", date=NOON, message_id="1@clinic.example",
        text="Hi\nthere\n", html="<p>Hi</p>",
        attachments=[NewAttachment("naïve file.xml", "text/xml", b"<a/>" * 500)],
    )  # fmt: skip
    theirs = email.message_from_bytes(raw, policy=email.policy.default)
    ours = parse(raw)
    assert ours.defects == ()
    assert not theirs.defects
    their_leaves = [part for part in theirs.walk() if not part.is_multipart()]
    our_leaves = [part for part in ours.root.walk() if not part.is_multipart]
    assert [part.get_content_type() for part in their_leaves] == [part.content_type for part in our_leaves]
    assert [part.get_payload(decode=True) for part in their_leaves] == [part.content for part in our_leaves]
    assert [part.get_filename("") for part in their_leaves] == [part.filename for part in our_leaves]
    assert theirs["subject"] == ours.fields.text("subject") == "Übersicht"


# --- bounds and hostile input ---------------------------------------------------------------------------


def test_bounds_of_the_tree() -> None:
    assert parse(nested(19)).root.children
    with pytest.raises(TooLarge):
        parse(nested(20))
    with pytest.raises(TooLarge):
        parse(b"Content-Type: message/rfc822\r\n\r\n" * 30)
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 1_001
    with pytest.raises(TooLarge):
        parse(many)
    with pytest.raises(TooLarge):
        parse(b"A: 1\r\n\r\n" + b"x" * (64 * 1024 * 1024))


BOMBS = {
    "segments": b"Content-Type: a/b" + b"".join(b";p*%d=x" % n for n in range(1_400)),
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 1_100,
    "open words": b"Subject: " + b"=?utf-8?q?" * 1_600,
    "comments": b"Content-Type: " + b"(" * 16_000,
    "escapes": b'Content-Type: a/b; x="' + b"\\" * 16_000,
    "quotes": b"Content-Type: a/b;" + b'"' * 16_000,
    "blanks": b"Content-Transfer-Encoding: " + b" " * 16_000,
    "nesting": nested(2_000),
    "delimiters": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bb\r\n" * 1_000_000,
    "no line ends": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b" * 2_000_000,
    "blank lines": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b" " * 5_000_000,
    "padding": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A=" * 2_500_000,
    "unicode digits": "Content-Type: a/b; p*٣=x".encode(),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_linear_time(name: str) -> None:
    began = time.perf_counter()
    try:
        root = parse(BOMBS[name] + b"\r\n\r\n").root
    except TooLarge:
        pass
    else:
        read_content(root)
        for part in root.walk():
            assert part.size >= 0
            assert part.fields.text("subject") is not None
    assert time.perf_counter() - began < 3


@given(st.binary(max_size=400), st.integers(0, len(MIXED)), st.integers(0, len(MIXED)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_a_result_or_a_refusal(junk: bytes, one: int, other: int) -> None:
    for raw in (junk, MIXED[: min(one, other)] + junk + MIXED[max(one, other) :]):
        try:
            parsed = parse(raw)
        except AgentError:
            continue
        content = read_content(parsed.root)
        for attachment in content.attachments:
            assert attachment.filename
            assert len(attachment.data()) == attachment.size
        json.dumps([field.text for field in parsed.fields])


TOKENS = (
    *(b"--outer", b"--outer-inner", b"\r\n", b"\n", b'"', b"(", b"\\", b";", b"*0*=", b"''", b"=", b":"),
    *(b"boundary=outer", b"message/rfc822", b"multipart/mixed", b"base64", b"=?utf-8?q?", b"?=", b"\x00"),
)


def mutated(choose: random.Random) -> bytes:
    octets = bytearray(MIXED)
    for _ in range(choose.randint(1, 8)):
        at = choose.randrange(len(octets) + 1)
        kind = choose.randrange(4)
        if kind == 0:
            octets[at:at] = choose.choice(TOKENS)
        elif kind == 1:
            octets[at : at + choose.randint(1, 20)] = b""
        elif kind == 2:
            octets[at : at + 1] = choose.randbytes(1)
        else:
            begin = choose.randrange(len(MIXED))
            octets[at:at] = MIXED[begin : begin + choose.randint(1, 200)]
    return bytes(octets)


def test_two_thousand_mutated_messages() -> None:
    choose = random.Random(2045)
    for _ in range(2_000):
        try:
            parsed = parse(mutated(choose))
        except TooLarge:
            continue
        content = read_content(parsed.root)
        json.dumps([content.text, content.html, [each.filename for each in content.attachments]])
        assert sum(each.size for each in content.attachments) < 100_000
        assert all(field.text is not None for field in parsed.fields)


# --- text and attachments -------------------------------------------------------------------------------


def test_text_html_and_attachments() -> None:
    content = read_content(parse(MIXED).root)
    assert (content.text, content.html) == ("Hello", "<b>Hello</b>")
    (pdf,) = content.attachments
    assert (pdf.filename, pdf.content_type, pdf.data()) == ("report.pdf", "application/pdf", b"%PDF-made-up")


def test_a_named_or_attached_text_is_an_attachment() -> None:
    raw = lines(
        "Content-Type: multipart/mixed; boundary=b", "",
        "--b", "Content-Type: text/plain", "", "One",
        "--b", "Content-Type: text/plain", "Content-Disposition: attachment", "", "Two",
        "--b", "Content-Type: text/plain; name=a.txt", "", "Three",
        "--b", "Content-Type: text/plain; name=A.txt", "", "Four",
        "--b", "Content-Type: text/plain", "", "Five",
        "--b--",
    )  # fmt: skip
    content = read_content(parse(raw).root)
    assert content.text == "One\nFive"
    assert [each.filename for each in content.attachments] == ["attachment-1.txt", "a.txt", "A (2).txt"]


def test_messages_and_signed_things_inside_stay_closed() -> None:
    raw = lines(
        "Content-Type: multipart/mixed; boundary=b", "",
        "--b", "", "Hello",
        "--b", "Content-Type: message/rfc822", "", "Subject: inner", "", "secret text",
        "--b", "Content-Type: multipart/signed; boundary=s", "",
        "--s", "", "signed by somebody",
        "--s", "Content-Type: application/pkcs7-signature", "", "AAAA", "--s--",
        "--b--",
    )  # fmt: skip
    content = read_content(parse(raw).root)
    assert content.text == "Hello"
    forwarded, signed = content.attachments
    assert forwarded.filename == "attachment-1.eml"
    assert forwarded.data() == b"Subject: inner\r\n\r\nsecret text"
    assert signed.content_type == "multipart/signed"
    assert signed.data().startswith(b"Content-Type: multipart/signed")
    assert signed.sha256 == hashlib.sha256(signed.data()).hexdigest()
    assert signed.size == len(signed.data())


def test_a_document_alone_is_an_attachment() -> None:
    content = read_content(parse(b"Content-Type: application/xml\r\n\r\n<a/>").root)
    assert content.text == ""
    assert [each.filename for each in content.attachments] == ["attachment-1.xml"]


FILENAMES = [
    ("report.pdf", "report.pdf"),
    ("C:\\Users\\ana\\report.pdf", "report.pdf"),
    ("../../etc/passwd", "passwd"),
    ("/", ""),
    ("..", ""),
    ("a\x00b\r\n.txt", "ab.txt"),
    ("cod\u202etxt.exe", "codtxt.exe"),
    ("a\u200b\u2066b.txt", "ab.txt"),
    ("  spaced   name .txt ", "spaced name .txt"),
    ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
    ("x" * 300, "x" * 200),
    ("日本.txt", "日本.txt"),
]


@pytest.mark.parametrize(("given_name", "expected"), FILENAMES)
def test_file_names_are_fit_to_be_shown(given_name: str, expected: str) -> None:
    assert clean_filename(given_name) == expected


def test_duplicates_are_numbered() -> None:
    assert number_duplicates(["a.txt", "A.TXT", "a (2).txt", "a.txt", "b", "b"]) == [
        "a.txt", "A (2).TXT", "a (2) (2).txt", "a (3).txt", "b", "b (2)",
    ]  # fmt: skip


# --- dates and identifiers ------------------------------------------------------------------------------


def test_dates() -> None:
    assert parse_date("Mon, 4 May 2026 12:00:00 -0500") == NOON
    assert parse_date("Mon, 4 May 2026 12:00:00 -0000") == datetime(2026, 5, 4, 12, tzinfo=UTC)
    for text in (
        "",
        "yesterday",
        "Mon, 99 May 2026 12:00:00 +0000",
        "x" * 10_000,
        "31 Dec 9999 23:59:59 -1200",
    ):
        assert parse_date(text) is None


def test_identifiers_are_compared_without_brackets() -> None:
    assert same_message_id("<a b@x.example>", " a b@x.example ")
    assert not same_message_id("<a@x.example>", "<b@x.example>")
    assert not same_message_id("", "")
    assert not same_message_id("<>", "<>")


# --- writing --------------------------------------------------------------------------------------------


def sample(**changes: object) -> bytes:
    arguments: dict[str, object] = {
        "sender": ANA, "to": [BO], "subject": "Hi", "date": NOON, "text": "Hi\n",
        "message_id": "<1@clinic.example>",
    }  # fmt: skip
    return build_message(**{**arguments, **changes})  # type: ignore[arg-type]


def test_a_plain_message() -> None:
    assert sample() == lines(
        "From: =?utf-8?B?QW5hIFDDqXJleg==?= <ana@clinic.example>",
        "To: bo@home.example",
        "Subject: Hi",
        "Date: Mon, 04 May 2026 12:00:00 -0500",
        "Message-ID: <1@clinic.example>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "",
        "Hi",
    )


def test_what_we_write_is_seven_bit_with_short_lines() -> None:
    raw = sample(
        subject="ü" * 400, text="ö" * 3_000 + "\nline\rother\r\n" + "x" * 5_000, cc=[ANA] * 40,
        references=[f"<{n}@clinic.example>" for n in range(60)], in_reply_to="0@clinic.example",
        attachments=[NewAttachment("ä" * 90 + ".bin", "application/octet-stream", bytes(range(256)) * 40)],
    )  # fmt: skip
    assert raw.isascii()
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    content = read_content(parse(raw).root)
    assert content.text == "ö" * 3_000 + "\nline\nother\n" + "x" * 5_000
    assert content.attachments[0].data() == bytes(range(256)) * 40
    assert content.attachments[0].filename == "ä" * 90 + ".bin"


def test_an_empty_subject_is_still_a_field() -> None:
    assert b"\r\nSubject:\r\n" in sample(subject="")


def test_messages_are_attached_as_octets() -> None:
    raw = sample(attachments=[NewAttachment("a.eml", "message/rfc822", b"Subject: x\r\n\r\ny")])
    (attached,) = read_content(parse(raw).root).attachments
    assert (attached.content_type, attached.data()) == ("application/octet-stream", b"Subject: x\r\n\r\ny")


INJECTIONS = ["a\r\nBcc: x@y.example", "a\nb", "a\rb", "a\x00b", "a\x0bb", "\ud800"]


@pytest.mark.parametrize("value", INJECTIONS)
def test_fields_cannot_be_broken_out_of(value: str) -> None:
    for changes in (
        {"subject": value},
        {"sender": Mailbox(value, "ana@clinic.example")},
        {"sender": Mailbox("", f"{value}@clinic.example")},
        {"to": [Mailbox("", f"ana@clinic.example{value}")]},
        {"message_id": value},
        {"in_reply_to": value},
        {"references": [value]},
        {"extra_fields": [("X-Note", value)]},
        {"extra_fields": [(f"X-{value}", "note")]},
        {"attachments": [NewAttachment(value, "text/plain", b"")]},
        {"attachments": [NewAttachment("a", f"text/{value}", b"")]},
    ):
        with pytest.raises((UnsafeField, BadAddress)):
            sample(**changes)


def test_addresses_that_cannot_be_written() -> None:
    with pytest.raises(BadAddress):
        address_field("To", [Mailbox("", "jösé@clinic.example")])
    with pytest.raises(BadAddress):
        address_field("To", [Mailbox("", "ana, bo@clinic.example")])
    assert address_field("To", [Mailbox("", "ana@bücher.example")]) == b"To: ana@xn--bcher-kva.example\r\n"
    with pytest.raises(UnsafeField):
        raw_field("X-Note", "é")
    with pytest.raises(UnsafeField):
        raw_field("X-Note", "x" * 1_000)


_READABLE = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=120)


def random_text(choose: random.Random) -> str:
    """Letters of every plane, with more of those that matter in a header field."""
    size = choose.randint(0, 90)
    pool = [lambda: choose.randrange(0x20, 0x7F), lambda: choose.randrange(0xA0, 0x3000)]
    pool.append(lambda: choose.randrange(0xE000, 0x110000))
    pool.append(lambda: ord(choose.choice(" \"\\=?;()<>@,'%*_é")))
    characters = (chr(choose.choice(pool)()) for _ in range(size))
    return "".join(characters).replace("\u2028", "").replace("\u2029", "")


def test_ten_thousand_subjects_and_file_names_survive_the_journey() -> None:
    choose = random.Random(2047)
    for _ in range(10_000):
        text = random_text(choose)
        field = text_field("Subject", text)
        assert decode_header_text(field[len(b"Subject:") :]) == text.strip()
        value = "; ".join(["attachment", *filename_parameters(text)])
        assert parse_structured(value).parameters.get("filename", "") == text


@given(_READABLE)
@settings(max_examples=300, deadline=None)
def test_subjects_survive_the_journey(text: str) -> None:
    field = text_field("Subject", text)
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert parse(field + b"\r\n").fields.text("subject") == text.strip()


@given(_READABLE)
@settings(max_examples=500, deadline=None)
def test_the_standard_library_reads_our_subjects(text: str) -> None:
    message = email.message_from_bytes(text_field("Subject", text) + b"\r\n", policy=email.policy.compat32)
    decoded = str(email.header.make_header(email.header.decode_header(message["subject"])))
    assert decoded.replace("\r\n", "").strip() == text.strip()


@given(_READABLE)
@settings(max_examples=500, deadline=None)
def test_file_names_survive_the_journey(text: str) -> None:
    value = "; ".join(["attachment", *filename_parameters(text)])
    assert parse_structured(value).parameters.get("filename", "") == text


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf")), max_size=80))
@settings(max_examples=300, deadline=None)
def test_display_names_survive_the_journey(name: str) -> None:
    from directmsg.agent.address import parse_list

    field = parse(address_field("To", [Mailbox(name, "ana@clinic.example"), BO]) + b"\r\n").fields.first("to")
    assert field is not None
    first, second = parse_list(field.unfolded)
    assert (first.name, first.address, second) == (name.strip(), "ana@clinic.example", BO)


def test_the_agent_needs_no_django() -> None:
    code = (
        "import sys, directmsg.newuser, directmsg.agent.incoming, directmsg.agent.outgoing; "
        "sys.exit(any(name.partition('.')[0] in ('django', 'celery') for name in sys.modules))"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 512 * 57 - 1, 512 * 57, 512 * 57 + 1, 3 * 512 * 57 + 20])
def test_base64_in_lines_is_that_of_the_standard_library(size: int) -> None:
    octets = random.Random(size).randbytes(size)
    assert base64_lines(octets) == base64.encodebytes(octets).replace(b"\n", b"\r\n")
    assert base64_lines(memoryview(octets)) == base64_lines(octets)
