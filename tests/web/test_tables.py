"""What administrators can do to accounts in the raw tables: nothing."""

import pytest
from allauth.account import signals
from allauth.account.models import EmailAddress
from django.contrib import admin
from django.test import RequestFactory
from django.urls import resolve, reverse

from directmsg import pickup
from healthvault.audit.models import AuditEvent
from records.models import MailboxProof
from tests.factories import account, parcel

pytestmark = pytest.mark.django_db

VICTIM = "victim@patient.example"


@pytest.fixture
def administrator():
    return account("admin@portal.example", "Admin", is_staff=True, is_superuser=True)


def test_no_table_of_the_account_libraries_takes_anything(rf, administrator):
    request = rf.get("/admin/")
    request.user = administrator
    theirs = {
        model._meta.label: table
        for model, table in admin.site._registry.items()
        if model.__module__.startswith("allauth.")
    }
    assert list(theirs) == ["account.EmailAddress"]
    table = theirs["account.EmailAddress"]
    assert table.get_actions(request) == {}
    assert not table.has_add_permission(request)
    assert not table.has_change_permission(request)
    assert not table.has_delete_permission(request)


def test_an_administrator_cannot_verify_a_mailbox_and_read_what_waits_for_it(client, administrator):
    parcel(contact=VICTIM, question=None, answer=None)
    address = EmailAddress.objects.create(user=administrator, email=VICTIM)
    client.force_login(administrator)
    form = {"user": str(administrator.pk), "email": "second@patient.example", "verified": "on"}
    assert client.post("/admin/account/emailaddress/add/", form).status_code == 403
    client.post(
        "/admin/account/emailaddress/", {"action": "make_verified", "_selected_action": [str(address.pk)]}
    )
    client.post(f"/admin/account/emailaddress/{address.pk}/change/", {**form, "email": VICTIM})
    address.refresh_from_db()
    assert not address.verified
    assert EmailAddress.objects.count() == 1
    assert len(pickup.waiting_for(administrator)) == 0


@pytest.mark.parametrize("route", ["admin:account_emailaddress_changelist", "account_email"])
@pytest.mark.parametrize("own", [True, False])
def test_only_a_confirmation_by_the_person_is_a_proof(rf: RequestFactory, administrator, route, own):
    victim = account("lena@patient.example")
    person = administrator if own else victim
    address = EmailAddress.objects.create(user=person, email=VICTIM)
    request = rf.post(reverse(route))
    request.resolver_match = resolve(request.path)
    request.user = administrator
    before = MailboxProof.objects.count()
    signals.email_confirmed.send(sender=EmailAddress, request=request, email_address=address)
    by_the_person = own and route == "account_email"
    assert MailboxProof.objects.count() - before == by_the_person
    event = AuditEvent.objects.get(action="account.email_confirmed")
    assert event.actor == str(administrator.pk)
    assert event.outcome == ("ok" if by_the_person else "not_by_the_person")
