"""The table of accounts: who may sign in, and who administers. Nothing of anybody's record stands here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest

from healthvault.audit import trail
from records.models import Account

if TYPE_CHECKING:
    Table = admin.ModelAdmin[Any]
else:
    Table = admin.ModelAdmin


@admin.register(Account)
class AccountAdmin(Table):
    """Accounts are let in, kept out, and made administrators here; every change is audited."""

    list_display = ("email", "is_active", "is_staff", "is_superuser", "last_login", "created")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email",)
    ordering = ("email",)
    fields = ("email", "is_active", "is_staff", "is_superuser", "last_login", "created")
    readonly_fields = ("email", "last_login", "created")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        names = list(form.changed_data)
        if not names:
            return
        with transaction.atomic():
            # These columns alone: the name is sealed, and has no business here.
            obj.save(update_fields=names)
            trail.record("account.changed", subject=obj.pk, request=request, fields=",".join(names)[:100])
