"""Trust bundles: what is taken, what is refused, and that the anchors we have survive everything."""

import time

import pytest
import time_machine
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from healthvault.audit.models import AuditEvent
from tests import pki_factory
from tests import web_server as servers
from trust import bundles, context, fetcher, versions
from trust.errors import AnchorStopped, UnsafeSource
from trust.models import Anchor, Bundle, BundleChange, BundleUse, Domain
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"


@pytest.fixture(scope="module")
def cas():
    return [pki_factory.make_ca(f"Member {number} CA", key="p256") for number in range(8)]


@pytest.fixture(scope="module")
def community():
    return pki_factory.issue(None, domains=["bundles.community.example"], eku=None)


def signed(content, signer, *, digest=None):
    """CMS signed data around a collection, as communities publish it."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    builder = builder.add_signer(signer.certificate, signer.private_key, digest or hashes.SHA256())
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes])


@pytest.fixture
def serve(web):
    """A bundle called Members at /bundle.p7m, and what it holds."""

    def put(issued, signer=None, pinned=None, **options):
        content = pki_factory.make_p7b(issued)
        web.files["/bundle.p7m"] = signed(content, signer) if signer else content
        return Bundle.objects.filter(name="Members").first() or bundles.add(
            "Members",
            web.url("/bundle.p7m"),
            signer=Certificate(pinned.der) if pinned else None,
            **options,
        )

    return put


def trusts(ca, *, incoming=True):
    return ca.sha256 in context.for_address(ADDRESS, incoming=incoming).trust.anchors_by_sha256


def refreshed(bundle, **options):
    bundle.refresh_from_db()
    outcome = bundles.refresh(bundle, **options)
    bundle.refresh_from_db()
    return outcome


def stands(bundle):
    return set(bundle.anchors.filter(state="active").values_list("sha256", flat=True))


def prints(issued):
    return {each.sha256 for each in issued}


# --- taking ---------------------------------------------------------------------------------------------


def test_the_anchors_of_a_bundle_count_at_once(cas, serve):
    bundle = serve(cas[:3])
    outcome = refreshed(bundle)
    assert (len(outcome.added), len(outcome.removed), outcome.kept, outcome.error) == (3, 0, 0, "")
    assert all(trusts(ca) and trusts(ca, incoming=False) for ca in cas[:3])
    assert not trusts(cas[3])
    assert (bundle.last_error, bool(bundle.last_success)) == ("", True)


def test_a_bundle_signed_by_the_pinned_signer_is_taken_and_the_signer_is_no_anchor(cas, serve, community):
    bundle = serve(cas[:2], signer=community, pinned=community)
    assert refreshed(bundle).error == ""
    assert stands(bundle) == prints(cas[:2])


@pytest.mark.parametrize("form", ["pem", "pem certificates", "ber", "metadata"])
def test_other_shapes_are_taken_whatever_the_name(cas, serve, web, form):
    bundle = serve(cas[:2])
    der = pki_factory.make_p7b(cas[:2])
    web.files["/bundle.p7m"] = {
        "pem": pki_factory.make_p7b(cas[:2], pem=True),
        "pem certificates": cas[0].pem + cas[1].pem,
        "ber": b"\x30\x80" + der[4:] + b"\x00\x00",
        "metadata": with_metadata(cas[:2]),
    }[form]
    assert der[:2] == b"\x30\x82"
    assert refreshed(bundle).error == ""
    assert stands(bundle) == prints(cas[:2])


def with_metadata(issued):
    from asn1crypto import cms

    info = cms.ContentInfo.load(pki_factory.make_p7b(issued))
    info["content"]["encap_content_info"] = {
        "content_type": "data",
        "content": b"<TrustBundle><Profile>Members</Profile></TrustBundle>",
    }
    return info.dump(force=True)


def test_what_left_counts_no_more_and_what_came_does(cas, serve):
    bundle = serve(cas[:4])
    refreshed(bundle)
    serve(cas[1:5])
    outcome = refreshed(bundle)
    assert (prints(outcome.added), prints(outcome.removed), outcome.kept) == (
        {cas[4].sha256},
        {cas[0].sha256},
        3,
    )
    assert (trusts(cas[0]), trusts(cas[4])) == (False, True)


def test_what_comes_back_counts_again(cas, serve):
    bundle = serve(cas[:4])
    for issued in (cas[:4], cas[1:4], cas[:4]):
        serve(issued)
        outcome = refreshed(bundle)
    assert prints(outcome.added) == {cas[0].sha256}
    assert trusts(cas[0])
    assert Anchor.objects.filter(bundle=bundle).count() == 4


def test_every_change_is_written_down_with_its_anchors(cas, serve):
    bundle = serve(cas[:3])
    refreshed(bundle)
    serve(cas[1:4])
    refreshed(bundle)
    latest, first = BundleChange.objects.filter(bundle=bundle)
    assert {each["sha256"] for each in first.added} == prints(cas[:3])
    assert [each["subject"] for each in latest.removed] == ["CN=Member 0 CA"]
    assert [each["subject"] for each in latest.added] == ["CN=Member 3 CA"]
    assert latest.kept == 2
    assert AuditEvent.objects.filter(action="trust.bundle_changed").count() == 2


def test_the_same_bytes_change_nothing(cas, serve):
    bundle = serve(cas[:3])
    refreshed(bundle)
    before = versions.tokens()
    outcome = refreshed(bundle)
    assert (outcome.added, outcome.removed, outcome.kept, outcome.error) == ((), (), 3, "")
    assert versions.tokens() == before
    assert BundleChange.objects.count() == 1


def test_expired_anchors_are_listed_though_they_trust_nobody(cas, serve):
    old = pki_factory.make_ca("Old CA", not_before=pki_factory.days(-9), not_after=pki_factory.days(-1))
    bundle = serve([cas[0], old])
    refreshed(bundle)
    assert stands(bundle) == {cas[0].sha256, old.sha256}


# --- refusing: the old set stays ------------------------------------------------------------------------


@pytest.fixture
def taken(cas, serve, web):
    bundle = serve(cas[:3])
    refreshed(bundle)
    return bundle


def holds_on(bundle, cas, code, outcome):
    assert (outcome.error, bundle.last_error) == (code, code)
    assert (outcome.added, outcome.removed, outcome.kept) == ((), (), 3)
    assert stands(bundle) == prints(cas[:3])
    assert all(trusts(ca) for ca in cas[:3])
    assert AuditEvent.objects.filter(action="trust.bundle_alert", outcome=code).count() == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Welcome to the hotel's network</html>",
        b"\x30\x03\x02\x01\x01",
        b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n",
        b"\x00" * 5000,
        "truncated",
        "no anchor",
        "signer only",
    ],
)
def test_garbage_is_refused(cas, taken, web, community, body):
    web.files["/bundle.p7m"] = {
        "truncated": pki_factory.make_p7b(cas[:5])[:-100],
        "no anchor": empty_collection(),
        "signer only": signed(pki_factory.make_p7b([community]), community),
    }.get(body, body)
    holds_on(taken, cas, "INVALID_BUNDLE_FORMAT", refreshed(taken))


def empty_collection():
    from asn1crypto import cms

    return cms.ContentInfo(
        {
            "content_type": "signed_data",
            "content": {
                "version": "v1",
                "digest_algorithms": [],
                "encap_content_info": {"content_type": "data"},
                "certificates": [],
                "signer_infos": [],
            },
        }
    ).dump()


@pytest.mark.parametrize(
    ("play", "code"),
    [
        (lambda request: servers.send(request, "404 Not Found"), "NOT_FOUND"),
        (lambda request: servers.send(request, "500 Oops"), "NOT_FOUND"),
        (servers.redirect("http://169.254.169.254/"), "NOT_FOUND"),
        (servers.redirect("/bundle.p7m"), "NOT_FOUND"),
        (servers.silent(1), "DOWNLOAD_TIMEOUT"),
        (servers.drip(b"HTTP/1.1 200 OK\r\n\r\n", 0.05, 100), "DOWNLOAD_TIMEOUT"),
        (lambda request: servers.send(request, "200 OK", b"x" * 9_000_000), "INVALID_BUNDLE_FORMAT"),
        (
            lambda request: request.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nhalf"),
            "INVALID_BUNDLE_FORMAT",
        ),
    ],
)
def test_a_server_that_fails_is_named_and_nothing_is_lost(cas, taken, web, monkeypatch, play, code):
    monkeypatch.setattr(fetcher, "FIRST_BYTE_S", 0.3)
    monkeypatch.setattr(fetcher, "BUNDLE", fetcher.Kind("bundle", 8 * 1024 * 1024, total_s=0.8, redirects=3))
    web.plays["/bundle.p7m"] = play
    holds_on(taken, cas, code, refreshed(taken))


def test_a_dead_server_is_named(cas, taken, web):
    Bundle.objects.filter(pk=taken.pk).update(url="https://nowhere.invalid/bundle.p7m")
    taken.refresh_from_db()
    outcome = bundles.refresh(taken)
    taken.refresh_from_db()
    holds_on(taken, cas, "NOT_FOUND", outcome)


@pytest.mark.parametrize("fault", ["unsigned", "another", "weak", "changed"])
def test_only_the_pinned_signers_word_counts(cas, serve, web, community, fault):
    bundle = serve(cas[:3], signer=community, pinned=community)
    refreshed(bundle)
    stranger = pki_factory.issue(None, domains=["bundles.community.example"], eku=None, fresh_key=True)
    content = pki_factory.make_p7b(cas[:4])
    web.files["/bundle.p7m"] = {
        "unsigned": lambda: content,
        "another": lambda: signed(content, stranger),
        "weak": lambda: signed(content, community, digest=hashes.SHA224()),
        "changed": lambda: signed(content, community).replace(b"Member 3 CA", b"Member X CA"),
    }[fault]()
    holds_on(bundle, cas, "UNMATCHED_SIGNATURE", refreshed(bundle))


def test_a_failure_is_alerted_once_and_mended_by_the_next_success(cas, taken, web):
    good = web.files.pop("/bundle.p7m")
    for _ in range(3):
        assert refreshed(taken).error == "NOT_FOUND"
    assert AuditEvent.objects.filter(action="trust.bundle_alert").count() == 1
    web.files["/bundle.p7m"] = good
    assert refreshed(taken).error == ""
    assert (taken.last_error, taken.last_error_detail) == ("", "")


def test_one_unreadable_certificate_spoils_no_bundle(cas, serve):
    broken = pki_factory.forge(cas[7], lambda tbs: tbs.__setitem__("serial_number", 0))
    bundle = serve(cas[:2])
    outcome = bundles.take(bundle, cas[0].pem + cas[1].pem + broken.pem)
    assert (len(outcome.added), outcome.passed_over, outcome.error) == (2, 1, "")


def test_a_refresh_that_dies_half_way_changes_nothing(cas, taken, serve, monkeypatch):
    serve(cas[:5])
    with monkeypatch.context() as broken:
        broken.setattr(
            bundles.trail, "record", lambda *args, **more: (_ for _ in ()).throw(OSError("disk full"))
        )
        with pytest.raises(OSError, match="disk full"):
            refreshed(taken)
    taken.refresh_from_db()
    assert stands(taken) == prints(cas[:3])
    assert BundleChange.objects.count() == 1
    assert len(refreshed(taken).added) == 2


# --- a set that shrinks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "held"), [(8, 4, True), (8, 1, True), (8, 5, False), (2, 1, False), (3, 1, True)]
)
def test_at_least_half_of_the_anchors_gone_waits_for_a_yes(cas, serve, before, after, held):
    bundle = serve(cas[:before])
    refreshed(bundle)
    serve(cas[:after])
    outcome = refreshed(bundle)
    assert (outcome.error == "SHRUNKEN") is held
    assert stands(bundle) == prints(cas[: before if held else after])


def test_a_shrunken_set_is_alerted_once_and_taken_after_a_yes(cas, serve):
    bundle = serve(cas[:6])
    refreshed(bundle)
    serve(cas[:2])
    for _ in range(3):
        assert refreshed(bundle).error == "SHRUNKEN"
    waiting = BundleChange.objects.filter(code="SHRUNKEN")
    assert [len(each.removed) for each in waiting] == [4]
    outcome = refreshed(bundle, accept_drop=True)
    assert (len(outcome.removed), outcome.error, bundle.last_error) == (4, "", "")
    assert stands(bundle) == prints(cas[:2])
    assert BundleChange.objects.filter(code="ACCEPTED").count() == 1


def test_another_set_of_the_same_size_is_no_drop(cas, serve):
    bundle = serve(cas[:4])
    refreshed(bundle)
    serve(cas[4:8])
    assert refreshed(bundle).error == ""
    assert stands(bundle) == prints(cas[4:8])


# --- what an administrator took away --------------------------------------------------------------------


def test_an_excluded_anchor_stays_out_whatever_the_bundle_says(cas, serve):
    bundle = serve(cas[:3])
    refreshed(bundle)
    bundles.exclude(bundle.anchors.get(sha256=cas[0].sha256), None, reason="asked to leave")
    assert not trusts(cas[0])
    serve(cas[:4])
    refreshed(bundle)
    assert (trusts(cas[0]), trusts(cas[1])) == (False, True)


def test_an_anchor_may_be_excluded_for_one_domain_alone(cas, serve, settings):
    settings.DIRECT_DOMAINS = [OURS, "direct.annex.example"]
    annex = context.ensure_domain("direct.annex.example")
    bundle = serve(cas[:3])
    refreshed(bundle)
    bundles.exclude(bundle.anchors.get(sha256=cas[0].sha256), annex)
    assert trusts(cas[0])
    assert cas[0].sha256 not in context.for_address("a@direct.annex.example").trust.anchors_by_sha256
    with pytest.raises(AnchorStopped):
        bundles.exclude(bundle.anchors.get(sha256=cas[0].sha256), annex)


@pytest.mark.parametrize("state", ["paused", "revoked"])
def test_a_stopped_anchor_is_not_brought_back_by_leaving_and_returning(cas, serve, state):
    bundle = serve(cas[:4])
    refreshed(bundle)
    Anchor.objects.filter(sha256=cas[0].sha256).update(state=state)
    for issued in (cas[1:4], cas[:4]):
        serve(issued)
        refreshed(bundle)
    assert not trusts(cas[0])


def test_directions_and_domains_are_those_of_the_use(cas, serve):
    bundle = serve(cas[:2], outgoing=False)
    refreshed(bundle)
    assert (trusts(cas[0]), trusts(cas[0], incoming=False)) == (True, False)


@pytest.mark.parametrize(
    ("environment", "label", "counts"),
    [
        ("production", "production", True),
        ("production", "staging", False),
        ("ppe", "staging", True),
        ("ppe", "production", False),
        ("demo", "staging", True),
    ],
)
def test_staging_and_production_never_mix(cas, serve, settings, environment, label, counts):
    settings.ENVIRONMENT = environment
    refreshed(serve(cas[:1], label=label))
    assert trusts(cas[0]) is counts


# --- adding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://bundles.example/b.p7b", "ftp://bundles.example/", "bundle.p7b", ""])
def test_a_place_that_nothing_vouches_for_is_refused(url):
    with pytest.raises(UnsafeSource):
        bundles.add("Members", url)
    assert not Bundle.objects.exists()


def test_a_pinned_signer_vouches_for_plain_http(community):
    assert bundles.add("Members", "http://bundles.example/b", signer=Certificate(community.der)).is_active


def test_another_signer_makes_the_same_bytes_new_again(cas, serve, web, community):
    bundle = serve(cas[:2])
    refreshed(bundle)
    bundles.add("Members", bundle.url, signer=Certificate(community.der))
    assert refreshed(bundle).error == "UNMATCHED_SIGNATURE"


def test_the_same_name_again_changes_what_is_there(cas, serve, web):
    bundle = serve(cas[:2])
    again = bundles.add("Members", web.url("/other.p7b"), incoming=False)
    assert again.pk == bundle.pk
    use = BundleUse.objects.get()
    assert (use.incoming, use.outgoing, use.domain) == (False, True, None)


# --- on a timer -----------------------------------------------------------------------------------------


def minutes(number):
    return pki_factory.days(number / 1440)


def test_a_bundle_is_refreshed_when_its_day_is_over(cas, serve, web):
    bundle = serve(cas[:2])
    assert [each.pk for each, _ in bundles.refresh_due()] == [bundle.pk]
    assert bundles.refresh_due() == []
    with time_machine.travel(minutes(23 * 60), tick=True):
        assert bundles.refresh_due() == []
    with time_machine.travel(minutes(24 * 60 + 1), tick=True):
        assert len(bundles.refresh_due()) == 1


def test_a_failure_is_tried_again_within_the_hour(cas, serve, web):
    bundle = serve(cas[:2])
    good = web.files.pop("/bundle.p7m")
    assert bundles.refresh_due()[0][1].error == "NOT_FOUND"
    assert bundles.refresh_due() == []
    web.files["/bundle.p7m"] = good
    with time_machine.travel(minutes(61), tick=True):
        assert bundles.refresh_due()[0][1].error == ""
    assert stands(bundle) == prints(cas[:2])


@pytest.mark.parametrize("fields", [{"is_active": False}, {"interval_s": 0}, {"url": ""}])
def test_a_bundle_that_is_off_or_by_hand_only_is_left_alone(cas, serve, fields):
    Bundle.objects.filter(pk=serve(cas[:2]).pk).update(**fields)
    assert bundles.refresh_due() == []


def test_two_workers_do_not_refresh_one_bundle_twice(cas, serve, web):
    serve(cas[:2])
    stale = bundles.due(pki_factory.utc_now())
    bundles.refresh_due()
    original, bundles.due = bundles.due, lambda at: stale
    try:
        assert bundles.refresh_due() == []
    finally:
        bundles.due = original
    assert len(web.requests) == 1


# --- size -----------------------------------------------------------------------------------------------


def many(count, offset):
    """So many different certificates, by patching the name: nothing verifies an anchor's own signature."""
    template = pki_factory.make_ca("Member 00000 CA", key="p256")
    for number in range(offset, offset + count):
        yield template.der.replace(b"Member 00000 CA", b"Member %05d CA" % number)


def test_five_thousand_anchors_in_three_bundles_are_taken_in_seconds(web):
    made = []
    for at, count in enumerate((2500, 1500, 1000)):
        ders = list(many(count, at * 10_000))
        web.files[f"/{at}"] = b"".join(pki_factory.to_pem(der) for der in ders)
        made.append(bundles.add(f"Bundle {at}", web.url(f"/{at}")))
    began = time.monotonic()
    assert sum(len(refreshed(bundle).added) for bundle in made) == 5000
    assert time.monotonic() - began < 20
    began = time.monotonic()
    assert sum(refreshed(bundle).kept for bundle in made) == 5000
    assert time.monotonic() - began < 1
    assert Domain.objects.count() <= 1
