from django.apps import AppConfig


class OutboxConfig(AppConfig):
    name = "healthvault.outbox"
    label = "outbox"
    verbose_name = "Notification mail"
