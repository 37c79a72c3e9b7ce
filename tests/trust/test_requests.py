"""Being asked to trust somebody: the proof of the mailbox, the queue, one or two persons, work with keys."""

import re

import pytest
from cryptography import x509
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from healthvault.audit.models import AuditEvent
from healthvault.outbox.models import Notification
from healthvault.vault.errors import KeyringUnavailable
from tests import factories, pki_factory
from trust import admission, identity_requests, requests
from trust.errors import AnchorStopped, BadName, UnknownIssuer
from trust.models import Anchor, Crl, Identity, IdentityRequest, Organization, TrustDraft, TrustRequest
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
CONTACT = "it@larkspur.example"
NAME = "Larkspur Community Hospital"
THEIRS = "direct.larkspur.example"


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Larkspur Community Hospital CA")


@pytest.fixture
def staff():
    return factories.account("ida@portal.example", "Ida", is_staff=True)


@pytest.fixture
def second():
    return factories.account("kim@portal.example", "Kim", is_staff=True)


def asked(*issued, **changes):
    reading = admission.read_files([("a.pem", b"".join(each.pem for each in issued))], timezone.now())
    values = {
        "organization_name": NAME,
        "contact_email": CONTACT,
        "domains": (THEIRS,),
        "certificates": requests.pem_of(reading.candidates),
    }
    return requests.Asked(**{**values, **changes})


def terms(**changes):
    values = {
        "organization_name": NAME,
        "domains": (THEIRS,),
        "domain": None,
        "incoming": True,
        "outgoing": True,
    }
    return requests.Terms(**{**values, **changes})


def opened(*issued, **options):
    return requests.open_request(asked(*issued), options.pop("source", TrustRequest.Source.WEB), **options)


def mailed_code():
    mail = next(each for each in Notification.objects.order_by("-created") if each.kind == requests.CODE)
    assert mail.to_address == CONTACT
    return re.search(r"\b(\d{4}-\d{4})\b", mail.text)[1]


def form(ca, **changes):
    values = {
        "organization": NAME,
        "email": CONTACT,
        "domains": THEIRS,
        "anchors": SimpleUploadedFile("ca.cer", ca.der),
    }
    return {**values, **changes}


# --- until the mailbox is proven ------------------------------------------------------------------------


def test_an_organisation_asks_in_the_browser(ca):
    browser = Client()
    answer = browser.post("/trust/request/", form(ca), follow=True)
    assert answer.redirect_chain == [("/trust/request/code/", 302)]
    assert CONTACT in answer.content.decode()
    assert not TrustRequest.objects.exists()
    answer = browser.post("/trust/request/code/", {"code": mailed_code()})
    assert answer.headers["Location"] == "/trust/request/sent/"
    row = TrustRequest.objects.get()
    assert (row.state, row.source, row.organization_name) == ("open", "web", NAME)
    assert row.contact_email == CONTACT
    assert row.domains == [THEIRS]
    assert not TrustDraft.objects.exists()
    assert not Anchor.objects.exists()
    assert not Organization.objects.exists()


def test_before_the_proof_there_is_nothing_but_a_sealed_draft(ca):
    draft = requests.start(asked(ca), "192.0.2.0/24")
    columns = TrustDraft.objects.filter(pk=draft.pk).values().get()
    seen = b" ".join(
        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
        for value in columns.values()
    )
    for word in (NAME, CONTACT, THEIRS, "BEGIN CERTIFICATE", mailed_code().replace("-", "")):
        assert word.encode() not in seen


def test_a_wrong_code_proves_nothing_and_five_of_them_end_it(ca):
    draft = requests.start(asked(ca), "192.0.2.0/24")
    right = mailed_code()
    wrong = "0000-0000" if right != "0000-0000" else "0000-0001"
    for _ in range(5):
        draft.refresh_from_db()
        with pytest.raises(requests.WrongCode):
            requests.prove(draft, wrong)
    draft.refresh_from_db()
    with pytest.raises(requests.WrongCode, match="too often"):
        requests.prove(draft, right)
    requests.new_code(draft)
    assert requests.prove(draft, mailed_code()).is_open


def test_tries_side_by_side_win_nothing(ca):
    draft = requests.start(asked(ca), "192.0.2.0/24")
    wrong = "0000-0000" if mailed_code() != "0000-0000" else "0000-0001"
    for _ in range(5):
        with pytest.raises(requests.WrongCode, match="not right"):
            requests.prove(draft, wrong)  # each as a request that read the row before the others
    with pytest.raises(requests.WrongCode, match="too often"):
        requests.prove(draft, mailed_code())


def test_a_code_is_good_for_half_an_hour_and_one_request(ca):
    draft = requests.start(asked(ca), "192.0.2.0/24")
    TrustDraft.objects.update(code_sent=timezone.now() - requests.CODE_LIFE)
    with pytest.raises(requests.WrongCode, match="too old"):
        requests.prove(draft, mailed_code())
    TrustDraft.objects.update(code_sent=timezone.now())
    requests.prove(draft, mailed_code())
    with pytest.raises(requests.WrongCode):
        requests.prove(draft, mailed_code())
    assert TrustRequest.objects.count() == 1


