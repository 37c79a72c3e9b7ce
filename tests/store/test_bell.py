"""The door-bell: a broker that fails, in whatever way, costs latency and holds nobody up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery, Task
from django.db import transaction

from healthvault.celery import SILENCE_S, transport_options
from healthvault.store import jobs
from tests.tools import need

ROOT = Path(__file__).resolve().parents[2]


def task_on(url: str) -> Task:
    """A task of an app that is set up as ours is, on another broker."""
    app = Celery("rings", broker=url, set_as_current=False)
    app.conf.update(
        broker_transport_options=transport_options(url),
        broker_connection_timeout=SILENCE_S,
        task_publish_retry=False,
        task_ignore_result=True,
    )

    @app.task(name="rings.nothing")
    def nothing(pk: str) -> None: ...

    return nothing


@pytest.fixture
def bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_bell", jobs._Bell())


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as door:
        yield door.getsockname()[1]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_silent_broker_holds_a_commit_for_seconds_and_the_next_ones_not_at_all(
    bell: None, silent: int, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = task_on(f"{scheme}://127.0.0.1:{silent}//")
    started = time.monotonic()
    with transaction.atomic():
        jobs.ring(task, "one")
    assert time.monotonic() - started < SILENCE_S + 4
    assert "the broker does not answer" in caplog.text
    started = time.monotonic()
    for _ in range(20):
        with transaction.atomic():
            jobs.ring(task, "another")
    assert time.monotonic() - started < 1


@pytest.mark.django_db(transaction=True)
def test_after_a_minute_the_broker_is_asked_again(bell: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        absent = task_on(f"redis://127.0.0.1:{taken.getsockname()[1]}/0")
        with transaction.atomic():
            jobs.ring(absent, "one")
    present = task_on("memory://localhost/")
    later = time.monotonic() + jobs.QUIET_S
    for now, rung in ((later - 5, 0), (later + 5, 1)):
        monkeypatch.setattr(jobs.time, "monotonic", lambda now=now: now)
        with transaction.atomic():
            jobs.ring(present, "two")
        monkeypatch.undo()
        with present.app.connection() as connection:
            assert connection.default_channel.queue_purge("celery") == rung


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.flow
def test_a_worker_outlasts_an_idle_time_and_a_restart_of_the_broker(tmp_path: Path) -> None:
    port = free_port()
    redis = [need("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    redis += ["--appendonly", "no", "--dir", str(tmp_path)]
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATA_DIR": str(tmp_path),
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{port}/0",
        "HEALTHVAULT_ENVIRONMENT": "demo",
    }
    log = tmp_path / "worker.log"
    broker = subprocess.Popen(redis, stdout=subprocess.DEVNULL)
    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "healthvault", "worker", "--pool", "solo"],
            cwd=ROOT, env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    call = "from healthvault.celery import app; app.send_task('healthvault.audit.tasks.log_heads')"

    def done(count: int) -> bool:
        subprocess.run([sys.executable, "-c", call], cwd=ROOT, env=environment, check=True)
        end = time.monotonic() + 40
        while time.monotonic() < end:
            # Without a database the task fails, which shows as well that it was taken.
            if log.read_text().count(" raised ") >= count:
                return True
            time.sleep(0.2)
        return False

    try:
        assert done(1), log.read_text()[-3000:]
        time.sleep(2 * SILENCE_S)
        assert "Connection to broker lost" not in log.read_text()
        assert done(2), log.read_text()[-3000:]
        broker.kill()
        broker.wait()
        time.sleep(1)
        broker = subprocess.Popen(redis, stdout=subprocess.DEVNULL)
        time.sleep(1)
        assert done(3), log.read_text()[-3000:]
    finally:
        for process in (worker, broker):
            process.kill()
            process.wait()
