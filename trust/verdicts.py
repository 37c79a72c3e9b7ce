"""Verdicts on certificates, kept in this process for as long as they hold.

The key is a digest of all that a verdict depends on (leaf, intermediates, anchors, revocation lists, policy),
so a change of any of them is a new question. What is kept is only the answer; the path is built by
`trust.pki.path` alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from trust.pki.certs import Certificate
from trust.pki.path import Chain, verdict_key, verify_path
from trust.pki.policy import TrustContext

MOST_VERDICTS = 2048
#: However long a verdict would hold by itself, it is asked again after this.
LONGEST_LIFE = timedelta(hours=1)


@dataclass(frozen=True)
class _Kept:
    chain: Chain
    since: datetime
    until: datetime


@dataclass
class Verdicts:
    """A bounded memory of chains, least recently used out first. Safe between threads."""

    most: int = MOST_VERDICTS
    _kept: OrderedDict[bytes, _Kept] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: bytes, at: datetime) -> Chain | None:
        """The chain under `key` if it holds at `at`."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            if not kept.since <= at <= kept.until:
                if at > kept.until:
                    del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return kept.chain

    def put(self, key: bytes, chain: Chain, at: datetime) -> None:
        """Keep a chain that was judged at `at`."""
        until = min(chain.expires, at + LONGEST_LIFE)
        with self._lock:
            self._kept[key] = _Kept(chain, at, until)
            self._kept.move_to_end(key)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


verdicts = Verdicts()


def verify(
    leaf: Certificate, intermediates: Sequence[Certificate], context: TrustContext, at: datetime
) -> Chain:
    """`trust.pki.path.verify_path`, remembered.

    Only a chain that stands is kept: a refusal may be mended by a certificate that becomes valid or a list
    that arrives, and costs its sender more than us. Raises what `verify_path` raises.
    """
    key = verdict_key(leaf, intermediates, context)
    chain = verdicts.get(key, at)
    if chain is None:
        chain = verify_path(leaf, intermediates, context, at)
        verdicts.put(key, chain, at)
    return chain
