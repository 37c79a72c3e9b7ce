"""Fixtures of this app's tests."""

import re
from collections.abc import Callable, Iterator

import pytest
from django.core.cache import cache

from healthvault.outbox.models import Notification
from tests import dns_server, smtp_peers
from tests.directmsg import world as worlds
from tests.directmsg.partners import PartnerMachine


@pytest.fixture
def mailed_code() -> Callable[[str], str]:
    """Reads the code out of the last mail queued to an address."""

    def read(address: str) -> str:
        for mail in Notification.objects.order_by("-created"):
            if mail.to_address == address:
                found = re.search(r"\b(\d{8})\b", mail.text)
                assert found
                return found[1]
        raise AssertionError(f"no mail to {address}")

    return read


@pytest.fixture
def partner() -> PartnerMachine:
    """A partner's machine with a token."""
    return PartnerMachine.create()


@pytest.fixture
def world(db: None, settings: pytest.FixtureRequest) -> Iterator[worlds.World]:
    """The portal, a person with a record, and a clinic with a name server and a mail server."""
    cache.clear()
    with dns_server.running() as (dns, listening), smtp_peers.running() as smtp:
        settings.DNS_SERVERS = [listening]  # type: ignore[attr-defined]
        settings.DIRECT_MX_PORT = smtp.port  # type: ignore[attr-defined]
        yield worlds.make(dns, smtp)
