"""Whom an address of ours trusts, which keys it has, and that every process sees a change at once."""

import datetime

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from healthvault.vault.errors import KeyringUnavailable
from tests import pki_factory
from trust import authorities, context
from trust.models import Anchor, Bundle, BundleUse, Crl, Domain, Identity, Organization, issuer_hash
from trust.pki.certs import Certificate
from trust.pki.errors import Revoked
from trust.pki.path import verify_path
from trust.pki.revocation import Crl as ReadCrl
from trust.versions import SetVersion

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"
ADDRESS = f"otter.fern.204@{OURS}"
BOTH_DOMAINS = [OURS, "direct.annex.example"]


@pytest.fixture(scope="module")
def ca():
    return pki_factory.make_ca("Larkspur Community Hospital CA")


@pytest.fixture(scope="module")
def other_ca():
    return pki_factory.make_ca("Tamarisk Clinics CA")


def anchor_row(ca, **fields):
    return Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)), **fields)


def trusts(ca, address=ADDRESS, *, incoming=True, notification=False):
    found = context.for_address(address, incoming=incoming)
    chosen = found.notification_trust if notification else found.trust
    return ca.sha256 in chosen.anchors_by_sha256


# --- directions and domains -----------------------------------------------------------------------------


@pytest.mark.parametrize("incoming", [True, False])
@pytest.mark.parametrize("outgoing", [True, False])
def test_a_flag_counts_for_its_own_direction_only(ca, incoming, outgoing):
    anchor_row(ca, incoming=incoming, outgoing=outgoing)
    assert trusts(ca, incoming=True) is incoming
    assert trusts(ca, incoming=False) is outgoing
    assert trusts(ca, notification=True) is (incoming or outgoing)


def test_an_empty_set_trusts_nobody(ca):
    found = context.for_address(ADDRESS)
    assert found.trust.anchors == ()
    assert not trusts(ca, notification=True)


def test_an_anchor_of_one_domain_says_nothing_about_another(ca, settings):
    settings.DIRECT_DOMAINS = BOTH_DOMAINS
    ours, annex = context.ensure_domains()
    anchor_row(ca, domain=annex)
    assert not trusts(ca, f"a@{ours.name}")
    assert trusts(ca, f"a@{annex.name}")


def test_an_anchor_that_is_for_all_domains_holds_for_each(ca, settings):
    settings.DIRECT_DOMAINS = BOTH_DOMAINS
    anchor_row(ca)
    assert all(trusts(ca, f"a@{name}") for name in BOTH_DOMAINS)


@pytest.mark.parametrize("state", [Anchor.State.PAUSED, Anchor.State.REVOKED, Anchor.State.WITHDRAWN])
def test_only_an_active_anchor_counts(ca, state):
    anchor_row(ca, state=state)
    assert not trusts(ca)


def test_an_inactive_organisation_has_no_anchors(ca):
    organization = Organization.objects.create(name="Larkspur")
    anchor_row(ca, organization=organization)
    assert trusts(ca)
    organization.is_active = False
    organization.save()
    assert not trusts(ca)


# --- bundles --------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(ca):
    made = Bundle.objects.create(name="Providers", is_active=True)
    anchor_row(ca, bundle=made, source=Anchor.Source.BUNDLE)
    return made


def test_a_bundle_counts_where_it_is_used(ca, bundle, settings):
    settings.DIRECT_DOMAINS = BOTH_DOMAINS
    assert not trusts(ca)
    _, annex = context.ensure_domains()
    BundleUse.objects.create(bundle=bundle, domain=annex, incoming=True, outgoing=False)
    assert not trusts(ca)
    assert trusts(ca, f"a@{annex.name}")
    assert not trusts(ca, f"a@{annex.name}", incoming=False)


def test_a_bundle_that_is_switched_off_counts_for_nothing(ca, bundle):
    BundleUse.objects.create(bundle=bundle)
    assert trusts(ca)
    Bundle.objects.filter(pk=bundle.pk).update(is_active=False)
    assert not trusts(ca)


