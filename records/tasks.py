"""Work on documents. Tasks take one primary key and call one function."""

from celery import shared_task

from healthvault.store import jobs

from . import filing
from .models import Document


@shared_task
def read_document(pk: str) -> None:
    filing.read_document(pk)


@shared_task
def sweep_documents() -> None:
    """Offer every document that nobody is reading."""
    for pk in jobs.offered(Document, waiting=Document.State.WAITING, working=Document.State.READING):
        read_document.delay(pk)
