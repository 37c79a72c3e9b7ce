"""The way of one incoming mail, step by step in plain words: what passed, what failed, what was not reached.

Drawn from the mail's row alone (state, code, and the agent's report), which holds nothing of its content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .models import InboundMail
from .outcomes import explain

Outcome = Literal["passed", "failed", "open"]
State = InboundMail.State

#: The steps of the receiving agent, in its order (Applicability Statement for Secure Health Transport 5.0).
DOOR, KEYS, ENVELOPE, SIGNATURE, FORM, ROUTING, SIGNER, CHAIN, DELIVERY = range(9)

_TITLES = {
    DOOR: "Taken in at the door",
    KEYS: "A key of ours for this address",
    ENVELOPE: "Decrypted",
    SIGNATURE: "The signature fits the content",
    FORM: "A readable message with one author",
    ROUTING: "Meant for this recipient, sent by its author",
    SIGNER: "The signer's certificate speaks for the author",
    CHAIN: "The certificate leads to an organisation we trust",
    DELIVERY: "Delivered",
}

#: At which step a code stops a message. What the agent and the path have in common is told apart by the
#: report; see `_failed_at`.
_AT = {
    "no_identity": KEYS,
    "keys_unavailable": KEYS,
    "not_encrypted": ENVELOPE,
    "cannot_decrypt": ENVELOPE,
    "weak_cipher": ENVELOPE,
    "too_many_recipients": ENVELOPE,
    "not_signed": SIGNATURE,
    "bad_signature": SIGNATURE,
    "too_many_signers": SIGNATURE,
    "not_wrapped": FORM,
    "sender_mismatch": FORM,
    "routing_mismatch": ROUTING,
    "address_not_covered": SIGNER,
    "no_key_usage": SIGNER,
    "wrong_key_usage": SIGNER,
    "malformed_name": SIGNER,
    "untrusted_chain": CHAIN,
    "not_yet_valid": CHAIN,
    "expired": CHAIN,
    "revoked": CHAIN,
    "revocation_unknown": CHAIN,
    "policy_not_met": CHAIN,
    "name_constraint_violated": CHAIN,
    "readers_disagree": CHAIN,
    "path_too_long": CHAIN,
    "too_many_paths": CHAIN,
    "unknown_recipient": DELIVERY,
    "mailbox_disabled": DELIVERY,
    "mailbox_full": DELIVERY,
    "sender_blocked": DELIVERY,
    "bad_subject": DELIVERY,
    "too_many_parcels": DELIVERY,
}


@dataclass(frozen=True)
class Step:
    """One step: its outcome, what happened, and for a failed one what to do."""

    title: str
    outcome: Outcome
    detail: str = ""
    todo: str = ""

    @property
    def word(self) -> str:
        return {"passed": "Passed", "failed": "Failed here", "open": "Not reached"}[self.outcome]


def steps_of(mail: InboundMail) -> list[Step]:
    """Every step of the receiving agent as it went for `mail`."""
    stopped = _stopped_at(mail)
    return [_step(number, mail, stopped) for number in _TITLES]


def _step(number: int, mail: InboundMail, stopped: int) -> Step:
    title = _TITLES[number]
    if number < stopped:
        return Step(title, "passed", _passed(number, mail))
    if number == stopped and mail.code:
        return Step(title, "failed", _sentence(mail.detail), explain(mail.code).operator)
    return Step(title, "open")


def _stopped_at(mail: InboundMail) -> int:
    """The step that was not passed; behind the last one when all were."""
    if mail.state in (State.RECEIVED, State.PROCESSING):
        return KEYS
    if mail.state in InboundMail.FINAL:
        return DELIVERY + 1
    return _failed_at(mail.code, mail.report)


def _failed_at(code: str, report: Mapping[str, Any]) -> int:
    if code in _AT:
        return _AT[code]
    if not report:
        # Nothing was examined: the worker stopped before.
        return KEYS
    if report.get("verdict") == "accepted":
        return DELIVERY
    algorithms = report.get("algorithms") or {}
    if not algorithms.get("cipher"):
        return ENVELOPE
    if not algorithms.get("digest"):
        return SIGNATURE
    if report.get("kind") is None:
        return FORM
    # The signature stood and the message could be read: what is left is somebody's certificate.
    return CHAIN if code in ("too_many_certificates", "too_many_same_subject") else SIGNER


def _passed(number: int, mail: InboundMail) -> str:
    algorithms = mail.report.get("algorithms") or {}
    signer = accepted_signer(mail.report)
    chain = (signer or {}).get("chain") or []
    words = {
        DOOR: f"{mail.protocol.upper()}, {mail.size:,} bytes.",
        ENVELOPE: _listed("Content", algorithms.get("cipher"), "key", algorithms.get("key_transport")),
        SIGNATURE: _listed("Digest", algorithms.get("digest"), "signature", algorithms.get("signature")),
        FORM: _KINDS.get(mail.report.get("kind") or "", ""),
        SIGNER: f"It was issued for {', '.join(signer['names'])}." if signer and signer["names"] else "",
        CHAIN: f"Anchor: {chain[-1]['subject']}." if chain else "",
        DELIVERY: f"{InboundMail.State(mail.state).label}.",
    }
    return words.get(number, "")


_KINDS = {
    "message": "A message from a person or a system.",
    "mdn": "A disposition notification (MDN).",
    "dsn": "A delivery status notification (DSN).",
}


def _listed(*pairs: str | None) -> str:
    named = [
        f"{name}: {value}" for name, value in zip(pairs[::2], pairs[1::2], strict=True) if value is not None
    ]
    return f"{', '.join(named)}." if named else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def accepted_signer(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """The signer whose chain was accepted."""
    return next((signer for signer in report.get("signers") or [] if signer.get("accepted")), None)
