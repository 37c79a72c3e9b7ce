"""Message disposition notifications (RFC 8098) and delivery status notifications (RFC 3464): read and write.

What is written follows the Implementation Guide for Delivery Notification in Direct. What is read is taken as
it comes from systems in use: any letter case, folds, stray blank lines, missing fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from directmsg.agent import message as writing
from directmsg.agent.address import Mailbox, normalise, parse_mailbox
from directmsg.agent.errors import AgentError, BadAddress, UnsafeField
from directmsg.agent.fields import Fields, clean_controls, read_block
from directmsg.agent.mime import Part

Disposition = Literal["processed", "dispatched", "failed"]
Kind = Literal["message", "mdn", "dsn"]

EXTENSION = "X-DIRECT-FINAL-DESTINATION-DELIVERY"
#: The value of Disposition-Notification-Options that asks for a dispatched notification.
TIMELY_DELIVERY = f"{EXTENSION}=optional,true"
MAX_GROUPS = 200

_FAILURES = frozenset({"failed", "failure", "denied", "error"})


@dataclass(frozen=True, slots=True)
class Mdn:
    """What a disposition notification says. Texts are as written; missing ones are empty.

    `disposition` is the type in lower case ("processed"), `modifiers` what stands behind its slash.
    `has_extension`: the final-destination field is present. `final_recipient` and `original_recipient` are
    bare addresses. Believe none of it before the signer of the message is known to be the recipient's.
    """

    disposition: str
    modifiers: tuple[str, ...]
    final_recipient: str
    original_recipient: str
    original_message_id: str
    has_extension: bool
    reporting_ua: str = ""
    failure: str = ""
    error: str = ""
    warning: str = ""

    @property
    def outcome(self) -> str:
        """ "processed", "dispatched", "displayed", "failed", another type as written, or "" for none."""
        if self.disposition in _FAILURES or _FAILURES & set(self.modifiers):
            return "failed"
        return self.disposition


@dataclass(frozen=True, slots=True)
class DsnRecipient:
    """What a status notification says about one recipient. `action` is lower case; missing ones are empty."""

    final_recipient: str
    original_recipient: str
    action: str
    status: str
    diagnostic: str


@dataclass(frozen=True, slots=True)
class Dsn:
    """What a delivery status notification says."""

    reporting_mta: str
    original_message_id: str
    recipients: tuple[DsnRecipient, ...]

    @property
    def first(self) -> DsnRecipient:
        return self.recipients[0] if self.recipients else DsnRecipient("", "", "", "", "")


# --- what a message asks for ----------------------------------------------------------------------------

_OPTION = re.compile(r"\s*([!-:<>-~]+)\s*=\s*([A-Za-z]+)\s*((?:,[^;]*)?)")


def wants_dispatched(fields: Fields) -> bool:
    """Whether a message asks for a dispatched notification, in exactly the form that counts.

    Letter case and blanks do not matter and other options may stand beside; anything else, such as another
    importance or value, asks for nothing.
    """
    options = fields.unfolded("disposition-notification-options")
    for option in options.split(";"):
        match = _OPTION.fullmatch(option)
        if match is None or match[1].upper() != EXTENSION:
            continue
        values = [value.strip().lower() for value in match[3].split(",")[1:]]
        if match[2].lower() == "optional" and values == ["true"]:
            return True
    return False


def notification_target(fields: Fields) -> Mailbox | None:
    """Where notifications about a message go: Disposition-Notification-To if it is one address, else From.

    None when neither can be read.
    """
    for name in ("disposition-notification-to", "from"):
        try:
            return parse_mailbox(fields.unfolded(name))
        except BadAddress:
            continue
    return None


# --- reading --------------------------------------------------------------------------------------------


def kind_of(root: Part) -> Kind:
    """Whether a message is an ordinary one, a disposition or a delivery status notification.

    The report-type parameter decides; where it is missing, the type of the second part does.
    """
    if root.content_type != "multipart/report":
        return "message"
    declared = root.declared.parameters.get("report-type", "").strip().lower()
    inside = {part.content_type for part in root.children}
    if declared == "disposition-notification" or (not declared and _MDN_TYPE in inside):
        return "mdn"
    if declared == "delivery-status" or (not declared and _DSN_TYPE in inside):
        return "dsn"
    return "message"


_MDN_TYPE = "message/disposition-notification"
_DSN_TYPE = "message/delivery-status"


def read_mdn(root: Part, fields: Fields | None = None) -> Mdn:
    """The disposition notification in the multipart/report `root`; `fields` are the message's own.

    The original's identifier is taken from In-Reply-To where the notification does not give it. A report
    without a machine-readable part reads as one that says nothing. Never raises.
    """
    found = _merge(_groups(_report_part(root, _MDN_TYPE)))
    disposition, modifiers = _read_disposition(found.get("disposition", ""))
    return Mdn(
        disposition=disposition,
        modifiers=modifiers,
        final_recipient=bare_recipient(found.get("final-recipient", "")),
        original_recipient=bare_recipient(found.get("original-recipient", "")),
        original_message_id=_original_id(found.get("original-message-id", ""), fields or root.fields),
        has_extension=EXTENSION.lower() in found,
        reporting_ua=found.get("reporting-ua", ""),
        failure=found.get("failure", ""),
        error=found.get("error", ""),
        warning=found.get("warning", ""),
    )


def read_dsn(root: Part, fields: Fields | None = None) -> Dsn:
    """The delivery status notification in the multipart/report `root`; `fields` are the message's own.

    The original's identifier is X-Original-Message-ID, else In-Reply-To: Original-Envelope-Id names the
    envelope, not the message. Action and Status may be missing. Never raises.
    """
    groups = list(_groups(_report_part(root, _DSN_TYPE)))
    whole = _merge(groups)
    recipients = tuple(
        DsnRecipient(
            final_recipient=bare_recipient(group.get("final-recipient", "")),
            original_recipient=bare_recipient(group.get("original-recipient", "")),
            action=group.get("action", "").lower(),
            status=group.get("status", "").partition("(")[0].strip(),
            diagnostic=group.get("diagnostic-code", ""),
        )
        for group in groups
        if "final-recipient" in group or "action" in group or "original-recipient" in group
    )
    return Dsn(
        reporting_mta=whole.get("reporting-mta", "").partition(";")[2].strip(),
        original_message_id=_original_id(whole.get("x-original-message-id", ""), fields or root.fields),
        recipients=recipients,
    )


def _report_part(root: Part, content_type: str) -> bytes:
    """The machine-readable part: the one of its type, else the second of the report."""
    for part in root.children:
        if part.content_type == content_type:
            return part.content
    return root.children[1].content if len(root.children) > 1 else b""


def _groups(content: bytes) -> Iterator[dict[str, str]]:
    """Groups of fields with blank lines between; of two fields with one name in a group the first counts."""
    at = 0
    for _ in range(MAX_GROUPS):
        while content[at : at + 1] in (b"\r", b"\n", b" ", b"\t"):
            at += 1
        if at >= len(content):
            return
        try:
            block = read_block(content, at)
        except AgentError:
            return
        if block.body_start <= at:
            return
        group: dict[str, str] = {}
        for field in block.fields:
            group.setdefault(field.key, field.text)
        yield group
        at = block.body_start


def _merge(groups: Iterator[dict[str, str]] | Sequence[dict[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for group in groups:
        for key, value in group.items():
            found.setdefault(key, value)
    return found


def _read_disposition(text: str) -> tuple[str, tuple[str, ...]]:
    """Type and modifiers of `mode; type/modifier,…` (RFC 8098 section 3.2.6), blanks anywhere."""
    _, semicolon, rest = text.partition(";")
    kind, _, modifiers = (rest if semicolon else text).partition("/")
    found = tuple(each.strip().lower() for each in modifiers.split(",") if each.strip())
    return kind.strip().lower(), found


def bare_recipient(text: str) -> str:
    """The address in a recipient field: without `rfc822;`, display name, angle brackets and quotes."""
    kind, semicolon, rest = text.partition(";")
    address = (rest if semicolon and "@" not in kind else text).strip()
    if address.endswith(">") and "<" in address:
        address = address.rpartition("<")[2].rstrip(">")
    return address.strip().strip("\"'").strip()


def _original_id(given: str, fields: Fields) -> str:
    return " ".join((given or fields.text("in-reply-to")).split())


# --- writing --------------------------------------------------------------------------------------------

_PREFIXES = {"processed": "Processed", "dispatched": "Dispatched", "failed": "Failed"}
_EXPLANATIONS = {
    "processed": "Your message was received, and its signature and sender were verified.",
    "dispatched": "Your message was delivered to its destination.",
    "failed": "Your message could not be delivered.",
}


@dataclass(frozen=True, slots=True)
class Original:
    """What a notification repeats of the message it is about.

    `subject` must be fit to be told (for mail to newuser the real subject, never the raw line);
    `message_id` may be empty when the message had none.
    """

    message_id: str
    subject: str


def build_mdn(
    disposition: Disposition,
    *,
    recipient: str,
    to: Mailbox,
    original: Original,
    reporting_ua: str,
    date: datetime,
    message_id: str,
    answers_request: bool = False,
    explanation: str = "",
    error: str = "",
) -> bytes:
    """A disposition notification from `recipient` about the `original` message, ready to be sealed.

    `reporting_ua` is "domain; product". `answers_request`: the original asked for a dispatched notification,
    so a dispatched one carries the final-destination field (empty, a field of its own). `explanation` is the
    sentence for people, `error` the text of the Error field; neither may hold anything about the patient.
    Never asks for a notification itself. Raises UnsafeField, BadAddress, ValueError for a naive `date`.
    """
    fields = [
        ("Reporting-UA", reporting_ua),
        ("Final-Recipient", f"rfc822; {_plain_address(recipient)}"),
    ]
    if original.message_id:
        fields.append(("Original-Message-ID", writing.in_brackets(original.message_id)))
    fields.append(("Disposition", f"automatic-action/MDN-sent-automatically; {disposition}"))
    if disposition == "dispatched" and answers_request:
        fields.append((EXTENSION, ""))
    if error:
        fields.append(("Error", error))
    head = writing.envelope_fields(
        sender=Mailbox("", recipient),
        to=[to],
        subject=f"{_PREFIXES[disposition]}: {_one_line(original.subject)}",
        date=date,
        message_id=message_id,
        in_reply_to=original.message_id,
    )
    body = _report(
        "disposition-notification", _MDN_TYPE, explanation or _EXPLANATIONS[disposition], [_fields(fields)]
    )
    return head + body


@dataclass(frozen=True, slots=True)
class Failure:
    """One recipient that was not reached: `reason` is for people, `status` as in RFC 3463.

    5.1.1 no such mailbox, 5.7.x no trust, 4.4.7 no answer in time.
    """

    recipient: str
    status: str = "5.0.0"
    reason: str = ""


def build_dsn(
    failures: Sequence[Failure],
    *,
    reporting_domain: str,
    to: Mailbox,
    original: Original,
    date: datetime,
    message_id: str,
) -> bytes:
    """A failure notification from postmaster of `reporting_domain` for the recipients in `failures`.

    Ready to be sealed, or to be shown to a sender of ours. Raises UnsafeField, BadAddress, ValueError.
    """
    if not failures:
        raise ValueError("a failure notification needs a recipient that failed")
    whole = [("Reporting-MTA", f"dns; {_plain_domain(reporting_domain)}")]
    if original.message_id:
        whole.append(("X-Original-Message-ID", writing.in_brackets(original.message_id)))
    groups = [_fields(whole)]
    lines = ["Your message could not be delivered to:", ""]
    for failure in failures:
        if not re.fullmatch(r"[45]\.\d{1,3}\.\d{1,3}", failure.status):
            raise UnsafeField("not the status code of a failure")
        address = _plain_address(failure.recipient)
        group = [("Final-Recipient", f"rfc822; {address}"), ("Action", "failed"), ("Status", failure.status)]
        groups.append(_fields(group))
        lines.append(f"  {address}" + (f": {_one_line(failure.reason)}" if failure.reason else ""))
    head = writing.envelope_fields(
        sender=Mailbox("", f"postmaster@{reporting_domain}"),
        to=[to],
        subject=f"Not Delivered: {_one_line(original.subject)}",
        date=date,
        message_id=message_id,
        in_reply_to=original.message_id,
    )
    return head + _report("delivery-status", _DSN_TYPE, "\n".join([*lines, ""]), groups)


def _report(report_type: str, content_type: str, explanation: str, groups: Sequence[bytes]) -> bytes:
    text = writing.text_part(explanation.rstrip("\n") + "\n")
    machine = writing.entity(content_type, "7bit", b"\r\n".join(groups))
    return writing.multipart("report", [text, machine], [f"report-type={report_type}"])


def _fields(fields: Sequence[tuple[str, str]]) -> bytes:
    return b"".join(
        writing.raw_field(name, value) if value else f"{name}: \r\n".encode() for name, value in fields
    )


def _plain_address(address: str) -> str:
    """`address` as a notification field may hold it. Raises BadAddress, UnsafeField."""
    mailbox = parse_mailbox(writing.require_safe(address))
    return f"{mailbox.local}@{normalise(mailbox.address).rpartition('@')[2]}"


def _plain_domain(domain: str) -> str:
    return _plain_address(f"postmaster@{domain}").rpartition("@")[2]


def _one_line(text: str) -> str:
    """Text from elsewhere as a field of ours may repeat it."""
    return " ".join(clean_controls(text).split())
