"""Disposition and delivery status notifications: those of systems in use, and our own."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directmsg.agent.address import Mailbox
from directmsg.agent.errors import BadAddress, UnsafeField
from directmsg.agent.mime import Parsed, parse
from directmsg.agent.notifications import (
    EXTENSION,
    TIMELY_DELIVERY,
    Dsn,
    Failure,
    Mdn,
    Original,
    bare_recipient,
    build_dsn,
    build_mdn,
    kind_of,
    notification_target,
    read_dsn,
    read_mdn,
    wants_dispatched,
)
from directmsg.agent.outgoing import require_sendable

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
CLINIC = Mailbox("Clinic", "clinic@sender.example")
ORIGINAL = Original("<1@sender.example>", "Your results")


def report(
    fields: str, *, head: str = "", report_type: str = "disposition-notification", line_end: str = "\r\n"
) -> bytes:
    """A hand-written report with `fields` in its machine-readable part."""
    kind = {"disposition-notification": "disposition-notification", "delivery-status": "delivery-status"}[
        report_type
    ]
    text = (
        f"From: ana@portal.example\n{head}"
        f"Content-Type: multipart/report; report-type={report_type}; boundary=r\n\n"
        f"--r\nContent-Type: text/plain\n\nSomething happened.\n"
        f"--r\nContent-Type: message/{kind}\n\n{fields}\n--r--\n"
    )
    return text.replace("\n", line_end).encode()


def mdn(fields: str, **options: str) -> Mdn:
    parsed = parse(report(fields, **options))
    assert kind_of(parsed.root) == "mdn"
    return read_mdn(parsed.root)


PROCESSED = (
    "Reporting-UA: portal.example; Some Product\nFinal-Recipient: rfc822; ana@portal.example\n"
    "Original-Message-ID: <1@sender.example>\n"
    "Disposition: automatic-action/MDN-sent-automatically; processed\n"
)


# --- reading disposition notifications ------------------------------------------------------------------


def test_a_plain_one() -> None:
    found = mdn(PROCESSED)
    assert found == Mdn(
        disposition="processed",
        modifiers=(),
        final_recipient="ana@portal.example",
        original_recipient="",
        original_message_id="<1@sender.example>",
        has_extension=False,
        reporting_ua="portal.example; Some Product",
    )
    assert found.outcome == "processed"


AWKWARD = {
    "lower case": PROCESSED.lower(),
    "upper case names": PROCESSED.replace("Final-Recipient", "FINAL-RECIPIENT").replace(
        "Disposition", "DISPOSITION"
    ),
    "folded": PROCESSED.replace("Disposition: ", "Disposition:\n  ").replace("; processed", ";\n\tprocessed"),
    "blank lines before": "\n\n" + PROCESSED,
    "blank lines between": PROCESSED.replace("\nOriginal", "\n\nOriginal"),
    "blanks around marks": PROCESSED.replace("rfc822; ", " rfc822 ;  ").replace("action/MDN", "action / MDN"),
    "no blank after the colon": PROCESSED.replace(": ", ":"),
    "brackets and names": PROCESSED.replace("ana@portal.example", "Ana D. <ana@portal.example>"),
    "quotes": PROCESSED.replace("ana@portal.example", '"ana@portal.example"'),
    "unknown fields": PROCESSED + "X-Vendor: 7\n",
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_awkward_ones_are_read(name: str, line_end: str) -> None:
    found = mdn(AWKWARD[name], line_end=line_end)
    assert (found.outcome, found.final_recipient) == ("processed", "ana@portal.example")
    assert found.original_message_id.lower() == "<1@sender.example>"


@pytest.mark.parametrize(
    ("disposition", "outcome", "modifiers"),
    [
        ("automatic-action/MDN-sent-automatically; processed", "processed", ()),
        ("automatic-action/MDN-sent-automatically; dispatched", "dispatched", ()),
        ("automatic-action/MDN-sent-automatically;dispatched", "dispatched", ()),
        ("manual-action/MDN-sent-manually; displayed", "displayed", ()),
        ("automatic-action/MDN-sent-automatically; failed", "failed", ()),
        ("automatic-action/MDN-sent-automatically; Failed/Failure", "failed", ("failure",)),
        ("automatic-action/MDN-sent-automatically; denied", "failed", ()),
        ("automatic-action/MDN-sent-automatically; error", "failed", ()),
        ("automatic-action/MDN-sent-automatically; processed/error", "failed", ("error",)),
        (
            "automatic-action/MDN-sent-automatically; deleted / error , warning",
            "failed",
            ("error", "warning"),
        ),
        ("automatic-action/MDN-sent-automatically; processed/warning", "processed", ("warning",)),
        ("automatic-action/MDN-sent-automatically; deleted", "deleted", ()),
        ("processed", "processed", ()),
        ("", "", ()),
    ],
)
def test_dispositions(disposition: str, outcome: str, modifiers: tuple[str, ...]) -> None:
    found = mdn(f"Final-Recipient: rfc822; a@x.example\nDisposition: {disposition}\n")
    assert (found.outcome, found.modifiers) == (outcome, modifiers)


def test_no_disposition_at_all() -> None:
    assert mdn("Final-Recipient: rfc822; a@x.example\n").outcome == ""


def test_the_extension_may_stand_anywhere() -> None:
    assert mdn(PROCESSED + f"{EXTENSION}:\n").has_extension
    assert mdn(PROCESSED + f"{EXTENSION.lower()}: \n").has_extension
    assert not mdn(PROCESSED).has_extension


def test_the_recipients_may_be_the_wrong_way_round() -> None:
    found = mdn(
        "Original-Recipient: rfc822;ana@portal.example\nFinal-Recipient: rfc822;clinic@sender.example\n"
        "Disposition: automatic-action/MDN-sent-automatically; processed\n"
    )
    assert (found.final_recipient, found.original_recipient) == (
        "clinic@sender.example",
        "ana@portal.example",
    )


def test_identifiers_without_brackets_with_blanks_or_missing() -> None:
    assert (
        mdn(PROCESSED.replace("<1@sender.example>", "1@sender.example")).original_message_id
        == "1@sender.example"
    )
    assert mdn(PROCESSED.replace("<1@", "<a b  c@")).original_message_id == "<a b c@sender.example>"
    without = PROCESSED.replace("Original-Message-ID: <1@sender.example>\n", "")
    assert mdn(without, head="In-Reply-To: <2@sender.example>\n").original_message_id == "<2@sender.example>"
    assert mdn(without).original_message_id == ""


def test_missing_parts_and_endings() -> None:
    raw = report(PROCESSED).partition(b"\r\n--r--")[0]
    assert read_mdn(parse(raw).root).outcome == "processed"
    only_text = parse(raw.partition(b"--r\r\nContent-Type: message")[0]).root
    assert kind_of(only_text) == "mdn"
    assert read_mdn(only_text) == Mdn("", (), "", "", "", has_extension=False)
    mistyped = raw.replace(b"message/disposition-notification", b"text/plain")
    assert read_mdn(parse(mistyped).root).outcome == "processed"
    encoded = raw.replace(
        b"message/disposition-notification\r\n",
        b"message/disposition-notification\r\nContent-Transfer-Encoding: quoted-printable\r\n",
    ).replace(b"; processed", b"; =70rocessed")
    assert read_mdn(parse(encoded).root).outcome == "processed"


def test_the_kind_of_a_message() -> None:
    assert kind_of(parse(b"Content-Type: text/plain\r\n\r\nx").root) == "message"
    untyped = report(PROCESSED).replace(b" report-type=disposition-notification;", b"")
    assert kind_of(parse(untyped).root) == "mdn"
    assert kind_of(parse(report(PROCESSED).replace(b"report-type=disp", b"Report-Type=DISP")).root) == "mdn"
    status = report("Reporting-MTA: dns; x.example\n", report_type="delivery-status")
    assert kind_of(parse(status).root) == "dsn"
    assert kind_of(parse(status.replace(b" report-type=delivery-status;", b"")).root) == "dsn"
    assert (
        kind_of(parse(status.replace(b"report-type=delivery-status", b"report-type=feedback")).root)
        == "message"
    )
    mixed = report(PROCESSED).replace(b"multipart/report", b"multipart/mixed")
    assert kind_of(parse(mixed).root) == "message"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rfc822; ana@x.example", "ana@x.example"),
        ("RFC822;<ana@x.example>", "ana@x.example"),
        ("ana@x.example", "ana@x.example"),
        ('rfc822; "Ana; the first" <Ana@x.example>', "Ana@x.example"),
        ("rfc822;", ""),
        ("", ""),
    ],
)
def test_recipient_fields(text: str, expected: str) -> None:
    assert bare_recipient(text) == expected


# --- reading status notifications -----------------------------------------------------------------------


def dsn(fields: str, head: str = "") -> Dsn:
    parsed = parse(report(fields, report_type="delivery-status", head=head))
    assert kind_of(parsed.root) == "dsn"
    return read_dsn(parsed.root)


def test_status_of_several_recipients() -> None:
    found = dsn(
        "Reporting-MTA: dns; mail.sender.example\nX-Original-Message-ID: <1@portal.example>\n"
        "Original-Envelope-Id: something-else\n\n"
        "Final-Recipient: rfc822; bo@sender.example\nAction: Failed\nStatus: 5.1.1 (no such user)\n"
        "Diagnostic-Code: smtp; 550 no\n\n\n"
        "final-recipient:rfc822;<cy@sender.example>\naction:failed\nstatus:5.0.0\n",
        head="In-Reply-To: <other@portal.example>\n",
    )
    assert (found.reporting_mta, found.original_message_id) == ("mail.sender.example", "<1@portal.example>")
    assert [each.final_recipient for each in found.recipients] == ["bo@sender.example", "cy@sender.example"]
    assert (found.first.action, found.first.status, found.first.diagnostic) == (
        "failed",
        "5.1.1",
        "smtp; 550 no",
    )


def test_missing_fields_of_a_status() -> None:
    found = dsn(
        "Reporting-MTA: dns; x.example\n\nFinal-Recipient: rfc822; bo@x.example\n",
        "In-Reply-To: <1@p.example>\n",
    )
    assert (found.first.action, found.first.status) == ("", "")
    assert found.original_message_id == "<1@p.example>"
    empty = dsn("\n")
    assert (empty.recipients, empty.first.final_recipient) == ((), "")


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read(junk: bytes) -> None:
    for kind in ("disposition-notification", "delivery-status"):
        raw = report("MARK", report_type=kind).replace(b"MARK", junk)
        root = parse(raw).root
        read_mdn(root)
        read_dsn(root)


def test_many_blank_groups_take_linear_time() -> None:
    found = dsn("a:b\n\n" * 50_000 + "\n" * 500_000)
    assert found.recipients == ()


# --- what a message asks for ----------------------------------------------------------------------------


def fields_of(*lines: str) -> Parsed:
    return parse("\r\n".join([*lines, "", ""]).encode())


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (TIMELY_DELIVERY, True),
        ("x-direct-final-destination-delivery=OPTIONAL,TRUE", True),
        (" X-DIRECT-FINAL-DESTINATION-DELIVERY = optional , true ", True),
        ("X-DIRECT-FINAL-DESTINATION-DELIVERY=optional,\r\n true", True),
        (f"signed-receipt-protocol=optional,pkcs7-signature; {TIMELY_DELIVERY}", True),
        (f"{TIMELY_DELIVERY}; other=required,x", True),
        ("X-DIRECT-FINAL-DESTINATION-DELIVERY=optional,false", False),
        ("X-DIRECT-FINAL-DESTINATION-DELIVERY=required,true", False),
        ("X-DIRECT-FINAL-DESTINATION-DELIVERY=true", False),
        ("X-DIRECT-FINAL-DESTINATION-DELIVERY=optional", False),
        ("X-DIRECT-FINAL-DESTINATION-DELIVERY=optional,true,false", False),
        ("X-DIRECT-FINAL-DESTINATION-DELIVERY", False),
        ("X-DIRECT-DELIVERY=optional,true", False),
        ("X-XX-DIRECT-FINAL-DESTINATION-DELIVERY=optional,true", False),
        ("", False),
    ],
)
def test_asking_for_a_dispatched_notification(options: str, wanted: bool) -> None:
    assert wants_dispatched(fields_of(f"Disposition-Notification-Options: {options}").fields) is wanted


def test_not_asking() -> None:
    assert not wants_dispatched(fields_of("Subject: x").fields)


def test_where_notifications_go() -> None:
    both = fields_of("From: a@x.example", "Disposition-Notification-To: Bo <b@x.example>").fields
    assert notification_target(both) == Mailbox("Bo", "b@x.example")
    several = fields_of("From: a@x.example", "Disposition-Notification-To: b@x.example, c@x.example").fields
    assert notification_target(several) == Mailbox("", "a@x.example")
    assert notification_target(fields_of("Subject: x").fields) is None


# --- writing --------------------------------------------------------------------------------------------


def written_mdn(disposition: str = "processed", **changes: object) -> bytes:
    arguments: dict[str, object] = {
        "recipient": "ana@portal.example",
        "to": CLINIC,
        "original": ORIGINAL,
        "reporting_ua": "portal.example; HealthVault Direct",
        "date": NOON,
        "message_id": "<n1@portal.example>",
    }
    return build_mdn(disposition, **{**arguments, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("disposition", ["processed", "dispatched", "failed"])
def test_what_we_write_everybody_reads(disposition: str) -> None:
    raw = written_mdn(disposition, error="unknown recipient" if disposition == "failed" else "")
    require_sendable(raw)
    theirs = email.message_from_bytes(raw, policy=email.policy.default)
    assert not theirs.defects
    assert theirs["from"] == "ana@portal.example"
    assert theirs["to"].addresses[0].addr_spec == "clinic@sender.example"
    assert theirs["subject"] == f"{disposition.title()}: Your results"
    assert theirs["in-reply-to"] == "<1@sender.example>"
    assert theirs.get_content_type() == "multipart/report"
    assert theirs.get_param("report-type") == "disposition-notification"
    assert [part.get_content_type() for part in theirs.iter_parts()] == [
        "text/plain",
        "message/disposition-notification",
    ]
    assert "disposition-notification-to" not in theirs
    found = read_mdn(parse(raw).root)
    assert (found.outcome, found.final_recipient) == (disposition, "ana@portal.example")
    assert found.original_message_id == "<1@sender.example>"
    assert found.error == ("unknown recipient" if disposition == "failed" else "")


def test_the_extension_answers_a_request_and_nothing_else() -> None:
    line = b"\r\nX-DIRECT-FINAL-DESTINATION-DELIVERY: \r\n"
    assert line in written_mdn("dispatched", answers_request=True)
    assert EXTENSION.encode() not in written_mdn("dispatched")
    assert EXTENSION.encode() not in written_mdn("processed", answers_request=True)
    assert EXTENSION.encode() not in written_mdn("failed", answers_request=True)


def test_an_original_without_an_identifier() -> None:
    raw = written_mdn(original=Original("", "x"))
    assert b"Original-Message-ID" not in raw
    assert b"In-Reply-To" not in raw


def test_hostile_originals_cannot_break_out() -> None:
    raw = written_mdn(original=Original("<1@sender.example>", "x\r\nBcc: all@evil.example\x00"))
    assert b"\r\nBcc" not in raw
    with pytest.raises(UnsafeField):
        written_mdn(original=Original("<1@sender.example>\r\nBcc: a@evil.example", "x"))
    with pytest.raises((UnsafeField, BadAddress)):
        written_mdn(recipient="ana@portal.example\r\nBcc: a@evil.example")
    with pytest.raises(UnsafeField):
        written_mdn(reporting_ua="x\r\ny")


def test_a_failure_notification() -> None:
    raw = build_dsn(
        [
            Failure("bo@clinic.example", "5.1.1", "There is no mailbox."),
            Failure("cy@clinic.example", "4.4.7"),
        ],
        reporting_domain="portal.example",
        to=Mailbox("", "ana@portal.example"),
        original=Original("1@portal.example", "Grüße"),
        date=NOON,
        message_id="d1@portal.example",
    )
    require_sendable(raw)
    theirs = email.message_from_bytes(raw, policy=email.policy.default)
    assert not theirs.defects
    assert (theirs["from"], theirs["subject"]) == ("postmaster@portal.example", "Not Delivered: Grüße")
    assert theirs.get_param("report-type") == "delivery-status"
    text, status = theirs.iter_parts()
    assert "bo@clinic.example: There is no mailbox." in text.get_content()
    groups = status.get_payload()
    assert [group["Final-Recipient"] for group in groups[1:]] == [
        "rfc822; bo@clinic.example",
        "rfc822; cy@clinic.example",
    ]
    found = read_dsn(parse(raw).root)
    assert (found.reporting_mta, found.original_message_id) == ("portal.example", "<1@portal.example>")
    assert [(each.action, each.status) for each in found.recipients] == [
        ("failed", "5.1.1"),
        ("failed", "4.4.7"),
    ]


def test_failure_notifications_need_a_failure() -> None:
    options = {
        "reporting_domain": "portal.example", "to": CLINIC, "original": ORIGINAL, "date": NOON,
        "message_id": "1@portal.example",
    }  # fmt: skip
    with pytest.raises(ValueError, match="failed"):
        build_dsn([], **options)  # type: ignore[arg-type]
    with pytest.raises(UnsafeField):
        build_dsn([Failure("bo@clinic.example", "2.0.0")], **options)  # type: ignore[arg-type]
    with pytest.raises(BadAddress):
        build_dsn([Failure("nobody")], **options)  # type: ignore[arg-type]
