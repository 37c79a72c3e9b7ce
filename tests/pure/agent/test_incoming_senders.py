"""Who a received message is from: routing, author, signer, trust."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest

from directmsg.agent import incoming
from directmsg.agent.cms import Identity
from directmsg.agent.errors import AgentError
from directmsg.agent.incoming import examine, open_message, report_json
from directmsg.agent.outgoing import seal_message
from tests import cms_peers
from tests.mail_peers import (
    MESSAGE,
    RECIPIENT,
    SENDER,
    World,
    code_of,
    inner,
    look,
    signed_entity,
    wrapped,
)
from tests.pki_factory import Issued, days, issue, make_ca, make_crl, utc_now
from trust.pki.certs import Certificate
from trust.pki.policy import TrustContext

pytestmark = pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command")

Make = Callable[[World], bytes]

BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"


# --- routing and sender ---------------------------------------------------------------------------------


FROM_LINE = b"From: Nurse Joy <nurse@clinic.example>\r\n"
TO_LINE = b"To: ana@portal.example\r\n"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (TO_LINE, b"To: bo@portal.example\r\n", "routing_mismatch"),
        (TO_LINE, b"To: bo@portal.example\r\nBcc: ana@portal.example\r\n", "routing_mismatch"),
        (TO_LINE, b"To: undisclosed-recipients:;\r\n", "routing_mismatch"),
        (TO_LINE, b"", "routing_mismatch"),
        (TO_LINE, b"To: bo@portal.example\r\nCc: Ana <ANA@portal.example>\r\n", None),
        (TO_LINE, b"To: bo@portal.example\r\nTo: ana@portal.example\r\n", None),
        (TO_LINE, b"To: nobody, ana@portal.example\r\n", None),
        (FROM_LINE, b"From: other@clinic.example\r\n", "routing_mismatch"),
        (FROM_LINE, b"From: nurse@clinic.example\r\nSender: Nurse@Clinic.example\r\n", None),
        (FROM_LINE, b"From: nurse@clinic.example\r\nSender: boss@clinic.example\r\n", "sender_mismatch"),
        (FROM_LINE, b"From: boss@bank.example\r\nSender: nurse@clinic.example\r\n", "sender_mismatch"),
        (FROM_LINE, FROM_LINE + FROM_LINE, "sender_mismatch"),
        (FROM_LINE, b"From: nurse@clinic.example, boss@clinic.example\r\n", "sender_mismatch"),
        (FROM_LINE, b"From: Clinic: nurse@clinic.example;\r\n", "sender_mismatch"),
        (FROM_LINE, b"From: nurse\r\n", "sender_mismatch"),
        (FROM_LINE, b"", "sender_mismatch"),
        (FROM_LINE, b"From: boss@bank.example <nurse@clinic.example>\r\n", None),
        (FROM_LINE, b"From: =?utf-8?q?=3Cboss=40bank=2Eexample=3E?= <nurse@clinic.example>\r\n", None),
    ],
)
def test_routing_and_sender(world: World, old: bytes, new: bytes, code: str | None) -> None:
    raw = inner(world, (old, new))
    assert code_of(world, raw) == code
    if code is None:
        assert look(world, raw).opened().from_address.lower() == SENDER


def test_the_envelope_must_name_the_author(world: World) -> None:
    assert code_of(world, world.message(), mail_from="thief@evil.example") == "routing_mismatch"
    assert code_of(world, world.message(), mail_from="") == "routing_mismatch"
    assert code_of(world, world.message(), mail_from="NURSE@clinic.example") is None
    assert code_of(world, world.message(), mail_from=None) is None


def test_a_message_sent_on_to_somebody_else_is_refused(world: World) -> None:
    """Man in the middle: a message that was signed for Ana, sealed again for Bo."""
    assert code_of(world, world.message(), address="bo@portal.example") == "routing_mismatch"


def test_each_recipient_has_a_verdict_of_its_own(world: World) -> None:
    recipients = [world.recipient_for(), world.recipient_for("bo@portal.example")]
    report = examine(world.message(), mail_from=SENDER, recipients=recipients, at=utc_now())
    assert [verdict.accepted for verdict in report.recipients] == [True, False]
    assert report.accepted
    assert report.error is None
    assert report_json(report)["recipients"][1] == {
        "address": "bo@portal.example",
        "verdict": "refused",
        "code": "routing_mismatch",
    }
    assert report.opened().accepted == (RECIPIENT,)


def test_nobody_to_receive_it(world: World) -> None:
    report = examine(world.message(), mail_from=SENDER, recipients=[], at=utc_now())
    assert (report.accepted, report.recipients) == (False, ())
    with pytest.raises(AgentError):
        report.opened()


# --- who signed -----------------------------------------------------------------------------------------


def signed_by(world: World, *signers: Issued) -> bytes:
    return world.sealed(world.signed(wrapped(MESSAGE), *signers))


def test_binding_and_trust_of_the_signer(world: World) -> None:
    ca = world.ca
    cases = {
        None: issue(ca, emails=["Nurse@Clinic.example"]),
        "address_not_covered": issue(ca, domains=["example"], emails=["boss@clinic.example"]),
        "no_key_usage": issue(ca, domains=["clinic.example"], key_usage=None),
        "wrong_key_usage": issue(ca, domains=["clinic.example"], key_usage=["key_encipherment"]),
        "expired": issue(ca, domains=["clinic.example"], not_before=days(-9), not_after=days(-1)),
        "not_yet_valid": issue(ca, domains=["clinic.example"], not_before=days(1)),
        "untrusted_chain": issue(make_ca("Other CA"), domains=["clinic.example"]),
    }
    for code, signer in cases.items():
        assert code_of(world, signed_by(world, signer)) == code


@pytest.mark.parametrize("domain", ["sub.clinic.example", "example", "*.example", "clinic.example.org"])
def test_a_domain_certificate_speaks_for_exactly_its_domain(world: World, domain: str) -> None:
    assert code_of(world, signed_by(world, issue(world.ca, domains=[domain]))) in (
        "address_not_covered",
        "malformed_certificate",
    )


def test_a_revoked_signer(world: World) -> None:
    signer = issue(world.ca, domains=["clinic.example"])
    crl = make_crl(world.ca, revoked=[signer])
    trust = TrustContext((Certificate(world.ca.der),), crls=(crl,))
    assert code_of(world, signed_by(world, signer), trust=trust) == "revoked"


def test_the_clock_is_the_receivers(world: World) -> None:
    """An old message is judged by a clock of its own time."""
    signer = issue(world.ca, domains=["clinic.example"], not_before=days(-0.9), not_after=days(-0.5))
    raw = signed_by(world, signer)
    recipients = [world.recipient_for()]
    assert examine(raw, mail_from=SENDER, recipients=recipients, at=days(-0.7)).accepted
    assert not examine(raw, mail_from=SENDER, recipients=recipients, at=utc_now()).accepted
    with pytest.raises(ValueError, match="aware"):
        examine(raw, mail_from=SENDER, recipients=recipients, at=datetime.datetime(2026, 5, 4))


def test_intermediates_come_with_the_message_or_from_the_caller(world: World) -> None:
    between = make_ca("Between", issuer=world.ca)
    signer = issue(between, domains=["clinic.example"])
    raw = signed_by(world, signer)
    assert code_of(world, raw) == "untrusted_chain"
    found = look(world, raw, intermediates=(Certificate(between.der),))
    assert found.accepted
    assert len(report_json(found)["signers"][0]["chain"]) == 3
    sealed = seal_message(
        MESSAGE,
        signer=Identity(signer.certificate, signer.private_key),  # type: ignore[arg-type]
        recipient_certificates=[world.recipient.certificate],
        extra_certificates=[between.certificate],
        at=utc_now(),
    )
    assert look(world, sealed).accepted


def test_one_good_signer_is_enough_wherever_it_stands(world: World) -> None:
    stranger = issue(make_ca("Other CA"), domains=["clinic.example"])
    for signers in ((stranger, world.sender), (world.sender, stranger)):
        report = look(world, signed_by(world, *signers))
        assert report.accepted
        assert sorted(signer.accepted for signer in report.signers) == [False, True]
        assert report.opened().anchor_sha256 == world.ca.sha256
    assert code_of(world, signed_by(world, stranger)) == "untrusted_chain"


def test_a_signature_that_does_not_stand_lends_its_name_to_nothing(world: World) -> None:
    altered = world.signed(wrapped(MESSAGE)).replace(b"All is well.", b"All is hell.")
    report = look(world, world.sealed(altered))
    (signer,) = report.signers
    assert (signer.accepted, signer.sha256, signer.names, signer.subject) == (False, None, (), None)
    assert report.message is None


def test_bad_signer_beside_a_good_one(world: World) -> None:
    """A second signer of SHA-1 neither helps nor harms."""
    entity = wrapped(MESSAGE)
    stronger = world.openssl.sign(entity, [world.sender])
    weaker = world.openssl.sign(entity, [issue(world.ca, domains=["clinic.example"])], "-md", "sha1")
    report = look(world, world.sealed(signed_entity(entity, joined(stronger, weaker))))
    assert report.accepted
    assert [signer.code for signer in report.signers if not signer.accepted] == ["weak_digest"]


def joined(one: bytes, other: bytes) -> bytes:
    """The signers and certificates of two detached signatures in one, the second one's signer first."""
    from asn1crypto import cms as asn1_cms

    first, second = asn1_cms.ContentInfo.load(one), asn1_cms.ContentInfo.load(other)
    signers = [*second["content"]["signer_infos"], *first["content"]["signer_infos"]]
    certificates = [*second["content"]["certificates"], *first["content"]["certificates"]]
    body = asn1_cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [
                *second["content"]["digest_algorithms"],
                *first["content"]["digest_algorithms"],
            ],
            "encap_content_info": {"content_type": "data"},
            "certificates": certificates,
            "signer_infos": signers,
        }
    )
    return asn1_cms.ContentInfo({"content_type": "signed_data", "content": body}).dump()


