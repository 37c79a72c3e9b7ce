"""Running portals and a partner, shared by the tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.stack import Stack
from tests.partner import Partner


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A portal that runs, with its own certificate."""
    running = Stack(tmp_path_factory.mktemp("portal"))
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def identity(stack: Stack) -> bytes:
    """The PEM certificate partners encrypt to."""
    return stack.json("create_identity", stack.domain)["pem"].encode()


@pytest.fixture(scope="module")
def partner(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Partner:
    """A partner whose anchor the portal trusts for incoming mail."""
    made = Partner(tmp_path_factory.mktemp("partner"))
    anchor: Path = made.directory / "ca.pem"
    stack.manage("import_anchor", anchor, "--organization", made.name, "--incoming", "--yes", "--json")
    return made
