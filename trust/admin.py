"""The raw tables of trust. Certificates are read-only and keys are never shown; every change is audited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import models, transaction
from django.forms import ModelForm
from django.http import HttpRequest

from healthvault.audit import trail
from trust.models import (
    Anchor,
    Bundle,
    BundleChange,
    BundleUse,
    Crl,
    Domain,
    Identity,
    IdentityRequest,
    OcspAnswer,
    Organization,
    PeerCertificate,
    TrustRequest,
)

if TYPE_CHECKING:
    Table = admin.ModelAdmin[Any]
    Form = ModelForm[Any]
else:
    Table, Form = admin.ModelAdmin, ModelForm


class Audited(Table):
    """Writes a line of the audit trail with each change, in its transaction."""

    def save_model(self, request: HttpRequest, obj: models.Model, form: Form, change: bool) -> None:
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            # Names of fields only: what they hold may be longer than the trail takes.
            names = ",".join(form.changed_data)[:100]
            self._record(request, obj, "changed" if change else "added", fields=names or None)

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        with transaction.atomic():
            self._record(request, obj, "deleted")
            super().delete_model(request, obj)

    def _record(self, request: HttpRequest, obj: models.Model, change: str, **ids: Any) -> None:
        trail.record(f"trust.{obj._meta.model_name}_{change}", subject=obj, request=request, **ids)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        # Deleting many at once would pass by the trail.
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


class ReadOnly(Table):
    """To look at only."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Organization)
class OrganizationAdmin(Audited):
    list_display = ("name", "public_name", "is_active", "created")
    list_filter = ("is_active",)
    search_fields = ("name", "public_name")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Domain)
class DomainAdmin(Audited):
    list_display = ("name", "revocation", "require_wrapped", "key_transport")
    readonly_fields = ("name",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Anchor)
class AnchorAdmin(Audited):
    """Anchors come by import and are stopped in the console; here they are given other flags."""

    list_display = (
        "subject",
        "organization",
        "domain",
        "bundle",
        "incoming",
        "outgoing",
        "state",
        "not_after",
    )
    list_filter = ("state", "source", "incoming", "outgoing")
    list_select_related = ("organization", "domain", "bundle")
    search_fields = ("subject", "sha256", "organization__name")
    fields = (
        "subject", "sha256", "not_before", "not_after", "source", "domain", "bundle",
        "organization", "incoming", "outgoing", "state", "reason", "last_used", "created",
    )  # fmt: skip
    # The state too: what was stopped comes back in the console, by its rules.
    readonly_fields = (
        "subject", "sha256", "not_before", "not_after", "source", "domain", "bundle", "state", "reason",
        "last_used", "created",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Bundle)
class BundleAdmin(ReadOnly):
    """To look at only: what a bundle follows is changed in the console, in production by two persons."""

    list_display = ("name", "label", "is_active", "last_success", "last_error")
    list_filter = ("label", "is_active")
    fields = (
        "name", "url", "label", "interval_s", "is_active", "last_attempt", "last_error", "last_error_detail",
        "last_success", "checksum", "created",
    )  # fmt: skip


@admin.register(BundleUse)
class BundleUseAdmin(ReadOnly):
    """To look at only: in production a wider use takes two persons, which is the console's business."""

    list_display = ("bundle", "domain", "incoming", "outgoing")
    list_select_related = ("bundle", "domain")
    fields = ("bundle", "domain", "incoming", "outgoing")


@admin.register(Identity)
class IdentityAdmin(ReadOnly):
    list_display = ("name", "kind", "use", "state", "not_after", "revoked", "sha256")
    list_filter = ("kind", "use", "state")
    search_fields = ("name", "sha256", "serial")
    fields = (
        "name", "kind", "use", "state", "subject", "sha256", "serial", "not_before", "not_after",
        "issuer", "revoked", "revocation_reason", "retired", "created",
    )  # fmt: skip


@admin.register(Crl)
class CrlAdmin(ReadOnly):
    list_display = ("__str__", "number", "this_update", "next_update", "fetched", "last_error")
    list_select_related = ("identity",)
    fields = (
        "identity", "url", "sha256", "number", "this_update", "next_update", "fetched",
        "last_attempt", "last_error",
    )  # fmt: skip


@admin.register(BundleChange)
class BundleChangeAdmin(ReadOnly):
    list_display = ("at", "bundle", "code", "kept", "passed_over")
    list_select_related = ("bundle",)
    fields = ("bundle", "at", "code", "added", "removed", "kept", "passed_over", "signed_by")


@admin.register(PeerCertificate)
class PeerCertificateAdmin(ReadOnly):
    list_display = ("subject", "not_after", "last_met", "crl_checked", "crl_error", "ocsp_error")
    search_fields = ("subject", "sha256")
    fields = (
        "subject", "sha256", "not_before", "not_after", "crl_urls", "first_met", "last_met",
        "crl_checked", "crl_error", "ocsp_urls", "ocsp_error",
    )  # fmt: skip


@admin.register(OcspAnswer)
class OcspAnswerAdmin(ReadOnly):
    list_display = ("certificate_sha256", "state", "this_update", "next_update", "fetched", "last_error")
    list_filter = ("state",)
    search_fields = ("certificate_sha256",)
    fields = (
        "certificate_sha256", "url", "sha256", "state", "reason", "this_update", "next_update", "fetched",
        "last_attempt", "last_error",
    )  # fmt: skip


@admin.register(TrustRequest)
class TrustRequestAdmin(ReadOnly):
    list_display = ("created", "organization_name", "source", "state", "decided")
    list_filter = ("state", "source")
    fields = (
        "source", "state", "organization_name", "organization", "domains", "domain", "incoming", "outgoing",
        "reason", "first_by", "decided_by", "decided", "created",
    )  # fmt: skip


@admin.register(IdentityRequest)
class IdentityRequestAdmin(ReadOnly):
    list_display = ("created", "kind", "name", "state", "code", "finished")
    list_filter = ("state", "kind")
    fields = (
        "kind", "state", "name", "reason", "identity", "code", "detail", "asked_by", "tries", "created",
        "finished",
    )  # fmt: skip
