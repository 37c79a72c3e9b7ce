"""Handing sealed bytes to the next mail server: a relay of ours, or the recipient domain's own (RFC 5321).

TLS is taken where it is offered and proves nothing: what goes over the line is sealed already. Every attempt
ends within a time that is shorter than the lease of the row it works for.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings

from trust import nameservice

log = logging.getLogger(__name__)

CONNECT_S = 10.0
TLS_S = 15.0
#: One command; the answer to the end of DATA may take as long as the whole attempt.
COMMAND_S = 30.0
TOTAL_S = 120.0
MAX_HOSTS = 10
MAX_REPLY_OCTETS = 64 * 1024


class TransportError(Exception):
    """The mail was not taken. `temporary`: try again later; `detail`: what was said, for operators."""

    code: ClassVar[str] = "not_delivered"
    temporary: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or self.code.replace("_", " ")
        super().__init__(self.detail)


class NameServiceSilent(TransportError):
    """Where the domain takes mail could not be found out now."""

    code = "dns_failure"
    temporary = True


class NoSuchDomain(TransportError):
    """The domain does not exist, or nothing in it takes mail."""

    code = "no_such_domain"


class NullMx(TransportError):
    """The domain says that it takes no mail (RFC 7505)."""

    code = "null_mx"


class MailLoop(TransportError):
    """The way leads back to this machine (RFC 5321 section 5.1)."""

    code = "mail_loop"


class HostUnreachable(TransportError):
    """No mail server of the domain could be connected to, or the connection broke."""

    code = "host_unreachable"
    temporary = True


class HostTimedOut(TransportError):
    """A mail server did not answer in time."""

    code = "host_timed_out"
    temporary = True


class Deferred(TransportError):
    """The mail server asks to come again (4yz): greylisting, a full mailbox, overload."""

    code = "deferred"
    temporary = True


class HostRefused(TransportError):
    """The mail server wants nothing from us (5yz before any recipient was named)."""

    code = "host_refused"
    temporary = True


class SenderRejected(TransportError):
    """The mail server takes no mail from this sender (5yz to MAIL FROM)."""

    code = "sender_rejected"


class RecipientRejected(TransportError):
    """The mail server takes no mail for this recipient (5yz to RCPT TO)."""

    code = "recipient_rejected"


class MessageRejected(TransportError):
    """The mail server refused the message itself (5yz to DATA)."""

    code = "message_rejected"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A mail server answers for the mail from now on. `host` and its `reply`, for operators."""

    host: str
    reply: str
    tls: bool


@dataclass(frozen=True, slots=True)
class Host:
    """One mail server: its name for the log, and where it listens."""

    name: str
    address: str
    port: int


Result = Accepted | TransportError


def deliver(data: bytes, *, mail_from: str, recipients: Sequence[str]) -> dict[str, Result]:
    """Hand `data` over in one SMTP transaction for `recipients`, who all belong to one domain.

    Returns what became of each: `Accepted`, or the error. Raises nothing of the network. The relay of the
    settings takes everything when there is one, else the domain's mail servers in the order of RFC 5321
    section 5.1. The first server that answers with a decision decides; servers that cannot be reached, that
    ask to come later or that want nothing from us are passed over for the next one.
    """
    return _Delivery(data, mail_from, list(dict.fromkeys(recipients))).run()


class _Delivery:
    """One attempt: the recipients still waiting, and what became of the others."""

    def __init__(self, data: bytes, mail_from: str, recipients: list[str]) -> None:
        self.data = data
        self.mail_from = mail_from
        self.waiting = recipients
        self.results: dict[str, Result] = {}
        self.deadline = time.monotonic() + attempt_s()

    def run(self) -> dict[str, Result]:
        last: TransportError = HostTimedOut("no mail server answered in time")
        try:
            for host in _hosts(self.waiting[0].rpartition("@")[2]):
                last = self._try(host) or last
                if not self.waiting or time.monotonic() >= self.deadline:
                    break
        except TransportError as error:
            last = error
        for recipient in self.waiting:
            self.results.setdefault(recipient, last)
        return self.results

    def _try(self, host: Host) -> TransportError | None:
        """Ask one server; returns the error that sends us on. Raises what no other server can mend."""
        try:
            answers = _hand_over(host, self)
        except TransportError as error:
            if error.temporary:
                return error
            raise
        self.results.update(answers)
        self.waiting = [who for who, each in answers.items() if not _is_decided(each)]
        return None


def _is_decided(result: Result) -> bool:
    return isinstance(result, Accepted) or not result.temporary


def attempt_s() -> float:
    """The longest an attempt may take: well inside the lease, or two workers would send one mail."""
    return min(TOTAL_S, settings.LEASE_SECONDS * 0.8)


