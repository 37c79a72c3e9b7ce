"""Keeping the blob storage tidy."""

from celery import shared_task

from healthvault.store import blobs


@shared_task
def sweep_blobs() -> None:
    blobs.sweep_orphans()
