"""The words of SMTP and LMTP: replies, the arguments of MAIL and RCPT, limits, a message as it came in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .datastream import SpooledData

_TEXT = re.compile(r"[ -~]*")

MailProtocol = Literal["smtp", "lmtp"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: a code of RFC 5321 section 4.2 and a text that begins with its RFC 3463 status."""

    code: int
    text: str

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599 or not _TEXT.fullmatch(self.text):
            raise ValueError("a reply has a code from 200 to 599 and one line of printable ASCII")

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message as it came in. `data` lives until `accept` returns."""

    mail_from: str
    rcpt_tos: tuple[str, ...]
    data: SpooledData
    peer: str
    protocol: MailProtocol
    tls: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener bears; sizes in octets with CR LF, times in seconds."""

    size: int = 39_845_888
    header: int = 262_144
    line: int = 1_000
    command: int = 512
    recipients: int = 100
    failed_commands: int = 20
    sessions: int = 100
    sessions_per_address: int = 10
    idle_s: float = 300
    data_s: float = 600
    check_s: float = 30
    accept_s: float = 240
    linger_s: float = 2
    memory: int = 1 << 20
    accept_threads: int = 4
    check_threads: int = 4


TRY_LATER = Reply(451, "4.3.0 Cannot do this now, try again later")
NO_SPACE = Reply(452, "4.3.1 Not enough space, try again later")
OK = Reply(250, "2.0.0 OK")
BYE = Reply(221, "2.0.0 Bye")
NOT_ASCII = Reply(550, "5.6.7 Addresses with other than ASCII characters are not taken here")
NOT_HERE = Reply(502, "5.5.1 Not implemented here")
TOO_EARLY = Reply(503, "5.5.0 Input before our reply; PIPELINING was not offered")
GLUED = Reply(554, "5.5.0 Input behind the end of data; PIPELINING was not offered")
STOPPING = Reply(421, "4.3.2 Service stops, try again later")
TOO_SLOW = Reply(421, "4.4.2 Too slow, connection closes")
BROKEN = Reply(421, "4.3.0 Something failed here, try again later")
TOO_MANY_ERRORS = Reply(421, "4.7.0 Too many errors, connection closes")
TOO_MANY_SESSIONS = Reply(421, "4.3.2 Too many connections, try again later")
TOO_MANY_FROM_THERE = Reply(421, "4.7.0 Too many connections from your address, try again later")

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[!-Z^-~]+\])"
_LOCAL = rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})"
# RFC 5321 section 4.1.2. A source route (appendix C) is read and dropped; the blank after the
# colon is no part of the grammar, but old clients send it.
_PATH = re.compile(
    rf" ?<(?:@{_DOMAIN}(?:,@{_DOMAIN})*:(?=[^>]))?"
    rf"(?P<address>(?P<local>{_LOCAL})@(?P<domain>{_DOMAIN}))?>(?P<parameters>(?: +[!-~]+)*) *"
)
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[!-<>-~]+))?")


class BadCommand(Exception):
    """A command that cannot be obeyed, and the reply that says why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code, text)


class HangUp(Exception):
    """The session ends with these replies."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__(*replies)
        self.replies = replies


def one_reply(replies: Sequence[Reply]) -> Reply:
    """SMTP's single answer for all recipients (RFC 5321 section 4.2.5).

    250 only when every recipient's copy is stored, 5xx only when every one is refused. Otherwise
    the first 4xx, or 451: the sender tries again, and copies stored already are known by then.
    """
    kinds = {reply.code // 100 for reply in replies}
    if len(kinds) == 1:
        return replies[0]
    return next((reply for reply in replies if reply.code // 100 == 4), TRY_LATER)


def parse_path(keyword: str, argument: str) -> tuple[str, dict[str, str]]:
    """The address and the upper-cased parameters of MAIL FROM or RCPT TO (RFC 5321 section 4.1.2).

    `<>` gives an empty address. Raises `BadCommand` with the reply to give.
    """
    if argument[: len(keyword)].upper() != keyword:
        raise BadCommand(501, f"5.5.4 Syntax: {keyword}<address>")
    found = _PATH.fullmatch(argument, len(keyword))
    # RFC 5321 section 4.5.3.1
    if found is None or len(found["local"] or "") > 64 or len(found["domain"] or "") > 255:
        raise BadCommand(553, f"5.1.{7 if keyword == 'FROM:' else 3} Malformed address")
    parameters: dict[str, str] = {}
    for word in found["parameters"].split():
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None or parameter["name"].upper() in parameters:
            raise BadCommand(501, "5.5.4 Malformed parameter")
        parameters[parameter["name"].upper()] = parameter["value"] or ""
    return found["address"] or "", parameters
