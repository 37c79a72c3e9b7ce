"""The operator's command that makes API clients."""

import json
from io import StringIO

import pytest
from allauth.idp.oidc.models import Client
from django.core.management import CommandError, call_command

from healthvault.audit.models import AuditEvent
from trust.models import Organization

pytestmark = pytest.mark.django_db
NAME = "Larkspur Community Hospital"


def create(*words: str, name: str = NAME) -> dict[str, str]:
    out = StringIO()
    call_command("create_partner", name, *words, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_it_makes_an_organisation_and_a_client_whose_secret_is_kept_hashed():
    made = create("--domain", "Direct.Larkspur.example.")
    organization = Organization.objects.get(pk=made["organization"])
    assert (organization.name, organization.domains) == (NAME, ["direct.larkspur.example"])
    client = Client.objects.get(pk=made["client_id"])
    assert client.check_secret(made["client_secret"])
    assert made["client_secret"] not in client.secret
    assert len(made["client_secret"]) >= 43
    assert client.get_grant_types() == ["client_credentials"]
    assert client.get_redirect_uris() == client.get_response_types() == []
    assert client.get_scopes() == ["parcels.write", "messages.send", "deliveries.read"]
    event = AuditEvent.objects.get(action="partner.client_created")
    assert (event.actor, event.subject) == ("operator", made["organization"])


def test_the_same_name_gains_a_client_and_domains():
    first = create("--domain", "a.larkspur.example")
    second = create("--domain", "b.larkspur.example", "--scope", "trust.read", "--scope", "trust.read")
    assert first["organization"] == second["organization"]
    assert first["client_id"] != second["client_id"]
    assert Organization.objects.get().domains == ["a.larkspur.example", "b.larkspur.example"]
    assert Client.objects.get(pk=second["client_id"]).get_scopes() == ["trust.read"]


def test_people_read_the_secret_in_words():
    out = StringIO()
    call_command("create_partner", NAME, "--domain", "a.larkspur.example", stdout=out)
    assert Client.objects.get().pk in out.getvalue()
    assert "shown this once" in out.getvalue()


@pytest.mark.parametrize(
    ("words", "name", "code"),
    [
        (["--domain", "no host name"], NAME, 2),
        (["--domain", "single"], NAME, 2),
        (["--domain", "a.larkspur.example"], " ", 2),
        (["--domain", "a.larkspur.example"], "x" * 201, 2),
        (["--domain", "direct.portal.example"], NAME, 1),
        (["--domain", "taken.example.org"], NAME, 1),
        (["--domain", "a.example.org"], "Switched Off Clinic", 1),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(words, name, code):
    Organization.objects.create(name="Another", domains=["taken.example.org"])
    Organization.objects.create(name="Switched Off Clinic", is_active=False)
    with pytest.raises(CommandError) as refused:
        create(*words, name=name)
    assert refused.value.returncode == code
    assert Organization.objects.count() == 2
    assert not Client.objects.exists()
