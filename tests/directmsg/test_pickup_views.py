"""Picking up with a browser: from the link in the mail to the message in the record."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from directmsg import amend, parcels, pickup
from directmsg.models import AnswerAttempt, DirectAddress, FindRequest, MailEvent, Parcel, PickupCode
from healthvault.audit.models import AuditEvent
from healthvault.outbox.models import Notification
from healthvault.store import models as store_models
from healthvault.store.models import Blob
from records import proofs
from records.models import Account, Attachment, Grant, Message, Record, Right
from tests import factories
from tests.documents import CDA_TYPE, VISIT

pytestmark = pytest.mark.django_db

PICKUP, ANSWER, CODE, CLAIM = "/pickup/", "/pickup/answer/", "/pickup/code/", "/pickup/claim/"
NOT_FOR_ME, FIND = "/pickup/not-for-me/", "/pickup/find/"
FILES = (("visit.xml", CDA_TYPE, VISIT), ("map.pdf", "application/pdf", b"%PDF-1.4 test"))
SCANNERS = ("Mozilla/5.0", "SafeLinks/1.0", "Barracuda Sentinel", "Slackbot-LinkExpanding 1.0", "curl/8")


@pytest.fixture
def account() -> Account:
    return factories.account()


@pytest.fixture
def record(account) -> Record:
    return factories.record(account)


class Browser(Client):
    """A browser with one tab: its forms name the parcel of its session, as the pages do."""

    def post(self, path, data=None, *args, **options):
        shown = self.session.get("pickup", {}).get("parcel", "")
        return super().post(path, {"parcel": shown, **(data or {})}, *args, **options)


def link_of(parcel: Parcel) -> str:
    """The path of the newest link mailed for a parcel."""
    mail = Notification.objects.filter(related_id=str(parcel.pk)).order_by("created").last()
    return re.search(r"/pickup/[\w-]{43}/", mail.text)[0]


def browser(account: Account | None = None, parcel: Parcel | None = None) -> Browser:
    """A browser, signed in as `account`, that came by the link of `parcel`."""
    made = Browser()
    if account is not None:
        made.force_login(account)
    if parcel is not None:
        made.get(link_of(parcel))
    return made


def state(parcel: Parcel) -> dict:
    return Parcel.objects.filter(pk=parcel.pk).values().get()


# --- the whole way --------------------------------------------------------------------------------------
def test_from_the_link_to_the_record(account, record):
    parcel = factories.parcel(files=FILES)
    client = Browser()
    arrived = client.get(link_of(parcel))
    assert (arrived.status_code, arrived.headers["Location"]) == (302, PICKUP)

    page = client.get(PICKUP).content.decode()
    assert "Larkspur Community Hospital" in page
    assert "n***@patient.example" in page
    for hidden in ("First pet", "Biscuit", "Your summary", "map.pdf", "nora@"):
        assert hidden not in page
    asked = client.get(ANSWER)
    assert (asked.status_code, asked.headers["Location"]) == (302, f"/accounts/login/?next={ANSWER}")

    client.force_login(account)
    question = client.get(ANSWER).content.decode()
    assert "First pet?" in question
    assert "3 tries left" in question
    assert client.post(ANSWER, {"answer": " bis-cuit"}).headers["Location"] == CLAIM
    shown = client.get(CLAIM).content.decode()
    for word in ("Your summary", "map.pdf", "visit.xml", account.email):
        assert word in shown
    done = client.post(CLAIM, {"record": str(record.pk)})
    message = Message.objects.get()
    assert done.headers["Location"] == f"/messages/{message.pk}/?claimed=1"
    assert (message.record, message.subject) == (record, "Your summary")
    assert state(parcel)["state"] == "claimed"
    event = AuditEvent.objects.get(action="parcel.claimed")
    assert (event.actor, event.record, event.address) == (str(account.pk), record.pk, "127.0.0.1")
    assert "pickup" not in client.session
    assert "pickup_opened" not in client.session
    assert client.get(done.headers["Location"]).status_code == 200


def test_a_new_record_is_opened_for_somebody_else(account, record):
    parcel = factories.parcel()
    client = browser(account, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    nameless = client.post(CLAIM, {"record": "new", "name": " "})
    assert nameless.status_code == 200
    assert Record.objects.count() == 1
    client.post(CLAIM, {"record": "new", "name": "Ida Whitlock", "relationship": "child"})
    child = Message.objects.get().record
    assert (child.name, child != record) == ("Ida Whitlock", True)
    assert Grant.objects.get(record=child).relationship == "child"
    assert DirectAddress.objects.filter(record=child).exists()


def test_who_loses_the_race_is_left_without_an_empty_record(account, monkeypatch):
    parcel = factories.parcel()
    client = browser(account, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    real = pickup.claim

    def slower(mine, *args, **options):
        # On a connection of its own this would stand; here the view's transaction takes it back.
        parcels.close(mine, Parcel.State.DECLINED)
        return real(mine, *args, **options)

    monkeypatch.setattr(pickup, "claim", slower)
    lost = client.post(CLAIM, {"record": "new", "name": "Ida", "relationship": "child"})
    assert lost.headers["Location"] == PICKUP
    assert not Record.objects.exists()
    assert not DirectAddress.objects.exists()


def test_records_one_may_only_view_are_no_choice(account, record):
    other = factories.record(factories.account("eve@stranger.example", "Eve"))
    Grant.objects.create(account=account, record=other, right=1)
    parcel = factories.parcel()
    client = browser(account, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    assert client.post(CLAIM, {"record": str(other.pk)}).status_code == 200
    assert not Message.objects.exists()


# --- GET and HEAD change nothing ------------------------------------------------------------------------
def test_machines_that_open_links_change_nothing(account):
    parcel = factories.parcel()
    before, link = state(parcel), link_of(parcel)
    mails, events = Notification.objects.count(), MailEvent.objects.count()
    signed_in = browser(account)
    for number in range(50):
        scanner = Client(headers={"User-Agent": SCANNERS[number % len(SCANNERS)]})
        assert scanner.get(link, follow=True).status_code == 200
    assert Browser().head(link).status_code == 302
    for path in (link, PICKUP, ANSWER, CODE, CLAIM, NOT_FOR_ME, FIND):
        signed_in.get(path)
        signed_in.head(path)
    assert state(parcel) == before
    assert (Notification.objects.count(), MailEvent.objects.count()) == (mails, events)
    assert not AnswerAttempt.objects.exists()
    assert not PickupCode.objects.exists()


def test_pages_of_pickup_are_not_kept_and_tell_no_referrer(account):
    parcel = factories.parcel()
    for answer in (Browser().get(link_of(parcel)), browser(account, parcel).get(ANSWER)):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] in ("no-referrer", "same-origin")
    assert Browser().get(link_of(parcel)).headers["Referrer-Policy"] == "no-referrer"
    assert link_of(parcel).split("/")[2] not in browser(account, parcel).get(PICKUP).content.decode()


# --- links that lead nowhere ----------------------------------------------------------------------------
def dead_parcels() -> dict[str, str]:
    """Links by why they lead nowhere."""
    links = {"unknown": f"/pickup/{'x' * 43}/", "short": "/pickup/x/"}
    for name in ("expired", "cleaned", "withdrawn", "declined", "claimed", "replaced"):
        parcel = factories.parcel(f"{name}@patient.example", None, None)
        links[name] = link_of(parcel)
        rows = Parcel.objects.filter(pk=parcel.pk)
        if name == "expired":
            rows.update(expires=timezone.now())
        elif name == "replaced":
            parcels.new_link(parcel)
        elif name == "claimed":
            # By another link than this one.
            rows.update(state="claimed", token_hash=None)
        else:
            parcels.close(parcel, "expired" if name == "cleaned" else name)
    return links


def test_all_links_that_lead_nowhere_show_the_same_bytes():
    seen = {}
    for name, link in dead_parcels().items():
        client = Browser()
        first = client.get(link)
        page = client.get(PICKUP)
        cookies = sorted(first.cookies)
        seen[name] = (first.status_code, first.headers["Location"], cookies, page.status_code, page.content)
    assert len(set(map(str, seen.values()))) == 1
    assert seen["unknown"][3] == 410


def test_a_dead_link_does_not_break_what_follows(account):
    """The handle of a link that leads nowhere is in the session when somebody signs up or in."""
    client = browser()
    client.get("/pickup/nothing/")
    form = {"email": "new@patient.example", "password1": factories.PASSWORD, "name": "New"}
    assert client.post("/accounts/signup/", form).status_code == 302
    client = browser(account)
    client.get("/pickup/nothing/")
    for path in (PICKUP, ANSWER, CODE, CLAIM):
        assert client.get(path).status_code in (302, 410)
    assert client.post(NOT_FOR_ME, {"sure": "1"}).status_code == 302


def test_a_dead_link_ends_the_handle_of_a_living_one(account):
    client = browser(account, factories.parcel())
    client.get("/pickup/nothing/")
    assert client.get(PICKUP).status_code == 410


def test_a_newer_link_ends_the_session_that_came_by_the_older(account):
    parcel = factories.parcel()
    client = browser(account, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    parcels.new_link(parcel)
    assert client.get(CLAIM).headers["Location"] == PICKUP
    assert client.get(PICKUP).status_code == 410


# --- answers --------------------------------------------------------------------------------------------
def test_wrong_answers_are_told_and_lock(account):
    parcel = factories.parcel()
    client = browser(account, parcel)
    assert "Type your answer" in client.post(ANSWER, {"answer": " "}).content.decode()
    assert "You have 2 tries left" in client.post(ANSWER, {"answer": "Rex"}).content.decode()
    again = client.post(ANSWER, {"answer": "rex"}).content.decode()
    assert "You gave this answer before" in again
    assert client.post(ANSWER, {"answer": "Max"}).status_code == 200
    assert client.post(ANSWER, {"answer": "Bo"}).headers["Location"] == PICKUP
    locked = client.get(PICKUP)
    assert locked.status_code == 200
    assert "Ask Larkspur Community Hospital to send it again" in locked.content.decode()
    for path in (ANSWER, CODE, CLAIM):
        assert client.get(path).headers["Location"] == PICKUP
    assert client.post(ANSWER, {"answer": "Biscuit"}).headers["Location"] == PICKUP


def test_too_many_answers_are_429_with_the_time_to_wait(account, caplog):
    parcel = factories.parcel()
    AnswerAttempt.objects.bulk_create(
        AnswerAttempt(parcel=parcel, contact_hash=f"{n}", network=f"{n}") for n in range(100)
    )
    client = browser(account, parcel)
    answer = client.post(ANSWER, {"answer": "Rex"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert state(parcel)["tries_left"] == 3
    assert [record.code for record in caplog.records if record.levelname == "ERROR"] == ["answer_brake"]
    assert AuditEvent.objects.get(action="parcel.try").outcome == "too_many_tries"


def test_a_busy_portal_takes_no_try(account, monkeypatch):
    monkeypatch.setattr(store_models, "ANSWER_WAIT_S", 0.01)
    parcel = factories.parcel()
    client = browser(account, parcel)
    slots = store_models._answer_slots
    for _ in range(store_models.ANSWERS_AT_ONCE):
        slots.acquire()
    try:
        answer = client.post(ANSWER, {"answer": "Biscuit"})
    finally:
        slots.release(store_models.ANSWERS_AT_ONCE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert state(parcel)["tries_left"] == 3
    assert not AnswerAttempt.objects.exists()
    assert client.post(ANSWER, {"answer": "Biscuit"}).headers["Location"] == CLAIM


def test_the_opened_parcel_is_not_carried_to_another_account(account, record):
    other = factories.account("eve@stranger.example", "Eve")
    factories.record(other)
    parcel = factories.parcel()
    client = browser(account, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    stolen = {name: client.session[name] for name in ("pickup", "pickup_opened")}
    client.force_login(other)
    assert "pickup_opened" not in client.session
    session = client.session
    session.update(stolen)
    session.save()
    assert client.get(CLAIM).headers["Location"] == ANSWER
    assert client.post(CLAIM, {"record": "new", "name": "x"}).headers["Location"] == ANSWER
    assert not Message.objects.exists()


def test_the_session_key_changes_when_the_answer_is_right_and_at_the_claim(account, record):
    client = browser(account, factories.parcel())
    keys = [client.session.session_key]
    client.post(ANSWER, {"answer": "Biscuit"})
    keys.append(client.session.session_key)
    client.post(CLAIM, {"record": str(record.pk)})
    keys.append(client.session.session_key)
    assert len(set(keys)) == 3


def test_signing_out_drops_the_handle(account):
    client = browser(account, factories.parcel())
    client.post(ANSWER, {"answer": "Biscuit"})
    client.post("/accounts/logout/")
    assert "pickup" not in client.session
    client.force_login(account)
    assert client.get(PICKUP).status_code == 410


def test_signing_in_keeps_the_handle_under_a_new_session_key(account):
    EmailAddress.objects.create(user=account, email=account.email, verified=True, primary=True)
    client = browser(None, factories.parcel())
    before = client.session.session_key
    form = {"login": account.email, "password": factories.PASSWORD}
    assert client.post(f"/accounts/login/?next={ANSWER}", form).headers["Location"] == ANSWER
    assert client.session.session_key != before
    assert "First pet?" in client.get(ANSWER).content.decode()


# --- two tabs, and what changes between two pages ---------------------------------------------------------
def test_every_form_names_the_parcel_it_was_shown_for(account, record):
    parcel = factories.parcel("other@patient.example", None, None)
    client = browser(account, parcel)
    field = f'<input type="hidden" name="parcel" value="{parcel.pk}">'
    assert field in client.get(PICKUP).content.decode()
    assert field in client.post(NOT_FOR_ME).content.decode()
    assert field in client.get(ANSWER).content.decode()
    client.post(ANSWER, {"email": "other@patient.example"})
    assert client.get(CODE).content.decode().count(field) == 2
    proofs.add(account, "other@patient.example")
    assert field in client.get(CLAIM).content.decode()


def test_erasing_in_one_tab_does_not_erase_what_the_other_opened():
    first, second = factories.parcel(), factories.parcel("x@patient.example")
    client = browser(None, first)
    assert "erased for good" in client.post(NOT_FOR_ME).content.decode()
    client.get(link_of(second))
    for form in ({"parcel": str(first.pk), "sure": "1"}, {"parcel": "", "sure": "1"}):
        assert client.post(NOT_FOR_ME, form).headers["Location"] == PICKUP
        assert "you opened another link meanwhile" in client.get(PICKUP).content.decode()
    assert [state(parcel)["state"] for parcel in (first, second)] == ["waiting", "waiting"]


def test_an_answer_in_one_tab_costs_no_try_on_what_the_other_opened(account, record):
    first, second = factories.parcel(), factories.parcel(question="Street?", answer="Juniper Lane")
    client = browser(account, first)
    client.get(link_of(second))
    answer = client.post(ANSWER, {"parcel": str(first.pk), "answer": "Biscuit"})
    assert answer.headers["Location"] == PICKUP
    assert state(second)["tries_left"] == 3
    client.post(ANSWER, {"answer": "Juniper Lane"})
    assert client.post(CLAIM, {"parcel": str(first.pk), "record": str(record.pk)}).status_code == 302
    assert not Message.objects.exists()


def test_an_opened_parcel_is_closed_again_when_its_question_changes(account, record):
    parcel = factories.parcel()
    client = browser(account, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    loaded = Parcel.objects.select_related("holder", "content").get()
    key = loaded.holder.unwrap(answer="biscuit")
    amend.change(parcel, question=amend.prepare_question(loaded, "Street?", "Juniper Lane", "Biscuit"))
    assert client.get(CLAIM).headers["Location"] == ANSWER
    assert client.post(CLAIM, {"record": str(record.pk)}).headers["Location"] == ANSWER
    # Not even for who held the key when the question changed under the hands.
    with pytest.raises(pickup.NotWaiting):
        pickup.claim(loaded, account, record, key)
    assert not Message.objects.exists()
    client.post(ANSWER, {"answer": "juniper lane"})
    client.post(CLAIM, {"record": str(record.pk)})
    assert Message.objects.count() == 1


def test_what_waits_in_a_record_is_shown_to_who_keeps_it_now(account, record):
    helper = factories.account("eve@helper.example", "Eve")
    Grant.objects.create(account=helper, record=record, right=Right.CUSTODIAN)
    parcel = factories.parcel("box@direct.portal.example", for_record_id=str(record.pk))
    client = browser(helper)
    client.post(f"/messages/waiting/{parcel.pk}/")
    assert client.post(ANSWER, {"answer": "Biscuit"}).headers["Location"] == CLAIM
    loaded = Parcel.objects.select_related("holder", "content").get()
    key = loaded.holder.unwrap(answer="biscuit")
    own = factories.record(helper)
    with pytest.raises(pickup.NotYourRecord):
        pickup.claim(loaded, helper, own, key)
    Grant.objects.filter(account=helper, record=record).update(right=Right.MODIFY)
    with pytest.raises(pickup.NotYourRecord):
        pickup.claim(loaded, helper, record, key)
    assert client.get(CLAIM).headers["Location"] == PICKUP
    assert client.get(PICKUP).status_code == 410
    assert pickup.claim(loaded, account, record, key)


def test_every_try_is_in_the_audit_trail_with_its_outcome_and_address(account):
    client = browser(account, factories.parcel())
    for text in ("Rex", "rex", "Biscuit", "Max", "Bo", "Kit"):
        client.post(ANSWER, {"answer": text})
        session = client.session
        session.pop("pickup_opened", None)
        session.save()
    tries = AuditEvent.objects.filter(action="parcel.try").order_by("id")
    outcomes = ["wrong", "repeated", "right", "wrong", "locked"]
    assert list(tries.values_list("outcome", flat=True)) == outcomes
    assert set(tries.values_list("actor", "address")) == {(str(account.pk), "127.0.0.1")}


# --- the mailbox ----------------------------------------------------------------------------------------
def test_without_a_question_comes_the_typed_address_and_then_the_code(account, record, mailed_code):
    parcel = factories.parcel("other@patient.example", None, None)
    client = browser(account, parcel)
    asked = client.get(ANSWER).content.decode()
    assert "has set no question" in asked
    assert "other@" not in asked
    assert "2 tries left" in client.post(ANSWER, {"email": account.email}).content.decode()
    assert client.get(CLAIM).headers["Location"] == ANSWER
    assert client.post(ANSWER, {"email": "OTHER@patient.example"}).headers["Location"] == CODE
    assert client.get(CLAIM).headers["Location"] == CODE
    code = mailed_code("other@patient.example")
    wrong = client.post(CODE, {"pickup_code": "00000000" if code != "00000000" else "11111111"})
    assert "This code is not right" in wrong.content.decode()
    assert client.post(CODE, {"pickup_code": code}).headers["Location"] == CLAIM
    assert client.post(CLAIM, {"record": str(record.pk)}).status_code == 302
    assert Message.objects.count() == 1


def test_with_the_mailbox_proved_there_is_no_code(account, record):
    client = browser(account, factories.parcel(question=None, answer=None))
    assert client.post(ANSWER, {"email": account.email}).headers["Location"] == CLAIM
    assert client.get(CODE).headers["Location"] == CLAIM


def test_no_code_is_mailed_before_the_address_was_typed(account):
    parcel = factories.parcel("other@patient.example", None, None)
    client = browser(account, parcel)
    before = Notification.objects.count()
    assert client.post(CODE, {"again": "1"}).headers["Location"] == ANSWER
    assert Notification.objects.count() == before
    assert not PickupCode.objects.exists()


def test_codes_are_mailed_five_times_a_day(account):
    parcel = factories.parcel("other@patient.example", None, None)
    client = browser(account, parcel)
    client.post(ANSWER, {"email": "other@patient.example"})
    for _ in range(4):
        assert client.post(CODE, {"again": "1"}).status_code == 302
    assert "Too many codes" in client.post(CODE, {"again": "1"}).content.decode()
    assert PickupCode.objects.count() == 5


# --- not for me, and others' parcels --------------------------------------------------------------------
@pytest.mark.parametrize("locked", [False, True])
def test_not_for_me_asks_and_then_erases(locked):
    parcel = factories.parcel(files=FILES)
    if locked:
        Parcel.objects.update(state=Parcel.State.LOCKED)
    client = browser(None, parcel)
    assert "erased for good" in client.post(NOT_FOR_ME).content.decode()
    assert Blob.objects.exists()
    assert "It is erased" in client.post(NOT_FOR_ME, {"sure": "1"}).content.decode()
    assert not Blob.objects.exists()
    assert state(parcel)["state"] == "declined"
    assert MailEvent.objects.filter(name="declined").count() == 1
    assert AuditEvent.objects.get(action="pickup.declined").address == "127.0.0.1"
    assert client.get(PICKUP).status_code == 410


def test_the_holder_of_one_link_is_not_told_who_else_wrote(account):
    parcel = factories.parcel()
    factories.parcel()
    Parcel.objects.exclude(pk=parcel.pk).update(organization_name="Rowan Oncology")
    stranger = factories.account("eve@stranger.example", "Eve")
    for who in (None, stranger):
        assert "Rowan Oncology" not in browser(who, parcel).get(PICKUP).content.decode()
    assert "Rowan Oncology" in browser(account, parcel).get(PICKUP).content.decode()


def test_what_waits_for_a_proved_mailbox_needs_no_link(account, record):
    mine, theirs = factories.parcel(), factories.parcel("other@patient.example")
    client = browser(account)
    page = client.get("/messages/waiting/").content.decode()
    assert str(mine.pk) in page
    assert str(theirs.pk) not in page
    assert client.post(f"/messages/waiting/{theirs.pk}/").status_code == 404
    assert "pickup" not in client.session
    assert client.post(f"/messages/waiting/{mine.pk}/").headers["Location"] == ANSWER
    client.post(ANSWER, {"answer": "Biscuit"})
    assert client.post(CLAIM, {"record": str(record.pk)}).status_code == 302
    assert Message.objects.count() == 1


def test_find_my_messages_says_the_same_and_works_as_hard_for_everybody():
    factories.parcel()
    Notification.objects.update(created=timezone.now() - timedelta(hours=1))
    Browser().post(FIND, {"email": "first@patient.example"})
    seen = []
    for email in ("Nora@patient.example", "nobody@patient.example"):
        with CaptureQueriesContext(connection) as queries:
            answer = Browser().post(FIND, {"email": email})
        work = [query["sql"].split()[:3] for query in queries if "SAVEPOINT" not in query["sql"]]
        seen.append((answer.status_code, answer.content, work))
    assert seen[0] == seen[1]
    assert Notification.objects.count() == 1, "the page mails nothing itself"
    assert FindRequest.objects.count() == 3
    assert Browser().post(FIND, {"email": "no address"}).status_code == 200


def test_the_files_of_a_claim_follow_the_preference(account, record):
    Record.objects.update(files_preference="never")
    client = browser(account, factories.parcel(files=FILES))
    client.post(ANSWER, {"answer": "Biscuit"})
    client.post(CLAIM, {"record": str(record.pk)})
    assert list(Attachment.objects.values_list("outcome", flat=True)) == ["reading", "not_added"]


# --- a link that was used -------------------------------------------------------------------------------


def claimed(account, record) -> tuple[Parcel, str]:
    """A parcel that `account` picked up, and the link it came by."""
    parcel = factories.parcel()
    link = link_of(parcel)
    client = browser(account, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    client.post(CLAIM, {"record": str(record.pk)})
    parcel.refresh_from_db()
    assert parcel.state == "claimed"
    return parcel, link


def test_a_used_link_leads_its_claimer_to_the_message(account, record):
    parcel, link = claimed(account, record)
    again = Browser()
    again.get(link)
    page = again.get(PICKUP)
    assert page.status_code == 410
    assert f"/accounts/login/?next={PICKUP}" in page.content.decode()
    EmailAddress.objects.create(user=account, email=account.email, verified=True, primary=True)
    form = {"login": account.email, "password": factories.PASSWORD}
    assert again.post(f"/accounts/login/?next={PICKUP}", form).headers["Location"] == PICKUP
    assert again.get(PICKUP).headers["Location"] == f"/messages/{parcel.message_id}/"
    assert again.get(f"/messages/{parcel.message_id}/").status_code == 200


def test_a_used_link_tells_others_that_it_was_used_and_by_nobody(account, record):
    parcel, link = claimed(account, record)
    stranger = factories.account("tomas@patient.example", "Tomas Bergland")
    for who in (Browser(), browser(stranger)):
        who.get(link)
        page = who.get(PICKUP)
        text = page.content.decode()
        assert page.status_code == 410
        assert "picked up already" in text
        for told in (
            account.email,
            account.name,
            str(parcel.message_id),
            "Larkspur",
            "Your summary",
            "n***@",
        ):
            assert told not in text
        for path in (ANSWER, CODE, CLAIM):
            assert who.get(path).status_code == 302
        who.post(NOT_FOR_ME, {"sure": "on"})
    assert state(parcel)["state"] == "claimed"


def test_a_link_that_was_replaced_before_the_claim_leads_nobody_there(account, record):
    parcel = factories.parcel()
    old = link_of(parcel)
    pickup.parcels.new_link(parcel)
    client = browser(account, parcel)
    client.post(ANSWER, {"answer": "Biscuit"})
    client.post(CLAIM, {"record": str(record.pk)})
    client.get(old)
    assert "no longer works" in client.get(PICKUP).content.decode()


def test_a_used_link_leads_to_nothing_that_its_claimer_may_not_see_any_more(account, record):
    parcel, link = claimed(account, record)
    Grant.objects.filter(account=account, record=record).delete()
    client = browser(account)
    client.get(link)
    page = client.get(PICKUP)
    assert (page.status_code, str(parcel.message_id) in page.content.decode()) == (410, False)
