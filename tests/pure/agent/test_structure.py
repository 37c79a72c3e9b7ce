"""The published structural checks: everything we send passes each, and each can fail."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest

from directmsg.agent import cms
from directmsg.agent.encryption import SENT_CIPHERS, SENT_KEY_TRANSPORTS
from directmsg.agent.outgoing import seal_message
from tests import cms_peers
from tests.mail_peers import World
from tests.pki_factory import issue, make_ca, utc_now
from tests.pure.agent.test_second_reader import ANA, MESSAGES, plain, processed, sealed
from tests.structural_checks import CHECKS, Sent, check

pytestmark = pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command")

BO = ANA.__class__("", "bo@home.example")
ASKING = [
    ("Disposition-Notification-To", "nurse@clinic.example"),
    ("Disposition-Notification-Options", "X-DIRECT-FINAL-DESTINATION-DELIVERY=optional,true"),
]


def sent(world: World, message: bytes, **options: object) -> Sent:
    wire = sealed(world, message, **options)
    envelope = base64.b64decode(wire.partition(b"\r\n\r\n")[2])
    return Sent(wire, world.openssl.decrypt(envelope, world.recipient), 1, world.ca.der)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_kind_of_message_passes(name: str, world: World) -> None:
    made = check(sent(world, MESSAGES[name]()))
    assert len(made) > 30


@pytest.mark.parametrize("cipher", SENT_CIPHERS)
@pytest.mark.parametrize("transport", SENT_KEY_TRANSPORTS)
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_every_way_to_seal_passes(cipher: str, transport: str, digest: str, world: World) -> None:
    check(sent(world, plain(cc=[BO]), cipher=cipher, key_transport=transport, digest=digest))


def test_several_recipients_an_intermediate_and_elliptic_curves_pass(world: World) -> None:
    between = make_ca("Between", issuer=world.ca)
    usage = ("digital_signature", "key_agreement")
    signer = issue(between, domains=["clinic.example"], key="p256", key_usage=usage)
    wire = seal_message(
        plain(to=[ANA, BO], extra_fields=ASKING),
        signer=cms.Identity(signer.certificate, signer.private_key),
        recipient_certificates=[world.recipient.certificate, signer.certificate],
        extra_certificates=[between.certificate],
        at=utc_now(),
    )
    envelope = base64.b64decode(wire.partition(b"\r\n\r\n")[2])
    check(Sent(wire, world.openssl.decrypt(envelope, world.recipient), 2, world.ca.der))


# --- each check can fail --------------------------------------------------------------------------------

Spoil = Callable[[Sent], Sent]


def wire(old: bytes, new: bytes) -> Spoil:
    def spoil(good: Sent) -> Sent:
        assert old in good.wire, old
        return replace(good, wire=good.wire.replace(old, new, 1))

    return spoil


def signed(old: bytes, new: bytes) -> Spoil:
    def spoil(good: Sent) -> Sent:
        assert old in good.signed, old
        return replace(good, signed=good.signed.replace(old, new, 1))

    return spoil


def resigned(**options: object) -> Spoil:
    """The same message with another signature in the place of ours."""

    def spoil(good: Sent) -> Sent:
        octets = base64.encodebytes(SIGNATURES[str(options["kind"])](good)).replace(b"\n", b"\r\n")
        part = good.sections[2].partition(b"\r\n\r\n")[2]
        return replace(good, signed=good.signed.replace(part, octets.removesuffix(b"\r\n") + b"\r\n"))

    return spoil


CA = make_ca("Spoiled CA")
OTHER = issue(CA, domains=["elsewhere.example"])


def _other(good: Sent) -> cms.Identity:
    return cms.Identity(OTHER.certificate, OTHER.private_key)


SIGNATURES: dict[str, Callable[[Sent], bytes]] = {
    "by another": lambda good: cms.sign(good.entity, _other(good), at=utc_now()),
    "with the anchor": lambda good: cms.sign(
        good.entity, _other(good), at=utc_now(), extra_certificates=[CA.certificate]
    ),
}

SPOILED: dict[str, Spoil] = {
    "wire_is_seven_bit_with_crlf": wire(b"\r\n", b"\n"),
    "outside_stands_routing_only": wire(b"MIME-Version:", b"Subject: x\r\nMIME-Version:"),
    "outside_each_field_stands_once": wire(b"Date:", b"Date: x\r\nDate:"),
    "routing_outside_is_that_inside": wire(b"<m1@", b"<m2@"),
    "outer_type_is_an_envelope": wire(b"smime-type=enveloped-data", b"smime-type=signed-data"),
    "envelope_is_named_smime_p7m": wire(b'filename="smime.p7m"', b'filename="mime.p7m"'),
    "envelope_is_base64_of_76": lambda good: replace(
        good,
        wire=good.wire.partition(b"\r\n\r\n")[0]
        + b"\r\n\r\n"
        + good.wire.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"", 1),
    ),
    "every_recipient_has_an_entry": lambda good: replace(good, recipients=2),
    "what_was_encrypted_is_multipart_signed": signed(b"multipart/signed", b"multipart/mixed"),
    "it_has_two_parts_and_nothing_else": lambda good: replace(good, signed=good.signed + b"more\r\n"),
    "first_part_is_a_whole_message": signed(b"message/rfc822", b"message/global"),
    "micalg_is_the_digest_that_was_used": signed(b"micalg=sha-256", b"micalg=sha-512"),
    "signature_is_named_smime_p7s": signed(b'name="smime.p7s"', b'name="x"'),
    "signature_is_base64_of_76": signed(b"Transfer-Encoding: base64", b"Transfer-Encoding: 8bit"),
    "message_digest_is_that_of_the_first_part": signed(b"All is well", b"All is bad."),
    "signer_is_there_and_the_anchor_is_not": lambda good: replace(
        resigned(kind="with the anchor")(good), anchor=CA.der
    ),
    "certificate_speaks_for_from": resigned(kind="by another"),
    "inside_the_needed_fields_stand_once": signed(b"Subject:", b"X-Subject:"),
    "nobody_is_hidden": signed(b"Subject:", b"Bcc: x@y.example\r\nSubject:"),
    "from_is_one_address": signed(b"Subject:", b"Sender: x@y.example\r\nSubject:"),
    "message_id_has_brackets_and_a_domain": signed(b"<m1@clinic.example>", b"<m1>"),
    "date_has_a_zone": signed(b"12:00:00 +0000", b"12:00:00 -0000"),
    "mime_version_is_one": signed(b"MIME-Version: 1.0", b"MIME-Version: 2.0"),
    "parts_are_encoded_in_short_lines": signed(
        b"Content-Transfer-Encoding: 7bit\r\n\r\nAll", b"Content-Transfer-Encoding: 8bit\r\n\r\nAll"
    ),
}  # fmt: skip
OF_NOTIFICATIONS: dict[str, Spoil] = {
    "a_notification_asks_for_none": signed(
        b"Subject:", b"Disposition-Notification-To: x@y.example\r\nSubject:"
    ),
    "mdn_has_a_text_and_a_report": signed(b"message/disposition-notification", b"text/plain"),
    "mdn_names_recipient_and_original": signed(b"Final-Recipient: rfc822; ", b"Final-Recipient: "),
    "mdn_disposition_is_automatic": signed(b"; processed", b"; read"),
    "mdn_extension_stands_on_dispatched_only": signed(
        b"Disposition: auto", b"X-DIRECT-FINAL-DESTINATION-DELIVERY: \r\nDisposition: auto"
    ),
    "a_notification_answers_its_original": signed(b"In-Reply-To: <o@", b"In-Reply-To: <p@"),
}  # fmt: skip


def fails(name: str, spoiled: Sent) -> bool:
    (one,) = [each for each in CHECKS if each.name == name]
    try:
        return not one.holds(spoiled)
    except (AssertionError, KeyError, IndexError, ValueError):
        return True


@pytest.mark.parametrize("name", SPOILED)
def test_each_check_can_fail(name: str, world: World) -> None:
    good = sent(world, plain())
    assert not fails(name, good)
    assert fails(name, SPOILED[name](good))


@pytest.mark.parametrize("name", OF_NOTIFICATIONS)
def test_each_check_of_notifications_can_fail(name: str, world: World) -> None:
    good = sent(world, processed())
    assert not fails(name, good)
    assert fails(name, OF_NOTIFICATIONS[name](good))


def test_every_check_has_a_rule_and_a_name_of_its_own() -> None:
    assert all(each.rule for each in CHECKS)
    assert len({each.name for each in CHECKS}) == len(CHECKS)
    assert {*SPOILED, *OF_NOTIFICATIONS} <= {each.name for each in CHECKS}
