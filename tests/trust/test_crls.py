"""Revocation lists of others: fetched, kept against loss, and refreshed in the background."""

import datetime

import pytest
import time_machine
from cryptography import x509

from healthvault.audit.models import AuditEvent
from tests import pki_factory
from tests import web_server as servers
from trust import context, fetcher, resolvers, revocation_lists, versions
from trust.models import Anchor, Crl, Domain, PeerCertificate
from trust.pki.certs import Certificate
from trust.pki.errors import MissingCrl, MissingIssuer, Revoked, UntrustedChain
from trust.pki.policy import TrustContext

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"
PARTNER = "dr.tamsin@direct.tamarisk.example"


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Tamarisk Clinics CA")


@pytest.fixture(autouse=True)
def nobody_noted():
    revocation_lists._noted.clear()


@pytest.fixture
def trusted(ca):
    return Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))


def now():
    return pki_factory.utc_now()


def judge(leaf, hints=()):
    return resolvers.verify(
        Certificate(leaf.der),
        [Certificate(each.der) for each in hints],
        lambda: context.for_address(ADDRESS).trust,
        now(),
    )


def named(ca, web, *paths):
    return pki_factory.issue(ca, emails=[PARTNER], cdp=[web.url(each) for each in paths])


def held(url):
    return Crl.objects.get(url=url)


def hours(number):
    return now() + datetime.timedelta(hours=number)


# --- one verdict ----------------------------------------------------------------------------------------


def test_a_signer_revoked_on_a_list_never_seen_before_is_refused(ca, web, trusted):
    leaf = named(ca, web, "/ca.crl")
    web.files["/ca.crl"] = pki_factory.make_crl(ca, [leaf])
    with pytest.raises(Revoked):
        judge(leaf)


def test_a_good_one_is_known_to_be_good_afterwards(ca, web, trusted):
    leaf = named(ca, web, "/ca.crl")
    web.files["/ca.crl"] = pki_factory.make_crl(ca)
    assert judge(leaf).revocation == "good"
    assert judge(leaf).revocation == "good"
    assert web.paths() == ["/ca.crl"]


def test_the_first_place_may_be_dead(ca, web, trusted, settings):
    dead = servers.redirect("/elsewhere.crl")
    leaf = named(ca, web, "/gone.crl", "/moved.crl", "/ca.crl")
    web.plays["/moved.crl"] = dead
    web.files["/ca.crl"] = pki_factory.make_crl(ca, [leaf])
    with pytest.raises(Revoked):
        judge(leaf)
    assert web.paths() == ["/gone.crl", "/moved.crl", "/ca.crl"]


def test_a_dead_place_is_not_asked_for_every_message(ca, web, trusted):
    leaf = named(ca, web, "/gone.crl")
    for _ in range(5):
        assert judge(leaf).revocation == "unknown"
    assert web.paths() == ["/gone.crl"]


def test_where_we_must_know_unknown_is_refused_until_the_list_comes(ca, web, trusted):
    Domain.objects.update_or_create(name=OURS, defaults={"revocation": "require"})
    leaf = named(ca, web, "/ca.crl")
    with pytest.raises(MissingCrl):
        judge(leaf)
    web.files["/ca.crl"] = pki_factory.make_crl(ca)
    revocation_lists.memory.forget("crl_failed", web.url("/ca.crl"))
    assert judge(leaf).revocation == "good"


@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"\x30\x03\x02\x01\x01", b"\x30\x84\xff\xff\xff\xff"]
)
def test_what_is_no_list_is_not_kept(ca, web, trusted, body):
    leaf = named(ca, web, "/ca.crl")
    web.files["/ca.crl"] = body
    assert judge(leaf).revocation == "unknown"
    assert not Crl.objects.exists()


