"""OCSP responders of partners: asked over HTTP, believed when the issuer's word, kept, and asked again."""

import base64
import dataclasses
import datetime
import json
import time
from contextlib import suppress
from io import StringIO
from urllib.parse import unquote

import pytest
import time_machine
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ReasonFlags, ocsp
from django.core.management import call_command
from django.test import Client

from healthvault.audit.models import AuditEvent
from tests import factories, pki_factory, tools
from tests import web_server as servers
from trust import checks, context, fetcher, memory, ocsp_answers, resolvers, revocation_lists, tasks, versions
from trust.models import Anchor, Domain, OcspAnswer, PeerCertificate
from trust.pki import ocsp as ocsp_pki
from trust.pki.certs import Certificate
from trust.pki.errors import RevocationUnknown, Revoked

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"
PARTNER = "dr.mila@direct.catkin.example"


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Catkin Clinics CA")


@pytest.fixture(autouse=True)
def nobody_noted():
    revocation_lists._noted.clear()


@pytest.fixture(autouse=True)
def trusted(ca):
    return Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))


class Responder:
    """A responder over HTTP: it reads what it is asked, and answers as it is told to."""

    def __init__(self, web, ca):
        self.web, self.ca = web, ca
        self.state, self.options, self.body = "good", {}, None
        self.known, self.asked, self.methods = {}, [], []
        self.get_allowed = True
        web.plays = _Everything(self.play)
        self.url = web.url("/ocsp")

    def issue(self, **options):
        extra = [pki_factory.responder_urls(self.url)]
        leaf = pki_factory.issue(self.ca, emails=[PARTNER], extra=extra, fresh_key=True, **options)
        self.known[leaf.certificate.serial_number] = leaf
        return leaf

    def play(self, request):
        method, target, _ = request.line.split()
        self.methods.append(method)
        if method == "GET" and not self.get_allowed:
            servers.send(request, "405 Method Not Allowed")
            return
        der = request.body
        if method == "GET":
            der = base64.b64decode(unquote(target.removeprefix("/ocsp/")), validate=True)
        else:
            assert request.headers["content-type"] == "application/ocsp-request"
        question = ocsp.load_der_ocsp_request(der)
        self.asked.append(question.serial_number)
        assert isinstance(question.hash_algorithm, hashes.SHA1)
        servers.send(request, "200 OK", self.answer(question.serial_number))

    def answer(self, serial):
        if self.body is not None:
            return self.body
        return pki_factory.make_ocsp(self.known[serial], self.state, **self.options)


class _Everything(dict):
    """Every path is played by one handler."""

    def __init__(self, play):
        self._play = play

    def __contains__(self, path):
        return True

    def __getitem__(self, path):
        return self._play


@pytest.fixture
def responder(web, ca):
    return Responder(web, ca)


def now():
    return pki_factory.utc_now()


def hours(number):
    return now() + datetime.timedelta(hours=number)


def judge(leaf):
    return resolvers.verify(Certificate(leaf.der), [], lambda: context.for_address(ADDRESS).trust, now())


def require_known():
    Domain.objects.update_or_create(name=OURS, defaults={"revocation": "require"})


def forget_failures(leaf, responder):
    sha256 = Certificate(leaf.der).sha256
    memory.forget("ocsp_failed", f"{responder.url} {sha256}")


# --- one verdict ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("get_allowed", [True, False])
def test_the_responder_that_the_certificate_names_is_asked_once(responder, get_allowed):
    require_known()
    responder.get_allowed = get_allowed
    leaf = responder.issue()
    for _ in range(3):
        assert judge(leaf).revocation == "good"
    assert responder.asked == [leaf.certificate.serial_number]
    assert responder.methods == (["GET"] if get_allowed else ["GET", "POST"])


def test_a_long_address_is_asked_by_post(web, ca, responder):
    responder.url = web.url("/ocsp/" + "deep/" * 60)
    leaf = responder.issue()
    assert judge(leaf).revocation == "good"
    assert responder.methods == ["POST"]


