"""The gateway as a process of its own: it starts, takes mail, is killed anywhere, and stops in order."""

import contextlib
import os
import re
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.flow

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "direct.portal.example"
SENDER = "office@clinic.example"
RECIPIENTS = [f"anna@{DOMAIN}", f"boris@{DOMAIN}"]


class Gateway:
    """A data directory, and gateway processes over it."""

    def __init__(self, directory):
        self.database = directory / "healthvault.sqlite3"
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DATA_DIR": str(directory),
            "DIRECT_DOMAINS": DOMAIN,
            "SMTP_LISTEN": "127.0.0.1:0",
            "LMTP_LISTEN": "127.0.0.1:0",
        }
        self.manage("migrate", "-v0").communicate(timeout=120)

    def manage(self, *arguments, **environment):
        return self.python("manage.py", *arguments, **environment)

    def python(self, *arguments, **environment):
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def running(self, **environment):
        """Yields the process and its SMTP and LMTP ports; kills it when the block has not ended it."""
        process = self.manage("gateway", **environment)
        try:
            line = process.stdout.readline()
            found = re.fullmatch(r"ready smtp=127\.0\.0\.1:(\d+) lmtp=127\.0\.0\.1:(\d+)\n", line)
            assert found, line or process.stderr.read()
            yield process, int(found[1]), int(found[2])
        finally:
            process.kill()
            process.communicate()

    def rows(self, mark):
        """Recipients that stand in the database with the sender `mark`."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            found = connection.execute(
                "SELECT recipient FROM directmsg_inboundmail WHERE mail_from = ? ORDER BY 1", [mark]
            )
            return [row[0] for row in found]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    return Gateway(tmp_path_factory.mktemp("gateway"))


def message(mark):
    return f"From: {mark}\r\nSubject: none\r\n\r\nGood morning.\r\n".encode()


def test_a_message_taken_by_smtp_or_lmtp_is_a_row_for_each_recipient(gateway):
    with gateway.running() as (_, smtp, lmtp):
        with smtplib.SMTP("127.0.0.1", smtp) as client:
            assert client.sendmail(SENDER, RECIPIENTS, message(SENDER)) == {}
            assert client.docmd(f"MAIL FROM:<{RECIPIENTS[0]}>")[0] == 550
        with smtplib.LMTP("127.0.0.1", lmtp) as client:
            assert client.sendmail(RECIPIENTS[1], RECIPIENTS[:1], message(SENDER)) == {}
            assert client.mail(SENDER)[0] == 250
            assert client.rcpt("anna@elsewhere.example") == (550, b"5.7.1 This domain is not hosted here")
    assert gateway.rows(SENDER) == RECIPIENTS
    assert gateway.rows(RECIPIENTS[1]) == RECIPIENTS[:1]


@pytest.mark.parametrize(
    ("point", "replied", "stored"),
    [
        ("smtp.data", False, 0),
        ("smtp.precommit", False, 0),
        ("smtp.postcommit", False, 1),
        ("smtp.replied", True, 2),
    ],
)
def test_killed_anywhere_it_has_what_it_confirmed_and_each_copy_once(gateway, point, replied, stored):
    mark = f"{point}@clinic.example"
    with gateway.running(FAULT_AT=point) as (process, smtp, _):
        client = smtplib.SMTP("127.0.0.1", smtp)
        try:
            client.sendmail(mark, RECIPIENTS, message(mark))
            confirmed = True
        except smtplib.SMTPServerDisconnected:
            confirmed = False
        client.close()
        assert process.wait(10) == -signal.SIGKILL
    assert confirmed is replied
    assert len(gateway.rows(mark)) == stored
    with gateway.running() as (_, smtp, _), smtplib.SMTP("127.0.0.1", smtp) as client:
        assert client.sendmail(mark, RECIPIENTS, message(mark)) == {}
    assert gateway.rows(mark) == RECIPIENTS


def test_told_to_stop_it_finishes_the_message_under_way(gateway):
    mark = "late@clinic.example"
    with gateway.running() as (process, smtp, _):
        with smtplib.SMTP("127.0.0.1", smtp) as client:
            client.ehlo()
            client.mail(mark)
            client.rcpt(RECIPIENTS[0])
            assert client.docmd("DATA")[0] == 354
            process.send_signal(signal.SIGTERM)
            while True:
                try:
                    socket.create_connection(("127.0.0.1", smtp), timeout=5).close()
                except ConnectionRefusedError:
                    break
            client.send(message(mark) + b".\r\n")
            assert client.getreply()[0] == 250
            assert client.getreply()[0] == 421
        assert process.wait(10) == 0
    assert gateway.rows(mark) == RECIPIENTS[:1]


def test_without_a_door_or_with_a_taken_port_it_says_why(gateway):
    process = gateway.manage("gateway", SMTP_LISTEN="off", LMTP_LISTEN="off")
    assert "SMTP_LISTEN and LMTP_LISTEN are both off" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = gateway.manage("gateway", SMTP_LISTEN=f"127.0.0.1:{taken.getsockname()[1]}")
        assert "mail cannot be accepted" in process.communicate(timeout=60)[1]
        assert process.returncode == 1


#: Runs a command and stops the event loop of one of its listeners, as a fault in it would.
KILL_A_LISTENER = """
import gc, os, sys, threading, time
os.environ["DJANGO_SETTINGS_MODULE"] = "healthvault.settings"
from django.core.management import execute_from_command_line

def kill():
    from directmsg.listener import Listener
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.5)
        for found in gc.get_objects():
            if isinstance(found, Listener) and found.protocol == "lmtp" and found._loop is not None:
                time.sleep(0.5)
                found._loop.call_soon_threadsafe(found._loop.stop)
                return

threading.Thread(target=kill, daemon=True).start()
execute_from_command_line(["manage.py", sys.argv[1]])
"""


@pytest.mark.parametrize("command", ["gateway", "portal"])
def test_a_listener_that_dies_takes_the_process_with_it(gateway, command):
    process = gateway.python("-c", KILL_A_LISTENER, command, WEB_LISTEN="127.0.0.1:0")
    try:
        errors = process.communicate(timeout=90)[1]
    finally:
        process.kill()
    assert process.returncode == 1
    assert "the lmtp listener ended by itself" in errors
