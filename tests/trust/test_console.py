"""The console: who may see it, what each page tells, and what its buttons change."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from healthvault.audit.models import AuditEvent
from tests import factories, pki_factory
from trust import admission, authorities, context, discovery, identity_requests, signs, tasks
from trust.models import (
    Anchor,
    Bundle,
    BundleChange,
    BundleUse,
    Domain,
    Identity,
    IdentityRequest,
    Organization,
    TrustRequest,
)
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
NAME = "Larkspur Community Hospital"
CONSOLE = (
    "/trust/",
    "/trust/mail/",
    "/trust/mail/sent/",
    "/trust/mail/parcels/",
    "/trust/anchors/",
    "/trust/anchors/import/",
    "/trust/peers/",
    "/trust/bundles/",
    "/trust/bundles/add/",
    "/trust/organizations/",
    "/trust/organizations/add/",
    "/trust/requests/",
    "/trust/certificates/",
    "/trust/certificates/issue/",
    "/trust/certificates/import/",
    "/trust/certificates/findable/",
    "/trust/certificates/zone/",
    "/trust/certificates/ldif/",
    "/trust/exchange/",
)


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Larkspur Community Hospital CA")


@pytest.fixture
def staff():
    return factories.account("ida@portal.example", "Ida", is_staff=True)


@pytest.fixture
def browser(staff):
    client = Client()
    client.force_login(staff)
    return client


def text(answer):
    return " ".join(answer.content.decode().split())


def trusted(ca, **options):
    reading = admission.read_files([("ca.pem", ca.pem)], timezone.now())
    return admission.admit(reading.candidates, NAME, **options)[0].anchor


def audited(action):
    return AuditEvent.objects.filter(action=action).count()


# --- who ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONSOLE)
def test_the_console_is_for_administrators(browser, path):
    assert browser.get(path).status_code == 200
    assert Client().get(path).headers["Location"].startswith("/accounts/login/")
    other = Client()
    other.force_login(factories.account("nora@patient.example"))
    assert other.get(path).status_code == 404


def test_in_production_only_with_two_step_sign_in(browser, settings):
    settings.PRODUCTION = True
    answer = browser.get("/trust/", follow=True)
    assert answer.redirect_chain[0][0] == "/accounts/2fa/"
    assert "administrators need it" in text(answer)
    assert Client().get("/trust/request/").status_code == 200


def test_every_page_works_without_the_keys_of_identities(browser, ca, settings):
    trusted(ca)
    identity = authorities.issue_identity(OURS)
    settings.IDENTITY_KEYS = ""
    for path in (
        *CONSOLE,
        f"/trust/certificates/{identity.pk}/",
        f"/trust/anchors/{Anchor.objects.first().pk}/",
    ):
        assert browser.get(path).status_code == 200, path


# --- the overview -----------------------------------------------------------------------------------------


def test_an_empty_installation_is_told_what_to_do(browser):
    shown = text(browser.get("/trust/"))
    assert "no mail to it can be opened" in shown
    assert "No partner is trusted" in shown
    assert f"/trust/certificates/issue/?name={OURS}" in shown
    assert "It has given no sign yet" in shown


def test_a_portal_that_works_has_nothing_to_look_at(browser, ca):
    authorities.issue_identity(OURS)
    trusted(ca)
    tasks.sweep_requests()
    shown = text(browser.get("/trust/"))
    assert "All is well" in shown
    assert "1 anchor of partners counts" in shown


def test_a_worker_that_fell_silent_is_told(browser, monkeypatch):
    signs.leave(signs.WORKER)
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now + 2 * signs.STALE_AFTER)
    assert "It last gave a sign 10 minutes ago" in text(browser.get("/trust/"))


def test_the_end_of_a_certificate_is_told_in_time(browser, monkeypatch):
    authorities.issue_identity(OURS)
    Identity.objects.filter(name=OURS).update(not_after=timezone.now() + timezone.timedelta(days=20))
    assert "Its certificate ends on" in text(browser.get("/trust/"))
    Identity.objects.filter(name=OURS).update(not_after=timezone.now() - timezone.timedelta(days=1))
    assert "Its certificate ended on" in text(browser.get("/trust/"))


# --- anchors ----------------------------------------------------------------------------------------------


def upload(browser, ca, **changes):
    form = {
        "anchors": SimpleUploadedFile("ca.cer", ca.der),
        "organization": NAME,
        "incoming": "on",
        "outgoing": "on",
    }
    return browser.post("/trust/anchors/import/", {**form, **changes}, follow=True)


def test_an_anchor_is_shown_before_it_is_trusted(browser, ca):
    answer = upload(browser, ca)
    shown = text(answer)
    assert ca.sha256 in shown
    assert "New" in shown
    assert not Anchor.objects.exists()
    assert not context.for_address(f"ada@{OURS}").trust.anchors
    row = TrustRequest.objects.get()
    form = {"organization": NAME, "incoming": "on", "outgoing": "on", "domains": "direct.larkspur.example"}
    answer = browser.post(f"/trust/requests/{row.pk}/accept/", form, follow=True)
    assert "1 of 1 anchors are new or changed" in text(answer)
    assert [each.sha256 for each in context.for_address(f"ada@{OURS}").trust.anchors] == [ca.sha256]
    assert Organization.objects.get().domains == ["direct.larkspur.example"]


def test_a_second_import_shows_what_stands_here(browser, ca):
    anchor = trusted(ca, outgoing=False)
    shown = text(upload(browser, ca))
    assert f"/trust/anchors/{anchor.pk}/" in shown
    assert "incoming only" in shown
    assert "An organisation of this name is known here already" in shown


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda ca: ca.p12("x"), "private key"),
        (lambda ca: b"words", "PEM"),
        (lambda ca: b"", "empty"),
    ],
)
def test_a_file_that_is_no_certificate_is_refused_with_the_reason(browser, ca, make, words):
    answer = upload(browser, ca, anchors=SimpleUploadedFile("a.cer", make(ca)))
    assert answer.status_code == 200
    assert "errorlist" in text(answer)
    if words != "PEM":
        assert words in text(answer)
    assert not TrustRequest.objects.exists()


def test_a_leaf_is_asked_about_and_an_expired_one_is_named(browser, ca):
    leaf = pki_factory.issue(ca, domains=("direct.larkspur.example",))
    shown = text(upload(browser, ca, anchors=SimpleUploadedFile("leaf.cer", leaf.der)))
    assert "It is no CA" in shown
    assert "I have read the warnings" in shown
    row = TrustRequest.objects.get()
    form = {"organization": NAME, "incoming": "on"}
    assert "Confirm that you mean" in text(browser.post(f"/trust/requests/{row.pk}/accept/", form))
    assert not Anchor.objects.exists()
    browser.post(f"/trust/requests/{row.pk}/accept/", {**form, "confirmed": "on"})
    assert Anchor.objects.count() == 1


def test_pausing_and_revoking_stop_trust_at_once_and_want_a_reason(browser, ca):
    anchor = trusted(ca)
    state = f"/trust/anchors/{anchor.pk}/state/"
    browser.post(state, {"act": "pause", "reason": ""})
    assert context.for_address(f"ada@{OURS}").trust.anchors
    browser.post(state, {"act": "pause", "reason": "Under investigation."})
    assert not context.for_address(f"ada@{OURS}").trust.anchors
    assert "Under investigation." in text(browser.get(f"/trust/anchors/{anchor.pk}/"))
    browser.post(state, {"act": "resume"})
    assert context.for_address(f"ada@{OURS}").trust.anchors
    browser.post(state, {"act": "revoke", "reason": "Key stolen."})
    browser.post(state, {"act": "resume"})
    anchor.refresh_from_db()
    assert (anchor.state, anchor.reason) == ("revoked", "Key stolen.")
    assert not context.for_address(f"ada@{OURS}").trust.anchors
    assert [audited(f"trust.anchor_{word}") for word in ("paused", "resumed", "revoked")] == [1, 1, 1]


def test_directions_are_changed_and_never_both_taken(browser, ca):
    anchor = trusted(ca)
    flags = f"/trust/anchors/{anchor.pk}/flags/"
    browser.post(flags, {"outgoing": "on"})
    assert not context.for_address(f"ada@{OURS}").trust.anchors
    assert context.for_address(f"ada@{OURS}", incoming=False).trust.anchors
    assert "Choose at least one direction" in text(browser.post(flags, {}, follow=True))
    anchor.refresh_from_db()
    assert anchor.outgoing


def test_the_list_is_filtered(browser, ca):
    trusted(ca)
    assert NAME in text(browser.get("/trust/anchors/?q=larkspur"))
    assert NAME in text(browser.get(f"/trust/anchors/?q={ca.sha256[:12]}"))
    assert "No anchors fit" in text(browser.get("/trust/anchors/?q=tamarisk"))
    assert "No anchors fit" in text(browser.get("/trust/anchors/?state=revoked"))
    assert browser.get("/trust/anchors/?state=nonsense").status_code == 200


# --- organisations and domains ------------------------------------------------------------------------------


def test_an_organisation_gets_the_name_that_patients_see(browser):
    form = {"name": NAME, "public_name": "Larkspur", "domains": "Direct.Larkspur.example", "is_active": "on"}
    browser.post("/trust/organizations/add/", form)
    row = Organization.objects.get()
    assert context.public_name_for(None, "a@direct.larkspur.example") == "Larkspur"
    answer = browser.post(f"/trust/organizations/{row.pk}/", {**form, "domains": OURS})
    assert "one of our own domains" in text(answer)
    Organization.objects.create(name="Rowan Clinic", domains=["direct.rowan.example"])
    answer = browser.post(f"/trust/organizations/{row.pk}/", {**form, "domains": "direct.rowan.example"})
    assert "belongs to Rowan Clinic" in text(answer)
    assert audited("trust.organization_added") == 1


def test_a_domain_may_demand_to_know_of_revocation(browser, settings):
    assert browser.get(f"/trust/domains/{OURS}/").status_code == 404
    context.ensure_domains()
    settings.DIRECT_LEGACY = frozenset({"rsa1024"})
    form = {"revocation": "require", "key_transport": "oaep_sha256", "legacy": "rsa1024"}
    assert browser.post(f"/trust/domains/{OURS}/", form).status_code == 302
    row = Domain.objects.get(name=OURS)
    assert row.tolerances == {"rsa1024"}
    assert context.for_address(f"a@{OURS}").policy.revocation == "require"
    assert browser.post(f"/trust/domains/{OURS}/", {**form, "legacy": "tripledes"}).status_code == 200
    assert audited("trust.domain_changed") == 1


# --- our certificates ---------------------------------------------------------------------------------------


def test_a_certificate_is_asked_for_and_published(browser, settings):
    assert "none of our domains" in text(browser.post("/trust/certificates/issue/", {"name": "example.org"}))
    browser.post("/trust/certificates/issue/", {"name": OURS})
    row = IdentityRequest.objects.get()
    assert not Identity.objects.exists()
    assert "Waiting for a worker" in text(browser.get("/trust/certificates/"))
    identity_requests.carry_out(str(row.pk))
    shown = text(browser.get("/trust/certificates/"))
    assert f"{OURS}." in shown
    assert b"IN CERT 1 0 0" in browser.get("/trust/certificates/zone/").content
    assert b"userCertificate;binary::" in browser.get("/trust/certificates/ldif/").content
    identity = Identity.objects.get(name=OURS)
    assert "BEGIN CERTIFICATE" in text(browser.get(f"/trust/certificates/{identity.pk}/"))
    browser.post(f"/trust/certificates/{identity.pk}/retire/", {})
    identity.refresh_from_db()
    assert identity.state == "active"
    browser.post(f"/trust/certificates/{identity.pk}/retire/", {"sure": "on"})
    assert b"IN CERT" not in browser.get("/trust/certificates/zone/").content
    browser.post(f"/trust/certificates/{identity.pk}/revoke/", {"reason": "superseded", "sure": "on"})
    assert IdentityRequest.objects.filter(kind="revoke", identity=identity).count() == 1


def test_a_file_from_outside_is_handed_in_sealed(browser, ca):
    leaf = pki_factory.issue(ca, domains=("mail.portal.example",))
    form = {"file": SimpleUploadedFile("our.p12", leaf.p12("s3cret")), "password": "s3cret"}
    browser.post("/trust/certificates/import/", form)
    row = IdentityRequest.objects.get()
    identity_requests.carry_out(str(row.pk))
    shown = text(browser.get("/trust/certificates/"))
    assert "mail.portal.example" in shown
    assert "s3cret" not in shown


def test_the_worker_is_rung_by_the_sweep_too(browser, monkeypatch):
    browser.post("/trust/certificates/issue/", {"name": OURS})
    rung = []
    monkeypatch.setattr(tasks.do_identity_request, "delay", rung.append)
    tasks.sweep_requests()
    assert rung == [str(IdentityRequest.objects.get().pk)]


# --- bundles ------------------------------------------------------------------------------------------------


def test_a_preset_is_switched_off_until_its_address_is_known(browser):
    shown = text(browser.get("/trust/bundles/"))
    assert "Providers-Test" in shown
    assert not Bundle.objects.exists()
    form = {"name": "Providers", "label": "production", "hours": "24", "url": "", "is_active": "on"}
    assert "needs its address" in text(browser.post("/trust/bundles/add/", form))
    form["url"] = "http://bundles.example/providers.p7b"
    assert "use https" in text(browser.post("/trust/bundles/add/", form))
    form["url"] = "https://bundles.example/providers.p7b"
    browser.post("/trust/bundles/add/", form)
    bundle = Bundle.objects.get()
    assert (bundle.is_active, bundle.interval_s) == (True, 86_400)
    assert BundleUse.objects.get().domain is None
    assert audited("trust.bundle_set") == 1


def test_a_bundle_is_refreshed_changed_and_excluded_from(browser, ca, web):
    other = pki_factory.make_ca("Tamarisk Clinics CA")
    web.files["/all.p7b"] = pki_factory.make_p7b([ca, other])
    form = {"name": "Providers", "label": "production", "hours": "24", "is_active": "on"}
    browser.post("/trust/bundles/add/", {**form, "url": web.url("/all.p7b")})
    bundle = Bundle.objects.get()
    page = f"/trust/bundles/{bundle.pk}/"
    assert "Refreshed: 2 came, 0 went" in text(browser.post(f"{page}refresh/", follow=True))
    assert len(context.for_address(f"ada@{OURS}").trust.anchors) == 2
    # One anchor is excluded, and the next refresh does not bring it back.
    anchor = Anchor.objects.get(sha256=ca.sha256)
    browser.post(f"/trust/anchors/{anchor.pk}/state/", {"act": "pause", "reason": "Not checked yet."})
    third, fourth = pki_factory.make_ca("Rowan Clinic CA"), pki_factory.make_ca("Mallow Clinic CA")
    web.files["/all.p7b"] = pki_factory.make_p7b([ca, other, third, fourth])
    assert "2 came, 0 went, 2 stayed" in text(browser.post(f"{page}refresh/", follow=True))
    counting = {each.sha256 for each in context.for_address(f"ada@{OURS}").trust.anchors}
    assert counting == {other.sha256, third.sha256, fourth.sha256}
    # What comes next is held back until an administrator says yes.
    web.files["/all.p7b"] = pki_factory.make_p7b([other])
    assert "SHRUNKEN" in text(browser.post(f"{page}refresh/", follow=True))
    assert "accept that anchors go" in text(browser.get(page))
    browser.post(f"{page}refresh/", {"accept_drop": "1"})
    assert [each.sha256 for each in context.for_address(f"ada@{OURS}").trust.anchors] == [other.sha256]
    del web.files["/all.p7b"]
    assert "The anchors it had stay" in text(browser.post(f"{page}refresh/", follow=True))
    assert "could not be refreshed (NOT_FOUND)" in text(browser.get("/trust/"))


def test_the_history_of_a_bundle_is_shown(browser):
    bundle = Bundle.objects.create(
        name="Providers", url="https://bundles.example/p.p7b", last_error="NOT_FOUND"
    )
    added = [{"sha256": "0" * 64, "subject": "CN=Tamarisk"}]
    BundleChange.objects.create(bundle=bundle, added=added, kept=3)
    shown = text(browser.get(f"/trust/bundles/{bundle.pk}/"))
    assert "1 added, 0 removed, 3 kept" in shown
    assert "CN=Tamarisk" in shown
    assert "It could not be fetched" in shown


def test_a_bundle_counts_for_a_domain_one_way(browser):
    bundle = Bundle.objects.create(name="Providers", url="https://bundles.example/p.p7b")
    use = f"/trust/bundles/{bundle.pk}/use/"
    browser.post(use, {"incoming": "on"})
    row = bundle.uses.get()
    assert (row.domain, row.incoming, row.outgoing) == (None, True, False)
    browser.post(use, {"incoming": "on", "outgoing": "on"})
    row.refresh_from_db()
    assert row.outgoing
    browser.post(use, {"remove": "nonsense"})
    assert bundle.uses.exists()
    browser.post(use, {"remove": str(row.pk)})
    assert not bundle.uses.exists()


def test_an_anchor_of_a_bundle_is_excluded_for_one_domain_and_taken_in_again(browser, ca, settings):
    settings.DIRECT_DOMAINS = [OURS, "direct.other.example"]
    bundle = Bundle.objects.create(name="Providers", url="https://bundles.example/p.p7b", is_active=True)
    BundleUse.objects.create(bundle=bundle)
    fields = Anchor.fields_of(Certificate(ca.der))
    anchor = Anchor.objects.create(**fields, bundle=bundle, source="bundle")
    form = {"domain": OURS, "reason": "Not checked yet."}
    browser.post(f"/trust/anchors/{anchor.pk}/exclude/", {**form, "reason": ""})
    assert context.for_address(f"a@{OURS}").trust.anchors
    browser.post(f"/trust/anchors/{anchor.pk}/exclude/", form)
    assert not context.for_address(f"a@{OURS}").trust.anchors
    assert context.for_address("a@direct.other.example").trust.anchors
    again = browser.post(f"/trust/anchors/{anchor.pk}/exclude/", form, follow=True)
    assert "paused here already" in text(again)
    row = Anchor.objects.get(bundle=None)
    assert "Not checked yet." in text(browser.get(f"/trust/anchors/{row.pk}/"))
    # Lifting it leaves the bundle's anchor alone, and no anchor that nobody imported.
    browser.post(f"/trust/anchors/{row.pk}/state/", {"act": "resume"})
    assert Anchor.objects.get() == anchor
    assert context.for_address(f"a@{OURS}").trust.anchors
    assert audited("trust.anchor_excluded") == 1


# --- an address -------------------------------------------------------------------------------------------


def test_every_step_of_a_search_is_told(browser, ca, name_server, settings):
    answer = browser.post("/trust/exchange/", {"address": "nonsense"})
    assert "looks like" in text(answer)
    shown = text(browser.post("/trust/exchange/", {"address": "ines@direct.rowan.example", "domain": OURS}))
    assert "We to them: no" in shown
    assert "no_certificate" in shown
    assert "DNS, certificate records of the address" in shown


def test_a_partner_that_can_be_written_to_is_shown_with_its_chain(browser, ca, name_server):
    leaf = pki_factory.issue(ca, domains=("direct.larkspur.example",))
    name_server.add_certificate("direct.larkspur.example", leaf.der)
    context.ensure_domains()
    form = {"address": "ward@direct.larkspur.example", "domain": OURS}
    shown = text(browser.post("/trust/exchange/", form))
    assert "We to them: no" in shown
    assert "untrusted_chain" in shown
    trusted(ca, incoming=False)
    shown = text(browser.post("/trust/exchange/", form))
    assert "We to them: yes" in shown
    assert "They to us: no" in shown
    assert leaf.sha256 in shown
    assert ca.sha256 in shown
    trusted(ca)
    assert "They to us: yes" in text(browser.post("/trust/exchange/", form))


def test_forgetting_asks_anew(browser, monkeypatch, name_server):
    context.ensure_domains()
    forgotten = []
    monkeypatch.setattr(discovery, "forget", forgotten.append)
    form = {"address": "ines@direct.rowan.example", "domain": OURS, "forget": "1"}
    browser.post("/trust/exchange/", form)
    assert forgotten == ["ines@direct.rowan.example"]
