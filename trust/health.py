"""The state of trust in one look: for each thing how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.conf import settings
from django.db.models import Count, Q
from django.urls import reverse

from trust import authorities
from trust.authorities import CRL_RENEW_BEFORE
from trust.checks import WARN_BEFORE
from trust.context import usable_labels
from trust.models import (
    Anchor,
    Bundle,
    Crl,
    Domain,
    Identity,
    IdentityRequest,
    PeerCertificate,
    TrustRequest,
)

Level = Literal["good", "warn", "bad"]
#: So long before the end of a certificate of ours somebody must act at once.
ACT_BEFORE = timedelta(days=3)
#: A new authority is made by itself long before; if not, it is told this long before the old one's end.
AUTHORITY_WARN_BEFORE = timedelta(days=365)
_ORDER = {"bad": 0, "warn": 1, "good": 2}


@dataclass(frozen=True)
class Sign:
    """One line of the overview. `todo` says what to do, `url` where; both empty when nothing is amiss."""

    level: Level
    title: str
    detail: str
    todo: str = ""
    url: str = ""

    @property
    def word(self) -> str:
        return {"good": "Fine", "warn": "Look at it", "bad": "Act"}[self.level]


def worst_first(signs: Iterable[Sign]) -> list[Sign]:
    """What needs somebody before what does not; otherwise in the order given."""
    return sorted(signs, key=lambda sign: _ORDER[sign.level])


def trust_signs(now: datetime) -> list[Sign]:
    """Certificates, revocation lists, anchors, bundles and requests."""
    return [
        *(domain_sign(name, now) for name in settings.DIRECT_DOMAINS),
        *authority_signs(now),
        *own_list_signs(now),
        anchors_sign(now),
        *bundle_signs(),
        *partner_list_signs(now),
        *request_signs(),
    ]


def domain_sign(name: str, now: datetime) -> Sign:
    """The newest certificate of one of our domains, and when it ends."""
    rows = Identity.objects.filter(
        name=name, state=Identity.State.ACTIVE, revoked__isnull=True, not_before__lte=now
    )
    newest = rows.order_by("-not_after").only("pk", "not_after", "name").first()
    issue = f"{reverse('trust:certificate_issue')}?name={name}"
    if newest is None:
        return Sign("bad", name, "It has no certificate: no mail to it can be opened.", "Make one", issue)
    end = f"{newest.not_after:%d %B %Y}".lstrip("0")
    if newest.not_after < now:
        return Sign("bad", name, f"Its certificate ended on {end}.", "Renew it", issue)
    if newest.not_after < now + WARN_BEFORE:
        level: Level = "bad" if newest.not_after < now + ACT_BEFORE else "warn"
        return Sign(level, name, f"Its certificate ends on {end}.", "Renew it", issue)
    return Sign("good", name, f"Its certificate is valid until {end}.", url=reverse("trust:certificates"))


def authority_signs(now: datetime) -> list[Sign]:
    """Our own authority near its end, and the next one that partners have to import."""
    issuing, waiting = authorities.issuing_authority(now), authorities.successor(now)
    found, url = [], reverse("trust:certificates")
    if waiting is not None:
        begins = f"{authorities.issues_from(waiting):%d %B %Y}".lstrip("0")
        detail = f"It issues from {begins} on. Partners who have not imported it then refuse our mail."
        found.append(Sign("warn", waiting.name, detail, "Tell partners to import our anchors anew", url))
    elif issuing is not None and issuing.not_after < now + AUTHORITY_WARN_BEFORE:
        end = f"{issuing.not_after:%d %B %Y}".lstrip("0")
        detail = f"This authority of ours ends on {end}, and with it all that it issued."
        found.append(Sign("warn", issuing.name, detail, "Make the next one", url))
    return found


def own_list_signs(now: datetime) -> list[Sign]:
    """The revocation lists that we publish. Partners refuse our mail when one runs out."""
    found = []
    lists = Crl.objects.filter(identity__state=Identity.State.ACTIVE).select_related("identity")
    for crl in lists.defer("der", "identity__private_key", "identity__der"):
        assert crl.identity is not None
        title = f"Revocation list of {crl.identity.name}"
        until = f"{crl.next_update:%d %B %Y, %H:%M}".lstrip("0") if crl.next_update else "without an end"
        if crl.next_update and crl.next_update < now + CRL_RENEW_BEFORE / 2:
            level: Level = "bad" if crl.next_update < now else "warn"
            todo = "See that a worker with IDENTITY_KEYS and beat are running"
            if authorities.is_offline(crl.identity):
                todo = "Import the authority's PKCS #12 file, and take it offline again"
            found.append(Sign(level, title, f"It is good until {until} and was not renewed.", todo))
        else:
            found.append(Sign("good", title, f"It is good until {until}."))
    return found


def anchors_sign(now: datetime) -> Sign:
    """How many partners' anchors count, and which end soon."""
    active = Anchor.objects.filter(state=Anchor.State.ACTIVE).exclude(source=Anchor.Source.OWN)
    active = active.filter(
        Q(bundle__isnull=True) | Q(bundle__is_active=True, bundle__label__in=usable_labels())
    )
    active = active.exclude(organization__is_active=False)
    counted = active.aggregate(
        valid=Count("sha256", distinct=True, filter=Q(not_after__gte=now)),
        ended=Count("sha256", distinct=True, filter=Q(not_after__lt=now, bundle__isnull=True)),
        soon=Count(
            "sha256",
            distinct=True,
            filter=Q(not_after__gte=now, not_after__lt=now + WARN_BEFORE, bundle__isnull=True),
        ),
    )
    anchors, url = counted["valid"], reverse("trust:anchors")
    words = f"{anchors} anchor{'' if anchors == 1 else 's'} of partners count{'s' if anchors == 1 else ''}."
    if not anchors:
        detail = "No partner is trusted: all mail from outside is refused."
        return Sign("bad", "Anchors", detail, "Import an anchor", reverse("trust:anchor_import"))
    if counted["ended"] or counted["soon"]:
        ended = f"Ended: {counted['ended']}." if counted["ended"] else ""
        soon = f"Ending within 30 days: {counted['soon']}." if counted["soon"] else ""
        detail = " ".join(filter(None, (words, ended, soon)))
        return Sign("warn", "Anchors", detail, "Ask these partners for their next anchor", url)
    return Sign("good", "Anchors", words, url=url)


