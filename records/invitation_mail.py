"""The mail that carries an invitation's link: who invites and until when, and nothing of what is shared.

Neither the name of the record, nor that of a person, nor what the inviter wrote: that stands behind the
link. The passcode goes another way.
"""

from __future__ import annotations

from django.urls import reverse

from healthvault.outbox import mail
from healthvault.outbox.letters import absolute, render
from healthvault.outbox.models import Notification

from .models import Invitation

KIND = "invitation"


def send(invitation: Invitation, token: str) -> Notification:
    """Queue the mail with the link of `token`, in the transaction that made it; an older one is void."""
    cancel(invitation)
    subject, text, html = render(
        "invitation",
        {
            "inviter": invitation.inviter.email,
            "passcode": bool(invitation.passcode),
            "expires": invitation.expires,
            "link": absolute(reverse("records:invited_link", args=[token])),
        },
    )
    related = (KIND, str(invitation.pk))
    return mail.queue_mail(invitation.email, KIND, subject, text, html, related=related)


def cancel(invitation: Invitation) -> None:
    """Take back a mail that did not go out, since its link is dead."""
    mail.cancel(KIND, str(invitation.pk))
