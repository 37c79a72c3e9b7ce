"""The console's pages about mail and parcels: every outcome is explained, and no message is shown."""

from datetime import UTC, datetime, timedelta

import pytest
from allauth.account.models import EmailAddress
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from directmsg import inbox, mail_steps, raw_copy, receive
from directmsg.agent.address import Mailbox
from directmsg.agent.message import build_message
from directmsg.models import InboundMail, MailEvent, Parcel
from directmsg.outcomes import OUTCOMES
from healthvault.audit.models import AuditEvent
from healthvault.outbox.models import Notification
from healthvault.store.blobs import open_blob
from tests import dns_server, factories, pki_factory
from tests.direct_peers import Peer
from tests.factories import PASSWORD
from trust import admission, context, identity_requests, keyimport
from trust.models import Identity, IdentityRequest, TrustRequest
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
#: Words of messages, subjects, questions, answers and contacts: no administrator sees one of them.
SECRETS = ("Quittenbrot", "Mirabelle", "Zwetschge", "nora.whitlock", "Apfelmus")
SUBJECT = "nora.whitlock@patient.example;Favourite Mirabelle?;Zwetschge;Your Quittenbrot"


@pytest.fixture(scope="module")
def peer():
    return Peer()


@pytest.fixture(scope="module")
def leaf():
    return pki_factory.issue(pki_factory.make_ca("Portal CA"), domains=(OURS,))


@pytest.fixture
def portal(leaf):
    keyimport.import_p12(leaf.p12("x"), "x")
    context.ensure_domains()


@pytest.fixture
def name_server(settings):
    """A name server, and the only one we ask."""
    with dns_server.running() as (server, address):
        settings.DNS_SERVERS = [address]
        yield server


@pytest.fixture
def browser():
    person = factories.account("ida@portal.example", "Ida", is_staff=True)
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    client = Client()
    client.login(email=person.email, password=PASSWORD)
    return client


def trusted(peer, **flags):
    candidate = admission.Candidate(Certificate(peer.ca.der), "ca.pem")
    return admission.admit([candidate], "Larkspur Community Hospital", **flags)[0].anchor


def sealed(peer, leaf, to, subject=SUBJECT, **changes):
    message = build_message(
        sender=Mailbox("", peer.office),
        to=[Mailbox("", to)],
        subject=subject,
        date=datetime.now(UTC),
        message_id=f"<{timezone.now().timestamp()}@{peer.domain}>",
        text="All about Apfelmus.",
    )
    return peer.seal(message, leaf.der, **changes)


def received(raw, to, peer):
    row = inbox.accept(raw, peer.office, [to], protocol="smtp", peer="192.0.2.7")[to]
    receive.receive_mail(str(row.pk))
    row.refresh_from_db()
    return row


def text(answer):
    shown = " ".join(answer.content.decode().split())
    for word in SECRETS:
        assert word not in shown
    return shown


def outcomes(mail):
    return [step.outcome for step in mail_steps.steps_of(mail)]


# --- every step -----------------------------------------------------------------------------------------


def test_an_untrusted_sender_is_explained_with_all_that_passed(browser, portal, peer, leaf):
    mail = received(sealed(peer, leaf, f"newuser@{OURS}"), f"newuser@{OURS}", peer)
    assert (mail.state, mail.code) == ("refused", "untrusted_chain")
    assert outcomes(mail) == ["passed"] * 7 + ["failed", "open"]
    shown = text(browser.get(f"/trust/mail/{mail.pk}/"))
    assert OUTCOMES["untrusted_chain"].operator.replace("'", "&#x27;") in shown
    assert Certificate(peer.leaf.der).sha256 in shown
    assert "here it ends: no anchor that counts" in shown
    assert f"CN={peer.domain} CA" in shown
    assert f"/trust/exchange/?address={peer.office.replace('@', '%40')}" in shown
    assert "as they count now: 1" in shown  # our own authority
    assert "Process again" in shown
    assert AuditEvent.objects.filter(action="mail.inspected", subject=str(mail.pk)).count() == 1


