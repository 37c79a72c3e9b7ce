"""The form for a new message: it checks shape; `compose` decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.core.files.uploadedfile import UploadedFile

from healthvault.store.ids import new_id
from records.access import whole_records_of
from records.models import Account, Record, Right

from . import compose
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
    attachments = FilesField(label="Files", required=False)

    def __init__(self, account: Account, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.records = {str(record.pk): record for record in writers(account)}
        choices = [(pk, record.name) for pk, record in self.records.items()]
        self.fields["record"].choices = choices  # type: ignore[attr-defined]
        self.fields["attachments"].help_text = f"Together {compose.most_octets() // 1_000_000} MB at most."
        self.fields["message"].initial = new_id()
        if len(choices) == 1:
            self.fields["record"].initial = choices[0][0]

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
        """The files, whole: their size was bounded before."""
        return [
            NewAttachment(each.name or "file", each.content_type or "application/octet-stream", each.read())
            for each in self.cleaned_data["attachments"]
        ]

    def clean_files(self) -> list[UploadedFile]:
        files: list[UploadedFile] = self.cleaned_data["files"]
        if sum(each.size or 0 for each in files) > compose.most_octets():
            raise forms.ValidationError(
                "These files are too large for one message. Send fewer or smaller ones."
            )
        return files


def writers(account: Account) -> list[Record]:
    """The records that `account` may write for and that have an active address."""
    active = DirectAddress.objects.filter(primary=True, state=DirectAddress.State.ACTIVE)
    records = whole_records_of(account, Right.MODIFY).filter(pk__in=active.values("record"))
    return list(records.select_related("holder").order_by("created"))