# --- where to ---------------------------------------------------------------------------------------------


def _hosts(domain: str) -> Iterator[Host]:
    """The mail servers to try, best first. Raises TransportError."""
    relay = urlsplit(settings.DIRECT_RELAY) if settings.DIRECT_RELAY else None
    if relay is not None and relay.hostname:
        return _at_addresses([relay.hostname], relay.port or 25)
    return _at_addresses(_exchangers(domain), settings.DIRECT_MX_PORT)


def _exchangers(domain: str) -> list[str]:
    """Names of the domain's mail servers by preference; the domain itself where it names none.

    RFC 5321 section 5.1: equal preferences in random order. Raises NullMx, NoSuchDomain, NameServiceSilent.
    """
    try:
        answer = nameservice.look_up(nameservice.absolute(domain), "MX")
    except nameservice.NameServiceFailed as error:
        raise NameServiceSilent(error.detail) from error
    except nameservice.BadName as error:
        raise NoSuchDomain(str(error)) from error
    if answer.absent == "nxdomain":
        raise NoSuchDomain(f"{domain} does not exist")
    if not answer.records:
        return [domain]
    names = {(record.preference, record.exchange.to_text(True)) for record in answer.records}
    if {name for _, name in names} <= {"@", ".", ""}:
        raise NullMx(f"{domain} takes no mail")
    ordered = sorted((preference, random.random(), name) for preference, name in names)  # noqa: S311
    return [name for _, _, name in ordered if name not in ("@", ".", "")][:MAX_HOSTS]


def _at_addresses(names: Sequence[str], port: int) -> Iterator[Host]:
    """Every address of every host, looked up when its turn comes; at least one, or an error is raised."""
    failure: TransportError | None = None
    found = False
    for name in names:
        try:
            addresses = _local_addresses(name) or nameservice.addresses_of(name)
        except nameservice.NameServiceFailed as error:
            addresses, failure = (), NameServiceSilent(error.detail)
        except nameservice.BadName:
            addresses = ()
        for address in addresses[:MAX_HOSTS]:
            found = True
            yield Host(name, address, port)
    if not found:
        raise failure or NoSuchDomain(f"no mail server of {', '.join(names)} has an address")


