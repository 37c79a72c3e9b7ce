"""What operators watch: how many rows are in which state, and how old the oldest open work is.

Everything comes from the database at the time of asking, so that every replica answers alike.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from django.db import models
from django.db.models import Count, Min
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from directmsg.models import InboundMail, Parcel
from healthvault.outbox.models import Notification
from records.models import Document

#: Table name in the metric, model, time column, states in which somebody waits for us.
WATCHED: tuple[tuple[str, type[models.Model], str, tuple[str, ...]], ...] = (
    ("inbound_mail", InboundMail, "received", (InboundMail.State.RECEIVED, InboundMail.State.PROCESSING)),
    ("parcel", Parcel, "created", ()),
    ("notification", Notification, "created", (Notification.State.QUEUED, Notification.State.SENDING)),
    ("document", Document, "created", (Document.State.WAITING, Document.State.READING)),
)

#: What proxies add to the requests that they pass on.
PROXY_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via")


class Rows(Collector):
    """Counts of rows by state, and the age of the oldest one that waits for us."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        rows = GaugeMetricFamily("healthvault_rows", "Rows by state.", labels=["table", "state"])
        oldest = GaugeMetricFamily(
            "healthvault_oldest_seconds", "Age of the oldest row that waits for work.", labels=["table"]
        )
        for table, model, column, open_states in WATCHED:
            counted = model._default_manager.order_by().values_list("state").annotate(Count("pk"))
            for state, number in counted:
                rows.add_metric([table, state], number)
            if open_states:
                oldest.add_metric([table], _age_of_oldest(model, column, open_states))
        yield rows
        yield oldest


def _age_of_oldest(model: type[models.Model], column: str, states: tuple[str, ...]) -> float:
    waiting = model._default_manager.filter(state__in=states)
    first = waiting.aggregate(first=Min(column))["first"]
    return max(0.0, (timezone.now() - first).total_seconds()) if first else 0.0


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The text format of Prometheus; for administrators, and for machines of our own network."""
    if not ((request.user.is_authenticated and request.user.is_staff) or _from_inside(request)):
        raise Http404
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _from_inside(request: HttpRequest) -> bool:
    """A direct request from a private address; what a proxy passes on comes from outside.

    Where people come by https every direct request is from inside: nothing of ours speaks TLS.
    """
    if request.is_secure() or any(name in request.headers for name in PROXY_HEADERS):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_private
    except ValueError:
        return False
