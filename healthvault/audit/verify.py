"""Reading the whole trail again: is every row the one we wrote, at its place?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from healthvault.audit import chain
from healthvault.audit.models import AuditEvent, AuditHead
from healthvault.audit.trail import PURPOSE, audit_key
from healthvault.store.lookup import has_service_key

FIELDS = ("at", "action", "actor", "record", "subject", "outcome", "address", "ids")
_BATCH = 5000
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where.

    `altered`: a row is not what was written there (edited, inserted or swapped); `missing`: rows before
    this one are gone; `cut_off`: rows at the end are gone, or all of them; `head_altered`: the end of a
    chain was tampered with; `forked`: the chain went another way than a head kept elsewhere says.
    """

    problem: str
    shard: int
    seq: int
    id: int | None = None


@dataclass(slots=True)
class Verdict:
    """How many events were read, the ends of the chains, and what is wrong; first things first."""

    events: int = 0
    heads: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """As the command prints it; `heads` is what to keep in a second place."""
        return {
            "ok": self.ok,
            "events": self.events,
            "heads": self.heads,
            "problems": [asdict(problem) for problem in self.problems[:MOST_PROBLEMS]],
        }


def verify_trail(kept_heads: Iterable[dict[str, Any]] = ()) -> Verdict:
    """Read every chain from its first row to its end.

    `kept_heads` are ends from an earlier verdict, kept out of the database's reach: with them it is
    found as well when somebody put an older end of a chain back and cut off what came after it.
    """
    verdict = Verdict()
    had_key = has_service_key(PURPOSE)
    kept: dict[int, dict[int, bytes]] = {}
    for head in kept_heads:
        kept.setdefault(int(head["shard"]), {})[int(head["seq"])] = bytes.fromhex(head["mac"])
    shards = set(AuditEvent.objects.order_by().values_list("shard", flat=True).distinct())
    heads = {head.shard: head for head in AuditHead.objects.all()}
    if had_key and not (shards or heads):
        # The key is made with the first event, in one transaction, and so are the ends of the chains.
        verdict.problems.append(Problem("cut_off", 0, 1))
    # A trail that never began gets no key by being read.
    chains = sorted(shards | set(heads) | set(kept))
    key = audit_key() if chains else b""
    for shard in chains:
        _verify_chain(key, shard, heads.get(shard), kept.get(shard, {}), verdict)
    return verdict


def _verify_chain(
    key: bytes, shard: int, head: AuditHead | None, kept: dict[int, bytes], verdict: Verdict
) -> None:
    seq, before = 0, chain.START
    for row in _rows(shard):
        pk, row_seq, mac, fields = row
        verdict.events += 1
        if row_seq != seq + 1:
            verdict.problems.append(Problem("missing", shard, seq + 1))
        elif not chain.same(chain.event_mac(key, before, shard=shard, seq=row_seq, **fields), mac):
            verdict.problems.append(Problem("altered", shard, row_seq, pk))
        if row_seq in kept and not chain.same(kept[row_seq], mac):
            verdict.problems.append(Problem("forked", shard, row_seq, pk))
        seq, before = row_seq, mac
    verdict.problems.extend(_end_problems(key, shard, seq, before, head, kept))
    verdict.heads.append({"shard": shard, "seq": seq, "mac": before.hex()})


def _end_problems(
    key: bytes, shard: int, seq: int, mac: bytes, head: AuditHead | None, kept: dict[int, bytes]
) -> Iterator[Problem]:
    if head is None:
        yield Problem("head_altered", shard, seq)
    elif not chain.same(chain.head_seal(key, shard, head.seq, bytes(head.mac)), bytes(head.seal)):
        yield Problem("head_altered", shard, head.seq)
    elif head.seq > seq:
        yield Problem("cut_off", shard, seq + 1)
    elif head.seq != seq or not chain.same(bytes(head.mac), mac):
        yield Problem("altered", shard, seq)
    if kept and max(kept) > seq:
        yield Problem("cut_off", shard, seq + 1)


def _rows(shard: int) -> Iterator[tuple[int, int, bytes, dict[str, Any]]]:
    rows = AuditEvent.objects.filter(shard=shard).order_by("seq").values_list("pk", "seq", "mac", *FIELDS)
    for pk, seq, mac, *values in rows.iterator(chunk_size=_BATCH):
        yield pk, seq, bytes(mac), dict(zip(FIELDS, values, strict=True))
