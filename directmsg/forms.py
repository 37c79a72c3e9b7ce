"""Forms of pickup and messages: they check shape; the verb modules decide."""

from typing import Any

from django import forms

from records.access import whole_records_of
from records.models import Account, Record, Relationship, Right


class AnswerForm(forms.Form):
    """The answer to the sender's question."""

    answer = forms.CharField(
        label="Your answer",
        max_length=400,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
        help_text="Capital letters, spaces and punctuation do not matter.",
    )


class AddressForm(forms.Form):
    """The name in front of the @ sign of a new Direct address."""

    local = forms.CharField(
        label="New name, in front of the @",
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
        help_text="3 to 64 letters a to z, digits, dots, hyphens or underscores.",
        error_messages={"required": "Type the name you want."},
    )


class BlockForm(forms.Form):
    """A sender whose mail is not wanted."""

    sender = forms.CharField(
        label="Address or domain",
        max_length=320,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "inputmode": "email"}),
        help_text="Like office@direct.clinic.example, or direct.clinic.example for everybody there.",
        error_messages={"required": "Type the address or domain to block."},
    )


class ContactForm(forms.Form):
    """The contact address, typed, when there is no question."""

    email = forms.CharField(
        label="E-mail address the message was announced to",
        max_length=320,
        required=False,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}),
    )


class CodeForm(forms.Form):
    """The mailed 8-digit code."""

    pickup_code = forms.CharField(
        label="The 8-digit code from the e-mail",
        max_length=20,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}
        ),
    )


class FindForm(forms.Form):
    """The address for which waiting messages are looked up."""

    email = forms.EmailField(
        label="Your e-mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )


class ClaimForm(forms.Form):
    """Where a parcel goes: one of the person's records, or a new one."""

    NEW = "new"

    record = forms.ChoiceField(label="Put it in the record of", widget=forms.RadioSelect)
    name = forms.CharField(
        label="Name of the person",
        max_length=200,
        required=False,
        help_text="Whose health information is this?",
    )
    relationship = forms.ChoiceField(
        label="This person is", choices=Relationship.choices, required=False, initial=Relationship.CHILD
    )

    def __init__(self, account: Account, *args: Any, only: Record | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        records = whole_records_of(account, Right.MODIFY).select_related("holder")
        self.records = {str(r.pk): r for r in records if only is None or r.pk == only.pk}
        choices = [(pk, record.name) for pk, record in self.records.items()]
        if only is None:
            choices.append((self.NEW, "Another person (open a new record)"))
        self.fields["record"].choices = choices  # type: ignore[attr-defined]
        self.fields["record"].initial = choices[0][0] if choices else self.NEW

    @property
    def may_open(self) -> bool:
        """Whether a new record is among the choices."""
        return any(value == self.NEW for value, _ in self.fields["record"].choices)  # type: ignore[attr-defined]

    @property
    def of_new_record(self) -> list[forms.BoundField]:
        """The fields that describe a new record."""
        return [self["name"], self["relationship"]]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("record") == self.NEW and not (cleaned.get("name") or "").strip():
            self.add_error("name", "Type the name of the person the new record is for.")
        return cleaned
