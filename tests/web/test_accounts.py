"""Signing up, signing in, the second step, and what follows from each."""

import base64
import hmac
import re
import struct
import time
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.adapter import get_adapter as mfa_adapter
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from directmsg import pickup
from directmsg.addresses import primary_address
from healthvault.audit.models import AuditEvent
from healthvault.middleware import SEEN, STARTED
from healthvault.outbox.models import Notification
from records import proofs
from records.models import Account, Grant, Record
from tests.factories import PASSWORD, account, parcel, record

EMAIL = "ines@patient.example"
CHOSEN = "quarry-lamp-otter-9"


@pytest.fixture(autouse=True)
def outbox(settings):
    """Mail goes the portal's own way; the test runner would keep it in memory."""
    settings.EMAIL_BACKEND = "healthvault.outbox.backend.OutboxBackend"


@pytest.fixture(autouse=True)
def no_tries_yet(db):
    """Counters of tries stand in the cache's table, which a test with real transactions leaves as it is."""
    cache.clear()


def newest_mail() -> Notification:
    return Notification.objects.latest("created")


def code_of(mail: Notification) -> str:
    return re.search(r"^\d{4}-\d{4}$", mail.text, re.M).group(0)


def sign_up(client, email=EMAIL, password=CHOSEN, name="Ines Falk", **more):
    form = {"name": name, "email": email, "password1": password, **more}
    return client.post("/accounts/signup/", form)


def sign_in(client, email, password=PASSWORD, **more):
    return client.post("/accounts/login/", {"login": email, "password": password, **more})


def verified(**extra) -> Account:
    made = account(**extra)
    EmailAddress.objects.create(user=made, email=made.email, verified=True, primary=True)
    record(made)
    return made


