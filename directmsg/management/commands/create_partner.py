"""`create_partner`: an organisation that may use the REST API, and its client."""

import json
import secrets
from typing import Any

from allauth.idp.oidc.models import Client
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from directmsg.api_auth import SCOPES
from directmsg.models import PartnerClient
from healthvault.audit import trail
from trust.models import Organization

DEFAULT_SCOPES = ("parcels.write", "messages.send", "deliveries.read")


class Command(BaseCommand):
    help = "Make an organisation (or take the one of that name) and an API client. The secret is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--domain", required=True, action="append", help="a Direct domain of the partner")
        parser.add_argument("--scope", action="append", choices=SCOPES, default=[])
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        secret = secrets.token_urlsafe(32)
        scopes = options["scope"] or list(DEFAULT_SCOPES)
        with transaction.atomic():
            organization = Organization.objects.filter(name=options["name"]).first()
            if organization is None:
                organization = Organization(name=options["name"], domains=[])
            organization.domains = sorted({*organization.domains, *(d.lower() for d in options["domain"])})
            organization.save()
            client = Client(
                name=options["name"][:100],
                type=Client.Type.CONFIDENTIAL,
                grant_types=Client.GrantType.CLIENT_CREDENTIALS,
                response_types="",
            )
            client.set_scopes(scopes)
            client.set_default_scopes(scopes)
            client.set_secret(secret)
            client.save()
            PartnerClient.objects.create(client=client, organization=organization)
            trail.record("partner.client_created", subject=organization.pk)
        made = {"organization": str(organization.pk), "client_id": client.id, "client_secret": secret}
        if options["json"]:
            self.stdout.write(json.dumps(made))
        else:
            self.stdout.write(f"organisation  {made['organization']}")
            self.stdout.write(f"client id     {made['client_id']}")
            self.stdout.write(f"client secret {made['client_secret']}  (shown this once)")
