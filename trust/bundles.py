"""Trust bundles: fetched on a timer, compared, and taken whole or not at all.

Whatever goes wrong, the anchors we have stay, and the bundle says what went wrong. Every change is written
down with the anchors that came and went.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from healthvault.audit import trail
from trust import fetcher
from trust.errors import AnchorStopped, UnsafeSource
from trust.models import Anchor, Bundle, BundleChange, BundleUse, Domain
from trust.pki import bundle as bundle_files
from trust.pki.certs import Certificate, require_bounds
from trust.pki.errors import BundleError, PkiError, UnmatchedSignature
from trust.pki.policy import Policy
from trust.requests import NotOpen, SecondPersonNeeded

log = logging.getLogger(__name__)

NOT_FOUND = "NOT_FOUND"
DOWNLOAD_TIMEOUT = "DOWNLOAD_TIMEOUT"
UNMATCHED_SIGNATURE = "UNMATCHED_SIGNATURE"
INVALID_BUNDLE_FORMAT = "INVALID_BUNDLE_FORMAT"
#: Ours: so many anchors are gone that an administrator must say yes first.
SHRUNKEN = "SHRUNKEN"
ACCEPTED = "ACCEPTED"

#: What each code means to an administrator, and what to do.
WORDS = {
    NOT_FOUND: "It could not be fetched. Check the URL, or ask who runs the bundle.",
    DOWNLOAD_TIMEOUT: "Its server did not answer in time. It is tried again within the hour.",
    UNMATCHED_SIGNATURE: "It is not signed by the certificate that you named. Ask who runs it.",
    INVALID_BUNDLE_FORMAT: "What came is no trust bundle, or holds no anchor.",
    SHRUNKEN: "At least half of its anchors are gone. The old ones still count until you accept that.",
}

#: After a failure it is tried again this soon, whatever its interval.
RETRY_AFTER = timedelta(hours=1)
_AT_ONCE = 500


@dataclass(frozen=True)
class Outcome:
    """What a refresh came to: anchors that came and went, how many stayed; `error` is empty when all is well.

    With an error nothing was changed; `kept` then counts the anchors that stand.
    """

    added: tuple[Anchor, ...] = ()
    removed: tuple[Anchor, ...] = ()
    kept: int = 0
    error: str = ""
    detail: str = ""
    passed_over: int = 0


# --- which bundles --------------------------------------------------------------------------------------


def add(
    name: str,
    url: str,
    *,
    signer: Certificate | None = None,
    domain: Domain | None = None,
    incoming: bool = True,
    outgoing: bool = True,
    label: str = Bundle.Label.PRODUCTION,
    actor: Any = "operator",
) -> Bundle:
    """Make a bundle, switched on, for one of our domains or (None) all; one of that name is changed instead.

    Nothing is fetched yet. Raises UnsafeSource for a URL without TLS unless a signer is pinned.
    """
    require_safe_source(url, signer)
    signer_der = signer.der if signer else None
    with transaction.atomic():
        bundle = Bundle.objects.filter(name=name).first() or Bundle(name=name)
        if (bundle.url, bundle.signer_der and bytes(bundle.signer_der)) != (url, signer_der):
            # What was taken from elsewhere, or on another's word, proves nothing about this.
            bundle.checksum = ""
        bundle.url, bundle.signer_der, bundle.label, bundle.is_active = url, signer_der, label, True
        bundle.save()
        BundleUse.objects.update_or_create(
            bundle=bundle, domain=domain, defaults={"incoming": incoming, "outgoing": outgoing}
        )
        trail.record(
            "trust.bundle_set",
            actor=actor,
            subject=bundle.pk,
            label=label,
            signer=signer.sha256 if signer else None,
            domain=domain.pk if domain else None,
            incoming=int(incoming),
            outgoing=int(outgoing),
        )
    return bundle


# --- a new source, and a wider use, take two persons in production ---------------------------------------


@dataclass(frozen=True)
class Source:
    """Where anchors come from, and on whose word: what a second administrator has to agree to."""

    url: str
    signer_der: bytes | None
    label: str

    @classmethod
    def of(cls, bundle: Bundle) -> Source:
        return cls(bundle.url, bytes(bundle.signer_der) if bundle.signer_der else None, bundle.label)

    @property
    def signer(self) -> Certificate | None:
        return Certificate(self.signer_der) if self.signer_der else None

    @property
    def label_words(self) -> str:
        return str(Bundle.Label(self.label).label)

    def to_json(self) -> dict[str, Any]:
        signer = base64.b64encode(self.signer_der).decode() if self.signer_der else None
        return {"url": self.url, "signer": signer, "label": self.label}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Source:
        return cls(
            value["url"], base64.b64decode(value["signer"]) if value["signer"] else None, value["label"]
        )

    @property
    def digest(self) -> str:
        """What a second person saw, so that nothing else is agreed to."""
        return _digest(self.to_json())

    def put_into(self, bundle: Bundle, before: Source) -> None:
        """Let a bundle, not saved yet, follow this in place of `before`."""
        bundle.url, bundle.signer_der, bundle.label = self.url, self.signer_der, self.label
        if (self.url, self.signer_der) != (before.url, before.signer_der):
            # What was taken from elsewhere, or on another's word, proves nothing about this.
            bundle.checksum = ""


@dataclass(frozen=True)
class Use:
    """For which of our domains (by its key; None: all) the anchors of a bundle count, and which way."""

    domain_id: UUID | None
    incoming: bool
    outgoing: bool

    def to_json(self) -> dict[str, Any]:
        domain = str(self.domain_id) if self.domain_id else None
        return {"use": {"domain": domain, "incoming": self.incoming, "outgoing": self.outgoing}}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Use:
        use = value["use"]
        return cls(UUID(use["domain"]) if use["domain"] else None, use["incoming"], use["outgoing"])

    @property
    def digest(self) -> str:
        """What a second person saw, so that nothing else is agreed to."""
        return _digest(self.to_json())

    @property
    def domain_name(self) -> str:
        """The domain in words."""
        if self.domain_id is None:
            return "all our domains"
        return Domain.objects.filter(pk=self.domain_id).values_list("name", flat=True).first() or "no domain"

    @property
    def ways(self) -> str:
        """The directions in words."""
        if self.incoming and self.outgoing:
            return "both ways"
        return "incoming only" if self.incoming else "outgoing only"

    def widens(self, bundle: Bundle) -> bool:
        """Whether anchors of the bundle would count where, or in a direction in which, none does now."""
        # A domain has what all domains have, and what it has alone.
        have = list(bundle.uses.filter(Q(domain=self.domain_id) | Q(domain=None)))
        comes = self.incoming and not any(use.incoming for use in have)
        return comes or (self.outgoing and not any(use.outgoing for use in have))

    def set_for(self, bundle: Bundle) -> None:
        """Write it down in place of the use by the same domain. Raises NotOpen when the domain is gone."""
        domain = Domain.objects.filter(pk=self.domain_id).first() if self.domain_id else None
        if self.domain_id and domain is None:
            raise NotOpen("That domain is here no more.")
        ways = {"incoming": self.incoming, "outgoing": self.outgoing}
        BundleUse.objects.update_or_create(bundle=bundle, domain=domain, defaults=ways)

    @property
    def ids(self) -> dict[str, Any]:
        """What the audit trail notes of it."""
        return {
            "domain": self.domain_id,
            "incoming": int(self.incoming),
            "outgoing": int(self.outgoing),
        }


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def needs_second_person(before: Source, was_active: bool, after: Source, is_active: bool) -> bool:
    """Whether a change lets anchors in from where none came before, which in production nobody does alone."""
    return bool(settings.PRODUCTION) and is_active and (not was_active or before != after)


def proposal(bundle: Bundle) -> Source | Use | None:
    """What waits for a second administrator's yes, if anything does: one change at a time."""
    if not bundle.proposal:
        return None
    return Use.from_json(bundle.proposal) if "use" in bundle.proposal else Source.from_json(bundle.proposal)


