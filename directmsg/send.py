"""The sending worker: one queued copy, sealed and handed over.

Bytes are sealed once and kept until nobody needs them, so that every try sends the same mail. Recipients of
one message are sealed together and handed over together where they share a domain; each keeps its own state.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from healthvault.store import jobs
from healthvault.store.blobs import open_blob, seal_blob
from healthvault.store.errors import BlobMissing, Shredded
from healthvault.store.faults import fault
from healthvault.store.models import Blob
from healthvault.vault.errors import KeyringUnavailable
from trust import context as trust_context
from trust.models import KeyTransport
from trust.pki.errors import PkiError

from . import confirmations, inbox, transport
from .agent.errors import AgentError
from .agent.identity import Identity
from .agent.outgoing import CIPHER, KEY_TRANSPORT, seal_message
from .compose import content_of
from .models import MailEvent, OutboundMail, PartnerDomain
from .recipients import Unreachable, certificates_for
from .tasks import send_outbound
from .transport import Accepted, TransportError

log = logging.getLogger(__name__)
State = OutboundMail.State

#: Minutes after `queued` at which a copy is tried; after the last one every hour.
TRIES_MIN = (0, 1, 5, 15, 30, 60)
#: Connections to one domain at a time, so that a partner that hangs does not hold up the others.
MOST_SESSIONS = 5
MOST_SESSIONS_EMBEDDED = 1

_KEY_TRANSPORTS: dict[str, str] = {KeyTransport.OAEP_SHA1: "oaep-sha1", KeyTransport.PKCS1: "pkcs1v15"}
_NOTIFICATIONS = frozenset({OutboundMail.Kind.MDN, OutboundMail.Kind.DSN})


class NotNow(Exception):
    """Something of ours is missing; it is tried again. `code` names it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def send_mail(pk: str) -> str | None:
    """Send the copy `pk` if it is due and free; returns its state, or None when there was nothing to do."""
    mail = _claim(pk)
    if mail is None:
        return None
    fault("job.leased")
    try:
        _work_on(mail)
    except jobs.LeaseLost:
        log.warning("lease lost", extra={"mail": mail.pk})
    finally:
        _ring_next(mail.domain)
    fault("job.done")
    return OutboundMail.objects.filter(pk=mail.pk).values_list("state", flat=True).first()


def _work_on(mail: OutboundMail) -> None:
    if mail.expires <= timezone.now():
        _put_off(mail, mail.expires, "", "")
        confirmations.expire()
    elif mail.tries - mail.attempts > jobs.MOST_KILLS:
        confirmations.lose([(mail, "worker_killed", "")])
    else:
        _send(mail)


def _claim(pk: str) -> OutboundMail | None:
    """Take the copy, unless as many workers as may talk to its domain do so now.

    Whoever finishes there rings for the next one.
    """
    domain = OutboundMail.objects.filter(pk=pk).values_list("domain", flat=True).first()
    if domain is None:
        return None
    with transaction.atomic():
        _one_at_a_time(domain)
        if _is_busy(domain) or confirmations.is_too_early(pk):
            return None
        return jobs.claim(OutboundMail, pk, waiting=State.QUEUED, working=State.SENDING)


def _one_at_a_time(domain: str) -> None:
    """Let claims for one domain wait for each other, so that counting and claiming are one step.

    SQLite has one writer at a time anyhow.
    """
    if connection.vendor == "postgresql":
        number = int.from_bytes(
            hashlib.sha256(f"outbound {domain}".encode()).digest()[:8], "big", signed=True
        )
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def _is_busy(domain: str) -> bool:
    if trust_context.is_hosted(domain):
        return False
    sending = OutboundMail.objects.filter(domain=domain, state=State.SENDING, lease_until__gt=timezone.now())
    most = MOST_SESSIONS_EMBEDDED if settings.EMBEDDED else MOST_SESSIONS
    return sending.values("identifier").distinct().count() >= most


def _ring_next(domain: str) -> None:
    """Ring for the oldest copy that waits for this domain: it may have been turned away as one too many."""
    if trust_context.is_hosted(domain):
        return
    due = Q(lease_until__isnull=True) | Q(lease_until__lte=timezone.now())
    waiting = OutboundMail.objects.filter(due, domain=domain, state=State.QUEUED).order_by("pk")
    pk = waiting.values_list("pk", flat=True).first()
    if pk is not None:
        jobs.ring(send_outbound, str(pk))


def _send(mail: OutboundMail) -> None:
    try:
        if mail.sealed_id is None and not _prepare(mail):
            return
        data = _sealed_bytes(mail)
        if trust_context.is_hosted(mail.domain):
            _hand_over_here(mail, data)
        else:
            _hand_over(mail, data)
    except jobs.LeaseLost:
        raise
    except NotNow as error:
        _failed_try(mail, error.code, "", temporary=True)
    except (AgentError, PkiError) as error:
        _failed_try(mail, error.code, error.detail, temporary=error.temporary)
    except (Shredded, BlobMissing):
        _failed_try(mail, "content_gone", "", temporary=False)
    except KeyringUnavailable:
        _failed_try(mail, "keys_unavailable", "", temporary=True)
    except Exception:
        log.exception("sending failed unforeseen", extra={"mail": mail.pk})
        _failed_try(mail, "unforeseen", "", temporary=True)


