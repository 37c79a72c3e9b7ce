"""The base of commands that need the database."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection


class PortalCommand(BaseCommand):
    """A command that works on a fresh embedded installation too: the first one makes the tables.

    Everywhere else the schema is the operator's to change, with `migrate`.
    """

    def execute(self, *args: Any, **options: Any) -> str | None:
        if settings.EMBEDDED and connection.vendor == "sqlite":
            settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
            if "django_migrations" not in connection.introspection.table_names():
                call_command("migrate", verbosity=0, interactive=False)
                call_command("createcachetable", verbosity=0)
        return super().execute(*args, **options)
