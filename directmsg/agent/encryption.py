"""EnvelopedData and AuthEnvelopedData: decrypt, encrypt (RFC 5652 section 6, RFC 5083, RFC 5753).

To the outside every failure to decrypt is the same: one error, one text, and about the same time. Whoever
could tell a wrong key from a wrong padding could ask us to decrypt for him, one question after the other.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.exceptions import UnsupportedAlgorithm as UnknownToLibrary
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers import algorithms as ciphers
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from directmsg.agent import algorithms, ber, der, identity
from directmsg.agent.algorithms import AlgorithmIdentifier, CipherUse, KeyAgreement
from directmsg.agent.ber import Buffer, Octets, Reader
from directmsg.agent.content import (
    AUTH_ENVELOPED,
    DATA,
    ENVELOPED,
    close_content,
    open_content,
    wrap_content,
)
from directmsg.agent.errors import (
    AgentError,
    CannotDecrypt,
    Malformed,
    NotEncrypted,
    TooLarge,
    TooManyRecipients,
    UnsupportedAlgorithm,
    WeakCipher,
    WeakKey,
)
from directmsg.agent.identity import CertificateReference, Identity

MAX_RECIPIENTS: Final = 1000
#: Private-key operations on one message. A sender who names a certificate of ours needs one.
MAX_ATTEMPTS: Final = 64
#: An encrypted key is as long as the RSA modulus; nothing longer can be opened.
MAX_ENCRYPTED_KEY: Final = algorithms.MAX_RSA_BITS // 8
MAX_ATTRIBUTES_SIZE: Final = 64 * 1024

_KEY_AGREE: Final = 0xA1  # kari and ukm, [1]
_ORIGINATOR: Final = 0xA0
_ORIGINATOR_KEY: Final = 0xA1
_UKM: Final = 0xA1
_RECIPIENT_KEY_IDENTIFIER: Final = 0xA0
_ORIGINATOR_INFO: Final = 0xA0
_ENCRYPTED_CONTENT: Final = 0x80
_ATTRIBUTES: Final = 0xA1  # unprotectedAttrs, authAttrs
_UNAUTHENTICATED: Final = 0xA2
_OTHER_RECIPIENTS: Final = (0xA2, 0xA3, 0xA4)  # a shared key, a password, something else: never ours


@dataclass(frozen=True, slots=True)
class Decrypted:
    """What was in an envelope. `cipher` and `key_transport` as in `algorithms`; `identity` opened it."""

    content: bytes
    cipher: str
    key_transport: str
    identity: Identity


# --- reading --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Recipient:
    """One way to the content key. `originator` is the encoded point of a key agreement, or None for RSA."""

    reference: CertificateReference
    algorithm: AlgorithmIdentifier
    encrypted_key: bytes
    originator: bytes | None = None
    ukm: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Envelope:
    """`additional` is what GCM authenticates beside the content, `tag` its authentication tag."""

    recipients: tuple[_Recipient, ...]
    cipher: CipherUse
    content: Octets
    additional: bytes
    tag: bytes


def _read_envelope(data: Buffer, legacy: frozenset[str]) -> _Envelope:
    """RFC 5652 section 6.1 and RFC 5083 section 2.1."""
    kind, reader = open_content(data)
    if kind not in (ENVELOPED, AUTH_ENVELOPED):
        raise NotEncrypted(f"CMS content of type {kind}")
    authenticated = kind == AUTH_ENVELOPED
    reader.enter(ber.SEQUENCE)
    reader.number()  # version
    if reader.tag() == _ORIGINATOR_INFO:
        reader.skip()
    recipients = _read_recipients(reader)
    reader.enter(ber.SEQUENCE)
    reader.skip()  # the inner content type: what was encrypted is told by its MIME headers
    cipher = algorithms.content_cipher(
        algorithms.read_algorithm(reader), authenticated=authenticated, legacy=legacy
    )
    content = reader.octets(_ENCRYPTED_CONTENT) if reader.tag() != ber.END else Octets(memoryview(b""))
    reader.leave()
    additional, tag = _read_authentication(reader) if authenticated else (b"", b"")
    if reader.tag() == (_UNAUTHENTICATED if authenticated else _ATTRIBUTES):
        reader.skip()
    reader.leave()
    close_content(reader)
    if len(tag) != cipher.tag_size:
        raise Malformed("authentication tag of the wrong size")
    return _Envelope(recipients, cipher, content, additional, tag)


def _read_authentication(reader: Reader) -> tuple[bytes, bytes]:
    """The authenticated attributes as GCM sees them, a SET OF in DER (RFC 5083 section 2.2), and the tag."""
    additional = b""
    if reader.tag() == _ATTRIBUTES:
        additional = der.from_ber(reader.bounded(MAX_ATTRIBUTES_SIZE), tag=ber.SET)
    return additional, reader.octets().tobytes()


def _read_recipients(reader: Reader) -> tuple[_Recipient, ...]:
    recipients: list[_Recipient] = []
    seen = 0
    reader.enter(ber.SET)
    while (tag := reader.tag()) != ber.END:
        before = len(recipients)
        if tag == ber.SEQUENCE:
            recipients.append(_read_key_transport(reader))
        elif tag == _KEY_AGREE:
            recipients += _read_key_agreement(reader)
        elif tag in _OTHER_RECIPIENTS:
            reader.skip()
        else:
            raise Malformed("a recipient of unknown kind")
        seen += max(1, len(recipients) - before)
        if seen > MAX_RECIPIENTS:
            raise TooManyRecipients(limit=MAX_RECIPIENTS, found=seen)
    reader.leave()
    return tuple(recipients)


def _read_key_transport(reader: Reader) -> _Recipient:
    """RFC 5652 section 6.2.1."""
    reader.enter(ber.SEQUENCE)
    reader.number()
    reference = identity.read_reference(reader)
    algorithm = algorithms.read_algorithm(reader)
    encrypted_key = _read_encrypted_key(reader)
    reader.leave()
    return _Recipient(reference, algorithm, encrypted_key)


def _read_encrypted_key(reader: Reader) -> bytes:
    octets = reader.octets()
    if len(octets) > MAX_ENCRYPTED_KEY:
        raise TooLarge("an encrypted key is too large", limit=MAX_ENCRYPTED_KEY, found=len(octets))
    return octets.tobytes()


def _read_key_agreement(reader: Reader) -> list[_Recipient]:
    """RFC 5652 section 6.2.2, with an ephemeral key as in RFC 5753 section 3.1.1."""
    recipients: list[_Recipient] = []
    reader.enter(_KEY_AGREE)
    reader.number()
    originator = _read_originator(reader)
    ukm = None
    if reader.tag() == _UKM:
        reader.enter(_UKM)
        octets = reader.octets()
        if len(octets) > MAX_ATTRIBUTES_SIZE:
            raise TooLarge("keying material is too large", limit=MAX_ATTRIBUTES_SIZE, found=len(octets))
        ukm = octets.tobytes()
        reader.leave()
    algorithm = algorithms.read_algorithm(reader)
    reader.enter(ber.SEQUENCE)
    while reader.tag() != ber.END:
        reader.enter(ber.SEQUENCE)
        reference = _read_agreement_reference(reader)
        encrypted_key = _read_encrypted_key(reader)
        reader.leave()
        if len(recipients) == MAX_RECIPIENTS:
            raise TooManyRecipients(limit=MAX_RECIPIENTS, found=MAX_RECIPIENTS + 1)
        recipients.append(_Recipient(reference, algorithm, encrypted_key, originator, ukm))
    reader.leave()
    reader.leave()
    return recipients


def _read_originator(reader: Reader) -> bytes:
    """The encoded point of the sender's ephemeral key; b"" when he used one we would have to look up."""
    point = b""
    reader.enter(_ORIGINATOR)
    if reader.tag() == _ORIGINATOR_KEY:
        reader.enter(_ORIGINATOR_KEY)
        algorithms.read_algorithm(reader)
        bits = reader.primitive(ber.BIT_STRING)
        if not 1 < len(bits) <= MAX_ENCRYPTED_KEY or bits[0]:
            raise Malformed("not a public key")
        point = bytes(bits[1:])
        reader.leave()
    else:
        reader.skip()
    reader.leave()
    return point


