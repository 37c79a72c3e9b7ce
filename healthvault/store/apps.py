from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "healthvault.store"
    label = "store"
    verbose_name = "Sealed store"

    def ready(self) -> None:
        # Checks are registered, and the removal of blob files is connected, by being imported.
        from healthvault.store import blobs, checks  # noqa: F401
