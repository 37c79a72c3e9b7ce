"""Everything wrong that can be sent: a clear code each, the worker alive, the next message flows."""

from __future__ import annotations

import io
import smtplib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import pki_factory
from tests.documents import CDA_TYPE, VISIT
from tests.flows.stack import PASSWORD, Stack, wait_until
from tests.flows.visitor import Visitor
from tests.partner import Partner

pytestmark = [pytest.mark.flow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def address(stack: Stack) -> str:
    return stack.account("ada@patient.example", "Ada Larch")["direct_address"]


def with_leaf(directory: Path, partner: Partner, **how: Any) -> Partner:
    """The same partner with another certificate of its CA."""
    other = Partner(directory)
    other.ca, other.leaf = partner.ca, pki_factory.issue(partner.ca, **how)
    (directory / "leaf.pem").write_bytes(other.leaf.pem)
    (directory / "leaf.key").write_bytes(other.leaf.key_pem)
    return other


def altered(partner: Partner, inner: bytes, identity: bytes) -> bytes:
    signed = partner.sign(inner).replace(b"Please find", b"Please mind")
    return partner.outer(inner, partner.encrypt(signed, identity))


def deep(levels: int) -> bytes:
    """A multipart in a multipart in a multipart …"""
    opening = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(levels)
    )
    return opening + b"Content-Type: text/plain\r\n\r\nhello\r\n"


Case = Callable[[Partner, bytes, str, Path], bytes]