def _read_agreement_reference(reader: Reader) -> CertificateReference:
    """KeyAgreeRecipientIdentifier: issuer and serial, or a key identifier with date and more."""
    if reader.tag() != _RECIPIENT_KEY_IDENTIFIER:
        return identity.read_issuer_and_serial(reader)
    reader.enter(_RECIPIENT_KEY_IDENTIFIER)
    key_id = reader.octets().tobytes()
    while reader.tag() != ber.END:
        reader.skip()
    reader.leave()
    return CertificateReference(None, None, key_id)


# --- decrypting -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One recipient entry and one key of ours that could belong together."""

    recipient: _Recipient
    identity: Identity


def decrypt(
    data: Buffer, identities: Sequence[Identity], *, legacy: frozenset[str] = frozenset()
) -> Decrypted:
    """Open a ContentInfo that holds EnvelopedData or AuthEnvelopedData, BER or DER, with any of `identities`.

    Entries that name a certificate of ours are tried first, then every other entry with every key. `legacy`
    may hold `tripledes` and `rsa1024`.

    Raises CannotDecrypt, always the same, when no key opens it. What anybody can see from outside has errors
    of its own: NotEncrypted for another content type, WeakCipher, UnsupportedAlgorithm, Malformed, TooLarge,
    TooManyRecipients; WeakKey when we hold no key that may be used.
    """
    envelope = _read_envelope(data, legacy)
    usable = _strong_identities(identities, legacy)
    opener = _Opener(envelope)
    for attempt in _attempts(envelope.recipients, usable):
        name, key = _content_key(attempt, envelope.cipher.cipher.key_size)
        content = opener.open(key)
        if content is not None:
            return Decrypted(content, envelope.cipher.cipher.name, name, attempt.identity)
    opener.waste()
    raise CannotDecrypt


