"""Shapes of the partner API."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.conf import settings
from rest_framework import serializers

from . import newuser
from .models import MailEvent, Parcel


class AttachmentIn(serializers.Serializer[Any]):
    """One file: its bytes in base64 (RFC 4648 section 4)."""

    filename = serializers.CharField(max_length=200)
    content_type = serializers.RegexField(r"^[\w.+-]+/[\w.+-]+$", max_length=127)
    content = serializers.CharField(help_text="The bytes in base64.", trim_whitespace=True)

    def validate_content(self, value: str) -> bytes:
        try:
            return base64.b64decode("".join(value.split()), validate=True)
        except binascii.Error:
            raise serializers.ValidationError("This is not base64.", "not_base64") from None


class ParcelIn(serializers.Serializer[Any]):
    """A parcel to be held for the person behind `contact_email`."""

    contact_email = serializers.CharField(max_length=320)
    question = serializers.CharField(required=False, allow_null=True, max_length=200)
    answer = serializers.CharField(required=False, allow_null=True, max_length=100)
    subject = serializers.CharField(max_length=255, allow_blank=True)
    text = serializers.CharField(max_length=1_000_000, allow_blank=True, trim_whitespace=False)
    attachments = AttachmentIn(many=True, required=False, default=list, max_length=100)

    def validate_contact_email(self, value: str) -> str:
        try:
            return newuser.parse_contact(value)
        except newuser.BadSubject as error:
            raise serializers.ValidationError(
                "This is not one e-mail address that can be written to.", error.rule
            ) from None

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            attrs["question"], attrs["answer"] = newuser.parse_challenge(
                attrs.get("question") or "", attrs.get("answer") or ""
            )
        except newuser.BadSubject as error:
            raise serializers.ValidationError(str(error), error.rule) from None
        total = sum(len(part["content"]) for part in attrs["attachments"])
        if total > settings.MAX_MESSAGE_SIZE:
            raise serializers.ValidationError(
                f"The attachments are larger than {settings.MAX_MESSAGE_SIZE} bytes together.", "too_large"
            )
        return attrs


class EventOut(serializers.ModelSerializer[MailEvent]):
    """One line of a parcel's story."""

    class Meta:
        model = MailEvent
        fields = ("name", "code", "at")


class ParcelOut(serializers.ModelSerializer[Parcel]):
    """What a partner learns of its parcel: states and times, no patient identity."""

    state = serializers.CharField(source="state_now")
    events = EventOut(many=True)
    contact_email = serializers.SerializerMethodField(help_text="Masked.")

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

    def get_contact_email(self, parcel: Parcel) -> str:
        return newuser.mask_email(parcel.contact_email) if parcel.contact_email else ""
