"""Reading and comparing mailboxes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directmsg.agent.address import (
    Mailbox,
    normalise,
    parse_list,
    parse_list_tolerantly,
    parse_mailbox,
    same,
    to_a_labels,
    without_tag,
)
from directmsg.agent.errors import BadAddress

ONE = [
    ("ana@clinic.example", "", "ana@clinic.example"),
    (" <ana@clinic.example> ", "", "ana@clinic.example"),
    ("Ana <Ana@Clinic.Example>", "Ana", "Ana@Clinic.Example"),
    ('"Pérez, Ana" <ana@clinic.example>', "Pérez, Ana", "ana@clinic.example"),
    ('"Ana \\"A\\" P" <ana@clinic.example>', 'Ana "A" P', "ana@clinic.example"),
    ("ana@clinic.example (Ana (the first))", "Ana (the first)", "ana@clinic.example"),
    ("(desk) Ana <ana@clinic.example>", "Ana", "ana@clinic.example"),
    ("=?utf-8?Q?Ana_P=C3=A9rez?= <ana@clinic.example>", "Ana Pérez", "ana@clinic.example"),
    ("=?utf-8?Q?a=40evil=2Etest=2C?= <ana@clinic.example>", "a@evil.test,", "ana@clinic.example"),
    ('"ana maria"@clinic.example', "", '"ana maria"@clinic.example'),
    ("ana@bücher.example", "", "ana@bücher.example"),
    ("Dr. Ana P. <ana@clinic.example>", "Dr. Ana P.", "ana@clinic.example"),
    ("ana@clinic.example,", "", "ana@clinic.example"),
]
BAD = [
    "",
    "ana",
    "ana@",
    "@clinic.example",
    "ana@localhost",
    "ana@[192.0.2.1]",
    "ana@clinic.example, bo@clinic.example",
    "Care team: ana@clinic.example;",
    "undisclosed-recipients:;",
    "<@relay.example:ana@clinic.example>",
    "Ana <ana@clinic.example> extra",
    "Ana <ana@clinic.example> <bo@clinic.example>",
    "Ana <ana@clinic.example",
    '"Ana <ana@clinic.example>',
    "(Ana <ana@clinic.example>",
    "a" * 250 + "@clinic.example",
    "ana maria bo chris@clinic.example",
    "ana@cli\nnic.example",
    "ana\x00@clinic.example",
    "<<ana@clinic.example>>",
]


@pytest.mark.parametrize(("text", "name", "address"), ONE)
def test_one_mailbox(text: str, name: str, address: str) -> None:
    assert parse_mailbox(text) == Mailbox(name, address)


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_one_mailbox(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_mailbox(text)


def test_a_list_keeps_its_order() -> None:
    found = parse_list('Ana <ana@clinic.example>, "Ruiz, Bo" <bo@clinic.example>,, cy@clinic.example (Cy)')
    assert [each.address for each in found] == [
        "ana@clinic.example",
        "bo@clinic.example",
        "cy@clinic.example",
    ]
    assert [each.name for each in found] == ["Ana", "Ruiz, Bo", "Cy"]


def test_a_tolerant_list_skips_what_it_cannot_read() -> None:
    found, clean = parse_list_tolerantly(["Ana <ana@clinic.example>, nobody, bo@clinic.example", '"open'])
    assert [each.address for each in found] == ["ana@clinic.example", "bo@clinic.example"]
    assert not clean
    assert parse_list_tolerantly(["ana@clinic.example"])[1]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ANA@CLINIC.EXAMPLE", "ana@clinic.example"),
        (" <Ana@Clinic.Example> ", "ana@clinic.example"),
        ("Ana@Bücher.Example", "ana@xn--bcher-kva.example"),
        ("ana@XN--BCHER-KVA.example", "ana@xn--bcher-kva.example"),
        ("ana+tag@clinic.example", "ana+tag@clinic.example"),
        # The Kelvin sign folds into "k" for everybody but a mail system.
        ("\u212aim@clinic.example", "\u212aim@clinic.example"),
        ("Nobody", "nobody"),
        ("ana@-BROKEN-", "ana@-broken-"),
        ("", ""),
    ],
)
def test_normalising(address: str, expected: str) -> None:
    assert normalise(address) == expected


def test_comparing_and_tags() -> None:
    assert same("Ana@Clinic.Example", "ana@clinic.example")
    assert not same("ana@clinic.example", "ana@clinic.test")
    assert without_tag("ana+visit+2@clinic.example") == "ana@clinic.example"
    assert without_tag("+x@clinic.example") == "+x@clinic.example"
    assert without_tag('"a+b"@clinic.example') == '"a+b"@clinic.example'
    mailbox = Mailbox("Ana", "Ana@Clinic.Example")
    assert (mailbox.local, mailbox.domain, mailbox.key) == ("Ana", "Clinic.Example", "ana@clinic.example")


@pytest.mark.parametrize(
    "domain", ["example", "a..example", "-a.example", "a_b.example", "é\u202e.example", ""]
)
def test_what_is_no_domain(domain: str) -> None:
    with pytest.raises(BadAddress):
        to_a_labels(domain)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    try:
        found = parse_list(text)
    except BadAddress:
        return
    for mailbox in found:
        assert "@" in mailbox.address
        assert not set("\r\n\x00") & set(mailbox.address)


@pytest.mark.parametrize("piece", ['"\\', '"', "<", "(", "(\\", '<"', "a@b.example,", "((", ")", "\\"])
def test_hostile_lists_take_linear_time(piece: str) -> None:
    text = piece * (65_536 // len(piece))
    began = time.perf_counter()
    parse_list_tolerantly([text])
    assert time.perf_counter() - began < 2
