"""Work on documents and exports. Tasks take one primary key and call one function."""

from celery import shared_task

from healthvault.store import jobs

from . import export, filing
from .models import Document, Export


@shared_task
def read_document(pk: str) -> None:
    filing.read_document(pk)


@shared_task
def sweep_documents() -> None:
    """Offer every document that nobody is reading."""
    for pk in jobs.offered(Document, waiting=Document.State.WAITING, working=Document.State.READING):
        read_document.delay(pk)


@shared_task
def make_export(pk: str) -> None:
    export.make_export(pk)


@shared_task
def sweep_exports() -> None:
    """Offer every export that nobody is making, and delete those whose time is over."""
    for pk in jobs.offered(Export, waiting=Export.State.WAITING, working=Export.State.MAKING):
        make_export.delay(pk)
    export.expire_exports()
