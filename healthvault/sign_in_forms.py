"""allauth's forms in our words: labels above fields and help where it is needed, no placeholders.

Apart from `account_forms`, which allauth's forms are derived from.
"""

from __future__ import annotations

from typing import Any

from allauth.account import forms as account
from allauth.core import context
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp import forms as totp
from allauth.mfa.webauthn import forms as webauthn
from django import forms

from directmsg.pickup import session_contact

LABELS = {
    "login": "E-mail address",
    "email": "E-mail address",
    "oldpassword": "Current password",
    "password": "Password",
    "password1": "Password",
    "password2": "Password once more",
    "code": "Code",
    "name": "Name of this passkey",
    "passwordless": "Use it to sign in without a password",
}
HELP_TO_CHOOSE = "At least 10 characters. Four words that do not belong together are good and easy to keep."
CODE_ATTRS = {"class": "input-code", "autocapitalize": "off", "spellcheck": "false"}


class PlainWords(forms.Form):
    """Relabels the fields of the form it is mixed into; mix it in first."""

    labels: dict[str, str] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = self.labels.get(name) or LABELS.get(name, field.label)
            if field.widget.attrs.get("autocomplete") == "one-time-code":
                field.widget.attrs.update(CODE_ATTRS)
        if "password1" in self.fields:
            self.fields["password1"].help_text = HELP_TO_CHOOSE


class SignInForm(PlainWords, account.LoginForm):
    pass


class SignUpForm(account.SignupForm):
    """Sign-up; whoever comes by a pickup link finds that address filled in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = LABELS["email"]
        self.fields["email"].initial = session_contact(context.request)
        self.fields["email"].help_text = "We send a code to it, to make sure that it is yours."
        self.fields["password1"].help_text = HELP_TO_CHOOSE
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)


class AddEmailForm(PlainWords, account.AddEmailForm):
    pass


class ChangeEmailForm(PlainWords, account.ChangeEmailForm):
    pass


class ChangePasswordForm(PlainWords, account.ChangePasswordForm):
    labels = {"password1": "New password", "password2": "New password once more"}


class SetPasswordForm(PlainWords, account.SetPasswordForm):
    pass


class ResetPasswordForm(PlainWords, account.ResetPasswordForm):
    pass


class ResetPasswordKeyForm(PlainWords, account.ResetPasswordKeyForm):
    labels = {"password1": "New password", "password2": "New password once more"}


class ReauthenticateForm(PlainWords, account.ReauthenticateForm):
    pass


class ConfirmEmailForm(PlainWords, account.ConfirmEmailVerificationCodeForm):
    labels = {"code": "Code from the e-mail"}


class SecondStepForm(PlainWords, mfa.AuthenticateForm):
    labels = {"code": "Code from your app, or a recovery code"}


class SecondStepAgainForm(PlainWords, mfa.ReauthenticateForm):
    labels = SecondStepForm.labels


class ActivateAppForm(PlainWords, totp.ActivateTOTPForm):
    labels = {"code": "6-digit code from the app"}


class AddPasskeyForm(PlainWords, webauthn.AddWebAuthnForm):
    """A passkey that signs in by itself is what most people want."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].help_text = "So that you can tell it from others, for example: my phone."
        self.fields["passwordless"].initial = True
        self.fields["passwordless"].help_text = "Otherwise it is the second step after your password."


class EditPasskeyForm(PlainWords, webauthn.EditWebAuthnForm):
    pass