def _strong_identities(identities: Sequence[Identity], legacy: frozenset[str]) -> list[Identity]:
    usable: list[Identity] = []
    weak: AgentError | None = None
    for one in identities:
        try:
            algorithms.require_strong_key(one.private_key, legacy)
        except (WeakKey, UnsupportedAlgorithm) as error:
            weak = error
        else:
            usable.append(one)
    if weak is not None and not usable:
        raise weak
    return usable


def _attempts(recipients: Sequence[_Recipient], identities: Sequence[Identity]) -> Iterator[_Attempt]:
    """The attempts worth making, at most MAX_ATTEMPTS, those whose certificate is named first."""
    names = [(one, identity.names_of(one.certificate)) for one in identities]
    named: list[_Attempt] = []
    others: list[_Attempt] = []
    for recipient in recipients:
        for one, known in names:
            if _fits(recipient, one):
                (named if recipient.reference.names(known) else others).append(_Attempt(recipient, one))
        if len(named) >= MAX_ATTEMPTS:
            break
    yield from (named + others)[:MAX_ATTEMPTS]


def _fits(recipient: _Recipient, one: Identity) -> bool:
    """Whether kind and size of the key allow it; anybody can see that."""
    key = one.private_key
    if isinstance(key, rsa.RSAPrivateKey):
        return recipient.originator is None and len(recipient.encrypted_key) == (key.key_size + 7) // 8
    # An uncompressed point is two coordinates and a prefix, a compressed one half of it.
    size = (key.curve.key_size + 7) // 8
    return recipient.originator is not None and len(recipient.originator) in (size + 1, 2 * size + 1)


