"""Two portals that write to each other: own authorities, own processes, one name service between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests import dns_server
from tests.flows.stack import Stack, wait_until

pytestmark = [pytest.mark.flow, pytest.mark.timeout(300)]

TIMEOUT_S = 5


@dataclass
class Pair:
    """Two running portals, and somebody with a record at each."""

    here: Stack
    there: Stack
    ann: str
    ben: str
    directory: Path

    def send(self, stack: Stack, sender: str, to: str, subject: str, *options: str | Path) -> Any:
        text = self.directory / "text.txt"
        text.write_text(f"{subject}: the text\n")
        return stack.json(
            "send_message", "--from", sender, "--to", to, "--subject", subject, "--text-file", text, *options
        )


def copies(stack: Stack, made: Any) -> list[dict[str, Any]]:
    """The lines of the ledger about a message of ours."""
    return [line for line in stack.ledger("out") if line["message_id"] == made["message_id"]]


def settled(stack: Stack, made: Any, *states: str) -> dict[str, Any]:
    """The one line about a message of ours, once it is in one of `states`."""

    def reached() -> dict[str, Any] | None:
        (line,) = copies(stack, made)
        return line if line["state"] in states else None

    line: dict[str, Any] = wait_until(f"{made['message_id']} is {states}", reached)
    return line


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("pair")
    stacks: list[Stack] = []
    with dns_server.running() as (dns, (host, port)):
        for name in ("here", "there"):
            (directory / name).mkdir()
            stacks.append(
                Stack(
                    directory / name,
                    f"direct.{name}.example",
                    {"DNS_SERVERS": f"{host}:{port}", "DIRECT_CONFIRMATION_TIMEOUT": "600"},
                )
            )
        here, there = stacks
        here.environment["DIRECT_MX_PORT"] = str(there.smtp_port)
        there.environment["DIRECT_MX_PORT"] = str(here.smtp_port)
        try:
            for stack in stacks:
                stack.start()
                publish(stack, dns, directory)
            introduce(here, there)
            introduce(there, here)
            ann = here.account("ann@patient.example", "Ann Larch")["direct_address"]
            ben = there.account("ben@patient.example", "Ben Alder")["direct_address"]
            yield Pair(here, there, ann, ben, directory)
        finally:
            for stack in stacks:
                stack.close()


def publish(stack: Stack, dns: dns_server.DnsServer, directory: Path) -> None:
    """Its certificate and its mail server, as its administrator would have them in the zone."""
    made = stack.json("create_identity", stack.domain)
    certificate = x509.load_pem_x509_certificate(made["pem"].encode())
    dns.add_certificate(stack.domain, certificate.public_bytes(Encoding.DER))
    dns.add(stack.domain, "MX", f"10 mx.{stack.domain}.")
    dns.add(f"mx.{stack.domain}", "A", "127.0.0.1")
    stack.manage("publish_certificates", "--format", "zip", "--output", stack.directory / "anchors.zip")


def introduce(stack: Stack, other: Stack) -> None:
    stack.manage(
        "import_anchor", other.directory / "anchors.zip", "--organization", other.domain, "--yes", "--json"
    )


def test_a_message_each_way_with_confirmations_up_to_delivered(pair: Pair) -> None:
    photo = pair.directory / "Befund äöü.txt"
    photo.write_bytes(b"a file from here")
    first = pair.send(pair.here, pair.ann, pair.ben, "Grüße von hier", "--attach", photo)
    assert [copy["state"] for copy in first["recipients"]] == ["queued"]
    line = settled(pair.here, first, "dispatched")
    # The two notifications travel on their own: either may arrive first.
    assert {"queued", "sent", "dispatched"} <= set(line["times"])
    assert line["code"] is None
    assert line["attempts"] == 1

    back = pair.send(pair.there, pair.ben, pair.ann, "And back")
    settled(pair.there, back, "dispatched")

    # Both sides: two notifications each were sent, and taken as such; each message was filed once.
    for stack in (pair.here, pair.there):
        kinds = [(line["kind"], line["disposition"], line["state"]) for line in stack.ledger("out")]
        assert sorted(kinds, key=str) == [
            ("mdn", "dispatched", "sent"),
            ("mdn", "processed", "sent"),
            ("message", None, "dispatched"),
        ]
        states = sorted(line["state"] for line in stack.ledger())
        assert states == ["filed", "notified", "notified"]
    assert len({line["sha256"] for line in pair.there.ledger()}) == 3
    (arrived,) = (line for line in pair.there.ledger() if line["state"] == "filed")
    assert arrived["sha256"] == line["sha256"]


def test_nobody_there_is_told_to_the_writer(pair: Pair) -> None:
    made = pair.send(pair.here, pair.ann, f"nobody.there.9@{pair.there.domain}", "To nobody")
    line = settled(pair.here, made, "failed")
    assert line["code"] == "reported_failed"
    mail = pair.here.wait_for_mail("ann@patient.example")
    assert "To nobody" not in mail.as_string()


def test_an_address_without_a_certificate_fails_at_once(pair: Pair) -> None:
    made = pair.send(pair.here, pair.ann, "someone@plain.example", "By mistake")
    assert settled(pair.here, made, "failed")["code"] == "no_certificate"


def test_a_portal_killed_after_the_others_yes_sends_the_same_once_more(pair: Pair) -> None:
    """Between the other side's 250 and our note of it: the same bytes again, and one outcome.

    Where only the worker died, a notification may come before its lease is over: then nothing is sent again.
    """
    pair.here.stop()
    # A pool of workers starts the killed one anew: it must not die of the same thing.
    once = pair.directory / "die-once"
    once.touch()
    pair.here.environment["FAULT_AT"] = f"out.accepted@{once}"
    pair.here.start()
    made = pair.send(pair.here, pair.ann, pair.ben, "Twice on the way")
    wait_until("a worker died after the other side's yes", lambda: not once.exists())
    wait_until(
        "it was filed there", lambda: [each for each in pair.there.ledger() if each["state"] == "filed"]
    )
    pair.here.stop()
    del pair.here.environment["FAULT_AT"]
    pair.here.start()
    # Its notifications may have met a closed door and are tried again in a minute: that is not waited for.
    line = settled(pair.here, made, "sent", "processed", "dispatched")
    same = [each for each in pair.there.ledger() if each["sha256"] == line["sha256"]]
    assert [each["state"] for each in same] == ["filed"]


def test_a_silent_partner_is_an_outcome_told_once(pair: Pair) -> None:
    """The other side is down: tries end with the time for confirmation, and the writer is told."""
    pair.there.stop()
    # Read when a message is queued, which the command does by itself.
    pair.here.environment["DIRECT_CONFIRMATION_TIMEOUT"] = str(TIMEOUT_S)
    before = len(pair.here.mails("ann@patient.example"))
    made = pair.send(pair.here, pair.ann, pair.ben, "Into silence")
    line = settled(pair.here, made, "timed_out")
    assert line["code"] == "not_sent"
    assert "deferred" in line["times"]
    wait_until("the writer is told", lambda: len(pair.here.mails("ann@patient.example")) == before + 1)
    pair.there.start()
    pair.here.environment["DIRECT_CONFIRMATION_TIMEOUT"] = "600"
    later = pair.send(pair.here, pair.ann, pair.ben, "After that")
    settled(pair.here, later, "dispatched")
    # Nothing more came of the first: no second outcome, no second notice.
    assert settled(pair.here, made, "timed_out") == line
    assert len(pair.here.mails("ann@patient.example")) == before + 1