def test_nobody_has_strangers_mailed_at_will(ca):
    for number in range(requests.CODES_PER_CONTACT_A_DAY):
        requests.start(asked(ca), f"192.0.2.{number}/32")
    with pytest.raises(requests.TooManyCodes):
        requests.start(asked(ca), "198.51.100.0/24")
    assert Notification.objects.filter(kind=requests.CODE).count() == requests.CODES_PER_CONTACT_A_DAY
    other = asked(ca, contact_email="other@rowan.example")
    TrustDraft.objects.update(network="203.0.113.0/24", codes=requests.CODES_PER_NETWORK_A_DAY)
    with pytest.raises(requests.TooManyCodes):
        requests.start(other, "203.0.113.0/24")
    requests.start(other, "198.51.100.0/24")


def test_a_draft_nobody_proved_is_forgotten_after_a_day(ca):
    requests.start(asked(ca), "192.0.2.0/24")
    assert requests.erase_old_drafts() == 0
    TrustDraft.objects.update(created=timezone.now() - requests.DRAFT_LIFE)
    assert requests.erase_old_drafts() == 1


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("email", "desk@direct.portal.example", "ordinary e-mail"),
        ("domains", "not a domain", "no domain"),
        ("domains", "direct.portal.example", "our own"),
        ("organization", " ", "required"),
    ],
)
def test_a_form_that_is_wrong_is_shown_again(ca, field, value, words):
    answer = Client().post("/trust/request/", form(ca, **{field: value}))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not TrustDraft.objects.exists()


def test_a_private_key_sent_by_mistake_is_named_and_not_kept(ca):
    answer = Client().post("/trust/request/", form(ca, anchors=SimpleUploadedFile("ca.p12", ca.p12("x"))))
    assert "private key" in answer.content.decode()
    assert not TrustDraft.objects.exists()


# --- deciding ---------------------------------------------------------------------------------------------


def test_accepting_makes_anchor_organisation_and_mail(ca, staff, settings):
    row = opened(ca)
    admitted = requests.accept(row, staff, terms(outgoing=False))
    anchor = Anchor.objects.get()
    assert admitted[0].anchor == anchor
    assert (anchor.source, anchor.incoming, anchor.outgoing) == ("request", True, False)
    assert anchor.organization.name == NAME
    assert anchor.organization.domains == [THEIRS]
    row.refresh_from_db()
    assert (row.state, row.decided_by, row.organization) == ("accepted", staff, anchor.organization)
    mail = Notification.objects.get(kind=requests.DECISION)
    assert mail.to_address == CONTACT
    assert "/messagecenter/certs/certs.zip" in mail.text
    assert OURS in mail.text
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"trust.anchor_added", "trust.request_accepted", "trust.organization_added"} <= actions
    with pytest.raises(requests.NotOpen):
        requests.accept(row, staff, terms())
    with pytest.raises(requests.NotOpen):
        requests.decline(row, staff, "No.")


def test_declining_tells_the_contact_why_and_makes_nothing(ca, staff):
    row = opened(ca)
    requests.decline(row, staff, "We could not reach you by telephone.")
    row.refresh_from_db()
    assert (row.state, row.reason) == ("declined", "We could not reach you by telephone.")
    assert not Anchor.objects.exists()
    assert "by telephone" in Notification.objects.get(kind=requests.DECISION).text
    assert AuditEvent.objects.filter(action="trust.request_declined", actor=str(staff.pk)).exists()


def test_in_production_two_persons_agree(ca, staff, second, settings):
    settings.PRODUCTION = True
    row = opened(ca)
    assert requests.accept(row, staff, terms()) == []
    assert not Anchor.objects.exists()
    row.refresh_from_db()
    assert row.is_open
    with pytest.raises(requests.SecondPersonNeeded):
        requests.accept(row, staff, terms())
    assert requests.accept(row, second, terms())
    assert Anchor.objects.count() == 1


def test_in_production_an_import_needs_another_administrator(ca, staff, second, settings):
    settings.PRODUCTION = True
    row = opened(ca, source=TrustRequest.Source.CONSOLE, account=staff)
    with pytest.raises(requests.SecondPersonNeeded):
        requests.accept(row, staff, terms())
    assert requests.accept(row, second, terms())[0].anchor.source == "hand"


def test_a_leaf_wants_a_yes_of_its_own(ca, staff):
    leaf = pki_factory.issue(ca, domains=(THEIRS,))
    row = opened(leaf)
    assert requests.review(row).asks
    with pytest.raises(requests.NotConfirmed):
        requests.accept(row, staff, terms())
    assert requests.accept(row, staff, terms(confirmed=True))


