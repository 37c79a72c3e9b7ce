"""In production a new source of anchors takes two administrators in the console, or an operator."""

from io import StringIO

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

from healthvault.audit.models import AuditEvent
from records.models import Account
from tests import factories, pki_factory
from tests.interleaving import another_process, tries
from trust import authorities, bundles, identity_requests, keyimport, renewal
from trust.models import Anchor, Bundle, Domain

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
URL = "https://bundles.example/providers.p7b"
FORM = {"name": "Providers", "label": "production", "hours": "24", "is_active": "on"}


@pytest.fixture(autouse=True)
def production(settings):
    settings.PRODUCTION = True
    settings.ENVIRONMENT = "production"


def administrator(email):
    account = factories.account(email, is_staff=True)
    # Administrators reach a production console with a second step only.
    TOTP.activate(account, generate_totp_secret())
    client = Client()
    client.force_login(account)
    return client


@pytest.fixture
def ida():
    return administrator("ida@portal.example")


@pytest.fixture
def ben():
    return administrator("ben@portal.example")


def text(answer):
    return " ".join(answer.content.decode().split())


def agree(client, bundle, seen=None):
    bundle.refresh_from_db()
    digest = seen or (bundles.proposal(bundle).digest if bundle.proposal else "")
    page = f"/trust/bundles/{bundle.pk}/proposal/"
    return text(client.post(page, {"act": "agree", "seen": digest}, follow=True))


def state(bundle):
    bundle.refresh_from_db()
    return bundle.url, bundle.is_active, bundle.proposal is not None


def test_a_new_bundle_counts_after_the_second_yes(ida, ben):
    assert "second administrator" in text(ida.post("/trust/bundles/add/", {**FORM, "url": URL}, follow=True))
    bundle = Bundle.objects.get()
    assert state(bundle) == ("", False, True)
    assert "Wants a second yes" in text(ida.get("/trust/bundles/"))
    assert "waits for a second administrator" in text(ben.get("/trust/"))
    assert "You proposed it" in agree(ida, bundle)
    assert state(bundle) == ("", False, True)
    assert URL in text(ben.get(f"/trust/bundles/{bundle.pk}/"))
    agree(ben, bundle)
    assert state(bundle) == (URL, True, False)
    assert AuditEvent.objects.filter(action="trust.bundle_agreed").count() == 1


@pytest.mark.parametrize(
    "change", [{"url": "https://other.example/all.p7b"}, {"label": "staging"}, {"signer": True}]
)
def test_another_source_waits_while_the_old_one_is_followed(ida, ben, change):
    bundle = Bundle.objects.create(name="Providers", url=URL, is_active=True, checksum="c" * 64)
    form = {**FORM, "url": URL, **change}
    if "signer" in change:
        form["signer"] = SimpleUploadedFile("signer.cer", pki_factory.make_ca("Bundle Signer").der)
    ida.post(f"/trust/bundles/{bundle.pk}/change/", form)
    assert state(bundle) == (URL, True, True)
    assert (bundle.label, bundle.signer_der, bundle.checksum) == ("production", None, "c" * 64)
    agree(ben, bundle)
    assert not bundle.proposal or state(bundle)[2] is False
    bundle.refresh_from_db()
    assert bundle.url == form["url"]
    assert bundle.label == form["label"]
    assert bool(bundle.signer_der) is ("signer" in change)
    assert bundle.checksum == ("c" * 64 if "label" in change else "")


def test_switching_on_takes_two_and_switching_off_takes_one(ida, ben):
    bundle = Bundle.objects.create(name="Providers", url=URL, is_active=False)
    page = f"/trust/bundles/{bundle.pk}/change/"
    ida.post(page, {**FORM, "url": URL})
    assert state(bundle) == (URL, False, True)
    agree(ben, bundle)
    assert state(bundle) == (URL, True, False)
    off = {**FORM, "url": URL, "hours": "12"}
    del off["is_active"]
    ida.post(page, off)
    assert state(bundle) == (URL, False, False)
    assert bundle.interval_s == 12 * 3600


