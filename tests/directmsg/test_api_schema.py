"""The schema of the partner API, and answers that keep to it."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
import schemathesis
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from healthvault.outbox.models import Notification
from tests.directmsg.partners import (
    PARCELS,
    parcel_body,
)

pytestmark = pytest.mark.django_db


def test_the_schema_is_valid_and_complete():
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out, stderr=out)
    for word in ("multipart/form-data", "application/problem+json", "clientCredentials", "Idempotency-Key"):
        assert word in out.getvalue()


def test_the_schema_is_served_to_everybody(client):
    assert client.get("/api/v1/schema/").status_code == 200


load_all_checks()
CONFORMS = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]


@pytest.mark.django_db(transaction=True)  # a whole WSGI request closes its connection
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", ["", "{parcel_id}/", "{parcel_id}/withdraw/", "{parcel_id}/resend/"])
def test_made_up_requests_get_answers_of_the_schema(partner, path, mode):
    """Requests made from the schema, good and bad ones: no 500, and nothing the schema does not say."""
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema/", get_wsgi_application())
    operations = schema[PARCELS + path]
    mine = partner.post(parcel_body(attachments=[])).json()["id"]
    Notification.objects.update(created=timezone.now() - timedelta(minutes=16))
    seen: list[int] = []
    for method in ("GET", "POST", "PATCH"):
        if method.lower() not in schema.raw_schema["paths"][PARCELS + path]:
            continue

        @hypothesis_settings(
            max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operations[method].as_strategy(generation_mode=mode))
        def check(case) -> None:
            if path and len(seen) % 3:
                case.path_parameters["parcel_id"] = mine
            response = case.call(headers={"Authorization": f"Bearer {partner.token}"})
            seen.append(response.status_code)
            case.validate_response(response, checks=CONFORMS)

        check()
    assert len(seen) >= 3
    assert set(seen) & {200, 201} or mode is GenerationMode.NEGATIVE
