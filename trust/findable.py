"""Is what we published findable? What partners see under our names, beside what should stand there.

`look` asks DNS and LDAP; `judge` is pure and says for each certificate of ours whether it is there, and of
everything else that is there what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db.models import QuerySet

from trust import discovery, publication
from trust.models import Identity
from trust.pki.certs import Certificate
from trust.pki.errors import PkiError

State = Literal["found", "hidden", "other", "missing", "unknown"]
_WAYS: dict[discovery.Way, str] = {"dns": "DNS", "ldap": "LDAP"}


@dataclass(frozen=True)
class Verdict:
    """One certificate that should be found: whether it is, in plain words, and what to do.

    `hidden`: it is in LDAP, but DNS holds others, and partners stop at what DNS holds (Applicability
    Statement for Secure Health Transport 5.3). `other`: only other certificates were found.
    """

    identity: Identity
    state: State
    words: str
    remedy: str = ""
    #: Lines for the zone file, when they are wanted.
    records: str = ""


@dataclass(frozen=True)
class Stranger:
    """A certificate that is there and should not be."""

    way: str
    sha256: str
    words: str
    subject: str = ""


@dataclass(frozen=True)
class Finding:
    """What was found under one name of ours."""

    name: str
    looks: tuple[discovery.Look, ...]
    verdicts: tuple[Verdict, ...]
    strangers: tuple[Stranger, ...]

    @property
    def is_good(self) -> bool:
        """Whether every certificate is found, and nothing else."""
        return all(each.state == "found" for each in self.verdicts) and not self.strangers


def look(name: str, rows: Sequence[Identity], at: datetime) -> Finding:
    """Look `name` up as partners do. `rows`: our certificates that should be there; `at`: now.

    It may take half a minute; never call it in a transaction.
    """
    looks = discovery.survey(name)
    return judge(name, rows, looks, at, Identity.objects.filter(sha256__in=_digests(looks)))


def _digests(looks: Sequence[discovery.Look]) -> list[str]:
    return [hashlib.sha256(der).hexdigest() for each in looks for der in each.found]


def judge(
    name: str,
    rows: Sequence[Identity],
    looks: Sequence[discovery.Look],
    at: datetime,
    ours: QuerySet[Identity] | Sequence[Identity] = (),
) -> Finding:
    """What the looks mean. `ours`: identities of ours with the fingerprints found, published or not."""
    verdicts = tuple(_verdict(row, looks) for row in rows)
    wanted = {row.sha256 for row in rows}
    known = {row.sha256: row for row in ours}
    strangers = [
        _stranger(each.way, der, known, at)
        for each in looks
        for der in each.found
        if hashlib.sha256(der).hexdigest() not in wanted
    ]
    strangers.sort(key=lambda each: (each.way, each.subject, each.sha256))
    return Finding(name, tuple(looks), verdicts, tuple(strangers))


def _verdict(row: Identity, looks: Sequence[discovery.Look]) -> Verdict:
    der = bytes(row.der)
    having = [_WAYS[each.way] for each in looks if der in each.found]
    others = [_WAYS[each.way] for each in looks if each.found and der not in each.found]
    silent = [_WAYS[each.way] for each in looks if each.failed]
    if having == ["LDAP"] and "DNS" in others:
        words = "It is in LDAP, but DNS holds others under this name, and partners stop at what DNS holds."
        return Verdict(row, "hidden", words, *_to_add(row))
    if having:
        return Verdict(row, "found", f"Found as published, by {' and by '.join(having)}.")
    if silent and not others:
        words = f"Not known: {' and '.join(silent)} could not be asked. Look again in a few minutes."
        return Verdict(row, "unknown", words)
    if others:
        words = f"Another certificate was found by {' and by '.join(others)}, not this one."
        return Verdict(row, "other", words, *_to_add(row))
    words = "Not found: there is no certificate under this name, neither in DNS nor in LDAP."
    return Verdict(row, "missing", words, *_to_add(row))


def _to_add(row: Identity) -> tuple[str, str]:
    """What to do so that the certificate is found, and the lines for it."""
    if not publication.fits_dns(row.name):
        return "This address cannot stand in DNS; put the entry of the LDIF file into your LDAP server.", ""
    words = (
        "Add this record to the zone, and leave others that are still good beside it. "
        "What was looked up before may be kept by others for an hour."
    )
    return words, "\n".join(publication.record(row))


def _stranger(way: discovery.Way, der: bytes, known: dict[str, Identity], at: datetime) -> Stranger:
    sha256 = hashlib.sha256(der).hexdigest()
    row = known.get(sha256)
    if row is not None:
        return Stranger(_WAYS[way], sha256, _of_ours(row, at), row.subject)
    try:
        certificate = Certificate(der)
        subject, issuer = certificate.subject, certificate.issuer
    except PkiError:
        return Stranger(_WAYS[way], sha256, "It is no readable certificate. Take it out.")
    words = (
        f"It is none of ours; {issuer or 'somebody unnamed'} issued it. Take it out, unless another of your "
        "systems uses this name. If nobody put it there, ask who can change your zone."
    )
    return Stranger(_WAYS[way], sha256, words, subject)


def _of_ours(row: Identity, at: datetime) -> str:
    if row.revoked:
        return "It is ours, but revoked. Take it out: alone it would stop all mail to this name."
    if row.not_after < at:
        return "It is ours, but has ended. Take it out: alone it would stop all mail to this name."
    if row.state == Identity.State.RETIRED:
        return "It is ours, but retired. Take it out, so that partners use the newer one."
    if not row.encrypts:
        return "It is ours, but for signing only: nobody can encrypt to it. Take it out."
    return "It is ours, but not for this name. Take it out."
