"""End of data, line ends, sizes and spooling, without a socket."""

import hashlib
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directmsg.datastream import DataScanner, Fault, SpooledData

LIMITS = {"max_size": 10_000, "max_line": 12, "max_header": 10_000}


def scan(chunks, **options):
    scanner = DataScanner(SpooledData(), **{**LIMITS, **options})
    rest = None
    for chunk in chunks:
        assert rest is None
        rest = scanner.feed(chunk)
    return scanner, rest


def scan_whole(wire, **options):
    scanner, rest = scan([wire], **options)
    return scanner.fault, None if scanner.fault else scanner.data.read_all(), rest


def expected(wire, normalise):
    """The rules written down naively, over the whole stream at once."""
    stream = b"\r\n" + wire
    end = stream.find(b"\r\n.\r\n")
    if end < 0:
        return None
    text = re.sub(rb"\r\n\.", b"\r\n", stream[: end + 2])[2:]
    bare = b"\0" in text or (not normalise and re.search(rb"\r(?!\n)|(?<!\r)\n", text))
    text = re.sub(rb"\r(?!\n)|(?<!\r)\n", b"\r\n", text)
    fault = Fault.BARE_NEWLINE if bare else None
    if fault is None and any(len(line) > 10 for line in text.split(b"\r\n")):
        fault = Fault.LINE_TOO_LONG
    return fault, None if fault else text, stream[end + 5 :]


PIECES = st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"bcdefgh", b"\r\n.\r\n", b"\r\n.."])


@given(st.lists(PIECES, max_size=30).map(b"".join), st.booleans(), st.data())
def test_any_cutting_into_chunks_gives_what_the_whole_gives(wire, normalise, data):
    wanted = expected(wire, normalise)
    scanner = DataScanner(SpooledData(), normalise=normalise, **LIMITS)
    at, rest = 0, None
    while rest is None and at < len(wire):
        step = data.draw(st.integers(1, 9))
        rest = scanner.feed(wire[at : at + step])
        at += step
    if wanted is None:
        assert rest is None
        return
    fault, text, behind = wanted
    assert (scanner.fault, rest + wire[at:]) == (fault, behind)
    assert fault or scanner.data.read_all() == text


@pytest.mark.parametrize(
    "wire",
    [
        b"a\n.\nb\r\n.\r\n",
        b"a\r.\rb\r\n.\r\n",
        b"a\n.\r\nb\r\n.\r\n",
        b"a\r\n.\nb\r\n.\r\n",
        b"a\r\n.\rb\r\n.\r\n",
        b"a\r.\r\nb\r\n.\r\n",
        b"a\0b\r\n.\r\n",
        b"\n.\r\n\r\n.\r\n",
        b"a" * 40 + b"\rb\r\n.\r\n",
        b"a" * 40 + b"\r\n\0\r\n.\r\n",
    ],
)
def test_a_line_end_that_is_not_cr_lf_is_a_fault_and_never_the_end(wire):
    assert scan_whole(wire) == (Fault.BARE_NEWLINE, None, b"")


def test_normalising_repairs_line_ends_but_not_the_end_of_data():
    assert scan_whole(b"a\nb\n.\nc\rd\r\n.\r\n", normalise=True) == (None, b"a\r\nb\r\n.\r\nc\r\nd\r\n", b"")
    assert scan_whole(b"a\0\r\n.\r\n", normalise=True)[0] is Fault.BARE_NEWLINE


def test_dots_are_taken_out_and_an_empty_message_is_one():
    assert scan_whole(b"..a\r\n...\r\n.b\r\n.\r\nQUIT") == (None, b".a\r\n..\r\nb\r\n", b"QUIT")
    assert scan_whole(b".\r\n") == (None, b"", b"")


def test_each_limit_holds_to_the_octet():
    assert scan_whole(b"." + b"." * 10 + b"\r\n.\r\n")[:2] == (None, b"." * 10 + b"\r\n")
    assert scan_whole(b"x" * 11 + b"\r\n.\r\n")[0] is Fault.LINE_TOO_LONG
    assert scan_whole(b"12345678\r\n.\r\n", max_size=10)[0] is None
    assert scan_whole(b"123456789\r\n.\r\n", max_size=10)[0] is Fault.TOO_LARGE
    header = b"A: 1\r\nB: 2\r\n"
    assert scan_whole(header + b"\r\n" + b"text\r\n" * 9 + b".\r\n", max_header=12)[0] is None
    assert scan_whole(header + b"\r\n.\r\n", max_header=11)[0] is Fault.HEADER_TOO_LARGE
    assert scan_whole(b"a\r\n" * 9 + b"\r\n.\r\n", max_header=26)[0] is Fault.HEADER_TOO_LARGE
    assert scan([header[:6], header[6:], b"\r\n.\r\n"], max_header=11)[0].fault is Fault.HEADER_TOO_LARGE


def test_a_line_without_end_does_not_grow_in_memory():
    scanner = DataScanner(SpooledData(), **LIMITS)
    for _ in range(1000):
        assert scanner.feed(b"x" * 1000) is None
    assert len(scanner._pending) < 10
    assert (scanner.feed(b"\r\n.\r\n"), scanner.fault) == (b"", Fault.LINE_TOO_LONG)


def test_large_data_goes_to_an_encrypted_file_without_name(tmp_path):
    block = b"a marked line of plain text\r\n" * 4000
    data = SpooledData(memory=1 << 16, directory=tmp_path)
    for _ in range(5):
        data.write(block)
    assert data.on_disk
    assert data.size == len(block) * 5
    assert hashlib.sha256(b"".join(data.chunks())).digest() == hashlib.sha256(block * 5).digest()
    data.write(b"and more")
    assert data.read_all() == block * 5 + b"and more"
    assert list(tmp_path.iterdir()) == []
    data._file.seek(0)
    on_disk = data._file.read()
    assert len(on_disk) == data.size
    assert b"marked" not in on_disk
    data.close()
    data.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_a_fault_of_ours(monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: open("/dev/full", "r+b", 0))  # noqa: SIM115
    scanner = DataScanner(SpooledData(memory=20), **LIMITS)
    assert scanner.feed(b"12345678\r\n" * 5 + b".\r\n") == b""
    assert scanner.fault is Fault.NO_SPACE
