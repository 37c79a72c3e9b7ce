"""The one file that holds the secrets of an installation run without any configuration.

`DATA_DIR/keys.json` is made at the first start of the embedded mode. Whoever has this file and
the database can read the records; production hands the keys in by the environment instead.
"""

import json
import os
import secrets
from pathlib import Path
from typing import TypedDict

from healthvault.vault.keyring import generate_key

FILE_NAME = "keys.json"


class LocalKeys(TypedDict):
    """What the file holds: Django's secret key and the two keyrings as text."""

    SECRET_KEY: str
    VAULT_KEYS: str
    IDENTITY_KEYS: str


def load_or_create(data_dir: Path) -> LocalKeys:
    """Read the key file of `data_dir`, making it (mode 0600) when it is not there.

    Two processes that start together agree: the file appears whole by `os.link`, and the
    loser reads the winner's. Raises OSError when the directory cannot be written.
    """
    path = data_dir / FILE_NAME
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(path)
    keys: LocalKeys = json.loads(path.read_text(encoding="utf-8"))
    return keys


def _create(path: Path) -> None:
    content: LocalKeys = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "VAULT_KEYS": generate_key(),
        "IDENTITY_KEYS": generate_key(),
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
