"""What `check` says about trust, and that it asks the database only when told to."""

import datetime

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests import pki_factory
from trust import admission, authorities
from trust.models import Crl, Identity

OURS = "direct.portal.example"


@pytest.fixture(autouse=True)
def one_domain(settings, monkeypatch):
    settings.DIRECT_DOMAINS = [OURS]
    monkeypatch.setattr(authorities, "AUTHORITY_KEY_BITS", 2048)


def told(**options):
    return {message.id for message in run_checks(**options) if message.id.startswith("trust.")}


def asked():
    return told(tags=["database"], databases=["default"])


@pytest.mark.django_db
def test_an_empty_installation_lacks_a_certificate_and_partners():
    assert asked() == {"trust.W001", "trust.W006"}


@pytest.mark.django_db
def test_a_complete_installation_lacks_nothing():
    authorities.issue_identity(OURS)
    ca = pki_factory.make_ca("Larkspur Community Hospital CA")
    admission.admit(admission.read_files([("a", ca.der)], timezone.now()).candidates, "Larkspur")
    assert asked() == set()


@pytest.mark.django_db
def test_ends_that_come_near_are_told():
    row = authorities.issue_identity(OURS)
    soon = timezone.now() + datetime.timedelta(days=29)
    Identity.objects.filter(pk=row.pk).update(not_after=soon)
    Crl.objects.update(next_update=timezone.now() + datetime.timedelta(hours=2))
    assert asked() == {"trust.W002", "trust.W003", "trust.W006"}
    authorities.issue_identity(OURS)
    assert "trust.W002" not in asked(), "the newest certificate of a name counts"
    Identity.objects.filter(kind="domain").update(revoked=timezone.now())
    assert "trust.W001" in asked()


@pytest.mark.django_db
def test_a_plain_check_asks_no_database():
    with CaptureQueriesContext(connection) as queries:
        told(tags=["security"])
    assert len(queries) == 0


def test_redirected_lists_and_tolerances_are_told(settings):
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
    assert "trust.W004" in told(tags=["security"])
    settings.SECURE_REDIRECT_EXEMPT = [r"^messagecenter/certs/"]
    settings.DIRECT_LEGACY = frozenset()
    assert told(tags=["security"]) == set()
    settings.DIRECT_LEGACY = frozenset({"sha1_chain"})
    assert told(tags=["security"]) == {"trust.W005"}
