"""What a grant leaves out is on no page: every route of the portal, as people with less than everything."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.apps import apps
from django.test import Client
from django.utils import timezone

from records import editing
from records.filing import add_file
from records.models import Account, Entry, Grant, Record, Right
from tests import factories
from tests.records import charts
from tests.web.test_rights import RULES

pytestmark = pytest.mark.django_db

#: In items and documents that everybody with a grant may see, but who is to see some kinds only.
OPEN = ("Zwetschge", "Kornelkirsche")
#: In what custodians made personal, and in what tells it.
PERSONAL = ("Quittenbrot", "Sanddorn", "Hagebutte")
#: In the one kind that is shared with everybody.
SHARED = "Birnbaum"
#: Where people end who are not signed in, or whose link leads nowhere.
ELSEWHERE = ("/accounts/login/", "/records/invited/")


@dataclass
class World:
    owner: Account
    record: Record


@pytest.fixture
def world() -> World:
    """A record with a shared kind, others, and personal items: in documents, in a file, and typed."""
    owner = factories.account("owner@patient.example", "Nora Whitlock")
    record = factories.record(owner, "Nora Whitlock")
    secret = charts.allergies(("7980", PERSONAL[0]))
    charts.bring(record, charts.chart("D1", "20240101", secret))
    first, second = (charts.problems(charts.problem(str(n), name)) for n, name in enumerate(OPEN))
    charts.bring(record, charts.chart("D2", "20240201", secret, first))
    charts.bring(record, charts.chart("D3", "20240301", second))
    editing.set_personal(_named(record, PERSONAL[0]), owner, personal=True)
    typed = editing.add_item(record, owner, "problems", editing.Words(name=PERSONAL[1]))
    editing.set_personal(typed, owner, personal=True)
    editing.add_item(record, owner, "medications", editing.Words(name=SHARED))
    _personal_file(record, owner)
    return World(owner, record)


def _named(record: Record, name: str) -> Entry:
    rows = Entry.objects.filter(record=record).select_related("record__holder")
    return next(entry for entry in rows if name in str(entry.content.get("name")))


def _personal_file(record: Record, owner: Account) -> None:
    """A file that came in a message of its own."""
    part = charts.bring(record, charts.chart("D4", "20240401")).document.attachment
    assert part is not None
    part.filename = f"{PERSONAL[2]}.xml"
    part.save(update_fields=["filename"])
    editing.set_personal(add_file(part), owner, personal=True)


def browser(record: Record, right: Right, **limits: object) -> Client:
    person = factories.account(f"{right.name.lower()}-{len(limits)}@family.example", "Tomas Bergland")
    Grant.objects.create(account=person, record=record, right=right, **limits)
    client = Client()
    client.force_login(person)
    return client


def addresses() -> Iterator[str]:
    """Every route a signed-in patient may GET, with every id of every row of the record in its places."""
    pools = {model.__name__.lower(): _ids(model) for model in apps.get_app_config("records").get_models()}
    everything = sorted(set(itertools.chain.from_iterable(pools.values())))
    for route, rule in RULES.items():
        if rule.get is None or not route.startswith(("records/", "messages/", "fhir/")):
            continue
        names = re.findall(r"<(?:(\w+):)?(\w+)>", route)
        values = [_values(kind, name, pools, everything) for kind, name in names]
        for chosen in itertools.product(*values):
            filled = iter(chosen)
            yield "/" + re.sub(r"<[^>]+>", lambda _, filled=filled: next(filled), route)


def _ids(model: type) -> list[str]:
    return [str(pk) for pk in model.objects.values_list("pk", flat=True)]  # type: ignore[attr-defined]


def _values(kind: str, name: str, pools: dict[str, list[str]], everything: list[str]) -> list[str]:
    if kind == "int":
        return ["0", "1"]
    if kind != "uuid":
        return ["allergies", "problems", "medications"]
    of = {"sent_id": "message", "copy_id": "message"}.get(name, name.removesuffix("_id"))
    return pools.get(of) or everything


def seen(client: Client, words: tuple[str, ...]) -> set[tuple[str, str]]:
    """Which of `words` are on which page."""
    found = set()
    hidden = [str(pk) for pk in Entry.objects.filter(personal=True).values_list("pk", flat=True)]
    for address in addresses():
        for item in ("", *hidden) if "/documents/" in address else ("",):
            answer = client.get(address, {"q": "en", "item": item})
            assert answer.status_code in (200, 302, 404, 410), (address, answer.status_code)
            data = b"".join(answer) if answer.streaming else answer.content  # type: ignore[arg-type]
            text = html.unescape(data.decode(errors="replace"))
            found |= {(word, address) for word in words if word in text}
    return found


def words(found: set[tuple[str, str]]) -> set[str]:
    return {word for word, _ in found}


def test_custodians_see_everything(world):
    """Or else the tests below would prove nothing."""
    client = Client()
    client.force_login(world.owner)
    found = seen(client, (*PERSONAL, *OPEN, SHARED))
    assert words(found) == {*PERSONAL, *OPEN, SHARED}
    assert {word for word, where in found if "/documents/" in where} == {PERSONAL[0], *OPEN}
    assert {word for word, where in found if "/messages/" in where} >= {PERSONAL[0], PERSONAL[2], *OPEN}


@pytest.mark.parametrize("right", [Right.VIEW, Right.MODIFY])
def test_personal_items_and_what_tells_them_are_for_custodians(world, right):
    client = browser(world.record, right)
    found = seen(client, (*PERSONAL, *OPEN, SHARED))
    assert not {(word, where) for word, where in found if word in PERSONAL}
    assert words(found) == {*OPEN, SHARED}


@pytest.mark.parametrize("right", [Right.VIEW, Right.MODIFY])
def test_a_grant_of_some_kinds_shows_these_only(world, right):
    client = browser(world.record, right, kinds=["medications"], expires=timezone.now() + timedelta(days=1))
    found = seen(client, (*PERSONAL, *OPEN, SHARED))
    assert not {(word, where) for word, where in found if word != SHARED}
    assert words(found) == {SHARED}


def test_a_grant_that_is_over_shows_nothing(world):
    client = browser(world.record, Right.MODIFY, expires=timezone.now())
    assert not seen(client, (*PERSONAL, *OPEN, SHARED))


def test_nobody_else_sees_anything(world):
    stranger = Client()
    stranger.force_login(factories.account("stranger@family.example", "Ida"))
    assert not seen(stranger, (*PERSONAL, *OPEN, SHARED))
    for address in addresses():
        answer = Client().get(address)
        assert answer.status_code in (404, 410) or answer.headers["Location"].startswith(ELSEWHERE), address


def test_a_document_that_nobody_has_read_yet_may_tell_a_personal_item(world):
    unread = charts.problems(charts.problem("9", "Eberesche"))
    charts.send(world.record, charts.chart("D9", "20240501", unread))
    assert not seen(browser(world.record, Right.VIEW), ("Eberesche",))


def test_what_may_not_be_seen_cannot_be_written_or_claimed(world):
    client = browser(world.record, Right.MODIFY, kinds=["medications"])
    assert f'value="{world.record.pk}"' not in client.get("/messages/compose/").content.decode()
    whole = browser(world.record, Right.MODIFY)
    assert str(world.record.pk) in whole.get("/messages/compose/").content.decode()
