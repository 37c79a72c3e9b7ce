"""OCSP answers: whose are believed, for which certificate, and for how long."""

import datetime
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests import pki_factory as pki
from trust.pki.certs import Certificate
from trust.pki.errors import (
    MalformedOcsp,
    OcspNotAnswered,
    OcspNotCurrent,
    OcspOtherCertificate,
    OcspUnmatchedSignature,
    PkiError,
    RevocationUnknown,
    Revoked,
)
from trust.pki.ocsp import OcspAnswer, question, require_usable
from trust.pki.path import verdict_key, verify_path
from trust.pki.policy import Policy, TrustContext

CA = pki.make_ca("Yarrow CA")
STRANGER = pki.make_ca("Yarrow CA")
LEAF = pki.issue(CA, domains=["direct.yarrow.example"], fresh_key=True)
OTHER = pki.issue(CA, domains=["direct.sorrel.example"], fresh_key=True)
RESPONDER = pki.make_responder(CA)
REQUIRE = Policy(revocation="require", crl_grace=datetime.timedelta(hours=24))


def usable(der, leaf=LEAF, ca=CA, at=None, policy=REQUIRE):
    return require_usable(
        OcspAnswer(der), Certificate(leaf.der), Certificate(ca.der), at or pki.utc_now(), policy
    )


def judge(*answers, crls=(), leaf=LEAF, at=None, policy=REQUIRE, anchor=CA, hints=()):
    context = TrustContext((Certificate(anchor.der),), tuple(crls), policy, tuple(answers))
    pool = [Certificate(each.der) for each in hints]
    return verify_path(Certificate(leaf.der), pool, context, at or pki.utc_now())


# --- asking ---------------------------------------------------------------------------------------------


def test_the_question_names_the_certificate_by_its_issuer_and_serial_number():
    asked = ocsp.load_der_ocsp_request(question(Certificate(LEAF.der), Certificate(CA.der)))
    made = ocsp.OCSPRequestBuilder().add_certificate(LEAF.certificate, CA.certificate, hashes.SHA1()).build()
    assert asked.serial_number == LEAF.certificate.serial_number
    assert (asked.issuer_name_hash, asked.issuer_key_hash) == (made.issuer_name_hash, made.issuer_key_hash)
    assert not list(asked.extensions)


# --- believed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        partial(pki.make_ocsp, LEAF),
        partial(pki.make_ocsp, LEAF, by_name=True),
        partial(pki.make_ocsp, LEAF, cert_id=hashes.SHA256()),
        partial(pki.make_ocsp, LEAF, signer=RESPONDER),
        partial(pki.make_ocsp, LEAF, signer=RESPONDER, by_name=True, digest="sha384"),
        partial(pki.make_ocsp, LEAF, signer=pki.make_responder(CA, key="p256")),
        partial(pki.make_ocsp, LEAF, signer=RESPONDER, include=[OTHER, STRANGER, RESPONDER]),
        partial(pki.make_ocsp, LEAF, extra=[(x509.OCSPNonce(b"n" * 16), False)]),
    ],
)
def test_the_issuers_word_and_its_responders_make_good(make):
    chain = judge(make())
    assert (chain.revocation, chain.warnings) == ("good", ())


@pytest.mark.parametrize("policy", [REQUIRE, Policy()])
@pytest.mark.parametrize("signer", [None, RESPONDER])
def test_known_to_be_revoked_is_refused_whatever_else_is_unknown(policy, signer):
    answer = pki.make_ocsp(LEAF, "revoked", signer=signer, reason=x509.ReasonFlags.key_compromise)
    with pytest.raises(Revoked) as refused:
        judge(answer, policy=policy)
    assert refused.value.reason == "keyCompromise"


def test_every_certificate_below_the_anchor_is_asked_about():
    middle = pki.make_ca("Yarrow Issuing CA", issuer=CA)
    leaf = pki.issue(middle, domains=["direct.yarrow.example"])
    answers = [pki.make_ocsp(leaf), pki.make_ocsp(middle)]
    assert judge(*answers, leaf=leaf, hints=[middle]).revocation == "good"
    with pytest.raises(RevocationUnknown):
        judge(answers[0], leaf=leaf, hints=[middle])
    with pytest.raises(Revoked):
        judge(answers[0], pki.make_ocsp(middle, "revoked"), leaf=leaf, hints=[middle], policy=Policy())


def test_a_pinned_leaf_that_its_issuer_revoked_is_refused():
    answer = pki.make_ocsp(LEAF, "revoked")
    with pytest.raises(Revoked):
        judge(answer, anchor=LEAF, hints=[CA], policy=Policy())
    assert judge(anchor=LEAF, hints=[CA], policy=Policy()).anchor == Certificate(LEAF.der)


# --- not believed ---------------------------------------------------------------------------------------

