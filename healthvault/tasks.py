"""Work of the whole, by the clock."""

import logging

from celery import shared_task

from healthvault import cleaning

log = logging.getLogger(__name__)


@shared_task
def clean() -> None:
    for name, count in cleaning.sweep().items():
        if count:
            log.info("deleted by age: %s", name, extra={"size": count})
