"""Forms of the console and of the request page: they check shape; the verb modules decide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from trust import admission, identity_requests, keyimport
from trust.context import ensure_domain, lower
from trust.errors import TrustRefusal
from trust.models import Anchor, Bundle, Domain, Identity, Organization
from trust.pki.certs import Certificate, is_host_name
from trust.pki.errors import PkiError
from trust.pki.load import MAX_FILE_BYTES, load_certificates

if TYPE_CHECKING:
    OrganizationFields = forms.ModelForm[Organization]
    DomainFields = forms.ModelForm[Domain]
    BundleFields = forms.ModelForm[Bundle]
else:
    OrganizationFields = DomainFields = BundleFields = forms.ModelForm

ALL_DOMAINS = "All our domains"
MOST_FILES = 20


class ManyFilesInput(forms.ClearableFileInput):
    """The input for several files at once."""

    allow_multiple_selected = True


class FilesField(forms.FileField):
    """One or more files; cleaned to pairs of name and content, read within the bound of one import."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[tuple[str, bytes]]:
        uploaded = data if isinstance(data, list | tuple) else [data]
        files = [super(FilesField, self).clean(each, initial) for each in uploaded]
        if len(files) > MOST_FILES:
            raise ValidationError(f"At most {MOST_FILES} files at once; put more into a zip.")
        if sum(each.size for each in files) > MAX_FILE_BYTES:
            raise ValidationError(f"At most {MAX_FILE_BYTES // 1_000_000} MB together.")
        return [(str(each.name)[:100], each.read()) for each in files]


class AnchorFilesField(FilesField):
    """Files with anchors; cleaned to the candidates in them. A private key is refused and not kept."""

    def clean(self, data: Any, initial: Any = None) -> Any:
        files = super().clean(data, initial)
        try:
            return admission.read_files(files, timezone.now())
        except TrustRefusal as refusal:
            raise ValidationError(_sentence(refusal.detail), code=refusal.code) from refusal


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


class HostNamesField(forms.CharField):
    """Host names, one a line or parted by commas; cleaned to a tuple in lower case."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocapitalize": "none"})

    def __init__(self, *, most: int = 50, **kwargs: Any) -> None:
        self.most = most
        super().__init__(max_length=10_000, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> Any:
        words = [lower(word).rstrip(".") for word in re.split(r"[\s,;]+", super().clean(value)) if word]
        wrong = [word for word in words if not is_host_name(word) or "." not in word]
        if wrong:
            raise ValidationError(f"This is no domain: {wrong[0][:100]}")
        if len(words) > self.most:
            raise ValidationError(f"At most {self.most} domains.")
        return tuple(dict.fromkeys(words))


class DomainField(forms.ChoiceField):
    """One of our own domains, or none for all of them; cleaned to its row, which is made when missing."""

    def __init__(self, *, all_of_them: bool = True, **kwargs: Any) -> None:
        first = [("", ALL_DOMAINS)] if all_of_them else []
        super().__init__(
            choices=lambda: [*first, *((name, name) for name in settings.DIRECT_DOMAINS)],
            required=not all_of_them,
            **{"label": "Which of our domains trusts it", **kwargs},
        )

    def clean(self, value: Any) -> Any:
        name = super().clean(value)
        return ensure_domain(name) if name else None


def _incoming() -> forms.BooleanField:
    return forms.BooleanField(label="Accept their mail (incoming)", required=False, initial=True)


def _outgoing() -> forms.BooleanField:
    return forms.BooleanField(label="Send mail to them (outgoing)", required=False, initial=True)


class DirectionForm(forms.Form):
    """Base of what goes one way or both."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "incoming" in self.fields and not (cleaned.get("incoming") or cleaned.get("outgoing")):
            raise ValidationError("Choose at least one direction; to stop trust, pause or revoke the anchor.")
        return cleaned


class ReasonForm(forms.Form):
    """Why something is stopped or declined."""

    reason = forms.CharField(label="Reason", max_length=300)


class SureForm(forms.Form):
    """A yes of its own."""

    sure = forms.BooleanField(label="Yes, I am sure")


# --- anchors --------------------------------------------------------------------------------------------


class AnchorImportForm(DirectionForm):
    """Anchors to import, for whom, and which way."""

    anchors = AnchorFilesField(
        label="Certificate files",
        help_text="PEM, DER, P7B or a zip of these. You see what is in them before anything is trusted.",
    )
    organization = forms.CharField(
        label="Organisation",
        max_length=200,
        help_text="Its full name. A name that is known already adds the anchors to it.",
        widget=forms.TextInput(attrs={"list": "organizations", "autocomplete": "off"}),
    )
    domain = DomainField()
    incoming = _incoming()
    outgoing = _outgoing()


class FlagsForm(DirectionForm):
    """Which way an anchor counts."""

    incoming = _incoming()
    outgoing = _outgoing()


