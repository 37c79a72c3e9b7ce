"""Reading the environment: every knob has a name, a type and a plain complaint.

A bad value stops the start with the name of the variable and what is wrong with it.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


class BadValue(ImproperlyConfigured):
    """An environment variable holds something that cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class Env:
    """Typed look-ups over one mapping of environment variables."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = os.environ if values is None else values

    def text(self, name: str, default: str = "") -> str:
        """The value with blanks trimmed, or `default` when unset or empty."""
        return self._values.get(name, "").strip() or default

    def flag(self, name: str, default: bool = False) -> bool:
        """True for 1/true/yes/on, False for 0/false/no/off."""
        value = self._values.get(name, "").strip().lower()
        if name not in self._values or value == "":
            return default
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise BadValue(name, f"{value!r} is neither yes nor no")

    def number(self, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        """A whole number between `least` and `most`."""
        value = self.text(name)
        if not value:
            return default
        try:
            number = int(value)
        except ValueError:
            raise BadValue(name, f"{value!r} is not a whole number") from None
        if number < least or (most is not None and number > most):
            raise BadValue(name, f"{number} is outside {least} to {most if most is not None else 'any'}")
        return number

    def words(self, name: str, default: str = "", *, allowed: frozenset[str] | None = None) -> list[str]:
        """A list separated by commas or blanks; every word must be one of `allowed` when that is given."""
        found = [word for word in self.text(name, default).replace(",", " ").split() if word]
        for word in found:
            if allowed is not None and word not in allowed:
                raise BadValue(name, f"{word!r} is not one of {', '.join(sorted(allowed))}")
        return found

    def choice(self, name: str, allowed: tuple[str, ...], default: str = "") -> str:
        """One of `allowed`."""
        value = self.text(name, default)
        if value not in allowed:
            raise BadValue(name, f"{value!r} is not one of {', '.join(allowed)}" if value else "must be set")
        return value

    def secret(self, name: str, default: str = "") -> str:
        """The value of NAME, or the content of the file named by NAME_FILE."""
        path = self.text(f"{name}_FILE")
        if not path:
            return self.text(name, default)
        if self.text(name):
            raise BadValue(name, f"is set together with {name}_FILE; keep one")
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadValue(f"{name}_FILE", f"cannot be read: {error}") from error

    def host_port(self, name: str, default: str = "") -> tuple[str, int] | None:
        """`host:port` (`[v6]:port` for IPv6) as a pair, or None when empty."""
        value = self.text(name, default)
        if not value or value == "off":
            return None
        host, port = split_host_port(value, name)
        return host, port

    def url(self, name: str, schemes: tuple[str, ...], default: str = "") -> str:
        """An address whose scheme is one of `schemes`."""
        value = self.text(name, default)
        if value and urlsplit(value).scheme not in schemes:
            raise BadValue(name, f"must start with {' or '.join(s + ':' for s in schemes)}")
        return value


def split_host_port(value: str, name: str) -> tuple[str, int]:
    """Cut `host:port` apart; raises `BadValue` naming the variable."""
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise BadValue(name, f"{value!r} is not host:port")
    return host.strip("[]"), int(port)


def parse_with(name: str, value: str, parse: Callable[[str], T]) -> T:
    """Run `parse` and turn its ValueError into a `BadValue` for `name`."""
    try:
        return parse(value)
    except ValueError as error:
        raise BadValue(name, str(error)) from error
