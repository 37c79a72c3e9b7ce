"""What an administrator sets for one partner's domain, as it is found in the bytes that leave us."""

import email
import email.policy

import pytest
from asn1crypto import cms
from django.core.exceptions import ValidationError
from django.test import Client

from directmsg.agent.notifications import TIMELY_DELIVERY
from directmsg.models import OutboundMail, PartnerDomain
from healthvault.audit.models import AuditEvent
from records.models import Account
from tests import factories
from tests.direct_peers import Peer
from tests.directmsg.world import authority, trust_anchor

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def hospital():
    """A second partner, with a certificate and a mailbox of its own."""
    return Peer("direct.hospital.example")


def envelope(taken):
    """The enveloped data in a message that a mail server took."""
    message = email.message_from_bytes(taken.data, policy=email.policy.SMTP)
    info = cms.ContentInfo.load(message.get_payload(decode=True))
    assert info["content_type"].native == "enveloped_data"
    return info["content"]


def key_transports(enveloped, *peers):
    """How the key for each of `peers` was encrypted: the name, and the digest of OAEP."""
    found = {}
    for each in enveloped["recipient_infos"]:
        info = each.chosen
        algorithm = info["key_encryption_algorithm"]
        name = algorithm["algorithm"].native
        if name == "rsaes_oaep":
            name = f"oaep-{algorithm['parameters']['hash_algorithm']['algorithm'].native}"
        found[info["rid"].chosen["serial_number"].native] = name
    return [found[peer.leaf.certificate.serial_number] for peer in peers]


def cipher(enveloped):
    return enveloped["encrypted_content_info"]["content_encryption_algorithm"].encryption_cipher, enveloped[
        "encrypted_content_info"
    ]["content_encryption_algorithm"].key_length


def set_for(peer, **values):
    PartnerDomain.objects.create(name=peer.domain, **values)


def test_the_usual_form_is_oaep_with_sha256_and_aes_128(world):
    world.write()
    world.send_all()
    found = envelope(world.smtp.taken[0])
    assert key_transports(found, world.peer) == ["oaep-sha256"]
    assert cipher(found) == ("aes", 16)


@pytest.mark.parametrize(
    ("wanted", "written"),
    [("pkcs1v15", "rsaes_pkcs1v15"), ("oaep-sha1", "oaep-sha1"), ("oaep-sha256", "oaep-sha256")],
)
def test_how_keys_are_encrypted_to_a_domain_is_set_for_it(world, wanted, written):
    set_for(world.peer, key_transport=wanted)
    world.write()
    world.send_all()
    assert key_transports(envelope(world.smtp.taken[0]), world.peer) == [written]
    assert world.opened().text.strip() == "Hello"


def test_one_partners_setting_is_nobody_elses(world, hospital):
    """One envelope for two domains: each reads its key in its own way."""
    trust_anchor(hospital.ca.der, "Hospital", incoming=True, outgoing=True)
    hospital.publish(world.dns)
    set_for(hospital, key_transport="pkcs1v15")
    world.write(world.peer.office, hospital.office)
    world.send_all()
    found = envelope(world.smtp.taken[0])
    assert key_transports(found, world.peer, hospital) == ["oaep-sha256", "rsaes_pkcs1v15"]
    assert {mail.sha256 for mail in OutboundMail.objects.all()} == {OutboundMail.objects.first().sha256}
    for taken in world.smtp.taken:
        who = hospital if taken.recipients == [hospital.office] else world.peer
        opened = who.open(taken.data, taken.recipients[0], taken.mail_from, authority().der)
        assert set(opened.to) == {world.peer.office, hospital.office}


@pytest.mark.parametrize(
    ("here", "there", "octets"),
    [
        ("", "", 16),
        ("aes256-cbc", "", 32),
        ("aes256-cbc", "aes256-cbc", 32),
        ("aes256-cbc", "aes128-cbc", 16),
    ],
)
def test_one_cipher_that_all_recipients_can_have(world, hospital, here, there, octets):
    trust_anchor(hospital.ca.der, "Hospital", incoming=True, outgoing=True)
    hospital.publish(world.dns)
    set_for(world.peer, cipher=here)
    set_for(hospital, cipher=there)
    world.write(world.peer.office, hospital.office)
    world.send_all()
    assert cipher(envelope(world.smtp.taken[0])) == ("aes", octets)


def test_notifications_take_the_null_path_where_it_is_wanted(world):
    """RFC 8098 section 2.1, for those who want it: the agent of the other side reads it all the same."""
    set_for(world.peer, null_path=True)
    mail = world.letter_arrives(extra_fields=[("Disposition-Notification-Options", TIMELY_DELIVERY)])
    world.write()
    world.send_all()
    paths = [taken.mail_from for taken in world.smtp.taken]
    assert sorted(paths) == ["", "", world.address]
    assert "MAIL FROM:<>" in " ".join(world.smtp.commands).upper()
    opened = world.opened(paths.index(""))
    assert (opened.kind, opened.from_address) == ("mdn", world.address)
    assert opened.mdn.original_message_id == mail.original_message_id


def test_notifications_carry_the_reporting_address_otherwise(world):
    """Agents of others compare MAIL FROM with the signed From, and would never hear of the delivery."""
    world.letter_arrives()
    world.send_all()
    assert [taken.mail_from for taken in world.smtp.taken] == [world.address]


def test_a_notification_that_comes_by_the_null_path_is_read(world):
    message = world.write()
    world.send_all()
    mdn = world.peer.mdn("processed", to=world.address, original=message.message_id)
    from directmsg import inbox, receive

    sealed = world.peer.seal(mdn, world.leaf.der)
    (mail,) = inbox.accept(sealed, "", [world.address], protocol="smtp").values()
    assert receive.receive_mail(str(mail.pk)) == "notified"
    assert world.copy(message).state == "processed"


# --- who sets it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Direct.Clinic.Example", "direct.clinic.example"),
        (" @clinic.example ", "clinic.example"),
    ],
)
def test_a_domain_is_kept_as_addresses_are_compared(typed, name):
    row = PartnerDomain(name=typed)
    row.full_clean()
    assert row.name == name


@pytest.mark.parametrize("typed", ["", "two words", "someone@direct.clinic.example", "-"])
def test_what_is_no_domain_is_refused(typed):
    with pytest.raises(ValidationError):
        PartnerDomain(name=typed).full_clean()


def test_an_administrator_sets_it_and_that_is_written_down():
    browser = Client()
    browser.force_login(Account.objects.create_superuser("staff@portal.example", factories.PASSWORD))
    form = {"name": "Direct.Clinic.Example", "key_transport": "pkcs1v15", "cipher": "", "null_path": "on"}
    assert browser.post("/admin/directmsg/partnerdomain/add/", form).status_code == 302
    row = PartnerDomain.objects.get()
    assert (row.name, row.key_transport, row.null_path) == ("direct.clinic.example", "pkcs1v15", True)
    event = AuditEvent.objects.get(action="trust.partnerdomain_added")
    assert event.subject == str(row.pk)


def test_nobody_else_sets_it():
    browser = Client()
    browser.force_login(factories.account())
    assert browser.get("/admin/directmsg/partnerdomain/add/").status_code == 302
    assert browser.post("/admin/directmsg/partnerdomain/add/", {"name": "x.example"}).status_code == 302
    assert not PartnerDomain.objects.exists()
