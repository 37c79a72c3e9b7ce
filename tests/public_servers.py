"""BIND 9 and OpenLDAP as throw-away processes on 127.0.0.1: what others publish our certificates with."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.tools import missing, need, run

#: Generous: a machine at work on other things starts a server slowly.
READY_S = 60.0
PORTS_TRIED = 5


# --- BIND 9 ---------------------------------------------------------------------------------------------

_NAMED_CONF = """
options {{
    directory "{dir}";
    pid-file "{dir}/named.pid";
    session-keyfile "{dir}/session.key";
    managed-keys-directory "{dir}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    allow-query {{ any; }};
    recursion no;
    dnssec-validation no;
    notify no;
}};
controls {{ }};
"""
_NAMED_ZONE = 'zone "{name}" {{ type primary; file "{file}"; }};\n'


@contextlib.contextmanager
def bind9(directory: Path, zones: dict[str, str]) -> Iterator[tuple[str, int]]:
    """A BIND 9 that is the authority for `zones` (name to the text of its file); where it listens.

    Each zone is read by `named-checkzone` before, so that a fault in it is told in its own words.
    """
    named, checkzone = need("named"), need("named-checkzone")
    listed = ""
    for name, text in zones.items():
        file = directory / f"{name}.zone"
        file.write_text(text)
        run(checkzone, "-q", "-w", str(directory), name, str(file))
        listed += _NAMED_ZONE.format(name=name, file=file)

    def start(port: int) -> list[str]:
        conf = directory / "named.conf"
        conf.write_text(_NAMED_CONF.format(dir=directory, port=port) + listed)
        return [named, "-g", "-n", "1", "-c", str(conf)]

    first = next(iter(zones))
    with _running(start, lambda port: _answers(first, port), directory / "named.log") as port:
        yield "127.0.0.1", port


def _answers(zone: str, port: int) -> bool:
    query = dns.message.make_query(zone, "SOA")
    try:
        return bool(dns.query.tcp(query, "127.0.0.1", timeout=1, port=port).answer)
    except (OSError, EOFError, dns.exception.DNSException):
        return False


# --- OpenLDAP -------------------------------------------------------------------------------------------

_SLAPD_CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {dir}/slapd.pid
database mdb
suffix "{suffix}"
rootdn "cn=admin,{suffix}"
directory {dir}/db
"""


@contextlib.contextmanager
def openldap(directory: Path, suffix: str, ldif: str) -> Iterator[int]:
    """An OpenLDAP server that holds `ldif` below `suffix`; its port."""
    slapd, slapadd = need("slapd"), need("slapadd")
    (directory / "db").mkdir()
    conf = directory / "slapd.conf"
    conf.write_text(_SLAPD_CONF.format(dir=directory, suffix=suffix))
    _require_database(slapd, conf)
    run(slapadd, "-f", conf, data=ldif.encode())

    def start(port: int) -> list[str]:
        return [slapd, "-f", str(conf), "-h", f"ldap://127.0.0.1:{port}/", "-d", "0"]

    with _running(start, _listens, directory / "slapd.log") as port:
        yield port


def _require_database(slapd: str, conf: Path) -> None:
    """The server tests its settings: without its schema or database module it is as good as missing."""
    tested = subprocess.run([slapd, "-T", "test", "-u", "-f", str(conf)], capture_output=True, check=False)
    if tested.returncode:
        missing(f"slapd does not work here: {tested.stderr.decode(errors='replace')[-200:]}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- processes ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _running(start: Callable[[int], list[str]], ready: Callable[[int], bool], log: Path) -> Iterator[int]:
    """A server on a port of its own, once it answers. If another takes the port first, the next is tried."""
    for _ in range(PORTS_TRIED):
        port = _free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(start(port), stdout=output, stderr=subprocess.STDOUT)
        try:
            if _became_ready(process, lambda at=port: ready(at)):
                yield port
                return
        finally:
            process.terminate()
            process.wait(30)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def _became_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    ends = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < ends:
        if ready():
            return True
        time.sleep(0.05)
    return False


def _free_port() -> int:
    """A port that is free for datagrams and for streams."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port
