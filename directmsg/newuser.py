"""Mail to newuser: its subject line, and how an answer is compared.

The subject is `Email[;Question;Answer][;RealSubject]`. Question and answer only come as a pair, and whoever
gave half a pair wanted protection: that is refused, never treated as no question. Errors name the rule that
is broken and never what stood in the subject, since the answer is in it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from directmsg.agent.address import same, to_a_labels
from directmsg.agent.errors import BadAddress, BadSubject
from directmsg.agent.fields import decode_header_text

__all__ = [
    "AnswerWithoutQuestion",
    "BadEmail",
    "BadSubject",
    "ControlCharacter",
    "EmptyEmail",
    "LongAnswer",
    "LongEmail",
    "LongQuestion",
    "LongSubject",
    "NewUserSubject",
    "QuestionWithoutAnswer",
    "SeveralEmails",
    "UnreadableCharacter",
    "contact_matches",
    "mask_email",
    "normalise_answer",
    "parse_challenge",
    "parse_contact",
    "parse_subject",
]

NO_SUBJECT = "(no subject)"
MAX_LINE = 16 * 1024
MAX_EMAIL = 254
MAX_LOCAL_PART = 64
MAX_QUESTION = 200
MAX_ANSWER = 100
MAX_SUBJECT = 255

#: Only this is a separator. U+037E becomes it under normalisation, so the split comes first; U+FF1B is text.
SEPARATOR = "\N{SEMICOLON}"


class LongSubject(BadSubject):
    """A subject line beyond anything a header field may hold."""

    rule = "line_length"

    def __init__(self) -> None:
        super().__init__("The subject line is too long.")


class EmptyEmail(BadSubject):
    """Nothing stands where the contact e-mail should."""

    rule = "email_missing"

    def __init__(self) -> None:
        super().__init__("The subject line must begin with the person's e-mail address.")


class BadEmail(BadSubject):
    """The first part is no e-mail address of the plain kind."""

    rule = "email_form"

    def __init__(self) -> None:
        super().__init__("The first part of the subject line must be one plain e-mail address.")


class LongEmail(BadSubject):
    """The contact e-mail is longer than an address may be (RFC 5321 section 4.5.3.1)."""

    rule = "email_length"

    def __init__(self) -> None:
        super().__init__(f"The e-mail address may have at most {MAX_EMAIL} characters.")


class SeveralEmails(BadSubject):
    """More than one address in the first part."""

    rule = "email_single"

    def __init__(self) -> None:
        super().__init__("The subject line may name one e-mail address only.")


class QuestionWithoutAnswer(BadSubject):
    """A question, and a blank where its answer should be."""

    rule = "question_without_answer"

    def __init__(self) -> None:
        super().__init__("A question needs an answer: give both, or leave both empty.")


class AnswerWithoutQuestion(BadSubject):
    """An answer, and a blank where its question should be."""

    rule = "answer_without_question"

    def __init__(self) -> None:
        super().__init__("An answer needs a question: give both, or leave both empty.")


class LongQuestion(BadSubject):
    """The question is over its limit."""

    rule = "question_length"

    def __init__(self) -> None:
        super().__init__(f"The question may have at most {MAX_QUESTION} characters.")


class LongAnswer(BadSubject):
    """The answer is over its limit, counted as it is compared."""

    rule = "answer_length"

    def __init__(self) -> None:
        super().__init__(f"The answer may have at most {MAX_ANSWER} characters.")


class ControlCharacter(BadSubject):
    """A control character in e-mail, question or answer."""

    rule = "control_character"

    def __init__(self) -> None:
        super().__init__("E-mail, question and answer may not hold control characters.")


class UnreadableCharacter(BadSubject):
    """A character that could not be decoded: nobody could type it as an answer."""

    rule = "unreadable_character"

    def __init__(self) -> None:
        super().__init__("The subject line holds characters that could not be read; send it as UTF-8.")


@dataclass(frozen=True, slots=True)
class NewUserSubject:
    """What the subject line says. `question` and `answer` are both given or both None.

    `email`: local part as written, domain as A-labels in lower case. `subject` is what people are shown, at
    most 255 characters.
    """

    email: str
    question: str | None
    answer: str | None
    subject: str


def parse_subject(subject: str | bytes) -> NewUserSubject:
    """Read the subject of mail to newuser: decoded text, or the raw value of the header field.

    Split at U+003B into at most four parts before anything is normalised; each part is trimmed. One part:
    e-mail. Two: e-mail, subject. Three: e-mail, question, answer. Four: all, the subject keeping its further
    semicolons. Raises a leaf of BadSubject, whose `rule` and text name the rule and never the content.
    """
    if len(subject) > MAX_LINE:
        raise LongSubject
    text = decode_header_text(subject) if isinstance(subject, bytes) else subject
    parts = [part.strip() for part in text.split(SEPARATOR, 3)]
    email = _read_email(parts[0])
    if len(parts) < 3:
        return NewUserSubject(email, None, None, _shown(parts[1] if len(parts) == 2 else ""))
    question, answer = _read_challenge(parts[1], parts[2])
    return NewUserSubject(email, question, answer, _shown(parts[3] if len(parts) == 4 else ""))


def parse_contact(text: str) -> str:
    """One contact e-mail by the rules of the subject line. Raises a leaf of BadSubject."""
    return _read_email(text.strip())


def parse_challenge(question: str, answer: str) -> tuple[str | None, str | None]:
    """Question and answer by the rules of the subject line: both, or (None, None) when both are empty.

    Raises a leaf of BadSubject.
    """
    return _read_challenge(question.strip(), answer.strip())


def _read_challenge(question: str, answer: str) -> tuple[str | None, str | None]:
    for part in (question, answer):
        _require_readable(part)
    normal = normalise_answer(answer)
    if not question and not answer:
        return None, None
    if not normal:
        raise QuestionWithoutAnswer
    if not _has_substance(question):
        raise AnswerWithoutQuestion
    if len(unicodedata.normalize("NFC", question)) > MAX_QUESTION:
        raise LongQuestion
    if len(normal) > MAX_ANSWER:
        raise LongAnswer
    return question, answer


def _has_substance(text: str) -> bool:
    """Whether anything visible stands in `text`: blanks and invisible characters alone ask nothing."""
    return any(not each.isspace() and not _is_ignorable(each) for each in text)


def _require_readable(part: str) -> None:
    if any(_is_control(each) for each in part):
        raise ControlCharacter
    if "\ufffd" in part:
        raise UnreadableCharacter


def _is_control(character: str) -> bool:
    """Controls, surrogates, and the separators that break a line."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _shown(subject: str) -> str:
    """The real subject for display: on one line, at most 255 characters, not cut before a combining mark."""
    clean = "".join(" " if _is_control(each) else each for each in subject).strip()
    if not clean:
        return NO_SUBJECT
    end = MAX_SUBJECT
    while len(clean) > end > MAX_SUBJECT - 20 and unicodedata.combining(clean[end]):
        end -= 1
    return clean[:end].rstrip()


