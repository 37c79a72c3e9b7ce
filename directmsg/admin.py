"""The raw tables of mail, to look at: states, codes, times and sizes.

No content, subject, question, answer or contact address stands in any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from trust.admin import Audited

from .models import (
    DirectAddress,
    InboundMail,
    MailEvent,
    OutboundMail,
    Parcel,
    PartnerClient,
    PartnerDomain,
    PartnerRequest,
)

if TYPE_CHECKING:
    Table = admin.ModelAdmin[Any]
else:
    Table = admin.ModelAdmin


class ReadOnly(Table):
    """To look at only."""

    show_full_result_count = False
    ordering = ("-id",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(PartnerDomain)
class PartnerDomainAdmin(Audited):
    """The one table here that administrators write in; each change stands in the audit trail."""

    list_display = ("name", "key_transport", "cipher", "null_path")
    search_fields = ("name",)
    fields = ("name", "key_transport", "cipher", "null_path")


@admin.register(InboundMail)
class InboundMailAdmin(ReadOnly):
    list_display = ("received", "recipient", "mail_from", "state", "code", "size", "tries")
    list_filter = ("state", "code", "protocol")
    search_fields = ("recipient", "mail_from", "from_address", "sha256", "original_message_id")
    date_hierarchy = "received"
    fields = (
        "id", "sha256", "recipient", "mail_from", "protocol", "peer", "size", "state", "code", "detail",
        "report", "tries", "lease_until", "from_address", "original_message_id", "organization",
        "received", "finished",
    )  # fmt: skip


@admin.register(OutboundMail)
class OutboundMailAdmin(ReadOnly):
    list_display = ("queued", "kind", "recipient", "sender", "state", "code", "tries")
    list_filter = ("state", "kind", "code")
    search_fields = ("recipient", "sender", "identifier")
    date_hierarchy = "queued"
    fields = (
        "id", "kind", "disposition", "sender", "recipient", "domain", "identifier", "sha256", "size", "state",
        "code", "detail", "tries", "attempts", "lease_until", "queued", "expires", "sent", "finished",
    )  # fmt: skip


@admin.register(Parcel)
class ParcelAdmin(ReadOnly):
    list_display = ("created", "organization_name", "source", "state", "tries_left", "expires")
    list_filter = ("state", "source")
    search_fields = ("organization_name", "from_address")
    date_hierarchy = "created"
    fields = (
        "id", "source", "organization", "organization_name", "from_address", "state", "tries_left",
        "was_reset", "attachments", "size", "created", "expires", "notified", "bounced", "decided",
    )  # fmt: skip


@admin.register(MailEvent)
class MailEventAdmin(ReadOnly):
    list_display = ("at", "name", "code", "inbound", "parcel", "outbound")
    list_filter = ("name",)
    list_select_related = ("inbound", "parcel", "outbound")
    fields = ("id", "at", "name", "code", "inbound", "parcel", "outbound")


@admin.register(DirectAddress)
class DirectAddressAdmin(ReadOnly):
    list_display = ("address", "state", "primary", "first_used", "created")
    list_filter = ("state",)
    search_fields = ("address",)
    fields = ("id", "address", "state", "primary", "first_used", "created")


@admin.register(PartnerClient)
class PartnerClientAdmin(ReadOnly):
    list_display = ("id", "organization")
    list_select_related = ("organization",)
    fields = ("id", "organization")


@admin.register(PartnerRequest)
class PartnerRequestAdmin(ReadOnly):
    list_display = ("created", "organization", "parcel")
    list_select_related = ("organization", "parcel")
    fields = ("id", "created", "organization", "parcel")
