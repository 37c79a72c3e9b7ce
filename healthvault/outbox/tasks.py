"""Work on notification mail. Tasks take one primary key and call one function."""

from celery import shared_task

from healthvault.outbox import delivery
from healthvault.outbox.models import Notification


@shared_task(acks_late=True)
def deliver_notification(pk: str) -> None:
    delivery.deliver(pk)


@shared_task
def sweep_notifications() -> None:
    """Offer every mail that is due and that nobody is sending."""
    for pk in Notification.due(limit=100):
        deliver_notification.delay(pk)
    delivery.tell_due()


def sweep_in_process() -> None:
    """Send what is due here and now, for commands that run without a worker."""
    for pk in Notification.due():
        delivery.deliver(pk)
    delivery.tell_due()
