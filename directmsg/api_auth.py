"""Who calls the partner API: an organisation, through one of its OAuth 2.0 clients (RFC 6749 section 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.idp.oidc.models import Token
from django.utils import timezone
from rest_framework import authentication, exceptions, permissions
from rest_framework.request import Request

from trust.models import Organization

from .models import PartnerClient

if TYPE_CHECKING:
    # REST framework imports this module while it makes its views.
    from rest_framework.views import APIView

SCOPES = (
    "parcels.write",
    "messages.send",
    "deliveries.read",
    "trust.read",
    "trust.write",
    "webhooks.write",
)


class PartnerAuthentication(authentication.BaseAuthentication):
    """A bearer token (RFC 6750) of a client; the principal is the client's organisation."""

    def authenticate(self, request: Request) -> tuple[Organization, Token] | None:
        header = request.headers.get("Authorization", "")
        scheme, _, value = header.partition(" ")
        if not header:
            return None
        if scheme.lower() != "bearer" or not value.strip():
            raise exceptions.AuthenticationFailed("Send an access token as: Authorization: Bearer TOKEN.")
        token = Token.objects.lookup(Token.Type.ACCESS_TOKEN, value.strip())
        partner = (
            PartnerClient.objects.select_related("organization").filter(client=token.client_id).first()
            if token is not None
            else None
        )
        if token is None or partner is None or not partner.organization.is_active:
            raise exceptions.AuthenticationFailed("The access token is unknown or has expired.")
        return partner.organization, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="partners"'


class HasScope(permissions.BasePermission):
    """The token carries the scope that the view names for this method (`scopes`)."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        token = request.auth
        if not isinstance(token, Token):
            return False
        if token.expires_at is not None and token.expires_at <= timezone.now():
            return False
        wanted: dict[str, str] = getattr(view, "scopes", {})
        needed = wanted.get(request.method or "", wanted.get("*", ""))
        if needed and needed not in token.get_scopes():
            raise exceptions.PermissionDenied(f"The access token lacks the scope {needed}.")
        return bool(needed)
