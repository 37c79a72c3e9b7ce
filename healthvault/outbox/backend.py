"""Django's way to send mail, for libraries: what they send becomes rows of the outbox."""

from collections.abc import Sequence

from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.message import EmailMessage, EmailMultiAlternatives

from healthvault.outbox.mail import queue_mail

KIND = "account"


class OutboxBackend(BaseEmailBackend):
    """Queues one row for each recipient, so that each has an outcome and sees no other's address."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Queue the mails; returns how many. Raises ValueError for attachments, which are not kept."""
        for message in email_messages:
            if message.attachments:
                raise ValueError("notification mail has no attachments")
            for address in message.recipients():
                queue_mail(address, KIND, str(message.subject), str(message.body), _html(message))
        return len(email_messages)


def _html(message: EmailMessage) -> str | None:
    if not isinstance(message, EmailMultiAlternatives):
        return None
    for content, mimetype in message.alternatives:
        if mimetype == "text/html":
            return str(content)
    return None
