"""The bytes of an undelivered mail for somebody who looks for a fault: the sealed part, and no other words.

An administrator never reads a message. What the sender encrypted may be handed out; what stands in clear
around it (a subject line that names question and answer, say) is left out, and a mail that was not encrypted
is not handed out at all.
"""

from __future__ import annotations

from .agent import cms
from .agent.errors import AgentError
from .agent.mime import parse

#: Header fields that say how a mail came and how to open it.
KEPT = frozenset(
    {
        "received",
        "from",
        "to",
        "cc",
        "date",
        "message-id",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    }
)
_SEALED = ("enveloped", "auth_enveloped")


class NotSealed(Exception):
    """The mail is no envelope: its bytes are content."""

    code = "not_sealed"


def sealed_copy(raw: bytes) -> bytes:
    """`raw` without the header fields that could tell what it is about. Raises NotSealed."""
    try:
        root = parse(raw).root
        sealed = cms.content_type(root.content) in _SEALED
    except AgentError as error:
        raise NotSealed from error
    if not sealed:
        raise NotSealed
    kept = [field for field in root.fields if field.key in KEPT]
    head = b"".join(b"%s:%s\r\n" % (field.name.encode("ascii"), field.value.rstrip()) for field in kept)
    return head + b"\r\n" + root.body
