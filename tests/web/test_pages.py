"""The frame of every page, error pages, and what machines ask about our health."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse

from healthvault import views
from healthvault.context import Portal
from records.models import Message, Record
from tests.factories import account, record

TEMPLATES = sorted(Path(settings.BASE_DIR, "templates").rglob("*.html"))
PAGES = [path for path in TEMPLATES if "email" not in str(path.relative_to(settings.BASE_DIR))]


@pytest.fixture
def nora(db):
    return account()


@pytest.fixture
def signed_in(client, nora):
    record(nora)
    client.force_login(nora)
    return client


# --- nothing inline -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(settings.BASE_DIR)))
def test_no_template_has_inline_style_or_script(path):
    text = path.read_text()
    assert not re.search(r"\sstyle=", text)
    assert not re.search(r"\son[a-z]+\s*=", text)
    assert "<style" not in text
    for tag in re.findall(r"<script\b[^>]*>", text):
        assert "src=" in tag or 'type="application/json"' in tag


STYLES = sorted(Path(settings.BASE_DIR, "static", "css").glob("*.css"))


#: What a notice looks like without any further class.
PLAIN = {"notice-info"}


def classes_of(template: str) -> set[str]:
    """The classes that a template names whole; those it puts together piece by piece are not among them."""
    marked = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}", "\0", template)
    words = {word.strip("\0") for value in re.findall(r'\bclass="([^"]*)"', marked) for word in value.split()}
    return {word for word in words if word and "\0" not in word and not word.endswith("-")}


def test_classes_of_templates_stand_in_style_sheets():
    """A name that no style sheet has is a button without a look, and nobody notices."""
    defined = set(re.findall(r"\.(-?[A-Za-z_][\w-]*)", "\n".join(path.read_text() for path in STYLES)))
    unknown = {
        f"{path.relative_to(settings.BASE_DIR)}: {name}"
        for path in PAGES
        for name in classes_of(path.read_text()) - defined - PLAIN
    }
    assert unknown == set()


def test_style_sheets_fetch_nothing_and_name_colours_once():
    for path in STYLES:
        text = path.read_text()
        assert "url(" not in text.replace("url(#", "")
        assert "@import" not in text
        if path.name == "records.css" or path.name in ("messages.css", "pickup.css"):
            assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", text), path.name


@pytest.mark.django_db
def test_policy_forbids_what_is_not_ours(client):
    answer = client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";") if part.strip())
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["style-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_forms_are_not_refused_for_the_referrer_policy(client):
    """With no-referrer a browser sends "Origin: null", which the forgery check refuses."""
    assert client.get("/").headers["Referrer-Policy"] == "same-origin"


# --- start, navigation ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_start_page_shows_the_ways_in(client):
    page = client.get("/").content.decode()
    for name in ("account_login", "account_signup", "directmsg:pickup_find"):
        assert f'href="{reverse(name)}"' in page


def test_start_leads_signed_in_people_to_their_messages(signed_in):
    assert signed_in.get("/").headers["Location"] == "/messages/"


def test_navigation_marks_the_section_and_counts_unread(signed_in, nora):
    mine = Record.objects.get()
    for opened in (None, None, mine.created):
        Message.objects.create(record=mine, from_address="a@b.example", subject="S", text="T",
                               to_addresses=[], opened=opened)  # fmt: skip
    page = signed_in.get("/accounts/email/").content.decode()
    assert re.search(r'href="/accounts/" aria-current="true"', page)
    assert re.search(r'class="count">2<span class="visually-hidden"> unread', page)
    assert "Trust" not in page


def test_administrators_find_trust_in_the_navigation(client, db):
    client.force_login(account("admin@portal.example", is_staff=True))
    assert "/trust/" in client.get("/accounts/").content.decode()


@pytest.mark.parametrize(("environment", "words"), [("ppe", "test environment"), ("demo", "demonstration")])
def test_banner_names_the_environment(client, db, settings, environment, words):
    settings.ENVIRONMENT = environment
    assert words in client.get("/accounts/login/").content.decode()


def test_production_has_no_banner(client, db, settings):
    settings.ENVIRONMENT = "production"
    assert 'class="environment"' not in client.get("/").content.decode()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_unknown_page_is_ours(client):
    answer = client.get("/nothing/here/")
    assert answer.status_code == 404
    assert "We could not find that page" in answer.content.decode()


@pytest.mark.django_db
def test_form_without_token_is_explained():
    answer = Client(enforce_csrf_checks=True).post("/accounts/login/", {"login": "a", "password": "b"})
    assert answer.status_code == 403
    assert "Nothing was saved" in answer.content.decode()


@pytest.mark.django_db
def test_server_error_shows_an_id_that_the_log_has(client, monkeypatch, caplog):
    def broken(self):
        raise RuntimeError("Nora Whitlock")

    monkeypatch.setattr(Portal, "name", property(broken))
    client.raise_request_exception = False
    answer = client.get("/")
    page = answer.content.decode()
    assert answer.status_code == 500
    assert "Nora" not in page
    shown = re.search(r"<code>([0-9a-f]{8})</code>", page)
    assert shown
    assert any(shown.group(1) in line.getMessage() for line in caplog.records)


# --- health ---------------------------------------------------------------------------------------


def test_healthz_needs_no_database(client):
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.django_db
def test_readyz_says_yes(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "checks": {"database": "ok", "disk": "ok", "keyring": "ok"}}


@pytest.mark.django_db
def test_readyz_leaves_no_row_behind(client):
    from django.contrib.sessions.models import Session

    client.get("/readyz")
    assert not Session.objects.filter(session_key__startswith="ready").exists()


@pytest.mark.django_db
def test_readyz_says_what_is_amiss(client, settings, monkeypatch):
    def refuse(*args, **kwargs):
        raise DatabaseError("read only")

    monkeypatch.setattr(views.Session, "save", refuse)
    settings.VAULT_KEYS = ""
    settings.DATA_DIR = "/nowhere/at/all"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "database": "not_writable",
        "disk": "no_data_directory",
        "keyring": "not_usable",
    }


@pytest.mark.django_db
def test_metrics_count_rows_by_state(client, nora):
    from tests.factories import parcel

    parcel()
    text = client.get("/metrics").content.decode()
    assert 'healthvault_rows{state="waiting",table="parcel"} 1.0' in text
    assert 'healthvault_oldest_seconds{table="inbound_mail"} 0.0' in text


@pytest.mark.django_db
def test_metrics_are_not_for_the_world(client):
    assert client.get("/metrics", REMOTE_ADDR="8.8.8.8").status_code == 404
    assert client.get("/metrics", headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 404


def test_metrics_are_for_administrators_anywhere(client, db):
    client.force_login(account("admin@portal.example", is_staff=True))
    assert client.get("/metrics", REMOTE_ADDR="8.8.8.8").status_code == 200


@pytest.mark.django_db
def test_partner_api_has_a_page_and_a_schema(client):
    assert "api-docs.js" in client.get("/api/v1/docs/").content.decode()
    schema = client.get("/api/v1/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert schema.status_code == 200
    assert "/api/v1/parcels/" in schema.content.decode()
