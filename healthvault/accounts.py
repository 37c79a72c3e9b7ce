"""What allauth asks us: how accounts are kept, proved, named, and where its mails lead.

Rules of the parts meet here (sign-up opens a record, a pickup link verifies an address); what follows
from allauth's signals stands in `account_events`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as allauth_context
from allauth.idp.oidc.adapter import DefaultOIDCAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from healthvault.store.lookup import open_text, seal_text

AUTHENTICATORS = "authenticators"
NOBODY = "secret"


class AccountAdapter(DefaultAccountAdapter):
    """Sign-up, sign-in and the mails about them."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "This e-mail address and password do not belong together. Check both.",
        "incorrect_code": "This code is not right. Check the newest e-mail, or ask for a new code.",
        "incorrect_password": "This is not your password.",
        "too_many_login_attempts": "Too many tries. Wait five minutes, or reset your password.",
        "rate_limited": "That was too often. Wait a few minutes.",
        "direct_address": "Use your ordinary e-mail address, not a Direct address.",
    }

    # --- signing up ---------------------------------------------------------------------------------

    def clean_email(self, email: str) -> str:
        """Refuse our own Direct addresses: mail about an account must not need that account."""
        email = super().clean_email(email)
        if email.rpartition("@")[2].lower() in settings.DIRECT_DOMAINS:
            raise self.validation_error("direct_address")
        return email

    def save_user(self, request: HttpRequest, user: Any, form: Any, commit: bool = True) -> Any:
        """Save the new account with the name that sign-up asked for."""
        user.name = form.cleaned_data.get("name", "").strip()
        return super().save_user(request, user, form, commit)

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """A pickup link reached this mailbox, and this session came by it.

        That is enough to sign in with the address, and no proof for anything else: who holds the link
        of one parcel must not see what else waits for the mailbox.
        """
        from directmsg.pickup import session_contact

        contact = session_contact(request)
        if contact is not None and contact.casefold() == email.casefold():
            return True
        return super().is_email_verified(request, email)

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        """Whoever signs in without any record gets one."""
        after_signup(request, user)
        return super().post_login(request, user, **kwargs)

    # --- where people are led --------------------------------------------------------------------------

    def is_safe_url(self, url: str) -> bool:
        """Only this site, as the address stands and once decoded."""
        host = {allauth_context.request.get_host()}
        https = allauth_context.request.is_secure()
        return all(
            url_has_allowed_host_and_scheme(text, allowed_hosts=host, require_https=https)
            for text in (url, unquote(url))
        )

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("account")

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The link of the reset mail, on our public address whatever host the request named."""
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return settings.PUBLIC_URL + path.replace("UID-KEY", key)

    # --- mail ----------------------------------------------------------------------------------------

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Queue one mail; its links lead to our public address."""
        links = {
            "portal": settings.PUBLIC_URL,
            "ppe": settings.ENVIRONMENT == "ppe",
            "password_reset_page": settings.PUBLIC_URL + reverse("account_reset_password"),
            "sign_in_page": settings.PUBLIC_URL + reverse("account_login"),
            "sessions_page": settings.PUBLIC_URL + reverse("usersessions_list"),
        }
        super().send_mail(template_prefix, email, {**context, **links})


def after_signup(request: HttpRequest, account: Any) -> None:
    """Open the first record of an account that has none.

    Called at every sign-in and not at sign-up, so that only people who have shown to read their mailbox
    take up an address, and a failure in between mends itself.
    """
    from directmsg.addresses import open_record
    from records.models import Account, Grant

    if Grant.objects.filter(account=account).exists():
        return
    with transaction.atomic():
        # The row's lock: two first sign-ins at once open one record.
        Account.objects.select_for_update().get(pk=account.pk)
        if not Grant.objects.filter(account=account).exists():
            open_record(account, account.name or account.email)


class MfaAdapter(DefaultMFAAdapter):
    """Keeps secrets of authenticators (TOTP, seeds of recovery codes) sealed.

    allauth does not say whose secret it has sealed, so what `encrypt` gives is bound to nobody; `bind`
    does that as the row is saved.
    """

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This code is not right. Wait for the next one in your app and try again.",
        "unverified_email": "Confirm your e-mail address before you switch on two-step sign-in.",
    }

    def encrypt(self, text: str) -> str:
        return seal_text(AUTHENTICATORS, NOBODY, text)

    def decrypt(self, encrypted_text: str) -> str:
        """What `encrypt` or `bind` sealed. Raises Tampered."""
        person, separator, sealed = encrypted_text.rpartition(":")
        return open_text(AUTHENTICATORS, person if separator else NOBODY, sealed)

    def bind(self, sealed: str, person: str) -> str:
        """A sealed secret as one of the account `person`: with another's id in front it does not open."""
        if ":" in sealed:
            return sealed
        return f"{person}:{seal_text(AUTHENTICATORS, person, self.decrypt(sealed))}"

    def generate_authenticator_name(self, user: Any, type: Any) -> str:
        return "Passkey"

    def _get_site_name(self) -> str:
        return "HealthVault Direct"


class PartnerTokenAdapter(DefaultOIDCAdapter):
    """Tokens for partners' machines (RFC 6749 section 4.4): their scopes, no person behind them."""

    scope_display = {
        "parcels.write": "Hold messages for patients to pick up",
        "messages.send": "Send messages to known Direct addresses",
        "deliveries.read": "See what became of what you sent",
        "trust.read": "See whether an address can be exchanged with",
        "trust.write": "Ask for your certificates to be trusted",
        "webhooks.write": "Have events sent to you",
    }

    def get_issuer(self) -> str:
        return str(settings.PUBLIC_URL)

    def populate_server_metadata(self, data: dict[str, Any]) -> None:
        """RFC 8414: what partners' clients can use, on our public address."""
        data["scopes_supported"] = sorted(self.scope_display)
        data["grant_types_supported"] = ["client_credentials"]
        data["token_endpoint_auth_methods_supported"] = ["client_secret_basic", "client_secret_post"]
        for name, view in (("token", "token"), ("revocation", "revoke")):
            data[f"{name}_endpoint"] = settings.PUBLIC_URL + reverse(f"idp:oidc:{view}")
