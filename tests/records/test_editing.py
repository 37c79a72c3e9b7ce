"""Single items in people's hands: nothing they type is lost, and nothing a document says either."""

from __future__ import annotations

import json

import pytest
from fhir.resources.R4B import get_fhir_model_class

from healthvault.audit import trail
from healthvault.store.ids import new_id
from records import comparing, editing, handwritten, history, particulars, undo
from records.clinical.types import KINDS
from records.editing import EditRefused, Words
from records.models import Entry, EntryVersion, Import, Record
from tests import factories
from tests.pure.clinical.documents import everything
from tests.records.charts import allergies, bring, chart, only, problem, problems, shown

pytestmark = pytest.mark.django_db

GOUT = ("90560007", "Gout")


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account(), "Wren Harrowgate")


@pytest.fixture
def gout(record) -> Entry:
    bring(record, chart("A", "20230101", problems(problem(*GOUT, identity="p"))))
    return only(record, "problems")


def owner(record: Record):
    return record.grants.get().account


def test_a_correction_stands_whatever_comes_in(record, gout):
    editing.correct_item(
        gout, owner(record), Words("Gout", start="2017-11", status="active", note="Left foot")
    )
    newer = problems(problem(*GOUT, identity="p", end="20231101"))
    again = bring(record, chart("B", "20240101", newer))
    assert (again.items, again.matched, again.updated) == (0, 1, 0)
    entry = only(record, "problems")
    assert (entry.content["start"], entry.content["end"], entry.own) == ("2017-11", None, True)
    assert entry.content["note"] == "Left foot"
    assert entry.content["codes"][0]["code"] == "90560007"
    assert entry.content["resource"]["onsetDateTime"] == "2017-11"
    version = EntryVersion.objects.get(entry=entry)
    assert (version.action, version.account) == ("corrected", owner(record))
    editing.revert_item(entry, owner(record))
    assert (entry.own, entry.content["end"]) == (False, "2023-11-01")


def test_another_name_is_another_thing(record, gout):
    editing.correct_item(gout, None, Words("Swollen toe"))
    assert gout.content["codes"] == []
    assert gout.content["resource"]["code"] == {"text": "Swollen toe"}


def test_a_correction_keeps_what_it_does_not_touch(record):
    sample = everything()
    bring(record, sample)
    entry = Entry.objects.select_related("record__holder").filter(kind="medications").first()
    before = entry.content["resource"]
    words = editing.words_of(entry.content)
    editing.correct_item(entry, None, Words(**{**_fields(words), "end": "2024-02"}))
    after = entry.content["resource"]
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert entry.content["end"] == "2024-02"
    assert changed <= {"status", "effectivePeriod", "effectiveDateTime", "dosageInstruction", "dosage"}
    assert before.get("subject") == after.get("subject")


@pytest.mark.parametrize("kind", KINDS)
def test_items_added_by_hand_are_valid_fhir(record, kind):
    words = Words("Something of mine", "2012-08", "2013", "12", "kg", "my own word", "A note")
    entry = editing.add_item(record, owner(record), kind, words)
    valid(entry.content["resource"])
    bare = editing.add_item(record, owner(record), kind, Words("Bare", start="as a child"))
    valid(bare.content["resource"])
    assert (bare.content["start"], bare.content["start_text"]) == (None, "as a child")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_kind_is_kept_shown_and_valid_fhir(record, kind):
    shape = handwritten.SHAPES[kind]
    more = {name: f"word {name}" for name in shape.extras}
    words = Words("Something of mine", "2012-08", value="12" if shape.value else "", more=more)
    entry = editing.add_item(record, owner(record), kind, words)
    valid(entry.content["resource"])
    assert editing.words_of(entry.content).more == more
    said = str(comparing.facts_in_words(kind, entry.content))
    # A goal or a plan may have no line of its own for its text: the resource has it all the same.
    for word in more.values():
        assert word in said or word in str(entry.content["resource"])
    # What is emptied goes from the resource too; what the document said elsewhere is not touched.
    editing.correct_item(entry, owner(record), Words("Something of mine", "2012-08"))
    valid(entry.content["resource"])
    assert not any(word in str(entry.content) for word in more.values())


def test_there_are_fields_for_every_kind():
    assert set(handwritten.SHAPES) == set(KINDS)
    assert {name for shape in handwritten.SHAPES.values() for name in shape.extras} == set(handwritten.EXTRAS)


def test_a_number_is_a_quantity_and_a_known_measure_has_its_code(record):
    entry = editing.add_item(
        record, owner(record), "vital_signs", Words("weight", "2024-03", value="81.50", unit="kg")
    )
    assert entry.content["value"] == "81.50", "as typed"
    assert entry.content["resource"]["valueQuantity"]["value"] == 81.5
    assert entry.content["codes"][0]["code"] == "29463-7"
    editing.correct_item(entry, owner(record), Words("weight", "2024-03", value="<82", unit="kg"))
    assert entry.content["resource"]["valueQuantity"] == {
        "value": 82,
        "comparator": "<",
        "unit": "kg",
        "system": "http://unitsofmeasure.org",
        "code": "kg",
    }


