"""Many workers and many queuers at once, on both databases: one row, one mail."""

import threading

import pytest
from django.db import connection, transaction

from healthvault.outbox import delivery, outcomes, transport
from healthvault.outbox.mail import queue_mail
from healthvault.outbox.models import Notification

pytestmark = pytest.mark.django_db(transaction=True)


def run(workers, act):
    results, errors = [], []
    barrier = threading.Barrier(workers)

    def body():
        try:
            barrier.wait(20)
            results.append(act())
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=body) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    return results


def test_twelve_workers_send_one_mail(monkeypatch):
    sent, told = [], []
    monkeypatch.setattr(transport, "send", lambda message, name: sent.append(name))
    outcomes.register("test", lambda *call: told.append(call))
    try:
        mail = queue_mail("rosa@example.org", "test", "s", "t", None)
        states = run(12, lambda: delivery.deliver(mail.pk))
    finally:
        outcomes.unregister("test")
    assert sorted(states) == [""] * 11 + ["sent"]
    assert len(sent) == len(told) == 1


def test_twelve_queuers_make_one_row():
    def act():
        with transaction.atomic():
            return queue_mail("rosa@example.org", "test", "s", "t", None, dedupe_key="parcel:1").pk

    assert len(set(run(12, act))) == 1
    assert Notification.objects.count() == 1