def test_after_the_anchor_is_imported_the_mail_is_processed_again(browser, portal, peer, leaf):
    mail = received(sealed(peer, leaf, f"newuser@{OURS}"), f"newuser@{OURS}", peer)
    trusted(peer)
    answer = browser.post(f"/trust/mail/{mail.pk}/again/", follow=True)
    assert "It is processed again" in text(answer)
    mail.refresh_from_db()
    assert mail.state == "received"
    receive.receive_mail(str(mail.pk))
    mail.refresh_from_db()
    assert mail.state == "parcelled"
    assert outcomes(mail) == ["passed"] * 9
    shown = text(browser.get(f"/trust/mail/{mail.pk}/"))
    assert "This one was used" in shown
    assert "Certificate(" not in shown
    assert AuditEvent.objects.filter(action="mail.again").count() == 1
    # Its bytes belong to the parcel now: there is nothing to repeat and nothing to download.
    assert "Process again" not in shown
    assert "Only a refused or stuck mail" in text(browser.post(f"/trust/mail/{mail.pk}/again/", follow=True))
    assert browser.post(f"/trust/mail/{mail.pk}/raw/", {"reason": "x"}).status_code in (302, 404)


def test_each_place_where_a_mail_can_stop(portal, peer, leaf):
    to = f"newuser@{OURS}"
    stranger = pki_factory.issue(pki_factory.make_ca("Elsewhere"), domains=(OURS,))
    clear = b"From: a@b.example\r\nTo: c@d.example\r\nSubject: Quittenbrot\r\n\r\nApfelmus\r\n"
    for raw, code, at in (
        (clear, "not_encrypted", mail_steps.ENVELOPE),
        (sealed(peer, stranger, to), "cannot_decrypt", mail_steps.ENVELOPE),
        (sealed(peer, leaf, f"other@{OURS}"), "routing_mismatch", mail_steps.ROUTING),
        (
            sealed(peer, leaf, to, signer=pki_factory.issue(peer.ca, domains=("x.example",))),
            "address_not_covered",
            mail_steps.SIGNER,
        ),
        (sealed(peer, leaf, to), "untrusted_chain", mail_steps.CHAIN),
    ):
        mail = received(raw, to, peer)
        assert mail.code == code
        assert outcomes(mail) == ["passed"] * at + ["failed"] + ["open"] * (8 - at)
    trusted(peer)
    mail = received(sealed(peer, leaf, to, subject="nonsense"), to, peer)
    assert mail.code == "bad_subject"
    assert outcomes(mail) == ["passed"] * 8 + ["failed"]


def test_mail_before_its_processing_has_passed_the_door_only(portal, peer, leaf):
    to = f"newuser@{OURS}"
    mail = inbox.accept(sealed(peer, leaf, to), peer.office, [to], protocol="lmtp")[to]
    assert outcomes(mail) == ["passed"] + ["open"] * 8


def test_a_stuck_mail_without_a_report_stops_where_the_worker_did(portal, peer, leaf):
    to = f"newuser@{OURS}"
    mail = inbox.accept(sealed(peer, leaf, to), peer.office, [to], protocol="smtp")[to]
    InboundMail.objects.update(state="stuck", code="worker_killed")
    mail.refresh_from_db()
    assert outcomes(mail) == ["passed", "failed"] + ["open"] * 7


def test_without_a_key_of_ours_the_reason_is_ours(peer, leaf, browser):
    to = f"newuser@{OURS}"
    mail = received(sealed(peer, leaf, to), to, peer)
    assert mail.code == "no_identity"
    assert outcomes(mail) == ["passed", "failed"] + ["open"] * 7
    assert "1 refused: no identity" in text(browser.get("/trust/"))


# --- the list -------------------------------------------------------------------------------------------


def test_the_list_is_filtered_by_everything_an_operator_asks(browser, portal, peer, leaf):
    to = f"newuser@{OURS}"
    mail = received(sealed(peer, leaf, to), to, peer)
    row = f"/trust/mail/{mail.pk}/"
    day = f"{mail.received:%Y-%m-%d}"
    for query in (
        "",
        "?state=refused",
        "?code=untrusted_chain",
        f"?domain={OURS}",
        f"?sender={peer.domain}",
        f"?sender={peer.office.upper()}",
        f"?day={day}",
    ):
        assert row in text(browser.get(f"/trust/mail/{query}")), query
    yesterday = f"{mail.received - timedelta(days=1):%Y-%m-%d}"
    for query in ("?state=filed", "?code=expired", "?sender=rowan.example", f"?day={yesterday}", "?code=%27"):
        assert row not in text(browser.get(f"/trust/mail/{query}")), query


