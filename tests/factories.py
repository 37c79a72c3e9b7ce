"""Rows for tests, made through the same doors as the portal's own."""

from __future__ import annotations

from typing import Any

from directmsg import addresses, parcels
from directmsg.models import Parcel
from healthvault.store.models import HolderKey
from records import proofs
from records.intake import IncomingMessage, store_parts
from records.models import Account, Record

PASSWORD = "plum-river-orbit-42"


def account(email: str = "nora@patient.example", name: str = "Nora Whitlock", **extra: Any) -> Account:
    """An account that has shown to read its mailbox."""
    made = Account.objects.create_user(email, PASSWORD, name=name, **extra)
    proofs.add(made, email)
    return made


def record(owner: Account, name: str = "", **extra: Any) -> Record:
    """A record with `owner` as custodian, and its Direct address."""
    return addresses.open_record(owner, name or owner.get_full_name(), **extra)


def parcel(
    contact: str = "nora@patient.example",
    question: str | None = "First pet?",
    answer: str | None = "Biscuit",
    *,
    subject: str = "Your summary",
    text: str = "Please see the attachment.",
    files: tuple[tuple[str, str, bytes], ...] = (),
    **extra: Any,
) -> Parcel:
    """A parcel as a partner's REST request makes it."""
    offer = parcels.Offer(
        contact_email=contact,
        question=question,
        answer=answer,
        organization=None,
        organization_name="Larkspur Community Hospital",
        source=Parcel.Source.REST,
        **extra,
    )

    def build(holder: HolderKey) -> IncomingMessage:
        return IncomingMessage(
            from_address="",
            organization_name=offer.organization_name,
            subject=subject,
            text=text,
            source=Parcel.Source.REST,
            parts=store_parts(holder, files),
        )

    return parcels.hold(offer, build)
