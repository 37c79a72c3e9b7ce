"""The rules of EnvelopedData and AuthEnvelopedData, with messages made to break them."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence

import pytest
from asn1crypto import cms as asn1_cms
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from directmsg.agent import algorithms, cms, der, encryption, identity
from directmsg.agent.ber import Reader
from directmsg.agent.content import DATA
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
from tests import cms_peers
from tests.pki_factory import Issued, issue, make_ca, utc_now

CONTENT = b"Content-Type: text/plain\r\n\r\nThe door code is on the fridge.\r\n" * 40
CA = make_ca("Envelope CA")
ALICE = issue(CA, emails=["alice@direct.example.org"], fresh_key=True)
CAROL = issue(CA, emails=["carol@direct.example.org"], fresh_key=True)
BOB = issue(CA, emails=["bob@direct.example.org"], key="p256", fresh_key=True)
needs_openssl = pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command")


def who(*people: Issued) -> list[cms.Identity]:
    return [cms.Identity(one.certificate, one.private_key) for one in people]


def named(oid: str, *parameters: bytes) -> bytes:
    return der.sequence(der.oid(oid), *parameters)


@pytest.fixture
def openssl(tmp_path) -> cms_peers.OpenSsl:
    return cms_peers.OpenSsl(tmp_path)


# --- finding the key ------------------------------------------------------------------------------------


@needs_openssl
@pytest.mark.parametrize("person", [ALICE, BOB], ids=["rsa", "ec"])
def test_recipients_named_by_key_identifier(person, openssl):
    envelope = openssl.run(
        *("-encrypt", "-outform", "DER", "-aes128", "-keyid", "-recip", openssl.identity(person)),
        octets=CONTENT,
    )
    assert cms.decrypt(envelope, who(CAROL, person)).identity.certificate == person.certificate


def test_any_of_several_keys_opens():
    envelope = cms.encrypt(CONTENT, [CAROL.certificate, BOB.certificate])
    for people in itertools.permutations([ALICE, BOB, CAROL]):
        opened = cms.decrypt(envelope, who(*people))
        assert opened.content == CONTENT
        assert opened.identity.certificate in (CAROL.certificate, BOB.certificate)


def test_a_renewed_certificate_over_the_same_key_opens_what_names_the_old_one():
    for person in (ALICE, BOB):
        renewed = issue(CA, emails=["new@direct.example.org"], key=person.private_key)
        envelope = cms.encrypt(CONTENT, [CAROL.certificate, person.certificate])
        assert cms.decrypt(envelope, who(renewed)).content == CONTENT


def test_a_wrong_key_behind_the_right_name_does_not_stop_the_right_one():
    twin = issue(
        CA, emails=["twin@direct.example.org"], serial=ALICE.certificate.serial_number, fresh_key=True
    )
    for transport in encryption.SENT_KEY_TRANSPORTS:
        envelope = cms.encrypt(CONTENT, [ALICE.certificate], key_transport=transport)
        opened = cms.decrypt(envelope, who(twin, CAROL, BOB, ALICE))
        assert opened.content == CONTENT
        assert opened.identity.certificate == ALICE.certificate


def test_private_key_operations_are_bounded(monkeypatch):
    tried = []
    real = encryption._content_key

    def counted(attempt, size):
        tried.append(attempt)
        return real(attempt, size)

    monkeypatch.setattr(encryption, "_content_key", counted)
    envelope = cms.encrypt(CONTENT, [CAROL.certificate] * 80 + [ALICE.certificate])
    assert cms.decrypt(envelope, who(ALICE)).content == CONTENT
    assert len(tried) == 1  # the one that names us comes first
    with pytest.raises(CannotDecrypt):
        cms.decrypt(envelope, who(issue(CA, domains=["d.example.org"], fresh_key=True)))
    assert len(tried) == 1 + encryption.MAX_ATTEMPTS


# --- key transport and agreement ------------------------------------------------------------------------


def envelope_of(
    recipients: Sequence[bytes], key: bytes, cipher: str = "aes128-cbc", content: bytes = CONTENT
) -> bytes:
    """An envelope around recipient entries made by hand, for the content key `key`."""
    made = encryption._enveloped(content, der.set_of(recipients), algorithms.CIPHERS[cipher], key, 2)
    assert asn1_cms.ContentInfo.load(made, strict=True)
    return made


def transport_entry(
    person: Issued, algorithm: bytes, pad: padding.OAEP | padding.PKCS1v15, key: bytes
) -> bytes:
    public_key = person.certificate.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    return der.sequence(
        der.integer(0),
        identity.issuer_and_serial(person.certificate),
        algorithm,
        der.octet_string(public_key.encrypt(key, pad)),
    )


def oaep(digest: str, mask: str, label: bytes | None = None) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(algorithms.HASHES[mask]), algorithms.HASHES[digest], label)


RSA_NAME = named(algorithms.RSA_ENCRYPTION, der.NULL)
SHA512 = named(algorithms.DIGEST_OIDS["sha512"], der.NULL)
LABEL = der.element(0xA2, named(algorithms.P_SPECIFIED, der.octet_string(b"stamp")))


@pytest.mark.parametrize(
    ("parameters", "pad", "name"),
    [
        ([], oaep("sha1", "sha1"), "oaep-sha1"),
        ([der.NULL], oaep("sha1", "sha1"), "oaep-sha1"),
        ([der.sequence()], oaep("sha1", "sha1"), "oaep-sha1"),
        ([der.sequence(der.element(0xA0, SHA512))], oaep("sha512", "sha1"), "oaep-sha512"),
        (
            [der.sequence(der.element(0xA1, named(algorithms.MGF1, SHA512)))],
            oaep("sha1", "sha512"),
            "oaep-sha1",
        ),
        ([der.sequence(LABEL)], oaep("sha1", "sha1", b"stamp"), "oaep-sha1"),
    ],
    ids=["absent", "null", "empty", "digest", "mask", "label"],
)
def test_the_parameters_of_oaep_are_read(parameters, pad, name):
    key = os.urandom(16)
    entry = transport_entry(ALICE, named(algorithms.RSAES_OAEP, *parameters), pad, key)
    opened = cms.decrypt(envelope_of([entry], key), who(ALICE))
    assert (opened.content, opened.key_transport) == (CONTENT, name)


@pytest.mark.parametrize(
    "algorithm",
    [
        named(algorithms.RSAES_OAEP, der.sequence(der.element(0xA0, named("1.2.840.113549.2.5")))),
        named(algorithms.RSAES_OAEP, der.sequence(der.integer(1))),
        named(algorithms.RSAES_OAEP, der.sequence(der.element(0xA1, named("1.2.3", SHA512)))),
        named(algorithms.RSAES_OAEP, der.sequence(der.element(0xA2, named("1.2.3", der.octet_string(b""))))),
        named("1.2.3.4"),
    ],
)
def test_a_key_transport_nobody_knows_opens_nothing(algorithm):
    key = os.urandom(16)
    entry = transport_entry(ALICE, algorithm, oaep("sha1", "sha1"), key)
    with pytest.raises(CannotDecrypt):
        cms.decrypt(envelope_of([entry], key), who(ALICE))


def agreement_entry(
    person: Issued,
    key: bytes,
    *,
    ukm: bytes | None = None,
    agreement: str = algorithms.STANDARD_DH["sha256"],
    wrap: bytes = named(algorithms.KEY_WRAPS[32]),
    curve: bytes = b"",
    compressed: bool = False,
    originator: bytes | None = None,
) -> bytes:
    """RFC 5753, written once more so that a mistake would have to be made twice."""
    public_key = person.certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    ephemeral = ec.generate_private_key(public_key.curve)
    form = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
    point = ephemeral.public_key().public_bytes(Encoding.X962, form)
    info = wrap
    if ukm is not None:
        info += b"\xa0" + bytes([len(ukm) + 2]) + b"\x04" + bytes([len(ukm)]) + ukm
    info += b"\xa2\x06\x04\x04\x00\x00\x01\x00"
    kek = X963KDF(algorithms.HASHES["sha256"], 32, b"\x30" + bytes([len(info)]) + info).derive(
        ephemeral.exchange(ec.ECDH(), public_key)
    )
    own = der.element(0xA1, named(algorithms.EC_PUBLIC_KEY, curve), der.element(0x03, b"\x00", point))
    return der.element(
        0xA1,
        der.integer(3),
        der.element(0xA0, originator or own),
        der.element(0xA1, der.octet_string(ukm)) if ukm is not None else b"",
        named(agreement, wrap),
        der.sequence(
            der.sequence(
                identity.issuer_and_serial(person.certificate), der.octet_string(aes_key_wrap(kek, key))
            )
        ),
    )


@needs_openssl
@pytest.mark.parametrize("ukm", [None, b"", b"keying material"])
@pytest.mark.parametrize(
    "curve", [b"", der.NULL, der.oid("1.2.840.10045.3.1.7")], ids=["none", "null", "named"]
)
def test_key_agreement(ukm, curve, openssl):
    key = os.urandom(16)
    made = envelope_of([agreement_entry(BOB, key, ukm=ukm, curve=curve)], key)
    opened = cms.decrypt(made, who(ALICE, BOB))
    assert (opened.content, opened.key_transport) == (CONTENT, "ecdh-sha256")
    assert openssl.decrypt(made, BOB) == CONTENT


def test_key_agreement_with_cofactor_and_compressed_points():
    key = os.urandom(16)
    for entry in (
        agreement_entry(BOB, key, agreement="1.3.132.1.14.1"),
        agreement_entry(BOB, key, compressed=True),
    ):
        assert cms.decrypt(envelope_of([entry], key), who(BOB)).content == CONTENT


@pytest.mark.parametrize(
    "changes",
    [
        {"agreement": "1.2.840.113549.1.9.16.3.10"},
        {"wrap": named("1.2.840.113549.1.9.16.3.6", der.NULL)},
        {"originator": identity.issuer_and_serial(ALICE.certificate)},
        {"originator": der.element(0x80, b"12345678901234567890")},
        {
            "originator": der.element(
                0xA1, named(algorithms.EC_PUBLIC_KEY), der.element(3, b"\0\4", bytes(64))
            )
        },
    ],
    ids=["mqv", "3des-wrap", "static", "key-id", "not-on-curve"],
)
def test_a_key_agreement_nobody_knows_opens_nothing(changes):
    key = os.urandom(16)
    with pytest.raises(CannotDecrypt):
        cms.decrypt(envelope_of([agreement_entry(BOB, key, **changes)], key), who(BOB))


def test_recipients_of_other_kinds_are_stepped_over():
    key = os.urandom(16)
    secret = [der.element(tag, der.integer(4), der.octet_string(b"x")) for tag in (0xA2, 0xA3, 0xA4)]
    mine = transport_entry(ALICE, named(algorithms.RSA_ENCRYPTION, der.NULL), padding.PKCS1v15(), key)
    assert cms.decrypt(envelope_of([*secret, mine], key), who(ALICE)).content == CONTENT
    with pytest.raises(Malformed):
        cms.decrypt(envelope_of([der.element(0xA9, der.NULL), mine], key), who(ALICE))


# --- ciphers --------------------------------------------------------------------------------------------


def relabelled(envelope: bytes, old: str, new: str) -> bytes:
    """The envelope with another cipher's identifier of the same length."""
    before, after = der.oid(algorithms.CIPHERS[old].oid), der.oid(new)
    assert len(before) == len(after)
    assert envelope.count(before) == 1
    return envelope.replace(before, after)


