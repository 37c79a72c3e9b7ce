"""The raw tables: what may be changed there is audited, and no key is ever shown."""

import pytest
from django.contrib import admin
from django.test import RequestFactory

from healthvault.audit.models import AuditEvent
from records.models import Account
from tests import pki_factory
from trust import authorities, context
from trust.models import (
    Anchor,
    Bundle,
    BundleUse,
    Crl,
    Identity,
    IdentityRequest,
    TrustDraft,
    TrustRequest,
)
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

OURS = "direct.portal.example"


@pytest.fixture
def request_of_staff():
    request = RequestFactory().get("/")
    request.user = Account.objects.create_superuser("staff@portal.example", "pebble-lantern-9")
    return request


def test_keys_and_raw_bytes_are_in_no_form(request_of_staff):
    for model, table in admin.site._registry.items():
        if model._meta.app_label == "trust":
            names = set(table.get_form(request_of_staff, change=True).base_fields) | set(
                table.get_list_display(request_of_staff)
            )
            names |= set(table.get_fields(request_of_staff))
            assert not names & {"private_key", "der", "chain", "signer_der"}, model


def test_our_certificates_and_lists_are_only_to_look_at(request_of_staff):
    for model in (Identity, Crl):
        table = admin.site._registry[model]
        assert table.has_view_permission(request_of_staff)
        assert not table.has_add_permission(request_of_staff)
        assert not table.has_change_permission(request_of_staff)
        assert not table.has_delete_permission(request_of_staff)


def test_a_page_of_an_identity_shows_no_key(request_of_staff, monkeypatch):
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)
    row = authorities.issue_identity(OURS)
    page = admin.site._registry[Identity].change_view(request_of_staff, str(row.pk))
    text = page.render().content.decode()
    assert row.sha256 in text
    assert "PRIVATE" not in text
    assert "private" not in text.lower().replace("private-", "")


def test_other_flags_of_an_anchor_take_effect_and_are_audited(request_of_staff):
    ca = pki_factory.make_ca("Larkspur Community Hospital CA")
    anchor = Anchor.objects.create(**Anchor.fields_of(Certificate(ca.der)))
    assert context.for_address(f"a@{OURS}").trust.anchors
    table = admin.site._registry[Anchor]
    form = table.get_form(request_of_staff, anchor, change=True)({"outgoing": "on"}, instance=anchor)
    assert form.is_valid(), form.errors
    table.save_model(request_of_staff, form.save(commit=False), form, change=True)
    assert not context.for_address(f"a@{OURS}").trust.anchors
    event = AuditEvent.objects.get(action="trust.anchor_changed")
    assert event.actor == str(request_of_staff.user.pk)
    assert event.subject == str(anchor.pk)
    assert event.ids["fields"] == "incoming"


def test_no_table_deletes_many_at_once(request_of_staff):
    for model, table in admin.site._registry.items():
        if model._meta.app_label == "trust":
            assert "delete_selected" not in table.get_actions(request_of_staff), model


def test_the_tables_bring_no_anchor_back_and_change_no_bundle(request_of_staff):
    """In production either takes two persons, which is the console's business."""
    ca = pki_factory.make_ca("Larkspur Community Hospital CA")
    for state in ("active", "paused", "revoked", "withdrawn"):
        anchor = Anchor(**Anchor.fields_of(Certificate(ca.der)), state=state)
        assert not {"state", "reason"} & set(
            admin.site._registry[Anchor].get_form(request_of_staff, anchor).base_fields
        )
    for model in (Bundle, BundleUse):
        table = admin.site._registry[model]
        assert table.has_view_permission(request_of_staff)
        assert not table.has_add_permission(request_of_staff)
        assert not table.has_change_permission(request_of_staff)
        assert not table.has_delete_permission(request_of_staff)


def test_what_people_asked_for_is_shown_without_contact_and_file(request_of_staff):
    for model, hidden in ((TrustRequest, "contact_email"), (IdentityRequest, "file")):
        table = admin.site._registry[model]
        assert hidden not in table.get_fields(request_of_staff)
        assert not table.has_change_permission(request_of_staff)
    assert TrustDraft not in admin.site._registry