def _content_key(attempt: _Attempt, size: int) -> tuple[str, bytes | None]:
    """How the key came and the key, or None when this is not the way to it."""
    recipient, private_key = attempt.recipient, attempt.identity.private_key
    try:
        if isinstance(private_key, rsa.RSAPrivateKey):
            transport = algorithms.key_transport(recipient.algorithm)
            # With PKCS#1 v1.5 a wrong key or padding gives random octets, no error (implicit rejection).
            name, key = transport.name, private_key.decrypt(recipient.encrypted_key, transport.padding)
        else:
            agreement = algorithms.key_agreement(recipient.algorithm)
            name, key = agreement.name, _agreed_key(recipient, private_key, agreement)
    except (ValueError, InvalidUnwrap, UnknownToLibrary, AgentError):
        return "", None
    return name, key if len(key) == size else None


def _agreed_key(
    recipient: _Recipient, private_key: ec.EllipticCurvePrivateKey, agreement: KeyAgreement
) -> bytes:
    """RFC 5753 section 3.1.3; the key wrap tells whether it was the right one."""
    point = ec.EllipticCurvePublicKey.from_encoded_point(private_key.curve, recipient.originator or b"")
    shared = private_key.exchange(ec.ECDH(), point)
    return aes_key_unwrap(_wrapping_key(shared, agreement, recipient.ukm), recipient.encrypted_key)


def _wrapping_key(shared: bytes, agreement: KeyAgreement, ukm: bytes | None) -> bytes:
    """X9.63 derivation over ECC-CMS-SharedInfo (RFC 5753 section 7.2)."""
    info = der.sequence(
        agreement.wrap,
        der.element(0xA0, der.octet_string(ukm)) if ukm is not None else b"",
        der.element(0xA2, der.octet_string((8 * agreement.wrap_size).to_bytes(4, "big"))),
    )
    return X963KDF(algorithms.HASHES[agreement.digest], agreement.wrap_size, info).derive(shared)


class _Opener:
    """Decrypts the content of one envelope, once, whatever the keys that are tried.

    With CBC the last two blocks tell whether a key fits, so only the key that does costs a pass over the
    content; with GCM a key is known to fit only after a pass. A message that no key opens costs one pass
    too, with a random key.
    """

    def __init__(self, envelope: _Envelope) -> None:
        self._envelope = envelope
        self._random_key = os.urandom(envelope.cipher.cipher.key_size)
        self._passes = 0

    def open(self, key: bytes | None) -> bytes | None:
        """The content under `key`; None when it does not fit or there is none."""
        if self._envelope.cipher.cipher.mode == "gcm":
            return None if key is None else self._decrypt(key, 0)
        fill = self._padding(key or self._random_key)
        if key is None or fill is None:
            return None
        return self._decrypt(key, fill)

    def waste(self) -> None:
        """Spend what opening would have cost, unless it has been spent."""
        if not self._passes:
            self._decrypt(self._random_key, 0)

    def _padding(self, key: bytes) -> int | None:
        """Octets of padding at the end of CBC content (RFC 5652 section 6.3), or None when it is wrong."""
        use, size = self._envelope.cipher, len(self._envelope.content)
        block = use.cipher.block_size
        if not size or size % block:
            return None
        last = self._envelope.content.tail(2 * block)
        before = last[:block] if size > block else use.iv
        decryptor = Cipher(_block_cipher(use, key), modes.CBC(before)).decryptor()
        padded = decryptor.update(last[-block:])
        unpadder = padding.PKCS7(8 * block).unpadder()
        try:
            return block - len(unpadder.update(padded) + unpadder.finalize())
        except ValueError:
            return None

    def _decrypt(self, key: bytes, fill: int) -> bytes | None:
        """One pass over the content; its last `fill` octets are dropped. None when a tag is wrong."""
        self._passes += 1
        envelope, use = self._envelope, self._envelope.cipher
        size = len(envelope.content)
        mode: modes.CBC | modes.GCM = modes.CBC(use.iv)
        if use.cipher.mode == "gcm":
            mode = modes.GCM(use.iv, envelope.tag, min_tag_length=12)
        decryptor = Cipher(_block_cipher(use, key), mode).decryptor()
        if envelope.additional:
            decryptor.authenticate_additional_data(envelope.additional)  # type: ignore[attr-defined]
        # BytesIO gives its octets away without copying them; a bytearray would have to be copied.
        out = io.BytesIO(bytes(size + use.cipher.block_size))
        with out.getbuffer() as room:
            at = 0
            for batch in envelope.content.batches():
                at += decryptor.update_into(batch, room[at:])
        if use.cipher.mode == "gcm":
            try:
                decryptor.finalize()
            except InvalidTag:
                return None
        out.truncate(size - fill)
        return out.getvalue()


