"""Direct Context and request.txt: written, read again, and what may be broken in them."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directmsg.agent import context as contexts
from directmsg.agent.address import Mailbox
from directmsg.agent.context import DirectContext, PatientId, context_part, read_context, write_context
from directmsg.agent.errors import UnsafeField
from directmsg.agent.message import NewAttachment, build_message
from directmsg.agent.mime import parse
from directmsg.agent.outgoing import require_sendable
from directmsg.agent.request import DocumentSource, TransmitRequest, is_request, read_request

CONTEXT = DirectContext(
    version="1.1",
    id="<c-1@portal.example>",
    patient_ids=(PatientId("2.16.840.1.113883.19.999", "OAK-7"), PatientId("urn:oid:1.2.3", "8")),
    category="general",
    action="report",
    purpose="treatment",
    patient={
        "givenName": "Zoë",
        "surname": "Oak",
        "dateOfBirth": "1980-02-29",
        "gender": "F",
        "directAddress": "oak@portal.example",
    },
    extension={"creation-time": "20260304T1200", "format-code": "a:b:c:1.0"},
)


def message(context: DirectContext = CONTEXT, content_id: str = "part-9@portal.example") -> bytes:
    field, part = write_context(context, content_id)
    return build_message(
        sender=Mailbox("", "oak@portal.example"),
        to=[Mailbox("", "nurse@clinic.example")],
        subject="Records",
        date=datetime(2026, 3, 4, tzinfo=UTC),
        message_id="m@portal.example",
        text="See the attachment.",
        attachments=[NewAttachment("summary.xml", "text/xml", b"<a/>")],
        extra_fields=[field],
        extra_parts=[part],
    )


def read(raw: bytes) -> DirectContext | None:
    root = parse(raw).root
    return read_context(root.fields, root)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_we_write_we_read(version: str) -> None:
    given_context = replace(CONTEXT, version=version)
    found = read(message(given_context))
    assert found is not None
    expected = dict(CONTEXT.patient)
    if version == "1.0":
        del expected["directAddress"]  # version 1.0 has no such key
    assert found == replace(given_context, patient=expected)


def test_the_form_of_field_and_part() -> None:
    raw = message()
    require_sendable(raw)
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["X-Direct-Context"] == "<part-9@portal.example>"
    text, part, document = mail.iter_parts()
    assert part["Content-ID"] == "<part-9@portal.example>"
    assert (part.get_content_type(), part.get_filename()) == ("text/plain", "metadata.txt")
    assert part.get_content_disposition() == "attachment"
    lines = part.get_content().splitlines()
    assert lines[:3] == ["version: 1.1", "id: <c-1@portal.example>", lines[2]]
    assert "type: general/report" in lines
    assert "patient-id: 2.16.840.1.113883.19.999:OAK-7; urn:oid:1.2.3:8" in lines
    assert text.get_content().strip() == "See the attachment."
    assert document.get_filename() == "summary.xml"


def test_the_named_part_is_found_whatever_is_in_it() -> None:
    root = parse(message()).root
    part = context_part(root.fields, root)
    assert part is not None
    assert part.path == "1.2"


@pytest.mark.parametrize(
    "change",
    [
        {"version": "2.0"},
        {"category": "astrology"},
        {"action": "guess"},
        {"category": ""},
        {"purpose": "marketing"},
        {"encapsulation": "fax"},
        {"id": ""},
    ],
    ids=str,
)
def test_words_that_a_context_does_not_know_are_not_written(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Direct context"):
        write_context(replace(CONTEXT, **change), "c@portal.example")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"patient": {"surname": "Oak\r\nX: y"}},
        {"patient_ids": (PatientId("1.2", "a;b"),)},
        {"patient_ids": (PatientId("1.2", ""),)},
        {"extension": {"type-code": "a\nb"}},
        {"id": "<a\r\n@b>"},
    ],
    ids=str,
)
def test_nothing_breaks_out_of_its_field(change: dict[str, object]) -> None:
    with pytest.raises(UnsafeField):
        write_context(replace(CONTEXT, **change), "c@portal.example")  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=300))
def test_any_name_comes_back(name: str) -> None:
    found = read(message(replace(CONTEXT, patient={"surname": f"x{name}"})))
    assert found is not None
    expected = " ".join(f"x{name}".replace(";", ",").split())
    # What looks like an encoded word is one to the reader, and blanks are one blank.
    if "=?" not in name:
        assert " ".join(found.patient["surname"].split()) == " ".join(expected.split())


def test_a_context_without_a_patient() -> None:
    bare = DirectContext("1.1", "<c@portal.example>", (), "", "", "", {})
    assert read(message(bare)) == bare


BROKEN = {
    "unknown version": (b"version: 1.1", b"version: 3.0"),
    "no version": (b"version: 1.1", b"x: 1.1"),
    "no id": (b"id: <c-1@portal.example>", b"x: y"),
    "half a type": (b"type: general/report", b"type: general"),
    "a patient without values": (b"patient: ", b"patient: nobody; "),
    "no such part": (b"Content-ID: <part-9", b"Content-ID: <part-8"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_context_is_none_and_the_message_stands(name: str) -> None:
    old, new = BROKEN[name]
    raw = message(replace(CONTEXT, patient={"surname": "Oak"}))
    assert old in raw
    changed = raw.replace(old, new)
    assert read(changed) is None
    assert parse(changed).root.children[-1].filename == "summary.xml"


def test_limits_of_size() -> None:
    long = {"surname": "O" * (contexts.MAX_OCTETS + 1)}
    assert read(message(replace(CONTEXT, patient=long))) is None


# --- request.txt ----------------------------------------------------------------------------------------

REQUEST = (
    "\ufeffDestination: oak@portal.example\r\nPatient: Zoë Oak\r\nData-holder: Green\r\n Valley Clinic\r\n"
    'Recurring: YES\r\nDocument-Source: name="summary.xml";source="joy@clinic.example"\r\n'
    'Document-Source: name="letter.pdf"; source=PATIENT\r\n'
)


def test_a_request_in_full() -> None:
    assert read_request(REQUEST.encode()) == TransmitRequest(
        "oak@portal.example",
        "Zoë Oak",
        "Green Valley Clinic",
        True,
        (DocumentSource("summary.xml", "joy@clinic.example"), DocumentSource("letter.pdf", "PATIENT")),
    )
    assert is_request("Request.TXT")
    assert not is_request("my request.txt")


@pytest.mark.parametrize(
    ("text", "recurring"), [("no", False), ("No ", False), ("maybe", None), ("", None), ("yes", True)]
)
def test_whether_it_will_come_again(text: str, recurring: bool | None) -> None:
    found = read_request(f"Patient: Zoë\nRecurring: {text}\n".encode())
    assert found is not None
    assert found.recurring is recurring


@pytest.mark.parametrize("content", [b"", b"Hello, please send my data.\n", b"\xff\xfe\x00", b"a: b\r\n"])
def test_what_is_no_request(content: bytes) -> None:
    assert read_request(content) is None


def test_a_request_is_bounded_and_holds_no_controls() -> None:
    assert read_request(b"Patient: x\n" * 6_000) is None
    found = read_request(b"Patient: a\x1b[31mb\n" + b'Document-Source: name="x"\n' * 200)
    assert found is not None
    assert "\x1b" not in found.patient
    assert len(found.sources) == 100
    assert found.to_json()["sources"][0] == {"filename": "x", "source": ""}
