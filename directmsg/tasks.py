"""Work on mail and parcels. Tasks take one primary key and call one function."""

from celery import shared_task

from healthvault.store import jobs

from .models import InboundMail, OutboundMail


@shared_task
def process_inbound(pk: str) -> None:
    from . import receive

    receive.receive_mail(pk)


@shared_task
def send_outbound(pk: str) -> None:
    from . import send

    send.send_mail(pk)


@shared_task
def sweep_mail() -> None:
    """Offer every copy that nobody is working on, and end those whose time is over."""
    from . import find

    expire_confirmations()
    for pk in find.unanswered():
        answer_find_request.delay(pk)
    for pk in jobs.offered(
        InboundMail, waiting=InboundMail.State.RECEIVED, working=InboundMail.State.PROCESSING
    ):
        process_inbound.delay(pk)
    for pk in jobs.offered(
        OutboundMail, waiting=OutboundMail.State.QUEUED, working=OutboundMail.State.SENDING
    ):
        send_outbound.delay(pk)


@shared_task
def answer_find_request(pk: str) -> None:
    from . import find

    find.answer(pk)


@shared_task
def expire_confirmations() -> None:
    """Turn silence into an outcome, and erase what nobody needs to send again."""
    from . import confirmations, send

    confirmations.expire()
    send.drop_sealed()


@shared_task
def expire_parcels() -> None:
    from . import find, parcels

    parcels.expire()
    find.forget()
    parcels.shred_drafts()
    parcels.shred_refused()
    parcels.remind()
