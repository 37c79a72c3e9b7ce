"""What can go wrong with a sealed value. `code` is stable, `temporary` says whether waiting may help."""


class VaultError(Exception):
    """Base of all vault failures; no message ever quotes a key, an answer or a content."""

    code = "vault"
    temporary = False


class BadKeyText(VaultError, ValueError):
    """The text of a keyring cannot be read; the message says which entry, never its key."""

    code = "bad_key_text"


class UnknownKey(VaultError):
    """The value was wrapped by a key that is not in this keyring.

    Temporary: the key may come back with the right configuration, and the value is still whole.
    """

    code = "unknown_key"
    temporary = True

    def __init__(self, key_id: str) -> None:
        super().__init__(f"no key {key_id!r} in the keyring")
        self.key_id = key_id


class KeyringUnavailable(VaultError):
    """This process was not given the keyring it needs."""

    code = "keyring_unavailable"
    temporary = True


class Tampered(VaultError):
    """The value is not what was sealed, or not sealed for this place."""

    code = "tampered"


class WrongAnswer(VaultError):
    """The answer does not open the key."""

    code = "wrong_answer"
