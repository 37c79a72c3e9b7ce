"""`./run bench agent`: CPU time to open a message as it came by wire, and to seal one.

Opening is `open_message`: base64, decrypted, verified, unwrapped, trusted with the verdict on the signer's
certificate known. Sealing is `seal_message`. At 2 kB, 100 kB and 25 MB, with opening also in the pieces of
1,000 octets that streaming agents send, beside the bare primitives (one RSA private operation, AES, SHA-256,
one RSA public operation) and, where gcc and the headers of OpenSSL are there, beside a C loop over OpenSSL's
CMS functions, which is spared all of MIME and base64. Then how time grows up to 35 MB, the time of failures
beside one another, and the memory that one message of 25 MB takes. Times are medians; on other machines only
the ratios hold.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pybase64
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from directmsg.agent import cms
from directmsg.agent.address import Mailbox
from directmsg.agent.errors import CannotDecrypt
from directmsg.agent.incoming import Recipient, open_message
from directmsg.agent.message import NewAttachment, build_message
from directmsg.agent.outgoing import seal_message, sign_entity, wrap
from tests.cms_peers import stream_envelope, stream_signature
from tests.pki_factory import issue, make_ca, utc_now
from trust import verdicts
from trust.pki.certs import Certificate
from trust.pki.policy import TrustContext

SIZES = {"2 kB": (2_000, 400), "100 kB": (100_000, 300), "25 MB": (25_000_000, 9)}
#: What the worker runs with: the allocator keeps large blocks instead of giving them back each time.
WORKER_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def cpu_us(work: Callable[[], object], rounds: int) -> float:
    """CPU time of one call in microseconds: the lower quartile, since other work on a machine only adds."""
    times = []
    for _ in range(rounds):
        started = time.process_time_ns()
        work()
        times.append((time.process_time_ns() - started) / 1e3)
    return sorted(times)[len(times) // 4]


def in_turns(works: dict[str, Callable[[int], float]], rounds: int, turns: int = 4) -> dict[str, float]:
    """The least of some measurements of each, all taken in turns so that a busy moment hits none alone."""
    figures = dict.fromkeys(works, float("inf"))
    for _ in range(turns):
        for name, work in works.items():
            figures[name] = min(figures[name], work(max(3, rounds // turns)))
    return figures


class Mail:
    """One message of about `size` octets, written, sealed, and ready to be opened."""

    def __init__(self, size: int) -> None:
        ca = make_ca("Bench CA")
        self.person = issue(ca, domains=["direct.example.org"])
        self.identity = cms.Identity(self.person.certificate, self.person.private_key)
        self.at = utc_now()
        trust = TrustContext((Certificate(ca.der),))
        self.recipient = Recipient("ann@direct.example.org", (self.identity,), trust)
        self.message = self._written(size)
        self.wire = self.seal()
        entity = wrap(self.message)
        self.signed = sign_entity(entity, self.identity, at=self.at)
        self.start = self.signed.index(entity)
        self.end = self.start + len(entity)
        self.signature = cms.sign(entity, self.identity, at=self.at)
        self.envelope = cms.encrypt(self.signed, [self.person.certificate])
        self.key = os.urandom(16)
        sha256 = hashes.SHA256()
        self.oaep = padding.OAEP(padding.MGF1(sha256), sha256, None)
        self.encrypted_key = self.person.certificate.public_key().encrypt(self.key, self.oaep)

    def _written(self, size: int) -> bytes:
        attachment = NewAttachment("scan.pdf", "application/pdf", os.urandom(max(1, (size - 600) * 3 // 4)))
        return build_message(
            sender=Mailbox("", "joe@direct.example.org"),
            to=[Mailbox("", "ann@direct.example.org")],
            subject="Lamp oil",
            date=self.at,
            message_id="bench@direct.example.org",
            text="Lamp oil, twelve candles, a ball of string and the blue kettle.",
            attachments=[attachment],
        )

    def seal(self) -> bytes:
        return seal_message(
            self.message,
            signer=self.identity,
            recipient_certificates=[self.person.certificate],
            at=self.at,
        )

    def in_pieces(self) -> bytes:
        """The same message with envelope and signature as streaming agents write them."""
        part = stream_signature(self.signature)
        signed = self.signed.replace(base64_lines(self.signature), base64_lines(part))
        envelope = stream_envelope(cms.encrypt(signed, [self.person.certificate]), 1000)
        head = self.wire.partition(b"\r\n\r\n")[0]
        return head + b"\r\n\r\n" + base64_lines(envelope)

    def open(self, wire: bytes) -> None:
        opened = open_message(
            wire,
            mail_from="joe@direct.example.org",
            recipients=[self.recipient],
            at=self.at,
            verify=verdicts.verify,
        )
        assert opened.wrapped

    def primitives(self, sealed: bytes, room: bytearray, signature: bytes) -> None:
        self.person.private_key.decrypt(self.encrypted_key, self.oaep)
        decryptor = Cipher(AES(self.key), modes.CBC(bytes(16))).decryptor()
        decryptor.update_into(sealed, room)
        running = hashes.Hash(hashes.SHA256())
        running.update(memoryview(room)[: len(sealed)])
        running.finalize()
        self.person.certificate.public_key().verify(signature, b"x", padding.PKCS1v15(), hashes.SHA256())


def base64_lines(octets: bytes) -> bytes:
    return pybase64.encodebytes(octets).replace(b"\n", b"\r\n")


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
    pieces = mail.in_pieces()
    sealed = bytes(size + 16 - size % 16)
    room = bytearray(len(sealed) + 16)
    signature = mail.person.private_key.sign(b"x", padding.PKCS1v15(), hashes.SHA256())
    mail.open(mail.wire)  # the verdict on the signer is known from here on
    mail.open(pieces)
    works: dict[str, Callable[[int], float]] = {
        "open_us": partial(cpu_us, lambda: mail.open(mail.wire)),
        "open_pieces_us": partial(cpu_us, lambda: mail.open(pieces)),
        "seal_us": partial(cpu_us, mail.seal),
        "primitives_us": partial(cpu_us, lambda: mail.primitives(sealed, room, signature)),
    }
    if program:
        files = {"envelope": mail.envelope, "signature": mail.signature, "signed": mail.signed}
        files |= {"identity": mail.person.pem + mail.person.key_pem, "wire": mail.wire, "pieces": pieces}
        files["entity"] = wrap(mail.message)
        for name, octets in files.items():
            (directory / name).write_bytes(octets)
        works |= c_works(program, directory, mail)
    figures = in_turns(works, rounds)
    ratios = {
        "pieces_to_der": ("open_pieces_us", "open_us"),
        "open_to_primitives": ("open_us", "primitives_us"),
        "open_to_c": ("open_us", "c_open_us"),
        "open_to_c_without_mime": ("open_us", "c_open_cms_us"),
        "seal_to_c": ("seal_us", "c_seal_us"),
        "seal_to_c_without_mime": ("seal_us", "c_seal_cms_us"),
    }
    for name, (above, below) in ratios.items():
        if below in figures:
            figures[name] = figures[above] / figures[below]
    return {name: round(value, 2) for name, value in figures.items()}


def c_works(program: Path, directory: Path, mail: Mail) -> dict[str, Callable[[int], float]]:
    """The C loop's measurements, each of so many rounds as it is asked for."""

    def run(work: str, names: Sequence[str], *more: int) -> Callable[[int], float]:
        def once(rounds: int) -> float:
            command = [program, work, *(directory / name for name in names), "identity", rounds, *more]
            done = subprocess.run(
                list(map(str, command)), capture_output=True, check=True, text=True, cwd=directory
            )
            return float(done.stdout)

        return once

    return {
        "c_open_us": run("open", ["wire"]),
        "c_open_cms_us": run("open-cms", ["envelope", "signature"], mail.start, mail.end),
        "c_seal_us": run("seal", ["entity"]),
        "c_seal_cms_us": run("seal-cms", ["signed"]),
    }


