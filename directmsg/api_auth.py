"""Who calls the partner API: an organisation, through one of its OAuth 2.0 clients (RFC 6749 section 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.idp.oidc.models import Token
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
REALM = 'Bearer realm="partners"'


class PartnerAuthentication(authentication.BaseAuthentication):
    """A bearer token (RFC 6750) of a client; the principal is the client's organisation."""

    def authenticate(self, request: Request) -> tuple[Organization, Token] | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "bearer" or not value.strip():
            raise exceptions.AuthenticationFailed("Send an access token as: Authorization: Bearer TOKEN.")
        token = Token.objects.select_related("client").lookup(Token.Type.ACCESS_TOKEN, value.strip())
        organization = _organization(token) if token is not None else None
        if token is None or organization is None:
            # One answer for unknown, expired, revoked and switched off: a finder of a token learns nothing.
            raise exceptions.AuthenticationFailed("The access token is unknown or has expired.")
        return organization, token

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401 (RFC 6750 section 3): an error code only where a token was sent."""
        return f'{REALM}, error="invalid_token"' if request.headers.get("Authorization") else REALM


def _organization(token: Token) -> Organization | None:
    """The active organisation behind a token's client."""
    client = PartnerClient.objects.select_related("organization").filter(client=token.client_id).first()
    return client.organization if client is not None and client.organization.is_active else None


class HasScope(permissions.BasePermission):
    """The token carries the scope that the view names for this method (`scopes`)."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        from .api_problems import MissingScope

        token = request.auth
        if not isinstance(token, Token) or token.client is None:
            return False
        wanted: dict[str, str] = getattr(view, "scopes", {})
        needed = wanted.get(request.method or "", wanted.get("*", ""))
        # A scope taken from the client counts at once, whatever its tokens say for another hour.
        if needed and needed not in {*token.get_scopes()} & {*token.client.get_scopes()}:
            raise MissingScope(needed)
        return bool(needed)
