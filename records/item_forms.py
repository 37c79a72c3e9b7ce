"""The form for one item in a person's own words, with the fields that make sense for its kind."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from healthvault.store.ids import new_id

from . import particulars
from .editing import CORRECTABLE, Words
from .handwritten import EXTRAS, MEASURES, MOST, MOST_TEXT, SHAPES
from .vague import is_no_date, vague_date

#: The id of the list of names that the page offers for vital signs.
NAMES_LIST = "measures"
_ANY_DATE = (
    "As exactly as you know it: 2012, August 2012, 5 August 2012, "
    "or words such as “about 2010” or “as a child”."
)
_END_DATE = "As exactly as you know it: 2012, August 2012 or 5 August 2012. Leave it empty if it goes on."


class ItemForm(forms.Form):
    """Fields of one kind. `key` is made with the page: the same form sent twice makes one item.

    `stamp` is the state of the item that was on the page, so that nobody overwrites what they did not see.
    """

    key = forms.UUIDField(widget=forms.HiddenInput)
    stamp = forms.DateTimeField(widget=forms.HiddenInput, required=False)

    def __init__(self, kind: str, *args: Any, status: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind, self.shape = kind, SHAPES[kind]
        self.fields["key"].initial = new_id()
        self._name()
        if self.shape.value:
            self._text("value", self.shape.value, CORRECTABLE["value"])
        if self.shape.unit:
            self._text("unit", "Unit", CORRECTABLE["unit"], "For instance: kg, mg/dL, or nothing.")
        self._text("start", self.shape.start, CORRECTABLE["start"], _ANY_DATE)
        if self.shape.end:
            self._text("end", self.shape.end, CORRECTABLE["end"], _END_DATE)
        if self.shape.statuses:
            self.fields["status"] = forms.ChoiceField(
                label="Standing", required=False, choices=self._statuses(status)
            )
        for name in self.shape.extras:
            extra = EXTRAS[name]
            most = MOST_TEXT if extra.long else MOST
            self._text(f"more_{name}", extra.label, most, extra.hint, long=extra.long)
        self._text(
            "note", "Your note", CORRECTABLE["note"], "For yourself and those who see this record.", long=True
        )

    def _name(self) -> None:
        attrs = {"list": NAMES_LIST} if self.kind == "vital_signs" else {}
        self.fields["name"] = forms.CharField(
            label=self.shape.name,
            max_length=CORRECTABLE["name"],
            help_text=self.shape.hint,
            widget=forms.TextInput(attrs={"autocomplete": "off", **attrs}),
            error_messages={"required": f"Fill in “{self.shape.name}”."},
        )

    def _text(self, name: str, label: str, most: int, hint: str = "", *, long: bool = False) -> None:
        widget: forms.Widget = (
            forms.Textarea(attrs={"rows": 4}) if long else forms.TextInput(attrs={"autocomplete": "off"})
        )
        self.fields[name] = forms.CharField(
            label=label,
            max_length=most,
            required=False,
            help_text=hint,
            widget=widget,
            error_messages={"max_length": f"“{label}” is too long: {most} characters at most."},
        )

    def _statuses(self, present: str) -> list[tuple[str, str]]:
        known = [("", "Not said"), *self.shape.statuses]
        if present and present not in dict(known):
            known.append(
                (present, particulars.status(self.kind, {"status": present}) or present.capitalize())
            )
        return known

    @property
    def names(self) -> list[str]:
        """What the page offers as names."""
        return list(MEASURES) if self.kind == "vital_signs" else []

    def clean_start(self) -> str:
        text = str(self.cleaned_data["start"])
        if is_no_date(text):
            raise forms.ValidationError(
                f"“{text}” is no date. Write 2012, 2012-08, 2012-08-05, or how you would say it."
            )
        self._check_ahead(text)
        return text

    def clean_end(self) -> str:
        text = str(self.cleaned_data["end"])
        if text and vague_date(text) is None:
            raise forms.ValidationError(
                f"“{text}” is no date. Write a year, a month or a day: 2012, August 2012 or 2012-08-05."
            )
        return text

    def _check_ahead(self, text: str) -> None:
        found = vague_date(text)
        # Somebody east of this clock may write tomorrow's date today.
        latest: date = timezone.now().date() + timedelta(days=1)
        if found and not self.shape.ahead and found.day > latest.isoformat()[: len(found.day)]:
            raise forms.ValidationError("This date lies ahead. Write when it was.")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        start, end = vague_date(values.get("start", "")), vague_date(values.get("end", ""))
        if start and end:
            same = min(len(start.day), len(end.day))
            if end.day[:same] < start.day[:same]:
                self.add_error("end", f"“{self.shape.end}” lies before “{self.shape.start}”.")
        if values.get("unit") and not values.get("value"):
            self.add_error("value", "There is a unit, but no value.")
        return values

    def words(self) -> Words:
        """What was typed."""
        values = self.cleaned_data
        flat = {name: values.get(name, "") for name in CORRECTABLE}
        more = {name: values[f"more_{name}"] for name in self.shape.extras if values.get(f"more_{name}")}
        return Words(**flat, more=more)

    @staticmethod
    def initial_for(words: Words) -> dict[str, Any]:
        """The form's values for an item as it stands."""
        flat = {name: getattr(words, name) for name in CORRECTABLE}
        return {**flat, **{f"more_{name}": said for name, said in words.more.items()}}


class UploadForm(forms.Form):
    """One file from a person's own disk."""

    file = forms.FileField(
        label="File",
        error_messages={"required": "Choose a file.", "empty": "This file is empty: there is nothing in it."},
    )

    def __init__(self, *args: Any, most: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.most = most
        self.fields["file"].help_text = f"{most // 1_000_000} MB at most."

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > self.most:
            raise forms.ValidationError(f"This file is too large: {self.most // 1_000_000} MB at most.")
        return file