def test_a_forged_list_makes_nothing_good_and_is_replaced_by_the_true_one(ca, web, trusted):
    leaf = named(ca, web, "/ca.crl")
    stranger = pki_factory.make_ca("Tamarisk Clinics CA")
    web.files["/ca.crl"] = pki_factory.make_crl(stranger, number=999_999)
    assert judge(leaf).revocation == "unknown"
    web.files["/ca.crl"] = pki_factory.make_crl(ca, [leaf], number=2)
    Crl.objects.all().touch(last_attempt=hours(-1), fetched=hours(-5))
    assert revocation_lists.obtain([web.url("/ca.crl")])
    with pytest.raises(Revoked):
        judge(leaf)


@pytest.mark.parametrize("kind", ["indirect", "delta", "future"])
def test_lists_that_nobody_could_use_are_not_kept(ca, web, trusted, kind):
    options = {
        "indirect": {"indirect": True},
        "delta": {"delta_of": 1, "number": 2},
        "future": {"this_update": hours(2)},
    }
    web.files["/ca.crl"] = pki_factory.make_crl(ca, **options[kind])
    assert not revocation_lists.obtain([web.url("/ca.crl")])
    assert not Crl.objects.exists()


# --- never worse than before ----------------------------------------------------------------------------


@pytest.fixture
def kept(ca, web, trusted):
    """A good list with one revocation, held already, and due."""
    leaf = named(ca, web, "/ca.crl")
    web.files["/ca.crl"] = pki_factory.make_crl(ca, [leaf], number=10)
    with pytest.raises(Revoked):
        judge(leaf)
    Crl.objects.all().touch(last_attempt=hours(-1), fetched=hours(-5))
    return leaf


def again(web):
    return revocation_lists.obtain([web.url("/ca.crl")])


def test_an_older_number_never_takes_the_place_of_a_newer_one(ca, web, kept):
    web.files["/ca.crl"] = pki_factory.make_crl(ca, number=9, this_update=hours(-1))
    assert not again(web)
    assert (held(web.url("/ca.crl")).number, held(web.url("/ca.crl")).last_error) == ("10", "rollback")
    with pytest.raises(Revoked):
        judge(kept)


def test_nor_does_a_list_of_a_stranger_whatever_its_number(ca, web, kept):
    stranger = pki_factory.make_ca("Tamarisk Clinics CA")
    web.files["/ca.crl"] = pki_factory.make_crl(stranger, number=999_999)
    assert not again(web)
    assert held(web.url("/ca.crl")).last_error == "unmatched_signature"
    with pytest.raises(Revoked):
        judge(kept)


def test_nor_does_an_error_page(ca, web, kept):
    web.files["/ca.crl"] = b"<html>Bad gateway</html>"
    assert not again(web)
    with pytest.raises(Revoked):
        judge(kept)


def test_a_newer_list_takes_its_place_and_is_seen_at_once(ca, web, kept):
    web.files["/ca.crl"] = pki_factory.make_crl(ca, number=11)
    assert again(web)
    assert judge(kept).revocation == "good"


def test_the_same_list_again_changes_no_token(ca, web, kept):
    before = versions.tokens()
    assert not again(web)
    assert versions.tokens() == before
    assert held(web.url("/ca.crl")).fetched > hours(-1)


# --- when it is fetched again ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issued_h", "ends_h", "fetched_h", "due"),
    [
        (-1, 167, -1, False),
        (-1, 167, -4.1, True),  # four hours, though a week is left
        (-1.1, 0.9, -1, True),  # half of its life
        (-0.9, 1.1, -0.5, False),
        (-48, -1, -0.5, True),  # over
    ],
)
def test_a_list_is_due_at_half_its_life_or_after_four_hours(issued_h, ends_h, fetched_h, due):
    row = Crl(this_update=hours(issued_h), next_update=hours(ends_h), fetched=hours(fetched_h))
    assert revocation_lists.is_due(row, now()) is due


def test_the_same_place_is_not_asked_twice_in_a_quarter_of_an_hour():
    row = Crl(this_update=hours(-9), next_update=hours(1), fetched=hours(-9), last_attempt=hours(-0.2))
    assert not revocation_lists.is_due(row, now())


@pytest.mark.parametrize(
    ("ended_h", "state"), [(-0.1, "stale"), (-23.9, "stale"), (-24.1, "expired"), (1, "fresh")]
)
def test_a_list_is_stale_for_a_day_after_its_end(ended_h, state):
    assert revocation_lists.freshness(Crl(next_update=hours(ended_h)), now()) == state


