"""What we send, read by agents that share no code with us; what BouncyCastle writes, read by us.

OpenSSL reads in the other files as well; here BouncyCastle and NSS do, so that no habit of one reader makes a
fault of ours pass.
"""

from __future__ import annotations

import email
import email.message
import email.policy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from directmsg.agent import cms
from directmsg.agent.address import Mailbox
from directmsg.agent.context import DirectContext, write_context
from directmsg.agent.encryption import SENT_CIPHERS, SENT_KEY_TRANSPORTS
from directmsg.agent.incoming import open_message
from directmsg.agent.message import NewAttachment, build_message
from directmsg.agent.notifications import Failure, Original, build_dsn, build_mdn
from directmsg.agent.outgoing import seal_message, wrap
from records.clinical.xdm import PackagedDocument, write_xdm
from tests import cms_peers
from tests.mail_peers import MESSAGE as THEIR_MESSAGE
from tests.mail_peers import OUTER, RECIPIENT, SENDER, World, signed_entity, wrapped
from tests.pki_factory import Issued, issue, make_ca, utc_now

pytestmark = [
    pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command"),
    pytest.mark.skipif(cms_peers.NO_BOUNCY_CASTLE, reason="needs java and libbcmail-java"),
]

NURSE = Mailbox("Nurse Joy", SENDER)
ANA = Mailbox("Ana Díaz", RECIPIENT)
AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
XML = b'<?xml version="1.0"?>\n<summary>\xc3\xa4</summary>\n'


@pytest.fixture(scope="module")
def bouncy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cms_peers.BouncyCastle]:
    peer = cms_peers.BouncyCastle(tmp_path_factory.mktemp("bouncy"))
    yield peer
    peer.close()


def plain(**changes: object) -> bytes:
    arguments: dict[str, object] = {
        "sender": NURSE,
        "to": [ANA],
        "subject": "Grüße",
        "date": AT,
        "message_id": "m1@clinic.example",
        "text": "All is well.\n",
    }
    return build_message(**{**arguments, **changes})  # type: ignore[arg-type]


def with_attachments() -> bytes:
    return plain(
        attachments=[
            NewAttachment("summary.xml", "text/xml", XML),
            NewAttachment(
                "Röntgen, Übersicht " + "x" * 80 + ".pdf", "application/pdf", bytes(range(256)) * 40
            ),
        ],
        html="<p>All is well.</p>",
    )


def with_package() -> bytes:
    package = write_xdm(
        [PackagedDocument(XML, "text/xml", "Summary")],
        sender=SENDER,
        recipients=[RECIPIENT],
        at=AT,
        package_id=UUID(int=7),
    )
    context = DirectContext("1.1", "<c@clinic.example>", (), "general", "report", "", {"surname": "Díaz"})
    field, part = write_context(context, "p@clinic.example")
    return plain(
        attachments=[NewAttachment("documents.zip", "application/zip", package)],
        extra_fields=[field],
        extra_parts=[part],
    )


def processed() -> bytes:
    return build_mdn(
        "processed",
        recipient=SENDER,
        to=ANA,
        original=Original("<o@portal.example>", "Grüße"),
        reporting_ua="clinic.example; portal",
        date=AT,
        message_id="n1@clinic.example",
    )


def not_delivered() -> bytes:
    return build_dsn(
        [Failure("joe@away.example", "5.1.1", "no such mailbox")],
        reporting_domain="clinic.example",
        to=ANA,
        original=Original("<o@portal.example>", "Grüße"),
        date=AT,
        message_id="n2@clinic.example",
    )


MESSAGES: dict[str, Callable[[], bytes]] = {
    "plain": plain,
    "attachments": with_attachments,
    "package and context": with_package,
    "processed": processed,
    "not delivered": not_delivered,
}


def sealed(world: World, message: bytes, *recipients: Issued, **options: object) -> bytes:
    return seal_message(
        message,
        signer=cms.Identity(world.sender.certificate, world.sender.private_key),
        recipient_certificates=[each.certificate for each in recipients or (world.recipient,)],
        at=utc_now(),
        **options,  # type: ignore[arg-type]
    )


def body(raw: bytes) -> bytes:
    """The decoded body of a message of one part, by the standard library."""
    content = email.message_from_bytes(raw, policy=email.policy.default).get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def signed_parts(raw: bytes) -> tuple[bytes, bytes]:
    """What is signed, as it stands, and the signature of a multipart/signed."""
    read = email.message_from_bytes(raw, policy=email.policy.default)
    boundary = read.get_boundary()
    assert boundary is not None
    entity = raw.split(b"--" + boundary.encode() + b"\r\n")[1].removesuffix(b"\r\n")
    (_, signature) = read.iter_parts()  # type: ignore[attr-defined]
    return entity, signature.get_payload(decode=True)


@pytest.mark.parametrize("name", MESSAGES)
def test_bouncy_castle_reads_everything_we_send(
    name: str, world: World, bouncy: cms_peers.BouncyCastle
) -> None:
    message = MESSAGES[name]()
    entity, signature = signed_parts(bouncy.decrypt(body(sealed(world, message)), world.recipient))
    assert bouncy.verify(signature, world.ca, entity) == entity == wrap(message)


@pytest.mark.parametrize("transport", SENT_KEY_TRANSPORTS)
@pytest.mark.parametrize("cipher", SENT_CIPHERS)
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_bouncy_castle_reads_every_way_we_seal(
    cipher: str, transport: str, digest: str, world: World, bouncy: cms_peers.BouncyCastle
) -> None:
    raw = sealed(world, plain(), cipher=cipher, key_transport=transport, digest=digest)
    inside = bouncy.decrypt(body(raw), world.recipient)
    assert world.openssl.decrypt(body(raw), world.recipient) == inside
    entity, signature = signed_parts(inside)
    bouncy.verify(signature, world.ca, entity)
    assert world.openssl.verify(signature, world.ca, entity) == entity == wrap(plain())