def test_a_bundle_cannot_bring_back_what_was_revoked_by_hand(ca, bundle):
    BundleUse.objects.create(bundle=bundle)
    anchor_row(ca, state=Anchor.State.REVOKED, reason="asked to leave")
    assert not trusts(ca)


def test_one_anchor_of_a_bundle_can_be_left_out_for_one_domain(ca, bundle, settings):
    settings.DIRECT_DOMAINS = BOTH_DOMAINS
    ours, _ = context.ensure_domains()
    BundleUse.objects.create(bundle=bundle)
    anchor_row(ca, domain=ours, state=Anchor.State.PAUSED)
    assert not trusts(ca)
    assert trusts(ca, f"a@{BOTH_DOMAINS[1]}")


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
def test_real_patients_meet_real_partners_only(ca, bundle, settings, environment, label, counts):
    settings.ENVIRONMENT = environment
    Bundle.objects.filter(pk=bundle.pk).update(label=label)
    BundleUse.objects.create(bundle=bundle)
    assert trusts(ca) is counts


# --- a change is seen at once ---------------------------------------------------------------------------


def test_reading_twice_asks_for_the_anchors_once(ca):
    context.ensure_domains()
    anchor_row(ca)
    context.for_address(ADDRESS)
    with CaptureQueriesContext(connection) as queries:
        found = context.for_address(ADDRESS)
        assert found.identities == ()
    assert len(queries) == 2
    assert context.for_address(ADDRESS).trust is found.trust


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.delete(),
        lambda row: Anchor.objects.filter(pk=row.pk).delete(),
        lambda row: Anchor.objects.filter(pk=row.pk).update(incoming=False),
        lambda row: (setattr(row, "state", Anchor.State.PAUSED), row.save()),
    ],
    ids=["delete", "delete many", "update", "save"],
)
def test_a_change_is_seen_at_the_next_message(ca, change):
    row = anchor_row(ca)
    assert trusts(ca)
    change(row)
    assert not trusts(ca)


def test_many_rows_at_once_are_seen_too(ca, other_ca):
    assert not trusts(ca)
    Anchor.objects.bulk_create(Anchor(**Anchor.fields_of(Certificate(each.der))) for each in (ca, other_ca))
    assert trusts(ca)
    assert trusts(other_ca)


def test_a_change_by_another_process_is_seen(ca):
    row = anchor_row(ca)
    assert trusts(ca)
    kept = context._kept
    # What another process does: the same rows, without this process's memory.
    context._kept = context._Kept()
    Anchor.objects.filter(pk=row.pk).update(incoming=False)
    context._kept = kept
    assert not trusts(ca)


def test_a_change_of_a_domain_is_seen_at_the_next_message():
    domain = context.ensure_domain(OURS)
    assert not context.for_address(ADDRESS).require_wrapped
    domain.require_wrapped = True
    domain.save()
    assert context.for_address(ADDRESS).require_wrapped


@pytest.mark.django_db(transaction=True)
def test_what_was_rolled_back_is_forgotten(ca, other_ca):
    anchor_row(ca)
    assert trusts(ca)
    with pytest.raises(RuntimeError, match="back"), transaction.atomic():
        anchor_row(other_ca)
        assert trusts(other_ca)
        raise RuntimeError("back")
    assert trusts(ca)
    assert not trusts(other_ca)


def test_without_tokens_nothing_is_kept(ca):
    row = anchor_row(ca)
    assert trusts(ca)
    SetVersion.objects.all().delete()
    Anchor.objects.filter(pk=row.pk).touch(incoming=False)
    assert not trusts(ca)


def test_noting_the_use_of_an_anchor_is_no_change(ca):
    context.ensure_domains()
    anchor_row(ca)
    before = context.for_address(ADDRESS).trust
    context.mark_used(ca.sha256)
    first = Anchor.objects.get().last_used
    context.mark_used(ca.sha256)
    assert Anchor.objects.get().last_used == first is not None
    assert context.for_address(ADDRESS).trust is before


# --- policy and revocation lists ------------------------------------------------------------------------


