"""Handing one mail to the relay that EMAIL_URL names: smtp, smtps, a directory, or the console."""

from __future__ import annotations

import contextlib
import os
import smtplib
import ssl
import sys
import tempfile
from email.message import Message
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from django.conf import settings
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import EmailMessage

_SUBMISSION_PORT = 587


class SendFailure(Exception):
    """The relay did not take a mail. `temporary` says whether to try again."""

    def __init__(self, code: str, *, temporary: bool) -> None:
        super().__init__(code)
        self.code = code
        self.temporary = temporary


def send(mail: EmailMessage, name: str) -> None:
    """Hand `mail` to the relay; `name` is its own name where mails become files.

    Raises SendFailure. When this returns, the relay answers for the mail.
    """
    url = urlsplit(settings.EMAIL_URL)
    if url.scheme in ("smtp", "smtps"):
        _send_smtp(mail, url)
    elif url.scheme == "file":
        _write_file(mail.message(), Path(unquote(url.path)), name)
    else:
        sys.stdout.write(mail.message().as_string() + "\n" + "-" * 79 + "\n")
        sys.stdout.flush()


def smtp_backend(url: SplitResult) -> EmailBackend:
    """The SMTP client of an address such as `smtp://user:secret@relay:587?starttls=1`.

    STARTTLS is demanded when `starttls=1` says so, and without a word of it on the submission port and
    wherever a password would go over the line.
    """
    secure = url.scheme == "smtps"
    port = url.port or (465 if secure else 25)
    asked = parse_qs(url.query).get("starttls", [""])[0]
    starttls = asked in ("1", "yes", "true") if asked else bool(url.password) or port == _SUBMISSION_PORT
    return EmailBackend(
        host=url.hostname,
        port=port,
        username=unquote(url.username or ""),
        password=unquote(url.password or ""),
        use_ssl=secure,
        use_tls=starttls and not secure,
        timeout=settings.EMAIL_TIMEOUT,
    )


def _send_smtp(mail: EmailMessage, url: SplitResult) -> None:
    backend = smtp_backend(url)
    try:
        backend.open()
        backend.send_messages([mail])
    except (OSError, smtplib.SMTPException) as error:
        raise _failure(error) from error
    finally:
        # What the relay says to QUIT changes nothing about the mail it took.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            backend.close()


def _failure(error: Exception) -> SendFailure:
    """What an SMTP error means (RFC 5321 section 4.2.1): 5yz on the recipient or the data is final.

    A relay that refuses us, our sender or our password is set up wrongly, which somebody will mend.
    """
    match error:
        case smtplib.SMTPRecipientsRefused(recipients=refused):
            replies = [code for code, _ in refused.values()]
            return SendFailure("recipient_refused", temporary=not all(500 <= code < 600 for code in replies))
        case smtplib.SMTPSenderRefused():
            return SendFailure("sender_refused", temporary=True)
        case smtplib.SMTPDataError(smtp_code=code):
            return SendFailure("message_refused", temporary=not 500 <= code < 600)
        case smtplib.SMTPAuthenticationError():
            return SendFailure("relay_password", temporary=True)
        case smtplib.SMTPNotSupportedError():
            return SendFailure("relay_lacks_support", temporary=True)
        case smtplib.SMTPException():
            return SendFailure("relay_refused", temporary=True)
        case ssl.SSLError():
            return SendFailure("relay_tls", temporary=True)
        case _:
            return SendFailure("relay_unreachable", temporary=True)


def _write_file(message: Message, directory: Path, name: str) -> None:
    """One file a mail; the same mail again takes the place of the first."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=directory)
        with os.fdopen(handle, "wb") as file:
            file.write(message.as_bytes())
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, directory / f"{name}.eml")
    except OSError as error:
        raise SendFailure("directory_unwritable", temporary=True) from error
