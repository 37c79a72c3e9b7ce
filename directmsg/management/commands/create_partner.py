"""`create_partner`: an organisation that may use the REST API, and its client."""

import json
import secrets
from typing import Any

from allauth.idp.oidc.models import Client
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from directmsg.api_auth import SCOPES
from directmsg.models import PartnerClient
from healthvault.audit import trail
from healthvault.store.commands import PortalCommand
from trust import context as trust_context
from trust.models import Organization

DEFAULT_SCOPES = ("parcels.write", "messages.send", "deliveries.read")
REFUSED, WRONG_USE = 1, 2


class Command(PortalCommand):
    help = "Make an organisation (or take the one of that name) and an API client. The secret is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--domain", required=True, action="append", help="a Direct domain of the partner")
        parser.add_argument("--scope", action="append", choices=SCOPES, default=[])
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        domains = [domain.strip().lower().rstrip(".") for domain in options["domain"]]
        scopes = list(dict.fromkeys(options["scope"])) or list(DEFAULT_SCOPES)
        secret = secrets.token_urlsafe(32)
        with transaction.atomic():
            organization = _organization(options["name"].strip(), domains)
            client = _client(organization, scopes, secret)
            trail.record(
                "partner.client_created", actor="operator", subject=organization.pk, client=client.pk
            )
        made = {"organization": str(organization.pk), "client_id": client.pk, "client_secret": secret}
        if options["json"]:
            self.stdout.write(json.dumps(made))
        else:
            self.stdout.write(f"organisation  {made['organization']}")
            self.stdout.write(f"client id     {made['client_id']}")
            self.stdout.write(f"client secret {made['client_secret']}  (shown this once)")


def _organization(name: str, domains: list[str]) -> Organization:
    """The organisation of that name with these domains among its own. Raises CommandError."""
    organization = Organization.objects.filter(name=name).first() or Organization(name=name, domains=[])
    if not organization.is_active:
        raise CommandError(f"{name} is switched off: its clients could do nothing", returncode=REFUSED)
    for domain in domains:
        _check_owner(domain, organization)
    organization.domains = sorted({*organization.domains, *domains})
    try:
        organization.full_clean()
    except ValidationError as error:
        raise CommandError("; ".join(error.messages), returncode=WRONG_USE) from error
    organization.save()
    return organization


def _check_owner(domain: str, organization: Organization) -> None:
    if trust_context.is_hosted(domain):
        raise CommandError(f"{domain} is a domain of this portal, not of a partner", returncode=REFUSED)
    others = Organization.objects.exclude(pk=organization.pk).values_list("name", "domains")
    owner = next((name for name, taken in others if domain in taken), None)
    if owner is not None:
        raise CommandError(f"{domain} belongs to {owner} already", returncode=REFUSED)


def _client(organization: Organization, scopes: list[str], secret: str) -> Client:
    client = Client(
        name=organization.name[:100],
        type=Client.Type.CONFIDENTIAL,
        grant_types=Client.GrantType.CLIENT_CREDENTIALS,
        response_types="",
    )
    client.set_scopes(scopes)
    client.set_default_scopes(scopes)
    client.set_secret(secret)
    client.save(force_insert=True)
    PartnerClient.objects.create(client=client, organization=organization)
    return client
