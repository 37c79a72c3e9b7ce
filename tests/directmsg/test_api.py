"""The partner API: who may call it, what it makes, and how it refuses."""

from __future__ import annotations

import base64
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from allauth.idp.oidc.models import Client as ApiClient
from allauth.idp.oidc.models import Token
from django.conf import global_settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone

from directmsg import api_parsers, pickup
from directmsg.models import MailEvent, Parcel, PartnerRequest
from healthvault.audit.models import AuditEvent
from healthvault.outbox.models import Notification
from healthvault.store.models import Blob, HolderKey
from records.models import Attachment
from tests import factories
from tests.directmsg.partners import (
    DOMAIN,
    NAME,
    PARCELS,
    PartnerMachine,
    attachment,
    fresh,
    parcel_body,
    problem,
    token_address,
)
from tests.documents import CDA_TYPE, VISIT
from trust.models import Organization

pytestmark = pytest.mark.django_db
NETWORK = "192.0.2.0/24"


# --- tokens ---------------------------------------------------------------------------------------------


def test_the_metadata_names_what_a_machine_needs(client):
    told = client.get("/.well-known/openid-configuration").json()
    assert told["grant_types_supported"] == ["client_credentials"]
    assert {"client_secret_basic", "client_secret_post"} <= set(told["token_endpoint_auth_methods_supported"])
    assert "parcels.write" in told["scopes_supported"]


def test_a_token_by_http_basic(partner):
    answer = partner.ask_token(scope="parcels.write")
    told = answer.json()
    assert (told["token_type"], told["scope"]) == ("Bearer", "parcels.write")
    assert told["expires_in"] == 3600
    assert told["access_token"].count(".") < 2, "an opaque token says nothing to who finds it"
    assert "refresh_token" not in told
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_token_by_form_fields(client, partner):
    form = {
        "grant_type": "client_credentials",
        "client_id": partner.client_id,
        "client_secret": partner.client_secret,
    }
    answer = client.post(token_address(client), form)
    assert answer.status_code == 200, answer.content
    assert answer.json()["scope"].split() == ["parcels.write", "messages.send", "deliveries.read"]


def test_no_token_with_a_wrong_secret_scope_or_grant(client, partner):
    good = partner.client_secret
    partner.client_secret = "guess"
    wrong = partner.ask_token()
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    assert wrong.headers["WWW-Authenticate"].startswith(("Basic", "Bearer"))
    partner.client_secret = good
    assert partner.ask_token(scope="trust.write").json()["error"] == "invalid_scope"
    assert partner.ask_token(grant_type="password").status_code in (400, 401)


def test_a_token_is_kept_as_a_hash(partner):
    assert partner.token not in Token.objects.get().hash


def test_two_clients_of_one_organisation_serve_for_roll_over(partner):
    second = PartnerMachine.create()
    assert (second.organization, second.client_id != partner.client_id) == (partner.organization, True)
    made = partner.post(parcel_body()).json()
    assert second.get(f"{PARCELS}{made['id']}/").status_code == 200
    ApiClient.objects.get(pk=partner.client_id).delete()
    problem(partner.get(PARCELS), 401, "authentication_failed")
    assert second.get(PARCELS).status_code == 200


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "x"])
def test_without_a_good_token_comes_a_challenge(client, authorization):
    headers = {"Authorization": authorization} if authorization else {}
    answer = client.get(PARCELS, headers=headers)
    problem(answer, 401, "authentication_failed" if authorization else "not_authenticated")
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="partners"')
    assert ("invalid_token" in challenge) is bool(authorization)


def test_an_expired_token_is_an_unknown_one(client, partner):
    unknown = client.get(PARCELS, headers={"Authorization": "Bearer nonsense"})
    Token.objects.update(expires_at=timezone.now())
    assert problem(partner.get(PARCELS), 401, "authentication_failed") == unknown.json()