@pytest.mark.parametrize(
    ("typed", "mark"), [("3.5 - 5.0", "Above the range"), ("< 7", ""), ("3.5-5.0 (adults)", "")]
)
def test_a_range_is_understood_where_it_is_one(record, typed, mark):
    words = Words("Potassium", value="5.4", unit="mmol/L", more={"range": typed})
    entry = editing.add_item(record, owner(record), "results", words)
    found = particulars.mark(entry.content)
    assert (found.word if found else "") == mark


def test_the_same_form_sent_twice_is_one_item(record):
    key = new_id()
    first = editing.add_item(record, owner(record), "problems", Words("Gout"), key=key)
    assert editing.add_item(record, owner(record), "problems", Words("Gout"), key=key).pk == first.pk
    other = factories.record(factories.account("other@patient.example"), "Other")
    with pytest.raises(EditRefused):
        editing.add_item(other, owner(other), "problems", Words("Gout"), key=key)


def test_who_saw_an_older_state_does_not_overwrite_the_newer_one(record, gout):
    seen = gout.updated
    editing.correct_item(gout, owner(record), Words("Gout of the knee"), seen=seen)
    with pytest.raises(editing.ChangedMeanwhile):
        editing.correct_item(gout, owner(record), Words("Gout of the toe"), seen=seen)
    assert gout.content["name"] == "Gout of the knee"


def test_corrections_of_every_kind_are_valid_fhir(record):
    bring(record, everything())
    entries = Entry.objects.select_related("record__holder").filter(record=record)
    for entry in entries:
        editing.correct_item(entry, None, Words("Mine", "2012", "2013-01-02", "about 7", "spoons", "strange"))
        valid(entry.content["resource"])


def valid(resource: dict) -> None:
    get_fhir_model_class(resource["resourceType"]).model_validate(json.loads(json.dumps(resource)))


def test_an_item_added_by_hand_outlives_every_import(record):
    entry = editing.add_item(record, owner(record), "allergies", Words("Penicillin", start="1985"))
    assert [content["name"] for content in shown(record, "allergies")] == ["Penicillin"]
    filing = bring(record, chart("A", "20230101", allergies(("7980", "Penicillin G"))))
    undo.undo_import(filing, None)
    assert [content["name"] for content in shown(record, "allergies")] == ["Penicillin"]
    assert entry.filing is None


@pytest.mark.parametrize(
    ("act", "state"), [(editing.reject_item, "rejected"), (editing.delete_item, "deleted")]
)
def test_what_was_removed_stays_out_until_it_is_restored(record, gout, act, state):
    act(gout, owner(record))
    assert gout.state == state
    bring(record, chart("B", "20240101", problems(problem(*GOUT, identity="p", end="20231101"))))
    assert shown(record, "problems") == []
    editing.restore_item(gout, owner(record))
    assert [content["end"] for content in shown(record, "problems")] == ["2023-11-01"]
    actions = [step.action for step in history.steps(gout)]
    assert actions == ["standing", state, "standing", "restored"]


def test_removed_for_good_is_gone_and_stays_away(record, gout):
    with pytest.raises(EditRefused):
        editing.remove_for_good(gout, owner(record))
    editing.delete_item(gout, owner(record))
    editing.remove_for_good(gout, owner(record))
    assert (gout.state, gout.content) == ("removed", {})
    assert all(source.content == {} for source in gout.sources.select_related("filing__record__holder"))
    with pytest.raises(EditRefused):
        editing.restore_item(gout, owner(record))
    bring(record, chart("B", "20240101", problems(problem(*GOUT, identity="p"))))
    assert Entry.objects.get().state == "removed"
    filing = Import.objects.select_related("record__holder", "document").first()
    undo.undo_import(filing, None)
    undo.redo_import(filing, None)
    assert Entry.objects.get().content == {}


def test_a_personal_item_is_marked_and_audited(record, gout):
    editing.set_personal(gout, owner(record), personal=True)
    assert Entry.objects.get().personal
    assert trail.history(record).first().action == "item.made_personal"
    editing.set_personal(gout, owner(record), personal=False)
    assert not Entry.objects.get().personal


@pytest.mark.parametrize(
    "words",
    [Words(""), Words("x" * 401), Words("Gout", end="soon"), Words("Gout\x00"), Words("Gout\ud800")],
)
def test_what_makes_no_item_is_refused(record, gout, words):
    before = gout.content
    with pytest.raises(EditRefused):
        editing.correct_item(gout, None, words)
    assert only(record, "problems").content == before
    with pytest.raises(EditRefused):
        editing.add_item(record, None, "problems", words)


def test_there_are_only_the_kinds_there_are(record):
    with pytest.raises(EditRefused):
        editing.add_item(record, None, "file", Words("x"))


def test_the_proofs_of_an_item(record, gout):
    bring(record, chart("B", "20240101", problems(problem(*GOUT, identity="p")), replaces="A"))
    entry = only(record, "problems")
    first, second = history.proofs(entry)
    assert (first.leads, first.superseded, second.leads, second.superseded) == (True, False, False, True)
    assert first.document.facts["date"].startswith("2024")
    assert first.message.from_address == "records@clinic.example"
    assert first.path.startswith("/")
    assert first.section == "11450-4"


def _fields(words: Words) -> dict[str, str]:
    return {name: getattr(words, name) for name in editing.CORRECTABLE}
