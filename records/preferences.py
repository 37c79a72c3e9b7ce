"""What a record does with what comes in, and the exceptions for single senders."""

from __future__ import annotations

import re

from django.db import transaction

from .models import IntegrationPreference, Record

_SENDER = re.compile(r"(?:[^@\s]{1,64}@)?[a-z0-9-]+(?:\.[a-z0-9-]+)+")
MOST_SENDERS = 200


class BadSender(ValueError):
    """This is neither a Direct address nor a domain, or there are too many of them."""

    code = "bad_sender"


def integration_for(record: Record, sender: str) -> str:
    """What happens to the items of a document that `sender` (a Direct address, or "") sent.

    The preference for the address, else that for its domain, else the record's own.
    """
    address = sender.strip().lower()
    rules = record.sender_preferences
    for name in (address, address.rpartition("@")[2]):
        if name and name in rules:
            return str(rules[name])
    return str(record.integration_preference)


def set_sender_preference(record: Record, sender: str, preference: str | None) -> None:
    """Let `sender` (a Direct address or a domain) be treated otherwise than the record says.

    `preference` is a value of IntegrationPreference, None takes the exception away. Raises `BadSender`;
    ValueError for another preference.
    """
    name = sender.strip().lower()
    if len(name) > 254 or not _SENDER.fullmatch(name):
        raise BadSender("Enter a Direct address such as records@clinic.example, or a domain.")
    with transaction.atomic():
        locked = Record.objects.select_for_update().get(pk=record.pk)
        rules = dict(locked.sender_preferences)
        rules.pop(name, None)
        if preference is not None:
            rules[name] = IntegrationPreference(preference).value
        if len(rules) > MOST_SENDERS:
            raise BadSender(f"There are {MOST_SENDERS} exceptions already.")
        Record.objects.filter(pk=record.pk).update(sender_preferences=rules)
    record.sender_preferences = rules
