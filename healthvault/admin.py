"""What the tables of libraries may do: nothing to accounts.

Their own pages would let an administrator verify a mailbox for somebody, and so read what waits there, or
add a second step, a session or a token of a partner. What of it is an administrator's work has commands
(`create_account`, `create_partner`). E-mail addresses stay to be looked at, for people who cannot sign in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Imported to be taken back: the registrations stand in these modules, and run once.
from allauth.account import admin as account_admin
from allauth.account.models import EmailAddress
from allauth.idp.oidc import admin as oidc_admin
from allauth.mfa import admin as mfa_admin
from allauth.usersessions import admin as sessions_admin
from django.contrib import admin
from django.http import HttpRequest

if TYPE_CHECKING:
    Table = admin.ModelAdmin[Any]
else:
    Table = admin.ModelAdmin

LIBRARIES = (account_admin, mfa_admin, sessions_admin, oidc_admin)
_APPS = frozenset(module.__name__.removesuffix(".admin") for module in LIBRARIES)

for _model in list(admin.site._registry):
    if _model._meta.app_config.name in _APPS:
        admin.site.unregister(_model)


@admin.register(EmailAddress)
class EmailAddressAdmin(Table):
    """Which addresses accounts have and whether they are verified, to read."""

    list_display = ("email", "user", "primary", "verified")
    list_filter = ("primary", "verified")
    search_fields = ("email",)
    fields = ("email", "user", "primary", "verified")
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
