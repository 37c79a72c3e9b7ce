"""Sealing a message: the form that certified agents accept, checked by OpenSSL and by our own receiver."""

from __future__ import annotations

import email
import email.policy
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asn1crypto import cms as asn1_cms
from hypothesis import given
from hypothesis import strategies as st

from directmsg.agent.address import Mailbox
from directmsg.agent.cms import Identity
from directmsg.agent.errors import (
    BadAddress,
    Malformed,
    NoTrustedRecipient,
    UnsupportedAlgorithm,
    WeakCipher,
    WeakDigest,
)
from directmsg.agent.incoming import open_message
from directmsg.agent.message import NewAttachment, build_message
from directmsg.agent.outgoing import only_recipients, require_sendable, seal_message
from tests import cms_peers
from tests.mail_peers import World
from tests.pki_factory import Issued, issue, make_ca, utc_now

pytestmark = pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command")

NURSE = Mailbox("Nurse Joy", "nurse@clinic.example")
ANA = Mailbox("Ana Díaz", "ana@portal.example")
BO = Mailbox("", "bo@home.example")
SECRET = "Zufallsbefund"


def identity(who: Issued) -> Identity:
    return Identity(who.certificate, who.private_key)  # type: ignore[arg-type]


def written(**changes: object) -> bytes:
    arguments: dict[str, object] = {
        "sender": NURSE,
        "to": [ANA],
        "subject": f"Ihr {SECRET}",
        "date": datetime(2026, 5, 4, 12, tzinfo=UTC),
        "message_id": "m1@clinic.example",
        "in_reply_to": "m0@portal.example",
        "references": ["m0@portal.example"],
        "text": f"Grüße. {SECRET}\n" + "x" * 2_000,
        "attachments": [NewAttachment(f"{SECRET}.xml", "text/xml", b"\xff\x00<a/>\n" * 5_000)],
        "extra_fields": [
            ("Disposition-Notification-To", "nurse@clinic.example"),
            ("X-Direct-Context", "<c@clinic.example>"),
        ],
    }
    return build_message(**{**arguments, **changes})  # type: ignore[arg-type]


def sealed(world: World, message: bytes | None = None, *recipients: Issued, **options: object) -> bytes:
    return seal_message(
        message or written(),
        signer=identity(world.sender),
        recipient_certificates=[each.certificate for each in recipients or (world.recipient,)],
        at=utc_now(),
        **options,  # type: ignore[arg-type]
    )


def test_openssl_opens_and_verifies_what_we_send(world: World, tmp_path: Path) -> None:
    """Its own S/MIME reader, on the whole message."""
    mail, inside, entity = tmp_path / "mail.eml", tmp_path / "inside.eml", tmp_path / "entity"
    mail.write_bytes(sealed(world))
    key = world.openssl.identity(world.recipient)
    anchor = world.openssl.identity(world.ca)
    run("openssl", "cms", "-decrypt", "-in", mail, "-recip", key, "-out", inside)
    run("openssl", "cms", "-verify", "-in", inside, "-CAfile", anchor, "-out", entity)
    assert (
        entity.read_bytes()
        == b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + written()
    )


