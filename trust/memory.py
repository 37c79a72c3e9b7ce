"""What was fetched or looked up lately, shared by all processes through the cache.

It is a memory and nothing more: when the cache is down, or holds something else under our keys, the question
is simply asked again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Sequence

from django.core.cache import cache

log = logging.getLogger(__name__)


def _key(kind: str, name: str) -> str:
    return f"trust.{kind}.{hashlib.sha256(name.encode()).hexdigest()}"


def recall(kind: str, name: str) -> list[bytes] | None:
    """What `keep` was given, if its time is not over."""
    try:
        text = cache.get(_key(kind, name))
        return None if text is None else [base64.b64decode(each, validate=True) for each in json.loads(text)]
    except Exception:
        log.warning("nothing usable in the cache", extra={"code": "cache_failed"})
        return None


def keep(kind: str, name: str, parts: Sequence[bytes], seconds: int) -> None:
    """Remember `parts` for so many seconds; not at all for none."""
    if seconds <= 0:
        return
    try:
        cache.set(
            _key(kind, name), json.dumps([base64.b64encode(part).decode() for part in parts]), int(seconds)
        )
    except Exception:
        log.warning("nothing was kept in the cache", extra={"code": "cache_failed"})


def forget(kind: str, *names: str) -> None:
    """Drop what is kept. Raises what the cache raises: who asks for this must know when it did not happen."""
    cache.delete_many([_key(kind, name) for name in names])