def bundle_signs() -> list[Sign]:
    """Bundles that are followed and could not be refreshed."""
    failed = Bundle.objects.filter(is_active=True).exclude(last_error="")
    return [
        Sign(
            "warn",
            f"Bundle {bundle.name}",
            f"It could not be refreshed ({bundle.last_error}); the anchors it had stay.",
            "See why",
            reverse("trust:bundle", args=[bundle.pk]),
        )
        for bundle in failed
    ]


def partner_list_signs(now: datetime) -> list[Sign]:
    """Partners' revocation lists and responders that give nothing of use."""
    current = PeerCertificate.objects.filter(not_after__gte=now).exclude(crl_error="", ocsp_error="")
    count = current.count()
    if not count:
        return []
    certificates = "one certificate" if count == 1 else f"{count} certificates"
    detail = f"For {certificates} of partners no fresh revocation list or answer is to be had."
    url = f"{reverse('trust:peers')}?amiss=on"
    return [Sign("warn", "Revocation", detail, "See whose", url)]


def request_signs() -> list[Sign]:
    """What waits for an administrator, or for a worker with the keys."""
    found = []
    waiting = TrustRequest.objects.filter(state=TrustRequest.State.OPEN).count()
    if waiting:
        detail = (
            f"{waiting} request{'' if waiting == 1 else 's'} to be trusted wait{'s' if waiting == 1 else ''}."
        )
        found.append(Sign("warn", "Requests", detail, "Decide", reverse("trust:requests")))
    for bundle in Bundle.objects.filter(proposal__isnull=False).only("pk", "name"):
        url = reverse("trust:bundle", args=[bundle.pk])
        detail = "A change of it waits for a second administrator."
        found.append(Sign("warn", f"Bundle {bundle.name}", detail, "Decide", url))
    keyless = IdentityRequest.objects.filter(state=IdentityRequest.State.WAITING, code="keys_unavailable")
    if keyless.exists():
        detail = "Work on our certificates waits for a worker that has their keys."
        todo = "Give IDENTITY_KEYS to a worker"
        found.append(Sign("bad", "Certificate requests", detail, todo, reverse("trust:certificates")))
    return found


def domains() -> list[Domain]:
    """The rows of our domains that there are, in the order of the settings."""
    rows = {row.name: row for row in Domain.objects.filter(name__in=settings.DIRECT_DOMAINS)}
    return [rows[name] for name in settings.DIRECT_DOMAINS if name in rows]