def propose(bundle: Bundle, wanted: Source | Use, account: Any) -> None:
    """Leave a bundle as it is, and write down what `account` wants instead, in place of an earlier wish."""
    bundle.proposal, bundle.proposed_by = wanted.to_json(), account
    bundle.save(update_fields=["proposal", "proposed_by"])
    ids = wanted.ids if isinstance(wanted, Use) else {}
    label = bundle.label if isinstance(wanted, Use) else wanted.label
    trail.record("trust.bundle_proposed", actor=account, subject=bundle.pk, label=label, **ids)


def set_use(bundle: Bundle, wanted: Use, account: Any) -> bool:
    """Let a bundle count as `wanted`; False when in production that waits for a second administrator's yes.

    To narrow takes one. Raises NotOpen when another source of it waits already, or the domain is gone.
    """
    with transaction.atomic():
        row = Bundle.objects.select_for_update(of=("self",)).get(pk=bundle.pk)
        if settings.PRODUCTION and wanted.widens(row):
            if isinstance(proposal(row), Source):
                raise NotOpen("Another change of it waits for a second administrator: decide that first.")
            propose(row, wanted, account)
            return False
        wanted.set_for(row)
        trail.record("trust.bundle_use_set", actor=account, subject=row.pk, **wanted.ids)
    return True


