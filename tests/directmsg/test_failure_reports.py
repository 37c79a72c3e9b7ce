"""Failure reports (RFC 3464): ours to our own people, as bytes; and those of mail servers, in clear."""

import email
import email.policy
import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from directmsg import confirmations, inbox, receive
from directmsg.models import InboundMail, MailEvent, OutboundMail
from healthvault.logging import JsonFormatter
from healthvault.store.blobs import open_blob
from records.models import Message
from tests.direct_peers import Peer
from tests.directmsg.world import DOMAIN

pytestmark = pytest.mark.django_db


def reports():
    """The failure reports in records, parsed by a reader that is not ours."""
    found = []
    for notice in Message.objects.filter(direction="in").order_by("pk"):
        found.append(email.message_from_bytes(open_blob(notice.raw), policy=email.policy.SMTP))
    return found


def groups(report):
    """The groups of fields in the machine-readable part: the message's, then one per recipient."""
    (_, status) = report.iter_parts()
    assert status.get_content_type() == "message/delivery-status"
    return [dict(each.items()) for each in status.get_payload()]


# --- to our own people --------------------------------------------------------------------------------------


def test_each_field_of_a_report(world):
    world.smtp.replies["RCPT"] = "550 5.1.1 nobody"
    message = world.write(subject="About my visit")
    world.send_all()
    (report,) = reports()
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert report["From"] == f"postmaster@{DOMAIN}"
    assert report["To"] == world.address
    assert report["Subject"] == "Not Delivered: About my visit"
    assert report["In-Reply-To"] == message.message_id
    assert report["MIME-Version"] == "1.0"
    assert report["Date"].datetime.tzinfo is not None
    assert report["Message-ID"].startswith("<")
    assert report["Message-ID"] != message.message_id
    assert "Disposition-Notification-To" not in report
    whole, one = groups(report)
    assert whole == {"Reporting-MTA": f"dns; {DOMAIN}", "X-Original-Message-ID": message.message_id}
    assert one == {
        "Final-Recipient": f"rfc822; {world.peer.office}",
        "Action": "failed",
        "Status": "5.1.1",
    }
    assert world.peer.office in next(report.iter_parts()).get_content()


@pytest.mark.parametrize(
    ("to", "status"),
    [("someone@stranger.example", "5.1.1"), ("office@direct.untrusted.example", "5.7.1")],
)
def test_the_status_says_why(world, to, status):
    Peer("direct.untrusted.example").publish(world.dns)
    world.dns.add("stranger.example", "TXT", '"no certificate"')
    world.write(to)
    world.send_all()
    (report,) = reports()
    assert groups(report)[1]["Status"] == status
    assert not world.smtp.taken


def test_silence_is_a_time_out(world):
    world.write()
    world.send_all()
    confirmations.expire(timezone.now() + timedelta(hours=1))
    (report,) = reports()
    assert groups(report)[1]["Status"] == "4.4.7"


def test_one_report_for_those_that_failed_and_nobody_else(world):
    world.dns.add("stranger.example", "TXT", '"no certificate"')
    world.write("a@stranger.example", world.peer.office, "b@stranger.example")
    world.send_all()
    (report,) = reports()
    assert [each["Final-Recipient"] for each in groups(report)[1:]] == [
        "rfc822; a@stranger.example",
        "rfc822; b@stranger.example",
    ]


