"""The reader of BER and DER, and the writer of DER."""

from __future__ import annotations

import contextlib
import datetime

import pytest
from asn1crypto import core
from hypothesis import given, settings
from hypothesis import strategies as st

from directmsg.agent import ber, der
from directmsg.agent.ber import Octets, Reader
from directmsg.agent.errors import AgentError, Malformed, TooLarge

EOC = b"\x00\x00"


def indefinite(tag: int, *parts: bytes) -> bytes:
    return bytes((tag, 0x80)) + b"".join(parts) + EOC


def in_pieces(octets: bytes, size: int, *, open_ended: bool = True) -> bytes:
    pieces = [der.octet_string(octets[at : at + size]) for at in range(0, len(octets), size)]
    return indefinite(0x24, *pieces) if open_ended else der.element(0x24, *pieces)


def read_octets(encoded: bytes) -> Octets:
    reader = Reader(encoded)
    octets = reader.octets()
    reader.finish()
    return octets


# --- walking --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_walks_definite_and_indefinite_elements_alike(kind):
    inside = der.integer(7) + der.octet_string(b"abc")
    for encoded in (der.sequence(inside), indefinite(0x30, inside), b"\x30\x84\x00\x00\x00\x08" + inside):
        reader = Reader(kind(encoded))
        reader.enter(ber.SEQUENCE)
        assert reader.tag() == ber.INTEGER
        assert reader.number() == 7
        assert reader.small(ber.OCTET_STRING) == b"abc"
        assert reader.tag() == ber.END
        reader.leave()
        reader.finish()


def test_raw_gives_what_came_and_skips_what_is_open_inside():
    inner = indefinite(0xA0, indefinite(0x30, der.integer(1)), der.octet_string(EOC * 3))
    reader = Reader(indefinite(0x30, inner, der.integer(2)))
    reader.enter(ber.SEQUENCE)
    assert reader.raw() == inner
    assert reader.number() == 2
    reader.leave()
    reader.finish()


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x30",
        b"\x30\x01",  # longer than what there is
        b"\x30\x80",  # no end of contents
        b"\x30\x80\x00",
        b"\x30\x81",  # length cut off
        b"\x30\x85\x00\x00\x00\x00\x00",  # length of five octets
        b"\x30\xff" + bytes(0x7F),  # reserved length
        b"\x04\x80\x00\x00",  # primitive and indefinite
        b"\x3f\x81\x01\x00",  # tag of several octets
        b"\x30\x02\x00\x00",  # end of contents in a definite element
        b"\x30\x03\x02\x02\x01",  # child longer than its parent
        b"\x30\x80\x30\x02\x02\x05" + EOC,
    ],
)
def test_broken_elements_are_refused(encoded):
    with pytest.raises(Malformed):
        reader = Reader(encoded)
        reader.enter(ber.SEQUENCE)
        while reader.tag() != ber.END:
            reader.enter(ber.SEQUENCE) if reader.tag() == ber.SEQUENCE else reader.primitive(reader.tag())
        reader.leave()
        reader.finish()


def test_nothing_may_be_left_over():
    reader = Reader(der.sequence(der.integer(1)) + b"\x00")
    reader.skip()
    with pytest.raises(Malformed):
        reader.finish()
    reader = Reader(der.sequence(der.integer(1)))
    reader.enter(ber.SEQUENCE)
    with pytest.raises(Malformed):
        reader.leave()


def test_a_child_of_an_open_element_ends_within_the_nearest_known_end():
    # The inner element claims octets that belong to its grandparent's neighbour.
    reader = Reader(der.sequence(b"\x30\x80\x04\x04ab") + b"cd" + EOC)
    reader.enter(ber.SEQUENCE)
    reader.enter(ber.SEQUENCE)
    with pytest.raises(Malformed):
        reader.primitive(ber.OCTET_STRING)


# --- bounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["skip", "octets", "from_ber", "enter"])
def test_deep_nesting_is_refused_without_recursion(step):
    tag = 0x24 if step == "octets" else 0x30
    encoded = bytes((tag, 0x80)) * 100_000
    with pytest.raises(Malformed):
        if step == "from_ber":
            der.from_ber(encoded)
        elif step == "enter":
            reader = Reader(encoded)
            while True:
                reader.enter(tag)
        else:
            getattr(Reader(encoded), step)()


def test_elements_are_counted():
    encoded = der.sequence(*[der.NULL] * 100)
    reader = Reader(encoded, max_elements=50)
    reader.enter(ber.SEQUENCE)
    with pytest.raises(TooLarge):
        while True:
            reader.skip()
    with pytest.raises(TooLarge):
        Reader(in_pieces(bytes(100), 1), max_elements=50).octets()
    with pytest.raises(TooLarge):
        Reader(indefinite(0x24, b"\x04\x00" * (ber.MAX_ELEMENTS + 1))).octets()


def nested(depth: int, leaves: int) -> bytes:
    """Open elements in one another, each with leaves before and after what it holds."""
    leaf = der.integer(1) * leaves
    return (b"\x30\x80" + leaf) * depth + (leaf + EOC) * depth


@pytest.mark.parametrize("step", ["skip", "from_ber", "walk"])
def test_every_header_is_read_once_however_deep_it_lies(step):
    """Work, counted in elements, grows with the octets and not with octets times depth."""

    def work(depth: int) -> int:
        encoded = nested(depth, 40)
        reader = Reader(encoded)
        if step == "skip":
            reader.skip()
        elif step == "walk":
            _walk(reader)
        else:
            counted = []
            original = Reader._header

            def header(self: Reader) -> int:
                counted.append(1)
                return original(self)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Reader, "_header", header)
                der.from_ber(encoded)
            return len(counted)
        reader.finish()
        return ber.MAX_ELEMENTS - reader.elements_left

    for depth in (4, 8, 16, 30):
        assert work(depth) == depth * 81


