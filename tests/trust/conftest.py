"""Servers of our own making that the fetching parts of trust talk to."""

import pytest
from django.core.cache import cache

from tests import dns_server as dns_servers
from tests import web_server as web_servers
from trust import fetcher


@pytest.fixture
def name_server(settings):
    """A name server, and the only one we ask."""
    with dns_servers.running() as (server, address):
        settings.DNS_SERVERS = [address]
        yield server


@pytest.fixture
def web(settings):
    """A web server that may be reached by its address."""
    with web_servers.running() as server:
        settings.FETCH_ALLOW = [*settings.FETCH_ALLOW, ("127.0.0.1", server.port)]
        yield server


@pytest.fixture
def forbidden(settings):
    """A web server that nobody allowed: it must never be asked anything."""
    with web_servers.running() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_remembered(request):
    """No host is paused, and no look-up kept, from the test before."""
    fetcher.forget_hosts()
    if "django_db" in request.keywords:
        request.getfixturevalue("db")
        cache.clear()
