"""Which digests, signatures, ciphers and key transports are taken, by object identifier.

RFC 5754 (SHA-2), RFC 4056 and RFC 4055 (PSS, OAEP), RFC 3565 and RFC 5084 (AES), RFC 5753 (elliptic curves).
The tolerances a caller may hand in as `legacy` are `sha1_digest`, `tripledes` and `rsa1024`; without them
only what RFC 8551 section 2 still calls for passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from directmsg.agent import ber, der
from directmsg.agent.ber import Reader, dotted
from directmsg.agent.der import oid_contents
from directmsg.agent.errors import (
    BadSignature,
    Malformed,
    UnsupportedAlgorithm,
    WeakCipher,
    WeakDigest,
    WeakKey,
)

_T = TypeVar("_T")
RsaPadding = padding.PKCS1v15 | padding.PSS

RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"
RSAES_OAEP: Final = "1.2.840.113549.1.1.7"
MGF1: Final = "1.2.840.113549.1.1.8"
P_SPECIFIED: Final = "1.2.840.113549.1.1.9"
RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"

_RSA_ENCRYPTION: Final = oid_contents(RSA_ENCRYPTION)
_RSAES_OAEP: Final = oid_contents(RSAES_OAEP)
_MGF1: Final = oid_contents(MGF1)
_P_SPECIFIED: Final = oid_contents(P_SPECIFIED)
_RSASSA_PSS: Final = oid_contents(RSASSA_PSS)

MIN_RSA_BITS: Final = 2048
MIN_LEGACY_RSA_BITS: Final = 1024
#: Beyond this one operation costs more than a whole message should.
MAX_RSA_BITS: Final = 8192
_MAX_SALT: Final = 1024
_MAX_PARAMETERS: Final = 4096


class AlgorithmIdentifier(NamedTuple):
    """RFC 5280 section 4.1.1.2: the identifier's contents, the encoded parameters or None, and the whole."""

    oid: bytes
    parameters: bytes | None
    encoded: bytes

    @property
    def has_no_parameters(self) -> bool:
        """Absent and NULL mean the same (RFC 5754 section 2)."""
        return self.parameters is None or self.parameters == der.NULL


def read_algorithm(reader: Reader) -> AlgorithmIdentifier:
    """The AlgorithmIdentifier at the cursor. Raises Malformed, TooLarge."""
    start = reader.at
    reader.enter(ber.SEQUENCE)
    oid = reader.small(ber.OBJECT_IDENTIFIER)
    parameters = reader.bounded(_MAX_PARAMETERS) if reader.tag() != ber.END else None
    reader.leave()
    return AlgorithmIdentifier(oid, parameters, bytes(reader.since(start)))


#: The same few identifiers come by with every message; what they mean is worked out once. Errors are not
#: kept.
_remembered = lru_cache(maxsize=256)


def _by_contents(table: Mapping[str, _T]) -> dict[bytes, _T]:
    return {oid_contents(oid): value for oid, value in table.items()}


# --- digests --------------------------------------------------------------------------------------------

HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - by tolerance only; and inside OAEP, where collisions do not matter
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
DIGEST_OIDS: Final = {
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_DIGESTS: Final = _by_contents(
    {
        "1.3.14.3.2.26": "sha1",
        "2.16.840.1.101.3.4.2.4": "sha224",
        **{oid: name for name, oid in DIGEST_OIDS.items()},
        "1.2.840.113549.2.2": "md2",
        "1.2.840.113549.2.4": "md4",
        "1.2.840.113549.2.5": "md5",
    }
)


@_remembered
def digest_name(algorithm: AlgorithmIdentifier) -> str:
    """ "sha256" and so on, weak ones too. Raises UnsupportedAlgorithm."""
    name = _DIGESTS.get(algorithm.oid)
    if name is None or not algorithm.has_no_parameters:
        raise UnsupportedAlgorithm(f"digest {dotted(algorithm.oid)}")
    return name


def require_strong_digest(name: str, legacy: frozenset[str]) -> None:
    """SHA-256, SHA-384, SHA-512; SHA-1 only with `sha1_digest`. Raises WeakDigest."""
    if name not in DIGEST_OIDS and not (name == "sha1" and "sha1_digest" in legacy):
        raise WeakDigest(f"signed with {name}")


# --- signatures -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """How a signature is made: `name` for people, the padding for RSA or None for ECDSA."""

    name: str
    rsa_padding: RsaPadding | None


_PKCS1V15: Final = SignatureScheme("rsa-pkcs1v15", padding.PKCS1v15())
_ECDSA: Final = SignatureScheme("ecdsa", None)
#: Signature identifiers that name their digest (None: digestAlgorithm alone says it, RFC 5754 section 3.2).
_SIGNATURES: Final = _by_contents(
    {
        RSA_ENCRYPTION: (_PKCS1V15, None),
        "1.2.840.113549.1.1.4": (_PKCS1V15, "md5"),
        "1.2.840.113549.1.1.5": (_PKCS1V15, "sha1"),
        "1.3.14.3.2.29": (_PKCS1V15, "sha1"),
        "1.2.840.113549.1.1.14": (_PKCS1V15, "sha224"),
        "1.2.840.113549.1.1.11": (_PKCS1V15, "sha256"),
        "1.2.840.113549.1.1.12": (_PKCS1V15, "sha384"),
        "1.2.840.113549.1.1.13": (_PKCS1V15, "sha512"),
        EC_PUBLIC_KEY: (_ECDSA, None),
        "1.2.840.10045.4.1": (_ECDSA, "sha1"),
        "1.2.840.10045.4.3.1": (_ECDSA, "sha224"),
        "1.2.840.10045.4.3.2": (_ECDSA, "sha256"),
        "1.2.840.10045.4.3.3": (_ECDSA, "sha384"),
        "1.2.840.10045.4.3.4": (_ECDSA, "sha512"),
    }
)
ECDSA_OIDS: Final = {
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}


@_remembered
def signature_scheme(
    algorithm: AlgorithmIdentifier, digest: str, legacy: frozenset[str] = frozenset()
) -> SignatureScheme:
    """The scheme of `algorithm` over `digest`, the digest the signer says to have used.

    Raises BadSignature when the two name different digests, WeakDigest, UnsupportedAlgorithm, Malformed.
    """
    if algorithm.oid == _RSASSA_PSS:
        return _pss(algorithm, digest, legacy)
    scheme, named = _SIGNATURES.get(algorithm.oid, (None, None))
    if scheme is None:
        raise UnsupportedAlgorithm(f"signature {dotted(algorithm.oid)}")
    if scheme is not _ECDSA and not algorithm.has_no_parameters:
        raise UnsupportedAlgorithm(f"parameters of signature {dotted(algorithm.oid)}")
    if named is not None:
        require_strong_digest(named, legacy)
        _require_same_digest(named, digest)
    return scheme


def _require_same_digest(named: str, digest: str) -> None:
    if named != digest:
        raise BadSignature(f"digest {digest}, but signed with {named}")


def _pss(algorithm: AlgorithmIdentifier, digest: str, legacy: frozenset[str]) -> SignatureScheme:
    """RFC 4055 section 3.1: what is absent means SHA-1, MGF1 with SHA-1, a salt of 20 octets, trailer 1."""
    if algorithm.parameters is None:
        raise Malformed("RSASSA-PSS without parameters")
    reader = Reader(algorithm.parameters)
    reader.enter(ber.SEQUENCE)
    name = _explicit_digest(reader, 0)
    mask = _explicit_mask(reader, 1)
    salt, trailer = _explicit_number(reader, 2, 20), _explicit_number(reader, 3, 1)
    reader.leave()
    reader.finish()
    require_strong_digest(name, legacy)
    require_strong_digest(mask, legacy)
    _require_same_digest(name, digest)
    if trailer != 1 or salt > _MAX_SALT:
        raise UnsupportedAlgorithm("parameters of RSASSA-PSS")
    return SignatureScheme("rsa-pss", padding.PSS(padding.MGF1(HASHES[mask]), salt))


def _explicit_digest(reader: Reader, number: int) -> str:
    if not _enter_explicit(reader, number):
        return "sha1"
    name = digest_name(read_algorithm(reader))
    reader.leave()
    return name


def _explicit_mask(reader: Reader, number: int) -> str:
    if not _enter_explicit(reader, number):
        return "sha1"
    mask = read_algorithm(reader)
    reader.leave()
    if mask.oid != _MGF1 or mask.parameters is None:
        raise UnsupportedAlgorithm(f"mask generation {dotted(mask.oid)}")
    return digest_name(read_algorithm(Reader(mask.parameters)))


def _explicit_number(reader: Reader, number: int, default: int) -> int:
    if not _enter_explicit(reader, number):
        return default
    value = reader.number()
    reader.leave()
    return value


def _enter_explicit(reader: Reader, number: int) -> bool:
    tag = ber.CONTEXT | ber.CONSTRUCTED | number
    if reader.tag() != tag:
        return False
    reader.enter(tag)
    return True


# --- keys -----------------------------------------------------------------------------------------------

CURVES: Final[dict[str, ec.EllipticCurve]] = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1()}