def test_no_anchors_of_another_source_lie_ready_for_the_second_yes(ida, ben, web):
    """What is switched off one person may point anywhere: nothing is fetched from there."""
    web.files["/evil.p7b"] = pki_factory.make_p7b([pki_factory.make_ca("Intruder CA")])
    bundle = Bundle.objects.create(name="Providers", url=URL, is_active=True)
    page = f"/trust/bundles/{bundle.pk}/"
    off = {**FORM, "url": web.url("/evil.p7b")}
    del off["is_active"]
    ida.post(f"{page}change/", off)
    assert state(bundle) == (web.url("/evil.p7b"), False, False)
    assert "Refresh now" not in text(ida.get(page))
    assert "Switch it on first" in text(ida.post(f"{page}refresh/", follow=True))
    ida.post(f"{page}change/", {**FORM, "url": URL})
    agree(ben, bundle)
    assert state(bundle) == (URL, True, False)
    assert not Anchor.objects.exists()


def test_nobody_agrees_to_what_he_did_not_see(ida, ben):
    ida.post("/trust/bundles/add/", {**FORM, "url": URL})
    bundle = Bundle.objects.get()
    seen = bundles.proposal(bundle).digest
    ida.post(f"/trust/bundles/{bundle.pk}/change/", {**FORM, "url": "https://evil.example/all.p7b"})
    assert "changed meanwhile" in agree(ben, bundle, seen)
    assert state(bundle) == ("", False, True)


def test_a_proposal_can_be_dropped_by_either(ida, ben):
    ida.post("/trust/bundles/add/", {**FORM, "url": URL})
    bundle = Bundle.objects.get()
    ben.post(f"/trust/bundles/{bundle.pk}/proposal/", {"act": "drop"})
    assert state(bundle) == ("", False, False)
    assert "changed meanwhile" in agree(ben, bundle, "x")


BOTH = {"incoming": "on", "outgoing": "on"}


def uses(bundle):
    return sorted(
        (use.domain.name if use.domain else "all", use.incoming, use.outgoing) for use in bundle.uses.all()
    )


@pytest.mark.parametrize(
    ("before", "form", "after"),
    [
        ([(None, True, False)], BOTH, [("all", True, True)]),
        ([(OURS, True, True)], {"incoming": "on"}, [("all", True, False), (OURS, True, True)]),
        ([(None, True, False)], {**BOTH, "domain": OURS}, [("all", True, False), (OURS, True, True)]),
        ([(OURS, True, False)], {"outgoing": "on", "domain": OURS}, [(OURS, False, True)]),
        ([], {**BOTH, "domain": OURS}, [(OURS, True, True)]),
    ],
)
def test_a_wider_use_of_a_bundle_takes_two(ida, ben, before, form, after):
    bundle = Bundle.objects.create(name="Providers", url=URL, is_active=True)
    domain = Domain.objects.get_or_create(name=OURS)[0]
    for name, *ways in before:
        bundle.uses.create(domain=domain if name else None, incoming=ways[0], outgoing=ways[1])
    had = uses(bundle)
    page = f"/trust/bundles/{bundle.pk}/"
    assert "second administrator" in text(ida.post(f"{page}use/", form, follow=True))
    assert (uses(bundle), state(bundle)) == (had, (URL, True, True))
    assert "You proposed it" in agree(ida, bundle)
    shown = text(ben.get(page))
    assert "agree to where its anchors count" in shown
    assert f"<dd>{form.get('domain', 'all our domains')}</dd>" in shown
    assert "counts as you agreed" in agree(ben, bundle)
    assert (uses(bundle), state(bundle)) == (after, (URL, True, False))
    event = AuditEvent.objects.get(action="trust.bundle_agreed")
    for way in ("incoming", "outgoing"):
        assert event.ids[way] == str(int(way in form))


def test_a_narrower_use_takes_one(ida):
    bundle = Bundle.objects.create(name="Providers", url=URL, is_active=True)
    bundle.uses.create()
    page = f"/trust/bundles/{bundle.pk}/use/"
    # What holds for all holds for this one already.
    ida.post(page, {**BOTH, "domain": OURS})
    ida.post(page, {"incoming": "on"})
    assert uses(bundle) == [("all", True, False), (OURS, True, True)]
    ida.post(page, {"remove": str(bundle.uses.get(domain=None).pk)})
    assert uses(bundle) == [(OURS, True, True)]
    assert state(bundle) == (URL, True, False)


def test_a_wider_use_drops_no_other_wish(ida, ben):
    ida.post("/trust/bundles/add/", {**FORM, "url": URL})
    bundle = Bundle.objects.get()
    bundle.uses.all().delete()
    answer = ida.post(f"/trust/bundles/{bundle.pk}/use/", BOTH, follow=True)
    assert "decide that first" in text(answer)
    agree(ben, bundle)
    assert state(bundle) == (URL, True, False)
    assert uses(bundle) == []