def test_an_organisation_that_is_switched_off_is_let_in_no_more(partner):
    assert partner.get(PARCELS).status_code == 200
    Organization.objects.update(is_active=False)
    answer = partner.get(PARCELS)
    problem(answer, 401, "authentication_failed")
    assert "Bearer" in answer.headers["WWW-Authenticate"]


def test_a_token_without_the_scope_is_refused():
    reader = PartnerMachine.create(NAME, DOMAIN, "deliveries.read")
    for answer in (reader.get(PARCELS), reader.post(parcel_body())):
        problem(answer, 403, "missing_scope")
        assert 'scope="parcels.write"' in answer.headers["WWW-Authenticate"]
    assert not Parcel.objects.exists()


def test_a_scope_taken_from_the_client_counts_at_once(partner):
    ApiClient.objects.update(scopes="deliveries.read")
    problem(partner.get(PARCELS), 403, "missing_scope")


def test_a_token_of_a_client_without_organisation_opens_nothing(partner):
    from directmsg.models import PartnerClient

    PartnerClient.objects.all().delete()
    problem(partner.get(PARCELS), 401, "authentication_failed")


# --- holding --------------------------------------------------------------------------------------------


def test_json_makes_a_parcel_that_opens_with_the_answer(partner):
    files = [attachment("visit.xml", CDA_TYPE, VISIT), attachment("leer.txt", "text/plain", b"")]
    answer = partner.post(parcel_body(attachments=files))
    assert answer.status_code == 201, answer.content
    told = answer.json()
    assert told["state"] == "waiting"
    assert (told["contact_email"], told["has_question"], told["attachments"]) == (
        "n***@patient.example",
        True,
        2,
    )
    assert [event["name"] for event in told["events"]] == ["parcelled"]
    assert answer.headers["Location"].endswith(f"{PARCELS}{told['id']}/")

    parcel = Parcel.objects.select_related("holder", "content").get(pk=told["id"])
    assert (parcel.organization_name, parcel.question) == (NAME, "First pet?")
    key = pickup.answer(parcel, factories.account(), "biscuit", NETWORK)
    content = pickup.preview(parcel, key).content
    assert (content.subject, content.text) == ("Your summary", "Please see the attachment.")
    assert [(part.filename, part.size) for part in content.parts] == [
        ("visit.xml", len(VISIT)),
        ("leer.txt", 0),
    ]
    assert len(content.parts[0].documents) == 1
    assert Notification.objects.get().to_address == "nora@patient.example"
    event = AuditEvent.objects.get(action="api.parcel_held")
    assert (event.actor, event.subject, event.address) == (partner.client_id, told["id"], "127.0.0.1")


def test_a_form_makes_the_same_parcel(partner):
    form = {
        **{name: value for name, value in parcel_body().items() if name != "attachments"},
        "files": [
            SimpleUploadedFile("visit.xml", VISIT, CDA_TYPE),
            SimpleUploadedFile("plan.bin", b"\x00\x01", "no type at all"),
        ],
    }
    answer = partner.browser.post(PARCELS, form, headers={"Authorization": f"Bearer {partner.token}"})
    assert answer.status_code == 201, answer.content
    parcel = Parcel.objects.select_related("holder", "content").get(pk=answer.json()["id"])
    key = pickup.answer(parcel, factories.account(), "Biscuit", NETWORK)
    parts = pickup.preview(parcel, key).content.parts
    assert [(part.filename, part.content_type, part.size) for part in parts] == [
        ("visit.xml", CDA_TYPE, len(VISIT)),
        ("plan.bin", "application/octet-stream", 2),
    ]


