"""What follows from things that happen to accounts: the audit trail, mailbox proofs, ended sessions."""

from __future__ import annotations

from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from django.contrib.auth.signals import user_logged_out, user_login_failed
from django.db.models.signals import post_init, pre_save
from django.dispatch import receiver

from healthvault.accounts import MfaAdapter
from healthvault.audit import trail
from healthvault.vault.errors import Tampered
from records import proofs
from records.models import MailboxProof

#: What of an authenticator's data is sealed: the TOTP key, the seed of recovery codes, codes from elsewhere.
SECRETS = ("secret", "seed", "migrated_codes")


@receiver(account.email_confirmed)
def remember_mailbox(request: Any, email_address: Any, **kwargs: Any) -> None:
    """A mail of allauth's reached the mailbox. (An address verified by a pickup link sends no signal.)

    Only the person's own act is a proof: what an administrator confirms for them reached nobody.
    """
    person = email_address.user
    if _is_own_act(request, person):
        proofs.add(person, email_address.email)
        trail.record("account.email_confirmed", actor=person, request=request)
    else:
        trail.record("account.email_confirmed", subject=person, outcome="not_by_the_person", request=request)


def _is_own_act(request: Any, person: Any) -> bool:
    """Whether the person (or nobody yet, at sign-up) asked, and not through the administrators' tables."""
    route = request.resolver_match
    if route is not None and "admin" in route.namespaces:
        return False
    return not request.user.is_authenticated or request.user.pk == person.pk


@receiver(account.email_removed)
def forget_mailbox(request: Any, user: Any, email_address: Any, **kwargs: Any) -> None:
    """What waits for a mailbox is not shown to an account that gave the mailbox up."""
    MailboxProof.objects.filter(account=user, email_hash=proofs.mailbox_hash(email_address.email)).delete()
    trail.record("account.email_removed", actor=user, request=request)


@receiver(account.user_signed_up)
def signed_up(request: Any, user: Any, **kwargs: Any) -> None:
    trail.record("account.signed_up", actor=user, request=request)


@receiver(account.user_logged_in)
def signed_in(request: Any, user: Any, **kwargs: Any) -> None:
    trail.record("account.signed_in", actor=user, request=request)


@receiver(user_logged_out)
def signed_out(request: Any, user: Any, **kwargs: Any) -> None:
    if user is not None:
        trail.record("account.signed_out", actor=user, request=request)


@receiver(user_login_failed)
def sign_in_failed(request: Any = None, **kwargs: Any) -> None:
    """Not whose: what was typed as an address may be anything, a password too."""
    trail.record("account.sign_in", outcome="refused", request=request)


@receiver([account.password_changed, account.password_set, account.password_reset])
def password_changed(request: Any, user: Any, **kwargs: Any) -> None:
    """Other sessions end by themselves: they carry a hash of the old password."""
    trail.record("account.password_changed", actor=user, request=request)


@receiver([account.email_added, account.email_changed])
def email_changed(request: Any, user: Any, **kwargs: Any) -> None:
    trail.record("account.email_changed", actor=user, request=request)


@receiver([mfa.authenticator_added, mfa.authenticator_removed, mfa.authenticator_reset])
def second_step_changed(request: Any, user: Any, **kwargs: Any) -> None:
    """Whoever signed in without the new second step, or with the old one, has to do it again."""
    from allauth.usersessions.models import UserSession

    trail.record("account.second_step_changed", actor=user, request=request)
    for session in UserSession.objects.filter(user=user).exclude(session_key=request.session.session_key):
        session.end()


# --- secrets of the second step ------------------------------------------------------------------------


@receiver(pre_save, sender="mfa.Authenticator")
def bind_secrets(instance: Any, **kwargs: Any) -> None:
    """A secret moved into another account's row must not work there."""
    person, adapter = str(instance.user_id), MfaAdapter()
    for name, value in _secrets_of(instance):
        if isinstance(value, list):
            instance.data[name] = [adapter.bind(each, person) for each in value]
        else:
            instance.data[name] = adapter.bind(value, person)


@receiver(post_init, sender="mfa.Authenticator")
def check_secrets(instance: Any, **kwargs: Any) -> None:
    """Raises Tampered for a row with the secret of another account."""
    if "data" not in instance.__dict__ or "user_id" not in instance.__dict__:
        return
    for _, value in _secrets_of(instance):
        for each in value if isinstance(value, list) else [value]:
            person, separator, _ = each.rpartition(":")
            if separator and person != str(instance.user_id):
                raise Tampered("an authenticator of another account")


def _secrets_of(instance: Any) -> list[tuple[str, Any]]:
    return [(name, instance.data[name]) for name in SECRETS if name in instance.data]
