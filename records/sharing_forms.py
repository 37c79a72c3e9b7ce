"""Forms of the people of a record: they check shape; `sharing` decides."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.utils import timezone

from .models import Grant, Relationship, Right
from .overview import KIND_NAMES
from .sharing import MOST_TEXT

LEVELS = (
    (Right.VIEW.value, "Look only"),
    (Right.MODIFY.value, "Look, add and change"),
    (Right.CUSTODIAN.value, "Look after it as I do: see everything, share it, and delete"),
)


class LevelForm(forms.Form):
    """What a person may do, which items they see, and until when."""

    ALL, SOME = "all", "some"

    right = forms.TypedChoiceField(
        label="They may", choices=LEVELS, coerce=int, initial=Right.VIEW.value, widget=forms.RadioSelect
    )
    scope = forms.ChoiceField(
        label="They see",
        choices=[
            (ALL, "All items, documents and messages that are not personal"),
            (SOME, "Only the kinds of items I tick below; no documents and no messages"),
        ],
        initial=ALL,
        widget=forms.RadioSelect,
    )
    kinds = forms.MultipleChoiceField(
        label="Kinds of items",
        choices=list(KIND_NAMES.items()),
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "kind-choices"}),
    )
    until = forms.DateField(
        label="Until",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="The last day. Leave it empty for no end. Who looks after the record has no end.",
    )

    @staticmethod
    def initial_for(grant: Grant) -> dict[str, object]:
        """The form's values as they stand."""
        return {
            "right": grant.right,
            "scope": LevelForm.ALL if grant.kinds is None else LevelForm.SOME,
            "kinds": grant.kinds or [],
            "until": timezone.localtime(grant.expires).date() if grant.expires else None,
        }

    @property
    def offer(self) -> dict[str, Any]:
        """The values as `sharing` takes them; the day of `until` is included.

        What limits a custodian is left out: the page does not ask for it.
        """
        cleaned, end = self.cleaned_data, self.cleaned_data["until"]
        if self.chosen == Right.CUSTODIAN:
            return {"kinds": None, "access_expires": None}
        some = cleaned["scope"] == self.SOME
        return {
            "kinds": cleaned["kinds"] if some else None,
            "access_expires": datetime.combine(end, time.max, UTC) if end else None,
        }

    @property
    def chosen(self) -> Right:
        return Right(self.cleaned_data["right"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        limited = cleaned.get("right") != Right.CUSTODIAN
        if limited and cleaned.get("scope") == self.SOME and not cleaned.get("kinds"):
            self.add_error("kinds", "Tick at least one kind, or let them see everything.")
        return cleaned


class InviteForm(LevelForm):
    """Whom to invite, and to what."""

    email = forms.EmailField(
        label="Their e-mail address",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        help_text="We mail a link there. The mail names you by your e-mail address, and not this record.",
    )
    relationship = forms.ChoiceField(
        label="For them, the person of this record is", choices=Relationship.choices, initial="other"
    )
    passcode = forms.CharField(
        label="Passcode",
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
        help_text="6 to 10 letters or digits. Tell it to them yourself, by telephone for example: we never"
        " mail it. Without one, only an account that has confirmed this e-mail address gets in.",
    )
    text = forms.CharField(
        label="A few words to them",
        max_length=MOST_TEXT,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="They read it after they have signed in; it is not in the mail.",
    )

    field_order = ("email", "relationship", "right", "scope", "kinds", "until", "passcode", "text")


class PasscodeForm(forms.Form):
    """The passcode the inviter told."""

    passcode = forms.CharField(
        label="Passcode",
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True, "class": "input-code"}),
        help_text="The person who invited you tells it to you; it is in no mail.",
    )


class ResendForm(forms.Form):
    """Another passcode for an invitation that is sent again."""

    passcode = forms.CharField(
        label="New passcode",
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
        help_text="Leave it empty to keep the one you told them.",
    )