def agree(bundle: Bundle, account: Any, seen: str) -> Source | Use:
    """The second yes: what was proposed holds, and is given back. `seen` is the digest of what was shown.

    Raises NotOpen when something else, or nothing, is proposed now, SecondPersonNeeded for the first person.
    """
    with transaction.atomic():
        row = Bundle.objects.select_for_update(of=("self",)).get(pk=bundle.pk)
        wanted = proposal(row)
        if wanted is None or wanted.digest != seen:
            raise NotOpen("The proposal changed meanwhile: look again.")
        if row.proposed_by_id in (None, account.pk):
            raise SecondPersonNeeded("You proposed it: a second administrator has to agree.")
        ids: dict[str, Any] = {}
        if isinstance(wanted, Use):
            wanted.set_for(row)
            ids = wanted.ids
        else:
            wanted.put_into(row, Source.of(row))
            row.is_active = True
        first, row.proposal, row.proposed_by = row.proposed_by_id, None, None
        row.save()
        trail.record(
            "trust.bundle_agreed", actor=account, subject=row.pk, first=first, label=row.label, **ids
        )
    return wanted


def drop_proposal(bundle: Bundle, account: Any) -> None:
    """Take a proposal back, or say no to it."""
    with transaction.atomic():
        if Bundle.objects.filter(pk=bundle.pk, proposal__isnull=False).touch(proposal=None, proposed_by=None):
            trail.record("trust.bundle_proposal_dropped", actor=account, subject=bundle.pk)


def require_safe_source(url: str, signer: Certificate | None) -> None:
    """Raise UnsafeSource unless TLS or a pinned signature shows whose bundle it is."""
    parts = urlsplit(url)
    exempt = (parts.hostname, parts.port or 80) in settings.FETCH_ALLOW
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnsafeSource("an https URL is wanted")
    if parts.scheme == "http" and signer is None and not exempt:
        raise UnsafeSource("over http anybody could change it: use https, or name the signer's certificate")


def exclude(anchor: Anchor, domain: Domain | None, *, reason: str = "", actor: Any = "operator") -> Anchor:
    """Let one anchor of a bundle count for nothing for `domain` (None: all); refreshes do not undo it.

    A paused row of its own does it. Raises AnchorStopped when one stops it there already.
    """
    with transaction.atomic():
        row = Anchor.objects.filter(sha256=anchor.sha256, bundle=None, domain=domain).first()
        if row is not None and row.state != Anchor.State.ACTIVE:
            raise AnchorStopped(f"{row.subject} is {row.get_state_display().lower()} here already")
        row = row or Anchor(**Anchor.fields_of(anchor.certificate), domain=domain)
        row.state, row.reason = Anchor.State.PAUSED, reason or "excluded from its bundle"
        row.save()
        trail.record(
            "trust.anchor_excluded",
            actor=actor,
            subject=row.pk,
            sha256=row.sha256,
            domain=domain.pk if domain else None,
        )
    return row


# --- refreshing -----------------------------------------------------------------------------------------


def due(at: datetime) -> list[Bundle]:
    """The active bundles whose interval is over, and those that failed an hour ago or more."""
    waiting = Bundle.objects.filter(is_active=True, interval_s__gt=0).exclude(url="")
    return [bundle for bundle in waiting if _is_due(bundle, at)]


def _is_due(bundle: Bundle, at: datetime) -> bool:
    interval = timedelta(seconds=bundle.interval_s)
    if bundle.last_success and at - bundle.last_success < interval and not bundle.last_error:
        return False
    return bundle.last_attempt is None or at - bundle.last_attempt >= min(interval, RETRY_AFTER)


