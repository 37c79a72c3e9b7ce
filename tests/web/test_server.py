"""The web server inside the portal: what it lets in, what it keeps in memory, which proxies it believes."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import InMemoryUploadedFile, SimpleUploadedFile
from django.core.handlers.wsgi import WSGIRequest
from django.test import RequestFactory

ROOT = Path(__file__).resolve().parents[2]
PROXY = {"Host": "portal.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
MARKER = b"Quittenbrot mit Zimt "


class Portal:
    """A running portal behind an https address."""

    def __init__(self, process: subprocess.Popen[str], port: int, temporary: Path) -> None:
        self.process = process
        self.port = port
        self.temporary = temporary

    def ask(self, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def begin(self, length: int) -> socket.socket:
        """A connection on which a form of `length` octets is announced."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(
            b"POST /accounts/login/ HTTP/1.1\r\nHost: portal.example\r\nX-Forwarded-Proto: https\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % length
        )
        return connection

    def temporary_files(self) -> list[str]:
        """Files of the process in its directory for temporary ones, deleted or not."""
        found = []
        for handle in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(os.readlink(handle))
        return [name for name in found if name.startswith(str(self.temporary))]


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    directory = tmp_path_factory.mktemp("portal")
    temporary = directory / "tmp"
    temporary.mkdir()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATA_DIR": str(directory / "data"),
        "TMPDIR": str(temporary),
        "HEALTHVAULT_ENVIRONMENT": "ppe",
        "PUBLIC_URL": "https://portal.example",
        "ALLOWED_HOSTS": "portal.example localhost",
        "DIRECT_DOMAINS": "direct.portal.example",
        "WEB_LISTEN": "127.0.0.1:0",
        "SMTP_LISTEN": "off",
    }
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "portal"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"ready web=127\.0\.0\.1:(\d+) ", line)
        assert found, line + (directory / "log").read_text()
        yield Portal(process, int(found[1]), temporary)
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.flow
def test_behind_a_tls_proxy_pages_are_served_and_not_sent_round_in_circles(portal):
    assert portal.ask("GET", "/accounts/login/", PROXY).status == 200
    plain = portal.ask("GET", "/accounts/login/", {"Host": "portal.example"})
    assert (plain.status, plain.headers["Location"]) == (301, "https://portal.example/accounts/login/")


@pytest.mark.flow
def test_metrics_are_for_direct_requests_of_our_own_network_only(portal):
    assert portal.ask("GET", "/metrics", {"Host": "localhost"}).status == 200
    assert portal.ask("GET", "/metrics", PROXY).status == 404
    for name in ("X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via", "X-Real-IP"):
        value = "https" if name == "X-Forwarded-Proto" else "for=203.0.113.9"
        assert portal.ask("GET", "/metrics", {"Host": "localhost", name: value}).status == 404, name


@pytest.mark.flow
def test_a_body_larger_than_any_of_ours_is_refused_before_it_is_sent(portal):
    with portal.begin(settings.MAX_REQUEST_SIZE + 1) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.flow
def test_a_large_body_is_never_written_to_a_disk_in_clear(portal):
    part = MARKER * 50_000
    count = settings.MAX_REQUEST_SIZE // len(part)
    with portal.begin(count * len(part) + 1) as connection:
        for _ in range(count):
            connection.sendall(part)
        time.sleep(0.5)
        assert portal.temporary_files() == []
        connection.sendall(b"x")
        assert connection.recv(100).startswith(b"HTTP/1.1 403 ")


# --- files -------------------------------------------------------------------------------------------


def uploading(size: int) -> WSGIRequest:
    file = SimpleUploadedFile("summary.xml", MARKER * (size // len(MARKER)))
    return RequestFactory().post("/", {"name": "Nora", "file": file})


def test_an_uploaded_file_stays_in_memory_whatever_its_size():
    request = uploading(20_000_000)
    file = request.FILES["file"]
    assert isinstance(file, InMemoryUploadedFile)
    assert isinstance(file.file, BytesIO)
    assert file.size > 19_999_000
    assert request.POST["name"] == "Nora"


def test_an_upload_over_the_limit_is_refused_unread(settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 100_000
    request = uploading(200_000)
    with pytest.raises(RequestDataTooBig):
        request.FILES  # noqa: B018


def test_forms_of_pages_have_a_limit_far_below_that_of_partners_requests():
    body = "text=" + "x" * 6_000_000
    request = RequestFactory().post("/", body, content_type="application/x-www-form-urlencoded")
    with pytest.raises(RequestDataTooBig):
        request.POST  # noqa: B018