def test_a_signing_time_ahead_is_worth_a_word_and_no_more(world: World) -> None:
    ahead = seal_message(
        MESSAGE,
        signer=Identity(world.sender.certificate, world.sender.private_key),  # type: ignore[arg-type]
        recipient_certificates=[world.recipient.certificate],
        at=utc_now() + datetime.timedelta(minutes=20),
    )
    report = look(world, ahead)
    assert report.accepted
    assert "signing_time_ahead" in report.warnings


def test_notifications_may_be_trusted_by_other_anchors(world: World) -> None:
    other = make_ca("Outgoing CA")
    signer = issue(other, domains=["clinic.example"])
    notification = (
        MESSAGE.partition(b"Content-Type")[0]
        + b"Content-Type: multipart/report; report-type=disposition-notification; boundary=r\r\n\r\n"
        + b"--r\r\n\r\nReceived.\r\n--r\r\nContent-Type: message/disposition-notification\r\n\r\n"
        + b"Final-Recipient: rfc822; nurse@clinic.example\r\nOriginal-Message-ID: <x@portal.example>\r\n"
        + b"Disposition: automatic-action/MDN-sent-automatically; processed\r\n--r--\r\n"
    )
    both = TrustContext((Certificate(world.ca.der), Certificate(other.der)))
    for message, kind, expected in ((notification, "mdn", None), (MESSAGE, "message", "untrusted_chain")):
        raw = world.sealed(world.signed(wrapped(message), signer))
        report = look(world, raw, notification_trust=both)
        assert (report.error.code if report.error else None) == expected
        assert report.message is not None
        assert report.message.kind == kind
    raw = world.sealed(world.signed(wrapped(notification), signer))
    assert look(world, raw, notification_trust=both, mail_from="").accepted
    assert look(world, raw, notification_trust=both, mail_from="<>").accepted
    assert code_of(world, raw, mail_from="") == "untrusted_chain"
    opened = look(world, raw, notification_trust=both, mail_from="").opened()
    assert opened.mdn is not None
    assert (opened.mdn.outcome, opened.mdn.original_message_id) == ("processed", "<x@portal.example>")
    assert opened.anchor_sha256 == other.sha256


def test_verdicts_can_be_kept_by_the_caller(world: World) -> None:
    asked: list[Certificate] = []

    def verify(leaf, pool, context, at):
        asked.append(leaf)
        return incoming.verify_path(leaf, pool, context, at)

    open_message(
        world.message(), mail_from=SENDER, recipients=[world.recipient_for()], at=utc_now(), verify=verify
    )
    assert [each.sha256 for each in asked] == [world.sender.sha256]
