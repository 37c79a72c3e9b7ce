"""Receiving a message: every awkwardness that must pass, and everything that must not.

The sender is OpenSSL with hand-written MIME around it; each case changes one thing of a good message.
"""

from __future__ import annotations

import base64
import datetime
import json
import quopri
import random
import re
from collections.abc import Callable

import pytest

from directmsg.agent import cms, incoming
from directmsg.agent.errors import AgentError, CannotDecrypt
from directmsg.agent.incoming import examine, open_message, outer_recipients, report_json
from directmsg.agent.message import read_content
from directmsg.agent.mime import parse
from tests import cms_peers
from tests.mail_peers import (
    ENVELOPE_TYPE,
    MESSAGE,
    OUTER,
    RECIPIENT,
    SENDER,
    SIGNED_TYPE,
    World,
    code_of,
    folded_lines,
    inner,
    look,
    signed_entity,
    wrapped,
)
from tests.pki_factory import issue, utc_now
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError
from trust.pki.policy import Policy, TrustContext

pytestmark = pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command")

Make = Callable[[World], bytes]

BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"


# --- what a good message gives --------------------------------------------------------------------------


def test_a_good_message_in_full(world: World) -> None:
    opened = open_message(world.message(), mail_from=SENDER, recipients=[world.recipient_for()], at=utc_now())
    assert (opened.from_address, opened.from_name) == (SENDER, "Nurse Joy")
    assert (opened.to, opened.cc) == ((RECIPIENT,), ())
    assert opened.subject == "Your results"
    assert opened.message_id == "<inner-1@clinic.example>"
    assert opened.date == datetime.datetime(2026, 5, 4, 12, tzinfo=datetime.UTC)
    assert (opened.kind, opened.wrapped) == ("message", True)
    assert (opened.text, opened.html) == ("All is well.", None)
    (part,) = opened.parts
    assert (part.filename, part.content_type, part.data()) == ("summary.xml", "text/xml", b"<summary/>")
    assert opened.signed_bytes == wrapped(MESSAGE)
    assert opened.accepted == (RECIPIENT,)
    assert opened.anchor_sha256 == world.ca.sha256
    (signer,) = opened.signers
    assert (signer.accepted, signer.sha256, signer.names) == (True, world.sender.sha256, ("clinic.example",))
    assert signer.signing_time is not None
    assert abs(signer.signing_time - utc_now()) < datetime.timedelta(minutes=5)
    assert opened.algorithms == incoming.Algorithms("sha256", "rsa-pkcs1v15", "aes128-cbc", "pkcs1v15")
    assert opened.warnings == ("revocation_unknown",)


def test_the_report_as_json(world: World) -> None:
    report = look(world, world.message(), mail_from=None)
    seen: list[tuple[bytes, str, str]] = []

    def document_kind(data: bytes, content_type: str, filename: str) -> str:
        seen.append((data, content_type, filename))
        return "ccda"

    found = json.loads(json.dumps(report_json(report, document_kind=document_kind)))
    assert set(found) == {
        "verdict", "code", "detail", "kind", "recipients", "message", "signers", "algorithms",
        "mdn", "dsn", "context", "warnings",
    }  # fmt: skip
    assert (found["verdict"], found["code"], found["kind"]) == ("accepted", None, "message")
    assert found["recipients"] == [{"address": RECIPIENT, "verdict": "accepted", "code": None}]
    assert found["message"]["parts"][0]["document_kind"] == "ccda"
    assert seen == [(b"<summary/>", "text/xml", "summary.xml")]
    assert found["signers"][0]["chain"][-1]["sha256"] == world.ca.sha256
    assert found["warnings"] == ["no_envelope", "revocation_unknown"]


def test_a_refused_message_shows_its_routing_and_nothing_more(world: World) -> None:
    report = look(world, world.message(), anchors=())
    found = report_json(report)
    text = json.dumps(found)
    assert (found["verdict"], found["code"]) == ("refused", "untrusted_chain")
    assert found["message"]["from"] == SENDER
    assert "Your results" not in text
    assert "All is well" not in text
    assert "summary.xml" not in text


def test_what_an_operator_sees_holds_no_content(world: World) -> None:
    text = json.dumps(incoming.operator_report(look(world, world.message())))
    for word in ("results", "well", "summary", "Joy", "inner-1"):
        assert word not in text


# --- awkward, and taken ---------------------------------------------------------------------------------


