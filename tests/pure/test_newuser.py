"""The subject line of mail to newuser, and the comparing of answers."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directmsg import newuser
from directmsg.newuser import (
    BadSubject,
    NewUserSubject,
    contact_matches,
    mask_email,
    normalise_answer,
    parse_subject,
)

READABLE = [
    ("ana@clinic.example", ("ana@clinic.example", None, None, "(no subject)")),
    ("ana@clinic.example;", ("ana@clinic.example", None, None, "(no subject)")),
    ("ana@clinic.example;Your results", ("ana@clinic.example", None, None, "Your results")),
    ("ana@clinic.example;First pet?;Bello", ("ana@clinic.example", "First pet?", "Bello", "(no subject)")),
    ("ana@clinic.example;First pet?;Bello;", ("ana@clinic.example", "First pet?", "Bello", "(no subject)")),
    ("ana@clinic.example;First pet?;Bello;Scan", ("ana@clinic.example", "First pet?", "Bello", "Scan")),
    ("ana@clinic.example;Pet?;Bello;Scan; part 2;", ("ana@clinic.example", "Pet?", "Bello", "Scan; part 2;")),
    ("ana@clinic.example;;;Results; part 2", ("ana@clinic.example", None, None, "Results; part 2")),
    ("ana@clinic.example; ; ;Results", ("ana@clinic.example", None, None, "Results")),
    ("ana@clinic.example;;", ("ana@clinic.example", None, None, "(no subject)")),
    ("ana@clinic.example;x; y", ("ana@clinic.example", "x", "y", "(no subject)")),
    (
        "  ana@clinic.example ; Pet’s name? ;  Bello ; Scan ",
        ("ana@clinic.example", "Pet’s name?", "Bello", "Scan"),
    ),
    ("<ana@clinic.example>;x", ("ana@clinic.example", None, None, "x")),
    ("Ana Pérez <ana@clinic.example>;x", ("ana@clinic.example", None, None, "x")),
    ('"Pérez, Ana" <ana@clinic.example>;x', ("ana@clinic.example", None, None, "x")),
    ("mailto:ana@clinic.example;x", ("ana@clinic.example", None, None, "x")),
    ("MAILTO:ana@clinic.example", ("ana@clinic.example", None, None, "(no subject)")),
    ("Ana.P+x@CLINIC.Example;x", ("Ana.P+x@clinic.example", None, None, "x")),
    ("ana@Bücher.example;x", ("ana@xn--bcher-kva.example", None, None, "x")),
    ("Re: ana@clinic.example;x", ("ana@clinic.example", None, None, "x")),
    ("FW:ana@clinic.example;x", ("ana@clinic.example", None, None, "x")),
    ("fwd : ana@clinic.example;x", ("ana@clinic.example", None, None, "x")),
    ("[EXTERNAL] ana@clinic.example;x", ("ana@clinic.example", None, None, "x")),
    # A fullwidth semicolon and the Greek question mark are text, whatever they normalise to.
    ("ana@clinic.example;α\u037eβ\uff1bγ", ("ana@clinic.example", None, None, "α\u037eβ\uff1bγ")),
    ("ana@clinic.example;Πού\u037e;Εδώ", ("ana@clinic.example", "Πού\u037e", "Εδώ", "(no subject)")),
]

REFUSED = [
    ("", "email_missing"),
    ("   ", "email_missing"),
    (";Pet?;Bello", "email_missing"),
    ("Re: ;x", "email_missing"),
    ("<>;x", "email_missing"),
    ("Your results", "email_form"),
    ("ana;x", "email_form"),
    ("ana@;x", "email_form"),
    ("@clinic.example;x", "email_form"),
    ("ana@localhost;x", "email_form"),
    ("ana@[192.0.2.1];x", "email_form"),
    ("ana maria@clinic.example;x", "email_form"),
    ("ana@clinic .example;x", "email_form"),
    ("ana@clinic.example.;x", "email_form"),
    ("ana@-clinic.example;x", "email_form"),
    (".ana@clinic.example;x", "email_form"),
    ("a..b@clinic.example;x", "email_form"),
    ('"ana"@clinic.example;x', "email_form"),
    ('"ana maria"@clinic.example;x', "email_form"),
    ("jösé@clinic.example;x", "email_form"),
    ("Re: Re: ana@clinic.example;x", "email_form"),
    ("[A] [B] ana@clinic.example;x", "email_form"),
    ("mailto:mailto:ana@clinic.example;x", "email_form"),
    ("ana@clinic.example?subject=x;x", "email_form"),
    ("ana@clinic.example, bo@clinic.example;x", "email_single"),
    ("ana@clinic.example bo@clinic.example;x", "email_single"),
    ("Ana <ana@clinic.example>, Bo <bo@clinic.example>;x", "email_single"),
    ("Pérez, Ana <ana@clinic.example>;x", "email_single"),
    ("a" * 65 + "@clinic.example;x", "email_length"),
    ("ana@" + ".".join(["b" * 60] * 5) + ".example;x", "email_form"),
    ("ana-maria@" + ".".join(["b" * 60] * 4) + ".example;x", "email_length"),
    ("ana@clinic.example;First pet?;", "question_without_answer"),
    ("ana@clinic.example;First pet?;  ;Scan", "question_without_answer"),
    ("ana@clinic.example;First pet?;\u200b;Scan", "question_without_answer"),
    ("ana@clinic.example;;Bello", "answer_without_question"),
    ("ana@clinic.example; ;Bello;Scan", "answer_without_question"),
    ("ana@clinic.example;\u200b;Bello;Scan", "answer_without_question"),
    ("ana@clinic.example;Results;", "question_without_answer"),
    ("ana@clinic.example;" + "q" * 201 + ";a", "question_length"),
    ("ana@clinic.example;q;" + "a" * 101, "answer_length"),
    ("ana@clinic.example;q;" + "\ufdfa" * 20, "answer_length"),
    ("ana@clinic.example;q\x07x;a", "control_character"),
    ("ana@clinic.example;q;a\x00b", "control_character"),
    ("ana@clinic.example;q\u2028x;a", "control_character"),
    ("an\x01a@clinic.example;x", "control_character"),
    ("ana@clinic.example;q;a\ufffdb", "unreadable_character"),
    ("ana@clinic.example;" + "x" * 20_000, "line_length"),
]


@pytest.mark.parametrize(("line", "expected"), READABLE)
def test_readable_subjects(line: str, expected: tuple[str, ...]) -> None:
    assert parse_subject(line) == NewUserSubject(*expected)


@pytest.mark.parametrize(("line", "rule"), REFUSED)
def test_refused_subjects_name_the_rule(line: str, rule: str) -> None:
    with pytest.raises(BadSubject) as caught:
        parse_subject(line)
    assert caught.value.rule == rule
    assert caught.value.code == "bad_subject"
    assert caught.value.detail.endswith(".")


def test_every_rule_has_a_line_that_breaks_it() -> None:
    leaves = {leaf.rule for leaf in BadSubject.__subclasses__()}
    assert leaves == {rule for _, rule in REFUSED}


def test_errors_never_repeat_the_content() -> None:
    for line in (
        "xyzzy@clinic.example;plugh;",
        "xyzzy@clinic.example;;plugh",
        "xyzzy plugh;a;b",
        "xyzzy@clinic.example;plu\x07gh;a",
    ):
        with pytest.raises(BadSubject) as caught:
            parse_subject(line)
        for word in ("xyzzy", "plugh", "clinic"):
            assert word not in f"{caught.value} {caught.value.detail} {caught.value!r}"


def test_limits_are_inclusive() -> None:
    found = parse_subject("ana@clinic.example;" + "q" * 200 + ";" + "a-" * 100 + ";" + "s" * 300)
    assert len(found.question or "") == 200
    assert found.answer == "a-" * 100
    assert found.subject == "s" * 255


def test_a_long_subject_is_not_cut_before_a_combining_mark() -> None:
    found = parse_subject("ana@clinic.example;" + "e" * 254 + "e\u0301" + "x")
    assert not unicodedata.combining(found.subject[-1])
    assert found.subject == "e" * 254


def test_a_raw_field_is_unfolded_and_decoded_before_it_is_split() -> None:
    raw = b" ana@clinic.example;=?utf-8?Q?What_is_your_pet=E2=80=99s?=\r\n =?utf-8?Q?_name=3B?=Bello;Scan\r\n"
    assert parse_subject(raw) == NewUserSubject(
        "ana@clinic.example", "What is your pet’s name", "Bello", "Scan"
    )


def test_a_control_character_in_an_encoded_word_is_refused() -> None:
    with pytest.raises(BadSubject) as caught:
        parse_subject(b"ana@clinic.example;q;=?utf-8?Q?a=00b?=")
    assert caught.value.rule == "unreadable_character"


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_by_a_rule(line: str) -> None:
    try:
        found = parse_subject("ana@clinic.example;" + line)
    except BadSubject:
        return
    assert (found.question is None) == (found.answer is None)
    assert found.subject
    assert len(found.subject) <= 255


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_half_a_challenge_is_never_no_challenge(question: str, answer: str) -> None:
    line = f"ana@clinic.example;{question.replace(';', '')};{answer.replace(';', '')};Scan"
    try:
        found = parse_subject(line)
    except BadSubject:
        return
    assert (found.question is None) == (not question.replace(";", "").strip())
    assert (found.answer is None) == (not answer.replace(";", "").strip())


# --- answers --------------------------------------------------------------------------------------------

SAME = [
    ("McKinney", " mc kinney ", "Mc-Kinney", "MCKINNEY", "Ｍｃ　Ｋｉｎｎｅｙ"),
    ("José", "jose", "JOSE\u0301", "José."),
    ("Straße", "strasse", "STRASSE"),
    ("St. Louis", "stlouis", "St Louis"),
    ("Smith-Jones", "smith jones", "smith\u2013jones"),
    ("555-0100", "5550100", "٥٥٥-٠١٠٠", "５５５０１００", "५५५०१००"),
    ("Ελλάς", "ελλασ", "ΕΛΛΆΣ"),
    ("Ёлка", "елка"),
    ("İstanbul", "istanbul"),
    ("a\u200bb", "ab"),
    ("Pe\ufb01", "pefi"),
    ("!!!", " !!! ", "！！！"),
    ("?!", " ?! "),
]
DIFFERENT = [
    ("हिन्दी", "हिन्द"),  # the vowel sign is a mark that carries meaning
    ("ก่า", "กา"),
    ("عَلَم", "علم"),
    ("が", "か"),
    ("bello", "bella"),
    ("!!!", "!!"),
    ("12", "21"),
]


@pytest.mark.parametrize("texts", SAME)
def test_answers_that_are_the_same(texts: tuple[str, ...]) -> None:
    assert len({normalise_answer(text) for text in texts}) == 1
    assert normalise_answer(texts[0])


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_answers_that_differ(one: str, other: str) -> None:
    assert normalise_answer(one) != normalise_answer(other)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u200b\u200d", "\u00a0"])
def test_a_blank_is_no_answer(text: str) -> None:
    assert normalise_answer(text) == ""


def test_a_mark_after_a_joiner_still_belongs_to_its_letter() -> None:
    assert normalise_answer("র\u200d্য") == normalise_answer("র্য")


def test_an_invisible_character_between_marks_changes_nothing() -> None:
    marks = "\u1ac5\ufe03\u031e"
    assert normalise_answer(marks) == normalise_answer(normalise_answer(marks))
    assert normalise_answer("ก\u0e49\u200d\u0e38") == normalise_answer("ก\u0e38\u0e49")


@given(st.text(max_size=100))
@settings(max_examples=1000, deadline=None)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_answer(text)
    assert normalise_answer(once) == once


@given(st.text(max_size=60))
@settings(max_examples=500, deadline=None)
def test_unicode_form_and_case_do_not_matter(text: str) -> None:
    wanted = normalise_answer(text)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert normalise_answer(unicodedata.normalize(form, text)) == wanted
    assert normalise_answer(text.casefold()) == wanted


# --- the contact address --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "wanted", "same"),
    [
        ("ana@clinic.example", "ana@clinic.example", True),
        (" ANA@Clinic.Example ", "ana@clinic.example", True),
        ("ana@bücher.example", "ana@xn--bcher-kva.example", True),
        ("bo@clinic.example", "ana@clinic.example", False),
        ("ana@clinic.test", "ana@clinic.example", False),
        ("", "ana@clinic.example", False),
        ("ana", "ana", False),
        ("ana+x@clinic.example", "ana@clinic.example", False),
    ],
)
def test_a_typed_contact_is_compared(typed: str, wanted: str, same: bool) -> None:
    assert contact_matches(typed, wanted) is same


def test_masking_leaves_one_letter_and_the_domain() -> None:
    assert mask_email("jane@example.org") == "j***@example.org"
    assert mask_email("broken") == "***"
    assert newuser.NO_SUBJECT == "(no subject)"
