"""Forms of accounts that are ours; the rest is allauth's."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest

NAME_LENGTH = 200


def _name_field(help_text: str) -> forms.CharField:
    return forms.CharField(
        label="Your name",
        max_length=NAME_LENGTH,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
        help_text=help_text,
    )


class SignupExtra(forms.Form):
    """What sign-up asks besides e-mail address and password.

    allauth derives its sign-up form from this class and calls `signup` within the saving.
    """

    name = _name_field("As your health care providers know it. Your first record gets this name.")

    field_order = ("name", "email", "password1")

    def signup(self, request: HttpRequest, user: Any) -> None:
        """The name is saved by the account adapter, with the account itself."""


class NameForm(forms.Form):
    """The name of an account."""

    name = _name_field("Shown to people you share a record with.")