def test_what_was_revoked_comes_back_by_a_yes_of_its_own_only(ca, staff):
    requests.accept(opened(ca), staff, terms())
    Anchor.objects.update(state=Anchor.State.REVOKED, reason="The key was stolen.")
    row = opened(ca)
    assert requests.review(row).stopped
    with pytest.raises(AnchorStopped):
        requests.accept(row, staff, terms())
    assert Anchor.objects.get().state == "revoked"
    requests.accept(row, staff, terms(lift=True))
    assert Anchor.objects.get().state == "active"
    assert AuditEvent.objects.filter(action="trust.anchor_lifted").count() == 1


def test_a_claim_on_names_of_others_is_pointed_out(ca, staff):
    Organization.objects.create(name="Rowan Clinic", domains=[THEIRS])
    Organization.objects.create(name=NAME)
    found = requests.review(requests.open_request(asked(ca, domains=(THEIRS, OURS)), "web"))
    assert found.taken == ((THEIRS, "Rowan Clinic"),)
    assert found.ours == (OURS,)
    assert found.known.name == NAME
    assert found.certificates[0].is_new


def test_a_request_holds_so_many_certificates_and_no_more(ca, monkeypatch):
    monkeypatch.setattr(requests, "MOST_CERTIFICATES", 1)
    with pytest.raises(requests.TooMuch):
        asked(ca, pki_factory.make_ca("Another CA"))


# --- work with our private keys -------------------------------------------------------------------------


def test_a_certificate_is_made_by_the_worker_alone(staff, settings):
    keys, settings.IDENTITY_KEYS = settings.IDENTITY_KEYS, ""
    row = identity_requests.ask_issue("Direct.Portal.example", staff)
    assert (row.name, row.state) == (OURS, "waiting")
    assert identity_requests.carry_out(str(row.pk)) == "waiting"
    row.refresh_from_db()
    assert (row.code, row.tries) == ("keys_unavailable", 0)
    settings.IDENTITY_KEYS = keys
    assert identity_requests.carry_out(str(row.pk)) is None  # put back for a while
    IdentityRequest.objects.update(lease_until=None)
    assert identity_requests.carry_out(str(row.pk)) == "done"
    row.refresh_from_db()
    assert row.identity.name == OURS
    assert row.code == ""
    assert identity_requests.carry_out(str(row.pk)) is None
    assert Identity.objects.filter(name=OURS).count() == 1


def test_an_uploaded_file_is_sealed_and_erased_with_the_outcome(ca, staff):
    leaf = pki_factory.issue(ca, domains=("mail.portal.example",))
    good = identity_requests.ask_import(leaf.p12("s3cret"), "s3cret", "our.p12", staff)
    stored = bytes(IdentityRequest.objects.filter(pk=good.pk).values_list("file", flat=True).get())
    assert b"s3cret" not in stored
    wrong = identity_requests.ask_import(leaf.p12("s3cret"), "other", "our.p12", staff)
    assert identity_requests.carry_out(str(wrong.pk)) == "failed"
    assert identity_requests.carry_out(str(good.pk)) == "done"
    for row in IdentityRequest.objects.all():
        assert row.file is None
    wrong.refresh_from_db()
    assert wrong.code == "wrong_password"
    assert Identity.objects.get(name="mail.portal.example").private_key


def test_a_certificate_is_revoked_and_the_list_says_so(staff):
    made = identity_requests.ask_issue(OURS, staff)
    identity_requests.carry_out(str(made.pk))
    identity = Identity.objects.get(name=OURS)
    row = identity_requests.ask_revoke(identity, "key_compromise", staff)
    assert identity_requests.carry_out(str(row.pk)) == "done"
    identity.refresh_from_db()
    assert identity.revocation_reason == "keyCompromise"
    crl = x509.load_der_x509_crl(bytes(Crl.objects.get().der))
    assert crl.get_revoked_certificate_by_serial_number(int(identity.serial, 16)) is not None


def test_what_cannot_be_done_is_refused_when_it_is_asked(ca, staff):
    with pytest.raises(BadName):
        identity_requests.ask_issue("no domain", staff)
    row = Identity.objects.create(
        **Identity.fields_of(pki_certificate(ca)), name=OURS, kind="domain", use="dual", serial="1"
    )
    with pytest.raises(UnknownIssuer):
        identity_requests.ask_revoke(row, "superseded", staff)


def pki_certificate(issued):
    return Certificate(issued.der)


def test_retiring_needs_no_key(staff, settings):
    identity_requests.carry_out(str(identity_requests.ask_issue(OURS, staff).pk))
    settings.IDENTITY_KEYS = ""
    identity = Identity.objects.get(name=OURS)
    assert identity_requests.retire(identity, staff)
    assert not identity_requests.retire(identity, staff)
    authority = Identity.objects.get(kind="ca")
    assert not identity_requests.retire(authority, staff)
    with pytest.raises(KeyringUnavailable):
        assert identity.private_key
