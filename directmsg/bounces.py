"""Failure reports in clear: what mail servers on the way send about mail of ours (RFC 3464).

Nobody signed them, so they move no state: a stranger could end our messages with them. But the operator of a
relay wants to see what it said, so the copies they speak of get a line in the ledger, once each.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from healthvault.store.blobs import open_blob

from .agent.errors import AgentError
from .agent.fields import read_block
from .agent.mime import Part, parse
from .agent.notifications import kind_of, read_dsn
from .models import InboundMail, MailEvent, OutboundMail

log = logging.getLogger(__name__)

EVENT = "bounced_in_clear"
#: Larger ones are no reports of a mail server.
MAX_OCTETS = 1024 * 1024
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_RETURNED = ("message/rfc822", "text/rfc822-headers", "message/rfc822-headers")


def note(mail: InboundMail) -> int:
    """Note a failure report in clear with the copies it names; returns how many. Changes nothing else.

    Call it in the transaction that refuses `mail`.
    """
    if mail.raw is None or mail.size > MAX_OCTETS:
        return 0
    try:
        root = parse(open_blob(mail.raw)).root
        if kind_of(root) != "dsn":
            return 0
        named = {_bare(each) for each in _identifiers(root)} - {""}
    except AgentError:
        return 0
    copies = OutboundMail.objects.filter(identifier__in=named, sender=mail.recipient)
    # A report that comes again and again is one line.
    new = copies.exclude(events__name=EVENT)
    codes = {each.final_recipient.lower(): _code(each.status) for each in read_dsn(root).recipients}
    for copy in new:
        if not codes or copy.recipient in codes:
            MailEvent.objects.create(outbound=copy, name=EVENT, code=codes.get(copy.recipient, ""))
            log.info("failure report in clear", extra={"mail": copy.pk})
    return len(new)


def _identifiers(root: Part) -> Iterator[str]:
    """The identifiers of the message that came back: as the report names it, and of what it returns."""
    yield read_dsn(root, root.fields).original_message_id
    for part in root.children:
        if part.content_type in _RETURNED:
            yield read_block(part.content.lstrip(b"\r\n")).fields.unfolded("message-id")


def _code(status: str) -> str:
    """A status code (RFC 3463); "" for anything else: a stranger's words are not kept in clear."""
    return status if _STATUS.fullmatch(status) else ""


def _bare(identifier: str) -> str:
    return " ".join(identifier.split()).removeprefix("<").removesuffix(">").strip()[:998]
