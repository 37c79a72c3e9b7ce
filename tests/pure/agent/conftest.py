"""What the tests of the agent share."""

from __future__ import annotations

import pytest

from tests import mail_peers
from tests.mail_peers import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A clinic that sends and a portal that receives."""
    return mail_peers.make_world(tmp_path_factory.mktemp("openssl"))