def refresh_due() -> list[tuple[Bundle, Outcome]]:
    """Refresh what is due; of several processes one gets each bundle."""
    done = []
    for bundle in due(timezone.now()):
        claimed = Bundle.objects.filter(pk=bundle.pk, last_attempt=bundle.last_attempt)
        if claimed.touch(last_attempt=timezone.now()):
            done.append((bundle, refresh(bundle)))
    return done


def refresh(
    bundle: Bundle, *, accept_drop: bool = False, actor: Any = "", total_s: float | None = None
) -> Outcome:
    """Fetch a bundle and take its anchors. Never call it in a transaction: it may take half a minute.

    `accept_drop`: an administrator said yes to losing half of the anchors or more. `total_s`: give up
    sooner, because somebody waits.
    """
    Bundle.objects.filter(pk=bundle.pk).touch(last_attempt=timezone.now())
    try:
        require_safe_source(bundle.url, _signer(bundle))
        data = fetcher.fetch(bundle.url, fetcher.BUNDLE, total_s=total_s).body
    except UnsafeSource as error:
        return _failed(bundle, NOT_FOUND, error.detail)
    except fetcher.FetchError as error:
        return _failed(bundle, _code_of(error), f"{error.code}: {error.detail}")
    return take(bundle, data, accept_drop=accept_drop, actor=actor)


def _code_of(error: fetcher.FetchError) -> str:
    if isinstance(error, fetcher.TimedOut | fetcher.HostBusy | fetcher.HostPaused):
        return DOWNLOAD_TIMEOUT
    if isinstance(error, fetcher.TooLarge | fetcher.Truncated | fetcher.Encoded | fetcher.BadAnswer):
        return INVALID_BUNDLE_FORMAT
    return NOT_FOUND


def take(bundle: Bundle, data: bytes, *, accept_drop: bool = False, actor: Any = "") -> Outcome:
    """Make the anchors of the bundle those in `data`, in one step, if it is what it should be."""
    checksum = hashlib.sha256(data).hexdigest()
    if checksum == bundle.checksum:
        return _unchanged(bundle)
    try:
        read = bundle_files.read_bundle(data, signer=_signer(bundle), at=timezone.now())
    except UnmatchedSignature as error:
        return _failed(bundle, UNMATCHED_SIGNATURE, error.detail)
    except BundleError as error:
        return _failed(bundle, INVALID_BUNDLE_FORMAT, error.detail)
    rows, passed_over = _rows(bundle, read.anchors)
    if not rows:
        return _failed(bundle, INVALID_BUNDLE_FORMAT, "none of its anchors can be read")
    plan = _Plan(bundle, checksum, rows, passed_over, read.signed_by.sha256 if read.signed_by else "")
    return plan.carry_out(accept_drop=accept_drop, actor=actor)


def _signer(bundle: Bundle) -> Certificate | None:
    return Certificate(bytes(bundle.signer_der)) if bundle.signer_der else None


def _rows(bundle: Bundle, anchors: Iterable[Certificate]) -> tuple[dict[str, Anchor], int]:
    """New rows by fingerprint, and how many certificates nobody could use. One bad one spoils no bundle."""
    rows: dict[str, Anchor] = {}
    passed_over = 0
    for certificate in anchors:
        try:
            require_bounds(certificate, Policy())
            values = Anchor.fields_of(certificate)
        except PkiError:
            passed_over += 1
            continue
        rows[certificate.sha256] = Anchor(**values, bundle=bundle, source=Anchor.Source.BUNDLE)
    return rows, passed_over


def _standing(bundle: Bundle) -> int:
    return Anchor.objects.filter(bundle=bundle).exclude(state=Anchor.State.WITHDRAWN).count()


def _unchanged(bundle: Bundle) -> Outcome:
    Bundle.objects.filter(pk=bundle.pk).touch(
        last_success=timezone.now(), last_error="", last_error_detail=""
    )
    return Outcome(kept=_standing(bundle))


def _failed(bundle: Bundle, code: str, detail: str) -> Outcome:
    """Note the failure, and alert when it is a new one. The anchors stay."""
    log.warning("trust bundle not refreshed", extra={"code": code, "bundle": str(bundle.pk)})
    with transaction.atomic():
        before = Bundle.objects.filter(pk=bundle.pk).values_list("last_error", flat=True).first()
        Bundle.objects.filter(pk=bundle.pk).touch(last_error=code, last_error_detail=detail[:300])
        if before != code:
            trail.record("trust.bundle_alert", subject=bundle.pk, outcome=code)
    return Outcome(kept=_standing(bundle), error=code, detail=detail)