def require_strong_key(
    key: object, legacy: frozenset[str] = frozenset()
) -> rsa.RSAPublicKey | rsa.RSAPrivateKey | ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey:
    """RSA from 2048 bits up (1024 with `rsa1024`), P-256 or P-384. Raises WeakKey, UnsupportedAlgorithm."""
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        if key.key_size < (MIN_LEGACY_RSA_BITS if "rsa1024" in legacy else MIN_RSA_BITS):
            raise WeakKey(f"RSA key of {key.key_size} bits")
        if key.key_size > MAX_RSA_BITS:
            raise UnsupportedAlgorithm(f"RSA key of {key.key_size} bits")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        if key.curve.name not in CURVES:
            raise WeakKey(f"key on curve {key.curve.name}")
        return key
    raise WeakKey("neither an RSA key nor one on P-256 or P-384")


# --- ciphers --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cipher:
    """A content cipher: `mode` is "cbc" or "gcm", sizes in octets."""

    name: str
    oid: str
    mode: str
    key_size: int
    block_size: int = 16


CIPHERS: Final = {
    cipher.name: cipher
    for cipher in (
        Cipher("aes128-cbc", "2.16.840.1.101.3.4.1.2", "cbc", 16),
        Cipher("aes192-cbc", "2.16.840.1.101.3.4.1.22", "cbc", 24),
        Cipher("aes256-cbc", "2.16.840.1.101.3.4.1.42", "cbc", 32),
        Cipher("aes128-gcm", "2.16.840.1.101.3.4.1.6", "gcm", 16),
        Cipher("aes192-gcm", "2.16.840.1.101.3.4.1.26", "gcm", 24),
        Cipher("aes256-gcm", "2.16.840.1.101.3.4.1.46", "gcm", 32),
        Cipher("tripledes-cbc", "1.2.840.113549.3.7", "cbc", 24, 8),
    )
}
_CIPHERS: Final = _by_contents({cipher.oid: cipher for cipher in CIPHERS.values()})
_WEAK_CIPHERS: Final = _by_contents(
    {"1.3.14.3.2.7": "des-cbc", "1.2.840.113549.3.2": "rc2-cbc", "1.2.840.113549.3.4": "rc4"}
)


@dataclass(frozen=True, slots=True)
class CipherUse:
    """A cipher with its parameters: initialisation vector or nonce; octets of the tag for GCM, else 0."""

    cipher: Cipher
    iv: bytes
    tag_size: int


def content_cipher(
    algorithm: AlgorithmIdentifier, *, authenticated: bool, legacy: frozenset[str]
) -> CipherUse:
    """The content cipher and its parameters (RFC 3565 section 4.1, RFC 5084 section 3.2).

    `authenticated` says which content type it stands in; GCM belongs to AuthEnvelopedData and CBC to
    EnvelopedData. Raises WeakCipher, UnsupportedAlgorithm, Malformed.
    """
    cipher = _CIPHERS.get(algorithm.oid)
    if algorithm.oid in _WEAK_CIPHERS:
        raise WeakCipher(f"encrypted with {_WEAK_CIPHERS[algorithm.oid]}")
    if cipher is None or (cipher.mode == "gcm") != authenticated:
        raise UnsupportedAlgorithm(f"cipher {dotted(algorithm.oid)}")
    if cipher.name == "tripledes-cbc" and "tripledes" not in legacy:
        raise WeakCipher("encrypted with triple DES")
    if algorithm.parameters is None:
        raise Malformed("a cipher without its parameters")
    reader = Reader(algorithm.parameters)
    use = _gcm_use(cipher, reader) if cipher.mode == "gcm" else _cbc_use(cipher, reader)
    reader.finish()
    return use


def _cbc_use(cipher: Cipher, reader: Reader) -> CipherUse:
    iv = reader.octets().tobytes()
    if len(iv) != cipher.block_size:
        raise Malformed("initialisation vector of the wrong size")
    return CipherUse(cipher, iv, 0)