def with_envelope_head(head: bytes) -> Make:
    return lambda world: world.sealed(world.signed(wrapped(MESSAGE)), head=head)


def with_signed_head(head: bytes) -> Make:
    return lambda world: world.sealed(world.signed(wrapped(MESSAGE), head=head))


def with_wrapper(fields: bytes, body: bytes = MESSAGE) -> Make:
    return lambda world: world.sealed(world.signed(wrapped(body, fields)))


def with_line_ends(world: World) -> bytes:
    return world.message().replace(b"\r\n", b"\n")


def one_line_envelope(world: World) -> bytes:
    envelope = world.openssl.encrypt(world.signed(wrapped(MESSAGE)), [world.recipient], "-aes128")
    head = OUTER + ENVELOPE_TYPE + BASE64
    return head + folded_lines(envelope, [])


def one_line_signature(world: World) -> bytes:
    entity = wrapped(MESSAGE)
    text = base64.b64encode(world.openssl.sign(entity, [world.sender]))
    part = b"content-type:application/pkcs7-signature\r\ncontent-transfer-encoding:base64\r\n\r\n" + text
    return world.sealed(signed_entity(entity, b"", part=part))


def binary_envelope(world: World) -> bytes:
    envelope = world.openssl.encrypt(world.signed(wrapped(MESSAGE)), [world.recipient], "-aes128")
    return OUTER + ENVELOPE_TYPE + b"Content-Transfer-Encoding: binary\r\n\r\n" + envelope


def undeclared_base64(world: World) -> bytes:
    return world.message().replace(b"Content-Transfer-Encoding: base64\r\n", b"", 1)


def streamed(world: World) -> bytes:
    """As the Java agents write: BER of indefinite length in pieces, for envelope and signature."""
    entity = wrapped(MESSAGE)
    signature = cms_peers.stream_signature(world.openssl.sign(entity, [world.sender]))
    envelope = world.openssl.encrypt(world.signed(entity, signature=signature), [world.recipient], "-aes128")
    head = OUTER + ENVELOPE_TYPE + BASE64
    return head + base64.encodebytes(cms_peers.stream_envelope(envelope)).replace(b"\n", b"\r\n")


def opaque(world: World) -> bytes:
    inside = world.openssl.sign(wrapped(MESSAGE), [world.sender], "-nodetach")
    head = b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n"
    return world.sealed(head + BASE64 + base64.encodebytes(inside))


def opaque_streamed(world: World) -> bytes:
    inside = world.openssl.sign(wrapped(MESSAGE), [world.sender], "-nodetach")
    inside = cms_peers.stream_signature(inside, 100)
    head = b"Content-Type: application/X-PKCS7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return world.sealed(head + base64.encodebytes(inside))


def newlines_inside_the_envelope(world: World) -> bytes:
    """As NSS writes: signed with CRLF, put into the envelope with LF."""
    return world.sealed(world.signed(wrapped(MESSAGE)).replace(b"\r\n", b"\n"))


def with_cipher(*options: str) -> Make:
    def make(world: World) -> bytes:
        envelope = world.openssl.encrypt(world.signed(wrapped(MESSAGE)), [world.recipient], *options)
        head = OUTER + ENVELOPE_TYPE + BASE64
        return head + base64.encodebytes(envelope)

    return make