@dataclass
class _Plan:
    """A bundle that was read and found good, on its way into the rows."""

    bundle: Bundle
    checksum: str
    rows: dict[str, Anchor]
    passed_over: int
    signed_by: str
    kept: int = 0
    added: list[Anchor] = field(default_factory=list)
    returned: list[Anchor] = field(default_factory=list)
    removed: list[Anchor] = field(default_factory=list)

    def carry_out(self, *, accept_drop: bool, actor: Any) -> Outcome:
        with transaction.atomic():
            # Also the lock: of two refreshes at once, the second sees what the first made.
            claimed = Bundle.objects.select_for_update().filter(pk=self.bundle.pk).first()
            if claimed is None:
                return Outcome(error=NOT_FOUND, detail="the bundle was deleted meanwhile")
            self._compare()
            shrunken = self._is_shrunken()
            if shrunken and not accept_drop:
                return self._hold_back(claimed)
            self._write()
            changed = bool(self.added or self.returned or self.removed)
            if changed:
                self._write_down(ACCEPTED if shrunken else "", actor)
            now = timezone.now()
            Bundle.objects.filter(pk=self.bundle.pk).touch(
                checksum=self.checksum, last_success=now, last_error="", last_error_detail=""
            )
        self.bundle.checksum = self.checksum
        return Outcome(
            added=tuple(self.added + self.returned),
            removed=tuple(self.removed),
            kept=self.kept,
            passed_over=self.passed_over,
        )

    def _compare(self) -> None:
        present = {row.sha256: row for row in Anchor.objects.filter(bundle=self.bundle).defer("der")}
        gone = Anchor.State.WITHDRAWN
        self.added = [row for sha256, row in self.rows.items() if sha256 not in present]
        self.returned = [row for row in present.values() if row.state == gone and row.sha256 in self.rows]
        # One that was paused or revoked here keeps that state, so that it stays so when it comes back.
        active = [row for row in present.values() if row.state == Anchor.State.ACTIVE]
        self.removed = [row for row in active if row.sha256 not in self.rows]
        self.kept = sum(1 for row in present.values() if row.state != gone and row.sha256 in self.rows)

    def _is_shrunken(self) -> bool:
        """Two anchors or more are lost, and at least half of them all: a slip or an attack, more likely."""
        before = self.kept + len(self.removed)
        lost = before - len(self.rows)
        return lost >= 2 and lost * 2 >= before

    def _hold_back(self, bundle: Bundle) -> Outcome:
        detail = f"{len(self.removed)} of {self.kept + len(self.removed)} anchors would go"
        if bundle.last_error != SHRUNKEN:
            self._write_down(SHRUNKEN, "")
        outcome = _failed(self.bundle, SHRUNKEN, detail)
        return Outcome(kept=outcome.kept, error=SHRUNKEN, detail=detail, passed_over=self.passed_over)

    def _write(self) -> None:
        if self.added:
            Anchor.objects.bulk_create(self.added, batch_size=_AT_ONCE)
        for rows, state in ((self.returned, Anchor.State.ACTIVE), (self.removed, Anchor.State.WITHDRAWN)):
            for start in range(0, len(rows), _AT_ONCE):
                pks = [row.pk for row in rows[start : start + _AT_ONCE]]
                Anchor.objects.filter(pk__in=pks).update(state=state)

    def _write_down(self, code: str, actor: Any) -> None:
        change = BundleChange.objects.create(
            bundle=self.bundle,
            code=code,
            added=_listed(self.added + self.returned),
            removed=_listed(self.removed),
            kept=self.kept,
            passed_over=self.passed_over,
            signed_by=self.signed_by,
        )
        if code == SHRUNKEN:
            return
        trail.record(
            "trust.bundle_changed",
            actor=actor,
            subject=self.bundle.pk,
            change=change.pk,
            added=len(change.added),
            removed=len(change.removed),
            kept=self.kept,
        )


def _listed(rows: Iterable[Anchor]) -> list[dict[str, str]]:
    return sorted(
        ({"sha256": row.sha256, "subject": row.subject} for row in rows), key=lambda each: each["subject"]
    )