def test_weak_and_unknown_ciphers():
    key = os.urandom(24)
    entry = transport_entry(ALICE, named(algorithms.RSA_ENCRYPTION, der.NULL), padding.PKCS1v15(), key)
    for oid, error in (
        ("1.3.14.3.2.7", WeakCipher),
        ("1.2.840.113549.3.2", WeakCipher),
        ("1.2.840.113549.3.4", WeakCipher),
        (algorithms.CIPHERS["tripledes-cbc"].oid, WeakCipher),
        (algorithms.CIPHERS["aes128-gcm"].oid, UnsupportedAlgorithm),  # GCM without a place for its tag
        ("1.2.3.4", UnsupportedAlgorithm),
    ):
        body = der.sequence(
            der.integer(0),
            der.set_of([entry]),
            der.sequence(der.oid(DATA), named(oid, der.octet_string(bytes(8))), der.element(0x80, bytes(64))),
        )
        with pytest.raises(error):
            cms.decrypt(named("1.2.840.113549.1.7.3", der.element(0xA0, body)), who(ALICE))


@needs_openssl
def test_triple_des_by_tolerance_only(openssl):
    envelope = openssl.encrypt(CONTENT, [ALICE], "-des3")
    opened = cms.decrypt(envelope, who(ALICE), legacy=frozenset({"tripledes"}))
    assert (opened.content, opened.cipher) == (CONTENT, "tripledes-cbc")
    with pytest.raises(WeakCipher):
        cms.decrypt(envelope, who(ALICE), legacy=frozenset({"sha1_digest", "rsa1024"}))