def test_a_large_file_of_a_form_is_never_written_in_clear(partner, settings, tmp_path, monkeypatch):
    """Django's own handlers would write it to a temporary file; here there is no place for one."""
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "missing")
    settings.FILE_UPLOAD_HANDLERS = global_settings.FILE_UPLOAD_HANDLERS
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path},
        },
    }
    data = b"Q" * (settings.FILE_UPLOAD_MAX_MEMORY_SIZE + 500_000)
    form = {"contact_email": "nora@patient.example", "subject": "s", "text": "t"}
    form["files"] = SimpleUploadedFile("big.bin", data)
    answer = partner.browser.post(PARCELS, form, headers={"Authorization": f"Bearer {partner.token}"})
    assert answer.status_code == 201, answer.content
    written = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert len(written) == 1
    assert b"QQQQ" not in written[0].read_bytes()


def test_without_a_question_the_parcel_needs_the_mailbox(partner):
    told = partner.post(parcel_body(question="", answer=None)).json()
    assert told["has_question"] is False
    assert Parcel.objects.get().question is None


def test_an_empty_subject_gets_words(partner):
    told = partner.post(parcel_body(subject=" ", question=None, answer=None, attachments=[])).json()
    parcel = Parcel.objects.select_related("holder", "content").get(pk=told["id"])
    assert pickup.preview(parcel, parcel.holder.unwrap()).content.subject == "(no subject)"


BAD_FIELDS = [
    ({"contact_email": "nora"}, "contact_email", "email_form"),
    ({"contact_email": "a@example.org, b@example.org"}, "contact_email", "email_single"),
    ({"contact_email": f"{'a' * 250}@example.org"}, "contact_email", "email_length"),
    ({"contact_email": '"no ra"@example.org'}, "contact_email", "email_form"),
    ({"contact_email": ""}, "contact_email", "blank"),
    ({"contact_email": None}, "contact_email", "null"),
    ({"contact_email": "kind-sail-12@direct.portal.example"}, "contact_email", "contact_is_direct_address"),
    ({"contact_email": f"records@{DOMAIN}"}, "contact_email", "contact_is_direct_address"),
    ({"question": "First pet?", "answer": ""}, "non_field_errors", "question_without_answer"),
    ({"question": "First pet?", "answer": None}, "non_field_errors", "question_without_answer"),
    ({"question": " ", "answer": "Biscuit"}, "non_field_errors", "answer_without_question"),
    ({"question": "q" * 201}, "non_field_errors", "question_length"),
    ({"answer": "a" * 101}, "non_field_errors", "answer_length"),
    ({"question": "two\nlines"}, "non_field_errors", "control_character"),
    ({"subject": "two\r\nlines"}, "subject", "control_character"),
    ({"subject": "s" * 256}, "subject", "max_length"),
    ({"text": "a\x00b"}, "text", "null_characters_not_allowed"),
    ({"text": "a\ud800b"}, "text", "surrogate_characters_not_allowed"),
    ({"questoin": "First pet?"}, "non_field_errors", "unknown_field"),
    ({"attachments": {"a": 1}}, "attachments", "not_a_list"),
]


@pytest.mark.parametrize(("change", "field", "code"), BAD_FIELDS)
def test_a_field_that_cannot_be_used_is_named(partner, change, field, code):
    body = problem(partner.post(parcel_body(**change)), 400, "invalid")
    assert [error["code"] for error in body["errors"][field]] == [code]
    assert not Parcel.objects.exists()
    assert not Notification.objects.exists()


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"content": "%%%"}, "content", "not_base64"),
        ({"content": "QQ"}, "content", "not_base64"),
        ({"content": "Grüße"}, "content", "not_base64"),
        ({"content": "\U0001f600"}, "content", "not_base64"),
        ({"filename": "a\r\nX-Header: b"}, "filename", "control_character"),
        ({"filename": ""}, "filename", "blank"),
        ({"content_type": "text"}, "content_type", "bad_content_type"),
        ({"content_type": "text/pl\u00e4in"}, "content_type", "bad_content_type"),
        ({"data": "QQ=="}, "non_field_errors", "unknown_field"),
    ],
)
def test_an_attachment_that_cannot_be_used_is_named(partner, change, field, code):
    part = {**attachment("map.pdf", "application/pdf", b"%PDF"), **change}
    body = problem(partner.post(parcel_body(attachments=[part])), 400, "invalid")
    assert [error["code"] for error in body["errors"]["attachments"]["0"][field]] == [code]