@pytest.mark.parametrize("setting", ["soft", "require"])
def test_a_signer_that_its_responder_revoked_is_refused_now_and_later(responder, setting):
    Domain.objects.update_or_create(name=OURS, defaults={"revocation": setting})
    responder.state, responder.options = "revoked", {"reason": ReasonFlags.key_compromise}
    leaf = responder.issue()
    for _ in range(2):
        with pytest.raises(Revoked):
            judge(leaf)
    assert len(responder.asked) == 1
    assert AuditEvent.objects.filter(action="trust.ocsp_revoked").count() == 1


def test_a_delegated_responder_is_believed(ca, responder):
    require_known()
    responder.options = {"signer": pki_factory.make_responder(ca)}
    assert judge(responder.issue()).revocation == "good"


def test_the_next_responder_is_asked_when_the_first_is_dead(web, ca, responder):
    require_known()
    extra = [pki_factory.responder_urls("http://127.0.0.1:9/none", responder.url)]
    leaf = pki_factory.issue(ca, emails=[PARTNER], extra=extra)
    responder.known[leaf.certificate.serial_number] = leaf
    assert judge(leaf).revocation == "good"


def test_where_a_list_says_good_nobody_waits_for_the_responder(web, ca, responder):
    extra = [pki_factory.responder_urls(responder.url)]
    leaf = pki_factory.issue(ca, emails=[PARTNER], extra=extra, cdp=["http://direct.portal.example/none.crl"])
    revocation_lists._store("http://direct.portal.example/none.crl", _list(ca))
    assert judge(leaf).revocation == "good"
    assert not responder.asked


def _list(ca):
    return revocation_lists._read(pki_factory.make_crl(ca))


def test_a_responder_at_an_inner_address_is_never_reached(forbidden, ca):
    leaf = pki_factory.issue(ca, emails=[PARTNER], extra=[pki_factory.responder_urls(forbidden.url("/ocsp"))])
    assert judge(leaf).warnings == ("revocation_unknown",)
    assert not forbidden.connections


# --- answers that are none ------------------------------------------------------------------------------

STRANGER = pki_factory.make_ca("Catkin Clinics CA")


def _stranger(responder, leaf):
    responder.options = {"signer": STRANGER, "include": []}


def _strangers_responder(responder, leaf):
    responder.options = {"signer": pki_factory.make_responder(STRANGER)}


def _other_serial(responder, leaf):
    responder.known[leaf.certificate.serial_number] = responder.issue()


def _stale(responder, leaf):
    responder.options = {"this_update": hours(-50), "next_update": hours(-25)}


def _future(responder, leaf):
    responder.options = {"this_update": hours(2), "next_update": hours(9)}


def _body(body):
    def arrange(responder, leaf):
        responder.body = body

    return arrange