def _local_addresses(name: str) -> tuple[str, ...]:
    """A relay may be named by the hosts file of this machine alone; a name with dots is asked for by DNS."""
    if "." in name.rstrip("."):
        return ()
    with contextlib.suppress(OSError):
        return tuple(str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    return ()


def _require_not_ours(session: smtplib.SMTP, host: Host) -> None:
    """Raise MailLoop when the connection ends at this machine's own mail door."""
    assert session.sock is not None
    here, there = session.sock.getsockname()[0], session.sock.getpeername()[0]
    doors = {25, *(door[1] for door in (settings.SMTP_LISTEN, settings.LMTP_LISTEN) if door)}
    if here == there and host.port in doors and not settings.DIRECT_RELAY:
        raise MailLoop(f"{host.name} is this machine")


# --- one connection ---------------------------------------------------------------------------------------


class _Session(smtplib.SMTP):
    """A client whose answers are bounded: a server may not fill our memory with a reply that never ends."""

    def __init__(self, host: Host, deadline: float) -> None:
        super().__init__(local_hostname=_own_name(), timeout=_left(deadline, CONNECT_S))
        # The library names the host to TLS by what its own constructor connects to.
        self._host = host.name
        self._deadline = deadline

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        # Servers let strangers wait for the greeting: that is no failed connection yet.
        sock.settimeout(_left(self._deadline, COMMAND_S))
        return sock

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _BoundedLines(self.sock.makefile("rb"))
        return super().getreply()

    def wait(self, most: float = COMMAND_S) -> None:
        """How long the next command may take."""
        if self.sock is not None:
            self.sock.settimeout(_left(self._deadline, most))


class _BoundedLines:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = MAX_REPLY_OCTETS

    def readline(self, size: int) -> bytes:
        line: bytes = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("the server never stops talking")
        if line and not line.endswith(b"\n") and len(line) < size:
            # The library would take the "2" of a line that was cut off for a yes.
            raise OSError("the reply was cut off")
        return line

    def close(self) -> None:
        self._file.close()


def _hand_over(host: Host, delivery: _Delivery) -> dict[str, Result]:
    """One transaction with one server; with TLS where offered, without where that fails.

    Raises the TransportError that holds for all recipients.
    """
    try:
        return _transaction(host, delivery, tls=True)
    except _TlsFailed:
        log.info("mail server's TLS failed, going on without", extra={"host": host.name})
        return _transaction(host, delivery, tls=False)


class _TlsFailed(Exception):
    """STARTTLS was offered and did not work: opportunistic means to send all the same (RFC 7435)."""


def _transaction(host: Host, delivery: _Delivery, *, tls: bool) -> dict[str, Result]:
    session = _Session(host, delivery.deadline)
    ended = threading.Event()
    try:
        with _ended_at(delivery.deadline, session, ended):
            _greet(session, host, tls=tls)
            return _mail(session, host, delivery)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise _broken(host, error, ended) from error
    finally:
        _hang_up(session)


def _broken(host: Host, error: Exception, ended: threading.Event) -> TransportError:
    # The library makes "disconnected" of a time-out, with the time-out as its context.
    if ended.is_set() or isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return HostTimedOut(f"{host.name} did not answer in time")
    return HostUnreachable(f"the connection to {host.name} failed: {type(error).__name__}")


def _hang_up(session: _Session) -> None:
    # What the server says to QUIT changes nothing about what it took, and nobody waits for it.
    with contextlib.suppress(OSError, smtplib.SMTPException):
        if session.sock is not None:
            session.sock.settimeout(1)
            session.quit()
    session.close()


@contextlib.contextmanager
def _ended_at(deadline: float, session: smtplib.SMTP, ended: threading.Event) -> Iterator[None]:
    """Cut the connection at `deadline`: a server that sends one octet a minute never runs into a time-out."""

    def cut() -> None:
        ended.set()
        sock = session.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.01, deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _greet(session: _Session, host: Host, *, tls: bool) -> None:
    code, text = session.connect(host.address, host.port)
    _require_not_ours(session, host)
    _require_welcome(code, text)
    _hello(session)
    if not tls or not session.has_extn("starttls"):
        return
    session.wait(TLS_S)
    try:
        session.starttls(context=_tls_context())
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise _TlsFailed from error
    _hello(session)


def _hello(session: _Session) -> None:
    session.wait()
    code, text = session.ehlo()
    if code >= 500:
        # A server that knows no extensions (RFC 5321 section 4.1.1.1).
        code, text = session.helo()
    _require_welcome(code, text)


def _require_welcome(code: int, text: bytes) -> None:
    if code // 100 != 2:
        raise (HostRefused if code >= 500 else Deferred)(_said(code, text))


def _mail(session: _Session, host: Host, delivery: _Delivery) -> dict[str, Result]:
    options = [f"SIZE={len(delivery.data)}"] if session.has_extn("size") else []
    session.wait()
    _require_sender_taken(*session.mail(delivery.mail_from, options))
    answers: dict[str, Result] = {}
    taken: list[str] = []
    for recipient in delivery.waiting:
        session.wait()
        code, text = session.rcpt(recipient)
        if code // 100 == 2:
            taken.append(recipient)
        else:
            answers[recipient] = (RecipientRejected if code >= 500 else Deferred)(_said(code, text))
    if taken:
        session.wait(TOTAL_S)
        answers.update(dict.fromkeys(taken, _data(session, host, delivery.data)))
    return answers


def _require_sender_taken(code: int, text: bytes) -> None:
    if code // 100 == 2:
        return
    if code == 552:
        # The size was announced with the sender (RFC 1870 section 6.1).
        raise MessageRejected(_said(code, text))
    raise (SenderRejected if code >= 500 else Deferred)(_said(code, text))


def _data(session: _Session, host: Host, data: bytes) -> Result:
    tls = isinstance(session.sock, ssl.SSLSocket)
    try:
        code, text = session.data(data)
    except smtplib.SMTPDataError as error:
        # The answer to DATA itself: whatever it is, the message has not been sent yet.
        code = error.smtp_code
        text = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
    else:
        if code // 100 == 2:
            return Accepted(host.name, _said(code, text), tls)
    return (MessageRejected if code >= 500 else Deferred)(_said(code, text))


def _left(deadline: float, most: float) -> float:
    return max(0.01, min(most, deadline - time.monotonic()))


def _tls_context() -> ssl.SSLContext:
    """Encryption against onlookers; the certificate is not judged, since S/MIME says who reads (RFC 7435)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _own_name() -> str:
    return urlsplit(settings.PUBLIC_URL).hostname or "localhost"


_CONTROLS = re.compile(r"[^\x20-\x7e]+")
_STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")


def _said(code: int, text: bytes) -> str:
    """A reply as operators see it: one line, printable, short."""
    return f"{code} {_CONTROLS.sub(' ', text.decode('ascii', 'replace'))}"[:200].strip()


def status_of(detail: str, otherwise: str) -> str:
    """The enhanced status code (RFC 3463) in a reply as `detail` holds it, else `otherwise`."""
    found = _STATUS.search(detail)
    return found[1] if found else otherwise
