"""Writing the audit trail.

There are several chains (shards), so that transactions which audit do not wait for one another; on
SQLite, where there is one writer anyway, one. Call `record` late in a transaction: the end of a chain is
locked until it commits.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Max
from django.http import HttpRequest
from django.utils import timezone

from healthvault.audit import chain
from healthvault.audit.models import AuditEvent, AuditHead
from healthvault.store.lookup import has_service_key, service_key

log = logging.getLogger(__name__)

SHARDS = 8
PURPOSE = "audit"
_MOST_CHARACTERS = 100

#: The key as last used. Whether it still is the right one is seen at every head's seal.
_key: bytes | None = None


def record(
    action: str,
    *,
    actor: Any = None,
    record: Any = None,
    subject: Any = None,
    outcome: str = "ok",
    request: HttpRequest | None = None,
    address: str | None = None,
    **ids: Any,
) -> AuditEvent:
    """Add one event to the trail, in the transaction at hand.

    `actor` is an account, its id, or a word such as "operator"; without one it is the signed-in user of
    `request`, else the portal itself (""). `record` is a record or its id, `subject` a row or id the
    event is about, `ids` further ids. `address` is where it came from, when there is no `request`.
    Only ids, names of fields and codes belong here: raises TypeError for other values, ValueError for
    long ones.
    """
    fields = {
        "at": timezone.now(),
        "action": _word(action),
        "actor": _word(actor if actor is not None else _user_of(request))[:64],
        "record": _uuid(record),
        "subject": _word(subject),
        "outcome": _word(outcome or "ok"),
        "address": _address(address or client_address(request)),
        "ids": {name: _word(value) for name, value in sorted(ids.items()) if value is not None},
    }
    # No savepoint: an event that cannot be written takes its transaction down with it.
    with transaction.atomic(savepoint=False):
        return _append(_take_head(), fields)


def history(record: Any) -> models.QuerySet[AuditEvent]:
    """What happened to one record, newest first."""
    return AuditEvent.objects.filter(record=_uuid(record)).order_by("-at", "-id")


def client_address(request: HttpRequest | None) -> str | None:
    """Where a request came from, past as many proxies as the settings trust."""
    if request is None:
        return None
    hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    hops.append(request.META.get("REMOTE_ADDR", ""))
    trusted = getattr(settings, "ALLAUTH_TRUSTED_PROXY_COUNT", 0)
    return hops[max(0, len(hops) - 1 - trusted)] or None


def audit_key() -> bytes:
    """The key of the chains, as the database has it."""
    global _key
    _key = service_key(PURPOSE)
    return _key


@dataclass(frozen=True, slots=True)
class _Head:
    """The end of a chain, locked by this transaction."""

    shard: int
    seq: int
    mac: bytes
    seal: bytes


# The two statements on a head are written out: every event pays them, and composing them by the ORM
# costs several times what the database does for them.
_HEAD = "SELECT shard, seq, mac, seal FROM audit_audithead"
_TAKE_MINE = f"{_HEAD} WHERE shard = %s"
_TAKE_ANY = f"{_HEAD} ORDER BY shard"
_FREE_ONLY = " LIMIT 1 FOR UPDATE SKIP LOCKED"
_MOVE = "UPDATE audit_audithead SET seq = %s, mac = %s, seal = %s WHERE shard = %s"


def _append(head: _Head, fields: dict[str, Any]) -> AuditEvent:
    key = _key_for(head)
    seq = head.seq + 1
    mac = chain.event_mac(key, head.mac, shard=head.shard, seq=seq, **fields)
    event = AuditEvent(shard=head.shard, seq=seq, mac=mac, **fields)
    event.save(force_insert=True)
    seal = chain.head_seal(key, head.shard, seq, mac)
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, [seq, mac, seal, head.shard])
    return event


def _key_for(head: _Head) -> bytes:
    """The key in memory if the head was sealed by it, else the one of the database.

    A head that neither fits was tampered with. Work goes on, and `verify_audit` names the place.
    """
    if _key is not None and chain.same(chain.head_seal(_key, head.shard, head.seq, head.mac), head.seal):
        return _key
    key = audit_key()
    if not chain.same(chain.head_seal(key, head.shard, head.seq, head.mac), head.seal):
        log.error("the end of an audit chain was altered", extra={"code": "audit_head_altered"})
    return key


def _take_head() -> _Head:
    """Lock the end of a chain, rather a free one than waiting for one."""
    several = connection.features.has_select_for_update_skip_locked
    shards = SHARDS if several else 1
    mine = hash((os.getpid(), threading.get_ident())) % shards
    free_only = _FREE_ONLY if several else ""
    head = _read_head(_TAKE_MINE + free_only, mine)
    if head is None and several:
        head = _read_head(_TAKE_ANY + free_only)
    if head is None:
        _make_heads(shards)
        head = _read_head(_TAKE_MINE + (" FOR UPDATE" if several else ""), mine)
    assert head is not None
    return head


def _read_head(statement: str, *values: int) -> _Head | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return _Head(row[0], row[1], bytes(row[2]), bytes(row[3])) if row else None


def _make_heads(shards: int) -> None:
    """Make the ends that are not there; where events are, the end is the last of them.

    The key and the first ends are made in one transaction: with a key and neither ends nor events the trail
    was emptied. It then goes on with its first place left out, which `verify_audit` finds for ever after.
    """
    present = set(AuditHead.objects.values_list("shard", flat=True))
    missing = [shard for shard in range(shards) if shard not in present]
    if not missing:
        return
    had_key = has_service_key(PURPOSE)
    key = audit_key()
    last = dict(
        AuditEvent.objects.filter(shard__in=missing)
        .values("shard")
        .annotate(last=Max("seq"))
        .values_list("shard", "last")
    )
    emptied = had_key and not present and not last
    if emptied:
        log.error("the audit trail was emptied", extra={"code": "audit_emptied"})
    heads = []
    for shard in missing:
        seq, mac = (1 if emptied else 0), chain.START
        if shard in last:
            seq = last[shard]
            mac = bytes(AuditEvent.objects.get(shard=shard, seq=seq).mac)
        heads.append(AuditHead(shard=shard, seq=seq, mac=mac, seal=chain.head_seal(key, shard, seq, mac)))
    AuditHead.objects.bulk_create(heads, ignore_conflicts=True)


def _user_of(request: HttpRequest | None) -> Any:
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None


def _word(value: Any) -> str:
    """An id, a code or a name as text."""
    if value is None:
        return ""
    if isinstance(value, models.Model):
        value = value.pk
    if not isinstance(value, str | int | UUID | datetime):
        raise TypeError(f"{type(value).__name__} has no place in the audit trail")
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    if len(text) > _MOST_CHARACTERS:
        raise ValueError("that is too long for an id")
    return text


def _uuid(record: Any) -> UUID | None:
    value = record.pk if isinstance(record, models.Model) else record
    return value if value is None or isinstance(value, UUID) else UUID(str(value))


def _address(address: str | None) -> str | None:
    """An address as the database gives it back (no zone, no IPv4 in IPv6 form); None for what is none."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