def test_a_domain_decides_how_it_judges(settings):
    settings.DIRECT_LEGACY = frozenset({"sha1_chain"})
    domain = context.ensure_domain(OURS)
    Domain.objects.filter(pk=domain.pk).update(
        revocation="require", legacy=["sha1_chain", "rsa1024"], require_wrapped=True
    )
    found = context.for_address(ADDRESS)
    assert found.policy.revocation == "require"
    assert found.policy.legacy == {"sha1_chain"}, "what the settings do not allow stays off"
    assert found.require_wrapped
    assert found.key_transport == "oaep_sha256"


def test_stored_lists_are_part_of_the_judgement(ca):
    leaf = pki_factory.issue(ca, domains=["direct.larkspur.example"])
    anchor_row(ca)
    at = timezone.now()
    assert verify_path(Certificate(leaf.der), (), context.for_address(ADDRESS).trust, at)
    der = pki_factory.make_crl(ca, [leaf])
    read = ReadCrl(der)
    Crl.objects.create(
        url="http://crl.larkspur.example/ca.crl",
        issuer_hash=issuer_hash(read.raw_issuer),
        sha256=read.sha256,
        der=der,
        this_update=read.this_update,
        next_update=read.next_update,
    )
    with pytest.raises(Revoked):
        verify_path(Certificate(leaf.der), (), context.for_address(ADDRESS).trust, at)
    one, two = context.for_address(ADDRESS).trust.crls, context.for_address(ADDRESS).trust.crls
    assert one[0] is two[0], "a list is read once"


# --- our keys -------------------------------------------------------------------------------------------


def own(name, issued, *, use="dual", **fields):
    return authorities.store_identity(
        issued.certificate,
        issued.private_key,
        name=name,
        kind="address" if "@" in name else "domain",
        use=use,
        action="trust.identity_imported",
        **fields,
    )


def serials(found):
    return [pair.certificate.serial_number for pair in found.identities]


def test_keys_of_the_address_come_before_those_of_its_domain(ca):
    domain, address = pki_factory.issue(ca, domains=[OURS]), pki_factory.issue(ca, emails=[ADDRESS])
    own(OURS, domain)
    own(ADDRESS, address)
    own("elsewhere.example", pki_factory.issue(ca, domains=["elsewhere.example"]))
    found = context.for_address(ADDRESS.upper().replace("@", "+lab@"))
    assert serials(found) == [address.certificate.serial_number, domain.certificate.serial_number]
    for pair in found.identities:
        assert pair.private_key.public_key() == pair.certificate.public_key()


def test_a_retired_key_opens_old_mail_but_signs_nothing(ca):
    old, new = pki_factory.issue(ca, domains=[OURS]), pki_factory.issue(ca, domains=[OURS])
    own(OURS, old, state=Identity.State.RETIRED)
    with pytest.raises(context.NoIdentity):
        context.for_address(ADDRESS).signing_identity(timezone.now())
    own(OURS, new)
    found = context.for_address(ADDRESS)
    assert serials(found) == [new.certificate.serial_number, old.certificate.serial_number]
    assert found.signing_identity(timezone.now()).certificate == new.certificate


def test_each_use_has_its_own_certificate(ca):
    signing = pki_factory.issue(ca, domains=[OURS], key_usage=("digital_signature",))
    encryption = pki_factory.issue(ca, domains=[OURS], key_usage=("key_encipherment",))
    own(OURS, signing, use="signing", chain=ca.pem.decode())
    own(OURS, encryption, use="encryption")
    found = context.for_address(ADDRESS)
    assert serials(found) == [encryption.certificate.serial_number]
    chosen = found.signing_identity(timezone.now())
    assert chosen.certificate == signing.certificate
    assert chosen.chain == (ca.certificate,)


def test_an_expired_or_revoked_certificate_signs_nothing(ca):
    expired = pki_factory.issue(ca, domains=[OURS], not_after=pki_factory.days(-0.1))
    own(OURS, expired)
    row = own(OURS, pki_factory.issue(ca, domains=[OURS]))
    Identity.objects.filter(pk=row.pk).update(revoked=timezone.now())
    found = context.for_address(ADDRESS)
    with pytest.raises(context.NoIdentity):
        found.signing_identity(timezone.now())
    assert len(found.identities) == 2


