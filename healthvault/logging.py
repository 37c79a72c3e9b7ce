"""Logs for operators: one JSON object a line, ids, codes, sizes and durations.

Bodies, subjects, names and addresses have no business here. Messages are constant strings with
ids as arguments; `extra` fields are taken from the list below and nothing else is printed. A
traceback is reduced to the type and the code lines: exception texts may quote what they choked on.
"""

import json
import logging
import traceback
from datetime import UTC, datetime

FIELDS = ("mail", "parcel", "record", "document", "notification", "code", "size", "seconds", "state", "peer")


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update({name: getattr(record, name) for name in FIELDS if hasattr(record, name)})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line, default=str, ensure_ascii=False)