class ExcludeForm(forms.Form):
    """For which of our domains an anchor of a bundle is to count for nothing, and why."""

    domain = DomainField(all_of_them=False, label="Domain that does not trust it")
    reason = forms.CharField(label="Reason", max_length=300)


class AnchorFilterForm(forms.Form):
    """What the list of anchors shows."""

    q = forms.CharField(label="Name or fingerprint", max_length=100, required=False)
    state = forms.ChoiceField(label="State", required=False)
    source = forms.ChoiceField(label="Source", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _choices(self, "state", [("", "Any state"), *Anchor.State.choices])
        _choices(self, "source", [("", "Any source"), *Anchor.Source.choices])


class PeerFilterForm(forms.Form):
    """Which certificates of others are listed."""

    q = forms.CharField(label="Name or fingerprint", max_length=100, required=False)
    amiss = forms.BooleanField(label="Only where a list or responder is amiss", required=False)


def _choices(form: forms.Form, name: str, choices: Sequence[tuple[Any, Any]]) -> None:
    form.fields[name].choices = choices  # type: ignore[attr-defined]


# --- requests -------------------------------------------------------------------------------------------


class TrustRequestForm(forms.Form):
    """What an organisation sends to be trusted."""

    organization = forms.CharField(
        label="Your organisation",
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    email = forms.EmailField(
        label="Contact e-mail address",
        max_length=254,
        help_text="We mail a code to it, and later our answer. Use an ordinary mailbox that people read.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    domains = HostNamesField(
        label="Your Direct domains", help_text="What stands behind the @ sign of your addresses, one a line."
    )
    anchors = AnchorFilesField(
        label="Your trust anchor",
        help_text="The certificate of the authority that issued your Direct certificates: PEM, DER, P7B or"
        " zip. Never send a private key.",
    )

    def clean_organization(self) -> str:
        return " ".join(str(self.cleaned_data["organization"]).split())

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"])
        if lower(email.rpartition("@")[2]) in settings.DIRECT_DOMAINS:
            raise ValidationError("Use an ordinary e-mail address, not a Direct address of ours.")
        return email

    def clean_domains(self) -> tuple[str, ...]:
        domains: tuple[str, ...] = self.cleaned_data["domains"]
        if set(domains) & set(settings.DIRECT_DOMAINS):
            raise ValidationError("This is one of our own domains.")
        return domains


class CodeForm(forms.Form):
    """The mailed 8-digit code."""

    code = forms.CharField(
        label="The 8-digit code from the e-mail",
        max_length=20,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "class": "input-code"}
        ),
    )


