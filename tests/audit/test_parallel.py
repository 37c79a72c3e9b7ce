"""Many writers at once, on both databases: one unbroken trail."""

import threading

import pytest
from django.db import connection, transaction

from healthvault.audit import trail
from healthvault.audit.models import AuditEvent
from healthvault.audit.verify import verify_trail

pytestmark = pytest.mark.django_db(transaction=True)


def run(workers, act):
    errors = []

    def body(number):
        try:
            act(number)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=body, args=[number]) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


def test_parallel_writers_leave_one_unbroken_trail():
    def act(number):
        for index in range(10):
            with transaction.atomic():
                trail.record("act", subject=number, index=index)

    run(12, act)
    verdict = verify_trail()
    assert verdict.ok, verdict.problems
    assert verdict.events == 120


def test_a_long_transaction_does_not_hold_up_the_others():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer, whatever we do")
    trail.record("first")
    held, release = threading.Event(), threading.Event()

    def act(number):
        if number == 0:
            with transaction.atomic():
                trail.record("slow")
                held.set()
                assert release.wait(20)
        else:
            assert held.wait(20)
            trail.record("quick")
            release.set()

    run(2, act)
    assert AuditEvent.objects.count() == 3
    assert verify_trail().ok
