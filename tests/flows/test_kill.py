"""Killing processes while mail comes in: what got 250 is dealt with, once."""

from __future__ import annotations

import hashlib
import random
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import CDA_TYPE, VISIT
from tests.flows.stack import Stack, wait_until
from tests.partner import Partner

pytestmark = [pytest.mark.flow, pytest.mark.timeout(600)]

MESSAGES = 200
SENDERS = 4
KILLS = 6
FINAL = {"filed", "parcelled", "refused", "notified"}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    running = Stack(tmp_path / "portal", own_redis=True)
    running.directory.mkdir()
    try:
        running.start()
        yield running
    finally:
        running.close()


class Load:
    """Senders that try every message until it got its 250, and note which did."""

    def __init__(self, stack: Stack, partner: Partner, messages: list[tuple[str, bytes]]) -> None:
        self.stack, self.partner, self.messages = stack, partner, messages
        self.journal: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._send, args=[n]) for n in range(SENDERS)]

    def _send(self, number: int) -> None:
        for to, data in self.messages[number::SENDERS]:
            while not self._accepted(to, data):
                time.sleep(0.2)

    def _accepted(self, to: str, data: bytes) -> bool:
        try:
            self.partner.send("127.0.0.1", self.stack.smtp_port, data, to)
        except (OSError, smtplib.SMTPException):
            return False
        with self.lock:
            self.journal.append((hashlib.sha256(data).hexdigest(), to))
        return True


def test_nothing_accepted_is_lost_or_doubled(stack: Stack, tmp_path: Path) -> None:
    identity = stack.json("create_identity", stack.domain)["pem"].encode()
    partner = Partner(tmp_path / "partner")
    stack.manage("import_anchor", partner.directory / "ca.pem", "--organization", partner.name, "--yes")
    known = stack.account("ada@patient.example", "Ada Larch")["direct_address"]
    messages = [message(stack, partner, identity, known, number) for number in range(MESSAGES)]

    load = Load(stack, partner, messages)
    for thread in load.threads:
        thread.start()
    kill_while_busy(stack, load)
    for thread in load.threads:
        thread.join()

    ledger = wait_until("every mail has its final state", lambda: all_final(stack), seconds=180)
    counted = Counter((line["sha256"], line["recipient"]) for line in ledger)
    assert set(load.journal) <= set(counted)
    assert len(set(load.journal)) == MESSAGES
    assert set(counted.values()) == {1}
    states = Counter(line["state"] for line in ledger)
    assert states == {"parcelled": MESSAGES // 2, "filed": MESSAGES // 2}, (states, stack.logs())
    sent = Counter(mail["Message-ID"] for mail in stack.mails())
    # Between the relay's yes and our note of it a mail may go twice, under one Message-ID.
    assert all(times <= 2 for times in sent.values())


def message(stack: Stack, partner: Partner, identity: bytes, known: str, number: int) -> tuple[str, bytes]:
    to = known if number % 2 else f"newuser@{stack.domain}"
    subject = f"Message {number}" if number % 2 else f"person{number}@patient.example;Message {number}"
    files = (("visit.xml", CDA_TYPE, VISIT),) if number % 10 == 0 else ()
    return to, partner.seal(partner.compose(to, subject, attachments=files), identity)


def kill_while_busy(stack: Stack, load: Load) -> None:
    """Kill a process at random points of the stream of accepted messages, however fast it runs."""
    chance = random.Random(20261125)
    names = ["worker", "gateway", "redis"] if stack.apart else ["portal"]
    for accepted in sorted(chance.sample(range(5, MESSAGES - 20), KILLS)):
        wait_until(
            f"{accepted} messages are accepted", lambda least=accepted: len(load.journal) >= least, 120
        )
        stack.kill(chance.choice(names))
        stack.start()


def all_final(stack: Stack) -> list[dict[str, str]]:
    ledger = stack.ledger()
    return ledger if all(line["state"] in FINAL for line in ledger) else []
