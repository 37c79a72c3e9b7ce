"""How the API's schema tells of our authentication. Apart from `api_auth`, which must import no views."""

from typing import Any

from django.urls import reverse
from drf_spectacular.extensions import OpenApiAuthenticationExtension

from .api_auth import SCOPES


class PartnerScheme(OpenApiAuthenticationExtension):
    """How the schema describes `PartnerAuthentication`."""

    target_class = "directmsg.api_auth.PartnerAuthentication"
    name = "partner"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "oauth2",
            "description": "Client credentials (RFC 6749 section 4.4).",
            "flows": {
                "clientCredentials": {
                    "tokenUrl": reverse("idp:oidc:token"),
                    "scopes": {scope: scope for scope in SCOPES},
                }
            },
        }
