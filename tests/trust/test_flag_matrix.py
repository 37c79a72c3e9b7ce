"""Who may talk to whom: flags of the anchor, kind of the anchor, and what is wrong with the certificate.

Each case is judged as it happens: incoming mail by the receiving agent on a message that OpenSSL signed,
outgoing by discovery of a published certificate, notifications by the agent with the anchors of both ways.
"""

from __future__ import annotations

import itertools

import pytest
from cryptography import x509

from directmsg.agent.incoming import Recipient, examine
from tests import cms_peers, pki_factory
from tests.mail_peers import MESSAGE, SENDER, signed_entity, wrapped
from trust import context, discovery, revocation_lists
from trust.models import Anchor, Bundle, BundleUse, Crl, Domain, issuer_hash
from trust.pki import revocation
from trust.pki.certs import Certificate

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(cms_peers.MISSING, reason="needs the openssl command"),
]

OURS, ANNEX = "portal.example", "annex.portal.example"
RECIPIENT = f"ana@{OURS}"
DOMAIN = SENDER.rpartition("@")[2]

#: Incoming, outgoing.
FLAGS = list(itertools.product([True, False], repeat=2))
KINDS = ["root", "intermediate", "leaf"]
#: What is wrong, and the code where the anchor counts. A name is looked at before any anchor.
FAULTS = {
    "none": "",
    "expired": "expired",
    "revoked": "revoked",
    "wrong_name": "address_not_covered",
    "wildcard": "address_not_covered",
    "forged_key_identifier": "untrusted_chain",
    "issuer_is_no_ca": "untrusted_chain",
}
OF_NAMES = ("wrong_name", "wildcard")


@pytest.fixture(autouse=True)
def two_domains(settings, db):
    settings.DIRECT_DOMAINS = [OURS, ANNEX]
    revocation_lists._noted.clear()


class Case:
    """The certificate of the other side, the anchor, and what lies between or beside."""

    def __init__(self, kind, fault, web):
        self.web = web
        authority = pki_factory.make_ca("Juniper Root CA", key="p256")
        between = self._issuing(authority, kind, fault)
        self.leaf = self._leaf(between, fault)
        self.pool = [between]
        anchors = {"root": authority, "intermediate": between, "leaf": self.leaf}
        self.anchor = anchors[kind]
        if fault == "forged_key_identifier":
            self._forge(kind)
        elif fault == "issuer_is_no_ca" and kind == "leaf":
            # A pinned leaf speaks for itself; it issues nothing.
            self.pool.append(self.anchor)
            self.leaf = self._leaf(self.anchor, "none")
        elif fault == "revoked":
            self._revoke(between)

    def _issuing(self, authority, kind, fault):
        is_ca = fault != "issuer_is_no_ca" or kind == "leaf"
        return pki_factory.make_ca(
            "Juniper Issuing CA", key="p256", issuer=authority, basic_constraints=is_ca
        )

    def _leaf(self, issuer, fault):
        domains = {"wrong_name": ["other.example"], "wildcard": ["*.example"]}.get(fault, [DOMAIN])
        times = {"not_before": pki_factory.days(-9), "not_after": pki_factory.days(-1)}
        return pki_factory.issue(
            issuer,
            names=[x509.DNSName(each) for each in domains],
            common_name="Juniper Clinic",
            aia=[self.web.url("/issuing.cer")],
            **(times if fault == "expired" else {}),
        )

    def _forge(self, kind):
        """Somebody's own key under the anchor's name and key identifier."""
        names = x509.SubjectKeyIdentifier
        ski = self.anchor.certificate.extensions.get_extension_for_class(names).value.digest
        if kind == "leaf":
            self.leaf = pki_factory.issue(
                None,
                domains=[DOMAIN],
                subject=self.anchor.certificate.subject,
                issuer_name=self.anchor.certificate.issuer,
                fresh_key=True,
                ski=ski,
            )
            return
        title = {"root": "Juniper Root CA", "intermediate": "Juniper Issuing CA"}[kind]
        forged = pki_factory.make_ca(title, key="p256", ski=ski)
        self.pool = [forged]
        self.leaf = self._leaf(forged, "none")

    def _revoke(self, between):
        der = pki_factory.make_crl(between, [self.leaf])
        read = revocation.Crl(der)
        Crl.objects.create(
            url="http://crl.juniper.example/issuing.crl",
            issuer_hash=issuer_hash(read.raw_issuer),
            sha256=read.sha256,
            der=der,
            this_update=read.this_update,
            next_update=read.next_update,
        )

    def publish(self, name_server):
        """The leaf in DNS, its issuers where it says."""
        name_server.add_certificate(DOMAIN, self.leaf.der)
        self.web.files["/issuing.cer"] = pki_factory.make_p7b(self.pool)


