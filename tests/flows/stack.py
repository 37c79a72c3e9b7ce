"""A whole portal in processes of its own, as an operator would run it.

Without `TEST_DATABASE_URL` it is `manage.py portal` on SQLite; with it, gunicorn, gateway, Celery
worker and beat run apart, on a database of their own in that PostgreSQL and on Redis.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.tools import need

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "plum-river-orbit-42"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(what: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    """Call `check` until it returns something true; fails with `what` when it does not in time."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


@dataclass
class Stack:
    """A running portal: where its doors are, its commands, and the mails it sent."""

    directory: Path
    domain: str = "direct.portal.example"
    extra: dict[str, str] = field(default_factory=dict)
    own_redis: bool = False
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.web_port, self.smtp_port, self.lmtp_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.web_port}"
        self.mail_dir = self.directory / "mail"
        self.database = f"hv_flow_{os.getpid()}_{secrets.token_hex(4)}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")},
            "HEALTHVAULT_ENVIRONMENT": "demo",
            "PUBLIC_URL": self.url,
            "DATA_DIR": str(self.directory / "data"),
            "DIRECT_DOMAINS": self.domain,
            "EMAIL_URL": f"file://{self.mail_dir}",
            "WEB_LISTEN": f"127.0.0.1:{self.web_port}",
            "SMTP_LISTEN": f"127.0.0.1:{self.smtp_port}",
            "LMTP_LISTEN": f"127.0.0.1:{self.lmtp_port}",
            "LEASE_SECONDS": "5",
            **self.extra,
        }
        self.apart = bool(os.environ.get("TEST_DATABASE_URL"))
        if self.apart:
            self._make_database()
        else:
            self.environment.pop("DATABASE_URL", None)

    # --- life --------------------------------------------------------------------------------------

    def _make_database(self) -> None:
        import psycopg

        base = os.environ["TEST_DATABASE_URL"].rpartition("/")[0]
        with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self.database}"')
        self.redis_port = free_port()
        shared = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379/9"
        self.environment["DATABASE_URL"] = f"{base}/{self.database}"
        self.environment["CELERY_BROKER_URL"] = (
            f"redis://127.0.0.1:{self.redis_port}/0" if self.own_redis else shared
        )
        # A queue of its own, so that stacks in parallel do not take each other's bells.
        self.environment["CELERY_QUEUE"] = self.database

    def start(self) -> None:
        """Start what is not running; returns when every door accepts work."""
        if not self.apart:
            self._spawn("portal", sys.executable, "manage.py", "portal", ready=b"ready ")
            return
        if self.own_redis:
            self._spawn(
                "redis", need("redis-server"), "--port", str(self.redis_port), "--bind", "127.0.0.1",
                "--save", "", "--appendonly", "no", "--dir", str(self.directory),
            )  # fmt: skip
        if "worker" not in self.processes:
            self.manage("migrate", "--verbosity", "0")
            self.manage("createcachetable")
        celery = (sys.executable, "-m", "celery", "-A", "healthvault")
        queue = self.environment["CELERY_QUEUE"]
        self._spawn(
            "worker", *celery, "worker", "--concurrency", "2", "-Q", queue, "-n", f"{queue}@%h",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
        )  # fmt: skip
        self._spawn("beat", *celery, "beat", "--schedule", str(self.directory / "beat"))
        self._spawn("gateway", sys.executable, "manage.py", "gateway", ready=b"ready ")
        gunicorn = (sys.executable, "-m", "gunicorn", "healthvault.wsgi", "--threads", "4")
        self._spawn("web", *gunicorn, "--bind", f"127.0.0.1:{self.web_port}")
        wait_until("the web process answers", self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/healthz", timeout=2).status == 200
        return False

    def _spawn(self, name: str, *command: str, ready: bytes = b"") -> None:
        running = self.processes.get(name)
        if running is not None and running.poll() is None:
            return
        log = (self.directory / f"{name}.log").open("ab")
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE if ready else log, stderr=log
        )
        log.close()
        self.processes[name] = process
        if ready:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(ready), self.logs()

    def kill(self, name: str) -> None:
        """SIGKILL one process, and those it forked."""
        process = self.processes[name]
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
        )
        for pid in [process.pid, *map(int, children.stdout.split())]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stop every process; `start` takes up where they were."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def close(self) -> None:
        """Stop for good: the database goes too."""
        self.stop()
        if self.apart:
            import psycopg

            with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as connection:
                connection.execute(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')

    def logs(self) -> str:
        """The logs of all processes, for the message of a failed test."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in self.directory.glob("*.log")
        )

    # --- use ---------------------------------------------------------------------------------------

    def manage(
        self, *command: str | Path, data: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of the portal's commands in its environment."""
        done = subprocess.run(
            [sys.executable, "manage.py", *map(str, command)],
            cwd=ROOT, env=self.environment, input=data, capture_output=True, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr.decode(errors="replace") + self.logs()
        return done

    def json(self, *command: str | Path, data: bytes = b"") -> Any:
        """The JSON that a command prints."""
        return json.loads(self.manage(*command, "--json", data=data).stdout)

    def ledger(self, direction: str = "in") -> list[dict[str, Any]]:
        lines = self.manage("ledger", "--direction", direction, "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def account(self, address: str, name: str, *options: str) -> dict[str, str]:
        """Make an account by command; its password is `PASSWORD`."""
        made: dict[str, str] = self.json(
            "create_account", address, "--name", name, *options, data=f"{PASSWORD}\n".encode()
        )
        return made

    def mails(self, to: str = "") -> list[EmailMessage]:
        """The notification mails sent so far, oldest first."""
        if not self.mail_dir.exists():
            return []
        found = []
        for path in sorted(self.mail_dir.iterdir()):
            if path.name.startswith("."):
                continue
            mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if not to or mail["To"] == to:
                found.append(mail)
        return found

    def wait_for_mail(self, to: str, count: int = 1) -> EmailMessage:
        """The `count`-th mail to an address."""
        mails = wait_until(
            f"mail {count} to {to}", lambda: len(self.mails(to)) >= count and self.mails(to), seconds=60
        )
        mail: EmailMessage = mails[count - 1]
        return mail


def text_of(mail: EmailMessage) -> str:
    """The plain text of a mail."""
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def link_in(mail: EmailMessage) -> str:
    """The one link in a mail's text that leads into the portal."""
    links = re.findall(r"https?://\S+/(?:pickup|messages)/\S+", text_of(mail))
    assert len(links) == 1, links
    return str(links[0])
