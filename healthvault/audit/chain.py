"""The arithmetic of the chain: what is hashed, and with what before it."""

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

START = bytes(32)


def event_mac(
    key: bytes,
    before: bytes,
    *,
    shard: int,
    seq: int,
    at: datetime,
    action: str,
    actor: str,
    record: UUID | None,
    subject: str,
    outcome: str,
    address: str | None,
    ids: Mapping[str, str],
) -> bytes:
    """HMAC-SHA-256 over one event and `before`, the MAC of the event before it (`START` at first)."""
    when = at.astimezone(UTC).isoformat(timespec="microseconds")
    record_text = None if record is None else record.hex
    content = [shard, seq, when, action, actor, record_text, subject, outcome, address, ids]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, b"event\x00" + before + text.encode(), "sha256")


def head_seal(key: bytes, shard: int, seq: int, mac: bytes) -> bytes:
    """HMAC-SHA-256 over the end of a chain."""
    return hmac.digest(key, b"head\x00%d\x00%d\x00" % (shard, seq) + mac, "sha256")


def same(one: bytes, other: bytes) -> bool:
    """Compare two MACs."""
    return hmac.compare_digest(one, other)
