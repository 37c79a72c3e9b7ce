"""Review first: nothing counts before a person said so, and each answer does what it says."""

from __future__ import annotations

import pytest

from records import editing, review, undo
from records.models import Entry, Import, Record
from records.review import Choice
from tests import factories
from tests.records.charts import bring, chart, problem, problems, shown
from tests.records.snapshots import everything

pytestmark = pytest.mark.django_db

GOUT, ASTHMA = ("90560007", "Gout"), ("195967001", "Asthma")


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account(), "Wren Harrowgate")


@pytest.fixture
def waiting(record) -> Import:
    """One that is the same as what is there, one that differs, one that is new."""
    old = problems(problem(*GOUT, identity="p"), problem("43116000", "Eczema"))
    bring(record, chart("A", "20230101", old))
    record.integration_preference = "review"
    record.save(update_fields=["integration_preference"])
    new = [problem(*GOUT, identity="p", end="20231101"), problem("43116000", "Eczema"), problem(*ASTHMA)]
    return bring(record, chart("B", "20240101", problems(*new)))


def found(filing: Import) -> dict[str, review.Proposal]:
    return {one.standing: one for one in review.proposals(filing)}


def ends(record: Record) -> dict[object, object]:
    return {content["name"]: content["end"] for content in shown(record, "problems")}


def test_what_waits_is_told_apart(record, waiting):
    proposals = found(waiting)
    assert {key: one.content["name"] for key, one in proposals.items()} == {
        "differs": "Gout",
        "same": "Eczema",
        "new": "Asthma",
    }
    assert proposals["differs"].present["end"] is None
    assert proposals["new"].present is None
    assert ends(record) == {"Gout": None, "Eczema": None}


def test_taking_all_is_what_the_record_would_do_by_itself(record, waiting):
    assert review.take_all(waiting, None) == 3
    assert ends(record) == {"Gout": "2023-11-01", "Eczema": None, "Asthma": None}
    assert waiting.state == "applied"
    with pytest.raises(review.NotWaiting):
        review.take_all(waiting, None)


def test_each_answer(record, waiting):
    proposals = found(waiting)
    review.decide(
        waiting,
        None,
        {proposals["differs"].id: Choice("add"), proposals["new"].id: Choice("ignore")},
    )
    assert waiting.state == "proposed"
    assert sorted(str(c["end"]) for c in shown(record, "problems") if c["name"] == "Gout") == [
        "2023-11-01",
        "None",
    ]
    assert "Asthma" not in ends(record)
    review.decide(waiting, None, {proposals["same"].id: Choice("add")})
    assert waiting.state == "applied"
    with pytest.raises(review.NotWaiting):
        review.decide(waiting, None, {proposals["same"].id: Choice("add")})


def test_replacing_what_a_person_typed_and_taking_that_back(record, waiting):
    gout = next(e for e in Entry.objects.select_related("record__holder") if e.content["name"] == "Gout")
    editing.correct_item(gout, None, editing.Words("Gout, mine"))
    before = everything(record)
    proposals = {one.content["name"]: one for one in review.proposals(waiting)}
    review.decide(waiting, None, {proposals["Gout"].id: Choice("replace")})
    assert ends(record)["Gout"] == "2023-11-01"
    undo.undo_import(waiting, None)
    assert "Gout, mine" in ends(record)
    undo.redo_import(waiting, None)
    assert ends(record)["Gout"] == "2023-11-01"
    assert before != everything(record)


def test_replacing_another_item(record, waiting):
    eczema = next(e for e in Entry.objects.select_related("record__holder") if e.content["name"] == "Eczema")
    proposals = found(waiting)
    review.decide(waiting, None, {proposals["new"].id: Choice("replace", eczema.pk)})
    assert set(ends(record)) == {"Gout", "Asthma"}
    undo.undo_import(waiting, None)
    assert set(ends(record)) == {"Gout", "Eczema"}
    stranger = factories.record(factories.account("tomas@people.example"), "Tomas Bergland")
    foreign = editing.add_item(stranger, None, "problems", editing.Words("Theirs"))
    undo.redo_import(waiting, None)
    rest = found(waiting)
    with pytest.raises(review.NoSuchItem):
        review.decide(waiting, None, {rest["same"].id: Choice("replace", foreign.pk)})


def test_ignoring_a_change_keeps_the_item(record, waiting):
    review.decide(waiting, None, {found(waiting)["differs"].id: Choice("ignore")})
    assert ends(record)["Gout"] is None


def test_an_undo_of_a_proposal_takes_it_away(record, waiting):
    undo.undo_import(waiting, None)
    assert ends(record) == {"Gout": None, "Eczema": None}
    assert review.proposals(waiting) == []