def test_cbc_does_not_pass_for_authenticated_data():
    envelope = cms.encrypt(CONTENT, [ALICE.certificate], cipher="aes128-gcm")
    with pytest.raises(UnsupportedAlgorithm):
        cms.decrypt(relabelled(envelope, "aes128-gcm", algorithms.CIPHERS["aes128-cbc"].oid), who(ALICE))


@pytest.mark.parametrize(("tag_size", "stated"), [(12, None), (12, 12), (13, 13), (16, 16)])
def test_gcm_with_attributes_and_short_tags(tag_size, stated):
    key, nonce = os.urandom(16), os.urandom(12)
    attributes = [
        der.sequence(der.oid("1.2.3.2"), der.set_of([der.integer(1)])),
        der.sequence(der.oid("1.2.3.1"), der.set_of([der.octet_string(b"x" * 200)])),
    ]
    sealed = AESGCM(key).encrypt(nonce, CONTENT, der.set_of(attributes))
    tag = sealed[len(CONTENT) : len(CONTENT) + tag_size]
    entry = transport_entry(ALICE, named(algorithms.RSA_ENCRYPTION, der.NULL), padding.PKCS1v15(), key)
    size = der.integer(stated) if stated else b""
    cipher = named(algorithms.CIPHERS["aes128-gcm"].oid, der.sequence(der.octet_string(nonce), size))

    def build(sent: bytes, tag: bytes) -> bytes:
        body = der.sequence(
            der.integer(0),
            der.set_of([entry]),
            der.sequence(der.oid(DATA), cipher, der.element(0x80, sealed[: len(CONTENT)])),
            sent,
            der.octet_string(tag),
            der.element(0xA2, der.sequence(der.oid("1.2.3.3"), der.set_of([]))),
        )
        return named("1.2.840.113549.1.9.16.1.23", der.element(0xA0, body))

    for sent in (der.set_of(attributes, 0xA1), cms_peers.indefinite(0xA1, *attributes)):
        assert cms.decrypt(build(sent, tag), who(ALICE)).content == CONTENT
    right = der.set_of(attributes, 0xA1)
    for sent, other in ((der.set_of(attributes[:1], 0xA1), tag), (b"", tag), (right, bytes(tag_size))):
        with pytest.raises(CannotDecrypt):
            cms.decrypt(build(sent, other), who(ALICE))
    with pytest.raises(Malformed):
        cms.decrypt(build(right, tag[:-1]), who(ALICE))