def _walk(reader: Reader) -> None:
    depth = 0
    while True:
        tag = reader.tag()
        if tag == ber.END:
            reader.leave()
            depth -= 1
            if not depth:
                return
        elif tag == ber.SEQUENCE:
            reader.enter(tag)
            depth += 1
        else:
            reader.skip()


# --- octet strings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 16, 127, 128, 1000, 5000])
@pytest.mark.parametrize("open_ended", [True, False])
def test_strings_in_pieces_are_joined(size, open_ended):
    octets = bytes(range(256)) * 20
    found = read_octets(in_pieces(octets, size, open_ended=open_ended))
    assert len(found) == len(octets)
    assert found.tobytes() == octets


def test_a_whole_string_is_handed_on_without_a_copy():
    encoded = der.octet_string(bytes(1_000_000))
    (only,) = read_octets(encoded).batches()
    assert isinstance(only, memoryview)
    assert only.obj is encoded


def test_batches_are_bounded():
    found = read_octets(in_pieces(bytes(3_000_000), 1000))
    sizes = [len(batch) for batch in found.batches()]
    assert sum(sizes) == 3_000_000
    assert max(sizes) <= ber.BATCH + 1000
    assert len(sizes) < 15


def test_equal_pieces_are_taken_in_few_steps():
    """Tens of thousands of pieces, as streaming senders cut them, must not cost a step each."""
    octets = bytes(5_000_000)
    encoded = in_pieces(octets, 1000)
    steps = []
    original = Reader._header

    def header(self: Reader) -> int:
        steps.append(1)
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "_header", header)
        reader = Reader(encoded)
        found = reader.octets()
    assert found.tobytes() == octets
    assert len(steps) < 10
    assert ber.MAX_ELEMENTS - reader.elements_left == 5001  # but they are all counted


def test_pieces_may_nest_and_be_empty():
    encoded = indefinite(
        0x24,
        der.octet_string(b""),
        der.octet_string(b"a"),
        der.element(0x24, der.octet_string(b"bc"), indefinite(0x24, der.octet_string(b"d"))),
        der.octet_string(b"e"),
        indefinite(0x24),
    )
    found = read_octets(encoded)
    assert found.tobytes() == b"abcde"
    assert [found.tail(size) for size in range(7)] == [b"", b"e", b"de", b"cde", b"bcde", b"abcde", b"abcde"]


def test_only_octet_strings_are_pieces():
    for piece in (der.integer(1), b"\x80\x01a", b"\x30\x00"):
        with pytest.raises(Malformed):
            read_octets(indefinite(0x24, piece))


def test_an_implicit_tag_may_be_primitive_or_constructed():
    for encoded in (b"\x80\x02ab", b"\xa0\x80\x04\x01a\x04\x01b\x00\x00", b"\xa0\x06\x04\x01a\x04\x01b"):
        assert Reader(encoded).octets(0x80).tobytes() == b"ab"
    with pytest.raises(Malformed):
        Reader(b"\x81\x02ab").octets(0x80)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=12), st.integers(0, 500))
def test_runs_of_any_shape_give_the_same_octets(runs, tail):
    pieces = []
    for number, (size, count) in enumerate(runs):
        pieces += [bytes((number * 7 + turn) % 256 for turn in range(size))] * count
    whole = b"".join(pieces)
    found = read_octets(indefinite(0x24, *map(der.octet_string, pieces)))
    assert found.tobytes() == whole
    assert found.tail(tail) == (whole[-tail:] if tail else b"")


# --- writing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 65535, 2**159])
def test_integers_as_an_independent_writer_has_them(value):
    assert der.integer(value) == core.Integer(value).dump()


@pytest.mark.parametrize(
    "oid", ["1.2.840.113549.1.7.2", "2.16.840.1.101.3.4.2.1", "2.999.1", "0.9.2342", "2.5.29.14"]
)
def test_object_identifiers_both_ways(oid):
    assert der.oid(oid) == core.ObjectIdentifier(oid).dump()
    assert ber.dotted(der.oid_contents(oid)) == oid


@pytest.mark.parametrize("contents", [b"", b"\x80", b"\x2a\x80", b"\x2a\x80\x01", b"\x01" * 65])
def test_broken_object_identifiers(contents):
    with pytest.raises(Malformed):
        ber.dotted(contents)


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65535, 65536])
def test_lengths(size):
    assert der.octet_string(bytes(size)) == core.OctetString(bytes(size)).dump()


def test_times_change_form_in_2050():
    east = datetime.timezone(datetime.timedelta(hours=2))
    assert der.time(datetime.datetime(2026, 3, 1, 1, 2, 3, tzinfo=east)) == b"\x17\x0d260228230203Z"
    assert der.time(datetime.datetime(2050, 1, 1, tzinfo=datetime.UTC)) == b"\x18\x0f20500101000000Z"


def test_from_ber_writes_der():
    loose = indefinite(
        0x31,
        b"\x30\x81\x03" + der.integer(9),
        indefinite(0x24, der.octet_string(b"x"), der.octet_string(b"yz")),
        b"\x02\x82\x00\x01\x05",
    )
    strict = der.set_of([der.sequence(der.integer(9)), der.octet_string(b"xyz"), der.integer(5)])
    assert der.from_ber(loose) == strict
    assert der.from_ber(strict) == strict
    assert der.from_ber(b"\xa0" + loose[1:], tag=0x31) == strict


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(data):
    for use in (
        lambda: der.from_ber(data),
        lambda: Reader(data).raw(),
        lambda: Reader(data).octets().tobytes(),
        lambda: ber.dotted(data),
    ):
        with contextlib.suppress(AgentError):  # and nothing else
            use()
