"""Handing out bytes that somebody else made: always as a download, never run in this origin."""

from django.http import HttpResponse
from django.utils.http import content_disposition_header

#: Types that a browser may be told; everything else goes out as octet-stream.
_NAMED = frozenset(
    {"application/pdf", "image/png", "image/jpeg", "image/gif", "text/plain", "application/zip"}
)
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif"})


def download(data: bytes, filename: str, content_type: str) -> HttpResponse:
    """`data` as an attachment named `filename`; the declared type is kept only when harmless."""
    declared = content_type.partition(";")[0].strip().lower()
    response = HttpResponse(data, content_type=declared if declared in _NAMED else "application/octet-stream")
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
