from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "healthvault.store"
    label = "store"
    verbose_name = "Sealed store"

    def ready(self) -> None:
        from healthvault.store import blobs  # noqa: F401  connects the removal of files