def test_the_list_has_pages_that_keep_the_filters(browser, portal):
    rows = [
        InboundMail(sha256=f"{number:064}", recipient=f"a@{OURS}", protocol="smtp", size=1, state="refused")
        for number in range(60)
    ]
    InboundMail.objects.bulk_create(rows)
    assert "?state=refused&amp;page=2" in text(browser.get("/trust/mail/?state=refused"))
    assert "Page 2 of 2" in text(browser.get("/trust/mail/?state=refused&page=2"))


# --- the bytes ------------------------------------------------------------------------------------------


def asked_again(browser, path, reason="The vendor asks for it"):
    """Post for the bytes, and give the password that is asked for."""
    answer = browser.post(path, {"reason": reason})
    assert not AuditEvent.objects.filter(action="mail.raw_downloaded").exists()
    assert answer.headers["Location"].startswith("/accounts/reauthenticate/")
    return browser.post(answer.headers["Location"], {"password": PASSWORD})


def outer(subject):
    return f"Subject: {subject}\r\nX-Note: Apfelmus\r\nComments: Zwetschge\r\n".encode()


def test_the_bytes_want_the_password_again_and_leave_out_what_is_in_clear(browser, portal, peer, leaf):
    to = f"newuser@{OURS}"
    mail = received(outer(SUBJECT) + sealed(peer, leaf, to), to, peer)
    assert mail.code == "untrusted_chain"
    answer = asked_again(browser, f"/trust/mail/{mail.pk}/raw/")
    assert answer.status_code == 200
    assert "attachment" in answer.headers["Content-Disposition"]
    for word in SECRETS:
        assert word.encode() not in answer.content
    event = AuditEvent.objects.get(action="mail.raw_downloaded")
    assert event.ids == {"reason": "The vendor asks for it"}
    trusted(peer)
    again = received(answer.content, to, peer)
    assert again.state == "parcelled"


def test_without_a_reason_there_is_no_download(browser, portal, peer, leaf):
    mail = received(sealed(peer, leaf, f"newuser@{OURS}"), f"newuser@{OURS}", peer)
    assert asked_again(browser, f"/trust/mail/{mail.pk}/raw/", "").status_code == 302
    assert not AuditEvent.objects.filter(action="mail.raw_downloaded").exists()


def test_a_mail_that_was_not_encrypted_is_never_handed_out(browser, portal, peer):
    clear = b"From: a@b.example\r\nTo: c@d.example\r\nSubject: Quittenbrot\r\n\r\nApfelmus\r\n"
    mail = received(clear, f"newuser@{OURS}", peer)
    assert "Download" not in text(browser.get(f"/trust/mail/{mail.pk}/"))
    assert asked_again(browser, f"/trust/mail/{mail.pk}/raw/").status_code == 302
    assert "it is not handed out" in text(browser.get(f"/trust/mail/{mail.pk}/"))
    assert AuditEvent.objects.get(action="mail.raw_downloaded").outcome == "not_sealed"
    assert open_blob(mail.raw) == clear


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Content-Type: application/pkcs7-mime\r\n\r\nwords",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nwords\r\n--b--\r\n",
    ],
)
def test_what_only_says_it_is_sealed_is_not(raw):
    with pytest.raises(raw_copy.NotSealed):
        raw_copy.sealed_copy(raw)


# --- parcels --------------------------------------------------------------------------------------------


def held(**changes):
    parcel = factories.parcel(
        "nora.whitlock@patient.example", "Favourite Mirabelle?", "Zwetschge", subject="Your Quittenbrot"
    )
    Parcel.objects.filter(pk=parcel.pk).update(**changes)
    parcel.refresh_from_db()
    return parcel