def test_a_use_for_a_domain_that_left_cannot_be_agreed_to(ida, ben):
    bundle = Bundle.objects.create(name="Providers", url=URL, is_active=True)
    ida.post(f"/trust/bundles/{bundle.pk}/use/", {**BOTH, "domain": OURS})
    Domain.objects.all().delete()
    assert "here no more" in agree(ben, bundle)
    assert uses(bundle) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("act", ["agree", "drop"])
def test_who_changes_a_bundle_undoes_nothing_that_another_does_meanwhile(ida, ben, act, after):
    bundle = Bundle.objects.create(name="Providers", url=URL, is_active=True)
    page = f"/trust/bundles/{bundle.pk}/"
    other = "https://other.example/all.p7b"
    ida.post(f"{page}change/", {**FORM, "url": other})
    bundle.refresh_from_db()
    account, seen = Account.objects.get(email="ben@portal.example"), bundles.proposal(bundle).digest
    came_between = []

    def decide():
        bundles.agree(bundle, account, seen) if act == "agree" else bundles.drop_proposal(bundle, account)

    with another_process(lambda: came_between.append(tries(decide)), after, "trust_bundle"):
        ida.post(f"{page}change/", {**FORM, "url": URL, "hours": "12"})
    bundle.refresh_from_db()
    assert (came_between, bundle.interval_s) == ([False], 12 * 3600)
    decide()
    assert state(bundle) == (other if act == "agree" else URL, True, False)
    assert bundle.interval_s == 12 * 3600


def test_the_proposal_of_somebody_who_left_needs_a_new_one(ida, ben):
    ida.post("/trust/bundles/add/", {**FORM, "url": URL})
    bundle = Bundle.objects.get()
    Bundle.objects.filter(pk=bundle.pk).update(proposed_by=None)
    agree(ben, bundle)
    assert state(bundle) == ("", False, True)


def test_the_command_line_counts_as_both(web):
    web.files["/all.p7b"] = pki_factory.make_p7b([pki_factory.make_ca("Rowan Clinic CA")])
    call_command("add_bundle", "Providers", web.url("/all.p7b"), stdout=StringIO())
    assert state(Bundle.objects.get()) == (web.url("/all.p7b"), True, False)


def test_elsewhere_one_is_enough(ida, settings):
    settings.PRODUCTION = False
    ida.post("/trust/bundles/add/", {**FORM, "url": URL})
    assert state(Bundle.objects.get()) == (URL, True, False)


# --- certificates of ours are anchors of ours, too --------------------------------------------------------


def handed_in(issued, **more):
    row = identity_requests.ask_import(issued.p12("pw", **more), "pw", "our.p12", None)
    identity_requests.carry_out(str(row.pk))
    row.refresh_from_db()
    return row.state, row.code


def test_one_administrator_hands_in_no_authority_and_no_certificate_for_others():
    ca = pki_factory.make_ca("Anybody's CA")
    assert handed_in(ca) == ("failed", "operator_needed")
    assert handed_in(pki_factory.issue(ca, domains=["direct.partner.example"])) == (
        "failed",
        "operator_needed",
    )
    both = pki_factory.issue(ca, domains=[OURS, "direct.partner.example"])
    assert handed_in(both) == ("failed", "operator_needed")
    assert not Anchor.objects.exists()
    assert handed_in(pki_factory.issue(ca, domains=[OURS])) == ("done", "")
    assert [anchor.subject for anchor in Anchor.objects.all()] == [f"CN={OURS}"]


def test_a_key_that_was_taken_offline_comes_back_by_the_console(monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)
    authority = authorities.issue_identity(OURS).issuer
    sealed = renewal.export_authority(authority, "four tall herons waded")
    renewal.take_offline(authority, sealed, "four tall herons waded")
    row = identity_requests.ask_import(sealed, "four tall herons waded", "ca.p12", None)
    assert identity_requests.carry_out(str(row.pk)) == "done"
    assert not authorities.is_offline(authority)


def test_an_operator_imports_either():
    ca = pki_factory.make_ca("Anybody's CA")
    assert keyimport.import_p12(ca.p12())[0].kind == "ca"
