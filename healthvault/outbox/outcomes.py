"""Who wants to know what became of a mail. Apps register; the outbox imports none of them.

A listener is called as `listener(related_id, state, code)`, `state` being "sent" (the relay took it) or
"failed", in the transaction of that change. When it raises, the state stands all the same and the
listener is called again later: a mail is never sent twice because of it.
"""

from collections.abc import Callable

Listener = Callable[[str, str, str], None]

_listeners: dict[str, Listener] = {}


def register(kind: str, listener: Listener) -> None:
    """Tell `listener` about every mail of `kind`; one listener a kind, the last one registered."""
    _listeners[kind] = listener


def unregister(kind: str) -> None:
    """Nobody listens to `kind` any more."""
    _listeners.pop(kind, None)


def listener_of(kind: str) -> Listener | None:
    """Who listens to `kind`."""
    return _listeners.get(kind)
