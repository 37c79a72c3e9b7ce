"""Database sessions whose content is sealed: what a person does in a session is nobody's business.

Sealed under the keyring and bound to the session's key; a session that does not open is an empty one.
"""

import binascii
import json
from base64 import b64decode, b64encode
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessions

from healthvault.store.keyrings import keyring
from healthvault.vault.errors import Tampered, UnknownKey


class SessionStore(DatabaseSessions):
    """Django's database sessions with sealed `session_data`; JSON inside."""

    def encode(self, session_dict: dict[str, Any]) -> str:
        content = json.dumps(session_dict, separators=(",", ":")).encode()
        return b64encode(keyring().wrap(content, self._aad())).decode("ascii")

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        try:
            content = keyring().unwrap(b64decode(session_data, validate=True), self._aad())
        except (binascii.Error, Tampered, UnknownKey):
            return {}
        decoded: dict[str, Any] = json.loads(content)
        return decoded

    def _aad(self) -> bytes:
        return b"session\x00" + (self.session_key or "").encode()
