from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from healthvault.outbox import delivery
from healthvault.outbox.models import Notification


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):
    """What became of mails, without their addresses and words."""

    list_display = ("created", "kind", "state", "tries", "error_code", "sent_at")
    list_filter = ("state", "kind", "error_code")
    fields = (
        "id",
        "kind",
        "state",
        "tries",
        "error_code",
        "created",
        "lease_until",
        "sent_at",
        "related_kind",
        "related_id",
    )
    ordering = ("-id",)
    actions = ("send_again",)

    @admin.action(description="Send failed mails again", permissions=["view"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Notification]) -> None:
        count = sum(delivery.send_again(mail) for mail in queryset)
        self.message_user(request, f"{count} put back into the queue.", messages.SUCCESS)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
