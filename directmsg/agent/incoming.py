"""Receiving one message: from the bytes as they came to an author that is known, or a refusal.

The order of the steps is that of the Applicability Statement for Secure Health Transport: decrypt, verify,
unwrap, compare the routing, bind the sender, trust. Every step raises; nothing of a message is believed,
shown or answered before the last one has passed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from directmsg.agent import cms
from directmsg.agent.address import Mailbox, normalise, parse_list, parse_list_tolerantly, parse_mailbox, same
from directmsg.agent.cms import FailedSigner, Identity, VerifiedSigner
from directmsg.agent.errors import (
    AgentError,
    BadAddress,
    BadSignature,
    CannotDecrypt,
    Malformed,
    NotEncrypted,
    NotSigned,
    NotWrapped,
    RoutingMismatch,
    SenderMismatch,
)
from directmsg.agent.fields import Fields, decode_base64
from directmsg.agent.identity import USUAL_SIZE
from directmsg.agent.mime import Part, parse
from directmsg.agent.report import (
    Algorithms,
    InnerMessage,
    OpenedMessage,
    Report,
    Signer,
    Verdict,
    operator_report,
    report_json,
    signer_json,
)
from trust.pki.certs import Certificate, require_covers, require_direct_leaf
from trust.pki.errors import PkiError
from trust.pki.path import Chain, verify_path
from trust.pki.policy import TrustContext

__all__ = [
    "InnerMessage",
    "OpenedMessage",
    "Recipient",
    "Report",
    "Signer",
    "Verdict",
    "examine",
    "open_message",
    "operator_report",
    "outer_recipients",
    "report_json",
    "signer_json",
]

#: A signing time further ahead than this is worth a word; it is the signer's claim and decides nothing.
CLOCK_SKEW = timedelta(minutes=10)

PathVerifier = Callable[[Certificate, Sequence[Certificate], TrustContext, datetime], Chain]


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address of ours that the message came for, and what judges its mail.

    `notification_trust` may stand in for `trust` when the message is an MDN or a DSN: a partner we only send
    to must be heard as well. `require_wrapped`: refuse content that is not a message/rfc822. `intermediates`:
    further certificates that may be of use on the way to an anchor.
    """

    address: str
    identities: tuple[Identity, ...]
    trust: TrustContext
    require_wrapped: bool = False
    notification_trust: TrustContext | None = None
    intermediates: tuple[Certificate, ...] = ()


def open_message(
    raw: bytes,
    *,
    mail_from: str | None,
    recipients: Sequence[Recipient],
    at: datetime,
    clear: bool = False,
    verify: PathVerifier = verify_path,
) -> OpenedMessage:
    """The message, for those of `recipients` who may have it. Arguments as of `examine`.

    Raises the first recipient's error, an AgentError or a PkiError, when nobody may.
    """
    report = examine(raw, mail_from=mail_from, recipients=recipients, at=at, clear=clear, verify=verify)
    return report.opened()


def examine(
    raw: bytes,
    *,
    mail_from: str | None,
    recipients: Sequence[Recipient],
    at: datetime,
    clear: bool = False,
    verify: PathVerifier = verify_path,
) -> Report:
    """Run every check and tell all that was learned; never raises an AgentError or a PkiError.

    `raw` is the message as received. `mail_from` is the envelope's sender: "" for the null path, None when
    there was no envelope, which leaves its comparison out with the warning `no_envelope`. `at` (aware) is the
    time to judge by. With `clear` the message is a signed one that was never encrypted. `verify` stands in
    for `verify_path`, for a caller that keeps verdicts.
    """
    if at.tzinfo is None:
        raise ValueError("at must be an aware datetime")
    identities = _all_identities(recipients)
    readings: dict[frozenset[str], _Reading] = {}
    judge = _Judge(mail_from, at, verify)
    verdicts: list[Verdict] = []
    for recipient in recipients:
        legacy = recipient.trust.policy.legacy
        if legacy not in readings:
            readings[legacy] = _read(raw, identities, legacy, at, clear=clear)
        verdicts.append(judge.verdict(recipient, readings[legacy]))
    if not readings:
        readings[frozenset()] = _read(raw, identities, frozenset(), at, clear=clear)
    return _report(verdicts, list(readings.values()), mail_from)


def outer_recipients(raw: bytes, *, clear: bool = False) -> tuple[str, ...]:
    """The addresses in To and Cc of the message as it came, each once.

    With `clear`, and where the outer header names nobody, those of the message inside. Nobody vouches for
    them. What cannot be read gives none.
    """
    try:
        root = parse(raw).root
        candidates = [root]
        if clear:
            candidates += [part for part in root.walk() if part.is_message for part in part.children]
    except AgentError:
        return ()
    for part in candidates:
        texts = [each.unfolded for name in ("to", "cc") for each in part.fields.all(name)]
        found = {mailbox.key: mailbox.address for mailbox in parse_list_tolerantly(texts)[0]}
        if found:
            return tuple(found.values())
    return ()


