"""How bodies of partners' requests are read: strict JSON, and forms whose files never touch a disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadhandler import MemoryFileUploadHandler
from rest_framework import exceptions
from rest_framework.parsers import BaseParser, MultiPartParser

from .api_problems import Problem

#: Base64 takes four characters for three bytes; the rest is room for the text, escapes and part headers.
LARGEST_BODY = settings.MAX_MESSAGE_SIZE * 4 // 3 + 6_000_000


def refuse_large(context: Mapping[str, Any] | None) -> None:
    """Refuse a body by its announced length, before any of it is read. Raises Problem 413."""
    request = (context or {}).get("request")
    announced = request.META.get("CONTENT_LENGTH") if request is not None else None
    if announced and announced.isdigit() and int(announced) > LARGEST_BODY:
        raise too_large()


def too_large() -> Problem:
    """The refusal of a request that is larger than a message may be."""
    return Problem(
        413, "too_large", f"Text and attachments together may have {settings.MAX_MESSAGE_SIZE} bytes at most."
    )


class Json(BaseParser):
    """JSON in UTF-8 (RFC 8259 section 8.1), without NaN, without a name given twice."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        refuse_large(parser_context)
        try:
            return json.loads(
                stream.read().decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once_each
            )
        except (ValueError, RecursionError):
            # Not the parser's own words: they may quote what they choked on.
            raise exceptions.ParseError("The body is not JSON.") from None


def _no_constant(name: str) -> None:
    raise ValueError("not a number of JSON")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name is given twice")
    return value


class _InMemory(MemoryFileUploadHandler):
    """Keeps every file in memory: Django's own would write large ones to a temporary file in clear."""

    def handle_raw_input(self, *args: Any, **kwargs: Any) -> None:
        self.activated = True


class Form(MultiPartParser):
    """multipart/form-data (RFC 7578)."""

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        refuse_large(parser_context)
        request = (parser_context or {})["request"]
        request.upload_handlers = [_InMemory(request)]
        return super().parse(stream, media_type, parser_context)