def received(case, trust, openssl):
    """The code that the receiving agent has for the signer, empty when accepted."""
    entity = wrapped(MESSAGE)
    raw = signed_entity(entity, openssl.sign(entity, [case.leaf]))
    pool = tuple(Certificate(each.der) for each in case.pool)
    recipient = Recipient(RECIPIENT, (), trust, intermediates=pool)
    report = examine(raw, mail_from=SENDER, recipients=[recipient], at=pki_factory.utc_now(), clear=True)
    return report.error.code if report.error else ""


def sent(sender):
    """The code that discovery has for mail from `sender`, empty when it may be sent."""
    result = discovery.find(SENDER, at=pki_factory.utc_now(), sender=sender)
    assert bool(result.found) == (result.code == "")
    return result.code


def expected(fault, counts, *, sending=False):
    if fault in OF_NAMES:
        # What speaks for somebody else is as good as nothing published.
        return "no_certificate" if sending else FAULTS[fault]
    if not counts and not (sending and fault == "expired"):
        return "untrusted_chain"
    return FAULTS[fault]


#: By hand with every fault; as a bundle's anchor, whose flags are those of the bundle's use, without one.
CASES = [
    *itertools.product(FAULTS, KINDS, ["anchor"], FLAGS),
    *itertools.product(["none"], KINDS, ["bundle"], FLAGS),
]


def hold(anchor, holder, domain, flags):
    """Trust `anchor` for `domain`, by itself or as part of a bundle."""
    fields = Anchor.fields_of(Certificate(anchor.der))
    if holder == "anchor":
        Anchor.objects.create(**fields, domain=domain, **flags)
        return
    bundle = Bundle.objects.create(name="Members", is_active=True)
    BundleUse.objects.create(bundle=bundle, domain=domain, **flags)
    Anchor.objects.create(**fields, bundle=bundle)


@pytest.mark.parametrize(("fault", "kind", "holder", "flags"), CASES)
def test_flags_of_anchors_of_every_kind(fault, kind, holder, flags, name_server, web, tmp_path):
    """Incoming and outgoing flag, by what the anchor is, by what is wrong, by how the anchor is held."""
    incoming, outgoing = flags
    case, openssl = Case(kind, fault, web), cms_peers.OpenSsl(tmp_path)
    case.publish(name_server)
    domain = Domain.objects.create(name=OURS)
    hold(case.anchor, holder, domain, {"incoming": incoming, "outgoing": outgoing})
    ours, annex = context.for_address(RECIPIENT), context.for_address(f"ana@{ANNEX}")

    assert received(case, ours.trust, openssl) == expected(fault, incoming)
    assert received(case, ours.notification_trust, openssl) == expected(fault, incoming or outgoing)
    assert sent(RECIPIENT) == expected(fault, outgoing, sending=True)
    # What counts for one of our domains counts for no other.
    assert received(case, annex.trust, openssl) == expected(fault, counts=False)
    assert received(case, annex.notification_trust, openssl) == expected(fault, counts=False)
    assert sent(f"ana@{ANNEX}") == expected(fault, counts=False, sending=True)
