"""Forms of the record pages."""

from django import forms

from .models import FilePreference, Grant, IntegrationPreference, Record, Relationship


class RecordForm(forms.Form):
    """Whose record this is."""

    name = forms.CharField(label="Name", max_length=200)
    relationship = forms.ChoiceField(label="This person is", choices=Relationship.choices)
    birth_date = forms.DateField(
        label="Date of birth",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="Helps to notice documents that belong to somebody else.",
    )


class PreferencesForm(forms.Form):
    """What happens to what comes in, and who is told."""

    name = forms.CharField(label="Name on this record", max_length=200)
    birth_date = forms.DateField(
        label="Date of birth", required=False, widget=forms.DateInput(attrs={"type": "date"})
    )
    files_preference = forms.ChoiceField(
        label="Add attachments to your files", choices=FilePreference.choices, widget=forms.RadioSelect
    )
    integration_preference = forms.ChoiceField(
        label="When a clinical document comes in",
        choices=IntegrationPreference.choices,
        widget=forms.RadioSelect,
    )
    notify = forms.BooleanField(label="Mail me when a new message comes", required=False)

    @classmethod
    def initial_for(cls, record: Record, grant: Grant) -> dict[str, object]:
        """The form's values as they stand."""
        return {
            "name": record.name,
            "birth_date": record.birth_date,
            "files_preference": record.files_preference,
            "integration_preference": record.integration_preference,
            "notify": grant.notify,
        }

    def apply(self, record: Record, grant: Grant) -> None:
        """Write the values back."""
        values = self.cleaned_data
        record.name = values["name"].strip()
        record.birth_date = values["birth_date"].isoformat() if values["birth_date"] else None
        record.files_preference = values["files_preference"]
        record.integration_preference = values["integration_preference"]
        record.save(update_fields=["name", "birth_date", "files_preference", "integration_preference"])
        grant.notify = values["notify"]
        grant.save(update_fields=["notify"])


class SenderForm(forms.Form):
    """What happens to the documents of one sender; no preference takes an exception away."""

    sender = forms.CharField(
        label="Sender",
        max_length=254,
        help_text="A Direct address such as records@clinic.example, or a domain such as clinic.example.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "email"}),
    )
    preference = forms.ChoiceField(
        label="When they send a clinical document",
        choices=[*IntegrationPreference.choices, ("", "As the record's setting says")],
        required=False,
    )