def test_base64_may_come_in_lines_and_types_with_parameters(partner):
    part = {"filename": "a.txt", "content_type": "Text/Plain; charset=utf-8", "content": "SGVs\r\nbG8="}
    told = partner.post(parcel_body(question=None, answer=None, attachments=[part])).json()
    parcel = Parcel.objects.select_related("holder", "content").get(pk=told["id"])
    stored = pickup.preview(parcel, parcel.holder.unwrap()).content.parts[0]
    assert (stored.content_type, stored.size) == ("text/plain", 5)


def test_a_refusal_never_repeats_what_was_sent(partner):
    secret = "Hollunderblüte7"
    for change in ({"question": secret, "answer": ""}, {"contact_email": secret}, {secret: "x"}):
        assert secret not in partner.post(parcel_body(**change)).content.decode()
    assert secret not in partner.post(f'{{"subject": "{secret}"'.encode()).content.decode()


def test_more_than_a_message_may_have_is_413(partner, settings):
    settings.MAX_MESSAGE_SIZE = 1000
    assert partner.post(parcel_body(text="t" * 900, attachments=[])).status_code == 201
    problem(partner.post(parcel_body(text="t" * 1001, attachments=[])), 413, "too_large")
    big = [attachment("a", "text/plain", b"x" * 400)] * 3
    problem(partner.post(parcel_body(attachments=big)), 413, "too_large")
    assert Parcel.objects.count() == 1


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=b"])
def test_a_body_that_announces_too_much_is_not_read(partner, monkeypatch, content_type):
    monkeypatch.setattr(api_parsers, "LARGEST_BODY", 2000)
    answer = partner.browser.generic(
        "POST", PARCELS, b"x" * 2001, content_type, headers={"Authorization": f"Bearer {partner.token}"}
    )
    problem(answer, 413, "too_large")


def test_too_many_parcels_for_one_person_are_429(partner, monkeypatch):
    from directmsg import parcels

    monkeypatch.setattr(parcels, "MOST_OPEN_PER_CONTACT", 1)
    assert partner.post(parcel_body()).status_code == 201
    answer = partner.post(parcel_body(contact_email="NORA@patient.example"))
    problem(answer, 429, "too_many_parcels")
    assert int(answer.headers["Retry-After"]) > 0
    assert Parcel.objects.count() == HolderKey.objects.filter(kind="parcel").count() == 1


def test_attachments_of_a_claimed_parcel_stand_in_the_record(partner):
    told = partner.post(parcel_body()).json()
    person = factories.account()
    key = pickup.answer(fresh(told), person, "Biscuit", NETWORK)
    pickup.claim(fresh(told), person, factories.record(person), key)
    assert Attachment.objects.get().filename == "map.pdf"


# --- reading --------------------------------------------------------------------------------------------


def test_the_list_is_newest_first_in_pages_of_a_cursor(partner):
    now = timezone.now()
    ids = [str(factories.parcel(f"p{n}@patient.example", None, None).pk) for n in range(60)]
    for number, pk in enumerate(ids):
        Parcel.objects.filter(pk=pk).update(
            organization=partner.organization, created=now - timedelta(minutes=number)
        )
    first = partner.get(PARCELS).json()
    assert [row["id"] for row in first["results"]] == ids[:50]
    assert first["previous"] is None
    second = partner.get(first["next"]).json()
    assert [row["id"] for row in second["results"]] == ids[50:]
    assert second["next"] is None