# --- one outcome ----------------------------------------------------------------------------------------


def failures() -> dict[str, tuple[bytes, list[cms.Identity]]]:
    """Envelopes that do not open, for as many reasons as there are."""
    cbc = cms.encrypt(CONTENT, [ALICE.certificate], key_transport="pkcs1v15")
    safe = cms.encrypt(CONTENT, [ALICE.certificate])
    gcm = cms.encrypt(CONTENT, [ALICE.certificate], cipher="aes256-gcm")
    curve = cms.encrypt(CONTENT, [BOB.certificate])
    made: dict[str, tuple[bytes, list[cms.Identity]]] = {
        "no-identity": (cbc, []),
        "not-for-us": (cbc, who(CAROL)),
        "other-kind-of-key": (cbc, who(BOB)),
    }
    for name, envelope, person in (
        ("v15", cbc, ALICE),
        ("oaep", safe, ALICE),
        ("gcm", gcm, ALICE),
        ("ec", curve, BOB),
    ):
        (info,) = asn1_cms.ContentInfo.load(envelope)["content"]["recipient_infos"]
        key = info.chosen["encrypted_key"].native if name != "ec" else None
        if key is None:
            key = info.chosen["recipient_encrypted_keys"][0]["encrypted_key"].native
        changed = envelope.replace(key, key[:-1] + bytes((key[-1] ^ 1,)))
        made[f"{name}-key"] = (changed, who(person))
        # CBC: the octet that turns the last one of the padding to 0, which is wrong whatever the rest.
        at, change = (-1, 1) if name == "gcm" else (-17, 16 - len(CONTENT) % 16)
        altered = bytearray(envelope)
        altered[at] ^= change
        made[f"{name}-content"] = (bytes(altered), who(person))
    key = os.urandom(32)
    long_key = transport_entry(ALICE, named(algorithms.RSA_ENCRYPTION, der.NULL), padding.PKCS1v15(), key)
    for size in (0, 8, 15, 17, 1000):
        made[f"{size}-octets"] = (raw_envelope(long_key, bytes(size)), who(ALICE))
    block = Cipher(AES(key), modes.ECB()).encryptor().update(bytes(16))
    made["16-octets"] = (raw_envelope(long_key, block), who(ALICE))
    return made


