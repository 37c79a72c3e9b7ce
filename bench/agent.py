"""`./run bench agent`: CPU time to decrypt an envelope and verify the signature on what was in it.

For 2 kB, 100 kB and 25 MB, in DER and in the pieces of 1,000 octets that streaming agents send, beside the
bare primitives (one RSA private operation, AES, SHA-256, one RSA public operation) and, where gcc and the
headers of OpenSSL are there, beside a C loop over OpenSSL's CMS functions. Then the time of failures beside
one another, and the memory that one message of 25 MB takes. Times are medians; on other machines only the
ratios hold.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from directmsg.agent import cms
from directmsg.agent.errors import CannotDecrypt
from tests.cms_peers import stream_envelope
from tests.pki_factory import issue, make_ca, utc_now

SIZES = {"2 kB": (2_000, 400), "100 kB": (100_000, 300), "25 MB": (25_000_000, 9)}
#: What the worker runs with: the allocator keeps large blocks instead of giving them back each time.
WORKER_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def cpu_us(work: Callable[[], object], rounds: int) -> float:
    """Median CPU time of one call, in microseconds."""
    times = []
    for _ in range(rounds):
        started = time.process_time_ns()
        work()
        times.append((time.process_time_ns() - started) / 1e3)
    return statistics.median(times)


class Mail:
    """One message of `size` octets, ready to be opened."""

    def __init__(self, size: int) -> None:
        self.person = issue(make_ca("Bench CA"), emails=["ann@direct.example.org"])
        self.identity = cms.Identity(self.person.certificate, self.person.private_key)
        line = b"Lamp oil, twelve candles, a ball of string and the blue kettle.\r\n"
        self.content = (line * (size // len(line) + 1))[:size]
        self.signature = cms.sign(self.content, self.identity, at=utc_now())
        self.envelope = cms.encrypt(self.content, [self.person.certificate])
        self.key = os.urandom(16)
        sha256 = hashes.SHA256()
        self.oaep = padding.OAEP(padding.MGF1(sha256), sha256, None)
        self.encrypted_key = self.person.certificate.public_key().encrypt(self.key, self.oaep)

    def open(self, envelope: bytes) -> None:
        opened = cms.decrypt(envelope, [self.identity])
        (signer,) = cms.verify(cms.read_signed(self.signature), opened.content)
        assert isinstance(signer, cms.VerifiedSigner)

    def primitives(self, sealed: bytes, room: bytearray, signature: bytes) -> None:
        self.person.private_key.decrypt(self.encrypted_key, self.oaep)
        decryptor = Cipher(AES(self.key), modes.CBC(bytes(16))).decryptor()
        decryptor.update_into(sealed, room)
        running = hashes.Hash(hashes.SHA256())
        running.update(memoryview(room)[: len(sealed)])
        running.finalize()
        self.person.certificate.public_key().verify(signature, b"x", padding.PKCS1v15(), hashes.SHA256())


def c_loop(directory: Path) -> Path | None:
    """The C program, or None when it cannot be built here."""
    program = directory / "cms_loop"
    source = Path(__file__).with_name("cms_loop.c")
    if shutil.which("gcc") is None:
        return None
    built = subprocess.run(
        ["gcc", "-O2", "-o", program, source, "-lcrypto"], capture_output=True, check=False
    )
    return program if built.returncode == 0 else None


def measure(size: int, rounds: int, program: Path | None, directory: Path) -> dict[str, float]:
    mail = Mail(size)
    pieces = stream_envelope(mail.envelope, 1000)
    sealed = bytes(size + 16 - size % 16)
    room = bytearray(len(sealed) + 16)
    signature = mail.person.private_key.sign(b"x", padding.PKCS1v15(), hashes.SHA256())
    ours = cpu_us(lambda: mail.open(mail.envelope), rounds)
    figures = {
        "ours_us": ours,
        "ours_pieces_us": cpu_us(lambda: mail.open(pieces), rounds),
        "primitives_us": cpu_us(lambda: mail.primitives(sealed, room, signature), rounds),
    }
    figures["pieces_to_der"] = figures["ours_pieces_us"] / ours
    figures["to_primitives"] = ours / figures["primitives_us"]
    if program:
        files = {"envelope": mail.envelope, "signature": mail.signature, "pieces": pieces}
        files["identity"] = mail.person.pem + mail.person.key_pem
        for name, octets in files.items():
            (directory / name).write_bytes(octets)
        figures["c_us"] = run_c(program, directory, "envelope", rounds)
        figures["c_pieces_us"] = run_c(program, directory, "pieces", rounds)
        figures["to_c"] = ours / figures["c_us"]
        figures["pieces_to_c_pieces"] = figures["ours_pieces_us"] / figures["c_pieces_us"]
    return {name: round(value, 2) for name, value in figures.items()}


def run_c(program: Path, directory: Path, envelope: str, rounds: int) -> float:
    command = [program, directory / envelope, directory / "signature", directory / "identity", str(rounds)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def failures(rounds: int = 200) -> dict[str, float]:
    """Median time of ways to fail, as multiples of a success. They should not be told apart by it."""
    mail = Mail(20_000)
    stranger = issue(make_ca("Bench CA"), emails=["eve@direct.example.org"], fresh_key=True)
    figures: dict[str, float] = {}
    for transport in ("oaep-sha256", "pkcs1v15"):
        envelope = cms.encrypt(mail.content, [mail.person.certificate], key_transport=transport)
        key_at = len(envelope) - 20_000 - 150
        bad_key = envelope[:key_at] + bytes((envelope[key_at] ^ 1,)) + envelope[key_at + 1 :]
        bad_end = bytearray(envelope)
        bad_end[-17] ^= 16 - len(mail.content) % 16
        elsewhere = [cms.Identity(stranger.certificate, stranger.private_key)]
        success = cpu_us(lambda sent=envelope: cms.decrypt(sent, [mail.identity]), rounds)
        for name, sent, identities in (
            ("wrong_key", bad_key, [mail.identity]),
            ("wrong_padding", bytes(bad_end), [mail.identity]),
            ("not_for_us", envelope, elsewhere),
        ):
            figures[f"{transport} {name}"] = round(
                cpu_us(lambda sent=sent, by=identities: fail(sent, by), rounds) / success, 2
            )
    return figures


def fail(envelope: bytes, identities: list[cms.Identity]) -> None:
    try:
        cms.decrypt(envelope, identities)
    except CannotDecrypt:
        return
    raise AssertionError("this should not open")


def peak_kb() -> int:
    """Most memory this program has held; what `getrusage` says includes the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def memory(directory: Path) -> None:
    """In a process of its own: what reading and opening a message adds to what the idle process takes."""
    for name in ("envelope", "pieces"):
        script = (
            "import sys; from pathlib import Path; from cryptography import x509\n"
            "from cryptography.hazmat.primitives.serialization import load_pem_private_key\n"
            "from bench.agent import peak_kb; from directmsg.agent import cms\n"
            "here = Path(sys.argv[1]); pem = (here / 'identity').read_bytes()\n"
            "who = cms.Identity(x509.load_pem_x509_certificate(pem), load_pem_private_key(pem, None))\n"
            "idle = peak_kb()\n"
            "envelope = (here / sys.argv[2]).read_bytes(); read = peak_kb()\n"
            "opened = cms.decrypt(envelope, [who])\n"
            "(done,) = cms.verify(cms.read_signed((here / 'signature').read_bytes()), opened.content)\n"
            "assert isinstance(done, cms.VerifiedSigner)\n"
            "print((peak_kb() - idle) // 1024)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, directory, name], capture_output=True, check=True, text=True
        )
        print(f"memory 25 MB, {name}: {done.stdout.strip()} MB above idle, message included")


def main() -> None:
    if any(os.environ.get(name) != value for name, value in WORKER_MALLOC.items()):
        os.execve(sys.executable, [sys.executable, "-m", "bench.agent"], {**os.environ, **WORKER_MALLOC})
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = c_loop(directory)
        if program is None:
            print("no C loop: needs gcc and the headers of OpenSSL", file=sys.stderr)
        for label, (size, rounds) in SIZES.items():
            print(label, json.dumps(measure(size, rounds, program, directory)))
        print("failures, as multiples of a success", json.dumps(failures()))
        if program:
            memory(directory)


if __name__ == "__main__":
    main()