@pytest.mark.parametrize("kind", ["rsa3072", "p256", "p384"])
def test_bouncy_castle_knows_our_other_keys(kind: str, world: World, bouncy: cms_peers.BouncyCastle) -> None:
    usage = ("digital_signature", "key_encipherment", "key_agreement")
    who = issue(world.ca, domains=["clinic.example"], key=kind, key_usage=usage)
    raw = seal_message(
        plain(),
        signer=cms.Identity(who.certificate, who.private_key),
        recipient_certificates=[world.recipient.certificate, who.certificate],
        at=utc_now(),
    )
    for one in (who, world.recipient):
        entity, signature = signed_parts(bouncy.decrypt(body(raw), one))
        assert bouncy.verify(signature, world.ca, entity) == wrap(plain())


def test_bouncy_castle_follows_our_intermediates(world: World, bouncy: cms_peers.BouncyCastle) -> None:
    between = make_ca("Between", issuer=world.ca)
    signer = issue(between, domains=["clinic.example"])
    signature = cms.sign(
        b"x\r\n",
        cms.Identity(signer.certificate, signer.private_key),
        at=utc_now(),
        extra_certificates=[between.certificate],
    )
    bouncy.verify(signature, world.ca, b"x\r\n")
    alone = cms.sign(b"x\r\n", cms.Identity(signer.certificate, signer.private_key), at=utc_now())
    with pytest.raises(AssertionError, match="does not lead to the anchor"):
        bouncy.verify(alone, world.ca, b"x\r\n")
    with pytest.raises(AssertionError, match="error"):
        bouncy.verify(signature, world.ca, b"y\r\n")


@pytest.mark.skipif(cms_peers.NO_NSS, reason="needs cmsutil (libnss3-tools)")
@pytest.mark.parametrize("name", MESSAGES)
def test_nss_reads_what_we_send(name: str, world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """NSS opens key transport by PKCS#1 v1.5; its verdict on the signature includes the path."""
    usages = {"key_usage": ("digital_signature", "key_encipherment")}
    sender = issue(world.ca, emails=[SENDER], fresh_key=True, **usages)  # type: ignore[arg-type]
    nss = cms_peers.Nss(tmp_path_factory.mktemp("nss"), world.ca)
    raw = seal_message(
        MESSAGES[name](),
        signer=cms.Identity(sender.certificate, sender.private_key),
        recipient_certificates=[world.recipient.certificate],
        at=utc_now(),
        key_transport="pkcs1v15",
    )
    entity, signature = signed_parts(nss.decrypt(body(raw), world.recipient))
    assert entity == wrap(MESSAGES[name]())
    nss.verify(signature, entity)
    with pytest.raises(AssertionError):
        nss.verify(signature, entity + b" ")


# --- the other way --------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["pkcs1v15", "oaep-sha1", "oaep-sha256", "oaep-sha384", "oaep-sha512"])
@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes192-cbc", "aes256-cbc"])
@pytest.mark.parametrize("opaque", [False, True])
def test_we_read_what_bouncy_castle_streams(
    cipher: str, transport: str, *, opaque: bool, world: World, bouncy: cms_peers.BouncyCastle
) -> None:
    """Real bytes of a streaming agent: indefinite lengths all through, content in pieces of 1,000 octets."""
    message = THEIR_MESSAGE.replace(b"All is well.", b"All is well.\r\n" * 400)
    signature = bouncy.sign(wrapped(message), world.sender, digest="sha256", opaque=opaque)
    assert signature[1] == 0x80
    signed = signed_entity(wrapped(message), signature)
    if opaque:
        head = b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n"
        signed = head + b"Content-Transfer-Encoding: binary\r\n\r\n" + signature
    envelope = bouncy.encrypt(signed, [world.recipient], cipher=cipher, transport=transport)
    assert envelope[1] == 0x80
    raw = (
        OUTER
        + b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        + envelope
    )
    opened = open_message(raw, mail_from=SENDER, recipients=[world.recipient_for()], at=utc_now())
    assert opened.signed_bytes == wrapped(message)
    assert (opened.algorithms.cipher, opened.algorithms.key_transport) == (cipher, transport)


@pytest.mark.parametrize("kind", ["p256", "p384"])
@pytest.mark.parametrize("digest", ["sha256", "sha384"])
def test_we_read_bouncy_castles_elliptic_curves(
    kind: str, digest: str, world: World, bouncy: cms_peers.BouncyCastle
) -> None:
    usage = ("digital_signature", "key_agreement")
    who = issue(world.ca, domains=["clinic.example"], key=kind, key_usage=usage)
    signature = bouncy.sign(b"x" * 5_000, who, digest=digest)
    (signer,) = cms.verify(cms.read_signed(signature), b"x" * 5_000)
    assert isinstance(signer, cms.VerifiedSigner)
    assert (signer.digest, signer.signature_algorithm) == (digest, "ecdsa")
    everybody = [who, world.recipient]
    envelope = bouncy.encrypt(b"y" * 5_000, everybody, cipher="aes128-cbc", transport="oaep-sha256")
    for one in everybody:
        opened = cms.decrypt(envelope, [cms.Identity(one.certificate, one.private_key)])
        assert opened.content == b"y" * 5_000