def _block_cipher(use: CipherUse, key: bytes) -> ciphers.AES | TripleDES:
    return TripleDES(key) if use.cipher.block_size == 8 else ciphers.AES(key)


# --- encrypting -----------------------------------------------------------------------------------------

SENT_CIPHERS: Final = ("aes128-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm")
SENT_KEY_TRANSPORTS: Final = ("oaep-sha256", "oaep-sha1", "pkcs1v15")
_TAG_SIZE: Final = 16


def encrypt(
    content: Buffer,
    certificates: Iterable[x509.Certificate],
    *,
    cipher: str = "aes128-cbc",
    key_transport: str | Mapping[x509.Certificate, str] = "oaep-sha256",
) -> bytes:
    """An envelope around `content` that the key of each of `certificates` opens: ContentInfo, DER.

    `cipher` is one of SENT_CIPHERS (GCM makes AuthEnvelopedData, RFC 5083), `key_transport` of
    SENT_KEY_TRANSPORTS: "oaep-sha256" unless a receiver is known to open only OAEP with its defaults
    ("oaep-sha1"; inside OAEP the collisions of SHA-1 do not matter) or only "pkcs1v15"; a mapping says so for
    single certificates. It holds for RSA certificates, those on P-256 and P-384 get ephemeral-static ECDH
    (RFC 5753). Raises WeakKey, WeakCipher, UnsupportedAlgorithm, TooManyRecipients.
    """
    if cipher not in SENT_CIPHERS:
        raise WeakCipher(f"will not encrypt with {cipher}")
    chosen = algorithms.CIPHERS[cipher]
    key = os.urandom(chosen.key_size)
    entries = [_recipient_entry(one, key, _transport_for(one, key_transport)) for one in certificates]
    if not 0 < len(entries) <= MAX_RECIPIENTS:
        raise TooManyRecipients(limit=MAX_RECIPIENTS, found=len(entries))
    recipients = der.set_of(entries)
    if chosen.mode == "gcm":
        return _auth_enveloped(content, recipients, chosen, key)
    version = 2 if any(entry[0] == _KEY_AGREE for entry in entries) else 0
    return _enveloped(content, recipients, chosen, key, version)


def _transport_for(certificate: x509.Certificate, wanted: str | Mapping[x509.Certificate, str]) -> str:
    name = wanted if isinstance(wanted, str) else wanted.get(certificate, SENT_KEY_TRANSPORTS[0])
    if name not in SENT_KEY_TRANSPORTS:
        raise UnsupportedAlgorithm(f"key transport {name}")
    return name


def _enveloped(
    content: Buffer, recipients: bytes, chosen: algorithms.Cipher, key: bytes, version: int
) -> bytes:
    iv = os.urandom(chosen.block_size)
    encryptor = Cipher(ciphers.AES(key), modes.CBC(iv)).encryptor()
    view = memoryview(content).cast("B")
    whole = len(view) - len(view) % chosen.block_size
    fill = chosen.block_size - len(view) % chosen.block_size
    last = bytes(view[whole:]) + bytes((fill,)) * fill
    encrypted = (encryptor.update(view[:whole]), encryptor.update(last))
    algorithm = der.sequence(der.oid(chosen.oid), der.octet_string(iv))
    return wrap_content(
        ENVELOPED, der.integer(version), recipients, *_encrypted_content(algorithm, *encrypted)
    )


