"""Logs: what libraries say is cut down to types, ids and routes."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest
from celery.app import trace
from django.db import transaction
from django.test import Client

from directmsg import pickup
from healthvault.celery import app
from healthvault.logging import JsonFormatter, log_thread_death

#: A word that stands for health data.
MARKER = "Quittenbrot"


class Lines(logging.Handler):
    """What would stand in the log, a dict a line, and the lines as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(self.format(record))

    def of(self, logger: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.text]
        return [line for line in lines if line["logger"] == logger]


@pytest.fixture
def log() -> Iterator[Lines]:
    lines = Lines()
    root = logging.getLogger()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.INFO)
    yield lines
    root.removeHandler(lines)
    root.setLevel(level)


@pytest.mark.django_db
def test_a_request_that_fails_is_logged_by_its_route_never_with_its_token(log, monkeypatch):
    token = "t0k3n" * 9
    link = f"/pickup/{token}/"

    def broken(*args: object) -> None:
        raise RuntimeError(f"{MARKER} at {link}")

    monkeypatch.setattr(pickup, "by_token", broken)
    client = Client(raise_request_exception=False)
    assert client.get(link).status_code == 500
    assert client.delete(link).status_code == 405
    assert client.get(f"/pickup/{token}/more/").status_code == 404
    assert client.get(f"/accounts/password/reset/{token}/").status_code == 404
    strict = Client(enforce_csrf_checks=True)
    elsewhere = {"Referer": f"https://elsewhere.example{link}", "Origin": f"https://elsewhere.example{link}"}
    assert strict.post("/pickup/find/", {}, headers=elsewhere).status_code == 403
    assert strict.post("/pickup/find/", {}).status_code == 403
    assert Client(headers={"Host": f"{MARKER}.example"}).get(link).status_code == 400

    assert token not in "".join(log.text)
    assert MARKER not in "".join(log.text)
    broke, refused, *_ = log.of("django.request")
    assert broke["route"] == refused["route"] == "pickup/<str:token>/"
    assert (broke["event"], broke["error"]) == ("Internal Server Error", "RuntimeError")
    assert (refused["event"], refused["method"]) == ("Method Not Allowed", "DELETE")
    reasons = [line["reason"] for line in log.of("django.security.csrf")]
    assert reasons == ["origin or referer", "CSRF cookie not set."]
    assert log.of("django.security.DisallowedHost")[0]["error"] == "DisallowedHost"


def test_a_task_that_fails_is_logged_by_its_type_and_id(log):
    @app.task(name="logs.broken", shared=False)
    def broken(pk: str) -> None:
        raise ValueError(f"'{MARKER}' is no number")

    try:
        run = trace.build_tracer(broken.name, broken, app=app)
        run("id-1", (MARKER,), {}, {"id": "id-1", "task": broken.name, "args": (MARKER,)})
    finally:
        app.tasks.pop(broken.name, None)
    assert MARKER not in "".join(log.text)
    (line,) = log.of("celery.app.trace")
    assert line["event"] == "Task logs.broken[id-1] raised unexpected: ValueError"
    assert line["error"] == "ValueError"


@pytest.mark.django_db(transaction=True)
def test_what_fails_after_a_commit_is_logged_by_its_type(log):
    def broken() -> None:
        raise ValueError(f"{MARKER} went wrong")

    with transaction.atomic():
        transaction.on_commit(broken, robust=True)
    (line,) = log.of("django.db.backends.base")
    assert MARKER not in str(line)
    assert line["error"] == "ValueError"


def test_a_worker_says_nothing_of_messages_it_cannot_use(log):
    worker = logging.getLogger("celery.worker.consumer.consumer")
    worker.error("Cannot connect to %s: %s", "redis://broker", OSError(MARKER))
    worker.warning("Received and deleted unknown message: %s", f"{MARKER} " * 30)
    assert MARKER not in "".join(log.text)
    assert json.loads(log.text[0])["event"] == "Cannot connect to redis://broker: OSError"


def test_a_thread_that_dies_is_logged_by_its_type(log, capfd):
    def broken() -> None:
        raise ValueError(MARKER)

    thread = threading.Thread(target=broken, name="reader")
    before, threading.excepthook = threading.excepthook, log_thread_death
    try:
        thread.start()
        thread.join()
    finally:
        threading.excepthook = before
    (line,) = log.of("healthvault.logging")
    assert (line["event"], line["error"]) == ("thread reader failed", "ValueError")
    assert MARKER not in "".join(log.text)
    assert MARKER not in capfd.readouterr().err


def test_a_library_that_names_an_address_does_not_name_its_token(log):
    logging.getLogger("waitress").error("Exception while serving /accounts/password/reset/key/1-abc-def/")
    logging.getLogger("waitress").error("Exception while serving /pickup/abcdef/")
    assert "abc" not in "".join(log.text)