def _gcm_use(cipher: Cipher, reader: Reader) -> CipherUse:
    reader.enter(ber.SEQUENCE)
    nonce = reader.octets().tobytes()
    tag_size = reader.number() if reader.tag() == ber.INTEGER else 12
    reader.leave()
    if not 8 <= len(nonce) <= 128 or not 12 <= tag_size <= 16:
        raise Malformed("nonce or tag of the wrong size")
    return CipherUse(cipher, nonce, tag_size)


# --- key transport and agreement -----------------------------------------------------------------------

#: AES key wrap by the size of its key in octets (RFC 3565 section 2.3.2).
KEY_WRAPS: Final = {
    16: "2.16.840.1.101.3.4.1.5",
    24: "2.16.840.1.101.3.4.1.25",
    32: "2.16.840.1.101.3.4.1.45",
}
_KEY_WRAPS: Final = _by_contents({oid: size for size, oid in KEY_WRAPS.items()})
#: dhSinglePass-stdDH; the cofactor of P-256 and P-384 is 1, so cofactor Diffie-Hellman is the same.
STANDARD_DH: Final = {
    "sha1": "1.3.133.16.840.63.0.2",
    "sha224": "1.3.132.1.11.0",
    "sha256": "1.3.132.1.11.1",
    "sha384": "1.3.132.1.11.2",
    "sha512": "1.3.132.1.11.3",
}
_COFACTOR_DH: Final = {
    "sha1": "1.3.133.16.840.63.0.3",
    "sha224": "1.3.132.1.14.0",
    "sha256": "1.3.132.1.14.1",
    "sha384": "1.3.132.1.14.2",
    "sha512": "1.3.132.1.14.3",
}
_AGREEMENTS: Final = _by_contents(
    {oid: name for table in (STANDARD_DH, _COFACTOR_DH) for name, oid in table.items()}
)


@dataclass(frozen=True, slots=True)
class KeyAgreement:
    """RFC 5753: digest of the X9.63 derivation, the key-wrap algorithm in DER, its key size in octets."""

    name: str
    digest: str
    wrap: bytes
    wrap_size: int


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """RSA: `name` for people, and the padding."""

    name: str
    padding: padding.PKCS1v15 | padding.OAEP


@_remembered
def key_transport(algorithm: AlgorithmIdentifier) -> KeyTransport:
    """PKCS#1 v1.5, or OAEP by its parameters (RFC 4055 section 4.1).

    Raises UnsupportedAlgorithm, Malformed.
    """
    if algorithm.oid == _RSA_ENCRYPTION:
        return KeyTransport("pkcs1v15", padding.PKCS1v15())
    if algorithm.oid != _RSAES_OAEP:
        raise UnsupportedAlgorithm(f"key transport {dotted(algorithm.oid)}")
    name = mask = "sha1"  # absent or empty parameters mean SHA-1 throughout, never SHA-256
    label = b""
    if not algorithm.has_no_parameters:
        reader = Reader(algorithm.parameters or b"")
        reader.enter(ber.SEQUENCE)
        name, mask, label = _explicit_digest(reader, 0), _explicit_mask(reader, 1), _label(reader)
        reader.leave()
        reader.finish()
    if name not in HASHES or mask not in HASHES:
        raise UnsupportedAlgorithm("digest of RSAES-OAEP")
    return KeyTransport(f"oaep-{name}", padding.OAEP(padding.MGF1(HASHES[mask]), HASHES[name], label))


def _label(reader: Reader) -> bytes:
    if not _enter_explicit(reader, 2):
        return b""
    source = read_algorithm(reader)
    reader.leave()
    if source.oid != _P_SPECIFIED or source.parameters is None:
        raise UnsupportedAlgorithm(f"label of RSAES-OAEP {dotted(source.oid)}")
    return Reader(source.parameters).octets().tobytes()


@_remembered
def key_agreement(algorithm: AlgorithmIdentifier) -> KeyAgreement:
    """Ephemeral-static Diffie-Hellman with AES key wrap. Raises UnsupportedAlgorithm, Malformed."""
    digest = _AGREEMENTS.get(algorithm.oid)
    if digest is None or algorithm.parameters is None:
        raise UnsupportedAlgorithm(f"key agreement {dotted(algorithm.oid)}")
    wrap = read_algorithm(Reader(algorithm.parameters))
    size = _KEY_WRAPS.get(wrap.oid)
    if size is None:
        raise UnsupportedAlgorithm(f"key wrap {dotted(wrap.oid)}")
    return KeyAgreement(f"ecdh-{digest}", digest, der.from_ber(wrap.encoded), size)
