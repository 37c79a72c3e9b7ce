"""A running portal and a partner's revocation server: its word decides, and its silence stops nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import pki_factory
from tests import web_server as web_servers
from tests.flows.stack import Stack, wait_until
from tests.partner import Partner

pytestmark = [pytest.mark.flow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def web() -> Iterator[web_servers.WebServer]:
    with web_servers.running() as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, web: web_servers.WebServer) -> Iterator[Stack]:
    """A portal that may fetch from the partner's server, though it stands on this machine."""
    running = Stack(tmp_path_factory.mktemp("portal"), extra={"FETCH_ALLOW": f"127.0.0.1:{web.port}"})
    try:
        running.start()
        yield running
    finally:
        running.close()


class Anything(dict[str, Any]):
    """One handler for every path below the responder's: the question is part of the path."""

    def __init__(self, answers: dict[str, Callable[[], bytes] | None]) -> None:
        self.answers = answers
        super().__init__()

    def _name(self, path: str) -> str:
        return path.split("/")[1]

    def __contains__(self, path: object) -> bool:
        return self._name(str(path)) in self.answers

    def __getitem__(self, path: str) -> web_servers.Handler:
        answer = self.answers[self._name(path)]
        if answer is None:
            return web_servers.silent(6)
        return lambda request: web_servers.send(request, "200 OK", answer())


def signer(directory: Path, partner: Partner, leaf: pki_factory.Issued) -> Partner:
    """The same organisation, writing with another certificate."""
    other = Partner(directory)
    other.ca, other.leaf = partner.ca, leaf
    (directory / "leaf.pem").write_bytes(leaf.pem)
    (directory / "leaf.key").write_bytes(leaf.key_pem)
    return other


def test_what_a_partners_server_says_of_its_certificates(
    stack: Stack, partner: Partner, identity: bytes, web: web_servers.WebServer, tmp_path: Path
) -> None:
    to = stack.account("ada@patient.example", "Ada Larch")["direct_address"]
    answers: dict[str, Callable[[], bytes] | None] = {}
    web.plays = Anything(answers)
    stranger = pki_factory.make_ca(f"{partner.name} CA")
    cases: dict[str, tuple[str, str | None]] = {
        "good": ("filed", None),
        "revoked": ("refused", "revoked"),
        "stranger": ("filed", None),
        "silent": ("filed", None),
        "listed": ("refused", "revoked"),
    }
    sent = {}
    for name in cases:
        points = [web.url("/listed/ca.crl")] if name == "listed" else []
        extra = [] if points else [pki_factory.responder_urls(web.url(f"/{name}"))]
        names = [partner.domain]
        leaf = pki_factory.issue(partner.ca, domains=names, cdp=points, extra=extra, fresh_key=True)
        state = "revoked" if name in ("revoked", "stranger") else "good"
        by = {"signer": stranger, "include": []} if name == "stranger" else {}
        answers[name] = lambda leaf=leaf, state=state, by=by: pki_factory.make_ocsp(leaf, state, **by)
        if points:
            answers[name] = lambda leaf=leaf: pki_factory.make_crl(partner.ca, [leaf])
        if name == "silent":
            answers[name] = None
        raw = signer(tmp_path / name, partner, leaf).seal(partner.compose(to, name), identity)
        partner.send("127.0.0.1", stack.smtp_port, raw, to)
        sent[name] = hashlib.sha256(raw).hexdigest()

    def outcomes() -> dict[str, tuple[str, str | None]]:
        lines = {line["sha256"]: line for line in stack.ledger()}
        found = {name: lines[sha256] for name, sha256 in sent.items() if sha256 in lines}
        return {name: (line["state"], line["code"]) for name, line in found.items()}

    final = {"filed", "refused", "stuck"}
    wait_until(
        "all are decided",
        lambda: len(outcomes()) == len(cases) and all(state in final for state, _ in outcomes().values()),
        120,
    )
    assert outcomes() == cases
    asked = {request.line.split()[1].split("/")[1] for request in web.requests}
    assert asked == set(cases)