# --- in the background ----------------------------------------------------------------------------------


def test_lists_of_certificates_we_met_are_refreshed(ca, web, trusted):
    leaf = named(ca, web, "/ca.crl")
    web.files["/ca.crl"] = pki_factory.make_crl(ca, number=1)
    judge(leaf)
    web.files["/ca.crl"] = pki_factory.make_crl(ca, [leaf], number=2)
    assert revocation_lists.refresh().changed == 0
    with time_machine.travel(hours(4.5), tick=True):
        assert revocation_lists.refresh() == revocation_lists.Refreshed(asked=1, changed=1, failed=0)
        with pytest.raises(Revoked):
            judge(leaf)


def test_certificates_of_one_authority_cost_one_fetch(ca, web, trusted):
    web.files["/ca.crl"] = pki_factory.make_crl(ca)
    for _ in range(4):
        judge(named(ca, web, "/ca.crl"))
    assert PeerCertificate.objects.exclude(crl_urls="").count() == 4
    with time_machine.travel(hours(5), tick=True):
        assert revocation_lists.refresh().asked == 1
    assert web.paths() == ["/ca.crl", "/ca.crl"]


def test_only_certificates_on_a_good_chain_are_met(ca, web):
    with pytest.raises(UntrustedChain):
        judge(named(ca, web, "/ca.crl"))
    assert not PeerCertificate.objects.exists()
    assert revocation_lists.refresh().asked == 0
    assert not web.requests


def test_a_list_that_goes_stale_is_told_once(ca, web, trusted):
    web.files["/ca.crl"] = pki_factory.make_crl(ca, next_update=hours(2))
    judge(named(ca, web, "/ca.crl"))
    del web.files["/ca.crl"]
    for hour in (3, 3.5, 4):
        with time_machine.travel(hours(hour), tick=True):
            assert revocation_lists.refresh().failed == 1
    alerts = AuditEvent.objects.filter(action="trust.crl_alert")
    assert [each.outcome for each in alerts] == ["stale"]
    assert PeerCertificate.objects.exclude(crl_urls="").get().crl_error == "stale"


def test_after_its_day_of_grace_it_is_told_again_as_expired(ca, web, trusted):
    web.files["/ca.crl"] = pki_factory.make_crl(ca, next_update=hours(2))
    judge(named(ca, web, "/ca.crl"))
    del web.files["/ca.crl"]
    for hour in (3, 27):
        with time_machine.travel(hours(hour), tick=True):
            revocation_lists.refresh()
    alerts = AuditEvent.objects.filter(action="trust.crl_alert").order_by("id")
    assert [each.outcome for each in alerts] == ["stale", "expired"]


def test_a_stale_list_counts_for_a_day_with_a_warning_and_then_no_more(ca, web, trusted):
    Domain.objects.update_or_create(name=OURS, defaults={"revocation": "require"})
    leaf = named(ca, web, "/ca.crl")
    web.files["/ca.crl"] = pki_factory.make_crl(ca, next_update=hours(2))
    assert judge(leaf).warnings == ()
    del web.files["/ca.crl"]
    with time_machine.travel(hours(3), tick=True):
        chain = judge(leaf)
        assert (chain.revocation, chain.warnings) == ("good", ("crl_stale",))
    with time_machine.travel(hours(27), tick=True), pytest.raises(MissingCrl):
        judge(leaf)


def test_lists_of_people_long_gone_are_let_go(ca, web, trusted):
    web.files["/ca.crl"] = pki_factory.make_crl(ca)
    judge(named(ca, web, "/ca.crl"))
    with time_machine.travel(hours(24 * 91), tick=True):
        revocation_lists.refresh()
    assert not Crl.objects.filter(identity__isnull=True).exists()


def test_our_own_lists_are_not_fetched_from_ourselves(web, settings):
    settings.PUBLIC_URL = web.url("")
    assert not revocation_lists.obtain([web.url("/messagecenter/certs/ca.crl")])
    assert not web.requests


