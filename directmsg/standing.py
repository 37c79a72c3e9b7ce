"""Whether the organisation behind a waiting parcel is still trusted.

An organisation whose anchor is taken away after its message came in is trusted no more, and what it sent is
not offered until an administrator decides: takes the anchor back in, offers the parcel all the same, or
withdraws it. Judged when it is asked for, so that a change counts at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from trust import context as trust_context

from . import parcels
from .models import InboundMail, Parcel


def is_suspended(parcel: Parcel) -> bool:
    """Whether `parcel` waits for an administrator: who sent it is not trusted any more."""
    if parcel.cleared is not None:
        return False
    if parcel.organization is not None and not parcel.organization.is_active:
        return True
    anchor = _anchor_of(parcel.inbound) if parcel.inbound is not None else ""
    if not anchor or parcel.inbound is None:
        return False
    trusted = trust_context.for_address(parcel.inbound.recipient).trust.anchors
    return anchor not in {each.sha256 for each in trusted}


def offered(waiting: Iterable[Parcel]) -> list[Parcel]:
    """Those of `waiting` that are offered now."""
    return [parcel for parcel in waiting if not is_suspended(parcel)]


def clear(parcel: Parcel) -> bool:
    """Offer `parcel` all the same; call it in a transaction. False when it waits no more, or was cleared."""
    open_states = [Parcel.State.WAITING, Parcel.State.LOCKED]
    waiting = Parcel.objects.filter(pk=parcel.pk, state__in=open_states, cleared__isnull=True)
    if not waiting.update(cleared=timezone.now()):
        return False
    parcels.event(parcel, "cleared")
    return True


def _anchor_of(mail: InboundMail) -> str:
    """The anchor that the accepted signer's chain ended in when the message came; "" when there is none."""
    for signer in mail.report.get("signers", []):
        chain = signer.get("chain") or []
        if signer.get("accepted") and chain:
            return str(chain[-1].get("sha256") or "")
    return ""
