"""What is deleted by age, and what stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from allauth.idp.oidc.models import Client as ApiClient
from allauth.idp.oidc.models import Token
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.utils import timezone

from directmsg import inbox
from directmsg.models import AnswerAttempt, InboundMail, MailEvent, PartnerRequest, PickupCode
from healthvault import cleaning
from healthvault.celery import app
from healthvault.store.models import Blob, HolderKey
from healthvault.tasks import clean
from tests import factories
from trust.models import Organization

pytestmark = pytest.mark.django_db

RAW = b"From: office@clinic.example\r\n\r\nGood morning.\r\n"
RECIPIENT = "anna@direct.portal.example"


def aged(days: float):
    return timezone.now() - timedelta(days=days)


def test_sessions_that_ended_go_with_what_was_noted_of_their_browser(client):
    client.force_login(factories.account())
    ended = client.session.session_key
    Session.objects.filter(pk=ended).update(expire_date=aged(0.1))
    other = type(client)()
    other.force_login(factories.account("lena@patient.example"))
    for each in (client, other):
        UserSession.objects.create(
            user_id=each.session.get("_auth_user_id") or factories.account("x@patient.example").pk,
            session_key=ended if each is client else other.session.session_key,
            ip="203.0.113.9",
        )
    clean()
    assert [session.pk for session in Session.objects.all()] == [other.session.session_key]
    assert [row.session_key for row in UserSession.objects.all()] == [other.session.session_key]


def test_tries_and_codes_go_after_two_days():
    parcel, person = factories.parcel(), factories.account()
    for days in (1.9, 2.1):
        AnswerAttempt.objects.create(parcel=parcel, contact_hash="c", network="n", created=aged(days))
        PickupCode.objects.create(contact_hash="c", account=person, code_hash="h", created=aged(days))
    clean()
    assert AnswerAttempt.objects.get().created > aged(2)
    assert PickupCode.objects.get().created > aged(2)


def test_remembered_requests_go_after_thirty_days_and_tokens_when_they_end():
    partner = Organization.objects.create(name="Larkspur Community Hospital")
    for days in (29, 31):
        PartnerRequest.objects.create(
            organization=partner, key=f"visit-{days}", fingerprint="f", created=aged(days)
        )
    api_client = ApiClient.objects.create(name="Larkspur")
    for days in (-0.01, 0.01):
        Token.objects.create(
            client=api_client, type=Token.Type.ACCESS_TOKEN, hash=str(days), expires_at=aged(days)
        )
    clean()
    assert PartnerRequest.objects.get().key == "visit-29"
    assert Token.objects.get().hash == "-0.01"


def refused(days: float, organization: Organization | None = None, state: str = "refused") -> InboundMail:
    raw = RAW + f"{days} {organization} {state}".encode()
    (mail,) = inbox.accept(raw, "office@clinic.example", [RECIPIENT], protocol="smtp").values()
    InboundMail.objects.filter(pk=mail.pk).update(
        state=state, finished=aged(days), organization=organization, code="untrusted_chain"
    )
    return mail


def test_refused_mail_of_strangers_is_shredded_after_thirty_days_and_its_row_stays():
    partner = Organization.objects.create(name="Larkspur Community Hospital")
    old, young = refused(31), refused(29)
    trusted, stuck = refused(32, partner), refused(33, state="stuck")
    clean()
    old.refresh_from_db()
    assert (old.raw_id, old.holder_id, old.state, old.code) == (None, None, "refused", "untrusted_chain")
    assert [event.name for event in MailEvent.objects.filter(inbound=old)] == ["received", "shredded"]
    assert HolderKey.objects.filter(kind="mail").count() == Blob.objects.count() == 3
    for kept in (young, trusted, stuck):
        kept.refresh_from_db()
        assert kept.raw_id is not None

    assert not inbox.process_again(old, "again")
    (again,) = inbox.accept(
        RAW + b"31 None refused", "office@clinic.example", [RECIPIENT], protocol="smtp"
    ).values()
    assert again.pk == old.pk
    again.refresh_from_db()
    assert (again.state, again.raw_id is not None) == ("received", True)


def test_the_beat_cleans():
    assert timedelta(days=30) == cleaning.REFUSED_KEPT
    tasks = {entry["task"]: entry["schedule"] for entry in app.conf.beat_schedule.values()}
    assert tasks["healthvault.tasks.clean"] <= 86_400
    assert "healthvault.tasks.clean" in app.tasks