# --- the contact e-mail ---------------------------------------------------------------------------------

#: What gateways and mail programs put in front: skipped once, and nothing else is guessed.
_PREFIX = re.compile(r"(?:(?:re|fw|fwd)\s*:|\[[^\[\]]{1,80}\])\s*", re.IGNORECASE)
_MAILTO = re.compile(r"mailto:", re.IGNORECASE)
_NAMED = re.compile(r'(?P<name>"(?:[^"\\]|\\.)*"|[^"<>,@]*)\s*<(?P<address>[^<>]*)>')
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def _read_email(part: str) -> str:
    _require_readable(part)
    text = part
    prefix = _PREFIX.match(text)
    if prefix is not None:
        text = text[prefix.end() :]
    if not text:
        raise EmptyEmail
    named = _NAMED.fullmatch(text)
    if named is not None:
        text = named["address"].strip()
    mailto = _MAILTO.match(text)
    if mailto is not None:
        text = text[mailto.end() :].strip()
    return _require_plain_address(text)


def _require_plain_address(text: str) -> str:
    """`text` when it is one unquoted address; its domain as A-labels."""
    if not text:
        raise EmptyEmail
    if text.count("@") > 1 or any(each in text for each in ",<>"):
        raise SeveralEmails
    local, at, domain = text.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or not domain:
        raise BadEmail
    try:
        address = f"{local}@{to_a_labels(domain)}" if domain == domain.strip() else ""
    except BadAddress as error:
        raise BadEmail from error
    if not address:
        raise BadEmail
    if len(local) > MAX_LOCAL_PART or len(address) > MAX_EMAIL:
        raise LongEmail
    return address


def contact_matches(typed: str, wanted: str) -> bool:
    """Whether the address a person typed is the contact e-mail `wanted`: case-folded, domain as A-labels.

    Text that is no address matches nothing.
    """
    try:
        return same(_read_email(typed.strip()), wanted)
    except BadSubject:
        return False


def mask_email(email: str) -> str:
    """`email` for people who need not know it: the first letter and the domain, "j***@example.org"."""
    local, at, domain = email.rpartition("@")
    return f"{local[:1]}***@{domain}" if at else "***"


# --- answers --------------------------------------------------------------------------------------------

#: Scripts in which a mark is an accent that people leave out; in others it carries meaning.
_ACCENTED = ("LATIN ", "GREEK ", "CYRILLIC ")


def normalise_answer(text: str) -> str:
    """`text` as answers are compared: equal results are equal answers; empty means no answer.

    NFKC, case-folded, accents of Latin, Greek and Cyrillic letters removed, then letters, marks and digits
    only, the digits of other scripts by their value: "Mc-Kinney" is "mckinney", "José" is "jose", "٥٥٥" is
    "555". Where nothing would be left ("!!!") the trimmed, case-folded text itself is compared. Idempotent.
    """
    folded = _fold(text)
    kept: list[str] = []
    accents_go: bool | None = None  # of the letter before; None where a mark has no letter to stand on
    for each in unicodedata.normalize("NFD", folded):
        kind = unicodedata.category(each)
        if kind[0] == "M":
            if accents_go is False:
                kept.append(each)
        elif kind[0] in "LN":
            kept.append(_digit(each))
            accents_go = _is_accented_script(each)
        else:
            accents_go = None
    if kept:
        return unicodedata.normalize("NFC", "".join(kept))
    return folded.strip()


def _fold(text: str) -> str:
    """Compatibility caseless form without ignorable characters (The Unicode Standard, section 3.13, D146)."""
    # Taken out first: an invisible character between two marks keeps them from their canonical order.
    visible = "".join(each for each in text if not _is_ignorable(each))
    folded = unicodedata.normalize("NFKC", visible).casefold()
    folded = unicodedata.normalize("NFKC", folded).casefold()
    return unicodedata.normalize("NFKC", folded)


def _digit(character: str) -> str:
    value = unicodedata.digit(character, None)
    return character if value is None else str(value)


@lru_cache(maxsize=4096)
def _is_accented_script(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(_ACCENTED)


def _is_ignorable(character: str) -> bool:
    """Characters that are never seen: format characters, variation selectors, the grapheme joiner."""
    if unicodedata.category(character) == "Cf":
        return True
    return character == "\u034f" or (
        "\ufe00" <= character <= "\ufe0f"
        or "\u180b" <= character <= "\u180d"
        or "\U000e0100" <= character <= "\U000e01ef"
    )