def run(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def test_our_receiver_takes_what_we_send(world: World) -> None:
    opened = open_message(
        sealed(world), mail_from="nurse@clinic.example", recipients=[world.recipient_for()], at=utc_now()
    )
    assert opened.wrapped
    assert (opened.subject, opened.from_name) == (f"Ihr {SECRET}", "Nurse Joy")
    assert opened.to_mailboxes == (ANA,)
    assert opened.references == ("<m0@portal.example>",)
    assert opened.text.startswith("Grüße.")
    assert opened.parts[0].data() == b"\xff\x00<a/>\n" * 5_000
    assert opened.algorithms.cipher == "aes128-cbc"
    assert opened.algorithms.key_transport == "oaep-sha256"
    assert opened.algorithms.digest == "sha256"


def test_nothing_of_the_patient_stands_outside(world: World) -> None:
    head, _, body = sealed(world).partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert names == [
        "From", "To", "Date", "Message-ID", "In-Reply-To", "References", "MIME-Version",
        "Content-Type", "Content-Transfer-Encoding", "Content-Disposition",
    ]  # fmt: skip
    assert SECRET.encode() not in head
    assert re.fullmatch(rb"(?:[A-Za-z0-9+/=]{1,76}\r\n)+", body)


def test_the_form_of_each_layer(world: World) -> None:
    outer = email.message_from_bytes(sealed(world), policy=email.policy.default)
    assert outer.get_content_type() == "application/pkcs7-mime"
    assert outer.get_param("smime-type") == "enveloped-data"
    assert outer.get_param("name") == outer.get_filename() == "smime.p7m"
    assert outer.get_content_disposition() == "attachment"
    assert outer["content-transfer-encoding"] == "base64"
    assert outer["to"].addresses[0].display_name == "Ana Díaz"
    signed_bytes = world.openssl.decrypt(outer.get_payload(decode=True), world.recipient)
    signed = email.message_from_bytes(signed_bytes, policy=email.policy.default)
    assert signed.get_content_type() == "multipart/signed"
    assert signed.get_param("protocol") == "application/pkcs7-signature"
    assert signed.get_param("micalg") == "sha-256"
    wrapper, signature = signed.iter_parts()
    assert wrapper.get_content_type() == "message/rfc822"
    assert signature.get_content_type() == "application/pkcs7-signature"
    assert signature.get_param("name") == signature.get_filename() == "smime.p7s"
    assert signature.get_content_disposition() == "attachment"
    assert max(map(len, signed_bytes.split(b"\r\n"))) <= 78
    read = asn1_cms.ContentInfo.load(signature.get_payload(decode=True))["content"]
    assert read["encap_content_info"]["content"].native is None
    (signer,) = read["signer_infos"]
    assert signer["digest_algorithm"]["algorithm"].native == "sha256"
    assert {each["type"].native for each in signer["signed_attrs"]} == {
        "content_type",
        "message_digest",
        "signing_time",
    }
    assert [each.chosen.dump() for each in read["certificates"]] == [world.sender.der]


def test_intermediates_are_included_and_the_anchor_is_not(world: World) -> None:
    between = make_ca("Between", issuer=world.ca)
    signer = issue(between, domains=["clinic.example"])
    raw = seal_message(
        written(),
        signer=identity(signer),
        recipient_certificates=[world.recipient.certificate],
        extra_certificates=[between.certificate],
        at=utc_now(),
    )
    opened = open_message(raw, mail_from=None, recipients=[world.recipient_for()], at=utc_now())
    assert [each.sha256 for each in opened.signers[0].chain.certificates] == [  # type: ignore[union-attr]
        signer.sha256, between.sha256, world.ca.sha256,
    ]  # fmt: skip


@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm"])
@pytest.mark.parametrize("key_transport", ["oaep-sha256", "oaep-sha1", "pkcs1v15"])
def test_algorithms_can_be_chosen(world: World, cipher: str, key_transport: str) -> None:
    raw = sealed(world, cipher=cipher, key_transport=key_transport, digest="sha384")
    opened = open_message(raw, mail_from=None, recipients=[world.recipient_for()], at=utc_now())
    found = opened.algorithms
    assert (found.digest, found.cipher, found.key_transport) == ("sha384", cipher, key_transport)
    kind = b"authEnveloped-data" if cipher.endswith("gcm") else b"enveloped-data"
    assert b"smime-type=" + kind in raw


def test_weak_algorithms_are_never_sent(world: World) -> None:
    with pytest.raises(WeakCipher):
        sealed(world, cipher="tripledes")
    with pytest.raises(UnsupportedAlgorithm):
        sealed(world, key_transport="oaep-md5")
    with pytest.raises(WeakDigest):
        sealed(world, digest="sha1")


def test_every_recipient_can_open_it(world: World) -> None:
    second = issue(world.ca, domains=["home.example"], fresh_key=True)
    elliptic = issue(
        world.ca, domains=["home.example"], key="p256", key_usage=("digital_signature", "key_agreement")
    )
    raw = sealed(world, written(cc=[BO]), world.recipient, second, elliptic)
    for address, who in (
        ("ana@portal.example", world.recipient),
        ("bo@home.example", second),
        ("bo@home.example", elliptic),
    ):
        recipients = [world.recipient_for(address, who)]
        assert open_message(raw, mail_from=None, recipients=recipients, at=utc_now()).subject.startswith(
            "Ihr"
        )


def test_nobody_to_send_to(world: World) -> None:
    with pytest.raises(NoTrustedRecipient) as caught:
        seal_message(written(), signer=identity(world.sender), recipient_certificates=[], at=utc_now())
    assert caught.value.code == "no_trusted_recipient"


# --- what may be signed ---------------------------------------------------------------------------------

FAULTS = {
    "LF": lambda raw: raw.replace(b"\r\n", b"\n"),
    "bare CR": lambda raw: raw + b"a\rb\r\n",
    "bare LF": lambda raw: raw + b"a\nb\r\n",
    "eight bit": lambda raw: raw + b"\xe9\r\n",
    "NUL": lambda raw: raw + b"\x00\r\n",
    "long line": lambda raw: raw + b"x" * 999 + b"\r\n",
    "no From": lambda raw: raw.replace(b"From:", b"X-From:", 1),
    "two From": lambda raw: b"From: other@clinic.example\r\n" + raw,
    "two in From": lambda raw: raw.replace(
        b"<nurse@clinic.example>", b"<nurse@clinic.example>, x@y.example", 1
    ),
    "no To": lambda raw: raw.replace(b"To:", b"X-To:", 1),
    "no Subject": lambda raw: raw.replace(b"Subject:", b"X-Subject:", 1),
    "no Date": lambda raw: raw.replace(b"Date:", b"X-Date:", 1),
    "no Message-ID": lambda raw: raw.replace(b"Message-ID:", b"X-ID:", 1),
    "Message-ID without brackets": lambda raw: raw.replace(b"<m1@clinic.example>", b"m1@clinic.example"),
    "no MIME-Version": lambda raw: raw.replace(b"MIME-Version:", b"X-Version:", 1),
    "MIME-Version 2": lambda raw: raw.replace(b"MIME-Version: 1.0", b"MIME-Version: 2.0", 1),
    "Bcc": lambda raw: b"Bcc: bo@home.example\r\n" + raw,
    "empty": lambda raw: b"",
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_may_not_be_signed(world: World, name: str) -> None:
    with pytest.raises(Malformed):
        sealed(world, FAULTS[name](written()) or b"\r\n")


def test_what_may_be_signed() -> None:
    assert require_sendable(written()).text("subject") == f"Ihr {SECRET}"
    require_sendable(written(subject=""))
    require_sendable(written(to=[], cc=[ANA]))


# --- recipients that are left ---------------------------------------------------------------------------


def test_recipients_without_trust_leave_to_and_cc() -> None:
    message = written(to=[ANA, BO], cc=[Mailbox("Cy", "cy@home.example")])
    left = only_recipients(message, ["ANA@Portal.example"])
    fields = require_sendable(left)
    assert fields.unfolded("to") == "=?utf-8?B?QW5hIETDrWF6?= <ana@portal.example>"
    assert "cc" not in fields
    assert left.partition(b"\r\n\r\n")[2] == message.partition(b"\r\n\r\n")[2]
    assert only_recipients(message, ["ana@portal.example", "bo@home.example", "cy@home.example"]) == message
    assert b'\r\nCc: "Cy" <cy@home.example>\r\n' in only_recipients(message, ["cy@home.example"])
    with pytest.raises(NoTrustedRecipient):
        only_recipients(message, ["dan@home.example"])
    with pytest.raises(BadAddress):
        only_recipients(message.replace(b"bo@home.example", b"bo"), ["ana@portal.example"])


def test_a_receiver_takes_a_message_with_the_recipients_that_are_left(world: World) -> None:
    raw = sealed(world, only_recipients(written(to=[BO, ANA]), ["ana@portal.example"]))
    opened = open_message(
        raw, mail_from="nurse@clinic.example", recipients=[world.recipient_for()], at=utc_now()
    )
    assert opened.to == ("ana@portal.example",)


# --- canonical form, looked at in runs ------------------------------------------------------------------

ENDS = [b"\r\n"] * 6 + [b"\n", b"\r", b"\n\r\n", b"\r\r\n"]
LINES = st.lists(
    st.tuples(st.integers(0, 90) | st.integers(990, 1000), st.integers(1, 40), st.sampled_from(ENDS)),
    max_size=12,
)


@given(LINES, st.sampled_from([b"", b"end", b"e" * 998, b"e" * 999, b"\r", b"x\n"]))
def test_canonical_form_is_told_as_a_slow_look_would(runs: list[tuple[int, int, bytes]], last: bytes) -> None:
    body = b"".join((b"x" * length + end) * count for length, count, end in runs) + last
    whole = written(attachments=[], text="x") + body
    plain = whole.replace(b"\r\n", b"")
    canonical = b"\r" not in plain and b"\n" not in plain
    canonical = canonical and all(len(line) <= 998 for line in whole.split(b"\r\n"))
    if canonical:
        require_sendable(whole)
    else:
        with pytest.raises(Malformed):
            require_sendable(whole)
