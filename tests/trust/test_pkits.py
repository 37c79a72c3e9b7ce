"""The path validation suite of NIST (PKITS 1.0.1, 2011 edition): all its signed mails through `check_path`.

Each mail brings the leaf, the intermediates and the revocation lists of its case. The gate is that nothing is
accepted which should not be; what is refused though it is good stands in a list below, with the reason, and
by name in docs/direct-conformance.md.
"""

from __future__ import annotations

import binascii
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cryptography_vectors
import pytest
from asn1crypto import cms
from django.core.management import call_command

from trust.pki import ber
from trust.pki.certs import Certificate
from trust.pki.load import certificates_of, signed_data

ROOT = Path(__file__).parents[2]
FOLDER = Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data"
MAILS = sorted((FOLDER / "smime").glob("*.eml"))
ANCHOR = FOLDER / "certs" / "TrustAnchorRootCertificate.crt"
AT = "2020-06-01T00:00:00Z"

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


def arguments(mail: Path, folder: Path) -> list[str]:
    """What the command gets for a mail: its certificates and lists as files in `folder`."""
    case = read_case(mail)
    (folder / "leaf.crt").write_bytes(case.leaf.der)
    words = ["--leaf", str(folder / "leaf.crt"), "--anchor", str(ANCHOR)]
    parts = [("intermediate", each.der) for each in case.intermediates]
    parts += [("crl", each) for each in case.crls]
    for number, (kind, data) in enumerate(parts):
        path = folder / f"{number}.{kind}"
        path.write_bytes(data)
        words += [f"--{kind}", str(path)]
    return [*words, "--revocation", "require", "--at", AT, "--json"]


def check_path(mail: Path, folder: Path) -> tuple[int, dict]:
    """Exit code and answer of the command, in this process."""
    out, code = io.StringIO(), 0
    try:
        call_command("check_path", *arguments(mail, folder), stdout=out)
    except SystemExit as end:
        code = end.code
    return code, json.loads(out.getvalue())


def test_the_suite_is_whole() -> None:
    assert len(MAILS) == 224
    named = set(FALSE_REJECTS) | INVALID_POLICIES | INVALID_REVOCATION
    assert named <= {mail.stem for mail in MAILS}
    assert all(is_valid(name) for name in FALSE_REJECTS)
    assert len(MAILS) - len(FALSE_REJECTS) == 215


@pytest.mark.parametrize("mail", MAILS, ids=lambda mail: mail.stem)
def test_case(mail: Path, tmp_path: Path) -> None:
    code, answer = check_path(mail, tmp_path)
    assert code == (0 if answer["trusted"] else 1)
    assert bool(answer["code"]) is not answer["trusted"]
    if mail.stem in FALSE_REJECTS:
        assert answer["code"] in REFUSED_WITH[FALSE_REJECTS[mail.stem]]
    else:
        assert answer["trusted"] is is_valid(mail.stem)
    if answer["trusted"]:
        assert answer["revocation"] == "good"


@pytest.mark.parametrize("name", ["SignedValidSignaturesTest1", "SignedInvalidEESignatureTest3"])
def test_the_command_as_operators_run_it(name: str, tmp_path: Path) -> None:
    (mail,) = [each for each in MAILS if each.stem == name]
    command = [sys.executable, str(ROOT / "manage.py"), "check_path", *arguments(mail, tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=120, cwd=tmp_path)
    assert done.returncode == (0 if is_valid(name) else 1), done.stderr
    assert json.loads(done.stdout)["trusted"] is is_valid(name)


def test_the_misses_are_listed_by_name() -> None:
    text = (ROOT / "docs" / "direct-conformance.md").read_text()
    listed = re.findall(r"^\| `(Signed\w+)` \| ([^|]+?) \|$", text, re.MULTILINE)
    assert dict(listed) == FALSE_REJECTS
    assert f"{len(MAILS) - len(FALSE_REJECTS)} of {len(MAILS)}" in text
