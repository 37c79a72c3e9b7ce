"""Logs for operators: one JSON object a line, ids, codes, sizes and durations.

Bodies, subjects, names, addresses and the tokens of links have no business here. Messages are constant
strings with ids as arguments; `extra` fields are taken from the list below and nothing else is printed. A
traceback is reduced to the type and the code lines: exception texts may quote what they choked on. What
libraries log is cut down to the same: no texts of exceptions, no paths of requests, no arguments of tasks.
"""

import json
import logging
import re
import threading
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

FIELDS = ("mail", "parcel", "record", "document", "notification", "code", "size", "seconds", "state", "peer")

OURS = ("healthvault", "trust", "records", "directmsg")
#: Django's loggers whose messages hold the path of a request, or the text of an error about it.
OF_REQUESTS = ("django.request", "django.security")
#: What Celery knows of a task that is neither an argument nor a result nor the text of an error.
OF_TASKS = frozenset({"id", "name", "hostname", "description", "runtime"})
LONGEST_ARGUMENT = 100

#: The parts of addresses that are secrets: whoever has them is let in.
_TOKENS = re.compile(r"(/pickup/|/password/reset/key/|/confirm-email/)[^/\s?\"']+")

log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **_event(record),
        }
        line.update({name: getattr(record, name) for name in FIELDS if hasattr(record, name)})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line, default=str, ensure_ascii=False)


def _event(record: logging.LogRecord) -> dict[str, object]:
    """What happened, in words that hold no secret."""
    if record.name.startswith(OURS):
        return {"event": _without_tokens(record.getMessage())}
    if record.name.startswith(OF_REQUESTS) and hasattr(record, "status_code"):
        return _request_event(record)
    text = str(record.msg)
    if record.args:
        text = text % _plain_arguments(record)
    for quoted in _texts_of(record.exc_info):
        text = text.replace(*quoted)
    return {"event": _without_tokens(text)}


def _request_event(record: logging.LogRecord) -> dict[str, object]:
    """A request by its route: its path may hold a token, and so may the Referer it came with."""
    request = getattr(record, "request", None)
    match = getattr(request, "resolver_match", None)
    event: dict[str, object] = {
        "event": HTTPStatus(record.status_code).phrase,  # type: ignore[attr-defined]
        "method": getattr(request, "method", None),
        "route": match.route if match is not None else None,
    }
    if record.name == "django.security.csrf" and isinstance(record.args, tuple) and record.args:
        reason = str(record.args[0])
        # A reason that quotes an origin or a Referer has a slash in it; the constant ones have none.
        event["reason"] = reason if "/" not in reason else "origin or referer"
    return event


def _plain_arguments(record: logging.LogRecord) -> Any:
    if isinstance(record.args, Mapping):
        return {name: _known_of_task(record, name, value) for name, value in record.args.items()}
    return tuple(_plain(value) for value in record.args or ())


def _known_of_task(record: logging.LogRecord, name: str, value: object) -> object:
    if name in OF_TASKS or not record.name.startswith("celery"):
        return _plain(value)
    if name == "exc" and record.exc_info and record.exc_info[0] is not None:
        return record.exc_info[0].__name__
    return "..."


def _plain(value: object) -> object:
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, str) and len(value) > LONGEST_ARGUMENT:
        return f"({len(value)} characters)"
    return value


def _texts_of(exc_info: Any) -> Iterator[tuple[str, str]]:
    """What a message may quote of an exception and those behind it, each with its type in its place."""
    error, seen = (exc_info[1] if exc_info else None), set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for text in (repr(error), str(error)):
            if text:
                yield text, type(error).__name__
        error = error.__cause__ or error.__context__


def _without_tokens(text: str) -> str:
    return _TOKENS.sub(r"\1...", text)


def log_thread_death(args: threading.ExceptHookArgs) -> None:
    """For `threading.excepthook`, which would print the text of the error."""
    if issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "unknown"
    error = args.exc_value or args.exc_type()
    log.error("thread %s failed", name, exc_info=(args.exc_type, error, args.exc_traceback))