# --- sealing --------------------------------------------------------------------------------------------


def _prepare(mail: OutboundMail) -> bool:
    """Find certificates and seal for `mail` and all copies of its message that can be sealed now.

    Returns whether `mail` itself can go on; else its state has been settled. A copy that fails for good takes
    no other with it: it is left out of the envelope and of To, and the sender is told once for all of them.
    """
    now = timezone.now()
    together = _unsealed_together(mail)
    found: dict[Any, tuple[x509.Certificate, ...]] = {}
    lost: list[tuple[OutboundMail, str, str]] = []
    put_off: Unreachable | None = None
    for copy in together:
        try:
            found[copy.pk] = certificates_for(copy, now)
        except Unreachable as error:
            if not error.temporary:
                lost.append((copy, error.code, error.detail))
            elif copy.pk == mail.pk:
                put_off = error
    if lost:
        confirmations.lose(lost)
    reachable = [copy for copy in together if copy.pk in found]
    if reachable:
        _seal(mail, {copy: found[copy.pk] for copy in reachable}, now)
    if put_off is not None:
        _failed_try(mail, put_off.code, put_off.detail, temporary=True)
    mail.refresh_from_db(fields=["sealed", "state", "code", "detail", "sha256", "size"])
    return mail.sealed_id is not None and mail.state == State.SENDING


def _unsealed_together(mail: OutboundMail) -> list[OutboundMail]:
    if mail.message_id is None:
        return [mail]
    others = OutboundMail.objects.filter(
        message=mail.message_id, sealed__isnull=True, state__in=[State.QUEUED, State.SENDING]
    )
    return [mail, *others.exclude(pk=mail.pk).order_by("pk")]


def _seal(
    mail: OutboundMail, found: Mapping[OutboundMail, tuple[x509.Certificate, ...]], now: datetime
) -> None:
    """Seal once for all copies in `found`, unless another worker has done so meanwhile."""
    reachable = list(found)
    sender = trust_context.for_address(mail.sender, incoming=False)
    try:
        signer = sender.signing_identity(now)
    except trust_context.NoIdentity as error:
        raise NotNow(error.code) from error
    partners = {each.name: each for each in PartnerDomain.objects.filter(name__in={c.domain for c in found})}
    transports = _key_transports(found, partners, sender.key_transport)
    data = seal_message(
        _plain(mail, reachable),
        signer=Identity(signer.certificate, signer.private_key),
        recipient_certificates=list(transports),
        at=now,
        extra_certificates=signer.chain,
        cipher=_cipher(partners.values()),
        key_transport=transports,
    )
    assert mail.holder is not None
    blob = seal_blob(mail.holder, data)
    digest = hashlib.sha256(data).hexdigest()
    with transaction.atomic():
        blob.save(force_insert=True)
        unsealed = OutboundMail.objects.filter(pk__in=[copy.pk for copy in reachable], sealed__isnull=True)
        if unsealed.update(sealed=blob, sha256=digest, size=len(data)) != len(reachable):
            # Two workers sealed at once; what the other one made is as good.
            transaction.set_rollback(True)


def _plain(mail: OutboundMail, reachable: Sequence[OutboundMail]) -> bytes:
    """What is sealed: a person's message is written to all whom it reaches, those sealed before as well.

    Who is not written to stands nowhere in it: a receiver compares To and Cc with the envelope.
    """
    if mail.kind != OutboundMail.Kind.MESSAGE:
        return str(mail.content).encode("ascii")
    message = mail.message
    if message is None:
        raise Shredded("the message is gone")
    now = {copy.pk for copy in reachable}
    everybody = message.outbound.order_by("pk")
    return content_of(message, [copy for copy in everybody if copy.sealed_id is not None or copy.pk in now])


def _key_transports(
    found: Mapping[OutboundMail, tuple[x509.Certificate, ...]],
    partners: Mapping[str, PartnerDomain],
    usual: str,
) -> dict[x509.Certificate, str]:
    """Every certificate once, with how its key is encrypted to: as its domain needs it, else as usual."""
    chosen: dict[x509.Certificate, str] = {}
    for copy, certificates in found.items():
        partner = partners.get(copy.domain)
        name = (partner.key_transport if partner else "") or _KEY_TRANSPORTS.get(usual, KEY_TRANSPORT)
        for certificate in certificates:
            chosen.setdefault(certificate, name)
    return chosen


def _cipher(partners: Iterable[PartnerDomain]) -> str:
    """One envelope has one cipher: AES-256 where somebody wants it and nobody must have AES-128."""
    wanted = {partner.cipher for partner in partners if partner.cipher}
    return wanted.pop() if len(wanted) == 1 else CIPHER


def _sealed_bytes(mail: OutboundMail) -> bytes:
    assert mail.sealed_id is not None
    return open_blob(Blob.objects.select_related("holder").get(pk=mail.sealed_id))


