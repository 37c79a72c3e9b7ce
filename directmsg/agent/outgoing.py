"""Sealing one message: wrapped, signed, encrypted, in the one form that certified agents accept.

The nesting is outer message, enveloped-data, multipart/signed, message/rfc822 (RFC 8551 sections 3.3, 3.5.3
and 3.1), as the Applicability Statement for Secure Health Transport demands. Nothing that may speak of the
patient stands outside the envelope: of the fields only routing is copied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from cryptography import x509

from directmsg.agent import cms
from directmsg.agent.address import Mailbox, normalise, parse_list
from directmsg.agent.cms import Identity
from directmsg.agent.errors import Malformed, NoTrustedRecipient
from directmsg.agent.fields import Field, Fields, read_block
from directmsg.agent.message import MAX_LINE, address_field, base64_entity, boundary_of, multipart

#: All that is copied to the outer message. Subject, notification requests and X- fields never are.
OUTER_FIELDS = (
    "mime-version",
    "from",
    "to",
    "cc",
    "date",
    "orig-date",
    "message-id",
    "in-reply-to",
    "references",
)
_ONCE = ("from", "to", "subject", "date", "message-id", "mime-version")

CIPHER = "aes128-cbc"
KEY_TRANSPORT = "oaep-sha256"


def seal_message(
    message: bytes,
    *,
    signer: Identity,
    recipient_certificates: Sequence[x509.Certificate],
    at: datetime,
    extra_certificates: Iterable[x509.Certificate] = (),
    cipher: str = CIPHER,
    key_transport: str | Mapping[x509.Certificate, str] = KEY_TRANSPORT,
    digest: str = "sha256",
) -> bytes:
    """`message`, signed by `signer` at `at` (aware) and encrypted to every one of `recipient_certificates`.

    `message` is complete, as `build_message` writes it. `extra_certificates` are the signer's intermediates,
    without the anchor. Whether the recipients are trusted was decided before. Raises Malformed when the
    message is not in canonical form or lacks a field, NoTrustedRecipient without a certificate, and what
    `cms.sign` and `cms.encrypt` raise.
    """
    if not recipient_certificates:
        raise NoTrustedRecipient("nobody to encrypt to")
    fields = require_sendable(message)
    signed = sign_entity(wrap(message), signer, at=at, extra_certificates=extra_certificates, digest=digest)
    envelope = cms.encrypt(signed, recipient_certificates, cipher=cipher, key_transport=key_transport)
    smime_type = "authEnveloped-data" if cipher.endswith("-gcm") else "enveloped-data"
    head = b"".join(_as_written(field) for field in fields if field.key in OUTER_FIELDS)
    return head + base64_entity(
        f'application/pkcs7-mime; smime-type={smime_type}; name="smime.p7m"',
        envelope,
        ["attachment", 'filename="smime.p7m"'],
    )


def wrap(message: bytes) -> bytes:
    """The message/rfc822 entity around `message`, which is seven-bit."""
    return b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + message


def sign_entity(
    entity: bytes,
    signer: Identity,
    *,
    at: datetime,
    extra_certificates: Iterable[x509.Certificate] = (),
    digest: str = "sha256",
) -> bytes:
    """The multipart/signed entity (RFC 8551 section 3.5.3) over `entity`, whose bytes stay untouched."""
    signature = cms.sign(entity, signer, at=at, extra_certificates=extra_certificates, digest=digest)
    part = base64_entity(
        'application/pkcs7-signature; name="smime.p7s"', signature, ["attachment", 'filename="smime.p7s"']
    )
    micalg = digest.replace("sha", "sha-")
    parameters = ['protocol="application/pkcs7-signature"', f"micalg={micalg}"]
    # Nobody knows the signature before the entity is written, so nothing made of it can stand in the entity.
    return multipart("signed", [entity, part], parameters, boundary=boundary_of([part]))


def require_sendable(message: bytes) -> Fields:
    """The fields of `message` when it may be signed as it is; raises Malformed otherwise.

    Canonical form (RFC 8551 section 3.1.1): CRLF, seven bit, lines of at most 998 octets. From with one
    address, To or Cc, Date, Message-ID in angle brackets, MIME-Version 1.0 and Subject, each once; no Bcc,
    since a receiver compares the envelope with To and Cc alone.
    """
    _require_canonical(message)
    fields = read_block(message).fields
    for name in _ONCE:
        found = len(fields.all(name))
        if found > 1 or (found == 0 and not (name == "to" and "cc" in fields)):
            raise Malformed(f"{found} fields {name}")
    if "bcc" in fields:
        raise Malformed("a field bcc")
    if len(parse_list(fields.unfolded("from"))) != 1:
        raise Malformed("From is not one address")
    message_id = fields.unfolded("message-id")
    if not (message_id.startswith("<") and message_id.endswith(">") and len(message_id) > 2):
        raise Malformed("Message-ID is not in angle brackets")
    if fields.unfolded("mime-version") != "1.0":
        raise Malformed("MIME-Version is not 1.0")
    return fields


def _require_canonical(message: bytes) -> None:
    if not message.isascii() or b"\x00" in message:
        raise Malformed("the message is not seven-bit")
    if len(message) > _SHORT:
        _require_lines(message)
        return
    lines = message.split(b"\r\n")
    if max(map(len, lines)) > MAX_LINE:
        raise Malformed(f"a line of more than {MAX_LINE} octets")
    rest = b"".join(lines)
    if b"\r" in rest or b"\n" in rest:
        raise Malformed("a line end that is not CRLF")


#: Up to so many octets it is quicker to cut the lines apart.
_SHORT = 16 * 1024


def _require_lines(message: bytes) -> None:
    """Every line ends in CRLF, holds neither character, and has at most MAX_LINE octets.

    Encoded attachments are hundreds of thousands of lines of one length. As in `ber`, a run of them is looked
    at by strided slices: the window doubles only while all of it matches, so time stays linear.
    """
    at = 0
    while at < len(message):
        end = message.find(b"\r\n", at, at + MAX_LINE + 2)
        if end < 0 and len(message) - at > MAX_LINE:
            raise Malformed(f"a line of more than {MAX_LINE} octets")
        end = len(message) if end < 0 else end
        if message.find(b"\n", at, end) >= 0 or message.find(b"\r", at, end) >= 0:
            raise Malformed("a line end that is not CRLF")
        stride = end + 2 - at
        at += stride
        window = _FIRST_WINDOW
        while at + window * stride <= len(message) and _is_run(message, at, stride, window):
            at += window * stride
            window *= 2


_FIRST_WINDOW = 8


def _is_run(message: bytes, at: int, stride: int, count: int) -> bool:
    """Whether `count` lines of `stride` octets follow one another from `at`."""
    end = at + count * stride
    if message[at + stride - 2 : end : stride] != b"\r" * count:
        return False
    if message[at + stride - 1 : end : stride] != b"\n" * count:
        return False
    return message.count(b"\r", at, end) == message.count(b"\n", at, end) == count


def only_recipients(message: bytes, trusted: Collection[str]) -> bytes:
    """`message` with the addresses in To and Cc that are not in `trusted` taken out.

    A receiver refuses a message whose To and Cc do not agree with the envelope, and who is not written to
    must not be shown as if. A field that nobody is left in goes. Raises NoTrustedRecipient when both do.
    """
    wanted = {normalise(address) for address in trusted}
    block = read_block(message)
    written: list[bytes] = []
    anybody = False
    for field in block.fields:
        if field.key not in ("to", "cc"):
            written.append(_as_written(field))
            continue
        everybody = parse_list(field.unfolded)
        left: list[Mailbox] = [each for each in everybody if each.key in wanted]
        if left:
            anybody = True
            whole = len(left) == len(everybody)
            written.append(_as_written(field) if whole else address_field(field.name, left))
    if not anybody:
        raise NoTrustedRecipient("none of the recipients is trusted")
    return b"".join(written) + b"\r\n" + message[block.body_start :]


def _as_written(field: Field) -> bytes:
    return field.name.encode("ascii") + b":" + field.value.rstrip(b"\r\n") + b"\r\n"
