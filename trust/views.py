"""Files that anybody may fetch: our anchors, and what certificates of ours point to.

No session, no keys; what is served stands in rows.
"""

from __future__ import annotations

from cryptography import x509
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_safe

from trust import publication
from trust.models import Crl, Identity

#: A list and a certificate may be kept a while; a new list is made when half of its life is over.
_CACHE_S = 3600


@require_safe
def authority_certificate(request: HttpRequest, slug: str) -> HttpResponse:
    """The certificate of one of our authorities, DER (RFC 5280 section 4.2.2.1)."""
    authority = get_object_or_404(Identity, slug=slug, kind=Identity.Kind.CA)
    return _file(bytes(authority.der), "application/pkix-cert", f"{slug}.crt")


@require_safe
def authority_crl(request: HttpRequest, slug: str) -> HttpResponse:
    """The revocation list of one of our authorities, DER (RFC 5280 section 4.2.1.13)."""
    crl = get_object_or_404(Crl, identity__slug=slug)
    return _file(bytes(crl.der), "application/pkix-crl", f"{slug}.crl")


@require_safe
def anchors_p7b(request: HttpRequest) -> HttpResponse:
    """Our anchors as a trust bundle of their own."""
    content = publication.anchors_p7b(_anchors())
    return _file(content, "application/x-pkcs7-certificates", "anchors.p7b")


@require_safe
def certs_zip(request: HttpRequest) -> HttpResponse:
    """Our anchors as files, for administrators of partners."""
    return _file(publication.anchors_zip(_anchors()), "application/zip", "certs.zip")


def _anchors() -> list[x509.Certificate]:
    anchors = publication.own_anchors(timezone.now())
    if not anchors:
        raise Http404("there is no anchor of ours yet")
    return anchors


def _file(content: bytes, content_type: str, name: str) -> HttpResponse:
    return HttpResponse(
        content,
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": f"public, max-age={_CACHE_S}",
        },
    )
