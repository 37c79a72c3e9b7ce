"""Handing out bytes that somebody else made: always as a download, never run in this origin."""

from django.http import HttpResponse
from django.utils.http import content_disposition_header

#: Types that a browser may be told; everything else goes out as octet-stream.
_NAMED = frozenset(
    {"application/pdf", "image/png", "image/jpeg", "image/gif", "text/plain", "application/zip"}
)


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