def growth() -> dict[str, float]:
    """Milliseconds to open messages in pieces of 1,000 octets, by their size: in proportion to it."""
    figures = {}
    for size in (4_000_000, 10_000_000, 18_000_000, 25_000_000):
        mail = Mail(size)
        pieces = mail.in_pieces()
        mail.open(pieces)
        work = partial(mail.open, pieces)
        figures[f"{len(pieces) / 1e6:.0f} MB by wire"] = round(cpu_us(work, 3) / 1e3, 1)
    return figures


def failures(rounds: int = 200) -> dict[str, float]:
    """Median time of ways to fail, as multiples of a success. They should not be told apart by it."""
    mail = Mail(2_000)
    content = bytes(20_000)
    stranger = issue(make_ca("Bench CA"), emails=["eve@direct.example.org"], fresh_key=True)
    figures: dict[str, float] = {}
    for transport in ("oaep-sha256", "pkcs1v15"):
        envelope = cms.encrypt(content, [mail.person.certificate], key_transport=transport)
        key_at = len(envelope) - 20_000 - 150
        bad_key = envelope[:key_at] + bytes((envelope[key_at] ^ 1,)) + envelope[key_at + 1 :]
        bad_end = bytearray(envelope)
        bad_end[-17] ^= 16 - len(content) % 16
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
    for name in ("wire", "pieces"):
        script = (
            "import sys; from pathlib import Path; from cryptography import x509\n"
            "from cryptography.hazmat.primitives.serialization import load_pem_private_key\n"
            "from bench.agent import peak_kb; from directmsg.agent import cms, incoming\n"
            "from tests.pki_factory import utc_now; from trust.pki.policy import TrustContext\n"
            "here = Path(sys.argv[1]); pem = (here / 'identity').read_bytes()\n"
            "who = cms.Identity(x509.load_pem_x509_certificate(pem), load_pem_private_key(pem, None))\n"
            "mine = incoming.Recipient('ann@direct.example.org', (who,), TrustContext(()))\n"
            "idle = peak_kb()\n"
            "raw = (here / sys.argv[2]).read_bytes()\n"
            "report = incoming.examine(raw, mail_from=None, recipients=[mine], at=utc_now())\n"
            "assert report.signers[0].verified and report.message.wrapped\n"
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
        print("growth, in pieces, ms", json.dumps(growth()))
        print("failures, as multiples of a success", json.dumps(failures()))
        if program:
            memory(directory)


if __name__ == "__main__":
    main()