BAD = {
    "stranger": (_stranger, "ocsp_unmatched_signature"),
    "strangers_responder": (_strangers_responder, "ocsp_unmatched_signature"),
    "other_serial": (_other_serial, "ocsp_other_certificate"),
    "stale": (_stale, "ocsp_not_current"),
    "future": (_future, "ocsp_not_current"),
    "unauthorized": (_body(pki_factory.refuse_ocsp("unauthorized")), "ocsp_not_answered"),
    "try_later": (_body(pki_factory.refuse_ocsp("try_later")), "ocsp_not_answered"),
    "garbage": (_body(b"<html>no</html>"), "malformed_ocsp"),
    "empty": (_body(b""), "malformed_ocsp"),
    "too_large": (_body(b"\x30" * 70_000), "too_large"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_makes_nothing_good_and_its_code_is_told(responder, name):
    arrange, code = BAD[name]
    leaf = responder.issue()
    arrange(responder, leaf)
    assert judge(leaf).warnings == ("revocation_unknown",)
    assert not OcspAnswer.objects.exists()
    ocsp_answers.refresh()
    assert PeerCertificate.objects.get(sha256=leaf.sha256).ocsp_error == code
    assert [each.outcome for each in AuditEvent.objects.filter(action="trust.ocsp_alert")] == [code]
    assert [each.id for each in checks.missing_answers()] == ["trust.W009"]
    assert len(responder.methods) == 1


@pytest.mark.parametrize("name", BAD)
def test_where_we_must_know_a_bad_answer_refuses_until_a_good_one_comes(responder, name):
    require_known()
    leaf = responder.issue()
    kept = dict(responder.known)
    BAD[name][0](responder, leaf)
    with pytest.raises(RevocationUnknown):
        judge(leaf)
    responder.options, responder.body, responder.known = {}, None, kept
    forget_failures(leaf, responder)
    assert judge(leaf).revocation == "good"


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_takes_no_place_of_a_revocation(responder, name):
    leaf = responder.issue()
    responder.state = "revoked"
    with pytest.raises(Revoked):
        judge(leaf)
    responder.state = "good"
    BAD[name][0](responder, leaf)
    OcspAnswer.objects.all().touch(fetched=hours(-5), last_attempt=hours(-1))
    assert not ocsp_answers.obtain(Certificate(leaf.der), Certificate(responder.ca.der))
    assert OcspAnswer.objects.get().last_error == BAD[name][1]
    with pytest.raises(Revoked):
        judge(leaf)


def test_a_responder_that_does_not_know_leaves_it_unknown(responder):
    responder.state = "unknown"
    leaf = responder.issue()
    assert judge(leaf).warnings == ("revocation_unknown",)
    require_known()
    with pytest.raises(RevocationUnknown):
        judge(leaf)
    assert len(responder.asked) == 1


def test_a_clock_a_little_ahead_costs_a_moment_not_the_answer(responder):
    responder.options = {"this_update": hours(0.05)}
    leaf = responder.issue()
    assert judge(leaf).revocation == "unknown"
    with time_machine.travel(hours(0.1), tick=True):
        assert judge(leaf).revocation == "good"
    assert len(responder.asked) == 1


def test_a_revocation_by_a_clock_a_little_ahead_is_heeded_at_once(responder):
    responder.state, responder.options = "revoked", {"this_update": hours(0.05)}
    with pytest.raises(Revoked):
        judge(responder.issue())


def test_a_dead_responder_is_paid_for_once(responder, web, monkeypatch):
    monkeypatch.setattr(fetcher, "FIRST_BYTE_S", 0.2)
    leaf = responder.issue()
    web.plays = _Everything(servers.silent(1))
    for _ in range(3):
        assert judge(leaf).revocation == "unknown"
    assert len(web.requests) == 1


def slow_leaf(web, ca):
    """A certificate with two responders that give an octet now and then, for longer than anybody waits."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"
    web.plays = _Everything(servers.drip(head, 0.02, 3000))
    extra = [pki_factory.responder_urls(web.url("/one"), web.url("/two"))]
    return pki_factory.issue(ca, emails=[PARTNER], extra=extra, fresh_key=True)


def test_slow_responders_share_the_time_that_a_message_has(web, ca):
    leaf = slow_leaf(web, ca)
    budget = resolvers.Budget(answers_s=0.5)
    trust = context.for_address(ADDRESS).trust
    assert resolvers.verify(Certificate(leaf.der), [], lambda: trust, now(), budget).revocation == "unknown"
    assert [path.startswith("/one") for path in web.paths()] == [True]
    assert budget.answers_s <= 0
    # Nor does another certificate of the same message get any.
    assert not budget.answer(Certificate(slow_leaf(web, ca).der), Certificate(ca.der))
    assert len(web.paths()) == 1


def test_get_and_post_share_it_too(web, ca):
    leaf = Certificate(slow_leaf(web, ca).der)
    drip = web.plays["/one"]

    def play(request):
        if request.line.startswith("GET"):
            servers.send(request, "405 Method Not Allowed")
        else:
            drip(request)

    web.plays = _Everything(play)
    patient = dataclasses.replace(fetcher.OCSP, total_s=600)
    began = time.monotonic()
    assert not ocsp_answers.obtain(leaf, Certificate(ca.der), kind=patient, total_s=1)
    # The responder would go on for a minute.
    assert time.monotonic() - began < 40


def test_whom_we_gave_too_little_time_is_asked_again(responder, web):
    leaf = responder.issue()
    play, web.plays = web.plays, _Everything(servers.drip(b"HTTP/1.1 200 OK\r\n\r\n", 0.02, 3000))
    subject, issuer = Certificate(leaf.der), Certificate(responder.ca.der)
    assert not ocsp_answers.obtain(subject, issuer, total_s=0.5)
    web.plays = play
    assert ocsp_answers.obtain(subject, issuer)


# --- never worse than before ----------------------------------------------------------------------------


def ask_again(leaf, responder):
    OcspAnswer.objects.all().touch(fetched=hours(-5), last_attempt=hours(-1))
    forget_failures(leaf, responder)
    return ocsp_answers.obtain(Certificate(leaf.der), Certificate(responder.ca.der))


def test_an_older_answer_never_takes_the_place_of_a_newer_one(responder):
    leaf = responder.issue()
    responder.state, responder.options = "revoked", {"this_update": hours(-1)}
    with pytest.raises(Revoked):
        judge(leaf)
    responder.state, responder.options = "good", {"this_update": hours(-2)}
    assert not ask_again(leaf, responder)
    assert OcspAnswer.objects.get().last_error == "rollback"
    with pytest.raises(Revoked):
        judge(leaf)


@pytest.mark.parametrize(
    ("reason", "comes_back"),
    [(ReasonFlags.certificate_hold, True), (None, True), (ReasonFlags.key_compromise, False)],
)
def test_only_what_was_on_hold_comes_back(responder, reason, comes_back):
    leaf = responder.issue()
    responder.state, responder.options = "revoked", {"this_update": hours(-2), "reason": reason}
    with pytest.raises(Revoked):
        judge(leaf)
    responder.state, responder.options = "good", {"this_update": hours(-1)}
    assert ask_again(leaf, responder) is comes_back
    if comes_back:
        assert judge(leaf).revocation == "good"
    else:
        with pytest.raises(Revoked):
            judge(leaf)


def test_the_same_answer_again_changes_no_token(responder):
    leaf = responder.issue()
    responder.body = pki_factory.make_ocsp(leaf)
    judge(leaf)
    before = versions.tokens()
    assert not ask_again(leaf, responder)
    assert versions.tokens() == before


# --- in the background ----------------------------------------------------------------------------------


def test_certificates_that_we_met_are_asked_about_before_the_answer_runs_out(responder):
    leaf = responder.issue()
    responder.options = {"next_update": hours(3)}
    judge(leaf)
    tasks.refresh_crls()
    assert len(responder.asked) == 1
    responder.state, responder.options = "revoked", {"this_update": hours(1)}
    with time_machine.travel(hours(1.7), tick=True):
        assert ocsp_answers.refresh() == revocation_lists.Refreshed(asked=1, changed=1, failed=0)
        with pytest.raises(Revoked):
            judge(leaf)


def test_also_where_a_list_says_good(web, ca, responder):
    extra = [pki_factory.responder_urls(responder.url)]
    leaf = pki_factory.issue(ca, emails=[PARTNER], extra=extra, cdp=["http://direct.portal.example/none.crl"])
    responder.known[leaf.certificate.serial_number] = leaf
    revocation_lists._store("http://direct.portal.example/none.crl", _list(ca))
    assert judge(leaf).revocation == "good"
    responder.state = "revoked"
    ocsp_answers.refresh()
    with pytest.raises(Revoked):
        judge(leaf)


def test_an_answer_that_goes_stale_is_told_once_and_counts_for_a_day(responder):
    require_known()
    leaf = responder.issue()
    responder.options = {"next_update": hours(2)}
    judge(leaf)
    responder.body = pki_factory.refuse_ocsp("internal_error")
    for hour in (3, 3.5, 4):
        with time_machine.travel(hours(hour), tick=True):
            assert ocsp_answers.refresh().failed == 1
    with time_machine.travel(hours(4), tick=True):
        assert judge(leaf).warnings == ("crl_stale",)
    with time_machine.travel(hours(27), tick=True), pytest.raises(RevocationUnknown):
        judge(leaf)
    alerts = AuditEvent.objects.filter(action="trust.ocsp_alert")
    assert [each.outcome for each in alerts] == ["stale"]


def test_answers_about_people_long_gone_are_let_go(responder):
    judge(responder.issue())
    assert OcspAnswer.objects.exists()
    with time_machine.travel(hours(24 * 91), tick=True):
        ocsp_answers.refresh()
    assert not OcspAnswer.objects.exists()


def test_only_certificates_on_a_good_chain_are_asked_about(responder):
    Anchor.objects.all().delete()
    leaf = responder.issue()
    with pytest.raises(Exception, match="anchor"):
        judge(leaf)
    ocsp_answers.refresh()
    assert not responder.asked


# --- openssl as the responder -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "verdict"), [("V", "good"), ("R", "revoked"), (None, "revocation_unknown")]
)
@pytest.mark.parametrize("delegated", [False, True])
def test_what_openssl_answers_to_our_question(ca, tmp_path, state, verdict, delegated):
    leaf = pki_factory.issue(ca, emails=[PARTNER])
    signer = pki_factory.make_responder(ca) if delegated else ca
    question = ocsp_pki.question(Certificate(leaf.der), Certificate(ca.der))
    files = {"q.der": question, "ca.pem": ca.pem, "by.pem": signer.pem, "by.key": signer.key_pem}
    files |= {"leaf.pem": leaf.pem, "index.txt": b""}
    if state:
        revoked = "261101000000Z,keyCompromise" if state == "R" else ""
        serial = f"{leaf.certificate.serial_number:X}"
        serial = serial.zfill(len(serial) + len(serial) % 2)
        line = "\t".join([state, "361101000000Z", revoked, serial, "unknown", "/CN=leaf"])
        files["index.txt"] = f"{line}\n".encode()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tools.run(
        tools.need("openssl"), "ocsp", "-reqin", tmp_path / "q.der", "-index", tmp_path / "index.txt",
        "-CA", tmp_path / "ca.pem", "-rsigner", tmp_path / "by.pem", "-rkey", tmp_path / "by.key",
        "-ndays", "1", "-respout", tmp_path / "a.der",
    )  # fmt: skip
    words = ["--leaf", tmp_path / "leaf.pem", "--anchor", tmp_path / "ca.pem", "--ocsp", tmp_path / "a.der"]
    out = StringIO()
    with suppress(SystemExit):
        # It answers as of now; a second later this is surely not of a time to come.
        at = pki_factory.days(0.001).isoformat()
        call_command(
            "check_path", *map(str, words), "--revocation", "require", "--at", at, "--json", stdout=out
        )
    answer = json.loads(out.getvalue())
    assert (answer["code"] or answer["revocation"]) == verdict


# --- in the console ---------------------------------------------------------------------------------------


@pytest.fixture
def browser():
    client = Client()
    client.force_login(factories.account("ida@portal.example", is_staff=True))
    return client


def text(answer):
    return " ".join(answer.content.decode().split())


def test_an_administrator_sees_whose_revocation_we_know_of(browser, responder):
    judge(responder.issue())
    shown = text(browser.get("/trust/peers/"))
    assert f"for {PARTNER}" in shown
    assert "good, until" in shown
    assert responder.url in shown
    assert "it names no list and no responder" in shown, "the anchor itself"
    assert "Revocation" not in text(browser.get("/trust/"))


def test_and_where_a_responder_gives_nothing_of_use(browser, responder):
    responder.body = pki_factory.refuse_ocsp("unauthorized")
    leaf = responder.issue()
    judge(leaf)
    ocsp_answers.refresh()
    assert "For one certificate of partners no fresh revocation list" in text(browser.get("/trust/"))
    shown = text(browser.get("/trust/peers/?amiss=on"))
    assert "The responder says that it does not answer. <code>ocsp_not_answered</code>" in shown
    assert "it names no list" not in shown, "the anchor is not amiss"
    assert "fits this filter" in text(browser.get("/trust/peers/?q=nobody"))
    assert f"for {PARTNER}" in text(browser.get(f"/trust/peers/?q={leaf.sha256[:12].upper()}"))