REFUSED: dict[str, Case] = {
    "not_encrypted": lambda p, key, to, tmp: p.compose(to, "s"),
    "not_signed": lambda p, key, to, tmp: p.outer(p.compose(to, "s"), p.encrypt(p.compose(to, "s"), key)),
    "cannot_decrypt": lambda p, key, to, tmp: p.seal(p.compose(to, "s"), p.leaf.pem),
    "bad_signature": lambda p, key, to, tmp: altered(p, p.compose(to, "s"), key),
    "expired": lambda p, key, to, tmp: with_leaf(
        tmp, p, domains=[p.domain], not_before=pki_factory.days(-20), not_after=pki_factory.days(-10)
    ).seal(p.compose(to, "s"), key),
    "untrusted_chain": lambda p, key, to, tmp: Partner(tmp).seal(p.compose(to, "s"), key),
    "address_not_covered": lambda p, key, to, tmp: with_leaf(tmp, p, domains=["other.example"]).seal(
        p.compose(to, "s"), key
    ),
    "sender_mismatch": lambda p, key, to, tmp: p.seal(
        b"Sender: boss@elsewhere.example\r\n" + p.compose(to, "s"), key
    ),
    "routing_mismatch": lambda p, key, to, tmp: p.seal(p.compose(f"other@{to.partition('@')[2]}", "s"), key),
    "weak_digest": lambda p, key, to, tmp: p.outer(
        p.compose(to, "s"), p.encrypt(p.sign(p.compose(to, "s"), digest="sha1"), key)
    ),
    "weak_cipher": lambda p, key, to, tmp: p.outer(
        p.compose(to, "s"), p.encrypt(p.sign(p.compose(to, "s")), key, cipher="des3")
    ),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_wrong_is_refused_with_its_code(
    code: str, stack: Stack, partner: Partner, identity: bytes, address: str, tmp_path: Path
) -> None:
    data = REFUSED[code](partner, identity, address, tmp_path / "other")
    assert outcome(stack, partner, data, address) == ("refused", code)


@pytest.mark.parametrize(
    "subject",
    ["no e-mail here", "a@b.example;question", "a@b.example;question;;s", "a@b.example;;answer;s", ""],
)
def test_newuser_subjects_that_break_a_rule(
    subject: str, stack: Stack, partner: Partner, identity: bytes
) -> None:
    to = f"newuser@{stack.domain}"
    inner = partner.compose(to, subject)
    state, code = outcome(stack, partner, partner.seal(inner, identity), to)
    if subject == "a@b.example;question":  # two parts are an e-mail and a real subject
        assert (state, code) == ("parcelled", None)
    else:
        assert (state, code) == ("refused", "bad_subject")


def test_an_unknown_recipient_is_refused_after_trust(stack: Stack, partner: Partner, identity: bytes) -> None:
    to = f"nobody.here@{stack.domain}"
    assert outcome(stack, partner, partner.seal(partner.compose(to, "s"), identity), to) == (
        "refused",
        "unknown_recipient",
    )


@pytest.mark.parametrize("levels", [100, 20_000])
@pytest.mark.usefixtures("identity")
def test_deep_mime_is_refused_whole(stack: Stack, partner: Partner, address: str, levels: int) -> None:
    head = f"From: {partner.address}\r\nTo: {address}\r\nMIME-Version: 1.0\r\n".encode()
    state, code = outcome(stack, partner, head + deep(levels), address)
    assert state == "refused"
    assert code in {"malformed", "too_large", "too_deep", "not_encrypted"}


def test_odd_attachments_do_not_harm_the_message(
    stack: Stack, partner: Partner, identity: bytes, address: str
) -> None:
    trap = VISIT.replace(b"<ClinicalDocument", b'<!DOCTYPE x [<!ENTITY e "y">]><ClinicalDocument', 1)
    files = (
        ("trap.xml", CDA_TYPE, trap),
        ("nothing.xml", "text/xml", b""),
        ("bomb.zip", "application/zip", zip_bomb()),
        ("broken.xml", "text/xml", VISIT[:3000]),
        ("visit.xml", CDA_TYPE, VISIT.replace(b"Nora", b"Ada").replace(b"Whitlock", b"Larch")),
    )
    inner = partner.compose(address, "Odd things", attachments=files)
    assert outcome(stack, partner, partner.seal(inner, identity), address) == ("filed", None)
    visitor = Visitor(stack.url)
    visitor.sign_in("ada@patient.example", PASSWORD)
    visitor.get("/messages/")
    link = next(
        part.split('"')[0] for part in visitor.page.text.split('href="') if part.startswith("/messages/0")
    )  # type: ignore[union-attr]
    wait_until("the good one is read", lambda: visitor.get(link) and "added to the record" in visitor.text)
    for name in ("trap.xml", "nothing.xml", "bomb.zip", "broken.xml", "visit.xml"):
        assert name in visitor.text
    visitor.close()


def zip_bomb() -> bytes:
    """300 MB of nothing in a few hundred kB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("big.xml", "w") as file:
        for _ in range(300):
            file.write(bytes(2**20))
    return packed.getvalue()


def test_a_message_over_the_limit_is_refused_at_the_door(
    stack: Stack, partner: Partner, address: str
) -> None:
    data = b"From: a\r\nTo: b\r\n\r\n" + (b"x" * 76 + b"\r\n") * 530_000
    with pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPDataError, smtplib.SMTPServerDisconnected)):
        partner.send("127.0.0.1", stack.smtp_port, data, address)


def test_25_megabytes_work(stack: Stack, partner: Partner, identity: bytes, address: str) -> None:
    inner = partner.compose(
        address, "Large", attachments=(("scan.bin", "application/octet-stream", bytes(13_000_000)),)
    )
    sealed = partner.seal(inner, identity)
    assert len(sealed) > 24_000_000
    assert outcome(stack, partner, sealed, address) == ("filed", None)


def test_after_all_that_the_next_message_flows(
    stack: Stack, partner: Partner, identity: bytes, address: str
) -> None:
    inner = partner.compose(address, "Still there?")
    assert outcome(stack, partner, partner.seal(inner, identity), address) == ("filed", None)
    assert all(line["state"] != "stuck" for line in stack.ledger())


def outcome(stack: Stack, partner: Partner, data: bytes, to: str) -> tuple[str, str | None]:
    """Send over SMTP; state and code once the mail is dealt with."""
    before = {line["id"] for line in stack.ledger()}
    partner.send("127.0.0.1", stack.smtp_port, data, to)

    def judged() -> list[dict[str, Any]]:
        new = [line for line in stack.ledger() if line["id"] not in before]
        return new if new and new[0]["state"] not in ("received", "processing") else []

    (line,) = wait_until("the mail is dealt with", judged)
    return line["state"], line["code"]