def raw_envelope(entry: bytes, encrypted: bytes) -> bytes:
    cipher = named(algorithms.CIPHERS["aes256-cbc"].oid, der.octet_string(bytes(16)))
    body = der.sequence(
        der.integer(0),
        der.set_of([entry]),
        der.sequence(der.oid(DATA), cipher, der.element(0x80, encrypted)),
    )
    return named("1.2.840.113549.1.7.3", der.element(0xA0, body))


FAILURES = failures()


@pytest.mark.parametrize("reason", FAILURES)
def test_every_failure_looks_the_same(reason):
    envelope, identities = FAILURES[reason]
    with pytest.raises(AgentError) as raised:
        cms.decrypt(envelope, identities)
    assert type(raised.value) is CannotDecrypt
    assert raised.value.args == ("the message could not be decrypted",)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("reason", FAILURES)
def test_every_failure_costs_one_pass_over_the_content(reason, monkeypatch):
    passes = []
    real = encryption._Opener._decrypt

    def counted(self, key, fill):
        passes.append(len(self._envelope.content))
        return real(self, key, fill)

    monkeypatch.setattr(encryption._Opener, "_decrypt", counted)
    with pytest.raises(CannotDecrypt):
        cms.decrypt(*FAILURES[reason])
    assert len(passes) == 1


