"""The raw tables of mail and accounts: to look at, without a word of anybody's message."""

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory

from directmsg.models import InboundMail, MailEvent, OutboundMail, Parcel, PartnerDomain
from healthvault.audit.models import AuditEvent
from healthvault.store.fields import sealed_fields
from records.models import Account
from tests import factories
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

#: Names of columns that hold what people wrote, or lead to it.
HIDDEN = {"raw", "content", "sealed", "holder", "token_hash", "contact_hash", "reply", "message", "password"}


@pytest.fixture
def staff():
    return Account.objects.create_superuser("staff@portal.example", PASSWORD)


@pytest.fixture
def browser(staff):
    client = Client()
    client.force_login(staff)
    return client


def tables():
    return [(m, t) for m, t in admin.site._registry.items() if m._meta.app_label in ("directmsg", "records")]


def test_no_sealed_column_and_no_way_to_one_is_shown(staff):
    request = RequestFactory().get("/")
    request.user = staff
    for model, table in tables():
        shown = set(table.get_fields(request)) | set(table.get_list_display(request))
        shown |= set(table.get_search_fields(request)) | set(table.get_list_filter(request))
        hidden = HIDDEN | {field.name for field in sealed_fields(model)}
        assert not shown & hidden, model
    assert {InboundMail, OutboundMail, Parcel, MailEvent, Account} <= {model for model, _ in tables()}


def test_mail_is_only_to_look_at(staff):
    request = RequestFactory().get("/")
    request.user = staff
    for model, table in tables():
        if model is PartnerDomain:
            continue
        if model is not Account:
            assert table.has_view_permission(request)
            assert not table.has_change_permission(request)
        assert not table.has_add_permission(request)
        assert not table.has_delete_permission(request)


def test_the_page_of_a_parcel_shows_nothing_of_it(browser):
    parcel = factories.parcel(
        "nora@patient.example", "Favourite Mirabelle?", "Zwetschge", subject="Quittenbrot"
    )
    for path in ("", f"{parcel.pk}/change/"):
        answer = browser.get(f"/admin/directmsg/parcel/{path}")
        assert answer.status_code == 200
        shown = answer.content.decode()
        assert "Larkspur Community Hospital" in shown
        for word in ("nora@", "Mirabelle", "Zwetschge", "Quittenbrot"):
            assert word not in shown
    assert browser.get("/admin/directmsg/mailevent/").status_code == 200


def test_an_account_is_kept_out_and_that_is_written_down(browser):
    person = factories.account("ines@patient.example", "Ines Falk")
    path = f"/admin/records/account/{person.pk}/change/"
    assert "Ines Falk" not in browser.get(path).content.decode()
    assert browser.post(path, {"is_staff": "on"}).status_code == 302
    person = Account.objects.get(pk=person.pk)
    assert (person.is_active, person.is_staff, person.name) == (False, True, "Ines Falk")
    event = AuditEvent.objects.get(action="account.changed")
    assert (event.subject, event.ids) == (str(person.pk), {"fields": "is_active,is_staff"})
