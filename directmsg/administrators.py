"""Mail to postmaster and abuse (RFC 2142): it reaches the people who run the service, and no record.

Its bytes stay with the mail's own row, under its own key: the console shows that it came and from whom, and
`inspect_message` reads it.
"""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.db import transaction
from django.urls import reverse

from healthvault.outbox.letters import absolute, render
from healthvault.outbox.mail import queue_mail
from healthvault.store.faults import fault

from . import notices
from .agent.report import OpenedMessage
from .models import InboundMail
from .receive import finish

KIND = "administrators"


def deliver(mail: InboundMail, opened: OpenedMessage, organization_name: str) -> str:
    """Take a trusted message to the administrators and tell each of them by ordinary mail that it came."""
    with transaction.atomic():
        finish(mail, InboundMail.State.FILED, KIND)
        notices.delivered(mail, notices.Reply.about(opened, mail.recipient))
        _tell(mail, organization_name)
        fault("mail.filed")
    return InboundMail.State.FILED


def _tell(mail: InboundMail, organization_name: str) -> None:
    link = absolute(reverse("directmsg:console_mail_one", args=[mail.pk]))
    context = {"organization": organization_name, "mailbox": mail.recipient, "mail": mail.pk, "link": link}
    subject, text, html = render(KIND, context)
    for account in get_user_model()._default_manager.filter(is_staff=True, is_active=True):
        queue_mail(
            account.email, KIND, subject, text, html, dedupe_key=f"{KIND}:{mail.pk}:{account.pk}",
            related=(KIND, str(mail.pk)),
        )  # fmt: skip