def test_a_wrong_pkcs1v15_padding_is_no_error_of_the_library():
    """Implicit rejection: random octets come out, the same ones every time."""
    key = ALICE.private_key
    assert isinstance(key, rsa.RSAPrivateKey)
    noise = (b"\x01" + os.urandom(255))[: key.key_size // 8]
    assert key.decrypt(noise, padding.PKCS1v15()) == key.decrypt(noise, padding.PKCS1v15())


def test_keys_of_ours_that_are_too_small():
    small = issue(CA, emails=["dave@direct.example.org"], key="rsa1024")
    key = os.urandom(16)
    entry = transport_entry(small, named(algorithms.RSA_ENCRYPTION, der.NULL), padding.PKCS1v15(), key)
    envelope = envelope_of([entry], key)
    assert cms.decrypt(envelope, who(small), legacy=frozenset({"rsa1024"})).content == CONTENT
    with pytest.raises(WeakKey):
        cms.decrypt(envelope, who(small))
    with pytest.raises(CannotDecrypt):
        cms.decrypt(envelope, who(small, ALICE))
    with pytest.raises(WeakKey):
        cms.encrypt(CONTENT, [small.certificate])


# --- structure and bounds -------------------------------------------------------------------------------


def test_content_types_are_told_apart():
    signature = cms.sign(CONTENT, *who(ALICE), at=utc_now())
    data = named(DATA, der.element(0xA0, der.octet_string(CONTENT)))
    digested = named("1.2.840.113549.1.7.5", der.element(0xA0, der.sequence()))
    envelope = cms.encrypt(CONTENT, [ALICE.certificate])
    sealed = cms.encrypt(CONTENT, [ALICE.certificate], cipher="aes128-gcm")
    kinds = [cms.content_type(one) for one in (signature, data, digested, envelope, sealed)]
    assert kinds == ["signed", "data", "1.2.840.113549.1.7.5", "enveloped", "auth_enveloped"]
    assert cms.content_type(envelope[:30] + bytes(len(envelope) - 30)) == "enveloped"  # no look at the rest
    for other in (signature, data, digested):
        with pytest.raises(NotEncrypted):
            cms.decrypt(other, who(ALICE))


def test_bounds():
    key = os.urandom(16)
    mine = transport_entry(ALICE, named(algorithms.RSA_ENCRYPTION, der.NULL), padding.PKCS1v15(), key)
    assert cms.decrypt(envelope_of([mine] * 1000, key), who(ALICE)).content == CONTENT
    with pytest.raises(TooManyRecipients):
        cms.decrypt(envelope_of([mine] * 1001, key), who(ALICE))
    with pytest.raises(TooManyRecipients):
        cms.encrypt(CONTENT, [])
    long_key = der.sequence(
        *(der.integer(0), identity.issuer_and_serial(ALICE.certificate)),
        *(named(algorithms.RSA_ENCRYPTION, der.NULL), der.octet_string(bytes(2000))),
    )
    with pytest.raises(TooLarge):
        cms.decrypt(envelope_of([long_key], key), who(ALICE))
    long_name = der.sequence(
        *(der.integer(0), der.sequence(der.sequence(bytes(20_000)), der.integer(1))),
        *(named(algorithms.RSA_ENCRYPTION, der.NULL), der.octet_string(bytes(256))),
    )
    long_parameters = transport_entry(
        ALICE, named(algorithms.RSA_ENCRYPTION, der.octet_string(bytes(5000))), padding.PKCS1v15(), key
    )
    for entry in (long_name, long_parameters):
        with pytest.raises(TooLarge):
            cms.decrypt(envelope_of([entry], key), who(ALICE))


def test_what_is_sent_is_chosen_from_a_list():
    for cipher in ("tripledes-cbc", "aes192-cbc", "rc2-cbc"):
        with pytest.raises(WeakCipher):
            cms.encrypt(CONTENT, [ALICE.certificate], cipher=cipher)
    with pytest.raises(UnsupportedAlgorithm):
        cms.encrypt(CONTENT, [ALICE.certificate], key_transport="oaep-md5")


def test_what_we_encrypt_by_an_independent_reader():
    for cipher in encryption.SENT_CIPHERS:
        made = cms.encrypt(CONTENT, [ALICE.certificate, BOB.certificate], cipher=cipher)
        body = asn1_cms.ContentInfo.load(made, strict=True)["content"]
        assert body["version"].native == ("v2" if cipher.endswith("cbc") else "v0")
        assert body.dump(force=True) == body.dump()
        kinds = [info.name for info in body["recipient_infos"]]
        assert sorted(kinds) == ["kari", "ktri"]
        transport = next(info.chosen for info in body["recipient_infos"] if info.name == "ktri")
        scheme = transport["key_encryption_algorithm"]
        assert scheme["algorithm"].native == "rsaes_oaep"
        assert scheme["parameters"]["hash_algorithm"]["algorithm"].native == "sha256"
        assert scheme["parameters"]["mask_gen_algorithm"]["parameters"]["algorithm"].native == "sha256"


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 999, 1000, 100_000, 1_000_000])
@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes256-gcm"])
def test_pieces_of_any_size(size, cipher):
    content = os.urandom(size)
    envelope = cms.encrypt(content, [ALICE.certificate], cipher=cipher)
    for piece in (16, 1000, 4096):
        if size // piece < 10_000:
            assert cms.decrypt(cms_peers.stream_envelope(envelope, piece), who(ALICE)).content == content


