from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from healthvault.audit.models import AuditEvent


@admin.register(AuditEvent)
class AuditEventAdmin(admin.ModelAdmin):
    """The trail, to read."""

    list_display = ("at", "action", "actor", "record", "subject", "outcome", "address")
    list_filter = ("action", "outcome")
    search_fields = ("actor", "record", "subject")
    date_hierarchy = "at"
    fields = ("at", "action", "actor", "record", "subject", "outcome", "address", "ids", "shard", "seq")
    ordering = ("-at", "-id")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