STRANGERS = pki.make_responder(STRANGER)
EXPIRED = pki.make_responder(CA, not_before=pki.days(-9), not_after=pki.days(-1))
WEAK = pki.make_responder(CA, key="rsa1024")
MAY_NOT_SIGN = pki.make_responder(CA, key_usage=("key_encipherment",))
TWO_STEPS_AWAY = pki.make_responder(pki.make_ca("Yarrow Sub CA", issuer=CA))

NOT_FOR_THIS = {
    "a stranger of the same name": {"signer": STRANGER, "include": []},
    "a stranger, his certificate along": {"signer": STRANGER},
    "a responder that a stranger named": {"signer": STRANGERS},
    "another leaf of the CA": {"signer": OTHER},
    "the certificate itself": {"signer": LEAF},
    "a responder of yesterday": {"signer": EXPIRED},
    "a responder whose certificate stayed at home": {"signer": RESPONDER, "include": []},
    "a responder with a weak key": {"signer": WEAK},
    "a responder that may not sign": {"signer": MAY_NOT_SIGN},
    "a responder two steps away": {"signer": TWO_STEPS_AWAY},
}


@pytest.mark.parametrize("state", ["good", "revoked"])
@pytest.mark.parametrize("by", NOT_FOR_THIS)
def test_what_nobody_entitled_signed_says_nothing(by, state):
    answer = pki.make_ocsp(LEAF, state, **NOT_FOR_THIS[by])
    with pytest.raises(OcspUnmatchedSignature):
        usable(answer)
    assert judge(answer, policy=Policy()).revocation == "unknown"
    with pytest.raises(RevocationUnknown):
        judge(answer)


def test_a_certificate_does_not_vouch_for_itself():
    purposes = (pki.EMAIL_PROTECTION, ExtendedKeyUsageOID.OCSP_SIGNING)
    both = pki.issue(CA, domains=["direct.yarrow.example"], eku=purposes, fresh_key=True)
    with pytest.raises(OcspUnmatchedSignature):
        usable(pki.make_ocsp(both, signer=both), leaf=both)
    assert usable(pki.make_ocsp(LEAF, signer=both)).state == "good", "but for others, as its CA says"


def test_an_altered_answer_says_nothing():
    der = pki.make_ocsp(LEAF, "revoked")
    flipped = der[:-10] + bytes([der[-10] ^ 1]) + der[-9:]
    with pytest.raises(OcspUnmatchedSignature):
        usable(flipped)


@pytest.mark.parametrize("state", ["good", "revoked"])
def test_an_answer_about_another_certificate_is_none(state):
    with pytest.raises(OcspOtherCertificate):
        usable(pki.make_ocsp(OTHER, state))
    assert judge(pki.make_ocsp(OTHER, state), policy=Policy()).revocation == "unknown"


def test_the_same_serial_number_of_another_authority_is_another_certificate():
    twin = pki.issue(STRANGER, domains=["direct.yarrow.example"], serial=LEAF.certificate.serial_number)
    with pytest.raises(OcspOtherCertificate):
        usable(pki.make_ocsp(twin, "revoked", signer=CA))


def test_where_responders_must_be_known_to_be_good_a_list_must_say_so():
    responder = pki.make_responder(CA, no_check=False)
    answer = pki.make_ocsp(LEAF, signer=responder)
    with pytest.raises(RevocationUnknown):
        judge(answer)
    assert judge(answer, crls=[pki.make_crl(CA)]).revocation == "good"
    assert judge(answer, policy=Policy()).revocation == "good"


def test_a_revoked_responder_makes_nothing_good():
    responder = pki.make_responder(CA, no_check=False)
    answer = pki.make_ocsp(LEAF, "revoked", signer=responder)
    assert judge(answer, crls=[pki.make_crl(CA, [responder])], policy=Policy()).revocation == "good"


# --- its time -------------------------------------------------------------------------------------------


def test_an_answer_is_good_until_its_end_and_then_stale_for_the_grace():
    answer = pki.make_ocsp(LEAF, this_update=pki.days(-3), next_update=pki.days(-0.5))
    chain = judge(answer)
    assert (chain.revocation, chain.warnings) == ("good", ("crl_stale",))
    with pytest.raises(OcspNotCurrent):
        usable(answer, at=pki.days(0.6))
    with pytest.raises(RevocationUnknown):
        judge(answer, at=pki.days(0.6))


def test_a_revocation_does_not_grow_old():
    answer = pki.make_ocsp(LEAF, "revoked", this_update=pki.days(-30), next_update=pki.days(-20))
    with pytest.raises(Revoked):
        judge(answer, policy=Policy())