def test_others_parcels_are_unknown(partner):
    other = PartnerMachine.create("Rowan Clinic", "direct.rowan.example")
    made = other.post(parcel_body()).json()
    unknown = f"{PARCELS}{'0' * 8}-0000-4000-8000-{'0' * 12}/"
    assert partner.get(PARCELS).json()["results"] == []
    for verb in ("", "withdraw/", "resend/"):
        method = "POST" if verb else "GET"
        mine = partner.request(method, f"{PARCELS}{made['id']}/{verb}")
        nobodys = partner.request(method, f"{unknown}{verb}")
        assert problem(mine, 404, "not_found") == problem(nobodys, 404, "not_found")
    problem(
        partner.request("PATCH", f"{PARCELS}{made['id']}/", {"contact_email": "x@y.example"}),
        404,
        "not_found",
    )
    assert Parcel.objects.get().state == "waiting"


def test_mail_of_the_same_organisation_is_not_told_here(partner):
    parcel = factories.parcel()
    Parcel.objects.update(organization=partner.organization, source=Parcel.Source.DIRECT)
    problem(partner.get(f"{PARCELS}{parcel.pk}/"), 404, "not_found")


def test_the_story_tells_of_the_pickup_and_not_of_who_did_it(partner):
    told = partner.post(parcel_body()).json()
    person = factories.account("someone.else@elsewhere.example", "Ottilie Brandt")
    parcel = Parcel.objects.select_related("holder", "content").get(pk=told["id"])
    key = pickup.answer(parcel, person, "Biscuit", NETWORK)
    pickup.claim(parcel, person, factories.record(person), key)
    answer = partner.get(f"{PARCELS}{told['id']}/")
    assert answer.json()["state"] == "claimed"
    assert [event["name"] for event in answer.json()["events"]] == ["parcelled", "claimed"]
    for word in ("someone", "Ottilie", str(person.pk), "Biscuit", "First pet", "Your summary", "map.pdf"):
        assert word not in answer.content.decode()


def test_an_overdue_parcel_is_expired_before_the_clean_up(partner):
    told = partner.post(parcel_body()).json()
    Parcel.objects.update(expires=timezone.now())
    assert partner.get(f"{PARCELS}{told['id']}/").json()["state"] == "expired"


# --- the same request twice -----------------------------------------------------------------------------


def test_the_same_key_and_body_make_one_parcel_and_give_one_answer(partner):
    first = partner.post(parcel_body(), Idempotency_Key="visit-17")
    Parcel.objects.update(state=Parcel.State.CLAIMED, question=None, contact_email=None)
    MailEvent.objects.create(parcel=Parcel.objects.get(), name="claimed")
    again = partner.post(parcel_body(), Idempotency_Key="visit-17")
    assert (again.status_code, again.json()) == (201, first.json())
    assert Parcel.objects.count() == Notification.objects.count() == 1


def test_the_same_key_with_another_body_is_refused(partner):
    partner.post(parcel_body(), Idempotency_Key="visit-17")
    for change in ({"text": "Other."}, {"answer": "Rex"}, {"attachments": []}):
        problem(
            partner.post(parcel_body(**change), Idempotency_Key="visit-17"), 422, "idempotency_key_reused"
        )
    other = [attachment("map.pdf", "application/pdf", b"%PDF-1.4 tesT")]
    problem(
        partner.post(parcel_body(attachments=other), Idempotency_Key="visit-17"),
        422,
        "idempotency_key_reused",
    )
    assert Parcel.objects.count() == 1


def test_keys_belong_to_one_organisation(partner):
    other = PartnerMachine.create("Rowan Clinic", "direct.rowan.example")
    first = partner.post(parcel_body(), Idempotency_Key="1").json()
    second = other.post(parcel_body(text="Hello."), Idempotency_Key="1").json()
    assert first["id"] != second["id"]


def test_without_a_key_every_request_makes_a_parcel(partner):
    assert partner.post(parcel_body()).json()["id"] != partner.post(parcel_body()).json()["id"]
    assert not PartnerRequest.objects.exists()