def test_a_parcel_is_shown_without_question_content_and_contact(browser):
    parcel = held()
    assert "n***@patient.example" in text(browser.get("/trust/mail/parcels/"))
    shown = text(browser.get(f"/trust/mail/parcels/{parcel.pk}/"))
    assert "n***@patient.example" in shown
    assert "yes (not shown here)" in shown
    assert AuditEvent.objects.filter(action="parcel.inspected", subject=str(parcel.pk)).count() == 1
    assert "No parcels fit" in text(browser.get("/trust/mail/parcels/?state=claimed"))
    assert "Larkspur" in text(browser.get("/trust/mail/parcels/?state=waiting&sender=larkspur"))


def test_a_locked_parcel_gets_new_tries_once(browser, settings):
    parcel = held(state="locked", tries_left=0)
    Notification.objects.update(created=timezone.now() - timedelta(hours=1))
    assert "Give new tries" in text(browser.get(f"/trust/mail/parcels/{parcel.pk}/"))
    browser.post(f"/trust/mail/parcels/{parcel.pk}/again/")
    parcel.refresh_from_db()
    assert (parcel.state, parcel.tries_left, parcel.was_reset) == ("waiting", settings.ANSWER_TRIES, True)
    Parcel.objects.update(state="locked")
    Notification.objects.update(created=timezone.now() - timedelta(hours=1))
    assert "Give new tries" not in text(browser.get(f"/trust/mail/parcels/{parcel.pk}/"))
    shown = text(browser.post(f"/trust/mail/parcels/{parcel.pk}/again/", follow=True))
    assert "reset once" in shown
    assert AuditEvent.objects.filter(action="parcel.sent_again").count() == 1


def test_a_parcel_is_taken_back_after_a_yes(browser):
    parcel = held()
    browser.post(f"/trust/mail/parcels/{parcel.pk}/withdraw/")
    parcel.refresh_from_db()
    assert parcel.state == "waiting"
    browser.post(f"/trust/mail/parcels/{parcel.pk}/withdraw/", {"sure": "on"})
    parcel.refresh_from_db()
    assert (parcel.state, parcel.content) == ("withdrawn", None)
    assert AuditEvent.objects.filter(action="parcel.withdrawn_by_administrator").count() == 1
    assert "nothing" not in text(browser.get(f"/trust/mail/parcels/{parcel.pk}/"))
    assert MailEvent.objects.filter(parcel=parcel, name="withdrawn").exists()


def test_a_long_wait_is_told_on_the_overview(browser, portal, peer, leaf):
    to = f"newuser@{OURS}"
    inbox.accept(sealed(peer, leaf, to), peer.office, [to], protocol="smtp")
    assert "Act Waiting work" not in text(browser.get("/trust/"))
    InboundMail.objects.update(received=timezone.now() - timedelta(hours=3))
    assert "mail that came in waits 3 hours" in text(browser.get("/trust/"))


# --- from nothing to an exchange ------------------------------------------------------------------------


def test_an_empty_installation_is_brought_to_an_exchange_in_the_browser_alone(browser, peer, name_server):
    to = f"newuser@{OURS}"
    browser.post("/trust/certificates/issue/", {"name": OURS})
    assert identity_requests.carry_out(str(IdentityRequest.objects.get().pk)) == "done"
    ours = Identity.objects.get(name=OURS)
    upload = SimpleUploadedFile("ca.cer", peer.ca.der)
    form = {"organization": "Larkspur Community Hospital", "incoming": "on", "outgoing": "on"}
    browser.post("/trust/anchors/import/", {**form, "anchors": upload})
    browser.post(f"/trust/requests/{TrustRequest.objects.get().pk}/accept/", {**form, "domains": peer.domain})
    # They write to us, and what they publish would let us write to them.
    message = sealed(peer, pki_factory.Issued(ours.certificate.parsed, peer.leaf.private_key), to)
    assert received(message, to, peer).state == "parcelled"
    name_server.add_certificate(peer.domain, peer.leaf.der)
    shown = text(browser.post("/trust/exchange/", {"address": peer.office, "domain": OURS}))
    assert "We to them: yes" in shown
    assert "They to us: yes" in shown
    assert "Larkspur Community Hospital" in shown
