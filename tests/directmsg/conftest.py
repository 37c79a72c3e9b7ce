"""Fixtures of this app's tests."""

import re
from collections.abc import Callable

import pytest

from healthvault.outbox.models import Notification


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