def test_what_is_remembered_of_a_request_says_nothing_of_it(partner):
    partner.post(parcel_body(), Idempotency_Key="1")
    first = PartnerRequest.objects.get().fingerprint
    PartnerRequest.objects.all().delete()
    HolderKey.objects.filter(kind="service").delete()
    partner.post(parcel_body(), Idempotency_Key="1")
    assert first != PartnerRequest.objects.get().fingerprint, "the fingerprint is keyed"


@pytest.mark.parametrize("key", ["k" * 256, "schlüssel", "a\tb"])
def test_a_key_that_is_none_is_refused(partner, key):
    problem(partner.post(parcel_body(), Idempotency_Key=key), 400, "bad_idempotency_key")


@pytest.mark.django_db(transaction=True)
def test_the_same_key_in_parallel_makes_one_parcel(partner):
    answers = []
    start = threading.Barrier(4)

    def send() -> None:
        start.wait()
        machine = PartnerMachine(
            partner.client_id, partner.client_secret, partner.organization, Client(), partner.token
        )
        try:
            answers.append(machine.post(parcel_body(), Idempotency_Key="same"))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Parcel.objects.count() == Notification.objects.count() == 1
    assert HolderKey.objects.filter(kind="parcel").count() == 1
    assert Blob.objects.count() == 2


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe{}",
        b'{"subject": NaN}',
        b"[" * 100_000,
        b'{"subject": "a", "subject": "b"}',
        b"1" * 5000,
    ],
)
def test_what_is_no_json_is_told_so(partner, body):
    problem(partner.post(body), 400, "parse_error")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"17", b""])
def test_json_that_is_no_object_is_told_so(partner, body):
    problem(partner.post(body), 400, "invalid")


def test_a_form_that_is_broken_is_told_so(partner):
    answer = partner.browser.generic(
        "POST", PARCELS, b"--x", "multipart/form-data", headers={"Authorization": f"Bearer {partner.token}"}
    )
    problem(answer, 400, "parse_error")


def test_what_else_the_door_does_not_do(partner):
    headers = {"Authorization": f"Bearer {partner.token}"}
    answer = partner.request("DELETE", PARCELS)
    problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "POST", "HEAD", "OPTIONS"}
    problem(
        partner.browser.post(PARCELS, "a=b", "text/plain", headers=headers), 415, "unsupported_media_type"
    )
    problem(partner.browser.get(PARCELS, headers={**headers, "Accept": "text/html"}), 406, "not_acceptable")
    problem(partner.get(f"{PARCELS}nonsense/"), 404, "not_found")
    problem(partner.get("/api/v1/"), 404, "not_found")
    problem(partner.browser.post("/api/v1/nothing/here"), 404, "not_found")


def test_a_cursor_of_somebody_elses_making_is_unknown(partner):
    for text in (b"p=nonsense", b"p=2026-13-45", b"p=%00", b"o=x", b"p=2026-01-01"):
        cursor = base64.b64encode(text).decode()
        assert partner.get(f"{PARCELS}?cursor={cursor}").status_code in (200, 404)
    problem(partner.get(f"{PARCELS}?cursor={base64.b64encode(b'p=nonsense').decode()}"), 404, "not_found")


def test_what_nobody_foresaw_is_a_problem_too(partner, monkeypatch):
    def broken(*args: object) -> None:
        raise RuntimeError("Hollunderblüte7")

    monkeypatch.setattr("records.intake.store_blob", broken)
    answer = partner.post(parcel_body())
    problem(answer, 500, "internal")
    assert "Hollunder" not in answer.content.decode()
    assert not Parcel.objects.exists()


def test_the_door_leaves_no_session_behind(partner):
    answer = partner.post(parcel_body())
    assert not answer.cookies
    assert answer.headers["Cache-Control"] == "no-store"