def test_it_stands_in_the_ledger_and_never_leaves_us(world):
    world.smtp.replies["RCPT"] = "550 5.1.1 nobody"
    message = world.write()
    world.send_all()
    world.send_all()
    row = OutboundMail.objects.get(kind="dsn")
    assert (row.state, row.sender, row.recipient) == ("sent", f"postmaster@{DOMAIN}", world.address)
    assert f"<{row.identifier}>" == Message.objects.get(direction="in").message_id
    assert [event.name for event in row.events.all()] == ["local"]
    assert not world.smtp.taken
    out = StringIO()
    call_command("ledger", "--json", stdout=out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    lines = [line for line in lines if line.get("kind") in ("dsn", "message")]
    assert sorted((line["kind"], line["state"]) for line in lines) == [("dsn", "sent"), ("message", "failed")]
    assert message.message_id.strip("<>") in str(lines)
    # It is over: nothing of it is tried, timed out or answered.
    assert confirmations.expire(timezone.now() + timedelta(days=9)) == 0


# --- of mail servers, in clear ------------------------------------------------------------------------------


def bounce(message, recipient, *, returned=True, named=False):
    """What a mail server writes when it gives up: unsigned, with the header of what it could not hand on."""
    identifier = message.message_id
    lines = [
        "From: MAILER-DAEMON@relay.example",
        f"To: {message.from_address}",
        "Subject: Undelivered Mail Returned to Sender",
        "Message-ID: <bounce-1@relay.example>",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b",
        "",
        "--b",
        "Content-Type: text/plain",
        "",
        "I am sorry.",
        "--b",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; relay.example",
        *([f"X-Original-Message-ID: {identifier}"] if named else []),
        "",
        f"Final-Recipient: rfc822; {recipient}",
        "Action: failed",
        "Status: 5.4.4",
        "",
        "--b",
        "Content-Type: text/rfc822-headers",
        "",
        *([f"Message-ID: {identifier}", "Subject: hidden"] if returned else []),
        "",
        "--b--",
        "",
    ]
    return "\r\n".join(lines).encode()


def arrives(world, raw):
    (mail,) = inbox.accept(raw, "", [world.address], protocol="smtp").values()
    receive.receive_mail(str(mail.pk))
    return InboundMail.objects.get(pk=mail.pk)


@pytest.mark.parametrize("way", [{"returned": True}, {"returned": False, "named": True}])
def test_a_report_in_clear_is_noted_and_moves_nothing(world, way):
    message = world.write()
    world.send_all()
    before = world.copy(message)
    mail = arrives(world, bounce(message, world.peer.office, **way))
    assert (mail.state, mail.code) == ("refused", "not_encrypted")
    after = world.copy(message)
    assert (after.state, after.code, after.finished) == (before.state, "", None)
    (event,) = MailEvent.objects.filter(outbound=after, name="bounced_in_clear")
    assert event.code == "5.4.4"
    assert not Message.objects.filter(direction="in").exists()
    # The truth comes from the recipient, or from silence.
    world.told("dispatched", message)
    assert world.copy(message).state == "dispatched"


def test_of_a_report_in_clear_nothing_but_its_status_code_is_kept(world):
    message = world.write()
    world.send_all()
    raw = bounce(message, world.peer.office).replace(b"Status: 5.4.4", b"Status: 5.4.4 Nora has gout")
    arrives(world, raw)
    (event,) = MailEvent.objects.filter(name="bounced_in_clear")
    assert event.code == ""


def test_it_is_noted_once_and_only_with_the_recipient_it_names(world):
    lab = f"lab@{world.peer.domain}"
    message = world.write(world.peer.office, lab)
    world.send_all()
    raw = bounce(message, lab)
    for number in range(3):
        arrives(world, raw.replace(b"bounce-1", b"bounce-%d" % number))
    (event,) = MailEvent.objects.filter(name="bounced_in_clear")
    assert event.outbound.recipient == lab


@pytest.mark.parametrize("raw", [b"", b"hello\r\n", b"Content-Type: multipart/report\r\n\r\nx\r\n"])
def test_whatever_else_comes_in_clear_is_refused_and_no_more(world, raw):
    world.write()
    world.send_all()
    mail = arrives(world, raw)
    assert mail.state == "refused"
    assert not MailEvent.objects.filter(name="bounced_in_clear").exists()


@pytest.mark.parametrize("named", [True, False])
def test_a_report_with_an_identifier_that_no_table_takes_is_refused_and_no_more(world, named):
    message = world.write()
    world.send_all()
    raw = bounce(message, world.peer.office, named=named)
    mail = arrives(world, raw.replace(message.message_id.encode(), b"<\x00@relay.example>"))
    assert (mail.state, mail.code, mail.lease_until) == ("refused", "not_encrypted", None)
    assert not MailEvent.objects.filter(name="bounced_in_clear").exists()


def test_whatever_goes_wrong_with_a_report_the_mail_does_not_wait_for_its_lease(world, caplog):
    message = world.write()
    world.send_all()

    def fail(execute, sql, params, many, context):
        if "directmsg_mailevent" in sql and "bounced_in_clear" in str(params):
            raise ValueError(f"cannot take {params}")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        mail = arrives(world, bounce(message, world.peer.office))
    assert (mail.state, mail.code, mail.lease_until) == ("refused", "not_encrypted", None)
    assert [event.name for event in mail.events.all()][-1] == "refused"
    (line,) = [each for each in caplog.records if "not noted" in each.message]
    told = JsonFormatter().format(line)
    assert "ValueError" in told
    assert str(mail.pk) in told
    assert "bounced_in_clear" not in told
    assert message.message_id.strip("<>") not in told
