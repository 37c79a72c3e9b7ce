"""The path validation suite of NIST (PKITS 1.0.1, 2011 edition): all its signed mails, judged offline.

Each mail brings the leaf, the intermediates and the revocation lists of its case. The gate is that nothing is
accepted which should not be; what is refused though it is good stands in a list below, with the reason.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cryptography_vectors
import pytest
from asn1crypto import cms

from trust.pki import ber
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError
from trust.pki.load import certificates_of, signed_data
from trust.pki.path import verify_path
from trust.pki.policy import Policy, TrustContext

FOLDER = Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data"
MAILS = sorted((FOLDER / "smime").glob("*.eml"))
ANCHOR = Certificate((FOLDER / "certs" / "TrustAnchorRootCertificate.crt").read_bytes())
AT = datetime(2020, 6, 1, tzinfo=UTC)

#: Cases of section 4.8 whose names do not say it: invalid though any policy is acceptable to start with,
#: because a certificate on the path demands an explicit policy and the policies do not meet.
INVALID_POLICIES = {f"SignedDifferentPoliciesTest{number}" for number in (4, 5, 7, 8, 9, 12)}

#: Cases whose names do not say that they are invalid: there is no list for one of the certificates.
INVALID_REVOCATION = {"SignedMissingCRLTest1"}

_DSA = "a DSA key signs on the path, and DSA keys are refused"
_INDIRECT = "the list is signed by another authority than the issuer, and indirect lists are not believed"

#: Good cases that are refused, by choice, with what refuses them.
FALSE_REJECTS = {
    "SignedValidDSASignaturesTest4": _DSA,
    "SignedValidDSAParameterInheritanceTest5": _DSA,
    "SignedValidIDPwithindirectCRLTest22": _INDIRECT,
    "SignedValidIDPwithindirectCRLTest24": _INDIRECT,
    "SignedValidIDPwithindirectCRLTest25": _INDIRECT,
    "SignedValidcRLIssuerTest28": _INDIRECT,
    "SignedValidcRLIssuerTest29": _INDIRECT,
    "SignedValidcRLIssuerTest30": _INDIRECT,
    "SignedValidcRLIssuerTest33": _INDIRECT,
}
REFUSED_WITH = {
    _DSA: {"untrusted_chain", "weak_key", "malformed_certificate"},
    _INDIRECT: {"revocation_unknown"},
}


@dataclass(frozen=True)
class Case:
    leaf: Certificate
    intermediates: tuple[Certificate, ...]
    crls: tuple[bytes, ...]


def read_case(mail: Path) -> Case:
    """Leaf (the signer's certificate), intermediates and lists, out of the detached signature of a mail."""
    body = re.search(rb"filename=\"smime.p7s\"\s+([A-Za-z0-9+/=\s]+)-----", mail.read_bytes())
    assert body, mail
    fields = signed_data(binascii.a2b_base64(body[1]))
    signer = cms.SignerInfo.load(next(ber.children(fields[-1])).raw)["sid"].chosen
    wanted = (signer["issuer"].dump(), signer["serial_number"].native)
    found = certificates_of(fields)
    (leaf,) = [each for each in found if (each.raw_issuer, each.serial_number) == wanted]
    lists = [ber.children(each) for each in fields if each.tag == 0xA1]
    crls = tuple(crl.raw for each in lists for crl in each)
    return Case(leaf, tuple(each for each in found if each is not leaf), crls)


def is_valid(name: str) -> bool:
    return "Invalid" not in name and name not in INVALID_POLICIES | INVALID_REVOCATION


def verdict(mail: Path) -> str | None:
    case = read_case(mail)
    context = TrustContext((ANCHOR,), case.crls, Policy(revocation="require"))
    try:
        chain = verify_path(case.leaf, case.intermediates, context, AT)
    except PkiError as error:
        return error.code
    assert chain.revocation == "good"
    return None


def test_the_suite_is_whole() -> None:
    assert len(MAILS) == 224
    named = set(FALSE_REJECTS) | INVALID_POLICIES | INVALID_REVOCATION
    assert named <= {mail.stem for mail in MAILS}
    assert all(is_valid(name) for name in FALSE_REJECTS)
    assert len(MAILS) - len(FALSE_REJECTS) == 215


@pytest.mark.parametrize("mail", MAILS, ids=lambda mail: mail.stem)
def test_case(mail: Path) -> None:
    code = verdict(mail)
    if mail.stem in FALSE_REJECTS:
        assert code in REFUSED_WITH[FALSE_REJECTS[mail.stem]]
    elif is_valid(mail.stem):
        assert code is None
    else:
        assert code is not None
