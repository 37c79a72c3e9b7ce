"""Whatever comes, the answer is a verdict: no crash, no hang, no change that goes unnoticed."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from tests.pki_factory import days, forge, issue, make_ca, make_crl, make_p7b
from trust.pki import errors
from trust.pki.bundle import read_bundle
from trust.pki.certs import Certificate, require_direct_leaf
from trust.pki.load import load_certificates
from trust.pki.path import verify_path
from trust.pki.policy import Policy, TrustContext

NOW = days(0)
ROUNDS = 400


def mutations(data: bytes, seed: int) -> Iterator[bytes]:
    """Bytes changed, dropped, put in or copied over, each differing from `data`."""
    chance = random.Random(seed)
    made = 0
    while made < ROUNDS:
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 3))):
            at, other = chance.randrange(len(changed)), chance.randrange(len(changed))
            kind = chance.randrange(4)
            if kind == 0:
                changed[at] = chance.randrange(256)
            elif kind == 1:
                del changed[at]
            elif kind == 2:
                changed.insert(at, chance.randrange(256))
            else:
                changed[at : at + 9] = changed[other : other + 9]
        if changed != data:
            made += 1
            yield bytes(changed)


class Material:
    def __init__(self) -> None:
        self.root = make_ca("Hostile Root")
        self.middle = make_ca("Hostile CA", issuer=self.root, permitted=[x509.DNSName("example.org")])
        self.leaf = issue(
            self.middle,
            domains=["direct.example.org"],
            cdp=["http://crl.example.org/c"],
            aia=["http://ca.example.org/c"],
            policies=["1.3.6.1.4.1.55555.1"],
        )
        self.root_list = make_crl(self.root)
        self.context = TrustContext((Certificate(self.root.der),))


@pytest.fixture(scope="module")
def material() -> Material:
    return Material()


def test_changed_leaves_are_refused(material: Material) -> None:
    for data in mutations(material.leaf.der, 1):
        with pytest.raises(errors.PkiError):
            verify_path(Certificate(data), [Certificate(material.middle.der)], material.context, NOW)


def test_changed_intermediates_are_refused(material: Material) -> None:
    for data in mutations(material.middle.der, 2):
        with pytest.raises(errors.PkiError):
            verify_path(Certificate(material.leaf.der), [Certificate(data)], material.context, NOW)


def test_changed_certificates_are_read_or_refused(material: Material) -> None:
    for data in mutations(material.leaf.der, 3):
        try:
            certificate = Certificate(data)
            require_direct_leaf(certificate, Policy())
            assert certificate.subject
            assert certificate.issuer
        except errors.PkiError:
            continue


def test_changed_lists_neither_clear_nor_condemn(material: Material) -> None:
    lists = [make_crl(material.middle), make_crl(material.middle, [material.leaf])]
    for seed, crl in enumerate(lists):
        for data in mutations(crl, seed):
            context = TrustContext(material.context.anchors, (material.root_list, data))
            chain = verify_path(
                Certificate(material.leaf.der), [Certificate(material.middle.der)], context, NOW
            )
            assert chain.revocation == "unknown"


def test_changed_bundles_never_change_what_was_signed(material: Material) -> None:
    signer = issue(None, emails=["bundles@community.example"])
    inner = make_p7b([material.root, material.middle])
    builder = pkcs7.PKCS7SignatureBuilder().set_data(inner)
    builder = builder.add_signer(signer.certificate, signer.private_key, hashes.SHA256())
    data = builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
    wanted = set(load_certificates(inner))
    for changed in mutations(data, 4):
        try:
            bundle = read_bundle(changed, signer=Certificate(signer.der), at=NOW)
        except errors.BundleError:
            continue
        assert set(bundle.anchors) == wanted


@pytest.mark.parametrize("version", [4, 77, 255])
def test_versions_that_do_not_exist(material: Material, version: int) -> None:
    def renumber(tbs: Any) -> None:
        tbs["version"] = version - 1

    made = forge(material.leaf, renumber)
    with pytest.raises((errors.NotVersion3, errors.MalformedCertificate)):
        verify_path(Certificate(made.der), [Certificate(material.middle.der)], material.context, NOW)


def test_nesting_ends(material: Material) -> None:
    for data in (b"\x30\x80" * 100_000, b"\x30\x84\xff\xff\xff\xff" * 1000, b"\xa0\x80" * 50_000):
        with pytest.raises(errors.MalformedCertificate):
            load_certificates(data)
        with pytest.raises(errors.InvalidBundleFormat):
            read_bundle(data, signer=None, at=NOW)


# --- the package itself ---------------------------------------------------------------------------------


def leaves(base: type[errors.PkiError]) -> Iterator[type[errors.PkiError]]:
    for each in base.__subclasses__():
        if not each.__name__.startswith("_"):
            yield each
            yield from leaves(each)


def test_codes_are_stable_words_of_one_meaning() -> None:
    shared = {errors.MissingIssuer, errors.MissingCrl}
    found = [each for each in leaves(errors.PkiError) if each not in shared]
    codes = [each.code for each in found]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and code.replace("_", "").isalnum() for code in codes)
    assert {each.code for each in shared} == {"untrusted_chain", "revocation_unknown"}
    assert all(each.__doc__ for each in found)


def test_the_package_is_pure() -> None:
    program = (
        "import sys, trust.pki.path, trust.pki.bundle\n"
        "print([name for name in ('django', 'oscrypto', 'directmsg', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
