"""`portal`: the whole of HealthVault Direct in one process."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from healthvault.embedded import portal
from healthvault.store.running import AlreadyRunning


class Command(BaseCommand):
    help = "Run web, SMTP gateway, worker and beat in one process (SQLite and files in DATA_DIR)."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = until_told_to_stop()
        dead: list[str] = []

        def on_death(name: str) -> None:
            dead.append(name)
            stop.set()

        try:
            with portal(on_death) as listening:
                self.stdout.write(listening.line())
                self.stdout.flush()
                stop.wait()
        except AlreadyRunning as error:
            raise CommandError(str(error), returncode=1) from error
        except OSError as error:
            raise CommandError(f"an address cannot be used: {error}", returncode=1) from error
        if dead:
            raise CommandError(f"the {dead[0]} ended by itself; the log says why", returncode=1)


def until_told_to_stop() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