QUOTED = quopri.encodestring(MESSAGE.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")

TYPE = b"Content-Type: application/"

TAKEN: dict[str, Make] = {
    "upper case": with_envelope_head(TYPE.upper() + b'PKCS7-MIME; SMIME-TYPE="ENVELOPED-DATA"\r\n'),
    "x-pkcs7-mime": with_envelope_head(b"Content-Type: application/x-pkcs7-mime; name=smime.p7m\r\n"),
    "no parameters": with_envelope_head(b"Content-Type: application/pkcs7-mime\r\n"),
    "parameters in another order": with_envelope_head(
        b'Content-type:application/pkcs7-mime;name="smime.p7m";\r\n\tsmime-type = enveloped-data\r\n'
    ),
    "smime-type lies": with_envelope_head(TYPE + b"pkcs7-mime; smime-type=signed-data\r\n"),
    "octets with the suffix": with_envelope_head(TYPE + b"octet-stream; name=smime.P7M\r\n"),
    "no micalg": with_signed_head(b"Content-Type: multipart/signed; boundary=signed\r\n"),
    "micalg lies": with_signed_head(b"Content-Type: multipart/signed; boundary=signed; micalg=sha1\r\n"),
    "encoding null": with_signed_head(SIGNED_TYPE + b"Content-Transfer-Encoding: null\r\n"),
    "lower case, no blank": with_signed_head(b"content-type:Multipart/Signed;boundary=signed\r\n"),
    "boundary in quotes": with_signed_head(b'Content-Type: multipart/signed; Boundary="signed"\r\n'),
    "wrapper in base64": with_wrapper(
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n", base64.encodebytes(MESSAGE)
    ),
    "wrapper in quoted-printable": with_wrapper(
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n", QUOTED
    ),
    "wrapper in 8bit": with_wrapper(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n"),
    "wrapper with parameters": with_wrapper(
        b'Content-Type: Message/RFC822; charset=us-ascii; name="inner.eml"\r\nContent-Disposition: inline\r\n'
    ),
    "outer line ends are LF": with_line_ends,
    "byte order mark": lambda world: b"\xef\xbb\xbf" + world.message(),
    "envelope in one line": one_line_envelope,
    "signature in one line": one_line_signature,
    "binary envelope": binary_envelope,
    "base64 not declared": undeclared_base64,
    "BER in pieces": streamed,
    "opaque": opaque,
    "opaque, BER in pieces": opaque_streamed,
    "LF inside the envelope": newlines_inside_the_envelope,
    "outer subject twice": lambda world: world.sealed(
        world.signed(wrapped(MESSAGE)), outer=b"Subject: Encrypted\r\nSubject: Again\r\n" + OUTER
    ),
    "AES-256": with_cipher("-aes256"),
    "OAEP with its defaults": with_cipher("-aes128", "--", "-keyopt", "rsa_padding_mode:oaep"),
    "AES-GCM": with_cipher("-aes-256-gcm"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_awkward_messages_are_taken(world: World, name: str) -> None:
    report = look(world, TAKEN[name](world))
    assert report.error is None, report.error
    opened = report.opened()
    assert opened.subject == "Your results"
    assert opened.message_id == "<inner-1@clinic.example>"
    assert opened.text.strip() == "All is well."
    assert [part.data() for part in opened.parts] == [b"<summary/>"]


def test_signed_bytes_are_those_that_came(world: World) -> None:
    """Odd blanks, a bare CR and high octets are part of what was signed, and stay as they are."""
    message = MESSAGE.replace(b"All is well.", b"All  is\twell. \r\nB\xe9la \r alone")
    opened = look(world, world.sealed(world.signed(wrapped(message)))).opened()
    assert opened.signed_bytes == wrapped(message)


def test_a_signature_over_canonical_lines_gives_the_canonical_bytes(world: World) -> None:
    opened = look(world, newlines_inside_the_envelope(world)).opened()
    assert opened.signed_bytes == wrapped(MESSAGE)


def test_line_ends_are_the_only_thing_ever_repaired(world: World) -> None:
    good = world.signed(wrapped(MESSAGE))
    broken = good.replace(b"\r\n", b"\n").replace(b"All is well.", b"All is well. ")
    assert code_of(world, world.sealed(broken)) == "bad_signature"


@pytest.mark.parametrize("spelling", ["ANA@PORTAL.EXAMPLE", "ana@portal.example", "Ana@Portal.Example"])
def test_letter_case_of_addresses_does_not_matter(world: World, spelling: str) -> None:
    message = MESSAGE.replace(b"To: ana@portal.example", b"To: ANA@portal.EXAMPLE")
    message = message.replace(b"nurse@clinic.example>", b"NURSE@Clinic.Example>")
    raw = world.sealed(world.signed(wrapped(message)))
    report = look(world, raw, address=spelling, mail_from="nurse@CLINIC.example")
    assert report.accepted
    assert report.opened().from_address == "NURSE@Clinic.Example"


def test_what_openssl_does_not_find_we_find(world: World) -> None:
    """Several keys of ours, some of them wrong, and a recipient's two certificates."""
    other = issue(world.ca, domains=["portal.example"], fresh_key=True)
    stranger = issue(world.ca, domains=["elsewhere.example"], fresh_key=True)
    raw = world.sealed(world.signed(wrapped(MESSAGE)), stranger, world.recipient)
    report = examine(
        raw,
        mail_from=SENDER,
        recipients=[world.recipient_for(RECIPIENT, other, world.recipient)],
        at=utc_now(),
    )
    assert report.accepted
    report = examine(raw, mail_from=SENDER, recipients=[world.recipient_for(RECIPIENT, other)], at=utc_now())
    assert isinstance(report.error, CannotDecrypt)


# --- not wrapped ----------------------------------------------------------------------------------------

BARE = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"All is w=65ll.\r\n"
)


def test_bare_content_takes_the_outer_fields(world: World) -> None:
    raw = world.sealed(world.signed(BARE), outer=b"Subject: In clear\r\nX-Mailer: old\r\n" + OUTER)
    opened = look(world, raw).opened()
    assert (opened.subject, opened.text, opened.wrapped) == ("In clear", "All is well.\n", False)
    assert opened.message_id == "<outer-1@clinic.example>"
    assert "not_wrapped" in opened.warnings
    assert opened.fields.unfolded("content-type").startswith("text/plain")


def test_signed_fields_of_bare_content_beat_outer_ones(world: World) -> None:
    raw = world.sealed(world.signed(b"Subject: Signed\r\n" + BARE), outer=b"Subject: In clear\r\n" + OUTER)
    assert look(world, raw).opened().subject == "Signed"


def test_a_domain_may_demand_the_wrapper(world: World) -> None:
    assert code_of(world, world.sealed(world.signed(BARE)), require_wrapped=True) == "not_wrapped"
    assert code_of(world, world.message(), require_wrapped=True) is None


def test_a_message_that_was_never_encrypted_can_be_looked_at(world: World) -> None:
    raw = OUTER + world.signed(wrapped(MESSAGE))
    assert look(world, raw, clear=True).accepted
    assert code_of(world, raw) == "not_encrypted"
    assert look(world, raw, clear=True).algorithms.cipher is None
    inside = world.openssl.sign(wrapped(MESSAGE), [world.sender], "-nodetach")
    opaque_one = OUTER + TYPE + b"pkcs7-mime\r\n" + BASE64 + base64.encodebytes(inside)
    assert look(world, opaque_one, clear=True).opened().subject == "Your results"
    assert code_of(world, world.message(), clear=True) == "not_signed"


# --- refused --------------------------------------------------------------------------------------------


def signature_with_content(world: World) -> bytes:
    entity = wrapped(MESSAGE)
    return world.sealed(signed_entity(entity, world.openssl.sign(entity, [world.sender], "-nodetach")))


def tampered(world: World) -> bytes:
    return world.sealed(world.signed(wrapped(MESSAGE)).replace(b"All is well.", b"All is hell."))


def renamed(signed: bytes) -> bytes:
    """`signed` with another boundary, so that it can stand inside one like it."""
    return signed.replace(b"--signed", b"--inside").replace(b"boundary=signed", b"boundary=inside")


def sign_over_sign(world: World) -> bytes:
    return world.sealed(world.signed(renamed(world.signed(wrapped(MESSAGE)))))


def opaque_over_sign(world: World) -> bytes:
    inside = world.openssl.sign(world.signed(wrapped(MESSAGE)), [world.sender], "-nodetach")
    head = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return world.sealed(head + base64.encodebytes(inside))


def sign_over_envelope(world: World) -> bytes:
    envelope = world.openssl.encrypt(world.signed(wrapped(MESSAGE)), [world.recipient], "-aes128")
    entity = ENVELOPE_TYPE + BASE64 + base64.encodebytes(envelope)
    return world.sealed(world.signed(entity.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")))


def three_parts(world: World) -> bytes:
    good = world.signed(wrapped(MESSAGE))
    return world.sealed(good.replace(b"--signed\r\n", b"--signed\r\n\r\nextra\r\n--signed\r\n", 1))


def no_signer(world: World) -> bytes:
    certificates = cms.certificates_only([world.sender.certificate])
    return world.sealed(signed_entity(wrapped(MESSAGE), certificates))


def without_certificate(world: World) -> bytes:
    entity = wrapped(MESSAGE)
    return world.sealed(signed_entity(entity, world.openssl.sign(entity, [world.sender], "-nocerts")))


def plain(world: World) -> bytes:
    return MESSAGE


def encrypted_only(world: World) -> bytes:
    return world.sealed(wrapped(MESSAGE))


def broken_envelope(world: World) -> bytes:
    return OUTER + ENVELOPE_TYPE + BASE64 + base64.b64encode(b"0" * 600)


def not_cms(world: World) -> bytes:
    return OUTER + ENVELOPE_TYPE + b"\r\nhello"


def sha1_signed(world: World) -> bytes:
    entity = wrapped(MESSAGE)
    return world.sealed(signed_entity(entity, world.openssl.sign(entity, [world.sender], "-md", "sha1")))


REFUSED: dict[str, tuple[Make, str]] = {
    "plain": (plain, "not_encrypted"),
    "signed only": (lambda world: OUTER + world.signed(wrapped(MESSAGE)), "not_encrypted"),
    "signed only, opaque": (
        lambda world: OUTER + ENVELOPE_TYPE + BASE64
        + base64.encodebytes(world.openssl.sign(wrapped(MESSAGE), [world.sender], "-nodetach")),
        "not_encrypted",
    ),
    "envelope beside text": (
        lambda world: OUTER + b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n"
        + world.message() + b"--m--\r\n",
        "not_encrypted",
    ),
    "encrypted only": (encrypted_only, "not_signed"),
    "no CMS": (not_cms, "malformed"),
    "broken envelope": (broken_envelope, "malformed"),
    "for somebody else": (
        lambda world: world.sealed(world.signed(wrapped(MESSAGE)), issue(world.ca, domains=["x.example"])),
        "cannot_decrypt",
    ),
    "tampered": (tampered, "bad_signature"),
    "content twice": (signature_with_content, "bad_signature"),
    "nobody signed": (no_signer, "not_signed"),
    "no certificate of the signer": (without_certificate, "bad_signature"),
    "SHA-1": (sha1_signed, "weak_digest"),
    "sign over sign": (sign_over_sign, "not_signed"),
    "opaque over sign": (opaque_over_sign, "not_signed"),
    "sign over envelope": (sign_over_envelope, "not_signed"),
    "three parts": (three_parts, "malformed"),
    "triple DES": (with_cipher("-des3"), "weak_cipher"),
    "parts nested too deep": (
        lambda world: world.sealed(world.signed(wrapped(b"Content-Type: message/rfc822\r\n\r\n" * 30))),
        "too_large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_messages_are_refused(world: World, name: str) -> None:
    make, code = REFUSED[name]
    assert code_of(world, make(world)) == code


def test_old_algorithms_pass_only_where_a_domain_tolerates_them(world: World) -> None:
    assert code_of(world, sha1_signed(world), legacy=("sha1_digest",)) is None
    assert code_of(world, with_cipher("-des3")(world), legacy=("tripledes",)) is None
    assert code_of(world, with_cipher("-des3")(world), legacy=("sha1_digest",)) == "weak_cipher"


def test_recipients_with_different_tolerances_are_judged_by_their_own(world: World) -> None:
    message = MESSAGE.replace(b"To: ana@portal.example", b"To: ana@portal.example, bo@portal.example")
    entity = wrapped(message)
    raw = world.sealed(signed_entity(entity, world.openssl.sign(entity, [world.sender], "-md", "sha1")))
    strict = world.recipient_for("ana@portal.example")
    tolerant = world.recipient_for("bo@portal.example", legacy=("sha1_digest",))
    report = examine(raw, mail_from=SENDER, recipients=[strict, tolerant], at=utc_now())
    assert [verdict.error.code if verdict.error else None for verdict in report.recipients] == [
        "weak_digest",
        None,
    ]
    assert report.opened().accepted == ("bo@portal.example",)


def test_no_keys_are_one_more_way_of_not_decrypting(world: World) -> None:
    recipient = world.recipient_for()
    keyless = incoming.Recipient(RECIPIENT, (), recipient.trust)
    report = examine(world.message(), mail_from=SENDER, recipients=[keyless], at=utc_now())
    assert report.error is not None
    assert (report.error.code, report.error.detail) == ("cannot_decrypt", CannotDecrypt().detail)


# --- what is inside -------------------------------------------------------------------------------------


def test_signed_things_inside_stay_attachments(world: World) -> None:
    """A patient's own signature inside a wrapped message is no second author."""
    signature = world.signed(b"Content-Type: text/plain\r\n\r\nsigned by somebody\r\n")
    message = MESSAGE.partition(b"Content-Type")[0] + renamed(signature)
    opened = look(world, world.sealed(world.signed(wrapped(message)))).opened()
    assert opened.text == ""
    assert [part.content_type for part in opened.parts] == ["multipart/signed"]
    assert [signer.sha256 for signer in opened.signers] == [world.sender.sha256]


def test_text_around_the_signed_entity_is_dropped(world: World) -> None:
    good = world.signed(wrapped(MESSAGE))
    noisy = good.replace(b"\r\n--signed\r\n", b"\r\nPREAMBLE\r\n--signed\r\n", 1) + b"EPILOGUE\r\n"
    opened = look(world, world.sealed(noisy)).opened()
    assert "PREAMBLE" not in repr(opened.content)
    assert opened.signed_bytes == wrapped(MESSAGE)


def test_a_context_is_read(world: World) -> None:
    part = (
        b"--mixed\r\nContent-Type: text/plain\r\nContent-ID: <ctx@clinic.example>\r\n"
        b"Content-Disposition: attachment; filename=metadata.txt\r\n\r\n"
        b"version: 1.1\r\nid: <ctx-1@clinic.example>\r\npatient-id: clinic.example:123; other.example:9\r\n"
        b"type: laboratory/report\r\npurpose: treatment\r\n"
        b"patient: givenName=Ana; surname=Diaz;\r\n dateOfBirth=1980-02-03\r\n--mixed--\r\n"
    )
    raw = inner(
        world,
        (b"MIME-Version", b"X-Direct-Context: <ctx@clinic.example>\r\nMIME-Version"),
        (b"--mixed--\r\n", part),
    )
    found = report_json(look(world, raw))["context"]
    assert found == {
        "version": "1.1",
        "id": "<ctx-1@clinic.example>",
        "patient_ids": ["clinic.example:123", "other.example:9"],
        "type": "laboratory/report",
        "purpose": "treatment",
        "patient": {"givenName": "Ana", "surname": "Diaz", "dateOfBirth": "1980-02-03"},
        "encapsulation": "",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"version: 2.0\r\nid: <x>\r\n",
        b"version: 1.0\r\n",
        b"version: 1.0\r\nid: <x>\r\ntype: laboratory\r\n",
        b"version: 1.0\r\nid: <x>\r\npatient: nothing\r\n",
        b"version: 1.0\r\nid: <x>\r\npatient-id: 123\r\n",
        b"",
    ],
)
def test_a_bad_context_is_no_context(body: bytes) -> None:
    from directmsg.agent.context import read_context

    raw = (
        b"X-Direct-Context: ctx@clinic.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\nContent-ID: <ctx@clinic.example>\r\n\r\n"
        + body
        + b"\r\n--b--\r\n"
    )
    root = parse(raw).root
    assert read_context(root.fields, root) is None


def test_the_recipients_of_a_file(world: World) -> None:
    assert outer_recipients(world.message()) == (RECIPIENT,)
    clear = world.signed(wrapped(MESSAGE))
    assert outer_recipients(clear) == ()
    assert outer_recipients(clear, clear=True) == (RECIPIENT,)
    assert outer_recipients(b"To: a@x.example, b@x.example\r\nCc: A@X.example\r\n\r\n") == (
        "A@X.example",
        "b@x.example",
    )
    assert outer_recipients(b"To: x" + b"x" * 300_000) == ()


# --- any bytes ------------------------------------------------------------------------------------------


def test_mutated_messages_never_crash_and_never_pass_changed(world: World) -> None:
    raw = world.message()
    signed = world.signed(wrapped(MESSAGE))
    recipient = world.recipient_for()
    choose = random.Random(8098)
    for turn in range(150):
        clear = turn % 3 > 0
        octets = bytearray(OUTER + signed if clear else raw)
        for _ in range(choose.randint(1, 3)):
            at = choose.randrange(len(octets))
            octets[at : at + choose.choice((0, 1, 1, 8))] = choose.randbytes(choose.choice((0, 1, 4)))
        report = examine(bytes(octets), mail_from=SENDER, recipients=[recipient], at=utc_now(), clear=clear)
        json.dumps(report_json(report))
        if report.accepted:
            assert report.opened().text.strip() == "All is well."
            assert read_content(report.opened().root).attachments[0].data() == b"<summary/>"


def test_errors_of_both_packages_carry_a_code(world: World) -> None:
    for name, (make, _) in REFUSED.items():
        error = look(world, make(world)).error
        assert isinstance(error, AgentError | PkiError), name
        assert re.fullmatch(r"[a-z][a-z0-9_]+", error.code)
        assert "results" not in error.detail


def test_a_policy_of_the_recipient_decides(world: World) -> None:
    trust = TrustContext((Certificate(world.ca.der),), policy=Policy(revocation="require"))
    assert code_of(world, world.message(), trust=trust) == "revocation_unknown"
