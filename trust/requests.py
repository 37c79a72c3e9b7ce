"""Being asked to trust somebody: proving the contact mailbox, reviewing, accepting, declining.

Whoever asks, one queue holds it, and one function (`accept`) makes anchors of it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Sum
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from healthvault.audit import trail
from healthvault.outbox.mail import queue_mail
from healthvault.store.lookup import lookup_hash
from trust import admission
from trust.admission import Admitted, Candidate
from trust.errors import TrustRefusal
from trust.models import Anchor, Domain, Organization, TrustDraft, TrustRequest
from trust.present import pem

CODE = "trust_code"
DECISION = "trust_decision"

CODE_LIFE = timedelta(minutes=30)
DRAFT_LIFE = timedelta(days=1)
CODES_PER_CONTACT_A_DAY = 5
CODES_PER_NETWORK_A_DAY = 20
CODES_A_DAY = 300
MOST_CERTIFICATES = 50
MOST_DOMAINS = 50


class NotOpen(TrustRefusal):
    """The request was decided already."""

    code = "not_open"


class SecondPersonNeeded(TrustRefusal):
    """In production nobody makes an anchor alone."""

    code = "second_person_needed"


class NotConfirmed(TrustRefusal):
    """Something about the certificates wants a yes of its own."""

    code = "not_confirmed"


class WrongCode(TrustRefusal):
    """The mailed code is wrong, too old, or was tried too often."""

    code = "wrong_code"


class TooManyCodes(TrustRefusal):
    """The contact, the network, or everybody together asked for too many codes today."""

    code = "too_many_codes"


class TooMuch(TrustRefusal):
    """More certificates or domains than one request may hold."""

    code = "too_much"


# --- from outside: until the mailbox is proven ----------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What an organisation asks: its name, contact address, Direct domains, and anchors as PEM."""

    organization_name: str
    contact_email: str
    domains: tuple[str, ...]
    certificates: str

    def to_json(self) -> dict[str, Any]:
        return {
            "organization_name": self.organization_name,
            "contact_email": self.contact_email,
            "domains": list(self.domains),
            "certificates": self.certificates,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Asked:
        return cls(**{**value, "domains": tuple(value["domains"])})


def pem_of(candidates: Iterable[Candidate]) -> str:
    """Certificates that were read, as they are kept in a request. Raises TooMuch."""
    parts = [pem(each.certificate.der) for each in candidates]
    if len(parts) > MOST_CERTIFICATES:
        raise TooMuch(f"that is {len(parts)} certificates; a request may hold {MOST_CERTIFICATES}")
    return "".join(parts)


def start(asked: Asked, network: str) -> TrustDraft:
    """Keep a request sealed until its contact mailbox is proven, and mail the code. Raises TooManyCodes."""
    contact = _contact_hash(asked.contact_email)
    code = _new_code()
    draft = TrustDraft(content=asked.to_json(), contact_hash=contact, network=network)
    draft.code_hash = _code_hash(draft, code)
    with transaction.atomic():
        _require_room(contact, network)
        draft.save(force_insert=True)
        _mail_code(asked.contact_email, code)
        trail.record("trust.request_started", subject=draft.pk)
    return draft


def new_code(draft: TrustDraft) -> None:
    """Mail another code; the one before stops working. Raises TooManyCodes."""
    code = _new_code()
    with transaction.atomic():
        _require_room(draft.contact_hash, draft.network)
        draft.code_hash = _code_hash(draft, code)
        draft.code_sent = timezone.now()
        draft.codes += 1
        draft.tries_left = 5
        draft.save(update_fields=["code_hash", "code_sent", "codes", "tries_left"])
        _mail_code(draft.content["contact_email"], code)


def prove(draft: TrustDraft, code: str) -> TrustRequest:
    """Make a request of the draft when `code` is the one that was mailed. Raises WrongCode.

    A try is counted before the comparison, so that tries side by side win nothing.
    """
    fresh = TrustDraft.objects.filter(
        pk=draft.pk, tries_left__gt=0, code_sent__gt=timezone.now() - CODE_LIFE, code_hash=draft.code_hash
    )
    if not fresh.update(tries_left=F("tries_left") - 1):
        raise WrongCode("This code is too old, or was tried too often. Ask for a new one.")
    given = "".join(character for character in code if character.isdigit())
    if not hmac.compare_digest(_code_hash(draft, given), draft.code_hash):
        raise WrongCode("This code is not right. Check the newest e-mail, or ask for a new code.")
    with transaction.atomic():
        if not TrustDraft.objects.filter(pk=draft.pk).delete()[0]:
            raise WrongCode("This request was sent already.")
        return open_request(Asked.from_json(draft.content), TrustRequest.Source.WEB)


def erase_old_drafts() -> int:
    """Forget drafts whose mailbox was not proven within a day; returns how many."""
    old = TrustDraft.objects.filter(created__lt=timezone.now() - DRAFT_LIFE)
    # Asked first: a delete takes SQLite's one write lock even where nothing is to delete.
    return int(old.delete()[0]) if old.exists() else 0


def _require_room(contact: str, network: str) -> None:
    today = TrustDraft.objects.filter(created__gt=timezone.now() - timedelta(days=1))
    for drafts, most in (
        (today.filter(contact_hash=contact), CODES_PER_CONTACT_A_DAY),
        (today.filter(network=network), CODES_PER_NETWORK_A_DAY),
        (today, CODES_A_DAY),
    ):
        if (drafts.aggregate(sent=Sum("codes"))["sent"] or 0) >= most:
            raise TooManyCodes("Too many codes were asked for today. Please try again tomorrow.")


def _contact_hash(email: str) -> str:
    return lookup_hash("trust-contact", email.strip().casefold())


def _new_code() -> str:
    return f"{secrets.randbelow(10**8):08d}"


def _code_hash(draft: TrustDraft, code: str) -> str:
    return lookup_hash("trust-code", f"{draft.pk}:{code}")


def _mail_code(email: str, code: str) -> None:
    subject, text, html = _render("code", {"code": f"{code[:4]}-{code[4:]}"})
    queue_mail(email, CODE, subject, text, html)


# --- the queue ------------------------------------------------------------------------------------------


def open_request(
    asked: Asked,
    source: str,
    *,
    organization: Organization | None = None,
    account: Any = None,
    domain: Domain | None = None,
    incoming: bool = True,
    outgoing: bool = True,
) -> TrustRequest:
    """Put a request into the queue of the administrators.

    `account`: the administrator who imports, who then counts as the first of two persons.
    """
    with transaction.atomic():
        row = TrustRequest.objects.create(
            source=source,
            organization_name=asked.organization_name,
            organization=organization,
            contact_email=asked.contact_email or None,
            domains=list(asked.domains),
            certificates=asked.certificates,
            domain=domain,
            incoming=incoming,
            outgoing=outgoing,
            first_by=account,
        )
        trail.record("trust.request_opened", actor=account, subject=row.pk, source=source)
    return row


@dataclass(frozen=True)
class Reviewed:
    """One certificate of a request beside what stands here: `rows` are anchors with its fingerprint."""

    candidate: Candidate
    rows: tuple[Anchor, ...] = ()

    @property
    def stopped(self) -> tuple[Anchor, ...]:
        return tuple(row for row in self.rows if row.state in STOPPED)

    @property
    def is_new(self) -> bool:
        return not self.rows

    @property
    def warnings(self) -> list[str]:
        """What an administrator should know before saying yes, in sentences."""
        return [f"It {admission.WARNINGS[code]}." for code in self.candidate.warnings]


STOPPED = (Anchor.State.PAUSED, Anchor.State.REVOKED)
#: Warnings that want a yes of their own: mostly the wrong file was sent.
ASKED = frozenset({"leaf", "cannot_issue", "expired", "unsound"})


@dataclass(frozen=True)
class Review:
    """What accepting a request would do, in the words of one page."""

    certificates: tuple[Reviewed, ...]
    known: Organization | None = None
    #: Domains of the request that another organisation holds: (domain, its name).
    taken: tuple[tuple[str, str], ...] = ()
    ours: tuple[str, ...] = ()
    new_domains: tuple[str, ...] = field(default=())

    @property
    def asks(self) -> bool:
        """Whether a certificate wants a yes of its own."""
        return any(ASKED & set(each.candidate.warnings) for each in self.certificates)

    @property
    def stopped(self) -> bool:
        return any(each.stopped for each in self.certificates)


def masked(email: str) -> str:
    """A contact address for administrators: the first letter and the domain, "j***@example.org"."""
    local, at, domain = email.rpartition("@")
    return f"{local[:1]}***@{domain}" if at else "***"


def candidates_of(row: TrustRequest, at: datetime) -> list[Candidate]:
    """The certificates of a request, judged by the time `at`."""
    return admission.read_files([("request", row.certificates.encode())], at).candidates


def review(row: TrustRequest) -> Review:
    """What accepting the request would change."""
    candidates = candidates_of(row, timezone.now())
    present: dict[str, list[Anchor]] = {}
    fingerprints = [each.certificate.sha256 for each in candidates]
    for anchor in Anchor.objects.filter(sha256__in=fingerprints).select_related("organization", "bundle"):
        present.setdefault(anchor.sha256, []).append(anchor)
    known = row.organization or Organization.objects.filter(name=row.organization_name).first()
    others = Organization.objects.exclude(pk=known.pk) if known else Organization.objects.all()
    holders = {name: each.name for each in others for name in each.domains}
    have = set(known.domains) if known else set()
    return Review(
        tuple(Reviewed(each, tuple(present.get(each.certificate.sha256, ()))) for each in candidates),
        known,
        tuple((name, holders[name]) for name in row.domains if name in holders),
        tuple(name for name in row.domains if name in settings.DIRECT_DOMAINS),
        tuple(name for name in row.domains if name not in have and name not in holders),
    )


@dataclass(frozen=True)
class Terms:
    """On which terms a request is accepted; `lift`: also what was paused or revoked here before."""

    organization_name: str
    domains: tuple[str, ...]
    domain: Domain | None
    incoming: bool
    outgoing: bool
    confirmed: bool = False
    lift: bool = False


def needs_second_person(row: TrustRequest, account: Any) -> bool:
    """Whether a yes of `account` alone does not make anchors yet."""
    return bool(settings.PRODUCTION) and row.first_by_id in (None, account.pk)


def accept(row: TrustRequest, account: Any, terms: Terms) -> list[Admitted]:
    """Say yes for `account`; returns the anchors, or nothing when a second person has to agree.

    Raises NotOpen, NotConfirmed, SecondPersonNeeded, AnchorStopped.
    """
    with transaction.atomic():
        row = _locked(row)
        candidates = candidates_of(row, timezone.now())
        if not terms.confirmed and any(ASKED & set(each.warnings) for each in candidates):
            raise NotConfirmed("Confirm that you mean these certificates in spite of the warnings.")
        if needs_second_person(row, account):
            _first_yes(row, account, terms)
            return []
        if terms.lift:
            _lift(candidates, row, account)
        admitted = admission.admit(
            candidates,
            terms.organization_name,
            domain=terms.domain,
            incoming=terms.incoming,
            outgoing=terms.outgoing,
            actor=account,
        )
        _mark_source(row, admitted)
        organization = admitted[0].anchor.organization
        assert organization is not None
        _add_domains(organization, terms.domains, account)
        _decide(row, account, TrustRequest.State.ACCEPTED, "", organization)
    return admitted


def decline(row: TrustRequest, account: Any, reason: str) -> None:
    """Say no, with the reason that the contact is told. Raises NotOpen."""
    with transaction.atomic():
        _decide(_locked(row), account, TrustRequest.State.DECLINED, reason)


def _locked(row: TrustRequest) -> TrustRequest:
    found = TrustRequest.objects.select_for_update(of=("self",)).get(pk=row.pk)
    if not found.is_open:
        raise NotOpen("This request was decided already.")
    return found


def _first_yes(row: TrustRequest, account: Any, terms: Terms) -> None:
    if row.first_by_id == account.pk:
        raise SecondPersonNeeded("You have agreed already: a second administrator has to, too.")
    changed = TrustRequest.objects.filter(pk=row.pk, state=row.State.OPEN, first_by__isnull=True).update(
        first_by=account,
        organization_name=terms.organization_name,
        domains=list(terms.domains),
        domain=terms.domain,
        incoming=terms.incoming,
        outgoing=terms.outgoing,
    )
    if not changed:
        raise NotOpen("Somebody else answered meanwhile: look again.")
    trail.record("trust.request_agreed", actor=account, subject=row.pk)


def _lift(candidates: Sequence[Candidate], row: TrustRequest, account: Any) -> None:
    stopped = Anchor.objects.filter(
        sha256__in=[each.certificate.sha256 for each in candidates], state__in=STOPPED
    )
    for anchor in stopped:
        anchor.state, anchor.reason = Anchor.State.ACTIVE, ""
        anchor.save(update_fields=["state", "reason"])
        trail.record("trust.anchor_lifted", actor=account, subject=anchor.pk, request_id=row.pk)


def _mark_source(row: TrustRequest, admitted: Sequence[Admitted]) -> None:
    if row.source != TrustRequest.Source.CONSOLE:
        added = [each.anchor.pk for each in admitted if each.change == "added"]
        Anchor.objects.filter(pk__in=added).update(source=Anchor.Source.REQUEST)


def _add_domains(organization: Organization, domains: Iterable[str], account: Any) -> None:
    wanted = list(dict.fromkeys([*organization.domains, *domains]))
    if wanted != organization.domains:
        organization.domains = wanted
        organization.save(update_fields=["domains"])
        trail.record("trust.organization_changed", actor=account, subject=organization.pk, fields="domains")


def _decide(
    row: TrustRequest, account: Any, state: str, reason: str, organization: Organization | None = None
) -> None:
    values: dict[str, Any] = {"state": state, "reason": reason, "decided_by": account}
    if organization is not None:
        values |= {"organization": organization, "organization_name": organization.name}
    open_row = TrustRequest.objects.filter(pk=row.pk, state=TrustRequest.State.OPEN)
    if not open_row.update(decided=timezone.now(), **values):
        raise NotOpen("This request was decided already.")
    trail.record(f"trust.request_{state}", actor=account, subject=row.pk)
    if row.contact_email:
        _mail_decision(row, state, reason)


def _mail_decision(row: TrustRequest, state: str, reason: str) -> None:
    context = {
        "accepted": state == TrustRequest.State.ACCEPTED,
        "reason": reason,
        "organization": row.organization_name,
        "anchors": settings.PUBLIC_URL + reverse("trust:certs_zip"),
        "domains": settings.DIRECT_DOMAINS,
    }
    subject, text, html = _render("decision", context)
    queue_mail(
        str(row.contact_email),
        DECISION,
        subject,
        text,
        html,
        dedupe_key=f"{DECISION}:{row.pk}",
        related=("trust_request", str(row.pk)),
    )


def _render(name: str, context: dict[str, Any]) -> tuple[str, str, str]:
    """Subject, text and HTML of a mail."""
    context = {"portal": settings.PUBLIC_URL, "ppe": settings.ENVIRONMENT == "ppe", **context}
    subject = " ".join(render_to_string(f"trust/emails/{name}.subject.txt", context).split())
    return (
        settings.EMAIL_SUBJECT_PREFIX + subject,
        render_to_string(f"trust/emails/{name}.txt", context),
        render_to_string(f"trust/emails/{name}.html", context),
    )
