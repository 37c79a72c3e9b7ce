"""The Celery app and the beat table.

The broker is a door-bell only: every piece of work is a committed row, and the sweeps find rows
nobody is working on. A lost or doubled message therefore changes latency and nothing else.
"""

import os

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "healthvault.settings")

#: How long a broker may be silent before whoever rings gives up; a worker asks it every second.
SILENCE_S = 5.0


def transport_options(url: str) -> dict[str, object]:
    """What kombu is told about the broker at `url` ("" is the one in memory).

    Whoever rings stands between a committed row and the answer to a sender: neither a broker that takes
    connections and stays silent nor one that is away may hold them for longer than a moment. Workers try
    for ever all the same, since Celery's own loop connects again.
    """
    if not url:
        # The in-memory transport looks once a second by default, which is a second a task.
        return {"polling_interval": 0.02}
    once: dict[str, object] = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    if url.startswith("amqp"):
        return {**once, "write_timeout": SILENCE_S}
    return {
        **once,
        "visibility_timeout": 600,
        "socket_timeout": SILENCE_S,
        "socket_connect_timeout": SILENCE_S,
    }


app = Celery("healthvault")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL or "memory://localhost/",
    broker_transport_options=transport_options(settings.CELERY_BROKER_URL),
    broker_connection_timeout=SILENCE_S,
    broker_connection_retry_on_startup=True,
    result_backend=None,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    task_publish_retry=False,
    timezone="UTC",
    task_default_queue=settings.CELERY_QUEUE,
    beat_schedule_filename=str(settings.DATA_DIR / "celerybeat-schedule"),
    beat_schedule={
        "sweep-mail": {"task": "directmsg.tasks.sweep_mail", "schedule": settings.SWEEP_SECONDS},
        "sweep-documents": {"task": "records.tasks.sweep_documents", "schedule": settings.SWEEP_SECONDS},
        "sweep-exports": {"task": "records.tasks.sweep_exports", "schedule": settings.SWEEP_SECONDS},
        "sweep-notifications": {
            "task": "healthvault.outbox.tasks.sweep_notifications",
            "schedule": settings.SWEEP_SECONDS,
        },
        "expire-parcels": {"task": "directmsg.tasks.expire_parcels", "schedule": 600},
        "refresh-bundles": {"task": "trust.tasks.refresh_bundles", "schedule": 600},
        "refresh-crls": {"task": "trust.tasks.refresh_crls", "schedule": 300},
        "sweep-trust-requests": {"task": "trust.tasks.sweep_requests", "schedule": settings.SWEEP_SECONDS},
        "keep-identities-current": {"task": "trust.tasks.keep_identities_current", "schedule": 3600},
        "renew-own-crl": {"task": "trust.tasks.renew_own_crl", "schedule": 3600},
        "sweep-blobs": {"task": "healthvault.store.tasks.sweep_blobs", "schedule": 86_400},
        "clean": {"task": "healthvault.tasks.clean", "schedule": settings.CLEAN_SECONDS},
        **(
            {"empty-log": {"task": "healthvault.store.tasks.empty_write_ahead_log", "schedule": 3600}}
            if settings.EMBEDDED
            else {}
        ),
        "log-audit-heads": {"task": "healthvault.audit.tasks.log_heads", "schedule": 600},
    },
)
app.autodiscover_tasks()
