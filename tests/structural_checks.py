"""What certification tools check about the form of a Direct message, as one list of named checks.

Each check has its rule: a section of an RFC, or the number of the check in the published test tool for Direct
messages ("DTS"). They look with the standard library's mail reader and asn1crypto, never with our own code.
`check` runs every check that applies to a message.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from functools import cached_property

from asn1crypto import algos
from asn1crypto import cms as asn1_cms
from asn1crypto import x509 as asn1_x509

OUTER_FIELDS = frozenset(
    {
        *("mime-version", "from", "to", "cc", "date", "orig-date", "message-id", "in-reply-to", "references"),
        *("content-type", "content-transfer-encoding", "content-disposition"),
    }
)
ENCODED_LINE = 76
LINE = 998


@dataclass(frozen=True)
class Sent:
    """A message as it left us: its bytes, what was in the envelope, and whom it was encrypted to."""

    wire: bytes
    signed: bytes
    recipients: int
    anchor: bytes

    @cached_property
    def outer(self) -> EmailMessage:
        return read(self.wire)

    @cached_property
    def envelope(self) -> asn1_cms.ContentInfo:
        return asn1_cms.ContentInfo.load(payload(self.outer))

    @cached_property
    def multipart(self) -> EmailMessage:
        return read(self.signed)

    @cached_property
    def sections(self) -> list[bytes]:
        """The bytes between the delimiters of the multipart/signed, with those before and behind."""
        boundary = str(self.multipart.get_boundary()).encode()
        return re.split(rb"\r\n--" + re.escape(boundary) + rb"(?:\r\n|--\r\n)", self.signed)

    @cached_property
    def entity(self) -> bytes:
        return self.sections[1]

    @cached_property
    def signature_part(self) -> EmailMessage:
        return read(self.sections[2])

    @cached_property
    def signature(self) -> asn1_cms.SignedData:
        return asn1_cms.ContentInfo.load(payload(self.signature_part))["content"]

    @cached_property
    def signer(self) -> asn1_cms.SignerInfo:
        (signer,) = self.signature["signer_infos"]
        return signer

    @cached_property
    def inner_bytes(self) -> bytes:
        return self.entity.partition(b"\r\n\r\n")[2]

    @cached_property
    def inner(self) -> EmailMessage:
        return read(self.inner_bytes)

    @cached_property
    def report(self) -> list[dict[str, str]]:
        """The groups of fields in the machine-readable part of a notification."""
        machine = list(self.inner.iter_parts())[1]
        text = machine.as_bytes(policy=email.policy.SMTP).partition(b"\r\n\r\n")[2].decode("ascii")
        groups = []
        for block in filter(str.strip, text.split("\r\n\r\n")):
            lines = [line.partition(":") for line in block.split("\r\n") if line]
            groups.append({name.lower(): value.strip() for name, _, value in lines})
        return groups

    @property
    def kind(self) -> str:
        if self.inner.get_content_type() != "multipart/report":
            return "message"
        return {"disposition-notification": "mdn", "delivery-status": "dsn"}[
            str(self.inner.get_param("report-type"))
        ]


def read(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def payload(part: EmailMessage) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets


def names(raw: bytes) -> list[str]:
    """The names of the fields at the head of some bytes, in lower case."""
    head = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [line.partition(b":")[0].decode().lower() for line in head if not line.startswith((b" ", b"\t"))]


@dataclass(frozen=True)
class Check:
    """One thing that must hold. `kinds` are those of messages it applies to."""

    name: str
    rule: str
    holds: Callable[[Sent], bool]
    kinds: tuple[str, ...] = ("message", "mdn", "dsn")


CHECKS: list[Check] = []


def rule(text: str, *kinds: str) -> Callable[[Callable[[Sent], bool]], Callable[[Sent], bool]]:
    """Put a function into the list, under its own name."""

    def listed(holds: Callable[[Sent], bool]) -> Callable[[Sent], bool]:
        CHECKS.append(Check(holds.__name__, text, holds, kinds or ("message", "mdn", "dsn")))
        return holds

    return listed


def check(sent: Sent) -> list[str]:
    """The names of the checks that were made. AssertionError names the first that does not hold."""
    made = []
    for each in CHECKS:
        if sent.kind not in each.kinds:
            continue
        assert each.holds(sent), f"{each.name} ({each.rule})"
        made.append(each.name)
    return made


# --- the outer message ----------------------------------------------------------------------------------


@rule("RFC 5322 section 2.1.1; DTS 201, 206")
def wire_is_seven_bit_with_crlf(sent: Sent) -> bool:
    return is_canonical(sent.wire) and is_canonical(sent.signed)


def is_canonical(raw: bytes) -> bool:
    plain = raw.replace(b"\r\n", b"")
    short = max(map(len, raw.split(b"\r\n"))) <= LINE
    return raw.isascii() and b"\r" not in plain and b"\n" not in plain and b"\0" not in raw and short


@rule("Applicability Statement section 2; DTS 102 to 128, outer")
def outside_stands_routing_only(sent: Sent) -> bool:
    return set(names(sent.wire)) <= OUTER_FIELDS


@rule("RFC 5322 section 3.6; DTS 114 to 124")
def outside_each_field_stands_once(sent: Sent) -> bool:
    found = names(sent.wire)
    needed = {"from", "date", "message-id", "mime-version", "content-type"}
    return len(found) == len(set(found)) and needed <= set(found)


@rule("Applicability Statement section 2; direct comparison of routing by receivers")
def routing_outside_is_that_inside(sent: Sent) -> bool:
    fields = ("From", "To", "Cc", "Date", "Message-ID", "In-Reply-To", "References")
    return all(str(sent.outer[name]) == str(sent.inner[name]) for name in fields)


@rule("RFC 8551 section 3.3; DTS 129")
def outer_type_is_an_envelope(sent: Sent) -> bool:
    authenticated = sent.envelope["content_type"].native == "authenticated_enveloped_data"
    expected = "authEnveloped-data" if authenticated else "enveloped-data"
    outer = sent.outer
    return outer.get_content_type() == "application/pkcs7-mime" and outer.get_param("smime-type") == expected


@rule("RFC 8551 section 3.2.1; DTS 202, 203")
def envelope_is_named_smime_p7m(sent: Sent) -> bool:
    return is_attached(sent.outer, "smime.p7m")


def is_attached(part: EmailMessage, name: str) -> bool:
    named = part.get_param("name") == part.get_filename() == name
    return named and part.get_content_disposition() == "attachment"


@rule("RFC 2045 section 6.8; DTS 201, 206")
def envelope_is_base64_of_76(sent: Sent) -> bool:
    return is_base64(sent.wire, sent.outer)


def is_base64(raw: bytes, part: EmailMessage) -> bool:
    lines = raw.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n").split(b"\r\n")
    right = all(re.fullmatch(rb"[A-Za-z0-9+/]{1,76}={0,2}", line) and len(line) <= 76 for line in lines)
    return part["content-transfer-encoding"] == "base64" and right


# --- the envelope ---------------------------------------------------------------------------------------


@rule("Applicability Statement section 2.7; RFC 8551 section 2.7")
def cipher_is_aes(sent: Sent) -> bool:
    body = sent.envelope["content"]
    info = body["auth_encrypted_content_info" if "mac" in body else "encrypted_content_info"]
    oid = info["content_encryption_algorithm"]["algorithm"].dotted
    cbc = ("2.16.840.1.101.3.4.1.2", "2.16.840.1.101.3.4.1.42")
    gcm = ("2.16.840.1.101.3.4.1.6", "2.16.840.1.101.3.4.1.46")
    return oid in (gcm if "mac" in body else cbc)


@rule("Applicability Statement section 2; one RecipientInfo for each certificate")
def every_recipient_has_an_entry(sent: Sent) -> bool:
    return len(sent.envelope["content"]["recipient_infos"]) == sent.recipients


@rule("RFC 4055 section 4.1; RFC 3370 section 4.2.1; RFC 5753 section 3.1")
def keys_are_transported_as_known(sent: Sent) -> bool:
    return all(is_known_transport(each) for each in sent.envelope["content"]["recipient_infos"])


def is_known_transport(entry: asn1_cms.RecipientInfo) -> bool:
    if entry.name != "ktri":
        return bool(entry.name == "kari")
    algorithm = entry.chosen["key_encryption_algorithm"]
    if algorithm["algorithm"].native in ("rsaes_pkcs1v15", "rsassa_pkcs1v15"):
        return True
    assert isinstance(algorithm["parameters"], algos.RSAESOAEPParams)
    used = algorithm["parameters"]
    digest = used["hash_algorithm"]["algorithm"].native
    mask = used["mask_gen_algorithm"]["parameters"]["algorithm"].native
    return digest == mask and digest in ("sha256", "sha1")


# --- the signature --------------------------------------------------------------------------------------


@rule("RFC 1847 section 2.1; DTS 133a, 155, 160")
def what_was_encrypted_is_multipart_signed(sent: Sent) -> bool:
    declared = sent.multipart.get_param("protocol") == "application/pkcs7-signature"
    return sent.multipart.get_content_type() == "multipart/signed" and declared


@rule("RFC 1847 section 2.1; DTS 155")
def it_has_two_parts_and_nothing_else(sent: Sent) -> bool:
    parts = sent.sections
    return len(parts) == 4 and b"\r\n\r\n" not in parts[0].strip() and parts[3] == b""


@rule("RFC 8551 section 3.1; DTS 133b")
def first_part_is_a_whole_message(sent: Sent) -> bool:
    return read(sent.entity).get_content_type() == "message/rfc822"


@rule("RFC 8551 section 3.5.3.2; DTS 160")
def micalg_is_the_digest_that_was_used(sent: Sent) -> bool:
    digest = str(sent.signer["digest_algorithm"]["algorithm"].native)
    return sent.multipart.get_param("micalg") == digest.replace("sha", "sha-")


@rule("RFC 8551 section 3.2.1; DTS 205, 207")
def signature_is_named_smime_p7s(sent: Sent) -> bool:
    right = sent.signature_part.get_content_type() == "application/pkcs7-signature"
    return right and is_attached(sent.signature_part, "smime.p7s")


@rule("RFC 2045 section 6.8; DTS 207")
def signature_is_base64_of_76(sent: Sent) -> bool:
    return is_base64(sent.sections[2], sent.signature_part)


@rule("RFC 8551 section 3.5.3; security of detached signatures")
def signature_is_detached(sent: Sent) -> bool:
    return sent.signature["encap_content_info"]["content"].native is None


@rule("Applicability Statement section 2.6 and 2.8; DTS 165, 222")
def digest_is_of_the_second_family(sent: Sent) -> bool:
    digest = sent.signer["digest_algorithm"]["algorithm"].native
    listed = [each["algorithm"].native for each in sent.signature["digest_algorithms"]]
    return digest in ("sha256", "sha384", "sha512") and listed == [digest]


@rule("RFC 5652 section 11; RFC 8551 section 2.5: no list of weak capabilities")
def signed_attributes_are_the_needed_ones(sent: Sent) -> bool:
    found = {each["type"].native for each in sent.signer["signed_attrs"]}
    return found == {"content_type", "message_digest", "signing_time"}


@rule("RFC 5652 section 5.4; DTS 165")
def message_digest_is_that_of_the_first_part(sent: Sent) -> bool:
    digest = hashlib.new(str(sent.signer["digest_algorithm"]["algorithm"].native), sent.entity).digest()
    values = {each["type"].native: each["values"][0].native for each in sent.signer["signed_attrs"]}
    return bool(values["message_digest"] == digest)


@rule("RFC 8551 section 2.3; DTS 167")
def signer_is_there_and_the_anchor_is_not(sent: Sent) -> bool:
    there = [each.chosen for each in sent.signature["certificates"]]
    serials = {each.serial_number for each in there}
    named = sent.signer["sid"].chosen["serial_number"].native
    return named in serials and sent.anchor not in {each.dump() for each in there}


@rule("Applicability Statement section 1.4; DTS 240")
def certificate_speaks_for_from(sent: Sent) -> bool:
    named = sent.signer["sid"].chosen["serial_number"].native
    (signer,) = [each.chosen for each in sent.signature["certificates"] if each.chosen.serial_number == named]
    assert isinstance(signer, asn1_x509.Certificate)
    (author,) = sent.inner["from"].addresses
    spoken = {str(name).lower() for name in signer.subject_alt_name_value.native}
    return author.addr_spec.lower() in spoken or author.domain.lower() in spoken


# --- the message inside ---------------------------------------------------------------------------------


@rule("RFC 5322 section 3.6; DTS 114 to 124")
def inside_the_needed_fields_stand_once(sent: Sent) -> bool:
    found = names(sent.inner_bytes)
    once = ("from", "subject", "date", "message-id", "mime-version", "content-type")
    return all(found.count(name) == 1 for name in once) and found.count("to") + found.count("cc") >= 1


@rule("receivers compare To and Cc with the envelope, never Bcc")
def nobody_is_hidden(sent: Sent) -> bool:
    return "bcc" not in names(sent.inner_bytes) and "bcc" not in names(sent.wire)


@rule("RFC 5322 section 3.6.2; DTS 117")
def from_is_one_address(sent: Sent) -> bool:
    return len(sent.inner["from"].addresses) == 1 and "sender" not in names(sent.inner_bytes)


@rule("RFC 5322 section 3.6.4; DTS 102b")
def message_id_has_brackets_and_a_domain(sent: Sent) -> bool:
    return bool(re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", str(sent.inner["message-id"])))


@rule("RFC 5322 section 3.3; DTS 121")
def date_has_a_zone(sent: Sent) -> bool:
    return parsedate_to_datetime(str(sent.inner["date"])).tzinfo is not None


@rule("RFC 2045 section 4; DTS 124")
def mime_version_is_one(sent: Sent) -> bool:
    return str(sent.inner["mime-version"]) == str(sent.outer["mime-version"]) == "1.0"


@rule("RFC 8551 section 3.1.2; RFC 2045 section 6.7 and 6.8")
def parts_are_encoded_in_short_lines(sent: Sent) -> bool:
    for part in sent.inner.walk():
        encoding = str(part.get("content-transfer-encoding", "7bit"))
        if part.is_multipart():
            continue
        if encoding not in ("7bit", "base64", "quoted-printable"):
            return False
        body = part.get_payload(decode=False)
        width = ENCODED_LINE if encoding != "7bit" else LINE
        if max(map(len, str(body).splitlines() or [""])) > width:
            return False
    return True


@rule("RFC 2046 section 5.1.1")
def boundaries_are_short_and_differ(sent: Sent) -> bool:
    found = [str(part.get_boundary()) for part in sent.inner.walk() if part.get_boundary()]
    found.append(str(sent.multipart.get_boundary()))
    return len(found) == len(set(found)) and all(0 < len(each) <= 70 for each in found)


@rule("RFC 2183 section 2", "message")
def attachments_have_names(sent: Sent) -> bool:
    return all(part.get_filename() for part in sent.inner.iter_attachments())


@rule("Implementation Guide for Delivery Notification: timely and reliable delivery is asked for", "message")
def a_request_for_notifications_is_well_formed(sent: Sent) -> bool:
    asked = sent.inner["disposition-notification-options"]
    wanted = "X-DIRECT-FINAL-DESTINATION-DELIVERY=optional,true"
    return asked is None or (str(asked) == wanted and "disposition-notification-to" in sent.inner)


@rule("Direct Context 1.1 section 3: the field names a part, and the part is text", "message")
def a_context_is_where_it_is_said_to_be(sent: Sent) -> bool:
    named = sent.inner["x-direct-context"]
    if named is None:
        return True
    found = [part for part in sent.inner.walk() if part["content-id"] == named]
    return len(found) == 1 and found[0].get_content_type() == "text/plain" and named.startswith("<")


# --- notifications --------------------------------------------------------------------------------------


@rule("RFC 8098 section 2.1; RFC 3464; DTS 452", "mdn", "dsn")
def a_notification_asks_for_none(sent: Sent) -> bool:
    return not any(name.startswith("disposition-notification") for name in names(sent.inner_bytes))


@rule("RFC 8098 section 3; DTS 450, 451, 453", "mdn")
def mdn_has_a_text_and_a_report(sent: Sent) -> bool:
    kinds = [part.get_content_type() for part in sent.inner.iter_parts()]
    return kinds[:2] == ["text/plain", "message/disposition-notification"]


@rule("RFC 8098 section 3.2; DTS 457, 460, 461", "mdn")
def mdn_names_recipient_and_original(sent: Sent) -> bool:
    (fields,) = sent.report
    final = fields["final-recipient"] == f"rfc822; {sent.inner['from'].addresses[0].addr_spec}"
    original = bool(re.fullmatch(r"<[^<>]+>", fields["original-message-id"]))
    return final and original and fields["reporting-ua"].count(";") == 1


@rule("RFC 8098 section 3.2.6; DTS 462", "mdn")
def mdn_disposition_is_automatic(sent: Sent) -> bool:
    (fields,) = sent.report
    how = r"automatic-action/MDN-sent-automatically; (processed|dispatched|failed)"
    return bool(re.fullmatch(how, fields["disposition"]))


@rule("Implementation Guide for Delivery Notification: an empty field of its own, on dispatched only", "mdn")
def mdn_extension_stands_on_dispatched_only(sent: Sent) -> bool:
    (fields,) = sent.report
    value = fields.get("x-direct-final-destination-delivery")
    return value is None or (value == "" and fields["disposition"].endswith("dispatched"))


@rule("RFC 8098 section 2: In-Reply-To names the original", "mdn", "dsn")
def a_notification_answers_its_original(sent: Sent) -> bool:
    found = sent.report[0]
    original = found.get("original-message-id") or found.get("x-original-message-id")
    return str(sent.inner["in-reply-to"]) == original


@rule("RFC 3464 section 2", "dsn")
def dsn_has_a_text_and_a_report(sent: Sent) -> bool:
    kinds = [part.get_content_type() for part in sent.inner.iter_parts()]
    return kinds[:2] == ["text/plain", "message/delivery-status"]


@rule("RFC 3464 sections 2.2 and 2.3", "dsn")
def dsn_names_who_failed_and_how(sent: Sent) -> bool:
    whole, *groups = sent.report
    told = all(
        re.fullmatch(r"rfc822; [^@\s]+@[^@\s]+", group["final-recipient"])
        and group["action"] == "failed"
        and re.fullmatch(r"[45]\.\d{1,3}\.\d{1,3}", group["status"])
        for group in groups
    )
    return whole["reporting-mta"].startswith("dns; ") and bool(groups) and told