def _auth_enveloped(content: Buffer, recipients: bytes, chosen: algorithms.Cipher, key: bytes) -> bytes:
    """RFC 5083 section 2.1 with the parameters of RFC 5084 section 3.2."""
    nonce = os.urandom(12)
    encryptor = Cipher(ciphers.AES(key), modes.GCM(nonce)).encryptor()
    encrypted = encryptor.update(content)
    encryptor.finalize()
    algorithm = der.sequence(
        der.oid(chosen.oid), der.sequence(der.octet_string(nonce), der.integer(_TAG_SIZE))
    )
    return wrap_content(
        AUTH_ENVELOPED,
        der.integer(0),
        recipients,
        *_encrypted_content(algorithm, encrypted),
        der.octet_string(encryptor.tag),
    )


def _encrypted_content(algorithm: bytes, *encrypted: bytes) -> list[Buffer]:
    octets = der.pieces(_ENCRYPTED_CONTENT, *encrypted)
    return der.pieces(ber.SEQUENCE, der.oid(DATA), algorithm, *octets)


def _recipient_entry(certificate: x509.Certificate, key: bytes, transport: str) -> bytes:
    try:
        public_key = algorithms.require_strong_key(certificate.public_key())
    except (ValueError, UnknownToLibrary) as error:
        raise UnsupportedAlgorithm("a recipient's public key cannot be read") from error
    if isinstance(public_key, rsa.RSAPublicKey):
        return _key_transport_entry(certificate, public_key, key, transport)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    return _key_agreement_entry(certificate, public_key, key)


def _key_transport_entry(
    certificate: x509.Certificate, public_key: rsa.RSAPublicKey, key: bytes, transport: str
) -> bytes:
    if transport == "pkcs1v15":
        algorithm = der.sequence(der.oid(algorithms.RSA_ENCRYPTION), der.NULL)
        encrypted_key = public_key.encrypt(key, PKCS1v15())
    else:
        digest = algorithms.HASHES[transport.removeprefix("oaep-")]
        algorithm = _OAEP[transport]
        encrypted_key = public_key.encrypt(key, OAEP(MGF1(digest), digest, None))
    return der.sequence(
        der.integer(0), identity.issuer_and_serial(certificate), algorithm, der.octet_string(encrypted_key)
    )


def _oaep_sha256() -> bytes:
    """RFC 4055 section 4.1: the digest, and MGF1 with the same; the label is absent."""
    sha256 = der.sequence(der.oid(algorithms.DIGEST_OIDS["sha256"]), der.NULL)
    mask = der.sequence(der.oid(algorithms.MGF1), sha256)
    parameters = der.sequence(der.element(0xA0, sha256), der.element(0xA1, mask))
    return der.sequence(der.oid(algorithms.RSAES_OAEP), parameters)


_OAEP: Final = {
    "oaep-sha256": _oaep_sha256(),
    # SHA-1 throughout is the default, and DER leaves defaults out: the form that .NET writes and expects.
    "oaep-sha1": der.sequence(der.oid(algorithms.RSAES_OAEP), der.sequence()),
}


def _key_agreement_entry(
    certificate: x509.Certificate, public_key: ec.EllipticCurvePublicKey, key: bytes
) -> bytes:
    """A key of its own for each recipient; the wrapping key is as long as the content key."""
    digest = "sha256" if public_key.curve.key_size <= 256 else "sha384"
    wrap = der.sequence(der.oid(algorithms.KEY_WRAPS[len(key)]))
    agreement = KeyAgreement(f"ecdh-{digest}", digest, wrap, len(key))
    ephemeral = ec.generate_private_key(public_key.curve)
    wrapping_key = _wrapping_key(ephemeral.exchange(ec.ECDH(), public_key), agreement, None)
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    originator_key = der.element(
        _ORIGINATOR_KEY,
        der.sequence(der.oid(algorithms.EC_PUBLIC_KEY)),
        der.element(ber.BIT_STRING, b"\x00", point),
    )
    return der.element(
        _KEY_AGREE,
        der.integer(3),
        der.element(_ORIGINATOR, originator_key),
        der.sequence(der.oid(algorithms.STANDARD_DH[digest]), wrap),
        der.sequence(
            der.sequence(
                identity.issuer_and_serial(certificate), der.octet_string(aes_key_wrap(wrapping_key, key))
            )
        ),
    )
