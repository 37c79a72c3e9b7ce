"""`./run bench ingest [N]`: messages over SMTP until filed, with the CPU time of all processes.

Prints, for 2 kB and 100 kB messages on SQLite (one process) and on PostgreSQL with Redis (processes
apart): messages per second, CPU milliseconds a message of the portal's processes, and that CPU time as
a multiple of a loop of bare primitives (one RSA private operation, AES-CBC, two SHA-256, one RSA public
operation) in the same run; then the memory of an idle portal and what one 25 MB message adds to it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.flows.stack import Stack, wait_until
from tests.partner import Partner

SIZES = {"2 kB": 1_000, "100 kB": 72_000}
LARGE = 13 * 1024 * 1024
SENDERS = 4
POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for database in ("SQLite", "PostgreSQL"):
        with running(database) as (stack, partner, identity, to):
            print(f"{database}: idle {memory(stack) / 2**20:.0f} MB")
            for name, size in SIZES.items():
                measure(stack, partner, identity, to, name, size, count)
            measure_large(stack, partner, identity, to)


@contextlib.contextmanager
def running(database: str) -> Iterator[tuple[Stack, Partner, bytes, str]]:
    """A portal on one of the databases, a partner it trusts, and a known address."""
    os.environ.pop("TEST_DATABASE_URL", None)
    if database == "PostgreSQL":
        os.environ["TEST_DATABASE_URL"] = os.environ.get("BENCH_DATABASE_URL", POSTGRES)
    with tempfile.TemporaryDirectory() as scratch:
        stack = Stack(Path(scratch), extra={"LOG_LEVEL": "WARNING"})
        try:
            stack.start()
            identity = stack.json("create_identity", stack.domain)["pem"].encode()
            partner = Partner(Path(scratch) / "partner")
            stack.manage(
                "import_anchor", partner.directory / "ca.pem", "--organization", partner.name, "--yes"
            )
            to = stack.account("ada@patient.example", "Ada Larch")["direct_address"]
            yield stack, partner, identity, to
        finally:
            stack.close()


def measure(
    stack: Stack, partner: Partner, identity: bytes, to: str, name: str, size: int, count: int
) -> None:
    messages = [seal(partner, identity, to, f"{name} {n}", size) for n in range(count)]
    wanted = filed(stack) + count
    before, start = cpu(stack), time.monotonic()
    with ThreadPoolExecutor(SENDERS) as senders:
        list(senders.map(lambda data: partner.send("127.0.0.1", stack.smtp_port, data, to), messages))
    wait_until("all are filed", lambda: filed(stack) == wanted, seconds=300)
    seconds, used = time.monotonic() - start, cpu(stack) - before
    bare = primitives(size)
    print(
        f"  {name:>6}: {count / seconds:6.1f} messages/s, {1000 * used / count:6.2f} ms CPU a message,"
        f" {used / count / bare:5.1f} x bare primitives ({1000 * bare:.2f} ms)"
    )


def measure_large(stack: Stack, partner: Partner, identity: bytes, to: str) -> None:
    data = seal(partner, identity, to, "large", LARGE)
    idle, highest, done = memory(stack), 0, threading.Event()

    def sample() -> None:
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, memory(stack))

    watcher = threading.Thread(target=sample)
    watcher.start()
    wanted = filed(stack) + 1
    partner.send("127.0.0.1", stack.smtp_port, data, to)
    wait_until("the large one is filed", lambda: filed(stack) == wanted, seconds=120)
    done.set()
    watcher.join()
    above = (highest - idle) / 2**20
    print(f"  {len(data) / 1e6:.0f} MB message: {above:.0f} MB above idle at most (sampled every 10 ms)")


def seal(partner: Partner, identity: bytes, to: str, subject: str, size: int) -> bytes:
    files = (("data.bin", "application/octet-stream", os.urandom(size)),) if size > 1_000 else ()
    return partner.seal(partner.compose(to, subject, "x" * min(size, 400), files), identity)


def filed(stack: Stack) -> int:
    """How many mails are filed, asked of the database itself so that the asking costs little."""
    query = "SELECT count(*) FROM directmsg_inboundmail WHERE state = 'filed'"
    if stack.apart:
        with psycopg.connect(stack.environment["DATABASE_URL"]) as connection:
            return int(connection.execute(query).fetchone()[0])  # type: ignore[index]
    with contextlib.closing(sqlite3.connect(stack.directory / "data" / "healthvault.sqlite3")) as database:
        return int(database.execute(query).fetchone()[0])


def processes(stack: Stack) -> Iterator[psutil.Process]:
    for started in stack.processes.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(started.pid)
            yield process
            yield from process.children(recursive=True)


def cpu(stack: Stack) -> float:
    """CPU seconds, user and system, of all the portal's processes so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes(stack))


def memory(stack: Stack) -> int:
    """Resident bytes of all the portal's processes, shared pages counted once each."""
    return sum(process.memory_full_info().uss for process in processes(stack))


def primitives(size: int) -> float:
    """CPU seconds of the bare cryptography of one message."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    body, content_key = os.urandom(max(size * 4 // 3, 1024) // 16 * 16), os.urandom(16)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = key.public_key().encrypt(content_key, oaep)
    signature = key.sign(body, padding.PKCS1v15(), hashes.SHA256())
    rounds, start = 50, time.process_time()
    for _ in range(rounds):
        opened = key.decrypt(wrapped, oaep)
        decryptor = Cipher(algorithms.AES(opened), modes.CBC(bytes(16))).decryptor()
        decryptor.update(body)
        decryptor.finalize()
        digest = hashes.Hash(hashes.SHA256())
        digest.update(body)
        digest.finalize()
        key.public_key().verify(signature, body, padding.PKCS1v15(), hashes.SHA256())
    return (time.process_time() - start) / rounds


if __name__ == "__main__":
    main()
