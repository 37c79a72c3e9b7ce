"""Trust bundles, in every shape they come in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from tests.pki_factory import Issued, days, issue, make_ca, make_p7b, to_pem
from trust.pki import ber, errors
from trust.pki.bundle import Bundle, read_bundle
from trust.pki.certs import Certificate

NOW = days(0)
METADATA = b"""<?xml version="1.0"?>
<!DOCTYPE TrustBundle [<!ENTITY file SYSTEM "file:///etc/passwd">]>
<TrustBundle><Profile>&file;</Profile></TrustBundle>"""


@pytest.fixture(scope="module")
def anchors() -> list[Issued]:
    return [make_ca(f"Community Anchor {number}", key="p256") for number in range(3)]


@pytest.fixture(scope="module")
def signer() -> Issued:
    return issue(make_ca("Community"), emails=["bundles@community.example"], fresh_key=True)


def read(data: bytes, signer: Issued | None = None, at: Any = NOW) -> Bundle:
    return read_bundle(data, signer=Certificate(signer.der) if signer else None, at=at)


def fingerprints(bundle: Bundle) -> list[str]:
    return sorted(each.sha256 for each in bundle.anchors)


def expected(anchors: list[Issued]) -> list[str]:
    return sorted(each.sha256 for each in anchors)


def sign(content: bytes, signer: Issued, digest: Any = None) -> bytes:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    builder = builder.add_signer(signer.certificate, signer.private_key, digest or hashes.SHA256())
    return builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])


def openssl_sign(folder: Path, content: bytes, signer: Issued, *options: str) -> bytes:
    """What another implementation makes: streamed BER, other paddings, other digests."""
    (folder / "content").write_bytes(content)
    (folder / "signer.pem").write_bytes(signer.pem + signer.key_pem)
    command = ["openssl", "cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-signer", "signer.pem",
               "-in", "content", "-out", "out", *options]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "out").read_bytes()


def indefinite(data: bytes, depth: int = 3) -> bytes:
    """The same element in indefinite lengths, `depth` levels down."""
    element = ber.read(data)
    if not element.constructed or depth == 0:
        return data
    inside = b"".join(indefinite(each.raw, depth - 1) for each in ber.children(element))
    return bytes((element.tag, 0x80)) + inside + b"\x00\x00"


def with_metadata(collection: bytes, content: bytes) -> bytes:
    """The collection with encapsulated content put into it."""
    info = list(ber.children(ber.read(collection)))
    fields = list(ber.children(next(ber.children(info[1]))))
    kind = next(ber.children(fields[2])).raw
    fields_raw = [each.raw for each in fields]
    fields_raw[2] = ber.wrap(0x30, kind + ber.wrap(0xA0, ber.wrap(0x04, content)))
    return ber.wrap(0x30, info[0].raw + ber.wrap(0xA0, ber.wrap(0x30, b"".join(fields_raw))))


# --- unsigned -------------------------------------------------------------------------------------------


def test_plain_collections(anchors: list[Issued]) -> None:
    der = make_p7b(anchors)
    shapes = [
        der,
        make_p7b(anchors, pem=True),
        to_pem(der, "CMS"),
        b"\xef\xbb\xbf" + make_p7b(anchors, pem=True).replace(b"\n", b"\r\n"),
        indefinite(der),
        indefinite(der, 4),
        b"".join(each.pem for each in anchors),
    ]
    for shape in shapes:
        bundle = read(shape)
        assert fingerprints(bundle) == expected(anchors)
        assert (bundle.signed_by, bundle.metadata) == (None, None)


def test_metadata_is_kept_unread(anchors: list[Issued]) -> None:
    bundle = read(with_metadata(make_p7b(anchors), METADATA))
    assert fingerprints(bundle) == expected(anchors)
    assert bundle.metadata == METADATA


def test_an_anchor_twice_is_one(anchors: list[Issued]) -> None:
    assert len(read(b"".join(each.pem for each in [*anchors, *anchors])).anchors) == 3


def test_expired_anchors_stay_listed(anchors: list[Issued]) -> None:
    old = make_ca("Old Anchor", key="p256", not_before=days(-9), not_after=days(-1))
    bundle = read(make_p7b([*anchors, old]))
    assert len(bundle.anchors) == 4
    assert bundle.expired(NOW) == (Certificate(old.der),)
    assert bundle.expired(days(-2)) == tuple(each for each in bundle.anchors if each.sha256 != old.sha256)


BROKEN = [
    b"",
    b"not a bundle",
    b"<html><body>404</body></html>",
    b"\x30\x80",
    b"\x30\x80" * 5000,
    b"-----BEGIN PKCS7-----\n!!!!\n-----END PKCS7-----\n",
    to_pem(b"\x30\x00", "PKCS7"),
]


@pytest.mark.parametrize("data", BROKEN)
@pytest.mark.parametrize("pinned", [False, True])
def test_garbage(data: bytes, signer: Issued, pinned: bool) -> None:
    with pytest.raises(errors.InvalidBundleFormat):
        read(data, signer if pinned else None)


def test_cut_and_padded_bundles(anchors: list[Issued]) -> None:
    der = make_p7b(anchors)
    for data in (der[:-1], der[: len(der) // 2], der + b"\x00", indefinite(der)[:-2]):
        with pytest.raises(errors.InvalidBundleFormat):
            read(data)


def test_a_bundle_without_anchors_is_none(signer: Issued) -> None:
    empty = with_metadata(make_p7b([signer]), METADATA)
    fields = list(ber.children(next(ber.children(list(ber.children(ber.read(empty)))[1]))))
    bare = b"".join(each.raw for each in fields if each.tag != 0xA0)
    data = ber.wrap(0x30, next(ber.children(ber.read(empty))).raw + ber.wrap(0xA0, ber.wrap(0x30, bare)))
    with pytest.raises(errors.InvalidBundleFormat, match="no anchor"):
        read(data)
    with pytest.raises(errors.InvalidBundleFormat, match="no anchor"):
        read(sign(make_p7b([signer]), signer), signer)


def test_too_large() -> None:
    with pytest.raises(errors.InvalidBundleFormat, match="more than"):
        read(b"\x30" * (8 * 1024 * 1024 + 1))


# --- signed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pinned", [True, False])
def test_signed_by_its_signer(anchors: list[Issued], signer: Issued, pinned: bool) -> None:
    plain = make_p7b(anchors)
    for inner in (plain, make_p7b(anchors, pem=True), indefinite(plain), with_metadata(plain, METADATA)):
        for digest in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
            bundle = read(sign(inner, signer, digest), signer if pinned else None)
            assert fingerprints(bundle) == expected(anchors)
            assert bundle.signed_by == Certificate(signer.der)
    assert read(to_pem(sign(plain, signer), "PKCS7"), signer).signed_by


def test_metadata_of_a_signed_bundle(anchors: list[Issued], signer: Issued) -> None:
    bundle = read(sign(with_metadata(make_p7b(anchors), METADATA), signer), signer)
    assert bundle.metadata == METADATA


def test_what_openssl_signs(anchors: list[Issued], signer: Issued, tmp_path: Path) -> None:
    inner = make_p7b(anchors)
    shapes = [
        ("-stream", "-indef"),
        ("-keyid",),
        ("-keyopt", "rsa_padding_mode:pss"),
        ("-md", "sha512"),
        ("-noattr",),
        ("-nocerts",),
    ]
    for options in shapes:
        bundle = read(openssl_sign(tmp_path, inner, signer, *options), signer)
        assert fingerprints(bundle) == expected(anchors), options
        assert bundle.signed_by == Certificate(signer.der)
    elliptic = issue(None, emails=["bundles@community.example"], key="p384")
    assert read(openssl_sign(tmp_path, inner, elliptic, "-stream"), elliptic).signed_by


def test_the_signer_is_no_anchor(anchors: list[Issued], signer: Issued) -> None:
    bundle = read(sign(make_p7b([*anchors, signer]), signer), signer)
    assert fingerprints(bundle) == expected(anchors)


def test_unsigned_where_a_signer_is_pinned(anchors: list[Issued], signer: Issued) -> None:
    for data in (make_p7b(anchors), with_metadata(make_p7b(anchors), METADATA), make_p7b([*anchors, signer])):
        with pytest.raises(errors.UnmatchedSignature):
            read(data, signer)


def test_signed_by_somebody_else(anchors: list[Issued], signer: Issued) -> None:
    namesake = issue(
        None,
        subject=signer.certificate.subject,
        issuer_name=signer.certificate.issuer,
        serial=signer.certificate.serial_number,
        fresh_key=True,
    )
    stranger = issue(None, emails=["bundles@community.example"], fresh_key=True)
    for other in (namesake, stranger):
        data = sign(make_p7b(anchors), other)
        assert read(data).signed_by == Certificate(other.der)
        with pytest.raises(errors.UnmatchedSignature):
            read(data, signer)


def test_certificates_beside_a_signed_content_are_not_anchors(anchors: list[Issued], signer: Issued) -> None:
    """The signature covers the content, not the certificates that travel with it."""
    stranger = make_ca("Stowaway", key="p256")
    builder = pkcs7.PKCS7SignatureBuilder().set_data(make_p7b(anchors)).add_certificate(stranger.certificate)
    builder = builder.add_signer(signer.certificate, signer.private_key, hashes.SHA256())
    data = builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
    assert fingerprints(read(data, signer)) == expected(anchors)


def test_changed_content_is_refused_pinned_or_not(anchors: list[Issued], signer: Issued) -> None:
    good = sign(make_p7b(anchors), signer)
    at = good.index(b"Community Anchor 1")
    changed = good[:at] + b"Community Anchor 9" + good[at + 18 :]
    for pinned in (signer, None):
        with pytest.raises(errors.UnmatchedSignature):
            read(changed, pinned)


def test_every_flipped_byte_of_the_signature_is_noticed(anchors: list[Issued], signer: Issued) -> None:
    good = sign(make_p7b(anchors[:1]), signer)
    for at in range(len(good) - 256, len(good), 16):
        changed = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        with pytest.raises(errors.BundleError):
            read(changed, signer)


def test_weak_and_late_signers(anchors: list[Issued], signer: Issued, tmp_path: Path) -> None:
    inner = make_p7b(anchors)
    old = openssl_sign(tmp_path, inner, signer, "-md", "sha1")
    small = issue(None, emails=["bundles@community.example"], key="rsa1024")
    late = issue(
        None, emails=["b@community.example"], not_before=days(-9), not_after=days(-1), fresh_key=True
    )
    for data, by in ((old, signer), (sign(inner, small), small), (sign(inner, late), late)):
        with pytest.raises(errors.UnmatchedSignature):
            read(data, by)
        assert read(data).signed_by is None
        assert fingerprints(read(data)) == expected(anchors)
    assert read(sign(inner, late), late, days(-2)).signed_by == Certificate(late.der)


def test_reading_stays_linear(signer: Issued) -> None:
    """Content in a hundred thousand pieces, as some libraries stream it."""
    pieces = b"\x04\x01x" * 100_000
    kind = bytes.fromhex("06092a864886f70d010701")
    content = b"\x30\x80" + kind + b"\xa0\x80\x24\x80" + pieces + b"\x00\x00" * 3
    body = b"\x30\x80\x02\x01\x01\x31\x00" + content + b"\x31\x00\x00\x00"
    data = b"\x30\x80" + bytes.fromhex("06092a864886f70d010702") + b"\xa0\x80" + body + b"\x00\x00\x00\x00"
    with pytest.raises(errors.InvalidBundleFormat, match="no anchor"):
        read(data)
