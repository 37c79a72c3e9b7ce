"""Handing out bytes that somebody else made: always as a download, never run in this origin."""

from collections.abc import Iterator
from typing import TypeVar

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

_Answer = TypeVar("_Answer", bound=HttpResponseBase)
#: Types that a browser may be told; everything else goes out as octet-stream.
_NAMED = frozenset(
    {"application/pdf", "image/png", "image/jpeg", "image/gif", "text/plain", "application/zip"}
)
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif"})


def download(data: bytes, filename: str, content_type: str) -> HttpResponse:
    """`data` as an attachment named `filename`; the declared type is kept only when harmless."""
    return _as_file(HttpResponse(data), filename, content_type)


def download_stream(data: Iterator[bytes], filename: str, content_type: str) -> StreamingHttpResponse:
    """The same for what is too large to hold in memory."""
    return _as_file(StreamingHttpResponse(data), filename, content_type)


def _as_file(response: _Answer, filename: str, content_type: str) -> _Answer:
    declared = content_type.partition(";")[0].strip().lower()
    response.headers["Content-Type"] = declared if declared in _NAMED else "application/octet-stream"
    response.headers["Content-Disposition"] = (
        content_disposition_header(True, filename or "file") or "attachment"
    )
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def picture(data: bytes, media_type: str) -> HttpResponse:
    """`data` as a picture that a page shows; `media_type` is what its bytes are: PNG, JPEG or GIF.

    Raises ValueError for any other type: what is shown in a page runs in this origin.
    """
    if media_type not in _PICTURES:
        raise ValueError(media_type)
    response = HttpResponse(data, content_type=media_type)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
