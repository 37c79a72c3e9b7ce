"""The hardened parser: what it refuses and why, and what it must take."""

import tracemalloc

import pytest

from records.clinical import xml
from records.clinical.errors import (
    BadEncoding,
    EmptyDocument,
    Encrypted,
    HasDoctype,
    NoSuchPath,
    NotWellFormed,
    NotXml,
    TooDeep,
    TooLarge,
    TooManyElements,
    UnreadableDocument,
)
from tests.pure.clinical.documents import document, problem, section

SMALL = document(section("11450-4", problem('<value code="1" codeSystem="2.16.840.1.113883.6.96"/>')))
BOMB = (
    b'<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">'
    b'<!ENTITY z "&y;&y;&y;&y;&y;&y;&y;&y;">]><a b="&z;&z;&z;&z;"/>'
)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyDocument),
        (b" \r\n\t ", EmptyDocument),
        (b"\xef\xbb\xbf", EmptyDocument),
        (b"Dear Ms Harrowgate, see you on Monday.", NotXml),
        (b"%PDF-1.7\n%\xe2\xe3", NotXml),
        (b"PK\x03\x04\x14\x00", NotXml),
        (b"Salted__\x01\x02\x03\x04\x05", Encrypted),
        (bytes(range(128, 256)) + bytes(range(32)) * 8, Encrypted),
        (b"<a><b></a>", NotWellFormed),
        (b"<a><b>", NotWellFormed),
        (b'<a xsi:type="CD"/>', NotWellFormed),
        (b"<a>\xff\xfe\xfd</a>", NotWellFormed),
        (b"<!DOCTYPE a><a/>", HasDoctype),
        (
            b'<?xml version="1.0"?><!-- c --><?p i?>\n<!DOCTYPE a SYSTEM "http://x.example/a.dtd"><a/>',
            HasDoctype,
        ),
        (b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', HasDoctype),
        ("\ufeff<!DOCTYPE a><a/>".encode("utf-16-le"), HasDoctype),
        (" <!DOCTYPE a><a/>".encode("utf-16"), HasDoctype),
        (b"<!--" + b"x" * 200_000 + b"--><!DOCTYPE a><a/>", HasDoctype),
        (BOMB, HasDoctype),
        (b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4APA-a/+AD4-', BadEncoding),
        (b"<a>" * 101 + b"</a>" * 101, TooDeep),
        (b"<a>" * 5_000 + b"</a>" * 5_000, TooDeep),
        (b"<a>" * 200_000 + b"</a>" * 200_000, TooDeep),
        (b"<a>" + b"<b/>" * 1_000_001 + b"</a>", TooManyElements),
    ],
)
def test_refuses_and_says_why(data: bytes, error: type[UnreadableDocument]) -> None:
    with pytest.raises(error) as caught:
        xml.parse(data)
    assert caught.value.code == error.code
    assert caught.value.temporary is False


def test_codes_are_one_meaning_each() -> None:
    leaves = UnreadableDocument.__subclasses__()
    assert len({leaf.code for leaf in leaves}) == len(leaves) > 8


def test_refuses_more_bytes_than_the_limit() -> None:
    with pytest.raises(TooLarge):
        xml.parse(b"<a/>" + b" " * 100, xml.Limits(size=100))


def test_depth_100_is_taken() -> None:
    assert xml.parse(b"<a>" * 100 + b"</a>" * 100).tag == "a"


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + SMALL,
        SMALL.replace(b'<?xml version="1.0" encoding="UTF-8"?>', b""),
        SMALL.decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        SMALL.decode().replace("UTF-8", "UTF-16").encode("utf-16-be"),
        SMALL.decode().replace("UTF-8", "ISO-8859-1").replace("Wren", "Zoë").encode("iso-8859-1"),
        SMALL.decode().replace("UTF-8", "windows-1252").encode("cp1252"),
        SMALL.replace(b"UTF-8", b"utf-16"),
        b"\n\n" + SMALL.replace(b'<?xml version="1.0" encoding="UTF-8"?>', b""),
    ],
    ids=[
        "bom",
        "undeclared",
        "utf16",
        "utf16be-no-bom",
        "latin1",
        "cp1252",
        "wrongly-declared",
        "leading-space",
    ],
)
def test_encodings(data: bytes) -> None:
    assert xml.parse(data).tag == "{urn:hl7-org:v3}ClinicalDocument"


def test_text_node_of_twelve_megabytes_is_whole() -> None:
    root = xml.parse(b"<a>" + b"QUJD" * 3_000_000 + b"</a>")
    assert len(root.text or "") == 12_000_000


def test_word_doctype_in_text_is_no_doctype() -> None:
    assert xml.parse(b"<a><![CDATA[<!DOCTYPE a>]]></a>").text == "<!DOCTYPE a>"


def test_instructions_and_comments_are_dropped() -> None:
    root = xml.parse(b'<?xml-stylesheet href="http://evil.example/x.xsl"?><a><!-- c --><b/><?p?></a>')
    assert [child.tag for child in root] == ["b"]


def test_resolve_path() -> None:
    assert xml.resolve_path(b"<a><b/><b><c i='1'/></b></a>", "/*/*[2]/*[1]").get("i") == "1"
    for path in ("/*/*[9]", "//b", "/*/*", "", "document('/etc/passwd')", "/*/text()"):
        with pytest.raises(NoSuchPath):
            xml.resolve_path(b"<a><b/><b/></a>", path)


def test_memory_stays_bounded_on_a_bomb() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(HasDoctype):
            xml.parse(BOMB)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
