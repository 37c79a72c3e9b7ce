"""Forms of the mail console: filters and reasons."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from .models import InboundMail, OutboundMail, Parcel


class MailFilterForm(forms.Form):
    """What the list of incoming mail shows."""

    state = forms.ChoiceField(label="State", required=False)
    code = forms.RegexField(r"^[a-z0-9_]{1,40}$", label="Code", required=False)
    domain = forms.ChoiceField(label="Our domain", required=False)
    sender = forms.CharField(label="Sender's address or domain", max_length=320, required=False)
    day = forms.DateField(label="Day (UTC)", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["state"].choices = [("", "Any state"), *InboundMail.State.choices]  # type: ignore[attr-defined]
        domains = [(name, name) for name in settings.DIRECT_DOMAINS]
        self.fields["domain"].choices = [("", "Any domain"), *domains]  # type: ignore[attr-defined]


class SentFilterForm(forms.Form):
    """What the list of outgoing mail shows."""

    state = forms.ChoiceField(label="State", required=False)
    kind = forms.ChoiceField(label="Kind", required=False)
    code = forms.RegexField(r"^[a-z0-9_]{1,40}$", label="Code", required=False)
    recipient = forms.CharField(label="Recipient's address or domain", max_length=320, required=False)
    day = forms.DateField(label="Day (UTC)", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["state"].choices = [("", "Any state"), *OutboundMail.State.choices]  # type: ignore[attr-defined]
        self.fields["kind"].choices = [("", "Any kind"), *OutboundMail.Kind.choices]  # type: ignore[attr-defined]


class ParcelFilterForm(forms.Form):
    """What the list of parcels shows."""

    state = forms.ChoiceField(label="State", required=False)
    sender = forms.CharField(label="Organisation", max_length=200, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["state"].choices = [("", "Any state"), *Parcel.State.choices]  # type: ignore[attr-defined]


class RawForm(forms.Form):
    """Why an administrator needs the bytes of a mail."""

    reason = forms.CharField(label="What you need it for", max_length=100)


class WithdrawForm(forms.Form):
    """A yes of its own: the content is shredded."""

    sure = forms.BooleanField(label="Yes, take it back. Its content is erased for good.")
