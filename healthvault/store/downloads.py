"""Handing out bytes that somebody else made: as a download or drawn anew, never run in this origin."""

import io
from collections.abc import Iterator
from typing import TypeVar

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from PIL import Image, ImageOps

_Answer = TypeVar("_Answer", bound=HttpResponseBase)
#: Types that a browser may be told; everything else goes out as octet-stream.
_NAMED = frozenset(
    {"application/pdf", "image/png", "image/jpeg", "image/gif", "text/plain", "application/zip"}
)
_MOST_PIXELS = 25_000_000
_MOST_ACROSS = 2_000
#: What Pillow raises for bytes that are not what they begin like.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class NoPicture(Exception):
    """The bytes are no picture that may be shown in a page."""


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


def picture(data: bytes) -> HttpResponse:
    """`data`, a PNG, JPEG or GIF, drawn anew as a picture that a page shows.

    Only the pixels of the first frame go out, 2,000 at most either way: what else the file holds (a second
    nature as a script, a place, a thumbnail) stays in the download. Raises NoPicture when the bytes are no
    such picture, or one of more than 25 million pixels.
    """
    encoded, media_type = _drawn_anew(data)
    response = HttpResponse(encoded, content_type=media_type)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _drawn_anew(data: bytes) -> tuple[bytes, str]:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF")) as found:
            if found.width * found.height > _MOST_PIXELS:
                raise NoPicture("It has too many pixels.")
            photo = found.format == "JPEG"
            upright = ImageOps.exif_transpose(found).convert("RGB" if photo else "RGBA")
    except _UNREADABLE as error:
        raise NoPicture("It cannot be read as a picture.") from error
    upright.thumbnail((_MOST_ACROSS, _MOST_ACROSS))
    bare = Image.new(upright.mode, upright.size)
    bare.paste(upright)
    encoded = io.BytesIO()
    bare.save(encoded, "JPEG" if photo else "PNG", quality=88)
    return encoded.getvalue(), "image/jpeg" if photo else "image/png"