def totp(secret: str) -> str:
    """RFC 6238 with its usual parameters."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">Q", int(time.time()) // 30), "sha1").digest()
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at : at + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


# --- signing up -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_sign_up_confirms_the_address_and_opens_a_record(client):
    assert sign_up(client).headers["Location"] == "/accounts/confirm-email/"
    made = Account.objects.get(email=EMAIL)
    assert made.name == "Ines Falk"
    assert not Grant.objects.exists(), "an address that nobody has confirmed takes up no Direct address"

    mail = newest_mail()
    assert mail.to_address == EMAIL
    answer = client.post("/accounts/confirm-email/", {"code": code_of(mail)})
    assert answer.headers["Location"] == "/messages/"
    opened = Record.objects.get()
    assert opened.name == "Ines Falk"
    assert primary_address(opened).address.endswith("@direct.portal.example")
    assert "ines" not in primary_address(opened).address
    assert proofs.has(made, proofs.mailbox_hash(EMAIL))


@pytest.mark.django_db
def test_a_wrong_code_does_not_sign_in(client):
    sign_up(client)
    code = code_of(newest_mail())
    wrong = "0000-0000" if code != "0000-0000" else "0000-0001"
    answer = client.post("/accounts/confirm-email/", {"code": wrong})
    assert "This code is not right" in answer.content.decode()
    assert "_auth_user_id" not in client.session


@pytest.mark.django_db
def test_mail_about_accounts_has_both_forms_and_only_our_public_address(client, settings):
    settings.PUBLIC_URL = "https://portal.example"
    sign_up(client)
    mail = newest_mail()
    assert mail.html
    assert "https://portal.example" in mail.text
    assert "testserver" not in mail.text + mail.html


@pytest.mark.django_db
def test_sign_up_answers_alike_whether_or_not_the_address_has_an_account(client):
    verified(email="nora@patient.example")
    taken, free = Client(), Client()
    first, second = sign_up(taken, email="nora@patient.example"), sign_up(free)
    assert first.status_code == second.status_code == 302
    assert first.headers["Location"] == second.headers["Location"]
    told = Notification.objects.all()
    assert {mail.subject for mail in told} == {
        "You have an account already",
        "Your code to finish signing up",
    }


@pytest.mark.django_db
def test_sign_up_refuses_our_own_direct_addresses(client):
    page = sign_up(client, email="ines@direct.portal.example").content.decode()
    assert "not a Direct address" in page
    assert not Account.objects.exists()


@pytest.mark.django_db
def test_errors_are_tied_to_their_fields(client):
    page = sign_up(client, password="short").content.decode()
    field = re.search(r'<input type="password"[^>]*>', page).group(0)
    assert 'aria-invalid="true"' in field
    described = re.search(r'aria-describedby="([^"]+)"', field).group(1).split()
    assert "id_password1_error" in described
    for place in described:
        assert f'id="{place}"' in page


# --- by a pickup link -----------------------------------------------------------------------------


def come_by_link(client, held):
    client.cookies.clear()
    session = client.session
    session["pickup"] = {"parcel": str(held.pk), "token": held.token_hash}
    session.save()


@pytest.mark.django_db
def test_a_pickup_link_verifies_for_signing_in_only(client):
    held = parcel(contact=EMAIL)
    come_by_link(client, held)
    assert f'value="{EMAIL}"' in client.get("/accounts/signup/").content.decode()
    answer = sign_up(client, next="/pickup/answer/")
    assert answer.headers["Location"] == "/pickup/answer/"
    made = Account.objects.get(email=EMAIL)
    assert EmailAddress.objects.get(user=made).verified
    assert not proofs.hashes_of(made), "the link shows nothing about other mail to that mailbox"
    assert pickup.waiting_for(made) == []


@pytest.mark.django_db
def test_a_pickup_link_verifies_no_other_address(client):
    come_by_link(client, parcel(contact=EMAIL))
    answer = sign_up(client, email="somebody@else.example")
    assert answer.headers["Location"] == "/accounts/confirm-email/"
    assert not EmailAddress.objects.get(email="somebody@else.example").verified


@pytest.mark.django_db
def test_an_ended_parcel_verifies_nothing(client):
    held = parcel(contact=EMAIL)
    come_by_link(client, held)
    pickup.decline(held, None)
    assert sign_up(client).headers["Location"] == "/accounts/confirm-email/"


# --- signing in -----------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ("/records/", "/records/"),
        ("https://evil.example/", "/messages/"),
        ("//evil.example/", "/messages/"),
        ("%2F%2Fevil.example/", "/messages/"),
        ("/%5Cevil.example/", "/messages/"),
        ("javascript:alert(1)", "/messages/"),
    ],
)
def test_next_stays_on_this_site(client, target, reached):
    verified()
    assert sign_in(client, "nora@patient.example", next=target).headers["Location"] == reached


@pytest.mark.django_db
def test_signing_in_changes_the_session_key(client):
    verified()
    client.get("/accounts/login/")
    session = client.session
    session["planted"] = 1
    session.save()
    before = session.session_key
    client.cookies["session"] = before
    sign_in(client, "nora@patient.example")
    assert client.session.session_key != before


@pytest.mark.django_db
def test_signing_in_and_failing_to_are_audited_without_what_was_typed(client):
    person = verified()
    sign_in(client, "nora@patient.example", "not the password")
    sign_in(client, "nora@patient.example")
    events = AuditEvent.objects.filter(action__startswith="account.sign").order_by("pk")
    assert [(event.action, event.outcome) for event in events] == [
        ("account.sign_in", "refused"),
        ("account.signed_in", "ok"),
    ]
    assert str(person.pk) not in str(events[0].__dict__)


@pytest.mark.django_db
def test_failed_sign_ins_are_limited(client):
    verified()
    pages = [sign_in(client, "nora@patient.example", "wrong").content.decode() for _ in range(7)]
    assert "Too many tries" in pages[-1]


@pytest.mark.django_db
def test_a_second_sign_in_opens_no_second_record(client):
    verified()
    sign_in(client, "nora@patient.example")
    assert Record.objects.count() == 1


@pytest.mark.django_db
def test_signing_out_clears_what_the_browser_stored(client):
    verified()
    sign_in(client, "nora@patient.example")
    answer = client.post("/accounts/logout/")
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert "_auth_user_id" not in client.session


# --- the second step ------------------------------------------------------------------------------


def set_up_app(client) -> str:
    """Switch on an authenticator app; returns its secret."""
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    assert 'src="data:image/svg+xml' in page
    secret = re.search(r'<code class="address">(\w+)</code>', page).group(1)
    answer = client.post("/accounts/2fa/totp/activate/", {"code": totp(secret)})
    assert answer.status_code == 302, answer.content.decode()
    return secret


@pytest.mark.django_db
def test_secrets_of_authenticators_are_sealed(client):
    verified()
    sign_in(client, "nora@patient.example")
    secret = set_up_app(client)
    stored = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in stored
    assert Authenticator.objects.count() == 2
    sealed = Authenticator.objects.get(type="totp").data["secret"]
    assert mfa_adapter().decrypt(sealed) == secret


@pytest.mark.django_db
def test_a_secret_moved_into_another_accounts_row_does_not_work(client):
    """Whoever writes to the database must not give somebody a second step that they hold themselves."""
    verified()
    sign_in(client, "nora@patient.example")
    set_up_app(client)
    thief = verified(email="thief@patient.example")
    browser = Client()
    sign_in(browser, "thief@patient.example")
    known = set_up_app(browser)
    rows = Authenticator.objects.filter(type="totp")
    stolen = rows.filter(user=thief).values_list("data", flat=True).get()
    rows.exclude(user=thief).update(data=stolen)
    other = Client(raise_request_exception=False)
    sign_in(other, "nora@patient.example")
    other.post("/accounts/2fa/authenticate/", {"code": totp(known)})
    assert "_auth_user_id" not in other.session

    # Nor with the other's id written in front of it.
    victim = Account.objects.get(email="nora@patient.example")
    forged = {"secret": f"{victim.pk}:{stolen['secret'].partition(':')[2]}"}
    rows.exclude(user=thief).update(data=forged)
    other.post("/accounts/2fa/authenticate/", {"code": totp(known)})
    assert "_auth_user_id" not in other.session


@pytest.mark.django_db
def test_a_code_of_the_app_completes_signing_in(client):
    verified()
    sign_in(client, "nora@patient.example")
    secret = set_up_app(client)
    # The code that switched it on is not taken twice.
    cache.clear()
    other = Client()
    sign_in(other, "nora@patient.example")
    other.post("/accounts/2fa/authenticate/", {"code": totp(secret)})
    assert "_auth_user_id" in other.session


@pytest.mark.django_db
def test_with_a_second_step_the_password_is_not_enough(client):
    verified()
    sign_in(client, "nora@patient.example")
    set_up_app(client)
    other = Client()
    assert (
        sign_in(other, "nora@patient.example").headers["Location"].startswith("/accounts/2fa/authenticate/")
    )
    assert "_auth_user_id" not in other.session


@pytest.mark.django_db(transaction=True)
def test_a_new_second_step_ends_other_sessions(client):
    person = verified()
    other = Client()
    for browser in (client, other):
        sign_in(browser, "nora@patient.example")
    assert UserSession.objects.count() == 2
    set_up_app(client)
    assert AuditEvent.objects.filter(action="account.second_step_changed", actor=str(person.pk)).exists()
    told = {mail.subject for mail in Notification.objects.all()}
    assert told == {"An authenticator app was added"}
    assert other.get("/accounts/").status_code == 302
    assert client.get("/accounts/").status_code == 200


@pytest.mark.django_db
def test_a_new_password_ends_other_sessions(client):
    verified()
    other = Client()
    for browser in (client, other):
        sign_in(browser, "nora@patient.example")
    form = {"oldpassword": PASSWORD, "password1": CHOSEN, "password2": CHOSEN}
    assert client.post("/accounts/password/change/", form).headers["Location"] == "/accounts/"
    assert other.get("/accounts/").status_code == 302
    assert client.get("/accounts/").status_code == 200
    assert newest_mail().subject == "Your password was changed"


@pytest.mark.django_db
def test_administrators_of_a_production_portal_need_a_second_step(client, settings):
    settings.PRODUCTION = True
    person = verified(email="admin@portal.example", is_staff=True, is_superuser=True)
    sign_in(client, person.email)
    assert client.get("/admin/").headers["Location"] == "/accounts/2fa/"
    set_up_app(client)
    assert client.get("/admin/").status_code == 200


# --- sessions -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_session_data_is_sealed_at_rest_and_stays_with_its_key(client):
    person = verified()
    sign_in(client, person.email)
    row = Session.objects.get(session_key=client.session.session_key)
    assert str(person.pk) not in row.session_data
    assert person.pk.hex not in base64.b64decode(row.session_data).hex()
    moved = Session.objects.create(
        session_key="q" * 32, session_data=row.session_data, expire_date=row.expire_date
    )
    thief = Client()
    thief.cookies["session"] = moved.session_key
    assert thief.get("/accounts/").status_code == 302


@pytest.mark.django_db
def test_sessions_are_listed_in_words_and_can_be_ended(client):
    person = verified()
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
    other = Client(headers={"User-Agent": agent})
    sign_in(other, person.email)
    sign_in(client, person.email)
    page = client.get("/accounts/sessions/").content.decode()
    assert "Firefox on Windows" in page
    client.post("/accounts/sessions/")
    assert other.get("/accounts/").status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("staff", "mark", "age", "status"),
    [
        (False, STARTED, timedelta(hours=11), 200),
        (False, STARTED, timedelta(hours=13), 302),
        (True, STARTED, timedelta(hours=9), 302),
        (True, SEEN, timedelta(minutes=9), 200),
        (True, SEEN, timedelta(minutes=11), 302),
    ],
)
def test_sessions_end(client, staff, mark, age, status):
    client.force_login(account(is_staff=staff))
    client.get("/accounts/")
    session = client.session
    session[mark] = (timezone.now() - age).timestamp()
    session.save()
    assert client.get("/accounts/").status_code == status


# --- the account ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_address_that_is_given_up_shows_nothing_any_more(client):
    person = verified()
    EmailAddress.objects.create(user=person, email="old@patient.example", verified=True)
    proofs.add(person, "old@patient.example")
    parcel(contact="old@patient.example")
    assert len(pickup.waiting_for(person)) == 1
    sign_in(client, person.email)
    asked = client.post("/accounts/email/", {"email": "old@patient.example", "action_remove": ""})
    assert asked.headers["Location"].startswith("/accounts/reauthenticate/"), "a sign-in alone is not enough"
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    client.post("/accounts/email/", {"email": "old@patient.example", "action_remove": ""})
    assert not EmailAddress.objects.filter(email="old@patient.example").exists()
    assert pickup.waiting_for(person) == []


@pytest.mark.django_db
def test_the_name_can_be_changed(client):
    person = verified()
    client.force_login(person)
    client.post("/accounts/", {"name": "Nora W. Hale"})
    person.refresh_from_db()
    assert person.name == "Nora W. Hale"


@pytest.mark.django_db
def test_a_forgotten_password_is_replaced_by_mail(client, settings):
    settings.PUBLIC_URL = "https://portal.example"
    person = verified()
    client.post("/accounts/password/reset/", {"email": person.email})
    link = re.search(r"https://portal\.example(/accounts/password/reset/key/\S+)", newest_mail().text).group(
        1
    )
    asked = client.get(link)
    form = {"password1": CHOSEN, "password2": CHOSEN}
    assert client.post(asked.headers["Location"], form).status_code == 302
    assert sign_in(Client(), person.email, CHOSEN).headers["Location"] == "/messages/"
    again = Client().get(link, follow=True)
    assert "does not work any more" in again.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/accounts/",
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/2fa/",
        "/accounts/2fa/webauthn/",
        "/accounts/sessions/",
        "/accounts/logout/",
        "/accounts/reauthenticate/",
        "/accounts/2fa/webauthn/add/",
    ],
)
def test_pages_of_the_account_are_ours(client, path):
    sign_in(client, verified().email)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    answer = client.get(path)
    assert answer.status_code == 200
    page = answer.content.decode()
    assert 'href="#main"' in page
    assert "css/components.css" in page
    assert page.count("<h1") == 1


# --- partners' tokens -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_metadata_of_the_token_service(client, settings):
    settings.PUBLIC_URL = "https://portal.example"
    told = client.get("/.well-known/openid-configuration").json()
    assert told["issuer"] == "https://portal.example"
    assert told["token_endpoint"] == "https://portal.example/identity/o/api/token"
    assert told["grant_types_supported"] == ["client_credentials"]
    assert "parcels.write" in told["scopes_supported"]
