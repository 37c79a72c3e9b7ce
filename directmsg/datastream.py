"""The octets of one DATA command: where they end, what is wrong with them, and where they wait.

Knows no socket and no Django. The listener feeds chunks as they come from the network; everything here
is linear in their size and holds one chunk, one unfinished line and `memory` octets at most.
"""

import enum
import io
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

CRLF = b"\r\n"
_END = b"\r\n.\r\n"
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_CHUNK = 1 << 16


class SpooledData:
    """One message on its way from the network to the store: in memory first, then in a file.

    The file has no name and is encrypted under a key that exists only in this object: the outer
    header of a message may hold a question and its answer, which must not lie on a disk in clear.
    Nothing is left of it when the process is killed.
    """

    def __init__(self, *, memory: int = 1 << 20, directory: Path | None = None) -> None:
        self.size = 0
        self._memory = memory
        self._directory = directory
        self._file: io.BytesIO | _WholeWrites = io.BytesIO()
        # The key serves one stream, so the counter may start at zero.
        self._cipher = Cipher(AES(secrets.token_bytes(32)), CTR(bytes(16)))
        self._encryptor: CipherContext | None = None

    @property
    def on_disk(self) -> bool:
        """Whether the octets have outgrown memory."""
        return self._encryptor is not None

    def write(self, data: bytes) -> None:
        """Append octets; raises OSError when the disk does not take them."""
        if self._encryptor is None and self.size + len(data) > self._memory:
            self._move_to_disk()
        self._file.write(self._encryptor.update(data) if self._encryptor else data)
        self.size += len(data)

    def _move_to_disk(self) -> None:
        in_memory = self.read_all()
        # Unbuffered: what the disk refuses must be known at once, not when the file is read.
        file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        self._file, self._encryptor = _WholeWrites(file), self._cipher.encryptor()
        self._file.write(self._encryptor.update(in_memory))

    def chunks(self) -> Iterator[bytes]:
        """The octets from the first on, in pieces of 64 KiB at most."""
        decryptor = self._cipher.decryptor() if self._encryptor else None
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            yield decryptor.update(chunk) if decryptor else chunk
        self._file.seek(0, io.SEEK_END)

    def read_all(self) -> bytes:
        """All octets at once."""
        whole = io.BytesIO()
        for chunk in self.chunks():
            whole.write(chunk)
        return whole.getvalue()

    def close(self) -> None:
        """Forget the octets; may be called again."""
        self._file.close()


class _WholeWrites:
    """A raw file that writes all of a buffer or raises: `write(2)` may take a part only."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._raw.write(rest) :]

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> None:
        self._raw.seek(offset, whence)

    def close(self) -> None:
        self._raw.close()


class Fault(enum.IntEnum):
    """What is wrong with the octets of a DATA command; of several the lowest counts."""

    BARE_NEWLINE = 1
    LINE_TOO_LONG = 2
    TOO_LARGE = 3
    HEADER_TOO_LARGE = 4
    NO_SPACE = 5


class DataScanner:
    """Reads DATA up to CR LF . CR LF and nothing else (RFC 5321 section 4.1.1.4).

    Two servers that disagree on where a message ends let a third person write mail in the name of
    the first (CVE-2023-51764), so CR and LF alone, and NUL, are faults anywhere; with `normalise`
    lone CR and LF become CR LF, but never end the data. Dots are taken out (section 4.5.2). After a
    fault the rest is still read, because the sender listens only after its last octet.

    Sizes are octets: `max_size` as RFC 1870 counts them, `max_line` with CR LF and without the dot
    (RFC 5321 section 4.5.3.1.6), `max_header` up to the empty line.
    """

    def __init__(
        self,
        data: SpooledData,
        *,
        max_size: int,
        max_line: int = 1_000,
        max_header: int = 262_144,
        normalise: bool = False,
    ) -> None:
        self.data = data
        self.fault: Fault | None = None
        self._max_size = max_size
        self._max_line = max_line
        self._max_header = max_header
        self._normalise = normalise
        self._size = 0
        self._header_size = 0
        self._in_header = True
        # An unfinished line behind the line end before it, whose `_skip` octets were taken already.
        # The line that carried the DATA command counts as the one before the first.
        self._pending = CRLF
        self._skip = len(CRLF)

    def feed(self, chunk: bytes) -> bytes | None:
        """Take octets; returns None while the end is missing, then what came behind the end."""
        block = self._pending + chunk
        end = block.find(_END)
        if end >= 0:
            self._take(block[: end + len(CRLF)])
            self._pending = b""
            return block[end + len(_END) :]
        cut = block.rfind(b"\n") + 1
        if cut > self._skip:
            self._take(block[:cut])
            self._skip = 2 if block.endswith(CRLF, 0, cut) else 1
            self._pending = block[cut - self._skip :]
        else:
            self._pending = block
        self._bound_pending()
        return None

    def _take(self, lines: bytes) -> None:
        """Check and keep whole lines; they stand behind `_skip` octets that were taken before."""
        if b"\0" in lines:
            self._found(Fault.BARE_NEWLINE)
        text = lines.replace(b"\r\n.", CRLF)[self._skip :]
        pairs = text.count(CRLF)
        if text.count(b"\r") != pairs or text.count(b"\n") != pairs:
            if not self._normalise:
                self._found(Fault.BARE_NEWLINE)
                return
            text = _BARE.sub(CRLF, text)
        if max(map(len, text.split(CRLF))) + len(CRLF) > self._max_line:
            self._found(Fault.LINE_TOO_LONG)
        self._measure(text)
        if self.fault is None:
            try:
                self.data.write(text)
            except OSError:
                self._found(Fault.NO_SPACE)

    def _measure(self, text: bytes) -> None:
        self._size += len(text)
        if self._size > self._max_size:
            self._found(Fault.TOO_LARGE)
        if self._in_header:
            empty_line = 0 if text.startswith(CRLF) else text.find(CRLF + CRLF)
            self._in_header = empty_line < 0
            self._header_size += len(text) if empty_line < 0 else empty_line and empty_line + len(CRLF)
            if self._header_size > self._max_header:
                self._found(Fault.HEADER_TOO_LARGE)

    def _bound_pending(self) -> None:
        """Let go of a line that is too long already, all but what may begin the end of data."""
        line = self._pending[self._skip :]
        if len(line) <= self._max_line + 1:  # with a doubled dot, without the LF
            return
        if b"\0" in line or (b"\r" in line[:-1] and not self._normalise):
            self._found(Fault.BARE_NEWLINE)
        self._found(Fault.LINE_TOO_LONG)
        self._pending, self._skip = self._pending[1 - len(_END) :], 0

    def _found(self, fault: Fault) -> None:
        if self.fault is None or fault < self.fault:
            self.fault = fault
            self.data.close()
