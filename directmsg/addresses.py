"""Direct addresses of records: how they look, how they are given, and the one door to a new record."""

import re
import secrets
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone

from healthvault.audit import trail
from healthvault.store.models import HolderKey
from records.models import Account, Grant, Record, Relationship, Right

from .models import DirectAddress

NEWUSER = "newuser"
#: Mailboxes of RFC 2142 that reach the administrators.
ADMINISTRATORS = frozenset({"postmaster", "abuse"})
RESERVED = ADMINISTRATORS | frozenset(
    """newuser hostmaster webmaster noc security info support sales marketing admin administrator root
    mailer-daemon noreply no-reply bounce bounces daemon nobody help privacy test direct
    healthvault""".split()  # noqa: SIM905
)
#: Words that no address holds, as a whole word between separators and digits.
_OFFENSIVE = frozenset(
    """arse arsehole ass asshole bastard bitch cock cunt dick faggot fuck fucker fucking nazi nigger piss porn
    prick pussy rape retard shit slut twat wank wanker whore""".split()  # noqa: SIM905
)
MOST_PER_RECORD = 5
CHANGES_A_MONTH = 2
_MONTH = timedelta(days=30)
_LOCAL_PART = re.compile(r"[a-z0-9](?:[a-z0-9]|[._-](?=[a-z0-9])){1,62}[a-z0-9]")

# Neutral words: an address says nothing about the person, not even a name.
_FIRST = """amber autumn birch bright calm cedar clear cloud copper coral crisp dawn deep early east fern
field fine gentle glad golden grand green hazel high holly ivory jade kind lake late light lilac lime long
lucky maple meadow mild mint misty new noble north oak olive open pearl pine plain quick quiet rapid red
river rose round sage sand silver slow smooth soft south spring steady still summer sunny swift tall teal
tidy upper violet warm west white wide willow
windy winter wise young""".split()  # noqa: SIM905
_SECOND = """anchor arch atlas badge barn basin bay beacon bell bench boat book bridge brook cabin canal
canvas
castle chime circle cliff coast compass corner cove creek crest delta drum dune falcon feather ferry flute
forest fountain garden gate grove harbor harp haven heron hill island kettle kite ladder lagoon lamp lantern
leaf ledge lighthouse lodge market marsh mill mirror moon nest orchard otter path pebble pier planet plaza
pond prairie quarry rail reef ridge robin sail shore sparrow station stone stream summit swan table tower
trail valley village wagon walnut wave wharf window wren yard""".split()  # noqa: SIM905


class AddressTaken(ValueError):
    """The name was given before, to this or another record."""

    code = "address_taken"


class AddressNotAllowed(ValueError):
    """The name breaks a rule for names; the text says which."""

    code = "address_not_allowed"


class TooManyAddresses(ValueError):
    """The record has as many addresses as one may have: names that were given stay with it for ever."""

    code = "too_many_addresses"


class TooManyChanges(ValueError):
    """The address was changed as often as it may be in a month."""

    code = "too_many_changes"


def check_local_part(local: str) -> str:
    """`local` in lower case, when it may be given: 3 to 64 of a-z 0-9 . _ - without doubled separators.

    Raises `AddressNotAllowed` with the rule that is broken.
    """
    local = local.strip().lower()
    if not _LOCAL_PART.fullmatch(local):
        raise AddressNotAllowed(
            "Use 3 to 64 letters a to z, digits, dots, hyphens or underscores; start and end with a letter or"
            " digit, and never put two separators in a row."
        )
    if local in RESERVED:
        raise AddressNotAllowed("This name is kept for the people who run the service.")
    if _OFFENSIVE & set(re.split(r"[._0-9-]+", local)):
        raise AddressNotAllowed("This name holds a word that no address here may hold.")
    return local


def suggest() -> str:
    """A neutral local part: two words and digits."""
    return f"{secrets.choice(_FIRST)}.{secrets.choice(_SECOND)}.{secrets.randbelow(9000) + 1000}"


def assign(record: Record, local: str | None = None, domain: str | None = None) -> DirectAddress:
    """Give `record` a primary address at `domain` (default: our first domain).

    Without `local` a neutral one is found. Names are unique for ever: a name once given is never
    given to another record. Raises `AddressTaken`, `AddressNotAllowed`.
    """
    domain = domain or settings.DIRECT_DOMAINS[0]
    names = [check_local_part(local)] if local else [suggest() for _ in range(20)]
    for name in names:
        try:
            with transaction.atomic():
                return DirectAddress.objects.create(address=f"{name}@{domain}", record=record)
        except IntegrityError:
            continue
    raise AddressTaken("This address was given before. Choose another.")


