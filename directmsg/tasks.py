"""Work on mail and parcels. Tasks take one primary key and call one function."""

from celery import shared_task

from healthvault.store import jobs

from . import parcels, receive
from .models import InboundMail


@shared_task
def process_inbound(pk: str) -> None:
    receive.receive_mail(pk)


@shared_task
def sweep_mail() -> None:
    """Offer every accepted copy that nobody is working on."""
    for pk in jobs.offered(
        InboundMail, waiting=InboundMail.State.RECEIVED, working=InboundMail.State.PROCESSING
    ):
        process_inbound.delay(pk)


@shared_task
def expire_parcels() -> None:
    parcels.expire()
    parcels.remind()
