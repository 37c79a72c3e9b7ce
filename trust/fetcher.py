"""The one way in which anything is fetched by HTTP on the word of a stranger.

Each hop is checked before it is connected to, at the very address that was checked; what comes is bounded in
octets and in time, whatever the server does; nothing is decompressed, and the environment's proxies are not
asked, since they would connect where we must not.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import SplitResult, urljoin, urlsplit

from trust import nameservice, targets

CONNECT_S = 3.0
FIRST_BYTE_S = 5.0
AT_ONCE_PER_HOST = 4
FAILURES_BEFORE_PAUSE = 5
PAUSE_S = 600.0
MAX_URL = 2000
MAX_HOSTS = 2000
PORTS = frozenset({80, 443})
USER_AGENT = "HealthVault-Direct"

_CHUNK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PLAIN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Kind:
    """What is fetched: at most so many octets, redirects and seconds; `accept` is what we ask for.

    `any_status`: the answer's status is the caller's matter, not a failure.
    """

    name: str
    max_bytes: int
    total_s: float = 10.0
    redirects: int = 0
    accept: str = "*/*"
    any_status: bool = False


AIA = Kind("aia", 256 * 1024, accept="application/pkix-cert, application/pkcs7-mime, */*")
CRL = Kind("crl", 16 * 1024 * 1024, total_s=30.0, accept="application/pkix-crl, */*")
#: A list that somebody waits for.
CRL_NOW = Kind("crl", 16 * 1024 * 1024, accept="application/pkix-crl, */*")
BUNDLE = Kind(
    "bundle",
    8 * 1024 * 1024,
    total_s=30.0,
    redirects=3,
    accept="application/octet-stream, application/x-pkcs7-certificates, application/pkcs7-mime",
)
OCSP = Kind("ocsp", 64 * 1024, accept="application/ocsp-response")
WEBHOOK = Kind("webhook", 64 * 1024, any_status=True)


@dataclass(frozen=True)
class Fetched:
    """An answer: where it came from in the end, its status, and its body as sent."""

    url: str
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


# --- what can go wrong ----------------------------------------------------------------------------------


class FetchError(Exception):
    """Nothing was fetched. `temporary`: the same may work later without anybody acting."""

    code: ClassVar[str] = "fetch_failed"
    temporary: ClassVar[bool] = False
    #: Whether it speaks against the host, which is left alone for a while after several of these.
    counts: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or self.code.replace("_", " ")
        super().__init__(self.detail)


class BadUrl(FetchError):
    """Not an http or https URL that we follow: another scheme, credentials, no host, odd characters."""

    code = "bad_url"


class Forbidden(FetchError):
    """The URL leads to an address or port that must not be reached from here."""

    code = "forbidden_address"


class NoSuchHost(FetchError):
    """The host has no address."""

    code = "no_such_host"


class NameServiceSilent(FetchError):
    """The host's address could not be found out."""

    code = "dns_failure"
    temporary = True


class Unreachable(FetchError):
    """Refused, reset, or cut before an answer came."""

    code = "unreachable"
    temporary = True
    counts = True


class TlsFailed(FetchError):
    """No TLS with a certificate of that very host."""

    code = "tls_failed"
    counts = True


class TimedOut(FetchError):
    """Not connected, not begun, or not finished in time."""

    code = "timeout"
    temporary = True
    counts = True


class NotFound(FetchError):
    """404 or 410: the host says that there is no such thing."""

    code = "not_found"


class BadStatus(FetchError):
    """Another status than 200."""

    code = "bad_status"
    temporary = True


class ServerError(BadStatus):
    """A status from 500 upwards."""

    counts = True


class Redirected(FetchError):
    """A redirect where none is followed, or one too many, or from https to http."""

    code = "redirected"


class TooLarge(FetchError):
    """More octets than this kind of thing may have."""

    code = "too_large"


class Truncated(FetchError):
    """The connection ended before the announced length."""

    code = "truncated"
    temporary = True


class Encoded(FetchError):
    """A Content-Encoding although none was accepted; it is never undone (bombs)."""

    code = "encoded"


class BadAnswer(FetchError):
    """What came is not HTTP."""

    code = "bad_answer"
    counts = True


class HostPaused(FetchError):
    """The host failed so often that it is left alone for ten minutes."""

    code = "host_paused"
    temporary = True


class HostBusy(FetchError):
    """All connections that one host gets are taken."""

    code = "host_busy"
    temporary = True


# --- fetching -------------------------------------------------------------------------------------------