def test_an_answer_of_the_future_says_nothing_yet():
    answer = pki.make_ocsp(LEAF, this_update=pki.days(0.1))
    with pytest.raises(OcspNotCurrent):
        usable(answer)
    assert judge(answer, policy=Policy()).revocation == "unknown"
    assert judge(answer, at=pki.days(0.2)).revocation == "good"


def test_a_revocation_by_a_clock_ahead_of_ours_is_heeded_at_once():
    with pytest.raises(Revoked):
        judge(pki.make_ocsp(LEAF, "revoked", this_update=pki.days(0.01)), policy=Policy())


def test_an_unknown_is_asked_again_when_an_answer_begins():
    begins = pki.days(0.1)
    assert judge(pki.make_ocsp(LEAF, this_update=begins), policy=Policy()).expires == begins


def test_an_answer_without_an_end_is_good_for_hours_only():
    answer = pki.make_ocsp(LEAF, this_update=pki.days(-0.1), next_update=None)
    assert judge(answer, policy=Policy(revocation="require")).warnings == ()
    with pytest.raises(RevocationUnknown):
        judge(answer, policy=Policy(revocation="require"), at=pki.days(0.2))


def test_the_verdict_is_kept_no_longer_than_the_answer():
    ends = pki.days(0.3)
    assert judge(pki.make_ocsp(LEAF, next_update=ends)).expires == ends


def test_of_several_answers_the_newest_counts():
    old = pki.make_ocsp(LEAF, "revoked", this_update=pki.days(-2), reason=x509.ReasonFlags.certificate_hold)
    new = pki.make_ocsp(LEAF, "good", this_update=pki.days(-1))
    assert judge(old, new).revocation == "good"
    late = pki.make_ocsp(LEAF, "revoked", this_update=pki.days(-0.1))
    with pytest.raises(Revoked):
        judge(late, new, old)


# --- beside lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "revoked", "verdict"),
    [
        ("good", False, "good"),
        ("unknown", False, "good"),
        ("revoked", False, Revoked),
        ("good", True, Revoked),
        ("unknown", True, Revoked),
        ("revoked", True, Revoked),
    ],
)
def test_a_list_and_an_answer_each_may_refuse(state, revoked, verdict):
    crls = [pki.make_crl(CA, [LEAF] if revoked else [])]
    if verdict is Revoked:
        with pytest.raises(Revoked):
            judge(pki.make_ocsp(LEAF, state), crls=crls)
    else:
        assert judge(pki.make_ocsp(LEAF, state), crls=crls).revocation == verdict


def test_a_fresh_answer_stands_in_for_a_stale_list():
    crls = [pki.make_crl(CA, next_update=pki.days(-0.1))]
    assert judge(crls=crls).warnings == ("crl_stale",)
    assert judge(pki.make_ocsp(LEAF), crls=crls).warnings == ()


def test_unknown_says_nothing_good():
    with pytest.raises(RevocationUnknown):
        judge(pki.make_ocsp(LEAF, "unknown"))
    assert judge(pki.make_ocsp(LEAF, "unknown"), policy=Policy()).warnings == ("revocation_unknown",)


def test_an_answer_is_part_of_what_a_verdict_is_kept_under():
    anchors = (Certificate(CA.der),)
    keys = {
        verdict_key(Certificate(LEAF.der), [], TrustContext(anchors, (), REQUIRE, answers))
        for answers in [(), (pki.make_ocsp(LEAF),), (pki.make_ocsp(LEAF, "revoked"),)]
    }
    assert len(keys) == 3


# --- bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["unauthorized", "try_later", "internal_error", "sig_required", "malformed_request"]
)
def test_a_responder_that_does_not_answer(status):
    with pytest.raises(OcspNotAnswered):
        OcspAnswer(pki.refuse_ocsp(status))


def test_a_critical_extension_that_nobody_knows():
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    with pytest.raises(MalformedOcsp):
        usable(pki.make_ocsp(LEAF, extra=[(unknown, True)]))
    assert usable(pki.make_ocsp(LEAF, extra=[(unknown, False)])).state == "good"


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x30\x00", b"\x30\x03\x0a\x01\x00", b"\x30" * 70_000])
def test_garbage_is_told(body):
    with pytest.raises(MalformedOcsp):
        OcspAnswer(body)
    assert judge(body, policy=Policy()).revocation == "unknown"


def test_whatever_octet_is_wrong_nothing_but_our_own_error_comes_of_it():
    der = pki.make_ocsp(LEAF, "good", signer=RESPONDER)
    for at in range(len(der)):
        for change in (0x01, 0x80, 0xFF):
            broken = der[:at] + bytes([der[at] ^ change]) + der[at + 1 :]
            try:
                said = usable(broken)
            except PkiError:
                continue
            assert said.state == "good"
    for end in range(len(der)):
        with pytest.raises((MalformedOcsp, OcspNotAnswered)):
            OcspAnswer(der[:end]).said  # noqa: B018
