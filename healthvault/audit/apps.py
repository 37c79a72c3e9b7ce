from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "healthvault.audit"
    label = "audit"
    verbose_name = "Audit trail"
