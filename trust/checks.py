"""System checks: is everything there that mail needs?

Those that ask the database run with `check --database default` and in `selfcheck`, not on every command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connections
from django.utils import timezone

from trust import authorities, bundles
from trust.models import Anchor, Bundle, Crl, Domain, Identity, PeerCertificate

#: Days before the end of a certificate of ours at which it is told about.
WARN_BEFORE = timedelta(days=30)


@register(Tags.security)
def certificate_urls(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Revocation lists must be had without a redirect, or partners take our certificates for unknown."""
    found: list[CheckMessage] = []
    path = authorities.CERTS_PATH.lstrip("/") + "ca.crl"
    exempt = any(re.search(each, path) for each in getattr(settings, "SECURE_REDIRECT_EXEMPT", []))
    if getattr(settings, "SECURE_SSL_REDIRECT", False) and not exempt:
        found.append(
            Warning(
                "Certificates and revocation lists are redirected to https.",
                hint=f"Let SECURE_REDIRECT_EXEMPT match {path}.",
                id="trust.W004",
            )
        )
    if settings.DIRECT_LEGACY:
        found.append(
            Warning(
                f"Tolerances that domains may switch on: {', '.join(sorted(settings.DIRECT_LEGACY))}.",
                hint="Take those out of DIRECT_LEGACY that no partner needs any more.",
                id="trust.W005",
            )
        )
    return found


@register(Tags.database)
def trust_material(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """What mail to and from each of our domains needs; nothing before the tables are made."""
    if not databases or "default" not in databases:
        return []
    if Identity._meta.db_table not in connections["default"].introspection.table_names():
        return []
    return [
        *(message for name in settings.DIRECT_DOMAINS for message in domain_problems(name)),
        *expiring_identities(),
        *stale_lists(),
        *failing_bundles(),
        *missing_lists(),
        *missing_answers(),
    ]


def domain_problems(name: str) -> list[CheckMessage]:
    """W001: no certificate; W006: no partner's anchor."""
    found: list[CheckMessage] = []
    now = timezone.now()
    usable = Identity.objects.filter(
        state=Identity.State.ACTIVE, revoked__isnull=True, not_before__lte=now, not_after__gte=now
    )
    if not usable.filter(name=name, private_key__isnull=False).exists():
        found.append(
            Warning(
                f"There is no certificate for {name}: no mail to it can be opened.",
                hint=f"manage.py create_identity {name}",
                id="trust.W001",
            )
        )
    anchors = Anchor.objects.filter(state=Anchor.State.ACTIVE).exclude(source=Anchor.Source.OWN)
    domain = Domain.objects.filter(name=name).first()
    if not any(anchor.domain_id in (None, domain and domain.pk) for anchor in anchors.only("domain_id")):
        found.append(
            Warning(
                f"No partner is trusted for {name}: all mail from outside is refused.",
                hint="manage.py import_anchor FILE --organization NAME",
                id="trust.W006",
            )
        )
    return found


def expiring_identities() -> list[CheckMessage]:
    """W002: the newest certificate of a name runs out soon, or did."""
    newest: dict[str, Identity] = {}
    for row in Identity.objects.filter(state=Identity.State.ACTIVE, revoked__isnull=True).only(
        "name", "not_after"
    ):
        if row.name not in newest or row.not_after > newest[row.name].not_after:
            newest[row.name] = row
    soon = timezone.now() + WARN_BEFORE
    return [
        Warning(
            f"The certificate of {name} ends on {row.not_after:%Y-%m-%d}.",
            hint=f"manage.py create_identity {name}",
            id="trust.W002",
        )
        for name, row in newest.items()
        if row.not_after < soon
    ]


def stale_lists() -> list[CheckMessage]:
    """W003: a revocation list of ours was not renewed in time."""
    late = timezone.now() + authorities.CRL_RENEW_BEFORE / 2
    return [
        Warning(
            f"The revocation list of {crl.identity} ends on {crl.next_update:%Y-%m-%d %H:%M}.",
            hint="Is a worker running that has IDENTITY_KEYS, and beat?",
            id="trust.W003",
        )
        for crl in Crl.objects.filter(
            identity__state=Identity.State.ACTIVE, next_update__lt=late
        ).select_related("identity")
    ]


def failing_bundles() -> list[CheckMessage]:
    """W007: a trust bundle that could not be refreshed; the anchors it had still count."""
    return [
        Warning(
            f"The trust bundle {bundle.name} was not refreshed: {bundle.last_error}.",
            hint=bundles.WORDS.get(bundle.last_error, ""),
            id="trust.W007",
        )
        for bundle in Bundle.objects.filter(is_active=True).exclude(last_error="")
    ]


def missing_lists() -> list[CheckMessage]:
    """W008: partners' revocation lists that cannot be had; one line for each place."""
    current = PeerCertificate.objects.filter(not_after__gte=timezone.now()).exclude(crl_error="")
    places = current.order_by().values_list("crl_urls", "crl_error").distinct()[:20]
    return [
        Warning(
            f"No fresh revocation list is to be had from {urls.splitlines()[0]} ({code}).",
            hint="Tell the partner. Where it must be known, mail is refused a day after its end.",
            id="trust.W008",
        )
        for urls, code in places
    ]


def missing_answers() -> list[CheckMessage]:
    """W009: OCSP responders of partners that give no answer of use; one line for each place."""
    current = PeerCertificate.objects.filter(not_after__gte=timezone.now()).exclude(ocsp_error="")
    places = current.order_by().values_list("ocsp_urls", "ocsp_error").distinct()[:20]
    return [
        Warning(
            f"The OCSP responder {urls.splitlines()[0]} gives no answer of use ({code}).",
            hint="Tell the partner. Where it must be known, mail needs a revocation list instead.",
            id="trust.W009",
        )
        for urls, code in places
    ]
