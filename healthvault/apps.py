"""The composition's own app: loads the Celery app and carries the commands of the whole."""

import threading

from django.apps import AppConfig


class HealthVaultConfig(AppConfig):
    name = "healthvault"
    label = "healthvault"

    def ready(self) -> None:
        # shared_task finds its app by this import; `__init__.py` stays empty so that the
        # vault can be imported without Django.
        from healthvault import account_events, celery  # noqa: F401
        from healthvault.logging import log_thread_death

        threading.excepthook = log_thread_death