# --- handing over ---------------------------------------------------------------------------------------


def _hand_over_here(mail: OutboundMail, data: bytes) -> None:
    """Mail between our own domains goes to the door of all mail: the receiving agent runs in full."""
    with transaction.atomic():
        inbox.accept(data, mail.sender, [mail.recipient], protocol="local")
        _sent(mail, "local", "")


def _hand_over(mail: OutboundMail, data: bytes) -> None:
    together = [mail, *_companions(mail)]
    recipients = [copy.recipient for copy in together]
    results = transport.deliver(data, mail_from=_mail_from(mail), recipients=recipients)
    if any(isinstance(result, Accepted) for result in results.values()):
        fault("out.accepted")
    lost: list[tuple[OutboundMail, str, str]] = []
    for copy in together:
        result = results[copy.recipient]
        if isinstance(result, Accepted):
            _accepted(copy, result)
        elif result.temporary:
            _try_later(copy, result)
        else:
            lost.append((copy, result.code, result.detail))
    confirmations.lose(lost)


def _mail_from(mail: OutboundMail) -> str:
    """The envelope's sender. RFC 8098 section 2.1 wants the null path of notifications, so that none is ever
    answered; agents that compare MAIL FROM with From refuse it, and then nobody hears of the delivery.
    """
    if mail.kind not in _NOTIFICATIONS:
        return mail.sender
    null = PartnerDomain.objects.filter(name=mail.domain, null_path=True).exists()
    return "" if null else mail.sender


def _companions(mail: OutboundMail) -> list[OutboundMail]:
    """Further copies in the same envelope for the same domain, claimed: one transaction takes them all."""
    waiting = OutboundMail.objects.filter(sealed=mail.sealed_id, domain=mail.domain, state=State.QUEUED)
    due = waiting.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=timezone.now())).order_by("pk")
    claimed = [
        jobs.claim(OutboundMail, str(pk), waiting=State.QUEUED, working=State.SENDING)
        for pk in due.values_list("pk", flat=True)
    ]
    return [copy for copy in claimed if copy is not None]


def _accepted(copy: OutboundMail, result: Accepted) -> None:
    try:
        with transaction.atomic():
            _sent(copy, "sent", f"{result.host}{' by TLS' if result.tls else ''}: {result.reply}")
    except jobs.LeaseLost:
        # News came before we could write this down, or the time was over: the state is another's by now.
        with transaction.atomic():
            OutboundMail.objects.filter(pk=copy.pk, sent__isnull=True).update(sent=timezone.now())
            MailEvent.objects.create(outbound=copy, name="late_sent")


def _sent(copy: OutboundMail, event: str, detail: str) -> None:
    now = timezone.now()
    final = {} if copy.is_personal else {"finished": now}
    jobs.finish(copy, State.SENT, sent=now, code="", detail=detail[:500], attempts=copy.attempts + 1, **final)
    MailEvent.objects.create(outbound=copy, name=event)
    if not copy.is_personal:
        confirmations.close(copy)


def _try_later(copy: OutboundMail, error: TransportError) -> None:
    with contextlib.suppress(jobs.LeaseLost):
        _put_off(copy, next_try(copy, timezone.now()), error.code, error.detail)


def _failed_try(mail: OutboundMail, code: str, detail: str, *, temporary: bool) -> None:
    if temporary:
        _put_off(mail, next_try(mail, timezone.now()), code, detail)
    else:
        confirmations.lose([(mail, code, detail)])


def _put_off(mail: OutboundMail, until: datetime, code: str, detail: str) -> None:
    """Give the copy back to the queue; `code` says why it could not be sent now, "" for a mere turn."""
    with transaction.atomic():
        jobs.finish(mail, State.QUEUED, code=code[:40], detail=detail[:500], attempts=mail.attempts + 1)
        OutboundMail.objects.filter(pk=mail.pk).update(lease_until=until)
        if code:
            MailEvent.objects.create(outbound=mail, name="deferred", code=code[:40])
            log.info("outbound mail put off", extra={"mail": mail.pk, "code": code})


def next_try(mail: OutboundMail, now: datetime) -> datetime:
    """When to try again: 1, 5, 15, 30 minutes and 1 hour after it was queued, then every hour.

    Never after its time is over, when what is left to do is to say so.
    """
    elapsed_min = (now - mail.queued).total_seconds() / 60
    later = next((minutes for minutes in TRIES_MIN if minutes > elapsed_min), None)
    if later is None:
        later = (int(elapsed_min // 60) + 1) * 60
    return min(mail.queued + timedelta(minutes=later), mail.expires)


def drop_sealed() -> int:
    """Delete the sealed bytes of messages that no copy needs any more; returns how many."""
    waiting = OutboundMail.objects.filter(state__in=[State.QUEUED, State.SENDING], sealed__isnull=False)
    done = OutboundMail.objects.filter(sealed__isnull=False).exclude(sealed__in=waiting.values("sealed"))
    ids = list(done.values_list("sealed", flat=True).distinct()[:500])
    for blob in Blob.objects.filter(pk__in=ids):
        blob.delete()
    return len(ids)
