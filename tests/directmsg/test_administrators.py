"""Mail to postmaster and abuse reaches those who run the service, and nobody's record."""

import pytest

from directmsg.models import MailEvent, OutboundMail
from healthvault.outbox.models import Notification
from healthvault.store.blobs import open_blob
from records.models import Message
from tests import factories
from tests.directmsg.world import DOMAIN

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("local", ["postmaster", "Abuse", "postmaster+tag"])
def test_it_is_kept_and_every_administrator_is_told(world, local):
    staff = factories.account("root@staff.example", "Rosa", is_staff=True)
    factories.account("gone@staff.example", "Gone", is_staff=True, is_active=False)
    mail = world.letter_arrives(f"{local}@{DOMAIN}", "Our mail bounces")
    assert mail.state == "filed"
    assert mail.message is None
    assert not Message.objects.exists()
    assert [str(event) for event in MailEvent.objects.filter(inbound=mail)] == [
        "received",
        "filed administrators",
    ]
    told = Notification.objects.filter(kind="administrators")
    assert [each.to_address for each in told] == [staff.email]
    assert "bounces" not in told[0].text + told[0].subject
    assert str(mail.pk) in told[0].text
    assert open_blob(mail.raw).startswith(b"From: office@")
    assert list(OutboundMail.objects.values_list("disposition", flat=True)) == ["processed"]


def test_other_reserved_names_are_nobody(world):
    assert world.letter_arrives(f"hostmaster@{DOMAIN}").code == "unknown_recipient"


def test_the_untrusted_do_not_reach_them(world):
    mail = world.arrives(world.letter(f"postmaster@{DOMAIN}"), to=f"postmaster@{DOMAIN}")
    assert mail.state == "refused"
    assert not Notification.objects.exists()
