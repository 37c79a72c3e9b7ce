"""A partner's machine: an API client made by the operator's command, and the requests it makes."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.test import Client

if TYPE_CHECKING:
    from directmsg.models import Parcel

NAME = "Larkspur Community Hospital"
DOMAIN = "direct.larkspur.example"
PARCELS = "/api/v1/parcels/"


def token_address(browser: Client) -> str:
    """The path of the token endpoint, as the portal's own metadata names it."""
    found = browser.get("/.well-known/openid-configuration").json()["token_endpoint"]
    return "/" + found.split("/", 3)[3]


@dataclass
class PartnerMachine:
    """One API client and its token."""

    client_id: str
    client_secret: str
    organization: str
    browser: Client = field(default_factory=Client)
    token: str = ""

    @classmethod
    def create(cls, name: str = NAME, domain: str = DOMAIN, *scopes: str) -> PartnerMachine:
        out = StringIO()
        options = [part for scope in scopes for part in ("--scope", scope)]
        call_command("create_partner", name, "--domain", domain, *options, "--json", stdout=out)
        return cls(**json.loads(out.getvalue())).sign_in()

    def sign_in(self) -> PartnerMachine:
        answer = self.ask_token()
        assert answer.status_code == 200, answer.content
        self.token = answer.json()["access_token"]
        return self

    def ask_token(self, **form: str) -> Any:
        """A token request with HTTP Basic (RFC 6749 section 2.3.1)."""
        pair = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        data = {"grant_type": "client_credentials", **form}
        return self.browser.post(
            token_address(self.browser), data, headers={"Authorization": f"Basic {pair}"}
        )

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One request with the token; a body goes as JSON."""
        return self.browser.generic(
            method,
            path,
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
            content_type="application/json",
            headers={
                "Authorization": f"Bearer {self.token}",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def post(self, body: Any = None, path: str = PARCELS, **headers: str) -> Any:
        return self.request("POST", path, body, **headers)


def parcel_body(**changes: Any) -> dict[str, Any]:
    """What a request for a parcel says."""
    return {
        "contact_email": "nora@patient.example",
        "question": "First pet?",
        "answer": "Biscuit",
        "subject": "Your summary",
        "text": "Please see the attachment.",
        "attachments": [attachment("map.pdf", "application/pdf", b"%PDF-1.4 test")],
        **changes,
    }


def attachment(filename: str, content_type: str, data: bytes) -> dict[str, str]:
    """One file as the JSON form has it."""
    return {
        "filename": filename,
        "content_type": content_type,
        "content": base64.b64encode(data).decode(),
    }


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The body of a problem, after its form was judged."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    return body


def fresh(told: dict[str, Any]) -> Parcel:
    """The row of a parcel that the API told of."""
    from directmsg.models import Parcel

    return Parcel.objects.select_related("holder", "content").get(pk=told["id"])
