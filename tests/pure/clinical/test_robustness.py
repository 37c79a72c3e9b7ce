"""Large, broken and hostile documents: bounded, linear, and never a crash."""

import random
import time

import pytest
from fhir.resources.R4B.bundle import Bundle
from lxml import etree

from records.clinical import embedded, fhir, narrative, output
from records.clinical.errors import ClinicalError
from records.clinical.identity import item_key
from records.clinical.reader import read
from tests.pure.clinical.documents import (
    LOINC,
    code,
    document,
    everything,
    observation,
    panel,
    problem,
    section,
)


def exercised(data: bytes) -> None:
    """Everything that is done with a received document."""
    try:
        found = read(data)
        narrative.render(data)
    except ClinicalError:
        return
    output.summary(found)
    output.items(found)
    bundle = fhir.bundle(found)
    Bundle.model_validate(bundle)
    for item in found.items:
        item_key(item)


@pytest.mark.parametrize("seed", range(60))
def test_any_element_or_attribute_may_be_missing_or_wrong(seed: int) -> None:
    chance = random.Random(seed)
    root = etree.fromstring(everything())
    for _ in range(chance.randint(5, 120)):
        elements = list(root.iter())
        if len(elements) < 10:
            break
        element = chance.choice(elements[1:])
        what = chance.random()
        if what < 0.3:
            parent = element.getparent()
            assert parent is not None
            parent.remove(element)
        elif what < 0.5 and element.attrib:
            del element.attrib[chance.choice(sorted(element.attrib))]
        elif what < 0.8 and element.attrib:
            wrong = chance.choice(["", " ", "null", "-1", "9" * 30, "20201399", "#x", "é", "1e999", "NaN"])
            element.attrib[chance.choice(sorted(element.attrib))] = wrong
        elif what < 0.9:
            other = chance.choice(elements)
            element.tag = other.tag
        else:
            element.text = chance.choice(["", "x" * 3000, "None", "\n\t"])
    exercised(etree.tostring(root))


@pytest.mark.parametrize("seed", range(40))
def test_any_byte_may_be_wrong(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(everything())
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    exercised(bytes(data[: chance.choice([len(data), len(data), chance.randrange(len(data))])]))


def test_a_large_document_takes_linear_time() -> None:
    entry = panel(
        *(
            observation(code("2345-7", system=LOINC), f'<value xsi:type="PQ" value="{n}" unit="mg/dL"/>')
            for n in range(10)
        )
    )

    def seconds(entries: int) -> tuple[float, int]:
        data = document(section("30954-2", entry * entries))
        start = time.process_time()
        count = len(read(data).items)
        return time.process_time() - start, count

    seconds(10)
    small, few = seconds(150)
    large, many = seconds(1500)
    assert (few, many) == (1_500, 15_000)
    # Ten times the work; a quadratic reader needs a hundred.
    assert large < small * 25


def test_twenty_megabytes_with_a_pdf_in_it() -> None:
    note = (
        '<entry><act classCode="ACT" moodCode="EVN"><templateId root="2.16.840.1.113883.10.20.22.4.202"/>'
        + code("34109-9", "Note", LOINC)
        + f'<text mediaType="application/pdf" representation="B64">{"QUJD" * 5_000_000}</text></act></entry>'
    )
    data = document(
        section("34109-9", note), section("11450-4", problem(code("1", "Gout", tag="value", kind="CD")))
    )
    assert len(data) > 20_000_000
    found = read(data)
    assert [(i.kind, i.name) for i in found.items] == [("notes", "Note"), ("problems", "Gout")]
    assert found.items[0].detail["media_type"] == "application/pdf"
    assert "text" not in found.items[0].detail
    assert embedded.embedded_file(data, found.items[0].detail["content_path"]).data[:3] == b"ABC"


def test_too_many_items_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("records.clinical.ccda.MAX_ITEMS", 5)
    entries = problem(code("1", "Gout", tag="value", kind="CD")) * 6
    with pytest.raises(ClinicalError) as caught:
        read(document(section("11450-4", entries)))
    assert caught.value.code == "too_many_elements"
