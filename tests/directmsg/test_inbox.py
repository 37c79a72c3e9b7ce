"""The door for incoming mail, as the listener asks it: how much one message may store."""

import io
import shutil

import pytest
from django.conf import settings

from directmsg import inbox
from directmsg.models import InboundMail
from directmsg.smtp_words import NO_SPACE, Envelope
from healthvault.store.models import Blob

pytestmark = pytest.mark.django_db(transaction=True)

RAW = b"From: office@clinic.example\r\n\r\n" + b"Good morning.\r\n" * 60_000
MAILBOXES = tuple(f"person{number}@direct.portal.example" for number in range(5))


class Data(io.BytesIO):
    """The bytes of a message, as the listener hands them over."""

    read_all = io.BytesIO.getvalue


def arrive() -> list[tuple[int, str]]:
    envelope = Envelope("office@clinic.example", MAILBOXES, Data(RAW), "203.0.113.9", "smtp", False)
    return [(reply.code, reply.text) for reply in inbox.accept_envelope(envelope)]


@pytest.fixture
def free(monkeypatch):
    """Sets what the disk of the data directory has free."""

    def set_free(size):
        usage = shutil.disk_usage(settings.DATA_DIR)._replace(free=size)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    return set_free


def test_without_room_for_every_copy_none_is_stored(free):
    free(inbox.LEAST_FREE + 4 * len(RAW))
    assert arrive() == [(NO_SPACE.code, NO_SPACE.text)] * 5
    assert NO_SPACE.code == 452
    assert not InboundMail.objects.exists()
    assert not Blob.objects.exists()


def test_with_room_for_every_copy_all_are_stored(free):
    free(inbox.LEAST_FREE + 5 * len(RAW))
    assert [code for code, _ in arrive()] == [250] * 5
    assert InboundMail.objects.count() == 5
