"""`gateway`: the SMTP and LMTP listeners as a process of their own."""

import os
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from directmsg.gateway import gateway

ENDING = {signal.SIGTERM, signal.SIGINT}


class Command(BaseCommand):
    help = "Accept mail on SMTP_LISTEN and LMTP_LISTEN until SIGTERM; messages under way are finished."

    def handle(self, *args: Any, **options: Any) -> None:
        # Blocked before the listeners' threads begin, so that only sigwait() below takes them, also
        # one that comes before we are ready.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        dead: list[str] = []

        def on_death(name: str) -> None:
            dead.append(name)
            os.kill(os.getpid(), signal.SIGTERM)

        try:
            with gateway(on_death) as doors:
                if doors.smtp is None and doors.lmtp is None:
                    raise CommandError("SMTP_LISTEN and LMTP_LISTEN are both off", returncode=2)
                self.stdout.write(doors.line())
                self.stdout.flush()
                signal.sigwait(ENDING)
        except OSError as error:
            raise CommandError(f"mail cannot be accepted: {error}", returncode=1) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if dead:
            raise CommandError(f"the {dead[0]} ended by itself; the log says why", returncode=1)
