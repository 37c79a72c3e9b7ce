"""Header fields: blocks, text, parameters."""

from __future__ import annotations

import pytest

from directmsg.agent.errors import TooLarge
from directmsg.agent.fields import (
    decode_bytes,
    decode_header_text,
    parse_structured,
    read_block,
)
from directmsg.agent.mime import parse

# --- header blocks --------------------------------------------------------------------------------------


def test_fields_of_any_spelling() -> None:
    block = read_block(b"subject:no space\r\nX-Odd : blank before\r\nTO:\r\n\tana@x.example\r\n\r\nbody")
    assert block.fields.text("Subject") == "no space"
    assert block.fields.text("x-odd") == "blank before"
    assert block.fields.text("To") == "ana@x.example"
    assert block.defects == ()


def test_line_ends_may_be_bare() -> None:
    block = read_block(b"A: 1\nB: 2\n 3\n\nbody\n\nmore")
    assert [field.text for field in block.fields] == ["1", "2 3"]
    assert block.body_start == len(b"A: 1\nB: 2\n 3\n\n")


def test_a_line_that_is_no_field_ends_the_block() -> None:
    block = read_block(b"A: 1\r\nno field here\r\nB: 2\r\n\r\nbody")
    assert block.defects == ("missing_blank_line",)
    assert block.body_start == len(b"A: 1\r\n")
    assert "B" not in block.fields


def test_a_message_of_fields_only_and_of_nothing() -> None:
    assert read_block(b"A: 1\r\n").defects == ("no_body",)
    assert read_block(b"").fields.items == ()
    assert read_block(b"\r\nbody").body_start == 2


def test_the_separator_of_a_mailbox_file_is_skipped() -> None:
    assert parse(b"From ana Mon May  4 12:00:00 2026\nSubject: x\n\nbody\n").fields.text("subject") == "x"


@pytest.mark.parametrize(
    "head",
    [
        b"Subject: " + b"x" * 17_000 + b"\r\n",
        b"To: " + b"x" * 66_000 + b"\r\n",
        b"A: 1\r\n" * 1_001,
        b"Subject: x\r\n" + b" y\r\n" * 5_000,
        b"".join(b"A%d: " % n + b"x" * 15_000 + b"\r\n" for n in range(20)),
    ],
)
def test_bounds_of_a_header_block(head: bytes) -> None:
    with pytest.raises(TooLarge):
        parse(head + b"\r\nbody")


def test_address_fields_may_be_longer() -> None:
    assert parse(b"To: " + b"x" * 60_000 + b"\r\n\r\n").fields.first("to") is not None


# --- text of fields -------------------------------------------------------------------------------------

HEADER_TEXTS = [
    (b" plain ", "plain"),
    (b" folded\r\n line", "folded line"),
    (b"=?utf-8?q?caf=C3=A9?=", "café"),
    (b"=?UTF-8?B?Y2Fmw6k=?= x", "café x"),
    (b"=?iso-8859-1?q?caf=E9?=\r\n =?iso-8859-1?q?_noir?=", "café noir"),
    (b"=?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "café"),
    (b"=?utf-8?b?Y2Fmww==?= =?utf-8?b?qQ==?=", "café"),
    (b"=?utf-8*en?q?caf=C3=A9?=", "café"),
    (b"=?windows-1252?q?it=92s?=", "it’s"),
    (b"=?iso-8859-1?q?it=92s?=", "it’s"),
    (b"=?shift_jis?b?k/qWew==?=", "日本"),
    (b"=?no-such-charset?q?caf=C3=A9?=", "café"),
    (b"=?idna?q?abc?=", "abc"),
    (b"caf\xc3\xa9", "café"),
    (b"caf\xe9", "café"),
    (b"a =?utf-8?q?b c?= d", "a b c d"),
    (b"=?utf-8?q?open", "=?utf-8?q?open"),
    (b"=?utf-8?q?a?=b=?utf-8?q?c?=", "abc"),
    (b"a\x00b", "a\ufffdb"),
    (b"=?utf-8?q?a=0D=0ABcc:_x?=", "a\ufffd\ufffdBcc: x"),
    (b"tab\there", "tab here"),
]


@pytest.mark.parametrize(("value", "expected"), HEADER_TEXTS)
def test_header_text(value: bytes, expected: str) -> None:
    assert decode_header_text(value) == expected


def test_the_charset_of_a_body_is_a_claim() -> None:
    assert decode_bytes("é".encode(), "us-ascii") == "é"
    assert decode_bytes(b"\xe9", "utf-8") == "é"
    assert decode_bytes(b"\xe9", None) == "é"
    assert decode_bytes("日本".encode("gb18030"), "GB2312") == "日本"
    assert decode_bytes("日本".encode("utf-16"), "utf-16") == "日本"
    assert decode_bytes(b"abc", "../../etc/passwd") == "abc"
    assert decode_bytes(b"abc", "zlib") == "abc"


# --- parameters -----------------------------------------------------------------------------------------

PARAMETERS = [
    ("text/plain", "text/plain", {}),
    ("Text/PLAIN; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
    ('a/b;x="1;2";y=3;', "a/b", {"x": "1;2", "y": "3"}),
    ("a/b ; x = 1 ; y = 2", "a/b", {"x": "1", "y": "2"}),
    ('a/b; x="say \\"hi\\""', "a/b", {"x": 'say "hi"'}),
    ('a/b; x="C:\\dir\\file.txt"', "a/b", {"x": "C:\\dir\\file.txt"}),
    ("a/b (a comment); x=1 (another)", "a/b", {"x": "1"}),
    ("a/b; x=1; X=2", "a/b", {"x": "1"}),
    ("a/b; filename*=utf-8''caf%C3%A9.txt; filename=cafe.txt", "a/b", {"filename": "café.txt"}),
    ("a/b; f*1*=%C3%A9; f*0*=iso-8859-15''x%A4; f*2=\".t\"", "a/b", {"f": "x€Ã©.t"}),
    ('a/b; f*0="one"; f*1="two"; f*3="lost"', "a/b", {"f": "onetwo"}),
    ('a/b; f="=?utf-8?q?caf=C3=A9?="', "a/b", {"f": "café"}),
    ("a/b; f*=''plain", "a/b", {"f": "plain"}),
    ("a/b; f*=%41", "a/b", {"f": "A"}),
    ("a/b; =x; ;;y", "a/b", {}),
    ('a/b; x="open; y=2', "a/b", {"x": "open; y=2"}),
    ("", "", {}),
]


@pytest.mark.parametrize(("text", "value", "parameters"), PARAMETERS)
def test_parameters(text: str, value: str, parameters: dict[str, str]) -> None:
    found = parse_structured(text)
    assert (found.value, found.parameters) == (value, parameters)


def test_bounds_of_parameters() -> None:
    with pytest.raises(TooLarge):
        parse_structured("a/b" + "".join(f"; p{n}=1" for n in range(101)))
    with pytest.raises(TooLarge):
        parse_structured("a/b" + "".join(f"; p*{n}=1" for n in range(65)))