def test_a_process_without_the_identity_keyring_can_judge_but_not_open(ca, settings):
    anchor_row(ca)
    own(OURS, pki_factory.issue(ca, domains=[OURS]))
    settings.IDENTITY_KEYS = ""
    found = context.for_address(ADDRESS)
    assert trusts(ca)
    with pytest.raises(KeyringUnavailable):
        _ = found.identities
    with pytest.raises(KeyringUnavailable):
        found.signing_identity(timezone.now())


def test_private_keys_are_sealed_in_the_database(ca):
    row = own(OURS, pki_factory.issue(ca, domains=[OURS]))
    raw = bytes(Identity.objects.filter(pk=row.pk).values_list("private_key", flat=True).get())
    assert b"PRIVATE KEY" not in raw
    assert row.private_key.encode() not in raw


# --- names ----------------------------------------------------------------------------------------------


def test_which_domains_are_ours(settings):
    settings.DIRECT_DOMAINS = [OURS]
    assert context.is_hosted(OURS.upper())
    assert context.is_hosted(f"{OURS}.")
    assert not context.is_hosted("portal.example")
    assert not context.is_hosted(f"x.{OURS}")
    settings.DIRECT_DOMAINS = ["kiosk.example"]
    assert context.is_hosted("KIOSK.example")
    assert not context.is_hosted("\N{KELVIN SIGN}iosk.example"), "no letter but an ASCII one becomes ASCII"


def test_mail_for_a_domain_that_is_not_ours_has_no_keys_and_makes_no_row():
    found = context.for_address("a@stranger.example")
    assert found.identities == ()
    assert not Domain.objects.filter(name="stranger.example").exists()


def test_domains_of_the_settings_get_rows_once(settings):
    settings.DIRECT_DOMAINS = BOTH_DOMAINS
    first = context.ensure_domains()
    assert [row.name for row in first] == BOTH_DOMAINS
    assert [row.pk for row in context.ensure_domains()] == [row.pk for row in first]


def test_the_organisation_behind_an_anchor(ca, other_ca):
    organization = Organization.objects.create(name="Larkspur Community Hospital")
    anchor_row(ca, organization=organization)
    anchor_row(other_ca)
    assert context.organization_for(ca.sha256.upper()) == organization
    assert context.organization_for(other_ca.sha256) is None
    Organization.objects.update(is_active=False)
    assert context.organization_for(ca.sha256) is None


def test_the_name_that_patients_see(ca):
    service = Organization.objects.create(name="Mail for Many Ltd")
    hospital = Organization.objects.create(
        name="LCH", public_name="Larkspur Community Hospital", domains=["direct.larkspur.example"]
    )
    assert context.public_name_for(service, "a@direct.tamarisk.example") == "Mail for Many Ltd"
    assert context.public_name_for(service, "a@DIRECT.larkspur.example") == hospital.public_name
    assert context.public_name_for(None, "a@direct.larkspur.example") == hospital.public_name
    assert context.public_name_for(None, "a@direct.unknown.example") == "direct.unknown.example"
    assert context.organization_for("a@direct.larkspur.example") == hospital
    assert context.is_direct_domain("direct.larkspur.example")
    assert not context.is_direct_domain("mail.example")


def test_an_organisation_names_its_domains_in_lower_case():
    organization = Organization(name="LCH", domains=["Direct.Larkspur.example"])
    with pytest.raises(Exception, match="lower case"):
        organization.full_clean()


def test_a_newer_certificate_comes_first(ca):
    old = own(OURS, pki_factory.issue(ca, domains=[OURS]))
    Identity.objects.filter(pk=old.pk).update(created=timezone.now() - datetime.timedelta(days=9))
    new = pki_factory.issue(ca, domains=[OURS])
    own(OURS, new)
    found = context.for_address(ADDRESS)
    assert found.identities[0].certificate == new.certificate
    assert found.signing_identity(timezone.now()).certificate == new.certificate
