"""Taking imports back: the record is as it was, whatever happened around them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.db.models import RestrictedError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from directmsg.models import DirectAddress
from records import editing, review, undo
from records.models import Document, Entry, EntrySource, Import, Record
from tests import factories
from tests.records.charts import (
    allergies,
    bring,
    chart,
    no_known_allergies,
    only,
    pressure,
    problem,
    problems,
    scanned,
    shown,
    vitals,
)
from tests.records.snapshots import documents, everything

pytestmark = pytest.mark.django_db

GOUT, ASTHMA, ECZEMA = ("90560007", "Gout"), ("195967001", "Asthma"), ("43116000", "Eczema")


@pytest.fixture
def record() -> Record:
    return factories.record(factories.account(), "Wren Harrowgate")


def test_an_undo_takes_everything_out_again(record):
    filing = bring(
        record, chart("A", "20230101", problems(problem(*GOUT)), allergies(("7980", "Penicillin")))
    )
    done = undo.undo_import(filing, None)
    assert (done.taken, done.stayed, done.own) == (2, 0, 0)
    assert everything(record) == []
    assert filing.state == "undone"
    with pytest.raises(undo.NotUndoable):
        undo.undo_import(filing, None)


def test_the_older_state_comes_back(record):
    bring(record, chart("A", "20230101", problems(problem(*GOUT, identity="p"))))
    before, superseded = everything(record), documents(record)
    newer = chart("B", "20240101", problems(problem(*GOUT, identity="p", end="20231101")), replaces="A")
    second = bring(record, newer)
    assert everything(record) != before
    undo.undo_import(second, None)
    assert everything(record) == before
    assert documents(record) == {**superseded, second.document_id: None}


def test_an_undo_of_the_first_leaves_what_the_second_says(record):
    first = bring(record, chart("A", "20230101", problems(problem(*GOUT), problem(*ASTHMA))))
    bring(record, chart("B", "20240101", problems(problem(*GOUT))))
    done = undo.undo_import(first, None)
    assert (done.taken, done.stayed) == (1, 1)
    assert [content["name"] for content in shown(record, "problems")] == ["Gout"]


def test_items_joined_by_a_document_come_apart_without_it(record):
    """One names a drug by two codes and so joins what the others say; each of those knows one of them."""
    two = problem(*GOUT).replace(
        'displayName="Gout"/>',
        'displayName="Gout"><translation code="M10.9" codeSystem="2.16.840.1.113883.6.90"/></value>',
    )
    icd = problem("M10.9", "Gout, unspecified").replace("2.16.840.1.113883.6.96", "2.16.840.1.113883.6.90")
    joining = bring(record, chart("A", "20230101", problems(two)))
    bring(record, chart("B", "20230102", problems(problem(*GOUT))))
    bring(record, chart("C", "20230103", problems(icd)))
    assert len(shown(record, "problems")) == 1
    joined = everything(record)
    undo.undo_import(joining, None)
    assert sorted(str(c["name"]) for c in shown(record, "problems")) == ["Gout", "Gout, unspecified"]
    undo.redo_import(joining, None)
    assert everything(record) == joined


def test_what_a_person_corrected_outlives_the_import(record):
    filing = bring(record, chart("A", "20230101", problems(problem(*GOUT), problem(*ASTHMA))))
    gout = next(e for e in Entry.objects.select_related("record__holder") if e.content["name"] == "Gout")
    editing.correct_item(gout, None, editing.Words("Gout of the left foot", start="2018"))
    done = undo.undo_import(filing, None)
    assert (done.taken, done.own) == (1, 1)
    assert [content["name"] for content in shown(record, "problems")] == ["Gout of the left foot"]
    again = bring(record, chart("A", "20230101", problems(problem(*GOUT), problem(*ASTHMA))))
    assert (again.items, again.matched) == (1, 1)
    assert "Gout of the left foot" in [content["name"] for content in shown(record, "problems")]


def test_a_file_out_of_a_document_goes_with_it(record):
    filing = bring(record, scanned("A", "20230101", b"%PDF-1.7 letter"))
    undo.undo_import(filing, None)
    assert everything(record) == []
    undo.redo_import(filing, None)
    assert only(record, "file").content["content_type"] == "application/pdf"


def test_an_undo_is_foreseen_item_by_item(record):
    bring(record, chart("A", "20230101", problems(problem(*GOUT, identity="p"), problem(*ECZEMA))))
    second = bring(
        record,
        chart(
            "B",
            "20240101",
            problems(problem(*GOUT, identity="p", end="20231101"), problem(*ASTHMA), problem(*ECZEMA)),
            allergies(("7980", "Penicillin")),
        ),
    )
    penicillin = only(record, "allergies")
    editing.correct_item(penicillin, None, editing.Words("Penicillin V"))
    told = {change.content["name"]: change for change in undo.foresee_undo(second)}
    assert {name: change.what for name, change in told.items()} == {
        "Gout": "changes",
        "Asthma": "goes",
        "Eczema": "stays",
        "Penicillin V": "own",
    }
    gout = told["Gout"]
    assert gout.after is not None
    assert (gout.content["end"], gout.after["end"]) == ("2023-11-01", None)
    assert second.state == "applied"
    undo.undo_import(second, None)
    with pytest.raises(undo.NotUndoable):
        undo.foresee_undo(second)


def test_redoing_what_was_not_undone(record):
    filing = bring(record, chart("A", "20230101", problems(problem(*GOUT))))
    with pytest.raises(undo.NotUndone):
        undo.redo_import(filing, None)


def test_an_item_goes_with_its_record_and_with_nothing_else(record):
    filing = bring(record, chart("A", "20230101", problems(problem(*GOUT))))
    with pytest.raises(RestrictedError):
        filing.delete()
    with pytest.raises(RestrictedError):
        filing.document.delete()
    DirectAddress.objects.all().delete()
    record.delete()
    assert not Entry.objects.exists()
    assert not Import.objects.exists()


# --- any sequence ---------------------------------------------------------------------------------------

NAMED = (GOUT, ASTHMA, ECZEMA)
_problem = st.builds(
    lambda named, start, end, identity: problem(*named, start=start, end=end, identity=identity),
    st.sampled_from(NAMED),
    st.sampled_from(("2019", "20190302")),
    st.sampled_from(("", "20231101")),
    st.sampled_from(("", "p1", "p2")),
)


def coded_twice(one: tuple[str, str], other: tuple[str, str]) -> str:
    """A problem that two codes name."""
    more = f'<translation code="{other[0]}" codeSystem="2.16.840.1.113883.6.96"/>'
    return problem(*one).replace(f'displayName="{one[1]}"/>', f'displayName="{one[1]}">{more}</value>')


_coded_twice = st.builds(coded_twice, st.sampled_from(NAMED), st.sampled_from(NAMED))
_pressure = st.builds(
    pressure,
    st.sampled_from(("121", "135")),
    st.sampled_from(("20230101", "20230102")),
    st.sampled_from(("", "x")),
)
_sections = st.tuples(
    st.lists(st.one_of(_problem, _coded_twice), max_size=3),
    st.lists(_pressure, max_size=2),
    st.booleans(),
)
#: Half of the documents take the place of another: the next version of one set, or of the one before.
_relation = st.sampled_from(("", "", "set", "replaces"))
_date = st.sampled_from(("20220101", "20230101", "20240101"))
_document = st.tuples(_sections, _date, st.booleans(), _relation)
_step = st.tuples(
    st.sampled_from(("import", "import", "undo", "redo", "edit")), st.integers(0, 99), _document
)


class World:
    """A record, and steps that anybody might take in it."""

    def __init__(self) -> None:
        World.number = getattr(World, "number", 0) + 1
        owner = factories.account(f"wren{World.number}@people.example")
        self.record = factories.record(owner, "Wren Harrowgate")
        self.owner = owner
        self.documents: dict[Any, bytes] = {}

    def bring(self, described: Any) -> Import:
        ((found, measured, nothing), date, waits, relation) = described
        number = len(self.documents)
        related = {
            "": {},
            "set": {"of": "S", "version": number + 1},
            "replaces": {"replaces": f"D{number - 1}"},
        }[relation]
        sections = [problems(*found), vitals(*measured), *([no_known_allergies()] if nothing else [])]
        data = chart(f"D{number}", date, *sections, **related)
        self.record.integration_preference = "review" if waits else "automatic"
        self.record.save(update_fields=["integration_preference"])
        filing = bring(self.record, data)
        self.documents[filing.pk] = data
        return filing

    def imports(self, **which: Any) -> list[Import]:
        rows = Import.objects.filter(record=self.record, **which)
        return list(rows.select_related("record__holder", "document__record__holder").order_by("pk"))

    def take(self, step: str, pick: int, described: Any) -> None:
        if step == "import":
            self.bring(described)
        elif step == "undo" and (found := self.imports(state__in=["applied", "proposed"])):
            undo.undo_import(found[pick % len(found)], self.owner)
        elif step == "redo" and (found := self.imports(state="undone")):
            undo.redo_import(found[pick % len(found)], self.owner)
        elif step == "edit":
            self.edit(pick)

    def edit(self, pick: int) -> None:
        waiting = self.imports(state="proposed")
        if waiting and pick % 3 == 0:
            filing = waiting[pick % len(waiting)]
            answers = ("add", "replace", "ignore")
            chosen = {
                one.id: review.Choice(answers[(pick + n) % 3])  # type: ignore[arg-type]
                for n, one in enumerate(review.proposals(filing))
            }
            review.decide(filing, self.owner, chosen)
            return
        entries = Entry.objects.filter(record=self.record).select_related("record__holder")
        found = list(entries.exclude(state="undone").order_by("pk"))
        if not found:
            editing.add_item(
                self.record, self.owner, "problems", editing.Words("Sore elbow", start="as a child")
            )
            return
        entry = found[pick % len(found)]
        acts = (
            lambda: editing.correct_item(entry, self.owner, editing.Words(f"Mine {pick}", start="2020")),
            lambda: editing.delete_item(entry, self.owner),
            lambda: editing.reject_item(entry, self.owner),
            lambda: editing.restore_item(entry, self.owner),
            lambda: editing.revert_item(entry, self.owner),
            lambda: editing.set_personal(entry, self.owner, personal=pick % 2 == 0),
        )
        try:
            acts[pick % len(acts)]()
        except editing.EditRefused:
            return


def in_record(record: Record) -> dict[Any, Any]:
    """What each item says that is in the record, rejected ones too."""
    rows = Entry.objects.filter(record=record).exclude(state="undone").select_related("record__holder")
    return {entry.pk: entry.content for entry in rows}


def foretold(told: list[undo.Change], before: dict[Any, Any]) -> dict[Any, Any]:
    """What the record says once the changes have come true."""
    after = dict(before)
    for change in told:
        after.pop(change.entry, None)
        if change.after is not None:
            after[change.entry] = change.after
    return after


bounded = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@bounded
@given(steps=st.lists(_step, max_size=7), last=_document, turns=st.integers(1, 2))
def test_an_undo_leads_back_to_exactly_what_was(steps, last, turns):
    world = World()
    for step in steps:
        world.take(*step)
    before, superseded = everything(world.record), documents(world.record)
    filing = world.bring(last)
    for _ in range(turns):
        after = everything(world.record)
        superseding = documents(world.record)
        shown_before, told = in_record(world.record), undo.foresee_undo(filing)
        assert everything(world.record) == after, "to foresee changes nothing"
        undo.undo_import(filing, world.owner)
        assert foretold(told, shown_before) == in_record(world.record)
        assert everything(world.record) == before
        assert {**documents(world.record), filing.document_id: None} == {
            **superseded,
            filing.document_id: None,
        }
        undo.redo_import(filing, world.owner)
        assert everything(world.record) == after
        assert documents(world.record) == superseding


@bounded
@given(steps=st.lists(_step.filter(lambda step: step[0] != "edit"), max_size=8))
def test_undone_imports_are_as_if_they_never_were(steps):
    world, other = World(), World()
    for step, pick, (sections, date, _, relation) in steps:
        world.take(step, pick, (sections, date, False, relation))
    for filing in world.imports(state="applied"):
        bring(other.record, world.documents[filing.pk])
    assert everything(world.record, names=True) == everything(other.record, names=True)


@bounded
@given(steps=st.lists(_step, max_size=8))
def test_without_any_import_only_people_speak(steps):
    world = World()
    for step in steps:
        world.take(*step)
    for filing in world.imports(state__in=["applied", "proposed"]):
        undo.undo_import(filing, world.owner)
    left = Entry.objects.filter(record=world.record).exclude(state="undone")
    assert all(entry.own for entry in left)
    standing = EntrySource.objects.filter(filing__record=world.record).exclude(state="withdrawn")
    assert not standing.exists()


@bounded
@given(steps=st.lists(_step, max_size=5), last=_document)
def test_the_same_bytes_again_add_no_item(steps, last):
    world = World()
    for step in steps:
        world.take(*step)
    filing = world.bring(last)

    def count() -> Counter[str]:
        return Counter(Entry.objects.filter(record=world.record).values_list("state", flat=True))

    before = count()
    again = bring(world.record, world.documents[filing.pk])
    assert again.items == 0
    assert count() == before
    assert Document.objects.filter(record=world.record, digest=again.document.digest).count() == 2