class AcceptForm(DirectionForm):
    """On which terms a request is accepted."""

    organization = forms.CharField(label="Organisation", max_length=200)
    domains = HostNamesField(
        label="Its Direct domains",
        required=False,
        help_text="Mail from these shows its name. Leave out what you do not know to be theirs.",
    )
    domain = DomainField()
    incoming = _incoming()
    outgoing = _outgoing()
    confirmed = forms.BooleanField(
        label="I have read the warnings and mean these certificates", required=False
    )
    lift = forms.BooleanField(label="Trust again what was paused or revoked here", required=False)

    def __init__(self, *args: Any, asks: bool, stopped: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not asks:
            del self.fields["confirmed"]
        if not stopped:
            del self.fields["lift"]

    def clean_organization(self) -> str:
        return " ".join(str(self.cleaned_data["organization"]).split())

    def clean_domains(self) -> tuple[str, ...]:
        domains: tuple[str, ...] = self.cleaned_data["domains"]
        if set(domains) & set(settings.DIRECT_DOMAINS):
            raise ValidationError("Our own domains cannot be another organisation's.")
        return domains


# --- organisations and domains --------------------------------------------------------------------------


class OrganizationForm(OrganizationFields):
    """Who stands behind anchors, and under which name patients see it."""

    domains = HostNamesField(
        label="Direct domains",
        required=False,
        help_text="Mail from these shows this organisation's name, whoever runs their mail.",
    )

    class Meta:
        model = Organization
        fields = ("name", "public_name", "domains", "is_active", "notes")
        labels = {
            "public_name": "Name that patients see",
            "is_active": "Active: its anchors count",
            "notes": "Notes for administrators",
        }
        help_texts = {"public_name": "Empty means the name above."}
        widgets = {"notes": forms.Textarea(attrs={"rows": 3})}

    def clean_domains(self) -> list[str]:
        domains = list(self.cleaned_data["domains"])
        if set(domains) & set(settings.DIRECT_DOMAINS):
            raise ValidationError("This is one of our own domains.")
        for other in Organization.objects.exclude(pk=self.instance.pk):
            if taken := set(domains) & set(other.domains):
                raise ValidationError(f"{min(taken)} belongs to {other.name} here.")
        return domains


class DomainForm(DomainFields):
    """How one of our domains judges."""

    legacy = forms.MultipleChoiceField(
        label="Tolerances towards old systems",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Each lets something through that the standards forbid today.",
    )

    class Meta:
        model = Domain
        fields = ("revocation", "require_wrapped", "key_transport", "legacy")
        labels = {
            "revocation": "When nothing tells whether a certificate was revoked",
            "require_wrapped": "Refuse messages whose headers are not protected (not wrapped)",
            "key_transport": "How keys are encrypted to others",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        allowed = sorted(settings.DIRECT_LEGACY)
        if allowed:
            self.fields["legacy"].choices = [(name, name.replace("_", " ")) for name in allowed]  # type: ignore[attr-defined]
        else:
            del self.fields["legacy"]


# --- our certificates -----------------------------------------------------------------------------------


class IssueForm(forms.Form):
    """A certificate to be made."""

    name = forms.CharField(
        label="Domain or address",
        max_length=320,
        help_text="One of our Direct domains, or one address at it.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "list": "our-domains"}),
    )

    use = forms.ChoiceField(
        label="What for",
        choices=[
            (Identity.Use.DUAL, "One for both uses"),
            ("separate", "Two, for signing and encryption"),
        ],
        initial=Identity.Use.DUAL,
        required=False,
        help_text="One is simplest, and every system understands it.",
    )

    def clean_use(self) -> str:
        return str(self.cleaned_data["use"] or Identity.Use.DUAL)

    def clean_name(self) -> str:
        name = lower(str(self.cleaned_data["name"]).strip())
        if name.rpartition("@")[2] not in settings.DIRECT_DOMAINS:
            raise ValidationError("This is none of our domains: they are named in DIRECT_DOMAINS.")
        return name


class P12Form(forms.Form):
    """A certificate and key that another authority made for us."""

    file = forms.FileField(label="PKCS #12 file (.p12, .pfx)", max_length=200)
    password = forms.CharField(
        label="Its password",
        max_length=200,
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > keyimport.MAX_P12_BYTES:
            raise ValidationError("This is too large for a PKCS #12 file.")
        return file


class RevokeForm(forms.Form):
    """Why a certificate of ours is revoked."""

    reason = forms.ChoiceField(label="Reason", choices=list(identity_requests.REASONS.items()))
    sure = forms.BooleanField(label="Yes, revoke it. This cannot be undone.")


def can_be_revoked(identity: Identity) -> bool:
    """Whether our own authority issued it and has not revoked it yet."""
    return identity.issuer_id is not None and identity.revoked is None


# --- bundles --------------------------------------------------------------------------------------------


class BundleForm(BundleFields):
    """A trust bundle to follow."""

    signer = forms.FileField(
        label="Certificate that must have signed it",
        required=False,
        help_text="Without it an unsigned bundle is taken. Ask the community for its signer.",
    )
    hours = forms.IntegerField(
        label="Hours between refreshes",
        min_value=0,
        max_value=24 * 30,
        initial=24,
        help_text="0: only by hand.",
    )

    class Meta:
        model = Bundle
        fields = ("name", "url", "label", "is_active")
        labels = {"url": "Address of the bundle", "is_active": "Follow it: its anchors count"}
        help_texts = {"label": "A test portal follows staging bundles only, a production one the others."}

    field_order = ("name", "url", "label", "signer", "hours", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and not self.instance._state.adding:
            self.fields["hours"].initial = self.instance.interval_s // 3600

    def clean_signer(self) -> bytes | None:
        file = self.cleaned_data["signer"]
        if not file:
            return None
        if file.size > 100_000:
            raise ValidationError("This is too large for one certificate.")
        return _one_certificate(file.read()).der

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("is_active") and not cleaned.get("url"):
            self.add_error("url", "A bundle that is followed needs its address.")
        return cleaned


def _one_certificate(data: bytes) -> Certificate:
    try:
        admission.require_no_private_key("the file", data)
        found = load_certificates(data)
    except TrustRefusal as refusal:
        raise ValidationError(_sentence(refusal.detail), code=refusal.code) from refusal
    except PkiError as error:
        raise ValidationError(_sentence(error.detail), code=error.code) from error
    if len(found) != 1:
        raise ValidationError("Exactly one certificate is wanted here.")
    return found[0]


class UseForm(DirectionForm):
    """For which of our domains a bundle counts, and which way."""

    domain = DomainField(label="Which of our domains uses it")
    incoming = _incoming()
    outgoing = _outgoing()


# --- asking ---------------------------------------------------------------------------------------------


class ExchangeForm(forms.Form):
    """The address that is looked up, and which domain of ours asks."""

    address = forms.CharField(
        label="Direct address",
        max_length=320,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "spellcheck": "false",
                "autocapitalize": "none",
                "inputmode": "email",
            }
        ),
    )
    domain = DomainField(all_of_them=False, label="As seen from")

    def clean_address(self) -> str:
        address = str(self.cleaned_data["address"]).strip()
        local, at, domain = address.rpartition("@")
        if not (at and local and is_host_name(lower(domain).rstrip(".")) and address.isascii()):
            raise ValidationError("A Direct address looks like name@direct.example.org.")
        return address