def fetch(
    url: str,
    kind: Kind,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    total_s: float | None = None,
) -> Fetched:
    """What stands at `url`, by the limits of `kind` (in `total_s` seconds, if that is less).

    Never call it inside a transaction: it may take `kind.total_s`, the name service included. Raises
    FetchError.
    """
    ends = time.monotonic() + min(kind.total_s, total_s or kind.total_s)
    request = _Request(method, body, {"Accept": kind.accept, **(headers or {})})
    for _ in range(kind.redirects + 1):
        parts = _split(url)
        answer = _hop(parts, kind, request, ends)
        if answer.status not in _REDIRECTS or kind.any_status:
            return answer
        if not kind.redirects:
            break
        following = urljoin(url, answer.headers.get("location", ""))
        if parts.scheme == "https" and not following.lower().startswith("https:"):
            raise Redirected(f"from https to {following[:200]!r}")
        url = following
    raise Redirected(f"{answer.status} where no further redirect is followed")


@dataclass(frozen=True)
class _Request:
    method: str
    body: bytes | None
    headers: Mapping[str, str]


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL or not _PLAIN.fullmatch(url):
        raise BadUrl("longer than 2000 characters, or with blanks or characters that are not ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadUrl(str(error)) from error
    if parts.scheme not in ("http", "https"):
        raise BadUrl("only http and https are followed")
    if "@" in parts.netloc:
        raise BadUrl("a URL with credentials is not followed")
    if not parts.hostname or port == 0 or "\\" in parts.netloc or "%" in parts.netloc:
        raise BadUrl("no host in it")
    return parts


def _require_success(status: int) -> None:
    if status in (404, 410):
        raise NotFound(f"status {status}")
    if status != 200:
        raise (ServerError if status >= 500 else BadStatus)(f"status {status}")


def _hop(parts: SplitResult, kind: Kind, request: _Request, ends: float) -> Fetched:
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = _checked(host, port, ends)
    with _hosts.turn(f"{host}:{port}", ends):
        sock = _connected(addresses, port, ends)
        try:
            if parts.scheme == "https":
                sock = _secured(sock, host, ends)
            return _exchange(sock, parts, kind, request, ends)
        finally:
            sock.close()


def _checked(host: str, port: int, ends: float) -> tuple[str, ...]:
    try:
        return targets.require_allowed(host, port, PORTS, ends)
    except (targets.ForbiddenAddress, targets.ForbiddenPort) as error:
        raise Forbidden(error.detail) from error
    except targets.NoSuchHost as error:
        raise NoSuchHost(error.detail) from error
    except nameservice.NameServiceFailed as error:
        raise NameServiceSilent(error.detail) from error
    except nameservice.BadName as error:
        raise BadUrl(str(error)) from error


def _connected(addresses: tuple[str, ...], port: int, ends: float) -> socket.socket:
    last: FetchError = TimedOut("no time was left to connect")
    connect_ends = min(ends, time.monotonic() + CONNECT_S)
    for address in addresses:
        left = connect_ends - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, port), timeout=left)
        except TimeoutError:
            last = TimedOut(f"{address} port {port}: not connected in time")
        except OSError as error:
            last = Unreachable(f"{address} port {port}: {error.strerror or error}")
    raise last


def _secured(sock: socket.socket, host: str, ends: float) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A server that answers the handshake octet by octet is cut off like any other.
    with cut_off_at(sock, min(ends, time.monotonic() + CONNECT_S)) as fallen:
        try:
            return context.wrap_socket(sock, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise TlsFailed(f"{host}: {error.verify_message}") from error
        except TimeoutError as error:
            raise TimedOut(f"{host}: TLS not ready in time") from error
        except (OSError, ValueError) as error:
            if fallen.is_set():
                raise TimedOut(f"{host}: TLS not ready in time") from error
            raise TlsFailed(f"{host}: {getattr(error, 'reason', None) or 'no TLS'}") from error


@contextmanager
def cut_off_at(sock: socket.socket, ends: float) -> Iterator[threading.Event]:
    """Shut `sock` down at `ends`, however its time-outs are renewed; the event tells that it happened."""
    fallen = threading.Event()

    def fall() -> None:
        fallen.set()
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, ends - time.monotonic()), fall)
    timer.daemon = True
    timer.start()
    try:
        yield fallen
    finally:
        timer.cancel()


