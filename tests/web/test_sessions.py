"""What keeps a session alive, and what stays out of cookies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from directmsg.models import Parcel
from healthvault.audit.models import AuditEvent
from healthvault.middleware import SEEN
from records import filing
from records.models import Account, Document, Message, Record
from tests import factories
from tests.directmsg.test_pickup_views import ANSWER, CLAIM, browser
from tests.documents import CDA_TYPE, VISIT

pytestmark = pytest.mark.django_db

POLL = {"HX-Request": "true", "HX-Trigger": "documents"}


@pytest.fixture
def person() -> Account:
    return factories.account()


@pytest.fixture
def record(person: Account) -> Record:
    return factories.record(person)


@pytest.fixture
def message(person: Account, record: Record) -> Message:
    parcel: Parcel = factories.parcel(files=(("visit.xml", CDA_TYPE, VISIT),))
    client = browser(person, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    assert client.post(CLAIM, {"record": str(record.pk)}).status_code == 302
    return Message.objects.get()


def signed_in(person: Account) -> Client:
    client = Client()
    client.force_login(person)
    return client


def views() -> int:
    return AuditEvent.objects.filter(action="message.viewed").count()


def test_a_page_that_asks_by_the_clock_keeps_no_session_alive(person, message):
    client = signed_in(person)
    path = f"/messages/{message.pk}/"
    client.get(path)
    end = timezone.now() + timedelta(minutes=3)
    Session.objects.filter(pk=client.session.session_key).update(expire_date=end)
    answer = client.get(f"{path}?unread=1", headers=POLL)
    assert answer.status_code == 204
    assert "session" not in answer.cookies
    assert Session.objects.get(pk=client.session.session_key).expire_date == end
    client.get(path)
    assert Session.objects.get(pk=client.session.session_key).expire_date > end + timedelta(minutes=10)


def test_nor_that_of_an_administrator(person, message):
    Account.objects.filter(pk=person.pk).update(is_staff=True)
    client = signed_in(person)
    client.get(f"/messages/{message.pk}/")
    session = client.session
    session[SEEN] = seen = (timezone.now() - timedelta(minutes=9)).timestamp()
    session.save()
    client.get(f"/messages/{message.pk}/?unread=1", headers=POLL)
    assert client.session[SEEN] == seen
    client.get(f"/messages/{message.pk}/")
    assert client.session[SEEN] > seen


def test_a_page_that_asks_is_one_look_and_asking_without_it_is_one_too(person, message):
    filing.read_document(str(Document.objects.get().pk))
    path = f"/messages/{message.pk}/"
    before = views()
    for _ in range(3):
        assert b"added to the record" in signed_in(person).get(path, headers=POLL).content
    assert views() == before + 1, "who asks for the part alone looks at it all the same"
    client = signed_in(person)
    client.get(path)
    assert views() == before + 2
    for _ in range(3):
        client.get(path, headers=POLL)
    assert views() == before + 2


def test_words_to_a_person_stand_in_no_cookie(person, record):
    client = signed_in(person)
    answer = client.post("/accounts/", {"name": "Nora Falk"})
    assert set(answer.cookies) == {"session"}
    assert "Your name is saved." in client.get("/accounts/").content.decode()
