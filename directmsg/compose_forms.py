"""The form for a new message: it checks shape; `compose` decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.core.files.uploadedfile import UploadedFile

from healthvault.store.ids import new_id
from records.access import Access, grants_of, whole_records_of
from records.models import Account, Grant, Record, Right

from . import compose, enclosures
from .agent.message import NewAttachment
from .models import DirectAddress


class FilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of files; none is fine."""

    widget = FilesInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        files = data if isinstance(data, list | tuple) else [data] if data else []
        return [super(FilesField, self).clean(each, initial) for each in files]


class ComposeForm(forms.Form):
    """From which record, to whom, and what.

    `message` is made with the page: the same form sent twice is one message.
    """

    message = forms.UUIDField(widget=forms.HiddenInput)
    record = forms.ChoiceField(label="From the record of")
    to = forms.CharField(
        label="To",
        max_length=4000,
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "email"}),
        help_text="Direct addresses, with commas between them. Ordinary e-mail addresses cannot be reached.",
    )
    subject = forms.CharField(label="Subject", max_length=255, required=False)
    text = forms.CharField(label="Message", max_length=100_000, widget=forms.Textarea(attrs={"rows": 12}))
    documents = forms.MultipleChoiceField(
        label="Documents and files of the record",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="They are sent as they came, with everything that is in them.",
        error_messages={"invalid_choice": "One of these is no longer there. Choose again."},
    )
    attachments = FilesField(label="Files from this device", required=False)
    package = forms.BooleanField(
        label="Send all of these as one package",
        required=False,
        help_text="A zip file in the form that hospital systems exchange (IHE XDM). Choose it when the other"
        " side asks for it.",
    )

    def __init__(self, account: Account, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.records = {str(record.pk): record for record in writers(account)}
        choices = [(pk, record.name) for pk, record in self.records.items()]
        self.fields["record"].choices = choices  # type: ignore[attr-defined]
        self.fields[
            "attachments"
        ].help_text = f"Everything together {compose.most_octets() // 1_000_000} MB at most."
        self.fields["message"].initial = new_id()
        if len(choices) == 1:
            self.fields["record"].initial = choices[0][0]
        self.access = {str(grant.record_id): Access(grant) for grant in _grants(account, self.records)}
        self._offer_documents()

    def _offer_documents(self) -> None:
        several = len(self.records) > 1
        offered = [
            (value, f"{words} (record of {self.records[pk].name})" if several else words)
            for pk, access in self.access.items()
            for value, words in enclosures.choices(access)
        ]
        if offered:
            self.fields["documents"].choices = offered  # type: ignore[attr-defined]
        else:
            del self.fields["documents"]

    @property
    def chosen(self) -> Record:
        """The record to write from."""
        return self.records[self.cleaned_data["record"]]

    @property
    def message_pk(self) -> UUID:
        pk: UUID = self.cleaned_data["message"]
        return pk

    @property
    def new_attachments(self) -> Sequence[NewAttachment]:
        """What was chosen of the record, then the files from the device: their size was bounded before.

        Raises enclosures.NotYours.
        """
        access = self.access[self.cleaned_data["record"]]
        files = [
            NewAttachment(one.name or "file", one.content_type or "application/octet-stream", one.read())
            for one in self.cleaned_data["attachments"]
        ]
        return [*enclosures.chosen(access, self.cleaned_data.get("documents", [])), *files]

    def clean_attachments(self) -> list[UploadedFile]:
        files: list[UploadedFile] = self.cleaned_data["attachments"]
        if sum(each.size or 0 for each in files) > compose.most_octets():
            raise forms.ValidationError(
                "These files are too large for one message. Send fewer or smaller ones."
            )
        return files

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        documents = cleaned.get("documents") or []
        if documents and cleaned.get("record"):
            own = {value for value, _ in enclosures.choices(self.access[cleaned["record"]])}
            if not set(documents) <= own:
                self.add_error(
                    "documents",
                    "These belong to another record. Send those of the record you write from.",
                )
        if cleaned.get("package") and not documents and not cleaned.get("attachments"):
            self.add_error("package", "Choose what is to go into the package.")
        return cleaned


def _grants(account: Account, records: Mapping[str, Record]) -> list[Grant]:
    grants = grants_of(account).filter(record__in=[record.pk for record in records.values()])
    return list(grants.select_related("record__holder").order_by("record__created"))


def writers(account: Account) -> list[Record]:
    """The records that `account` may write for and that have an active address."""
    active = DirectAddress.objects.filter(primary=True, state=DirectAddress.State.ACTIVE)
    records = whole_records_of(account, Right.MODIFY).filter(pk__in=active.values("record"))
    return list(records.select_related("holder").order_by("created"))
