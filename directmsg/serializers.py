"""Shapes of the partner API."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pybase64
from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from trust import context as trust_context

from . import newuser
from .api_parsers import too_large
from .models import MailEvent, Parcel

_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
OCTETS = "application/octet-stream"
MOST_FILES = 100
MOST_CHARACTERS = 1_000_000


def one_line(value: str) -> None:
    """Refuse control characters and line ends."""
    if any(unicodedata.category(each) in ("Cc", "Zl", "Zp") for each in value):
        raise serializers.ValidationError(
            "This must be one line without control characters.", "control_character"
        )


class Strict(serializers.Serializer[Any]):
    """Refuses fields it does not know: a mistyped "question" must not leave a parcel without one."""

    def to_internal_value(self, data: Any) -> Any:
        values = super().to_internal_value(data)
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise serializers.ValidationError(
                {"non_field_errors": [f"There are fields unknown here: {len(unknown)}."]}, "unknown_field"
            )
        return values


@extend_schema_field({"type": "string", "format": "byte"})
class Base64Field(serializers.CharField):
    """Bytes in base64."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        # What is blank goes past `to_internal_value`.
        return super().run_validation(data) or b""

    def to_internal_value(self, data: Any) -> Any:
        try:
            # Lines of at most 76 characters are usual, and no base64 by the letter.
            return pybase64.b64decode("".join(super().to_internal_value(data).split()), validate=True)
        except ValueError:
            raise serializers.ValidationError("This is not base64.", "not_base64") from None


@extend_schema_field({"type": "string", "format": "binary"})
class BytesField(serializers.FileField):
    """A part of a form with a file name."""


class AttachmentIn(Strict):
    """One file: its bytes in base64 (RFC 4648 section 4)."""

    filename = serializers.CharField(max_length=200, validators=[one_line])
    content_type = serializers.CharField(
        max_length=127, required=False, default=OCTETS, help_text="Parameters are dropped."
    )
    content = Base64Field(allow_blank=True)

    def validate_content_type(self, value: str) -> str:
        plain = media_type(value)
        if plain is None:
            raise serializers.ValidationError("This is no content type.", "bad_content_type")
        return plain


def media_type(value: str) -> str | None:
    """A content type without its parameters, in lower case; None when it is none."""
    plain = value.partition(";")[0].strip().lower()
    return plain if _CONTENT_TYPE.fullmatch(plain) else None


@extend_schema_field({"type": "string", "format": "email", "maxLength": 320})
class ContactField(serializers.CharField):
    """The e-mail address of the person, by the rules of mail to newuser."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=320, help_text="One e-mail address, no Direct address.", **options)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            email = newuser.parse_contact(text)
        except newuser.BadSubject as error:
            raise serializers.ValidationError(
                "This is not one e-mail address that can be written to.", error.rule
            ) from None
        if trust_context.is_direct_domain(email.rpartition("@")[2]):
            raise serializers.ValidationError(
                "This is a Direct address: write to it directly.", "contact_is_direct_address"
            )
        return email


def challenge_field(words: str) -> serializers.CharField:
    """Half of the pair of question and answer; the pair is judged as a whole."""
    return serializers.CharField(
        required=False, allow_null=True, allow_blank=True, max_length=400, help_text=words
    )


QUESTION = "What only the person can answer: 200 characters at most. Comes with an answer, or not at all."
ANSWER = "100 characters at most. Capitals, spaces and punctuation do not count."


def read_challenge(attrs: dict[str, Any]) -> tuple[str | None, str | None]:
    """Question and answer of `attrs`, both or neither. Raises ValidationError."""
    try:
        return newuser.parse_challenge(attrs.get("question") or "", attrs.get("answer") or "")
    except newuser.BadSubject as error:
        raise serializers.ValidationError(str(error), error.rule) from None


class _ParcelFields(Strict):
    """What both forms of a new parcel have."""

    contact_email = ContactField()
    question = challenge_field(QUESTION)
    answer = challenge_field(ANSWER)
    subject = serializers.CharField(max_length=newuser.MAX_SUBJECT, allow_blank=True, validators=[one_line])
    text = serializers.CharField(max_length=MOST_CHARACTERS, allow_blank=True, trim_whitespace=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs["question"], attrs["answer"] = read_challenge(attrs)
        attrs["subject"] = attrs["subject"] or newuser.NO_SUBJECT
        size = len(attrs["text"].encode()) + sum(len(part["content"]) for part in attrs["attachments"])
        if size > settings.MAX_MESSAGE_SIZE:
            raise too_large()
        return attrs


class ParcelIn(_ParcelFields):
    """A parcel to be held for the person behind `contact_email`."""

    attachments = serializers.ListField(
        child=AttachmentIn(), required=False, default=list, max_length=MOST_FILES
    )


class ParcelForm(_ParcelFields):
    """The same as a form: one part a field, and one part named `files` for each file."""

    files = serializers.ListField(
        child=BytesField(allow_empty_file=True, max_length=200),
        required=False,
        default=list,
        max_length=MOST_FILES,
        help_text="Each with its own file name and Content-Type.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs["attachments"] = [
            {
                "filename": file.name,
                "content_type": media_type(file.content_type or "") or OCTETS,
                "content": file.read(),
            }
            for file in attrs.pop("files")
        ]
        return super().validate(attrs)


class ParcelChange(Strict):
    """What may change while a parcel waits; what is not named stays."""

    contact_email = ContactField(required=False)
    question = challenge_field(QUESTION)
    answer = challenge_field(ANSWER)
    current_answer = challenge_field("The answer as it is: the content cannot be opened without it.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs["question"], attrs["answer"] = read_challenge(attrs)
        if not attrs.get("contact_email") and not attrs["question"]:
            raise serializers.ValidationError("Name what is to change.", "nothing_to_change")
        return attrs


class EventOut(serializers.ModelSerializer[MailEvent]):
    """One line of a parcel's story."""

    class Meta:
        model = MailEvent
        fields = ("name", "code", "at")


class ParcelOut(serializers.ModelSerializer[Parcel]):
    """What a partner learns of its parcel: states and times, no patient identity."""

    state = serializers.ChoiceField(source="state_now", choices=Parcel.State.choices, read_only=True)
    events = EventOut(many=True, read_only=True)
    contact_email = serializers.SerializerMethodField(help_text="Masked.")
    has_question = serializers.BooleanField(
        read_only=True, help_text="Whether an answer still stands before the content."
    )

    class Meta:
        model = Parcel
        fields = (
            "id",
            "state",
            "contact_email",
            "has_question",
            "attachments",
            "size",
            "created",
            "expires",
            "events",
        )
        read_only_fields = fields

    def get_contact_email(self, parcel: Parcel) -> str:
        return newuser.mask_email(parcel.contact_email) if parcel.contact_email else ""


class ProblemOut(serializers.Serializer[Any]):
    """A problem (RFC 9457): `code` is stable, `detail` is for people."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    errors = serializers.JSONField(  # type: ignore[assignment]
        required=False, help_text="By field: messages and their codes, nested as the request is."
    )