def _exchange(sock: socket.socket, parts: SplitResult, kind: Kind, request: _Request, ends: float) -> Fetched:
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    timed = _TimedSocket(sock, ends, min(ends, time.monotonic() + FIRST_BYTE_S))
    connection.sock = timed
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.putrequest(request.method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in _headers(parts, request).items():
            connection.putheader(name, value)
        connection.endheaders(request.body)
        response = connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        if response.status in _REDIRECTS:
            return Fetched(parts.geturl(), response.status, b"", answered)
        if not kind.any_status:
            _require_success(response.status)
        return Fetched(parts.geturl(), response.status, _body(response, answered, kind), answered)
    except TimeoutError as error:
        raise TimedOut(f"{parts.hostname}: {error}") from error
    except http.client.IncompleteRead as error:
        raise Truncated(f"{parts.hostname}: ended early") from error
    except (http.client.RemoteDisconnected, OSError) as error:
        raise Unreachable(f"{parts.hostname}: {error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise BadAnswer(f"{parts.hostname}: {type(error).__name__}") from error


def _headers(parts: SplitResult, request: _Request) -> dict[str, str]:
    headers = {
        "Host": parts.netloc,
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        "Connection": "close",
        **request.headers,
    }
    if request.body is not None:
        headers["Content-Length"] = str(len(request.body))
    return headers


def _body(response: http.client.HTTPResponse, answered: Mapping[str, str], kind: Kind) -> bytes:
    encoding = answered.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Encoded(f"the answer is encoded as {encoding[:40]}")
    announced = response.length
    if announced is not None and announced > kind.max_bytes:
        raise TooLarge(f"{announced} octets, at most {kind.max_bytes}")
    pieces, size = [], 0
    while piece := response.read(_CHUNK):
        size += len(piece)
        if size > kind.max_bytes:
            raise TooLarge(f"more than {kind.max_bytes} octets")
        pieces.append(piece)
    if announced is not None and size < announced:
        raise Truncated(f"{size} of {announced} octets")
    return b"".join(pieces)


class _TimedSocket:
    """What `http.client` needs of a socket, with deadlines that no trickle of octets moves."""

    def __init__(self, sock: socket.socket, ends: float, first_ends: float) -> None:
        self._sock = sock
        self._ends = ends
        self._first_ends = first_ends

    def sendall(self, data: bytes) -> None:
        # One time-out for the whole of it: `sendall` of the library counts the total.
        self._sock.settimeout(self._left(self._first_ends))
        self._sock.sendall(data)

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self), _CHUNK)

    def receive_into(self, buffer: Any, *, first: bool) -> int:
        self._sock.settimeout(self._left(self._first_ends if first else self._ends))
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        """The library closes early, when it has the headers; whoever connected closes in the end."""

    def _left(self, ends: float) -> float:
        left = min(ends, self._ends) - time.monotonic()
        if left <= 0:
            raise TimeoutError("not finished in time")
        return left


class _TimedReader(io.RawIOBase):
    def __init__(self, source: _TimedSocket) -> None:
        self._source = source
        self._first = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._source.receive_into(buffer, first=self._first)
        self._first = False
        return count


# --- hosts ----------------------------------------------------------------------------------------------


@dataclass
class _Host:
    free: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(AT_ONCE_PER_HOST)
    )
    failures: int = 0
    paused_until: float = 0.0


class _Hosts:
    """How each host did lately, in this process; the longest unused is forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Host] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, name: str, ends: float) -> Iterator[None]:
        """One of the connections that a host gets. Raises HostPaused, HostBusy."""
        host = self._host(name.lower())
        if time.monotonic() < host.paused_until:
            raise HostPaused(f"{name} failed {FAILURES_BEFORE_PAUSE} times in a row")
        if not host.free.acquire(timeout=max(0.0, ends - time.monotonic())):
            raise HostBusy(f"{name}: {AT_ONCE_PER_HOST} fetches are under way")
        try:
            yield
        except FetchError as error:
            self._failed(host, error)
            raise
        else:
            host.failures = 0
        finally:
            host.free.release()

    def _failed(self, host: _Host, error: FetchError) -> None:
        with self._lock:
            host.failures = host.failures + 1 if error.counts else 0
            if host.failures >= FAILURES_BEFORE_PAUSE:
                host.failures = 0
                host.paused_until = time.monotonic() + PAUSE_S

    def _host(self, name: str) -> _Host:
        with self._lock:
            host = self._known.setdefault(name, _Host())
            self._known.move_to_end(name)
            while len(self._known) > MAX_HOSTS:
                self._known.popitem(last=False)
            return host

    def clear(self) -> None:
        """Give every host another chance."""
        with self._lock:
            self._known.clear()


_hosts = _Hosts()


def forget_hosts() -> None:
    """Lift all pauses of this process."""
    _hosts.clear()