# --- issuers --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def between(ca):
    return pki_factory.make_ca("Tamarisk Issuing CA", issuer=ca)


@pytest.mark.parametrize("form", ["der", "pem", "p7c"])
def test_the_issuer_is_fetched_where_the_certificate_says(ca, between, web, trusted, form):
    leaf = pki_factory.issue(between, emails=[PARTNER], aia=[web.url("/ca.cer")])
    other = pki_factory.make_ca("Somebody Else")
    web.files["/ca.cer"] = {
        "der": between.der,
        "pem": between.pem,
        "p7c": pki_factory.make_p7b([other, between]),
    }[form]
    assert len(judge(leaf).certificates) == 3
    judge(leaf)
    assert web.paths() == ["/ca.cer"]


@pytest.mark.parametrize("name", ["pki.tamarisk.example", "pki@tamarisk.example"])
def test_an_issuer_may_be_found_by_its_alternative_name(ca, between, name_server, trusted, name):
    general = x509.RFC822Name(name) if "@" in name else x509.DNSName(name)
    names = [(x509.IssuerAlternativeName([general]), False)]
    leaf = pki_factory.issue(between, emails=[PARTNER], extra=names)
    name_server.add_certificate(name.replace("@", "."), b"noise", between.der)
    assert len(judge(leaf).certificates) == 3


def test_a_stranger_without_names_asks_the_name_service_nothing(ca, name_server, trusted):
    with pytest.raises(UntrustedChain):
        judge(pki_factory.issue(pki_factory.make_ca("Stranger CA"), emails=[PARTNER]))
    assert not name_server.asked


def test_two_hops_are_made_and_no_third(ca, web, trusted):
    first = pki_factory.make_ca("Hop 1", issuer=ca)
    second = pki_factory.make_ca("Hop 2", issuer=first, aia=[web.url("/1")])
    third = pki_factory.make_ca("Hop 3", issuer=second, aia=[web.url("/2")])
    web.files |= {"/1": first.der, "/2": second.der, "/3": third.der}
    near = pki_factory.issue(second, emails=[PARTNER], aia=[web.url("/2")])
    far = pki_factory.issue(third, emails=[PARTNER], aia=[web.url("/3")])
    assert len(judge(near).certificates) == 4
    with pytest.raises(MissingIssuer):
        judge(far)


def test_a_fetched_root_trusts_nobody(web):
    root = pki_factory.make_ca("Uninvited Root")
    leaf = pki_factory.issue(root, emails=[PARTNER], aia=[web.url("/root")])
    web.files["/root"] = root.der
    with pytest.raises(UntrustedChain):
        judge(leaf)


def test_a_large_file_is_taken_for_a_collection_only(ca, between, web, trusted):
    web.files["/big"] = between.der + b"\x00" * 70_000
    web.files["/huge"] = b"\x30" * (256 * 1024 + 1)
    assert revocation_lists.issuers([web.url("/big")]) == ()
    assert revocation_lists.issuers([web.url("/huge")]) == ()


def test_a_chain_cannot_make_us_fetch_without_end(ca, web, trusted):
    leaf = named(ca, web, *(f"/{each}.crl" for each in range(20)))
    judge(leaf)
    assert len(web.requests) <= revocation_lists.MAX_POINTS


def test_a_dead_host_of_lists_is_paid_for_once(ca, web, trusted, monkeypatch):
    """Receiving goes on while a partner's host of lists is silent."""
    monkeypatch.setattr(fetcher, "FIRST_BYTE_S", 0.2)
    web.plays["/ca.crl"] = servers.silent(1)
    leaves = [named(ca, web, "/ca.crl") for _ in range(3)]
    for leaf in leaves:
        assert judge(leaf).revocation == "unknown"
    assert len(web.requests) == 1


def test_an_empty_context_asks_nobody(ca, web):
    leaf = named(ca, web, "/ca.crl")
    with pytest.raises(UntrustedChain):
        resolvers.verify(Certificate(leaf.der), [], lambda: TrustContext(()), now())
    assert not web.requests