@transaction.atomic
def open_record(
    account: Account,
    name: str,
    relationship: str = Relationship.SELF,
    *,
    birth_date: str | None = None,
    gender: str | None = None,
    local: str | None = None,
) -> Record:
    """Open a record with `account` as its custodian, and give it its Direct address.

    Every door (sign-up, claim, command, "add a person") comes through here, so that no record is
    without an address. Raises `AddressTaken`, `AddressNotAllowed` for a wished-for `local`.
    """
    record = Record.objects.create(
        holder=HolderKey.create("record"), name=name, birth_date=birth_date, gender=gender
    )
    Grant.objects.create(account=account, record=record, right=Right.CUSTODIAN, relationship=relationship)
    assign(record, local)
    trail.record("record.opened", actor=account, record=record)
    return record


def primary_address(record: Record) -> DirectAddress | None:
    """The address that people are told."""
    return DirectAddress.objects.filter(record=record, primary=True).first()


# --- change, off and on ---------------------------------------------------------------------------------


@transaction.atomic
def change(
    record: Record, local: str, *, account: Account, request: HttpRequest | None = None
) -> DirectAddress:
    """Give `record` a new primary address, or make an earlier one of its own primary again.

    An address that was used stays an alias that delivers until it is switched off; one that nobody ever
    wrote to or from is switched off at once, and exchanging it does not count as a change. Raises
    AddressNotAllowed, AddressTaken, TooManyAddresses, TooManyChanges.
    """
    Record.objects.select_for_update().get(pk=record.pk)
    rows = list(DirectAddress.objects.filter(record=record))
    old = next((row for row in rows if row.primary), None)
    domain = old.address.rpartition("@")[2] if old else settings.DIRECT_DOMAINS[0]
    address = f"{check_local_part(local)}@{domain}"
    own = next((row for row in rows if row.address == address), None)
    if own is not None and own == old:
        return own
    if own is None and len(rows) >= MOST_PER_RECORD:
        raise TooManyAddresses(
            f"A record can have {MOST_PER_RECORD} addresses, and keeps each for ever. Use one it has."
        )
    used = old is not None and old.first_used is not None
    if used and _changes(record) >= CHANGES_A_MONTH:
        raise TooManyChanges(f"An address can be changed {CHANGES_A_MONTH} times a month. Try again later.")
    if old is not None:
        state = old.state if used else DirectAddress.State.DISABLED
        DirectAddress.objects.filter(pk=old.pk).update(primary=False, state=state)
    made = _make_primary(record, address, own)
    _tell(made, "address.changed" if used else "address.replaced", account, request)
    return made


def _make_primary(record: Record, address: str, own: DirectAddress | None) -> DirectAddress:
    if own is None:
        try:
            with transaction.atomic():
                return DirectAddress.objects.create(address=address, record=record)
        except IntegrityError as error:
            raise AddressTaken("This address was given before. Choose another.") from error
    own.primary, own.state = True, DirectAddress.State.ACTIVE
    own.save(update_fields=["primary", "state"])
    return own


def _changes(record: Record) -> int:
    since = timezone.now() - _MONTH
    return trail.history(record).filter(action="address.changed", at__gt=since).count()


@transaction.atomic
def switch(address: DirectAddress, *, on: bool, account: Account, request: HttpRequest | None = None) -> bool:
    """Switch an address of a record off or on; False when it was so already.

    Mail to one that is off fails like mail to nobody, and nothing is sent from it. It stays with its record,
    which alone can switch it on again.
    """
    states = DirectAddress.State
    before, after = (states.DISABLED, states.ACTIVE) if on else (states.ACTIVE, states.DISABLED)
    if not DirectAddress.objects.filter(pk=address.pk, state=before).update(state=after):
        return False
    address.state = after
    _tell(address, "address.switched_on" if on else "address.switched_off", account, request)
    return True


def _tell(address: DirectAddress, action: str, account: Account, request: HttpRequest | None) -> None:
    """Write a change down, and mail it to those who keep the record: it may not have been theirs."""
    from . import notify

    assert address.record is not None
    trail.record(action, actor=account, record=address.record, subject=address.pk, request=request)
    notify.address_changed(address.record)


# --- finding --------------------------------------------------------------------------------------------


def find(address: str) -> DirectAddress | None:
    """The row behind a normalised address; a `+tag` of the local part delivers to the plain name."""
    local, _, domain = address.rpartition("@")
    plain = f"{local.partition('+')[0]}@{domain}"
    return DirectAddress.objects.select_related("record__holder").filter(address=plain).first()


def mark_used(address: DirectAddress) -> None:
    """From its first use on an address stays with its record and cannot be exchanged freely."""
    DirectAddress.objects.filter(pk=address.pk, first_used__isnull=True).update(first_used=timezone.now())


def is_for_administrators(address: str) -> bool:
    """Whether a normalised address is one of the mailboxes that reach the people who run the service."""
    return address.rpartition("@")[0].partition("+")[0] in ADMINISTRATORS


def is_newuser(address: str) -> bool:
    """Whether a normalised address is the mailbox for people who have no account yet."""
    return address.rpartition("@")[0].partition("+")[0] == NEWUSER