def _all_identities(recipients: Iterable[Recipient]) -> tuple[Identity, ...]:
    found: list[Identity] = []
    for recipient in recipients:
        found.extend(each for each in recipient.identities if each not in found)
    return tuple(found)


def _report(verdicts: Sequence[Verdict], readings: Sequence[_Reading], mail_from: str | None) -> Report:
    """Put together what was learned, the accepted recipient's view first."""
    accepted = next((verdict for verdict in verdicts if verdict.accepted), None)
    shown = accepted or (verdicts[0] if verdicts else None)
    reading = next((each for each in readings if each.error is None), readings[0])
    error: AgentError | PkiError | None = None
    if accepted is None:
        error = next((verdict.error for verdict in verdicts if verdict.error), None)
        error = error or reading.error or RoutingMismatch("nobody to receive it")
    warnings = [*(["no_envelope"] if mail_from is None else []), *reading.warnings]
    for verdict in verdicts:
        warnings.extend(verdict.warnings)
    signers = shown.signers if shown else ()
    return Report(
        error=error,
        recipients=tuple(verdicts),
        message=reading.message,
        signers=signers,
        algorithms=_algorithms(reading, signers),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _algorithms(reading: _Reading, signers: Sequence[Signer]) -> Algorithms:
    shown = next((each for each in signers if each.accepted), None)
    shown = shown or next((each for each in signers if each.verified), None)
    return Algorithms(
        digest=shown.digest if shown else None,
        signature=shown.signature_algorithm if shown else None,
        cipher=reading.cipher,
        key_transport=reading.key_transport,
    )


# --- steps 1 to 4: the bytes, once for all recipients who tolerate the same ------------------------------


@dataclass
class _Reading:
    """What reading the bytes has brought so far; `error` is the step that failed."""

    error: AgentError | None = None
    message: InnerMessage | None = None
    signers: tuple[VerifiedSigner | FailedSigner, ...] = ()
    certificates: tuple[bytes, ...] = ()
    cipher: str | None = None
    key_transport: str | None = None
    warnings: list[str] = field(default_factory=list)


def _read(
    raw: bytes, identities: Sequence[Identity], legacy: frozenset[str], at: datetime, *, clear: bool
) -> _Reading:
    reading = _Reading()
    try:
        outer = parse(raw).root
        signed = outer if clear else _decrypt(outer, identities, legacy, reading)  # step 1
        entity = _verify(signed, legacy, reading)  # step 2
        _note_signing_times(reading, at)
        reading.message = _unwrap(entity, outer.fields)  # steps 3 and 4
        _note_gaps(reading.message, reading.warnings)
    except AgentError as error:
        reading.error = error
    return reading


def _decrypt(outer: Part, identities: Sequence[Identity], legacy: frozenset[str], reading: _Reading) -> Part:
    """Step 1: the outermost entity is an envelope, and one of our keys opens it.

    RFC 8551 section 3.3. The MIME parameters are hints at most; the CMS content type decides.
    """
    if not _is_pkcs7_mime(outer):
        raise NotEncrypted("the message is not an envelope")
    data = _cms_octets(outer)
    if not identities:
        if cms.content_type(data) not in ("enveloped", "auth_enveloped"):
            raise NotEncrypted("the outermost CMS content is not enveloped")
        raise CannotDecrypt
    opened = cms.decrypt(data, identities, legacy=legacy)
    reading.cipher = opened.cipher
    reading.key_transport = opened.key_transport
    return parse(opened.content).root


def _is_pkcs7_mime(part: Part) -> bool:
    if part.content_type in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
        return True
    # RFC 8551 section 3.9: gateways that do not know the type send octets with the file's suffix.
    return part.content_type == "application/octet-stream" and part.filename.lower().endswith(".p7m")


def _cms_octets(part: Part) -> bytes:
    """The CMS object in a part; base64 is also recognised where the transfer encoding is not declared."""
    content = part.content
    if content[:1] == b"\x30" or not content[:64].strip():
        return content
    decoded = decode_base64(content)[0]
    return decoded if decoded[:1] == b"\x30" else content


def _verify(signed: Part, legacy: frozenset[str], reading: _Reading) -> Part:
    """Step 2: the entity that at least one signature stands over, as bytes that nobody rewrote.

    RFC 8551 section 3.5. A signature over another signed message, or over an envelope, is not the author's:
    anybody can put one around what somebody else wrote.
    """
    if signed.content_type == "multipart/signed":
        entity, data = _split_signed(signed)
        read = cms.read_signed(data)
        reading.certificates = read.certificates
        if read.econtent is not None:
            raise BadSignature("a detached signature that carries content of its own")
        reading.signers, entity = _verify_detached(read, entity, legacy)
    elif _is_pkcs7_mime(signed):
        read = cms.read_signed(_cms_octets(signed))
        reading.certificates = read.certificates
        reading.signers = cms.verify(read, legacy=legacy)
        entity = parse(read.econtent or b"").root
    else:
        raise NotSigned("the decrypted content is not signed")
    _require_one_verified(reading.signers)
    if entity.content_type == "multipart/signed" or _is_pkcs7_mime(entity):
        raise NotSigned("a signature around another signature or an envelope")
    return entity


def _split_signed(signed: Part) -> tuple[Part, bytes]:
    """The two parts of a multipart/signed (RFC 1847 section 2.1): the entity, and the signature's octets."""
    if len(signed.children) != 2:
        raise Malformed(f"multipart/signed of {len(signed.children)} parts")
    entity, signature = signed.children
    if signature.content_type not in ("application/pkcs7-signature", "application/x-pkcs7-signature"):
        suffixed = signature.filename.lower().endswith(".p7s")
        if not (signature.content_type == "application/octet-stream" and suffixed):
            raise NotSigned("the second part of multipart/signed is no CMS signature")
    return entity, _cms_octets(signature)


_BARE_NEWLINE = re.compile(rb"(?<!\r)\n")


def _verify_detached(
    read: cms.SignedData, entity: Part, legacy: frozenset[str]
) -> tuple[tuple[VerifiedSigner | FailedSigner, ...], Part]:
    """Verify over the bytes as they stand, and once more in canonical form if that fails for bare LF.

    RFC 8551 section 3.1.1: what is signed has CRLF, and some senders write LF into the envelope.
    """
    signers = cms.verify(read, entity.raw_view, legacy=legacy)
    failed = [signer for signer in signers if isinstance(signer, FailedSigner)]
    if len(failed) == len(signers) and any(isinstance(each.error, BadSignature) for each in failed):
        content = entity.raw
        canonical = _BARE_NEWLINE.sub(b"\r\n", content)
        if canonical != content:
            again = cms.verify(read, canonical, legacy=legacy)
            if any(isinstance(signer, VerifiedSigner) for signer in again):
                return again, parse(canonical).root
    return signers, entity


def _require_one_verified(signers: Sequence[VerifiedSigner | FailedSigner]) -> None:
    failed = [signer for signer in signers if isinstance(signer, FailedSigner)]
    if len(failed) < len(signers):
        return
    raise failed[0].error if failed else NotSigned("nobody signed")


def _note_signing_times(reading: _Reading, at: datetime) -> None:
    for signer in reading.signers:
        claimed = signer.signing_time if isinstance(signer, VerifiedSigner) else None
        if claimed is not None and claimed - at > CLOCK_SKEW:
            reading.warnings.append("signing_time_ahead")


def _unwrap(entity: Part, outer: Fields) -> InnerMessage:
    """Steps 3 and 4: the message inside, and its one author.

    RFC 8551 section 3.1: the fields of a wrapped message replace the outer ones completely. Old senders sign
    the bare content: then the outer fields that are none of MIME's belong to it, below those it has itself.
    """
    if entity.is_message and entity.children:
        root = entity.children[0]
        fields, wrapped = root.fields, True
    else:
        root, wrapped = entity, False
        fields = Fields(
            (*entity.fields, *(each for each in outer if _is_taken_over(each.key, entity.fields)))
        )
    return InnerMessage(fields, root, wrapped, require_one_author(fields), entity)


def _is_taken_over(key: str, signed: Fields) -> bool:
    return not key.startswith("content-") and key != "mime-version" and key not in signed


def require_one_author(fields: Fields) -> Mailbox:
    """The one address in the one From field; a Sender that names somebody else is refused.

    Either would let a trusted signer write in another's name. Raises SenderMismatch.
    """
    froms = fields.all("from")
    if len(froms) != 1:
        raise SenderMismatch(f"{len(froms)} From fields")
    try:
        authors = parse_list(froms[0].unfolded)
        senders = [parse_mailbox(each.unfolded) for each in fields.all("sender")]
    except BadAddress as error:
        raise SenderMismatch("From or Sender is not an address") from error
    if len(authors) != 1:
        raise SenderMismatch(f"{len(authors)} addresses in From")
    if any(not same(sender.address, authors[0].address) for sender in senders):
        raise SenderMismatch("Sender is not who From is")
    return authors[0]


def _note_gaps(message: InnerMessage, warnings: list[str]) -> None:
    if not message.wrapped:
        warnings.append("not_wrapped")
    if not message.message_id:
        warnings.append("no_message_id")
    if not message.recipients_readable:
        warnings.append("unreadable_address")


# --- steps 5 to 8: one recipient ------------------------------------------------------------------------


@dataclass
class _Judge:
    """Decides for one recipient after the other; signers are judged once for each set of anchors."""

    mail_from: str | None
    at: datetime
    verify: PathVerifier
    _judged: dict[tuple[int, int], tuple[Signer, ...]] = field(default_factory=dict)

    def verdict(self, recipient: Recipient, reading: _Reading) -> Verdict:
        signers = tuple(map(_unjudged, reading.signers))
        try:
            if reading.error is not None:
                raise reading.error
            message = reading.message
            assert message is not None
            if recipient.require_wrapped and not message.wrapped:  # step 5
                raise NotWrapped("the signed content is not a message/rfc822")
            self._require_routing(recipient, message)  # step 6
            signers = self._signers(recipient, reading, message)
            chain = _require_trusted(signers)  # steps 7 and 8
        except (AgentError, PkiError) as error:
            return Verdict(recipient.address, error, signers)
        return Verdict(recipient.address, None, signers, chain.warnings)

    def _require_routing(self, recipient: Recipient, message: InnerMessage) -> None:
        """Step 6: the envelope's recipient is in To or Cc, and its sender is the author.

        Otherwise somebody could send a message that was signed for another on to this recipient. Only an MDN
        or a DSN may come from the null path.
        """
        named = {mailbox.key for mailbox in (*message.to_mailboxes, *message.cc_mailboxes)}
        if normalise(recipient.address) not in named:
            raise RoutingMismatch("the recipient is in neither To nor Cc")
        if self.mail_from is None or (message.kind != "message" and not normalise(self.mail_from)):
            return
        if not same(self.mail_from, message.from_address):
            raise RoutingMismatch("the envelope's sender is not who From is")

    def _signers(self, recipient: Recipient, reading: _Reading, message: InnerMessage) -> tuple[Signer, ...]:
        contexts = [recipient.trust]
        if message.kind != "message" and recipient.notification_trust is not None:
            contexts.append(recipient.notification_trust)
        signers: tuple[Signer, ...] = ()
        for context in contexts:
            key = (id(context), id(reading))
            if recipient.intermediates or key not in self._judged:
                pool = (*_certificates(reading.certificates), *recipient.intermediates)
                self._judged[key] = tuple(
                    self._judge_signer(each, message, pool, context) for each in reading.signers
                )
            found = self._judged[key]
            if not signers or any(signer.accepted for signer in found):
                signers = found
            if any(signer.accepted for signer in signers):
                break
        return signers

    def _judge_signer(
        self,
        signer: VerifiedSigner | FailedSigner,
        message: InnerMessage,
        pool: Sequence[Certificate],
        context: TrustContext,
    ) -> Signer:
        if isinstance(signer, FailedSigner):
            return _unjudged(signer)
        try:
            known = (each for each in pool if each.der == signer.certificate_der)
            certificate = next(known, None) or _certificate(signer.certificate_der)
            require_covers(certificate, normalise(message.from_address), context.policy)  # step 7
            require_direct_leaf(certificate, context.policy, "signing")
            chain = self.verify(certificate, pool, context, self.at)  # step 8
        except PkiError as error:
            return _signer(signer, error=error)
        return _signer(signer, chain=chain)


def _certificates(encoded: Iterable[bytes]) -> list[Certificate]:
    """Certificates that came along; one that cannot be read is no use on any path."""
    found = []
    for each in encoded:
        try:
            found.append(_certificate(each))
        except PkiError:
            continue
    return found


@lru_cache(maxsize=256)
def _known_certificate(encoded: bytes) -> Certificate:
    return Certificate(encoded)


def _certificate(encoded: bytes) -> Certificate:
    """A certificate that came along, remembered with what was read of it when it is of the usual size."""
    return _known_certificate(encoded) if len(encoded) <= USUAL_SIZE else Certificate(encoded)


def _unjudged(signer: VerifiedSigner | FailedSigner) -> Signer:
    if isinstance(signer, FailedSigner):
        return Signer(signer.certificate_der, accepted=False, error=signer.error)
    return _signer(signer)


def _signer(signer: VerifiedSigner, *, chain: Chain | None = None, error: PkiError | None = None) -> Signer:
    return Signer(
        certificate_der=signer.certificate_der,
        accepted=chain is not None,
        chain=chain,
        error=error,
        verified=True,
        digest=signer.digest,
        signature_algorithm=signer.signature_algorithm,
        signing_time=signer.signing_time,
    )


def _require_trusted(signers: Sequence[Signer]) -> Chain:
    """The chain of the first signer that passed everything; else the error of one whose signature stands."""
    for signer in signers:
        if signer.chain is not None:
            return signer.chain
    errors = [signer.error for signer in signers if signer.verified and signer.error is not None]
    errors += [signer.error for signer in signers if signer.error is not None]
    raise errors[0] if errors else NotSigned("nobody signed")