@pytest.mark.parametrize("place", ["originator", "attributes", "content", "issuer"])
def test_open_elements_in_one_another_cost_what_they_are_long(place, monkeypatch):
    """Headers read grow with the message, not with its square, wherever the open elements stand."""
    headers = []
    real = Reader._header

    def counted(self):
        headers.append(1)
        return real(self)

    monkeypatch.setattr(Reader, "_header", counted)

    def work(width: int) -> int:
        tag = 0x24 if place == "content" else 0x30
        nest = b""
        for _ in range(20):
            nest = cms_peers.indefinite(
                tag, *[der.octet_string(bytes(turn % 2)) for turn in range(width)], nest
            )
        key = os.urandom(16)
        entry = transport_entry(ALICE, named(algorithms.RSA_ENCRYPTION, der.NULL), padding.PKCS1v15(), key)
        if place == "issuer":
            name = der.sequence(nest, der.integer(1))
            entry = der.sequence(der.integer(0), name, RSA_NAME, der.octet_string(bytes(256)))
        cipher = named(algorithms.CIPHERS["aes128-cbc"].oid, der.octet_string(bytes(16)))
        encrypted = cms_peers.indefinite(0xA0, nest) if place == "content" else der.element(0x80, bytes(32))
        body = der.sequence(
            der.integer(2),
            cms_peers.indefinite(0xA0, nest) if place == "originator" else b"",
            der.set_of([entry]),
            der.sequence(der.oid(DATA), cipher, encrypted),
            cms_peers.indefinite(0xA1, nest) if place == "attributes" else b"",
        )
        headers.clear()
        with contextlib.suppress(CannotDecrypt):
            cms.decrypt(named("1.2.840.113549.1.7.3", der.element(0xA0, body)), who(ALICE))
        return len(headers)

    few, many = work(10), work(80)
    assert (
        many - few <= 3 * 20 * 70
    )  # each header read three times at most: stepped over, captured, re-written
    assert many < 9 * few


# --- hostile octets -------------------------------------------------------------------------------------

SEALED = cms.encrypt(CONTENT, [ALICE.certificate, BOB.certificate], cipher="aes128-gcm")
PLAIN = cms_peers.stream_envelope(cms.encrypt(CONTENT, [ALICE.certificate, BOB.certificate]), 100)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([ALICE, BOB]))
def test_an_altered_octet_never_alters_authenticated_content(data, person):
    at = data.draw(st.integers(0, len(SEALED) - 1))
    altered = bytearray(SEALED)
    altered[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(AgentError):
        assert cms.decrypt(altered, who(person)).content == CONTENT


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(lambda cut: PLAIN[:cut], st.integers(0, len(PLAIN))),
        st.builds(
            lambda at, cut, inserted: PLAIN[:at] + inserted + PLAIN[at + cut :],
            st.integers(0, len(PLAIN)),
            st.integers(0, 3),
            st.binary(max_size=5),
        ),
    )
)
def test_any_octets_give_a_result_or_an_agent_error(octets):
    with contextlib.suppress(AgentError):
        cms.decrypt(octets, who(ALICE, BOB), legacy=frozenset({"tripledes", "rsa1024"}))
